//! Who has a turn: whoever was woken or whose deadline has come, as on a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use chain::Tick;

use crate::random::Random;

/// Of the runs, those in which everybody has a turn in every round.
const EVERYBODY_ONE_IN: usize = 6;

/// Of the others, those in which everybody has one before the clock jumps.
const PROBED_ONE_IN: usize = 2;

/// Who has a turn in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Only those for whom there is a reason.
    Woken,
    /// Also everybody, when nothing has moved for long: nothing may move then. What was not asked to be woken for would
    /// be noticed late, or hidden by a deadline. Not in all runs, since such a turn also asks for what another forgot.
    Probed,
    /// Everybody in every round. A worker gives turns for nothing too: they must do no harm.
    Everybody,
}

impl Turns {
    pub fn pick(random: &mut Random) -> Self {
        if random.once_in(EVERYBODY_ONE_IN) {
            Self::Everybody
        } else if random.once_in(PROBED_ONE_IN) {
            Self::Probed
        } else {
            Self::Woken
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a worker knows of one client or task: whether it was woken, and the deadline it told after its last turn.
pub struct Turn {
    woken: Arc<Woken>,
    waker: Waker,
    deadline: Option<Tick>,
}

impl Turn {
    /// That of a new one, which is to have its first turn.
    pub fn first() -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { waker: Waker::from(Arc::clone(&woken)), woken, deadline: None }
    }

    pub fn wake(&self) {
        self.waker.wake_by_ref();
    }

    pub fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
    }

    pub fn deadline(&self) -> Option<Tick> {
        self.deadline
    }

    /// Whether it has a turn now. Whatever wakes it from here on is for the next one.
    pub fn begins(&mut self, now: Tick, turns: Turns) -> bool {
        let is_woken = self.woken.0.swap(false, Ordering::Relaxed);
        is_woken || turns == Turns::Everybody || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Its turn is over.
    pub fn ends(&mut self, deadline: Option<Tick>) {
        self.deadline = deadline;
    }
}
