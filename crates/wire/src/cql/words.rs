//! Takes the text of a statement apart: words, quoted names, literals, signs. Comments and white space are skipped.
//!
//! Linear, allocates nothing, and takes whatever bytes there are: what is not closed reaches to the end of the text.

/// What a part of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or a plain name.
    Word,
    /// A name in double quotes, which belong to it.
    Quoted,
    /// A string, number, blob, UUID or duration, or a word that is a value.
    Literal,
    /// Anything else, one byte.
    Sign,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part<'t> {
    pub(crate) kind: Kind,
    pub(crate) bytes: &'t [u8],
    /// White space or a comment stands in front of it.
    pub(crate) is_spaced: bool,
}

impl Part<'_> {
    /// True for this keyword, in whatever case.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.bytes.eq_ignore_ascii_case(keyword.as_bytes())
    }
}

/// The parts of a text, from front to back.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'t> {
    left: &'t [u8],
}

impl<'t> Parts<'t> {
    pub(crate) fn new(text: &'t [u8]) -> Self {
        Self { left: text }
    }
}

impl<'t> Iterator for Parts<'t> {
    type Item = Part<'t>;

    fn next(&mut self) -> Option<Part<'t>> {
        let before = self.left.len();
        self.left = skip_blank(self.left);
        let is_spaced = self.left.len() < before;
        let (kind, length) = measure(self.left)?;
        let (bytes, left) = self.left.split_at_checked(length).unwrap_or((self.left, &[]));
        self.left = left;
        Some(Part { kind, bytes, is_spaced })
    }
}

/// Skips white space and comments.
fn skip_blank(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [b' ' | b'\t' | b'\r' | b'\n' | b'\x0b' | b'\x0c', after @ ..] => after,
            [b'-', b'-', after @ ..] | [b'/', b'/', after @ ..] => {
                let end = after.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                end.and_then(|end| after.get(end..)).unwrap_or_default()
            }
            [b'/', b'*', after @ ..] => {
                let end = after.windows(2).position(|pair| pair == b"*/");
                end.and_then(|end| after.get(end.saturating_add(2)..)).unwrap_or_default()
            }
            _ => return text,
        };
    }
}

/// What a text that begins with no blank begins with, and how many bytes of it that is.
fn measure(text: &[u8]) -> Option<(Kind, usize)> {
    let first = *text.first()?;
    Some(match first {
        b'\'' => (Kind::Literal, quoted(text, b'\'')),
        b'"' => (Kind::Quoted, quoted(text, b'"')),
        b'$' if text.get(1) == Some(&b'$') => {
            let end = text.get(2..).and_then(|after| after.windows(2).position(|pair| pair == b"$$"));
            (Kind::Literal, end.map_or(text.len(), |end| end.saturating_add(4)))
        }
        _ if is_uuid(text) => (Kind::Literal, UUID_BYTES),
        b'0'..=b'9' => (Kind::Literal, number(text)),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
            let length = text.iter().position(|byte| !is_of_word(*byte)).unwrap_or(text.len());
            let word = text.get(..length).unwrap_or_default();
            let kind = if is_value(word) { Kind::Literal } else { Kind::Word };
            (kind, length)
        }
        _ => (Kind::Sign, 1),
    })
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of what begins with this quote; a quote that is doubled does not end it.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at: usize = 1;
    while let Some(found) = text.get(at..).and_then(|left| left.iter().position(|byte| *byte == quote)) {
        at = at.saturating_add(found).saturating_add(1);
        if text.get(at) != Some(&quote) {
            return at;
        }
        at = at.saturating_add(1);
    }
    text.len()
}

/// A number, a blob or a duration. An exponent may have a sign.
fn number(text: &[u8]) -> usize {
    let is_blob = matches!(text, [b'0', b'x' | b'X', ..]);
    let mut before = 0;
    let end = text.iter().position(|&byte| {
        let is_exponent = matches!(byte, b'+' | b'-') && matches!(before, b'e' | b'E') && !is_blob;
        before = byte;
        !(is_of_word(byte) || byte == b'.' || is_exponent)
    });
    end.unwrap_or(text.len())
}

const UUID_BYTES: usize = 36;

fn is_uuid(text: &[u8]) -> bool {
    let Some(uuid) = text.get(..UUID_BYTES) else { return false };
    let is_lawful = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    uuid.iter().enumerate().all(is_lawful) && !text.get(UUID_BYTES).is_some_and(|next| is_of_word(*next))
}

/// Words that are values: constants, and durations like `P1Y2M`.
fn is_value(word: &[u8]) -> bool {
    const VALUES: [&str; 4] = ["true", "false", "nan", "infinity"];
    let is_duration = matches!(word, [b'P' | b'p', b'0'..=b'9' | b'T' | b't', ..])
        && word.last().is_some_and(u8::is_ascii_alphabetic)
        && word.iter().all(|byte| byte.is_ascii_digit() || b"PYMWDTHSpymwdths".contains(byte))
        && word.iter().any(u8::is_ascii_digit);
    is_duration || VALUES.iter().any(|value| word.eq_ignore_ascii_case(value.as_bytes()))
}
