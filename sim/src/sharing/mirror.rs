//! A second sink that sends the same chunks as the shared one: all that clients ask also goes to another server, whose
//! replies nobody hears. What one sink does to a request must not show in what the other sends.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use chain::{
    Batch, Builder, Chain, ChainPart, Chunk, Cx, Exit, Fault, Link, Message, Outgoing, Progress, Sink, Tick,
    Up, WorkerCx, WorkerPart,
};
use sinks::CassandraSinkSingle;

use super::{Book, Nonce};
use crate::frames::{self, Frame, opcode};
use crate::pipe::Pipe;

/// Where the other server is.
pub const ADDRESS: &str = "mirror:9042";

/// The shared sink, and beside it a chain to the other server.
pub struct Mirrored(pub CassandraSinkSingle);

struct MirroredPart {
    sink: Box<dyn WorkerPart>,
    mirror: Rc<ChainPart>,
}

impl Builder for Mirrored {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        let mirror = CassandraSinkSingle::new(ADDRESS.to_owned(), Duration::from_secs(3));
        let mirror =
            ChainPart::new("mirror", worker, [("CassandraSinkSingle", "mirror", &mirror as _)], None);
        Box::new(MirroredPart { sink: self.0.worker(worker), mirror })
    }
    fn reaches_servers(&self) -> bool {
        true
    }
}

impl WorkerPart for MirroredPart {
    fn client(&self) -> Link {
        match self.sink.client() {
            Link::Sink(sink) => Link::Sink(Box::new(Both { sink, mirror: self.mirror.client() })),
            transform @ Link::Transform(_) => transform,
        }
    }
}

/// The two sinks of one client. What goes wrong with the second is nobody's concern.
struct Both {
    sink: Box<dyn Sink>,
    mirror: Option<Chain>,
}

impl Both {
    fn mirror<T>(&mut self, act: impl FnOnce(&mut Chain) -> Result<T, Fault>) -> Option<T> {
        let acted = act(self.mirror.as_mut()?);
        if acted.is_err() {
            self.mirror = None;
        }
        acted.ok()
    }
}

impl Sink for Both {
    fn submit(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.mirror(|mirror| {
            batch.leaving(|leaving, _| {
                let Outgoing::Received(chunk, range) = leaving.outgoing else { return Ok(()) };
                mirror.submit(cx, chunk, vec![Message::new(leaving.head, range.start, range.len())]).map(drop)
            })
        });
        self.sink.submit(cx, batch)
    }
    fn submit_tail(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>) -> Result<(), Fault> {
        self.mirror(|mirror| mirror.submit_tail(cx, chunk, range.clone()));
        self.sink.submit_tail(cx, chunk, range)
    }
    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        let mirrored = self.mirror(|mirror| mirror.poll(cx, &mut Nowhere));
        Ok(self.sink.poll(cx, up)?.max(mirrored.unwrap_or(Progress::Idle)))
    }
    fn is_over_mark(&self) -> bool {
        self.sink.is_over_mark() || self.mirror.as_ref().is_some_and(Chain::is_over_mark)
    }
    fn deadline(&self) -> Option<Tick> {
        self.sink.deadline().into_iter().chain(self.mirror.as_ref().and_then(Chain::deadline)).min()
    }
}

/// Where replies go that nobody hears.
struct Nowhere;

impl Exit for Nowhere {
    fn is_ready(&self) -> bool {
        true
    }
    fn deliver(&mut self, _: &mut Cx<'_, '_>, _: &mut Batch<'_>) -> Result<(), Fault> {
        Ok(())
    }
    fn looks(&self) -> bool {
        true
    }
    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, _: &Chunk, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

/// The other server's end of one connection: answers everything, and checks that it came as its client sent it.
pub struct MirrorLink {
    pub pipe: Pipe,
    received: BytesMut,
    unsent: BytesMut,
}

impl MirrorLink {
    pub fn new(pipe: Pipe) -> Self {
        Self { pipe, received: BytesMut::new(), unsent: BytesMut::new() }
    }

    pub fn act(&mut self, book: &Book) -> Result<(), String> {
        self.pipe.peer_receive(&mut self.received);
        while let Some(frame) = frames::take(&mut self.received) {
            self.receive(&frame, book)?;
        }
        let count = self.pipe.peer_send(&self.unsent);
        self.unsent.advance(count);
        Ok(())
    }

    fn receive(&mut self, frame: &Frame, book: &Book) -> Result<(), String> {
        let nonce = match frame.opcode {
            opcode::QUERY => frames::query_nonce(&frame.body).map(|(nonce, _)| nonce),
            opcode::EXECUTE => frame.body.last_chunk().map(|nonce| u64::from_be_bytes(*nonce)),
            _ => None,
        };
        if let Some(nonce) = nonce
            && book.asked_as.get(&nonce) != Some(&frame.id)
        {
            let nonce = Nonce::unpack(nonce);
            return Err(format!("a second sink sent {nonce:?} with the stream id {}", frame.id));
        }
        let opcode = if frame.opcode == opcode::STARTUP { opcode::READY } else { opcode::RESULT };
        self.unsent.extend(frames::encode(0x84, frame.id, opcode, &[0, 0, 0, 1]));
        Ok(())
    }
}
