//! The sending end of a stream: bytes leave straight from the chunk they were received in, and only what the
//! socket did not take is pinned until it does.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::task::Poll;

use crate::chunk::{Chunk, Piece};
use crate::ledger::REQUESTS_KEPT;
use crate::message::Outgoing;
use crate::stream::{Cx, Stream};

/// Pieces gathered into one write; more rarely pays (the kernel imports each of them).
const PIECES_PER_WRITE_MAX: usize = 32;

/// Memory that a piece takes beside its bytes: its place in the queue, and a small chunk of its own.
const PIECE_BYTES: usize = 100;

/// What waits to be written to one stream, in order.
#[derive(Default)]
pub struct Outlet {
    queue: VecDeque<Piece>,
    /// The sum of the lengths of all pieces.
    queued_bytes: usize,
}

impl Outlet {
    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Memory that what waits takes, or keeps from being used again.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.queued_bytes + self.queue.len() * PIECE_BYTES
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Puts a range at the end of the queue; it is written by the next flush.
    pub fn push(&mut self, piece: Piece) {
        if piece.range.is_empty() {
            return;
        }
        self.queued_bytes += piece.range.len();
        self.queue.push_back(piece);
    }

    /// Forgets all that waits but the first `kept` bytes.
    pub fn truncate(&mut self, mut kept: usize) {
        self.queued_bytes = self.queued_bytes.min(kept);
        for piece in &mut self.queue {
            piece.range.end = piece.range.end.min(piece.range.start.saturating_add(kept));
            kept -= piece.range.len();
        }
        self.queue.retain(|piece| !piece.range.is_empty());
    }

    /// Writes a range now if nothing waits before it; what the stream does not take is pinned.
    ///
    /// # Errors
    /// What the stream said. A stream that takes 0 bytes of some is an error of its own.
    pub fn send(
        &mut self,
        cx: &mut Cx<'_, '_>,
        stream: &mut (impl Stream + ?Sized),
        chunk: &Chunk,
        mut range: Range<usize>,
    ) -> io::Result<()> {
        if self.queue.is_empty() {
            while let Some(bytes) = chunk.bytes().get(range.clone()).filter(|bytes| !bytes.is_empty()) {
                match stream.poll_write(cx.task, bytes) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => range.start += count.min(bytes.len()),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
        }
        if !range.is_empty() {
            self.push(Piece { chunk: chunk.pin(), range });
        }
        Ok(())
    }

    /// Writes what waits. `Ready` when nothing waits any more.
    ///
    /// # Errors
    /// As [`Outlet::send`].
    pub fn poll_flush(
        &mut self,
        cx: &mut Cx<'_, '_>,
        stream: &mut (impl Stream + ?Sized),
    ) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE_MAX];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(piece.bytes());
                used += 1;
            }
            match stream.poll_write_vectored(cx.task, slices.get(..used).unwrap_or_default()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.queue.capacity() > REQUESTS_KEPT {
            self.give_room_back();
        }
        Poll::Ready(Ok(()))
    }

    /// Gives back what a burst has left behind.
    #[cold]
    fn give_room_back(&mut self) {
        self.queue.shrink_to(REQUESTS_KEPT);
    }

    /// For how many pieces there is room.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Sends one run of a batch: received bytes straight from their chunk, made ones gathered by the next flush.
    ///
    /// # Errors
    /// As [`Outlet::send`].
    pub fn send_outgoing(
        &mut self,
        cx: &mut Cx<'_, '_>,
        stream: &mut (impl Stream + ?Sized),
        outgoing: Outgoing<'_>,
    ) -> io::Result<()> {
        match outgoing {
            Outgoing::Received(chunk, range) => self.send(cx, stream, chunk, range),
            Outgoing::Made(piece) => {
                self.push(piece.pin());
                Ok(())
            }
        }
    }

    /// As [`Outlet::send_outgoing`], for a stream that is not there yet: everything is pinned.
    pub fn push_outgoing(&mut self, outgoing: Outgoing<'_>) {
        match outgoing {
            Outgoing::Received(chunk, range) => self.push(Piece { chunk: chunk.pin(), range }),
            Outgoing::Made(piece) => self.push(piece.pin()),
        }
    }

    fn advance(&mut self, mut count: usize) {
        self.queued_bytes = self.queued_bytes.saturating_sub(count);
        while let Some(piece) = self.queue.front_mut() {
            let length = piece.range.len();
            if count < length {
                piece.range.start += count;
                return;
            }
            count -= length;
            self.queue.pop_front();
        }
    }
}
