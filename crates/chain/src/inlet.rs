//! The receiving end of a stream: a chunk, what of it is filled, and what of that is still to be framed.

use std::io;
use std::ops::Range;
use std::task::{Poll, ready};

use crate::chunk::{CHUNK_BYTES, Chunk, Pool};
use crate::stream::{Cx, Stream};

/// Received bytes that wait to be framed. Owns no chunk while it holds none.
pub struct Inlet {
    pool: Pool,
    chunk: Option<Chunk>,
    /// `start <= end <= chunk.len()`; both 0 when there is no chunk.
    start: usize,
    end: usize,
}

/// What one fill did.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes came.
    Bytes(usize),
    /// The other side has ended its sending side.
    End,
}

impl Inlet {
    /// An inlet over `pool`, with nothing in it.
    #[must_use]
    pub fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone(), chunk: None, start: 0, end: 0 }
    }

    /// Reads once. An unused chunk goes back at once when nothing came.
    ///
    /// # Errors
    /// What the stream said.
    pub fn poll_fill(
        &mut self,
        cx: &mut Cx<'_, '_>,
        stream: &mut (impl Stream + ?Sized),
    ) -> Poll<io::Result<Filled>> {
        if self.chunk.is_none() {
            ready!(stream.poll_readable(cx.task))?;
        }
        let mut chunk = self.chunk_with_room();
        let end = self.end;
        let room = chunk.bytes_mut().and_then(|bytes| bytes.get_mut(end..)).unwrap_or_default();
        let result = stream.poll_read(cx.task, room);
        if self.start == self.end && !matches!(result, Poll::Ready(Ok(1..))) {
            self.start = 0;
            self.end = 0;
        } else {
            self.chunk = Some(chunk);
        }
        result.map_ok(|count| {
            self.end += count;
            if count == 0 { Filled::End } else { Filled::Bytes(count) }
        })
    }

    /// The bytes still to be framed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.chunk.as_ref().and_then(|chunk| chunk.bytes().get(self.start..self.end)).unwrap_or_default()
    }

    /// Sees to it that nobody else holds the chunk. Copies what is in it if somebody does.
    pub fn make_own(&mut self) {
        if let Some(chunk) = self.chunk.as_ref().filter(|chunk| chunk.is_pinned()) {
            self.move_to_front(chunk.bytes().len());
        }
    }

    /// Bytes of the chunk, to write into; `None` while somebody holds a pin on it.
    pub fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        self.chunk.as_mut()?.bytes_mut()?.get_mut(range)
    }

    /// Where those bytes are: the chunk and the range in it.
    #[must_use]
    pub fn place(&self) -> Option<(&Chunk, Range<usize>)> {
        self.chunk.as_ref().map(|chunk| (chunk, self.start..self.end))
    }

    /// True when nothing waits to be framed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True when a frame that begins at the first byte could get no more bytes without being moved.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.chunk.as_ref().is_some_and(|chunk| self.start == 0 && self.end == chunk.bytes().len())
    }

    /// Forgets the first `count` bytes; the chunk goes back (or to those who pinned it) when none is left.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.chunk = None;
            self.start = 0;
            self.end = 0;
        }
    }

    /// Makes room for a frame of `frame_bytes` that begins at the first byte. A chunk grows by doubling, and only
    /// when it is full: memory follows bytes received and never a length that was merely declared.
    pub fn make_room(&mut self, frame_bytes: usize) {
        let Some(chunk) = &self.chunk else { return };
        let capacity = chunk.bytes().len();
        if self.start + frame_bytes <= capacity {
            return;
        }
        if frame_bytes <= capacity || (self.end == capacity && self.start > 0) {
            self.move_to_front(capacity);
        } else if self.end == capacity {
            self.move_to_front(frame_bytes.min(capacity * 2));
        }
    }

    /// Takes the chunk out, with room behind `end` and no other owner.
    fn chunk_with_room(&mut self) -> Chunk {
        if self.start == self.end {
            self.chunk = None;
            self.start = 0;
            self.end = 0;
        }
        if let Some(chunk) = &self.chunk {
            let capacity = chunk.bytes().len();
            let is_full = self.end == capacity;
            if is_full || chunk.is_pinned() {
                self.move_to_front(if is_full && self.start == 0 { capacity * 2 } else { capacity });
            }
        }
        self.chunk.take().unwrap_or_else(|| self.pool.take())
    }

    /// Moves the bytes to the front of a chunk of at least `wanted` bytes: the same one if that is possible.
    fn move_to_front(&mut self, wanted: usize) {
        let Some(chunk) = self.chunk.take() else { return };
        let arrived = self.end - self.start;
        let mut fresh = if wanted <= CHUNK_BYTES { self.pool.take() } else { self.pool.take_large(wanted) };
        if let (Some(to), Some(from)) =
            (fresh.bytes_mut().and_then(|to| to.get_mut(..arrived)), chunk.bytes().get(self.start..self.end))
        {
            self.pool.copy(to, from);
        }
        self.chunk = Some(fresh);
        self.start = 0;
        self.end = arrived;
    }
}
