//! What the second server calls a prepared statement: one map of the process, with a copy on each worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of ids that are remembered. What is not is not mirrored.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a map takes for an id besides the id.
const ENTRY_BYTES: usize = 96;

/// A statement that both servers have prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The second server's id, if it is another.
    pub(super) other_id: Option<Box<[u8]>>,
    /// It changes the keyspace of its connection.
    pub(super) is_use: bool,
}

#[derive(Default)]
struct Map {
    statements: HashMap<Box<[u8]>, Statement>,
    bytes: usize,
}

impl Map {
    fn insert(&mut self, id: &[u8], statement: Statement) {
        if self.bytes > BYTES_MAX {
            *self = Self::default();
        }
        let other_bytes = statement.other_id.as_ref().map_or(0, |other| other.len());
        if self.statements.insert(id.into(), statement).is_none() {
            self.bytes += id.len() + other_bytes + ENTRY_BYTES;
        }
    }
}

/// The map of the process.
#[derive(Clone, Default)]
pub(super) struct AllPrepared(Arc<Mutex<Map>>);

/// A worker's copy of it.
#[derive(Default)]
pub(super) struct Prepared {
    all: AllPrepared,
    own: RefCell<Map>,
}

impl Prepared {
    pub(super) fn new(all: &AllPrepared) -> Self {
        Self { all: all.clone(), own: RefCell::default() }
    }

    /// Remembers what two servers call a statement.
    pub(super) fn learn(&self, id: &[u8], other_id: &[u8], is_use: bool) {
        let statement = Statement { other_id: (id != other_id).then(|| other_id.into()), is_use };
        self.own.borrow_mut().insert(id, statement.clone());
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, statement);
    }

    /// The statement that the first server knows by this id.
    pub(super) fn get(&self, id: &[u8]) -> Option<Statement> {
        if let Some(statement) = self.own.borrow().statements.get(id) {
            return Some(statement.clone());
        }
        let all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let statement = all.statements.get(id)?.clone();
        drop(all);
        self.own.borrow_mut().insert(id, statement.clone());
        Some(statement)
    }
}
