//! What is counted, where, and how it is merged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use crate::sharing::{Family, SharingMetrics};

/// Windows of a summary: quantiles are those of the last 40 to 60 seconds.
const WINDOWS: usize = 3;

/// The largest value a summary tells from larger ones: 60 s in microseconds.
const VALUE_MAX: u64 = 60_000_000;

/// Significant decimal digits of a quantile.
const DIGITS: u8 = 2;

/// A number that only grows, counted by one thread.
#[derive(Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get() + count);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Values whose quantiles are of interest, recorded by one thread. Memory is taken with the first value of a window.
#[derive(Default)]
pub struct Summary {
    windows: RefCell<[Option<Box<Histogram<u32>>>; WINDOWS]>,
    sum: Cell<u64>,
    count: Cell<u64>,
}

impl Summary {
    /// Records `value` `times` times: microseconds, or a plain number.
    pub fn record_n(&self, value: u64, times: u64) {
        self.sum.set(self.sum.get().saturating_add(value.saturating_mul(times)));
        self.count.set(self.count.get() + times);
        let [current, ..] = &mut *self.windows.borrow_mut();
        if current.is_none() {
            *current = new_histogram();
        }
        if let Some(current) = current {
            current.saturating_record_n(value, u32::try_from(times).unwrap_or(u32::MAX));
        }
    }

    fn rotate(&self) {
        let [current, last, before] = &mut *self.windows.borrow_mut();
        *before = last.take();
        *last = current.take();
    }

    fn snapshot(&self) -> SummarySnapshot {
        let mut recent: Option<Box<Histogram<u32>>> = None;
        for window in self.windows.borrow().iter().flatten() {
            merge(&mut recent, window);
        }
        SummarySnapshot { recent, sum: self.sum.get(), count: self.count.get() }
    }
}

fn new_histogram() -> Option<Box<Histogram<u32>>> {
    Histogram::new_with_bounds(1, VALUE_MAX, DIGITS).ok().map(Box::new)
}

fn merge(into: &mut Option<Box<Histogram<u32>>>, from: &Histogram<u32>) {
    match into {
        // Histograms of the same bounds always add up.
        Some(into) => drop(into.add(from)),
        None => *into = Some(Box::new(from.clone())),
    }
}

/// A summary, as it left its thread.
#[derive(Clone, Default)]
pub(crate) struct SummarySnapshot {
    pub(crate) recent: Option<Box<Histogram<u32>>>,
    pub(crate) sum: u64,
    pub(crate) count: u64,
}

impl SummarySnapshot {
    pub(crate) fn add(&mut self, other: &Self) {
        if let Some(recent) = &other.recent {
            merge(&mut self.recent, recent);
        }
        self.sum += other.sum;
        self.count += other.count;
    }
}

/// A source, as far as its metrics go.
#[derive(Clone, Debug)]
pub struct SourceEntry {
    /// Its name.
    pub name: String,
    /// Clients it takes at once.
    pub connection_limit: u64,
}

/// A chain, as far as its metrics go.
#[derive(Clone, Debug)]
pub struct ChainEntry {
    /// Its name.
    pub name: String,
    /// The types of its transforms, the sink last.
    pub transforms: Vec<String>,
    /// Its sink talks to servers.
    pub reaches_servers: bool,
    /// Its sink's clients share connections.
    pub shares_connections: bool,
}

/// Everything that has metrics. It is complete before the first client comes, so that every series is there from the
/// start.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The sources; each has the chain of the same index. Chains in chains come behind those.
    pub sources: Vec<SourceEntry>,
    /// The chains.
    pub chains: Vec<ChainEntry>,
}

/// What one worker counts for a source.
#[derive(Default)]
pub struct SourceMetrics {
    /// Sessions begun, by protocol version: index 0 is v3, 1 is v4, 2 is v5.
    protocol_versions: [Counter; 3],
}

impl SourceMetrics {
    /// Counts a session of this protocol version.
    pub fn count_session(&self, version: u8) {
        let index = usize::from(version).checked_sub(3);
        if let Some(counter) = index.and_then(|index| self.protocol_versions.get(index)) {
            counter.add(1);
        }
    }
}

