//! What DebugForceParse and DebugForceEncode have in common: something is done with all of every message.

use chain::{Batch, Cx, Fault, Item, Link, Need, Transform, WorkerPart};
use wire::{Protocol, Side};

/// Does its work on the sides that it is told to, for every client.
#[derive(Clone, Copy)]
pub(crate) struct DebugForce {
    pub(crate) requests: bool,
    pub(crate) responses: bool,
    /// Gets whole messages only.
    pub(crate) work: fn(Protocol, Side, &mut Item<'_>),
}

impl WorkerPart for DebugForce {
    fn client(&self) -> Link {
        Link::Transform(Box::new(*self))
    }
}

impl DebugForce {
    fn each(&self, is_wanted: bool, side: Side, batch: &mut Batch<'_>) {
        if !is_wanted {
            return;
        }
        let protocol = batch.protocol();
        batch.each(|message| {
            if message.is_whole() {
                (self.work)(protocol, side, message);
            }
        });
    }
}

fn need(is_wanted: bool) -> Need {
    if is_wanted { Need::Whole } else { Need::None }
}

impl Transform for DebugForce {
    fn request_need(&self, _opcode: u8) -> Need {
        need(self.requests)
    }

    fn reply_need(&self, _request_opcode: u8) -> Need {
        need(self.responses)
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.each(self.requests, Side::Request, batch);
        Ok(())
    }

    fn responses(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.each(self.responses, Side::Response, batch);
        Ok(())
    }
}
