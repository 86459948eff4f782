//! From files to what runs: the sources with their builders, and on each worker their parts.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chain::{
    AllPrepared, Builder, ChainPart, ChainPlan, Connector, PlanEntry, Prepared, Spawner, Switch, WorkerCx,
};
use config::{Errors, ProcessConfig, Topology, Transform, read_process, read_topology};
use net::{LocalSpawner, Seat, TcpConnector};
use observe::{Catalog, ChainEntry, OwnMetrics, SourceEntry, WorkerMetrics, check_filter};
use sinks::CassandraSinkSingle;
use sources::Rules;
use transforms::OwnChains;
use wire::Protocol;

use crate::cli::{Command, Options};
use crate::listeners::{MetricsAt, report_endless};
use crate::registry::{Read, Registry};
use crate::run::OWN_DESCRIPTORS;
use crate::serve::{SourcePart, WorkerServe};
use crate::switch::switch_address;

/// The options that say on which port a switch is.
const SWITCH_KEYS: &[&str] = &["switch_port", "http_api_port"];

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
    chain: Vec<PlanEntry>,
}

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) struct Measures {
    /// Somebody will ask for what is counted.
    pub(crate) with_metrics: bool,
    /// Somebody wants to know how long things take.
    pub(crate) with_latencies: bool,
}

/// What the command line asks for that this version cannot do. Started without it, the process would not do what its
/// user relies on.
pub(crate) fn unsupported(options: &Options) -> Option<String> {
    options.hotreload_socket.as_ref().map(|_| {
        format!(
            "--hotreload-socket: hot reload is not supported by this version (a drain of {} s was asked for)",
            options.hotreload_gradual_shutdown_seconds
        )
    })
}

