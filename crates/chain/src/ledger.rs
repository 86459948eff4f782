//! The ledger: every request a client has in flight, from the moment it was read until its one end.
//!
//! Two parts, both pure and the same for all protocols. [`Ledger`] is the client's side: a slab of entries with
//! generations, so that a ticket of an ended request can never name its successor. [`IdTable`] is a server
//! connection's side: which ticket a reply with this id belongs to.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use wire::{Head, Malformed, Reason};

use crate::chunk::Chunk;
use crate::enrich::Enrichment;
use crate::identity::Identity;
use crate::ids_in_flight::IdsInFlight;
use crate::message::Message;
use crate::stream::Tick;
use crate::transform::Need;
use crate::view::Views;

/// Requests of one client in flight at once; beyond that the client is not read. Drivers use up to 2,048 on a
/// connection, and a CQL connection has 32,768 stream ids.
pub const IN_FLIGHT_MAX: usize = 8192;

/// Requests in flight for which a client keeps room when it has none: 20 KiB in a ledger. As with the pages of an
/// [`IdTable`], few drivers have more, and a burst of [`IN_FLIGHT_MAX`] would keep 330 KiB.
pub const REQUESTS_KEPT: usize = 512;

/// Names one entry of a ledger, for as long as that entry lives.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    index: u32,
    generation: u32,
}

impl Ticket {
    /// The ticket of a message that answers no request.
    pub const NONE: Self = Self { index: u32::MAX, generation: 0 };

    /// What the ledgers of requests that nobody looks at have in common: see [`Ticket::plain`].
    const PLAIN: u32 = u32::MAX - 1;

    /// The ticket of a request that nobody looks at: it stands in no ledger, and knows when it was read.
    #[must_use]
    pub fn plain(read_at: Tick) -> Self {
        let [a, b, c, d, ..] = read_at.0.to_le_bytes();
        Self { index: Self::PLAIN, generation: u32::from_le_bytes([a, b, c, d]) }
    }

    /// Where its entry stands in its ledger.
    pub(crate) fn place(self) -> usize {
        self.index as usize
    }

    /// For the ticket of a request that nobody looked at: the microseconds since it was read.
    fn plain_age(self, now: Tick) -> Option<u64> {
        let [a, b, c, d, ..] = now.0.to_le_bytes();
        let age = u32::from_le_bytes([a, b, c, d]).wrapping_sub(self.generation);
        (self.index == Self::PLAIN).then_some(u64::from(age))
    }
}

/// Where a request is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the chain: no byte of it has been given to a server connection.
    Chain,
    /// Given to a sink: it may have run.
    Sink,
}

/// What the ledger keeps of a request.
#[derive(Copy, Clone, Debug)]
pub struct Entry {
    /// Counts the requests of this client from 0, in the order they were read.
    pub sequence: u64,
    /// The request's header as the client sent it.
    pub head: Head,
    /// When the request was read.
    pub read_at: Tick,
    /// How much of the reply the transforms want to see.
    pub reply_need: Need,
    /// Where the request is.
    pub stage: Stage,
}

#[derive(Clone, Copy)]
struct Slot {
    generation: u32,
    /// A transform has left a tag on its request, or on one before.
    is_tagged: bool,
    entry: Option<Entry>,
}

/// The requests of one client in flight.
#[derive(Default)]
pub struct Ledger {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// That of a new slot: no ticket of a slot that was given back has it.
    first_generation: u32,
    /// `stride` tags a slot, one a transform of the chain.
    tags: Vec<u32>,
    stride: usize,
    next_sequence: u64,
    /// Their stream ids, where these are claimed.
    ids: IdsInFlight,
    /// Whose requests these are.
    identity: Rc<Identity>,
    /// What is known of the client besides, in a chain that asks for it.
    pub(crate) enrichment: Option<Box<Enrichment>>,
    /// What the requests of the run are about, as far as somebody has asked.
    pub(crate) views: Option<Box<Views>>,
}

