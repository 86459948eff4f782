//! Small requests of many clients on their way to one server: copied one behind the other into a chunk, so that they
//! leave in one write.

use std::io;

use chain::{Chunk, Cx, Outlet, Piece, Pool, Stream};

/// The chunk that is being filled. It has one owner for as long as it is written into.
#[derive(Default)]
pub(super) struct Gather {
    open: Option<Chunk>,
    filled: usize,
}

impl Gather {
    /// Bytes that wait here.
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// Copies `bytes` (fewer than a chunk has) behind what waits, and gives the copy to be changed. A full chunk goes
    /// to `outlet`, which comes before this in the connection's bytes.
    #[inline]
    pub(super) fn append(&mut self, pool: &Pool, outlet: &mut Outlet, bytes: &[u8]) -> Option<&mut [u8]> {
        if self.filled + bytes.len() > chain::CHUNK_BYTES {
            self.seal(outlet);
        }
        let open = self.open.get_or_insert_with(|| pool.take());
        let place = open.bytes_mut()?.get_mut(self.filled..self.filled + bytes.len())?;
        pool.copy(place, bytes);
        self.filled += bytes.len();
        Some(place)
    }

    /// Gives what waits to `outlet`.
    pub(super) fn seal(&mut self, outlet: &mut Outlet) {
        let filled = std::mem::take(&mut self.filled);
        if let Some(open) = self.open.take() {
            outlet.push(Piece::new(open, 0..filled));
        }
    }

    /// Writes what waits, straight from its chunk; what is not taken waits in `outlet`, which is empty before.
    pub(super) fn send(
        &mut self,
        cx: &mut Cx<'_, '_>,
        stream: &mut (impl Stream + ?Sized),
        outlet: &mut Outlet,
    ) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        match self.open.take() {
            Some(open) => outlet.send(cx, stream, &open, 0..filled),
            None => Ok(()),
        }
    }
}
