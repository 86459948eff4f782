//! DebugPrinter: logs every request and every reply.
//!
//! Toward server and toward client: everything passes unchanged.
//! Wants decoded: the first chunk of each message, to show it.
//! Must hold: secrets (authentication tokens) are not shown.

use chain::{Batch, Builder, Cx, Fault, Link, Need, Transform, WorkerCx, WorkerPart};
use config::Fields;
use tracing::info;

/// The entry of a topology; it has no options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugPrinter;

impl DebugPrinter {
    /// Reads the options, of which there are none.
    pub fn parse(_fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self)
    }
}

impl Builder for DebugPrinter {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for DebugPrinter {
    fn client(&self) -> Link {
        Link::Transform(Box::new(*self))
    }
}

impl Transform for DebugPrinter {
    fn request_need(&self, _opcode: u8) -> Need {
        Need::Head
    }

    fn reply_need(&self, _request_opcode: u8) -> Need {
        Need::Head
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| info!(target: "shotover::transforms::debug::printer", "Request: {}", request.describe()));
        Ok(())
    }

    fn responses(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(
            |reply| info!(target: "shotover::transforms::debug::printer", "Response: {}", reply.describe()),
        );
        Ok(())
    }
}
