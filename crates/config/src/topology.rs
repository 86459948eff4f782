//! topology.yaml, in both dialects.
//!
//! Releases up to 0.7 knew no names of transforms, and bare words (`- NullSink`); later every transform must have a
//! `name`. A file is of one dialect: of the later one as soon as any transform in it has a name.

use std::collections::BTreeMap;

use crate::chain::{Catalog, ChainPlace, ChainReader, Dialect, Transform, has_names};
use crate::errors::{Errors, Purpose, Section, one_of, quoted};
use crate::fields::{Fields, check_address, one_key_of};
use crate::tree::Node;

/// Clients a source takes at once unless told otherwise.
const CONNECTION_LIMIT_DEFAULT: u64 = 512;

/// The longest request body a source takes unless told otherwise, bytes; also the most that can be asked for.
const FRAME_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;

/// The least that a source can be told to take, bytes: below it no client gets through its handshake.
const FRAME_BYTES_MIN: u64 = 1024;

/// Types of sources that upstream knows and this version does not.
const UPSTREAM_SOURCES: [&str; 3] = ["Kafka", "OpenSearch", "Valkey"];

/// topology.yaml.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The dialect it is written in.
    pub dialect: Dialect,
    /// The sources, each with its chain.
    pub sources: Vec<Source>,
}

/// One source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its type: `Cassandra`.
    pub kind: String,
    /// Its name, which is also its chain's.
    pub name: String,
    /// Where it listens.
    pub listen_addr: String,
    /// Clients at once.
    pub connection_limit: u64,
    /// At the limit the listening socket is closed.
    pub hard_connection_limit: bool,
    /// A client that neither sent nor read anything for this long is closed.
    pub timeout_seconds: Option<u64>,
    /// The longest body of a request, bytes.
    pub max_frame_bytes: u64,
    /// Its transforms, in order.
    pub chain: Vec<Transform>,
}

/// Reads the text of topology.yaml. The errors are returned even when there is a topology, so that the options of its
/// transforms can add theirs.
#[must_use]
pub fn read_topology(file: &str, text: &str, catalog: &dyn Catalog) -> (Option<Topology>, Errors) {
    let mut errors = Errors::new(file);
    let topology = Node::parse(text, &mut errors).and_then(|root| read(&root, catalog, &mut errors));
    (topology, errors)
}

/// Asks the readers what they would read in a file of this dialect.
pub(crate) fn describe_topology(file: &Node, catalog: &dyn Catalog, dialect: Dialect, errors: &mut Errors) {
    drop(read_as(file, catalog, |_| dialect, errors));
}

fn read(root: &Node, catalog: &dyn Catalog, errors: &mut Errors) -> Option<Topology> {
    read_as(root, catalog, |nodes| dialect_of(nodes, catalog), errors)
}

fn read_as(
    root: &Node,
    catalog: &dyn Catalog,
    dialect_of: impl FnOnce(&[Node]) -> Dialect,
    errors: &mut Errors,
) -> Option<Topology> {
    let mut fields = Fields::new(root, errors)?;
    let nodes = fields.required_list("sources");
    fields.finish();
    let nodes = nodes?;
    let dialect = dialect_of(&nodes);
    let mut reader =
        SourceReader { catalog, chains: ChainReader::new(catalog, dialect), names: BTreeMap::new() };
    let read = nodes.iter().enumerate().filter_map(|(index, node)| reader.read_source(index, node, errors));
    let sources = read.collect();
    reader.outline_duplicates(dialect, errors);
    Some(Topology { dialect, sources })
}

/// Looks for a name at any transform.
fn dialect_of(sources: &[Node], catalog: &dyn Catalog) -> Dialect {
    let only_entry = |node: &Node| match node.entries()? {
        [only] => Some((only.key.clone(), node.below(only))),
        _ => None,
    };
    let mut chains = sources.iter().filter_map(|source| only_entry(source)?.1.get("chain"));
    if chains.any(|chain| has_names(&chain, catalog)) { Dialect::Named } else { Dialect::Released }
}

/// Reads the sources of one file, and finds names that stand for two of them.
struct SourceReader<'c> {
    catalog: &'c dyn Catalog,
    chains: ChainReader<'c>,
    /// The sources of each name.
    names: BTreeMap<String, Vec<usize>>,
}

