//! Whether a statement has a bound.

use shotover::chain::ParsedStatement;
use shotover::wire::cql::query::{Statement, StatementKind, TableName};

/// Why a statement is not let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt<'s> {
    /// It reads all of this table.
    ReadsAll(TableName<'s>),
    /// It cannot be read, and may be a SELECT.
    Unreadable,
}

/// What there is against a statement: it is a SELECT with neither a WHERE nor a LIMIT. `PER PARTITION LIMIT` is none.
pub fn doubt<'s>(statement: &ParsedStatement<'s>) -> Option<Doubt<'s>> {
    match (statement.parsed, statement.kind) {
        (Ok(parsed), _) => match &parsed.statement {
            Statement::Select(select) if select.relations.is_empty() && select.limit.is_none() => {
                Some(Doubt::ReadsAll(select.table))
            }
            _ => None,
        },
        (Err(_), None | Some(StatementKind::Select | StatementKind::Unrecognized)) => Some(Doubt::Unreadable),
        // The server may know better what that is: no SELECT.
        (Err(_), Some(_)) => None,
    }
}
