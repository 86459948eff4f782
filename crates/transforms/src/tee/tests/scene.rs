//! One client of a Tee, between two servers that write down in which keyspace each statement ran.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use chain::{
    Batch, Builder, Chain, ChainPart, ChainPlan, Chunk, Cx, Exit, Fault, Link, Message, Need, PlanEntry,
    Pool, Progress, Sink, Tick, Ticket, Up, WorkerCx, WorkerPart,
};
use observe::NestedMetrics;
use wire::cql::opcode;
use wire::{Head, Protocol, Side};

use crate::tee::prepared::none_prepared;
use crate::tee::{Behavior, Tee};
use crate::tests::scene::{frame, head_of, long_string, reply_frame, worker};

/// A keyspace has a name of one letter.
pub(super) type Keyspace = char;

/// What a client asks. Statements are numbered; none names a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    Startup,
    Query(u32),
    Use(Keyspace),
    /// One of a few statements.
    Prepare(char),
    PrepareUse(Keyspace),
    /// Runs a statement under the id that the first server has given.
    Execute([u8; 4], u32),
    /// A USE that was prepared by nobody who is known here.
    ExecuteUnknownUse(Keyspace),
}

/// Ids are the server's number, what was prepared, its name, and the keyspace.
pub(super) const STATEMENT: u8 = b'S';
pub(super) const PREPARED_USE: u8 = b'U';

fn unknown_use(keyspace: Keyspace) -> [u8; 4] {
    [1, PREPARED_USE, keyspace as u8, b'?']
}

impl Ask {
    fn frame(self, id: i16) -> Vec<u8> {
        let query = |text: &str| frame(id, opcode::QUERY, &[&long_string(text), &[0, 1, 0][..]].concat());
        let prepare = |text: &str| frame(id, opcode::PREPARE, &long_string(text));
        let execute = |statement: [u8; 4], number: u32| {
            let value = [&[0, 1, 1, 0, 1, 0, 0, 0, 4][..], &number.to_be_bytes()].concat();
            frame(id, opcode::EXECUTE, &[&[0, 4][..], &statement, &value].concat())
        };
        match self {
            Self::Startup => frame(id, opcode::STARTUP, &[0, 0]),
            Self::Query(number) => query(&format!("SELECT {number}")),
            Self::Use(keyspace) => query(&format!("USE {keyspace}")),
            Self::Prepare(statement) => prepare(&format!("INSERT {statement}")),
            Self::PrepareUse(keyspace) => prepare(&format!("USE {keyspace}")),
            Self::Execute(statement, number) => execute(statement, number),
            Self::ExecuteUnknownUse(keyspace) => execute(unknown_use(keyspace), 0),
        }
    }
}

/// The same numbers from the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// What is known of a server.
pub(super) struct Book {
    random: Random,
    /// Of the USEs those that it refuses; none with 0.
    pub(super) refuses_one_in: usize,
    /// Where each statement has run.
    ran: BTreeMap<u32, Option<Keyspace>>,
    /// Replies that it may give now.
    may_answer: usize,
    /// Its connection is lost at the next look.
    fails: bool,
    /// The bytes behind the ids of prepared statements.
    pub(super) metadata_bytes: usize,
    /// Sessions that were begun.
    pub(super) sessions: usize,
}

#[derive(Clone)]
pub(super) struct Server {
    number: u8,
    pub(super) book: Arc<Mutex<Book>>,
}

/// One connection.
struct End {
    server: Server,
    pool: Pool,
    keyspace: Option<Keyspace>,
    waiting: VecDeque<(Ticket, Vec<u8>)>,
}

impl Builder for Server {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Part(self.clone(), worker.pool.clone()))
    }

    fn reaches_servers(&self) -> bool {
        true
    }
}

struct Part(Server, Pool);

impl WorkerPart for Part {
    fn client(&self) -> Link {
        let (server, pool) = (self.0.clone(), self.1.clone());
        Link::Sink(Box::new(End { server, pool, keyspace: None, waiting: VecDeque::new() }))
    }
}

impl End {
    fn run_use(&mut self, name: &str) -> (u8, Vec<u8>) {
        let book = &mut *self.server.book.lock().unwrap();
        if book.refuses_one_in > 0 && book.random.once_in(book.refuses_one_in) {
            return refusal();
        }
        self.keyspace = name.chars().next();
        (opcode::RESULT, [&[0, 0, 0, 3, 0, 1][..], name.as_bytes()].concat())
    }

    fn ran(&self, number: u32, keyspace: Option<Keyspace>) -> (u8, Vec<u8>) {
        let before = self.server.book.lock().unwrap().ran.insert(number, keyspace);
        assert_eq!(before, None, "{number} ran twice at {}", self.server.number);
        (opcode::RESULT, vec![0, 0, 0, 1])
    }

