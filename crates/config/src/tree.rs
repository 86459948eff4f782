//! A YAML file as a tree whose values know where they stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::errors::Errors;

/// Levels of nesting. A topology has some ten.
const DEPTH_MAX: usize = 64;

/// Values in a file, those that aliases repeat included: an alias costs nothing to write, but what it names is read
/// again each time.
const VALUES_MAX: usize = 100_000;

/// A value, its place in the file, and the path that leads to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node {
    tree: Arc<Tree>,
    path: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) value: Value,
    place: (usize, usize),
    /// Values in this one, aliases counted as often as they stand.
    weight: usize,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// Text; `is_plain` when it was not quoted, so that it may be a number or a word.
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Arc<Tree>>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: (usize, usize),
    pub(crate) value: Arc<Tree>,
}

impl Node {
    /// Reads a file. What is wrong with it as YAML is recorded.
    pub(crate) fn parse(text: &str, errors: &mut Errors) -> Option<Self> {
        let tree = Builder::default().build(text, errors)?;
        if tree.weight > VALUES_MAX {
            let message = format!("the file has more than {VALUES_MAX} values, with what its aliases repeat");
            errors.push(tree.place, "", message);
            return None;
        }
        Some(Self { tree, path: Arc::from("") })
    }

    /// An empty map at this place, for options that were left out.
    pub(crate) fn empty_map(&self) -> Self {
        let tree = Tree { value: Value::Map(Vec::new()), place: self.tree.place, weight: 1 };
        Self { tree: Arc::new(tree), path: Arc::clone(&self.path) }
    }

    pub(crate) fn value(&self) -> &Value {
        &self.tree.value
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The node of a map's entry.
    pub(crate) fn below(&self, entry: &Entry) -> Self {
        let path =
            if self.path.is_empty() { entry.key.clone() } else { format!("{}.{}", self.path, entry.key) };
        Self { tree: Arc::clone(&entry.value), path: path.into() }
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
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.tree.value, Value::Scalar { text, is_plain: true } if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
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

    /// Records what is wrong with this value.
    pub fn error(&self, errors: &mut Errors, message: impl Into<String>) {
        errors.push(self.tree.place, &self.path, message);
    }
}

/// A list or map that is not closed yet.
struct Open {
    anchor: usize,
    place: (usize, usize),
    content: Content,
}

enum Content {
    List(Vec<Arc<Tree>>),
    Map { entries: Vec<Entry>, key: Option<(String, (usize, usize))> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Arc<Tree>>,
    root: Option<Arc<Tree>>,
}

impl Builder {
    fn build(mut self, text: &str, errors: &mut Errors) -> Option<Arc<Tree>> {
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => self.event(event, place_of(&span), errors)?,
                Err(error) => {
                    let place = (error.marker().line(), error.marker().col() + 1);
                    errors.push(place, "", format!("not YAML: {}", error.info()));
                    return None;
                }
            }
        }
        let empty = || Arc::new(Tree { value: Value::Map(Vec::new()), place: (1, 1), weight: 1 });
        Some(self.root.unwrap_or_else(empty))
    }

    /// `None` when reading must stop.
    fn event(&mut self, event: Event<'_>, place: (usize, usize), errors: &mut Errors) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_plain = style == ScalarStyle::Plain;
                let value = Value::Scalar { text: text.into_owned(), is_plain };
                self.close(Tree { value, place, weight: 1 }, anchor, errors);
            }
            Event::SequenceStart(anchor, _) => {
                self.open.push(Open { anchor, place, content: Content::List(Vec::new()) });
            }
            Event::MappingStart(anchor, _) => {
                let content = Content::Map { entries: Vec::new(), key: None };
                self.open.push(Open { anchor, place, content });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop()?;
                let (value, weight) = match open.content {
                    Content::List(items) => {
                        let weight = items.iter().fold(1, |sum: usize, item| sum.saturating_add(item.weight));
                        (Value::List(items), weight)
                    }
                    Content::Map { entries, .. } => {
                        let weight = entries
                            .iter()
                            .fold(1, |sum: usize, entry| sum.saturating_add(entry.value.weight));
                        (Value::Map(entries), weight)
                    }
                };
                self.close(Tree { value, place: open.place, weight }, open.anchor, errors);
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(tree) => self.place(Arc::clone(tree), place, errors),
                None => errors.push(place, "", "an alias of something that is not complete"),
            },
            _ => {}
        }
        if self.open.len() > DEPTH_MAX {
            errors.push(place, "", format!("more than {DEPTH_MAX} levels of nesting"));
            return None;
        }
        Some(())
    }

    fn close(&mut self, tree: Tree, anchor: usize, errors: &mut Errors) {
        let place = tree.place;
        let tree = Arc::new(tree);
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&tree));
        }
        self.place(tree, place, errors);
    }

    /// Puts a value where it belongs: into the innermost list or map, or at the root.
    fn place(&mut self, tree: Arc<Tree>, place: (usize, usize), errors: &mut Errors) {
        let Some(open) = self.open.last_mut() else {
            match self.root {
                Some(_) => errors.push(place, "", "more than one document"),
                None => self.root = Some(tree),
            }
            return;
        };
        match &mut open.content {
            Content::List(items) => items.push(tree),
            Content::Map { entries, key } => match key.take() {
                Some((key, key_place)) => {
                    if entries.iter().any(|entry| entry.key == key) {
                        errors.push(key_place, "", format!("`{key}` stands here twice"));
                    } else {
                        entries.push(Entry { key, place: key_place, value: tree });
                    }
                }
                None => match &tree.value {
                    Value::Scalar { text, .. } => *key = Some((text.clone(), place)),
                    _ => {
                        errors.push(place, "", "a key must be a word");
                        *key = Some((String::new(), place));
                    }
                },
            },
        }
    }
}

fn place_of(span: &Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}
