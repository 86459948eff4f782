//! The first words of a statement: enough to say what kind it is. Linear in what precedes them, allocates nothing.

use crate::cql::{body, opcode};
use crate::protocol::{ConnectionState, Head, QueryType, Side};
use crate::reader::Reader;

/// Kinds of statements, by their first word.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// SELECT, LIST, and whatever is not known here.
    Read,
    /// INSERT, UPDATE, DELETE, TRUNCATE, and BEGIN .. BATCH.
    Write,
    /// CREATE, ALTER, DROP, GRANT, REVOKE.
    Schema,
    /// USE.
    Use,
    /// APPLY BATCH without its BEGIN.
    Apply,
}

const WORDS: [(&str, Statement); 14] = [
    ("SELECT", Statement::Read),
    ("LIST", Statement::Read),
    ("INSERT", Statement::Write),
    ("UPDATE", Statement::Write),
    ("DELETE", Statement::Write),
    ("TRUNCATE", Statement::Write),
    ("BEGIN", Statement::Write),
    ("CREATE", Statement::Schema),
    ("ALTER", Statement::Schema),
    ("DROP", Statement::Schema),
    ("GRANT", Statement::Schema),
    ("REVOKE", Statement::Schema),
    ("USE", Statement::Use),
    ("APPLY", Statement::Apply),
];

/// The kind of the statement that `text` begins with, whatever white space, comments (`--`, `//`, `/* */`) and case.
/// `None` when its first word is not all there and `is_whole` does not say that nothing more comes.
#[must_use]
pub fn first_statement(text: &[u8], is_whole: bool) -> Option<Statement> {
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
    let known = WORDS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
    Some(known.map_or(Statement::Read, |(_, kind)| *kind))
}

/// False where what is left may be the beginning of a comment that is cut off.
fn could_begin_statement(rest: &[u8]) -> bool {
    !matches!(rest, [] | [b'-' | b'/'] | [b'/', b'*' | b'/', ..] | [b'-', b'-', ..])
}

/// Skips white space and comments. A comment without its end is not skipped.
fn skip_blank(mut text: &[u8]) -> &[u8] {
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
    let mut body: Reader<'f> = body(Side::Request, request, frame).ok()?;
    let length = usize::try_from(body.i32().ok()?).ok()?;
    let here = body.left();
    Some((here.get(..length).unwrap_or(here), here.len() >= length))
}

/// See [`crate::Protocol::query_type`]. The kinds are upstream's, but that a PREPARE is what its statement is; what
/// carries no text and is no BATCH is a read.
#[must_use]
pub fn query_type(request: &Head, frame: &[u8]) -> Option<QueryType> {
    match request.opcode {
        opcode::BATCH => Some(QueryType::Write),
        opcode::QUERY | opcode::PREPARE => {
            let (text, is_whole) = text(request, frame)?;
            Some(match first_statement(text, is_whole)? {
                Statement::Read => QueryType::Read,
                Statement::Write => QueryType::Write,
                Statement::Schema | Statement::Use => QueryType::SchemaChange,
                Statement::Apply => QueryType::ReadWrite,
            })
        }
        _ => Some(QueryType::Read),
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
