//! The chains of a topology: what stands in them, in either dialect, and what its parts demand of each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::errors::{Errors, MISTAKES_MAX, Purpose, Section, one_of, quoted};
use crate::fields::{Fields, NAME_BYTES_MAX, one_key};
use crate::tree::Node;

/// Types that upstream knows and this version does not.
const UPSTREAM_TRANSFORMS: [&str; 10] = [
    "CassandraPeersRewrite",
    "CassandraSinkCluster",
    "KafkaSinkCluster",
    "KafkaSinkSingle",
    "OpenSearchSinkSingle",
    "Protect",
    "ValkeyCache",
    "ValkeyClusterPortsRewrite",
    "ValkeySinkCluster",
    "ValkeySinkSingle",
];

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
    /// Where in its options it has chains of its own.
    pub chains: &'static [ChainSlot],
}

/// Where a transform has a chain of its own, and what that is called.
#[derive(Copy, Clone, Debug)]
pub struct ChainSlot {
    /// The keys that lead to it. Behind more than one key the chain may also stand under a further key `chain`, as the
    /// later dialect wants it.
    pub path: &'static [&'static str],
    /// Its name in the older dialect; none if it has that of the transform's own option `name`.
    pub released_name: &'static str,
    /// What the later dialect puts behind the transform's name.
    pub suffix: &'static str,
    /// The option that says how many chains of this form there are: their names end in `[0]`, `[1]` and so on.
    pub count: Option<&'static str>,
}

/// Chains of one form that one option counts. Each has connections of its own for every client.
pub const COUNT_MAX: u64 = 256;

impl ChainSlot {
    /// The list of transforms, if it is there.
    fn list(&self, options: &Node) -> Option<Node> {
        let (first, rest) = self.path.split_first()?;
        let node = rest.iter().try_fold(options.get(first)?, |node, key| node.get(key))?;
        let below = if rest.is_empty() { None } else { node.get("chain") };
        Some(below.unwrap_or(node))
    }

    /// What its chains are called.
    fn names(&self, dialect: Dialect, transform: &str, options: &Node) -> Vec<String> {
        let count = self.count.and_then(|key| options.get(key)?.plain()?.parse().ok()).unwrap_or(1_u64);
        let own = options.get("name");
        let own = own.as_ref().and_then(Node::text).filter(|name| name.len() <= NAME_BYTES_MAX);
        let own = own.unwrap_or(transform);
        let name = |index: u64| match (dialect, self.count) {
            (Dialect::Released, _) if self.released_name.is_empty() => own.to_owned(),
            (Dialect::Released, _) => self.released_name.to_owned(),
            (Dialect::Named, None) => format!("{transform}{}", self.suffix),
            (Dialect::Named, Some(_)) => format!("{transform}{}[{index}]", self.suffix),
        };
        (0..count.clamp(1, COUNT_MAX)).map(name).collect()
    }
}

/// True if a transform in this list has a name, or one in a chain of its own.
pub(crate) fn has_names(list: &Node, catalog: &dyn Catalog) -> bool {
    list.items().unwrap_or_default().iter().any(|transform| {
        let Some([only]) = transform.entries() else { return false };
        let options = transform.below(only);
        let shape = catalog.shape(&only.key);
        let is_own = shape.is_some_and(|shape| shape.name_is_option);
        let chains = shape.map(|shape| shape.chains).unwrap_or_default();
        (!is_own && options.get("name").is_some())
            || chains.iter().filter_map(|slot| slot.list(&options)).any(|chain| has_names(&chain, catalog))
    })
}

/// Which words a file is written in. A file is of one dialect.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Up to 0.7: transforms have no name, and those without options are bare words.
    Released,
    /// Later: every transform has a name.
    Named,
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
    /// Its own chains, one entry a form of [`TransformShape::chains`] that is there.
    pub chains: Vec<NestedChain>,
    /// `name` stands among the options, and is not one of them.
    has_name: bool,
    /// Where its chain stands in the outline; the same for all transforms of the chain.
    headings: Arc<[String]>,
}

/// A chain that a transform has, or several of the same form.
#[derive(Clone, Debug)]
pub struct NestedChain {
    /// Which of the transform's [`TransformShape::chains`] it is.
    pub slot: usize,
    /// The name of each.
    pub names: Vec<String>,
    /// Its transforms, in order.
    pub transforms: Vec<Transform>,
}

impl Transform {
    /// Reads the options with `read`, and reports those it did not ask for.
    pub fn read_options<T>(
        &self,
        errors: &mut Errors,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut fields = Fields::new(&self.options, errors)?;
        fields.set_headings(&self.headings);
        if self.has_name {
            fields.optional_node("name");
        }
        let value = read(&mut fields);
        fields.finish();
        if value.is_none() && errors.is_empty() {
            // A chain without it must not be started as if it were there.
            let text = format!("{} gave nothing, and did not say what is wrong with its options", self.kind);
            self.options.error(errors, text);
        }
        value
    }

