//! Names in a CQL text, as they are written there.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// A name as it is written: without quotes in any case, or in quotes exactly. Compared as Cassandra compares them.
#[derive(Copy, Clone, Debug)]
pub struct Identifier<'t> {
    text: &'t str,
}

impl<'t> Identifier<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text }
    }

    /// As it is written, with its quotes.
    #[must_use]
    pub fn raw(self) -> &'t str {
        self.text
    }

    /// True when it is written in quotes.
    #[must_use]
    pub fn is_quoted(self) -> bool {
        self.text.starts_with('"')
    }

    /// True when this is the name, which is given as Cassandra stores it: `Name` is stored as name, `"Name"` as Name.
    #[must_use]
    pub fn matches(self, name: &str) -> bool {
        self.chars().eq(name.chars())
    }

    /// The name as Cassandra stores it; borrowed where that is how it is written.
    #[must_use]
    pub fn name(self) -> Cow<'t, str> {
        let inner = self.inner();
        let is_plain = if self.is_quoted() {
            !inner.contains('"')
        } else {
            !inner.bytes().any(|byte| byte.is_ascii_uppercase())
        };
        if is_plain { Cow::Borrowed(inner) } else { Cow::Owned(self.chars().collect()) }
    }

    /// What is inside the quotes, if there are any.
    fn inner(self) -> &'t str {
        let inside = self.text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        inside.unwrap_or(self.text)
    }

    /// The characters of the name as Cassandra stores it.
    fn chars(self) -> impl Iterator<Item = char> + 't {
        let is_quoted = self.is_quoted();
        let mut was_quote = false;
        self.inner().chars().filter_map(move |letter| {
            if !is_quoted {
                return Some(letter.to_ascii_lowercase());
            }
            // Of a doubled quote, the first stands for both.
            let is_second = was_quote && letter == '"';
            was_quote = letter == '"' && !is_second;
            (!is_second).then_some(letter)
        })
    }
}

/// The name as Cassandra stores it.
impl fmt::Display for Identifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|letter| f.write_char(letter))
    }
}

impl PartialEq for Identifier<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.chars().eq(other.chars())
    }
}

impl Eq for Identifier<'_> {}

/// A table, or what stands where a table may.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TableName<'t> {
    /// The keyspace, where it is written.
    pub keyspace: Option<Identifier<'t>>,
    /// The table.
    pub table: Identifier<'t>,
}

impl<'t> TableName<'t> {
    /// The keyspace it is in: the one that is written, or the one in use on its connection.
    #[must_use]
    pub fn keyspace_or(self, in_use: Option<&'t str>) -> Option<Cow<'t, str>> {
        self.keyspace.map(Identifier::name).or_else(|| in_use.map(Cow::Borrowed))
    }
}
