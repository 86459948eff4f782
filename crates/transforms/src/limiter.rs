//! How much may pass a second: a generic cell rate algorithm, shared by all workers.
//!
//! Its whole state is the time at which everything that has passed will have been paid for (the "theoretical arrival
//! time" of the literature), in one atomic number.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chain::Tick;

/// A quota of so many a second, all of which may pass at once.
pub(crate) struct Limiter {
    /// What one costs, in whole nanoseconds. Rounded up, rather too few than too many: of n a second up to n in a billion
    /// are lost (700,000 become 699,790).
    interval: u64,
    burst: u64,
    /// When all that has passed will have been paid for, nanoseconds.
    paid_at: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl Limiter {
    pub(crate) fn new(per_second: u32) -> Self {
        let burst = u64::from(per_second.max(1));
        Self { interval: SECOND.div_ceil(burst), burst, paid_at: AtomicU64::new(0) }
    }

    /// Takes as many of `wanted` as there are, and says how many.
    pub(crate) fn take(&self, now: Tick, wanted: u64) -> u64 {
        self.take_at_least(now, 1, wanted)
    }

    /// Takes so many or none, and says whether it did.
    pub(crate) fn take_all(&self, now: Tick, wanted: u64) -> bool {
        self.take_at_least(now, wanted, wanted) == wanted
    }

    /// True if there are so many. Others may take them first.
    pub(crate) fn has(&self, now: Tick, wanted: u64) -> bool {
        let now = now.0.saturating_mul(1000);
        self.left(now, self.paid_at.load(Ordering::Relaxed)) >= wanted
    }

    /// How many there are, where what has passed will have been paid for then.
    fn left(&self, now: u64, paid_at: u64) -> u64 {
        let full_at = now.saturating_add(self.burst * self.interval);
        full_at.saturating_sub(paid_at.max(now)) / self.interval
    }

    /// Takes as many of `wanted` as there are, if they are enough.
    fn take_at_least(&self, now: Tick, enough: u64, wanted: u64) -> u64 {
        let now = now.0.saturating_mul(1000);
        let mut paid_at = self.paid_at.load(Ordering::Relaxed);
        loop {
            let taken = wanted.min(self.left(now, paid_at));
            if taken < enough {
                return 0;
            }
            let next = paid_at.max(now) + taken * self.interval;
            match self.paid_at.compare_exchange_weak(paid_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(changed) => paid_at = changed,
            }
        }
    }

    /// Gives back what was taken and is not used.
    pub(crate) fn give_back(&self, count: u64) {
        self.paid_at.fetch_sub(count * self.interval, Ordering::Relaxed);
    }

    /// Nothing is owed: it is as good as new.
    fn is_untouched(&self, now: Tick) -> bool {
        self.paid_at.load(Ordering::Relaxed) <= now.0.saturating_mul(1000)
    }
}

/// Keys that have limiters of their own.
const KEYS_MAX: usize = 10_000;

/// How long it is taken for granted that there is little room, microseconds.
const FULL_FOR: u64 = 100_000;

/// A limiter for each key. Those of clients that are connected stay; of the others the ones that were used last.
pub(crate) struct Limiters<K> {
    per_second: u32,
    keys_max: usize,
    of_keys: Mutex<HashMap<K, Arc<Limiter>>>,
    /// Until when nobody tries again to make room, since little could be made: it takes a look at all keys.
    full_until: AtomicU64,
    /// Of all keys for which there is no place.
    of_the_rest: Arc<Limiter>,
}

impl<K: Hash + Eq> Limiters<K> {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            keys_max: KEYS_MAX,
            of_keys: Mutex::default(),
            full_until: AtomicU64::new(0),
            of_the_rest: Arc::new(Limiter::new(per_second)),
        }
    }

    /// True for the limiter of all keys for which there is no place.
    pub(crate) fn is_of_the_rest(&self, limiter: &Arc<Limiter>) -> bool {
        Arc::ptr_eq(&self.of_the_rest, limiter)
    }

    /// The limiter of a key. To be asked seldom: it locks.
    pub(crate) fn of(&self, key: K, now: Tick) -> Arc<Limiter> {
        let mut of_keys = self.of_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = of_keys.get(&key) {
            return Arc::clone(limiter);
        }
        if of_keys.len() >= self.keys_max && now.0 >= self.full_until.load(Ordering::Relaxed) {
            make_room(&mut of_keys, self.keys_max, now);
            if self.keys_max.saturating_sub(of_keys.len()) < self.keys_max / 4 {
                self.full_until.store(now.0.saturating_add(FULL_FOR), Ordering::Relaxed);
            }
        }
        if of_keys.len() >= self.keys_max {
            return Arc::clone(&self.of_the_rest);
        }
        let limiter = Arc::new(Limiter::new(self.per_second));
        of_keys.insert(key, Arc::clone(&limiter));
        limiter
    }
}

