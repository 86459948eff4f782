//! The chain: drives the hooks, and has the face of a sink itself (submit, poll), so that a transform can own one.

use std::ops::Range;
use std::rc::Rc;

use wire::{Head, Malformed, Side};

use crate::chunk::Chunk;
use crate::enrich::{self, Enrichment};
use crate::exit::{Exit, Shut};
use crate::framing::Framing;
use crate::identity::Identity;
use crate::inlet::Inlet;
use crate::ledger::{IN_FLIGHT_MAX, Ledger, Stage, Ticket, id_in_flight};
use crate::message::{Answer, Message, reply_message};
use crate::part::ChainPart;
use crate::stream::{Cx, Tick};
use crate::tail::Tail;
use crate::transform::{Fault, Need, Progress, Sink, Transform, Why};
use crate::up::Up;

/// The chain of one client.
pub struct Chain {
    part: Rc<ChainPart>,
    transforms: Vec<Box<dyn Transform>>,
    /// Which of them have something going on besides their hooks. Nearly always none.
    polled: Vec<usize>,
    sink: Box<dyn Sink>,
    ledger: Ledger,
    answers: Vec<Answer>,
    request_tail: Tail,
    reply_tail: Tail,
}

impl Chain {
    /// The chain of one client, of these transforms and this sink.
    pub(crate) fn new(
        part: &Rc<ChainPart>,
        transforms: Vec<Box<dyn Transform>>,
        sink: Box<dyn Sink>,
    ) -> Self {
        let is_polled = |layer: &usize| transforms.get(*layer).is_some_and(|transform| transform.is_polled());
        let mut ledger = Ledger::new(transforms.len());
        let enrichment = |known| Box::new(Enrichment::new(part.protocol, known));
        ledger.enrichment = part.prepared.as_ref().map(enrichment);
        Self {
            polled: (0..transforms.len()).filter(is_polled).collect(),
            ledger,
            transforms,
            sink,
            part: Rc::clone(part),
            answers: Vec::new(),
            request_tail: Tail::default(),
            reply_tail: Tail::default(),
        }
    }

    /// What this chain shares with the other clients of its worker.
    #[must_use]
    pub fn part(&self) -> &Rc<ChainPart> {
        &self.part
    }

    /// Who its client is.
    #[must_use]
    pub fn identity(&self) -> &Rc<Identity> {
        self.ledger.identity()
    }

    /// Says who its client is: for a chain that stands in another one, whose [`crate::Batch::identity`] it is.
    pub fn set_identity(&mut self, identity: Rc<Identity>) {
        self.ledger.set_identity(identity);
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ledger.len() + self.sink.plain_in_flight()
    }

    /// As [`crate::SubChain::free_id`].
    pub(crate) fn free_id(&self) -> i16 {
        self.ledger.free_id()
    }

    /// True when no more should be submitted for now.
    #[must_use]
    pub fn is_over_mark(&self) -> bool {
        !self.answers.is_empty()
            || self.sink.is_over_mark()
            || self.in_flight() >= IN_FLIGHT_MAX
            || self.owners().any(Transform::is_over_mark)
    }

