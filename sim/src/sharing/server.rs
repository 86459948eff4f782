//! A simulated server: sessions, keyspaces and prepared statements, and the faults it commits.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use chain::Tick;

use super::{Book, Event, Nonce};
use crate::frames::{self, Frame, opcode};
use crate::pipe::Pipe;
use crate::random::Random;

/// How long a late reply takes: longer than the read timeout of the runs that have one.
const LATE: Duration = Duration::from_millis(1500);

/// Faults of one reply; after the first two a connection goes on as before.
const REPLY_FAULTS: [Event; 8] = [
    Event::ReplyIsLate,
    Event::ReplyIsMissing,
    Event::ReplyComesTwice,
    Event::ReplyToUnknownId,
    Event::ReplyIsGarbage,
    Event::ReplyIsProtocolError,
    Event::KeyspaceChangesUnasked,
    Event::ServerTearsReply,
];

/// Faults of a connection.
const LINK_FAULTS: [Event; 3] = [Event::ServerResets, Event::ServerEnds, Event::ServerStopsReading];

/// The stream id on which the proxy begins a client's session again; simulated clients begin theirs on 0.
const REPLAY_ID: i16 = i16::MAX;

/// A keyspace that no client ever asks for.
const UNASKED: u8 = 200;

/// What all connections of the server have in common.
pub struct Database {
    pub prepared: BTreeSet<u8>,
    pub has_auth: bool,
    pub has_timeout: bool,
    /// Once in so many replies or rounds something goes wrong; 0: never.
    pub fault_every: usize,
    pub padding_max: usize,
    /// So little is in flight at once that a second reply may come later than the first, and still find nobody.
    pub repeats_late: bool,
    /// Nothing goes wrong but that replies are late or missing, and all stay in one keyspace: so much is asked on one
    /// connection that stream ids are used again.
    pub is_busy: bool,
}

/// What is asked for long values is now and then answered with so many bytes more: no shared connection carries those.
const LARGE_BYTES: usize = 1 << 20;

/// Requests whose values are at most so long are not.
const LARGE_PADDING_MIN: usize = 1 << 16;

impl Database {
    /// The longest message on a connection.
    pub fn message_max(&self) -> usize {
        self.padding_max + if self.has_large() { LARGE_BYTES } else { 0 }
    }

    fn has_large(&self) -> bool {
        self.padding_max > LARGE_PADDING_MIN
    }
}

/// Requests after which no second reply comes: ids rest for longer, even if as many are on their way.
const REPEATS_WITHIN: u64 = 100;

struct Pending {
    due: Tick,
    bytes: Vec<u8>,
    /// The request that it answers.
    nonce: Option<u64>,
    /// It says that the connection is in a keyspace that nobody asked for.
    moves: bool,
    /// It is not sent any more once so many requests have come.
    received_max: u64,
}

/// The server's end of one connection.
pub struct Link {
    pub pipe: Pipe,
    random: Random,
    received: BytesMut,
    unsent: BytesMut,
    pending: Vec<Pending>,
    user: Option<u8>,
    keyspace: u8,
    clients: BTreeSet<u8>,
    is_registered: bool,
    is_broken: bool,
    reads_again_at: Tick,
    is_gone: bool,
    received_count: u64,
    /// Bytes of the frames that it has taken.
    taken: u64,
    /// It did what no server should: the other side may close it.
    is_excused: bool,
}

impl Link {
    pub fn new(pipe: Pipe, random: Random) -> Self {
        Self {
            pipe,
            random,
            received: BytesMut::new(),
            unsent: BytesMut::new(),
            pending: Vec::new(),
            user: None,
            keyspace: 0,
            clients: BTreeSet::new(),
            is_registered: false,
            is_broken: false,
            reads_again_at: Tick(0),
            is_gone: false,
            received_count: 0,
            taken: 0,
            is_excused: false,
        }
    }

    pub fn describe(&self) -> String {
        format!(
            "link of {:?} in {}: {} pending, {} B unsent, {} B of a request, gone {}, over {}",
            self.user,
            self.keyspace,
            self.pending.len(),
            self.unsent.len(),
            self.received.len(),
            self.is_gone,
            self.pipe.is_over()
        )
    }

