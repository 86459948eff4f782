//! `CassandraSinkSingle`, and one server connection a client, opened at the client's first request.
//! Connections that clients share are in `shared`.
//!
//! ```text
//! Unconnected --first request--> Connecting --ok--> Connected --end, error, bad reply--> fault
//!                                    \--refused, timed out--> fault (nothing was sent)
//! ```

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use chain::{
    After, Batch, Builder, Chunk, Connecting, Connector, Cx, Fault, Filled, Framing, IdTable, Inlet, Link,
    Message, Outgoing, Outlet, Pool, Progress, Sink, Stream, Tick, Ticket, Up, WorkerCx, WorkerPart,
    mark_sent,
};
use config::Fields;
use wire::{Protocol, Side};

use crate::faults;
use crate::shared::{AllPrepared, CONNECTIONS_MAX, SharedPart, SharedWorkerPart, none_prepared};

/// The name of this sink in a topology.
pub const SINGLE_KIND: &str = "CassandraSinkSingle";

/// Bytes read from a server in one turn, before the other connections of the worker have theirs.
const TURN_BYTES: usize = 64 * 1024;

/// The options of `CassandraSinkSingle`.
#[derive(Clone)]
pub struct CassandraSinkSingle {
    /// `host:port` of the server. The name is resolved at each connect.
    pub remote_address: String,
    /// How long an attempt to connect may take, all addresses of the name together.
    pub connect_timeout: Duration,
    /// How long the server may be silent while a reply is awaited.
    pub read_timeout: Option<Duration>,
    /// Whose the connections are.
    pub connections: Connections,
    /// Shared connections of one worker to clients of the same session and keyspace.
    pub connections_max: usize,
    prepared: AllPrepared,
}

/// Whose the connections to the server are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// Each client has one of its own.
    #[default]
    PerClient,
    /// Clients of the same user, keyspace and options share few.
    Shared,
}

impl CassandraSinkSingle {
    /// A sink for the server at `remote_address`, with a connection per client.
    #[must_use]
    pub fn new(remote_address: String, connect_timeout: Duration) -> Self {
        Self {
            remote_address,
            connect_timeout,
            read_timeout: None,
            connections: Connections::PerClient,
            connections_max: CONNECTIONS_MAX,
            prepared: none_prepared(),
        }
    }

    /// Reads the options; what is wrong with them is recorded in the fields' errors.
    pub fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let remote_address = fields.required_address("remote_address");
        if fields.optional_node("tls").is_some_and(|tls| !tls.is_null()) {
            fields.fail_key("tls", "TLS is not supported by this version");
        }
        let connect_timeout_ms = fields.required_u64("connect_timeout_ms", 1..=u64::from(u32::MAX));
        let read_timeout = fields.optional_u64("read_timeout", 1..=u64::from(u32::MAX));
        let connections = match fields.optional_one_of("connections", &["PerClient", "Shared"]) {
            Some("Shared") => Connections::Shared,
            _ => Connections::PerClient,
        };
        let read_timeout = read_timeout.map(Duration::from_secs);
        let plain = Self::new(remote_address?, Duration::from_millis(connect_timeout_ms?));
        Some(Self { read_timeout, connections, ..plain })
    }
}

impl Builder for CassandraSinkSingle {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        if self.connections == Connections::Shared {
            return Box::new(SharedWorkerPart(SharedPart::new(self, &self.prepared, worker)));
        }
        Box::new(SinglePart(Rc::new(Surroundings {
            options: self.clone(),
            pool: worker.pool.clone(),
            connector: Rc::clone(&worker.connector),
            protocol: worker.protocol,
        })))
    }

    fn reaches_servers(&self) -> bool {
        true
    }

    fn shares_connections(&self) -> bool {
        self.connections == Connections::Shared
    }

    fn share_connections(&mut self, connections_max: usize) -> bool {
        self.connections = Connections::Shared;
        self.connections_max = connections_max;
        true
    }
}

/// What the clients of one worker have in common.
struct Surroundings {
    options: CassandraSinkSingle,
    pool: Pool,
    connector: Rc<dyn Connector>,
    protocol: Protocol,
}

struct SinglePart(Rc<Surroundings>);

impl WorkerPart for SinglePart {
    fn client(&self) -> Link {
        Link::Sink(Box::new(Single {
            state: State::Unconnected,
            inlet: Inlet::new(&self.0.pool),
            outlet: Outlet::default(),
            awaited: IdTable::default(),
            torn: None,
            reply_rest: 0,
            heard_at: Tick::default(),
            shared: Rc::clone(&self.0),
        }))
    }
}

enum State {
    Unconnected,
    Connecting { attempt: Connecting, deadline: Tick },
    Connected(Box<dyn Stream>),
}

