//! The simulated application at one end and the simulated server at the other, with the faults they commit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf as _, BytesMut};

use crate::frames::{self, Frame, opcode};
use crate::pace::Skipped;
use crate::pipe::Pipe;
use crate::random::Random;

/// Faults that can happen in a run, and the ends that a request can have; the run prints how often each occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    ConnectRefused,
    ConnectHangs,
    ServerResets,
    ServerEnds,
    ServerTearsReply,
    ServerAnswersUnknownId,
    ServerSendsGarbage,
    ClientResets,
    ClientEndsItsSide,
    ClientTearsRequest,
    ClientSendsGarbage,
    Drained,
    // From request to end, and what answers no request.
    Answered,
    AnsweredByFilter,
    ToldNotSent,
    ClosedInFlight,
    LeftInFlight,
    EventHeard,
}

/// Those that are faults come first.
pub const FAULT_KINDS: usize = 12;

/// All of them.
pub const FAULTS: [Fault; 18] = [
    Fault::ConnectRefused,
    Fault::ConnectHangs,
    Fault::ServerResets,
    Fault::ServerEnds,
    Fault::ServerTearsReply,
    Fault::ServerAnswersUnknownId,
    Fault::ServerSendsGarbage,
    Fault::ClientResets,
    Fault::ClientEndsItsSide,
    Fault::ClientTearsRequest,
    Fault::ClientSendsGarbage,
    Fault::Drained,
    Fault::Answered,
    Fault::AnsweredByFilter,
    Fault::ToldNotSent,
    Fault::ClosedInFlight,
    Fault::LeftInFlight,
    Fault::EventHeard,
];

/// What everybody knows of one run: what was asked, and what has become of it.
#[derive(Default)]
pub struct Book {
    /// The stream id of every request: a connection per client sends it as it came.
    pub asked: BTreeMap<u64, i16>,
    pub seen_by_server: BTreeSet<u64>,
    pub faults: BTreeMap<Fault, u64>,
    pub cuts: [u64; 4],
    /// Over how much time the clock has jumped.
    pub skipped: Skipped,
}

impl Book {
    pub fn note(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// How often something went wrong.
    pub fn faults(&self) -> u64 {
        FAULTS[..FAULT_KINDS].iter().filter_map(|fault| self.faults.get(fault)).sum()
    }
}

/// How a client behaves.
pub struct Plan {
    pub begun: Skipped,
    pub requests: usize,
    pub in_flight_max: usize,
    pub padding_max: usize,
    pub writes_are_filtered: bool,
    pub fault: Option<(Fault, usize)>,
}

/// An application with one connection.
pub struct Application {
    pub pipe: Pipe,
    pub index: u64,
    plan: Plan,
    random: Random,
    unsent: BytesMut,
    received: BytesMut,
    /// What awaits a reply: stream id to nonce, kind, and since when.
    in_flight: BTreeMap<i16, (u64, bool, Skipped)>,
    /// When it was looked at last while it wanted something.
    seen: Skipped,
    asked: usize,
    is_ready: bool,
    has_left: bool,
    /// Its connection may be closed without a reply to everything.
    pub may_lose: bool,
}

impl Application {
    pub fn new(index: u64, pipe: Pipe, plan: Plan, random: Random) -> Self {
        let startup = frames::encode(4, 0, opcode::STARTUP, &[0, 0]);
        let seen = plan.begun;
        Self {
            pipe,
            index,
            plan,
            random,
            unsent: startup.as_slice().into(),
            received: BytesMut::new(),
            in_flight: BTreeMap::new(),
            seen,
            asked: 0,
            is_ready: false,
            has_left: false,
            may_lose: false,
        }
    }

    pub fn describe(&self) -> String {
        format!(
            "client {}: {} of {} asked, {} in flight, {} B unsent, {} B of a reply, ready {}, left {}, over {}",
            self.index,
            self.asked,
            self.plan.requests,
            self.in_flight.len(),
            self.unsent.len(),
            self.received.len(),
            self.is_ready,
            self.has_left,
            self.pipe.is_over()
        )
    }

    /// Requests it has asked.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// True when it wants nothing more.
    pub fn is_done(&self) -> bool {
        self.has_left || self.pipe.is_over()
    }

    /// Since when it waits: for the end of a request, or of its connection.
    pub fn waits_since(&self) -> Option<Skipped> {
        match (self.is_done(), self.is_ready) {
            (true, _) => Some(self.seen),
            (false, true) => self.in_flight.values().map(|(.., since)| *since).min(),
            (false, false) => Some(self.plan.begun),
        }
    }