/// Reads what the command line names.
///
/// # Errors
/// Everything that is wrong with both files, as text.
pub(crate) fn plan(options: &Options, registry: &Registry) -> Result<Plan, String> {
    if let Some(problem) = unsupported(options) {
        return Err(problem);
    }
    match &options.command {
        Some(Command::Passthrough { listen, to, observe, .. }) => Ok(passthrough(listen, to, *observe)),
        None => {
            let mut problems = String::new();
            let process = load_process(&options.config_file, &mut problems);
            let metrics = metrics_at(&options.config_file, process.as_ref());
            let look_at: LookAt<'_> = &mut |_, errors| report_endless(errors, metrics.as_ref());
            let graph = load_topology(&options.topology_file, registry, look_at, &mut problems);
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
    let entry = PlanEntry {
        kind: "CassandraSinkSingle".to_owned(),
        name: "sink".to_owned(),
        builder: Box::new(sink),
    };
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
        process: ProcessConfig {
            main_log_level: "info".to_owned(),
            observability_interface,
            latency_metrics: true,
        },
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

/// Looks at a topology that was read, and records what else is wrong with it.
pub(crate) type LookAt<'l> = &'l mut dyn FnMut(&Topology, &mut Errors);

pub(crate) fn push_problem(problems: &mut String, lead: &str, detail: &str) {
    let separator = if problems.is_empty() { "" } else { "\n\n" };
    // Writing to a string cannot fail.
    problems.write_fmt(format_args!("{separator}{lead}\n{detail}")).unwrap_or_default();
}

pub(crate) fn load_process(file: &Path, problems: &mut String) -> Option<ProcessConfig> {
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

/// Where a config file has the metrics served.
pub(crate) fn metrics_at(file: &Path, process: Option<&ProcessConfig>) -> Option<MetricsAt> {
    let said_by = format!("observability_interface of {}", file.display());
    process?.observability_interface.map(|address| MetricsAt { address, said_by })
}

/// The graph, and what it was made from in one line for people.
pub(crate) fn load_topology(
    file: &Path,
    registry: &Registry,
    look_at: LookAt<'_>,
    problems: &mut String,
) -> Option<(Graph, String)> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        push_problem(problems, &format!("Couldn't open the topology file {shown}"), &error.to_string());
    });
    let (topology, mut errors) = read_topology(&shown.to_string(), &text.ok()?, registry);
    let seen = topology.clone();
    let mut sources = Vec::new();
    let mut build = Build::to_start(registry, &mut errors);
    for source in topology.map(|topology| topology.sources).unwrap_or_default() {
        let chain = build.chain(&source.chain);
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
    if let Some(topology) = &seen {
        look_at(topology, &mut errors);
    }
    if errors.is_empty() {
        return Some((Graph { sources }, seen.map(|topology| format!("{topology:?}")).unwrap_or_default()));
    }
    push_problem(problems, &format!("Failed to parse topology file {shown}"), &errors.to_string());
    None
}

/// Makes the builders of chains, and of the chains in them.
pub(crate) struct Build<'b> {
    registry: &'b Registry,
    errors: &'b mut Errors,
    /// Chains in chains so far.
    nested: usize,
    /// What the entries need beyond their options will be opened, and is looked at before.
    is_to_start: bool,
}

impl<'b> Build<'b> {
    pub(crate) fn new(registry: &'b Registry, errors: &'b mut Errors) -> Self {
        Self { registry, errors, nested: 0, is_to_start: false }
    }

    /// Also finds what would keep the entries from starting.
    fn to_start(registry: &'b Registry, errors: &'b mut Errors) -> Self {
        Self { is_to_start: true, ..Self::new(registry, errors) }
    }

    pub(crate) fn chain(&mut self, transforms: &[Transform]) -> Vec<PlanEntry> {
        let mut entries = Vec::new();
        for transform in transforms {
            let Some(kind) = self.registry.kind(&transform.kind) else { continue };
            let builder = match kind.read {
                Read::Plain(read) => transform.read_options(self.errors, read),
                Read::Owner(read) => {
                    let own = self.own_chains(transform);
                    transform.read_options(self.errors, |fields| read(fields, own))
                }
            };
            if let Some(builder) = builder {
                if let Some(switch) = builder.switch() {
                    transform.note_switch(SWITCH_KEYS, &switch_address(switch).to_string(), self.errors);
                }
                if let Some(Err(problem)) = self.is_to_start.then(|| builder.could_start()) {
                    transform.options.error(self.errors, problem);
                }
                let (kind, name) = (transform.kind.clone(), transform.name.clone());
                entries.push(PlanEntry { kind, name, builder });
            }
        }
        entries
    }

    fn own_chains(&mut self, transform: &Transform) -> OwnChains {
        let mut own = OwnChains::default();
        for nested in &transform.chains {
            let first = self.nested;
            self.nested += nested.names.len();
            let entries = self.chain(&nested.transforms);
            own.add(nested.slot, ChainPlan::of(nested.names.clone(), first, entries));
        }
        own
    }
}

/// Looks at every chain in these, each once: chains of the same form have the same entries.
fn each_nested<'e>(entries: &'e [PlanEntry], each: &mut impl FnMut(&'e ChainPlan)) {
    for entry in entries {
        let mut before = None;
        for plan in entry.builder.chains() {
            each(plan);
            if before.replace(plan.entries().as_ptr()) != Some(plan.entries().as_ptr()) {
                each_nested(plan.entries(), each);
            }
        }
    }
}

/// Looks at the entries of every chain in these, each list once.
pub(crate) fn each_entries<'e>(entries: &'e [PlanEntry], each: &mut impl FnMut(&'e [PlanEntry])) {
    for entry in entries {
        let mut before = None;
        for plan in entry.builder.chains() {
            if before.replace(plan.entries().as_ptr()) != Some(plan.entries().as_ptr()) {
                each(plan.entries());
                each_entries(plan.entries(), each);
            }
        }
    }
}

fn chain_entry(name: &str, entries: &[PlanEntry]) -> ChainEntry {
    // The errors of a chain in a chain are counted there.
    let own = entries.iter().filter(|entry| entry.builder.chains().is_empty());
    ChainEntry {
        name: name.to_owned(),
        transforms: entries.iter().map(|entry| entry.kind.clone()).collect(),
        reaches_servers: own.clone().any(|entry| entry.builder.reaches_servers()),
        shares_connections: own.clone().any(|entry| entry.builder.shares_connections()),
    }
}

impl Graph {
    /// The switches in it.
    pub(crate) fn switches(&self) -> Vec<Switch> {
        let mut switches = Vec::new();
        for source in &self.sources {
            switches.extend(source.chain.iter().filter_map(|entry| entry.builder.switch().cloned()));
            each_nested(&source.chain, &mut |plan| {
                let known: Vec<u16> = switches.iter().map(|switch: &Switch| switch.port).collect();
                let own = plan.entries().iter().filter_map(|entry| entry.builder.switch());
                switches.extend(own.filter(|switch| !known.contains(&switch.port)).cloned());
            });
        }
        switches
    }

    /// Everything that has metrics.
    pub(crate) fn catalog(&self) -> Catalog {
        let source = |source: &SourcePlan| SourceEntry {
            name: source.name.clone(),
            connection_limit: source.connection_limit as u64,
        };
        let mut nested: Vec<(usize, ChainEntry)> = Vec::new();
        for source in &self.sources {
            each_nested(&source.chain, &mut |plan| {
                nested.push((plan.number(), chain_entry(plan.name(), plan.entries())));
            });
        }
        nested.sort_by_key(|(number, _)| *number);
        let roots = self.sources.iter().map(|source| chain_entry(&source.name, &source.chain));
        Catalog {
            sources: self.sources.iter().map(source).collect(),
            chains: roots.chain(nested.into_iter().map(|(_, entry)| entry)).collect(),
        }
    }

    /// Every entry, those of chains in chains included.
    fn builders(&self) -> Vec<&dyn Builder> {
        let mut builders: Vec<&dyn Builder> = Vec::new();
        for source in &self.sources {
            builders.extend(source.chain.iter().map(|entry| entry.builder.as_ref()));
            each_entries(&source.chain, &mut |entries| {
                builders.extend(entries.iter().map(|entry| entry.builder.as_ref()));
            });
        }
        builders
    }

    /// Opens what the entries need. To be called once, before any worker.
    ///
    /// # Errors
    /// Why the process cannot start.
    pub(crate) fn start(&self) -> Result<(), String> {
        let problems: Vec<String> =
            self.builders().into_iter().filter_map(|builder| builder.start().err()).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }

    /// What the entries count of their own.
    pub(crate) fn own_metrics(&self) -> Vec<Arc<dyn OwnMetrics>> {
        self.builders().into_iter().flat_map(Builder::own_metrics).collect()
    }

    /// The parts of one worker.
    pub(crate) fn worker(&self, seat: &Seat, measures: Measures) -> WorkerServe {
        let Measures { with_metrics, with_latencies } = measures;
        let metrics = Rc::new(WorkerMetrics::with_latencies(&self.catalog(), with_latencies));
        let connector: Rc<dyn Connector> = Rc::new(TcpConnector::new(seat.reactor.clone()));
        let spawner: Rc<dyn Spawner> = Rc::new(LocalSpawner::new(seat.reactor.clone()));
        let nested = if with_metrics { Rc::new(metrics.nested(self.sources.len())) } else { Rc::default() };
        let part = |(index, source): (usize, &SourcePlan)| {
            let worker = WorkerCx {
                pool: seat.pool.clone(),
                connector: Rc::clone(&connector),
                spawner: Rc::clone(&spawner),
                protocol: Protocol::Cql,
                prepared: Rc::new(Prepared::new(&source.prepared)),
                sharing: metrics.chain(index).map(|chain| Rc::clone(&chain.sharing)).unwrap_or_default(),
                nested: Rc::clone(&nested),
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
