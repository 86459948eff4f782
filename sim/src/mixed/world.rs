//! One run: some applications, a chain, its servers, and a clock that jumps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use chain::{ChainPart, Connecting, Connector, Pool, Switch, Tick, WorkerCx};
use observe::NestedMetrics;
use shotover::{Files, OneChain};
use sources::{Client, Rules};
use wire::Protocol;

use super::Book;
use super::application::{Application, Plan};
use super::model::{self, Part, Server, server_at};
use super::outcomes::{begins_sessions, may_miss_use};
use super::server::{Link, Role, Traits};
use super::{chains, check};
use crate::client_task::ClientTask;
use crate::pace::{Next, Pace};
use crate::pipe::{FEW_ROUNDS, MANY_ROUNDS, Pipe, Sockets, note_cuts};
use crate::probe::Probed;
use crate::random::Random;
use crate::tasks::Tasks;
use crate::turns::Turns;
use crate::{CLIENTS_MIN, FAULTS_MIN, REQUESTS_MIN, check_minimum};

/// Longest padding of a request, and longest value of a reply, in runs without large ones and in those with.
const PADDING: [usize; 2] = [3000, 1 << 18];

/// Rounds of the longest message. Large ones take as many as in the other worlds: chains and instances wait for them then.
fn rounds(padding_max: usize) -> usize {
    if padding_max > PADDING[0] { MANY_ROUNDS } else { FEW_ROUNDS }
}

/// Where no server accepts a session, only requests are taken that are small.
const PADDING_UNACCEPTED: usize = 300;

/// Of the runs, those in which servers want a login.
const LOGIN_ONE_IN: usize = 4;

/// Of the clients, those that use an id of a request in flight.
const REPEATS_ONE_IN: usize = 6;

/// Of the rounds, those before which a switch is flipped.
const FLIPPED_ONE_IN: usize = 30;

/// The servers, as the connector and the world see them.
struct Servers {
    links: Vec<Link>,
    sockets: Sockets,
    moved_before: u64,
    random: Random,
    /// Where faults happen, some of them reset their connections.
    traits: Traits,
    roles: BTreeMap<Server, Role>,
    book: Book,
}

struct SimConnector(Rc<RefCell<Servers>>);

impl Connector for SimConnector {
    fn connect(&self, address: &str) -> Connecting {
        let servers = &mut *self.0.borrow_mut();
        let Servers { random, sockets, traits, .. } = servers;
        let mut seed = || Random::new(random.below(usize::MAX) as u64);
        let (pipe, random) = (sockets.pipe(seed(), traits.padding_max, rounds(traits.padding_max)), seed());
        let resets = servers.traits.resets && servers.random.once_in(3);
        let traits = Traits { resets, ..servers.traits };
        let server = server_at(address).unwrap_or(model::SOME_SERVER);
        let role = servers.roles.get(&server).copied().unwrap_or_default();
        servers.links.push(Link::new(pipe.clone(), (server, role), traits, random));
        let delay = servers.random.below(5);
        pipe.connecting(delay)
    }
}

struct Seat {
    application: Application,
    task: ClientTask,
}

/// What a run is made of, beside its seed.
struct Setting {
    chain: Vec<Part>,
    has_faults: bool,
    files: Files,
}

/// One run, from its seed.
pub struct World {
    servers: Rc<RefCell<Servers>>,
    sockets: Sockets,
    turns: Turns,
    tasks: Tasks,
    seats: Vec<Seat>,
    pool: Pool,
    now: Tick,
    random: Random,
    part: Rc<ChainPart>,
    switches: Vec<Switch>,
    chain: Rc<Vec<Part>>,
    clients: u64,
    asked: usize,
    has_faults: bool,
    nested: Rc<NestedMetrics>,
}

