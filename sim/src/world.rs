//! One run: some applications, the real client loops between them and their servers, and a clock that jumps.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use chain::{
    Batch, Builder, ChainPart, Connecting, Connector, Cx, Fault as ChainFault, Held, Link, Need, Pool, Tick,
    Transform, Why, WorkerCx, WorkerPart,
};
use sinks::CassandraSinkSingle;
use sources::{Client, Rules};
use transforms::{
    Coalesce, DebugForceEncode, DebugForceParse, QueryCounter, QueryTypeFilter, RequestThrottling,
};
use wire::{Protocol, QueryType};

use crate::client_task::ClientTask;
use crate::pace::{Next, Pace};
use crate::peers::{Application, Book, Fault, Plan, Server};
use crate::pipe::{MANY_ROUNDS, Pipe, Sockets, note_cuts};
use crate::probe::Probed;
use crate::random::Random;
use crate::tasks::Tasks;
use crate::turns::Turns;
use crate::{CLIENTS_MIN, FAULTS_MIN, REQUESTS_MIN, check_minimum};

/// What the connector and the world share.
struct Servers {
    sockets: Sockets,
    servers: Vec<Server>,
    random: Random,
    padding_max: usize,
    /// Requests may come in another order than they were asked in.
    holds: bool,
    book: Book,
}

struct SimConnector(Rc<RefCell<Servers>>);

impl Connector for SimConnector {
    fn connect(&self, _address: &str) -> Connecting {
        let shared = &mut *self.0.borrow_mut();
        let fault = pick(&mut shared.random, &SERVER_FAULTS);
        let delay = shared.random.below(5);
        match fault {
            Some((Fault::ConnectRefused, _)) => {
                shared.book.note(Fault::ConnectRefused);
                return shared.sockets.pipe(Random::new(0), shared.padding_max, MANY_ROUNDS).refusing(delay);
            }
            Some((Fault::ConnectHangs, _)) => {
                shared.book.note(Fault::ConnectHangs);
                return Box::pin(std::future::pending());
            }
            _ => {}
        }
        let seed = shared.random.below(usize::MAX) as u64;
        let pipe = shared.sockets.pipe(Random::new(seed), shared.padding_max, MANY_ROUNDS);
        let server =
            Server::new(pipe.clone(), shared.padding_max, fault, shared.holds, Random::new(seed + 1));
        shared.servers.push(server);
        pipe.connecting(delay)
    }
}

/// A transform that looks at as much as its need says, and checks that it was given that.
#[derive(Clone, Copy)]
struct Looker(Need);

impl Builder for Looker {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for Looker {
    fn client(&self) -> Link {
        Link::Transform(Box::new(*self))
    }
}

impl Looker {
    fn look(self, batch: &mut Batch<'_>) {
        batch.each(|item| {
            assert!(
                self.0 != Need::Whole || item.is_whole() || item.request().is_none(),
                "a message is not whole"
            );
            assert!(item.request().is_some() || item.head().id == -1, "a reply without its request");
            item.set_tag(item.head().id as u32);
            assert_eq!(item.bytes().len().min(9), 9, "no header to look at");
        });
    }
}

impl Transform for Looker {
    fn request_need(&self, _: u8) -> Need {
        self.0
    }
    fn reply_need(&self, _: u8) -> Need {
        self.0
    }
    fn requests(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), ChainFault> {
        self.look(batch);
        Ok(())
    }
    fn responses(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), ChainFault> {
        batch.each(|item| {
            if item.request().is_some() {
                assert_eq!(item.tag(), item.head().id as u32, "a tag was lost");
            }
        });
        self.look(batch);
        Ok(())
    }
}

/// A transform that makes every third request wait for a while.
#[derive(Default)]
struct Holder {
    held: Vec<(Tick, Held)>,
    seen: usize,
}

/// Makes holders; what a holder holds never leaves its worker.
struct Holders;

impl Builder for Holders {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Self)
    }
}

impl WorkerPart for Holders {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Holder::default()))
    }
}

impl Holder {
    fn release_due(&mut self, now: Tick, batch: &mut Batch<'_>) {
        while let Some(at) = self.held.iter().position(|(due, _)| *due <= now) {
            batch.release(self.held.swap_remove(at).1);
        }
    }
}

