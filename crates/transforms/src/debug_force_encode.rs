//! DebugForceEncode: takes every message apart and sends on what it makes of it again.
//!
//! Toward server and toward client: requests with statements and rows are replaced by what was written anew; what cannot be
//! taken apart passes as it came.
//! Wants decoded: whole messages, of the sides that it is told to write.
//! Must hold: what goes on has the bytes of what came.

use chain::{Batch, Builder, Cx, Fault, Link, Need, Transform, WorkerCx, WorkerPart};
use config::Fields;
use wire::Side;

/// The options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugForceEncode {
    /// Requests are written anew.
    pub encode_requests: bool,
    /// Replies are written anew.
    pub encode_responses: bool,
}

impl DebugForceEncode {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let encode_requests = fields.required_bool("encode_requests");
        let encode_responses = fields.required_bool("encode_responses");
        Some(Self { encode_requests: encode_requests?, encode_responses: encode_responses? })
    }
}

impl Builder for DebugForceEncode {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for DebugForceEncode {
    fn client(&self) -> Link {
        Link::Transform(Box::new(*self))
    }
}

fn encode(side: Side, batch: &mut Batch<'_>) {
    let protocol = batch.protocol();
    batch.each(|message| {
        if !message.is_whole() {
            return;
        }
        if let Some(frame) = protocol.encode_again(side, message.head(), message.bytes()) {
            message.replace(frame);
        }
    });
}

fn need(is_written: bool) -> Need {
    if is_written { Need::Whole } else { Need::None }
}

impl Transform for DebugForceEncode {
    fn request_need(&self, _opcode: u8) -> Need {
        need(self.encode_requests)
    }

    fn reply_need(&self, _request_opcode: u8) -> Need {
        need(self.encode_responses)
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.encode_requests {
            encode(Side::Request, batch);
        }
        Ok(())
    }

    fn responses(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.encode_responses {
            encode(Side::Response, batch);
        }
        Ok(())
    }
}
