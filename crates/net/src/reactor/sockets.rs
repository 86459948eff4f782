//! What is known of each registered socket: whether it may be read and written, and who waits for that.
//!
//! Sockets are registered once, edge-triggered: the kernel says when something has changed, and until then what a
//! socket last answered is remembered here. Asking costs no system call, and nothing is locked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use mio::Token;
use mio::event::Event;

/// A read may find something.
pub(crate) const READABLE: u8 = 1;
/// A write may be taken.
pub(crate) const WRITABLE: u8 = 2;
/// The other side sends no more: no further event will announce the end of the stream.
const READ_CLOSED: u8 = 4;
/// Shifts [`READABLE`] and [`WRITABLE`] to the bits that say that somebody waits for them.
const AWAITED: u32 = 4;

/// One registered socket. It has one waker only: a stream belongs to one task at a time.
#[derive(Default)]
pub(crate) struct SocketState {
    flags: Cell<u8>,
    waker: RefCell<Option<Waker>>,
}

impl SocketState {
    /// `Ready` when the socket may do this; otherwise the task is woken when it may.
    #[inline]
    pub(crate) fn poll(&self, what: u8, task: &Context<'_>) -> Poll<()> {
        if self.flags.get() & what != 0 {
            return Poll::Ready(());
        }
        self.wait(what, task.waker());
        Poll::Pending
    }

    fn wait(&self, what: u8, waker: &Waker) {
        self.flags.set(self.flags.get() | what << AWAITED);
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// The socket did this for now: an event will say when it can again.
    pub(crate) fn clear(&self, what: u8) {
        self.flags.set(self.flags.get() & !what);
    }

    /// A read left nothing behind. The end of the stream may be behind it, and was announced already.
    pub(crate) fn clear_drained(&self) {
        if self.flags.get() & READ_CLOSED == 0 {
            self.clear(READABLE);
        }
    }

    /// The other side sends no more.
    pub(crate) fn is_read_closed(&self) -> bool {
        self.flags.get() & READ_CLOSED != 0
    }

    fn happened(&self, readiness: u8) {
        let flags = self.flags.get() | readiness;
        let answered = flags & (flags >> AWAITED) & (READABLE | WRITABLE);
        self.flags.set(flags & !(answered << AWAITED));
        if answered != 0
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

fn readiness(event: &Event) -> u8 {
    let mut readiness = 0;
    if event.is_readable() {
        readiness |= READABLE;
    }
    if event.is_writable() {
        readiness |= WRITABLE;
    }
    if event.is_read_closed() {
        readiness |= READABLE | READ_CLOSED;
    }
    if event.is_error() || event.is_write_closed() {
        // Whoever reads or writes next is told what is wrong.
        readiness |= READABLE | READ_CLOSED | WRITABLE;
    }
    readiness
}

/// Half of a token is the place of the socket, the other half counts the sockets that had that place before.
const INDEX_BITS: u32 = usize::BITS / 2;

#[derive(Default)]
struct Slot {
    generation: usize,
    state: Option<Rc<SocketState>>,
}

/// All registered sockets of a worker.
#[derive(Default)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

impl Sockets {
    /// A place for a socket that is about to be registered.
    pub(super) fn add(&mut self) -> (Token, Rc<SocketState>) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let state = Rc::new(SocketState::default());
        let mut token = index;
        if let Some(slot) = self.slots.get_mut(index) {
            token |= slot.generation << INDEX_BITS;
            slot.state = Some(Rc::clone(&state));
        }
        (Token(token), state)
    }

    /// Forgets a socket: an event that is on its way to it finds nobody.
    pub(super) fn remove(&mut self, token: Token) {
        let index = token.0 & (usize::MAX >> INDEX_BITS);
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.generation == token.0 >> INDEX_BITS && slot.state.take().is_some() {
            slot.generation = (slot.generation + 1) & (usize::MAX >> INDEX_BITS);
            self.free.push(index);
        }
    }

    /// Notes what an event says, and wakes who waits for it.
    pub(super) fn dispatch(&self, event: &Event) {
        self.happened(event.token(), readiness(event));
    }

    fn happened(&self, token: Token, readiness: u8) {
        let slot = self.slots.get(token.0 & (usize::MAX >> INDEX_BITS));
        if let Some(slot) = slot.filter(|slot| slot.generation == token.0 >> INDEX_BITS)
            && let Some(state) = &slot.state
        {
            state.happened(readiness);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{READABLE, Sockets};
    use std::task::{Context, Waker};

    #[test]
    fn an_event_for_a_socket_that_is_gone_finds_nobody() {
        let mut sockets = Sockets::default();
        let (old, _) = sockets.add();
        sockets.remove(old);
        sockets.remove(old);
        let (new, state) = sockets.add();
        assert_ne!(old, new);
        let task = Context::from_waker(Waker::noop());
        sockets.happened(old, READABLE);
        assert!(state.poll(READABLE, &task).is_pending());
        sockets.happened(new, READABLE);
        assert!(state.poll(READABLE, &task).is_ready());
        let (other, _) = sockets.add();
        assert_ne!(other, new);
    }
}
