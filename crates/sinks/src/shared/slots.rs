//! Which request a stream id of a shared connection stands for: a paged table with generations.
//!
//! ```text
//! free --take--> live --reply--> free
//!                  \--its client left, or it timed out--> orphan --late reply--> free
//! ```
//!
//! An orphan keeps its id: the server may still answer it, and that answer must not reach who has the id next.

use std::collections::VecDeque;
use std::rc::Rc;

use chain::{Need, Ticket};
use wire::cql::session::Work;

use super::inbox::Inbox;

/// Slots of a page; pages are made when first used.
const PAGE_SLOTS: usize = 64;

/// Ids that rest at least, as long as there may be another page.
const FREE_MIN: usize = 256;

/// Requests in flight on one shared connection. Drivers use up to 2,048 on one of theirs.
pub(super) const SLOTS_MAX: usize = 2048;

/// Orphans of a connection. With more it takes no new requests once one of its requests has waited too long, or all slots
/// are taken: the server owes many replies, and is late. A client that leaves can make more of them at once, which says
/// nothing of the server, and costs the other clients nothing.
pub(super) const ORPHANS_MAX: usize = 256;

/// Names a slot for as long as it stands for the same request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotName {
    pub(super) index: u16,
    generation: u32,
}

/// A request whose reply is due.
pub(super) struct Pending {
    /// Who waits for it; `None` for an orphan.
    pub(super) inbox: Option<Rc<Inbox>>,
    /// Its name in its client's ledger.
    pub(super) ticket: Ticket,
    /// The stream id its client gave it.
    pub(super) client_id: i16,
    /// What it does.
    pub(super) work: Work,
    /// The statement is being prepared.
    pub(super) prepares: bool,
    /// How much of its reply somebody wants to see.
    pub(super) need: Need,
    /// Counts the requests of the connection.
    pub(super) sequence: u64,
    /// Where its first byte is among all bytes of the connection.
    pub(super) first_byte: u64,
}

/// A request whose client waits no longer for the server: it must be told something else.
pub(super) struct Orphaned {
    pub(super) inbox: Rc<Inbox>,
    pub(super) ticket: Ticket,
    pub(super) work: Work,
    pub(super) first_byte: u64,
    sequence: u64,
}

impl Pending {
    fn orphan(&mut self) -> Option<Orphaned> {
        let &mut Self { ticket, work, first_byte, sequence, .. } = self;
        Some(Orphaned { inbox: self.inbox.take()?, ticket, work, first_byte, sequence })
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    pending: Option<Pending>,
}

/// The slots of one connection.
#[derive(Default)]
pub(super) struct Slots {
    pages: Vec<Vec<Slot>>,
    /// The id that was free longest is used next: a second reply to an id, which no server should send, is then met
    /// while nobody has that id.
    free: VecDeque<u16>,
    used: usize,
    orphans: usize,
}

impl Slots {
    /// True while another request can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.used < SLOTS_MAX
    }

    /// Slots whose reply is due.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// True while some client still waits for a reply.
    pub(super) fn is_awaited(&self) -> bool {
        let mut pending = self.pages.iter().flatten().filter_map(|slot| slot.pending.as_ref());
        pending.any(|pending| pending.inbox.as_ref().is_some_and(|inbox| !inbox.is_closed()))
    }

    /// Those among them whose client waits no longer.
    pub(super) fn orphans(&self) -> usize {
        self.orphans
    }

    /// Gives a request a stream id. Ask [`Slots::has_room`] first.
    pub(super) fn take(&mut self, pending: Pending) -> SlotName {
        while self.free.len() < FREE_MIN && self.pages.len() * PAGE_SLOTS < SLOTS_MAX {
            self.add_page();
        }
        let index = self.free.pop_front().unwrap_or_default();
        self.used += 1;
        let Some(slot) = self.slot_mut(index) else { return SlotName { index, generation: 0 } };
        slot.pending = Some(pending);
        SlotName { index, generation: slot.generation }
    }

    fn add_page(&mut self) {
        let first = self.pages.len() * PAGE_SLOTS;
        self.pages.push((0..PAGE_SLOTS).map(|_| Slot::default()).collect());
        self.free.extend((first..first + PAGE_SLOTS).filter_map(|index| u16::try_from(index).ok()));
    }

    fn slot_mut(&mut self, index: u16) -> Option<&mut Slot> {
        self.pages.get_mut(usize::from(index) / PAGE_SLOTS)?.get_mut(usize::from(index) % PAGE_SLOTS)
    }

    /// What a reply with this stream id answers. Not yet its end.
    pub(super) fn get(&self, id: i32) -> Option<&Pending> {
        let index = usize::try_from(id).ok()?;
        self.pages.get(index / PAGE_SLOTS)?.get(index % PAGE_SLOTS)?.pending.as_ref()
    }

    /// What a reply with this stream id answers; the id is free from here on.
    pub(super) fn answer(&mut self, id: i32) -> Option<Pending> {
        let index = u16::try_from(id).ok()?;
        let slot = self.slot_mut(index)?;
        let pending = slot.pending.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.used -= 1;
        self.orphans -= usize::from(pending.inbox.is_none());
        self.free.push_back(index);
        Some(pending)
    }

    /// True while the slot stands for the request that is named.
    pub(super) fn is_current(&self, name: SlotName) -> bool {
        let index = usize::from(name.index);
        let page = self.pages.get(index / PAGE_SLOTS);
        let slot = page.and_then(|page| page.get(index % PAGE_SLOTS));
        slot.is_some_and(|slot| slot.generation == name.generation && slot.pending.is_some())
    }

    /// Nobody waits for this request any more, if it is still the one that is named.
    pub(super) fn orphan(&mut self, name: SlotName) -> Option<Orphaned> {
        let slot = self.slot_mut(name.index).filter(|slot| slot.generation == name.generation)?;
        let orphaned = slot.pending.as_mut().and_then(Pending::orphan)?;
        self.orphans += 1;
        Some(orphaned)
    }

    /// A client left: all it waits for are orphans.
    pub(super) fn orphan_all_of(&mut self, inbox: &Rc<Inbox>) {
        for pending in self.pages.iter_mut().flatten().filter_map(|slot| slot.pending.as_mut()) {
            if pending.inbox.as_ref().is_some_and(|waiting| Rc::ptr_eq(waiting, inbox)) {
                pending.inbox = None;
                self.orphans += 1;
            }
        }
    }

    /// Where the first request begins of those that begin at this byte of the connection or behind it.
    pub(super) fn first_byte_from(&self, from: u64) -> Option<u64> {
        let pending = self.pages.iter().flatten().filter_map(|slot| slot.pending.as_ref());
        pending.map(|pending| pending.first_byte).filter(|first_byte| *first_byte >= from).min()
    }

    /// Nobody waits any more for what was taken after `sequence`, or for anything; oldest first. Allocates: for the
    /// end of a connection, not for its life.
    pub(super) fn orphan_after(&mut self, sequence: Option<u64>) -> Vec<Orphaned> {
        let pending = self.pages.iter_mut().flatten().filter_map(|slot| slot.pending.as_mut());
        let late = pending.filter(|pending| sequence.is_none_or(|sequence| pending.sequence > sequence));
        let mut orphaned: Vec<Orphaned> = late.filter_map(Pending::orphan).collect();
        orphaned.sort_unstable_by_key(|orphaned| orphaned.sequence);
        self.orphans += orphaned.len();
        orphaned
    }
}