impl Transform for Holder {
    fn requests(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), ChainFault> {
        batch.each(|item| {
            self.seen += 1;
            if self.seen.is_multiple_of(3)
                && let Some(held) = item.hold()
            {
                assert_eq!(held.bytes().len(), held.head().frame_bytes as usize);
                self.held.push((cx.now.after(Duration::from_micros(100 * self.seen as u64)), held));
            }
        });
        self.release_due(cx.now, batch);
        Ok(())
    }
    fn woken(&mut self, cx: &mut Cx<'_, '_>, _: Why, batch: &mut Batch<'_>) -> Result<(), ChainFault> {
        self.release_due(cx.now, batch);
        Ok(())
    }
    fn deadline(&self) -> Option<Tick> {
        self.held.iter().map(|(due, _)| *due).min()
    }
}

struct Connection {
    application: Application,
    task: ClientTask,
    drain_at: Option<usize>,
}

/// One run, from its seed.
pub struct World {
    servers: Rc<RefCell<Servers>>,
    sockets: Sockets,
    turns: Turns,
    connections: Vec<Connection>,
    tasks: Tasks,
    pool: Pool,
    now: Tick,
    random: Random,
    seed: u64,
    part: Rc<ChainPart>,
    padding_max: usize,
    filters: bool,
    /// Clients there have been, and what those asked that are gone.
    clients: u64,
    asked: usize,
    round: usize,
}

/// What can go wrong at a server, or on the way to it.
const SERVER_FAULTS: [Fault; 7] = [
    Fault::ConnectRefused,
    Fault::ConnectHangs,
    Fault::ServerResets,
    Fault::ServerEnds,
    Fault::ServerTearsReply,
    Fault::ServerAnswersUnknownId,
    Fault::ServerSendsGarbage,
];

