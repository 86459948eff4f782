//! A connection in memory: two directions, each with little room, cut at random places, with ends and resets.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use chain::{Connecting, Stream};

use crate::random::Random;
use crate::readiness::{READ_CLOSED, READABLE, Readiness, WRITABLE};

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
    /// The proxy has closed its end, or nobody is to connect it any more.
    is_closed: bool,
    /// Looks at it until it is connected.
    connects_in: usize,
    readiness: Readiness,
    room: usize,
    random: Random,
    moved: u64,
    /// Bytes that the proxy has read, and written.
    read: u64,
    written: u64,
    mark: Option<Mark>,
    cuts: [u64; 4],
}

/// A place in what the proxy reads.
#[derive(Clone, Copy)]
struct Mark {
    at: u64,
    /// What the proxy had written when it had read so far.
    written: Option<u64>,
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

/// Rounds of the longest message in worlds that are there for how bytes are cut.
pub const MANY_ROUNDS: usize = 512;

/// And in those that are there for what chains do: in the time of one run with many rounds there are two with few.
pub const FEW_ROUNDS: usize = 64;

/// Adds what happened on one connection.
pub fn note_cuts(known: &mut [u64; 4], more: [u64; 4]) {
    known.iter_mut().zip(more).for_each(|(known, more)| *known += more);
}

impl Wires {
    fn note(&mut self, cut: Cut) {
        self.cuts[cut as usize] += 1;
    }

    /// What a worker is told of this socket when it looks. What it knows already is no event.
    fn look(&mut self) {
        if self.connects_in > 0 {
            self.connects_in -= 1;
            // The clock must not jump to the end of the proxy's patience.
            self.moved += 1;
            return;
        }
        let mut readiness = 0;
        if !self.inward.bytes.is_empty() {
            readiness |= READABLE;
        }
        if self.outward.bytes.len() < self.room {
            readiness |= WRITABLE;
        }
        if self.inward.ended {
            readiness |= READABLE | READ_CLOSED;
        }
        if self.reset {
            readiness |= READABLE | READ_CLOSED | WRITABLE;
        }
        self.moved += u64::from(self.readiness.happened(readiness));
    }
}

/// All sockets of a worker.
#[derive(Clone, Default)]
pub struct Sockets(Rc<RefCell<Vec<Weak<RefCell<Wires>>>>>);

impl Sockets {
    /// A connection that cuts and delays as `random` says.
    /// `message_max`: the longest message; it gets through in so many rounds, or it would take for ever.
    pub fn pipe(&self, mut random: Random, message_max: usize, rounds: usize) -> Pipe {
        let room = 1 + message_max / rounds + random.size(256 * 1024);
        let pipe = Pipe(Rc::new(RefCell::new(Wires {
            inward: Direction::default(),
            outward: Direction::default(),
            reset: false,
            is_closed: false,
            connects_in: 0,
            readiness: Readiness::default(),
            room,
            random,
            moved: 0,
            read: 0,
            written: 0,
            mark: None,
            cuts: [0; 4],
        })));
        self.0.borrow_mut().push(Rc::downgrade(&pipe.0));
        pipe
    }

    /// What has happened since the last look wakes those who wait for it.
    pub fn look(&self) {
        self.0.borrow_mut().retain(|wires| {
            let Some(wires) = wires.upgrade() else { return false };
            let wires = &mut *wires.borrow_mut();
            if !wires.is_closed {
                wires.look();
            }
            !wires.is_closed
        });
    }
}

/// One end that the proxy holds, and what the peer on the other end does with it.
#[derive(Clone)]
pub struct Pipe(Rc<RefCell<Wires>>);

impl Pipe {
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

    /// Marks the place behind what the peer has sent and these bytes that it is about to send.
    pub fn mark(&self, unsent: usize) {
        let wires = &mut *self.0.borrow_mut();
        let at = wires.read + (wires.inward.bytes.len() + unsent) as u64;
        wires.mark.get_or_insert(Mark { at, written: None });
    }

