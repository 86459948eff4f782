//! The life of the process: start, ready, signals, drain, end.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use net::{Bound, Counts, Listening, Workers};
use observe::{Catalog, Logs, OwnMetrics, Process, Snapshot, render, render_own, start_logs, target};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::admin;
use crate::assemble::{Graph, Measures, Plan, plan};
use crate::cli::Options;
use crate::registry::Registry;

/// How long clients may take to get their last replies after SIGTERM or SIGINT. What they leave behind for the second
/// chain of a Tee may take 5 s more. Orchestrators kill after 30 s.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What the workers have besides their clients' descriptors: epolls, listeners, admin connections, log.
pub(crate) const OWN_DESCRIPTORS: u64 = 64;

/// Runs until told to end.
pub(crate) fn run(options: &Options, registry: &Registry) -> ExitCode {
    let planned = plan(options, registry);
    let level = planned.as_ref().map_or("info", |plan| &plan.process.main_log_level).to_owned();
    let overrides = std::env::var("RUST_LOG").ok();
    let logs = match start_logs(options.log_format.into(), &level, overrides.as_deref()) {
        Ok(logs) => logs,
        Err(problem) => {
            let problems: Vec<String> = planned.err().into_iter().chain([problem]).collect();
            return fail_without_logs(options, &problems.join("\n\n"));
        }
    };
    match planned.and_then(|plan| serve(options, &plan, &logs)) {
        Ok(code) => code,
        Err(problem) => {
            error!(target: target::RUNNER, "Failed to start shotover\n\nCaused by:\n{problem}");
            ExitCode::FAILURE
        }
    }
}

/// A bad directive in RUST_LOG: what is wrong is logged at the default level.
fn fail_without_logs(options: &Options, problem: &str) -> ExitCode {
    let logs = start_logs(options.log_format.into(), "info", None);
    error!(target: target::RUNNER, "Failed to start shotover\n\nCaused by:\n{problem}");
    drop(logs);
    ExitCode::FAILURE
}

