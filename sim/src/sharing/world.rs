//! One run: applications that share, the real client loops, pools and connections, one server, and a clock that jumps.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use chain::{Builder, ChainPart, Connecting, Connector, Pool, Tick, WorkerCx};
use observe::{Gauge, SharingMetrics};
use sinks::{CassandraSinkSingle, Connections};
use sources::{Client, Rules};
use wire::Protocol;

use super::client::{Application, Plan};
use super::mirror::{self, MirrorLink, Mirrored};
use super::server::{Database, Link};
use super::{Book, Event, PREPARED_ELSEWHERE, READ_TIMEOUT};
use crate::client_task::ClientTask;
use crate::pace::{Next, Pace, Skipped};
use crate::pipe::{MANY_ROUNDS, Pipe, Sockets, note_cuts};
use crate::probe::Probed;
use crate::random::Random;
use crate::tasks::Tasks;
use crate::turns::Turns;
use crate::{CLIENTS_MIN, FAULTS_MIN, REQUESTS_MIN, check_minimum};

/// Requests that all clients together may have in flight, in the runs in which a second reply may be late.
const FEW_IN_FLIGHT: usize = 100;

/// Requests of each client in a busy run: with two clients of a user, some times as many as there are ids that rest.
const BUSY_REQUESTS: usize = 250;

/// Once in so many requests of a busy run the reply is late or missing. In some runs all are: none is answered in time.
const BUSY_FAULT_EVERY: [usize; 2] = [40, 1];

/// Clients there may be at once.
const SEATS_MAX: usize = 6;

/// Clients that come after others.
const SUCCESSORS_MAX: usize = 3;

/// The server, as the connector and the world see it.
struct Server {
    sockets: Sockets,
    links: Vec<Link>,
    mirrors: Vec<MirrorLink>,
    /// What moved on those that are gone.
    moved_before: u64,
    random: Random,
    database: Database,
    book: Book,
}

impl Server {
    /// The next connection to it, or to the other server.
    fn pipe(&mut self) -> Pipe {
        let random = Random::new(self.random.below(usize::MAX) as u64);
        self.sockets.pipe(random, self.database.message_max(), MANY_ROUNDS)
    }
}

struct SimConnector(Rc<RefCell<Server>>);

impl Connector for SimConnector {
    fn connect(&self, address: &str) -> Connecting {
        let server = &mut *self.0.borrow_mut();
        if address == mirror::ADDRESS {
            let pipe = server.pipe();
            server.mirrors.push(MirrorLink::new(pipe.clone()));
            return pipe.connecting(0);
        }
        let delay = server.random.below(5);
        let every = server.database.fault_every;
        if every > 0 && !server.database.is_busy && server.random.once_in(every.min(12)) {
            let hangs = server.random.once_in(2);
            server.book.note_server_fault(if hangs { Event::ConnectHangs } else { Event::ConnectRefused });
            return if hangs {
                Box::pin(std::future::pending())
            } else {
                Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())))
            };
        }
        let pipe = server.pipe();
        let link = Link::new(pipe.clone(), Random::new(server.random.below(usize::MAX) as u64));
        server.links.push(link);
        pipe.connecting(delay)
    }
}

struct Seat {
    application: Application,
    task: ClientTask,
    drain_at: Option<usize>,
}

/// One run, from its seed.
pub struct World {
    server: Rc<RefCell<Server>>,
    sockets: Sockets,
    turns: Turns,
    tasks: Tasks,
    seats: Vec<Seat>,
    pool: Pool,
    sharing: Rc<SharingMetrics>,
    now: Tick,
    random: Random,
    seed: u64,
    part: Rc<ChainPart>,
    /// Clients there have been, and what those asked that are gone.
    clients: usize,
    asked: usize,
    /// Clients that are still to come.
    successors: usize,
    round: usize,
}

/// Whether anything goes wrong at the server, and how often.
fn fault_every(random: &mut Random) -> usize {
    [0, 0, 15, 40, 100][random.below(5)]
}

