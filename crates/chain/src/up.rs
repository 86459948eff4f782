//! The way up: from a sink through the hooks above it to the exit.

use std::ops::Range;

use wire::Side;

use crate::chunk::Chunk;
use crate::exit::Exit;
use crate::framing::Framing;
use crate::inlet::Inlet;
use crate::kept::KeptReply;
use crate::ledger::{Entry, IdTable, Ledger, Ticket};
use crate::message::{Answer, Message, is_passing, reply_message};
use crate::part::ChainPart;
use crate::stream::Cx;
use crate::tail::Tail;
use crate::transform::{Fault, Need, Transform, WHOLE_BYTES_MAX};

/// Values of which neighbours are often the same.
#[derive(Default)]
pub(crate) struct Repeated {
    value: u64,
    times: u64,
}

impl Repeated {
    pub(crate) fn note(&mut self, value: u64, each: impl FnOnce(u64, u64)) {
        if value != self.value {
            std::mem::take(self).end(each);
            self.value = value;
        }
        self.times += 1;
    }

    pub(crate) fn end(self, each: impl FnOnce(u64, u64)) {
        if self.times > 0 {
            each(self.value, self.times);
        }
    }
}

/// What the requester is told of a reply that is too large to be assembled, though a transform needs it whole.
#[must_use]
pub fn reply_too_large() -> String {
    format!("the reply is larger than the {WHOLE_BYTES_MAX} bytes a transform can be given")
}

/// The way up from a sink: the hooks above it, then the exit.
pub struct Up<'u> {
    pub(crate) part: &'u ChainPart,
    pub(crate) transforms: &'u mut Vec<Box<dyn Transform>>,
    pub(crate) ledger: &'u mut Ledger,
    pub(crate) answers: &'u mut Vec<Answer>,
    pub(crate) tail: &'u mut Tail,
    pub(crate) exit: &'u mut dyn Exit,
}