/// The server connection of one client.
struct Single {
    shared: Rc<Surroundings>,
    state: State,
    inlet: Inlet,
    outlet: Outlet,
    /// The requests whose replies are due, by the client's own stream ids: nobody else is on this connection.
    awaited: IdTable,
    /// The id of a request whose rest has not come, and how many bytes that is.
    torn: Option<(i32, u64)>,
    /// Bytes of a large reply that are still to come.
    reply_rest: u64,
    /// When the server last said something, or the first of the awaited requests, or more of a large one that alone is
    /// awaited, was sent.
    heard_at: Tick,
}

impl Sink for Single {
    fn submit(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.awaited.is_empty() {
            self.heard_at = cx.now;
        }
        let Self { state, outlet, awaited, torn, shared, .. } = self;
        if let State::Unconnected = state {
            let attempt = shared.connector.connect(&shared.options.remote_address);
            *state = State::Connecting { attempt, deadline: cx.now.after(shared.options.connect_timeout) };
        }
        let sent = batch.outgoing(
            |message, ledger| {
                mark_sent(message.ticket(), ledger);
                awaited.insert(message.head().id, message.ticket());
                if message.rest() > 0 {
                    *torn = Some((message.head().id, message.rest()));
                }
            },
            |outgoing| match state {
                State::Connected(stream) => outlet.send_outgoing(cx, stream, outgoing),
                _ => {
                    outlet.push_outgoing(outgoing);
                    Ok(())
                }
            },
        );
        // What the server still sent is delivered before the fault: `poll` meets the same error when it reads.
        sent.or(Ok(()))
    }

    fn submit_tail(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>) -> Result<(), Fault> {
        if !self.owes_more_than_torn() {
            self.heard_at = cx.now;
        }
        if let Some((_, rest)) = &mut self.torn {
            *rest = rest.saturating_sub(range.len() as u64);
        }
        self.torn.take_if(|(_, rest)| *rest == 0);
        match &mut self.state {
            State::Connected(stream) => self.outlet.send(cx, stream, chunk, range).or(Ok(())),
            _ => {
                self.outlet.push_outgoing(Outgoing::Received(chunk, range));
                Ok(())
            }
        }
    }

    fn plain(&mut self, now: Tick) -> Option<&mut IdTable> {
        if !matches!(self.state, State::Connected(_)) {
            return None;
        }
        if self.awaited.is_empty() {
            self.heard_at = now;
        }
        Some(&mut self.awaited)
    }

    fn plain_in_flight(&self) -> usize {
        self.awaited.plain()
    }

    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        let connected = match &mut self.state {
            State::Unconnected => return Ok(Progress::Idle),
            State::Connected(_) => None,
            State::Connecting { attempt, deadline } => match attempt.as_mut().poll(cx.task) {
                Poll::Ready(Ok(stream)) => Some(stream),
                Poll::Ready(Err(error)) => {
                    return Err(faults::cannot_connect(&self.shared.options.remote_address, &error));
                }
                Poll::Pending if cx.now >= *deadline => {
                    let CassandraSinkSingle { remote_address, connect_timeout, .. } = &self.shared.options;
                    return Err(faults::connect_timed_out(remote_address, *connect_timeout));
                }
                Poll::Pending => return Ok(Progress::Idle),
            },
        };
        if let Some(stream) = connected {
            self.heard_at = cx.now;
            self.state = State::Connected(stream);
        }
        self.poll_connected(cx, up)
    }

    fn is_over_mark(&self) -> bool {
        !self.outlet.is_empty()
    }

    fn deadline(&self) -> Option<Tick> {
        match &self.state {
            State::Unconnected => None,
            State::Connecting { deadline, .. } => Some(*deadline),
            State::Connected(_) => self.read_deadline(),
        }
    }
}

impl Single {
    fn read_deadline(&self) -> Option<Tick> {
        // It also owes to take what was sent.
        let is_owed = self.owes_more_than_torn() || (!self.awaited.is_empty() && !self.outlet.is_empty());
        let timeout = self.shared.options.read_timeout.filter(|_| is_owed)?;
        Some(self.heard_at.after(timeout))
    }

    /// The server owes something else than the reply to a request that it cannot answer, since it has not all of it.
    fn owes_more_than_torn(&self) -> bool {
        let is_torn_awaited = self.torn.is_some_and(|(id, _)| self.awaited.peek(id).is_some());
        self.awaited.len() > usize::from(is_torn_awaited) || self.reply_rest > 0
    }

