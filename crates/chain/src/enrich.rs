//! Enrichment: what a client's requests and replies mean beyond their bytes. In a chain where a builder asks for it, the
//! statements that clients prepare are learned on their way back, and the keyspace in use is the one that the server
//! last confirmed. Everything else is a view that is made when a transform asks ([`Item`]).
//!
//! A compressed body is not visible: it has no view, and what it prepares is not learned.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use wire::cql::response::Page;
use wire::cql::session::Said;
use wire::cql::value::Value;
use wire::{Protocol, Side};

use crate::chunk::Chunk;
use crate::item::Item;
use crate::ledger::{Ledger, REQUESTS_KEPT, Ticket};
use crate::message::Message;
use crate::prepared::{Known, Prepared, Statement};
use crate::transform::Need;

/// Bytes of statements that one client may be preparing at once, unless it is one. What is beyond is not learned.
const PREPARING_BYTES_MAX: usize = 1024 * 1024;

/// How much of a request with this opcode enrichment looks at.
pub(crate) fn request_need(protocol: Protocol, opcode: u8) -> Need {
    if protocol.prepares(opcode) {
        Need::Whole
    } else if protocol.executes(opcode) {
        Need::Head
    } else {
        Need::None
    }
}

/// What is remembered of a request until its end.
enum Noted {
    Prepare { text: Arc<str>, keyspace: Option<Box<str>> },
    Execute(Known),
}

/// What is known of one client.
pub(crate) struct Enrichment {
    protocol: Protocol,
    prepared: Rc<Prepared>,
    keyspace: Option<Box<str>>,
    requests: HashMap<Ticket, Noted>,
    preparing_bytes: usize,
}

impl Enrichment {
    pub(crate) fn new(protocol: Protocol, prepared: &Rc<Prepared>) -> Self {
        let prepared = Rc::clone(prepared);
        Self { protocol, prepared, keyspace: None, requests: HashMap::new(), preparing_bytes: 0 }
    }

    /// Remembers what is needed of requests to understand their replies.
    /// Kept apart from chains that ask for none of this.
    #[inline(never)]
    pub(crate) fn note(&mut self, chunk: &Chunk, messages: &[Message], ledger: &mut Ledger) {
        self.prepared.refresh();
        for message in messages {
            self.note_one(chunk, message, ledger);
        }
    }

    /// A request that is noted already has other bytes now: what its server will get.
    #[inline(never)]
    pub(crate) fn note_again(&mut self, chunk: &Chunk, message: &Message, ledger: &mut Ledger) {
        self.forget(message.ticket());
        self.note_one(chunk, message, ledger);
    }

    fn note_one(&mut self, chunk: &Chunk, message: &Message, ledger: &mut Ledger) {
        let (head, bytes) = (message.head(), message.bytes(chunk));
        if self.protocol.executes(head.opcode) {
            let known = self.protocol.prepared_id(head, bytes).and_then(|id| self.prepared.get(id));
            if let Some(known) = known {
                self.requests.insert(message.ticket(), Noted::Execute(known));
            }
        } else if self.protocol.prepares(head.opcode)
            && let Some(text) = self.protocol.prepared_text(head, bytes)
            && (self.preparing_bytes == 0 || self.preparing_bytes + text.len() <= PREPARING_BYTES_MAX)
        {
            self.preparing_bytes += text.len();
            if let Some(entry) = ledger.get_mut(message.ticket()) {
                entry.reply_need = Need::Whole;
            }
            let noted = Noted::Prepare { text: text.into(), keyspace: self.keyspace.clone() };
            self.requests.insert(message.ticket(), noted);
        }
    }

    /// Learns what replies say, before a transform or the client sees them.
    #[inline(never)]
    pub(crate) fn learn(&mut self, chunk: &Chunk, messages: &[Message]) {
        self.prepared.refresh();
        for message in messages {
            let (head, bytes) = (message.head(), message.bytes(chunk));
            match self.protocol.said(head, bytes) {
                Said::Keyspace(keyspace) => self.enter(keyspace),
                Said::Prepared(id) => {
                    if let Some(Noted::Prepare { text, keyspace }) = self.requests.get(&message.ticket())
                        && let Some(metadata) = self.protocol.prepared_metadata(head, bytes)
                    {
                        let (text, keyspace) = (Arc::clone(text), keyspace.clone());
                        self.prepared.learn(id, Statement::new(self.protocol, text, keyspace, metadata));
                    }
                }
                Said::Nothing | Said::ProtocolError => {}
            }
        }
    }

