//! The worker's clock, and the one timer a client has.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chain::Tick;
use tokio::time::{Instant, Sleep};

/// Counts ticks from when the worker started. Read once a poll, never per message.
#[derive(Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Tick {
        Tick(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn instant(&self, tick: Tick) -> Instant {
        self.started + Duration::from_micros(tick.0)
    }
}

/// A timer that is set lazily: one that is already due earlier than asked is left alone, so that a deadline which
/// moves on with every message costs nothing.
#[derive(Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    set_for: Option<Tick>,
}

impl Alarm {
    /// Makes sure that the task is woken at `deadline` or earlier. `Ready` when the alarm has just rung.
    pub fn poll_until(&mut self, task: &mut Context<'_>, clock: &Clock, deadline: Tick) -> Poll<()> {
        if self.set_for.is_none_or(|set_for| set_for > deadline) {
            let instant = clock.instant(deadline);
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(instant),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(instant))),
            }
            self.set_for = Some(deadline);
        }
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        match sleep.as_mut().poll(task) {
            Poll::Ready(()) => {
                self.set_for = None;
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
