//! Worker threads: each one runs the tasks of its clients, and nothing of it is ever shared.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use chain::{Pool, Tick};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::clock::{Alarm, Clock};
use crate::place::{Permit, Place};
use crate::reactor::{Bell, Handle, Opening, Reactor};
use crate::resolve::Resolver;

/// Orders to a worker that wait for it; the acceptor waits when they are that many.
const ORDERS_MAX: usize = 1024;

/// Clients, over all workers, below which some workers may have none: the requests of few clients cost less, and take
/// no longer, when one worker is kept awake for them than when several are woken in turn (docs/benchmarks).
const FILL_CLIENTS: usize = 128;

/// A worker gets so many clients before the next one gets any. Where cores are few, each that is awake is taken from
/// the application or the server beside it; where they are many, a few busy clients must not be left to one.
fn fill_clients(workers: usize) -> usize {
    (FILL_CLIENTS / workers.max(1)).clamp(8, 64)
}

/// Orders taken before the clients of a worker have their turn: a storm of new ones must not starve them.
const ORDERS_PER_TURN: usize = 64;

/// A client's socket on its way to a worker.
pub struct Accepted {
    /// Which source accepted it.
    pub source: usize,
    /// Counts the connections of that source, from 1.
    pub id: u64,
    /// The client's side of the connection.
    pub peer: std::net::SocketAddr,
    /// The socket, non-blocking, registered nowhere yet.
    pub socket: std::net::TcpStream,
    /// Held for the life of the connection.
    pub place: Place,
}

/// What a worker does with its clients. Made on the worker's thread, never leaves it.
pub trait Serve {
    /// What this worker has counted, sent elsewhere to be merged.
    type Snapshot: Send + 'static;
    /// The life of one client.
    fn client(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>>;
    /// What was counted so far.
    fn snapshot(&self) -> Self::Snapshot;
    /// Called every 20 s, for what is best done now and then.
    fn housekeeping(&self);
}

/// How often [`Serve::housekeeping`] is called.
const HOUSEKEEPING: Duration = Duration::from_secs(20);

/// What a worker owns.
#[derive(Clone)]
pub struct Seat {
    /// Its chunks.
    pub pool: Pool,
    /// Its clock.
    pub clock: Clock,
    /// Tells its clients to end.
    pub drain: Rc<Drain>,
    /// Its loop.
    pub reactor: Handle,
}

enum Order<N> {
    Serve(Accepted),
    Snapshot(oneshot::Sender<N>),
    Drain(Duration),
}

struct Worker<N> {
    orders: mpsc::Sender<Order<N>>,
    /// Dropped after `orders`, so that the worker finds them closed.
    bell: Bell,
    load: Arc<AtomicUsize>,
}

impl<N> Worker<N> {
    /// False when the worker is gone.
    async fn order(&self, order: Order<N>) -> bool {
        let is_sent = self.orders.send(order).await.is_ok();
        self.bell.ring();
        is_sent
    }
}

/// All workers, as seen from the acceptors and the control thread.
pub struct Workers<N> {
    workers: Vec<Worker<N>>,
}

impl<N: Send + 'static> Workers<N> {
    /// Starts `count` threads. `make` runs on each of them and makes what serves its clients.
    ///
    /// # Errors
    /// When a thread, its loop, or what serves its clients cannot be made.
    pub fn start<S: Serve<Snapshot = N> + 'static>(
        count: usize,
        stack_bytes: usize,
        make: impl Fn(&Seat) -> S + Send + Sync + 'static,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        Self::start_with(count, stack_bytes, &Resolver::system(), make)
    }

    pub(crate) fn start_with<S: Serve<Snapshot = N> + 'static>(
        count: usize,
        stack_bytes: usize,
        resolver: &Arc<Resolver>,
        make: impl Fn(&Seat) -> S + Send + Sync + 'static,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let make = Arc::new(make);
        let (tell_made, made) = channel();
        let mut workers = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let (orders, received) = mpsc::channel(ORDERS_MAX);
            let load = Arc::new(AtomicUsize::new(0));
            let opening = Opening::new()?;
            let bell = opening.bell();
            let (make, resolver) = (Arc::clone(&make), Arc::clone(resolver));
            let tell_made = tell_made.clone();
            let make = move |seat: &Seat| {
                let serve = make(seat);
                // Nobody listens any more if another worker could not be made.
                tell_made.send(()).unwrap_or_default();
                serve
            };
            let body = move || run(opening, resolver, received, make);
            let named = std::thread::Builder::new().name("shotover-worker".to_owned());
            threads.push(named.stack_size(stack_bytes).spawn(body)?);
            workers.push(Worker { orders, bell, load });
        }
        drop(tell_made);
        // One that panicked has told nothing.
        if made.iter().count() < count {
            return Err(io::Error::other("a worker's part of a source or transform could not be made"));
        }
        Ok((Self { workers }, threads))
    }

    /// Hands a socket to a worker: the first that is not filled, else the one with the fewest clients. `make` is given
    /// the place it takes there.
    pub(crate) async fn hand_over(&self, permit: Permit, make: impl FnOnce(Place) -> Accepted) {
        let load = |worker: &&Worker<N>| worker.load.load(Ordering::Relaxed);
        let filled = fill_clients(self.workers.len());
        // One that has ended would have the fewest for ever.
        let living = || self.workers.iter().filter(|worker| !worker.orders.is_closed());
        let first = living().find(|worker| load(worker) < filled);
        let Some(worker) = first.or_else(|| living().min_by_key(load)) else { return };
        let place = Place::new(&worker.load, permit);
        // A worker that is gone drops the socket, which closes it.
        worker.order(Order::Serve(make(place))).await;
    }

    /// Waits until no worker is left.
    pub async fn gone(&self) {
        for worker in &self.workers {
            worker.orders.closed().await;
        }
    }

    /// What every worker has counted.
    pub async fn snapshots(&self) -> Vec<N> {
        let mut snapshots = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (answer, answered) = oneshot::channel();
            if worker.order(Order::Snapshot(answer)).await
                && let Ok(snapshot) = answered.await
            {
                snapshots.push(snapshot);
            }
        }
        snapshots
    }

    /// Tells every client to end within `limit`; the workers' threads end when theirs have, and with them what they left
    /// to be done.
    pub async fn drain(&self, limit: Duration) {
        for worker in &self.workers {
            worker.order(Order::Drain(limit)).await;
        }
    }
}

