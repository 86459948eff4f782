//! Requests that went to both chains, and of which somebody wants to know both replies.

use chain::{Item, KeptReply, Piece, Ticket};
use wire::Head;

use super::session::Uses;

/// Why both are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// The replies are compared, or the client gets the second chain's: the first one's if there is none.
    Compare,
    /// The ids are learned. The client gets the first chain's reply at once. `behind`: the number of the last USE that it
    /// had asked before: the same text is another statement in another keyspace.
    Prepare { is_use: bool, behind: u32 },
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
}

impl Pair {
    /// The first server has prepared it under this id.
    pub(super) fn is_prepared_as(&self, id: &[u8]) -> bool {
        matches!(self.aim, Aim::Prepare { .. }) && self.prepared.as_deref() == Some(id)
    }

    /// Nobody has replied yet.
    pub(super) fn of(item: &Item<'_>, aim: Aim) -> Self {
        let (ticket, id) = (item.ticket(), item.head().id);
        let (to_tee, is_preparing) = (false, false);
        Self { ticket, id, aim, to_tee, main: None, tee: None, request: None, prepared: None, is_preparing }
    }
}

/// All of one client. A pair's key is never 0.
#[derive(Default)]
pub(super) struct Pairs {
    slots: Vec<Option<Pair>>,
    free: Vec<u32>,
}

impl Pairs {
    pub(super) fn open(&mut self, pair: Pair) -> u32 {
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
    pub(super) fn close(&mut self, key: u32) -> Option<Pair> {
        let index = key.checked_sub(1)?;
        let pair = self.slots.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(pair)
    }

    /// Ends a pair if both have replied.
    pub(super) fn close_if_complete(&mut self, key: u32) -> Option<Pair> {
        let pair = self.get(key)?;
        let is_complete =
            pair.main.is_some() && (pair.tee.is_some() || matches!(pair.aim, Aim::State { .. }));
        if is_complete { self.close(key) } else { None }
    }
}
