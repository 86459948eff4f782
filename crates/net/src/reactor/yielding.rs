//! When a worker that has nothing to do lets other threads of its core run before it sleeps.
//!
//! Where the server or the client is on this machine, and the load is low, the thread that was just woken by what this
//! worker wrote often waits for this very core. It runs at once when the worker yields, and what it answers is there
//! before the worker sleeps: nobody has to be woken on a core that sleeps, which is the dearest part of a request at a
//! low rate (docs/benchmarks/choices.md has the figures). Whether that is so is found by trying it, and it is left alone for
//! longer and longer where nobody runs meanwhile, or somebody who does not soon give the core back.

use chain::Tick;

/// A turn with more events than these is under load: what it waits for is on its way without this.
const TURN_EVENTS_MAX: usize = 2;

/// A yield that took so long let somebody run, µs. One that lets nobody run takes less than one.
const LET_RUN_MICROS: u64 = 2;

/// A yield that took so long let a neighbour compute, who uses up all of its slice, µs. A server answers sooner.
const NEIGHBOUR_MICROS: u64 = 50;

/// Yields that are judged together.
const TRIES: u32 = 64;

/// [`TRIES`] yields within so long are a load under which nobody sleeps, µs: there a yield only costs the call.
const LOAD_MICROS: u64 = 4_000;

/// Of [`TRIES`], so many must have let somebody run.
const LET_RUN_MIN: u32 = 8;

/// The first pause, and the longest, µs: at the end of it a neighbour costs those who wait a slice or two.
const PAUSE_MICROS: (u64, u64) = (10_000, 10_000_000);

/// What is known of the last yields.
pub(super) struct Yielding {
    /// When the first of those that are judged next was made.
    since: Tick,
    tries: u32,
    let_run: u32,
    pause_micros: u64,
    paused_until: Tick,
}

impl Yielding {
    pub(super) fn new() -> Self {
        let start = Tick::default();
        Self { since: start, tries: 0, let_run: 0, pause_micros: PAUSE_MICROS.0, paused_until: start }
    }

    /// Whether to yield before the worker sleeps, after a turn that began with these events.
    pub(super) fn is_due<E>(&self, events: impl Iterator<Item = E>, now: Tick) -> bool {
        now >= self.paused_until && events.take(TURN_EVENTS_MAX + 1).count() <= TURN_EVENTS_MAX
    }

    /// A yield took from `began` to `now`.
    pub(super) fn note(&mut self, began: Tick, now: Tick) {
        if self.tries == 0 {
            self.since = began;
        }
        let micros = now.micros_since(began);
        self.tries += 1;
        self.let_run += u32::from(micros >= LET_RUN_MICROS);
        let is_neighbour = micros >= NEIGHBOUR_MICROS;
        if !is_neighbour && self.tries < TRIES {
            return;
        }
        let is_vain = self.let_run < LET_RUN_MIN || now.micros_since(self.since) < LOAD_MICROS;
        if is_neighbour || is_vain {
            self.paused_until = Tick(now.0 + self.pause_micros);
            self.pause_micros = (self.pause_micros * 2).min(PAUSE_MICROS.1);
        } else {
            self.pause_micros = PAUSE_MICROS.0;
        }
        (self.tries, self.let_run) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use chain::Tick;

    use super::Yielding;

    /// How many yields are made in ten seconds in which one is possible so often, if each takes what `micros` says.
    fn yields(turn_micros: u64, micros: impl Fn(u64) -> u64) -> u64 {
        let mut yielding = Yielding::new();
        let mut made = 0;
        for began in (0..10_000_000 / turn_micros).map(|turn| Tick(turn * turn_micros)) {
            if yielding.is_due(0..1, began) {
                yielding.note(began, Tick(began.0 + micros(made)));
                made += 1;
            }
        }
        made
    }

    #[test]
    fn goes_on_where_others_run_and_soon_give_the_core_back() {
        assert_eq!(yields(100, |made| if made % 2 == 0 { 0 } else { 12 }), 100_000);
    }

    #[test]
    fn pauses_longer_and_longer_where_a_neighbour_computes_or_nobody_runs() {
        assert!(yields(100, |_| 3000) <= 11);
        assert!(yields(100, |_| 0) <= 11 * 64);
    }

    #[test]
    fn one_slow_answer_is_soon_forgotten() {
        let made = yields(100, |made| if made % 1000 == 0 { 100 } else { 8 });
        assert!((80_000..100_000).contains(&made), "{made}");
    }

    #[test]
    fn is_not_for_a_load_under_which_nobody_sleeps() {
        assert!(yields(25, |_| 12) <= 11 * 64);
        assert!(Yielding::new().is_due(0..2, Tick(0)));
        assert!(!Yielding::new().is_due(0..3, Tick(0)));
    }
}