/// Which fault a client's side of the run has, if any, and after how many requests.
fn pick(random: &mut Random, faults: &[Fault]) -> Option<(Fault, usize)> {
    random.once_in(3).then(|| (faults[random.below(faults.len())], random.below(20)))
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let filters = random.once_in(3);
        let padding_max = if random.once_in(6) { 1 << 18 } else { 3000 };
        let (sockets, turns) = (Sockets::default(), Turns::pick(&mut random));
        let servers = Rc::new(RefCell::new(Servers {
            sockets: sockets.clone(),
            servers: Vec::new(),
            random: Random::new(seed ^ 1),
            padding_max,
            holds: false,
            book: Book::default(),
        }));
        let pool = Pool::new();
        let part = chain_part(&mut random, &pool, &servers, filters);
        let clients = CLIENTS_MIN + random.below(2);
        let (connections, tasks, now) = (Vec::new(), Tasks::default(), Tick(0));
        let mut world = Self {
            servers,
            sockets,
            turns,
            connections,
            tasks,
            pool,
            now,
            random,
            seed,
            part,
            padding_max,
            filters,
            clients: 0,
            asked: 0,
            round: 0,
        };
        for _ in 0..clients {
            let connection = world.connect();
            world.connections.push(connection);
        }
        world
    }

    /// A new client, and the loop that serves it.
    fn connect(&mut self) -> Connection {
        let Self { seed, random, padding_max, .. } = self;
        let (index, seed, padding_max) = (self.clients, *seed, *padding_max);
        self.clients += 1;
        let rules = Rc::new(Rules { frame_bytes_max: 1 << 28, idle_timeout: None });
        let client_faults = [
            Fault::ClientResets,
            Fault::ClientEndsItsSide,
            Fault::ClientTearsRequest,
            Fault::ClientSendsGarbage,
        ];
        let plan = Plan {
            begun: self.servers.borrow().book.skipped,
            requests: 30 + random.below(60),
            in_flight_max: 1 + random.size(64),
            padding_max,
            writes_are_filtered: self.filters,
            fault: pick(random, &client_faults),
        };
        let pipe = self.sockets.pipe(Random::new(seed ^ (index + 2)), padding_max, MANY_ROUNDS);
        let stream = pipe.stream();
        let application = Application::new(index, pipe, plan, Random::new(seed ^ (index + 99)));
        let client = self.part.client().map(|chain| Client::new(stream, chain, rules, None, self.now));
        let drain_at = random.once_in(8).then(|| self.round + random.below(200));
        Connection { application, task: ClientTask::new(client), drain_at }
    }

    /// Another client takes the place of one that is gone, until enough was asked and enough went wrong.
    fn replace_gone(&mut self) -> Result<(), String> {
        for at in 0..self.connections.len() {
            let Connection { application, task, .. } = &self.connections[at];
            if !task.has_ended() || (self.asked() >= REQUESTS_MIN && self.faults() >= FAULTS_MIN) {
                continue;
            }
            if !application.is_done() {
                return Err(format!("client {} still waits", application.index));
            }
            let (asked, cuts) = (application.asked(), application.pipe.cuts());
            self.asked += asked;
            note_cuts(&mut self.servers.borrow_mut().book.cuts, cuts);
            self.connections[at] = self.connect();
        }
        Ok(())
    }

    /// Requests that were asked.
    fn asked(&self) -> usize {
        let now = self.connections.iter().map(|connection| connection.application.asked());
        self.asked + now.sum::<usize>()
    }

    /// How often something went wrong, on the way or at its ends.
    fn faults(&self) -> u64 {
        let servers = self.servers.borrow();
        let pipes = self.connections.iter().map(|connection| &connection.application.pipe);
        let pipes = pipes.chain(servers.servers.iter().map(|server| &server.pipe));
        let cuts = pipes.flat_map(Pipe::cuts).sum::<u64>() + servers.book.cuts.iter().sum::<u64>();
        cuts + servers.book.faults()
    }

    /// Runs to the end. `Ok` is what happened, `Err` what must never happen.
    pub fn run(mut self) -> Result<Book, String> {
        let mut pace = Pace::new(self.turns);
        for round in 0.. {
            self.round = round;
            self.servers.borrow_mut().book.skipped = pace.skipped();
            if self.round()? {
                pace.is_moving();
                self.replace_gone()?;
            }
            if self.connections.iter().all(|connection| connection.task.has_ended()) {
                break;
            }
            let moved = self.moved();
            if self.turns == Turns::Probed && pace.is_settled(moved) {
                self.probe()?;
            }
            self.now = Tick(self.now.0 + self.random.below(200) as u64);
            match pace.after_round(moved, self.now, || self.next()) {
                Ok(now) => self.now = now,
                Err(problem) => return Err(format!("{problem}: {}", self.describe())),
            }
        }
        self.check_end()
    }

    fn next(&self) -> Next {
        let connections = self.connections.iter();
        Next::of(connections.map(|connection| (&connection.task, connection.application.waits_since())))
    }

    fn round(&mut self) -> Result<bool, String> {
        let round = self.round;
        let mut ended_any = false;
        for connection in &mut self.connections {
            connection.application.act(&mut self.servers.borrow_mut().book)?;
            if connection.task.has_ended() {
                continue;
            }
            if connection.drain_at.is_some_and(|at| at <= round) {
                connection.drain_at = None;
                connection.application.may_lose = true;
                self.servers.borrow_mut().book.note(Fault::Drained);
                connection.task.drain(self.now.after(Duration::from_secs(5)));
            }
            if let Some(end) = connection.task.poll(self.now, self.turns) {
                ended_any = true;
                let book = &mut self.servers.borrow_mut().book;
                connection.application.act(book).map_err(|problem| format!("{problem} ({end:?})"))?;
            }
        }
        let servers = &mut *self.servers.borrow_mut();
        for server in &mut servers.servers {
            if server.act(&mut servers.book)?.is_some() {
                let owner = server.owner;
                for connection in &mut self.connections {
                    connection.application.may_lose |= Some(connection.application.index) == owner;
                }
            }
        }
        if servers.book.faults.contains_key(&Fault::ConnectRefused)
            || servers.book.faults.contains_key(&Fault::ConnectHangs)
        {
            // Which client it hit is not known here: the connection was never used.
            self.connections.iter_mut().for_each(|connection| connection.application.may_lose = true);
        }
        self.sockets.look();
        Ok(ended_any)
    }

    fn check_end(self) -> Result<Book, String> {
        for connection in &self.connections {
            if !connection.application.is_done() {
                return Err(format!("client {} still waits", connection.application.index));
            }
        }
        check_minimum(self.connections.len(), self.asked(), self.faults())?;
        let Servers { servers, book, .. } = &mut *self.servers.borrow_mut();
        let pipes = self.connections.iter().map(|connection| &connection.application.pipe);
        let pipes = pipes.chain(servers.iter().map(|server| &server.pipe));
        pipes.for_each(|pipe| note_cuts(&mut book.cuts, pipe.cuts()));
        if self.pool.taken() != 0 {
            return Err(format!("{} chunks are still held", self.pool.taken()));
        }
        Ok(std::mem::take(book))
    }
}

