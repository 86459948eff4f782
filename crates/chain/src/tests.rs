//! The parts by themselves: ledger, ids, chunks, inlet, outlet.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};

use wire::{Head, Protocol, Side};

use crate::{
    After, CHUNK_BYTES, Cx, Filled, Framing, IdTable, Inlet, Ledger, Need, Outlet, Pool, Stream, Tick,
    Ticket, WHOLE_BYTES_MAX,
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
fn open_tickets_are_in_the_order_of_the_requests() {
    let mut ledger = Ledger::new(0);
    let tickets: Vec<Ticket> = (0..5).map(|id| ledger.open(head(id), Tick(0), Need::None)).collect();
    ledger.close(tickets[1]);
    let late = ledger.open(head(9), Tick(0), Need::None);
    assert_eq!(ledger.open_tickets(), [tickets[0], tickets[2], tickets[3], tickets[4], late]);
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