impl SourceReader<'_> {
    fn read_source(&mut self, index: usize, node: &Node, errors: &mut Errors) -> Option<Source> {
        let known = self.catalog.sources();
        let (kind, options) = one_key_of(node, &known, errors)?;
        if !known.contains(&&*kind) {
            node.error(errors, unknown_source(&kind, &known));
            if UPSTREAM_SOURCES.contains(&&*kind) {
                self.read_unsupported(index, &options, errors);
            }
            return None;
        }
        let mut fields = Fields::new(&options, errors)?;
        let name = fields.required_name().map(|name| self.check_name(index, name, &mut fields));
        let mut source = read_source_options(kind, name.unwrap_or_default(), &mut fields);
        let chain = fields.required_chain("chain");
        fields.finish();
        if let Some(chain) = chain {
            let name = &source.name;
            self.chains.note_root(index, name);
            let description = format!("source[{index}] {name:?} chain {name:?}");
            let headings = [format!("{name} source:"), format!("{name} chain:")];
            let place = ChainPlace { protocol: &source.kind, description: &description, headings: &headings };
            source.chain = self.chains.read_chain(&chain, &place, errors);
        }
        Some(source)
    }

    /// Of a source that cannot be run: what stands there and would be wrong whoever ran it.
    fn read_unsupported(&mut self, index: usize, options: &Node, errors: &mut Errors) {
        let Some(mut fields) = Fields::new(options, errors) else { return };
        if fields.has("name")
            && let Some(name) = fields.required_name()
        {
            self.check_name(index, name, &mut fields);
        }
        if fields.has("listen_addr") {
            read_listen_addr(&mut fields);
        }
    }

    fn check_name(&mut self, index: usize, name: String, fields: &mut Fields<'_>) -> String {
        let uses = self.names.entry(name.clone()).or_default();
        if let Some(first) = uses.first() {
            fields.fail_key("name", format!("the name {} is already that of source[{first}]", quoted(&name)));
        }
        uses.push(index);
        name
    }

    /// The chain of a source has its name, so that chains whose names are the same need not be listed again.
    fn outline_duplicates(self, dialect: Dialect, errors: &mut Errors) {
        for (name, uses) in self.names.into_iter().filter(|(_, uses)| uses.len() > 1) {
            if dialect == Dialect::Released {
                let message = format!(
                    "Source name {name:?} occurred more than once. Make sure all source names are unique. The names will be used in logging and metrics."
                );
                errors.push_outline(Section::SourceNames, &[], message);
                continue;
            }
            let headings = ["Duplicate source names detected:".to_owned(), format!("{name:?} used by:")];
            for index in uses {
                errors.push_outline(Section::SourceNames, &headings, format!("source[{index}] {name:?}"));
            }
        }
        self.chains.outline_duplicates(errors);
    }
}

/// Reads what every source has but its name and chain. What is missing has been reported: the rest is read all the
/// same, to report what is wrong with that too.
fn read_source_options(kind: String, name: String, fields: &mut Fields<'_>) -> Source {
    let listen_addr = read_listen_addr(fields);
    let connection_limit = fields.optional_u64("connection_limit", 1..=u64::from(u32::MAX));
    let hard_connection_limit = fields.optional_bool("hard_connection_limit");
    let timeout_seconds = fields.optional_u64("timeout", 1..=u64::from(u32::MAX));
    let max_frame_bytes = fields.optional_u64("max_frame_bytes", FRAME_BYTES_MIN..=FRAME_BYTES_DEFAULT);
    if fields.optional_node("transport").is_some_and(|node| node.text() == Some("WebSocket")) {
        fields
            .fail_key("transport", "transport `WebSocket` is not supported by this version, supported: Tcp");
    } else {
        fields.optional_one_of("transport", &["Tcp"]);
    }
    if fields.optional_node("tls").is_some_and(|tls| !tls.is_null()) {
        fields.fail_key("tls", "TLS is not supported by this version");
    }
    Source {
        kind,
        name,
        listen_addr: listen_addr.unwrap_or_default(),
        connection_limit: connection_limit.unwrap_or(CONNECTION_LIMIT_DEFAULT),
        hard_connection_limit: hard_connection_limit.unwrap_or(false),
        timeout_seconds,
        max_frame_bytes: max_frame_bytes.unwrap_or(FRAME_BYTES_DEFAULT),
        chain: Vec::new(),
    }
}

fn read_listen_addr(fields: &mut Fields<'_>) -> Option<String> {
    let listen_addr = fields.required_string("listen_addr");
    match &listen_addr {
        Some(address) if check_address(address).is_ok() => fields.note_address("listen_addr", address, Purpose::Listen),
        Some(address) => fields.fail_key(
            "listen_addr",
            format!(
                "Invalid listening address {address:?}, must follow the format ip_address:port e.g. 10.0.0.1:9042"
            ),
        ),
        None => {}
    }
    listen_addr
}

fn unknown_source(kind: &str, known: &[&str]) -> String {
    if UPSTREAM_SOURCES.contains(&kind) {
        format!("source type `{kind}` is not supported by this version, supported: {}", known.join(", "))
    } else {
        format!("unknown variant {}, expected {}", quoted(kind), one_of(known.iter().copied()))
    }
}
