//! The cursor that the clauses' parsers share, and the statements that are not of rows.

use std::fmt;

use crate::cql::query::classify::classify;
use crate::cql::query::identifier::{Identifier, TableName};
use crate::cql::query::keyword::is_reserved;
use crate::cql::query::kind::StatementKind;
use crate::cql::query::lexer::{Kind, Lexer, Token};
use crate::cql::query::markers::{Binding, Markers, Step};
use crate::cql::query::view::{Form, Statement, Term};
use crate::limits::{CQL_DEPTH_MAX, CQL_MARKERS_MAX, CQL_PARSED_BYTES_MAX};

/// A text that was parsed.
#[derive(Clone, Debug)]
pub struct Parsed<'t> {
    /// What it says.
    pub statement: Statement<'t>,
    /// Its bind markers, in order.
    pub markers: Markers<'t>,
}

/// Why a text is no statement, and where.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub problem: Problem,
    /// The byte at which it is seen.
    pub at: usize,
}

/// What is wrong with a text.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Something else should stand there.
    Expected(&'static str),
    /// No token begins so.
    UnknownCharacter,
    /// A string, a quoted name or a comment has no end.
    Unterminated,
    /// Values, types or parentheses are nested more deeply than [`CQL_DEPTH_MAX`].
    TooDeep,
    /// More bind markers than [`CQL_MARKERS_MAX`].
    TooManyMarkers,
    /// More bytes than [`CQL_PARSED_BYTES_MAX`].
    TooLong,
    /// `c = d + 1`: a column can only be added to itself.
    OtherColumn,
    /// It begins like no statement, or is more than one.
    Unrecognized,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            Problem::Expected(what) => write!(f, "expected {what}")?,
            Problem::UnknownCharacter => f.write_str("no token begins like this")?,
            Problem::Unterminated => f.write_str("a string, a quoted name or a comment has no end")?,
            Problem::TooDeep => write!(f, "nested more than {CQL_DEPTH_MAX} deep")?,
            Problem::TooManyMarkers => write!(f, "more than {CQL_MARKERS_MAX} bind markers")?,
            Problem::TooLong => write!(f, "more than {CQL_PARSED_BYTES_MAX} bytes")?,
            Problem::OtherColumn => f.write_str("a column can only be added to itself")?,
            Problem::Unrecognized => f.write_str("not one statement that is known")?,
        }
        write!(f, ", at byte {}", self.at)
    }
}

impl std::error::Error for SyntaxError {}

pub(super) type Result<T> = std::result::Result<T, SyntaxError>;

/// Parses a SELECT, INSERT, UPDATE, DELETE, TRUNCATE, USE or BATCH. Of other statements only the kind is told.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn parse(text: &str) -> Result<Parsed<'_>> {
    parse_steps(text).0
}

/// As [`parse`], with the bytes that the lexer went over, however often.
#[cfg(test)]
pub(super) fn parse_counted(text: &str) -> (Result<Parsed<'_>>, usize) {
    parse_steps(text)
}

fn parse_steps(text: &str) -> (Result<Parsed<'_>>, usize) {
    if text.len() > CQL_PARSED_BYTES_MAX {
        return (Err(SyntaxError { problem: Problem::TooLong, at: CQL_PARSED_BYTES_MAX }), 0);
    }
    let mut parser = Parser::new(text);
    let statement = parser.whole(classify(text).kind);
    let markers = parser.markers;
    (statement.map(|statement| Parsed { statement, markers }), parser.steps)
}

/// A place in a text, to come back to.
pub(super) struct Place {
    lexer_at: Token,
    end: usize,
    markers: usize,
    name_bytes: usize,
    depth: usize,
}

