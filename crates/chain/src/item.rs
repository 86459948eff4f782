//! One message of a batch, as a transform sees it: what it may ask of it, and the verdicts it may give.

use wire::{ConnectionState, ErrorKind, Head, Protocol, QueryType, Side};

use crate::chunk::{Chunk, Piece, Pool};
use crate::enrich::Enrichment;
use crate::kept::{KeptReply, whole_frame};
use crate::ledger::{Entry, Ledger, Ticket};
use crate::message::{Answer, Held, Message, Verdict, mark_sent, reply_message};
use crate::transform::Need;

/// One message of a [`crate::Batch`], to look at and to judge.
///
/// A message that is given no verdict passes. A request can be answered ([`Item::answer`], [`Item::answer_error`]), kept
/// for later ([`Item::hold`]) or replaced ([`Item::replace`]); a reply can be replaced. Its bytes come from a peer, and
/// may be anything behind the header: read them with `wire`, whose views give an error instead of a panic.
pub struct Item<'i> {
    pub(crate) protocol: Protocol,
    pub(crate) side: Side,
    pub(crate) pool: &'i Pool,
    pub(crate) chunk: &'i Chunk,
    pub(crate) message: &'i mut Message,
    pub(crate) ledger: &'i mut Ledger,
    pub(crate) answers: &'i mut Vec<Answer>,
    pub(crate) layer: usize,
}

impl Item<'_> {
    /// The ledger's name of the request that this message is, or answers.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.message.ticket
    }

    /// One more message of the same bytes, for another chain. It is good for the same run only.
    #[must_use]
    pub fn share(&self) -> Message {
        self.message.share()
    }

    /// The bytes for longer than the run: see [`Pool::keep`].
    #[must_use]
    pub fn keep(&self) -> Piece {
        match &self.message.own {
            Some(own) => own.pin(),
            None => self.pool.keep(self.chunk, self.message.range()),
        }
    }

    /// Notes that a request was given to a sink.
    pub fn mark_sent(&mut self) {
        mark_sent(self.message.ticket, self.ledger);
    }

    /// Takes a whole reply out of the run; its request stays open until [`crate::Batch::answer`] answers it.
    pub fn hold_reply(&mut self) -> Option<KeptReply> {
        if self.side == Side::Request || self.message.verdict != Verdict::Pass || !self.message.is_whole() {
            return None;
        }
        self.message.verdict = Verdict::Held;
        Some(KeptReply { head: self.message.head, piece: self.keep() })
    }

    /// Takes a reply out of the run for good, its tail too; its request stays open.
    pub fn discard_reply(&mut self) {
        if self.side == Side::Response && self.message.verdict == Verdict::Pass {
            self.message.verdict = Verdict::Held;
        }
    }

    /// Answers the request of a reply that was taken out of the run with another reply.
    pub fn answer_instead(&mut self, reply: KeptReply) {
        let message = reply.into_message(self.message.ticket);
        self.answers.push(Answer { layer: self.layer, message });
    }

    /// What the header says.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.message.head
    }

    /// Bytes of it that are still to come.
    #[must_use]
    pub fn rest(&self) -> u64 {
        self.message.rest()
    }

    /// The frame, header included: all of it, or as much of a large one as `Need` asked for.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.message.bytes(self.chunk)
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn enrichment(&self) -> Option<&Enrichment> {
        self.ledger.enrichment.as_deref()
    }

    /// True when [`Item::bytes`] is the whole frame.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.message.is_whole()
    }

    /// The request: this message itself on the way down, the one it answers on the way up.
    /// `None` for a message that answers none (an event).
    #[must_use]
    pub fn request(&self) -> Option<&Entry> {
        self.ledger.get(self.message.ticket)
    }

    /// The kind of query of a request; `None` when its bytes do not show it (compressed, or beyond what is here). Of an
    /// EXECUTE that of its statement, where that is known, else `Read`.
    #[must_use]
    pub fn query_type(&self) -> Option<QueryType> {
        if self.ledger.enrichment.is_some()
            && let Some(known) = self.prepared()
            && self.side == Side::Request
        {
            return Some(known.query_type);
        }
        self.protocol.query_type(self.head(), self.bytes())
    }

    /// Whether a request carries state of its connection.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.protocol.connection_state(self.head(), self.bytes())
    }

    /// The message in one line for people: see [`Protocol::describe`].
    #[must_use]
    pub fn describe(&self) -> String {
        self.protocol.describe(self.side, self.head(), self.bytes())
    }

    /// The tag this transform left on the request.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.ledger.tag(self.message.ticket, self.layer)
    }

    /// Leaves a tag on the request, to be found again on its reply. Each transform has one of its own, 0 at first.
    pub fn set_tag(&mut self, tag: u32) {
        self.ledger.set_tag(self.message.ticket, self.layer, tag);
    }

    /// Asks to see more of the reply to this request than its header.
    pub fn need_reply(&mut self, need: Need) {
        if let Some(entry) = self.ledger.get_mut(self.message.ticket) {
            entry.reply_need = entry.reply_need.max(need);
        }
    }

    /// Answers a request with a frame of the protocol. The reply takes the request's place: the transforms above
    /// see it, those below see neither. On a reply this does nothing.
    pub fn answer(&mut self, frame: Vec<u8>) {
        if self.side == Side::Response || self.message.verdict != Verdict::Pass {
            return;
        }
        if let Some(answer) = reply_message(self.protocol, self.pool, frame, self.message.ticket) {
            self.message.verdict = Verdict::Answered;
            self.answers.push(Answer { layer: self.layer, message: answer });
        }
    }

    /// Answers a request with an error in the protocol's words.
    pub fn answer_error(&mut self, kind: ErrorKind, text: &str) {
        self.answer(self.protocol.error_reply(&self.message.head, kind, text));
    }

    /// Takes a request out of the run, to be released by [`crate::Batch::release`] in a later hook. Nothing is held, and the
    /// request passes, when only its head is here or it is a reply.
    pub fn hold(&mut self) -> Option<Held> {
        let message = &mut *self.message;
        if self.side == Side::Response || message.verdict != Verdict::Pass || !message.is_whole() {
            return None;
        }
        let kept =
            message.own.take().unwrap_or_else(|| Box::new(self.pool.keep(self.chunk, message.range())));
        message.verdict = Verdict::Held;
        Some(Held::new(message, kept))
    }

    /// Replaces a whole message by other bytes: one frame of the protocol, with the same id and of the same version. What
    /// is asked of it from here on is asked of those, and what a request prepares or runs is what they say.
    ///
    /// False, and the message stays as it is, if they are anything else, or if only the head of the message is here: its
    /// tail could not be replaced.
    pub fn replace(&mut self, frame: Vec<u8>) -> bool {
        let before = &self.message.head;
        let head = whole_frame(self.protocol, self.side, &frame)
            .filter(|head| (head.id, head.version) == (before.id, before.version));
        let Some(head) = head.filter(|_| self.message.is_whole()) else { return false };
        if let Some(views) = &mut self.ledger.views {
            views.forget(self.message.ticket);
        }
        self.message.head = head;
        self.message.own = Some(Box::new(Piece::whole(self.pool.own(frame))));
        if self.side == Side::Request {
            self.ledger.note_again(self.chunk, self.message);
        }
        true
    }
}
