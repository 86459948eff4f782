//! Makes the tree from the parser's events, within limits.
//!
//! An alias costs a few bytes to write, but what it names is read again each time, and may itself be full of aliases:
//! so values, their bytes and levels are counted with what stands behind aliases, while the tree grows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{Entry, Tree, Value};
use crate::errors::{Errors, quoted};

/// Levels of lists and maps. A topology has some ten.
const DEPTH_MAX: usize = 64;

/// Values in a file.
const VALUES_MAX: usize = 100_000;

/// Bytes of the texts and keys that aliases repeat, all together: each place that uses them has a copy of its own. What
/// is written out is limited by the length of the file; a topology repeats some kilobytes.
const ALIAS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a key: it is repeated in the path of everything below it.
const KEY_BYTES_MAX: usize = 256;

/// Bytes of a text.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Reads a file; an empty one is an empty map.
pub(super) fn build(text: &str, errors: &mut Errors) -> Option<Arc<Tree>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { errors, open: Vec::new(), anchors: BTreeMap::new(), root: None, values: 0, alias_bytes: 0 };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.event(event, place_of(&span))?,
            Err(error) => {
                let place = (error.marker().line(), error.marker().col() + 1);
                builder.errors.push(place, "", format!("not YAML: {}", error.info()));
                return None;
            }
        }
    }
    Some(builder.root.unwrap_or_else(|| Arc::new(Tree::empty_map((1, 1)))))
}

fn place_of(span: &Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

struct Builder<'e> {
    errors: &'e mut Errors,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Arc<Tree>>,
    root: Option<Arc<Tree>>,
    values: usize,
    alias_bytes: usize,
}

/// A list or map that is not closed yet.
struct Open {
    anchor: usize,
    place: (usize, usize),
    content: Content,
}

enum Content {
    List(Vec<Arc<Tree>>),
    Map { entries: Vec<Entry>, seen: BTreeSet<String>, key: Option<(String, (usize, usize))> },
}

impl Builder<'_> {
    /// `None` when reading must stop.
    fn event(&mut self, event: Event<'_>, place: (usize, usize)) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = self.check_tag(tag.as_deref(), place);
                if text.len() > TEXT_BYTES_MAX {
                    return self.stop(place, format!("a text of more than {TEXT_BYTES_MAX} bytes"));
                }
                let is_plain = style == ScalarStyle::Plain && !is_text;
                let bytes = text.len();
                let value = Value::Scalar { text: text.into_owned(), is_plain };
                self.close(Tree { value, place, weight: 1, bytes, depth: 0 }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), place);
                self.open(Open { anchor, place, content: Content::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), place);
                let content = Content::Map { entries: Vec::new(), seen: BTreeSet::new(), key: None };
                self.open(Open { anchor, place, content })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop()?;
                self.close(tree_of(open.content, open.place), open.anchor)
            }
            Event::Alias(anchor) => {
                let Some(tree) = self.anchors.get(&anchor).map(Arc::clone) else {
                    return self.stop(place, "an alias of something that contains it".to_owned());
                };
                self.values = self.values.saturating_add(tree.weight);
                self.alias_bytes = self.alias_bytes.saturating_add(tree.bytes);
                if self.alias_bytes > ALIAS_BYTES_MAX {
                    let message = format!("aliases repeat more than {ALIAS_BYTES_MAX} bytes");
                    return self.stop(place, message);
                }
                self.place(tree, place)
            }
            _ => Some(()),
        }
    }

    /// Tags of the core schema say nothing that the reader would not find out, but that a number is meant as text.
    /// Others are another way to write types, which upstream does not take either.
    fn check_tag(&mut self, tag: Option<&Tag>, place: (usize, usize)) -> bool {
        let Some(tag) = tag else { return false };
        if !tag.is_yaml_core_schema() {
            let path = self.path();
            self.errors.push(place, &path, format!("tags are not supported: {}", quoted(&tag.to_string())));
        }
        tag.is_yaml_core_schema() && tag.suffix == "str"
    }

    fn open(&mut self, open: Open) -> Option<()> {
        let place = open.place;
        self.open.push(open);
        self.check_depth(0, place)
    }

    /// Nothing may nest deeper, as whoever walks or drops the tree recurses.
    fn check_depth(&mut self, below: usize, place: (usize, usize)) -> Option<()> {
        if self.open.len().saturating_add(below) > DEPTH_MAX {
            return self.stop(place, format!("more than {DEPTH_MAX} levels of lists and maps"));
        }
        Some(())
    }

    fn close(&mut self, tree: Tree, anchor: usize) -> Option<()> {
        let place = tree.place;
        self.values = self.values.saturating_add(1);
        let tree = Arc::new(tree);
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&tree));
        }
        self.place(tree, place)
    }

    /// Puts a value where it belongs: into the innermost list or map, or at the root.
    fn place(&mut self, tree: Arc<Tree>, place: (usize, usize)) -> Option<()> {
        if self.values > VALUES_MAX {
            let message = format!("more than {VALUES_MAX} values, with those that aliases repeat");
            return self.stop(place, message);
        }
        self.check_depth(tree.depth, place)?;
        let Some(open) = self.open.last_mut() else {
            if self.root.is_some() {
                return self.stop(place, "a second document".to_owned());
            }
            self.root = Some(tree);
            return Some(());
        };
        match &mut open.content {
            Content::List(items) => items.push(tree),
            Content::Map { entries, seen, key } => match key.take() {
                Some((key, place)) if seen.insert(key.clone()) => {
                    entries.push(Entry { key, place, value: tree });
                }
                Some((key, place)) => {
                    let path = self.path();
                    self.errors.push(place, &path, format!("{} stands here twice", quoted(&key)));
                }
                None => match &tree.value {
                    Value::Scalar { text, .. } if text.len() <= KEY_BYTES_MAX => {
                        *key = Some((text.clone(), place));
                    }
                    _ => {
                        return self
                            .stop(place, format!("a key must be a text of at most {KEY_BYTES_MAX} bytes"));
                    }
                },
            },
        }
        Some(())
    }

    /// Gives up: what follows could not be understood, or not be held.
    fn stop(&mut self, place: (usize, usize), message: String) -> Option<()> {
        let path = self.path();
        self.errors.push(place, &path, message);
        None
    }

    /// The path of what is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.content {
                Content::List(items) => path.push_str(&format!("[{}]", items.len())),
                Content::Map { key: Some((key, _)), .. } => {
                    path.push_str(if path.is_empty() { "" } else { "." });
                    path.push_str(key);
                }
                Content::Map { key: None, .. } => {}
            }
        }
        path
    }
}

fn tree_of(content: Content, place: (usize, usize)) -> Tree {
    let tree = Tree::empty_map(place);
    match content {
        Content::List(items) => {
            let tree = items.iter().fold(tree, |tree, item| holding(tree, item, 0));
            Tree { value: Value::List(items), ..tree }
        }
        Content::Map { entries, .. } => {
            let tree = entries.iter().fold(tree, |tree, entry| holding(tree, &entry.value, entry.key.len()));
            Tree { value: Value::Map(entries), ..tree }
        }
    }
}

/// Counts a value, and its key, to what holds it.
fn holding(tree: Tree, item: &Tree, key_bytes: usize) -> Tree {
    Tree {
        weight: tree.weight.saturating_add(item.weight),
        bytes: tree.bytes.saturating_add(item.bytes).saturating_add(key_bytes),
        depth: tree.depth.max(item.depth.saturating_add(1)),
        ..tree
    }
}
