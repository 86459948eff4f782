//! What the second server calls a prepared statement, by the first one's id. What is not known is not mirrored.

use chain::{AllIds, Ids};

/// What a map takes for an id besides both ids.
const ENTRY_BYTES: usize = 96;

/// A statement that both servers have prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The second server's id, if it is another.
    pub(super) other_id: Option<Box<[u8]>>,
    /// It changes the keyspace of its connection.
    pub(super) is_use: bool,
}

impl Statement {
    /// What two servers call a statement.
    pub(super) fn new(id: &[u8], other_id: &[u8], is_use: bool) -> Self {
        Self { other_id: (id != other_id).then(|| other_id.into()), is_use }
    }

    fn entry_bytes(&self) -> usize {
        self.other_id.as_ref().map_or(0, |other| other.len()) + ENTRY_BYTES
    }
}

/// What the process knows.
pub(super) type AllPrepared = AllIds<Statement>;

/// What a worker knows.
pub(super) type Prepared = Ids<Statement>;

/// Nothing is known.
pub(super) fn none_prepared() -> AllPrepared {
    AllIds::new(Statement::entry_bytes)
}