impl Ledger {
    /// A ledger for a chain of `transforms` transforms.
    #[must_use]
    pub fn new(transforms: usize) -> Self {
        Self { stride: transforms, ..Self::default() }
    }

    /// Claims the id of a request that is to be entered, until its end. False if a request in flight has it.
    pub(crate) fn claim(&mut self, id: i32) -> bool {
        self.ids.claim(on_wire(id))
    }

    /// Claims the ids of requests that are to be entered. From the first on that has the id of one in flight they are
    /// taken off the list, and what is wrong with that one is the answer: servers answer in any order, so which of the two
    /// a reply is for could not be told, and what a chain believes of its client and learns of statements would be what
    /// the client likes.
    pub(crate) fn claim_ids(&mut self, requests: &mut Vec<Message>) -> Option<Malformed> {
        let at = requests.iter().position(|request| !self.ids.claim(on_wire(request.head.id)))?;
        let malformed = requests.get(at).map(|request| id_in_flight(&request.head));
        requests.truncate(at);
        malformed
    }

    /// The greatest stream id that no request in flight has. Allocates: for the rare request of our own.
    pub(crate) fn free_id(&self) -> i16 {
        let ids = self.slots.iter().filter_map(|slot| Some(slot.entry?.head.id));
        let mut taken: Vec<i32> = ids.collect();
        taken.sort_unstable_by(|one, other| other.cmp(one));
        // Fewer are in flight than there are ids.
        taken.into_iter().fold(i16::MAX, |free, id| if id == i32::from(free) { free - 1 } else { free })
    }

    /// Whose requests these are.
    #[must_use]
    pub fn identity(&self) -> &Rc<Identity> {
        &self.identity
    }

    pub(crate) fn set_identity(&mut self, identity: Rc<Identity>) {
        self.identity = identity;
    }

    /// Remembers what is needed of requests to understand their replies, where somebody asks for that.
    pub(crate) fn note(&mut self, chunk: &Chunk, messages: &[Message]) {
        if let Some(mut enrichment) = self.enrichment.take() {
            enrichment.note(chunk, messages, self);
            self.enrichment = Some(enrichment);
        }
    }

    /// As [`Ledger::note`], of a request that has other bytes now.
    pub(crate) fn note_again(&mut self, chunk: &Chunk, message: &Message) {
        if let Some(mut enrichment) = self.enrichment.take() {
            enrichment.note_again(chunk, message, self);
            self.enrichment = Some(enrichment);
        }
    }

    /// Learns what replies say, where somebody asks for that.
    pub(crate) fn learn(&mut self, chunk: &Chunk, messages: &[Message]) {
        if let Some(enrichment) = &mut self.enrichment {
            enrichment.learn(chunk, messages);
        }
    }

