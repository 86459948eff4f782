//! What is known of ids that servers gave: one map of the process, with a copy on each worker. A driver prepares on one
//! connection and executes on all, so what one worker has learned, the others look up when they meet the id.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that a map remembers; then it begins anew, and what is asked for is learned again.
const BYTES_MAX: usize = 64 * 1024 * 1024;

struct Map<V> {
    known: HashMap<Box<[u8]>, V>,
    bytes: usize,
    /// What an entry takes besides its id.
    entry_bytes: fn(&V) -> usize,
}

impl<V> Map<V> {
    fn new(entry_bytes: fn(&V) -> usize) -> Self {
        Self { known: HashMap::new(), bytes: 0, entry_bytes }
    }

    fn insert(&mut self, id: &[u8], value: V) {
        if self.bytes > BYTES_MAX {
            *self = Self::new(self.entry_bytes);
        }
        let bytes = id.len() + (self.entry_bytes)(&value);
        if self.known.insert(id.into(), value).is_none() {
            self.bytes += bytes;
        }
    }
}

/// The map of the process.
pub struct AllIds<V>(Arc<Mutex<Map<V>>>);

impl<V> AllIds<V> {
    /// An empty map. `entry_bytes`: what an entry takes besides its id.
    #[must_use]
    pub fn new(entry_bytes: fn(&V) -> usize) -> Self {
        Self(Arc::new(Mutex::new(Map::new(entry_bytes))))
    }
}

impl<V> Clone for AllIds<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A worker's copy of it.
pub struct Ids<V> {
    all: AllIds<V>,
    own: RefCell<Map<V>>,
}

impl<V: Clone> Ids<V> {
    /// The copy of one worker.
    #[must_use]
    pub fn new(all: &AllIds<V>) -> Self {
        let entry_bytes = all.0.lock().unwrap_or_else(PoisonError::into_inner).entry_bytes;
        Self { all: all.clone(), own: RefCell::new(Map::new(entry_bytes)) }
    }

    /// Remembers what is known of an id. Called before a client can learn the id.
    pub fn learn(&self, id: &[u8], value: V) {
        self.own.borrow_mut().insert(id, value.clone());
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, value);
    }

    /// What is known of this id, if this process has learned it.
    #[must_use]
    pub fn get(&self, id: &[u8]) -> Option<V> {
        if let Some(value) = self.own.borrow().known.get(id) {
            return Some(value.clone());
        }
        let all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = all.known.get(id)?.clone();
        drop(all);
        self.own.borrow_mut().insert(id, value.clone());
        Some(value)
    }
}