impl World {
    /// A chain and its clients, all at random.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let chain = chains::random_chain(&mut random);
        let has_faults = random.once_in(3);
        Self::of(Setting { chain, has_faults, files: Files::None }, random)
    }

    /// This chain, without faults.
    pub fn of_chain(chain: Vec<Part>, seed: u64, files: Files) -> Self {
        Self::of(Setting { chain, has_faults: false, files }, Random::new(seed))
    }

    fn of(setting: Setting, mut random: Random) -> Self {
        let Setting { chain, has_faults, files } = setting;
        let begins_sessions = begins_sessions(&chain);
        let padding_max = match begins_sessions {
            true => PADDING[usize::from(random.once_in(6))],
            false => PADDING_UNACCEPTED,
        };
        let (sockets, turns) = (Sockets::default(), Turns::pick(&mut random));
        let servers_seed = random.below(usize::MAX) as u64;
        let servers = Rc::new(RefCell::new(Servers {
            links: Vec::new(),
            sockets: sockets.clone(),
            moved_before: 0,
            random: Random::new(servers_seed),
            traits: Traits {
                padding_max,
                resets: has_faults,
                wants_login: begins_sessions && Random::new(!servers_seed).once_in(LOGIN_ONE_IN),
                refuses: random.once_in(2),
                forgets: random.once_in(2),
            },
            roles: roles(&chain),
            book: Book::default(),
        }));
        let (pool, tasks) = (Pool::new(), Tasks::default());
        let nested = Rc::<NestedMetrics>::default();
        let worker = WorkerCx {
            pool: pool.clone(),
            nested: Rc::clone(&nested),
            ..WorkerCx::alone(
                Protocol::Cql,
                Rc::new(SimConnector(Rc::clone(&servers))),
                Rc::new(tasks.spawner()),
            )
        };
        let OneChain { part, switches } = build(&chain, &worker, files);
        let seats = CLIENTS_MIN + usize::from(random.once_in(3));
        let mut world = Self {
            servers,
            sockets,
            turns,
            tasks,
            seats: Vec::new(),
            pool,
            now: Tick(0),
            random,
            part,
            switches,
            chain: Rc::new(chain),
            clients: 0,
            asked: 0,
            has_faults,
            nested,
        };
        for _ in 0..seats {
            let seat = world.seat();
            world.seats.push(seat);
        }
        world
    }

    /// A new client, and the loop that serves it.
    fn seat(&mut self) -> Seat {
        let (index, random) = (self.clients, &mut self.random);
        self.clients += 1;
        let (padding_max, begun) = {
            let servers = self.servers.borrow();
            (servers.traits.padding_max, servers.book.skipped)
        };
        let mut plan = Plan {
            begun,
            requests: 30 + random.below(60),
            in_flight_max: 1 + random.size(64),
            padding_max,
            half_closes: random.once_in(4),
            repeats_at: None,
            resets_at: (self.has_faults && random.once_in(4)).then(|| random.below(40)),
        };
        let mut seed = || Random::new(random.below(usize::MAX) as u64);
        let (pipe, random) = (self.sockets.pipe(seed(), padding_max, rounds(padding_max)), seed());
        let mut luck = random.clone();
        plan.repeats_at = luck.once_in(REPEATS_ONE_IN).then(|| luck.below(40));
        let rules = Rc::new(Rules { frame_bytes_max: 1 << 28, idle_timeout: None });
        let client = self.part.client().map(|chain| Client::new(pipe.stream(), chain, rules, None, self.now));
        let application = Application::new(index, pipe, &self.chain, plan, random);
        Seat { application, task: ClientTask::new(client) }
    }

    /// Another client takes the place of one that is gone, until enough was asked.
    fn replace_gone(&mut self) -> Result<(), String> {
        for at in 0..self.seats.len() {
            let Seat { application, task } = &self.seats[at];
            if !task.has_ended() {
                continue;
            }
            if !application.is_done() {
                return Err(format!("still waits: {}", application.describe()));
            }
            if self.asked() < REQUESTS_MIN || self.faults() < FAULTS_MIN {
                self.asked += self.seats[at].application.asked();
                note_cuts(&mut self.servers.borrow_mut().book.cuts, self.seats[at].application.pipe.cuts());
                self.seats[at] = self.seat();
            }
        }
        Ok(())
    }

    /// Requests that were asked. A chain that fails ends a client for each, from the first on, which begins its session.
    fn asked(&self) -> usize {
        let now = self.seats.iter().map(|seat| seat.application.asked());
        self.asked + now.sum::<usize>() + self.clients as usize
    }

    /// How often something went wrong, on the way or at its ends.
    fn faults(&self) -> u64 {
        let servers = self.servers.borrow();
        let pipes = self.seats.iter().map(|seat| &seat.application.pipe);
        let pipes = pipes.chain(servers.links.iter().map(|link| &link.pipe));
        let cuts = pipes.flat_map(Pipe::cuts).sum::<u64>() + servers.book.cuts.iter().sum::<u64>();
        cuts + servers.book.faults()
    }

    /// Runs to the end. `Ok` is what happened, `Err` what must never happen.
    pub fn run(mut self) -> Result<Book, String> {
        let mut pace = Pace::new(self.turns);
        loop {
            self.servers.borrow_mut().book.skipped = pace.skipped();
            if self.round()? {
                self.replace_gone()?;
            }
            if self.seats.iter().all(|seat| seat.task.has_ended()) && self.tasks.is_empty() {
                return self.check_end();
            }
            let moved = self.moved();
            if self.turns == Turns::Probed && pace.is_settled(moved) {
                self.probe()?;
            }
            self.now = Tick(self.now.0 + self.random.below(200) as u64);
            match pace.after_round(moved, self.now, || self.next()) {
                Ok(now) => self.now = now,
                Err(stuck) => return Err(format!("{stuck}: {}", self.describe())),
            }
        }
    }

    fn next(&self) -> Next {
        let clients = self.seats.iter().map(|seat| (&seat.task, seat.application.waits_since()));
        let servers = self.servers.borrow().links.iter().filter_map(Link::due).min();
        Next { servers, ..Next::of(clients).and(&self.tasks) }
    }

    /// All have their turns. True when a client ended.
    fn round(&mut self) -> Result<bool, String> {
        for switch in &self.switches {
            if self.random.once_in(FLIPPED_ONE_IN) {
                switch.set(!switch.is_on());
            }
        }
        let mut has_ended = false;
        let of_chain = |problem: String, chain: &[Part]| format!("{problem}, in {chain:?}");
        for seat in &mut self.seats {
            let act = |application: &mut Application| {
                let acted = application.act(&mut self.servers.borrow_mut().book);
                acted.map_err(|problem| of_chain(problem, &self.chain))
            };
            act(&mut seat.application)?;
            if let Some(end) = seat.task.poll(self.now, self.turns) {
                has_ended = true;
                act(&mut seat.application).map_err(|problem| format!("{problem} ({end:?})"))?;
            }
        }
        self.tasks.poll(self.now, self.turns);
        let Servers { links, moved_before, book, .. } = &mut *self.servers.borrow_mut();
        for link in links.iter_mut() {
            link.act(self.now, book).map_err(|problem| of_chain(problem, &self.chain))?;
        }
        links.retain(|link| {
            if link.pipe.is_over() {
                *moved_before += link.pipe.moved();
                note_cuts(&mut book.cuts, link.pipe.cuts());
            }
            !link.pipe.is_over()
        });
        self.sockets.look();
        Ok(has_ended)
    }

    fn check_end(self) -> Result<Book, String> {
        for seat in &self.seats {
            if !seat.application.is_done() {
                return Err(format!("still waits: {}", seat.application.describe()));
            }
        }
        check_minimum(self.seats.len(), self.asked(), self.faults())?;
        let Servers { links, book, .. } = &mut *self.servers.borrow_mut();
        let pipes = self.seats.iter().map(|seat| &seat.application.pipe);
        pipes.chain(links.iter().map(|link| &link.pipe)).for_each(|pipe| {
            note_cuts(&mut book.cuts, pipe.cuts());
        });
        let of_chain = |problem: String| format!("{problem}, in {:?}", self.chain);
        check::check(&self.chain, book, self.nested.tee_dropped.get()).map_err(of_chain)?;
        self.check_throttled(book)?;
        if self.pool.taken() != 0 {
            return Err(format!("{} chunks are still held, in {:?}", self.pool.taken(), self.chain));
        }
        Ok(std::mem::take(book))
    }

    /// A throttle lets no more statements pass than its quota, at once and for each second; in the first one no more.
    fn check_throttled(&self, book: &Book) -> Result<(), String> {
        for route in model::routes(&self.chain) {
            let quotas = route.path.iter().filter_map(|part| match part {
                Part::Throttle { per_second, per: None } => Some(u64::from(*per_second)),
                _ => None,
            });
            let Some(quota) = quotas.min() else { continue };
            let is_first_second = self.now < Tick(1_000_000);
            let most = if is_first_second { quota } else { quota + quota * self.now.0 / 1_000_000 };
            let passed = book.statements.get(&route.server).copied().unwrap_or_default();
            if passed > most {
                let server = route.server;
                return Err(format!(
                    "{passed} statements passed to server {server}, {most} at most, in {:?}",
                    self.chain
                ));
            }
        }
        Ok(())
    }
}