fn serve(options: &Options, plan: &Plan, logs: &Logs) -> Result<ExitCode, String> {
    info!(target: target::RUNNER, "Starting Shotover {}", env!("CARGO_PKG_VERSION"));
    info!(target: target::RUNNER, configuration = ?plan.process);
    info!(target: target::RUNNER, topology = %plan.topology);
    check_descriptors(&plan.graph);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| format!("the runtime of the control thread: {error}"))?;
    let code = runtime.block_on(async {
        let bound = bind_all(&plan.graph)?;
        let catalog = Arc::new(plan.graph.catalog());
        let process = Arc::new(Process::new(&catalog));
        let measures = Measures {
            with_metrics: plan.process.observability_interface.is_some(),
            with_latencies: plan.process.latency_metrics,
        };
        plan.graph.start()?;
        let graph = Arc::clone(&plan.graph);
        let count = options.core_threads.map_or_else(workers, usize::from);
        let (workers, threads) =
            Workers::start(count, options.stack_size as usize, move |seat| graph.worker(seat, measures))
                .map_err(|error| format!("the workers: {error}"))?;
        // Before anybody is told that the process runs, so that no signal is missed; and behind all that may hold up this
        // thread, such as a pipe that nobody reads: until here a signal ends the process by itself.
        let mut signals = Signals::new()?;
        let workers = Arc::new(workers);
        if let Some(address) = plan.process.observability_interface {
            let metrics = metrics_page(&catalog, &process, &workers, plan.graph.own_metrics());
            let door = admin::Door::open(address, "Metrics").await;
            tokio::spawn(admin::serve(door, metrics, logs.filter.clone()));
        }
        for switch in plan.graph.switches() {
            let door = crate::switch::open(&switch).await;
            tokio::spawn(crate::switch::serve(door, switch));
        }
        let listeners = listen_all(&plan.graph, bound, &process, &workers);
        info!(target: target::TOPOLOGY, "Shotover is now accepting inbound connections");
        if !plan.graph.sources.is_empty() {
            tokio::select! {
                (name, _) = signals.next() => info!(target: target::RUNNER, "received {name}"),
                () = workers.gone() => {
                    error!(target: target::RUNNER, "every worker has ended, and so does shotover");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        for listener in listeners {
            listener.abort();
        }
        workers.drain(DRAIN_MAX).await;
        drop(workers);
        let ended = tokio::task::spawn_blocking(move || {
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        tokio::select! {
            _ = ended => {
                info!(target: target::RUNNER, "Shotover was shutdown cleanly.");
                Ok(ExitCode::SUCCESS)
            }
            (name, number) = signals.next() => {
                warn!(target: target::RUNNER, "received {name} again: ending at once");
                Ok(ExitCode::from(128 + number))
            }
        }
    });
    // Waits for no worker: they end with the process, once what was logged is written.
    runtime.shutdown_background();
    code
}

/// One core is left to the kernel's network and to what runs beside the proxy: on two cores, two workers cost more a
/// request than one and serve fewer (docs/benchmarks/choices.md).
fn workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).max(1)
}

fn check_descriptors(graph: &Graph) {
    let Some(limit) = net::raise_descriptor_limit() else { return };
    let clients: u64 = graph.sources.iter().map(|source| source.connection_limit as u64).sum();
    // Each client has a connection of its own to a server.
    let wanted = clients.saturating_mul(2).saturating_add(OWN_DESCRIPTORS);
    if wanted > limit {
        warn!(
            target: target::RUNNER,
            "the connection limits allow {clients} clients, which may need {wanted} open files; this process may have {limit}"
        );
    }
}

fn bind_all(graph: &Graph) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::new();
    let mut problems = Vec::new();
    for source in &graph.sources {
        match net::bind(&source.listen_addr) {
            Ok(listener) => bound.push(listener),
            Err(error) => {
                problems.push(format!("{} source:\n  {error} address={}", source.name, source.listen_addr))
            }
        }
    }
    if problems.is_empty() { Ok(bound) } else { Err(format!("Topology errors\n{}", problems.join("\n"))) }
}

fn listen_all(
    graph: &Graph,
    bound: Vec<Bound>,
    process: &Arc<Process>,
    workers: &Arc<Workers<Snapshot>>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let listen = |(index, (source, bound)): (usize, (&crate::assemble::SourcePlan, Bound))| {
        let listening = Listening {
            source: index,
            name: source.name.clone(),
            connection_limit: source.connection_limit,
            hard_connection_limit: source.hard_connection_limit,
            counts: Arc::new(SourceCounts { process: Arc::clone(process), index }),
        };
        tokio::spawn(net::listen(listening, bound, Arc::clone(workers)))
    };
    graph.sources.iter().zip(bound).enumerate().map(listen).collect()
}

fn metrics_page(
    catalog: &Arc<Catalog>,
    process: &Arc<Process>,
    workers: &Arc<Workers<Snapshot>>,
    own: Vec<Arc<dyn OwnMetrics>>,
) -> admin::Metrics {
    let own: Arc<[Arc<dyn OwnMetrics>]> = own.into();
    let (catalog, process) = (Arc::clone(catalog), Arc::clone(process));
    // Not kept alive by scrapes: the workers end when the process lets go of them.
    let workers = Arc::downgrade(workers);
    Arc::new(move || {
        let (catalog, process, workers) = (Arc::clone(&catalog), Arc::clone(&process), workers.upgrade());
        let own = Arc::clone(&own);
        Box::pin(async move {
            let snapshots = match workers {
                Some(workers) => workers.snapshots().await,
                None => Vec::new(),
            };
            render(&catalog, &snapshots, &process) + &render_own(&own)
        })
    })
}

fn count(cell: &AtomicU64) {
    cell.fetch_add(1, Ordering::Relaxed);
}

/// Joins one source's listener to its metrics.
struct SourceCounts {
    process: Arc<Process>,
    index: usize,
}

impl SourceCounts {
    fn with(&self, change: impl FnOnce(&observe::SourceCounts)) {
        if let Some(counts) = self.process.sources.get(self.index) {
            change(counts);
        }
    }
}

impl Counts for SourceCounts {
    fn opened(&self) {
        self.with(|counts| {
            count(&counts.opened);
            counts.available.fetch_sub(1, Ordering::Relaxed);
        });
    }
    fn closed(&self) {
        self.with(|counts| count(&counts.available));
    }
    fn accept_failed(&self) {
        self.with(|counts| count(&counts.accept_failures));
    }
    fn create_failed(&self) {
        self.with(|counts| count(&counts.create_failures));
    }
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next signal's name and number.
    async fn next(&mut self) -> (&'static str, u8) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 15),
            _ = self.interrupt.recv() => ("SIGINT", 2),
        }
    }
}
