//! A mixed traffic through any chain: requests of all kinds, and for each of them exactly one right answer.

mod application;
mod model;
mod server;
mod traffic;
mod world;

pub use model::pairs;
pub use world::World;

use std::collections::{BTreeMap, BTreeSet};

use model::Outcome;

/// What must be seen to happen in many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Ended(Outcome),
    Heard,
    ServerErrs,
    ServerResets,
    ClientLeft,
    EndedItsSide,
    Closed,
}

/// Everything that must occur in a long enough run.
pub const EVENTS: [Event; 10] = [
    Event::Ended(Outcome::Own),
    Event::Ended(Outcome::Filtered),
    Event::Ended(Outcome::Throttled),
    Event::Ended(Outcome::Null),
    Event::Heard,
    Event::ServerErrs,
    Event::ServerResets,
    Event::ClientLeft,
    Event::EndedItsSide,
    Event::Closed,
];

/// What everybody knows of one run.
#[derive(Default)]
pub struct Book {
    /// Requests that a server has taken to run: its address, and the nonce.
    pub ran: BTreeSet<(String, u64)>,
    /// Requests that were answered on the way: no byte of them may come to the chain's own server.
    pub must_not_run: BTreeSet<u64>,
    pub events: BTreeMap<Event, u64>,
    pub cuts: [u64; 4],
    /// A fault has happened on the servers' side.
    pub has_server_fault: bool,
}

impl Book {
    pub fn note(&mut self, event: Event) {
        *self.events.entry(event).or_default() += 1;
    }
}
