//! One run: applications that share, the real client loops, pools and connections, one server, and a clock that jumps.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chain::{ChainPart, Connecting, Connector, Cx, Pool, Spawner, Stream, Task, Tick, WorkerCx};
use observe::{Gauge, SharingMetrics};
use sinks::{CassandraSinkSingle, Connections};
use sources::{Client, Rules};
use wire::Protocol;

use super::client::{Application, Plan};
use super::server::{Database, Link};
use super::{Book, Event};
use crate::pipe::{Pipe, PipeStream};
use crate::random::Random;

/// Rounds after which a run that has not ended is stuck.
const ROUNDS_MAX: usize = 400_000;

/// Rounds without anything moving, after which the clock jumps to the next deadline: a client that reads seldom lets
/// some hundred pass.
const QUIET_ROUNDS: usize = 600;

/// Rounds without anything moving, after which a world without a deadline is stuck: a client that reads seldom lets
/// many pass.
const STUCK_ROUNDS: usize = 2000;

/// The server, as the connector and the world see it.
struct Server {
    links: Vec<Link>,
    random: Random,
    database: Database,
    book: Book,
}

struct SimConnector(Rc<RefCell<Server>>);

impl Connector for SimConnector {
    fn connect(&self, _address: &str) -> Connecting {
        let server = &mut *self.0.borrow_mut();
        let mut delay = server.random.below(5);
        let every = server.database.fault_every;
        if every > 0 && server.random.once_in(every.min(12)) {
            let hangs = server.random.once_in(2);
            server.book.note_server_fault(if hangs { Event::ConnectHangs } else { Event::ConnectRefused });
            return if hangs {
                Box::pin(std::future::pending())
            } else {
                Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())))
            };
        }
        let room = 1 + server.database.padding_max / 512;
        let pipe = Pipe::new(Random::new(server.random.below(usize::MAX) as u64), room);
        let link = Link::new(pipe.clone(), Random::new(server.random.below(usize::MAX) as u64));
        server.links.push(link);
        Box::pin(std::future::poll_fn(move |_| {
            delay = delay.saturating_sub(1);
            if delay > 0 {
                return Poll::Pending;
            }
            Poll::Ready(Ok(Box::new(pipe.stream()) as Box<dyn Stream>))
        }))
    }
}

#[derive(Clone, Default)]
struct Tasks(Rc<RefCell<Vec<Box<dyn Task>>>>);

impl Spawner for Tasks {
    fn spawn(&self, task: Box<dyn Task>) {
        self.0.borrow_mut().push(task);
    }
}

struct Seat {
    application: Application,
    client: Option<Client<PipeStream>>,
    drain_at: Option<usize>,
}

/// One run, from its seed.
pub struct World {
    server: Rc<RefCell<Server>>,
    spawned: Tasks,
    tasks: Vec<Box<dyn Task>>,
    seats: Vec<Seat>,
    pool: Pool,
    sharing: Rc<SharingMetrics>,
    now: Tick,
    random: Random,
}

/// Whether anything goes wrong at the server, and how often.
fn fault_every(random: &mut Random) -> usize {
    [0, 0, 15, 40, 100][random.below(5)]
}

