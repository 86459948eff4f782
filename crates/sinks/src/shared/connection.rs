//! One server connection whose requests may be those of several clients. Its task reads and writes; clients append
//! requests in their own tasks and find the replies in their inboxes. The task never runs a client's chain.
//!
//! ```text
//! Connecting --> Beginning (a session is replayed) --> Open --> Dead
//!     \------------------ of a client that begins its own -----^
//! ```

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use chain::{Chunk, Connecting, Inlet, Leaving, Need, Outgoing, Outlet, Pool, Stream, Tick, Ticket};
use observe::{RetireReason, SharingMetrics};
use wire::cql::session::{self, Work};
use wire::{ErrorKind, Head};

use super::gather::Gather;
use super::identity::Replay;
use super::inbox::{ConnectionId, Delivery, Inbox, Spill};
use super::prepared::Prepared;
use super::slots::{Orphaned, Pending, SlotName, Slots};
use super::timeouts::Timeouts;

/// Bytes of requests that may wait for the server before the clients are not read.
const QUEUED_BYTES_MAX: usize = 256 * 1024;

/// A request up to this long, or a piece of one, is copied behind the others, so that they leave in one piece; the body
/// of a longer one is sent from where it was received. A pin keeps all of a chunk: of few bytes that would be much more
/// than is counted.
const COPIED_BYTES_MAX: usize = 4096;

/// A server that takes no byte for this long is stuck: new requests go elsewhere.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(2);

/// What all connections of a sink on one worker have in common.
pub(super) struct Surroundings {
    pub(super) pool: Pool,
    pub(super) prepared: Prepared,
    pub(super) spill: Rc<Spill>,
    pub(super) metrics: Rc<SharingMetrics>,
    pub(super) address: String,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Option<Duration>,
}

pub(super) enum State {
    Connecting {
        attempt: Connecting,
        deadline: Tick,
    },
    /// The session of a client that is known is begun again.
    Beginning {
        stream: Box<dyn Stream>,
        replay: Replay,
        frames: Outlet,
        deadline: Tick,
    },
    Open(Box<dyn Stream>),
    Dead,
}

/// What a request is, for the connection that sends it.
pub(super) struct Request<'r> {
    pub(super) leaving: Leaving<'r>,
    pub(super) work: Work,
    pub(super) prepares: bool,
    pub(super) need: Need,
}

/// A reply, or more of a large one, that goes to a client.
pub(super) struct Ready {
    pub(super) inbox: Rc<Inbox>,
    pub(super) range: Range<usize>,
    /// With its client's id, its ticket, and the bytes still to come; `None` for the rest of a large one.
    pub(super) reply: Option<(Head, Ticket, u64)>,
}

/// A large reply that is half here.
pub(super) struct ReplyTail {
    pub(super) rest: u64,
    /// Who gets it; `None`: it is dropped.
    pub(super) to: Option<Rc<Inbox>>,
}

/// A request whose rest has not come. It is not timed: until it has all of it the server cannot answer.
pub(super) struct Torn {
    name: SlotName,
    rest: u64,
}

/// The connection, as its clients and its task see it.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) surroundings: Rc<Surroundings>,
    pub(super) inner: RefCell<Inner>,
    pub(super) task: RefCell<Option<Waker>>,
    pub(super) is_woken: Cell<bool>,
}

pub(super) struct Inner {
    pub(super) state: State,
    /// The session to begin once there is a stream.
    pub(super) replay: Option<Replay>,
    /// Its session was begun here: its client has another place to go.
    pub(super) is_replayed: bool,
    /// The keyspace of its clients is gone, and it is in none.
    pub(super) lacks_keyspace: bool,
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    pub(super) gather: Gather,
    pub(super) slots: Slots,
    pub(super) next_sequence: u64,
    /// All bytes of requests that were ever appended.
    pub(super) appended_bytes: u64,
    pub(super) reply_tail: ReplyTail,
    /// Replies of the chunk that is being cut; its memory is kept.
    pub(super) ready: Vec<Ready>,
    /// The only client that may use it, who also gets its events.
    pub(super) owner: Option<Rc<Inbox>>,
    /// It is not read, since its owner has enough to fetch.
    pub(super) is_paused: bool,
    /// Takes no new requests; ends when the last reply is here, or at the deadline.
    pub(super) retires: bool,
    pub(super) retire_deadline: Option<Tick>,
    /// When the server last took a byte, or was given the first to take.
    pub(super) taken_at: Tick,
    /// When the server last said something.
    pub(super) heard_at: Tick,
    pub(super) timeouts: Timeouts,
    torn: Option<Torn>,
    /// Clients that wait for room.
    pub(super) waiting: Vec<Waker>,
    /// What the gauges hold of this connection.
    counted: Counted,
}

