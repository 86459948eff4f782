//! When requests of one connection have waited too long for their replies.

use std::collections::VecDeque;
use std::time::Duration;

use chain::Tick;

use super::slots::{SlotName, Slots};

/// Entries that may be those of answered requests, besides twice as many as requests that are not: to look through them
/// more often would cost more than their memory.
const ANSWERED_MAX: usize = 256;

/// Requests in the order in which their time began.
pub(super) struct Timeouts {
    /// How long each may take; `None`: as long as it likes.
    timeout: Option<Duration>,
    /// Until when each may take. Those that are answered go when nothing before them is awaited, or they are many.
    pub(super) begun: VecDeque<(Tick, SlotName)>,
}

impl Timeouts {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, begun: VecDeque::new() }
    }

    /// The time of a request begins.
    pub(super) fn begin(&mut self, now: Tick, name: SlotName) {
        if let Some(timeout) = self.timeout {
            self.begun.push_back((now.after(timeout), name));
        }
    }

    /// The time of all of them begins anew.
    pub(super) fn begin_again(&mut self, now: Tick) {
        if let Some(timeout) = self.timeout {
            self.begun.iter_mut().for_each(|(deadline, _)| *deadline = now.after(timeout));
        }
    }

    /// When [`Timeouts::take_late`] wants to be called again.
    pub(super) fn deadline(&self) -> Option<Tick> {
        self.begun.front().map(|(deadline, _)| *deadline)
    }

    /// The next request that is not answered and whose time is over. Its slot may have been orphaned before.
    pub(super) fn take_late(&mut self, now: Tick, slots: &Slots) -> Option<SlotName> {
        while let Some((deadline, name)) = self.begun.front().copied() {
            let is_due = slots.is_current(name);
            if is_due && deadline > now {
                break;
            }
            self.begun.pop_front();
            if is_due {
                return Some(name);
            }
        }
        self.drop_answered(slots);
        None
    }

    /// A request that is not answered for long must not keep the entries of all that were sent after it.
    fn drop_answered(&mut self, slots: &Slots) {
        let entries_max = 2 * slots.used() + ANSWERED_MAX;
        if self.begun.len() > entries_max {
            self.begun.retain(|(_, name)| slots.is_current(*name));
            self.begun.shrink_to(2 * entries_max);
        }
    }
}
