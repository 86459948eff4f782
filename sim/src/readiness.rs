//! What a worker knows of a socket: whether it may be read and written, and who waits for that. The same as `net` does
//! with the events of an edge-triggered epoll, so that whoever forgets to ask is not woken here either.

use std::fmt;
use std::task::{Context, Poll, Waker};

/// A read may find something.
pub const READABLE: u8 = 1;
/// A write may be taken.
pub const WRITABLE: u8 = 2;
/// The other side sends no more: no further event will announce the end of the stream.
pub const READ_CLOSED: u8 = 4;

#[derive(Default)]
pub struct Readiness {
    flags: u8,
    /// What somebody has found missing since it was last there.
    awaited: u8,
    waker: Option<Waker>,
}

impl Readiness {
    /// `Ready` when the socket may do this; otherwise the task is woken when it may.
    pub fn poll(&mut self, what: u8, task: &Context<'_>) -> Poll<()> {
        if self.flags & what != 0 {
            return Poll::Ready(());
        }
        self.awaited |= what;
        self.waker = Some(task.waker().clone());
        Poll::Pending
    }

    /// The socket could not do this.
    pub fn clear(&mut self, what: u8) {
        self.flags &= !what;
    }

    /// A read left nothing behind. The end of the stream may be behind it, and was announced already.
    pub fn clear_drained(&mut self) {
        if self.flags & READ_CLOSED == 0 {
            self.clear(READABLE);
        }
    }

    /// An event says that the socket may do this now. True if that was not known.
    pub fn happened(&mut self, what: u8) -> bool {
        let is_news = what & !self.flags != 0;
        self.flags |= what;
        let answered = self.flags & self.awaited;
        self.awaited &= !answered;
        if answered != 0
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
        is_news
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |flags: u8| {
            let names = [(READABLE, "readable"), (WRITABLE, "writable"), (READ_CLOSED, "ended")];
            names.into_iter().filter(move |(flag, _)| flags & flag != 0).map(|(_, name)| name)
        };
        let list = |flags| named(flags).collect::<Vec<_>>().join("+");
        write!(to, "known [{}], awaited [{}]", list(self.flags), list(self.awaited))
    }
}