    /// Notes where people flip the switch of this transform, which the first of these options that is there says.
    pub fn note_switch(&self, keys: &[&str], address: &str, errors: &mut Errors) {
        let node = keys.iter().find_map(|key| self.options.get(key));
        errors.push_address(node.as_ref().unwrap_or(&self.options), address, Purpose::Switch);
    }

    /// Asks `read` what options a transform of this type has.
    pub(crate) fn described(
        kind: &str,
        file: &Node,
        dialect: Dialect,
        errors: &mut Errors,
        read: impl FnOnce(&mut Fields<'_>),
    ) {
        let has_name = dialect == Dialect::Named;
        if has_name {
            Fields::new(file, errors).and_then(|mut fields| fields.required_string("name"));
        }
        let transform = Self {
            kind: kind.to_owned(),
            name: String::new(),
            options: file.clone(),
            chains: Vec::new(),
            has_name,
            headings: Arc::default(),
        };
        transform.read_options(errors, |fields| {
            read(fields);
            Some(())
        });
    }

    /// The path of its options. Those of transforms in its chains begin with it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.options.path()
    }
}

/// Where a chain stands.
pub struct ChainPlace<'p> {
    /// What comes from above: the type of a source.
    pub protocol: &'p str,
    /// As messages put it: `source[0] "cassandra" chain "cassandra"`.
    pub description: &'p str,
    /// What is wrong with the chain is listed below these.
    pub headings: &'p [String],
}

/// Reads the chains of one file, and finds names that stand for two things.
pub struct ChainReader<'c> {
    catalog: &'c dyn Catalog,
    dialect: Dialect,
    /// The first use of each name.
    first_uses: BTreeMap<String, String>,
    /// How many names were made up of each type.
    made_up: BTreeMap<String, usize>,
    /// The uses of each name that stands for several things.
    duplicates: BTreeMap<String, Vec<String>>,
    /// The uses of each chain's name. The older dialect's chains share theirs.
    chain_uses: BTreeMap<String, Vec<ChainUse>>,
}

/// What has the name of a chain.
enum ChainUse {
    /// The chain of the source of this index.
    Root(usize),
    /// A chain in a chain, and where that is; told once for all that one transform has.
    Nested(Arc<str>),
}

impl ChainUse {
    fn told(&self, name: &str) -> String {
        match self {
            Self::Root(index) => format!("root chain for source[{index}] {name:?}"),
            Self::Nested(description) => format!("chain {name:?} at {description}"),
        }
    }
}

impl<'c> ChainReader<'c> {
    /// Has read nothing yet.
    #[must_use]
    pub fn new(catalog: &'c dyn Catalog, dialect: Dialect) -> Self {
        Self {
            catalog,
            dialect,
            first_uses: BTreeMap::new(),
            made_up: BTreeMap::new(),
            duplicates: BTreeMap::new(),
            chain_uses: BTreeMap::new(),
        }
    }

    /// Notes the chain of a source.
    pub(crate) fn note_root(&mut self, index: usize, name: &str) {
        self.chain_uses.entry(name.to_owned()).or_default().push(ChainUse::Root(index));
    }