fn plan(random: &mut Random, database: &Database, begun: Skipped) -> Plan {
    let client_faults =
        [Event::ClientResets, Event::ClientEndsItsSide, Event::ClientTearsRequest, Event::ClientSendsGarbage];
    let in_flight_max = if database.repeats_late { FEW_IN_FLIGHT / SEATS_MAX - 1 } else { 64 };
    let stops_reading_at = random.once_in(20).then(|| random.below(40));
    // Who stops reading has much to read; and where nothing is answered in time, one at a time would take for ever.
    let has_many_in_flight = stops_reading_at.is_some() || database.fault_every == 1;
    let fault = random.once_in(3).then(|| (client_faults[random.below(4)], random.below(40)));
    Plan {
        begun,
        requests: if database.is_busy { BUSY_REQUESTS } else { 30 + random.below(50) },
        in_flight_max: 1 + if has_many_in_flight { in_flight_max } else { random.size(in_flight_max) },
        padding_max: database.padding_max,
        pipelines_use: database.fault_every == 0,
        changes_keyspace: !database.is_busy,
        is_hasty: !database.is_busy && random.once_in(4),
        logs_in: database.has_auth,
        registers: random.once_in(3),
        compresses: random.once_in(8),
        reads_seldom: random.once_in(6),
        stops_reading_at,
        fault,
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let padding_max = if random.once_in(6) { 1 << 18 } else { 3000 };
        let is_busy = random.once_in(12);
        let fault_every = if is_busy { BUSY_FAULT_EVERY[random.below(2)] } else { fault_every(&mut random) };
        let has_timeout = is_busy || random.once_in(2);
        let (sockets, turns) = (Sockets::default(), Turns::pick(&mut random));
        let server = Rc::new(RefCell::new(Server {
            sockets: sockets.clone(),
            links: Vec::new(),
            mirrors: Vec::new(),
            moved_before: 0,
            random: Random::new(seed ^ 1),
            database: Database {
                prepared: BTreeSet::from([PREPARED_ELSEWHERE]),
                has_auth: !random.once_in(4),
                has_timeout,
                fault_every,
                padding_max,
                repeats_late: random.once_in(2),
                is_busy,
            },
            book: Book { has_timeout, has_mirror: random.once_in(4), ..Book::default() },
        }));
        let (pool, tasks, sharing) = (Pool::new(), Tasks::default(), Rc::<SharingMetrics>::default());
        let worker = WorkerCx {
            pool: pool.clone(),
            sharing: Rc::clone(&sharing),
            ..WorkerCx::alone(
                Protocol::Cql,
                Rc::new(SimConnector(Rc::clone(&server))),
                Rc::new(tasks.spawner()),
            )
        };
        // A second or two of those that come to nothing, one behind the other, are less than anybody may wait.
        let mut sink = CassandraSinkSingle::new("server:9042".to_owned(), Duration::from_secs(1));
        sink.read_timeout = has_timeout.then_some(READ_TIMEOUT);
        sink.connections = Connections::Shared;
        let mirrored = Mirrored(sink.clone());
        let sink: &dyn Builder = if server.borrow().book.has_mirror { &mirrored } else { &sink };
        let part = ChainPart::new("chain", &worker, [("CassandraSinkSingle", "sink", sink)], None);
        let seats = if is_busy { 4 } else { CLIENTS_MIN + random.below(SEATS_MAX - 2) };
        let successors = random.below(SUCCESSORS_MAX + 1);
        let mut world = Self {
            server,
            sockets,
            turns,
            tasks,
            seats: Vec::new(),
            pool,
            sharing,
            now: Tick(0),
            random,
            seed,
            part,
            clients: 0,
            asked: 0,
            successors,
            round: 0,
        };
        for _ in 0..seats {
            let seat = world.seat();
            world.seats.push(seat);
        }
        world
    }

    /// A new client, and the loop that serves it.
    fn seat(&mut self) -> Seat {
        let server = &mut *self.server.borrow_mut();
        let (index, random) = (self.clients, &mut self.random);
        self.clients += 1;
        let plan = plan(random, &server.database, server.book.skipped);
        server.book.has_slow_client |= plan.is_slow();
        let salt = self.seed ^ ((index as u64) << 40);
        let pipe = self.sockets.pipe(Random::new(salt ^ 2), server.database.message_max(), MANY_ROUNDS);
        let rules = Rc::new(Rules { frame_bytes_max: 1 << 28, idle_timeout: None });
        let client = self.part.client().map(|chain| Client::new(pipe.stream(), chain, rules, None, self.now));
        let application = Application::new(index as u8, pipe, plan, Random::new(salt ^ 99), self.now);
        let drain_at = random.once_in(12).then(|| self.round + random.below(400));
        Seat { application, task: ClientTask::new(client), drain_at }
    }

    /// Another client takes the place of one that is gone: some do in every run, and more until enough was asked and
    /// enough went wrong.
    fn replace_gone(&mut self) -> Result<(), String> {
        for at in 0..self.seats.len() {
            let Seat { application, task, .. } = &self.seats[at];
            let is_enough = self.asked() >= REQUESTS_MIN && self.faults() >= FAULTS_MIN;
            if !task.has_ended() || (is_enough && self.successors == 0) {
                continue;
            }
            if !application.is_done() {
                return Err(format!("still waits: {}", application.describe()));
            }
            let (asked, cuts) = (application.asked(), application.pipe.cuts());
            self.asked += asked;
            note_cuts(&mut self.server.borrow_mut().book.cuts, cuts);
            self.successors = self.successors.saturating_sub(1);
            self.seats[at] = self.seat();
        }
        Ok(())
    }

    /// Requests that were asked.
    fn asked(&self) -> usize {
        self.asked + self.seats.iter().map(|seat| seat.application.asked()).sum::<usize>()
    }

    /// How often something went wrong, on the way or at its ends.
    fn faults(&self) -> u64 {
        let server = self.server.borrow();
        let pipes = self.seats.iter().map(|seat| &seat.application.pipe);
        let pipes = pipes.chain(server.links.iter().map(|link| &link.pipe));
        let cuts = pipes.flat_map(Pipe::cuts).sum::<u64>() + server.book.cuts.iter().sum::<u64>();
        cuts + server.book.faults()
    }

    /// Runs to the end. `Ok` is what happened, `Err` what must never happen.
    pub fn run(mut self) -> Result<Book, String> {
        let mut pace = Pace::new(self.turns);
        for round in 0.. {
            self.round = round;
            self.server.borrow_mut().book.skipped = pace.skipped();
            if self.round()? {
                self.replace_gone()?;
            }
            if self.seats.iter().all(|seat| seat.task.has_ended()) && self.tasks.is_empty() {
                break;
            }
            let moved = self.moved();
            if self.turns == Turns::Probed && pace.is_settled(moved) {
                self.probe()?;
            }
            self.now = Tick(self.now.0 + self.random.below(200) as u64);
            if self.seats.iter().any(|seat| seat.application.will_read()) {
                pace.is_moving();
            }
            match pace.after_round(moved, self.now, || self.next()) {
                Ok(now) => self.now = now,
                Err(problem) => return Err(format!("{problem}: {}", self.describe())),
            }
        }
        self.check_end()
    }

    fn next(&self) -> Next {
        let clients = self.seats.iter().map(|seat| (&seat.task, seat.application.waits_since()));
        let server = self.server.borrow();
        let servers = server.links.iter().filter_map(|link| link.due(self.now));
        let servers =
            servers.chain(self.seats.iter().filter_map(|seat| seat.application.due(self.now))).min();
        Next { servers, ..Next::of(clients).and(&self.tasks) }
    }

    /// All have their turns. True when a client ended.
    fn round(&mut self) -> Result<bool, String> {
        let (round, mut has_ended) = (self.round, false);
        self.server.borrow_mut().book.now = self.now;
        for seat in &mut self.seats {
            seat.application.act(&mut self.server.borrow_mut().book)?;
            if seat.task.has_ended() {
                continue;
            }
            if seat.drain_at.is_some_and(|at| at <= round) {
                seat.drain_at = None;
                seat.application.may_lose = true;
                self.server.borrow_mut().book.note(Event::Drained);
                seat.task.drain(self.now.after(Duration::from_secs(5)));
            }
            if let Some(end) = seat.task.poll(self.now, self.turns) {
                has_ended = true;
                let book = &mut self.server.borrow_mut().book;
                seat.application.act(book).map_err(|problem| format!("{problem} ({end:?})"))?;
            }
        }
        let now = self.now;
        self.tasks.poll(now, self.turns);
        let Server { links, mirrors, moved_before, random, database, book, .. } =
            &mut *self.server.borrow_mut();
        mirrors.iter_mut().try_for_each(|mirror| mirror.act(book))?;
        mirrors.retain(|mirror| {
            *moved_before += if mirror.pipe.is_over() { mirror.pipe.moved() } else { 0 };
            !mirror.pipe.is_over()
        });
        if database.fault_every > 0
            && !database.is_busy
            && random.once_in(database.fault_every * 60)
            && !links.is_empty()
        {
            book.note_server_fault(Event::ServerRestarts);
            database.prepared = BTreeSet::from([PREPARED_ELSEWHERE]);
            links.iter_mut().for_each(Link::crash);
        }
        links.iter_mut().try_for_each(|link| link.act(now, database, book))?;
        links.retain(|link| {
            if link.is_gone() {
                *moved_before += link.pipe.moved();
                note_cuts(&mut book.cuts, link.pipe.cuts());
            }
            !link.is_gone()
        });
        self.sockets.look();
        Ok(has_ended)
    }

    /// With the last connection everything that goes up must have come down.
    fn check_gauges(&self) -> Result<(), String> {
        let SharingMetrics { shared_open, own_open, in_flight, orphaned, spill_bytes, .. } = &*self.sharing;
        let left = [shared_open, own_open, in_flight, orphaned, spill_bytes].map(Gauge::get);
        if left == [0; 5] { Ok(()) } else { Err(format!("gauges that did not come down: {left:?}")) }
    }

    fn check_end(self) -> Result<Book, String> {
        for seat in &self.seats {
            if !seat.application.is_done() {
                return Err(format!("still waits: {}", seat.application.describe()));
            }
        }
        check_minimum(self.seats.len(), self.asked(), self.faults())?;
        let Server { links, book, .. } = &mut *self.server.borrow_mut();
        let pipes = self.seats.iter().map(|seat| &seat.application.pipe);
        let pipes = pipes.chain(links.iter().map(|link| &link.pipe));
        pipes.for_each(|pipe| note_cuts(&mut book.cuts, pipe.cuts()));
        if self.pool.taken() != 0 {
            return Err(format!("{} chunks are still held", self.pool.taken()));
        }
        self.check_gauges()?;
        book.counts = self.sharing.counts();
        Ok(std::mem::take(book))
    }
}

