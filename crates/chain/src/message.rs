//! The message and the batch: views of frames for one synchronous run of the chain.
//!
//! A [`Batch`] borrows the chunk its frames were received in. A transform looks at its messages through
//! [`Item`] and gives verdicts. What must outlive the run is pinned or copied by the code that needs it.

use std::ops::Range;
use std::rc::Rc;

use wire::{ErrorKind, Head, Protocol, Side};

use crate::chunk::{Chunk, Piece, Pool};
use crate::identity::Identity;
use crate::item::Item;
use crate::kept::KeptReply;
use crate::ledger::{Ledger, Stage, Ticket};
use crate::stream::Tick;
use crate::up::Repeated;

/// What becomes of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on; unchanged unless it was replaced.
    Pass,
    /// It ends here: a request that was answered.
    Answered,
    /// It waits in a transform.
    Held,
}

/// One message of a run: what its header says and where its bytes are.
pub struct Message {
    pub(crate) head: Head,
    /// Where its first byte is in the chunk of the run.
    start: u32,
    /// Its bytes in that chunk; fewer than `head.frame_bytes` when only its head is here.
    here: u32,
    pub(crate) ticket: Ticket,
    pub(crate) verdict: Verdict,
    /// The bytes that take its place. Boxed: nearly no message has any, and every message is moved about.
    pub(crate) own: Option<Box<Piece>>,
}

impl Message {
    /// A message as it was framed: `here` bytes of it begin at `start`.
    #[must_use]
    pub fn new(head: Head, start: usize, here: usize) -> Self {
        // A chunk has at most `WHOLE_BYTES_MAX` bytes or so.
        let (start, here) = (start as u32, here as u32);
        Self { head, start, here, ticket: Ticket::NONE, verdict: Verdict::Pass, own: None }
    }

    /// As [`Message::new`], for a reply to the request that `ticket` names.
    #[must_use]
    pub fn reply(head: Head, start: usize, here: usize, ticket: Ticket) -> Self {
        Self { ticket, ..Self::new(head, start, here) }
    }

    /// A whole message that brings its bytes.
    #[must_use]
    pub fn made(head: Head, bytes: Piece) -> Self {
        Self { own: Some(Box::new(bytes)), ..Self::new(head, 0, 0) }
    }

    /// One more message of the same bytes, for another chain. It is good for the same run only.
    pub(crate) fn share(&self) -> Self {
        let own = self.own.as_ref().map(|own| Box::new(own.pin()));
        Self {
            head: self.head,
            start: self.start,
            here: self.here,
            own,
            ticket: Ticket::NONE,
            verdict: Verdict::Pass,
        }
    }

    /// The ledger's name of the request that this message is, or answers.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The header as it was received.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Says which request this reply answers.
    pub fn set_ticket(&mut self, ticket: Ticket) {
        self.ticket = ticket;
    }

    /// Bytes of it that are still to come.
    #[must_use]
    pub fn rest(&self) -> u64 {
        if self.own.is_some() { 0 } else { u64::from(self.head.frame_bytes.saturating_sub(self.here)) }
    }

    /// Where its bytes are in the chunk of the run.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.here as usize
    }

    /// Its bytes, as many as are here; `chunk` is the one of the run.
    pub(crate) fn bytes<'m>(&'m self, chunk: &'m Chunk) -> &'m [u8] {
        match &self.own {
            Some(own) => own.bytes(),
            None => chunk.bytes().get(self.range()).unwrap_or_default(),
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.own.is_some() || self.here >= self.head.frame_bytes
    }
}

/// A reply that was made on the way down, and the layer it was made at.
pub(crate) struct Answer {
    pub(crate) layer: usize,
    pub(crate) message: Message,
}

/// The messages of one run, in the order they were received.
pub struct Batch<'b> {
    pub(crate) protocol: Protocol,
    pub(crate) side: Side,
    pub(crate) pool: &'b Pool,
    pub(crate) chunk: &'b Chunk,
    pub(crate) messages: &'b mut Vec<Message>,
    pub(crate) ledger: &'b mut Ledger,
    pub(crate) answers: &'b mut Vec<Answer>,
    /// Which transform is looking, counted from the client.
    pub(crate) layer: usize,
}

