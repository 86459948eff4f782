//! Requests whose answer is not simply the one reply of one instance: they went to all, or must wait for their turn.

use std::collections::VecDeque;

use chain::{Cx, Fault, KeptReply, Ticket, Up};
use wire::{ErrorKind, Protocol};

/// Replies that wait for their turn, bytes; with more the client is not read.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A request, and what has come of it.
pub(super) struct Gather {
    pub(super) ticket: Ticket,
    /// Instances that still owe a reply.
    pub(super) waiting: usize,
    /// It went to one instance.
    is_single: bool,
    /// It prepares a USE.
    pub(super) prepares_use: bool,
    /// It changes nothing.
    pub(super) is_read: bool,
    /// The first error; else the reply of the first instance that has one.
    best: Option<(usize, KeptReply)>,
    /// An instance failed, with this to be said if no other replies.
    lost: Option<(ErrorKind, String)>,
}

/// All of one client.
#[derive(Default)]
pub(super) struct Gathers {
    slots: Vec<Option<Gather>>,
    free: Vec<u32>,
    /// `ordered_results`: the requests in the order in which they are answered.
    order: VecDeque<u32>,
    is_ordered: bool,
    waiting_bytes: usize,
    /// Those that are complete and in nobody's way.
    done: Vec<u32>,
}

impl Gathers {
    pub(super) fn new(is_ordered: bool) -> Self {
        Self { is_ordered, ..Self::default() }
    }

    /// True if every request must wait for those before it.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    pub(super) fn is_over_mark(&self) -> bool {
        self.waiting_bytes > WAITING_BYTES_MAX
    }

    /// Awaits a request of so many instances.
    pub(super) fn open(&mut self, ticket: Ticket, waiting: usize, prepares_use: bool, is_read: bool) -> u32 {
        let is_single = waiting == 1;
        let gather = Gather { ticket, waiting, is_single, prepares_use, is_read, best: None, lost: None };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = Some(gather);
        }
        if self.is_ordered {
            self.order.push_back(index);
        }
        index
    }

    fn get(&mut self, index: u32) -> Option<&mut Gather> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// True for the request of this number if it changes nothing.
    pub(super) fn is_read(&mut self, index: u32) -> bool {
        self.get(index).is_some_and(|gather| gather.is_read)
    }

    /// True for a request of this number that went to one instance.
    pub(super) fn is_single(&mut self, index: u32) -> bool {
        self.get(index).is_some_and(|gather| gather.is_single)
    }

    /// An instance has replied. `None`: with something that cannot be kept.
    pub(super) fn reply(&mut self, index: u32, instance: usize, reply: Option<KeptReply>) {
        let Some(gather) = self.get(index) else { return };
        if let Some(reply) = reply {
            let is_error = |reply: &KeptReply| Protocol::Cql.is_error(reply.head());
            let is_better = gather.best.as_ref().is_none_or(|(from, best)| {
                (!is_error(best) && is_error(&reply))
                    || (is_error(best) == is_error(&reply) && instance < *from)
            });
            let bytes = reply.bytes().len();
            if is_better {
                let before = gather.best.replace((instance, reply));
                let before = before.map_or(0, |(_, reply)| reply.bytes().len());
                self.waiting_bytes = (self.waiting_bytes + bytes).saturating_sub(before);
            }
        }
        self.replied(index);
    }

    /// An instance has failed before it replied.
    pub(super) fn lose(&mut self, index: u32, kind: ErrorKind, text: &str) {
        if let Some(gather) = self.get(index) {
            gather.lost.get_or_insert_with(|| (kind, text.to_owned()));
            self.replied(index);
        }
    }

    fn replied(&mut self, index: u32) {
        let is_ordered = self.is_ordered;
        let Some(gather) = self.get(index) else { return };
        gather.waiting = gather.waiting.saturating_sub(1);
        if gather.waiting == 0 && !is_ordered {
            self.done.push(index);
        }
    }

    /// The next request whose answer can go.
    fn next(&mut self) -> Option<u32> {
        if !self.is_ordered {
            return self.done.pop();
        }
        let first = *self.order.front()?;
        if self.get(first).is_some_and(|gather| gather.waiting > 0) {
            return None;
        }
        self.order.pop_front()
    }

    /// Answers what can be answered. Ids of statements that were prepared and are a USE are given to `learn`. True if
    /// anything went.
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_, '_>,
        up: &mut Up<'_>,
        mut learn: impl FnMut(&KeptReply),
    ) -> Result<bool, Fault> {
        let mut has_moved = false;
        while let Some(index) = self.next() {
            has_moved = true;
            let Some(gather) = self.slots.get_mut(index as usize).and_then(Option::take) else { continue };
            self.free.push(index);
            match (gather.best, gather.lost) {
                (Some((_, reply)), _) => {
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(reply.bytes().len());
                    if gather.prepares_use {
                        learn(&reply);
                    }
                    up.answer(cx, gather.ticket, reply)?;
                }
                (None, Some((kind, text))) => up.answer_error(cx, gather.ticket, kind, &text)?,
                (None, None) => {
                    let text = "no instance of the chain gave a reply that could be kept";
                    up.answer_error(cx, gather.ticket, ErrorKind::Invalid, text)?;
                }
            }
        }
        Ok(has_moved)
    }
}
