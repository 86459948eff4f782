//! When a simulated clock jumps, and when a run is stuck.

use chain::Tick;

/// Rounds after which a run that has not ended is stuck.
const ROUNDS_MAX: usize = 400_000;

/// Rounds without anything moving, after which the clock jumps to the next deadline.
const QUIET_ROUNDS: usize = 40;

/// Rounds without anything moving, after which a world without a deadline is stuck.
const STUCK_ROUNDS: usize = 200;

/// Counts the rounds of a run.
#[derive(Default)]
pub struct Pace {
    rounds: usize,
    quiet: usize,
    moved_before: u64,
}

impl Pace {
    /// Something will move by itself.
    pub fn is_moving(&mut self) {
        self.quiet = 0;
    }

    /// True when the clock is about to jump, since nothing has moved for long.
    pub fn is_settled(&self, moved: u64) -> bool {
        self.quiet == QUIET_ROUNDS && moved == self.moved_before
    }

    /// The time of the next round: `next` is when somebody wants to do something though nothing came.
    pub fn after_round(
        &mut self,
        moved: u64,
        now: Tick,
        next: impl FnOnce() -> Option<Tick>,
    ) -> Result<Tick, &'static str> {
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            return Err("no end in sight");
        }
        self.quiet = if moved == self.moved_before { self.quiet + 1 } else { 0 };
        self.moved_before = moved;
        if self.quiet <= QUIET_ROUNDS {
            return Ok(now);
        }
        match next() {
            Some(next) => {
                self.quiet = 0;
                Ok(next.max(now))
            }
            None if self.quiet > STUCK_ROUNDS => Err("still waits, and nobody was woken"),
            None => Ok(now),
        }
    }
}