impl Probed for World {
    fn now(&self) -> Tick {
        self.now
    }

    fn moved(&self) -> u64 {
        let applications = self.connections.iter().map(|connection| connection.application.pipe.moved());
        let servers = self.servers.borrow();
        applications.sum::<u64>() + servers.servers.iter().map(|server| server.pipe.moved()).sum::<u64>()
    }

    fn describe(&self) -> String {
        let servers = self.servers.borrow();
        let clients = self.connections.iter().map(|connection| {
            let Connection { application, task, .. } = connection;
            format!("\n  {}, {}, {}", application.describe(), application.pipe.describe(), task.describe())
        });
        let servers = servers
            .servers
            .iter()
            .map(|server| format!("\n  {}, {}", server.describe(), server.pipe.describe()));
        let all: String = clients.chain(servers).collect();
        format!("at {:?}, turns for {:?}{all}", self.now, self.turns)
    }

    fn tasks(&mut self) -> &mut Tasks {
        &mut self.tasks
    }

    fn client(&mut self, at: usize) -> Option<(u64, &mut ClientTask)> {
        self.connections.get_mut(at).map(|of| (of.application.index, &mut of.task))
    }
}

fn chain_part(
    random: &mut Random,
    pool: &Pool,
    servers: &Rc<RefCell<Servers>>,
    filters: bool,
) -> Rc<ChainPart> {
    let worker = WorkerCx {
        pool: pool.clone(),
        ..WorkerCx::alone(
            Protocol::Cql,
            Rc::new(SimConnector(Rc::clone(servers))),
            Rc::new(sim::counted::Nobody),
        )
    };
    let needs = [Need::None, Need::Head, Need::Whole];
    let looker = Looker(needs[random.below(needs.len())]);
    let below = Looker(needs[random.below(needs.len())]);
    let holder = Holders;
    let holds = random.once_in(3);
    servers.borrow_mut().holds = holds;
    let filter = QueryTypeFilter::DenyList(vec![QueryType::Write]);
    let sink = CassandraSinkSingle::new("server:9042".to_owned(), Duration::from_secs(3));
    let mut entries: Vec<(&str, &str, &dyn Builder)> = Vec::new();
    if random.once_in(2) {
        entries.push(("Looker", "above", &looker));
    }
    if filters {
        entries.push(("QueryTypeFilter", "filter", &filter));
    }
    // More than are ever asked: what is refused here would not be what is looked for.
    let throttle = RequestThrottling::new(1_000_000_000);
    let counter = QueryCounter::new("counter");
    let parse = DebugForceParse { parse_requests: random.once_in(2), parse_responses: random.once_in(2) };
    let encode = DebugForceEncode { encode_requests: random.once_in(2), encode_responses: random.once_in(2) };
    let debug: [(&str, &str, &dyn Builder); 4] = [
        ("RequestThrottling", "throttle", &throttle),
        ("QueryCounter", "counter", &counter),
        ("DebugForceParse", "parse", &parse),
        ("DebugForceEncode", "encode", &encode),
    ];
    entries.extend(debug.into_iter().filter(|_| random.once_in(6)));
    let coalesces = [coalesce(random), coalesce(random)];
    let coalesces = coalesces.iter().map(|coalesce| ("Coalesce", "coalesce", coalesce as &dyn Builder));
    entries.extend(coalesces.filter(|_| random.once_in(4)));
    if holds {
        entries.push(("Holder", "holder", &holder));
    }
    if random.once_in(2) {
        entries.push(("Looker", "below", &below));
    }
    entries.push(("CassandraSinkSingle", "sink", &sink));
    ChainPart::new("chain", &worker, entries, None)
}

/// Keeps requests back for a time at least, since applications wait for their replies.
fn coalesce(random: &mut Random) -> Coalesce {
    let count = random.once_in(2).then(|| 1 + random.size(100));
    Coalesce { count, after: Some(Duration::from_micros(1 + random.size(20_000) as u64)) }
}