    fn poll_connected(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        let mut progress = Progress::Idle;
        let mut broken = None;
        if !self.outlet.is_empty()
            && let State::Connected(stream) = &mut self.state
        {
            match self.outlet.poll_flush(cx, stream) {
                Poll::Ready(Ok(())) => progress = Progress::Drained,
                // Reading goes on: replies may have arrived before the connection broke.
                Poll::Ready(Err(error)) => broken = Some(error),
                Poll::Pending => {}
            }
        }
        if !up.is_ready() {
            // The server is not heard because it is not listened to.
            self.heard_at = cx.now;
        }
        let mut turn_bytes = 0;
        while turn_bytes < TURN_BYTES && up.is_ready() {
            let State::Connected(stream) = &mut self.state else { break };
            match self.inlet.poll_fill(cx, stream) {
                Poll::Pending => return self.nothing_to_read(cx, progress, broken),
                Poll::Ready(Ok(Filled::Bytes(count))) => {
                    turn_bytes += count;
                    progress = Progress::Drained;
                    self.heard_at = cx.now;
                    self.cut_replies(cx, up)?;
                }
                Poll::Ready(Ok(Filled::End)) => return Err(faults::closed()),
                Poll::Ready(Err(error)) => return Err(faults::io_failed(error)),
            }
        }
        // The turn is over, or the client is full: there may be more to read.
        Ok(if progress == Progress::Idle { Progress::Idle } else { Progress::Moved })
    }

    fn nothing_to_read(
        &self,
        cx: &Cx<'_, '_>,
        progress: Progress,
        broken: Option<io::Error>,
    ) -> Result<Progress, Fault> {
        if let Some(error) = broken {
            return Err(faults::io_failed(error));
        }
        match self.read_deadline() {
            Some(deadline) if deadline <= cx.now => {
                Err(Fault::new(faults::no_response(self.shared.options.read_timeout)))
            }
            _ => Ok(progress),
        }
    }

    /// Cuts what was read into replies and hands them up.
    fn cut_replies(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<(), Fault> {
        loop {
            if self.reply_rest > 0 {
                let Some((chunk, place)) = self.inlet.place() else { return Ok(()) };
                let here = place.len().min(usize::try_from(self.reply_rest).unwrap_or(usize::MAX));
                up.reply_tail(cx, chunk, place.start..place.start + here)?;
                self.reply_rest -= here as u64;
                self.inlet.consume(here);
            }
            let bytes = up.plain_replies(cx, &self.inlet, &mut self.awaited)?;
            self.inlet.consume(bytes);
            if self.inlet.is_empty() {
                return Ok(());
            }
            let framing =
                Framing { protocol: self.shared.protocol, side: Side::Response, frame_bytes_max: u32::MAX };
            let mut messages = up.list();
            let awaited = &self.awaited;
            let need = |head: &wire::Head| {
                let ticket = awaited.peek(head.id);
                ticket.map(|ticket| up.reply_need(ticket)).unwrap_or_default()
            };
            let (bytes, after) = framing.cut(&self.inlet, need, &mut messages);
            let unknown = self.match_replies(&mut messages);
            match self.inlet.place() {
                Some((chunk, _)) => up.replies(cx, chunk, messages)?,
                None => up.give_back(messages),
            }
            self.inlet.consume(bytes);
            if let Some(fault) = unknown {
                return Err(fault);
            }
            match after {
                After::Nothing => return Ok(()),
                After::More => {}
                After::Wait { frame_bytes } => {
                    self.inlet.make_room(frame_bytes);
                    return Ok(());
                }
                After::Tail { rest } => {
                    self.reply_rest = rest;
                    return Ok(());
                }
                After::TooLarge(head) => {
                    let ticket = self.awaited.take(head.id).unwrap_or(Ticket::NONE);
                    up.refuse_large_reply(cx, ticket)?;
                    self.reply_rest = u64::from(head.frame_bytes);
                }
                After::Malformed(malformed) => return Err(faults::malformed(malformed)),
            }
        }
    }

    /// Finds the request of each reply. Everything from a reply that answers none is taken off the list, and what is
    /// wrong with that reply is the answer.
    fn match_replies(&mut self, messages: &mut Vec<Message>) -> Option<Fault> {
        for (index, message) in messages.iter_mut().enumerate() {
            if self.shared.protocol.is_unsolicited(message.head()) {
                continue;
            }
            match self.awaited.take(message.head().id) {
                Some(ticket) => message.set_ticket(ticket),
                None => {
                    let fault = self.unknown_reply(message);
                    messages.truncate(index);
                    return Some(fault);
                }
            }
        }
        None
    }

    /// An error names its cause: a server answers on stream 0 what it could not read, and closes.
    #[cold]
    fn unknown_reply(&self, reply: &Message) -> Fault {
        let (protocol, head) = (self.shared.protocol, reply.head());
        let fault = faults::unknown_reply(head.id);
        if !protocol.is_error(head) {
            return fault;
        }
        let bytes = self.inlet.place().and_then(|(chunk, _)| chunk.bytes().get(reply.range()));
        fault.caused_by(protocol.describe(Side::Response, head, bytes.unwrap_or_default()))
    }
}
