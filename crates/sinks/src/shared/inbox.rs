//! What shared connections have for one client: they put it here and wake the client's task, which is on the same
//! thread. Bounded by bytes; who does not fetch what is his is cut off, and nobody else waits for him.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use chain::{Chunk, Fault, Piece, Pool, Tick, Ticket};
use observe::{CutOffReason, SharingMetrics};
use wire::{ErrorKind, Head};

/// Bytes that may wait for a client before they go on account of its worker.
pub(super) const BYTES_MAX: usize = 1024 * 1024;

/// Bytes that may wait for a client before a connection of its own is not read: nobody else waits for that, so that its
/// client needs not be cut off. What is read at once must not reach [`BYTES_MAX`].
pub(super) const OWN_BYTES_MAX: usize = 512 * 1024;

/// Bytes that may wait for all clients of a sink on one worker, beyond what each may have.
pub(super) const SPILL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a client may fetch nothing while more waits for it than it may have.
pub(super) const STALLED_MAX: Duration = Duration::from_secs(10);

/// Names a server connection of a worker.
pub(super) type ConnectionId = u64;

/// The name of none.
pub(super) const NO_CONNECTION: ConnectionId = 0;

/// Something for a client.
pub(super) enum Delivery {
    /// A reply, or its head. `ticket` is `NONE` for an event.
    Reply { head: Head, ticket: Ticket, piece: Piece, rest: u64, from: ConnectionId },
    /// More bytes of the large reply that the same connection began.
    Tail { piece: Piece, from: ConnectionId },
    /// No reply will come: an error in the protocol's words takes its place.
    Failed { ticket: Ticket, kind: ErrorKind, text: Rc<str> },
    /// The client's own connection is gone, or a reply to it will never be complete.
    Broken { fault: Fault, from: ConnectionId },
}

impl Delivery {
    fn from(&self) -> Option<ConnectionId> {
        match self {
            Self::Reply { from, .. } | Self::Tail { from, .. } | Self::Broken { from, .. } => Some(*from),
            Self::Failed { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            // What they are kept in counts too: the server may send a large reply byte by byte.
            Self::Reply { piece, .. } | Self::Tail { piece, .. } => piece.bytes().len() + size_of::<Self>(),
            Self::Failed { .. } | Self::Broken { .. } => 0,
        }
    }
}

/// Bytes that wait for clients beyond what each may have, and the clients they wait for.
pub(super) struct Spill {
    bytes: Cell<usize>,
    /// Each once, and only while it has more than it may: the others are late with nothing.
    over: RefCell<Vec<Rc<Inbox>>>,
    metrics: Rc<SharingMetrics>,
}

impl Spill {
    pub(super) fn new(metrics: &Rc<SharingMetrics>) -> Self {
        Self { bytes: Cell::new(0), over: RefCell::default(), metrics: Rc::clone(metrics) }
    }

    /// Cuts off who has stalled too long, and then the largest until the rest fits.
    pub(super) fn cut_off(&self, now: Tick) {
        if self.bytes.get() == 0 {
            return;
        }
        let mut over = std::mem::take(&mut *self.over.borrow_mut());
        over.sort_unstable_by_key(|inbox| inbox.bytes.get());
        let is_stalled = |inbox: &Inbox| inbox.stalled_at().is_some_and(|stalled_at| stalled_at <= now);
        for inbox in over.iter().filter(|inbox| is_stalled(inbox)) {
            self.metrics.count_cut_off(CutOffReason::Stalled);
            inbox.cut_off("it fetched nothing for 10 s while more than 1 MiB of replies waited for it");
        }
        // Who was cut off has nothing any more.
        over.retain(|inbox| inbox.bytes.get() > BYTES_MAX);
        while self.bytes.get() > SPILL_BYTES_MAX
            && let Some(largest) = over.pop()
        {
            self.metrics.count_cut_off(CutOffReason::Memory);
            largest.cut_off("the replies that wait for clients that do not read have taken all their memory");
        }
        *self.over.borrow_mut() = over;
    }

    /// When [`Spill::cut_off`] wants to be called again.
    pub(super) fn deadline(&self) -> Option<Tick> {
        self.over.borrow().iter().filter_map(|inbox| inbox.stalled_at()).min()
    }
}

/// The box of one client.
pub(super) struct Inbox {
    pool: Pool,
    spill: Rc<Spill>,
    deliveries: RefCell<VecDeque<Delivery>>,
    bytes: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    is_woken: Cell<bool>,
    /// Its client is gone, or was cut off.
    is_closed: Cell<bool>,
    has_large_replies: Cell<bool>,
    /// Since when it has kept waiting what it could fetch; `None` while its client would take more, but only of a large
    /// reply, which its server does not go on with.
    fetched_at: Cell<Option<Tick>>,
    cut_off_why: Cell<Option<&'static str>>,
    /// Connections that are read on when something was fetched.
    paused: RefCell<Vec<Waker>>,
}

impl Inbox {
    pub(super) fn new(pool: &Pool, spill: &Rc<Spill>) -> Rc<Self> {
        Rc::new(Self {
            pool: pool.clone(),
            spill: Rc::clone(spill),
            deliveries: RefCell::default(),
            bytes: Cell::new(0),
            waker: RefCell::new(None),
            is_woken: Cell::new(false),
            is_closed: Cell::new(false),
            has_large_replies: Cell::new(false),
            fetched_at: Cell::new(None),
            cut_off_why: Cell::new(None),
            paused: RefCell::default(),
        })
    }

