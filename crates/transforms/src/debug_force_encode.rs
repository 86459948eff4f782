//! DebugForceEncode: takes every message apart and sends on what it makes of it again.
//!
//! Toward server and toward client: requests with statements and rows are replaced by what was written anew; what cannot be
//! taken apart passes as it came.
//! Wants decoded: whole messages, of the sides that it is told to write.
//! Must hold: what goes on has the bytes of what came.

use chain::{Builder, Item, WorkerCx, WorkerPart};
use config::Fields;
use wire::{Protocol, Side};

use crate::debug_force::DebugForce;

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
        Box::new(self.force())
    }
}

impl DebugForceEncode {
    pub(crate) fn force(self) -> DebugForce {
        DebugForce { requests: self.encode_requests, responses: self.encode_responses, work: encode }
    }
}

fn encode(protocol: Protocol, side: Side, message: &mut Item<'_>) {
    if let Some(frame) = protocol.encode_again(side, message.head(), message.bytes()) {
        message.replace(frame);
    }
}