/// What a connection adds to the gauges.
#[derive(Clone, Copy, Default)]
struct Counted {
    shared: u64,
    own: u64,
    in_flight: u64,
    orphaned: u64,
}

impl Connection {
    /// A connection that is being opened. `replay` is the session to begin on it; without one its owner begins its
    /// own. `owner`: nobody else may use it.
    pub(super) fn new(
        id: ConnectionId,
        surroundings: &Rc<Surroundings>,
        (attempt, now): (Connecting, Tick),
        replay: Option<Replay>,
        owner: Option<Rc<Inbox>>,
    ) -> Rc<Self> {
        let deadline = now.after(surroundings.connect_timeout);
        Rc::new(Self {
            id,
            surroundings: Rc::clone(surroundings),
            inner: RefCell::new(Inner {
                state: State::Connecting { attempt, deadline },
                is_replayed: replay.is_some(),
                replay,
                lacks_keyspace: false,
                inlet: Inlet::new(&surroundings.pool),
                outlet: Outlet::default(),
                gather: Gather::default(),
                slots: Slots::default(),
                next_sequence: 0,
                appended_bytes: 0,
                reply_tail: ReplyTail { rest: 0, to: None },
                ready: Vec::new(),
                owner,
                is_paused: false,
                retires: false,
                retire_deadline: None,
                taken_at: now,
                heard_at: now,
                timeouts: Timeouts::new(surroundings.read_timeout),
                torn: None,
                waiting: Vec::new(),
                counted: Counted::default(),
            }),
            task: RefCell::new(None),
            is_woken: Cell::new(false),
        })
    }

    /// True while it takes new requests, now or when there is room again.
    pub(super) fn is_usable(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.retires && !matches!(inner.state, State::Dead)
    }

