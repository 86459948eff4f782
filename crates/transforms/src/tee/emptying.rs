//! A second chain whose client has left: what it still owes is sent, for a while.

use std::rc::Rc;
use std::task::Poll;

use chain::{Cx, Progress, Task, Tick};

use super::Surroundings;
use super::mirror::{Mirror, Outcome};

/// What waits for a second chain whose client has left.
pub(super) struct Emptying {
    pub(super) shared: Rc<Surroundings>,
    pub(super) mirror: Mirror,
    pub(super) deadline: Tick,
}

impl Task for Emptying {
    fn poll(&mut self, cx: &mut Cx<'_, '_>) -> Poll<()> {
        loop {
            let mut out = Outcome::default();
            let polled = self.mirror.poll(cx, &self.shared.prepared, &mut out);
            self.shared.dropped.add(out.dropped);
            // Nobody learns from a PREPARE any more.
            self.mirror.preparing = 0;
            match polled {
                Ok(Progress::Moved) => {}
                Ok(Progress::Idle | Progress::Drained)
                    if cx.now < self.deadline && !self.mirror.is_empty() =>
                {
                    return Poll::Pending;
                }
                Ok(_) | Err(_) => break,
            }
        }
        let (_, dropped) = self.mirror.fail(cx, false);
        self.shared.dropped.add(dropped);
        Poll::Ready(())
    }

    fn deadline(&self) -> Option<Tick> {
        Some(self.mirror.deadline(true).map_or(self.deadline, |deadline| deadline.min(self.deadline)))
    }
}
