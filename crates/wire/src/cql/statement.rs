//! The first words of a statement: enough to say what kind it is. Linear in what precedes them, allocates nothing.

use crate::cql::{body, opcode};
use crate::protocol::{ConnectionState, Head, QueryType, Side};
use crate::reader::Reader;

/// Kinds of statements, by their first word.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// SELECT, LIST, DESCRIBE, and whatever is not known here.
    Read,
    /// INSERT, UPDATE, DELETE, TRUNCATE, and BEGIN .. BATCH.
    Write,
    /// CREATE, ALTER, DROP, GRANT, REVOKE, ADD.
    Schema,
    /// USE.
    Use,
    /// APPLY BATCH without its BEGIN.
    Apply,
}

/// The words that statements begin with.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Select,
    List,
    Insert,
    Update,
    Delete,
    Truncate,
    Begin,
    Create,
    Alter,
    Drop,
    Grant,
    Revoke,
    Use,
    Apply,
    Add,
    Describe,
}

const WORDS: [(&str, Verb); 17] = [
    ("SELECT", Verb::Select),
    ("LIST", Verb::List),
    ("INSERT", Verb::Insert),
    ("UPDATE", Verb::Update),
    ("DELETE", Verb::Delete),
    ("TRUNCATE", Verb::Truncate),
    ("BEGIN", Verb::Begin),
    ("CREATE", Verb::Create),
    ("ALTER", Verb::Alter),
    ("DROP", Verb::Drop),
    ("GRANT", Verb::Grant),
    ("REVOKE", Verb::Revoke),
    ("USE", Verb::Use),
    ("APPLY", Verb::Apply),
    ("ADD", Verb::Add),
    ("DESCRIBE", Verb::Describe),
    ("DESC", Verb::Describe),
];

impl Verb {
    /// True when this is the word, whatever its case.
    pub(crate) fn is(self, word: &str) -> bool {
        WORDS.iter().any(|(name, verb)| *verb == self && name.eq_ignore_ascii_case(word))
    }

    fn statement(self) -> Statement {
        match self {
            Self::Select | Self::List | Self::Describe => Statement::Read,
            Self::Insert | Self::Update | Self::Delete | Self::Truncate | Self::Begin => Statement::Write,
            Self::Create | Self::Alter | Self::Drop | Self::Grant | Self::Revoke | Self::Add => {
                Statement::Schema
            }
            Self::Use => Statement::Use,
            Self::Apply => Statement::Apply,
        }
    }
}

/// The kind of the statement that `text` begins with, whatever white space, comments (`--`, `//`, `/* */`) and case.
/// `None` when its first word is not all there and `is_whole` does not say that nothing more comes.
#[must_use]
pub fn first_statement(text: &[u8], is_whole: bool) -> Option<Statement> {
    first_word(text, is_whole).map(|verb| verb.map_or(Statement::Read, Verb::statement))
}

/// The word that `text` begins with, if it begins a statement. What follows it is the business of `query`.
pub(crate) fn first_verb(text: &[u8], is_whole: bool) -> Option<Verb> {
    first_word(text, is_whole).flatten()
}

/// `None` when the word may not be all there, `Some(None)` when it begins no statement.
fn first_word(text: &[u8], is_whole: bool) -> Option<Option<Verb>> {
    let rest = skip_blank(text);
    let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic());
    let word = match end {
        Some(end) => rest.get(..end).unwrap_or_default(),
        None if is_whole => rest,
        None => return None,
    };
    if word.is_empty() && !is_whole && !could_begin_statement(rest) {
        return None;
    }
    // All of it are letters: the other case of one differs in this bit.
    let is = |name: &str| {
        name.len() == word.len() && name.bytes().zip(word).all(|(own, byte)| own == byte & !0x20)
    };
    let known = WORDS.iter().find(|(name, _)| is(name));
    Some(known.map(|(_, verb)| *verb))
}

/// False where what is left may be the beginning of a comment that is cut off.
fn could_begin_statement(rest: &[u8]) -> bool {
    !matches!(rest, [] | [b'-' | b'/'] | [b'/', b'*' | b'/', ..] | [b'-', b'-', ..])
}

/// Skips white space and comments. A comment without its end is not skipped.
pub(crate) fn skip_blank(mut text: &[u8]) -> &[u8] {
    loop {
        let after = match text {
            [b' ' | b'\t' | b'\r' | b'\n' | b'\x0c', after @ ..] => after,
            [b'-', b'-', after @ ..] | [b'/', b'/', after @ ..] => {
                let Some(end) = after.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                    return text;
                };
                after.get(end..).unwrap_or_default()
            }
            [b'/', b'*', after @ ..] => {
                let Some(end) = after.windows(2).position(|pair| pair == b"*/") else { return text };
                after.get(end.saturating_add(2)..).unwrap_or_default()
            }
            _ => return text,
        };
        text = after;
    }
}

/// The text of a QUERY or PREPARE, and whether it is all there.
pub(crate) fn text<'f>(request: &Head, frame: &'f [u8]) -> Option<(&'f [u8], bool)> {
    text_and_rest(request, frame).map(|(text, rest)| (text, rest.is_some()))
}

/// The text of a QUERY or PREPARE, and what is behind it if it is all there.
pub(crate) fn text_and_rest<'f>(request: &Head, frame: &'f [u8]) -> Option<(&'f [u8], Option<&'f [u8]>)> {
    let mut body: Reader<'f> = body(Side::Request, request, frame).ok()?;
    let length = usize::try_from(body.i32().ok()?).ok()?;
    let here = body.left();
    Some(here.split_at_checked(length).map_or((here, None), |(text, rest)| (text, Some(rest))))
}

/// See [`crate::Protocol::query_type`]. The kinds are upstream's, but that a PREPARE is what its statement is; what
/// carries no text and is no BATCH is a read.
#[must_use]
pub fn query_type(request: &Head, frame: &[u8]) -> Option<QueryType> {
    match request.opcode {
        opcode::BATCH => Some(QueryType::Write),
        opcode::QUERY | opcode::PREPARE => {
            let (text, is_whole) = text(request, frame)?;
            Some(first_statement(text, is_whole)?.query_type())
        }
        _ => Some(QueryType::Read),
    }
}

impl Statement {
    /// What it does, in the words of topologies.
    #[must_use]
    pub fn query_type(self) -> QueryType {
        match self {
            Self::Read => QueryType::Read,
            Self::Write => QueryType::Write,
            Self::Schema | Self::Use => QueryType::SchemaChange,
            Self::Apply => QueryType::ReadWrite,
        }
    }
}

/// See [`crate::Protocol::connection_state`]. An EXECUTE may run a prepared USE, which only who saw the PREPARE knows.
#[must_use]
pub fn connection_state(request: &Head, frame: &[u8]) -> ConnectionState {
    match request.opcode {
        opcode::STARTUP | opcode::AUTH_RESPONSE => ConnectionState::Handshake,
        opcode::REGISTER => ConnectionState::Subscription,
        opcode::EXECUTE => ConnectionState::Unknown,
        opcode::QUERY => {
            match text(request, frame).and_then(|(text, is_whole)| first_statement(text, is_whole)) {
                Some(Statement::Use) => ConnectionState::Keyspace,
                Some(_) => ConnectionState::None,
                None => ConnectionState::Unknown,
            }
        }
        _ => ConnectionState::None,
    }
}
