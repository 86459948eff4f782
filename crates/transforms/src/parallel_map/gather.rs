//! Requests whose answer is not simply the one reply of one instance: they went to all, or must wait for their turn.

use std::collections::VecDeque;

use chain::{Cx, Fault, KeptReply, REQUESTS_KEPT, Ticket, Up};
use wire::cql::session::{self, Said};
use wire::{ErrorKind, Protocol};

use super::agreement::Agreement;

/// Replies that wait for their turn, bytes; with more neither the client is read, nor an instance that does not owe the
/// reply that they wait for.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing.
    Read,
    /// It prepares a USE.
    PreparesUse,
    /// It is a USE, or runs one that was prepared.
    Use,
    Other,
}

/// A request, and what has come of it.
pub(super) struct Gather {
    ticket: Ticket,
    kind: Kind,
    /// The instance that it went to, or the first of them.
    to: usize,
    /// How many of them still owe a reply.
    waiting: usize,
    /// The first error; else the reply of the first instance that has one.
    best: Option<(usize, KeptReply)>,
    /// Who has said what, if it went to more than one instance.
    verdicts: Option<Box<Verdicts>>,
    /// An instance failed, with this to be said if no other replies: the first that may have run the request, if one may.
    lost: Option<(ErrorKind, String)>,
}

impl Gather {
    /// True if this instance still owes a reply.
    fn is_owed_by(&self, instance: usize) -> bool {
        match &self.verdicts {
            Some(verdicts) => verdicts.owing.contains(&instance),
            None => self.waiting > 0 && self.to == instance,
        }
    }
}

/// What instances have said to a request that they all got.
#[derive(Default)]
struct Verdicts {
    /// Those that have not answered. One of them may have failed.
    owing: Vec<usize>,
    /// Those that are in another keyspace now, and what the first of them has said.
    moved: Vec<usize>,
    keyspace: Option<KeptReply>,
    /// Those that have answered by an error.
    refused: Vec<usize>,
}

impl Verdicts {
    /// Notes a reply, and gives it back unless it says that its instance has moved.
    fn note(&mut self, instance: usize, reply: Option<KeptReply>) -> Option<KeptReply> {
        self.owing.retain(|owing| *owing != instance);
        let reply = reply?;
        if let Said::Keyspace(_) = session::said(reply.head(), reply.bytes()) {
            self.moved.push(instance);
            self.keyspace.get_or_insert(reply);
            return None;
        }
        if Protocol::Cql.is_error(reply.head()) {
            self.refused.push(instance);
        }
        Some(reply)
    }

    /// The reply of those that have moved, if that is where the client is from now on: those that refused are gone
    /// then. Where only instances have moved that are gone, it stays, as the others do.
    fn keyspace(self, has_other: bool, gone: &mut Vec<usize>) -> Option<KeptReply> {
        let is_here = !has_other || self.moved.iter().any(|moved| !gone.contains(moved));
        let reply = self.keyspace.filter(|_| is_here)?;
        gone.extend(self.refused);
        Some(reply)
    }
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
    /// Instances that get no more requests.
    gone: Vec<usize>,
    pub(super) agreement: Agreement,
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

    /// True while no more requests come to the instances, however much they hold.
    pub(super) fn stops(&self) -> bool {
        self.is_over_mark() || !self.agreement.is_settled()
    }

    /// False while so much waits for the reply of others that this instance is not to be read.
    pub(super) fn may_read(&self, instance: usize) -> bool {
        let first = || self.slots.get(*self.order.front()? as usize)?.as_ref();
        !self.is_ordered || !self.is_over_mark() || first().is_some_and(|first| first.is_owed_by(instance))
    }

