//! Runs tasks that belong to no single client on the worker they are spawned on.

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
        let running = Running { task, clock: self.reactor.clock().clone(), alarm: Alarm::default() };
        // It ends by itself, or with its worker.
        self.reactor.spawn(Box::pin(running));
    }
}

struct Running {
    task: Box<dyn Task>,
    clock: Clock,
    alarm: Alarm,
}

impl Future for Running {
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