fn plan(random: &mut Random, padding_max: usize, faults: bool) -> Plan {
    let client_faults =
        [Event::ClientResets, Event::ClientEndsItsSide, Event::ClientTearsRequest, Event::ClientSendsGarbage];
    let fault = random.once_in(3).then(|| (client_faults[random.below(4)], random.below(40)));
    Plan {
        requests: 40 + random.below(60),
        in_flight_max: 1 + random.size(64),
        padding_max,
        pipelines_use: !faults,
        registers: random.once_in(3),
        compresses: random.once_in(8),
        reads_seldom: random.once_in(6),
        fault,
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let padding_max = if random.once_in(6) { 1 << 18 } else { 3000 };
        let fault_every = fault_every(&mut random);
        let has_timeout = random.once_in(2);
        let server = Rc::new(RefCell::new(Server {
            links: Vec::new(),
            random: Random::new(seed ^ 1),
            database: Database {
                prepared: BTreeSet::new(),
                has_auth: !random.once_in(4),
                has_timeout,
                fault_every,
                padding_max,
            },
            book: Book::default(),
        }));
        let (pool, spawned, sharing) = (Pool::new(), Tasks::default(), Rc::<SharingMetrics>::default());
        let worker = WorkerCx {
            pool: pool.clone(),
            connector: Rc::new(SimConnector(Rc::clone(&server))),
            spawner: Rc::new(spawned.clone()),
            protocol: Protocol::Cql,
            sharing: Rc::clone(&sharing),
        };
        let mut sink = CassandraSinkSingle::new("server:9042".to_owned(), Duration::from_secs(3));
        sink.read_timeout = has_timeout.then_some(Duration::from_secs(1));
        sink.connections = Connections::Shared;
        let part = ChainPart::new("chain", &worker, [("CassandraSinkSingle", "sink", &sink as _)], None);
        let rules = Rc::new(Rules { frame_bytes_max: 1 << 28, idle_timeout: None });
        let seats = (0..3 + random.below(6)).map(|index| {
            let plan = plan(&mut random, padding_max, fault_every > 0);
            server.borrow_mut().book.has_slow_client |= plan.reads_seldom;
            let pipe = Pipe::new(Random::new(seed ^ (index as u64 + 2)), 1 + padding_max / 512);
            let stream = pipe.stream();
            let random = Random::new(seed ^ (index as u64 + 99));
            let application = Application::new(index as u8, pipe, plan, random);
            let client =
                part.client().map(|chain| Client::new(stream, chain, Rc::clone(&rules), None, Tick(0)));
            Seat { application, client, drain_at: None }
        });
        let mut seats: Vec<Seat> = seats.collect();
        for seat in &mut seats {
            seat.drain_at = random.once_in(12).then(|| random.below(400));
        }
        Self { server, spawned, tasks: Vec::new(), seats, pool, sharing, now: Tick(0), random }
    }

    /// Runs to the end. `Ok` is what happened, `Err` what must never happen.
    pub fn run(mut self) -> Result<Book, String> {
        let (mut moved_before, mut quiet) = (0, 0);
        for round in 0..ROUNDS_MAX {
            self.round(round)?;
            let is_over = self.seats.iter().all(|seat| seat.client.is_none()) && self.tasks.is_empty();
            if is_over {
                return self.check_end();
            }
            let moved = self.moved();
            quiet = if moved == moved_before { quiet + 1 } else { 0 };
            moved_before = moved;
            self.now = Tick(self.now.0 + self.random.below(200) as u64);
            if quiet > QUIET_ROUNDS {
                match self.next() {
                    Some(next) => {
                        self.now = next.max(self.now);
                        quiet = 0;
                    }
                    None if quiet > STUCK_ROUNDS => return Err(format!("stuck: {}", self.describe())),
                    None => {}
                }
            }
        }
        Err(format!("no end in sight: {}", self.describe()))
    }

    /// The next time at which somebody wants to do something though nothing came.
    fn next(&self) -> Option<Tick> {
        let clients = self.seats.iter().filter_map(|seat| seat.client.as_ref()?.deadline());
        let tasks = self.tasks.iter().filter_map(|task| task.deadline());
        let server = self.server.borrow();
        let links = server.links.iter().filter_map(|link| link.due(self.now));
        clients.chain(tasks).chain(links).min()
    }

    fn describe(&self) -> String {
        let clients = self.seats.iter().map(|seat| {
            let deadline = seat.client.as_ref().map(Client::deadline);
            format!("\n  {}, its client {deadline:?}", seat.application.describe())
        });
        let server = self.server.borrow();
        let links = server.links.iter().map(|link| format!("\n  {}", link.describe()));
        let tasks = format!("\n  {} tasks", self.tasks.len());
        format!("at {:?}{}{tasks}", self.now, clients.chain(links).collect::<String>())
    }

    fn round(&mut self, round: usize) -> Result<(), String> {
        for seat in &mut self.seats {
            seat.application.act(&mut self.server.borrow_mut().book)?;
            let Some(client) = &mut seat.client else { continue };
            if seat.drain_at.is_some_and(|at| at <= round) {
                seat.drain_at = None;
                seat.application.may_lose = true;
                self.server.borrow_mut().book.note(Event::Drained);
                client.drain(self.now.after(Duration::from_secs(5)));
            }
            let mut task = Context::from_waker(Waker::noop());
            if let Poll::Ready(end) = client.poll(&mut Cx { task: &mut task, now: self.now }) {
                seat.client = None;
                let book = &mut self.server.borrow_mut().book;
                seat.application.act(book).map_err(|problem| format!("{problem} ({end:?})"))?;
            }
        }
        self.tasks.append(&mut self.spawned.0.borrow_mut());
        let now = self.now;
        self.tasks.retain_mut(|task| {
            let mut context = Context::from_waker(Waker::noop());
            task.poll(&mut Cx { task: &mut context, now }).is_pending()
        });
        let Server { links, random, database, book } = &mut *self.server.borrow_mut();
        if database.fault_every > 0 && random.once_in(database.fault_every * 60) && !links.is_empty() {
            book.note_server_fault(Event::ServerRestarts);
            database.prepared.clear();
            links.iter_mut().for_each(Link::crash);
        }
        links.iter_mut().try_for_each(|link| link.act(now, database, book))
    }

    fn moved(&self) -> u64 {
        let applications = self.seats.iter().map(|seat| seat.application.pipe.moved());
        let server = self.server.borrow();
        applications.sum::<u64>() + server.links.iter().map(|link| link.pipe.moved()).sum::<u64>()
    }

    /// With the last connection everything that goes up must have come down.
    fn check_gauges(&self) -> Result<(), String> {
        let SharingMetrics { shared_open, own_open, in_flight, orphaned, spill_bytes, .. } = &*self.sharing;
        let left = [shared_open, own_open, in_flight, orphaned, spill_bytes].map(Gauge::get);
        if left == [0; 5] { Ok(()) } else { Err(format!("gauges that did not come down: {left:?}")) }
    }

    fn check_end(mut self) -> Result<Book, String> {
        for seat in &self.seats {
            if !seat.application.is_done() {
                return Err(format!("still waits: {}", seat.application.describe()));
            }
        }
        self.seats.clear();
        if self.pool.taken() != 0 {
            return Err(format!("{} chunks are still held", self.pool.taken()));
        }
        self.check_gauges()?;
        Ok(std::mem::take(&mut self.server.borrow_mut().book))
    }
}
