//! A simulated application with a mixed traffic: it knows how each of its requests may end, and checks that each ends
//! so, once.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::rc::Rc;

use bytes::{Buf as _, BytesMut};

use super::model::{Part, sends_repeats_on};
use super::outcomes::{self, Outcome, Outcomes, outcomes};
use super::traffic::{self, Kind};
use super::{Book, Event, Request, Sort};
use crate::frames::{self, Frame, free_id, opcode};
use crate::pace::Skipped;
use crate::pipe::Pipe;
use crate::random::Random;

/// Keyspaces there are.
const KEYSPACES: u8 = 3;

/// Statements there are to prepare.
const STATEMENTS: usize = 6;

/// How a client behaves.
pub struct Plan {
    pub begun: Skipped,
    pub requests: usize,
    pub in_flight_max: usize,
    pub padding_max: usize,
    /// It ends its sending side when everything is asked, before everything is answered.
    pub half_closes: bool,
    /// It goes away after so many requests.
    pub resets_at: Option<usize>,
    /// Behind so many requests it uses an id of one in flight, where that is not sent on; it asks no more then.
    pub repeats_at: Option<usize>,
}

#[derive(Clone, Debug)]
struct Asked {
    kind: Kind,
    nonce: u64,
    may_end: Outcomes,
    since: Skipped,
}

pub struct Application {
    pub pipe: Pipe,
    pub index: u64,
    chain: Rc<Vec<Part>>,
    plan: Plan,
    random: Random,
    unsent: BytesMut,
    received: BytesMut,
    in_flight: BTreeMap<i16, Asked>,
    /// The request with an id of one in flight; it takes that one's place when its reply has come.
    repeat: Option<(i16, Asked)>,
    prepared: BTreeSet<u8>,
    /// The USE that was asked last of those that were confirmed, and its keyspace.
    confirmed: (u64, u8),
    /// The youngest request that a server's own reply has come to.
    answered: u64,
    asked: usize,
    is_ready: bool,
    is_registered: bool,
    has_ended: bool,
    has_left: bool,
    /// When it was looked at last while it wanted something.
    seen: Skipped,
    /// Its connection may be closed with requests unanswered.
    pub may_lose: bool,
}

impl Application {
    pub fn new(index: u64, pipe: Pipe, chain: &Rc<Vec<Part>>, plan: Plan, random: Random) -> Self {
        let seen = plan.begun;
        let mut application = Self {
            pipe,
            index,
            chain: Rc::clone(chain),
            plan,
            random,
            unsent: BytesMut::new(),
            received: BytesMut::new(),
            in_flight: BTreeMap::new(),
            repeat: None,
            prepared: BTreeSet::new(),
            confirmed: (0, 0),
            answered: 0,
            asked: 0,
            is_ready: false,
            is_registered: false,
            has_ended: false,
            has_left: false,
            seen,
            may_lose: false,
        };
        application.send(0, Kind::Startup);
        application
    }

    /// That of the request that is asked now.
    fn nonce(&self) -> u64 {
        self.index << 32 | self.asked as u64
    }

    fn send(&mut self, id: i16, kind: Kind) {
        let nonce = self.nonce();
        let padding = if matches!(kind, Kind::Select | Kind::Insert) {
            self.random.size(self.plan.padding_max)
        } else {
            self.random.size(300)
        };
        let (opcode, body) = traffic::request(kind, nonce, padding);
        self.unsent.extend(Frame { flags: 0, id, opcode, body }.bytes(4));
        let may_end = outcomes(&self.chain, kind);
        self.may_lose |= may_end.contains(Outcome::Closed);
        let asked = Asked { kind, nonce, may_end, since: self.seen };
        match self.in_flight.entry(id) {
            Entry::Occupied(_) => self.repeat = Some((id, asked)),
            Entry::Vacant(place) => drop(place.insert(asked)),
        }
    }

    /// Uses the id of a request in flight once more, if it is time.
    fn repeat(&mut self) {
        let oldest = self.in_flight.first_key_value().map(|(id, _)| *id);
        let is_due = self.plan.repeats_at.is_some_and(|at| self.asked > at);
        if let Some(id) = oldest.filter(|_| is_due && !sends_repeats_on(&self.chain)) {
            self.asked += 1;
            self.plan.requests = self.asked;
            self.send(id, Kind::Select);
        }
    }

    /// Requests it has asked.
    pub fn asked(&self) -> usize {
        self.asked
    }

