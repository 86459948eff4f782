//! DebugForceParse: reads all of every message, as if somebody needed it.
//!
//! Toward server and toward client: everything passes unchanged, also what cannot be read.
//! Wants decoded: whole messages, of the sides that it is told to read.
//! Must hold: what is wrong with a message is logged, and is nobody's end.

use chain::{Batch, Builder, Cx, Fault, Link, Need, Transform, WorkerCx, WorkerPart};
use config::Fields;
use tracing::error;
use wire::{Reason, Side};

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
        Box::new(*self)
    }
}

impl WorkerPart for DebugForceParse {
    fn client(&self) -> Link {
        Link::Transform(Box::new(*self))
    }
}

fn check(side: Side, batch: &mut Batch<'_>) {
    let protocol = batch.protocol();
    batch.each(|message| {
        if !message.is_whole() {
            return;
        }
        match protocol.check(side, message.head(), message.bytes()) {
            Ok(()) => {}
            // There is nothing wrong with it.
            Err(malformed) if malformed.reason == Reason::Compressed => {}
            Err(malformed) => {
                error!(target: observe::target::FORCE_PARSE, "Failed to parse frame: {malformed}");
            }
        }
    });
}

fn need(is_read: bool) -> Need {
    if is_read { Need::Whole } else { Need::None }
}

impl Transform for DebugForceParse {
    fn request_need(&self, _opcode: u8) -> Need {
        need(self.parse_requests)
    }

    fn reply_need(&self, _request_opcode: u8) -> Need {
        need(self.parse_responses)
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.parse_requests {
            check(Side::Request, batch);
        }
        Ok(())
    }

    fn responses(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.parse_responses {
            check(Side::Response, batch);
        }
        Ok(())
    }
}