impl Probed for World {
    fn now(&self) -> Tick {
        self.now
    }

    fn moved(&self) -> u64 {
        let applications = self.seats.iter().map(|seat| seat.application.pipe.moved());
        let server = self.server.borrow();
        let mirrors = server.mirrors.iter().map(|mirror| mirror.pipe.moved());
        applications.chain(mirrors).sum::<u64>()
            + server.moved_before
            + server.links.iter().map(|link| link.pipe.moved()).sum::<u64>()
    }

    fn describe(&self) -> String {
        let clients = self.seats.iter().map(|seat| {
            let Seat { application, task, .. } = seat;
            format!("\n  {}, {}, {}", application.describe(), application.pipe.describe(), task.describe())
        });
        let server = self.server.borrow();
        let links =
            server.links.iter().map(|link| format!("\n  {}, {}", link.describe(), link.pipe.describe()));
        let all: String = clients.chain(links).chain([self.tasks.describe()]).collect();
        format!("at {:?}, turns for {:?}{all}", self.now, self.turns)
    }

    fn tasks(&mut self) -> &mut Tasks {
        &mut self.tasks
    }

    fn client(&mut self, at: usize) -> Option<(u64, &mut ClientTask)> {
        self.seats.get_mut(at).map(|of| (u64::from(of.application.index), &mut of.task))
    }
}
