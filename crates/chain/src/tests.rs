//! The parts by themselves: ledger, ids, chunks, inlet, outlet; and who is blamed for a fault.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use observe::{Catalog, ChainEntry, WorkerMetrics};
use wire::{ErrorKind, Framed, Head, Protocol, Side};

use crate::enrich::Enrichment;
use crate::ledger::REQUESTS_KEPT;
use crate::{
    After, AllPrepared, Batch, Builder, CHUNK_BYTES, ChainPart, Chunk, Connecting, Connector, Cx, Exit,
    Fault, Filled, Framing, IN_FLIGHT_MAX, IdTable, Inlet, Ledger, Link, Message, Need, Origin, Outlet,
    Piece, Pool, Prepared, Progress, Replies, Run, Sink, Spawner, Stream, SubChain, SubExit, Task, Tick,
    Ticket, Transform, Up, WHOLE_BYTES_MAX, WorkerCx, WorkerPart,
};

fn head(id: i32) -> Head {
    Head { frame_bytes: 9, id, opcode: 7, flags: 0, version: 4 }
}

/// A stream that gives what it has in pieces, and takes at most so much a write.
struct Script {
    to_read: Vec<Vec<u8>>,
    takes: Vec<usize>,
    written: Vec<u8>,
}

impl Stream for Script {
    fn poll_read(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(piece) = self.to_read.first_mut() else { return Poll::Pending };
        let count = piece.len().min(into.len());
        into[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if piece.is_empty() {
            self.to_read.remove(0);
        }
        Poll::Ready(Ok(count))
    }
    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(most) = self.takes.pop() else { return Poll::Pending };
        let count = most.min(bytes.len());
        self.written.extend(&bytes[..count]);
        Poll::Ready(Ok(count))
    }
    fn poll_write_vectored(
        &mut self,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        self.poll_write(task, &all)
    }
    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn script(to_read: &[&[u8]], takes: &[usize]) -> Script {
    Script {
        to_read: to_read.iter().map(|piece| piece.to_vec()).collect(),
        takes: takes.iter().rev().copied().collect(),
        written: Vec::new(),
    }
}

fn with_cx<T>(run: impl FnOnce(&mut Cx<'_, '_>) -> T) -> T {
    let mut task = Context::from_waker(Waker::noop());
    run(&mut Cx { task: &mut task, now: Tick(0) })
}

#[test]
fn a_ticket_never_names_the_successor_of_its_request() {
    let mut ledger = Ledger::new(2);
    let first = ledger.open(head(1), Tick(0), Need::None);
    ledger.set_tag(first, 1, 77);
    assert_eq!((ledger.tag(first, 0), ledger.tag(first, 1), ledger.tag(first, 2)), (0, 77, 0));
    assert_eq!(ledger.close(first).map(|entry| entry.head.id), Some(1));
    assert!(ledger.close(first).is_none());
    let second = ledger.open(head(2), Tick(0), Need::None);
    assert!(ledger.get(first).is_none());
    assert_eq!(ledger.tag(second, 1), 0, "a tag was inherited");
    ledger.set_tag(first, 1, 5);
    assert_eq!(ledger.tag(second, 1), 0, "a dead ticket left a tag");
    assert!(ledger.close(Ticket::NONE).is_none());
    assert_eq!(ledger.len(), 1);
}

#[test]
fn the_room_of_a_burst_is_given_back_and_its_tickets_name_nothing() {
    let mut ledger = Ledger::new(2);
    let known = Rc::new(Prepared::new(&AllPrepared::default()));
    ledger.enrichment = Some(Box::new(Enrichment::new(Protocol::Cql, &known)));
    let chunk = Pool::new().own(vec![4, 0, 0, 1, 9, 0, 0, 0, 5, 0, 0, 0, 1, b'x']);
    let Framed::Frame(prepare) = Protocol::Cql.frame(chunk.bytes(), Side::Request, u32::MAX) else {
        panic!()
    };
    let burst = |ledger: &mut Ledger| -> Vec<Ticket> {
        let open = |_| {
            let ticket = ledger.open(prepare, Tick(0), Need::None);
            ledger.note(&chunk, &[Message::reply(prepare, 0, 14, ticket)]);
            ticket
        };
        (0..IN_FLIGHT_MAX).map(open).collect()
    };
    let capacities = |ledger: &Ledger| (ledger.capacity(), ledger.enrichment.as_ref().unwrap().capacity());
    let mut ended: Vec<Ticket> = Vec::new();
    for _ in 0..3 {
        let open = burst(&mut ledger);
        assert!(ended.iter().all(|ticket| ledger.get(*ticket).is_none()));
        let (ledger_room, enrichment_room) = capacities(&ledger);
        assert!(ledger_room >= IN_FLIGHT_MAX && enrichment_room >= IN_FLIGHT_MAX);
        assert!(open.iter().all(|ticket| ledger.close(*ticket).is_some()));
        ledger.give_room_back();
        let (ledger_room, enrichment_room) = capacities(&ledger);
        assert!(ledger_room <= REQUESTS_KEPT && enrichment_room <= REQUESTS_KEPT);
        ended.extend(open);
    }
}

#[test]
fn open_tickets_are_in_the_order_of_the_requests() {
    let mut ledger = Ledger::new(0);
    let tickets: Vec<Ticket> = (0..5).map(|id| ledger.open(head(id), Tick(0), Need::None)).collect();
    ledger.close(tickets[1]);
    let late = ledger.open(head(9), Tick(0), Need::None);
    assert_eq!(ledger.open_tickets(), [tickets[0], tickets[2], tickets[3], tickets[4], late]);
}

#[test]
fn a_free_id_is_one_that_nobody_in_flight_has() {
    let mut ledger = Ledger::new(0);
    assert_eq!(ledger.free_id(), 32_767);
    let ids = [5, 32_767, 32_765, 32_767, 32_766];
    let tickets = ids.map(|id| ledger.open(head(id), Tick(0), Need::None));
    assert_eq!(ledger.free_id(), 32_764);
    ledger.close(tickets[2]);
    assert_eq!(ledger.free_id(), 32_765);
}

#[test]
fn the_same_id_twice_in_flight_is_answered_twice() {
    let mut ledger = Ledger::new(0);
    let mut ids = IdTable::default();
    let [first, second, other] = [1, 2, 3].map(|id| ledger.open(head(id), Tick(0), Need::None));
    ids.insert(7, first);
    ids.insert(7, second);
    ids.insert(i32::from(u16::MAX), other);
    assert_eq!((ids.len(), ids.peek(7)), (3, Some(first)));
    assert_eq!([ids.take(7), ids.take(7), ids.take(7)], [Some(first), Some(second), None]);
    assert_eq!(
        [ids.take(i32::from(u16::MAX)), ids.take(i32::from(u16::MAX)), ids.take(500)],
        [Some(other), None, None]
    );
    assert!(ids.is_empty());
}

#[test]
fn an_id_is_claimed_once_until_its_requests_end() {
    let mut ledger = Ledger::new(1);
    let ids = [0, 7, 63, 64, 32_767, -1, -32_768];
    for _ in 0..2 {
        let claim = |ledger: &mut Ledger| ids.map(|id| ledger.claim(id));
        assert_eq!(claim(&mut ledger), [true; 7]);
        let tickets = ids.map(|id| ledger.open(head(id), Tick(0), Need::None));
        ledger.give_room_back();
        assert_eq!(claim(&mut ledger), [false; 7]);
        ledger.close(tickets[1]);
        assert_eq!(claim(&mut ledger), [false, true, false, false, false, false, false]);
        let again = ledger.open(head(7), Tick(0), Need::None);
        for ticket in tickets.into_iter().chain([again]) {
            ledger.close(ticket);
        }
        assert!(ledger.capacity() >= 1024);
        ledger.give_room_back();
        assert!(ledger.capacity() <= REQUESTS_KEPT);
    }
}

#[test]
fn ids_repeated_in_any_mixture_are_answered_in_their_order() {
    let mut ledger = Ledger::new(0);
    let mut ids = IdTable::default();
    let id_of = |index: usize| [3, 70, 3, 40_000][index % 4];
    let tickets: Vec<Ticket> = (0..8192).map(|_| ledger.open(head(3), Tick(0), Need::None)).collect();
    for (index, ticket) in tickets.iter().enumerate() {
        ids.insert(id_of(index), *ticket);
    }
    // The replies of one id come before all others, and requests go on to come.
    let late = ledger.open(head(70), Tick(0), Need::None);
    ids.insert(70, late);
    for id in [40_000, 3, 70] {
        let expected = tickets.iter().enumerate().filter(|(index, _)| id_of(*index) == id);
        for (_, ticket) in expected {
            assert_eq!((ids.peek(id), ids.take(id)), (Some(*ticket), Some(*ticket)));
        }
    }
    assert_eq!((ids.len(), ids.take(70), ids.take(70), ids.len()), (1, Some(late), None, 0));
}

#[test]
fn a_table_of_ids_gives_its_pages_back_when_nothing_is_awaited() {
    let mut ledger = Ledger::new(0);
    let mut ids = IdTable::default();
    let ticket = ledger.open(head(0), Tick(0), Need::None);
    for id in 0..32_768 {
        ids.insert(id, ticket);
    }
    assert_eq!(ids.pages_made(), 512);
    for id in 0..32_768 {
        assert_eq!(ids.take(id), Some(ticket));
        assert_eq!(ids.pages_made(), if id < 32_767 { 512 } else { 8 });
    }
    for id in 0..32_768 {
        // One after the other, round all ids.
        ids.insert(id, ticket);
        assert_eq!(ids.take(id), Some(ticket));
        assert!(ids.pages_made() <= 8, "{}", ids.pages_made());
    }
    ids.insert(5, ticket);
    assert_eq!(ids.take(5), Some(ticket));
}

#[test]
fn a_chunk_goes_back_when_its_last_owner_is_gone() {
    let pool = Pool::new();
    let mut chunk = pool.take();
    assert!(chunk.bytes_mut().is_some());
    let pin = chunk.pin();
    assert!(chunk.bytes_mut().is_none() && chunk.is_pinned());
    drop(chunk);
    assert_eq!((pool.taken(), pool.pooled()), (1, 0));
    drop(pin);
    assert_eq!((pool.taken(), pool.pooled()), (0, 1));
    drop((pool.own(vec![1; 5]), pool.take_large(CHUNK_BYTES * 2)));
    assert_eq!((pool.taken(), pool.pooled()), (0, 1), "what is not a pooled chunk is not kept");
}

#[test]
fn an_idle_inlet_owns_nothing_and_a_pinned_chunk_is_not_written() {
    let pool = Pool::new();
    let mut inlet = Inlet::new(&pool);
    let mut stream = script(&[b"abc", b"def"], &[]);
    with_cx(|cx| {
        assert!(matches!(inlet.poll_fill(cx, &mut stream), Poll::Ready(Ok(Filled::Bytes(3)))));
        let pin = inlet.place().map(|(chunk, _)| chunk.pin());
        inlet.consume(1);
        assert!(matches!(inlet.poll_fill(cx, &mut stream), Poll::Ready(Ok(Filled::Bytes(3)))));
        assert_eq!(inlet.bytes(), b"bcdef");
        assert_eq!(&pin.as_ref().map(|pin| pin.bytes()[..3].to_vec()), &Some(b"abc".to_vec()));
        assert_eq!(pool.copied_bytes(), 2, "only what was left is moved");
        inlet.consume(5);
        assert!(inlet.poll_fill(cx, &mut stream).is_pending());
    });
    assert_eq!(pool.taken(), 0);
}

#[test]
fn a_short_write_keeps_its_rest_in_front_of_what_follows() {
    let pool = Pool::new();
    let chunk = pool.own(b"0123456789".to_vec());
    let mut stream = script(&[], &[3]);
    let mut outlet = Outlet::default();
    with_cx(|cx| {
        outlet.send(cx, &mut stream, &chunk, 0..5).unwrap();
        outlet.send(cx, &mut stream, &chunk, 5..10).unwrap();
        assert_eq!((outlet.queued_bytes(), &*stream.written), (7, b"012".as_slice()));
        stream.takes = vec![100, 1];
        assert!(outlet.poll_flush(cx, &mut stream).is_ready());
    });
    assert_eq!(stream.written, b"0123456789");
    drop(chunk);
    assert_eq!(pool.taken(), 0);
}

#[test]
fn what_waits_can_be_cut_off_at_any_byte() {
    let pool = Pool::new();
    let chunk = pool.own(b"0123456789".to_vec());
    for kept in 0..12 {
        let mut stream = script(&[], &[100]);
        let mut outlet = Outlet::default();
        for range in [0..4, 4..5, 5..10] {
            outlet.push(Piece { chunk: chunk.pin(), range });
        }
        outlet.truncate(kept);
        assert_eq!(outlet.queued_bytes(), kept.min(10));
        assert_eq!(outlet.is_empty(), kept == 0);
        with_cx(|cx| assert!(outlet.poll_flush(cx, &mut stream).is_ready()));
        assert_eq!(stream.written, b"0123456789"[..kept.min(10)]);
    }
}

#[test]
fn what_waits_counts_with_its_place_and_the_room_of_a_burst_is_given_back() {
    let pool = Pool::new();
    let chunk = pool.own(vec![b'x'; 9]);
    let mut stream = script(&[], &[]);
    let mut outlet = Outlet::default();
    for _ in 0..5000 {
        outlet.push(Piece { chunk: chunk.pin(), range: 0..9 });
    }
    assert_eq!((outlet.queued_bytes(), outlet.memory()), (45_000, 545_000));
    assert!(outlet.capacity() >= 5000);
    stream.takes = vec![1 << 20; 200];
    with_cx(|cx| assert!(outlet.poll_flush(cx, &mut stream).is_ready()));
    assert_eq!((outlet.queued_bytes(), outlet.memory()), (0, 0));
    assert!(outlet.capacity() <= REQUESTS_KEPT, "{}", outlet.capacity());
}

/// What framing says of a frame with a body of so many bytes, when the inlet holds `here` bytes of it.
fn cut(body_bytes: u32, here: usize, need: Need) -> (usize, After) {
    let mut bytes = vec![4, 0, 0, 1, 7];
    bytes.extend(body_bytes.to_be_bytes());
    bytes.resize(here, 0);
    let mut inlet = Inlet::new(&Pool::new());
    let mut stream = script(&[&bytes], &[]);
    with_cx(|cx| {
        while inlet.bytes().len() < here {
            inlet.make_room(body_bytes as usize + 9);
            assert!(matches!(inlet.poll_fill(cx, &mut stream), Poll::Ready(Ok(Filled::Bytes(_)))));
        }
    });
    let framing = Framing { protocol: Protocol::Cql, side: Side::Request, frame_bytes_max: u32::MAX };
    let mut messages = Vec::new();
    let (_, after) = framing.cut(&inlet, |_| need, &mut messages);
    (messages.len(), after)
}

#[test]
fn a_large_frame_goes_on_as_soon_as_its_need_is_met() {
    let large = 100_000;
    let wait = After::Wait { frame_bytes: large as usize + 9 };
    assert_eq!(cut(large, 9, Need::None), (1, After::Tail { rest: 100_000 }));
    assert_eq!(cut(large, 5000, Need::Head), (0, wait));
    assert_eq!(cut(large, CHUNK_BYTES, Need::Head), (1, After::Tail { rest: 100_009 - CHUNK_BYTES as u64 }));
    assert_eq!(cut(large, 90_000, Need::Whole), (0, wait));
    assert_eq!(cut(large, 100_009, Need::Whole), (1, After::Nothing));
    let largest = u32::try_from(WHOLE_BYTES_MAX).unwrap();
    assert!(matches!(cut(largest, 100, Need::Whole), (0, After::TooLarge(_))));
    assert!(matches!(cut(largest, 100, Need::None), (1, After::Tail { .. })));
}

#[test]
fn a_small_frame_waits_for_its_end_and_a_run_is_bounded() {
    assert_eq!(cut(100, 50, Need::None), (0, After::Wait { frame_bytes: 109 }));
    assert_eq!(cut(100, 5, Need::None), (0, After::Wait { frame_bytes: 0 }));
    let frame = [4, 0, 0, 1, 7, 0, 0, 0, 0].repeat(300);
    let mut inlet = Inlet::new(&Pool::new());
    let mut stream = script(&[&frame], &[]);
    with_cx(|cx| assert!(inlet.poll_fill(cx, &mut stream).is_ready()));
    let framing = Framing { protocol: Protocol::Cql, side: Side::Request, frame_bytes_max: 100 };
    let mut messages = Vec::new();
    assert_eq!(framing.cut(&inlet, |_| Need::None, &mut messages), (128 * 9, After::More));
    assert_eq!(messages.len(), 128);
}

/// Which part of a chain fails; each is a transform, a sink or an exit of the chain that is tried.
#[derive(Clone, Copy, PartialEq)]
enum Fails {
    Requests,
    Responses,
    Sink,
    Exit,
}

impl Fails {
    fn when(self, here: Self) -> Result<(), Fault> {
        if self == here { Err(Fault::new("broken")) } else { Ok(()) }
    }
}

struct Above(Fails);

impl Builder for Above {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Self(self.0))
    }
}

