//! From files to what runs: the sources with their builders, and on each worker their parts.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chain::{AllPrepared, Builder, ChainPart, Connector, Prepared, Spawner, WorkerCx};
use config::{ProcessConfig, read_process, read_topology};
use net::{LocalSpawner, Seat, TcpConnector};
use observe::{Catalog, ChainEntry, SourceEntry, WorkerMetrics, check_filter};
use sinks::CassandraSinkSingle;
use sources::Rules;
use wire::Protocol;

use crate::cli::{Command, Options};
use crate::registry::Registry;
use crate::run::OWN_DESCRIPTORS;
use crate::serve::{SourcePart, WorkerServe};

/// Clients at once of a proxy that was started without files.
const PASSTHROUGH_CLIENTS_MAX: usize = 10_000;

/// Everything that was configured, checked.
pub(crate) struct Plan {
    pub(crate) process: ProcessConfig,
    /// What the graph was made from, in one line for people.
    pub(crate) topology: String,
    pub(crate) graph: Arc<Graph>,
}

/// The sources and their chains; shared by all workers.
pub(crate) struct Graph {
    pub(crate) sources: Vec<SourcePlan>,
}

/// One source and its chain.
pub(crate) struct SourcePlan {
    pub(crate) name: String,
    pub(crate) listen_addr: String,
    pub(crate) connection_limit: usize,
    pub(crate) hard_connection_limit: bool,
    rules: Rules,
    /// What its clients prepared. Another source may lead to another cluster, with other statements of the same id.
    prepared: AllPrepared,
    chain: Vec<Entry>,
}

struct Entry {
    kind: String,
    name: String,
    builder: Box<dyn Builder>,
}

/// Reads what the command line names.
///
/// # Errors
/// Everything that is wrong with both files, as text.
pub(crate) fn plan(options: &Options, registry: &Registry) -> Result<Plan, String> {
    if options.hotreload_socket.is_some() {
        // Started without it, the process would not do what its user relies on.
        return Err(format!(
            "--hotreload-socket: hot reload is not supported by this version (a drain of {} s was asked for)",
            options.hotreload_gradual_shutdown_seconds
        ));
    }
    match &options.command {
        Some(Command::Passthrough { listen, to, observe, .. }) => Ok(passthrough(listen, to, *observe)),
        None => {
            let mut problems = String::new();
            let process = load_process(&options.config_file, &mut problems);
            let graph = load_topology(&options.topology_file, registry, &mut problems);
            match (process, graph) {
                (Some(process), Some((graph, topology))) => {
                    Ok(Plan { process, topology, graph: Arc::new(graph) })
                }
                _ => Err(problems),
            }
        }
    }
}

fn passthrough(listen: &str, to: &str, observability_interface: Option<SocketAddr>) -> Plan {
    let sink = CassandraSinkSingle::new(to.to_owned(), Duration::from_secs(3));
    let entry =
        Entry { kind: "CassandraSinkSingle".to_owned(), name: "sink".to_owned(), builder: Box::new(sink) };
    let source = SourcePlan {
        name: "cassandra".to_owned(),
        listen_addr: listen.to_owned(),
        connection_limit: passthrough_limit(),
        hard_connection_limit: false,
        rules: Rules { frame_bytes_max: wire::limits::FRAME_BYTES_MAX_DEFAULT, idle_timeout: None },
        prepared: AllPrepared::default(),
        chain: vec![entry],
    };
    Plan {
        process: ProcessConfig { main_log_level: "info".to_owned(), observability_interface },
        topology: format!("Passthrough {{ listen: {listen:?}, to: {to:?} }}"),
        graph: Arc::new(Graph { sources: vec![source] }),
    }
}

/// As many clients as there can be connections for, two each: nobody asked for a number that would not fit.
fn passthrough_limit() -> usize {
    let files = net::raise_descriptor_limit().unwrap_or(u64::MAX);
    let clients = files.saturating_sub(OWN_DESCRIPTORS) / 2;
    usize::try_from(clients).unwrap_or(usize::MAX).clamp(1, PASSTHROUGH_CLIENTS_MAX)
}

fn push_problem(problems: &mut String, lead: &str, detail: &str) {
    let separator = if problems.is_empty() { "" } else { "\n\n" };
    // Writing to a string cannot fail.
    problems.write_fmt(format_args!("{separator}{lead}\n{detail}")).unwrap_or_default();
}

