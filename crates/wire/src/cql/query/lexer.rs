//! Cuts a CQL text into tokens. Every byte is looked at a bounded number of times, and nothing is allocated.

use crate::cql::statement::skip_blank;

/// What a token is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name without quotes, or a keyword: TRUE and NAN are words too.
    Word,
    /// `"name"`.
    QuotedName,
    /// `""`, the name of one column of some old tables.
    EmptyQuotedName,
    /// `'text'`, or `$$text$$`.
    String,
    /// `12`, `-12`.
    Integer,
    /// `1.`, `1.5`, `1e-3`.
    Float,
    /// `-NaN`, `-Infinity`.
    NegativeFloat,
    /// `1h30m`, `P1Y2M`, `P0001-02-03T04:05:06`.
    Duration,
    /// `123e4567-e89b-12d3-a456-426614174000`.
    Uuid,
    /// `0xCAFE`.
    Blob,
    /// `expr(`: one token, so that a column may be called expr.
    ExprOpen,
    /// One of `( ) [ ] { } , . ; : ? = < > + - * / %`.
    Symbol(u8),
    /// `!=`.
    NotEqual,
    /// `<=`.
    AtMost,
    /// `>=`.
    AtLeast,
    /// `+=`.
    PlusEqual,
    /// `-=`.
    MinusEqual,
    /// `..`.
    Range,
    /// No token begins so. Nothing follows it.
    Unknown,
    /// A string, a quoted name or a comment has no end. Nothing follows it.
    Unterminated,
    /// The end of the text.
    End,
}

/// A token: what it is, and where.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
    pub(super) end: usize,
}

/// Reads tokens from front to back. A copy looks ahead.
#[derive(Copy, Clone, Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The text between two places that tokens have.
    pub(super) fn text(&self, at: usize, end: usize) -> &'t str {
        self.text.get(at..end).unwrap_or_default()
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes to the end of a token that was read before.
    pub(super) fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Token {
        let bytes = self.text.as_bytes();
        let rest = skip_blank(bytes.get(self.at..).unwrap_or_default());
        let at = bytes.len().saturating_sub(rest.len());
        let (kind, length) = token(rest);
        let end = at.saturating_add(length).min(bytes.len());
        // What follows bytes that are no token is not looked at again.
        let is_last = matches!(kind, Kind::Unknown | Kind::Unterminated);
        self.at = if is_last { bytes.len() } else { end };
        Token { kind, at, end }
    }
}

/// The token that `rest` begins with, and its bytes.
fn token(rest: &[u8]) -> (Kind, usize) {
    match rest {
        [] => (Kind::End, 0),
        [b'-', b'-', ..] | [b'/', b'/' | b'*', ..] => (Kind::Unterminated, rest.len()),
        [b'\'', after @ ..] => quoted(after, b'\'', Kind::String),
        [b'"', b'"', third, ..] if *third != b'"' => (Kind::EmptyQuotedName, 2),
        [b'"', b'"'] => (Kind::EmptyQuotedName, 2),
        [b'"', after @ ..] => quoted(after, b'"', Kind::QuotedName),
        [b'$', b'$', after @ ..] => match after.windows(2).position(|pair| pair == b"$$") {
            Some(inner) => (Kind::String, inner.saturating_add(4)),
            None => (Kind::Unterminated, rest.len()),
        },
        [b'0'..=b'9', ..] => number(rest),
        [b'A'..=b'Z' | b'a'..=b'z', ..] => word(rest),
        [b'-', b'=', ..] => (Kind::MinusEqual, 2),
        [b'-', ..] => minus(rest),
        [b'+', b'=', ..] => (Kind::PlusEqual, 2),
        [b'!', b'=', ..] => (Kind::NotEqual, 2),
        [b'<', b'=', ..] => (Kind::AtMost, 2),
        [b'>', b'=', ..] => (Kind::AtLeast, 2),
        [b'.', b'.', ..] => (Kind::Range, 2),
        [symbol, ..] if b"()[]{},.;:?=<>+*/%".contains(symbol) => (Kind::Symbol(*symbol), 1),
        _ => (Kind::Unknown, rest.len()),
    }
}

/// What is between quotes, from behind the first one. A doubled quote stands for itself.
fn quoted(after: &[u8], quote: u8, kind: Kind) -> (Kind, usize) {
    let mut at = 0_usize;
    while let Some(found) = after.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == quote)) {
        let close = at.saturating_add(found);
        if after.get(close.saturating_add(1)) != Some(&quote) {
            return (kind, close.saturating_add(2));
        }
        at = close.saturating_add(2);
    }
    (Kind::Unterminated, after.len().saturating_add(1))
}

/// How many of the first bytes are such.
fn run(bytes: &[u8], is_such: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_such(byte)).unwrap_or(bytes.len())
}

fn digits(bytes: &[u8]) -> usize {
    run(bytes, u8::is_ascii_digit)
}

fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

/// The dashes of a UUID.
const DASHES: [usize; 4] = [8, 13, 18, 23];

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.get(..36).is_some_and(|bytes| {
        let mut places = bytes.iter().enumerate();
        places.all(
            |(place, byte)| {
                if DASHES.contains(&place) { *byte == b'-' } else { byte.is_ascii_hexdigit() }
            },
        )
    })
}

/// True for eight hexadecimal digits and a dash: Cassandra takes nothing but a UUID then.
fn begins_uuid(bytes: &[u8]) -> bool {
    let (start, dash) = bytes.split_at_checked(8).unwrap_or_default();
    dash.starts_with(b"-") && start.iter().all(u8::is_ascii_hexdigit)
}

/// A UUID, or what only begins like one.
fn uuid(rest: &[u8]) -> (Kind, usize) {
    if is_uuid(rest) { (Kind::Uuid, 36) } else { (Kind::Unknown, rest.len()) }
}

