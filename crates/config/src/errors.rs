//! What is wrong with a file: every mistake, with its place.

use std::collections::BTreeSet;
use std::fmt;

use crate::describe::Description;
use crate::tree::Node;

/// Mistakes that are kept. Whoever has more corrects these first.
pub(crate) const MISTAKES_MAX: usize = 200;

/// Characters of the file's own words that a message repeats.
const QUOTED_CHARS_MAX: usize = 80;

/// The mistakes found in one file.
///
/// Shown one a line, in the order of the file: `topology.yaml:12:9: sources[0].Cassandra: missing field `name``. Below
/// them stand, under `Topology errors`, those that concern how the parts fit together, in the layout users of upstream
/// know (and search their logs for).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    file: String,
    found: BTreeSet<Mistake>,
    /// Mistakes beyond [`MISTAKES_MAX`].
    left_out: usize,
    outline: Vec<Outlined>,
    addresses: Vec<Address>,
    /// Set while nothing is read but readers are asked what they would read. Then nothing is wrong.
    description: Option<Box<Description>>,
}

/// `host:port`, as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it is written.
    pub text: String,
    /// The path that leads to it.
    pub path: String,
    /// What it is for.
    pub purpose: Purpose,
    place: (usize, usize),
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Clients connect to it.
    Listen,
    /// People flip a switch there.
    Switch,
    /// It is a server's.
    Connect,
}

/// Ordered as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mistake {
    line: usize,
    column: usize,
    path: String,
    message: String,
}

/// The parts of the outline, in the order in which they are shown.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    SourceNames,
    TransformNames,
    ChainNames,
    Chains,
}

/// A line of the outline, and the headings it stands under.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outlined {
    section: Section,
    headings: Vec<String>,
    text: String,
}

impl Errors {
    /// None yet, in this file.
    #[must_use]
    pub fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            found: BTreeSet::new(),
            left_out: 0,
            outline: Vec::new(),
            addresses: Vec::new(),
            description: None,
        }
    }

    /// For readers that are asked what they would read.
    pub(crate) fn describing(description: Description) -> Self {
        Self { description: Some(Box::new(description)), ..Self::new("") }
    }

    /// What the readers asked for, when they were asked what they would read.
    pub(crate) fn description(&mut self) -> Option<&mut Description> {
        self.description.as_deref_mut()
    }

    pub(crate) fn described(&self) -> Option<&Description> {
        self.description.as_deref()
    }

    pub(crate) fn into_description(self) -> Description {
        self.description.map(|description| *description).unwrap_or_default()
    }

    /// The addresses that stand in the file, as far as it was read.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn push_address(&mut self, node: &Node, text: &str, purpose: Purpose) {
        let (text, path) = (text.to_owned(), node.path().to_owned());
        self.addresses.push(Address { text, path, purpose, place: node.position() });
    }

    /// Records what is wrong with an address.
    pub fn fail_address(&mut self, address: &Address, message: impl Into<String>) {
        self.push(address.place, &address.path, message);
    }

    /// True when nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Records a mistake. Lines and columns count from 1.
    pub(crate) fn push(&mut self, place: (usize, usize), path: &str, message: impl Into<String>) {
        if self.description.is_some() {
            return;
        }
        let (line, column) = place;
        let mistake = Mistake { line, column, path: path.to_owned(), message: message.into() };
        if self.found.len() < MISTAKES_MAX {
            self.found.insert(mistake);
        } else if !self.found.contains(&mistake) {
            self.left_out += 1;
        }
    }

    /// Adds a line to the outline under `Topology errors`. The mistake it tells of is recorded by [`Self::push`].
    pub(crate) fn push_outline(&mut self, section: Section, headings: &[String], text: impl Into<String>) {
        if self.outline.len() < MISTAKES_MAX && self.description.is_none() {
            let outlined = Outlined { section, headings: headings.to_vec(), text: text.into() };
            let place = self.outline.partition_point(|other| other.section <= section);
            self.outline.insert(place, outlined);
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, column, path, message }) in self.found.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let colon = if path.is_empty() { "" } else { ": " };
            write!(f, "{separator}{}:{line}:{column}: {path}{colon}{message}", self.file)?;
        }
        if self.left_out > 0 {
            write!(f, "\n{}: and {} more mistakes", self.file, self.left_out)?;
        }
        if !self.outline.is_empty() {
            write!(f, "\nTopology errors")?;
        }
        let mut above: &[String] = &[];
        for Outlined { headings, text, .. } in &self.outline {
            let shared = headings.iter().zip(above).take_while(|(heading, above)| heading == above).count();
            for (depth, heading) in headings.iter().enumerate().skip(shared) {
                write!(f, "\n{:indent$}{heading}", "", indent = 2 * depth)?;
            }
            write!(f, "\n{:indent$}{text}", "", indent = 2 * headings.len())?;
            above = headings;
        }
        Ok(())
    }
}

/// Words of the file as a message repeats them: however long they are, the message stays readable.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("`{}...`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
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