impl Batch<'_> {
    /// Messages in this run, those among them that an earlier transform has already answered included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The protocol of these messages.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Hands over every message that is still on its way, in order.
    pub fn each(&mut self, mut look: impl FnMut(&mut Item<'_>)) {
        for index in 0..self.messages.len() {
            let Some(message) = self.messages.get_mut(index) else { break };
            if message.verdict == Verdict::Pass {
                look(&mut Item {
                    protocol: self.protocol,
                    side: self.side,
                    pool: self.pool,
                    chunk: self.chunk,
                    message,
                    ledger: self.ledger,
                    answers: self.answers,
                    layer: self.layer,
                });
            }
        }
    }

    /// Everything that goes on, in order: each message is reported first, so that a sink can await its reply, then
    /// the places of the bytes. Neighbours in the chunk of the run are one place.
    ///
    /// # Errors
    /// What `bytes` said; the rest is not handed over.
    pub fn outgoing<E>(
        &mut self,
        mut message: impl FnMut(&Message, &mut Ledger),
        mut bytes: impl FnMut(Outgoing<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let chunk = self.chunk;
        let mut run: Range<usize> = 0..0;
        for passing in self.messages.iter().filter(|message| message.verdict == Verdict::Pass) {
            message(passing, self.ledger);
            let range = passing.range();
            if passing.own.is_none() && run.end == range.start && !run.is_empty() {
                run.end = range.end;
                continue;
            }
            let before = std::mem::replace(&mut run, if passing.own.is_none() { range } else { 0..0 });
            if !before.is_empty() {
                bytes(Outgoing::Received(chunk, before))?;
            }
            if let Some(own) = &passing.own {
                bytes(Outgoing::Made(own))?;
            }
        }
        if run.is_empty() { Ok(()) } else { bytes(Outgoing::Received(chunk, run)) }
    }

    /// Hands over every message that goes on, in order, each by itself: for a sink whose messages part ways.
    ///
    /// # Errors
    /// What `take` said; the rest is not handed over.
    pub fn leaving<E>(
        &mut self,
        mut take: impl FnMut(Leaving<'_>, &mut Ledger) -> Result<(), E>,
    ) -> Result<(), E> {
        for message in self.messages.iter().filter(|message| message.verdict == Verdict::Pass) {
            let outgoing = match &message.own {
                Some(own) => Outgoing::Made(own),
                None => Outgoing::Received(self.chunk, message.range()),
            };
            let leaving =
                Leaving { head: message.head, ticket: message.ticket, rest: message.rest(), outgoing };
            take(leaving, self.ledger)?;
        }
        Ok(())
    }

    /// The chunk in which the messages of this run were received.
    #[must_use]
    pub fn chunk(&self) -> &Chunk {
        self.chunk
    }

    /// Answers a request that went on, in its server's stead: the transforms above see the reply. `Ticket::NONE` for a
    /// message that answers none.
    pub fn answer(&mut self, ticket: Ticket, reply: KeptReply) {
        self.answers.push(Answer { layer: self.layer, message: reply.into_message(ticket) });
    }

    /// As [`Batch::answer`], with an error in the protocol's words. Nothing if the request has had its end.
    pub fn answer_error(&mut self, ticket: Ticket, kind: ErrorKind, text: &str) {
        let Some(entry) = self.ledger.get(ticket) else { return };
        let frame = self.protocol.error_reply(&entry.head, kind, text);
        if let Some(message) = reply_message(self.protocol, self.pool, frame, ticket) {
            self.answers.push(Answer { layer: self.layer, message });
        }
    }

    /// Lets a request go that was held: it goes on from the transform that releases it. It goes in front of a large
    /// message whose rest is still to come.
    pub fn release(&mut self, held: Held) {
        let has_tail = self.messages.last().is_some_and(|last| last.rest() > 0);
        self.messages.insert(self.messages.len() - usize::from(has_tail), held.0);
    }

    /// As [`Batch::release`], of several: they go in front of everything in this run, in their order, as a client that
    /// sent them first expects.
    pub fn release_in_front(&mut self, held: impl IntoIterator<Item = Held>) {
        drop(self.messages.splice(..0, held.into_iter().map(|held| held.0)));
    }

    /// Requests of this client in flight: those of this run, those that are held and those whose replies are due.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ledger.len()
    }

    /// Who the client is.
    #[must_use]
    pub fn identity(&self) -> &Rc<Identity> {
        self.ledger.identity()
    }

    /// The ages of the requests that these messages are, or answer, in microseconds; and how many neighbours are of it.
    pub(crate) fn each_age(
        &self,
        now: Tick,
        counts: impl Fn(&Message) -> bool,
        mut each: impl FnMut(u64, u64),
    ) {
        let mut ages = Repeated::default();
        for message in self.messages.iter().filter(|message| counts(message)) {
            if let Some(age) = self.ledger.age(message.ticket, now) {
                ages.note(age, &mut each);
            }
        }
        ages.end(each);
    }

    /// The last message, whose tail may still be to come.
    pub(crate) fn last(&self) -> Option<&Message> {
        self.messages.last()
    }
}

/// A request that waits in a transform. Dropping it leaves its client without a reply until its connection ends.
pub struct Held(Message);

impl Held {
    pub(crate) fn new(message: &Message, kept: Box<Piece>) -> Self {
        Self(Message { own: Some(kept), ..Message::reply(message.head, 0, 0, message.ticket) })
    }

    /// What the header says.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.0.head
    }

    /// The frame, header included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.own.as_ref().map(|own| own.bytes()).unwrap_or_default()
    }
}

