//! Coalesce: keeps requests back, to send many of them together.
//!
//! Toward server: requests in the order in which they came, later. Toward client: everything passes at once.
//! Wants decoded: the first chunk of a request, for what it changes in its connection.
//! Must hold: nothing that carries state of the connection waits or is overtaken by what came after it; what is kept is
//! bounded, and goes on when the client has no more to send.

use std::time::Duration;

use chain::{
    Batch, Builder, CHUNK_BYTES, Cx, Fault, Held, IN_FLIGHT_MAX, Item, Link, Need, REQUESTS_KEPT, Tick,
    Transform, Why, WorkerCx, WorkerPart,
};
use config::{Dialect, Fields};
use wire::{ConnectionState, Protocol};

/// Bytes that are kept of one client. A batch of writes is smaller; what is kept beyond helps no server.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// A longer request may keep a chunk of its own from being used again.
const COPIED_BYTES_MAX: usize = 4096;

/// With so many requests of one client in flight nothing is kept back any more: at [`IN_FLIGHT_MAX`] the client would
/// not be read, and what waits for more requests would wait for ever.
const IN_FLIGHT_HIGH: usize = IN_FLIGHT_MAX / 2;

/// The options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalesce {
    /// Requests that are kept back until there are this many.
    pub count: Option<usize>,
    /// How long the first of them waits.
    pub after: Option<Duration>,
}

const CHECK: &str = "  Check https://shotover.io/docs/latest/transforms.html#coalesce for more information.";

impl Coalesce {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        const COUNT: &str = "flush_when_buffered_message_count";
        const MILLIS: &str = "flush_when_millis_since_last_flush";
        let count = fields.optional_u64(COUNT, 0..=u64::MAX);
        let millis = fields.optional_u64(MILLIS, 0..=u64::MAX);
        let dialect = fields.dialect();
        if dialect == Dialect::Named && millis == Some(0) {
            fields.fail_lines(&[
                "Coalesce:",
                "  flush_when_millis_since_last_flush must be greater than 0 when set.",
                CHECK,
            ]);
            return None;
        }
        // One that is there and cannot be read is reported as that.
        if count.is_none() && millis.is_none() && !fields.has_value(COUNT) && !fields.has_value(MILLIS) {
            match dialect {
                Dialect::Named => fields.fail_lines(&[
                    "Coalesce:",
                    "  Provide at least one of:",
                    "  * flush_when_buffered_message_count",
                    "  * flush_when_millis_since_last_flush (must be greater than 0)",
                    "",
                    "  But none of them were provided.",
                    CHECK,
                ]),
                Dialect::Released => fields.fail_lines(&[
                    "Coalesce:",
                    "  Need to provide at least one of these fields:",
                    "  * flush_when_buffered_message_count",
                    "  * flush_when_millis_since_last_flush",
                    "",
                    "  But none of them were provided.",
                    "  Check https://docs.shotover.io/transforms.html#coalesce for more information.",
                ]),
            }
            return None;
        }
        let count = count.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        Some(Self { count, after: millis.map(Duration::from_millis) })
    }
}

impl Builder for Coalesce {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for Coalesce {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Coalescing {
            options: *self,
            held: Vec::new(),
            held_bytes: 0,
            first_held_at: Tick::default(),
            is_client_done: false,
        }))
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// It may wait.
    Waits,
    /// It goes on at once, and need not stay behind those that wait.
    Passes,
    /// It goes on at once, behind those that wait.
    Pushes,
}

fn sort(protocol: Protocol, request: &Item<'_>) -> Sort {
    if !request.is_whole() {
        // Nothing can be released while its rest is on its way.
        return Sort::Pushes;
    }
    if protocol.prepares_work(request.head()) {
        return Sort::Passes;
    }
    match request.connection_state() {
        ConnectionState::None => Sort::Waits,
        ConnectionState::Unknown if protocol.executes(request.head().opcode) => sort_prepared(request),
        _ => Sort::Pushes,
    }
}

/// An EXECUTE. Where nobody knows what was prepared, a USE keeps its place among those that wait.
/// Kept apart: to have it in `sort` makes that slower for all others.
#[inline(never)]
fn sort_prepared(request: &Item<'_>) -> Sort {
    let is_use = request.prepared().is_some_and(|known| known.changes_keyspace());
    if is_use { Sort::Pushes } else { Sort::Waits }
}

