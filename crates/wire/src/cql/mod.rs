//! Cassandra's native protocol, versions 3 and 4.
//!
//! `header` frames, `request` and `response` are views of bodies, `statement` reads the first words of a statement,
//! `session` says what may share a connection, `encode` makes the few frames that are made here, `describe` shows a message to people,
//! `compare` says whether two servers said the same.

mod compare;
mod describe;
mod encode;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod header;
pub mod opcode;
pub mod request;
pub mod response;
pub mod session;
mod statement;
#[cfg(test)]
mod tests;

pub use compare::is_same_reply;
pub use describe::describe;
pub use encode::{error_reply, refusal};
pub use header::{Flags, HEADER_BYTES, body, frame};
pub use statement::{Statement, connection_state, first_statement, query_type};