/// Reads a text from front to back, one token ahead.
pub(super) struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    /// Where the last token ended that was read.
    end: usize,
    depth: usize,
    steps: usize,
    pub(super) markers: Markers<'t>,
    /// The value that was read last is a bind marker, or a cast of one.
    pub(super) is_marker: bool,
    /// What is read is also written here, as Cassandra names results. Only while a name is asked for.
    pub(super) name: Option<String>,
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut lexer = Lexer::new(text);
        let token = lexer.next();
        Self {
            lexer,
            token,
            end: 0,
            depth: 0,
            steps: token.end,
            markers: Markers::default(),
            is_marker: false,
            name: None,
        }
    }

    fn whole(&mut self, kind: StatementKind) -> Result<Statement<'t>> {
        let statement = match kind {
            StatementKind::Select => self.select().map(Statement::Select)?,
            StatementKind::Insert => self.insert().map(Statement::Insert)?,
            StatementKind::Update => self.update().map(Statement::Update)?,
            StatementKind::Delete => self.delete().map(Statement::Delete)?,
            StatementKind::Batch => self.batch().map(Statement::Batch)?,
            StatementKind::Truncate => {
                self.expect_word("TRUNCATE")?;
                if !self.eat_word("TABLE") {
                    self.eat_word("COLUMNFAMILY");
                }
                Statement::Truncate(self.table()?)
            }
            StatementKind::Use => {
                self.expect_word("USE")?;
                Statement::Use(self.name()?)
            }
            StatementKind::Unrecognized | StatementKind::ApplyBatch => {
                return Err(self.error(Problem::Unrecognized));
            }
            other => return Ok(Statement::Other(other)),
        };
        while self.eat_symbol(b';') {}
        if self.token.kind == Kind::End {
            Ok(statement)
        } else {
            Err(self.expected("the end of the statement"))
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.token.kind
    }

    /// The text of the token that is next.
    pub(super) fn text(&self) -> &'t str {
        self.lexer.text(self.token.at, self.token.end)
    }

    /// Where the token that is next begins.
    pub(super) fn at(&self) -> usize {
        self.token.at
    }

    /// The text from `at` to the end of the token that was read last.
    pub(super) fn text_since(&self, at: usize) -> &'t str {
        self.lexer.text(at, self.end)
    }

    pub(super) fn advance(&mut self) {
        self.end = self.token.end;
        self.token = self.lexer.next();
        self.steps = self.steps.saturating_add(self.token.end.saturating_sub(self.end));
    }

    /// The token behind the next one, and the one behind that.
    pub(super) fn ahead(&mut self) -> [Token; 2] {
        let mut lexer = self.lexer;
        let tokens = [lexer.next(), lexer.next()];
        let [_, last] = tokens;
        self.steps = self.steps.saturating_add(last.end.saturating_sub(self.token.end));
        tokens
    }

    /// Reads on behind a token that was looked at ahead of time.
    pub(super) fn lexer_behind(&self, token: Token) -> Lexer<'t> {
        let mut lexer = self.lexer;
        lexer.seek(token.end);
        lexer
    }

    pub(super) fn token_text(&self, token: Token) -> &'t str {
        self.lexer.text(token.at, token.end)
    }

    pub(super) fn place(&self) -> Place {
        Place {
            lexer_at: self.token,
            end: self.end,
            markers: self.markers.count(),
            name_bytes: self.name.as_ref().map_or(0, String::len),
            depth: self.depth,
        }
    }

    pub(super) fn go_back(&mut self, place: &Place) {
        self.token = place.lexer_at;
        self.lexer.seek(place.lexer_at.end);
        self.end = place.end;
        self.depth = place.depth;
        self.markers.truncate(place.markers);
        if let Some(name) = &mut self.name {
            name.truncate(place.name_bytes);
        }
    }

    pub(super) fn error(&self, problem: Problem) -> SyntaxError {
        SyntaxError { problem, at: self.token.at }
    }

    /// The error that something else should stand here.
    #[cold]
    pub(super) fn expected(&self, what: &'static str) -> SyntaxError {
        self.error(match self.token.kind {
            Kind::Unknown => Problem::UnknownCharacter,
            Kind::Unterminated => Problem::Unterminated,
            _ => Problem::Expected(what),
        })
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.token.kind == Kind::Word && self.text().eq_ignore_ascii_case(word)
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(word);
        if is_there {
            self.advance();
        }
        is_there
    }

    pub(super) fn expect_word(&mut self, word: &'static str) -> Result<()> {
        if self.eat_word(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    pub(super) fn eat(&mut self, kind: Kind) -> bool {
        let is_there = self.token.kind == kind;
        if is_there {
            self.advance();
        }
        is_there
    }

    pub(super) fn is_symbol(&self, symbol: u8) -> bool {
        self.token.kind == Kind::Symbol(symbol)
    }

    pub(super) fn eat_symbol(&mut self, symbol: u8) -> bool {
        self.eat(Kind::Symbol(symbol))
    }

    pub(super) fn expect_symbol(&mut self, symbol: u8, what: &'static str) -> Result<()> {
        if self.eat_symbol(symbol) { Ok(()) } else { Err(self.expected(what)) }
    }

    /// True for the name of anything but the column without a name.
    pub(super) fn is_name_token(&self, token: Token) -> bool {
        match token.kind {
            Kind::QuotedName => true,
            Kind::Word => !is_reserved(self.token_text(token)),
            _ => false,
        }
    }

    pub(super) fn is_name(&self) -> bool {
        self.is_name_token(self.token)
    }

    pub(super) fn name(&mut self) -> Result<Identifier<'t>> {
        if !self.is_name() {
            return Err(self.expected("a name"));
        }
        let name = Identifier::new(self.text());
        self.advance();
        Ok(name)
    }

    pub(super) fn column(&mut self) -> Result<Identifier<'t>> {
        if self.token.kind != Kind::EmptyQuotedName {
            return self.name();
        }
        let name = Identifier::new(self.text());
        self.advance();
        Ok(name)
    }

    pub(super) fn table(&mut self) -> Result<TableName<'t>> {
        let first = self.name()?;
        if self.eat_symbol(b'.') {
            return Ok(TableName { keyspace: Some(first), table: self.name()? });
        }
        Ok(TableName { keyspace: None, table: first })
    }

    /// Goes one level deeper. Who calls it calls [`Self::leave`] behind what it read; after an error nobody goes on.
    pub(super) fn enter(&mut self) -> Result<()> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > CQL_DEPTH_MAX { Err(self.error(Problem::TooDeep)) } else { Ok(()) }
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Writes into the name that is asked for, if one is.
    pub(super) fn emit(&mut self, text: &str) {
        if let Some(name) = &mut self.name {
            name.push_str(text);
        }
    }

    pub(super) fn emit_name(&mut self, identifier: Identifier<'_>) {
        if self.name.is_some() {
            self.emit(&identifier.name());
        }
    }

    /// A marker, if one is next.
    pub(super) fn marker(&mut self, binding: &Binding<'_, 't>) -> Result<bool> {
        let name = match self.token.kind {
            Kind::Symbol(b'?') => {
                self.advance();
                None
            }
            Kind::Symbol(b':') => {
                self.advance();
                Some(self.name()?)
            }
            _ => return Ok(false),
        };
        self.emit("?");
        if self.markers.push(name, binding) { Ok(true) } else { Err(self.error(Problem::TooManyMarkers)) }
    }

    /// A whole number or a marker.
    pub(super) fn number(&mut self, step: Step<'t>) -> Result<Term<'t>> {
        let (at, before) = (self.at(), self.markers.count());
        let form = if self.marker(&Binding::new(step))? {
            Form::Marker
        } else if self.eat(Kind::Integer) {
            Form::Integer
        } else {
            return Err(self.expected("a whole number or a bind marker"));
        };
        Ok(self.term_since(at, before, form))
    }

    /// A marker and nothing else, if one is next.
    pub(super) fn marker_term(&mut self, binding: &Binding<'_, 't>) -> Result<Option<Term<'t>>> {
        let (at, before) = (self.at(), self.markers.count());
        Ok(self.marker(binding)?.then(|| self.term_since(at, before, Form::Marker)))
    }

    /// The value that was read since there.
    pub(super) fn term_since(&self, at: usize, markers_before: usize, form: Form) -> Term<'t> {
        let count = self.markers.count().saturating_sub(markers_before);
        let narrow = |number| u16::try_from(number).unwrap_or(u16::MAX);
        Term { text: self.text_since(at), form, markers: (narrow(markers_before), narrow(count)) }
    }
}