impl Probed for World {
    fn now(&self) -> Tick {
        self.now
    }

    fn moved(&self) -> u64 {
        let applications = self.seats.iter().map(|seat| seat.application.pipe.moved());
        let servers = self.servers.borrow();
        applications.chain(servers.links.iter().map(|link| link.pipe.moved())).sum::<u64>()
            + servers.moved_before
    }

    fn describe(&self) -> String {
        let clients = self.seats.iter().map(|seat| {
            let Seat { application, task } = seat;
            format!("\n  {}, {}, {}", application.describe(), application.pipe.describe(), task.describe())
        });
        let servers = self.servers.borrow();
        let links =
            servers.links.iter().map(|link| format!("\n  {}, {}", link.describe(), link.pipe.describe()));
        let all: String = clients.chain(links).chain([self.tasks.describe()]).collect();
        format!("{:?} at {:?}, turns for {:?}{all}", self.chain, self.now, self.turns)
    }

    fn tasks(&mut self) -> &mut Tasks {
        &mut self.tasks
    }

    fn client(&mut self, at: usize) -> Option<(u64, &mut ClientTask)> {
        self.seats.get_mut(at).map(|of| (of.application.index, &mut of.task))
    }
}

/// What each server of a chain is there for.
fn roles(chain: &[Part]) -> BTreeMap<Server, Role> {
    let roles = model::routes(chain).into_iter().map(|route| {
        let behind: Vec<Part> = route.path.iter().skip(route.own).map(|part| (*part).clone()).collect();
        let may_miss_use = route.beside.into_iter().chain([&*behind]).any(may_miss_use);
        let role = Role { is_for_mismatches: route.is_for_mismatches, tees: route.tees, may_miss_use };
        (route.server, role)
    });
    roles.collect()
}

/// What the topology makes of the chain.
fn build(chain: &[Part], worker: &WorkerCx, files: Files) -> OneChain {
    let chain = model::yaml(chain, &mut 0);
    let text = format!("sources: [Cassandra: {{name: c, listen_addr: '127.0.0.1:0', chain: {chain}}}]\n");
    shotover::chain_of(&text, worker, &[], files).unwrap_or_else(|problem| panic!("{text}: {problem}"))
}
