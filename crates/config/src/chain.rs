//! The chains of a topology: what stands in them, in either dialect, and what its parts demand of each other.

use std::collections::BTreeMap;

use crate::errors::{Errors, Section, one_of, quoted};
use crate::fields::{Fields, one_key};
use crate::tree::Node;

/// Types that upstream knows and this version does not.
const UPSTREAM_TRANSFORMS: [&str; 14] = [
    "CassandraPeersRewrite",
    "CassandraSinkCluster",
    "ConnectionBalanceAndPool",
    "DebugForceEncode",
    "KafkaSinkCluster",
    "KafkaSinkSingle",
    "OpenSearchSinkSingle",
    "ParallelMap",
    "Protect",
    "Tee",
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
    /// `name` stands among the options, and is not one of them.
    has_name: bool,
    /// Where its chain stands in the outline.
    headings: Vec<String>,
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
        value
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
            has_name,
            headings: Vec::new(),
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
        }
    }

    /// Reads a chain, whose transforms may have chains of their own: those are read the same way, when the options
    /// are. Returns what could be read; what could not is recorded.
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
        let mut chain = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let Some((kind, options)) = one_key(node, errors) else { continue };
            let Some(shape) = self.catalog.shape(&kind) else {
                node.error(errors, unknown_transform(&kind, self.catalog));
                continue;
            };
            let Some(name) = self.read_name(&kind, &options, (index, place), errors) else { continue };
            let transform = Transform {
                kind,
                name,
                options,
                has_name: self.dialect == Dialect::Named,
                headings: place.headings.to_vec(),
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
        let Some(name) = fields.required_string("name") else { return Some(String::new()) };
        let usage = format!("Transform[{index}] {kind} named {name:?} in {}", place.description);
        match self.first_uses.get(&name) {
            None => {
                self.first_uses.insert(name.clone(), usage);
            }
            Some(first) => {
                fields.fail_key("name", format!("the name {} is already that of {first}", quoted(&name)));
                let uses = self.duplicates.entry(name.clone()).or_insert_with(|| vec![first.clone()]);
                uses.push(usage);
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
