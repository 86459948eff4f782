//! When a simulated clock jumps, and when a run is stuck.

use std::time::Duration;

use chain::Tick;

use crate::client_task::ClientTask;
use crate::tasks::Tasks;
use crate::turns::Turns;

/// Rounds after which a run that has not ended is stuck.
const ROUNDS_MAX: usize = 400_000;

/// Rounds without anything moving, after which the clock jumps to the next deadline.
const QUIET_ROUNDS: usize = 40;

/// Rounds without anything moving, after which a world without a deadline is stuck.
const STUCK_ROUNDS: usize = 200;

/// How long a client may wait while nothing moves, for the end of a request or of its connection: whatever goes wrong,
/// a connection is right or closed within this time. The time in which bytes move does not count, nor that in which a
/// server has put something off: how slow they are is the simulation's choice.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Time over which the clock has jumped while nobody but the proxy was to do anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped(u64);

/// When somebody wants to do something though nothing came.
pub struct Next {
    pub proxy: Option<Tick>,
    /// Servers, and clients that do nothing for a while.
    pub servers: Option<Tick>,
    /// Since when the client waits that has waited longest.
    pub waits_since: Option<Skipped>,
    /// Somebody has been woken, and will have a turn.
    pub is_woken: bool,
}

impl Next {
    /// Of these clients, each with the time since when it waits, if it does.
    pub fn of<'c>(clients: impl Iterator<Item = (&'c ClientTask, Option<Skipped>)>) -> Self {
        let mut next = Self { proxy: None, servers: None, waits_since: None, is_woken: false };
        for (task, waits_since) in clients.filter(|(task, _)| !task.has_ended()) {
            next.is_woken |= task.is_woken();
            next.proxy = next.proxy.into_iter().chain(task.deadline()).min();
            next.waits_since = next.waits_since.into_iter().chain(waits_since).min();
        }
        next
    }

    /// And of these tasks.
    #[must_use]
    pub fn and(self, tasks: &Tasks) -> Self {
        let proxy = self.proxy.into_iter().chain(tasks.deadline()).min();
        Self { proxy, is_woken: self.is_woken || tasks.are_woken(), ..self }
    }
}

/// Counts the rounds of a run.
pub struct Pace {
    turns: Turns,
    rounds: usize,
    quiet: usize,
    moved_before: u64,
    skipped: Skipped,
}

impl Pace {
    pub fn new(turns: Turns) -> Self {
        Self { turns, rounds: 0, quiet: 0, moved_before: 0, skipped: Skipped::default() }
    }

    /// Something will move by itself.
    pub fn is_moving(&mut self) {
        self.quiet = 0;
    }

    /// True when the clock is about to jump, since nothing has moved for long.
    pub fn is_settled(&self, moved: u64) -> bool {
        self.quiet == QUIET_ROUNDS && moved == self.moved_before
    }

    /// Over how much time the clock has jumped so far, as far as it counts.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// The time of the next round.
    pub fn after_round(
        &mut self,
        moved: u64,
        now: Tick,
        next: impl FnOnce() -> Next,
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
        let Next { proxy, servers, waits_since, is_woken } = next();
        // Where everybody has a turn in every round, that wakes others for nothing; but who was woken by a deadline that
        // came by itself has its turn before the clock jumps.
        if is_woken && (self.turns != Turns::Everybody || self.quiet == QUIET_ROUNDS + 1) {
            let spins = self.quiet > STUCK_ROUNDS;
            return if spins { Err("somebody is woken again and again, and moves nothing") } else { Ok(now) };
        }
        let Some(next) = proxy.into_iter().chain(servers).min() else {
            let is_stuck = self.quiet > STUCK_ROUNDS;
            return if is_stuck { Err("still waits, and nobody was woken") } else { Ok(now) };
        };
        self.quiet = 0;
        if servers.is_none() {
            self.skipped.0 += next.0.saturating_sub(now.0);
        }
        let waited = waits_since.map_or(0, |since| self.skipped.0 - since.0);
        if Duration::from_micros(waited) > WAIT_MAX {
            return Err("a client waits for too long");
        }
        Ok(next.max(now))
    }
}