    /// When it will do something by itself.
    pub fn due(&self, now: Tick) -> Option<Tick> {
        let dues = self.pending.iter().map(|pending| pending.due).chain([self.reads_again_at]);
        dues.filter(|due| *due > now && !self.is_gone && !self.pipe.is_over()).min()
    }

    /// Nothing more happens on it.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// The process died: everything under way is lost.
    pub fn crash(&mut self) {
        if !self.is_gone {
            self.pipe.peer_reset();
            self.is_gone = true;
        }
    }

    pub fn act(&mut self, now: Tick, database: &mut Database, book: &mut Book) -> Result<(), String> {
        if self.is_gone {
            return Ok(());
        }
        if self.pipe.is_over() {
            self.is_gone = true;
            return self.check_closed(book);
        }
        if now >= self.reads_again_at {
            self.pipe.peer_receive(&mut self.received);
        }
        while let Some(frame) = frames::take(&mut self.received) {
            self.received_count += 1;
            self.receive(now, &frame, database, book)?;
            self.taken += (frames::HEADER_BYTES + frame.body.len()) as u64;
        }
        self.answer(now, book);
        let count = self.pipe.peer_send(&self.unsent);
        self.unsent.advance(count);
        let misbehaves =
            database.fault_every > 0 && !database.is_busy && self.random.once_in(database.fault_every * 8);
        if misbehaves && self.user.is_some() {
            let fault = LINK_FAULTS[self.random.below(LINK_FAULTS.len())];
            book.note_server_fault(fault);
            match fault {
                Event::ServerResets => self.crash(),
                Event::ServerEnds => {
                    self.pipe.peer_end();
                    self.is_gone = true;
                }
                _ => self.reads_again_at = now.after(Duration::from_secs(3)),
            }
        }
        Ok(())
    }

    /// The other side has closed it. It may not while somebody waits for a reply, unless there is a reason.
    fn check_closed(&self, book: &Book) -> Result<(), String> {
        let mut nonces = self.pending.iter().filter_map(|pending| pending.nonce);
        match nonces.rfind(|nonce| book.is_awaited(*nonce)).filter(|_| !self.is_excused) {
            None => Ok(()),
            Some(nonce) => {
                let nonce = Nonce::unpack(nonce);
                Err(format!(
                    "a connection was closed without a reason while {nonce:?} awaits its reply on it"
                ))
            }
        }
    }

    /// Sends what is due, in any order.
    fn answer(&mut self, now: Tick, book: &mut Book) {
        self.pending.retain(|pending| pending.received_max >= self.received_count);
        while self.unsent.len() < 1 << 16 && !self.random.once_in(4) {
            let due: Vec<usize> = (0..self.pending.len()).filter(|at| self.pending[*at].due <= now).collect();
            let Some(at) = due.get(self.random.below(due.len())) else { return };
            let pending = self.pending.swap_remove(*at);
            self.unsent.extend(pending.bytes);
            if pending.moves {
                self.pipe.mark(self.unsent.len());
            }
            if pending.nonce.is_some_and(|nonce| !book.awaited.contains_key(&nonce)) {
                book.note(Event::OrphanAnswered);
            }
            if self.is_registered && self.random.once_in(8) {
                let event = frames::result(7, self.random.size(1000));
                self.unsent.extend(frames::encode(0x84, -1, opcode::EVENT, &event));
            }
        }
    }

    fn reply(&mut self, due: Tick, id: i16, opcode: u8, body: &[u8]) {
        let nonce = frames::void_nonce(body).filter(|_| opcode == opcode::RESULT);
        let bytes = frames::encode(0x84, id, opcode, body);
        let moves = *body == *set_keyspace(UNASKED);
        self.pending.push(Pending { due, bytes, nonce, moves, received_max: u64::MAX });
    }

