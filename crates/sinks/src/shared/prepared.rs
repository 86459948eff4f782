//! What prepared statements do, by their ids. One that is not known is executed on its client's own connection.

use chain::{AllIds, Ids};
use wire::cql::session::Work;

/// What a map takes for an id besides the id.
const ENTRY_BYTES: usize = 64;

/// What the process knows.
pub(crate) type AllPrepared = AllIds<Work>;

/// What a worker knows.
pub(super) type Prepared = Ids<Work>;

/// Nothing is known.
pub(crate) fn none_prepared() -> AllPrepared {
    AllIds::new(|_| ENTRY_BYTES)
}
