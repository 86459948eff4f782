//! A statement's text without its literals.

use crate::cql::query::lexer::{Kind, Lexer};

/// Words that are values.
const VALUES: [&str; 4] = ["TRUE", "FALSE", "NAN", "INFINITY"];

/// The text with `?` for each literal and a blank for each run of white space and comments, at most so many bytes. It ends
/// before what is no token: a literal without its end might be part of it. For the same reason, of a text that is not whole
/// nothing is shown behind its last white space: outside of quotes, in which no token ends, a literal has none.
#[must_use]
pub fn redacted(text: &str, is_whole: bool, bytes_max: usize) -> String {
    let end =
        if is_whole { text.len() } else { text.rfind(|c: char| c.is_ascii_whitespace()).unwrap_or_default() };
    let mut lexer = Lexer::new(text.get(..end).unwrap_or_default());
    let (mut shown, mut end_before) = (String::new(), 0);
    loop {
        let token = lexer.next();
        let bytes = lexer.text(token.at, token.end);
        let bytes = match token.kind {
            Kind::End | Kind::Unknown | Kind::Unterminated => return shown,
            Kind::String
            | Kind::Integer
            | Kind::Float
            | Kind::NegativeFloat
            | Kind::Duration
            | Kind::Uuid
            | Kind::Blob => "?",
            Kind::Word if VALUES.iter().any(|value| value.eq_ignore_ascii_case(bytes)) => "?",
            _ => bytes,
        };
        if shown.len().saturating_add(bytes.len()).saturating_add(1) > bytes_max {
            return shown;
        }
        if token.at > end_before && !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(bytes);
        end_before = token.end;
    }
}
