//! Reads the options of one map, records what is wrong, and goes on.

use std::ops::RangeInclusive;

use crate::chain::Dialect;
use crate::describe::Kind;
use crate::errors::{Errors, Purpose, Section, one_of, quoted};
use crate::tree::{Node, Value};

/// Bytes of a name: it is repeated in what is said of everything below it, and in every metric of it.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// A map that is being read. It remembers what it was asked for, so that [`Fields::finish`] can name the rest.
///
/// A reader asks for all its keys before it gives up on any: what it did not ask for is reported as unknown. Every
/// method that returns nothing where something was demanded has recorded why.
pub struct Fields<'e> {
    node: Node,
    errors: &'e mut Errors,
    /// In the order in which they were asked for; what is unknown is told what would have been known.
    asked: Vec<String>,
    /// Keys that stand in the file under another name: the key, and the name.
    renamed: Vec<(String, String)>,
    /// Where in the outline of the file what is wrong with this map stands, if anywhere.
    headings: Vec<String>,
}

impl<'e> Fields<'e> {
    /// Begins to read `node`, which must be a map, or nothing at all.
    pub fn new(node: &Node, errors: &'e mut Errors) -> Option<Self> {
        if let Some(description) = errors.description() {
            description.open(node.path());
        }
        let node = if node.is_null() { node.empty_map() } else { node.clone() };
        if node.entries().is_none() {
            node.error(errors, format!("expected a map of options, found {}", node.describe()));
            return None;
        }
        Some(Self { node, errors, asked: Vec::new(), renamed: Vec::new(), headings: Vec::new() })
    }

