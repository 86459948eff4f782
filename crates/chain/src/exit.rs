//! Where replies leave a chain.

use std::ops::Range;

use crate::chunk::Chunk;
use crate::message::Batch;
use crate::stream::Cx;
use crate::transform::Fault;

/// Where replies leave a chain: the client's socket, or the transform that owns this chain.
pub trait Exit {
    /// False while no more should be given.
    fn is_ready(&self) -> bool;
    /// Takes every message of the batch that goes on. The ledger still holds the requests they answer.
    ///
    /// # Errors
    /// A fault ends this client.
    fn deliver(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault>;
    /// True while it looks at each reply by itself.
    fn looks(&self) -> bool;
    /// True while a large reply of another chain is half out: what was made here waits.
    fn is_torn(&self) -> bool {
        false
    }
    /// Takes bytes that it does not look at: more of the large reply that ended the last batch, or whole replies.
    ///
    /// # Errors
    /// A fault ends this client.
    fn deliver_bytes(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>)
    -> Result<(), Fault>;
}

/// An exit through which no more replies should come for now, since a transform takes none.
pub(crate) struct Shut<'e>(pub(crate) &'e mut dyn Exit);

impl Exit for Shut<'_> {
    fn is_ready(&self) -> bool {
        false
    }

    fn is_torn(&self) -> bool {
        self.0.is_torn()
    }

    fn looks(&self) -> bool {
        self.0.looks()
    }

    fn deliver(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.0.deliver(cx, batch)
    }

    fn deliver_bytes(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        range: Range<usize>,
    ) -> Result<(), Fault> {
        self.0.deliver_bytes(cx, chunk, range)
    }
}
