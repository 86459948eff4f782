//! The servers of a mixed traffic: every one answers the same, in any order, and notes what it was asked.

use bytes::{Buf as _, BytesMut};
use chain::Tick;

use super::application::has_token;
use super::model::{FIRST, Server};
use super::traffic::{self, Kind};
use super::{Book, Event};
use crate::frames::{self, Frame, opcode};
use crate::pipe::Pipe;
use crate::random::Random;

/// Of the first USEs of a keyspace, where some are refused.
const MISSING_ONE_IN: usize = 2;

/// Of the statements to execute, where some are forgotten.
const FORGOTTEN_ONE_IN: usize = 4;

/// Where requests and values may be so long, events may be large.
const LARGE_BYTES: usize = 1 << 16;

/// How a server behaves.
#[derive(Clone, Copy)]
pub struct Traits {
    pub padding_max: usize,
    /// It resets its connections after some time.
    pub resets: bool,
    /// It wants a login.
    pub wants_login: bool,
    /// It refuses some USEs.
    pub refuses: bool,
    /// A second server has forgotten some of the statements that it is to execute.
    pub forgets: bool,
}

/// What a server is there for.
#[derive(Clone, Copy, Default)]
pub struct Role {
    /// It gets what Tees send again: in the words of others, too.
    pub is_for_mismatches: bool,
    /// How many Tees, one behind the other, send copies to it.
    pub tees: usize,
    /// A USE may be answered on the way to it, though the client has gone to its keyspace.
    pub may_miss_use: bool,
}

/// A server's end of one connection.
pub struct Link {
    pub pipe: Pipe,
    server: Server,
    role: Role,
    random: Random,
    received: BytesMut,
    unsent: BytesMut,
    pending: Vec<(Tick, Frame)>,
    is_begun: bool,
    is_registered: bool,
    /// The keyspace in use, by number; 0 is none.
    keyspace: u8,
    traits: Traits,
    /// It is reset after so many replies.
    resets_at: Option<usize>,
    answered: usize,
}

impl Link {
    pub fn new(pipe: Pipe, (server, role): (Server, Role), traits: Traits, mut random: Random) -> Self {
        let resets_at = traits.resets.then(|| random.below(60));
        Self {
            pipe,
            server,
            role,
            random,
            received: BytesMut::new(),
            unsent: BytesMut::new(),
            pending: Vec::new(),
            is_begun: false,
            is_registered: false,
            keyspace: 0,
            traits,
            resets_at,
            answered: 0,
        }
    }

    pub fn describe(&self) -> String {
        format!(
            "link of server {}: {} pending, {} B unsent, {} B of a request, over {}",
            self.server,
            self.pending.len(),
            self.unsent.len(),
            self.received.len(),
            self.pipe.is_over()
        )
    }

    /// When it will answer something: at once where a reply is on its way.
    pub fn due(&self) -> Option<Tick> {
        if !self.unsent.is_empty() && !self.pipe.is_over() {
            return Some(Tick(0));
        }
        self.pending.iter().map(|(due, _)| *due).min()
    }

    pub fn act(&mut self, now: Tick, book: &mut Book) -> Result<(), String> {
        self.pipe.peer_receive(&mut self.received);
        while let Some(frame) = frames::take(&mut self.received) {
            self.receive(now, &frame, book)?;
        }
        self.answer(now, book);
        let count = self.pipe.peer_send(&self.unsent);
        self.unsent.advance(count);
        if self.resets_at.is_some_and(|at| self.answered > at) && !self.pipe.is_over() {
            book.has_server_fault = true;
            book.note(Event::ServerResets);
            self.pipe.peer_reset();
        }
        Ok(())
    }

