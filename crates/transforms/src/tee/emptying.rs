//! A chain of a Tee's own whose client has left: what it still owes is sent, for a while.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use chain::{Cx, Progress, Task, Tick};
use observe::target;
use tracing::warn;

use super::Surroundings;
use super::mirror::{Mirror, Outcome};
use super::session::Recorder;

/// How long a chain may take for what waits when its client has left.
const EMPTYING_MAX: Duration = Duration::from_secs(5);

/// What waits for a chain whose client has left.
pub(super) struct Emptying {
    shared: Rc<Surroundings>,
    mirror: Mirror,
    /// The client's session, for a connection that must be begun anew.
    recorder: Rc<Recorder>,
    deadline: Tick,
    /// It is the second chain, whose losses are counted. Those of the chain of mismatches are logged.
    is_second: bool,
}

impl Emptying {
    pub(super) fn new(
        cx: &mut Cx<'_, '_>,
        shared: &Rc<Surroundings>,
        recorder: &Rc<Recorder>,
        mut mirror: Mirror,
        is_second: bool,
    ) -> Self {
        // Its transforms need not have been told, if the client broke off. A fault comes of the next poll, too.
        drop(mirror.client_done(cx));
        // Nobody learns from a PREPARE any more: what waits for its ids goes, or is lost, at the first poll.
        mirror.preparing = 0;
        let (shared, recorder) = (Rc::clone(shared), Rc::clone(recorder));
        Self { shared, mirror, recorder, deadline: cx.now.after(EMPTYING_MAX), is_second }
    }

    fn lose(&self, count: u64) {
        if self.is_second {
            self.shared.dropped.add(count);
        } else if count > 0 {
            warn!(target: target::TEE, "{count} requests were not sent down the chain of mismatches, or not answered there");
        }
    }
}

impl Task for Emptying {
    fn poll(&mut self, cx: &mut Cx<'_, '_>) -> Poll<()> {
        loop {
            let is_due = self.mirror.is_open() && self.mirror.is_due(cx.now, true);
            if is_due && !self.mirror.open_again(cx, &self.recorder) {
                break;
            }
            let mut out = Outcome::default();
            let polled = self.mirror.poll(cx, &self.shared.prepared, &mut out);
            self.lose(out.dropped);
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
        self.lose(dropped);
        Poll::Ready(())
    }

    fn deadline(&self) -> Option<Tick> {
        Some(self.mirror.deadline(true).map_or(self.deadline, |deadline| deadline.min(self.deadline)))
    }
}