impl Up<'_> {
    /// False while the client, or a transform, cannot take more: then the server is not read.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.exit.is_ready()
    }

    /// Notes that a request that waited in the sink is given to a server connection.
    pub fn mark_sent(&mut self, ticket: Ticket) {
        crate::message::mark_sent(ticket, self.ledger);
    }

    /// The request of this ticket, if it has not had its end.
    #[must_use]
    pub fn request(&self, ticket: Ticket) -> Option<&Entry> {
        self.ledger.get(ticket)
    }

    /// How much of the reply to this request somebody wants to see.
    #[must_use]
    pub fn reply_need(&self, ticket: Ticket) -> Need {
        self.request(ticket).map(|entry| entry.reply_need).unwrap_or_default()
    }

    /// An empty list for the messages of a run; `replies` takes it back.
    #[must_use]
    pub fn list(&self) -> Vec<Message> {
        self.part.pool.take_list()
    }

    /// Takes back a list that was not needed.
    pub fn give_back(&self, messages: Vec<Message>) {
        self.part.pool.give_list(messages);
    }

    /// Sends replies up. The last one may be the head of a large reply, whose tail follows by `reply_tail`.
    ///
    /// # Errors
    /// What a transform or the exit said.
    pub fn replies(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        mut messages: Vec<Message>,
    ) -> Result<(), Fault> {
        if messages.is_empty() {
            self.give_back(messages);
            return Ok(());
        }
        if let Some(metrics) = &self.part.metrics {
            metrics.responses_batch_size.record_n(messages.len() as u64, 1);
            metrics.record_at_once(&metrics.sink_to_source, messages.len() as u64);
        }
        let result = self.run_up(cx, chunk, &mut messages, self.transforms.len());
        self.part.pool.give_list(messages);
        result
    }

    /// Sends more bytes of the large reply that ended the last run.
    ///
    /// # Errors
    /// What the exit said.
    pub fn reply_tail(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        range: Range<usize>,
    ) -> Result<(), Fault> {
        if !self.tail.passes(range.len()) {
            return Ok(());
        }
        self.exit.deliver_bytes(cx, chunk, range).map_err(Fault::placed)
    }

    /// Sends up the whole replies at the front of what was read, if nobody looks at any. Stops in front of one that
    /// answers nothing. Says how many bytes went.
    ///
    /// # Errors
    /// What the exit said.
    pub fn plain_replies(
        &mut self,
        cx: &mut Cx<'_, '_>,
        inlet: &Inlet,
        awaited: &mut IdTable,
    ) -> Result<usize, Fault> {
        if !self.transforms.is_empty() || self.part.prepared.is_some() || self.exit.looks() {
            return Ok(0);
        }
        let Some((chunk, place)) = inlet.place() else { return Ok(0) };
        let protocol = self.part.protocol;
        let metrics = self.part.metrics.as_deref();
        let framing = Framing { protocol, side: Side::Response, frame_bytes_max: u32::MAX };
        let mut latencies = Repeated::default();
        let (bytes, count) = framing.whole(inlet.bytes(), |head| {
            if protocol.is_unsolicited(head) {
                return true;
            }
            let Some(ticket) = awaited.take(head.id) else { return false };
            if let Some(metrics) = metrics {
                if let Some(age) = self.ledger.age(ticket, cx.now).filter(|_| metrics.has_latencies) {
                    latencies.note(age, |age, times| metrics.record_plain(age, times));
                }
                if protocol.is_error(head) {
                    metrics.count_plain_error();
                }
            }
            self.ledger.close(ticket);
            true
        });
        if let Some(metrics) = metrics.filter(|_| count > 0) {
            latencies.end(|age, times| metrics.record_plain(age, times));
            metrics.responses_batch_size.record_n(count, 1);
            metrics.record_at_once(&metrics.sink_to_source, count);
        }
        if bytes > 0 {
            let range = place.start..place.start + bytes;
            self.exit.deliver_bytes(cx, chunk, range).map_err(Fault::placed)?;
        }
        Ok(bytes)
    }

    /// Answers a request with an error, in its server's stead. It waits while a large reply is half out.
    ///
    /// # Errors
    /// As for `replies`.
    pub fn answer_error(
        &mut self,
        cx: &mut Cx<'_, '_>,
        ticket: Ticket,
        kind: wire::ErrorKind,
        text: &str,
    ) -> Result<(), Fault> {
        let Some(entry) = self.ledger.get(ticket) else { return Ok(()) };
        let frame = self.part.protocol.error_reply(&entry.head, kind, text);
        if let Some(message) = reply_message(self.part.protocol, &self.part.pool, frame, ticket) {
            self.answers.push(Answer { layer: self.transforms.len(), message });
        }
        if self.may_answer() { self.answered(cx) } else { Ok(()) }
    }

    /// Answers a request with a reply that was kept. It waits while a large reply is half out.
    ///
    /// # Errors
    /// As for `replies`.
    pub fn answer(&mut self, cx: &mut Cx<'_, '_>, ticket: Ticket, reply: KeptReply) -> Result<(), Fault> {
        self.answers.push(Answer { layer: self.transforms.len(), message: reply.into_message(ticket) });
        if self.may_answer() { self.answered(cx) } else { Ok(()) }
    }

    /// True while a large reply of another chain is half out.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.exit.is_torn()
    }

    /// False while a large reply is half out.
    pub(crate) fn may_answer(&self) -> bool {
        self.tail.rest == 0 && !self.exit.is_torn()
    }

    /// Replaces a reply that is too large to be assembled by an error, and drops its tail.
    ///
    /// # Errors
    /// As for `replies`.
    pub fn refuse_large_reply(&mut self, cx: &mut Cx<'_, '_>, ticket: Ticket) -> Result<(), Fault> {
        self.answer_error(cx, ticket, wire::ErrorKind::Invalid, &reply_too_large())?;
        *self.tail = Tail { is_dropped: true, ..Tail::default() };
        Ok(())
    }

    /// Delivers what was answered on the way down, neighbours of one layer in one run.
    pub(crate) fn answered(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        let mut answers = std::mem::take(self.answers);
        let mut messages = self.list();
        let mut rest = answers.drain(..).peekable();
        // Every answer brings its own bytes: the chunk of the run is never looked at.
        let nothing = self.part.pool.own(Vec::new());
        while let Some(answer) = rest.next() {
            let layer = answer.layer;
            messages.push(answer.message);
            if rest.peek().is_none_or(|next| next.layer != layer) {
                self.run_up(cx, &nothing, &mut messages, layer)?;
                messages.clear();
            }
        }
        drop(rest);
        self.part.pool.give_list(messages);
        // Keeps the capacity, unless an answer was answered in turn.
        if self.answers.is_empty() {
            *self.answers = answers;
        }
        Ok(())
    }

    /// Runs the hooks above `layer`, then the exit, and ends the requests that were answered.
    fn run_up(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        messages: &mut Vec<Message>,
        layer: usize,
    ) -> Result<(), Fault> {
        self.ledger.learn(chunk, messages);
        let mut batch = self.part.batch(Side::Response, chunk, messages, (self.ledger, self.answers));
        batch.layer = layer;
        if layer == self.transforms.len() {
            self.part.count_replies(layer, cx.now, &batch);
        }
        for (above, transform) in self.transforms.iter_mut().enumerate().take(layer).rev() {
            batch.layer = above;
            transform.responses(cx, &mut batch).map_err(|fault| self.part.fault_at(above, fault))?;
            self.part.count_replies(above, cx.now, &batch);
        }
        // What is wrong beyond the exit is no failure of this chain.
        self.exit.deliver(cx, &mut batch).map_err(Fault::placed)?;
        if let Some(last) = batch.last().filter(|last| last.own.is_none()) {
            *self.tail = Tail::of(last);
        }
        if let Some(metrics) = self.part.metrics.as_ref().filter(|metrics| metrics.has_latencies) {
            batch.each_age(cx.now, is_passing, |age, times| metrics.latency.record_n(age, times));
        }
        for message in batch.messages.iter().filter(|message| is_passing(message)) {
            batch.ledger.close(message.ticket);
        }
        Ok(())
    }
}
