//! A worker in small, for tests: clients over the shared sink, servers that do only as they are told, and a clock. As on a
//! real one, nobody has a turn who was not woken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use chain::{
    Batch, Chain, ChainPart, Chunk, Connecting, Connector, Cx, Exit, Fault, Message, Pool, Progress, Spawner,
    Stream, Task, Tick, WorkerCx,
};
use observe::SharingMetrics;
use wire::{Framed, Protocol, Side};

use crate::{CassandraSinkSingle, Connections};

/// Polls of everybody, after which nothing moves any more in any of the tests.
const TURNS: usize = 64;

/// Both directions of one server connection.
#[derive(Default)]
pub(super) struct Wires {
    to_proxy: VecDeque<u8>,
    from_proxy: Vec<u8>,
    /// The server has ended its side.
    is_ended: bool,
    /// The server reads nothing.
    pub(super) is_deaf: bool,
    /// But this many bytes.
    takes: usize,
    /// The proxy has closed it.
    pub(super) is_closed: bool,
    /// Whatever the proxy reads, there is as much more of this byte.
    pub(super) flood: Option<u8>,
    /// Bytes that the proxy has read.
    pub(super) read_bytes: usize,
    /// Who waits for something to read, or for room to write.
    waiting: Vec<Waker>,
}

impl Wires {
    /// The server says this while nobody looks.
    pub(super) fn say_later(&mut self, bytes: &[u8]) {
        self.to_proxy.extend(bytes);
    }

    /// Something has changed at the server.
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

/// The proxy's end of a server connection.
struct End(Rc<RefCell<Wires>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().is_closed = true;
    }
}

impl Stream for End {
    fn poll_read(&mut self, task: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let wires = &mut *self.0.borrow_mut();
        let count = match wires.flood.filter(|_| wires.to_proxy.is_empty()) {
            Some(byte) => {
                into.fill(byte);
                into.len()
            }
            None => {
                let count = wires.to_proxy.len().min(into.len());
                into.iter_mut().zip(wires.to_proxy.drain(..count)).for_each(|(to, from)| *to = from);
                count
            }
        };
        wires.read_bytes += count;
        if count == 0 && !wires.is_ended {
            wires.waiting.push(task.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }
    fn poll_write(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wires = &mut *self.0.borrow_mut();
        let count = if wires.is_deaf { bytes.len().min(wires.takes) } else { bytes.len() };
        if count == 0 {
            wires.waiting.push(task.waker().clone());
            return Poll::Pending;
        }
        wires.takes = wires.takes.saturating_sub(count);
        wires.from_proxy.extend(&bytes[..count]);
        Poll::Ready(Ok(count))
    }
    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Default)]
struct Servers(Rc<RefCell<Vec<Rc<RefCell<Wires>>>>>);

impl Connector for Servers {
    fn connect(&self, _: &str) -> Connecting {
        let wires = Rc::<RefCell<Wires>>::default();
        self.0.borrow_mut().push(Rc::clone(&wires));
        let end: Box<dyn Stream> = Box::new(End(wires));
        Box::pin(std::future::ready(Ok(end)))
    }
}

#[derive(Clone, Default)]
struct Spawned(Rc<RefCell<Vec<Box<dyn Task>>>>);

impl Spawner for Spawned {
    fn spawn(&self, task: Box<dyn Task>) {
        self.0.borrow_mut().push(task);
    }
}

/// What a client was sent.
#[derive(Default)]
struct Replies {
    bytes: Vec<u8>,
    /// It reads nothing.
    is_deaf: bool,
}

impl Exit for Replies {
    fn is_ready(&self) -> bool {
        !self.is_deaf
    }
    fn deliver(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.outgoing(
            |_, _| {},
            |outgoing| {
                self.bytes.extend(outgoing.bytes());
                Ok(())
            },
        )
    }
    fn looks(&self) -> bool {
        true
    }
    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>) -> Result<(), Fault> {
        self.bytes.extend(&chunk.bytes()[range]);
        Ok(())
    }
}