/// What one worker counts for a chain.
pub struct ChainMetrics {
    /// Runs toward the server.
    pub total: Counter,
    /// Runs that failed.
    pub failures: Counter,
    /// Requests of a run.
    pub requests_batch_size: Summary,
    /// Replies of a run.
    pub responses_batch_size: Summary,
    /// Latencies are measured: what follows here, and that of each transform.
    pub has_latencies: bool,
    /// From the tick a request was read to the tick its reply left the chain, microseconds.
    pub latency: Summary,
    /// From the tick a request was read to the tick it was given to the sink, microseconds.
    pub source_to_sink: Summary,
    /// From the tick a reply was read to the tick it was given to the source, microseconds.
    pub sink_to_source: Summary,
    /// One a transform, the sink last.
    pub transforms: Vec<TransformMetrics>,
    /// Of the sink, if its clients share connections.
    pub sharing: Rc<SharingMetrics>,
}

impl ChainMetrics {
    /// Records replies of a chain that is nothing but a sink, all with this latency in microseconds.
    pub fn record_plain(&self, latency: u64, times: u64) {
        if !self.has_latencies {
            return;
        }
        self.latency.record_n(latency, times);
        if let Some(sink) = self.transforms.last() {
            sink.latency.record_n(latency, times);
        }
    }

    /// Records messages that were given on in the tick in which they were read.
    pub fn record_at_once(&self, summary: &Summary, times: u64) {
        if self.has_latencies && times > 0 {
            summary.record_n(0, times);
        }
    }

    /// Counts an error reply of such a chain.
    pub fn count_plain_error(&self) {
        if let Some(sink) = self.transforms.last() {
            sink.failed_requests.add(1);
        }
    }
}

/// What one worker counts for a transform.
#[derive(Default)]
pub struct TransformMetrics {
    /// Runs.
    pub total: Counter,
    /// Runs that failed.
    pub failures: Counter,
    /// Error replies that passed a sink.
    pub failed_requests: Counter,
    /// From the tick a request was read to the tick its reply passed this transform, microseconds.
    pub latency: Summary,
}

/// What one worker counts for chains that entries of other chains own.
#[derive(Default)]
pub struct NestedMetrics {
    /// The chains, in the order of their numbers.
    pub chains: Vec<Rc<ChainMetrics>>,
    /// Requests that a Tee did not mirror though it should have.
    pub tee_dropped: Rc<Counter>,
}

/// Everything one worker counts. Stays on its thread.
pub struct WorkerMetrics {
    sources: Vec<Rc<SourceMetrics>>,
    chains: Vec<Rc<ChainMetrics>>,
    tee_dropped: Rc<Counter>,
}

impl WorkerMetrics {
    /// Cells for everything in the catalog.
    #[must_use]
    pub fn new(catalog: &Catalog) -> Self {
        Self::with_latencies(catalog, true)
    }

    /// As [`WorkerMetrics::new`]; latencies are measured if somebody wants to know them.
    #[must_use]
    pub fn with_latencies(catalog: &Catalog, has_latencies: bool) -> Self {
        let chain = |entry: &ChainEntry| {
            Rc::new(ChainMetrics {
                total: Counter::default(),
                failures: Counter::default(),
                requests_batch_size: Summary::default(),
                responses_batch_size: Summary::default(),
                has_latencies,
                latency: Summary::default(),
                source_to_sink: Summary::default(),
                sink_to_source: Summary::default(),
                transforms: entry.transforms.iter().map(|_| TransformMetrics::default()).collect(),
                sharing: Rc::default(),
            })
        };
        Self {
            sources: catalog.sources.iter().map(|_| Rc::default()).collect(),
            chains: catalog.chains.iter().map(chain).collect(),
            tee_dropped: Rc::default(),
        }
    }

    /// The cells of a source.
    #[must_use]
    pub fn source(&self, index: usize) -> Option<&Rc<SourceMetrics>> {
        self.sources.get(index)
    }

    /// The cells of a chain.
    #[must_use]
    pub fn chain(&self, index: usize) -> Option<&Rc<ChainMetrics>> {
        self.chains.get(index)
    }

    /// The chains from `first` on, which are those in other chains.
    #[must_use]
    pub fn nested(&self, first: usize) -> NestedMetrics {
        NestedMetrics {
            chains: self.chains.iter().skip(first).map(Rc::clone).collect(),
            tee_dropped: Rc::clone(&self.tee_dropped),
        }
    }