    pub fn act(&mut self, book: &mut Book) -> Result<(), String> {
        if !self.is_done() {
            self.seen = book.skipped;
        }
        self.read(book)?;
        if self.has_left {
            return Ok(());
        }
        if self.pipe.is_over() {
            return self.check_loss(book);
        }
        self.ask(book);
        let count = self.pipe.peer_send(&self.unsent);
        self.unsent.advance(count);
        let everything_asked = self.asked == self.plan.requests && self.unsent.is_empty();
        let half_closes = matches!(self.plan.fault, Some((Fault::ClientEndsItsSide, _)));
        if everything_asked && self.is_ready && (self.in_flight.is_empty() || half_closes) {
            if half_closes {
                book.note(Fault::ClientEndsItsSide);
                self.plan.fault = None;
            }
            self.pipe.peer_end();
            self.has_left = self.in_flight.is_empty();
            self.plan.requests = self.asked;
        }
        Ok(())
    }

    fn check_loss(&mut self, book: &mut Book) -> Result<(), String> {
        if !self.in_flight.is_empty() {
            book.note(Fault::ClosedInFlight);
        }
        let complete = self.in_flight.is_empty() && self.asked == self.plan.requests && self.is_ready;
        self.has_left = true;
        if complete || self.may_lose {
            return Ok(());
        }
        Err(format!("client {}: closed without a fault, {} in flight", self.index, self.in_flight.len()))
    }

    fn ask(&mut self, book: &mut Book) {
        while self.is_ready
            && self.asked < self.plan.requests
            && self.in_flight.len() < self.plan.in_flight_max
            && self.unsent.len() < 1 << 20
        {
            if let Some((fault, at)) = self.plan.fault
                && self.asked >= at
                && self.commit(fault, book)
            {
                return;
            }
            let id = frames::free_id(&mut self.random, &self.in_flight);
            let nonce = (self.index << 32) | self.asked as u64;
            let is_write = self.random.once_in(2);
            let padding = self.random.size(self.plan.padding_max);
            let body = frames::query(nonce, is_write, padding);
            self.unsent.extend(frames::encode(4, id, opcode::QUERY, &body));
            book.asked.insert(nonce, id);
            self.in_flight.insert(id, (nonce, is_write, self.seen));
            self.asked += 1;
        }
    }

    /// True when the client asks nothing more because of this fault.
    fn commit(&mut self, fault: Fault, book: &mut Book) -> bool {
        match fault {
            Fault::ClientResets => self.pipe.peer_reset(),
            Fault::ClientTearsRequest => {
                // An id in flight would be another fault.
                let id = (1..).find(|id| !self.in_flight.contains_key(id)).unwrap_or(1);
                let torn = frames::encode(4, id, opcode::QUERY, &frames::query(u64::MAX, false, 50_000));
                let cut = 1 + self.random.below(torn.len() - 1);
                self.unsent.extend(&torn[..cut]);
                let sent = self.pipe.peer_send(&self.unsent);
                self.unsent.advance(sent);
                self.pipe.peer_end();
            }
            Fault::ClientSendsGarbage => {
                let bad = [
                    [0xff; 12],
                    [4, 0, 0, 1, 7, 0xff, 0xff, 0xff, 0xff, 0, 0, 0],
                    [4, 0, 0, 1, 99, 0, 0, 0, 0, 4, 4, 4],
                ];
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
        if !self.in_flight.is_empty() {
            book.note(Fault::LeftInFlight);
        }
        self.has_left = true;
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
            opcode::READY if !self.is_ready => {
                self.is_ready = true;
                Ok(())
            }
            opcode::EVENT if frame.id == -1 => {
                book.note(Fault::EventHeard);
                frames::result_nonce(&frame.body).map(drop).ok_or_else(|| "a torn event".to_owned())
            }
            opcode::ERROR => self.check_error(frame, book),
            opcode::RESULT => {
                let (nonce, ..) = self.in_flight.remove(&frame.id).ok_or("a reply to nothing")?;
                match frames::result_nonce(&frame.body) {
                    Some(answered) if answered == nonce => {
                        book.note(Fault::Answered);
                        Ok(())
                    }
                    Some(answered) => Err(format!("{nonce:x} got the reply of {answered:x}")),
                    None => Err(format!("{nonce:x} got a torn reply")),
                }
            }
            other => Err(format!("an unexpected opcode {other}")),
        }
    }

    fn check_error(&mut self, frame: &Frame, book: &mut Book) -> Result<(), String> {
        let text = frames::error_text(&frame.body);
        if self.may_lose && frame.body.starts_with(&[0, 0, 0, 0x0A]) {
            return Ok(());
        }
        if !self.is_ready && self.may_lose {
            self.is_ready = true;
            return Ok(());
        }
        let (nonce, is_write, _) = self.in_flight.remove(&frame.id).ok_or("an error to nothing")?;
        if book.seen_by_server.contains(&nonce) {
            return Err(format!("{nonce:x} ran, and was answered with: {text}"));
        }
        let filtered = text.contains("filtered out");
        let expected = filtered && is_write && self.plan.writes_are_filtered;
        book.note(if filtered { Fault::AnsweredByFilter } else { Fault::ToldNotSent });
        if expected || self.may_lose || text.contains("more than the") {
            Ok(())
        } else {
            Err(format!("an error: {text}"))
        }
    }
}

/// A server's end of one connection.
pub struct Server {
    pub pipe: Pipe,
    random: Random,
    received: BytesMut,
    unsent: BytesMut,
    pending: Vec<(i16, u64)>,
    /// The client whose requests come here, and the last of them.
    pub owner: Option<u64>,
    last_nonce: Option<u64>,
    any_order: bool,
    padding_max: usize,
    fault: Option<(Fault, usize)>,
    answered: usize,
    is_gone: bool,
}

impl Server {
    pub fn new(
        pipe: Pipe,
        padding_max: usize,
        fault: Option<(Fault, usize)>,
        any_order: bool,
        random: Random,
    ) -> Self {
        Self {
            pipe,
            random,
            received: BytesMut::new(),
            unsent: BytesMut::new(),
            pending: Vec::new(),
            owner: None,
            last_nonce: None,
            any_order,
            padding_max,
            fault,
            answered: 0,
            is_gone: false,
        }
    }

