//! What transforms count of their own, beyond what is counted of every transform.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Something that counts by itself. Asked whenever somebody scrapes, from another thread than counts.
pub trait OwnMetrics: Send + Sync {
    /// Everything it has counted. The number of series is bounded.
    fn families(&self) -> Vec<OwnFamily>;
}

/// One counter with its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFamily {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// The labels of each series, and its value.
    pub series: Vec<(Vec<(&'static str, String)>, u64)>,
}

/// `N` numbers that all workers add to, each in cells of its own: nobody waits for anybody, and no cache line moves
/// between processors but when somebody asks for the sums.
pub struct Tallies<const N: usize> {
    workers: Mutex<Vec<Arc<[AtomicU64; N]>>>,
}

impl<const N: usize> Default for Tallies<N> {
    fn default() -> Self {
        Self { workers: Mutex::default() }
    }
}

impl<const N: usize> Tallies<N> {
    /// The cells of one more worker.
    #[must_use]
    pub fn worker(&self) -> Tally<N> {
        let cells = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cells));
        Tally(cells)
    }

    /// The sums over all workers.
    #[must_use]
    pub fn sums(&self) -> [u64; N] {
        let mut sums = [0; N];
        for cells in &*self.workers.lock().unwrap_or_else(PoisonError::into_inner) {
            sums.iter_mut().zip(&**cells).for_each(|(sum, cell)| *sum += cell.load(Ordering::Relaxed));
        }
        sums
    }
}

/// One worker's cells. Only that worker adds to them.
pub struct Tally<const N: usize>(Arc<[AtomicU64; N]>);

impl<const N: usize> Tally<N> {
    /// Adds `count` to a number; nothing if there is none of this index.
    pub fn add(&self, index: usize, count: u64) {
        if let Some(cell) = self.0.get(index) {
            // One thread writes: no read-modify-write is needed.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        }
    }
}
