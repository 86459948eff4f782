//! What a CQL text says: its kind and tables without allocating, and the whole of a SELECT, INSERT, UPDATE, DELETE,
//! TRUNCATE, USE or BATCH when somebody asks.
//!
//! `lexer` cuts a text into tokens, `classify` reads the few that tell what a statement is and which tables it names,
//! `outline` keeps that apart from the text, `parser` and the files named after clauses read all of them into the views of `view`,
//! `kept` keeps those with their text.
//! The grammar is that of Cassandra 5.0, with the operators that came after it (BETWEEN, NOT IN, NOT CONTAINS).
//! Must hold: linear in the text; recursion is limited by [`crate::limits::CQL_DEPTH_MAX`].

mod classify;
mod identifier;
mod kept;
mod keyword;
mod kind;
mod lexer;
mod markers;
mod modify;
mod outline;
mod parser;
mod redact;
mod relation;
mod select;
mod selector;
mod term;
#[cfg(test)]
mod tests;
mod types;
mod view;

pub use classify::{Classified, Kinds, Tables, classify, classify_part};
pub use identifier::{Identifier, TableName};
pub use kept::ParsedText;
pub(crate) use kind::NAMES;
pub use kind::StatementKind;
pub use markers::Markers;
pub use outline::{About, Outline, Stated, read_table};
pub use parser::{Parsed, Problem, SyntaxError, parse};
pub use redact::redacted;
pub use view::{
    Assigned, Assignment, Batch, BatchKind, Condition, Delete, Deleted, Existence, Form, Insert, Inserted,
    Operator, Order, Relation, Select, Selected, Selector, Statement, Subject, Term, Update, Using,
};
