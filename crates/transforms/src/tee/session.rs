//! What a request means for a second server: state of its connection, ids and places that only the first server knows.

use std::ops::Range;

use wire::cql::request::{self, BatchStatement};
use wire::cql::session::{self, Demand, Work};
use wire::cql::{Flags, body, opcode};
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
    /// USE in its own words.
    Use,
    Register,
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
    /// Only its start has come, which does not say whether it is a USE.
    Hidden,
    /// Anything else.
    Plain,
}

/// What a request is. `frame` may be cut short.
pub(super) fn sort(head: &Head, frame: &[u8]) -> Sort {
    match Protocol::Cql.connection_state(head, frame) {
        ConnectionState::Handshake if head.opcode == opcode::STARTUP => return Sort::State(Step::Startup),
        ConnectionState::Handshake => return Sort::State(Step::Auth),
        ConnectionState::Subscription => return Sort::State(Step::Register),
        ConnectionState::Keyspace => return Sort::State(Step::Use),
        ConnectionState::Unknown if is_cut_query(head, frame) => return Sort::Hidden,
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

/// A QUERY of which only the start has come, and can be read.
fn is_cut_query(head: &Head, frame: &[u8]) -> bool {
    let is_cut = frame.len() < head.frame_bytes as usize;
    head.opcode == opcode::QUERY && is_cut && head.flags & Flags::COMPRESSED == 0
}

/// Whether a request changes the keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uses {
    No,
    /// Only its reply says so.
    May,
    /// If the server accepts it.
    Does,
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

impl Translated {
    /// It runs a prepared USE.
    pub(super) fn is_use(&self) -> bool {
        matches!(self, Self::Same { is_use: true } | Self::Other { is_use: true, .. })
    }
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

/// A keyspace that a client is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keyspace {
    /// The number of the USE that led there; 0 if none did.
    pub(super) number: u32,
    /// The USE that leads there.
    pub(super) frame: Option<Vec<u8>>,
}

/// The session of a client, for a server that must be told again.
#[derive(Default)]
pub(super) struct Recorder {
    startup: Option<Vec<u8>>,
    auth: Option<Zeroizing<Vec<u8>>>,
    rounds: usize,
    registers: Vec<Vec<u8>>,
    /// Where the client is.
    keyspace: Keyspace,
    /// The number of the last USE that was asked.
    uses: u32,
    /// USEs that the first server has not answered. Those that only may be some do not count: a client that goes on
    /// executing what is not known would never be settled.
    unanswered: usize,
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

    /// The first server is asked for a keyspace. The number of that USE, never 0.
    pub(super) fn use_begins(&mut self, uses: Uses) -> u32 {
        self.unanswered += usize::from(uses == Uses::Does);
        self.uses = self.uses.checked_add(1).unwrap_or(1);
        self.uses
    }

    /// It has answered: with the USE to where it is now, or it has refused.
    pub(super) fn use_ends(&mut self, number: u32, uses: Uses, keyspace: Option<&[u8]>) {
        self.unanswered = self.unanswered.saturating_sub(usize::from(uses == Uses::Does));
        // Two that were asked at once may be answered in any order.
        if let Some(frame) = keyspace.filter(|_| number >= self.keyspace.number) {
            self.keyspace = Keyspace { number, frame: Some(frame.to_vec()) };
        }
    }

    /// True while it is known in which keyspace the client is.
    pub(super) fn is_settled(&self) -> bool {
        self.unanswered == 0
    }

    /// Where the client is, as far as the first server has answered.
    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The number of the last USE that was asked, or of what may be one.
    pub(super) fn last_use(&self) -> u32 {
        self.uses
    }

    /// True if the session can be begun again.
    pub(super) fn can_return(&self) -> bool {
        !self.is_hidden && self.rounds <= 1
    }

    /// The frames that begin the session again, in this keyspace; none if it cannot be.
    pub(super) fn frames_in(&self, keyspace: &Keyspace) -> Vec<(Step, Zeroizing<Vec<u8>>)> {
        if !self.can_return() {
            return Vec::new();
        }
        let startup = self.startup.iter().map(|frame| (Step::Startup, Zeroizing::new(frame.clone())));
        let auth = self.auth.iter().map(|frame| (Step::Auth, frame.clone()));
        let keyspace = keyspace.frame.iter().map(|frame| (Step::Use, Zeroizing::new(frame.clone())));
        let registers = self.registers.iter().map(|frame| (Step::Register, Zeroizing::new(frame.clone())));
        startup.chain(auth).chain(keyspace).chain(registers).collect()
    }
}
