//! Requests that went to both chains, and of which somebody wants to know both replies.

use chain::{Item, KeptReply, Piece, Ticket, WHOLE_BYTES_MAX};
use wire::Head;

use super::session::Uses;

/// Why both are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// The replies are compared, or the client gets the second chain's: the first one's if there is none.
    Compare,
    /// The ids are learned. The client gets the first chain's reply at once.
    Prepare { is_use: bool },
    /// The first chain's reply says in which keyspace the client is. The second chain's is not awaited here. A USE has a
    /// number.
    State { number: u32, uses: Uses },
    /// The first chain's reply went to the client as it was.
    Passed,
}

/// Such a request.
pub(super) struct Pair {
    pub(super) ticket: Ticket,
    pub(super) id: i32,
    pub(super) aim: Aim,
    /// The client gets the second chain's reply.
    pub(super) to_tee: bool,
    /// What the first chain has said, if it has: its reply, if that is needed.
    pub(super) main: Option<Option<KeptReply>>,
    /// As `main`, of the second chain. `Some(None)`: it was not asked.
    pub(super) tee: Option<Option<KeptReply>>,
    /// The request, if it may have to be sent once more.
    pub(super) request: Option<(Head, Piece)>,
    /// The id under which the first server has prepared it.
    pub(super) prepared: Option<Box<[u8]>>,
    /// The second chain was given it, and its id is to be learned from what that says: it is counted.
    pub(super) is_preparing: bool,
    /// How long it is, if it is kept for a mismatch.
    pub(super) request_bytes: usize,
    /// The number of the last USE that was asked before it: the same text is another statement in another keyspace.
    pub(super) behind: u32,
}

impl Pair {
    /// The first server has prepared it under this id.
    pub(super) fn is_prepared_as(&self, id: &[u8]) -> bool {
        matches!(self.aim, Aim::Prepare { .. }) && self.prepared.as_deref() == Some(id)
    }

    /// Nobody has replied yet.
    pub(super) fn of(item: &Item<'_>, aim: Aim) -> Self {
        let (ticket, id) = (item.ticket(), item.head().id);
        Self {
            ticket,
            id,
            aim,
            to_tee: false,
            main: None,
            tee: None,
            request: None,
            prepared: None,
            is_preparing: false,
            request_bytes: 0,
            behind: 0,
        }
    }
}

/// Bytes of one chain's replies that may wait for the other's; with more, nothing is read of the chain that is ahead.
/// And of requests that may have to be sent once more.
const KEPT_BYTES_MAX: usize = WHOLE_BYTES_MAX;

/// All of one client. A pair's key is never 0.
#[derive(Default)]
pub(super) struct Pairs {
    slots: Vec<Option<Pair>>,
    free: Vec<u32>,
    /// Bytes of the first chain's replies that are held for a comparison.
    main_bytes: usize,
    /// Bytes of the second chain's replies that are kept.
    tee_bytes: usize,
    /// Bytes of requests that are kept for a mismatch.
    request_bytes: usize,
}

fn bytes_of(reply: &Option<Option<KeptReply>>) -> usize {
    reply.iter().flatten().map(|reply| reply.bytes().len()).sum()
}

impl Pairs {
    /// Too many replies of the first chain wait for the second.
    pub(super) fn has_much_of_main(&self) -> bool {
        self.main_bytes > KEPT_BYTES_MAX
    }

    /// Too many replies of the second chain wait for the first.
    pub(super) fn has_much_of_tee(&self) -> bool {
        self.tee_bytes > KEPT_BYTES_MAX
    }

    /// Too many requests may have to be sent once more: the client is not read.
    pub(super) fn has_much_of_requests(&self) -> bool {
        self.request_bytes > KEPT_BYTES_MAX
    }

    /// The first chain has replied to a request of which both replies are compared.
    pub(super) fn hold_main(&mut self, key: u32, reply: Option<KeptReply>) {
        let Some(pair) = self.get(key) else { return };
        pair.main = Some(reply);
        let bytes = bytes_of(&pair.main);
        self.main_bytes += bytes;
    }

    /// The second chain has replied, or was not asked.
    pub(super) fn keep_tee(&mut self, key: u32, reply: Option<KeptReply>) -> Option<Aim> {
        let pair = self.get(key)?;
        pair.tee = Some(reply);
        let (aim, bytes) = (pair.aim, bytes_of(&pair.tee));
        self.tee_bytes += bytes;
        Some(aim)
    }

    pub(super) fn open(&mut self, pair: Pair) -> u32 {
        self.request_bytes += pair.request_bytes;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX - 2)
        });
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = Some(pair);
        }
        index + 1
    }

    pub(super) fn get(&mut self, key: u32) -> Option<&mut Pair> {
        self.slots.get_mut(key.checked_sub(1)? as usize)?.as_mut()
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &Pair> {
        self.slots.iter().flatten()
    }

    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.slots.iter_mut().flatten()
    }

    /// Ends a pair.
    // It is large: who takes it apart is the cheaper for not moving it first.
    #[inline]
    pub(super) fn close(&mut self, key: u32) -> Option<Pair> {
        let index = key.checked_sub(1)?;
        let slot = self.slots.get_mut(index as usize)?;
        let pair = slot.as_ref()?;
        self.request_bytes = self.request_bytes.saturating_sub(pair.request_bytes);
        if pair.aim == Aim::Compare {
            self.main_bytes = self.main_bytes.saturating_sub(bytes_of(&pair.main));
        }
        self.tee_bytes = self.tee_bytes.saturating_sub(bytes_of(&pair.tee));
        self.free.push(index);
        slot.take()
    }

    /// Ends a pair if both have replied.
    #[inline]
    pub(super) fn close_if_complete(&mut self, key: u32) -> Option<Pair> {
        let pair = self.get(key)?;
        let is_complete =
            pair.main.is_some() && (pair.tee.is_some() || matches!(pair.aim, Aim::State { .. }));
        if is_complete { self.close(key) } else { None }
    }
}
