//! The statements of a run's requests, taken wholly apart: each is parsed when a transform first asks, and kept for the
//! others until the end of the run. A run in which nobody asks has nothing of this.
//!
//! Prepared statements are remembered by their texts ([`crate::Statement::text`]), not as what was parsed of them: that has
//! up to 20 bytes for a byte of text.

use std::collections::HashMap;
use std::sync::Arc;

use wire::cql::query::{Parsed, ParsedText, StatementKind, SyntaxError};
use wire::{Protocol, Side, Source, Sourced};

use crate::item::Item;
use crate::ledger::Ticket;
use crate::prepared::Known;

/// Bytes of texts that are parsed in one run, those of a prepared statement once. Requests name prepared statements by some
/// 20 bytes, whatever these stand for: a client could keep its worker busy with few of its own. 1,000 EXECUTEs, about as
/// many as come at once, may run as many statements of 4 KiB.
pub(crate) const PARSED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A statement of a request.
struct Place {
    is_prepared: bool,
    /// What it is, if it is a prepared one.
    known: Option<Known>,
    /// Where its text is among those that were parsed.
    text: Result<usize, Unparsed>,
}

/// What was parsed in a run.
#[derive(Default)]
pub(crate) struct Trees {
    texts: Vec<ParsedText>,
    /// By the address of its text, which is kept here: where a prepared statement is in `texts`.
    prepared: HashMap<*const u8, usize>,
    text_bytes: usize,
    places: Vec<Place>,
    /// Where the statements of each request are in `places`.
    requests: HashMap<Ticket, (Sourced, usize, usize)>,
}

impl Trees {
    /// Forgets one request, which has other bytes now.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.requests.remove(&ticket);
    }

    /// Parses a text, unless it is too much.
    fn push(&mut self, protocol: Protocol, text: Arc<str>) -> Result<usize, Unparsed> {
        let text_bytes = self.text_bytes + text.len();
        if text_bytes > PARSED_BYTES_MAX {
            return Err(Unparsed::TooMuch);
        }
        self.text_bytes = text_bytes;
        #[cfg(test)]
        PARSED.with(|parsed| parsed.set(parsed.get() + 1));
        self.texts.push(protocol.parsed(text));
        Ok(self.texts.len() - 1)
    }

    fn push_prepared(&mut self, protocol: Protocol, text: &Arc<str>) -> Result<usize, Unparsed> {
        if let Some(place) = self.prepared.get(&text.as_ptr()) {
            return Ok(*place);
        }
        let place = self.push(protocol, Arc::clone(text))?;
        self.prepared.insert(text.as_ptr(), place);
        Ok(place)
    }
}

#[cfg(test)]
thread_local! {
    /// Texts that were parsed.
    pub(crate) static PARSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Why it is not known what a statement says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unparsed {
    /// Nobody prepared it through this process, or it was forgotten.
    NotPrepared,
    /// Its text is not known to be a statement. A newer server may know better.
    Syntax(SyntaxError),
    /// There are more texts in this run than 4 MiB, prepared ones included.
    TooMuch,
}

/// One statement of a request.
#[derive(Copy, Clone, Debug)]
#[non_exhaustive]
pub struct ParsedStatement<'v> {
    /// What it says: its columns, relations and values, as they are written.
    pub parsed: Result<&'v Parsed<'v>, Unparsed>,
    /// What kind of statement it is, if that much is known.
    pub kind: Option<StatementKind>,
    /// Its text, if that is known.
    pub text: Option<&'v str>,
    /// The keyspace of what it names without one, as far as anybody knows.
    pub keyspace: Option<&'v str>,
    /// Its text is not in the request: only the id under which it was prepared.
    pub is_prepared: bool,
}

/// The statements of one request, taken apart.
#[derive(Copy, Clone)]
pub struct ParsedStatements<'v> {
    trees: Option<&'v Trees>,
    sourced: Sourced,
    first: usize,
    end: usize,
    in_use: Option<&'v str>,
}