    /// True when nothing comes or goes on it any more.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.inner.borrow().state, State::Dead)
    }

    /// True when its owner is better off with another: it takes nothing, or it is idle and not in the owner's keyspace, which
    /// may be there again.
    pub(super) fn is_outdated(&self) -> bool {
        let inner = self.inner.borrow();
        let is_idle = inner.slots.used() == 0 && inner.reply_tail.rest == 0;
        inner.retires || matches!(inner.state, State::Dead) || (inner.lacks_keyspace && is_idle)
    }

    /// True when a request should be sent on it now.
    pub(super) fn can_take(&self, now: Tick) -> bool {
        let inner = self.inner.borrow();
        let is_stuck = inner.queued_bytes() > 0 && inner.taken_at.after(STUCK_AFTER) <= now;
        !inner.retires && !matches!(inner.state, State::Dead) && inner.has_room() && !is_stuck
    }

    /// True when there is room for another request.
    pub(super) fn has_room(&self) -> bool {
        self.inner.borrow().has_room()
    }

    /// When the server last took or said something, as far as it was listened to.
    pub(super) fn moved_at(&self, now: Tick) -> Tick {
        let inner = self.inner.borrow();
        if inner.is_paused { now } else { inner.taken_at.max(inner.heard_at) }
    }

    /// Requests that await their replies.
    pub(super) fn load(&self) -> usize {
        self.inner.borrow().slots.used()
    }

    /// Wakes `waker` when there is room, or never will be.
    pub(super) fn wait_for_room(&self, waker: &Waker) {
        let waiting = &mut self.inner.borrow_mut().waiting;
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// From here on anybody whose session it is may use it.
    pub(super) fn share(&self) {
        self.inner.borrow_mut().owner = None;
        // It may be paused, and is counted as another kind of connection now.
        self.wake();
    }

    /// Takes no new requests, and ends when the last reply is here.
    pub(super) fn retire(&self, why: RetireReason) {
        self.inner.borrow_mut().retire(&self.surroundings.metrics, why);
        self.wake();
    }

    /// The rest of the request that was submitted last will not come. Whoever waits for its reply is told.
    pub(super) fn give_up_torn(&self, now: Tick, text: &str) {
        let mut inner = self.inner.borrow_mut();
        let orphaned = inner.torn.take().and_then(|torn| inner.slots.orphan(torn.name));
        let unsent_from = inner.unsent_from();
        Inner::fail(orphaned.into_iter().collect(), unsent_from, text, now);
    }

    /// A client left: nobody waits for its replies any more.
    pub(super) fn forget(&self, inbox: &Rc<Inbox>) {
        let mut inner = self.inner.borrow_mut();
        inner.slots.orphan_all_of(inbox);
        if inner.reply_tail.to.as_ref().is_some_and(|to| Rc::ptr_eq(to, inbox)) {
            inner.reply_tail.to = None;
        }
        if inner.owner.as_ref().is_some_and(|owner| Rc::ptr_eq(owner, inbox)) {
            // As it would be direct: with its client the connection goes, whatever is still in flight.
            inner.state = State::Dead;
        }
        drop(inner);
        self.wake();
    }

    fn wake(&self) {
        if !self.is_woken.replace(true)
            && let Some(waker) = &*self.task.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Appends a request; it leaves with the others of this wake. Ask [`Connection::has_room`] first.
    pub(super) fn submit(&self, now: Tick, request: &Request<'_>, inbox: &Rc<Inbox>) {
        let mut inner = self.inner.borrow_mut();
        let Request { leaving, work, prepares, need } = request;
        let pending = Pending {
            inbox: Some(Rc::clone(inbox)),
            ticket: leaving.ticket,
            client_id: client_id(&leaving.head),
            work: *work,
            prepares: *prepares,
            need: *need,
            sequence: inner.next_sequence,
            first_byte: inner.appended_bytes,
        };
        inner.next_sequence += 1;
        let name = inner.slots.take(pending);
        if leaving.rest > 0 {
            inner.torn = Some(Torn { name, rest: leaving.rest });
        } else {
            inner.timeouts.begin(now, name);
        }
        inner.append(now, &self.surroundings.pool, &leaving.outgoing, name.index);
        drop(inner);
        self.wake();
    }

    /// Appends more bytes of the large request that was submitted last. With the last of them its time begins.
    pub(super) fn submit_tail(&self, now: Tick, chunk: &Chunk, range: Range<usize>) {
        let mut inner = self.inner.borrow_mut();
        if let Some(torn) = &mut inner.torn {
            torn.rest = torn.rest.saturating_sub(range.len() as u64);
        }
        if let Some(Torn { name, .. }) = inner.torn.take_if(|torn| torn.rest == 0) {
            inner.timeouts.begin(now, name);
        }
        inner.append_tail(now, &self.surroundings.pool, &Outgoing::Received(chunk, range));
        drop(inner);
        self.wake();
    }
}

/// The 16 bits a stream id has on the wire.
fn client_id(head: &Head) -> i16 {
    let [low, high, ..] = head.id.to_le_bytes();
    i16::from_le_bytes([low, high])
}

impl Inner {
    /// Takes no new requests from here on. The end of a connection that has an owner is not counted.
    pub(super) fn retire(&mut self, metrics: &SharingMetrics, why: RetireReason) {
        let is_known = self.retires || matches!(self.state, State::Dead);
        if !is_known && self.owner.is_none() {
            metrics.count_retired(why);
        }
        self.retires = true;
    }

    /// Brings the gauges up to date. Called once a turn, not at each change: nothing can be forgotten.
    pub(super) fn settle(&mut self, metrics: &SharingMetrics) {
        let is_alive = !matches!(self.state, State::Dead);
        let is_shared = is_alive && self.owner.is_none();
        let of_shared = |count: usize| if is_shared { count as u64 } else { 0 };
        let (used, orphans) = (self.slots.used(), self.slots.orphans());
        let now = Counted {
            shared: u64::from(is_shared),
            own: u64::from(is_alive && !is_shared),
            in_flight: of_shared(used.saturating_sub(orphans)),
            orphaned: of_shared(orphans),
        };
        let before = std::mem::replace(&mut self.counted, now);
        metrics.shared_open.change(before.shared, now.shared);
        metrics.own_open.change(before.own, now.own);
        metrics.in_flight.change(before.in_flight, now.in_flight);
        metrics.orphaned.change(before.orphaned, now.orphaned);
    }

    /// True while some client waits for a reply, or for the rest of one.
    pub(super) fn is_awaited(&self) -> bool {
        self.reply_tail.to.as_ref().is_some_and(|to| !to.is_closed()) || self.slots.is_awaited()
    }

    /// Until when more of a large reply must have come: nobody's request is timed any more whose reply has begun.
    pub(super) fn tail_deadline(&self, read_timeout: Option<Duration>) -> Option<Tick> {
        if self.reply_tail.rest == 0 || self.is_paused {
            return None;
        }
        Some(self.heard_at.after(read_timeout?))
    }

    pub(super) fn has_room(&self) -> bool {
        self.slots.has_room() && self.queued_bytes() <= QUEUED_BYTES_MAX
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.outlet.queued_bytes() + self.gather.len()
    }

    /// Notes that so many bytes are appended. The server is given the first to take if nothing waits.
    fn count_appended(&mut self, now: Tick, bytes: usize) {
        if self.queued_bytes() == 0 {
            self.taken_at = now;
        }
        self.appended_bytes += bytes as u64;
    }

    /// Appends more of a large request.
    fn append_tail(&mut self, now: Tick, pool: &Pool, tail: &Outgoing<'_>) {
        let bytes = tail.bytes();
        self.count_appended(now, bytes.len());
        if bytes.len() <= COPIED_BYTES_MAX {
            self.gather.append(pool, &mut self.outlet, bytes);
        } else {
            self.gather.seal(&mut self.outlet);
            self.outlet.push(tail.pin_behind(0));
        }
    }

    fn append(&mut self, now: Tick, pool: &Pool, outgoing: &Outgoing<'_>, index: u16) {
        let bytes = outgoing.bytes();
        self.count_appended(now, bytes.len());
        let copied =
            if bytes.len() <= COPIED_BYTES_MAX { bytes.len() } else { wire::cql::HEADER_BYTES as usize };
        let (head, _) = bytes.split_at_checked(copied).unwrap_or((bytes, &[]));
        if let Some(frame) = self.gather.append(pool, &mut self.outlet, head) {
            session::set_id(frame, i16::try_from(index).unwrap_or_default());
        }
        if copied < bytes.len() {
            self.gather.seal(&mut self.outlet);
            self.outlet.push(outgoing.pin_behind(copied));
        }
    }

    /// The first byte that has not left.
    pub(super) fn unsent_from(&self) -> u64 {
        self.appended_bytes - self.queued_bytes() as u64
    }

    /// Whole requests that wait are never sent. One that has begun to leave goes on.
    pub(super) fn drop_unsent(&mut self) {
        let unsent_from = self.unsent_from();
        let Some(first_byte) = self.slots.first_byte_from(unsent_from) else { return };
        let kept = usize::try_from(first_byte - unsent_from).unwrap_or(usize::MAX);
        self.gather.seal(&mut self.outlet);
        self.outlet.truncate(kept);
        self.appended_bytes = first_byte;
    }

    /// Says to each of these clients that its request will not be answered. No byte from `unsent_from` on has left,
    /// or ever will.
    pub(super) fn fail(orphaned: Vec<Orphaned>, unsent_from: u64, text: &str, now: Tick) {
        let unsent: Rc<str> = format!("{text}; the request was not sent").into();
        let unknown: Rc<str> = format!("{text}; the request may have been executed").into();
        for Orphaned { inbox, ticket, work, first_byte, .. } in orphaned {
            let (kind, text) = match work {
                // No byte of it has left: it can be sent again.
                _ if first_byte >= unsent_from => (ErrorKind::Server, &unsent),
                Work::Read => (ErrorKind::ReadTimeout, &unknown),
                Work::Write | Work::Use => (ErrorKind::WriteTimeout, &unknown),
            };
            inbox.put(Delivery::Failed { ticket, kind, text: Rc::clone(text) }, now);
        }
    }
}
