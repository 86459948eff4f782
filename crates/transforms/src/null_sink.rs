//! NullSink: answers every request with an error and talks to no server.
//!
//! Toward server: nothing. Toward client: the protocol's internal error, `Handled by shotover null transform`.
//! Wants decoded: nothing.
//! Must hold: every request is answered, whatever stands in front of this sink.

use chain::{Batch, Builder, Cx, Fault, Link, Sink, WorkerCx, WorkerPart};
use config::Fields;
use wire::ErrorKind;

/// The entry of a topology; it has no options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NullSink;

impl NullSink {
    /// Reads the options, of which there are none.
    pub fn parse(_fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self)
    }
}

impl Builder for NullSink {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for NullSink {
    fn client(&self) -> Link {
        Link::Sink(Box::new(*self))
    }
}

impl Sink for NullSink {
    fn submit(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| request.answer_error(ErrorKind::Server, "Handled by shotover null transform"));
        Ok(())
    }
}