    /// A request is given to these instances.
    pub(super) fn open(&mut self, ticket: Ticket, kind: Kind, to: &[usize]) -> u32 {
        let verdicts =
            (to.len() > 1).then(|| Box::new(Verdicts { owing: Vec::from(to), ..Verdicts::default() }));
        if kind == Kind::Use && verdicts.is_some() {
            self.agreement.begin();
        }
        let (waiting, to) = (to.len(), to.first().copied().unwrap_or_default());
        let gather = Gather { ticket, kind, to, waiting, best: None, verdicts, lost: None };
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
        self.get(index).is_some_and(|gather| gather.kind == Kind::Read)
    }

    /// True for a request of this number that went to one instance.
    pub(super) fn is_single(&mut self, index: u32) -> bool {
        self.get(index).is_some_and(|gather| gather.verdicts.is_none())
    }

    /// An instance has replied. `None`: with something that cannot be kept.
    pub(super) fn reply(&mut self, index: u32, instance: usize, reply: Option<KeptReply>) {
        let Some(gather) = self.get(index) else { return };
        let reply = match &mut gather.verdicts {
            Some(verdicts) => verdicts.note(instance, reply),
            None => reply,
        };
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
            // `Server` says that the request was not sent, and drivers send it again: not if another may have run it.
            let is_worse = |(known, _): &(ErrorKind, String)| *known == ErrorKind::Server && kind != *known;
            if gather.lost.as_ref().is_none_or(is_worse) {
                gather.lost = Some((kind, text.to_owned()));
            }
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

    /// An instance gets no more requests.
    pub(super) fn leaves(&mut self, instance: usize) {
        self.gone.push(instance);
    }

    /// Those that get no more: that have failed, or did not accept a USE that another one did.
    pub(super) fn gone(&self) -> &[usize] {
        &self.gone
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
            if let Some((_, reply)) = &gather.best {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(reply.bytes().len());
            }
            if gather.kind == Kind::Use && gather.verdicts.is_some() {
                self.agreement.end();
            }
            let has_other = gather.best.is_some();
            let keyspace = gather.verdicts.and_then(|verdicts| verdicts.keyspace(has_other, &mut self.gone));
            match (keyspace, gather.best, gather.lost) {
                (Some(reply), ..) => {
                    if let Said::Keyspace(keyspace) = session::said(reply.head(), reply.bytes()) {
                        self.agreement.choose(up.request(gather.ticket), reply.head().version, keyspace);
                    }
                    up.answer(cx, gather.ticket, reply)?;
                }
                (None, Some((_, reply)), _) => {
                    if gather.kind == Kind::PreparesUse {
                        learn(&reply);
                    }
                    up.answer(cx, gather.ticket, reply)?;
                }
                (None, None, Some((kind, text))) => up.answer_error(cx, gather.ticket, kind, &text)?,
                (None, None, None) => {
                    let text = "no instance of the chain gave a reply that could be kept";
                    up.answer_error(cx, gather.ticket, ErrorKind::Invalid, text)?;
                }
            }
        }
        if has_moved && self.slots.len() > REQUESTS_KEPT && self.free.len() == self.slots.len() {
            (self.slots, self.free, self.order, self.done) = Default::default();
        }
        Ok(has_moved)
    }
}

#[cfg(test)]
mod tests {
    use chain::Ticket;
    use wire::ErrorKind;

    use super::{Gathers, Kind};

    #[test]
    fn that_one_instance_may_have_run_a_request_is_said_though_another_did_not_get_it() {
        for (first, second) in
            [(ErrorKind::Server, ErrorKind::WriteTimeout), (ErrorKind::WriteTimeout, ErrorKind::Server)]
        {
            let mut gathers = Gathers::new(false);
            let index = gathers.open(Ticket::NONE, Kind::Other, &[0, 1]);
            gathers.lose(index, first, "the first");
            gathers.lose(index, second, "the second");
            let lost = gathers.get(index).and_then(|gather| gather.lost.as_ref()).map(|(kind, _)| *kind);
            assert_eq!(lost, Some(ErrorKind::WriteTimeout));
        }
    }
}
