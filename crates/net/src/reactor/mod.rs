//! The loop of one worker: polls the tasks that were woken, then waits for sockets and timers to wake more.
//!
//! Written for this program rather than taken from a general runtime, since that cost four times what passing a
//! message on costs (ARCHITECTURE.md has the numbers). It never leaves its thread, so nothing in it is locked;
//! others leave word at its door ([`Bell`], wakers).

mod sockets;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;
mod yielding;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

use crate::clock::Clock;
use crate::resolve::Resolver;
use sockets::Sockets;
pub(crate) use sockets::{READABLE, SocketState, WRITABLE};
pub(crate) use tasks::TaskFuture;
use tasks::{Door, Tasks};
use yielding::Yielding;

/// Tasks polled between two looks at the sockets when there is always a task to poll. Few would cost an `epoll_wait`
/// more than need be; many would keep the sockets waiting.
const POLLS_PER_LOOK: u32 = 512;

/// Tasks polled between two looks at the clock: under load the time of a whole turn would be stale.
const POLLS_PER_TICK: u32 = 64;

/// Events taken at once. There may be more: they are taken at the next look.
const EVENTS_MAX: usize = 1024;

/// The token of the worker's door. No socket gets it: it would be the last of all places.
const DOOR: Token = Token(usize::MAX);

/// What a reactor is made of, on the way to its thread.
pub(crate) struct Opening {
    poll: Poll,
    door: Arc<Door>,
}

impl Opening {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let door = Arc::new(Door::new(mio::Waker::new(poll.registry(), DOOR)?));
        Ok(Self { poll, door })
    }

    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.door))
    }
}

/// Calls a worker from any thread; also by being dropped, since then there is nobody left who could.
pub(crate) struct Bell(Arc<Door>);

impl Bell {
    pub(crate) fn ring(&self) {
        self.0.ring();
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// The worker's loop.
pub(crate) struct Reactor {
    handle: Handle,
    tasks: Tasks,
    events: Events,
    is_called: bool,
    yielding: Yielding,
}

impl Reactor {
    /// A reactor that lives on this thread, which can have one only.
    pub(crate) fn new(opening: Opening, resolver: Arc<Resolver>) -> Self {
        let Opening { poll, door } = opening;
        let shared = Shared {
            poll: RefCell::new(poll),
            sockets: RefCell::default(),
            spawned: RefCell::default(),
            has_spawned: Cell::default(),
            clock: Clock::start(),
            resolver,
        };
        Self {
            handle: Handle(Rc::new(shared)),
            tasks: Tasks::new(door),
            events: Events::with_capacity(EVENTS_MAX),
            is_called: false,
            yielding: Yielding::new(),
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Adds the task of a client.
    pub(crate) fn add_client(&mut self, future: TaskFuture) {
        self.tasks.add(future, true);
    }

    /// How many tasks have not ended that keep the worker from ending: its clients', and what they left to be done.
    pub(crate) fn awaited(&self) -> usize {
        self.tasks.awaited()
    }

    /// True when the bell rang since this was last asked.
    pub(crate) fn was_called(&mut self) -> bool {
        std::mem::take(&mut self.is_called)
    }

    /// Polls the tasks that were woken. True when some still wait.
    pub(crate) fn poll_tasks(&mut self) -> bool {
        self.add_spawned();
        for polled in 1..=POLLS_PER_LOOK {
            if !self.tasks.poll_next() {
                return false;
            }
            self.add_spawned();
            if polled % POLLS_PER_TICK == 0 {
                self.handle.0.clock.tick();
            }
        }
        true
    }

    /// Looks which sockets and alarms wake tasks; does not wait for that when there `is_work` already.
    ///
    /// # Errors
    /// When the sockets cannot be looked at any more.
    pub(crate) fn look(&mut self, is_work: bool) -> io::Result<()> {
        if !is_work {
            self.let_others_run();
        }
        let shared = &*self.handle.0;
        let wait = if is_work { Some(Duration::ZERO) } else { shared.clock.until_next_alarm() };
        let looked = shared.poll.borrow_mut().poll(&mut self.events, wait);
        shared.clock.tick();
        match looked {
            Ok(()) => self.dispatch(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        self.handle.0.clock.ring_due();
        Ok(())
    }

    /// Whoever was woken by what this turn has written may wait for this core.
    fn let_others_run(&mut self) {
        let clock = &self.handle.0.clock;
        if self.yielding.is_due(self.events.iter(), clock.now()) {
            clock.tick();
            let began = clock.now();
            std::thread::yield_now();
            clock.tick();
            self.yielding.note(began, clock.now());
        }
    }

    fn dispatch(&mut self) {
        let sockets = self.handle.0.sockets.borrow();
        for event in &self.events {
            if event.token() == DOOR {
                self.is_called = true;
                self.tasks.take_handed_in();
            } else {
                sockets.dispatch(event);
            }
        }
    }

    /// Asked after each poll of a task, and nearly always in vain.
    #[inline]
    fn add_spawned(&mut self) {
        if self.handle.0.has_spawned.get() {
            self.take_spawned();
        }
    }

    #[cold]
    fn take_spawned(&mut self) {
        self.handle.0.has_spawned.set(false);
        for (future, is_awaited) in self.handle.0.spawned.take() {
            self.tasks.add(future, is_awaited);
        }
    }
}

impl Drop for Reactor {
    /// Tasks own handles: left in the list of new ones, they and the list would keep each other.
    fn drop(&mut self) {
        self.tasks.clear();
        self.handle.0.spawned.take();
    }
}

/// What tasks and sockets of a worker know of its loop.
#[derive(Clone)]
pub struct Handle(Rc<Shared>);

struct Shared {
    /// Borrowed while the loop waits, when no task runs, and to register a socket.
    poll: RefCell<Poll>,
    sockets: RefCell<Sockets>,
    /// Tasks that were spawned while another one ran, and whether they keep the worker from ending.
    spawned: RefCell<Vec<(TaskFuture, bool)>>,
    has_spawned: Cell<bool>,
    clock: Clock,
    resolver: Arc<Resolver>,
}

impl Handle {
    /// The worker's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn resolver(&self) -> &Arc<Resolver> {
        &self.0.resolver
    }

    /// Runs a task that does not keep the worker from ending.
    pub(crate) fn spawn(&self, future: TaskFuture) {
        self.push_spawned(future, false);
    }

    /// Runs a task that keeps it from ending, as a client does.
    pub(crate) fn spawn_awaited(&self, future: TaskFuture) {
        self.push_spawned(future, true);
    }

    fn push_spawned(&self, future: TaskFuture, is_awaited: bool) {
        self.0.spawned.borrow_mut().push((future, is_awaited));
        self.0.has_spawned.set(true);
    }

    pub(crate) fn register(&self, source: &mut impl Source) -> io::Result<(Token, Rc<SocketState>)> {
        let (token, state) = self.0.sockets.borrow_mut().add();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.0.poll.borrow().registry().register(source, token, interest) {
            self.0.sockets.borrow_mut().remove(token);
            return Err(error);
        }
        Ok((token, state))
    }

    pub(crate) fn deregister(&self, source: &mut impl Source, token: Token) {
        self.0.sockets.borrow_mut().remove(token);
        // It fails for a socket the system has forgotten already, which is what was wanted.
        drop(self.0.poll.borrow().registry().deregister(source));
    }
}
