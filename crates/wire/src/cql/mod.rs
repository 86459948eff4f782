//! Cassandra's native protocol, versions 3 and 4.
//!
//! `header` frames, `request` and `response` are views of bodies, `statement` reads the first words of a statement,
//! `session` says what may share a connection, `encode` makes the few frames that are made here, `describe` shows a message to people.
//! `types`, `value` and `metadata` are what the values inside are, `edit` has requests and rows that can be changed.

mod describe;
pub mod edit;
mod encode;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod header;
pub mod metadata;
pub mod opcode;
pub mod request;
pub mod response;
pub mod session;
mod statement;
#[cfg(test)]
mod tests;
pub mod types;
pub mod value;
mod writer;

pub use describe::describe;
pub use encode::{error_reply, refusal};
pub use header::{Flags, HEADER_BYTES, body, frame};
pub use statement::{Statement, connection_state, first_statement, query_type};
pub use writer::Unencodable;
