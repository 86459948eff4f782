//! A mixed traffic through any chain: requests of all kinds, and for each of them exactly one right answer.

mod application;
mod chains;
mod check;
mod model;
mod outcomes;
mod server;
mod traffic;
mod world;

pub use chains::pairs;
pub use model::{Part, log_files};
pub use outcomes::Outcome;
pub use world::World;

use std::collections::{BTreeMap, BTreeSet};

use model::Server;
use traffic::Kind;

use crate::pace::Skipped;

/// What must be seen to happen in many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Ended(Outcome),
    /// A server's own reply came to this.
    Answered(Sort),
    /// It came before that to an older request.
    OutOfOrder,
    Heard,
    /// A server of a Tee's second chain ran a request, and one of a Tee in that chain.
    RanInSecond,
    RanInThird,
    /// A request was sent again, since its replies differ.
    RanAgain,
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
pub const EVENTS: [Event; 22] = [
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
    Event::RanInSecond,
    Event::RanInThird,
    Event::RanAgain,
    Event::ServerErrs,
    Event::ServerResets,
    Event::ClientLeft,
    Event::EndedItsSide,
    Event::Closed,
    Event::RepeatRefused,
];

impl Event {
    /// It occurs in chains of two transforms, without faults.
    pub fn occurs_in_pairs(self) -> bool {
        !matches!(self, Self::ServerResets | Self::ClientLeft | Self::RanInThird)
    }
}

/// What is known of a request.
pub struct Request {
    kind: Kind,
    /// The keyspaces that its client has chosen before it, by number: one that was confirmed, and those that were asked
    /// for.
    may_run_in: BTreeSet<u8>,
}

/// What everybody knows of one run.
#[derive(Default)]
pub struct Book {
    /// Requests that clients have asked, by nonce.
    requests: BTreeMap<u64, Request>,
    /// Requests that a server has taken to run, and their nonces.
    ran: BTreeSet<(Server, u64)>,
    /// Requests that were answered on the way: no byte of them may come to the chain's own server.
    must_not_run: BTreeSet<u64>,
    /// Keyspaces that there are at a server.
    keyspaces: BTreeSet<(Server, u8)>,
    /// Statements that a server has run, those of batches counted one by one.
    statements: BTreeMap<Server, u64>,
    /// Over how much time the clock has jumped.
    skipped: Skipped,
    pub events: BTreeMap<Event, u64>,
    pub cuts: [u64; 4],
    /// A fault has happened on the servers' side.
    pub has_server_fault: bool,
}

impl Book {
    pub fn note(&mut self, event: Event) {
        *self.events.entry(event).or_default() += 1;
    }

    /// How often something went wrong at an end.
    fn faults(&self) -> u64 {
        let faults = [Event::ServerResets, Event::ClientLeft, Event::EndedItsSide];
        faults.iter().filter_map(|event| self.events.get(event)).sum()
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
