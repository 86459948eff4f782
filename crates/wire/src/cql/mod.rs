//! Cassandra's native protocol, versions 3 and 4.
//!
//! `header` frames, `request` and `response` are views of bodies, `statement` reads the first words of a statement, `query` the
//! rest, `source` finds the texts and ids in a request, `names` names what is in them, `check` reads everything there is of
//! a message, `compare` says whether two servers said the same and `difference` where they did not, `session` says what
//! may share a connection, `encode` makes the few frames that are made here, `describe` shows a message to people.
//! `types`, `value` and `metadata` are what the values inside are, `edit` has requests and rows that can be changed.

mod check;
mod compare;
mod describe;
mod difference;
pub mod edit;
mod encode;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod header;
mod hex;
pub mod metadata;
mod names;
pub mod opcode;
pub mod query;
pub mod request;
pub mod response;
pub mod session;
mod source;
mod statement;
#[cfg(test)]
mod tests;
pub mod types;
pub mod value;
mod writer;

pub use check::check;
pub use compare::is_same_reply;
pub use describe::describe;
pub use difference::first_difference;
pub use encode::{error_reply, refusal, unprepared_reply};
pub use header::{Flags, HEADER_BYTES, binding_body, body, frame};
pub use names::{
    each_statement, error_code, first_batched_id, login_user, outline, redacted, runs_statements,
    statement_text, statements,
};
pub use source::{bound_values, each_source};
pub use statement::{Statement, connection_state, first_statement, query_type};
pub use writer::Unencodable;
