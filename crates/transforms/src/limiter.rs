//! How much may pass a second, shared by all workers: a generic cell rate algorithm, but that from rest no more than the
//! quota passes within a second.
//!
//! Its whole state is since when it is busy and what was paid since then, in one atomic number.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chain::Tick;

/// A quota of so many a second, all of which may pass at once.
pub(crate) struct Limiter {
    per_second: u64,
    state: AtomicU64,
}

/// Since when a limiter is busy, and what was paid since. Two numbers in one, so that one atomic operation takes from a
/// quota.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Busy {
    /// Milliseconds, rounded up, of which the highest bits are left away.
    since: u64,
    /// Less than three quotas: [`Busy::seen_at`] leaves away seconds that are long gone.
    paid: u64,
}

const SECOND: u64 = 1_000_000;

/// Microseconds of a unit of [`Busy::since`], and their number in a second.
const UNIT: u64 = SECOND / UNITS;
const UNITS: u64 = 1000;

/// `paid` needs two bits more than a quota.
const PAID_BITS: u32 = 34;
const PAID_MAX: u64 = (1 << PAID_BITS) - 1;

/// Bits of `since`: 12 days. A limiter nobody used for exactly so long has, for some seconds, no more than when it was used.
const SINCE_BITS: u32 = u64::BITS - PAID_BITS;
const SINCE_MASK: u64 = (1 << SINCE_BITS) - 1;

/// How far the clock of a worker may be behind that of another.
const BEHIND_MAX: u64 = 4 * UNITS;

impl Busy {
    fn of(state: u64) -> Self {
        Self { since: state >> PAID_BITS, paid: state & PAID_MAX }
    }

    fn state(self) -> u64 {
        (self.since & SINCE_MASK) << PAID_BITS | self.paid.min(PAID_MAX)
    }

    /// How long it is busy, microseconds. Less than nothing for a worker whose clock is behind, which is nothing.
    fn age(self, now: Tick) -> u64 {
        let units = (now.0 / UNIT).wrapping_sub(self.since) & SINCE_MASK;
        let is_before = units > SINCE_MASK - BEHIND_MAX;
        if is_before { 0 } else { units * UNIT + now.0 % UNIT }
    }

    /// The same as it is now: after a second one that has all of its quota again begins anew, and the seconds before the
    /// last one are left away with what they gave back.
    fn seen_at(self, now: Tick, per_second: u64) -> Self {
        let age = self.age(now);
        let given_back = per_second.saturating_mul(age) / SECOND;
        if self.paid == 0 || age >= SECOND && self.paid <= given_back {
            return Self { since: now.0.div_ceil(UNIT) & SINCE_MASK, paid: 0 };
        }
        let gone = (age / SECOND).saturating_sub(1);
        let since = (self.since + gone * UNITS) & SINCE_MASK;
        Self { since, paid: self.paid - (per_second * gone).min(self.paid) }
    }

    /// How many can be paid for now, by the generic cell rate algorithm.
    fn left(self, now: Tick, per_second: u64) -> u64 {
        let given_back = per_second.saturating_mul(self.age(now)) / SECOND;
        (per_second + given_back).saturating_sub(self.paid).min(per_second)
    }

    /// How many of those may pass: in its first second what was given back since it began may not.
    fn may_pass(self, now: Tick, per_second: u64) -> u64 {
        if self.age(now) < SECOND { per_second.saturating_sub(self.paid) } else { self.left(now, per_second) }
    }
}

