//! DebugReturner: ends a chain with a fixed outcome, for trying out what stands above it.
//!
//! Toward server: nothing. Toward client: with `Fail`, every request in flight gets an error and the connection ends.
//! Wants decoded: nothing.
//! Must hold: nothing reaches a server.

use chain::{Batch, Builder, Cx, Fault, Link, Sink, WorkerCx, WorkerPart};
use config::Fields;

/// The outcome, as the topology names it. `Valkey: "<string>"` comes with the Valkey protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugReturner {
    /// Fails with `Intentional Fail!`.
    Fail,
}

impl DebugReturner {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        if let Some(valkey) = fields.optional_node("Valkey") {
            fields.fail_at(&valkey, "`Valkey` needs a Valkey source, which this version does not support");
            return None;
        }
        if fields.has("Fail") {
            fields.optional_node("Fail");
            return Some(Self::Fail);
        }
        fields.fail("DebugReturner needs exactly one of `Valkey` and `Fail`");
        None
    }
}

impl Builder for DebugReturner {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for DebugReturner {
    fn client(&self) -> Link {
        Link::Sink(Box::new(*self))
    }
}

impl Sink for DebugReturner {
    fn submit(&mut self, _cx: &mut Cx<'_, '_>, _batch: &mut Batch<'_>) -> Result<(), Fault> {
        let Self::Fail = self;
        Err(Fault::new("Intentional Fail!"))
    }
}
