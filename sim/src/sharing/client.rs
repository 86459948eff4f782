//! A simulated application: logs in, changes keyspaces, prepares and executes, and checks every reply.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use chain::Tick;

use super::{Book, Event, Nonce, PREPARED_ELSEWHERE, READ_TIMEOUT, is_write};
use crate::frames::{self, Frame, opcode};
use crate::pace::Skipped;
use crate::pipe::Pipe;
use crate::random::Random;

/// Keyspaces there are.
const KEYSPACES: usize = 3;

/// What a request before the session has begun may be filled up with: longer ones are not taken.
const EARLY_PADDING_MAX: usize = 60_000;

/// How long a client that stops reading does: longer than one that has too much waiting is kept.
const STOPS_FOR: Duration = Duration::from_secs(11);

/// The id of a request that is torn: no other has it.
const TORN_ID: i16 = 32_000;

/// How a client behaves.
pub struct Plan {
    pub begun: Skipped,
    pub requests: usize,
    pub in_flight_max: usize,
    pub padding_max: usize,
    /// It sends more requests while a USE is unanswered. Only where nothing goes wrong it knows where they run.
    pub pipelines_use: bool,
    pub changes_keyspace: bool,
    /// It asks as soon as its handshake is sent, before the server has accepted it.
    pub is_hasty: bool,
    /// The server wants to know who it is.
    pub logs_in: bool,
    pub registers: bool,
    pub compresses: bool,
    pub reads_seldom: bool,
    /// After so many requests it reads nothing for a while.
    pub stops_reading_at: Option<usize>,
    pub fault: Option<(Event, usize)>,
}

impl Plan {
    /// Its requests may wait longer than they are given, because it does not read.
    pub fn is_slow(&self) -> bool {
        self.reads_seldom || self.stops_reading_at.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Startup,
    /// `is_write`: unknown of a frame that is longer than a chunk, of which so little may be here that nobody can tell.
    Query {
        nonce: u64,
        is_write: Option<bool>,
    },
    Use {
        before: u8,
    },
    Prepare {
        statement: u8,
    },
    Execute {
        nonce: u64,
    },
    Register,
}

impl Asked {
    fn nonce(self) -> Option<u64> {
        match self {
            Self::Query { nonce, .. } | Self::Execute { nonce } => Some(nonce),
            _ => None,
        }
    }
}

pub struct Application {
    pub pipe: Pipe,
    pub index: u8,
    plan: Plan,
    random: Random,
    unsent: BytesMut,
    received: BytesMut,
    /// By stream id, and when it was asked.
    in_flight: BTreeMap<i16, (Asked, Tick, Skipped)>,
    now: Tick,
    /// When it was looked at last while it wanted something.
    seen: Skipped,
    asked: usize,
    keyspace: u8,
    reads_again_at: Tick,
    /// The whole handshake is sent.
    has_begun: bool,
    is_ready: bool,
    is_registered: bool,
    has_left: bool,
    pub may_lose: bool,
}

impl Application {
    pub fn new(index: u8, pipe: Pipe, plan: Plan, random: Random, now: Tick) -> Self {
        let seen = plan.begun;
        let mut application = Self {
            pipe,
            index,
            plan,
            random,
            unsent: BytesMut::new(),
            received: BytesMut::new(),
            in_flight: BTreeMap::new(),
            now,
            seen,
            asked: 0,
            keyspace: 0,
            reads_again_at: Tick(0),
            has_begun: false,
            is_ready: false,
            is_registered: false,
            has_left: false,
            may_lose: false,
        };
        application.start();
        application
    }

    fn start(&mut self) {
        let driver = format!("driver {}", self.random.below(100));
        let mut options = vec![("CQL_VERSION", "3.0.0"), ("DRIVER_NAME", &*driver)];
        if self.plan.compresses {
            options.push(("COMPRESSION", "lz4"));
        }
        let mut body = (options.len() as u16).to_be_bytes().to_vec();
        for text in options.into_iter().flat_map(|(key, value)| [key, value]) {
            body.extend((text.len() as u16).to_be_bytes());
            body.extend(text.as_bytes());
        }
        self.send(0, opcode::STARTUP, &body, Asked::Startup);
        self.has_begun = !self.plan.logs_in;
    }

    fn send(&mut self, id: i16, opcode: u8, body: &[u8], asked: Asked) {
        self.unsent.extend(frames::encode(4, id, opcode, body));
        self.in_flight.insert(id, (asked, self.now, self.seen));
    }