    /// How many bytes the proxy had written when it read what is before the mark; `None`: it has not read all of that.
    pub fn written_before_mark(&self) -> Option<u64> {
        self.0.borrow().mark.and_then(|mark| mark.written)
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

    /// What waits on it, for the report of a run that went wrong.
    pub fn describe(&self) -> String {
        let wires = self.0.borrow();
        let (inward, outward) = (wires.inward.bytes.len(), wires.outward.bytes.len());
        format!("{inward} B for the proxy, {outward} B of {} from it, {:?}", wires.room, wires.readiness)
    }

    /// How often it did what to its bytes, in the order of `CUTS`.
    pub fn cuts(&self) -> [u64; 4] {
        self.0.borrow().cuts
    }

    /// True while something waits for the peer to read it.
    pub fn has_unread(&self) -> bool {
        !self.0.borrow().outward.bytes.is_empty()
    }

    /// What a connector answers: the proxy's end, after so many looks at its socket.
    pub fn connecting(self, looks: usize) -> Connecting {
        self.0.borrow_mut().connects_in = looks;
        let attempt = self.stream();
        let mut attempt = Some(attempt);
        Box::pin(std::future::poll_fn(move |task| {
            if let Some(stream) = &attempt {
                ready!(stream.poll_connected(task))?;
            }
            let stream = attempt.take().ok_or(io::ErrorKind::NotConnected)?;
            Poll::Ready(Ok(Box::new(stream) as Box<dyn Stream>))
        }))
    }

    /// What a connector answers where nobody listens: an error, after so many looks.
    pub fn refusing(self, looks: usize) -> Connecting {
        self.0.borrow_mut().reset = true;
        self.connecting(looks)
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
        wires.is_closed = true;
        wires.moved += 1;
    }
}

impl PipeStream {
    fn poll_connected(&self, task: &Context<'_>) -> Poll<io::Result<()>> {
        let wires = &mut *self.0.0.borrow_mut();
        ready!(wires.readiness.poll(WRITABLE, task));
        Poll::Ready(if wires.reset { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) })
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Stream for PipeStream {
    fn poll_readable(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.0.borrow_mut().readiness.poll(READABLE, task).map(Ok)
    }

    fn poll_read(&mut self, task: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let wires = &mut *self.0.0.borrow_mut();
        assert!(!into.is_empty(), "a read into no room");
        ready!(wires.readiness.poll(READABLE, task));
        if wires.reset {
            return Poll::Ready(Err(gone()));
        }
        if wires.inward.bytes.is_empty() {
            if wires.inward.ended {
                return Poll::Ready(Ok(0));
            }
            wires.readiness.clear(READABLE);
            return wires.readiness.poll(READABLE, task).map(|()| Ok(0));
        }
        let most = into.len().min(wires.inward.bytes.len());
        let count = if wires.random.once_in(3) { 1 + wires.random.size(most).min(most - 1) } else { most };
        if count < most {
            wires.note(Cut::SplitRead);
        }
        wires.inward.bytes.copy_to_slice(&mut into[..count]);
        if count < into.len() {
            // What is cut off comes as if it had come after this read, with an event.
            wires.readiness.clear_drained();
        }
        wires.moved += count as u64;
        wires.read += count as u64;
        if let Some(mark) = wires.mark.as_mut().filter(|mark| mark.at <= wires.read) {
            mark.written.get_or_insert(wires.written);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(task, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        &mut self,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wires = &mut *self.0.0.borrow_mut();
        ready!(wires.readiness.poll(WRITABLE, task));
        if wires.reset || wires.outward.ended {
            return Poll::Ready(Err(gone()));
        }
        let all = slices.iter().map(|slice| slice.len()).sum();
        let room = wires.room.saturating_sub(wires.outward.bytes.len()).min(all);
        let is_put_off = room > 0 && wires.random.once_in(8);
        if room == 0 || is_put_off {
            if is_put_off {
                // Put off by chance, not for want of room: the world is not stuck.
                wires.moved += 1;
                wires.note(Cut::WritePutOff);
            }
            wires.readiness.clear(WRITABLE);
            return wires.readiness.poll(WRITABLE, task).map(|()| Ok(0));
        }
        let count = if wires.random.once_in(3) { 1 + wires.random.size(room).min(room - 1) } else { room };
        if count < all {
            wires.note(Cut::ShortWrite);
            wires.readiness.clear(WRITABLE);
        }
        let mut left = count;
        for slice in slices {
            let taken = left.min(slice.len());
            wires.outward.bytes.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        wires.moved += count as u64;
        wires.written += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wires = &mut *self.0.0.borrow_mut();
        wires.outward.ended = true;
        wires.moved += 1;
        Poll::Ready(Ok(()))
    }
}