    /// Another keyspace is in use. Nobody knows in which of the two the server has prepared what is on its way.
    fn enter(&mut self, entered: &str) {
        self.keyspace = Some(entered.into());
        for noted in self.requests.values_mut() {
            if let Noted::Prepare { keyspace, .. } = noted {
                keyspace.take_if(|keyspace| **keyspace != *entered);
            }
        }
    }

    /// Forgets a request that has had its end.
    #[inline(never)]
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        // Where nothing is prepared, or all of it has had its end, there is nothing to look up.
        if self.requests.is_empty() {
            return;
        }
        if let Some(Noted::Prepare { text, .. }) = self.requests.remove(&ticket) {
            self.preparing_bytes -= text.len();
        }
        // Its room is a power of 2, of which an eighth stays free.
        if self.requests.capacity() > REQUESTS_KEPT && self.requests.is_empty() {
            self.requests.shrink_to(REQUESTS_KEPT / 2);
        }
    }

    /// For how many requests there is room.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.requests.capacity()
    }

    /// The statement of an id.
    pub(crate) fn statement(&self, id: &[u8]) -> Option<Known> {
        self.prepared.get(id)
    }

    fn executed(&self, ticket: Ticket) -> Option<&Known> {
        match self.requests.get(&ticket) {
            Some(Noted::Execute(known)) => Some(known),
            _ => None,
        }
    }
}

/// What a message means, in a chain where a builder enriches ([`crate::Builder::enriches`]); elsewhere all of these
/// are `None`. As with [`Item::bytes`], a transform says by `Need` how much of a message it looks at.
impl Item<'_> {
    /// The keyspace in use, as the server last confirmed it. A `USE` that is in flight does not count yet, and a request
    /// may have a keyspace of its own.
    #[must_use]
    pub fn keyspace(&self) -> Option<&str> {
        self.enrichment()?.keyspace.as_deref()
    }

    /// The statement that an EXECUTE runs, on the request and on its reply; `None` if nobody prepared it through this
    /// process, or it was forgotten.
    #[must_use]
    pub fn prepared(&self) -> Option<Known> {
        self.enrichment()?.executed(self.ticket()).cloned()
    }

    /// As [`Item::prepared`], on a request; of a BATCH the statement that it begins with.
    #[must_use]
    pub fn first_prepared(&self) -> Option<Known> {
        if self.protocol().executes(self.head().opcode) {
            return self.prepared();
        }
        let enrichment = self.enrichment()?;
        enrichment.statement(self.protocol().first_batched_id(self.head(), self.bytes())?)
    }

    /// Hands over each value that a request binds: the place of its statement in the request (0 but in a BATCH), its name,
    /// and what it is as the statement's metadata says. That of a statement which nobody prepared through this process is
    /// [`Value::Unknown`], and so are those that go with a text.
    ///
    /// False, and not all of them were handed over, if they are not all here (the request is compressed or cut off). A reply
    /// and requests of other kinds have none to hand over: false, too.
    pub fn bound_values(&self, each: impl FnMut(usize, Option<&str>, Value<'_>)) -> bool {
        let Some(enrichment) = self.enrichment().filter(|_| self.side == Side::Request) else { return false };
        let binds = |id: &[u8]| enrichment.statement(id);
        self.protocol().bound_values(self.head(), self.bytes(), binds, each)
    }

    /// The rows of a reply; of one that leaves its columns out, with those of its statement. `None` for other replies,
    /// and for one that is not whole.
    #[must_use]
    pub fn rows(&self) -> Option<Page<'_>> {
        let known =
            self.enrichment()?.executed(self.ticket()).and_then(|known| known.metadata.result.as_ref());
        self.protocol().rows(self.head(), self.bytes(), known)
    }
}