fn word(rest: &[u8]) -> (Kind, usize) {
    if begins_uuid(rest) {
        return uuid(rest);
    }
    let length = run(rest, |byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if rest.starts_with(b"P") {
        let duration = iso_duration(rest);
        if duration >= length {
            return (Kind::Duration, duration);
        }
    }
    if length == 4 && rest.starts_with(b"expr(") { (Kind::ExprOpen, 5) } else { (Kind::Word, length) }
}

/// What begins with a minus. Like Cassandra, a minus right before an i, an n or a P is taken for the sign of a number
/// or a duration, whatever follows: `a -name` is no CQL, `a - name` is.
fn minus(rest: &[u8]) -> (Kind, usize) {
    let after = tail(rest, 1);
    let is = |word: &[u8]| after.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match after {
        [b'0'..=b'9', ..] => {
            let (kind, length) = decimal(after);
            (kind, length.saturating_add(1))
        }
        [b'i' | b'I', ..] if is(b"INFINITY") => (Kind::NegativeFloat, 9),
        [b'n' | b'N', ..] if is(b"NAN") => (Kind::NegativeFloat, 4),
        [b'P', ..] => match iso_duration(after) {
            0 => (Kind::Unknown, rest.len()),
            duration => (Kind::Duration, duration.saturating_add(1)),
        },
        [b'i' | b'I' | b'n' | b'N', ..] => (Kind::Unknown, rest.len()),
        _ => (Kind::Symbol(b'-'), 1),
    }
}

/// What begins with a digit.
fn number(rest: &[u8]) -> (Kind, usize) {
    match rest {
        [b'0', b'x' | b'X', hex @ ..] => (Kind::Blob, run(hex, u8::is_ascii_hexdigit).saturating_add(2)),
        _ if begins_uuid(rest) => uuid(rest),
        _ => decimal(rest),
    }
}

/// An integer, a float or a duration, without its sign.
fn decimal(rest: &[u8]) -> (Kind, usize) {
    let whole = digits(rest);
    let mut duration = 0;
    let mut at = whole;
    while at > duration {
        let unit = unit(tail(rest, at));
        if unit == 0 {
            break;
        }
        duration = at.saturating_add(unit);
        at = duration.saturating_add(digits(tail(rest, duration)));
    }
    if duration > 0 {
        return (Kind::Duration, duration);
    }
    let mut end = whole;
    match tail(rest, whole) {
        [b'.', b'.', b'.', ..] => return (Kind::Float, whole.saturating_add(1)),
        [b'.', b'.', ..] => return (Kind::Integer, whole),
        [b'.', after @ ..] => end = whole.saturating_add(1).saturating_add(digits(after)),
        _ => {}
    }
    let exponent = exponent(tail(rest, end));
    end = end.saturating_add(exponent);
    // What could go on as an exponent or as a UUID must: `10AND` is no CQL, `10OR` is two tokens.
    match tail(rest, end) {
        [b'e' | b'E', ..] => return (Kind::Unknown, rest.len()),
        [b'a'..=b'f' | b'A'..=b'F', ..] if end == whole => return (Kind::Unknown, rest.len()),
        _ => {}
    }
    (if end == whole { Kind::Integer } else { Kind::Float }, end)
}

/// The bytes of `e+12`, or none.
fn exponent(rest: &[u8]) -> usize {
    let sign = match rest {
        [b'e' | b'E', b'+' | b'-', ..] => 2,
        [b'e' | b'E', ..] => 1,
        _ => return 0,
    };
    match digits(tail(rest, sign)) {
        0 => 0,
        count => count.saturating_add(sign),
    }
}

/// The bytes of a duration's unit, or none. µ has two bytes.
fn unit(rest: &[u8]) -> usize {
    match rest {
        [b'm' | b'M', b'o' | b'O' | b's' | b'S', ..] => 2,
        [b'u' | b'U' | b'n' | b'N', b's' | b'S', ..] => 2,
        [0xC2, 0xB5, b's' | b'S', ..] => 3,
        [b'y' | b'Y' | b'w' | b'W' | b'd' | b'D' | b'h' | b'H' | b'm' | b'M' | b's' | b'S', ..] => 1,
        _ => 0,
    }
}

/// The bytes of a duration as ISO 8601 has it, or none.
fn iso_duration(rest: &[u8]) -> usize {
    /// `P0001-02-03T04:05:06`, with a digit for each 0.
    const ALTERNATIVE: &[u8; 20] = b"P0000-00-00T00:00:00";
    let is_alternative = rest.get(..ALTERNATIVE.len()).is_some_and(|bytes| {
        bytes.iter().zip(ALTERNATIVE).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        })
    });
    if is_alternative {
        return ALTERNATIVE.len();
    }
    let weeks = designated(tail(rest, 1), b"W");
    if weeks > 0 {
        return weeks.saturating_add(1);
    }
    let period = designated(tail(rest, 1), b"YMD").saturating_add(1);
    let time = match tail(rest, period) {
        [b'T', after @ ..] => match designated(after, b"HMS") {
            0 => 0,
            count => count.saturating_add(1),
        },
        _ => 0,
    };
    if period == 1 && time == 0 { 0 } else { period.saturating_add(time) }
}

/// The bytes of numbers, each with one of these letters, in this order, each at most once.
fn designated(rest: &[u8], letters: &[u8]) -> usize {
    let mut end = 0_usize;
    for letter in letters {
        let left = tail(rest, end);
        let count = digits(left);
        if count > 0 && left.get(count) == Some(letter) {
            end = end.saturating_add(count).saturating_add(1);
        }
    }
    end
}
