//! The worker's clock, and the one timer a client has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use chain::Tick;

/// Counts ticks from when the worker started. The loop reads the system's clock when it comes back from the sockets;
/// everybody else is told that time.
#[derive(Clone)]
pub struct Clock(Rc<Time>);

struct Time {
    started: Instant,
    now: Cell<Tick>,
    alarms: RefCell<Alarms>,
}

/// When an alarm rings, and which of those that ring then it is.
type Due = (Tick, u64);

#[derive(Default)]
struct Alarms {
    due: BTreeMap<Due, Waker>,
    next: u64,
}

#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
fn system_now() -> Instant {
    Instant::now()
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        let time = Time { started: system_now(), now: Cell::default(), alarms: RefCell::default() };
        Self(Rc::new(time))
    }

    /// The time now, as of the last tick.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.0.now.get()
    }

    /// Reads the system's clock.
    pub(crate) fn tick(&self) {
        let elapsed = system_now().duration_since(self.0.started);
        self.0.now.set(Tick(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)));
    }

    /// How long until an alarm rings, if one is set.
    pub(crate) fn until_next_alarm(&self) -> Option<Duration> {
        let alarms = self.0.alarms.borrow();
        let (at, _) = alarms.due.first_key_value()?.0;
        Some(Duration::from_micros(at.micros_since(self.now())))
    }

    /// Wakes those whose time has come, in that order.
    pub(crate) fn ring_due(&self) {
        while let Some(waker) = self.take_due() {
            waker.wake();
        }
    }

    fn take_due(&self) -> Option<Waker> {
        let mut alarms = self.0.alarms.borrow_mut();
        let first = alarms.due.first_entry()?;
        (first.key().0 <= self.now()).then(|| first.remove())
    }

    fn set(&self, at: Tick, waker: Waker) -> Due {
        let mut alarms = self.0.alarms.borrow_mut();
        let due = (at, alarms.next);
        alarms.next += 1;
        alarms.due.insert(due, waker);
        due
    }

    fn unset(&self, due: Due) {
        let waker = self.0.alarms.borrow_mut().due.remove(&due);
        drop(waker);
    }
}

/// A timer that is set lazily: one that is already due earlier than asked is left alone, so that a deadline which
/// moves on with every message costs nothing.
#[derive(Default)]
pub struct Alarm {
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
    /// Makes sure that the task is woken at `deadline` or earlier. `Ready` when the alarm has just rung.
    pub fn poll_until(&mut self, task: &mut Context<'_>, clock: &Clock, deadline: Tick) -> Poll<()> {
        let is_kept = |set: &Set| {
            set.due.0 <= deadline && (set.due.0 <= clock.now() || set.waker.will_wake(task.waker()))
        };
        if !self.set.as_ref().is_some_and(is_kept) {
            self.set = None;
            if deadline > clock.now() {
                let waker = task.waker().clone();
                let due = clock.set(deadline, waker.clone());
                self.set = Some(Set { clock: clock.clone(), due, waker });
            }
        }
        if self.set.as_ref().is_none_or(|set| set.due.0 <= clock.now()) {
            self.set = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