/// Whether somebody wants a turn.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Woken {
    /// Of somebody who has not had a turn yet.
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    /// Gives a turn, if it is wanted or due. Nobody may want another because of a time that has passed: his worker would
    /// do nothing else any more.
    fn turn<T>(
        self: &Arc<Self>,
        now: Tick,
        on: &mut T,
        deadline: impl Fn(&T) -> Option<Tick>,
        act: impl FnOnce(&mut T, &mut Cx<'_, '_>),
    ) {
        let is_due = |on: &T| deadline(on).is_some_and(|deadline| deadline <= now);
        if self.0.swap(false, Ordering::Relaxed) || is_due(on) {
            act(on, &mut Cx { task: &mut Context::from_waker(&Waker::from(Arc::clone(self))), now });
            assert!(!is_due(on), "a deadline that has passed");
        }
    }
}

/// A task, until it is over.
struct Running {
    task: Box<dyn Task>,
    is_over: bool,
}

/// One client, until its connection ends.
struct Seat {
    chain: Option<Chain>,
    replies: Replies,
    fault: Option<Fault>,
    woken: Arc<Woken>,
}

impl Seat {
    fn act(&mut self, act: impl FnOnce(&mut Chain, &mut Replies) -> Result<(), Fault>) {
        let Some(chain) = &mut self.chain else { return };
        if let Err(fault) = act(chain, &mut self.replies) {
            self.fault = Some(fault);
            self.chain = None;
        }
    }

    /// It gives the chain something, as a client loop does in its turn.
    fn submit(&mut self, now: Tick, submit: impl FnOnce(&mut Chain, &mut Cx<'_, '_>) -> Result<(), Fault>) {
        let waker = Waker::from(Arc::clone(&self.woken));
        waker.wake_by_ref();
        self.act(|chain, _| submit(chain, &mut Cx { task: &mut Context::from_waker(&waker), now }));
    }
}

/// A worker, its clients in the order they came, and its server connections in the order they were opened.
pub(super) struct Scene {
    part: Rc<ChainPart>,
    pub(super) pool: Pool,
    pub(super) metrics: Rc<SharingMetrics>,
    servers: Servers,
    spawned: Spawned,
    tasks: Vec<(Running, Arc<Woken>)>,
    seats: Vec<Seat>,
    now: Tick,
}

impl Scene {
    /// A worker whose requests wait for their replies for `read_timeout`, and that has one connection to share.
    pub(super) fn new(read_timeout: Option<Duration>) -> Self {
        Self::of(Connections::Shared, read_timeout)
    }

    /// As [`Scene::new`], or each client has a connection of its own.
    pub(super) fn of(connections: Connections, read_timeout: Option<Duration>) -> Self {
        Self::with(connections, 1, read_timeout)
    }

    /// A worker that may have so many connections to share.
    pub(super) fn sharing(connections_max: usize) -> Self {
        Self::with(Connections::Shared, connections_max, None)
    }

    fn with(connections: Connections, connections_max: usize, read_timeout: Option<Duration>) -> Self {
        let (servers, spawned, pool) = (Servers::default(), Spawned::default(), Pool::new());
        let metrics = Rc::<SharingMetrics>::default();
        let worker = WorkerCx {
            pool: pool.clone(),
            sharing: Rc::clone(&metrics),
            ..WorkerCx::alone(Protocol::Cql, Rc::new(servers.clone()), Rc::new(spawned.clone()))
        };
        let mut sink = CassandraSinkSingle::new("server:9042".to_owned(), Duration::from_secs(3));
        sink.connections = connections;
        sink.read_timeout = read_timeout;
        sink.connections_max = connections_max;
        let part = ChainPart::new("chain", &worker, [("CassandraSinkSingle", "sink", &sink as _)], None);
        let (tasks, seats) = (Vec::new(), Vec::new());
        Self { part, pool, metrics, servers, spawned, tasks, seats, now: Tick(0) }
    }

    /// A new client; the answer is its number.
    pub(super) fn client(&mut self) -> usize {
        let chain = Some(self.part.client().expect("a chain"));
        self.seats.push(Seat { chain, replies: Replies::default(), fault: None, woken: Woken::new() });
        self.seats.len() - 1
    }

