//! A chain between a client and a server that both write down what they get.

use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use chain::{
    Batch, Builder, Chain, ChainPart, Chunk, Connecting, Connector, Cx, Exit, Fault, Link, Message, Pool,
    Prepared, Progress, Sink, Spawner, Task, Tick, Ticket, Up, WorkerCx, WorkerPart,
};
use wire::cql::opcode;
use wire::{Framed, Head, Malformed, Protocol, Side};

pub(super) const SELECT: &str = "SELECT * FROM ks.t WHERE a = 'secret'";
pub(super) const INSERT: &str = "INSERT INTO ks.t (a) VALUES (1)";

/// A frame of a request.
pub(crate) fn frame(id: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    frame_of(4, id, opcode, body)
}

/// A frame of a reply.
pub(crate) fn reply_frame(id: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    frame_of(0x84, id, opcode, body)
}

fn frame_of(version: u8, id: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[version, 0], &id.to_be_bytes()[..], &[opcode], &length, body].concat()
}

/// A QUERY with this text.
pub(super) fn query(id: i16, text: &str) -> Vec<u8> {
    frame(id, opcode::QUERY, &[&long_string(text), &[0, 1, 0][..]].concat())
}

/// A PREPARE with this text.
pub(super) fn prepare(id: i16, text: &str) -> Vec<u8> {
    frame(id, opcode::PREPARE, &long_string(text))
}

/// An EXECUTE of some statement.
pub(super) fn execute(id: i16) -> Vec<u8> {
    frame(id, opcode::EXECUTE, b"\0\x01p\0\x01\0")
}

/// An EXECUTE of the statement that was prepared by the request with this stream id.
pub(super) fn execute_of(id: i16, prepared_by: i16) -> Vec<u8> {
    frame(id, opcode::EXECUTE, &[&prepared_id(prepared_by)[..], b"\0\x01\0"].concat())
}

/// The id of the statement that the request with this stream id prepares.
fn prepared_id(prepared_by: i16) -> [u8; 4] {
    let [high, low] = prepared_by.to_be_bytes();
    [0, 2, high, low]
}

/// A BATCH of these texts; an empty one is a prepared statement that nobody knows, a number one that the request with
/// that stream id prepared.
pub(super) fn batch(id: i16, texts: &[&str]) -> Vec<u8> {
    let statement = |text: &&str| match &**text {
        "" => b"\x01\0\x01p\0\0".to_vec(),
        text if text.parse::<i16>().is_ok() => {
            [&[1][..], &prepared_id(text.parse().unwrap()), &[0, 0]].concat()
        }
        text => [&[0], &long_string(text)[..], &[0, 0]].concat(),
    };
    let statements: Vec<u8> = texts.iter().flat_map(statement).collect();
    let count = u16::try_from(texts.len()).unwrap().to_be_bytes();
    frame(id, opcode::BATCH, &[&[0], &count[..], &statements, &[0, 1, 0]].concat())
}

pub(crate) fn long_string(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

pub(crate) fn head_of(frame: &[u8], side: Side) -> Head {
    let Framed::Frame(head) = Protocol::Cql.frame(frame, side, u32::MAX) else { panic!("no frame") };
    head
}

/// What a server says: that a statement is prepared or a keyspace is in use, or nothing.
fn reply_to(head: &Head, request: &[u8]) -> Vec<u8> {
    let id = i16::try_from(head.id).unwrap();
    let (text, _) = Protocol::Cql.statement_text(head, request).unwrap_or_default();
    let body = match text.strip_prefix(b"USE ") {
        _ if head.opcode == opcode::PREPARE => {
            let no_columns = [[0; 12], [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
            [&[0, 0, 0, 4][..], &prepared_id(id), no_columns.get(..20).unwrap()].concat()
        }
        Some(keyspace) if head.opcode == opcode::QUERY && !keyspace.starts_with(b"wrong") => {
            let keyspace = std::str::from_utf8(keyspace).unwrap().trim_matches('"');
            let length = u16::try_from(keyspace.len()).unwrap().to_be_bytes();
            [&[0, 0, 0, 3][..], &length, keyspace.as_bytes()].concat()
        }
        _ => vec![0, 0, 0, 1],
    };
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x84, 0], &id.to_be_bytes()[..], &[8], &length, &body].concat()
}

/// What the server has got and not yet answered.
#[derive(Default)]
struct Book {
    got: Vec<i32>,
    waiting: Vec<(Ticket, Head, Vec<u8>)>,
    /// It answers.
    answers: bool,
}

/// A sink that is a server.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<Book>>);

struct ServerEnd {
    server: Server,
    pool: Pool,
}

struct ServerPart(Server, Pool);

impl Builder for Server {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(ServerPart(self.clone(), worker.pool.clone()))
    }
}

impl WorkerPart for ServerPart {
    fn client(&self) -> Link {
        Link::Sink(Box::new(ServerEnd { server: self.0.clone(), pool: self.1.clone() }))
    }
}

impl Sink for ServerEnd {
    fn submit(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let mut book = self.server.0.lock().unwrap();
        batch.leaving(|leaving, _| {
            book.got.push(leaving.head.id);
            book.waiting.push((leaving.ticket, leaving.head, leaving.outgoing.bytes().to_vec()));
            Ok(())
        })
    }

    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        let waiting = {
            let mut book = self.server.0.lock().unwrap();
            if book.answers { std::mem::take(&mut book.waiting) } else { Vec::new() }
        };
        for (ticket, head, request) in &waiting {
            let reply = reply_to(head, request);
            let chunk = self.pool.own(reply.clone());
            let mut list = up.list();
            list.push(Message::reply(head_of(&reply, Side::Response), 0, reply.len(), *ticket));
            up.replies(cx, &chunk, list)?;
        }
        Ok(if waiting.is_empty() { Progress::Idle } else { Progress::Moved })
    }
}

