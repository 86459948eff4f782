//! The worker's clock, and the one timer a client has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use chain::Tick;

/// When the first clock of the process was started: all count from there, so that what workers share (the limiter of a
/// throttle) may compare their ticks.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// Counts ticks from when the first worker started. The loop reads the system's clock when it comes back from the sockets;
/// everybody else is told that time.
#[derive(Clone)]
pub struct Clock(Rc<Time>);

struct Time {
    started: Instant,
    now: Cell<Tick>,
    /// When the first alarm rings: asked twice a turn of the loop, and changed rarely.
    next_alarm: Cell<Tick>,
    alarms: RefCell<Alarms>,
}

/// When an alarm rings, and which of those that ring then it is.
type Due = (Tick, u64);

#[derive(Default)]
struct Alarms {
    due: BTreeMap<Due, Waker>,
    set_before: u64,
}

/// No alarm is set.
const NEVER: Tick = Tick(u64::MAX);

#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
fn system_now() -> Instant {
    Instant::now()
}

impl Clock {
    /// A clock that shows the time of all others.
    pub(crate) fn start() -> Self {
        Self(Rc::new(Time {
            started: *STARTED.get_or_init(system_now),
            now: Cell::default(),
            next_alarm: Cell::new(NEVER),
            alarms: RefCell::default(),
        }))
    }

    /// The time now, as of the last tick.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.0.now.get()
    }

    /// Reads the system's clock.
    pub(crate) fn tick(&self) {
        let elapsed = system_now().duration_since(self.0.started);
        // Half a million years fit.
        self.0.now.set(Tick(elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros())));
    }

    /// How long until an alarm rings, if one is set.
    pub(crate) fn until_next_alarm(&self) -> Option<Duration> {
        let next = self.0.next_alarm.get();
        (next != NEVER).then(|| Duration::from_micros(next.micros_since(self.now())))
    }

    /// Wakes those whose time has come, in that order.
    pub(crate) fn ring_due(&self) {
        while self.0.next_alarm.get() <= self.now() {
            let first = self.0.alarms.borrow_mut().due.pop_first();
            self.note_next();
            let Some((_, waker)) = first else { return };
            waker.wake();
        }
    }

    fn set(&self, at: Tick, waker: Waker) -> Due {
        let mut alarms = self.0.alarms.borrow_mut();
        let due = (at, alarms.set_before);
        alarms.set_before += 1;
        alarms.due.insert(due, waker);
        self.0.next_alarm.set(at.min(self.0.next_alarm.get()));
        due
    }

    fn unset(&self, due: Due) {
        let waker = self.0.alarms.borrow_mut().due.remove(&due);
        self.note_next();
        drop(waker);
    }

    fn note_next(&self) {
        let alarms = self.0.alarms.borrow();
        self.0.next_alarm.set(alarms.due.first_key_value().map_or(NEVER, |(due, _)| due.0));
    }
}

/// A timer that is set lazily: one that is already due earlier than asked is left alone, so that a deadline which
/// moves on with every message costs nothing.
#[derive(Default)]
pub(crate) struct Alarm {
    set: Option<Set>,
}

struct Set {
    clock: Clock,
    due: Due,
    waker: Waker,
}

impl Drop for Set {
    fn drop(&mut self) {
        self.clock.unset(self.due);
    }
}

impl Alarm {
    /// Makes sure that the task is woken at `deadline` or earlier. `Ready` when the alarm has just rung. One that is
    /// set for a time that has passed rings at the next look at the clock, not at once: the time stands still until
    /// then, and a task that insists on such a deadline must not stop it for all.
    pub(crate) fn poll_until(&mut self, task: &Context<'_>, clock: &Clock, deadline: Tick) -> Poll<()> {
        match &self.set {
            Some(set) if set.due.0 <= clock.now() && set.due.0 <= deadline => {
                self.set = None;
                return Poll::Ready(());
            }
            Some(set) if set.due.0 <= deadline && set.waker.will_wake(task.waker()) => return Poll::Pending,
            _ => {}
        }
        self.set = None;
        let waker = task.waker().clone();
        let due = clock.set(deadline, waker.clone());
        self.set = Some(Set { clock: clock.clone(), due, waker });
        Poll::Pending
    }
}
