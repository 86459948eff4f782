//! DebugForceParse: reads all of every message, as if somebody needed it.
//!
//! Toward server and toward client: everything passes unchanged, also what cannot be read.
//! Wants decoded: whole messages, of the sides that it is told to read.
//! Must hold: what is wrong with a message is logged, and is nobody's end.

use chain::{Builder, Item, WorkerCx, WorkerPart};
use config::Fields;
use tracing::error;
use wire::{Protocol, Reason, Side};

use crate::debug_force::DebugForce;

/// The options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugForceParse {
    /// Requests are read.
    pub parse_requests: bool,
    /// Replies are read.
    pub parse_responses: bool,
}

impl DebugForceParse {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let parse_requests = fields.required_bool("parse_requests");
        let parse_responses = fields.required_bool("parse_responses");
        Some(Self { parse_requests: parse_requests?, parse_responses: parse_responses? })
    }
}

impl Builder for DebugForceParse {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.force())
    }
}

impl DebugForceParse {
    pub(crate) fn force(self) -> DebugForce {
        DebugForce { requests: self.parse_requests, responses: self.parse_responses, work: check }
    }
}

fn check(protocol: Protocol, side: Side, message: &mut Item<'_>) {
    match protocol.check(side, message.head(), message.bytes()) {
        Ok(()) => {}
        // There is nothing wrong with it.
        Err(malformed) if malformed.reason == Reason::Compressed => {}
        Err(malformed) => {
            error!(target: observe::target::FORCE_PARSE, "Failed to parse frame: {malformed}");
        }
    }
}