/// One message on its way out of a batch, and where its bytes are.
pub struct Leaving<'o> {
    /// What the header says.
    pub head: Head,
    /// The ledger's name of it.
    pub ticket: Ticket,
    /// Bytes of it that are still to come.
    pub rest: u64,
    /// Its bytes.
    pub outgoing: Outgoing<'o>,
}

impl Leaving<'_> {
    /// The same message for another chain, as the reply to the request that `ticket` names there; for this run only.
    #[must_use]
    pub fn to_message(&self, ticket: Ticket) -> Message {
        match &self.outgoing {
            Outgoing::Received(_, range) => Message::reply(self.head, range.start, range.len(), ticket),
            Outgoing::Made(piece) => KeptReply { head: self.head, piece: piece.pin() }.into_message(ticket),
        }
    }
}

/// Bytes on their way out of a batch.
pub enum Outgoing<'o> {
    /// A range of the chunk they were received in: best written from there.
    Received(&'o Chunk, Range<usize>),
    /// Bytes that were made or kept here; best gathered with others.
    Made(&'o Piece),
}

impl Outgoing<'_> {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Received(chunk, range) => chunk.bytes().get(range.clone()).unwrap_or_default(),
            Self::Made(piece) => piece.bytes(),
        }
    }

    /// Keeps the bytes for longer than the run: see [`Pool::keep`].
    #[must_use]
    pub fn keep(&self, pool: &Pool) -> Piece {
        match self {
            Self::Received(chunk, range) => pool.keep(chunk, range.clone()),
            Self::Made(piece) => piece.pin(),
        }
    }

    /// One more owner of the bytes behind the first `skipped` ones.
    #[must_use]
    pub fn pin_behind(&self, skipped: usize) -> Piece {
        match self {
            Self::Received(chunk, range) => {
                Piece { chunk: chunk.pin(), range: (range.start + skipped).min(range.end)..range.end }
            }
            Self::Made(piece) => Self::Received(&piece.chunk, piece.range.clone()).pin_behind(skipped),
        }
    }
}

/// True for a message that goes on.
pub(crate) fn is_passing(message: &Message) -> bool {
    message.verdict == Verdict::Pass
}

/// A reply made here, or `None` if `frame` is no lawful frame.
pub(crate) fn reply_message(
    protocol: Protocol,
    pool: &Pool,
    frame: Vec<u8>,
    ticket: Ticket,
) -> Option<Message> {
    Some(KeptReply::made(protocol, pool, frame)?.into_message(ticket))
}

/// The stage of a request whose bytes are given to a server connection.
pub fn mark_sent(ticket: Ticket, ledger: &mut Ledger) {
    if let Some(entry) = ledger.get_mut(ticket) {
        entry.stage = Stage::Sink;
    }
}
