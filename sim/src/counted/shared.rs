//! Clients that share a server connection, counted.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chain::{ChainPart, Connecting, Connector, Cx, Pool, Spawner, Stream, Task, Tick, WorkerCx};
use sinks::{CassandraSinkSingle, Connections};
use sources::{Client, Rules};
use testkit::scripted::{HEADER_BYTES, opcode};
use wire::Protocol;

use super::{End, Ends, FRAME_BYTES, block};

/// Requests that one server connection can owe the replies to.
const ANSWERS_MAX: usize = 256;

/// Stream ids of a shared connection.
const STREAM_IDS_MAX: usize = 2048;

/// The server's end of one connection. It answers each request under the stream id it came with, but lets nothing be
/// read before it is told to: as with a real server, the connection's task writes in one poll and reads in another.
struct Server {
    answers: Rc<Cell<bool>>,
    /// Replies, whose ids are filled in as requests come.
    block: Vec<u8>,
    is_begun: bool,
    due: usize,
    read: usize,
}

impl Server {
    fn new(answers: &Rc<Cell<bool>>) -> Self {
        let block = block(0x84, opcode::RESULT, ANSWERS_MAX);
        Self { answers: Rc::clone(answers), block, is_begun: false, due: 0, read: 0 }
    }

    fn has_answer(&self) -> bool {
        self.answers.get() && self.read < self.due
    }
}

impl Stream for Server {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_answer() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_read(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.has_answer() {
            return Poll::Pending;
        }
        if !self.is_begun {
            self.is_begun = true;
            self.due = 0;
            into[..HEADER_BYTES].copy_from_slice(&[0x84, 0, 0, 0, opcode::READY, 0, 0, 0, 0]);
            return Poll::Ready(Ok(HEADER_BYTES));
        }
        let count = into.len().min(self.due - self.read);
        into[..count].copy_from_slice(&self.block[self.read..self.read + count]);
        self.read += count;
        if self.read == self.due {
            (self.read, self.due) = (0, 0);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_begun {
            self.due = HEADER_BYTES;
            return Poll::Ready(Ok(bytes.len()));
        }
        assert_eq!(bytes.len() % FRAME_BYTES, 0, "requests leave whole");
        let replies = self.block[self.due..].chunks_exact_mut(FRAME_BYTES);
        for (request, reply) in bytes.chunks_exact(FRAME_BYTES).zip(replies) {
            (reply[2], reply[3]) = (request[2], request[3]);
        }
        self.due += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Connects each time. All servers answer when they are told to.
pub(super) struct Servers(pub(super) Rc<Cell<bool>>);

impl Connector for Servers {
    fn connect(&self, _: &str) -> Connecting {
        let server: Box<dyn Stream> = Box::new(Server::new(&self.0));
        Box::pin(std::future::ready(Ok(server)))
    }
}

/// Tasks that were spawned and not yet polled.
#[derive(Clone, Default)]
pub(super) struct Spawned(pub(super) Rc<RefCell<Vec<Box<dyn Task>>>>);

impl Spawner for Spawned {
    fn spawn(&self, task: Box<dyn Task>) {
        self.0.borrow_mut().push(task);
    }
}

/// Clients with one request in flight each, on one server connection.
pub struct SharedClients {
    clients: Vec<(Client<End>, Rc<Ends>)>,
    spawned: Spawned,
    tasks: Vec<Box<dyn Task>>,
    answers: Rc<Cell<bool>>,
    /// The worker's pool.
    pub pool: Pool,
}

impl SharedClients {
    /// Connects them, so that only passing messages is left to do.
    ///
    /// # Panics
    /// When they would not share one connection.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let (answers, spawned) = (Rc::new(Cell::new(false)), Spawned::default());
        let worker =
            WorkerCx::alone(Protocol::Cql, Rc::new(Servers(Rc::clone(&answers))), Rc::new(spawned.clone()));
        let mut sink = CassandraSinkSingle::new("server:9042".to_owned(), Duration::from_secs(3));
        sink.connections = Connections::Shared;
        let part = ChainPart::new("chain", &worker, [("CassandraSinkSingle", "sink", &sink as _)], None);
        let rules = Rc::new(Rules { frame_bytes_max: 1 << 28, idle_timeout: None });
        let clients = (0..count).map(|_| {
            let ends = Rc::new(Ends::default());
            let chain = part.client().expect("a chain");
            let client = Client::new(End::new(&ends, true, 1), chain, Rc::clone(&rules), None, Tick(0));
            (client, ends)
        });
        let clients = clients.collect();
        let mut shared = Self { clients, spawned, tasks: Vec::new(), answers, pool: worker.pool };
        // Each begins its session on a connection of its own; one of these is shared, and the others end.
        assert_eq!(shared.exchange(), count * HEADER_BYTES);
        shared.poll_tasks();
        assert_eq!(shared.tasks.len(), 1, "they share one connection");
        // Every stream id is used, so that what is kept is made.
        for _ in 0..STREAM_IDS_MAX.div_ceil(count) {
            shared.round();
        }
        shared
    }

    /// Every client asks, and is answered.
    pub fn round(&mut self) {
        assert_eq!(self.exchange(), self.clients.len() * FRAME_BYTES);
    }

    /// All ask; says how many bytes came back.
    fn exchange(&mut self) -> usize {
        self.clients.iter().for_each(|(_, ends)| ends.is_asked.set(true));
        self.poll_clients();
        self.poll_tasks();
        self.answers.set(true);
        self.poll_tasks();
        self.answers.set(false);
        self.poll_clients();
        self.clients.iter().map(|(_, ends)| ends.to_client.replace(0)).sum()
    }

    fn poll_clients(&mut self) {
        let mut task = Context::from_waker(Waker::noop());
        for (client, _) in &mut self.clients {
            assert!(client.poll(&mut Cx { task: &mut task, now: Tick(1) }).is_pending());
        }
    }

    fn poll_tasks(&mut self) {
        self.tasks.append(&mut self.spawned.0.borrow_mut());
        let mut task = Context::from_waker(Waker::noop());
        self.tasks.retain_mut(|shared| shared.poll(&mut Cx { task: &mut task, now: Tick(1) }).is_pending());
    }
}