    pub fn is_done(&self) -> bool {
        self.has_left || self.pipe.is_over()
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

    /// Since when it waits: for the end of a request, or of its connection.
    pub fn waits_since(&self) -> Option<Skipped> {
        if self.is_done() { Some(self.seen) } else { self.in_flight.values().map(|asked| asked.since).min() }
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
        let is_all_asked = self.is_ready && self.asked >= self.plan.requests && self.unsent.is_empty();
        if is_all_asked && !self.has_ended && (self.in_flight.is_empty() || self.plan.half_closes) {
            self.has_ended = true;
            self.pipe.peer_end();
            if !self.in_flight.is_empty() {
                book.note(Event::EndedItsSide);
            }
        }
        self.has_left |= self.has_ended && self.in_flight.is_empty();
        Ok(())
    }

    fn check_loss(&mut self, book: &mut Book) -> Result<(), String> {
        self.has_left = true;
        let is_complete = self.in_flight.is_empty() && self.asked >= self.plan.requests;
        if self.may_lose || book.has_server_fault {
            book.note(Event::Closed);
            return Ok(());
        }
        if is_complete { Ok(()) } else { Err(format!("closed without a fault: {}", self.describe())) }
    }

    fn ask(&mut self, book: &mut Book) {
        while self.is_ready
            && self.asked < self.plan.requests
            && self.in_flight.len() < self.plan.in_flight_max
            && self.unsent.len() < 1 << 20
        {
            self.asked += 1;
            if self.plan.resets_at.is_some_and(|at| self.asked > at) {
                self.pipe.peer_reset();
                self.has_left = true;
                book.note(Event::ClientLeft);
                return;
            }
            let id = free_id(&mut self.random, &self.in_flight);
            let kind = self.choose();
            let asked = self.in_flight.values().filter_map(|asked| asked.kind.used());
            let may_run_in = asked.chain([self.confirmed.1]).collect();
            book.requests.insert(self.nonce(), Request { kind, may_run_in });
            self.send(id, kind);
            self.repeat();
        }
    }

    fn choose(&mut self) -> Kind {
        let number = |random: &mut Random, bound| random.below(bound) as u8;
        match self.random.below(26) {
            0 => Kind::Use(1 + number(&mut self.random, usize::from(KEYSPACES))),
            24 => Kind::PrepareUse(1 + number(&mut self.random, usize::from(KEYSPACES))),
            // Whether it has prepared it or somebody else.
            25 if !outcomes::denies_following(&self.chain) => {
                Kind::ExecuteUse(1 + number(&mut self.random, usize::from(KEYSPACES)))
            }
            1 | 2 => Kind::Prepare(number(&mut self.random, STATEMENTS)),
            3 => Kind::ExecuteUnknown,
            4 => Kind::Options,
            5 if !self.is_registered => {
                self.is_registered = true;
                Kind::Register
            }
            6 => Kind::Create,
            7 | 8 => Kind::Wrong,
            9..=11 => Kind::Batch(1 + number(&mut self.random, 5)),
            12..=15 if !self.prepared.is_empty() => {
                let at = self.random.below(self.prepared.len());
                self.prepared.iter().nth(at).copied().map_or(Kind::Select, Kind::Execute)
            }
            16..=18 => Kind::Insert,
            _ => Kind::Select,
        }
    }

    fn read(&mut self, book: &mut Book) -> Result<(), String> {
        let (pipe, mut received) = (self.pipe.clone(), std::mem::take(&mut self.received));
        let read = frames::each_reply(&pipe, &mut received, |frame| self.check(frame, book));
        self.received = received;
        read.map_err(|problem| format!("client {}: {problem}", self.index))
    }

    fn check(&mut self, frame: &Frame, book: &mut Book) -> Result<(), String> {
        if frame.opcode == opcode::EVENT && frame.id == -1 {
            let is_whole = [false, true].into_iter().any(|is_large| *frame == traffic::event(is_large));
            return match self.is_registered && is_whole {
                true => {
                    book.note(Event::Heard);
                    Ok(())
                }
                false => Err("an event that nobody asked for, or a torn one".to_owned()),
            };
        }
        if self.has_left {
            return Ok(());
        }
        let asked =
            self.in_flight.remove(&frame.id).ok_or_else(|| format!("a reply to nothing: {frame:?}"))?;
        if let Some((_, repeat)) = self.repeat.take_if(|(id, _)| *id == frame.id) {
            self.in_flight.insert(frame.id, repeat);
        } else if is_repeat_refused(frame) {
            return self.check_refused(&asked, book);
        }
        let outcome = self.outcome_of(frame, &asked)?;
        // Where a server fails, the other may have answered.
        let is_excused = book.has_server_fault && matches!(outcome, Outcome::Closed | Outcome::Mismatch);
        if !asked.may_end.contains(outcome) && !is_excused {
            return Err(format!("{asked:?} ended as {outcome:?}: {}", shown(frame)));
        }
        book.note(Event::Ended(outcome));
        if matches!(outcome, Outcome::Filtered | Outcome::Throttled | Outcome::Null)
            && !outcomes::may_come_from_second(&self.chain, asked.kind, outcome)
        {
            book.must_not_run.insert(asked.nonce);
        }
        if outcome == Outcome::Own {
            self.answered(&asked, book)?;
        }
        match asked.kind {
            Kind::Startup if *frame == traffic::challenge(frame.id) => self.send(0, Kind::Login),
            // Also where no server accepts it: what a chain says to requests without a session must be right as well.
            Kind::Startup | Kind::Login => self.is_ready = true,
            _ => {}
        }
        Ok(())
    }

    /// Only the last request has an id of one in flight, and everything before it is answered first.
    fn check_refused(&mut self, asked: &Asked, book: &mut Book) -> Result<(), String> {
        book.note(Event::RepeatRefused);
        book.must_not_run.insert(asked.nonce);
        if asked.nonce == self.nonce() && self.plan.repeats_at.is_some() && self.in_flight.is_empty() {
            return Ok(());
        }
        Err(format!("{asked:?} was refused for its id, in flight are {:?}", self.in_flight))
    }

    /// A server's own reply has come.
    fn answered(&mut self, asked: &Asked, book: &mut Book) -> Result<(), String> {
        book.note(Event::Answered(Sort::of(asked.kind)));
        if asked.nonce < self.answered {
            book.note(Event::OutOfOrder);
            if outcomes::is_ordered(&self.chain) {
                return Err(format!("{asked:?} was answered behind a younger request"));
            }
        }
        self.answered = self.answered.max(asked.nonce);
        match asked.kind {
            Kind::Prepare(statement) => {
                self.prepared.insert(statement);
            }
            kind => {
                if let Some(keyspace) = kind.used().filter(|_| asked.nonce > self.confirmed.0) {
                    self.confirmed = (asked.nonce, keyspace);
                }
            }
        }
        Ok(())
    }

    /// Every byte of a server's reply is known.
    fn outcome_of(&self, frame: &Frame, asked: &Asked) -> Result<Outcome, String> {
        let nonce = has_token(asked.kind).then_some(asked.nonce);
        if *frame == traffic::reply(asked.kind, nonce, frame.id, self.plan.padding_max) {
            return Ok(Outcome::Own);
        }
        if asked.kind == Kind::Startup && *frame == traffic::challenge(frame.id) {
            return Ok(Outcome::Own);
        }
        if asked.kind.used().is_some() && *frame == traffic::refusal(frame.id) {
            return Ok(Outcome::Refused);
        }
        if frame.opcode != opcode::ERROR {
            return Err(format!("{asked:?} got {}", shown(frame)));
        }
        let text = String::from_utf8_lossy(frame.body.get(6..).unwrap_or_default()).into_owned();
        match Outcome::of_text(&text) {
            Some(outcome) => Ok(outcome),
            // What is told when a connection is lost is for other simulations to judge.
            None if !text.contains("tok") => Ok(Outcome::Closed),
            None => Err(format!("{asked:?} got the error: {text}")),
        }
    }
}

/// True where a request has room for a token.
pub fn has_token(kind: Kind) -> bool {
    let is_of_session = matches!(kind, Kind::Startup | Kind::Login | Kind::Options | Kind::Register);
    !is_of_session && kind.used().is_none() && !matches!(kind, Kind::Prepare(_) | Kind::PrepareUse(_))
}

fn is_repeat_refused(frame: &Frame) -> bool {
    let text = frame.body.get(6..).unwrap_or_default();
    frame.opcode == opcode::ERROR
        && text.ends_with(format!("stream id {} is in flight already", frame.id).as_bytes())
}

fn shown(frame: &Frame) -> String {
    let some = frame.body.get(..frame.body.len().min(300)).unwrap_or_default();
    format!("opcode {} with {} B: {}", frame.opcode, frame.body.len(), some.escape_ascii())
}