    /// Answers twice, in one piece or the second time a little later.
    fn reply_twice(&mut self, now: Tick, id: i16, body: &[u8], is_later: bool) {
        let frame = frames::encode(0x84, id, opcode::RESULT, body);
        let received_max = self.received_count + REPEATS_WITHIN;
        let (bytes, due) = if is_later {
            self.reply(now, id, opcode::RESULT, body);
            (frame, now.after(Duration::from_micros(self.random.below(5000) as u64)))
        } else {
            ([&*frame, &frame].concat(), now)
        };
        self.pending.push(Pending { due, bytes, nonce: None, moves: false, received_max });
    }

    fn receive(
        &mut self,
        now: Tick,
        frame: &Frame,
        database: &mut Database,
        book: &mut Book,
    ) -> Result<(), String> {
        if self.is_broken {
            self.reply(now, frame.id, opcode::ERROR, &frames::error(0x000A, "still broken"));
            return Ok(());
        }
        match frame.opcode {
            opcode::STARTUP if self.user.is_none() => {
                if frame.id == REPLAY_ID {
                    book.note(Event::SessionReplayed);
                }
                if database.has_auth {
                    self.reply(now, frame.id, opcode::AUTHENTICATE, b"\0\x01x");
                } else {
                    self.user = Some(u8::MAX);
                    self.reply(now, frame.id, opcode::READY, &[]);
                }
            }
            opcode::AUTH_RESPONSE => {
                self.user = frame.body.get(4).copied();
                self.reply(now, frame.id, opcode::AUTH_SUCCESS, &[0xff; 4]);
            }
            _ if self.user.is_none() => return Err("a request before the handshake was done".to_owned()),
            opcode::REGISTER => {
                self.is_registered = true;
                self.reply(now, frame.id, opcode::READY, &[]);
            }
            opcode::PREPARE => {
                let statement = statement(&frame.body).ok_or("a torn PREPARE")?;
                database.prepared.insert(statement);
                let body = [&[0, 0, 0, 4, 0, 2, b'p', statement][..], &[0; 8]].concat();
                self.reply_or_fail(now, frame.id, &body, database, book);
            }
            opcode::EXECUTE => self.execute(now, frame, database, book)?,
            opcode::QUERY => self.query(now, frame, database, book)?,
            other => return Err(format!("the server got opcode {other}")),
        }
        Ok(())
    }

    fn query(
        &mut self,
        now: Tick,
        frame: &Frame,
        database: &Database,
        book: &mut Book,
    ) -> Result<(), String> {
        if let Some(keyspace) = used_keyspace(&frame.body) {
            self.keyspace = keyspace;
            book.note(Event::KeyspaceChanged);
            self.reply_or_fail(now, frame.id, &set_keyspace(keyspace), database, book);
            return Ok(());
        }
        let (nonce, _) = frames::query_nonce(&frame.body).ok_or("the server got a torn request")?;
        self.run(nonce, database, book)?;
        let is_large = database.has_large() && self.random.once_in(100);
        let least = if is_large { LARGE_BYTES } else { 0 };
        let body = frames::void(nonce, least + self.random.size(database.padding_max));
        self.reply_or_fail(now, frame.id, &body, database, book);
        Ok(())
    }

    fn execute(
        &mut self,
        now: Tick,
        frame: &Frame,
        database: &Database,
        book: &mut Book,
    ) -> Result<(), String> {
        let [0, 2, b'p', statement, 0, 1, 0, nonce @ ..] = &*frame.body else {
            return Err("the server got a torn EXECUTE".to_owned());
        };
        let nonce = u64::from_be_bytes(nonce.try_into().map_err(|_| "the server got a torn EXECUTE")?);
        if !database.prepared.contains(statement) {
            let error = [&*frames::error(0x2500, "prepare it again"), &[0, 2, b'p', *statement]].concat();
            self.reply(now, frame.id, opcode::ERROR, &error);
            return Ok(());
        }
        self.run(nonce, database, book)?;
        self.reply_or_fail(now, frame.id, &frames::void(nonce, 10), database, book);
        Ok(())
    }

