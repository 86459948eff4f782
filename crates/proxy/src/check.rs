//! What `--check` and `--schema` print.
//!
//! A check finds what start-up would find, but for ports that are taken and files that cannot be made though their folder
//! is there, and looks at the names in the files as well: start-up leaves those of servers to the first client.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use config::{Address, Errors, ProcessConfig, Purpose, Topology, process_schema, topology_schema};
use net::Resolver;
use observe::check_filter;
use transforms::OwnChains;

use crate::assemble::{load_process, load_topology, metrics_at, push_problem, unsupported};
use crate::cli::{Options, SchemaOf};
use crate::listeners::{Known, MetricsAt, report};
use crate::registry::{Read, Registry};

/// How long the system may take to resolve the names of a file, all together: longer than its resolver waits for a
/// name server before it asks again.
const RESOLVE_MAX: Duration = Duration::from_secs(10);

/// Prints what was asked for, or what is wrong.
pub(crate) fn print(said: Result<String, String>) -> ExitCode {
    // Who closed our output does not read what it would say about that.
    match said {
        Ok(text) => {
            std::io::stdout().write_all(text.as_bytes()).unwrap_or_default();
            ExitCode::SUCCESS
        }
        Err(problem) => {
            writeln!(std::io::stderr(), "{problem}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

/// The JSON Schema of a file.
pub(crate) fn schema(file: SchemaOf, registry: &Registry) -> String {
    match file {
        SchemaOf::Config => process_schema(),
        SchemaOf::Topology => {
            topology_schema(registry, &|kind, fields| match registry.kind(kind).map(|kind| kind.read) {
                Some(Read::Plain(read)) => drop(read(fields)),
                Some(Read::Owner(read)) => drop(read(fields, OwnChains::default())),
                None => {}
            })
        }
    }
}

/// Reads both files, and says what would run.
///
/// # Errors
/// Everything that is wrong with them, as text.
pub(crate) fn check(options: &Options, registry: &Registry) -> Result<String, String> {
    if options.command.is_some() {
        return Err("--check: there are no files to check".to_owned());
    }
    let mut problems = unsupported(options).unwrap_or_default();
    if let Some(Err(problem)) = std::env::var("RUST_LOG").ok().map(|filter| check_filter(&filter)) {
        push_problem(&mut problems, "Failed to read RUST_LOG", &problem);
    }
    let process = load_process(&options.config_file, &mut problems);
    let mut said = String::new();
    let metrics = metrics_at(&options.config_file, process.as_ref());
    let metrics = metrics.as_ref();
    let mut look_at = |topology: &Topology, errors: &mut Errors| said = look_at(topology, metrics, errors);
    let graph = load_topology(&options.topology_file, registry, &mut look_at, &mut problems);
    match (process, graph) {
        (Some(process), Some(_)) if problems.is_empty() => Ok(format!("{said}{}OK\n", describe(&process))),
        _ => Err(problems),
    }
}

/// Resolves the names of a topology, records which have no address, and says what it is made of.
fn look_at(topology: &Topology, metrics: Option<&MetricsAt>, errors: &mut Errors) -> String {
    let addresses = errors.addresses().to_vec();
    let resolved = resolve(&addresses);
    let mut known: Vec<Known<'_>> = Vec::new();
    for (address, resolved) in addresses.iter().zip(&resolved) {
        match resolved {
            Ok(sockets) => known.push((address, sockets)),
            Err(problem) => {
                errors.fail_address(address, format!("the name cannot be resolved: {problem}"));
            }
        }
    }
    report(errors, &known, metrics, &|_| true);
    summary(topology, &known)
}

/// The addresses behind each, all asked for at once.
fn resolve(addresses: &[Address]) -> Vec<Result<Vec<SocketAddr>, String>> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(problem) => return addresses.iter().map(|_| Err(problem.to_string())).collect(),
    };
    let resolved = runtime.block_on(async {
        let resolver = Resolver::system();
        let ask = |address: &Address| {
            let (resolver, name) = (Arc::clone(&resolver), address.text.clone());
            tokio::spawn(tokio::time::timeout(RESOLVE_MAX, async move { resolver.resolve(&name).await }))
        };
        let asked: Vec<_> = addresses.iter().map(ask).collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(match answer.await {
                Ok(Ok(Ok(sockets))) if sockets.is_empty() => Err("it has no addresses".to_owned()),
                Ok(Ok(Ok(sockets))) => Ok(sockets),
                Ok(Ok(Err(problem))) => Err(problem.to_string()),
                Ok(Err(_)) => Err(format!("no answer within {} s", RESOLVE_MAX.as_secs())),
                Err(problem) => Err(problem.to_string()),
            });
        }
        answers
    });
    // Waits for no name that hangs.
    runtime.shutdown_background();
    resolved
}

/// The sources, their chains, and what those connect to. Cannot fail: writing to a string does not.
fn summary(topology: &Topology, known: &[Known<'_>]) -> String {
    let mut said = String::new();
    for source in &topology.sources {
        let listens = known.iter().filter(|(address, _)| address.purpose == Purpose::Listen);
        let mut listens = listens.filter(|(address, _)| address.text == source.listen_addr);
        let listen = listens.next().map(|known| shown(*known)).unwrap_or_default();
        let (kind, name, clients) = (&source.kind, &source.name, source.connection_limit);
        writeln!(said, "{kind} source {name:?} on {listen}, at most {clients} clients").unwrap_or_default();
        for transform in &source.chain {
            let below = format!("{}.", transform.path());
            let connects = known.iter().filter(|(address, _)| address.purpose == Purpose::Connect);
            let connects = connects.filter(|(address, _)| address.path.starts_with(&below));
            let servers: Vec<String> = connects.map(|known| shown(*known)).collect();
            let to = if servers.is_empty() { "" } else { " to " };
            writeln!(said, "  {} {:?}{to}{}", transform.kind, transform.name, servers.join(", "))
                .unwrap_or_default();
        }
    }
    said
}

/// An address as it is written, and what stands behind it if that is a name.
fn shown((address, sockets): Known<'_>) -> String {
    if address.text.parse::<SocketAddr>().is_ok() {
        return address.text.clone();
    }
    let sockets: Vec<String> = sockets.iter().map(ToString::to_string).collect();
    format!("{} ({})", address.text, sockets.join(", "))
}

fn describe(process: &ProcessConfig) -> String {
    let metrics = match process.observability_interface {
        Some(address) => format!("on {address}"),
        None => "nowhere".to_owned(),
    };
    format!("log level {:?}, metrics {metrics}\n", process.main_log_level)
}