    /// True when nobody fetches from it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// True once a reply was too long to be sent on a connection that others wait for.
    pub(super) fn has_large_replies(&self) -> bool {
        self.has_large_replies.get()
    }

    pub(super) fn note_large_reply(&self) {
        self.has_large_replies.set(true);
    }

    /// The bytes of a reply, to be kept until the client fetches them. They are fetched in the same turn of the
    /// worker if the client can take them. Where it cannot, what is less than half of a chunk is copied: only the bytes
    /// are counted, and a chunk that others would keep with them must not be much more.
    pub(super) fn piece(&self, chunk: &Chunk, range: Range<usize>) -> Piece {
        let deliveries = self.deliveries.borrow();
        let holds_chunk = match deliveries.back() {
            None => true,
            Some(Delivery::Reply { piece, .. } | Delivery::Tail { piece, .. }) => {
                piece.place().0.is_same(chunk)
            }
            Some(_) => false,
        };
        if holds_chunk || range.len() >= chunk.bytes().len() / 2 {
            Piece::new(chunk.pin(), range)
        } else {
            self.pool.copied(chunk, range)
        }
    }

    /// Puts something in and wakes the client. `now` is when a client that had nothing begins to keep it waiting.
    pub(super) fn put(self: &Rc<Self>, delivery: Delivery, now: Tick) {
        if self.is_closed.get() {
            return;
        }
        let mut deliveries = self.deliveries.borrow_mut();
        if deliveries.is_empty() || self.fetched_at.get().is_none() {
            self.fetched_at.set(Some(now));
        }
        let before = self.bytes.get();
        self.set_bytes(before + delivery.bytes());
        if before <= BYTES_MAX && self.bytes.get() > BYTES_MAX {
            self.spill.over.borrow_mut().push(Rc::clone(self));
        }
        deliveries.push_back(delivery);
        // One wake is enough for what is fetched together; a client that waits for one connection may have others' here.
        if !self.is_woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// True when something waits.
    pub(super) fn has_any(&self) -> bool {
        !self.deliveries.borrow().is_empty()
    }

    /// What has waited longest; of this connection only, if one is named: a large reply must not be torn by another.
    pub(super) fn fetch(&self, from: Option<ConnectionId>, now: Tick) -> Option<Delivery> {
        let mut deliveries = self.deliveries.borrow_mut();
        let delivery = match from {
            None => deliveries.pop_front()?,
            Some(_) => {
                let place = deliveries.iter().position(|delivery| delivery.from() == from)?;
                deliveries.remove(place)?
            }
        };
        drop(deliveries);
        self.set_bytes(self.bytes.get() - delivery.bytes());
        self.fetched_at.set(Some(now));
        Some(delivery)
    }

    /// Its client takes nothing but the rest of a large reply, which is not here: until something comes it is not late.
    pub(super) fn wait_for_rest(&self) {
        self.fetched_at.set(None);
    }

    /// When it has fetched nothing for too long.
    fn stalled_at(&self) -> Option<Tick> {
        Some(self.fetched_at.get()?.after(STALLED_MAX))
    }

    /// True when enough waits, some of it from this connection, so that the client needs no more from there to go on: it
    /// may be in the middle of a large reply, and fetch nothing of the others.
    pub(super) fn has_enough(&self, from: ConnectionId) -> bool {
        self.bytes.get() > OWN_BYTES_MAX
            && self.deliveries.borrow().iter().rev().any(|delivery| delivery.from() == Some(from))
    }

    /// Who is woken when something was fetched. Only while [`Inbox::has_enough`].
    pub(super) fn pause(&self, waker: &Waker) {
        let mut paused = self.paused.borrow_mut();
        if !paused.iter().any(|known| known.will_wake(waker)) {
            paused.push(waker.clone());
        }
    }

    /// Why the client was cut off, once.
    pub(super) fn cut_off_why(&self) -> Option<&'static str> {
        self.cut_off_why.take()
    }

    /// Who is woken when something comes after this.
    pub(super) fn register(&self, waker: &Waker) {
        self.is_woken.set(false);
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn cut_off(&self, why: &'static str) {
        self.close();
        self.cut_off_why.set(Some(why));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Its client is gone: what waits is dropped, and nothing more is taken.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.deliveries.borrow_mut().clear();
        self.set_bytes(0);
    }

    fn set_bytes(&self, bytes: usize) {
        let before = self.bytes.replace(bytes);
        if before > OWN_BYTES_MAX || bytes > OWN_BYTES_MAX {
            self.has_much(before, bytes);
        }
    }

    #[cold]
    fn has_much(&self, before: usize, bytes: usize) {
        if bytes < before {
            self.paused.borrow_mut().drain(..).for_each(Waker::wake);
        }
        if before > BYTES_MAX || bytes > BYTES_MAX {
            self.settle_spill(before, bytes);
        }
    }

    /// Counts what is beyond the limit, which is seldom anything. Who falls below it keeps nobody waiting any more.
    fn settle_spill(&self, before: usize, bytes: usize) {
        let beyond = |bytes: usize| bytes.saturating_sub(BYTES_MAX);
        let spilled = self.spill.bytes.get() + beyond(bytes) - beyond(before);
        self.spill.bytes.set(spilled);
        self.spill.metrics.spill_bytes.set(spilled as u64);
        if bytes <= BYTES_MAX {
            self.spill.over.borrow_mut().retain(|known| !std::ptr::eq(&raw const **known, self));
        }
    }
}
