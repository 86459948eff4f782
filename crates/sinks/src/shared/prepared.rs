//! What is known of prepared statements: one map of the process, with a copy on each worker. A driver prepares on one
//! connection and executes on all, so what one worker has learned, the others look up when they meet the id.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wire::cql::session::Work;

/// Bytes of ids that are remembered. An id that is not is executed on its client's own connection.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a map takes for an id besides the id.
const ENTRY_BYTES: usize = 64;

#[derive(Default)]
struct Map {
    statements: HashMap<Box<[u8]>, Work>,
    bytes: usize,
}

impl Map {
    fn insert(&mut self, id: &[u8], work: Work) {
        if self.bytes > BYTES_MAX {
            *self = Self::default();
        }
        if self.statements.insert(id.into(), work).is_none() {
            self.bytes += id.len() + ENTRY_BYTES;
        }
    }
}

/// The map of the process.
#[derive(Clone, Default)]
pub(crate) struct AllPrepared(Arc<Mutex<Map>>);

/// A worker's copy of it.
pub(super) struct Prepared {
    all: AllPrepared,
    own: RefCell<Map>,
}

impl Prepared {
    pub(super) fn new(all: &AllPrepared) -> Self {
        Self { all: all.clone(), own: RefCell::default() }
    }

    /// Remembers what a statement does. Called before its client can learn the id.
    pub(super) fn learn(&self, id: &[u8], work: Work) {
        self.own.borrow_mut().insert(id, work);
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, work);
    }

    /// What the statement of this id does, if anybody prepared it through this process.
    pub(super) fn get(&self, id: &[u8]) -> Option<Work> {
        if let Some(work) = self.own.borrow().statements.get(id) {
            return Some(*work);
        }
        let work = *self.all.0.lock().unwrap_or_else(PoisonError::into_inner).statements.get(id)?;
        self.own.borrow_mut().insert(id, work);
        Some(work)
    }
}