    /// Begins a new window of every summary; to be called every 20 s.
    pub fn rotate(&self) {
        for chain in &self.chains {
            let ChainMetrics { requests_batch_size, responses_batch_size, latency, .. } = &**chain;
            let ChainMetrics { source_to_sink, sink_to_source, transforms, .. } = &**chain;
            for summary in
                [requests_batch_size, responses_batch_size, latency, source_to_sink, sink_to_source]
            {
                summary.rotate();
            }
            transforms.iter().for_each(|transform| transform.latency.rotate());
        }
    }

    /// What was counted so far, and how the worker's chunks are.
    #[must_use]
    pub fn snapshot(&self, chunks_taken: usize, chunks_pooled: usize) -> Snapshot {
        let chain = |chain: &Rc<ChainMetrics>| ChainSnapshot {
            total: chain.total.get(),
            failures: chain.failures.get(),
            requests_batch_size: chain.requests_batch_size.snapshot(),
            responses_batch_size: chain.responses_batch_size.snapshot(),
            has_latencies: chain.has_latencies,
            latency: chain.latency.snapshot(),
            source_to_sink: chain.source_to_sink.snapshot(),
            sink_to_source: chain.sink_to_source.snapshot(),
            transforms: chain.transforms.iter().map(transform_snapshot).collect(),
            sharing: chain.sharing.snapshot(),
        };
        let versions = |source: &Rc<SourceMetrics>| source.protocol_versions.each_ref().map(Counter::get);
        Snapshot {
            protocol_versions: self.sources.iter().map(versions).collect(),
            chains: self.chains.iter().map(chain).collect(),
            tee_dropped: self.tee_dropped.get(),
            chunks_taken: chunks_taken as u64,
            chunks_pooled: chunks_pooled as u64,
        }
    }
}

fn transform_snapshot(transform: &TransformMetrics) -> TransformSnapshot {
    TransformSnapshot {
        total: transform.total.get(),
        failures: transform.failures.get(),
        failed_requests: transform.failed_requests.get(),
        latency: transform.latency.snapshot(),
    }
}

/// What one worker has counted, on its way to be merged.
pub struct Snapshot {
    pub(crate) protocol_versions: Vec<[u64; 3]>,
    pub(crate) chains: Vec<ChainSnapshot>,
    pub(crate) tee_dropped: u64,
    pub(crate) chunks_taken: u64,
    pub(crate) chunks_pooled: u64,
}

pub(crate) struct ChainSnapshot {
    pub(crate) total: u64,
    pub(crate) failures: u64,
    pub(crate) requests_batch_size: SummarySnapshot,
    pub(crate) responses_batch_size: SummarySnapshot,
    pub(crate) has_latencies: bool,
    pub(crate) latency: SummarySnapshot,
    pub(crate) source_to_sink: SummarySnapshot,
    pub(crate) sink_to_source: SummarySnapshot,
    pub(crate) transforms: Vec<TransformSnapshot>,
    pub(crate) sharing: Vec<Family>,
}

pub(crate) struct TransformSnapshot {
    pub(crate) total: u64,
    pub(crate) failures: u64,
    pub(crate) failed_requests: u64,
    pub(crate) latency: SummarySnapshot,
}

/// What the acceptors count for one source: few events, so atomics.
#[derive(Default)]
pub struct SourceCounts {
    /// Clients accepted.
    pub opened: AtomicU64,
    /// Accepts that failed.
    pub accept_failures: AtomicU64,
    /// Listeners that could not be made again.
    pub create_failures: AtomicU64,
    /// Free places.
    pub available: AtomicU64,
}

/// What the whole process counts.
pub struct Process {
    /// One a source.
    pub sources: Vec<SourceCounts>,
}

impl Process {
    /// Cells for every source of the catalog.
    #[must_use]
    pub fn new(catalog: &Catalog) -> Self {
        let counts = |source: &SourceEntry| SourceCounts {
            available: AtomicU64::new(source.connection_limit),
            ..SourceCounts::default()
        };
        Self { sources: catalog.sources.iter().map(counts).collect() }
    }
}

pub(crate) fn load(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}
