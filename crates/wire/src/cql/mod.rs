//! Cassandra's native protocol, versions 3 and 4.
//!
//! `header` frames, `request` and `response` are views of bodies, `statement` reads the first word of a statement,
//! `query` the rest, `session` says what may share a connection, `encode` makes the few frames that are made here,
//! `describe` shows a message to people.

mod describe;
mod encode;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod header;
pub mod opcode;
pub mod query;
pub mod request;
pub mod response;
pub mod session;
mod statement;
#[cfg(test)]
mod tests;

pub use describe::describe;
pub use encode::{error_reply, refusal};
pub use header::{Flags, HEADER_BYTES, body, frame};
pub use statement::{Statement, connection_state, first_statement, query_type};
