//! The worker's pool of chunks, pins on them, and the one helper that copies bytes.
//!
//! A chunk is `CHUNK_BYTES` of memory that a socket is read into. Whoever clones a [`Chunk`] pins it:
//! the bytes stay as they are until the last owner is gone, and then the memory goes back to its pool.
//! Only the sole owner can write into a chunk. Reference counts are not atomic: a chunk never leaves its worker.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use crate::message::Message;
use crate::view::Views;

/// Bytes of a pooled chunk. Large enough that a read of many small frames is one system call,
/// small enough that a busy client costs little; HAProxy's default is 16 KiB.
pub const CHUNK_BYTES: usize = 32 * 1024;

/// Messages up to this long are copied when they must outlive their run; a longer one pins its chunk. A pin keeps
/// all of a chunk from being used again.
const COPIED_BYTES_MAX: usize = 4096;

/// Free chunks a worker keeps (2 MiB); what comes back beyond that is returned to the allocator.
const FREE_CHUNKS_MAX: usize = 64;

/// Free message lists a worker keeps: one a level of nested chains is in use at a time.
const FREE_LISTS_MAX: usize = 8;

#[derive(Default)]
struct Shelf {
    /// The chunk that came back last, still in the processor's cache: nearly every take is served from here.
    spare: Cell<Option<Rc<[u8]>>>,
    free: RefCell<Vec<Rc<[u8]>>>,
    /// As `spare`, for lists.
    spare_list: Cell<Vec<Message>>,
    lists: RefCell<Vec<Vec<Message>>>,
    /// One that the last run had.
    views: Cell<Option<Box<Views>>>,
    taken: Cell<usize>,
    copied_bytes: Cell<u64>,
}

/// A worker's pool of chunks. Cloning it is one more handle on the same pool.
#[derive(Clone, Default)]
pub struct Pool {
    shelf: Rc<Shelf>,
}

impl Pool {
    /// An empty pool; chunks are made when they are first asked for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A chunk of `CHUNK_BYTES`, with whatever bytes its last user left in it.
    #[must_use]
    pub fn take(&self) -> Chunk {
        let bytes = self.shelf.spare.take().unwrap_or_else(|| self.shelf.take_free());
        self.hold(bytes)
    }

    /// A chunk of at least `bytes`, outside the pool, for a message that must be assembled.
    #[must_use]
    pub fn take_large(&self, bytes: usize) -> Chunk {
        self.hold(zeroed(bytes))
    }

    /// A chunk that holds exactly `bytes`; for replies and requests made here. They are moved to memory that can have
    /// several owners, which is not counted: passing a message on makes none.
    #[must_use]
    pub fn own(&self, bytes: Vec<u8>) -> Chunk {
        self.hold(Rc::from(bytes)) // copy: of what was made here
    }

    fn hold(&self, bytes: Rc<[u8]>) -> Chunk {
        self.shelf.taken.set(self.shelf.taken.get() + 1);
        Chunk { bytes: Some(bytes), shelf: Rc::clone(&self.shelf) }
    }

    /// A range of a chunk to be kept for longer than this run: a copy of a small one, a pin of a large one.
    #[must_use]
    pub fn keep(&self, chunk: &Chunk, range: Range<usize>) -> Piece {
        if range.len() > COPIED_BYTES_MAX {
            return Piece { chunk: chunk.pin(), range };
        }
        self.copied(chunk, range)
    }

    /// A copy of a range of a chunk, which holds no more than its bytes.
    #[inline]
    #[must_use]
    pub fn copied(&self, chunk: &Chunk, range: Range<usize>) -> Piece {
        let bytes = chunk.bytes().get(range).unwrap_or_default();
        self.count_copied(bytes.len());
        Piece::whole(self.hold(Rc::from(bytes))) // copy: counted
    }