    /// Begins to read a map that stands somewhere in this one.
    pub fn nested(&mut self, node: &Node) -> Option<Fields<'_>> {
        Fields::new(node, self.errors)
    }

    /// Says where in the outline this map stands.
    pub(crate) fn set_headings(&mut self, headings: &[String]) {
        self.headings = headings.to_vec();
    }

    /// The dialect of the options of a transform: in the named one its name has been asked for already.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        if self.was_asked("name") { Dialect::Named } else { Dialect::Released }
    }

    /// Records a mistake at the map itself, in words of several lines that users of upstream know: they also stand in the
    /// outline, as they are.
    pub fn fail_lines(&mut self, lines: &[&str]) {
        let message: Vec<&str> =
            lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
        self.fail(&message.join(" "));
        for line in lines {
            self.errors.push_outline(Section::Chains, &self.headings, *line);
        }
    }

    /// Lets `key` stand in the file under other names: words that upstream's documents use and its code refuses, or
    /// that older files have. To be called before `key` is asked for. A name that was already asked for by itself is
    /// left alone.
    pub fn aliases(&mut self, key: &str, others: &[&str]) {
        for other in others {
            let is_own = self.was_asked(other);
            if let Some(description) = self.errors.description().filter(|_| !is_own) {
                description.alias(self.node.path(), key, other);
            }
            let Some(node) = self.node.get(other).filter(|_| !is_own) else { continue };
            if self.has(key) {
                node.error(self.errors, format!("`{other}` is another name of `{key}`, which is given too"));
            }
            self.renamed.push((key.to_owned(), (*other).to_owned()));
        }
    }

    /// True when the key is there, whatever its value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// True when the key is there with a value: null is none. For options of which one must be given.
    #[must_use]
    pub fn has_value(&self, key: &str) -> bool {
        let is_described = self.errors.described().is_some();
        self.entry(key).is_some_and(|node| is_described || !node.is_null())
    }

    fn entry(&self, key: &str) -> Option<Node> {
        if let Some(description) = self.errors.described() {
            return description.is_there(&self.node.path_below(key)).then(|| self.node.blank(key));
        }
        let renamed = || self.renamed.iter().find(|(named, _)| named == key);
        self.node.get(key).or_else(|| self.node.get(&renamed()?.1))
    }

    fn was_asked(&self, key: &str) -> bool {
        self.asked.iter().any(|asked| asked == key)
    }

    /// Records a mistake at the map itself.
    pub fn fail(&mut self, message: &str) {
        self.node.error(self.errors, message);
    }

    /// Records a mistake at a value of the map.
    pub fn fail_at(&mut self, node: &Node, message: impl Into<String>) {
        node.error(self.errors, message);
    }

    /// Records a mistake at the value of a key, or at the map if the key was left out.
    pub fn fail_key(&mut self, key: &str, message: impl Into<String>) {
        let node = self.entry(key).unwrap_or_else(|| self.node.clone());
        node.error(self.errors, message);
    }

    /// The value of a key, if it is there; `Some` of nothing when only the key is.
    pub fn optional_node(&mut self, key: &str) -> Option<Node> {
        self.ask(key, false);
        self.entry(key)
    }

    /// The value of a key that must be there.
    pub fn required_node(&mut self, key: &str) -> Option<Node> {
        self.ask(key, true);
        if self.errors.described().is_some() {
            return Some(self.node.blank(key));
        }
        let node = self.entry(key);
        if node.is_none() {
            self.fail(&format!("missing field `{key}`"));
        }
        node
    }

    fn ask(&mut self, key: &str, is_required: bool) {
        if !self.was_asked(key) {
            self.asked.push(key.to_owned());
        }
        if let Some(description) = self.errors.description() {
            description.ask(self.node.path(), key, is_required);
        }
    }

    fn optional<T>(&mut self, key: &str, kind: &Kind, read: impl FnOnce(&Node) -> Option<T>) -> Option<T> {
        let node = self.optional_node(key).filter(|node| !node.is_null())?;
        self.read(&node, kind, read)
    }

    fn required<T>(&mut self, key: &str, kind: &Kind, read: impl FnOnce(&Node) -> Option<T>) -> Option<T> {
        let node = self.required_node(key)?;
        self.read(&node, kind, read)
    }

    fn read<T>(&mut self, node: &Node, kind: &Kind, read: impl FnOnce(&Node) -> Option<T>) -> Option<T> {
        if let Some(description) = self.errors.description() {
            return read(&description.sample(node, kind));
        }
        let value = read(node);
        if value.is_none() {
            // In quotes a number is text, and says so: it looks right otherwise.
            let is_number = matches!(kind, Kind::Number { .. } | Kind::Truth);
            let is_quoted = is_number && node.text().is_some() && node.plain().is_none();
            let found = format!("{}{}", if is_quoted { "the text " } else { "" }, node.describe());
            node.error(self.errors, format!("expected {}, found {found}", kind.expected()));
        }
        value
    }

    /// Text that may be left out.
    pub fn optional_string(&mut self, key: &str) -> Option<String> {
        self.optional(key, &Kind::Text, text)
    }

    /// Text that must be there. A number or a word like `true` is text where text is asked for.
    pub fn required_string(&mut self, key: &str) -> Option<String> {
        self.required(key, &Kind::Text, text)
    }

    /// The name of a source or transform, that must be there.
    pub(crate) fn required_name(&mut self) -> Option<String> {
        let name = self.required_string("name")?;
        if name.len() > NAME_BYTES_MAX {
            self.fail_key("name", format!("a name of more than {NAME_BYTES_MAX} bytes"));
            return None;
        }
        Some(name)
    }

    /// `host:port` of a server, that must be there. Whoever checks the file resolves the name as well.
    pub fn required_address(&mut self, key: &str) -> Option<String> {
        let node = self.required_node(key)?;
        self.address(&node)
    }

    /// A list of `host:port`s of servers, that must be there; nothing unless all of them are addresses.
    pub fn required_addresses(&mut self, key: &str) -> Option<Vec<String>> {
        let nodes = self.required_list(key)?;
        let addresses: Vec<Option<String>> = nodes.iter().map(|node| self.address(node)).collect();
        addresses.into_iter().collect()
    }

    /// `host:port` of a server. Without a port every attempt to connect would fail; the name is only looked at when it is
    /// resolved.
    pub fn address(&mut self, node: &Node) -> Option<String> {
        let address = self.read(node, &Kind::Address, text)?;
        if let Err(problem) = check_address(&address) {
            node.error(self.errors, problem);
            return None;
        }
        self.errors.push_address(node, &address, Purpose::Connect);
        Some(address)
    }

    /// Notes that the value of a key is an address, for whoever checks the file.
    pub(crate) fn note_address(&mut self, key: &str, address: &str, purpose: Purpose) {
        if let Some(node) = self.entry(key) {
            self.errors.push_address(&node, address, purpose);
        }
    }

    /// A whole number in a range, that may be left out.
    pub fn optional_u64(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.optional(key, &Kind::number(&range), |node| number(node, &range))
    }

    /// A whole number in a range, that must be there.
    pub fn required_u64(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.required(key, &Kind::number(&range), |node| number(node, &range))
    }

    /// `true` or `false`, that may be left out.
    pub fn optional_bool(&mut self, key: &str) -> Option<bool> {
        self.optional(key, &Kind::Truth, truth)
    }

    /// `true` or `false`, that must be there.
    pub fn required_bool(&mut self, key: &str) -> Option<bool> {
        self.required(key, &Kind::Truth, truth)
    }

    /// A list that may be left out.
    pub fn optional_list(&mut self, key: &str) -> Option<Vec<Node>> {
        self.optional(key, &Kind::List, Node::items)
    }

    /// A list that must be there.
    pub fn required_list(&mut self, key: &str) -> Option<Vec<Node>> {
        self.required(key, &Kind::List, Node::items)
    }

    /// A list of texts that may be left out; nothing unless all of them are texts.
    pub fn optional_strings(&mut self, key: &str) -> Option<Vec<String>> {
        let nodes = self.optional_list(key)?;
        self.texts(&nodes)
    }

    /// A list of texts that must be there; nothing unless all of them are.
    pub fn required_strings(&mut self, key: &str) -> Option<Vec<String>> {
        let nodes = self.required_list(key)?;
        self.texts(&nodes)
    }

    /// All are read before any failure counts, to report every one of them.
    fn texts(&mut self, nodes: &[Node]) -> Option<Vec<String>> {
        let texts: Vec<Option<String>> =
            nodes.iter().map(|node| self.read(node, &Kind::Text, text)).collect();
        texts.into_iter().collect()
    }

    /// A list of transforms that must be there. What is wrong with it is told by who reads it: see
    /// [`crate::ChainReader`].
    pub fn required_chain(&mut self, key: &str) -> Option<Node> {
        let node = self.required_node(key)?;
        Some(self.chain(&node))
    }

    /// As [`Fields::required_chain`], of a value that is there.
    pub fn chain(&mut self, node: &Node) -> Node {
        match self.errors.description() {
            Some(description) => description.sample(node, &Kind::Chain),
            None => node.clone(),
        }
    }

    /// A list of transforms, either `node` itself or the value of its only key `chain`: what a [`crate::ChainSlot`] behind
    /// more than one key may be.
    pub fn chain_or_nested(&mut self, node: &Node) -> Option<Node> {
        let is_list = match self.errors.described() {
            Some(description) => description.is_list(node.path()),
            None => node.is_list(),
        };
        if is_list {
            return Some(self.chain(node));
        }
        let mut nested = self.nested(node)?;
        let chain = nested.required_chain("chain");
        nested.finish();
        chain
    }

    /// One of a few words, that may be left out.
    pub fn optional_one_of<'w>(&mut self, key: &str, words: &[&'w str]) -> Option<&'w str> {
        let node = self.optional_node(key).filter(|node| !node.is_null())?;
        self.word(&node, words)
    }

    /// One of a few words, that must be there.
    pub fn required_one_of<'w>(&mut self, key: &str, words: &[&'w str]) -> Option<&'w str> {
        let node = self.required_node(key)?;
        self.word(&node, words)
    }

    /// One of a few words.
    pub fn word<'w>(&mut self, node: &Node, words: &[&'w str]) -> Option<&'w str> {
        let described = self.errors.description().map(|description| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            description.sample(node, &Kind::Words(words))
        });
        let node = described.as_ref().unwrap_or(node);
        let known = node.text().and_then(|text| words.iter().find(|word| **word == text));
        if known.is_none() {
            let found = node.describe();
            let expected = one_of(words.iter().copied());
            node.error(self.errors, format!("unknown variant {found}, expected {expected}"));
        }
        known.copied()
    }

    /// One of a few words by itself, or the one key of a map and its value: how a choice with options of its own is
    /// written. A word by itself has an empty map for its value.
    pub fn choice<'w>(&mut self, node: &Node, words: &[&'w str]) -> Option<(&'w str, Node)> {
        let (word, value) = one_key_of(node, words, self.errors)?;
        let known = words.iter().find(|known| **known == word);
        if known.is_none() {
            let expected = one_of(words.iter().copied());
            node.error(self.errors, format!("unknown variant {}, expected {expected}", quoted(&word)));
        }
        Some((known.copied()?, value))
    }

    /// As [`Fields::choice`], where any word may stand. What stands below the word is not described.
    pub fn one_key_map(&mut self, node: &Node) -> Option<(String, Node)> {
        one_key_of(node, &[], self.errors)
    }

    /// Ends the reading: reports every key that nobody asked for.
    pub fn finish(self) {
        let expected = one_of(self.asked.iter().map(String::as_str));
        for entry in self.node.entries().unwrap_or_default() {
            let is_renamed = self.renamed.iter().any(|(_, other)| *other == entry.key);
            if !is_renamed && !self.was_asked(&entry.key) {
                let message = format!("unknown field {}, expected {expected}", quoted(&entry.key));
                self.errors.push(entry.place, self.node.path(), message);
            }
        }
    }
}

