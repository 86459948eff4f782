//! A reply that outlives the run it came in: it waits for another reply, or for its turn.

use wire::{Framed, Head, Protocol, Side};

use crate::chunk::{Piece, Pool};
use crate::ledger::Ticket;
use crate::message::{Leaving, Message};

/// A whole reply that was kept.
pub struct KeptReply {
    pub(crate) head: Head,
    pub(crate) piece: Piece,
}

impl KeptReply {
    /// Keeps a reply that leaves a chain; `None` if more of it is still to come.
    #[must_use]
    pub fn of(leaving: &Leaving<'_>, pool: &Pool) -> Option<Self> {
        (leaving.rest == 0).then(|| Self { head: leaving.head, piece: leaving.outgoing.keep(pool) })
    }

    /// A reply made here; `None` if `frame` is no lawful frame.
    #[must_use]
    pub fn made(protocol: Protocol, pool: &Pool, frame: Vec<u8>) -> Option<Self> {
        let head = whole_frame(protocol, Side::Response, &frame)?;
        Some(Self { head, piece: Piece::whole(pool.own(frame)) })
    }

    /// What the header says.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The frame, header included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.piece.bytes()
    }

    /// The same reply under another id.
    #[must_use]
    pub fn with_id(mut self, protocol: Protocol, pool: &Pool, id: i32) -> Self {
        if self.head.id != id {
            self.piece = with_id(protocol, pool, self.piece.bytes(), id);
            self.head.id = id;
        }
        self
    }

    pub(crate) fn into_message(self, ticket: Ticket) -> Message {
        let mut message = Message::made(self.head, self.piece);
        message.set_ticket(ticket);
        message
    }
}

/// The header of a frame that was made here; `None` if these bytes are not one frame of that direction.
pub(crate) fn whole_frame(protocol: Protocol, side: Side, frame: &[u8]) -> Option<Head> {
    match protocol.frame(frame, side, u32::MAX) {
        Framed::Frame(head) if u32::try_from(frame.len()) == Ok(head.frame_bytes) => Some(head),
        _ => None,
    }
}

/// A copy of a frame that has another id.
#[must_use]
pub fn with_id(protocol: Protocol, pool: &Pool, frame: &[u8], id: i32) -> Piece {
    let mut bytes = vec![0; frame.len()];
    pool.copy(&mut bytes, frame);
    protocol.set_id(&mut bytes, id);
    Piece::whole(pool.own(bytes))
}