/// Forgets limiters that nobody holds: those that are as good as new, which changes nothing; if there are none, the
/// half that was used longest ago.
fn make_room<K: Hash + Eq>(of_keys: &mut HashMap<K, Arc<Limiter>>, keys_max: usize, now: Tick) {
    let is_idle = |limiter: &Arc<Limiter>| Arc::strong_count(limiter) == 1;
    of_keys.retain(|_, limiter| !(is_idle(limiter) && limiter.is_untouched(now)));
    if of_keys.len() < keys_max {
        return;
    }
    let paid_at = |limiter: &Arc<Limiter>| limiter.paid_at.load(Ordering::Relaxed);
    let mut idle: Vec<u64> = of_keys.values().filter(|limiter| is_idle(limiter)).map(paid_at).collect();
    idle.sort_unstable();
    let Some(middle) = idle.get(idle.len() / 2).copied() else { return };
    of_keys.retain(|_, limiter| !(is_idle(limiter) && paid_at(limiter) <= middle));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chain::Tick;

    use super::{Limiter, Limiters, SECOND};

    const MILLIS: u64 = 1000;

    #[test]
    fn a_quota_is_a_burst_and_then_one_by_one() {
        let limiter = Limiter::new(50);
        let start = 7_000_000;
        assert_eq!((limiter.take(Tick(start), 30), limiter.take(Tick(start), 30)), (30, 20));
        assert_eq!(limiter.take(Tick(start + 19 * MILLIS), 9), 0);
        assert_eq!(limiter.take(Tick(start + 20 * MILLIS), 9), 1);
        assert_eq!(limiter.take(Tick(start + 100 * MILLIS), 9), 4);
        assert_eq!(limiter.take(Tick(start + 10_000 * MILLIS), 99), 50);
    }

    #[test]
    fn what_is_given_back_is_there_again() {
        let limiter = Limiter::new(50);
        assert_eq!(limiter.take(Tick(0), 50), 50);
        limiter.give_back(3);
        assert_eq!(limiter.take(Tick(0), 50), 3);
    }

    #[test]
    fn all_or_none_are_taken() {
        let limiter = Limiter::new(50);
        assert!(limiter.take_all(Tick(0), 30) && !limiter.take_all(Tick(0), 21));
        assert!(limiter.has(Tick(0), 20) && !limiter.has(Tick(0), 21) && limiter.has(Tick(20 * MILLIS), 21));
        assert!(limiter.take_all(Tick(0), 20) && !limiter.has(Tick(0), 1));
    }

    #[test]
    fn a_worker_whose_clock_is_behind_gets_no_more() {
        let limiter = Limiter::new(1000);
        assert_eq!(limiter.take(Tick(5000), 1000), 1000);
        assert_eq!(limiter.take(Tick(4000), 1), 0);
        assert_eq!(limiter.take(Tick(6000), 5), 1);
    }

    #[test]
    fn a_quota_is_exact_whichever_workers_the_clients_are_on() {
        for per_second in [50, 333, 1_000_000] {
            let limiter = Limiter::new(per_second);
            let passed: u64 = std::thread::scope(|scope| {
                let take = || (0..200_000).map(|at| limiter.take(Tick(at * 5), 1 + at % 3)).sum::<u64>();
                let workers = [(); 4].map(|()| scope.spawn(take));
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            });
            // The burst, and what came back in the second that all of them lived through.
            let most = u64::from(per_second) + SECOND / SECOND.div_ceil(u64::from(per_second));
            assert!(passed <= most, "{passed} of {most}");
            assert!(per_second > 1000 || passed + 2 >= most, "{passed} of {most}");
        }
    }

    #[test]
    fn keys_are_bounded_and_those_of_connected_clients_stay() {
        let limiters = Limiters { keys_max: 4, ..Limiters::new(50) };
        let connected = limiters.of(0, Tick(0));
        connected.take(Tick(0), 50);
        for key in 1..1000 {
            // Each uses all it has, at the same time and later.
            let now = Tick(key / 2);
            assert_eq!(limiters.of(key, now).take(now, 99), 50);
            assert!(limiters.of_keys.lock().unwrap().len() <= 4);
        }
        assert!(Arc::ptr_eq(&connected, &limiters.of(0, Tick(500))));
        let all: Vec<_> = (0..10).map(|key| limiters.of(key + 2000, Tick(500))).collect();
        assert!(Arc::ptr_eq(&all[8], &all[9]), "those without a place share one");
        assert!(!Arc::ptr_eq(&all[0], &all[9]));
    }

    #[test]
    fn a_key_that_is_forgotten_when_it_owes_nothing_loses_nothing() {
        let limiters = Limiters { keys_max: 2, ..Limiters::new(50) };
        limiters.of(1, Tick(0)).take(Tick(0), 50);
        limiters.of(2, Tick(0));
        // The second one is forgotten, not the first.
        limiters.of(3, Tick(0));
        assert_eq!(limiters.of(1, Tick(0)).take(Tick(0), 1), 0);
    }

    #[test]
    fn nobody_looks_for_room_again_and_again_where_there_is_none() {
        let limiters = Limiters { keys_max: 4, ..Limiters::new(50) };
        let mut held: Vec<_> = (0..4).map(|key| limiters.of(key, Tick(0))).collect();
        assert!(limiters.is_of_the_rest(&limiters.of(4, Tick(0))));
        held.clear();
        assert!(limiters.is_of_the_rest(&limiters.of(4, Tick(99_999))));
        assert!(!limiters.is_of_the_rest(&limiters.of(4, Tick(100_000))));
    }
}