    /// Requests in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when every request has had its end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enters a request.
    #[inline(always)]
    pub fn open(&mut self, head: Head, read_at: Tick, reply_need: Need) -> Ticket {
        let entry = Entry { sequence: self.next_sequence, head, read_at, reply_need, stage: Stage::Chain };
        self.next_sequence += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: self.first_generation, is_tagged: false, entry: None });
            self.tags.resize(self.slots.len() * self.stride, 0);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                slot.entry = Some(entry);
                let ticket = Ticket { index, generation: slot.generation };
                if slot.is_tagged {
                    slot.is_tagged = false;
                    self.forget_tags(index as usize);
                }
                ticket
            }
            None => Ticket::NONE,
        }
    }

    /// No tag is inherited from the slot's last request.
    fn forget_tags(&mut self, index: usize) {
        if let Some(tags) = self.tags.get_mut(index * self.stride..(index + 1) * self.stride) {
            tags.fill(0);
        }
    }

    /// The entry of a ticket, if it has not ended.
    #[must_use]
    pub fn get(&self, ticket: Ticket) -> Option<&Entry> {
        let slot = self.slots.get(ticket.index as usize)?;
        slot.entry.as_ref().filter(|_| slot.generation == ticket.generation)
    }

    /// Microseconds since the request of a ticket was read, if it has not ended.
    #[must_use]
    pub fn age(&self, ticket: Ticket, now: Tick) -> Option<u64> {
        ticket.plain_age(now).or_else(|| Some(now.micros_since(self.get(ticket)?.read_at)))
    }

    /// As [`Ledger::get`], to change.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(ticket.index as usize)?;
        slot.entry.as_mut().filter(|_| slot.generation == ticket.generation)
    }

    /// Ends a request; the second end of one is `None`.
    #[inline]
    pub fn close(&mut self, ticket: Ticket) -> Option<Entry> {
        let slot = self.slots.get_mut(ticket.index as usize)?;
        if slot.generation != ticket.generation {
            return None;
        }
        let entry = slot.entry?;
        // Not `take`: that moves all of it.
        slot.entry = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(ticket.index);
        self.ids.release(on_wire(entry.head.id));
        if let Some(enrichment) = &mut self.enrichment {
            enrichment.forget(ticket);
        }
        Some(entry)
    }

    /// Gives back what a burst has left behind. Called once a poll: in [`Ledger::close`] it would cost every request.
    #[inline]
    pub(crate) fn give_room_back(&mut self) {
        if self.slots.len() > REQUESTS_KEPT && self.is_empty() {
            self.give_slots_back();
        }
        if self.ids.is_large() && self.is_empty() {
            self.ids.give_room_back();
        }
    }

    #[cold]
    fn give_slots_back(&mut self) {
        let highest = self.slots.iter().skip(REQUESTS_KEPT).map(|slot| slot.generation).max();
        self.first_generation = self.first_generation.max(highest.unwrap_or_default());
        self.slots.truncate(REQUESTS_KEPT);
        self.slots.shrink_to_fit();
        self.tags.truncate(REQUESTS_KEPT * self.stride);
        self.tags.shrink_to_fit();
        self.free.retain(|index| (*index as usize) < REQUESTS_KEPT);
        self.free.shrink_to_fit();
    }

    /// For how many requests there is room.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let tags = self.tags.capacity().checked_div(self.stride).unwrap_or_default();
        self.slots.capacity().max(self.free.capacity()).max(tags).max(self.ids.capacity())
    }

    /// The tag that transform `layer` left on a request; 0 if it left none.
    #[must_use]
    pub fn tag(&self, ticket: Ticket, layer: usize) -> u32 {
        self.get(ticket)
            .and_then(|_| self.tags.get(ticket.index as usize * self.stride + layer))
            .copied()
            .unwrap_or_default()
    }

    /// Leaves a tag of transform `layer` on a request.
    pub fn set_tag(&mut self, ticket: Ticket, layer: usize, tag: u32) {
        let index = ticket.index as usize;
        if let Some(slot) = self.slots.get_mut(index)
            && slot.generation == ticket.generation
            && slot.entry.is_some()
            && layer < self.stride
            && let Some(place) = self.tags.get_mut(index * self.stride + layer)
        {
            slot.is_tagged = true;
            *place = tag;
        }
    }

    /// Every request in flight, oldest first. Allocates: for the end of a connection, not for its life.
    #[must_use]
    pub fn open_tickets(&self) -> Vec<Ticket> {
        let mut open: Vec<(u64, Ticket)> = Vec::with_capacity(self.len());
        for (index, slot) in (0..).zip(&self.slots) {
            if let Some(entry) = &slot.entry {
                open.push((entry.sequence, Ticket { index, generation: slot.generation }));
            }
        }
        open.sort_unstable_by_key(|(sequence, _)| *sequence);
        open.into_iter().map(|(_, ticket)| ticket).collect()
    }
}

/// What is wrong with a request whose id is in flight.
#[cold]
pub(crate) fn id_in_flight(head: &Head) -> Malformed {
    let reason = Reason::IdInFlight { id: head.id };
    Malformed { reason, at: 0, id: head.id, version: Some(head.version) }
}

/// Slots of a page of an [`IdTable`]: 512 bytes, enough for what most drivers have in flight.
const PAGE_IDS: usize = 64;