    /// Everything that must be true of a request that runs here.
    fn run(&mut self, packed: u64, database: &Database, book: &mut Book) -> Result<(), String> {
        let nonce = Nonce::unpack(packed);
        if database.has_auth && self.user != Some(nonce.user()) {
            return Err(format!("{nonce:?} ran with the rights of user {:?}", self.user));
        }
        // Who was told of a keyspace that nobody asked for goes on in it. Others may only have something under way to it.
        let heard_at = self.pipe.written_before_mark().unwrap_or(u64::MAX);
        let is_excused =
            self.keyspace == UNASKED && (book.moved_unasked.contains(&nonce.client) || self.taken < heard_at);
        if nonce.keyspace != self.keyspace && !is_excused {
            return Err(format!("{nonce:?} ran in keyspace {}", self.keyspace));
        }
        if !book.ran.insert(packed) {
            return Err(format!("{nonce:?} ran twice"));
        }
        if self.clients.insert(nonce.client) && self.clients.len() == 2 {
            book.note(Event::ConnectionShared);
        }
        Ok(())
    }

    /// Answers, or does what no server should.
    #[expect(clippy::too_many_arguments, reason = "what the server knows, and what it answers")]
    fn reply_or_fail(&mut self, now: Tick, id: i16, body: &[u8], database: &Database, book: &mut Book) {
        if database.fault_every == 0 || !self.random.once_in(database.fault_every) {
            self.reply(now, id, opcode::RESULT, body);
            return;
        }
        let faults = if database.is_busy { &REPLY_FAULTS[..2] } else { &REPLY_FAULTS };
        let fault = faults[self.random.below(faults.len())];
        let asker = frames::void_nonce(body).map(|nonce| Nonce::unpack(nonce).client);
        let needs_timeout = matches!(fault, Event::ReplyIsLate | Event::ReplyIsMissing);
        if needs_timeout && !database.has_timeout || fault == Event::KeyspaceChangesUnasked && asker.is_none()
        {
            self.reply(now, id, opcode::RESULT, body);
            return;
        }
        book.note_server_fault(fault);
        self.is_excused |= !needs_timeout;
        match fault {
            Event::ReplyIsLate => self.reply(now.after(LATE), id, opcode::RESULT, body),
            Event::ReplyIsMissing => {}
            Event::ReplyComesTwice => self.reply_twice(now, id, body, database.repeats_late),
            Event::ReplyToUnknownId => self.reply(now, 31_999, opcode::RESULT, body),
            Event::ReplyIsGarbage => self.unsent.extend([0x13; 20]),
            Event::ReplyIsProtocolError => {
                self.is_broken = true;
                self.reply(now, id, opcode::ERROR, &frames::error(0x000A, "broken"));
            }
            Event::KeyspaceChangesUnasked => {
                book.moved_unasked.extend(asker);
                self.keyspace = UNASKED;
                self.reply(now, id, opcode::RESULT, &set_keyspace(UNASKED));
            }
            _ => {
                let frame = frames::encode(0x84, id, opcode::RESULT, body);
                self.unsent.extend(&frame[..1 + self.random.below(frame.len() - 1)]);
                let sent = self.pipe.peer_send(&self.unsent);
                self.unsent.advance(sent);
                self.pipe.peer_end();
                self.is_gone = true;
            }
        }
    }
}

/// The keyspace `k7` is number 7.
fn used_keyspace(body: &[u8]) -> Option<u8> {
    // No USE is longer.
    let text = body.get(4..body.len().checked_sub(3)?).filter(|text| text.len() < 20)?;
    let text = String::from_utf8_lossy(text).to_uppercase();
    let at = text.find("USE ")?;
    let is_leading = text.starts_with("USE ") || text.starts_with("/*") || text.starts_with(' ');
    let name = text.get(at + 4..).filter(|_| is_leading)?.trim_matches('"');
    name.strip_prefix('K')?.parse().ok()
}

fn set_keyspace(keyspace: u8) -> Vec<u8> {
    let name = format!("k{keyspace}");
    [&[0, 0, 0, 3], &(name.len() as u16).to_be_bytes()[..], name.as_bytes()].concat()
}

/// The number of the statement that a PREPARE prepares: `SELECT p7` or `INSERT p7`.
fn statement(body: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(body.get(4..)?).ok()?;
    text.split_once(" p")?.1.parse().ok()
}