    /// Requests it has asked.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Something waits for it to be read, and it will be.
    pub fn will_read(&self) -> bool {
        self.plan.reads_seldom && self.pipe.has_unread()
    }

    /// When it will do something by itself.
    pub fn due(&self, now: Tick) -> Option<Tick> {
        Some(self.reads_again_at).filter(|due| *due > now && !self.is_done())
    }

    /// It waits for nothing any more.
    fn leave(&mut self, book: &mut Book) {
        self.has_left = true;
        let nonces = self.in_flight.values().filter_map(|(asked, ..)| asked.nonce());
        nonces.for_each(|nonce| _ = book.awaited.remove(&nonce));
    }

    pub fn describe(&self) -> String {
        format!(
            "client {}: {} of {} asked, in flight {:?}, {} B unsent, ready {}, left {}, over {}",
            self.index,
            self.asked,
            self.plan.requests,
            self.in_flight.iter().take(4).collect::<Vec<_>>(),
            self.unsent.len(),
            self.is_ready,
            self.has_left,
            self.pipe.is_over()
        )
    }

    pub fn is_done(&self) -> bool {
        self.has_left || self.pipe.is_over()
    }

    /// Since when it waits: for the end of a request, or of its connection.
    pub fn waits_since(&self) -> Option<Skipped> {
        if self.is_done() { Some(self.seen) } else { self.in_flight.values().map(|(.., since)| *since).min() }
    }

    pub fn act(&mut self, book: &mut Book) -> Result<(), String> {
        if !self.is_done() {
            self.seen = book.skipped;
        }
        self.now = book.now;
        if self.plan.stops_reading_at.is_some_and(|at| self.asked >= at && self.reads_again_at == Tick(0)) {
            self.reads_again_at = self.now.after(STOPS_FOR);
            book.note(Event::ClientStopsReading);
        }
        let reads = !self.plan.reads_seldom || self.pipe.is_over() || self.random.once_in(30);
        if self.due(self.now).is_some() {
            // Not yet.
        } else if reads {
            self.read(book)?;
        } else if self.random.once_in(40) {
            book.note(Event::ClientReadsSeldom);
        }
        if self.has_left {
            return Ok(());
        }
        if self.pipe.is_over() {
            return self.check_loss(book);
        }
        self.ask(book);
        let count = self.pipe.peer_send(&self.unsent);
        self.unsent.advance(count);
        let everything_asked = self.asked >= self.plan.requests && self.unsent.is_empty();
        let half_closes = matches!(self.plan.fault, Some((Event::ClientEndsItsSide, _)));
        if everything_asked && self.is_ready && (self.in_flight.is_empty() || half_closes) {
            if half_closes {
                book.note(Event::ClientEndsItsSide);
                self.plan.fault = None;
            }
            self.pipe.peer_end();
            if self.in_flight.is_empty() {
                self.leave(book);
            }
            self.plan.requests = self.asked;
        }
        Ok(())
    }

    fn check_loss(&mut self, book: &mut Book) -> Result<(), String> {
        self.leave(book);
        if !self.in_flight.is_empty() {
            book.note(Event::ClosedInFlight);
        }
        let complete = self.in_flight.is_empty() && self.asked >= self.plan.requests && self.is_ready;
        if complete || self.may_lose || book.has_server_fault || book.has_slow_client {
            return Ok(());
        }
        Err(format!("client {}: closed without a fault: {}", self.index, self.describe()))
    }

    fn ask(&mut self, book: &mut Book) {
        while (self.is_ready || (self.plan.is_hasty && self.has_begun))
            && self.asked < self.plan.requests
            && self.in_flight.len() < self.plan.in_flight_max
            && self.unsent.len() < 1 << 20
        {
            let waits = self.in_flight.values().any(|(asked, ..)| matches!(asked, Asked::Use { .. }));
            if waits && !self.plan.pipelines_use {
                return;
            }
            if let Some((fault, at)) = self.plan.fault
                && self.asked >= at
                && self.commit(fault, book)
            {
                return;
            }
            if !self.is_ready {
                book.note(Event::AskedTooEarly);
            }
            self.ask_one(book);
            self.asked += 1;
        }
    }