/// Whether a text is `host:port`. The host may be anything: it is looked at when it is resolved or bound.
///
/// # Errors
/// That it is not, for people.
pub fn check_address(text: &str) -> Result<(), &'static str> {
    let has_port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    let is_address = text.rsplit_once(':').is_some_and(has_port);
    is_address.then_some(()).ok_or("expected an address with its port, like 10.0.0.1:9042")
}

/// As [`one_key`], of which the word should be one of these. Whether it is remains to be seen.
pub(crate) fn one_key_of(node: &Node, words: &[&str], errors: &mut Errors) -> Option<(String, Node)> {
    let Some(description) = errors.description() else { return one_key(node, errors) };
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let word = description.sample(node, &Kind::Choice(words));
    let word = word.text().unwrap_or_default();
    Some((word.to_owned(), node.blank(word)))
}

/// A word by itself, or the one key of a map and its value, of a node that stands in no map that is being read.
pub(crate) fn one_key(node: &Node, errors: &mut Errors) -> Option<(String, Node)> {
    match node.value() {
        Value::Map(entries) => {
            if let [only] = &**entries {
                return Some((only.key.clone(), node.below(only)));
            }
            node.error(errors, format!("expected a map with exactly one key, found {}", entries.len()));
            None
        }
        _ => match node.text() {
            Some(word) => Some((word.to_owned(), node.empty_map())),
            None => {
                node.error(errors, format!("expected a map with exactly one key, found {}", node.describe()));
                None
            }
        },
    }
}

fn text(node: &Node) -> Option<String> {
    node.text().map(str::to_owned)
}

fn truth(node: &Node) -> Option<bool> {
    match node.plain()? {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn number(node: &Node, range: &RangeInclusive<u64>) -> Option<u64> {
    node.plain()?.parse().ok().filter(|number| range.contains(number))
}