    fn prepare(&self, text: &str) -> (u8, Vec<u8>) {
        let (kind, name) = match text.split_once(' ') {
            Some(("USE", name)) => (PREPARED_USE, name),
            Some((_, name)) => (STATEMENT, name),
            None => panic!("{text}"),
        };
        let keyspace = if kind == PREPARED_USE { Some('?') } else { self.keyspace };
        let Some(keyspace) = keyspace else { return refusal() };
        let id = [self.server.number, kind, name.as_bytes()[0], keyspace as u8];
        let metadata = vec![0; self.server.book.lock().unwrap().metadata_bytes];
        (opcode::RESULT, [&[0, 0, 0, 4, 0, 4][..], &id, &metadata].concat())
    }

    /// Runs a request at once; its reply may take long.
    fn run(&mut self, head: &Head, request: &[u8]) -> (u8, Vec<u8>) {
        let text = Protocol::Cql.statement_text(head, request).map(|(text, _)| String::from_utf8_lossy(text));
        match (head.opcode, text.as_deref()) {
            (opcode::STARTUP, _) => {
                self.server.book.lock().unwrap().sessions += 1;
                (opcode::READY, Vec::new())
            }
            (opcode::PREPARE, Some(text)) => self.prepare(text),
            (opcode::EXECUTE, _) => {
                let Some([server, kind, name, keyspace]) = Protocol::Cql.prepared_id(head, request) else {
                    panic!("no id");
                };
                assert_eq!(*server, self.server.number, "an id of the other server");
                if *kind == PREPARED_USE {
                    assert_eq!(self.server.number, 1, "the second one is told a USE in plain words");
                    return self.run_use(&char::from(*name).to_string());
                }
                let number = request.last_chunk().map(|bytes| u32::from_be_bytes(*bytes)).unwrap();
                self.ran(number, Some(char::from(*keyspace)))
            }
            (_, Some(text)) => match text.split_once(' ') {
                Some(("USE", name)) => self.run_use(name.trim_matches('"')),
                Some((_, number)) => self.ran(number.parse().unwrap(), self.keyspace),
                None => panic!("{text}"),
            },
            _ => panic!("{head:?}"),
        }
    }
}

fn refusal() -> (u8, Vec<u8>) {
    (opcode::ERROR, [&[0, 0, 0x22, 0, 0, 2][..], b"no"].concat())
}

impl Sink for End {
    fn submit(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|leaving, _| {
            let (code, body) = self.run(&leaving.head, leaving.outgoing.bytes());
            let id = i16::try_from(leaving.head.id).unwrap();
            self.waiting.push_back((leaving.ticket, reply_frame(id, code, &body)));
            Ok(())
        })
    }

    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        let mut progress = Progress::Idle;
        loop {
            {
                let book = &mut *self.server.book.lock().unwrap();
                if std::mem::take(&mut book.fails) {
                    return Err(Fault::new("the connection is lost"));
                }
                if book.may_answer == 0 || self.waiting.is_empty() {
                    return Ok(progress);
                }
                book.may_answer -= 1;
            }
            let Some((ticket, reply)) = self.waiting.pop_front() else { return Ok(progress) };
            let (head, bytes) = (head_of(&reply, Side::Response), reply.len());
            let mut list = up.list();
            let is_whole = up.reply_need(ticket) == Need::Whole;
            let here = if is_whole { bytes } else { bytes.min(chain::CHUNK_BYTES) };
            let chunk = self.pool.own(reply);
            list.push(Message::reply(head, 0, here, ticket));
            up.replies(cx, &chunk, list)?;
            if here < bytes {
                up.reply_tail(cx, &chunk, here..bytes)?;
            }
            progress = Progress::Drained;
        }
    }
}

/// The heads of replies as the client gets them, and the ids of what was prepared.
#[derive(Default)]
struct Out(Vec<(Head, Option<[u8; 4]>)>);

impl Exit for Out {
    fn is_ready(&self) -> bool {
        true
    }
    fn deliver(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|leaving, _| {
            let body = leaving.outgoing.bytes().get(9..).unwrap_or_default();
            let id = body.strip_prefix(&[0, 0, 0, 4, 0, 4]).and_then(|rest| rest.first_chunk());
            self.0.push((leaving.head, id.copied()));
            Ok(())
        })
    }
    fn looks(&self) -> bool {
        true
    }
    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, _: &Chunk, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

/// An entry of a second chain.
pub(super) fn entry(kind: &str, builder: impl Builder + 'static) -> PlanEntry {
    PlanEntry { kind: kind.to_owned(), name: kind.to_owned(), builder: Box::new(builder) }
}

