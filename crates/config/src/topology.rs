//! topology.yaml, in both dialects.
//!
//! Releases up to 0.7 knew no names of transforms, and bare words (`- NullSink`); later every transform must have a
//! `name`. A file is of one dialect: of the later one as soon as any transform in it has a name.

use crate::errors::Errors;
use crate::fields::{Fields, one_of};
use crate::structure;
use crate::tree::{Node, Value};

/// Clients a source takes at once unless told otherwise.
const CONNECTION_LIMIT_DEFAULT: u64 = 512;

/// The longest request body a source takes unless told otherwise, bytes; also the most that can be asked for.
const FRAME_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;

/// Names that upstream knows and this version does not.
const UPSTREAM_TRANSFORMS: [&str; 19] = [
    "CassandraPeersRewrite",
    "CassandraSinkCluster",
    "Coalesce",
    "ConnectionBalanceAndPool",
    "DebugForceEncode",
    "DebugForceParse",
    "DebugLogToFile",
    "KafkaSinkCluster",
    "KafkaSinkSingle",
    "OpenSearchSinkSingle",
    "ParallelMap",
    "Protect",
    "QueryCounter",
    "RequestThrottling",
    "Tee",
    "ValkeyCache",
    "ValkeyClusterPortsRewrite",
    "ValkeySinkCluster",
    "ValkeySinkSingle",
];

/// As [`UPSTREAM_TRANSFORMS`], for sources.
const UPSTREAM_SOURCES: [&str; 3] = ["Kafka", "OpenSearch", "Valkey"];

/// What the program can build.
pub trait Catalog {
    /// The types of sources.
    fn sources(&self) -> Vec<&str>;
    /// The types of transforms.
    fn transforms(&self) -> Vec<&str>;
    /// What the structure of a topology must know of a transform; `None` if there is none of this type.
    fn shape(&self, transform: &str) -> Option<TransformShape>;
}

/// What the structure of a topology must know of a transform.
#[derive(Copy, Clone, Debug)]
pub struct TransformShape {
    /// It ends a chain.
    pub is_terminating: bool,
    /// The types of sources whose chains it can stand in; empty for any.
    pub accepts: &'static [&'static str],
    /// In the older dialect `name` is an option of the transform's own.
    pub name_is_option: bool,
}

/// topology.yaml.
#[derive(Clone, Debug)]
pub struct Topology {
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
    /// A client that sent nothing for this long is closed.
    pub timeout_seconds: Option<u64>,
    /// The longest body of a request, bytes.
    pub max_frame_bytes: u64,
    /// Its transforms, in order.
    pub chain: Vec<Transform>,
    /// Every transform in the file was one that is known.
    pub(crate) is_complete: bool,
    pub(crate) node: Node,
}

/// One transform.
#[derive(Clone, Debug)]
pub struct Transform {
    /// Its type.
    pub kind: String,
    /// Its name; made up in the older dialect.
    pub name: String,
    /// Its options.
    pub options: Node,
    /// `name` stands among the options, and is not one of them.
    has_name: bool,
    pub(crate) node: Node,
}

impl Transform {
    /// Reads the options with `read`, and reports those it did not ask for.
    pub fn read_options<T>(
        &self,
        errors: &mut Errors,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut fields = Fields::new(&self.options, errors)?;
        if self.has_name {
            fields.optional_node("name");
        }
        let value = read(&mut fields);
        fields.finish();
        value
    }
}

/// Which words a file is written in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Up to 0.7: no names.
    Released,
    /// Later: every transform has a name.
    Named,
}

/// Reads the text of topology.yaml. The errors are returned even when there is a topology, so that the options of its
/// transforms can add theirs.
#[must_use]
pub fn read_topology(file: &str, text: &str, catalog: &dyn Catalog) -> (Option<Topology>, Errors) {
    let mut errors = Errors::new(file);
    let topology = Node::parse(text, &mut errors).and_then(|root| read(&root, catalog, &mut errors));
    (topology, errors)
}

fn read(root: &Node, catalog: &dyn Catalog, errors: &mut Errors) -> Option<Topology> {
    let mut fields = Fields::new(root, errors)?;
    let nodes = fields.required_list("sources");
    fields.finish();
    let nodes = nodes?;
    let dialect = dialect_of(&nodes, catalog);
    let sources = nodes.iter().filter_map(|node| read_source(node, dialect, catalog, errors)).collect();
    let topology = Topology { sources };
    structure::check(&topology, dialect, catalog, errors);
    Some(topology)
}

/// Looks for a name at any transform.
fn dialect_of(sources: &[Node], catalog: &dyn Catalog) -> Dialect {
    let entry = |node: &Node, key: &str| {
        let entry = node.entries()?.iter().find(|entry| entry.key == key)?;
        Some(node.below(entry))
    };
    let options =
        |node: &Node| node.entries().and_then(|entries| entries.first()).map(|entry| node.below(entry));
    let is_named = |transform: &Node| {
        let kind = transform.entries().and_then(|entries| entries.first());
        let own = kind.and_then(|kind| catalog.shape(&kind.key)).is_some_and(|shape| shape.name_is_option);
        !own && options(transform).is_some_and(|options| entry(&options, "name").is_some())
    };
    let chains = sources.iter().filter_map(|source| entry(&options(source)?, "chain")?.items());
    if chains.flatten().any(|transform| is_named(&transform)) { Dialect::Named } else { Dialect::Released }
}

