//! RefuseUnboundedSelect: answers a SELECT that would read a whole table with an error.
//!
//! Toward server: everything but those. Toward client: for those, an error of its own.
//! Wants decoded: whole QUERY and PREPARE requests, for their statement.
//! Must hold: a statement that cannot be read (compressed, say) does not pass: a filter that can be talked around is none.

use std::sync::Arc;

use shotover::chain::{Batch, Builder, Cx, Fault, Item, Link, Need, Transform, WorkerCx, WorkerPart};
use shotover::config::Fields;
use shotover::wire::ErrorKind;
use shotover::wire::cql::opcode::{PREPARE, QUERY};
use shotover::wire::cql::query::TableName;

use crate::statement::{Doubt, doubt};

/// Keyspaces of Cassandra itself. Drivers read whole tables of them.
const SYSTEM: [&str; 7] = [
    "system",
    "system_auth",
    "system_distributed",
    "system_schema",
    "system_traces",
    "system_views",
    "system_virtual_schema",
];

/// The option: keyspaces whose tables may be read whole.
const EXCEPT: &str = "except_keyspaces";

/// What is said of a statement that nobody can judge.
const UNREADABLE: &str = "a statement that cannot be read is refused";

/// All three parts at once: the entry of the topology, what a worker shares, and what a client has. It has no state but
/// its options.
#[derive(Clone)]
pub struct RefuseUnboundedSelect {
    except: Arc<[String]>,
}

impl RefuseUnboundedSelect {
    /// Tables of these keyspaces may be read whole.
    pub fn new(except: &[String]) -> Self {
        Self { except: except.into() }
    }

    /// Reads the options. All keys are asked for before anything is given up: every mistake is reported at once.
    pub fn read(fields: &mut Fields<'_>) -> Option<Box<dyn Builder>> {
        let except = fields.optional_strings(EXCEPT).unwrap_or_default();
        Some(Box::new(Self::new(&except)))
    }

    /// Why a request must not pass.
    fn refusal(&self, request: &mut Item<'_>) -> Option<String> {
        if !is_looked_at(request.head().opcode) {
            return None;
        }
        let statements = request.parsed();
        if !statements.are_told() {
            return Some(UNREADABLE.to_owned());
        }
        statements.each().find_map(|statement| match doubt(&statement)? {
            Doubt::ReadsAll(table) if self.is_excepted(table) => None,
            Doubt::ReadsAll(table) => Some(format!("a SELECT from {} needs a WHERE or a LIMIT", table.table)),
            Doubt::Unreadable => Some(UNREADABLE.to_owned()),
        })
    }

    /// True for a table of a keyspace that the statement names.
    fn is_excepted(&self, table: TableName<'_>) -> bool {
        let mut excepted = SYSTEM.into_iter().chain(self.except.iter().map(String::as_str));
        table.keyspace.is_some_and(|keyspace| excepted.any(|except| keyspace.matches(except)))
    }
}

/// An EXECUTE runs what a PREPARE brought, and a BATCH holds no SELECT.
fn is_looked_at(opcode: u8) -> bool {
    matches!(opcode, QUERY | PREPARE)
}

impl Builder for RefuseUnboundedSelect {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }
}

impl WorkerPart for RefuseUnboundedSelect {
    fn client(&self) -> Link {
        Link::Transform(Box::new(self.clone()))
    }
}

impl Transform for RefuseUnboundedSelect {
    fn request_need(&self, opcode: u8) -> Need {
        if is_looked_at(opcode) { Need::Whole } else { Need::None }
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| {
            if let Some(refusal) = self.refusal(request) {
                request.answer_error(ErrorKind::Invalid, &refusal);
            }
        });
        Ok(())
    }
}