    /// Chunks now in somebody's hands.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.shelf.taken.get()
    }

    /// Chunks waiting to be used.
    #[must_use]
    pub fn pooled(&self) -> usize {
        let spare = self.shelf.spare.take();
        let count = self.shelf.free.borrow().len() + usize::from(spare.is_some());
        self.shelf.spare.set(spare);
        count
    }

    /// Bytes of messages copied in user space since the worker started: every copy of what passes is counted here.
    #[must_use]
    pub fn copied_bytes(&self) -> u64 {
        self.shelf.copied_bytes.get()
    }

    /// The one place where the data path copies payload bytes; [`Pool::keep`] besides.
    pub fn copy(&self, to: &mut [u8], from: &[u8]) {
        self.count_copied(from.len());
        to.copy_from_slice(from);
    }

    fn count_copied(&self, bytes: usize) {
        self.shelf.copied_bytes.set(self.shelf.copied_bytes.get() + bytes as u64);
    }

    /// An empty list for the messages of a run; [`Pool::give_list`] takes it back.
    #[must_use]
    pub fn take_list(&self) -> Vec<Message> {
        let list = self.shelf.spare_list.take();
        if list.capacity() > 0 { list } else { self.shelf.lists.borrow_mut().pop().unwrap_or_default() }
    }

    /// Takes a list back, and with it what its messages hold.
    pub fn give_list(&self, mut list: Vec<Message>) {
        list.clear();
        let list = self.shelf.spare_list.replace(list);
        if list.capacity() == 0 {
            return;
        }
        let mut lists = self.shelf.lists.borrow_mut();
        if lists.len() < FREE_LISTS_MAX {
            lists.push(list);
        }
    }

    /// Views of a run; [`Pool::give_views`] takes them back.
    pub(crate) fn take_views(&self) -> Box<Views> {
        self.shelf.views.take().unwrap_or_default()
    }

    /// Takes views back, emptied.
    pub(crate) fn give_views(&self, mut views: Box<Views>) {
        if views.clear() {
            self.shelf.views.set(Some(views));
        }
    }
}

impl Shelf {
    #[cold]
    fn take_free(&self) -> Rc<[u8]> {
        self.free.borrow_mut().pop().unwrap_or_else(|| zeroed(CHUNK_BYTES))
    }

    /// Keeps a chunk that nobody holds any more, unless there are enough.
    fn keep_free(&self, bytes: Rc<[u8]>) {
        if let Some(bytes) = self.spare.replace(Some(bytes)) {
            let mut free = self.free.borrow_mut();
            if free.len() < FREE_CHUNKS_MAX {
                free.push(bytes);
            }
        }
    }
}

fn zeroed(bytes: usize) -> Rc<[u8]> {
    std::iter::repeat_n(0, bytes).collect()
}

/// Memory with one or more owners; see the module's text.
pub struct Chunk {
    /// `None` only while being dropped.
    bytes: Option<Rc<[u8]>>,
    shelf: Rc<Shelf>,
}

impl Chunk {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }

    /// The bytes to write into, if nobody else holds this chunk.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.bytes.as_mut().and_then(Rc::get_mut)
    }

    /// True when a pin elsewhere keeps these bytes.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.bytes.as_ref().is_some_and(|bytes| Rc::strong_count(bytes) > 1)
    }

    /// True when both are the same memory.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.bytes, &other.bytes) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// One more owner of the same bytes. Costs two counter increments, no allocation.
    #[must_use]
    pub fn pin(&self) -> Self {
        Self { bytes: self.bytes.as_ref().map(Rc::clone), shelf: Rc::clone(&self.shelf) }
    }
}

/// A range of a chunk, kept by whoever holds this.
pub struct Piece {
    pub(crate) chunk: Chunk,
    pub(crate) range: Range<usize>,
}

impl Piece {
    /// All of a chunk.
    #[must_use]
    pub fn whole(chunk: Chunk) -> Self {
        let range = 0..chunk.bytes().len();
        Self { chunk, range }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.chunk.bytes().get(self.range.clone()).unwrap_or_default()
    }

    /// A range of a chunk; what is outside the chunk is not of it.
    #[must_use]
    pub fn new(chunk: Chunk, range: Range<usize>) -> Self {
        let end = range.end.min(chunk.bytes().len());
        Self { chunk, range: range.start.min(end)..end }
    }

    /// One more owner of the same bytes.
    #[must_use]
    pub fn pin(&self) -> Self {
        Self { chunk: self.chunk.pin(), range: self.range.clone() }
    }

    /// Where the bytes are.
    #[must_use]
    pub fn place(&self) -> (&Chunk, Range<usize>) {
        (&self.chunk, self.range.clone())
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let Some(bytes) = self.bytes.take() else { return };
        if Rc::strong_count(&bytes) > 1 {
            return;
        }
        self.shelf.taken.set(self.shelf.taken.get() - 1);
        if bytes.len() == CHUNK_BYTES {
            self.shelf.keep_free(bytes);
        }
    }
}