    fn ask_one(&mut self, book: &mut Book) {
        let id = frames::free_id(&mut self.random, &self.in_flight);
        let nonce = Nonce { client: self.index, keyspace: self.keyspace, number: self.asked as u32 }.pack();
        match self.random.below(20) {
            0 if self.plan.registers && !self.is_registered => {
                self.is_registered = true;
                self.send(id, opcode::REGISTER, &[0, 1, 0, 1, b'x'], Asked::Register);
            }
            0 | 1 if self.plan.changes_keyspace => {
                let before = self.keyspace;
                self.keyspace = 1 + self.random.below(KEYSPACES) as u8;
                let forms = ["USE k{}", "use \"k{}\"", "/* c */ uSe k{}", "  USE k{}"];
                let form = forms[self.random.below(forms.len())];
                let text = form.replace("{}", &self.keyspace.to_string());
                self.send(
                    id,
                    opcode::QUERY,
                    &testkit::scripted::query(text.as_bytes()),
                    Asked::Use { before },
                );
            }
            2 => {
                let statement = self.random.below(8) as u8;
                let verb = if is_write(statement) { "INSERT" } else { "SELECT" };
                let text = format!("{verb} p{statement}");
                let body = [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
                self.send(id, opcode::PREPARE, &body, Asked::Prepare { statement });
            }
            3..=6 if !book.known.is_empty() => {
                let known = book.known.iter().nth(self.random.below(book.known.len()));
                let known = known.copied().filter(|_| !self.random.once_in(40));
                let statement = known.unwrap_or(PREPARED_ELSEWHERE);
                let body = [&[0, 2, b'p', statement, 0, 1, 0][..], &nonce.to_be_bytes()].concat();
                self.send(id, opcode::EXECUTE, &body, Asked::Execute { nonce });
            }
            _ => {
                let is_write = self.random.once_in(2);
                let most = if self.is_ready { usize::MAX } else { EARLY_PADDING_MAX };
                let padding = self.random.size(self.plan.padding_max.min(most));
                let body = frames::query(nonce, is_write, padding);
                let is_write = (body.len() < chain::CHUNK_BYTES - 9).then_some(is_write);
                self.send(id, opcode::QUERY, &body, Asked::Query { nonce, is_write });
            }
        }
        let Some(nonce) = self.in_flight.get(&id).and_then(|(asked, ..)| asked.nonce()) else { return };
        if !self.plan.is_slow() {
            book.awaited.insert(nonce, self.now);
        }
        if book.has_mirror {
            book.asked_as.insert(nonce, id);
        }
    }

    /// True when the client asks nothing more because of this fault.
    fn commit(&mut self, fault: Event, book: &mut Book) -> bool {
        match fault {
            Event::ClientResets => self.pipe.peer_reset(),
            Event::ClientTearsRequest => {
                let nonce = Nonce { client: self.index, keyspace: self.keyspace, number: u32::MAX }.pack();
                let torn = frames::encode(4, TORN_ID, opcode::QUERY, &frames::query(nonce, false, 50_000));
                let cut = 1 + self.random.below(torn.len() - 1);
                self.unsent.extend(&torn[..cut]);
                let sent = self.pipe.peer_send(&self.unsent);
                self.unsent.advance(sent);
                self.pipe.peer_end();
            }
            Event::ClientSendsGarbage => {
                let bad = [[0xff; 9], [4, 0, 0, 1, 7, 0xff, 0xff, 0xff, 0xff], [4, 0, 0, 1, 99, 0, 0, 0, 0]];
                self.unsent.extend(bad[self.random.below(bad.len())]);
                self.asked = self.plan.requests;
                self.may_lose = true;
                self.plan.fault = None;
                book.note(fault);
                return true;
            }
            _ => return false,
        }
        book.note(fault);
        self.leave(book);
        if !self.in_flight.is_empty() {
            book.note(Event::LeftInFlight);
        }
        true
    }

    fn read(&mut self, book: &mut Book) -> Result<(), String> {
        let (pipe, mut received) = (self.pipe.clone(), std::mem::take(&mut self.received));
        let read = frames::each_reply(&pipe, &mut received, |frame| self.check(frame, book));
        self.received = received;
        read.map_err(|problem| format!("client {}: {problem}", self.index))
    }

    fn check(&mut self, frame: &Frame, book: &mut Book) -> Result<(), String> {
        match frame.opcode {
            opcode::EVENT if frame.id == -1 && self.is_registered => {
                book.note(Event::OwnerHears);
                return frames::result_nonce(&frame.body).map(drop).ok_or_else(|| "a torn event".to_owned());
            }
            opcode::EVENT => return Err("an event that nobody asked for".to_owned()),
            opcode::AUTHENTICATE => {
                let token = [0, 0, 0, 1, self.index % super::USERS];
                self.send(0, opcode::AUTH_RESPONSE, &token, Asked::Startup);
                self.has_begun = true;
                return Ok(());
            }
            _ => {}
        }
        if frame.opcode == opcode::ERROR && self.may_lose && frame.body.starts_with(&[0, 0, 0, 0x0A]) {
            return Ok(());
        }
        let asked = self.in_flight.remove(&frame.id);
        if asked.is_none() && self.has_left && frame.opcode == opcode::ERROR {
            // The request that it tore has waited too long.
            return Ok(());
        }
        let (asked, at, _) = asked.ok_or_else(|| {
            format!("a reply to nothing: {} {:?}", frame.id, (frame.opcode, frame.body.len()))
        })?;
        asked.nonce().and_then(|nonce| book.awaited.remove(&nonce));
        match frame.opcode {
            opcode::READY | opcode::AUTH_SUCCESS => match asked {
                Asked::Startup => self.is_ready = true,
                Asked::Register => {}
                other => return Err(format!("{other:?} got READY")),
            },
            opcode::RESULT => self.check_result(asked, &frame.body, book)?,
            opcode::ERROR => self.check_error((asked, at), &frame.body, book)?,
            other => return Err(format!("an unexpected opcode {other}")),
        }
        Ok(())
    }

    fn check_result(&mut self, asked: Asked, body: &[u8], book: &mut Book) -> Result<(), String> {
        let moved_unasked = book.events.contains_key(&Event::KeyspaceChangesUnasked);
        if body.starts_with(&[0, 0, 0, 3]) && (matches!(asked, Asked::Use { .. }) || moved_unasked) {
            let name = format!("k{}", self.keyspace);
            let is_own = body.ends_with(name.as_bytes()) || self.plan.pipelines_use || moved_unasked;
            return if is_own { Ok(()) } else { Err(format!("it is not in {name}")) };
        }
        match asked {
            Asked::Query { nonce, .. } | Asked::Execute { nonce, .. } => match frames::void_nonce(body) {
                Some(answered) if answered == nonce => {
                    if let Asked::Execute { .. } = asked {
                        book.note(Event::ExecutedElsewhere);
                    }
                    book.note(Event::Answered);
                    Ok(())
                }
                Some(answered) => {
                    Err(format!("{:?} got the reply of {:?}", Nonce::unpack(nonce), Nonce::unpack(answered)))
                }
                None => Err(format!("{:?} got a torn reply: {body:?}", Nonce::unpack(nonce))),
            },
            Asked::Prepare { statement } if body.starts_with(&[0, 0, 0, 4, 0, 2, b'p', statement]) => {
                book.known.insert(statement);
                Ok(())
            }
            other => Err(format!("{other:?} got another's result")),
        }
    }

    fn check_error(
        &mut self,
        (asked, at): (Asked, Tick),
        body: &[u8],
        book: &mut Book,
    ) -> Result<(), String> {
        let (code, text) = testkit::scripted::error(body);
        if let Asked::Use { before } = asked {
            self.keyspace = before;
        }
        let nonce = asked.nonce();
        let writes = match asked {
            Asked::Query { is_write, .. } => is_write,
            Asked::Execute { .. } | Asked::Use { .. } | Asked::Prepare { .. } => None,
            Asked::Startup | Asked::Register => Some(false).filter(|_| false),
        };
        // Who stops reading may be cut off.
        let is_excused = book.has_server_fault || self.may_lose || self.plan.stops_reading_at.is_some();
        match code {
            0x2500 if matches!(asked, Asked::Execute { .. }) => {
                book.note(Event::ToldUnprepared);
                Ok(())
            }
            0x0000 if nonce.is_some_and(|nonce| book.ran.contains(&nonce)) => {
                Err(format!("{asked:?} ran, and was answered with: {text}"))
            }
            0x0000 if is_excused => {
                book.note(Event::ToldNotSent);
                if let Asked::Startup = asked {
                    self.may_lose = true;
                }
                Ok(())
            }
            0x1100 | 0x1200 if text.contains("respond within") && book.now < at.after(READ_TIMEOUT) => {
                Err(format!("{asked:?} was told of a timeout before it had waited that long"))
            }
            0x1100 | 0x1200 if is_excused || book.has_slow_client => {
                book.note(Event::ToldTimeout);
                if writes.is_some_and(|writes| writes != (code == 0x1100)) {
                    return Err(format!("{asked:?} was told {code:x}"));
                }
                Ok(())
            }
            0x000A if book.has_server_fault => Ok(()),
            _ => Err(format!("{asked:?} got the error {code:x}: {text}")),
        }
    }
}