/// The one key of a map and what stands behind it; or a bare word.
fn one_key(node: &Node, what: &str, errors: &mut Errors) -> Option<(String, Node)> {
    match node.value() {
        Value::Map(entries) => match &**entries {
            [only] => return Some((only.key.clone(), node.below(only))),
            _ => node.error(errors, format!("expected exactly one {what}, as a map with one key")),
        },
        Value::Scalar { .. } if node.text().is_some() => {
            return Some((node.text().unwrap_or_default().to_owned(), node.empty_map()));
        }
        _ => node.error(errors, format!("expected a {what}")),
    }
    None
}

fn read_source(node: &Node, dialect: Dialect, catalog: &dyn Catalog, errors: &mut Errors) -> Option<Source> {
    let (kind, options) = one_key(node, "source", errors)?;
    let known = catalog.sources();
    if !known.contains(&&*kind) {
        let expected = one_of(known.into_iter());
        node.error(
            errors,
            if UPSTREAM_SOURCES.contains(&&*kind) {
                format!("source type `{kind}` is not supported by this version, expected {expected}")
            } else {
                format!("unknown variant `{kind}`, expected {expected}")
            },
        );
        return None;
    }
    let mut fields = Fields::new(&options, errors)?;
    let name = fields.required_string("name");
    let listen_addr = fields.required_string("listen_addr").filter(|address| {
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !has_port && let Some(node) = fields.optional_node("listen_addr") {
            fields.fail_at(
                &node,
                format!(
                    "Invalid listening address {address:?}, must follow the format ip_address:port e.g. 10.0.0.1:9042"
                ),
            );
        }
        has_port
    });
    let connection_limit = fields.optional_u64("connection_limit", 1..=u64::from(u32::MAX));
    let hard_connection_limit = fields.optional_bool("hard_connection_limit").unwrap_or(false);
    let timeout_seconds = fields.optional_u64("timeout", 1..=u64::from(u32::MAX));
    let max_frame_bytes = fields.optional_u64("max_frame_bytes", 1024..=FRAME_BYTES_DEFAULT);
    if let Some(transport) = fields.optional_node("transport") {
        fields.word(&transport, &["Tcp"]);
    }
    if let Some(tls) = fields.optional_node("tls").filter(|node| !node.is_null()) {
        fields.fail_at(&tls, "TLS is not supported by this version");
    }
    let chain = fields.required_list("chain");
    if chain.as_ref().is_some_and(Vec::is_empty) {
        fields.fail("Chain cannot be empty");
    }
    fields.finish();
    let chain = chain.unwrap_or_default();
    let transforms = chain
        .iter()
        .enumerate()
        .filter_map(|(index, node)| read_transform(node, index, dialect, catalog, errors));
    let transforms: Vec<Transform> = transforms.collect();
    Some(Source {
        kind,
        is_complete: transforms.len() == chain.len(),
        chain: transforms,
        // What is missing has been reported: the rest is read all the same, to report that too.
        name: name.unwrap_or_default(),
        listen_addr: listen_addr.unwrap_or_default(),
        connection_limit: connection_limit.unwrap_or(CONNECTION_LIMIT_DEFAULT),
        hard_connection_limit,
        timeout_seconds,
        max_frame_bytes: max_frame_bytes.unwrap_or(FRAME_BYTES_DEFAULT),
        node: options,
    })
}

fn read_transform(
    node: &Node,
    index: usize,
    dialect: Dialect,
    catalog: &dyn Catalog,
    errors: &mut Errors,
) -> Option<Transform> {
    let (kind, options) = one_key(node, "transform", errors)?;
    if catalog.shape(&kind).is_none() {
        let expected = one_of(catalog.transforms().into_iter());
        node.error(
            errors,
            if UPSTREAM_TRANSFORMS.contains(&&*kind) {
                format!("transform `{kind}` is not supported by this version, expected {expected}")
            } else {
                format!("unknown variant `{kind}`, expected {expected}")
            },
        );
        return None;
    }
    let name = match dialect {
        Dialect::Named => Fields::new(&options, errors)?.required_string("name").unwrap_or_default(),
        Dialect::Released => format!("{kind}[{index}]"),
    };
    Some(Transform { kind, name, options, has_name: dialect == Dialect::Named, node: node.clone() })
}

/// What the fuzz target runs: no file may panic or take long.
#[cfg(any(test, fuzzing))]
pub fn fuzz_topology(bytes: &[u8]) {
    struct One;
    impl Catalog for One {
        fn sources(&self) -> Vec<&str> {
            vec!["Cassandra"]
        }
        fn transforms(&self) -> Vec<&str> {
            vec!["NullSink"]
        }
        fn shape(&self, transform: &str) -> Option<TransformShape> {
            let shape = TransformShape { is_terminating: true, accepts: &[], name_is_option: false };
            (transform == "NullSink").then_some(shape)
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let (topology, errors) = read_topology("topology.yaml", text, &One);
        assert!(topology.is_some() || !errors.is_empty());
        std::hint::black_box(errors.to_string());
    }
}
