//! Clients that share server connections: users, keyspaces and prepared statements that must not be mixed up.

mod client;
mod mirror;
mod server;
mod world;

pub use world::World;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chain::Tick;

use crate::pace::Skipped;

/// What can go wrong, and what must be seen to happen in many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    // Faults of servers.
    ConnectRefused,
    ConnectHangs,
    ServerResets,
    ServerEnds,
    ServerTearsReply,
    ServerRestarts,
    ServerStopsReading,
    ReplyIsLate,
    ReplyIsMissing,
    ReplyComesTwice,
    ReplyToUnknownId,
    ReplyIsGarbage,
    ReplyIsProtocolError,
    KeyspaceChangesUnasked,
    // Faults of clients.
    ClientResets,
    ClientEndsItsSide,
    ClientTearsRequest,
    ClientSendsGarbage,
    ClientReadsSeldom,
    ClientStopsReading,
    Drained,
    // What clients were told, and what servers saw.
    Answered,
    ToldNotSent,
    ToldTimeout,
    ToldUnprepared,
    KeyspaceChanged,
    ExecutedElsewhere,
    SessionReplayed,
    ConnectionShared,
    AskedTooEarly,
    OwnerHears,
    // Other ends of requests, and of what servers did for them.
    ClosedInFlight,
    LeftInFlight,
    OrphanAnswered,
}

/// Those that are faults come first.
pub const FAULT_KINDS: usize = 21;

/// How long a request may wait for its reply, in the runs in which that is limited.
pub const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Everything that must occur in a long enough run.
pub const EVENTS: [Event; 34] = [
    Event::ConnectRefused,
    Event::ConnectHangs,
    Event::ServerResets,
    Event::ServerEnds,
    Event::ServerTearsReply,
    Event::ServerRestarts,
    Event::ServerStopsReading,
    Event::ReplyIsLate,
    Event::ReplyIsMissing,
    Event::ReplyComesTwice,
    Event::ReplyToUnknownId,
    Event::ReplyIsGarbage,
    Event::ReplyIsProtocolError,
    Event::KeyspaceChangesUnasked,
    Event::ClientResets,
    Event::ClientEndsItsSide,
    Event::ClientTearsRequest,
    Event::ClientSendsGarbage,
    Event::ClientReadsSeldom,
    Event::ClientStopsReading,
    Event::Drained,
    Event::Answered,
    Event::ToldNotSent,
    Event::ToldTimeout,
    Event::ToldUnprepared,
    Event::KeyspaceChanged,
    Event::ExecutedElsewhere,
    Event::SessionReplayed,
    Event::ConnectionShared,
    Event::AskedTooEarly,
    Event::OwnerHears,
    Event::ClosedInFlight,
    Event::LeftInFlight,
    Event::OrphanAnswered,
];

/// A statement that nobody prepares here: another did, past the proxy.
pub const PREPARED_ELSEWHERE: u8 = 100;

/// What the sink counts that no run brings about: 64 MiB of replies would have to wait. The sink's own test
/// `the_largest_inboxes_are_cut_off_until_the_rest_fits` does it.
const NEVER: &str = "shotover_sharing_clients_cut_off_count{reason=\"memory\"}";

/// What the sink must have counted in a long enough run.
pub fn counts() -> impl Iterator<Item = String> {
    let counts = observe::SharingMetrics::default().counts().into_iter();
    counts.map(|(name, _)| name).filter(|name| name != NEVER)
}

/// What everybody knows of one run.
#[derive(Default)]
pub struct Book {
    /// Nonces of requests that a server has taken to run.
    pub ran: BTreeSet<u64>,
    /// Statements that somebody has seen prepared, by number.
    pub known: BTreeSet<u8>,
    pub events: BTreeMap<Event, u64>,
    pub cuts: [u64; 4],
    pub now: Tick,
    /// Over how much time the clock has jumped.
    pub skipped: Skipped,
    pub has_timeout: bool,
    /// Requests for whose replies a client waits that reads what comes, and when they were asked.
    pub awaited: BTreeMap<u64, Tick>,
    /// The stream ids of all requests, in the runs with a second sink.
    pub asked_as: BTreeMap<u64, i16>,
    pub has_mirror: bool,
    /// Clients that were told of a keyspace which nobody asked for.
    pub moved_unasked: BTreeSet<u8>,
    /// What the sink has counted.
    pub counts: Vec<(String, u64)>,
    /// A fault has happened on the servers' side.
    pub has_server_fault: bool,
    /// Somebody reads so seldom that requests may wait longer than they are given.
    pub has_slow_client: bool,
}

impl Book {
    pub fn note(&mut self, event: Event) {
        *self.events.entry(event).or_default() += 1;
    }

    /// How often something went wrong.
    pub fn faults(&self) -> u64 {
        EVENTS[..FAULT_KINDS].iter().filter_map(|event| self.events.get(event)).sum()
    }

    /// True while the request may not have been given up: its client waits, and has not waited too long.
    pub fn is_awaited(&self, nonce: u64) -> bool {
        let is_young = |at: &Tick| !self.has_timeout || self.now < at.after(READ_TIMEOUT);
        self.awaited.get(&nonce).is_some_and(is_young)
    }

    pub fn note_server_fault(&mut self, event: Event) {
        self.has_server_fault = true;
        self.note(event);
    }
}

/// A request's name says who asked, and in which keyspace it must run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    pub client: u8,
    pub keyspace: u8,
    pub number: u32,
}

/// Clients of one user may share.
pub const USERS: u8 = 2;

impl Nonce {
    pub fn pack(self) -> u64 {
        u64::from(self.client) << 40 | u64::from(self.keyspace) << 32 | u64::from(self.number)
    }

    pub fn unpack(nonce: u64) -> Self {
        Self { client: (nonce >> 40) as u8, keyspace: (nonce >> 32) as u8, number: nonce as u32 }
    }

    pub fn user(self) -> u8 {
        self.client % USERS
    }
}

/// Statements with an odd number write.
pub fn is_write(statement: u8) -> bool {
    statement % 2 == 1
}
