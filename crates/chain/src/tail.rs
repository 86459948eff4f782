//! What is still to come of a message that is too large to be here as a whole.

use crate::ledger::Ticket;
use crate::message::{Message, Verdict};

/// The rest of a large message. Until it is through nothing else goes in its direction, or it would be torn.
pub(crate) struct Tail {
    pub(crate) rest: u64,
    pub(crate) is_dropped: bool,
    /// The request itself, or the one that is answered.
    pub(crate) ticket: Ticket,
}

impl Default for Tail {
    fn default() -> Self {
        Self { rest: 0, is_dropped: false, ticket: Ticket::NONE }
    }
}

impl Tail {
    /// The tail that follows a batch.
    pub(crate) fn of(last: &Message) -> Self {
        Self { rest: last.rest(), is_dropped: last.verdict != Verdict::Pass, ticket: last.ticket }
    }

    /// True while nothing may be sent but this rest.
    pub(crate) fn is_due(&self) -> bool {
        self.rest > 0 && !self.is_dropped
    }

    /// Notes that so many bytes came; true if they are to be sent on.
    pub(crate) fn passes(&mut self, bytes: usize) -> bool {
        self.rest = self.rest.saturating_sub(bytes as u64);
        !self.is_dropped
    }
}
