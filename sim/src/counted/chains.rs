//! One client behind any chain of a topology, counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context, Poll, Waker};

use chain::{Builder, ChainPart, Cx, Link, Task, Tick, WorkerCx, WorkerPart};
use observe::{LineTarget, MessageFile, Queue};
use shotover::{CustomTransform, Files};
use sources::{Client, Rules};
use transforms::{DebugLogToFile, RequestLog};
use wire::Protocol;

use super::shared::{Servers, Spawned};
use super::{End, Ends};

/// Rounds until what is kept has been made, and second chains have begun their sessions.
const WARM_UP: usize = 100;

/// Transforms that a counted topology may name besides those that ship.
const OWN: [CustomTransform; 3] = [
    own("Looks", |_| Some(Box::new(Looks))),
    own("RequestLogUnwritten", |fields| {
        let log = RequestLog::parse(fields, |_: &LineTarget| Ok(Handed::queue()))?;
        log.start().ok().map(|()| Box::new(log) as Box<dyn Builder>)
    }),
    own("DebugLogToFileUnwritten", |fields| {
        let log = DebugLogToFile::parse(fields, |_| Ok(Handed::<MessageFile>::queue()))?;
        log.start().ok().map(|()| Box::new(log) as Box<dyn Builder>)
    }),
];

const fn own(
    name: &'static str,
    read: fn(&mut shotover::config::Fields<'_>) -> Option<Box<dyn Builder>>,
) -> CustomTransform {
    CustomTransform { name, is_terminating: false, accepts: &[], read }
}

/// Makes the chain, which is written as in a topology.
fn chain(entries: &str, worker: &WorkerCx) -> Rc<ChainPart> {
    let text = format!("sources: [Cassandra: {{name: c, listen_addr: '127.0.0.1:0', chain: {entries}}}]\n");
    let chain = shotover::chain_of(&text, worker, &OWN, Files::None);
    chain.unwrap_or_else(|problem| panic!("{text}: {problem}")).part
}

/// A queue without the thread that writes: what was handed over is taken and dropped at once.
struct Handed<J>(SyncSender<J>, Mutex<Receiver<J>>);

impl<J: Send + 'static> Handed<J> {
    fn queue() -> Arc<dyn Queue<J>> {
        let (sender, receiver) = sync_channel(1024);
        Arc::new(Self(sender, Mutex::new(receiver)))
    }
}

impl<J: Send> Queue<J> for Handed<J> {
    fn push(&self, job: J) {
        assert!(self.0.try_send(job).is_ok());
        drop(self.1.lock().expect("one thread").try_recv());
    }
    fn dropped(&self) -> u64 {
        0
    }
}

/// What the clients of a worker share.
struct Worker {
    part: Rc<ChainPart>,
    answers: Rc<Cell<bool>>,
    spawned: Spawned,
}

impl Worker {
    fn new(entries: &str) -> Self {
        let (answers, spawned) = (Rc::new(Cell::new(false)), Spawned::default());
        let worker =
            WorkerCx::alone(Protocol::Cql, Rc::new(Servers(Rc::clone(&answers))), Rc::new(spawned.clone()));
        Self { part: chain(entries, &worker), answers, spawned }
    }

    fn client(&self, depth: usize) -> ChainClient {
        self.client_of(|ends| End::new(ends, true, depth))
    }

    fn client_of(&self, end: impl FnOnce(&Rc<Ends>) -> End) -> ChainClient {
        let ends = Rc::new(Ends::default());
        let rules = Rc::new(Rules { frame_bytes_max: 1 << 28, idle_timeout: None });
        let chain = self.part.client().expect("a chain");
        ChainClient {
            client: Client::new(end(&ends), chain, rules, None, Tick(0)),
            reads: 1,
            ends,
            spawned: self.spawned.clone(),
            tasks: Vec::new(),
            answers: Rc::clone(&self.answers),
            reply_bytes: 0,
        }
    }
}

/// One client, so many requests deep, behind a chain. Its servers answer what they are asked.
pub struct ChainClient {
    client: Client<End>,
    ends: Rc<Ends>,
    spawned: Spawned,
    tasks: Vec<Box<dyn Task>>,
    answers: Rc<Cell<bool>>,
    /// In how many reads the requests of a round come.
    reads: usize,
    reply_bytes: usize,
}

impl ChainClient {
    /// Connects it, so that only passing messages is left to do.
    #[must_use]
    pub fn new(depth: usize, entries: &str) -> Self {
        Worker::new(entries).client(depth).warmed_up()
    }

    /// As [`ChainClient::new`]; the requests of a round come in two reads.
    #[must_use]
    pub fn in_halves(depth: usize, entries: &str) -> Self {
        let mut one = Worker::new(entries).client_of(|ends| End::new(ends, true, depth).in_halves());
        one.exchange();
        Self { reads: 2, ..one }.warmed_up()
    }

    fn warmed_up(mut self) -> Self {
        for _ in 0..WARM_UP {
            self.reply_bytes = self.exchange();
        }
        self
    }

    /// Every request in flight is asked and answered once.
    ///
    /// # Panics
    /// When other replies come than came before.
    pub fn round(&mut self) {
        assert!(self.reply_bytes > 0, "nobody answers");
        assert_eq!(self.exchange(), self.reply_bytes);
    }

    fn exchange(&mut self) -> usize {
        for _ in 0..self.reads {
            self.ends.is_asked.set(true);
            assert!(self.poll(Tick(1)).is_pending(), "the client ended");
            self.poll_tasks();
        }
        self.answers.set(true);
        self.poll_tasks();
        assert!(self.poll(Tick(1)).is_pending(), "the client ended");
        self.answers.set(false);
        self.ends.to_client.replace(0)
    }

    fn poll(&mut self, now: Tick) -> Poll<()> {
        let mut task = Context::from_waker(Waker::noop());
        self.client.poll(&mut Cx { task: &mut task, now }).map(drop)
    }

    fn poll_tasks(&mut self) {
        self.tasks.append(&mut self.spawned.0.borrow_mut());
        let mut task = Context::from_waker(Waker::noop());
        self.tasks.retain_mut(|shared| shared.poll(&mut Cx { task: &mut task, now: Tick(1) }).is_pending());
    }
}

/// So many clients, one after the other, whose chain ends them at their first request.
///
/// # Panics
/// When it does not.
pub fn lives(count: usize, entries: &str) {
    let worker = Worker::new(entries);
    for _ in 0..count {
        let mut one = worker.client(1);
        one.ends.is_asked.set(true);
        let mut later = (1..).map(|second| Tick(second * 1_000_000_000)).take(60);
        assert!(later.any(|now| one.poll(now).is_ready()), "the client goes on");
    }
}

/// A transform that looks at the header of every message, both ways.
#[derive(Clone, Copy)]
pub struct Looks;

impl Builder for Looks {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for Looks {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Looker { seen: [0; 32] }))
    }
}

struct Looker {
    seen: [u64; 32],
}

impl Looker {
    fn look(&mut self, batch: &mut chain::Batch<'_>) {
        batch.each(|item| {
            if let Some(seen) = self.seen.get_mut(item.head().opcode as usize) {
                *seen += 1;
            }
        });
    }
}

impl chain::Transform for Looker {
    fn requests(&mut self, _: &mut Cx<'_, '_>, batch: &mut chain::Batch<'_>) -> Result<(), chain::Fault> {
        self.look(batch);
        Ok(())
    }
    fn responses(&mut self, _: &mut Cx<'_, '_>, batch: &mut chain::Batch<'_>) -> Result<(), chain::Fault> {
        self.look(batch);
        Ok(())
    }
}
