//! A client's place: among those its source allows, and among its worker's clients. It counts itself in and out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::OwnedSemaphorePermit;

/// What a listener counts; the process keeps the numbers.
pub trait Counts: Send + Sync {
    /// A client was accepted, and has a place.
    fn opened(&self);
    /// A client is gone, and its place free.
    fn closed(&self);
    /// Accepting failed.
    fn accept_failed(&self);
    /// Listening again failed.
    fn create_failed(&self);
}

/// A client's place among those that its source allows.
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
    counts: Arc<dyn Counts>,
}

impl Permit {
    pub(crate) fn new(permit: OwnedSemaphorePermit, counts: Arc<dyn Counts>) -> Self {
        counts.opened();
        Self { _permit: permit, counts }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counts.closed();
    }
}

/// A connection's place among those its source allows and its worker has.
pub struct Place {
    load: Arc<AtomicUsize>,
    _permit: Permit,
}

impl Place {
    /// Counts it among the clients of the worker that has this `load`.
    pub(crate) fn new(load: &Arc<AtomicUsize>, permit: Permit) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self { load: Arc::clone(load), _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}