fn load_process(file: &Path, problems: &mut String) -> Option<ProcessConfig> {
    let shown = file.display();
    match std::fs::read_to_string(file) {
        Ok(text) => read_process(&shown.to_string(), &text, &check_filter)
            .map_err(|errors| {
                let lead = format!("Failed to parse config file {shown}");
                push_problem(problems, &lead, &errors.to_string());
            })
            .ok(),
        Err(error) => {
            push_problem(problems, &format!("Couldn't open the config file {shown}"), &error.to_string());
            None
        }
    }
}

/// The graph, and what it was made from in one line for people.
fn load_topology(file: &Path, registry: &Registry, problems: &mut String) -> Option<(Graph, String)> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        push_problem(problems, &format!("Couldn't open the topology file {shown}"), &error.to_string());
    });
    let (topology, mut errors) = read_topology(&shown.to_string(), &text.ok()?, registry);
    let described = topology.as_ref().map(|topology| format!("{topology:?}")).unwrap_or_default();
    let mut sources = Vec::new();
    for source in topology.map(|topology| topology.sources).unwrap_or_default() {
        let mut chain = Vec::new();
        for transform in &source.chain {
            let Some(kind) = registry.kind(&transform.kind) else { continue };
            if let Some(builder) = transform.read_options(&mut errors, kind.read) {
                chain.push(Entry { kind: transform.kind.clone(), name: transform.name.clone(), builder });
            }
        }
        sources.push(SourcePlan {
            name: source.name,
            listen_addr: source.listen_addr,
            connection_limit: usize::try_from(source.connection_limit).unwrap_or(usize::MAX),
            hard_connection_limit: source.hard_connection_limit,
            rules: Rules {
                frame_bytes_max: u32::try_from(source.max_frame_bytes).unwrap_or(u32::MAX),
                idle_timeout: source.timeout_seconds.map(Duration::from_secs),
            },
            prepared: AllPrepared::default(),
            chain,
        });
    }
    if errors.is_empty() {
        return Some((Graph { sources }, described));
    }
    push_problem(problems, &format!("Failed to parse topology file {shown}"), &errors.to_string());
    None
}

impl Graph {
    /// Everything that has metrics.
    pub(crate) fn catalog(&self) -> Catalog {
        let source = |source: &SourcePlan| SourceEntry {
            name: source.name.clone(),
            connection_limit: source.connection_limit as u64,
        };
        let chain = |source: &SourcePlan| ChainEntry {
            name: source.name.clone(),
            transforms: source.chain.iter().map(|entry| entry.kind.clone()).collect(),
            reaches_servers: source.chain.iter().any(|entry| entry.builder.reaches_servers()),
            shares_connections: source.chain.iter().any(|entry| entry.builder.shares_connections()),
        };
        Catalog {
            sources: self.sources.iter().map(source).collect(),
            chains: self.sources.iter().map(chain).collect(),
        }
    }

    /// The parts of one worker. `with_metrics`: somebody will ask for what it counts.
    pub(crate) fn worker(&self, seat: &Seat, with_metrics: bool) -> WorkerServe {
        let metrics = Rc::new(WorkerMetrics::new(&self.catalog()));
        let connector: Rc<dyn Connector> = Rc::new(TcpConnector::new(seat.reactor.clone()));
        let spawner: Rc<dyn Spawner> = Rc::new(LocalSpawner::new(seat.reactor.clone()));
        let part = |(index, source): (usize, &SourcePlan)| {
            let worker = WorkerCx {
                pool: seat.pool.clone(),
                connector: Rc::clone(&connector),
                spawner: Rc::clone(&spawner),
                protocol: Protocol::Cql,
                prepared: Rc::new(Prepared::new(&source.prepared)),
                sharing: metrics.chain(index).map(|chain| Rc::clone(&chain.sharing)).unwrap_or_default(),
            };
            let chain_metrics = metrics.chain(index).filter(|_| with_metrics).map(Rc::clone);
            let entries =
                source.chain.iter().map(|entry| (&*entry.kind, &*entry.name, entry.builder.as_ref()));
            SourcePart {
                name: source.name.as_str().into(),
                chain: ChainPart::new(&source.name, &worker, entries, chain_metrics),
                rules: Rc::new(source.rules),
                metrics: metrics.source(index).filter(|_| with_metrics).map(Rc::clone),
            }
        };
        let sources = self.sources.iter().enumerate().map(part).collect();
        WorkerServe { sources, seat: seat.clone(), metrics }
    }
}