/// Pages that a table keeps when nothing is awaited: 4 KiB. Drivers that take the lowest free id need no more for 512
/// requests in flight; those that go round all 32,768 ids would fill 256 KiB a connection.
const PAGES_KEPT: usize = 8;

type Page = Box<[Ticket; PAGE_IDS]>;

/// Which request a reply with this id answers, on one server connection. Pages are made when first used.
#[derive(Default)]
pub struct IdTable {
    pages: Vec<Option<Page>>,
    /// Those of them that were made.
    pages_made: usize,
    /// Requests whose id was already in flight, oldest first. Cassandra answers both, so both must be awaited. A client
    /// may do this with every request: finding the next one must not take longer the more there are.
    repeated: BTreeMap<u16, VecDeque<Ticket>>,
    len: usize,
    /// Those among them that stand in no ledger.
    plain: usize,
}

impl IdTable {
    /// Ids that await a reply.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no reply is awaited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ids that await a reply to a request that nobody looked at.
    #[must_use]
    pub fn plain(&self) -> usize {
        self.plain
    }

    /// Awaits a reply with this id.
    #[inline]
    pub fn insert(&mut self, id: i32, ticket: Ticket) {
        let id = on_wire(id);
        self.len += 1;
        self.plain += usize::from(ticket.index == Ticket::PLAIN);
        let (page, place) = (id as usize / PAGE_IDS, id as usize % PAGE_IDS);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let Some(page) = self.pages.get_mut(page) else { return };
        let page = page.get_or_insert_with(|| {
            self.pages_made += 1;
            Box::new([Ticket::NONE; PAGE_IDS])
        });
        match page.get_mut(place) {
            Some(slot) if *slot == Ticket::NONE => *slot = ticket,
            _ => self.repeated.entry(id).or_default().push_back(ticket),
        }
    }

    /// The oldest request that awaits a reply with this id.
    #[must_use]
    pub fn peek(&self, id: i32) -> Option<Ticket> {
        let id = on_wire(id);
        let page = self.pages.get(id as usize / PAGE_IDS)?.as_ref()?;
        page.get(id as usize % PAGE_IDS).copied().filter(|ticket| *ticket != Ticket::NONE)
    }

    /// The oldest request that awaits a reply with this id; it awaits it no longer.
    #[inline]
    pub fn take(&mut self, id: i32) -> Option<Ticket> {
        let id = on_wire(id);
        let slot = self.pages.get_mut(id as usize / PAGE_IDS)?.as_mut()?.get_mut(id as usize % PAGE_IDS)?;
        if *slot == Ticket::NONE {
            return None;
        }
        self.len -= 1;
        let ticket = std::mem::replace(slot, Ticket::NONE);
        self.plain -= usize::from(ticket.index == Ticket::PLAIN);
        if !self.repeated.is_empty()
            && let Some(next) = next_repeated(&mut self.repeated, id)
        {
            *slot = next;
        }
        if self.len == 0 && self.pages_made > PAGES_KEPT {
            self.give_pages_back();
        }
        Some(ticket)
    }

    /// Nothing is awaited: only the first pages are kept, since most ids are low ones.
    #[cold]
    fn give_pages_back(&mut self) {
        self.pages.truncate(PAGES_KEPT);
        self.pages.shrink_to_fit();
        self.pages_made = self.pages.iter().flatten().count();
    }

    #[cfg(test)]
    pub(crate) fn pages_made(&self) -> usize {
        self.pages_made
    }
}

/// Takes the oldest of the requests that repeat this id.
#[cold]
fn next_repeated(repeated: &mut BTreeMap<u16, VecDeque<Ticket>>, id: u16) -> Option<Ticket> {
    let waiting = repeated.get_mut(&id)?;
    let next = waiting.pop_front();
    if waiting.is_empty() {
        repeated.remove(&id);
    }
    next
}

/// The 16 bits a stream id has on the wire.
fn on_wire(id: i32) -> u16 {
    let [low, high, ..] = id.to_le_bytes();
    u16::from_le_bytes([low, high])
}
