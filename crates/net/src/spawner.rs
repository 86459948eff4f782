//! Runs tasks that belong to no single client on the worker they are spawned on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use chain::{Cx, Spawner, Task};

use crate::clock::{Alarm, Clock};

/// Spawns onto the worker's runtime; to be used on its thread only.
pub struct LocalSpawner {
    clock: Clock,
}

impl LocalSpawner {
    /// A spawner whose tasks are told the time by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl Spawner for LocalSpawner {
    fn spawn(&self, task: Box<dyn Task>) {
        let running = Running { task, clock: self.clock, alarm: Alarm::default() };
        // It ends by itself, or with its worker.
        drop(tokio::task::spawn_local(running));
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