impl<'v> ParsedStatements<'v> {
    /// False when there is nothing to see: the request is compressed, or malformed.
    #[must_use]
    pub fn are_readable(&self) -> bool {
        self.sourced.is_readable
    }

    /// True when these are all of them: no more is to come, and none was cut off.
    #[must_use]
    pub fn are_told(&self) -> bool {
        self.sourced.is_told
    }

    /// Each of them, in order: of a BATCH those inside. One of which the end is not here is left out: what it says could
    /// be something else.
    pub fn each(self) -> impl Iterator<Item = ParsedStatement<'v>> {
        (self.first..self.end).filter_map(move |place| self.get(place))
    }

    fn get(&self, place: usize) -> Option<ParsedStatement<'v>> {
        let trees = self.trees?;
        let Place { is_prepared, known, text } = trees.places.get(place)?;
        let tree = text.and_then(|text| trees.texts.get(text).ok_or(Unparsed::TooMuch));
        let kind = tree.ok().map(ParsedText::kind);
        let keyspace = match known {
            // A prepared one of these is of the keyspace in use when it is executed.
            Some(_) if kind == Some(StatementKind::Describe) => None,
            Some(known) => known.keyspace.as_deref(),
            None => self.in_use.filter(|_| !is_prepared),
        };
        Some(ParsedStatement {
            parsed: tree.and_then(|tree| tree.parsed().map_err(Unparsed::Syntax)),
            kind,
            text: tree.ok().map(ParsedText::text).or_else(|| known.as_ref().map(|known| &*known.text)),
            keyspace,
            is_prepared: *is_prepared,
        })
    }
}

impl Item<'_> {
    /// The statements of a request, taken wholly apart: of a QUERY and a PREPARE the text, of an EXECUTE the one that was
    /// prepared, of a BATCH each. Parsed once a run, however many transforms ask; an EXECUTE's once for all that run it.
    /// What prepared ones are, and the keyspace in use, is known in a chain where a builder enriches
    /// ([`crate::Builder::enriches`]). A reply has none. They are as many as the transform's [`crate::Need`] lets be here:
    /// see [`crate::statements_need`].
    ///
    /// [`Item::statements`] costs less, for who wants only kinds and tables.
    #[must_use]
    pub fn parsed(&mut self) -> ParsedStatements<'_> {
        let ticket = self.ticket();
        let trees = self.ledger.views.as_ref().and_then(|views| views.trees.as_deref());
        let is_known = trees.is_some_and(|trees| trees.requests.contains_key(&ticket));
        if !is_known && self.side == Side::Request {
            self.parse(ticket);
        }
        let nothing = Sourced { is_readable: false, is_told: false, has_keyspace: false };
        let trees = self.ledger.views.as_ref().and_then(|views| views.trees.as_deref());
        let found = trees.and_then(|trees| trees.requests.get(&ticket)).copied();
        let (sourced, first, end) = found.unwrap_or((nothing, 0, 0));
        let in_use = self.keyspace().filter(|_| !sourced.has_keyspace);
        ParsedStatements { trees, sourced, first, end, in_use }
    }

    #[inline(never)]
    fn parse(&mut self, ticket: Ticket) {
        let mut views = self.ledger.views.take().unwrap_or_else(|| self.pool.take_views());
        let trees = views.trees.get_or_insert_default();
        let (protocol, first) = (self.protocol, trees.places.len());
        let sourced = protocol.each_source(self.head(), self.bytes(), |source| {
            let (is_prepared, known, text) = match source {
                Source::Text(_, false) => return,
                Source::Text(text, true) => (false, None, trees.push(protocol, text.into())),
                Source::Prepared(id) => match self.enrichment().and_then(|all| all.statement(id)) {
                    Some(known) => {
                        let text = trees.push_prepared(protocol, &known.text);
                        (true, Some(known), text)
                    }
                    None => (true, None, Err(Unparsed::NotPrepared)),
                },
            };
            trees.places.push(Place { is_prepared, known, text });
        });
        trees.requests.insert(ticket, (sourced, first, trees.places.len()));
        self.ledger.views = Some(views);
    }
}