    fn receive(&mut self, now: Tick, frame: &Frame, book: &mut Book) -> Result<(), String> {
        let is_copied = self.server != FIRST;
        let understood = traffic::understand(frame, self.server, self.role.is_for_mismatches);
        let (kind, nonce) = understood.ok_or_else(|| format!("torn: {frame:?}"))?;
        let is_challenged = kind == Kind::Startup && self.traits.wants_login;
        if kind == Kind::Login || kind == Kind::Startup && !is_challenged {
            self.is_begun = true;
        } else if !self.is_begun && !is_challenged && kind != Kind::Options {
            return Err(format!("{kind:?} before the handshake"));
        }
        if self.pending.iter().any(|(_, reply)| reply.id == frame.id) {
            return Err(format!("the stream id {} is used twice at server {}", frame.id, self.server));
        }
        self.is_registered |= kind == Kind::Register;
        let is_refused = match kind.used() {
            Some(keyspace) if self.is_missing(keyspace, book) => true,
            Some(keyspace) => {
                self.keyspace = keyspace;
                false
            }
            None => false,
        };
        let nonce = nonce.filter(|_| has_token(kind));
        let is_known = !matches!(kind, Kind::Execute(_)) || !is_copied || !self.forgets();
        if let Some(nonce) = nonce.filter(|_| is_known) {
            self.run(kind, nonce, book)?;
        }
        let reply = match is_refused {
            _ if is_challenged => traffic::challenge(frame.id),
            _ if !is_known => traffic::forgotten(frame.id, self.server),
            true => traffic::refusal(frame.id),
            false => traffic::reply_of(self.server, kind, nonce, frame.id, self.traits.padding_max),
        };
        let late = if self.random.once_in(5) { self.random.below(5000) } else { 0 };
        self.pending.push((Tick(now.0 + late as u64), reply));
        Ok(())
    }

    /// True if it has forgotten a statement.
    fn forgets(&mut self) -> bool {
        self.traits.forgets && self.random.once_in(FORGOTTEN_ONE_IN)
    }

    /// True if its server does not have this keyspace yet. It may have it the next time, and from then on.
    fn is_missing(&mut self, keyspace: u8, book: &mut Book) -> bool {
        if self.traits.refuses && self.random.once_in(MISSING_ONE_IN) {
            return !book.keyspaces.contains(&(self.server, keyspace));
        }
        book.keyspaces.insert((self.server, keyspace));
        false
    }

    /// Runs a request: once, and in a keyspace that its client has chosen before it.
    fn run(&mut self, kind: Kind, nonce: u64, book: &mut Book) -> Result<(), String> {
        if !book.ran.insert((self.server, nonce)) {
            return Err(format!("{nonce:x} ran twice at server {}", self.server));
        }
        *book.statements.entry(self.server).or_default() +=
            if let Kind::Batch(count) = kind { u64::from(count) } else { 1 };
        match self.role {
            Role { is_for_mismatches: true, .. } => book.note(Event::RanAgain),
            Role { tees: 2.., .. } => book.note(Event::RanInThird),
            Role { tees: 1, .. } => book.note(Event::RanInSecond),
            _ => {}
        }
        // A second server that has refused a USE, or was not asked, or of which the connection was reset that was to be in
        // the keyspace, is in none: it runs what names one.
        let may_miss = self.traits.refuses || self.role.may_miss_use || book.has_server_fault;
        let is_nowhere = self.server != FIRST && may_miss && self.keyspace == 0;
        let chosen = book.requests.get(&nonce).map(|request| &request.may_run_in).filter(|_| !is_nowhere);
        match chosen {
            Some(chosen) if !chosen.contains(&self.keyspace) => Err(format!(
                "{nonce:x} ran at server {} in keyspace {}, its client has chosen {chosen:?}",
                self.server, self.keyspace
            )),
            _ => Ok(()),
        }
    }

    /// Sends what is due, in any order.
    fn answer(&mut self, now: Tick, book: &mut Book) {
        while self.unsent.len() < 1 << 16 && !self.random.once_in(4) {
            let due: Vec<usize> = (0..self.pending.len()).filter(|at| self.pending[*at].0 <= now).collect();
            let Some(at) = due.get(self.random.below(due.len().max(1))) else { return };
            let (_, reply) = self.pending.swap_remove(*at);
            if reply.opcode == opcode::ERROR {
                book.note(Event::ServerErrs);
            }
            self.unsent.extend(reply.bytes(0x84));
            self.answered += 1;
            if self.is_registered && self.random.once_in(8) {
                let is_large = self.traits.padding_max >= LARGE_BYTES && self.random.once_in(16);
                self.unsent.extend(traffic::event(is_large).bytes(0x84));
            }
        }
    }
}
