//! Worker threads: each one runs the tasks of its clients, and nothing of it is ever shared.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use chain::{Pool, Tick};
use tokio::runtime::LocalOptions;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::clock::Clock;

/// Tasks run between two looks at the sockets when there is always a task to run. tokio's 61 costs one more
/// `epoll_wait` every 61 wakes even when a worker is idle in between.
const TASKS_PER_EPOLL: u32 = 512;

/// Names that are being resolved at once. The system's resolver cannot be interrupted: with one that hangs, a storm of
/// reconnects would take a thread each.
const RESOLVERS_MAX: usize = 16;

/// Orders to a worker that wait for it; the acceptor waits when they are that many.
const ORDERS_MAX: usize = 1024;

/// A client's socket on its way to a worker.
pub struct Accepted {
    /// Which source accepted it.
    pub source: usize,
    /// Counts the connections of that source, from 1.
    pub id: u64,
    /// The client's side of the connection.
    pub peer: std::net::SocketAddr,
    /// The socket, registered nowhere yet.
    pub socket: std::net::TcpStream,
    /// Held for the life of the connection.
    pub place: Place,
}

/// A connection's place among those its source allows and its worker has.
pub struct Place {
    load: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
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
}

enum Order<N> {
    Serve(Accepted),
    Snapshot(oneshot::Sender<N>),
    Drain(Duration),
}

struct Worker<N> {
    orders: mpsc::Sender<Order<N>>,
    load: Arc<AtomicUsize>,
}

/// All workers, as seen from the acceptors and the control thread.
pub struct Workers<N> {
    workers: Vec<Worker<N>>,
}

impl<N: Send + 'static> Workers<N> {
    /// Starts `count` threads. `make` runs on each of them and makes what serves its clients.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start<S: Serve<Snapshot = N> + 'static>(
        count: usize,
        stack_bytes: usize,
        make: impl Fn(&Seat) -> S + Send + Sync + 'static,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let make = Arc::new(make);
        let mut workers = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let (orders, received) = mpsc::channel(ORDERS_MAX);
            let load = Arc::new(AtomicUsize::new(0));
            let make = Arc::clone(&make);
            let body = move || run(received, &*make);
            let named = std::thread::Builder::new().name("shotover-worker".to_owned());
            threads.push(named.stack_size(stack_bytes).spawn(body)?);
            workers.push(Worker { orders, load });
        }
        Ok((Self { workers }, threads))
    }

    /// Hands a socket to the worker with the fewest clients. `make` is given the place it takes there.
    pub async fn hand_over(&self, permit: OwnedSemaphorePermit, make: impl FnOnce(Place) -> Accepted) {
        let fewest = self.workers.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
        let Some(worker) = fewest else { return };
        worker.load.fetch_add(1, Ordering::Relaxed);
        let place = Place { load: Arc::clone(&worker.load), _permit: permit };
        // A worker that is gone drops the socket, which closes it.
        drop(worker.orders.send(Order::Serve(make(place))).await);
    }

    /// What every worker has counted.
    pub async fn snapshots(&self) -> Vec<N> {
        let mut snapshots = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (answer, answered) = oneshot::channel();
            if worker.orders.send(Order::Snapshot(answer)).await.is_ok()
                && let Ok(snapshot) = answered.await
            {
                snapshots.push(snapshot);
            }
        }
        snapshots
    }

    /// Tells every client to end within `limit`; the workers' threads end when theirs have.
    pub async fn drain(&self, limit: Duration) {
        for worker in &self.workers {
            drop(worker.orders.send(Order::Drain(limit)).await);
        }
    }
}

#[expect(clippy::expect_used, reason = "a worker without a runtime cannot serve; the process must not start")]
fn run<S: Serve + 'static>(mut orders: mpsc::Receiver<Order<S::Snapshot>>, make: &dyn Fn(&Seat) -> S) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(TASKS_PER_EPOLL)
        .max_blocking_threads(RESOLVERS_MAX)
        .build_local(LocalOptions::default())
        .expect("the runtime of a worker");
    runtime.block_on(async {
        let seat = Seat { pool: Pool::new(), clock: Clock::start(), drain: Rc::new(Drain::default()) };
        let serve = Rc::new(make(&seat));
        let housekeeper = Rc::clone(&serve);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(HOUSEKEEPING).await;
                housekeeper.housekeeping();
            }
        });
        let mut clients = tokio::task::JoinSet::new();
        while let Some(order) = orders.recv().await {
            match order {
                Order::Serve(accepted) => {
                    // Made inside its own task: a panic there must not end the worker and all its other clients.
                    let serve = Rc::clone(&serve);
                    drop(clients.spawn_local(async move { serve.client(accepted).await }));
                }
                Order::Snapshot(answer) => drop(answer.send(serve.snapshot())),
                Order::Drain(limit) => {
                    seat.drain.begin(seat.clock.now().after(limit));
                    break;
                }
            }
            // Ended tasks are taken off the set, or it would grow with every connection.
            while clients.try_join_next().is_some() {}
        }
        while clients.join_next().await.is_some() {}
    });
    // Does not wait for names that are still being resolved for clients that are gone: a resolver may take minutes.
    runtime.shutdown_background();
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
