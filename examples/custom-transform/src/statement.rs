//! As much of CQL as it takes to see whether a SELECT has a bound. Linear in the statement.

/// A SELECT without a bound, and what it reads.
#[derive(Debug, PartialEq, Eq)]
pub struct Select<'s> {
    /// The keyspace, if the statement names one.
    pub keyspace: Option<&'s str>,
    /// The table.
    pub table: &'s str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'s> {
    /// A keyword or a name.
    Word(&'s str),
    /// A name in double quotes.
    Name(&'s str),
    /// Anything else.
    Other(char),
}

impl Token<'_> {
    fn is(self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// What comes next on the way to the name of the table.
#[derive(Clone, Copy)]
enum Expected {
    From,
    Name,
    Dot,
    Table,
    Nothing,
}

/// What the statement reads, if it is a SELECT with neither a WHERE nor a LIMIT. `PER PARTITION LIMIT` is none.
pub fn unbounded_select(statement: &str) -> Option<Select<'_>> {
    let mut tokens = Tokens(statement);
    if !tokens.next()?.is("SELECT") {
        return None;
    }
    let mut select = Select { keyspace: None, table: "nothing" };
    let mut expected = Expected::From;
    let mut before = Token::Other(' ');
    for token in tokens {
        if token.is("WHERE") || token.is("LIMIT") && !before.is("PARTITION") {
            return None;
        }
        expected = match (expected, token) {
            (Expected::From, _) if token.is("FROM") => Expected::Name,
            (Expected::From, _) => Expected::From,
            (Expected::Name, Token::Word(name) | Token::Name(name)) => {
                select.table = name;
                Expected::Dot
            }
            (Expected::Dot, Token::Other('.')) => Expected::Table,
            (Expected::Table, Token::Word(name) | Token::Name(name)) => {
                select = Select { keyspace: Some(select.table), table: name };
                Expected::Nothing
            }
            _ => Expected::Nothing,
        };
        before = token;
    }
    Some(select)
}

/// The rest of a statement.
struct Tokens<'s>(&'s str);

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        self.skip_blank();
        if let Some(string) = self.0.strip_prefix("$$") {
            self.0 = string.split_once("$$").map_or("", |(_, rest)| rest);
            return Some(Token::Other('$'));
        }
        let first = self.0.chars().next()?;
        match first {
            '\'' | '"' => {
                let (inside, rest) = self.0[1..].split_once(first).unwrap_or((&self.0[1..], ""));
                self.0 = rest;
                Some(if first == '"' { Token::Name(inside) } else { Token::Other(first) })
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let is_inside = |character: char| character.is_alphanumeric() || character == '_';
                let end = self.0.find(|character| !is_inside(character)).unwrap_or(self.0.len());
                let (word, rest) = self.0.split_at(end);
                self.0 = rest;
                Some(Token::Word(word))
            }
            _ => {
                self.0 = &self.0[first.len_utf8()..];
                Some(Token::Other(first))
            }
        }
    }
}

impl Tokens<'_> {
    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        loop {
            self.0 = self.0.trim_start();
            let end = if self.0.starts_with("--") || self.0.starts_with("//") {
                "\n"
            } else if self.0.starts_with("/*") {
                "*/"
            } else {
                return;
            };
            self.0 = self.0[2..].split_once(end).map_or("", |(_, rest)| rest);
        }
    }
}