    /// A new client whose session is `startup`, accepted by the server on a connection that it had for itself.
    pub(super) fn accepted(&mut self) -> usize {
        let (client, server) = (self.client(), self.servers());
        self.client_sends(client, &STARTUP);
        self.server_says(server, &READY);
        assert_eq!(self.take_replies(client), [(0, 0x02)]);
        client
    }

    /// The client sends these bytes at once. The last frame in them may be cut short: the rest is sent after it.
    pub(super) fn client_sends(&mut self, client: usize, bytes: &[u8]) {
        let (mut messages, mut place) = (Vec::new(), 0);
        while place < bytes.len() {
            let framed = Protocol::Cql.frame(&bytes[place..], Side::Request, u32::MAX);
            let Framed::Frame(head) = framed else { panic!("no frame") };
            let here = (head.frame_bytes as usize).min(bytes.len() - place);
            messages.push(Message::new(head, place, here));
            place += here;
        }
        let (chunk, now) = (self.pool.own(Vec::from(bytes)), self.now);
        self.seats[client].submit(now, |chain, cx| {
            chain.submit(cx, &chunk, messages).map(|repeated| assert_eq!(repeated, None))
        });
        self.turn();
    }

    /// The client sends more of the frame that it has begun.
    pub(super) fn client_goes_on(&mut self, client: usize, bytes: &[u8]) {
        let (chunk, now) = (self.pool.own(Vec::from(bytes)), self.now);
        self.seats[client].submit(now, |chain, cx| chain.submit_tail(cx, &chunk, 0..bytes.len()));
        self.turn();
    }

    pub(super) fn client_leaves(&mut self, client: usize) {
        self.seats[client].chain = None;
        self.turn();
    }

    /// From here on the client reads what it is sent, or does not.
    pub(super) fn client_reads(&mut self, client: usize, reads: bool) {
        self.seats[client].replies.is_deaf = !reads;
        Arc::clone(&self.seats[client].woken).wake();
        self.turn();
    }

    /// The stream ids and opcodes of what the client was sent since it was asked last.
    pub(super) fn take_replies(&mut self, client: usize) -> Vec<(i16, u8)> {
        frames(&std::mem::take(&mut self.seats[client].replies.bytes))
    }

    /// The stream ids and codes of the errors that the client was sent since it was asked last, and nothing else was.
    pub(super) fn take_errors(&mut self, client: usize) -> Vec<(i16, u32)> {
        let (bytes, mut place) = (std::mem::take(&mut self.seats[client].replies.bytes), 0);
        let errors = frames(&bytes).into_iter().map(|(id, opcode)| {
            assert_eq!(opcode, 0x00);
            let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
            let code = number(place + 9);
            place += 9 + number(place + 5) as usize;
            (id, code)
        });
        errors.collect()
    }

    /// What ended the client.
    pub(super) fn fault(&self, client: usize) -> Option<&Fault> {
        self.seats[client].fault.as_ref()
    }

    /// True while the client is not read.
    pub(super) fn is_over_mark(&self, client: usize) -> bool {
        self.seats[client].chain.as_ref().is_some_and(Chain::is_over_mark)
    }

    /// Server connections that there have been.
    pub(super) fn servers(&self) -> usize {
        self.servers.0.borrow().len()
    }

    /// A server connection.
    pub(super) fn server(&self, server: usize) -> Rc<RefCell<Wires>> {
        Rc::clone(&self.servers.0.borrow()[server])
    }

    pub(super) fn server_says(&mut self, server: usize, bytes: &[u8]) {
        let wires = self.server(server);
        wires.borrow_mut().to_proxy.extend(bytes);
        wires.borrow_mut().wake();
        self.turn();
    }

    /// The server reads again.
    pub(super) fn server_hears(&mut self, server: usize) {
        let wires = self.server(server);
        wires.borrow_mut().is_deaf = false;
        wires.borrow_mut().wake();
        self.turn();
    }

    /// The server reads so many bytes, and no more.
    pub(super) fn server_takes(&mut self, server: usize, count: usize) {
        let wires = self.server(server);
        wires.borrow_mut().takes = count;
        wires.borrow_mut().wake();
        self.turn();
    }