    /// Reads a chain, and the chains that its transforms have. Returns what could be read; what could not is recorded.
    pub fn read_chain(&mut self, list: &Node, place: &ChainPlace<'_>, errors: &mut Errors) -> Vec<Transform> {
        let Some(nodes) = list.items() else {
            list.error(errors, format!("expected a list of transforms, found {}", list.describe()));
            return Vec::new();
        };
        if nodes.is_empty() {
            let message = "Chain cannot be empty";
            list.error(errors, message);
            errors.push_outline(Section::Chains, place.headings, message);
        }
        let headings: Arc<[String]> = place.headings.into();
        let mut chain = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let Some((kind, options)) = one_key(node, errors) else { continue };
            let Some(shape) = self.catalog.shape(&kind) else {
                node.error(errors, unknown_transform(&kind, self.catalog));
                if UPSTREAM_TRANSFORMS.contains(&&*kind) && options.get("name").is_some() {
                    // No other one can have its name, whoever runs it.
                    self.read_name(&kind, &options, (index, place), errors);
                }
                continue;
            };
            let Some(name) = self.read_name(&kind, &options, (index, place), errors) else { continue };
            let chains = self.read_nested((&kind, &name, shape), &options, place, errors);
            let transform = Transform {
                kind,
                name,
                options,
                chains,
                has_name: self.dialect == Dialect::Named,
                headings: Arc::clone(&headings),
            };
            if let Some(message) = self.misplaced(&transform, shape, index + 1 == nodes.len()) {
                node.error(errors, &*message);
                errors.push_outline(Section::Chains, place.headings, message);
            }
            if !shape.accepts.is_empty() && !shape.accepts.contains(&place.protocol) {
                let (kind, accepted, protocol) = (&transform.kind, shape.accepts.join(", "), place.protocol);
                node.error(
                    errors,
                    format!("Transform {kind} requires upchain protocol to be one of [{accepted}] but was {protocol}"),
                );
            }
            chain.push(transform);
        }
        chain
    }

    /// Reads the chains that a transform has. One that must be there is missed when the options are read.
    fn read_nested(
        &mut self,
        (kind, name, shape): (&str, &str, TransformShape),
        options: &Node,
        place: &ChainPlace<'_>,
        errors: &mut Errors,
    ) -> Vec<NestedChain> {
        let mut chains = Vec::new();
        for (slot, form) in shape.chains.iter().enumerate() {
            let Some(list) = form.list(options) else { continue };
            let names = form.names(self.dialect, name, options);
            let first = names.first().map_or("", String::as_str);
            let description: Arc<str> =
                format!("{} -> subchain {first:?} (from Transform {kind} named {name:?})", place.description)
                    .into();
            for name in names.iter().filter(|_| self.dialect == Dialect::Named) {
                let uses = self.chain_uses.entry(name.clone()).or_default();
                uses.push(ChainUse::Nested(Arc::clone(&description)));
                if let [first, _, ..] = &**uses {
                    let (name, first) = (quoted(name), first.told(name));
                    list.error(errors, format!("the chain's name {name} is already that of {first}"));
                }
            }
            let mut headings = place.headings.to_vec();
            headings.extend([format!("{kind}:"), format!("{first} chain:")]);
            let nested =
                ChainPlace { protocol: place.protocol, description: &description, headings: &headings };
            let transforms = self.read_chain(&list, &nested, errors);
            chains.push(NestedChain { slot, names, transforms });
        }
        chains
    }

    /// Reads the name of a transform, or makes one up: its type, and a number from the second of the type on.
    fn read_name(
        &mut self,
        kind: &str,
        options: &Node,
        (index, place): (usize, &ChainPlace<'_>),
        errors: &mut Errors,
    ) -> Option<String> {
        // Also finds options that are no map, in either dialect.
        let mut fields = Fields::new(options, errors)?;
        if self.dialect == Dialect::Released {
            let number = self.made_up.entry(kind.to_owned()).or_insert(0);
            *number += 1;
            return Some(if *number == 1 { kind.to_owned() } else { format!("{kind}-{number}") });
        }
        // A transform without a name is kept, so that what is wrong with its options is found as well.
        let Some(name) = fields.required_name() else { return Some(String::new()) };
        let usage = format!("Transform[{index}] {kind} named {name:?} in {}", place.description);
        match self.first_uses.get(&name) {
            None => {
                self.first_uses.insert(name.clone(), usage);
            }
            Some(first) => {
                fields.fail_key("name", format!("the name {} is already that of {first}", quoted(&name)));
                let uses = self.duplicates.entry(name.clone()).or_insert_with(|| vec![first.clone()]);
                // The outline has no room for more.
                if uses.len() < MISTAKES_MAX {
                    uses.push(usage);
                }
            }
        }
        Some(name)
    }

    /// What is wrong with a transform's being last, or not.
    fn misplaced(&self, transform: &Transform, shape: TransformShape, is_last: bool) -> Option<String> {
        let Transform { kind, name, .. } = transform;
        match (self.dialect, shape.is_terminating, is_last) {
            (_, true, true) | (_, false, false) => None,
            (Dialect::Named, true, false) => Some(format!(
                "Terminating Transform {kind} named {name:?} is not last in chain. Terminating Transform must be last in chain."
            )),
            (Dialect::Named, false, true) => Some(format!(
                "Non-terminating Transform {kind} named {name:?} is last in chain. Last Transform must be terminating."
            )),
            (Dialect::Released, true, false) => Some(format!(
                "Terminating transform {kind:?} is not last in chain. Terminating transform must be last in chain."
            )),
            (Dialect::Released, false, true) => Some(format!(
                "Non-terminating transform {kind:?} is last in chain. Last transform must be terminating."
            )),
        }
    }

    /// Lists the names that stand for several transforms. A released file has none.
    pub(crate) fn outline_duplicates(&self, errors: &mut Errors) {
        for (name, uses) in &self.duplicates {
            let headings = ["Duplicate transform names detected:".to_owned(), format!("{name:?} used by:")];
            for usage in uses {
                errors.push_outline(Section::TransformNames, &headings, usage);
            }
        }
        // Those of sources of the same name are listed as such.
        let is_nested = |uses: &[ChainUse]| uses.iter().any(|usage| matches!(usage, ChainUse::Nested(_)));
        for (name, uses) in self.chain_uses.iter().filter(|(_, uses)| uses.len() > 1 && is_nested(uses)) {
            let headings = ["Duplicate chain names detected:".to_owned(), format!("{name:?} used by:")];
            for usage in uses {
                errors.push_outline(Section::ChainNames, &headings, usage.told(name));
            }
        }
    }
}

fn unknown_transform(kind: &str, catalog: &dyn Catalog) -> String {
    let known = catalog.transforms();
    if UPSTREAM_TRANSFORMS.contains(&kind) {
        format!("transform `{kind}` is not supported by this version, supported: {}", known.join(", "))
    } else {
        format!("unknown variant {}, expected {}", quoted(kind), one_of(known.into_iter()))
    }
}
