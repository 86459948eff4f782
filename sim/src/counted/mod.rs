//! Client loops between ends in memory that cost next to nothing: what is left is what the data path costs.

mod allocations;
mod chains;
mod shared;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chain::{Builder, ChainPart, Connecting, Connector, Cx, Pool, Spawner, Stream, Task, Tick, WorkerCx};
use sinks::CassandraSinkSingle;
use sources::{Client, Rules};
use testkit::scripted::{HEADER_BYTES, encode, opcode};
use wire::Protocol;

pub use self::allocations::{Counting, allocations};
pub use self::chains::{ChainClient, Looks, lives};
pub use self::shared::SharedClients;

/// Bytes of every request and reply: those of cassandra-stress have some hundred.
pub const FRAME_BYTES: usize = 109;

/// What the two ends share: bytes due to be read, and bytes that were written.
#[derive(Default)]
struct Ends {
    is_asked: Cell<bool>,
    /// The server answers in another poll than it is written to in, as a real one does.
    may_answer: Cell<bool>,
    to_server: Cell<usize>,
    to_client: Cell<usize>,
}

/// One end: gives its part of the handshake and then the blocks in `then` in turn, one each time it is asked, and takes
/// whatever is written.
struct End {
    ends: Rc<Ends>,
    is_client: bool,
    block: Vec<u8>,
    then: VecDeque<Vec<u8>>,
    has_begun: bool,
}

impl End {
    fn new(ends: &Rc<Ends>, is_client: bool, depth: usize) -> Self {
        let (handshake, then) = if is_client {
            (vec![4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0], block(4, opcode::QUERY, depth))
        } else {
            (vec![0x84, 0, 0, 0, 2, 0, 0, 0, 0], block(0x84, opcode::RESULT, depth))
        };
        let then = VecDeque::from([then]);
        Self { ends: Rc::clone(ends), is_client, block: handshake, then, has_begun: false }
    }

    /// Its block comes in two.
    fn in_halves(mut self) -> Self {
        self.then =
            self.then.iter().flat_map(|block| block.chunks(block.len() / 2)).map(<[u8]>::to_vec).collect();
        self
    }

    #[cold]
    fn turn(&mut self) {
        let Some(next) = self.then.pop_front() else { return };
        let given = std::mem::replace(&mut self.block, next);
        if std::mem::replace(&mut self.has_begun, true) {
            self.then.push_back(given);
        }
    }
}

/// `depth` frames with the stream ids 0, 1, .. Requests are SELECTs, so that they may be sent on a shared connection.
fn block(version: u8, opcode: u8, depth: usize) -> Vec<u8> {
    const BODY_BYTES: usize = FRAME_BYTES - HEADER_BYTES;
    let body = if opcode == opcode::QUERY { query(BODY_BYTES) } else { rows(BODY_BYTES) };
    let frames = (0..depth).map(|id| encode(version, i16::try_from(id).unwrap_or_default(), opcode, &body));
    frames.collect::<Vec<_>>().concat()
}

/// The body of a QUERY that is so many bytes long: the text, the length in front of it, consistency and flags behind it.
fn query(bytes: usize) -> Vec<u8> {
    let mut text = br#"SELECT "C0","C1" FROM keyspace1.standard1 WHERE key=0x"#.to_vec();
    text.resize(bytes - 7, b'7');
    testkit::scripted::query(&text)
}

/// The body of a RESULT that is so many bytes long: one row of one blob.
fn rows(bytes: usize) -> Vec<u8> {
    let name = |name: &str| [&(name.len() as u16).to_be_bytes(), name.as_bytes()].concat();
    // Rows, one table for all columns, one column.
    let kind = [0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1].to_vec();
    let names = [name("keyspace1"), name("standard1"), name("C0")].concat();
    let mut body = [kind, names, vec![0, 3, 0, 0, 0, 1]].concat();
    let value = vec![b'x'; bytes - body.len() - 4];
    body.extend((value.len() as u32).to_be_bytes());
    body.extend(value);
    body
}