fn run<S: Serve + 'static>(
    opening: Opening,
    resolver: Arc<Resolver>,
    mut orders: mpsc::Receiver<Order<S::Snapshot>>,
    make: impl FnOnce(&Seat) -> S,
) {
    let mut reactor = Reactor::new(opening, resolver);
    let (handle, clock) = (reactor.handle().clone(), reactor.handle().clock().clone());
    let seat = Seat { pool: Pool::new(), clock, drain: Rc::new(Drain::default()), reactor: handle };
    let serve = Rc::new(make(&seat));
    seat.reactor.spawn(Box::pin(keep_house(Rc::clone(&serve), seat.clock.clone())));
    let mut receiving = Receiving::Nothing;
    loop {
        let is_work = reactor.poll_tasks() || receiving == Receiving::More;
        let is_ending = receiving == Receiving::Closed || seat.drain.has_begun();
        if is_ending && reactor.awaited() == 0 {
            return;
        }
        if let Err(error) = reactor.look(is_work) {
            error!("a worker ends, and its clients' connections with it: {error}");
            return;
        }
        if reactor.was_called() || receiving == Receiving::More {
            receiving = receive(&mut orders, &mut reactor, &seat, &*serve);
        }
    }
}

/// What is known of the orders that have not been taken.
#[derive(PartialEq, Eq)]
enum Receiving {
    /// The bell rings when there are more.
    Nothing,
    More,
    /// Nobody is left who could give any.
    Closed,
}

fn receive<S: Serve>(
    orders: &mut mpsc::Receiver<Order<S::Snapshot>>,
    reactor: &mut Reactor,
    seat: &Seat,
    serve: &S,
) -> Receiving {
    for _ in 0..ORDERS_PER_TURN {
        match orders.try_recv() {
            // Accepted while everybody was told to end: closed.
            Ok(Order::Serve(accepted)) if seat.drain.has_begun() => drop(accepted),
            // A panic here must not end the worker and all its other clients.
            Ok(Order::Serve(accepted)) => match catch_unwind(AssertUnwindSafe(|| serve.client(accepted))) {
                Ok(client) => reactor.add_client(client),
                Err(_) => error!("a client's part could not be made: its connection is closed"),
            },
            Ok(Order::Snapshot(answer)) => drop(answer.send(serve.snapshot())),
            Ok(Order::Drain(limit)) => seat.drain.begin(seat.clock.now().after(limit)),
            Err(mpsc::error::TryRecvError::Empty) => return Receiving::Nothing,
            Err(mpsc::error::TryRecvError::Disconnected) => return Receiving::Closed,
        }
    }
    Receiving::More
}

async fn keep_house<S: Serve>(serve: Rc<S>, clock: Clock) {
    let mut alarm = Alarm::default();
    loop {
        let next = clock.now().after(HOUSEKEEPING);
        poll_fn(|task| alarm.poll_until(task, &clock, next)).await;
        serve.housekeeping();
    }
}

/// Tells the clients of one worker to end.
#[derive(Default)]
pub struct Drain {
    deadline: Cell<Option<Tick>>,
    next: Cell<u64>,
    wakers: RefCell<BTreeMap<u64, Waker>>,
}

impl Drain {
    /// A seat for one client.
    #[must_use]
    pub fn seat(self: &Rc<Self>) -> DrainSeat {
        let id = self.next.get();
        self.next.set(id + 1);
        DrainSeat { drain: Rc::clone(self), id, is_registered: false }
    }

    fn has_begun(&self) -> bool {
        self.deadline.get().is_some()
    }

    fn begin(&self, deadline: Tick) {
        self.deadline.set(Some(deadline));
        for waker in self.wakers.borrow().values() {
            waker.wake_by_ref();
        }
    }
}

/// One client's ear for [`Drain`].
pub struct DrainSeat {
    drain: Rc<Drain>,
    id: u64,
    is_registered: bool,
}

impl DrainSeat {
    /// The deadline, once the worker drains. Registers the task the first time: its waker never changes.
    pub fn deadline(&mut self, waker: &Waker) -> Option<Tick> {
        if !self.is_registered {
            self.is_registered = true;
            self.drain.wakers.borrow_mut().insert(self.id, waker.clone());
        }
        self.drain.deadline.get()
    }
}

impl Drop for DrainSeat {
    fn drop(&mut self) {
        self.drain.wakers.borrow_mut().remove(&self.id);
    }
}
