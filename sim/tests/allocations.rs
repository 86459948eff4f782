//! A message that passes through allocates nothing and is copied nowhere: counted, both ways.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sim::counted::OneClient;

struct Counting;

thread_local! {
    /// Of this thread: the one that runs the tests allocates when it likes.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
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

const DEPTH: usize = 32;

#[test]
fn passing_messages_allocates_and_copies_nothing() {
    let mut client = OneClient::new(DEPTH, &[]);
    let (allocations, copied) = (ALLOCATIONS.get(), client.pool.copied_bytes());
    for _ in 0..100_000 / DEPTH {
        client.round();
    }
    assert_eq!(ALLOCATIONS.get() - allocations, 0);
    assert_eq!(client.pool.copied_bytes() - copied, 0);
    assert_eq!(client.pool.taken(), 0);
}
