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

/// Turns of one poll before the clients of the worker have theirs.
const TURNS_MAX: usize = 4;

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
        now: Tick,
        shared: &Rc<Surroundings>,
        recorder: &Rc<Recorder>,
        mut mirror: Mirror,
        is_second: bool,
    ) -> Self {
        // Nobody learns from a PREPARE any more: what waits for its ids goes, or is lost, at the first poll.
        mirror.preparing = 0;
        let (shared, recorder) = (Rc::clone(shared), Rc::clone(recorder));
        Self { shared, mirror, recorder, deadline: now.after(EMPTYING_MAX), is_second }
    }

    fn lose(&self, count: u64) {
        if self.is_second {
            self.shared.dropped.add(count);
        } else if count > 0 {
            warn!(target: target::TEE, "{count} requests were not sent down the chain of mismatches, or not answered there");
        }
    }

    /// Moves what can be moved; `None` when it is over.
    fn turn(&mut self, cx: &mut Cx<'_, '_>) -> Option<Progress> {
        // Its transforms need not have been told, if the client broke off.
        self.mirror.client_done(cx).ok()?;
        let is_due = self.mirror.is_open() && self.mirror.is_due(cx.now, true);
        if is_due && !self.mirror.open_again(cx, &self.recorder) {
            return None;
        }
        let mut out = Outcome::default();
        let polled = self.mirror.poll(cx, &self.shared.prepared, &mut out, true);
        self.lose(out.dropped);
        let is_over = cx.now >= self.deadline || self.mirror.is_empty();
        polled.ok().filter(|_| !is_over)
    }
}

impl Task for Emptying {
    fn poll(&mut self, cx: &mut Cx<'_, '_>) -> Poll<()> {
        for _ in 0..TURNS_MAX {
            match self.turn(cx) {
                Some(Progress::Moved) => {}
                Some(Progress::Idle | Progress::Drained) => return Poll::Pending,
                None => {
                    let (_, dropped) = self.mirror.fail(cx, false);
                    self.lose(dropped);
                    return Poll::Ready(());
                }
            }
        }
        cx.task.waker().wake_by_ref();
        Poll::Pending
    }

    fn deadline(&self) -> Option<Tick> {
        Some(self.mirror.deadline(true).map_or(self.deadline, |deadline| deadline.min(self.deadline)))
    }

    fn is_awaited(&self) -> bool {
        true
    }
}