    /// True while a request is in flight whose rest has not come.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.request_tail.rest > 0 && self.ledger.get(self.request_tail.ticket).is_some()
    }

    fn owners(&self) -> impl Iterator<Item = &dyn Transform> {
        self.polled.iter().filter_map(|layer| self.transforms.get(*layer).map(|transform| &**transform))
    }

    /// How much of a request with this opcode somebody wants to see.
    #[must_use]
    pub fn request_need(&self, opcode: u8) -> Need {
        let transforms = self.transforms.iter().map(|transform| transform.request_need(opcode)).max();
        let own = self.part.prepared.as_ref().map(|_| enrich::request_need(self.part.protocol, opcode));
        self.sink.request_need(opcode).max(transforms.max(own).unwrap_or_default())
    }

    /// An empty list for the messages of a run; `submit` takes it back, empty or not.
    #[must_use]
    pub fn list(&self) -> Vec<Message> {
        self.part.pool.take_list()
    }

    /// Sends requests down the chain: enters each in the ledger, runs the hooks, gives what is left to the sink. What is
    /// wrong with the first that has the id of one in flight is the answer, where that matters; from that one on none went.
    ///
    /// # Errors
    /// What a transform or the sink said.
    pub fn submit(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        mut messages: Vec<Message>,
    ) -> Result<Option<Malformed>, Fault> {
        let repeated = if self.part.believes_replies { self.ledger.claim_ids(&mut messages) } else { None };
        for message in &mut messages {
            self.enter(message, cx.now, Need::None);
        }
        if messages.is_empty() {
            self.part.pool.give_list(messages);
        } else {
            self.submit_entered(cx, chunk, messages)?;
        }
        Ok(repeated)
    }

    /// Enters a request in the ledger. `need`: what is wanted of its reply besides what the transforms want.
    #[inline(always)]
    pub(crate) fn enter(&mut self, message: &mut Message, now: Tick, need: Need) {
        let opcode = message.head.opcode;
        let needs = self.transforms.iter().map(|transform| transform.reply_need(opcode)).max();
        message.ticket = self.ledger.open(message.head, now, needs.unwrap_or_default().max(need));
    }

    /// As [`Chain::submit`], for requests that stand in the ledger.
    #[inline]
    pub(crate) fn submit_entered(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        mut messages: Vec<Message>,
    ) -> Result<(), Fault> {
        self.ledger.note(chunk, &messages);
        if let Some(metrics) = &self.part.metrics {
            metrics.total.add(1);
            metrics.requests_batch_size.record_n(messages.len() as u64, 1);
        }
        let result = self.run_down(cx, chunk, &mut messages, 0);
        if self.ledger.views.is_some() {
            self.forget_views();
        }
        if let Some(last) = messages.last() {
            self.request_tail = Tail::of(last);
        }
        self.part.pool.give_list(messages);
        result
    }

    /// What somebody asked about the requests of a run is good for that run only. Kept apart from chains in which nobody
    /// asks.
    #[cold]
    #[inline(never)]
    fn forget_views(&mut self) {
        if let Some(views) = self.ledger.views.take() {
            self.part.pool.give_views(views);
        }
    }

    /// Runs the hooks from `first` on, then the sink.
    fn run_down(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        messages: &mut Vec<Message>,
        first: usize,
    ) -> Result<(), Fault> {
        let mut batch =
            self.part.batch(Side::Request, chunk, messages, (&mut self.ledger, &mut self.answers));
        for (layer, transform) in self.transforms.iter_mut().enumerate().skip(first) {
            batch.layer = layer;
            self.part.count_run(layer);
            transform.requests(cx, &mut batch).map_err(|fault| self.part.fault_at(layer, fault))?;
        }
        batch.layer = self.transforms.len();
        let layer = batch.layer;
        self.part.count_run(layer);
        self.part.count_sent(cx.now, &batch);
        self.sink.submit(cx, &mut batch).map_err(|fault| self.part.fault_at(layer, fault))
    }

    /// Sends the whole requests at the front of what was read, if nobody in this chain looks at any: they stand in no
    /// ledger and make no list, only their ids are noted. Says how many bytes went.
    ///
    /// # Errors
    /// What the sink said.
    pub fn submit_plain(
        &mut self,
        cx: &mut Cx<'_, '_>,
        inlet: &Inlet,
        frame_bytes_max: u32,
    ) -> Result<usize, Fault> {
        let nobody_looks = self.transforms.is_empty() && self.part.prepared.is_none();
        let Some((chunk, place)) = inlet.place().filter(|_| nobody_looks) else { return Ok(0) };
        let Some(awaited) = self.sink.plain(cx.now) else { return Ok(0) };
        let ticket = Ticket::plain(cx.now);
        let framing = Framing { protocol: self.part.protocol, side: Side::Request, frame_bytes_max };
        let (bytes, count) = framing.whole(inlet.bytes(), |head| {
            awaited.insert(head.id, ticket);
            true
        });
        if count == 0 {
            return Ok(0);
        }
        if let Some(metrics) = &self.part.metrics {
            metrics.total.add(1);
            metrics.requests_batch_size.record_n(count, 1);
            metrics.record_at_once(&metrics.source_to_sink, count);
        }
        self.part.count_run(0);
        let sent = self.sink.submit_plain(cx, chunk, place.start..place.start + bytes);
        sent.map_err(|fault| self.part.fault_at(0, fault)).map(|()| bytes)
    }

    /// Answers a request that no transform will see with an error. The caller discards its bytes. As with
    /// [`Chain::submit`], it may be what is wrong with its id instead.
    #[cold]
    pub fn refuse(&mut self, cx: &Cx<'_, '_>, head: Head, text: &str) -> Option<Malformed> {
        if self.part.believes_replies && !self.ledger.claim(head.id) {
            return Some(id_in_flight(&head));
        }
        let ticket = self.ledger.open(head, cx.now, Need::None);
        let frame = self.part.protocol.error_reply(&head, wire::ErrorKind::Invalid, text);
        if let Some(message) = reply_message(self.part.protocol, &self.part.pool, frame, ticket) {
            self.answers.push(Answer { layer: 0, message });
        }
        None
    }

    /// Sends more bytes of the large request that ended the last run.
    ///
    /// # Errors
    /// What the sink said.
    pub fn submit_tail(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        range: Range<usize>,
    ) -> Result<(), Fault> {
        for layer in &self.polled {
            let Some(transform) = self.transforms.get_mut(*layer) else { continue };
            let taken = transform.request_tail(cx, chunk, range.clone());
            taken.map_err(|fault| self.part.fault_at(*layer, fault))?;
        }
        if !self.request_tail.passes(range.len()) {
            return Ok(());
        }
        let layer = self.transforms.len();
        self.sink.submit_tail(cx, chunk, range).map_err(|fault| self.part.fault_at(layer, fault))
    }

    /// Lets the sink move what it can, and sends replies up to `exit`.
    ///
    /// # Errors
    /// What a transform, the sink or the exit said.
    // It has two callers, a client and a chain in a chain, and each is the cheaper for knowing its exit.
    #[inline(always)]
    pub fn poll(&mut self, cx: &mut Cx<'_, '_>, exit: &mut dyn Exit) -> Result<Progress, Fault> {
        if self.polled.is_empty() { self.poll_sink(cx, exit) } else { self.poll_owners(cx, exit) }
    }

    #[inline(always)]
    fn poll_sink(&mut self, cx: &mut Cx<'_, '_>, exit: &mut dyn Exit) -> Result<Progress, Fault> {
        let layers = self.transforms.len();
        let mut progress = Progress::Idle;
        let mut up = Up {
            part: &self.part,
            transforms: &mut self.transforms,
            ledger: &mut self.ledger,
            answers: &mut self.answers,
            tail: &mut self.reply_tail,
            exit,
        };
        if !up.answers.is_empty() && up.may_answer() {
            up.answered(cx)?;
            progress = Progress::Moved;
        }
        let moved = self.sink.poll(cx, &mut up).map_err(|fault| up.part.fault_at(layers, fault))?;
        self.ledger.give_room_back();
        match moved {
            Progress::Idle => Ok(progress),
            // An answer that waited for the end of a large reply may go now.
            Progress::Drained if !self.answers.is_empty() => Ok(Progress::Moved),
            moved => Ok(moved.max(progress)),
        }
    }

    /// As [`Self::poll`], where transforms have chains of their own: these are polled first.
    #[cold]
    fn poll_owners(&mut self, cx: &mut Cx<'_, '_>, exit: &mut dyn Exit) -> Result<Progress, Fault> {
        let is_free = self.reply_tail.rest == 0 && self.answers.is_empty() && !exit.is_torn();
        let is_ready = is_free && exit.is_ready();
        let progress = self.poll_each_owner(cx, is_ready)?;
        // The rest of what is half out must come, whatever waits: an owner may not be read before it.
        let is_full = self.reply_tail.rest == 0 && self.owners().any(Transform::is_full);
        let moved = if is_full { self.poll_sink(cx, &mut Shut(exit))? } else { self.poll_sink(cx, exit)? };
        if moved == Progress::Drained && (!is_ready || self.is_restless()) {
            return Ok(Progress::Moved);
        }
        // One that has a chain of its own may go on though the sink does not.
        Ok(moved.max(progress))
    }

    fn poll_each_owner(&mut self, cx: &mut Cx<'_, '_>, is_ready: bool) -> Result<Progress, Fault> {
        let mut progress = Progress::Idle;
        // What they answer brings its own bytes.
        let nothing = self.part.pool.own(Vec::new());
        let mut none = Vec::new();
        for layer in &self.polled {
            let Some(transform) = self.transforms.get_mut(*layer) else { continue };
            let kept = (&mut self.ledger, &mut self.answers);
            let mut batch = self.part.batch(Side::Request, &nothing, &mut none, kept);
            batch.layer = *layer;
            let polled = transform.polled(cx, &mut batch, is_ready);
            progress = progress.max(polled.map_err(|fault| self.part.fault_at(*layer, fault))?);
        }
        Ok(progress)
    }

    /// True if a transform with a chain of its own goes on because of what came up.
    fn is_restless(&self) -> bool {
        let is_restless = |layer: &usize| self.transforms.get(*layer).is_some_and(|t| t.is_restless());
        self.polled.iter().any(is_restless)
    }

    /// Wakes the transforms whose deadline has come, unless the rest of a large request is still to come.
    ///
    /// # Errors
    /// What a transform said.
    pub fn wake_due(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        for layer in 0..self.transforms.len() {
            let deadline = self.transforms.get(layer).and_then(|transform| transform.deadline());
            if deadline.is_some_and(|deadline| deadline <= cx.now) && !self.request_tail.is_due() {
                self.wake(cx, layer, Why::Deadline)?;
            }
        }
        Ok(())
    }

    /// Tells every transform that no more requests will come, the upper ones first: what one releases the lower ones
    /// still see before they are told. Nobody is told while the rest of a large request is due: that would be torn.
    ///
    /// # Errors
    /// What a transform or the sink said.
    pub fn client_done(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        self.release(cx, Why::ClientDone, |sink, cx| sink.client_done(cx))
    }

    /// As [`Self::client_done`], but that more will come: see [`Why::LetGo`].
    ///
    /// # Errors
    /// What a transform or the sink said.
    pub fn let_go(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        self.release(cx, Why::LetGo, |sink, cx| sink.let_go(cx))
    }

    fn release(
        &mut self,
        cx: &mut Cx<'_, '_>,
        why: Why,
        tell: fn(&mut dyn Sink, &mut Cx<'_, '_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.request_tail.is_due() {
            return Ok(());
        }
        let layers = self.transforms.len();
        (0..layers).try_for_each(|layer| self.wake(cx, layer, why))?;
        tell(&mut *self.sink, cx).map_err(|fault| self.part.fault_at(layers, fault))
    }

    /// Tells every transform that this client is being closed. What it releases goes nowhere any more.
    pub fn close(&mut self, cx: &mut Cx<'_, '_>) {
        for layer in 0..self.transforms.len() {
            // A fault while closing changes nothing: the client is gone either way.
            drop(self.wake(cx, layer, Why::Closing));
        }
        self.sink.close(cx);
    }

    /// Wakes one transform, and sends on what it releases.
    fn wake(&mut self, cx: &mut Cx<'_, '_>, layer: usize, why: Why) -> Result<(), Fault> {
        // What is released brings its own bytes: the chunk of the run is never looked at.
        let nothing = self.part.pool.own(Vec::new());
        let mut messages = self.list();
        let mut batch =
            self.part.batch(Side::Request, &nothing, &mut messages, (&mut self.ledger, &mut self.answers));
        batch.layer = layer;
        let Some(transform) = self.transforms.get_mut(layer) else { return Ok(()) };
        let mut result =
            transform.woken(cx, why, &mut batch).map_err(|fault| self.part.fault_at(layer, fault));
        if result.is_ok() && why != Why::Closing && !messages.is_empty() {
            result = self.run_down(cx, &nothing, &mut messages, layer + 1);
            self.forget_views();
        }
        self.part.pool.give_list(messages);
        result
    }

    /// The earliest time at which somebody in this chain wants to be polled.
    #[must_use]
    pub fn deadline(&self) -> Option<Tick> {
        // While the rest of a large request is due no transform can be woken: its deadline must not wake the task.
        let is_free = !self.request_tail.is_due();
        let transforms =
            self.transforms.iter().filter(|_| is_free).filter_map(|transform| transform.deadline());
        transforms.chain(self.sink.deadline()).min()
    }

    /// For how many requests there is room.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.ledger.capacity()
    }

    /// Ends every request in flight, oldest first, and says how far each was.
    pub(crate) fn end_all(&mut self) -> Vec<(Ticket, Stage)> {
        let open = self.ledger.open_tickets().into_iter();
        open.filter_map(|ticket| Some((ticket, self.ledger.close(ticket)?.stage))).collect()
    }

    /// Error replies for every request in flight that is known not to have run, oldest first; they are ended.
    #[must_use]
    pub fn error_replies(&mut self, kind: wire::ErrorKind, text: &str, nothing_sent: bool) -> Vec<Vec<u8>> {
        let mut replies = Vec::new();
        for ticket in self.ledger.open_tickets() {
            let unsent = |stage| nothing_sent || stage == Stage::Chain;
            if let Some(entry) = self.ledger.close(ticket).filter(|entry| unsent(entry.stage)) {
                replies.push(self.part.protocol.error_reply(&entry.head, kind, text));
            }
        }
        replies
    }
}
