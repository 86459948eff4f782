//! A connection in memory: two directions, each with little room, cut at random places, with ends and resets.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use chain::{Connecting, Stream};

use crate::random::Random;

/// One direction.
#[derive(Default)]
struct Direction {
    bytes: BytesMut,
    ended: bool,
}

struct Wires {
    /// Toward the proxy, and from it.
    inward: Direction,
    outward: Direction,
    reset: bool,
    room: usize,
    random: Random,
    moved: u64,
    cuts: [u64; 4],
}

/// What a connection does to the bytes on it; a run counts how often each happened.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    ShortWrite,
    WritePutOff,
    SplitRead,
    SplitSend,
}

/// All of it.
pub const CUTS: [Cut; 4] = [Cut::ShortWrite, Cut::WritePutOff, Cut::SplitRead, Cut::SplitSend];

/// Adds what happened on one connection.
pub fn note_cuts(known: &mut [u64; 4], more: [u64; 4]) {
    known.iter_mut().zip(more).for_each(|(known, more)| *known += more);
}

impl Wires {
    fn note(&mut self, cut: Cut) {
        self.cuts[cut as usize] += 1;
    }
}

/// One end that the proxy holds, and what the peer on the other end does with it.
#[derive(Clone)]
pub struct Pipe(Rc<RefCell<Wires>>);

impl Pipe {
    /// A connection that cuts and delays as `random` says.
    /// `message_max`: the longest message; it gets through in a few hundred rounds, or it would take for ever.
    pub fn new(mut random: Random, message_max: usize) -> Self {
        let room = 1 + message_max / 512 + random.size(256 * 1024);
        Self(Rc::new(RefCell::new(Wires {
            inward: Direction::default(),
            outward: Direction::default(),
            reset: false,
            room,
            random,
            moved: 0,
            cuts: [0; 4],
        })))
    }

    /// The peer sends as much as there is room for; what it took is the answer.
    pub fn peer_send(&self, bytes: &[u8]) -> usize {
        let wires = &mut *self.0.borrow_mut();
        if wires.reset || wires.inward.ended {
            return bytes.len();
        }
        let room = wires.room.saturating_sub(wires.inward.bytes.len());
        let count = bytes.len().min(room);
        let count = if wires.random.once_in(3) { wires.random.size(count.max(1)).min(count) } else { count };
        if count < bytes.len() {
            wires.note(Cut::SplitSend);
        }
        wires.inward.bytes.extend_from_slice(&bytes[..count]);
        wires.moved += count as u64;
        count
    }

    /// The peer reads all there is.
    pub fn peer_receive(&self, into: &mut BytesMut) {
        let wires = &mut *self.0.borrow_mut();
        wires.moved += wires.outward.bytes.len() as u64;
        into.extend_from_slice(&wires.outward.bytes);
        wires.outward.bytes.clear();
    }

    /// The peer ends its sending side.
    pub fn peer_end(&self) {
        let wires = &mut *self.0.borrow_mut();
        wires.moved += u64::from(!wires.inward.ended);
        wires.inward.ended = true;
    }

    /// The peer resets the connection: what is under way is lost.
    pub fn peer_reset(&self) {
        let wires = &mut *self.0.borrow_mut();
        wires.moved += 1;
        wires.reset = true;
        wires.inward.bytes.clear();
        wires.outward.bytes.clear();
    }

    /// True when the proxy has ended this connection, or lost it.
    pub fn is_over(&self) -> bool {
        let wires = self.0.borrow();
        wires.reset || wires.outward.ended
    }

    /// Counts everything that happened here: a world in which no count moves is stuck.
    pub fn moved(&self) -> u64 {
        self.0.borrow().moved
    }

    /// How often it did what to its bytes, in the order of `CUTS`.
    pub fn cuts(&self) -> [u64; 4] {
        self.0.borrow().cuts
    }

    /// True while something waits for the peer to read it.
    pub fn has_unread(&self) -> bool {
        !self.0.borrow().outward.bytes.is_empty()
    }

    /// What a connector answers: the proxy's end, at the poll of this number.
    pub fn connecting(self, mut delay: usize) -> Connecting {
        Box::pin(std::future::poll_fn(move |_| {
            // The clock must not jump to the end of its patience.
            self.0.borrow_mut().moved += 1;
            delay = delay.saturating_sub(1);
            if delay > 0 {
                return Poll::Pending;
            }
            Poll::Ready(Ok(Box::new(self.stream()) as Box<dyn Stream>))
        }))
    }

    /// The end that the proxy holds.
    pub fn stream(&self) -> PipeStream {
        PipeStream(self.clone())
    }
}

/// The proxy's end. Dropping it closes the connection.
pub struct PipeStream(Pipe);

impl Drop for PipeStream {
    fn drop(&mut self) {
        let wires = &mut *self.0.0.borrow_mut();
        // As the kernel does: closing a socket with unread bytes resets it.
        if !wires.inward.bytes.is_empty() {
            wires.reset = true;
            wires.outward.bytes.clear();
        }
        wires.outward.ended = true;
        wires.moved += 1;
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Stream for PipeStream {
    fn poll_read(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let wires = &mut *self.0.0.borrow_mut();
        assert!(!into.is_empty(), "a read into no room");
        if wires.reset {
            return Poll::Ready(Err(gone()));
        }
        if wires.inward.bytes.is_empty() {
            return if wires.inward.ended { Poll::Ready(Ok(0)) } else { Poll::Pending };
        }
        let most = into.len().min(wires.inward.bytes.len());
        let count = if wires.random.once_in(3) { 1 + wires.random.size(most).min(most - 1) } else { most };
        if count < most {
            wires.note(Cut::SplitRead);
        }
        wires.inward.bytes.copy_to_slice(&mut into[..count]);
        wires.moved += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(task, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        &mut self,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wires = &mut *self.0.0.borrow_mut();
        if wires.reset || wires.outward.ended {
            return Poll::Ready(Err(gone()));
        }
        let all = slices.iter().map(|slice| slice.len()).sum();
        let room = wires.room.saturating_sub(wires.outward.bytes.len()).min(all);
        if room == 0 {
            return Poll::Pending;
        }
        if wires.random.once_in(8) {
            // Put off by chance, not for want of room: the world is not stuck.
            wires.moved += 1;
            wires.note(Cut::WritePutOff);
            return Poll::Pending;
        }
        let count = if wires.random.once_in(3) { 1 + wires.random.size(room).min(room - 1) } else { room };
        if count < all {
            wires.note(Cut::ShortWrite);
        }
        let mut left = count;
        for slice in slices {
            let taken = left.min(slice.len());
            wires.outward.bytes.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        wires.moved += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wires = &mut *self.0.0.borrow_mut();
        wires.outward.ended = true;
        wires.moved += 1;
        Poll::Ready(Ok(()))
    }
}
