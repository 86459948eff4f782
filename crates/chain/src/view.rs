//! What the requests of a run are about: each is taken apart when a transform first asks, and the others find what came of
//! it. A run in which nobody asks has nothing of this.

use std::collections::HashMap;

use wire::cql::query::{Outline, Stated};
use wire::{Outlined, Protocol, Side};

use crate::ledger::Ticket;
use crate::message::Item;
use crate::transform::Need;

/// Bytes of views that are kept for the next run.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Where the statements of a request stand among those of the run.
#[derive(Copy, Clone)]
struct View {
    outlined: Outlined,
    first: usize,
    end: usize,
}

/// What is known of the requests of a run.
#[derive(Default)]
pub(crate) struct Views {
    outline: Outline,
    views: HashMap<Ticket, View>,
}

impl Views {
    /// Forgets all requests; false if it has grown out of all proportion.
    pub(crate) fn clear(&mut self) -> bool {
        self.outline.clear();
        self.views.clear();
        let bytes = self.outline.heap_bytes() + self.views.capacity() * size_of::<(Ticket, View)>();
        bytes <= KEPT_BYTES_MAX
    }

    /// Forgets one request, which has other bytes now.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.views.remove(&ticket);
    }
}

#[cfg(test)]
thread_local! {
    /// Requests that were taken apart.
    pub(crate) static TAKEN_APART: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The statements of one request, and what they are about.
#[derive(Copy, Clone)]
pub struct Statements<'v> {
    outlined: Outlined,
    outline: Option<&'v Outline>,
    first: usize,
    end: usize,
    in_use: Option<&'v str>,
}

impl<'v> Statements<'v> {
    /// What the request is, in the words of its protocol: one of a few names.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.outlined.name
    }

    /// False when there is nothing to see: the request is compressed, or malformed.
    #[must_use]
    pub fn are_readable(&self) -> bool {
        self.outlined.is_readable
    }

    /// True when these are all of them, each of them whole.
    #[must_use]
    pub fn are_told(&self) -> bool {
        self.outlined.is_told
    }

    /// The same, but that nobody knows the keyspace in use.
    #[must_use]
    pub fn without_keyspace(self) -> Self {
        Self { in_use: None, ..self }
    }

    /// Each of them: of a batch those inside, of an EXECUTE the one that was prepared.
    pub fn each(self) -> impl Iterator<Item = Stated<'v>> {
        (self.first..self.end).filter_map(move |place| self.outline?.get(place, self.in_use))
    }
}

/// How much of a request with this opcode has to be here for all of its statements.
#[must_use]
pub fn statements_need(protocol: Protocol, opcode: u8) -> Need {
    if protocol.executes(opcode) { Need::Head } else { Need::Whole }
}

impl Item<'_> {
    /// The statements of a request: taken apart once a run, however many transforms ask. What prepared ones are, and the
    /// keyspace in use, is known in a chain where a builder enriches ([`crate::Builder::enriches`]). A reply has none.
    /// They are as many as the transform's [`Need`] lets be here: see [`statements_need`].
    #[must_use]
    pub fn statements(&mut self) -> Statements<'_> {
        let ticket = self.ticket();
        let is_known = self.ledger.views.as_ref().is_some_and(|views| views.views.contains_key(&ticket));
        if !is_known && self.side == Side::Request {
            self.take_apart(ticket);
        }
        let nothing = Outlined { name: "", is_readable: false, is_told: false };
        let views = self.ledger.views.as_deref();
        let view = views.and_then(|views| views.views.get(&ticket)).copied();
        let View { outlined, first, end } = view.unwrap_or(View { outlined: nothing, first: 0, end: 0 });
        Statements {
            outlined,
            outline: views.map(|views| &views.outline),
            first,
            end,
            in_use: self.keyspace(),
        }
    }

    /// The id of a statement that a request runs, and that nobody prepared through this process; the first if there are
    /// several.
    #[must_use]
    pub fn unknown_id(&self) -> Option<Box<[u8]>> {
        let (head, enrichment) = (self.current_head()?, self.enrichment());
        let mut unknown = None;
        let _all = self.protocol.outline(&head, self.bytes(), &mut Outline::default(), |id, _| {
            let is_known = enrichment.and_then(|enrichment| enrichment.statement(id)).is_some();
            if !is_known && unknown.is_none() {
                unknown = Some(id.into());
            }
        });
        unknown
    }

    #[inline(never)]
    fn take_apart(&mut self, ticket: Ticket) {
        #[cfg(test)]
        TAKEN_APART.with(|taken| taken.set(taken.get() + 1));
        let mut views = self.ledger.views.take().unwrap_or_else(|| self.pool.take_views());
        let first = views.outline.len();
        let head = self.current_head().unwrap_or_else(|| *self.head());
        let enrichment = self.enrichment();
        let outlined = self.protocol.outline(&head, self.bytes(), &mut views.outline, |id, into| {
            match enrichment.and_then(|enrichment| enrichment.statement(id)) {
                Some(known) => into.push_prepared(&known.outline, known.keyspace.as_deref()),
                None => into.push_unknown(),
            }
        });
        let end = views.outline.len();
        views.views.insert(ticket, View { outlined, first, end });
        self.ledger.views = Some(views);
    }
}
