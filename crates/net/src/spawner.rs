//! Runs tasks on a worker; also those that belong to no single client, on the worker they are spawned on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use chain::{Cx, Spawner, Task};

use crate::clock::{Alarm, Clock};
use crate::reactor::Handle;

/// Spawns onto the worker's loop.
pub struct LocalSpawner {
    reactor: Handle,
}

impl LocalSpawner {
    /// A spawner of the worker whose loop this is.
    #[must_use]
    pub fn new(reactor: Handle) -> Self {
        Self { reactor }
    }
}

impl Spawner for LocalSpawner {
    fn spawn(&self, task: Box<dyn Task>) {
        let is_awaited = task.is_awaited();
        let running = Box::pin(Timed::new(task, self.reactor.clock()));
        if is_awaited {
            self.reactor.spawn_awaited(running);
        } else {
            // It ends by itself, or with its worker.
            self.reactor.spawn(running);
        }
    }
}

/// A task as a future: polled when it is woken, and when its deadline has come.
pub struct Timed<T> {
    task: T,
    clock: Clock,
    alarm: Alarm,
}

impl<T> Timed<T> {
    /// A task of the worker that has this clock.
    #[must_use]
    pub fn new(task: T, clock: &Clock) -> Self {
        Self { task, clock: clock.clone(), alarm: Alarm::default() }
    }
}

impl<T: Task + Unpin> Future for Timed<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let now = this.clock.now();
            if this.task.poll(&mut Cx { task, now }).is_ready() {
                return Poll::Ready(());
            }
            let Some(deadline) = this.task.deadline() else { return Poll::Pending };
            if this.alarm.poll_until(task, &this.clock, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
