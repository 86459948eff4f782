//! Reads the options of one map, records what is wrong, and goes on.

use std::ops::RangeInclusive;

use crate::errors::Errors;
use crate::tree::Node;

/// A map that is being read. It remembers what it was asked for, so that [`Fields::finish`] can name the rest.
pub struct Fields<'e> {
    node: Node,
    errors: &'e mut Errors,
    asked: Vec<String>,
}

impl<'e> Fields<'e> {
    /// Begins to read `node`, which must be a map, or nothing at all.
    pub fn new(node: &Node, errors: &'e mut Errors) -> Option<Self> {
        let node = if node.is_null() { node.empty_map() } else { node.clone() };
        if node.entries().is_none() {
            node.error(errors, "expected a map of options");
            return None;
        }
        Some(Self { node, errors, asked: Vec::new() })
    }

    /// True when the key is there, whatever its value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    fn entry(&self, key: &str) -> Option<Node> {
        let entry = self.node.entries()?.iter().find(|entry| entry.key == key)?;
        Some(self.node.below(entry))
    }

    /// Records a mistake at the map itself.
    pub fn fail(&mut self, message: &str) {
        self.node.error(self.errors, message);
    }

    /// Records a mistake at a value of the map.
    pub fn fail_at(&mut self, node: &Node, message: impl Into<String>) {
        node.error(self.errors, message);
    }

    /// The value of a key, if it is there; `Some` of nothing when only the key is.
    pub fn optional_node(&mut self, key: &str) -> Option<Node> {
        self.asked.push(key.to_owned());
        self.entry(key)
    }

    /// The value of a key that must be there.
    pub fn required_node(&mut self, key: &str) -> Option<Node> {
        let node = self.optional_node(key);
        if node.is_none() {
            self.fail(&format!("missing field `{key}`"));
        }
        node
    }

    fn optional<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&Node) -> Option<T>) -> Option<T> {
        let node = self.optional_node(key).filter(|node| !node.is_null())?;
        self.read(&node, expected, read)
    }

    fn required<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&Node) -> Option<T>) -> Option<T> {
        let node = self.required_node(key)?;
        self.read(&node, expected, read)
    }

    fn read<T>(&mut self, node: &Node, expected: &str, read: impl FnOnce(&Node) -> Option<T>) -> Option<T> {
        let value = read(node);
        if value.is_none() {
            node.error(self.errors, format!("expected {expected}"));
        }
        value
    }

    /// Text that may be left out.
    pub fn optional_string(&mut self, key: &str) -> Option<String> {
        self.optional(key, "text", text)
    }

    /// Text that must be there.
    pub fn required_string(&mut self, key: &str) -> Option<String> {
        self.required(key, "text", text)
    }

    /// A whole number in a range, that may be left out.
    pub fn optional_u64(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.optional(key, &number_in(&range), |node| number(node, &range))
    }

    /// A whole number in a range, that must be there.
    pub fn required_u64(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.required(key, &number_in(&range), |node| number(node, &range))
    }

    /// `true` or `false`, that may be left out.
    pub fn optional_bool(&mut self, key: &str) -> Option<bool> {
        self.optional(key, "`true` or `false`", |node| match node.plain()? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        })
    }

    /// A list that may be left out.
    pub fn optional_list(&mut self, key: &str) -> Option<Vec<Node>> {
        self.optional(key, "a list", Node::items)
    }

    /// A list that must be there.
    pub fn required_list(&mut self, key: &str) -> Option<Vec<Node>> {
        self.required(key, "a list", Node::items)
    }

    /// One of a few words.
    pub fn word<'w>(&mut self, node: &Node, words: &[&'w str]) -> Option<&'w str> {
        let known = node.text().and_then(|text| words.iter().find(|word| **word == text));
        if known.is_none() {
            let given = node.text().unwrap_or("something else");
            node.error(
                self.errors,
                format!("unknown variant `{given}`, expected {}", one_of(words.iter().copied())),
            );
        }
        known.copied()
    }

    /// Ends the reading: reports every key that nobody asked for.
    pub fn finish(self) {
        let expected = one_of(self.asked.iter().map(String::as_str));
        for entry in self.node.entries().unwrap_or_default() {
            if !self.asked.contains(&entry.key) {
                let message = format!("unknown field `{}`, expected {expected}", entry.key);
                self.errors.push(entry.place, self.node.path(), message);
            }
        }
    }
}

fn text(node: &Node) -> Option<String> {
    node.text().map(str::to_owned)
}

fn number(node: &Node, range: &RangeInclusive<u64>) -> Option<u64> {
    node.plain()?.parse().ok().filter(|number| range.contains(number))
}

fn number_in(range: &RangeInclusive<u64>) -> String {
    match (*range.start(), *range.end()) {
        (start, u64::MAX) => format!("a whole number, at least {start}"),
        (start, end) => format!("a whole number from {start} to {end}"),
    }
}

/// The words that would have been right.
pub(crate) fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    match &*words {
        [] => "no options".to_owned(),
        [only] => only.clone(),
        _ => format!("one of {}", words.join(", ")),
    }
}