    pub(super) fn server_ends(&mut self, server: usize) {
        let wires = self.server(server);
        wires.borrow_mut().is_ended = true;
        wires.borrow_mut().wake();
        self.turn();
    }

    /// The bytes that the server was sent since it was asked last.
    pub(super) fn take_bytes(&self, server: usize) -> Vec<u8> {
        std::mem::take(&mut self.server(server).borrow_mut().from_proxy)
    }

    /// The stream ids and opcodes of the requests among them.
    pub(super) fn take_requests(&self, server: usize) -> Vec<(i16, u8)> {
        frames(&self.take_bytes(server))
    }

    /// Time passes.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.turn();
    }

    /// Everybody has turns until nothing moves.
    fn turn(&mut self) {
        let now = self.now;
        for _ in 0..TURNS {
            for seat in &mut self.seats {
                let woken = Arc::clone(&seat.woken);
                let deadline = |seat: &Seat| seat.chain.as_ref()?.deadline();
                woken.turn(now, seat, deadline, |seat, cx| {
                    seat.act(|chain, replies| {
                        while chain.poll(cx, replies)? == Progress::Moved {}
                        Ok(())
                    });
                });
            }
            let spawned = std::mem::take(&mut *self.spawned.0.borrow_mut()).into_iter();
            self.tasks.extend(spawned.map(|task| (Running { task, is_over: false }, Woken::new())));
            for (running, woken) in &mut self.tasks {
                let deadline = |running: &Running| running.task.deadline().filter(|_| !running.is_over);
                woken.turn(now, running, deadline, |running, cx| {
                    running.is_over = running.task.poll(cx).is_ready();
                });
            }
            self.tasks.retain(|(running, _)| !running.is_over);
        }
    }
}

pub(super) const STARTUP: [u8; 31] = *b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0";

pub(super) const READY: [u8; 9] = [0x84, 0, 0, 0, 0x02, 0, 0, 0, 0];

/// The answer to a session that is begun again.
pub(super) const READY_AGAIN: [u8; 9] = [0x84, 0, 0x7F, 0xFF, 0x02, 0, 0, 0, 0];

/// The keyspace in use is now this one.
pub(super) fn set_keyspace(id: i16, name: u8) -> Vec<u8> {
    frame(0x84, id, 0x08, &[0, 0, 0, 3, 0, 1, name])
}

/// An ERROR with this code.
pub(super) fn error(id: i16, code: u32) -> Vec<u8> {
    frame(0x84, id, 0x00, &[&code.to_be_bytes()[..], b"\0\x02no"].concat())
}

/// A frame, of requests or replies as its version says.
pub(super) fn frame(version: u8, id: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[version, 0][..], &id.to_be_bytes(), &[opcode], &length, body].concat()
}

/// A QUERY.
pub(super) fn query(id: i16, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    frame(4, id, 0x07, &[&length[..], text.as_bytes(), &[0, 1, 0]].concat())
}

/// A QUERY that begins with this word, and is longer than so many bytes.
pub(super) fn long_query(id: i16, word: &str, bytes: usize) -> Vec<u8> {
    query(id, &format!("{word} {}", "x".repeat(bytes)))
}

/// A QUERY that is too long to share a connection.
pub(super) fn large_query(id: i16) -> Vec<u8> {
    long_query(id, "SELECT", 70_000)
}

/// A RESULT without rows, as long as is wished.
pub(super) fn result(id: i16, padding: usize) -> Vec<u8> {
    frame(0x84, id, 0x08, &[&[0, 0, 0, 1][..], &vec![0; padding]].concat())
}

/// The stream ids and opcodes of whole frames.
fn frames(bytes: &[u8]) -> Vec<(i16, u8)> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while let [_, _, high, low, opcode, a, b, c, d, after @ ..] = rest {
        frames.push((i16::from_be_bytes([*high, *low]), *opcode));
        rest = after.get(u32::from_be_bytes([*a, *b, *c, *d]) as usize..).expect("a whole frame");
    }
    assert!(rest.is_empty(), "bytes that are no frame: {rest:?}");
    frames
}
