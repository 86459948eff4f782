//! A large request that is assembled for a second chain.

use chain::{Item, Need, Origin, Piece, Pool};
use wire::Head;

use super::mirror::{Kind, Waiting};
use super::session::{Sort, sort};

/// What has come of it.
pub(super) struct Large {
    bytes: Vec<u8>,
    head: Head,
    pub(super) origin: Origin,
    need: Need,
}

impl Large {
    /// A request whose rest is to come.
    pub(super) fn begin(pool: &Pool, item: &Item<'_>, origin: Origin, need: Need) -> Self {
        let mut large = Self { bytes: Vec::new(), head: *item.head(), origin, need };
        large.take(pool, item.bytes());
        large
    }

    /// More of it: a server that may be slower gets bytes of its own.
    pub(super) fn take(&mut self, pool: &Pool, more: &[u8]) {
        let before = self.bytes.len();
        self.bytes.resize(before + more.len(), 0);
        pool.copy(self.bytes.get_mut(before..).unwrap_or_default(), more);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.bytes.len() >= self.head.frame_bytes as usize
    }

    /// The whole of it, and what it is.
    pub(super) fn into_waiting(self, pool: &Pool) -> (Waiting, Sort) {
        let Self { bytes, head, origin, need } = self;
        let sorted = sort(&head, &bytes);
        let kind = match sorted {
            Sort::ByIds => Kind::ByIds,
            Sort::Paged => Kind::Paged,
            _ => Kind::Plain,
        };
        (Waiting { head, piece: Piece::whole(pool.own(bytes)), origin, need, kind }, sorted)
    }
}
