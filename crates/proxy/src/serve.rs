//! The task of one client: polls its loop, tells it to end, and logs how it ended.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use chain::{ChainPart, Cx, Task, Tick};
use net::{Accepted, DrainSeat, Place, Seat, Serve, Tcp, Timed};
use observe::{Snapshot, SourceMetrics, WorkerMetrics, connection_span, target};
use sources::{Client, End, Rules};
use tracing::{Span, debug, error, info, warn};

/// What the clients of one worker and one source share.
pub(crate) struct SourcePart {
    pub(crate) name: Rc<str>,
    pub(crate) chain: Rc<ChainPart>,
    pub(crate) rules: Rc<Rules>,
    pub(crate) metrics: Option<Rc<SourceMetrics>>,
}

/// Serves the clients of one worker.
pub(crate) struct WorkerServe {
    pub(crate) sources: Vec<SourcePart>,
    pub(crate) seat: Seat,
    pub(crate) metrics: Rc<WorkerMetrics>,
}

impl Serve for WorkerServe {
    type Snapshot = Snapshot;

    fn client(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let source = self.sources.get(accepted.source);
        let task = source.and_then(|source| ClientTask::new(source, &self.seat, accepted));
        match task {
            Some(task) => Box::pin(Timed::new(task, &self.seat.clock)),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn snapshot(&self) -> Snapshot {
        self.metrics.snapshot(self.seat.pool.taken(), self.seat.pool.pooled())
    }

    fn housekeeping(&self) {
        self.metrics.rotate();
    }
}

struct ClientTask {
    client: Client<Tcp>,
    drain: DrainSeat,
    is_draining: bool,
    span: Span,
    _place: Place,
}

impl ClientTask {
    fn new(source: &SourcePart, seat: &Seat, accepted: Accepted) -> Option<Self> {
        let Accepted { id, peer, socket, place, .. } = accepted;
        let span = connection_span(id, &source.name);
        info!(target: target::SOURCE_TASK, parent: &span, "New connection from {}", peer.ip());
        let chain = source.chain.client()?;
        chain.identity().set_address(peer.ip());
        let tcp = Tcp::accepted(socket, &seat.reactor)
            .inspect_err(|error| debug!(parent: &span, "the client is already gone: {error}"));
        Some(Self {
            client: Client::new(
                tcp.ok()?,
                chain,
                Rc::clone(&source.rules),
                source.metrics.as_ref().map(Rc::clone),
                seat.clock.now(),
            ),
            drain: seat.drain.seat(),
            is_draining: false,
            span,
            _place: place,
        })
    }
}

impl Task for ClientTask {
    fn poll(&mut self, cx: &mut Cx<'_, '_>) -> Poll<()> {
        // Entering a span that nobody listens to would still ask who does.
        let _entered = (!self.span.is_disabled()).then(|| self.span.enter());
        if !self.is_draining
            && let Some(deadline) = self.drain.deadline(cx.task.waker())
        {
            self.is_draining = true;
            self.client.drain(deadline);
        }
        self.client.poll(cx).map(log_end)
    }

    fn deadline(&self) -> Option<Tick> {
        self.client.deadline()
    }
}

fn log_end(end: End) {
    match end {
        End::ClientLeft | End::Drained => {
            debug!(target: target::SOURCE_TASK, "the connection ended: {end:?}")
        }
        End::Idle => debug!(target: target::SOURCE_TASK, "the client was idle for too long"),
        End::NotBegun => info!(target: target::SOURCE_TASK, "the client did not begin a session in time"),
        End::Stalled => info!(target: target::SOURCE_TASK, "the client sent only a part of a request"),
        End::TimedOut => warn!(target: target::SOURCE_TASK, "the connection was closed with replies due"),
        End::ClientFailed(error) => {
            debug!(target: target::SOURCE_TASK, "the client's connection failed: {error}");
        }
        End::Refused(malformed) => match malformed.reason {
            wire::Reason::UnsupportedVersion { version } => info!(
                target: target::SOURCE_TASK,
                "Negotiating protocol version: rejecting version {version} (configure the client to use a supported version by default to improve connection time)"
            ),
            _ => warn!(target: target::SOURCE_TASK, "failed to decode message: {malformed}"),
        },
        End::Failed { fault, was_busy: true } => {
            let fault = fault.within("connection was unexpectedly terminated");
            error!(target: target::SOURCE_TASK, "{fault}");
        }
        End::Failed { fault, was_busy: false } => {
            debug!(target: target::SOURCE_TASK, "the connection ended between requests: {fault}");
        }
    }
}
