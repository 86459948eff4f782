//! A YAML file as a tree whose values know where they stand.

mod build;

use std::fmt;
use std::sync::Arc;

use crate::errors::{Errors, quoted};

/// A value, its place in the file, and the path that leads to it. Cheap to clone.
///
/// What an alias (`*name`) stands for has the place of its anchor and the path of the alias.
#[derive(Clone)]
pub struct Node {
    tree: Arc<Tree>,
    path: Arc<str>,
}

pub(crate) struct Tree {
    value: Value,
    place: (usize, usize),
    /// Values in this one, itself too; those behind aliases as often as they stand.
    weight: usize,
    /// Bytes of its texts and keys, those behind aliases as often as they stand.
    bytes: usize,
    /// Levels of lists and maps, those behind aliases too.
    depth: usize,
}

impl Tree {
    fn empty_map(place: (usize, usize)) -> Self {
        Self { value: Value::Map(Vec::new()), place, weight: 1, bytes: 0, depth: 1 }
    }
}

pub(crate) enum Value {
    /// Text; `is_plain` when it was not quoted, so that it may be a number or a word.
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Arc<Tree>>),
    Map(Vec<Entry>),
}

impl Value {
    /// A list of one value that is only asked about.
    pub(crate) fn list_of_one() -> Self {
        Self::List(vec![Arc::new(Tree::empty_map((1, 1)))])
    }
}

pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: (usize, usize),
    value: Arc<Tree>,
}

/// The values alone: places are for messages about mistakes. Levels, values and bytes are limited when a file is read.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tree.fmt(f)
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Scalar { text, .. } => text.fmt(f),
            Value::List(items) => f.debug_list().entries(items).finish(),
            Value::Map(entries) => {
                f.debug_map().entries(entries.iter().map(|entry| (&entry.key, &entry.value))).finish()
            }
        }
    }
}

impl Node {
    /// Reads a file. What is wrong with it as YAML is recorded.
    pub(crate) fn parse(text: &str, errors: &mut Errors) -> Option<Self> {
        let tree = build::build(text, errors)?;
        Some(Self { tree, path: Arc::from("") })
    }

    /// A value that stands in no file.
    pub(crate) fn made(path: String, value: Value) -> Self {
        Self { tree: Arc::new(Tree { value, ..Tree::empty_map((1, 1)) }), path: path.into() }
    }

    /// An empty map at an entry of this one, for a value that is only asked about.
    pub(crate) fn blank(&self, key: &str) -> Self {
        Self::made(self.path_below(key), Value::Map(Vec::new()))
    }

    /// An empty map at this place, for options that were left out.
    pub(crate) fn empty_map(&self) -> Self {
        Self { tree: Arc::new(Tree::empty_map(self.tree.place)), path: Arc::clone(&self.path) }
    }

    pub(crate) fn value(&self) -> &Value {
        &self.tree.value
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Line and column in the file, both from 1.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        self.tree.place
    }

    /// The node of a map's entry.
    pub(crate) fn below(&self, entry: &Entry) -> Self {
        Self { tree: Arc::clone(&entry.value), path: self.path_below(&entry.key).into() }
    }

    /// The path of a map's entry.
    pub(crate) fn path_below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The node of a map's key.
    pub(crate) fn get(&self, key: &str) -> Option<Self> {
        let entry = self.entries()?.iter().find(|entry| entry.key == key)?;
        Some(self.below(entry))
    }

    /// The nodes of a list.
    pub(crate) fn items(&self) -> Option<Vec<Self>> {
        let Value::List(items) = &self.tree.value else { return None };
        let node = |(index, tree): (usize, &Arc<Tree>)| Self {
            tree: Arc::clone(tree),
            path: format!("{}[{index}]", self.path).into(),
        };
        Some(items.iter().enumerate().map(node).collect())
    }

    /// The entries of a map.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.tree.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Nothing, written as nothing, `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.tree.value, Value::Scalar { text, is_plain: true } if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// True for a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(&self.tree.value, Value::List(_))
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.tree.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The text of an unquoted scalar.
    pub(crate) fn plain(&self) -> Option<&str> {
        match &self.tree.value {
            Value::Scalar { text, is_plain: true } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// What stands here, for a message that expected something else.
    pub(crate) fn describe(&self) -> String {
        match &self.tree.value {
            _ if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => quoted(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Records what is wrong with this value.
    pub fn error(&self, errors: &mut Errors, message: impl Into<String>) {
        errors.push(self.tree.place, &self.path, message);
    }
}