impl WorkerPart for Above {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Self(self.0)))
    }
}

impl Transform for Above {
    fn requests(&mut self, _: &mut Cx<'_, '_>, _: &mut Batch<'_>) -> Result<(), Fault> {
        self.0.when(Fails::Requests)
    }
    fn responses(&mut self, _: &mut Cx<'_, '_>, _: &mut Batch<'_>) -> Result<(), Fault> {
        self.0.when(Fails::Responses)
    }
}

/// A sink that answers when it is polled.
struct Below(Fails, Vec<Ticket>);

impl Builder for Below {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Self(self.0, Vec::new()))
    }
}

impl WorkerPart for Below {
    fn client(&self) -> Link {
        Link::Sink(Box::new(Self(self.0, Vec::new())))
    }
}

impl Sink for Below {
    fn submit(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|leaving, _| {
            self.1.push(leaving.ticket);
            Ok(())
        })
    }
    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        self.0.when(Fails::Sink)?;
        for ticket in self.1.drain(..) {
            up.answer_error(cx, ticket, ErrorKind::Server, "no")?;
        }
        Ok(Progress::Idle)
    }
}

struct Out(Fails);

impl Exit for Out {
    fn is_ready(&self) -> bool {
        true
    }
    fn deliver(&mut self, _: &mut Cx<'_, '_>, _: &mut Batch<'_>) -> Result<(), Fault> {
        self.0.when(Fails::Exit)
    }
    fn looks(&self) -> bool {
        true
    }
    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, _: &Chunk, _: Range<usize>) -> Result<(), Fault> {
        self.0.when(Fails::Exit)
    }
}