/// A Tee with a second chain.
pub(super) fn tee((behavior, buffer_batches): (Behavior, usize), second_chain: Vec<PlanEntry>) -> Tee {
    Tee {
        plan: ChainPlan::of(vec!["second".to_owned()], 0, second_chain).remove(0),
        behavior,
        buffer_batches,
        wait_max: Duration::ZERO,
        sample_percent: 100,
        switch: None,
        prepared: none_prepared(),
    }
}

/// A client, a Tee, and its two servers.
pub(super) struct Scene {
    pub(super) chain: Chain,
    pool: Pool,
    nested: Rc<NestedMetrics>,
    pub(super) first: Server,
    pub(super) second: Server,
    now: Tick,
    out: Out,
    pub(super) in_flight: BTreeMap<i32, Ask>,
    next_id: i16,
    /// Ids of the first server that the client has been given.
    pub(super) known: BTreeSet<[u8; 4]>,
}

impl Scene {
    pub(super) fn new(seed: u64, behavior: Behavior, buffer_batches: usize) -> Self {
        Self::with_second(seed, (behavior, buffer_batches), |end| vec![end])
    }

    /// The second chain is made of the sink to its server.
    pub(super) fn with_second(
        seed: u64,
        options: (Behavior, usize),
        second_chain: impl FnOnce(PlanEntry) -> Vec<PlanEntry>,
    ) -> Self {
        let server = |number: u8| Server {
            number,
            book: Arc::new(Mutex::new(Book {
                random: Random(seed.wrapping_mul(2).wrapping_add(u64::from(number))),
                refuses_one_in: 0,
                ran: BTreeMap::new(),
                may_answer: 0,
                fails: false,
                metadata_bytes: 16,
                sessions: 0,
            })),
        };
        let (first, second) = (server(1), server(2));
        let end = entry("Sink", second.clone());
        let tee = tee(options, second_chain(end));
        let nested = Rc::<NestedMetrics>::default();
        let worker = WorkerCx { nested: Rc::clone(&nested), ..worker() };
        let entries: [(&str, &str, &dyn Builder); 2] = [("Tee", "t", &tee), ("Sink", "s", &first)];
        let part = ChainPart::new("c", &worker, entries, None);
        Self {
            chain: part.client().unwrap(),
            pool: worker.pool,
            nested,
            first,
            second,
            now: Tick(0),
            out: Out::default(),
            in_flight: BTreeMap::new(),
            next_id: 0,
            known: BTreeSet::new(),
        }
    }

    /// The client asks this in one batch.
    pub(super) fn ask(&mut self, asks: &[Ask]) {
        let mut messages = self.chain.list();
        let mut bytes = Vec::new();
        for ask in asks {
            let frame = ask.frame(self.next_id);
            messages.push(Message::new(head_of(&frame, Side::Request), bytes.len(), frame.len()));
            self.in_flight.insert(i32::from(self.next_id), *ask);
            self.next_id += 1;
            bytes.extend(frame);
        }
        let chunk = self.pool.own(bytes);
        self.with(|chain, cx, _| assert_eq!(chain.submit(cx, &chunk, messages), Ok(None)));
        self.poll();
    }

    fn with(&mut self, run: impl FnOnce(&mut Chain, &mut Cx<'_, '_>, &mut Out)) {
        let mut task = Context::from_waker(Waker::noop());
        run(&mut self.chain, &mut Cx { task: &mut task, now: self.now }, &mut self.out);
    }

    /// Moves what can be moved.
    fn poll(&mut self) {
        for turn in 0.. {
            assert!(turn < 1000, "it never comes to rest");
            let mut progress = Progress::Idle;
            self.with(|chain, cx, out| {
                if chain.deadline().is_some_and(|deadline| deadline <= cx.now) {
                    chain.wake_due(cx).unwrap();
                }
                progress = chain.poll(cx, out).unwrap();
            });
            if progress != Progress::Moved {
                break;
            }
        }
        for (head, id) in std::mem::take(&mut self.out.0) {
            let asked = self.in_flight.remove(&head.id);
            assert!(asked.is_some(), "a reply to nothing: {head:?}");
            self.known.extend(id);
        }
    }

    /// A server answers so many requests more.
    pub(super) fn answers(&mut self, server: u8, count: usize) {
        let server = if server == 1 { &self.first } else { &self.second };
        server.book.lock().unwrap().may_answer += count;
        self.poll();
    }

    pub(super) fn second_fails(&mut self) {
        self.second.book.lock().unwrap().fails = true;
        self.poll();
    }

    pub(super) fn after_millis(&mut self, millis: u64) {
        self.now = Tick(self.now.0 + millis * 1000);
        self.poll();
    }

    /// Where a server has run a statement.
    pub(super) fn ran(&self, server: u8, number: u32) -> Option<Option<Keyspace>> {
        let server = if server == 1 { &self.first } else { &self.second };
        server.book.lock().unwrap().ran.get(&number).copied()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.nested.tee_dropped.get()
    }
}
