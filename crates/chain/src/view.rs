//! What the requests of a run are about: each is taken apart when a transform first asks, and the others find what came of
//! it. A run in which nobody asks has nothing of this.

use wire::cql::query::{Outline, Stated};
use wire::{Outlined, Protocol, Side, Source};

use crate::item::Item;
use crate::ledger::{IN_FLIGHT_MAX, Ticket};
use crate::parsed::Trees;
use crate::transform::Need;

/// Bytes of views that are kept for the next run.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Places in a ledger: a run may bring more than may be in flight, but not so many.
const PLACES_MAX: usize = 2 * IN_FLIGHT_MAX;

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
    views: Vec<(Ticket, View)>,
    /// By the place of a request in its ledger: the place of its view, counted from 1.
    places: Vec<u32>,
    /// What was parsed of them, if somebody has asked for that.
    pub(crate) trees: Option<Box<Trees>>,
}

impl Views {
    fn get(&self, ticket: Ticket) -> Option<View> {
        let place = self.places.get(ticket.place())?.checked_sub(1)?;
        let (of, view) = self.views.get(place as usize)?;
        (*of == ticket).then_some(*view)
    }

    fn insert(&mut self, ticket: Ticket, view: View) {
        self.views.push((ticket, view));
        let place = ticket.place();
        // A message without an entry in the ledger has no place.
        if self.places.len() <= place && place < PLACES_MAX {
            self.places.resize(place + 1, 0);
        }
        if let Some(kept) = self.places.get_mut(place) {
            *kept = u32::try_from(self.views.len()).unwrap_or_default();
        }
    }

    /// Forgets one request, which has other bytes now.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        if let Some(place) = self.places.get_mut(ticket.place()) {
            *place = 0;
        }
        if let Some(trees) = &mut self.trees {
            trees.forget(ticket);
        }
    }

    /// Forgets all requests; false if it has grown out of all proportion.
    pub(crate) fn clear(&mut self) -> bool {
        self.outline.clear();
        self.trees = None;
        for (ticket, _) in self.views.drain(..) {
            if let Some(place) = self.places.get_mut(ticket.place()) {
                *place = 0;
            }
        }
        let views = self.views.capacity() * size_of::<(Ticket, View)>();
        let bytes = self.outline.heap_bytes() + views + self.places.capacity() * size_of::<u32>();
        bytes <= KEPT_BYTES_MAX
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
        let is_known = self.ledger.views.as_ref().is_some_and(|views| views.get(ticket).is_some());
        if !is_known && self.side == Side::Request {
            self.take_apart(ticket);
        }
        self.known_statements().unwrap_or(Statements {
            outlined: Outlined { name: "", is_readable: false, is_told: false },
            outline: None,
            first: 0,
            end: 0,
            in_use: None,
        })
    }

    /// As [`Item::statements`], if a transform has asked for them already in this run: for one that needs less.
    #[must_use]
    pub fn known_statements(&self) -> Option<Statements<'_>> {
        let views = self.ledger.views.as_deref()?;
        let View { outlined, first, end } = views.get(self.ticket())?;
        Some(Statements { outlined, outline: Some(&views.outline), first, end, in_use: self.keyspace() })
    }

    /// The id of a statement that a request runs, and that nobody prepared through this process; the first if there are
    /// several.
    #[must_use]
    pub fn unknown_id(&self) -> Option<Box<[u8]>> {
        let (enrichment, mut unknown) = (self.enrichment(), None);
        let _all = self.protocol.each_source(self.head(), self.bytes(), |source| {
            if let Source::Prepared(id) = source
                && unknown.is_none()
                && enrichment.and_then(|enrichment| enrichment.statement(id)).is_none()
            {
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
        let enrichment = self.enrichment();
        let is_alone = self.protocol.executes(self.head().opcode);
        let outlined =
            self.protocol.outline(self.head(), self.bytes(), &mut views.outline, |id, into| match enrichment
                .and_then(|enrichment| enrichment.statement(id))
            {
                Some(known) if is_alone => into.push_prepared(&known.outline, known.keyspace.as_deref()),
                Some(known) => into.push_batched(&known.outline, known.keyspace.as_deref()),
                None => into.push_unknown(),
            });
        let end = views.outline.len();
        views.insert(ticket, View { outlined, first, end });
        self.ledger.views = Some(views);
    }
}
