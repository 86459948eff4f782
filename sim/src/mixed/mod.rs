//! A mixed traffic through any chain: requests of all kinds, and for each of them exactly one right answer.

mod application;
mod model;
mod server;
mod traffic;
mod world;

pub use model::{Outcome, Part, log_files, pairs};
pub use world::World;

use std::collections::{BTreeMap, BTreeSet};

use traffic::Kind;

/// What must be seen to happen in many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Ended(Outcome),
    /// A server's own reply came to this.
    Answered(Sort),
    /// It came before that to an older request.
    OutOfOrder,
    Heard,
    ServerErrs,
    ServerResets,
    ClientLeft,
    EndedItsSide,
    Closed,
    /// A client was refused that had used an id of a request in flight.
    RepeatRefused,
}

/// What a request is, for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    Read,
    Write,
    Batch,
    Prepare,
    Execute,
    Other,
}

impl Sort {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Select => Self::Read,
            Kind::Insert => Self::Write,
            Kind::Batch(_) => Self::Batch,
            Kind::Prepare(_) => Self::Prepare,
            Kind::Execute(_) => Self::Execute,
            _ => Self::Other,
        }
    }
}

/// Everything that must occur in a long enough run.
pub const EVENTS: [Event; 19] = [
    Event::Ended(Outcome::Own),
    Event::Ended(Outcome::Filtered),
    Event::Ended(Outcome::Throttled),
    Event::Ended(Outcome::Null),
    Event::Ended(Outcome::Mismatch),
    Event::Ended(Outcome::Refused),
    Event::Answered(Sort::Read),
    Event::Answered(Sort::Write),
    Event::Answered(Sort::Batch),
    Event::Answered(Sort::Prepare),
    Event::Answered(Sort::Execute),
    Event::OutOfOrder,
    Event::Heard,
    Event::ServerErrs,
    Event::ServerResets,
    Event::ClientLeft,
    Event::EndedItsSide,
    Event::Closed,
    Event::RepeatRefused,
];

impl Event {
    /// It occurs without faults too.
    pub fn needs_no_fault(self) -> bool {
        !matches!(self, Self::ServerResets | Self::ClientLeft)
    }
}

/// What everybody knows of one run.
#[derive(Default)]
pub struct Book {
    /// Requests that a server has taken to run: its address, and the nonce.
    pub ran: BTreeSet<(String, u64)>,
    /// Requests that were answered on the way: no byte of them may come to the chain's own server.
    pub must_not_run: BTreeSet<u64>,
    /// The keyspaces that a request's client has chosen before it, by number: one that was confirmed, and those that
    /// were asked for.
    pub may_run_in: BTreeMap<u64, BTreeSet<u8>>,
    /// Keyspaces that there are at a server.
    pub keyspaces: BTreeSet<(String, u8)>,
    /// Statements that the chain's own server has run, those of batches counted one by one.
    pub statements: u64,
    pub events: BTreeMap<Event, u64>,
    pub cuts: [u64; 4],
    /// A fault has happened on the servers' side.
    pub has_server_fault: bool,
}

impl Book {
    pub fn note(&mut self, event: Event) {
        *self.events.entry(event).or_default() += 1;
    }

    /// Requests that ended so.
    pub fn ended(&self, is_counted: impl Fn(Outcome) -> bool) -> u64 {
        let ended = self.events.iter().filter_map(|(event, times)| match event {
            Event::Ended(outcome) if is_counted(*outcome) => Some(times),
            _ => None,
        });
        ended.sum()
    }
}