/// Memory that keeping a request takes.
fn kept_bytes(frame_bytes: usize) -> usize {
    if frame_bytes > COPIED_BYTES_MAX { frame_bytes.next_multiple_of(CHUNK_BYTES) } else { frame_bytes }
}

/// The part of one client.
struct Coalescing {
    options: Coalesce,
    /// In the order in which they came.
    held: Vec<Held>,
    held_bytes: usize,
    /// When the first of them came.
    first_held_at: Tick,
    /// No more requests will come, but those that another transform releases.
    is_client_done: bool,
}

/// What a run brings that may wait, and in front of which of its requests nothing may.
#[derive(Default)]
struct Run {
    /// Requests up to the last one that pushes.
    passing: usize,
    /// Behind those: requests that may wait, and their bytes.
    waiting: usize,
    waiting_bytes: usize,
}

impl Coalescing {
    fn survey(batch: &mut Batch<'_>) -> Run {
        let protocol = batch.protocol();
        let (mut run, mut seen) = (Run::default(), 0);
        batch.each(|request| {
            seen += 1;
            match sort(protocol, request) {
                Sort::Pushes => run = Run { passing: seen, ..Run::default() },
                Sort::Passes => {}
                Sort::Waits => {
                    run.waiting += 1;
                    run.waiting_bytes += kept_bytes(request.bytes().len());
                }
            }
        });
        run
    }

    /// Nothing may wait any longer, if what a run brings is added.
    fn is_due(&self, now: Tick, run: &Run, in_flight: usize) -> bool {
        let (mut held, mut bytes, mut since) = (self.held.len(), self.held_bytes, self.first_held_at);
        if run.passing > 0 || held == 0 {
            (held, bytes, since) = (0, 0, now);
        }
        let is_full = self.options.count.is_some_and(|count| held + run.waiting >= count)
            || bytes + run.waiting_bytes > HELD_BYTES_MAX
            || in_flight > IN_FLIGHT_HIGH;
        is_full || self.options.after.is_some_and(|after| since.after(after) <= now)
    }

    /// Gives back what a burst has left behind.
    fn give_room_back(&mut self) {
        if self.held.is_empty() && self.held.capacity() > REQUESTS_KEPT {
            self.held.shrink_to(REQUESTS_KEPT);
        }
    }

    /// Keeps the requests behind the first `passing` ones that may wait.
    fn hold(&mut self, passing: usize, batch: &mut Batch<'_>) {
        let protocol = batch.protocol();
        let mut seen = 0;
        batch.each(|request| {
            seen += 1;
            if seen > passing
                && sort(protocol, request) == Sort::Waits
                && let Some(held) = request.hold()
            {
                self.held.push(held);
            }
        });
    }
}

impl Transform for Coalescing {
    fn request_need(&self, _opcode: u8) -> Need {
        Need::Head
    }

    fn requests(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.is_client_done {
            return Ok(());
        }
        let run = Self::survey(batch);
        let is_due = self.is_due(cx.now, &run, batch.in_flight());
        let waited = self.held.len();
        if is_due || run.passing > 0 {
            self.held_bytes = 0;
        }
        if !is_due && run.waiting > 0 {
            if self.held_bytes == 0 {
                self.first_held_at = cx.now;
            }
            self.held_bytes += run.waiting_bytes;
            self.hold(run.passing, batch);
        }
        if is_due || run.passing > 0 {
            batch.release_in_front(self.held.drain(..waited));
            self.give_room_back();
        }
        Ok(())
    }

    fn woken(&mut self, _cx: &mut Cx<'_, '_>, why: Why, batch: &mut Batch<'_>) -> Result<(), Fault> {
        // What is released when the client is gone goes nowhere.
        batch.release_in_front(self.held.drain(..));
        self.give_room_back();
        self.held_bytes = 0;
        self.is_client_done |= why == Why::ClientDone;
        Ok(())
    }

    fn deadline(&self) -> Option<Tick> {
        let after = self.options.after.filter(|_| !self.held.is_empty())?;
        Some(self.first_held_at.after(after))
    }
}
