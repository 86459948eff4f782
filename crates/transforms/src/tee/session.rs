//! What a request means for a second server: state of its connection, ids and places that only the first server knows.

use std::ops::Range;

use wire::cql::request::{self, BatchStatement};
use wire::cql::session::{self, Demand, Work};
use wire::cql::{body, opcode};
use wire::{ConnectionState, Head, Protocol, Side};
use zeroize::Zeroizing;

use super::prepared::Prepared;

/// REGISTERs of one client that are replayed; drivers send one.
const REGISTERS_MAX: usize = 8;

/// A step of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Startup,
    Auth,
    /// USE, or a statement prepared as one; REGISTER.
    Later,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// It carries state of its connection.
    State(Step),
    Prepare {
        is_use: bool,
    },
    /// It names prepared statements by ids.
    ByIds,
    /// It goes on where a page ended, which one server names in words of its own.
    Paged,
    /// Anything else.
    Plain,
}

/// What a request is. `frame` may be cut short.
pub(super) fn sort(head: &Head, frame: &[u8]) -> Sort {
    match Protocol::Cql.connection_state(head, frame) {
        ConnectionState::Handshake if head.opcode == opcode::STARTUP => return Sort::State(Step::Startup),
        ConnectionState::Handshake => return Sort::State(Step::Auth),
        ConnectionState::Subscription | ConnectionState::Keyspace => return Sort::State(Step::Later),
        ConnectionState::None | ConnectionState::Unknown => {}
    }
    let has_page = |parameters: request::Parameters<'_>| parameters.paging_state.is_some();
    match head.opcode {
        opcode::PREPARE => {
            Sort::Prepare { is_use: session::demand(head, frame) == Demand::Prepare(Work::Use) }
        }
        opcode::QUERY => match body(Side::Request, head, frame).and_then(request::query) {
            Ok((_, parameters)) if has_page(parameters) => Sort::Paged,
            _ => Sort::Plain,
        },
        opcode::EXECUTE => match body(Side::Request, head, frame).and_then(request::execute) {
            Ok((_, parameters)) if has_page(parameters) => Sort::Paged,
            _ => Sort::ByIds,
        },
        opcode::BATCH => Sort::ByIds,
        _ => Sort::Plain,
    }
}

/// A request in the words of the second server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Translated {
    /// As it is.
    Same { is_use: bool },
    /// With other ids.
    Other { frame: Vec<u8>, is_use: bool },
    /// It names a statement that is not known there.
    Unknown,
}

/// Puts the second server's ids in place of the first one's.
pub(super) fn translate(head: &Head, frame: &[u8], prepared: &Prepared) -> Translated {
    let mut others: Vec<(Range<usize>, Box<[u8]>)> = Vec::new();
    let (mut is_known, mut is_use) = (true, false);
    let mut meet = |id: &[u8]| match prepared.get(id) {
        None => is_known = false,
        Some(statement) => {
            is_use |= statement.is_use;
            if let Some(other) = statement.other_id {
                others.push((place_in(frame, id), other));
            }
        }
    };
    let body = body(Side::Request, head, frame);
    let is_read = match head.opcode {
        opcode::EXECUTE => body.and_then(|mut body| body.short_bytes()).map(&mut meet).is_ok(),
        opcode::BATCH => body
            .and_then(|body| {
                request::batch(body, |statement, _| {
                    if let BatchStatement::Prepared(id) = statement {
                        meet(id);
                    }
                })
            })
            .is_ok(),
        _ => true,
    };
    if !is_known || (!is_read && head.opcode == opcode::EXECUTE) {
        return Translated::Unknown;
    }
    if others.is_empty() || !is_read {
        return Translated::Same { is_use };
    }
    Translated::Other { frame: splice(frame, &others), is_use }
}

/// Where a part of a frame is in it.
fn place_in(frame: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(frame.as_ptr() as usize);
    start..start + part.len()
}

/// A frame with other ids in some places. In front of each is its length, two bytes.
fn splice(frame: &[u8], others: &[(Range<usize>, Box<[u8]>)]) -> Vec<u8> {
    let mut spliced = Vec::with_capacity(frame.len());
    let mut at = 0;
    for (place, other) in others {
        spliced.extend_from_slice(frame.get(at..place.start.saturating_sub(2)).unwrap_or_default());
        spliced.extend_from_slice(&u16::try_from(other.len()).unwrap_or(u16::MAX).to_be_bytes());
        spliced.extend_from_slice(other);
        at = place.end;
    }
    spliced.extend_from_slice(frame.get(at..).unwrap_or_default());
    let body_bytes = u32::try_from(spliced.len().saturating_sub(9)).unwrap_or(u32::MAX);
    if let Some(length) = spliced.get_mut(5..9) {
        length.copy_from_slice(&body_bytes.to_be_bytes());
    }
    spliced
}

/// The session of a client, for a server that must be told again.
#[derive(Default)]
pub(super) struct Recorder {
    startup: Option<Vec<u8>>,
    auth: Option<Zeroizing<Vec<u8>>>,
    rounds: usize,
    registers: Vec<Vec<u8>>,
    keyspace: Option<(u8, String)>,
    /// Frames may be compressed: what changes the keyspace cannot be seen.
    is_hidden: bool,
}

impl Recorder {
    /// Keeps a request that begins a session, or asks for events.
    pub(super) fn record(&mut self, head: &Head, frame: &[u8]) {
        match head.opcode {
            opcode::STARTUP => {
                self.is_hidden = session::startup_options(head, frame).is_none();
                self.startup = Some(frame.to_vec());
            }
            opcode::AUTH_RESPONSE => {
                self.rounds += 1;
                self.auth = Some(Zeroizing::new(frame.to_vec()));
            }
            opcode::REGISTER if self.registers.len() < REGISTERS_MAX => self.registers.push(frame.to_vec()),
            _ => {}
        }
    }

    /// The first server has changed to a keyspace.
    pub(super) fn is_in(&mut self, version: u8, keyspace: &str) {
        self.keyspace = Some((version, keyspace.to_owned()));
    }

    /// The frames that begin the session again; `None` if it cannot be.
    pub(super) fn frames(&self) -> Option<Vec<(Step, Zeroizing<Vec<u8>>)>> {
        if self.is_hidden || self.rounds > 1 {
            return None;
        }
        let startup = self.startup.iter().map(|frame| (Step::Startup, Zeroizing::new(frame.clone())));
        let auth = self.auth.iter().map(|frame| (Step::Auth, frame.clone()));
        let keyspace = self.keyspace.iter();
        let keyspace = keyspace.map(|(version, name)| session::use_keyspace(*version, 0, name));
        let later = keyspace.chain(self.registers.iter().cloned());
        Some(startup.chain(auth).chain(later.map(|frame| (Step::Later, Zeroizing::new(frame)))).collect())
    }
}
