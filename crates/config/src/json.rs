//! JSON as it is written: just what a schema needs.

use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Truth(bool),
    Number(u64),
    Text(String),
    List(Vec<Self>),
    /// In this order.
    Map(Vec<(String, Self)>),
}

impl Json {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    pub(crate) fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write_text(f, text),
            Self::List(items) if items.iter().all(Self::is_short) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    item.write(f, indent)?;
                }
                f.write_str("]")
            }
            Self::List(items) => {
                let lines = items.iter().map(|item| (None, item));
                write_lines(f, ('[', ']'), indent, lines)
            }
            Self::Map(entries) if entries.is_empty() => f.write_str("{}"),
            Self::Map(entries) => {
                let lines = entries.iter().map(|(key, value)| (Some(key.as_str()), value));
                write_lines(f, ('{', '}'), indent, lines)
            }
        }
    }

    fn is_short(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

fn write_lines<'j>(
    f: &mut fmt::Formatter<'_>,
    (open, close): (char, char),
    indent: usize,
    lines: impl Iterator<Item = (Option<&'j str>, &'j Json)>,
) -> fmt::Result {
    write!(f, "{open}")?;
    let inner = indent + 2;
    for (index, (key, value)) in lines.enumerate() {
        write!(f, "{}\n{:inner$}", if index == 0 { "" } else { "," }, "")?;
        if let Some(key) = key {
            write_text(f, key)?;
            f.write_str(": ")?;
        }
        value.write(f, inner)?;
    }
    write!(f, "\n{:indent$}{close}", "")
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
            _ => write!(f, "{character}")?,
        }
    }
    f.write_str("\"")
}