impl End {
    fn is_due(&self) -> bool {
        if self.is_client {
            self.ends.is_asked.get()
        } else {
            self.ends.may_answer.get() && self.ends.to_server.get() >= self.block.len().max(9)
        }
    }
}

impl Stream for End {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_due() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
    fn poll_read(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.is_due() {
            return Poll::Pending;
        }
        if self.is_client {
            self.ends.is_asked.set(false);
        } else {
            self.ends.to_server.set(0);
        }
        let count = self.block.len();
        into[..count].copy_from_slice(&self.block);
        if !self.then.is_empty() {
            self.turn();
        }
        Poll::Ready(Ok(count))
    }
    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let to = if self.is_client { &self.ends.to_client } else { &self.ends.to_server };
        to.set(to.get() + bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Connects once.
struct Once(RefCell<Option<End>>);

impl Connector for Once {
    fn connect(&self, _: &str) -> Connecting {
        let end = self.0.borrow_mut().take();
        let stream = end.map(|end| Box::new(end) as Box<dyn Stream>);
        Box::pin(std::future::ready(stream.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())))
    }
}

/// Spawns nothing: a sink per client has no task of its own.
pub struct Nobody;

impl Spawner for Nobody {
    fn spawn(&self, _: Box<dyn Task>) {}
}

/// One client with `depth` requests in flight, and a sink of its own.
pub struct OneClient {
    ends: Rc<Ends>,
    client: Client<End>,
    depth: usize,
    /// The worker's pool.
    pub pool: Pool,
}

impl OneClient {
    /// Connects it, so that only passing messages is left to do. `transforms` stand above the sink.
    #[must_use]
    pub fn new(depth: usize, transforms: &[&dyn Builder]) -> Self {
        Self::with_metrics(depth, transforms, None)
    }

    /// As [`OneClient::new`]; what passes is counted there, if anywhere.
    #[must_use]
    pub fn with_metrics(
        depth: usize,
        transforms: &[&dyn Builder],
        metrics: Option<Rc<observe::ChainMetrics>>,
    ) -> Self {
        let ends = Rc::new(Ends::default());
        let server = End::new(&ends, false, depth);
        let connector = Rc::new(Once(RefCell::new(Some(server))));
        let worker = WorkerCx::alone(Protocol::Cql, connector, Rc::new(Nobody));
        let sink = CassandraSinkSingle::new("server:9042".to_owned(), Duration::from_secs(3));
        let entries = transforms.iter().map(|transform| ("Transform", "transform", *transform));
        let entries = entries.chain([("CassandraSinkSingle", "sink", &sink as &dyn Builder)]);
        let part = ChainPart::new("chain", &worker, entries, metrics);
        let rules = Rc::new(Rules { frame_bytes_max: 1 << 28, idle_timeout: None });
        let client = End::new(&ends, true, depth);
        let chain = part.client().expect("a chain");
        let client = Client::new(client, chain, rules, None, Tick(0));
        let mut one = Self { ends, client, depth, pool: worker.pool };
        // The handshake, which waits for the connection; then what is kept is made.
        one.exchange();
        one.round();
        one
    }

    /// Every request in flight is asked and answered once.
    pub fn round(&mut self) {
        assert_eq!(self.exchange(), self.depth * FRAME_BYTES);
    }

    /// Asks, and says how many bytes came back.
    fn exchange(&mut self) -> usize {
        self.ends.is_asked.set(true);
        self.poll();
        self.ends.may_answer.set(true);
        self.poll();
        self.ends.may_answer.set(false);
        self.ends.to_client.replace(0)
    }

    fn poll(&mut self) {
        let mut task = Context::from_waker(Waker::noop());
        assert!(self.client.poll(&mut Cx { task: &mut task, now: Tick(1) }).is_pending());
    }
}
