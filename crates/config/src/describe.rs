//! What the files may say, found out from their readers: each is run many times on a file that is not there, and what it
//! asks for is noted. So an option is described once, by the line that reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::errors::{Errors, one_of};
use crate::tree::{Node, Value};

/// How often a reader is run. In the first round no option is there, in the second all of them; in the others it is as
/// good as chance which are, and which words were chosen: so an option that is only asked for beside a certain word, or
/// where another one is missing, is found too.
const ROUNDS: u64 = 200;

/// A text for readers that look at what they are given.
const SAMPLE_TEXT: &str = "127.0.0.1:9042";

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Text,
    /// Text that ends with a port.
    Address,
    Number {
        min: u64,
        max: u64,
    },
    Truth,
    List,
    /// One of these.
    Words(Vec<String>),
    /// One of these by itself, or as the one key of a map; any word if there are none.
    Choice(Vec<String>),
    Map,
    Chain,
}

impl Kind {
    pub(crate) fn number(range: &RangeInclusive<u64>) -> Self {
        Self::Number { min: *range.start(), max: *range.end() }
    }

    /// As a message puts it: what follows `expected`.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Text | Self::Address => "text".to_owned(),
            Self::Number { min, max: u64::MAX } => format!("a whole number, at least {min}"),
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::Truth => "`true` or `false`".to_owned(),
            Self::List => "a list".to_owned(),
            Self::Words(words) => one_of(words.iter().map(String::as_str)),
            Self::Choice(_) => "a map with exactly one key".to_owned(),
            Self::Map => "a map of options".to_owned(),
            Self::Chain => "a list of transforms".to_owned(),
        }
    }
}

/// A key of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// Other names it may stand under.
    pub(crate) aliases: BTreeSet<String>,
    /// The rounds in which it had to be there.
    required: BTreeSet<u64>,
}

/// What is known of the values at one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) kinds: BTreeSet<Kind>,
    /// In the order in which they were asked for.
    pub(crate) keys: Vec<Key>,
    /// The rounds in which it was read as a map.
    opened: BTreeSet<u64>,
}

impl Noted {
    /// True when the reader never goes on without this key.
    pub(crate) fn is_required(&self, key: &Key) -> bool {
        self.opened.is_subset(&key.required)
    }

    fn with_key(&mut self, name: &str, note: impl FnOnce(&mut Key)) {
        if let Some(known) = self.keys.iter_mut().find(|key| key.name == name) {
            note(known);
        } else {
            let mut key = Key { name: name.to_owned(), ..Key::default() };
            note(&mut key);
            self.keys.push(key);
        }
    }
}

/// What the readers of one file asked for, by the path of the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Description {
    round: u64,
    noted: BTreeMap<String, Noted>,
}

/// What is left to chance.
#[derive(Clone, Copy)]
enum Question {
    IsThere,
    IsList,
    Which,
}

/// Runs `read` on a file that is not there.
pub(crate) fn describe(mut read: impl FnMut(&Node, &mut Errors)) -> Description {
    let mut description = Description::default();
    for round in 0..ROUNDS {
        description.round = round;
        let mut errors = Errors::describing(description);
        read(&Node::made(String::new(), Value::Map(Vec::new())), &mut errors);
        description = errors.into_description();
    }
    description
}

impl Description {
    /// What is known of the values at `path`.
    pub(crate) fn at(&self, path: &str) -> Option<&Noted> {
        self.noted.get(path)
    }

    fn note(&mut self, path: &str) -> &mut Noted {
        self.noted.entry(path.to_owned()).or_default()
    }

    /// A number that this round, question and path always give. Each question has numbers of its own: if one number said
    /// both whether an option is there and which word it is, some words would never be there.
    fn draw(&self, question: Question, path: &str) -> u64 {
        // FNV-1a, whose low bits are poor: the high ones are used.
        let bytes = self.round.to_le_bytes().into_iter().chain([question as u8]).chain(path.bytes());
        let mix = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        bytes.fold(0xcbf2_9ce4_8422_2325, mix) >> 40
    }

    /// Whether there is something at this path in this round.
    pub(crate) fn is_there(&self, path: &str) -> bool {
        match self.round {
            0 => false,
            1 => true,
            _ => self.draw(Question::IsThere, path).is_multiple_of(2),
        }
    }

    /// Whether a value that may be a list or a map is a list in this round.
    pub(crate) fn is_list(&self, path: &str) -> bool {
        self.draw(Question::IsList, path).is_multiple_of(2)
    }

    /// Notes that a value was read as a map.
    pub(crate) fn open(&mut self, path: &str) {
        let round = self.round;
        let noted = self.note(path);
        noted.kinds.insert(Kind::Map);
        noted.opened.insert(round);
    }

    /// Notes that a map was asked for a key.
    pub(crate) fn ask(&mut self, path: &str, key: &str, is_required: bool) {
        let round = self.round;
        self.note(path).with_key(key, |key| {
            if is_required {
                key.required.insert(round);
            }
        });
    }

    /// Notes another name of a key.
    pub(crate) fn alias(&mut self, path: &str, key: &str, other: &str) {
        self.note(path).with_key(key, |key| {
            key.aliases.insert(other.to_owned());
        });
    }

    /// Notes what a value was read as, and gives one of that kind.
    pub(crate) fn sample(&mut self, node: &Node, kind: &Kind) -> Node {
        self.note(node.path()).kinds.insert(kind.clone());
        let scalar = |text: &str| Value::Scalar { text: text.to_owned(), is_plain: true };
        let value = match kind {
            Kind::Text | Kind::Address => scalar(SAMPLE_TEXT),
            Kind::Number { min, .. } => scalar(&min.to_string()),
            Kind::Truth => scalar(self.pick(node.path(), &["true", "false"])),
            Kind::List => Value::list_of_one(),
            Kind::Words(words) | Kind::Choice(words) => scalar(self.pick(node.path(), words)),
            Kind::Map | Kind::Chain => Value::Map(Vec::new()),
        };
        Node::made(node.path().to_owned(), value)
    }

    fn pick<'w>(&self, path: &str, words: &'w [impl AsRef<str>]) -> &'w str {
        let at = self.draw(Question::Which, path).checked_rem(words.len() as u64).unwrap_or_default();
        words.get(usize::try_from(at).unwrap_or_default()).map_or("", AsRef::as_ref)
    }
}
