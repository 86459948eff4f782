//! Why a client's connection ended.

use std::io;

use chain::Fault;
use wire::Malformed;

/// Why a client's connection ended.
#[derive(Debug)]
pub enum End {
    /// The client ended it, and has all its replies.
    ClientLeft,
    /// The client's connection failed.
    ClientFailed(io::Error),
    /// It was told to end, and the client has all its replies.
    Drained,
    /// The client sent and read nothing for longer than the source allows.
    Idle,
    /// The client was waited for too long before its session had begun.
    NotBegun,
    /// The client began a request, and then sent nothing more of it.
    Stalled,
    /// A deadline of an ending connection passed with replies due.
    TimedOut,
    /// The client sent bytes that are no lawful request.
    Refused(Malformed),
    /// The chain failed. `was_busy`: a request was in flight.
    Failed { fault: Fault, was_busy: bool },
}