impl Limiter {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: u64::from(per_second.max(1)), state: AtomicU64::new(0) }
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
        self.busy(now).may_pass(now, self.per_second) >= wanted
    }

    fn busy(&self, now: Tick) -> Busy {
        Busy::of(self.state.load(Ordering::Relaxed)).seen_at(now, self.per_second)
    }

    /// Takes as many of `wanted` as there are, if they are enough. What does not pass because it is the first second is
    /// paid for all the same: so steady demand gets what the following seconds give back one by one, not at once.
    fn take_at_least(&self, now: Tick, enough: u64, wanted: u64) -> u64 {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let busy = Busy::of(state).seen_at(now, self.per_second);
            let paid = wanted.min(busy.left(now, self.per_second));
            if paid < enough {
                return 0;
            }
            let next = Busy { paid: busy.paid + paid, ..busy }.state();
            match self.state.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let passed = paid.min(busy.may_pass(now, self.per_second));
                    return if passed < enough { 0 } else { passed };
                }
                Err(changed) => state = changed,
            }
        }
    }

    /// Gives back what was taken and is not used.
    pub(crate) fn give_back(&self, count: u64) {
        let less = |state| {
            let busy = Busy::of(state);
            Some(Busy { paid: busy.paid.saturating_sub(count), ..busy }.state())
        };
        // It always has a next value.
        let _before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Nothing is owed: it is as good as new.
    fn is_untouched(&self, now: Tick) -> bool {
        self.busy(now).paid == 0
    }

    /// How long ago it was used, to a second or two.
    fn age(&self, now: Tick) -> u64 {
        Busy::of(self.state.load(Ordering::Relaxed)).age(now)
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
    let mut idle: Vec<u64> =
        of_keys.values().filter(|limiter| is_idle(limiter)).map(|limiter| limiter.age(now)).collect();
    idle.sort_unstable();
    let mut left_over = idle.len().div_ceil(2);
    let Some(middle) = idle.get(idle.len() / 2).copied() else { return };
    // Of those that are of the same age as the one in the middle some stay: no more go than half.
    of_keys.retain(|_, limiter| {
        let goes = left_over > 0 && is_idle(limiter) && limiter.age(now) >= middle;
        left_over -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chain::Tick;

    use super::{Busy, Limiter, Limiters, PAID_MAX, SECOND, SINCE_MASK};

    const MILLIS: u64 = 1000;

    #[test]
    fn a_quota_is_a_burst_then_nothing_for_a_second_and_then_one_by_one() {
        let limiter = Limiter::new(50);
        let start = 7_000_000;
        assert_eq!((limiter.take(Tick(start), 30), limiter.take(Tick(start), 30)), (30, 20));
        let asked = |limiter: &Limiter, millis: std::ops::Range<u64>| {
            millis.map(|at| limiter.take(Tick(start + at * MILLIS), 9)).sum::<u64>()
        };
        assert_eq!(asked(&limiter, 0..1000), 0);
        for second in 1..5 {
            assert_eq!(asked(&limiter, second * 1000..second * 1000 + 500), 25);
            assert_eq!(asked(&limiter, second * 1000 + 500..second * 1000 + 1000), 25);
        }
    }

    #[test]
    fn who_has_used_up_a_quota_and_does_not_ask_has_it_again_a_second_later() {
        let limiter = Limiter::new(50);
        for second in 0..5 {
            assert_eq!(limiter.take(Tick(second * SECOND), 99), 50);
            assert_eq!(limiter.take(Tick(second * SECOND), 99), 0);
        }
        assert_eq!(limiter.take(Tick(4 * SECOND + SECOND / 2), 9), 0);
        assert_eq!(limiter.take(Tick(4 * SECOND + 3 * SECOND / 2), 99), 50);
        assert_eq!(limiter.take(Tick(60 * SECOND), 99), 50);
    }

    /// The first second lasts at most a unit longer, since it begins with one.
    #[test]
    fn exactly_the_quota_passes_in_the_first_second_however_it_is_asked_for() {
        for (start, step) in [
            (0, 100),
            (3_141_592, 7),
            (12 * SECOND + 1, 333_333),
            (62_500, 20_000),
            (5, 12_345),
            (777, 19_980),
        ] {
            let limiter = Limiter::new(50);
            let passed = |from: u64, to: u64| {
                (from..to).step_by(step).map(|at| limiter.take(Tick(at), 50)).sum::<u64>()
            };
            assert_eq!(passed(start, start + SECOND), 50, "every {step} us");
            let next = passed(start + SECOND, start + 11 * SECOND);
            assert!((490..=500).contains(&next), "{next}, every {step} us");
        }
    }

    #[test]
    fn who_asks_for_less_than_the_quota_is_never_refused() {
        for step in [20_833, 25_000, 500_000, 1_500_000] {
            let limiter = Limiter::new(50);
            for at in (77..60 * SECOND).step_by(step) {
                assert_eq!(limiter.take(Tick(at), 1), 1, "every {step} us, at {at}");
            }
        }
    }

    #[test]
    fn batches_get_the_whole_quota_in_the_long_run() {
        let limiter = Limiter::new(50);
        let passed: u64 =
            (0..100 * SECOND).step_by(1000).filter(|at| limiter.take_all(Tick(*at), 30)).map(|_| 30).sum();
        assert!((4950..=5000).contains(&passed), "{passed}");
    }

    #[test]
    fn no_time_and_no_quota_is_too_long_or_too_large() {
        let far = SINCE_MASK * MILLIS;
        for start in [0, far - SECOND / 2, far, far + 1, 3 * far - 1, u64::MAX / 2] {
            for per_second in [1, 50, u32::MAX] {
                let limiter = Limiter::new(per_second);
                let quota = u64::from(per_second);
                limiter.take(Tick(start), 1);
                assert_eq!(limiter.take(Tick(start), u64::MAX), quota - 1, "{per_second} at {start}");
                assert_eq!(limiter.take(Tick(start + SECOND / 2), 1), 0);
                let later = limiter.take(Tick(start + 3 * SECOND / 2), u64::MAX);
                assert!(later <= quota && later >= quota - 1, "{later} of {per_second} at {start}");
                assert_eq!(limiter.take(Tick(start + 60 * SECOND), u64::MAX), quota);
            }
        }
        let busy = Busy { since: SINCE_MASK, paid: PAID_MAX };
        assert!(Busy::of(busy.state()) == busy);
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
        assert!(
            limiter.has(Tick(0), 20) && !limiter.has(Tick(0), 21) && limiter.has(Tick(1001 * MILLIS), 21)
        );
        assert!(limiter.take_all(Tick(0), 20) && !limiter.has(Tick(0), 1));
    }

    #[test]
    fn a_worker_whose_clock_is_behind_gets_no_more() {
        let limiter = Limiter::new(1000);
        assert_eq!(limiter.take(Tick(5000), 1000), 1000);
        assert_eq!(limiter.take(Tick(4000), 1), 0);
        assert_eq!(limiter.take(Tick(6000), 5), 0);
    }

    #[test]
    fn a_quota_is_exact_whichever_workers_the_clients_are_on() {
        for per_second in [50, 333, 100_000] {
            let limiter = Limiter::new(per_second);
            let passed: u64 = std::thread::scope(|scope| {
                let take = || (0..200_000).map(|at| limiter.take(Tick(at * 5), 1 + at % 3)).sum::<u64>();
                let workers = [(); 4].map(|()| scope.spawn(take));
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            });
            // All of them live through the same second.
            assert_eq!(passed, u64::from(per_second));
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
            assert!((2..=4).contains(&limiters.of_keys.lock().unwrap().len()));
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
