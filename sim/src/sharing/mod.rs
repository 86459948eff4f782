//! Clients that share server connections: users, keyspaces and prepared statements that must not be mixed up.

mod client;
mod server;
mod world;

pub use world::World;

use std::collections::{BTreeMap, BTreeSet};

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
    OwnerHears,
}

/// Everything that must occur in a long enough run.
pub const EVENTS: [Event; 29] = [
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
    Event::Drained,
    Event::Answered,
    Event::ToldNotSent,
    Event::ToldTimeout,
    Event::ToldUnprepared,
    Event::KeyspaceChanged,
    Event::ExecutedElsewhere,
    Event::SessionReplayed,
    Event::ConnectionShared,
    Event::OwnerHears,
];

/// What everybody knows of one run.
#[derive(Default)]
pub struct Book {
    /// Nonces of requests that a server has taken to run.
    pub ran: BTreeSet<u64>,
    /// Statements that somebody has seen prepared, by number.
    pub known: BTreeSet<u8>,
    pub events: BTreeMap<Event, u64>,
    /// A fault has happened on the servers' side.
    pub has_server_fault: bool,
    /// Somebody reads so seldom that requests may wait longer than they are given.
    pub has_slow_client: bool,
}

impl Book {
    pub fn note(&mut self, event: Event) {
        *self.events.entry(event).or_default() += 1;
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

/// Opcodes that `testkit` has no name for.
pub mod opcode {
    pub use crate::frames::opcode::*;

    pub const AUTHENTICATE: u8 = 0x03;
    pub const PREPARE: u8 = 0x09;
    pub const EXECUTE: u8 = 0x0A;
    pub const REGISTER: u8 = 0x0B;
    pub const AUTH_RESPONSE: u8 = 0x0F;
    pub const AUTH_SUCCESS: u8 = 0x10;
}

/// Statements with an odd number write.
pub fn is_write(statement: u8) -> bool {
    statement % 2 == 1
}
