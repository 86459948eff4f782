//! A message that passes through allocates nothing and is copied nowhere: counted, both ways.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chain::{Builder, ChainPart, Connecting, Connector, Cx, Pool, Stream, Tick, WorkerCx};
use sinks::CassandraSinkSingle;
use sources::{Client, Rules};
use wire::Protocol;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FRAME_BYTES: usize = 109;
const DEPTH: usize = 32;

/// What the two ends share: requests on their way out of the client, and replies due from the server.
#[derive(Default)]
struct Ends {
    to_read: Cell<usize>,
    written_to_server: Cell<usize>,
    written_to_client: Cell<usize>,
}

fn frame(version: u8, opcode: u8, id: usize) -> [u8; FRAME_BYTES] {
    let mut frame = [b'x'; FRAME_BYTES];
    frame[..9].copy_from_slice(&[version, 0, 0, id as u8, opcode, 0, 0, 0, 100]);
    frame
}

fn fill(into: &mut [u8], version: u8, opcode: u8) -> usize {
    for (id, place) in into.chunks_exact_mut(FRAME_BYTES).take(DEPTH).enumerate() {
        place.copy_from_slice(&frame(version, opcode, id));
    }
    DEPTH * FRAME_BYTES
}

struct Side {
    ends: Rc<Ends>,
    is_client: bool,
}

impl Stream for Side {
    fn poll_read(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let due = if self.is_client { &self.ends.to_read } else { &self.ends.written_to_server };
        if due.get() < if self.is_client { 1 } else { DEPTH * FRAME_BYTES } {
            return Poll::Pending;
        }
        due.set(0);
        Poll::Ready(Ok(if self.is_client { fill(into, 4, 7) } else { fill(into, 0x84, 8) }))
    }
    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let to = if self.is_client { &self.ends.written_to_client } else { &self.ends.written_to_server };
        to.set(to.get() + bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_write_vectored(
        &mut self,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(task, slices.first().map_or(&[], |slice| slice))
    }
    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct One(RefCell<Option<Side>>);

impl Connector for One {
    fn connect(&self, _: &str) -> Connecting {
        let side = self.0.borrow_mut().take().expect("one connection");
        Box::pin(std::future::ready(Ok(Box::new(side) as Box<dyn Stream>)))
    }
}

#[test]
fn passing_messages_allocates_and_copies_nothing() {
    let ends = Rc::new(Ends::default());
    let server = Side { ends: Rc::clone(&ends), is_client: false };
    let pool = Pool::new();
    let connector = Rc::new(One(RefCell::new(Some(server))));
    let worker = WorkerCx { pool: pool.clone(), connector, protocol: Protocol::Cql };
    let sink = CassandraSinkSingle {
        remote_address: "server:9042".to_owned(),
        connect_timeout: Duration::from_secs(3),
        read_timeout: None,
    };
    let entries: [(&str, &str, &dyn Builder); 1] = [("CassandraSinkSingle", "sink", &sink)];
    let part = ChainPart::new("chain", &worker, entries, None);
    let rules = Rc::new(Rules { frame_bytes_max: 1 << 28, idle_timeout: None });
    let client = Side { ends: Rc::clone(&ends), is_client: true };
    let mut client = Client::new(client, part.client().expect("a chain"), rules, None, Tick(0));
    let mut round = || {
        ends.to_read.set(1);
        let mut task = Context::from_waker(Waker::noop());
        assert!(client.poll(&mut Cx { task: &mut task, now: Tick(1) }).is_pending());
        assert_eq!(ends.written_to_client.replace(0), DEPTH * FRAME_BYTES);
    };
    // The first rounds connect, and make what is kept.
    round();
    // The first requests waited for the connection, pinned; from here on nothing does.
    round();
    let (allocations, copied) = (ALLOCATIONS.load(Ordering::Relaxed), pool.copied_bytes());
    for _ in 0..100_000 / DEPTH {
        round();
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - allocations, 0);
    assert_eq!(pool.copied_bytes() - copied, 0);
    assert_eq!(pool.taken(), 0);
}