    pub fn describe(&self) -> String {
        format!(
            "server of {:?}: {} pending, {} B unsent, {} B of a request, gone {}, over {}",
            self.owner,
            self.pending.len(),
            self.unsent.len(),
            self.received.len(),
            self.is_gone,
            self.pipe.is_over()
        )
    }

    /// The fault it has committed, once.
    pub fn act(&mut self, book: &mut Book) -> Result<Option<Fault>, String> {
        if self.is_gone {
            return Ok(None);
        }
        self.pipe.peer_receive(&mut self.received);
        while let Some(frame) = frames::take(&mut self.received) {
            self.receive(&frame, book)?;
        }
        let fault = self.answer();
        let count = self.pipe.peer_send(&self.unsent);
        self.unsent.advance(count);
        if let Some(fault) = fault {
            book.note(fault);
            match fault {
                Fault::ServerResets => self.pipe.peer_reset(),
                Fault::ServerEnds | Fault::ServerTearsReply => self.pipe.peer_end(),
                _ => return Ok(Some(fault)),
            }
            self.is_gone = true;
        }
        Ok(fault)
    }

    fn receive(&mut self, frame: &Frame, book: &mut Book) -> Result<(), String> {
        if frame.opcode == opcode::STARTUP {
            self.unsent.extend(frames::encode(0x84, frame.id, opcode::READY, &[]));
            return Ok(());
        }
        let (nonce, _) = frames::query_nonce(&frame.body).ok_or("the server got a torn request")?;
        if *self.owner.get_or_insert(nonce >> 32) != nonce >> 32 {
            return Err(format!("{nonce:x} came on another client's connection"));
        }
        if book.asked.get(&nonce) != Some(&frame.id) {
            return Err(format!("{nonce:x} came with the stream id {}", frame.id));
        }
        let is_late = !self.any_order && self.last_nonce.is_some_and(|last| last >= nonce);
        if is_late || !book.seen_by_server.insert(nonce) {
            return Err(format!("{nonce:x} came twice, or out of order"));
        }
        self.last_nonce = Some(nonce);
        self.pending.push((frame.id, nonce));
        Ok(())
    }

    fn answer(&mut self) -> Option<Fault> {
        while self.unsent.len() < 1 << 16 && !self.pending.is_empty() && !self.random.once_in(4) {
            if let Some((fault, at)) = self.fault
                && self.answered >= at
            {
                self.fault = None;
                self.misbehave(fault);
                return Some(fault);
            }
            let (id, nonce) = self.pending.swap_remove(self.random.below(self.pending.len()));
            let body = frames::result(nonce, self.random.size(self.padding_max));
            self.unsent.extend(frames::encode(0x84, id, opcode::RESULT, &body));
            self.answered += 1;
            if self.random.once_in(10) {
                let event = frames::result(7, self.random.size(1000));
                self.unsent.extend(frames::encode(0x84, -1, opcode::EVENT, &event));
            }
        }
        None
    }

    fn misbehave(&mut self, fault: Fault) {
        match fault {
            Fault::ServerAnswersUnknownId => {
                self.unsent.extend(frames::encode(0x84, 31_999, opcode::RESULT, &frames::result(1, 5)));
            }
            Fault::ServerSendsGarbage => self.unsent.extend([0x13; 20]),
            Fault::ServerTearsReply => {
                let whole = frames::encode(
                    0x84,
                    self.pending[0].0,
                    opcode::RESULT,
                    &frames::result(self.pending[0].1, 900),
                );
                self.unsent.extend(&whole[..1 + self.random.below(whole.len() - 1)]);
            }
            _ => {}
        }
    }
}