/// Reaches no server, and runs nothing.
pub(crate) struct Nobody;

impl Connector for Nobody {
    fn connect(&self, _: &str) -> Connecting {
        Box::pin(std::future::pending())
    }
}

impl Spawner for Nobody {
    fn spawn(&self, _: Box<dyn Task>) {}
}

fn worker() -> WorkerCx {
    WorkerCx::alone(Protocol::Cql, Rc::new(Nobody), Rc::new(Nobody))
}

/// Takes what leaves a chain in a chain.
struct Taking;

impl SubExit for Taking {
    fn deliver(&mut self, _: &mut Cx<'_, '_>, _: &mut Replies<'_, '_>) -> Result<(), Fault> {
        Ok(())
    }
    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, _: &Chunk, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn a_chain_in_a_chain_gives_the_room_of_a_burst_back() {
    let (worker, below) = (worker(), Below(Fails::Exit, Vec::new()));
    let part = ChainPart::new("c", &worker, [("Below", "b", &below as &dyn Builder)], None);
    let mut chain = SubChain::new(&part).unwrap();
    with_cx(|cx| {
        let (chunk, mut run) = (worker.pool.own(vec![4, 0, 0, 1, 7, 0, 0, 0, 0]), Run::default());
        for _ in 0..IN_FLIGHT_MAX {
            let origin = Origin { ticket: Ticket::NONE, key: 0 };
            run.push(Message::new(head(1), 0, 9), origin, Need::None);
        }
        chain.submit(cx, &chunk, run).unwrap();
        assert!(chain.capacity() >= IN_FLIGHT_MAX);
        chain.poll(cx, &mut Taking).unwrap();
    });
    assert_eq!(chain.in_flight(), 0);
    assert!(chain.capacity() <= REQUESTS_KEPT, "its ledger's, too");
}

/// The fault of one request through a chain in which `fails` fails, and what was counted: failures of the chain, of the
/// transform and of the sink.
fn blamed(fails: Fails) -> (String, [u64; 3]) {
    let kinds = ["Above", "Below"];
    let entry = ChainEntry {
        name: "c".to_owned(),
        transforms: kinds.map(str::to_owned).to_vec(),
        reaches_servers: false,
        shares_connections: false,
    };
    let metrics = WorkerMetrics::new(&Catalog { sources: Vec::new(), chains: vec![entry] });
    let counted = metrics.chain(0).unwrap();
    let worker = worker();
    let (above, below) = (Above(fails), Below(fails, Vec::new()));
    let entries: [(&str, &str, &dyn Builder); 2] = [(kinds[0], "a", &above), (kinds[1], "b", &below)];
    let part = ChainPart::new("c", &worker, entries, Some(Rc::clone(counted)));
    let mut chain = part.client().unwrap();
    let fault = with_cx(|cx| {
        let chunk = worker.pool.own(vec![4, 0, 0, 1, 7, 0, 0, 0, 0]);
        let submitted = chain.submit(cx, &chunk, vec![Message::new(head(1), 0, 9)]);
        submitted.and_then(|_| chain.poll(cx, &mut Out(fails)).map(drop)).unwrap_err()
    });
    let of_layer = |layer: usize| counted.transforms[layer].failures.get();
    (fault.to_string(), [counted.failures.get(), of_layer(0), of_layer(1)])
}

#[test]
fn a_fault_is_counted_and_named_once_where_it_arose() {
    let named = |place: &str| format!("Transform {place} failed in chain c\n\nCaused by:\n    broken");
    assert_eq!(blamed(Fails::Requests), (named("Above named a"), [1, 1, 0]));
    assert_eq!(blamed(Fails::Responses), (named("Above named a"), [1, 1, 0]));
    assert_eq!(blamed(Fails::Sink), (named("Below named b"), [1, 0, 1]));
    assert_eq!(blamed(Fails::Exit), ("broken".to_owned(), [0, 0, 0]));
}
