//! What the clients of one worker share of a chain, and what is counted of it.

use std::rc::Rc;

use observe::ChainMetrics;
use wire::{Protocol, Side};

use crate::chain::Chain;
use crate::chunk::{Chunk, Pool};
use crate::ledger::Ledger;
use crate::message::{Answer, Batch, Message, is_passing};
use crate::nested::feeds;
use crate::prepared::Prepared;
use crate::stream::Tick;
use crate::transform::{Builder, Fault, Link, WorkerCx, WorkerPart};

/// One entry of a chain as the topology names it.
#[derive(Clone)]
pub struct Named<T> {
    /// The type, as in the topology: `CassandraSinkSingle`.
    pub kind: Rc<str>,
    /// The name the user gave, or the one made up for the old dialect.
    pub name: Rc<str>,
    /// The part.
    pub part: T,
}

/// What the clients of one worker share of a chain.
pub struct ChainPart {
    name: Rc<str>,
    pub(crate) protocol: Protocol,
    pub(crate) pool: Pool,
    entries: Vec<Named<Box<dyn WorkerPart>>>,
    reaches_servers: bool,
    feeds_servers: bool,
    /// Somebody in it, or in a chain of an entry, goes by which reply answers which request.
    pub(crate) believes_replies: bool,
    /// There if an entry enriches.
    pub(crate) prepared: Option<Rc<Prepared>>,
    pub(crate) metrics: Option<Rc<ChainMetrics>>,
}

impl ChainPart {
    /// Makes the worker's part of each entry.
    #[must_use]
    pub fn new<'b>(
        name: &str,
        worker: &WorkerCx,
        builders: impl IntoIterator<Item = (&'b str, &'b str, &'b dyn Builder)>,
        metrics: Option<Rc<ChainMetrics>>,
    ) -> Rc<Self> {
        let (mut reaches_servers, mut feeds_servers) = (false, false);
        let (mut enriches, mut has_chains) = (false, false);
        let entries = builders.into_iter().map(|(kind, name, builder)| {
            reaches_servers |= builder.reaches_servers();
            feeds_servers |= feeds(builder);
            enriches |= builder.enriches();
            has_chains |= !builder.chains().is_empty();
            Named { kind: kind.into(), name: name.into(), part: builder.worker(worker) }
        });
        let entries: Vec<_> = entries.collect();
        Rc::new(Self {
            believes_replies: entries.len() > 1 || has_chains,
            name: name.into(),
            protocol: worker.protocol,
            pool: worker.pool.clone(),
            entries,
            reaches_servers,
            feeds_servers,
            prepared: enriches.then(|| Rc::clone(&worker.prepared)),
            metrics,
        })
    }

    /// The chain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The protocol of its messages.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// True if an entry talks to servers.
    #[must_use]
    pub fn reaches_servers(&self) -> bool {
        self.reaches_servers
    }

    /// True if an entry talks to servers, or one of a chain that an entry has for itself: a client's session matters.
    #[must_use]
    pub fn feeds_servers(&self) -> bool {
        self.feeds_servers
    }

    /// The worker's pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Makes the chain of one client; `None` if its last entry is not a sink, or another one is.
    #[must_use]
    pub fn client(self: &Rc<Self>) -> Option<Chain> {
        let (last, above) = self.entries.split_last()?;
        let Link::Sink(sink) = last.part.client() else { return None };
        let transforms = above.iter().map(|entry| match entry.part.client() {
            Link::Transform(transform) => Some(transform),
            Link::Sink(_) => None,
        });
        Some(Chain::new(self, transforms.collect::<Option<_>>()?, sink))
    }

    /// A batch of this chain's messages; `kept` is what its requests in flight are kept in.
    pub(crate) fn batch<'b>(
        &'b self,
        side: Side,
        chunk: &'b Chunk,
        messages: &'b mut Vec<Message>,
        kept: (&'b mut Ledger, &'b mut Vec<Answer>),
    ) -> Batch<'b> {
        let (ledger, answers) = kept;
        Batch { protocol: self.protocol, side, pool: &self.pool, chunk, messages, ledger, answers, layer: 0 }
    }

    pub(crate) fn count_run(&self, layer: usize) {
        if let Some(transform) = self.metrics.as_ref().and_then(|metrics| metrics.transforms.get(layer)) {
            transform.total.add(1);
        }
    }

    /// Counts replies that pass a layer on their way to the client.
    pub(crate) fn count_replies(&self, layer: usize, now: Tick, batch: &Batch<'_>) {
        let Some(transform) = self.metrics.as_ref().and_then(|metrics| metrics.transforms.get(layer)) else {
            return;
        };
        let has_latencies = self.metrics.as_ref().is_some_and(|metrics| metrics.has_latencies);
        if has_latencies {
            batch.each_age(now, |_| true, |age, times| transform.latency.record_n(age, times));
        }
        let errors = batch.messages.iter().filter(|message| self.protocol.is_error(&message.head)).count();
        transform.failed_requests.add(errors as u64);
    }

    /// Records how long the requests that reach the sink took to get there: longer than no time at all only if they were
    /// held.
    pub(crate) fn count_sent(&self, now: Tick, batch: &Batch<'_>) {
        let Some(metrics) = self.metrics.as_ref().filter(|metrics| metrics.has_latencies) else { return };
        batch.each_age(now, is_passing, |age, times| metrics.source_to_sink.record_n(age, times));
    }

    /// Counts a fault, and names the layer it comes from. One that was passed on from another layer stays what it is.
    pub(crate) fn fault_at(&self, layer: usize, fault: Fault) -> Fault {
        if fault.is_placed() {
            return fault;
        }
        let fault = fault.placed();
        if let Some(metrics) = &self.metrics {
            metrics.failures.add(1);
            if let Some(transform) = metrics.transforms.get(layer) {
                transform.failures.add(1);
            }
        }
        match self.entries.get(layer) {
            Some(entry) => fault.within(format!(
                "Transform {} named {} failed in chain {}",
                entry.kind, entry.name, self.name
            )),
            None => fault,
        }
    }
}