struct Nobody;

impl Connector for Nobody {
    fn connect(&self, _: &str) -> Connecting {
        Box::pin(std::future::pending())
    }
}

impl Spawner for Nobody {
    fn spawn(&self, _: Box<dyn Task>) {}
}

/// A worker that connects to nobody and runs nothing aside.
pub(crate) fn worker() -> WorkerCx {
    WorkerCx::alone(Protocol::Cql, Rc::new(Nobody), Rc::new(Nobody))
}

/// Replies as the client gets them.
#[derive(Default)]
struct Out(Vec<Vec<u8>>);

impl Exit for Out {
    fn is_ready(&self) -> bool {
        true
    }
    fn deliver(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|leaving, _| {
            self.0.push(leaving.outgoing.bytes().to_vec());
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

/// A reply: its stream id, and the code of an error.
pub(super) type Reply = (i32, Option<i32>);

/// One client of a worker.
pub(super) struct Scene {
    pub(super) chain: Chain,
    server: Server,
    out: Out,
    pub(super) now: Tick,
    pool: Pool,
}

/// A worker's part of a chain of these transforms, with a server at its end.
pub(super) fn part(transforms: &[&dyn Builder], server: &Server) -> Rc<ChainPart> {
    part_over(transforms, server)
}

/// As [`part`], with this sink at its end.
pub(super) fn part_over(transforms: &[&dyn Builder], sink: &dyn Builder) -> Rc<ChainPart> {
    part_knowing(transforms, sink, Rc::default())
}

/// As [`part_over`], of a worker that knows these statements.
pub(super) fn part_knowing(
    transforms: &[&dyn Builder],
    sink: &dyn Builder,
    prepared: Rc<Prepared>,
) -> Rc<ChainPart> {
    let worker = WorkerCx { prepared, ..worker() };
    let entries = transforms.iter().map(|transform| ("Transform", "t", *transform));
    ChainPart::new("c", &worker, entries.chain([("Sink", "s", sink)]), None)
}

/// A client of that part.
pub(super) fn client(part: &Rc<ChainPart>, server: &Server) -> Scene {
    server.0.lock().unwrap().answers = true;
    Scene {
        chain: part.client().unwrap(),
        server: server.clone(),
        out: Out::default(),
        now: Tick(1_000_000),
        pool: part.pool().clone(),
    }
}

/// One client of a worker of its own, with this sink instead of a server.
pub(super) fn scene_over(transforms: &[&dyn Builder], sink: &dyn Builder) -> Scene {
    client(&part_over(transforms, sink), &Server::default())
}

/// One client of a worker of its own.
pub(super) fn scene(transforms: &[&dyn Builder]) -> Scene {
    let server = Server::default();
    client(&part(transforms, &server), &server)
}

impl Scene {
    /// The client sends these frames at once; the last may be the head of a longer one.
    pub(super) fn send(&mut self, frames: &[Vec<u8>]) {
        assert_eq!(self.try_send(frames), None, "an id is in flight twice");
    }

    /// The client sends this frame, which has the id of one in flight: nobody sees it.
    pub(super) fn is_refused(&mut self, frame: &[u8]) -> bool {
        let in_flight = self.chain.in_flight();
        self.try_send(&[frame.to_vec()]).is_some() && self.chain.in_flight() == in_flight
    }

    /// Says what is wrong with the first frame that is refused.
    fn try_send(&mut self, frames: &[Vec<u8>]) -> Option<Malformed> {
        let chunk = self.pool.own(frames.concat());
        let mut messages = self.chain.list();
        let mut at = 0;
        for frame in frames {
            messages.push(Message::new(head_of(frame, Side::Request), at, frame.len()));
            at += frame.len();
        }
        let mut task = Context::from_waker(Waker::noop());
        self.chain.submit(&mut Cx { task: &mut task, now: self.now }, &chunk, messages).unwrap()
    }

    fn with(&mut self, run: impl FnOnce(&mut Chain, &mut Cx<'_, '_>)) {
        let mut task = Context::from_waker(Waker::noop());
        run(&mut self.chain, &mut Cx { task: &mut task, now: self.now });
    }

    /// So many milliseconds go by.
    pub(super) fn after_millis(&mut self, millis: u64) {
        self.now = Tick(self.now.0 + millis * 1000);
        self.with(|chain, cx| chain.wake_due(cx).unwrap());
    }

    /// No more requests will come.
    pub(super) fn client_done(&mut self) {
        self.with(|chain, cx| chain.client_done(cx).unwrap());
    }

    pub(super) fn close(&mut self) {
        self.with(Chain::close);
    }

    /// The server answers from now on, or does not.
    pub(super) fn server_answers(&self, answers: bool) {
        self.server.0.lock().unwrap().answers = answers;
    }

    /// What the server got since it was last asked.
    pub(super) fn server_got(&self) -> Vec<i32> {
        std::mem::take(&mut self.server.0.lock().unwrap().got)
    }

    /// What the client got since it was last asked.
    pub(super) fn replies(&mut self) -> Vec<Reply> {
        let mut task = Context::from_waker(Waker::noop());
        let mut cx = Cx { task: &mut task, now: self.now };
        while self.chain.poll(&mut cx, &mut self.out).unwrap() != Progress::Idle {}
        let reply = |frame: Vec<u8>| {
            let head = head_of(&frame, Side::Response);
            (head.id, Protocol::Cql.error_code(&head, &frame))
        };
        std::mem::take(&mut self.out.0).into_iter().map(reply).collect()
    }
}
