//! The arms of a comparison: what may stand between clients and server, and how each is started.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::{Child, Proxy, Scratch, free_port};

use crate::peers::{self, Program, cores, workers};
use crate::results::Described;

/// How long an arm may take to start.
const START_MAX: Duration = Duration::from_secs(20);

/// What stands between clients and server.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// Nothing.
    Direct,
    /// HAProxy with so many threads.
    HaProxy(usize),
    Envoy,
    Upstream,
    /// The proxy with a connection for each client, and so many transforms that look at headers.
    Ours(u8),
    /// The proxy with connections that clients share.
    OursShared,
    /// The proxy with a worker for each core, and a connection for each client.
    OursAllCores,
}

impl Arm {
    /// All of them, in the order of their turns.
    pub(crate) fn all() -> Vec<Self> {
        let mut arms = vec![Self::Direct];
        arms.extend(Self::haproxies());
        arms.extend([
            Self::Envoy,
            Self::Upstream,
            Self::Ours(0),
            Self::OursShared,
            Self::Ours(1),
            Self::Ours(4),
            Self::OursAllCores,
        ]);
        arms
    }

    /// HAProxy with one thread, as many as we have workers, and as many as there are cores.
    pub(crate) fn haproxies() -> impl Iterator<Item = Self> {
        BTreeSet::from([1, workers(), cores()]).into_iter().map(Self::HaProxy)
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Direct => "direct".to_owned(),
            Self::HaProxy(threads) => format!("haproxy-{threads}"),
            Self::Envoy => "envoy".to_owned(),
            Self::Upstream => "upstream".to_owned(),
            Self::Ours(0) => "ours".to_owned(),
            Self::Ours(1) => "ours-1-transform".to_owned(),
            Self::Ours(transforms) => format!("ours-{transforms}-transforms"),
            Self::OursShared => "ours-shared".to_owned(),
            Self::OursAllCores => "ours-all-cores".to_owned(),
        }
    }

    /// True when a word of `--arms` means it.
    pub(crate) fn is_meant(self, word: &str) -> bool {
        self.name() == word || matches!(self, Self::HaProxy(_)) && word == "haproxy"
    }

    /// Gets what it needs, once for all loads.
    pub(crate) fn prepare(self, may_build: bool) -> Result<Ready, String> {
        let program = match self {
            Self::Direct => Program { path: "".into(), version: "no proxy".to_owned() },
            Self::HaProxy(_) => peers::haproxy()?,
            Self::Envoy => peers::envoy()?,
            Self::Upstream => peers::upstream(may_build)?,
            Self::Ours(_) | Self::OursShared | Self::OursAllCores => {
                Program { path: Proxy::binary(), version: format!("shotover-proxy at {}", testkit::commit()) }
            }
        };
        Ok(Ready { arm: self, program })
    }
}

/// An arm whose program is there.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) arm: Arm,
    pub(crate) program: Program,
}

/// An arm that runs.
pub(crate) struct Running {
    pub(crate) name: String,
    /// Where clients connect.
    pub(crate) port: u16,
    child: Option<Child>,
    _files: Scratch,
}

impl Running {
    /// The process between clients and server.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Ready {
    pub(crate) fn described(&self) -> Described {
        Described { arm: self.arm.name(), version: self.program.version.clone() }
    }

    /// Starts it in front of a local port, and waits until it takes connections.
    pub(crate) fn start(&self, to: u16) -> Result<Running, String> {
        let files = Scratch::new("arm").map_err(|error| error.to_string())?;
        let name = self.arm.name();
        if self.arm == Arm::Direct {
            return Ok(Running { name, port: to, child: None, _files: files });
        }
        let port = free_port();
        let mut command = self.command(&files, port, to).map_err(|error| error.to_string())?;
        let mut child = Child::start(&mut command);
        let folder = format!("{}/", files.path().display());
        wait_until_it_listens(&mut child, port).map_err(|said| plain(&said).replace(&folder, ""))?;
        Ok(Running { name, port, child: Some(child), _files: files })
    }

    fn command(&self, files: &Scratch, port: u16, to: u16) -> std::io::Result<Command> {
        let mut command = Command::new(&self.program.path);
        match self.arm {
            Arm::Direct => {}
            Arm::HaProxy(threads) => {
                let file = files.write("haproxy.cfg", &haproxy_configuration(threads, port, to))?;
                command.arg("-db").arg("-f").arg(file);
            }
            Arm::Envoy => {
                let file = files.write("envoy.yaml", &envoy_configuration(port, to))?;
                command.arg("-c").arg(file).args(["--disable-hot-restart", "-l", "error", "--concurrency"]);
                command.arg(workers().to_string());
            }
            Arm::Upstream => {
                // The dialect of what is released: transforms have no names.
                let sink = format!("{{remote_address: '127.0.0.1:{to}', connect_timeout_ms: 3000}}");
                shotover(&mut command, files, port, &format!("[CassandraSinkSingle: {sink}]"))?;
            }
            Arm::Ours(_) | Arm::OursShared | Arm::OursAllCores => {
                shotover(&mut command, files, port, &our_chain(self.arm, to))?;
                if self.arm == Arm::OursAllCores {
                    command.args(["--core-threads", &cores().to_string()]);
                }
            }
        }
        Ok(command)
    }
}

fn wait_until_it_listens(child: &mut Child, port: u16) -> Result<(), String> {
    let deadline = Instant::now() + START_MAX;
    loop {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        let has_ended = !Path::new(&format!("/proc/{}/exe", child.id())).exists()
            || child.wait(Duration::from_millis(1)).is_ok();
        if has_ended || Instant::now() > deadline {
            let lines = child.lines();
            let last = lines.iter().rev().find(|line| !line.trim().is_empty());
            return Err(format!("it does not start: {}", last.map_or("it says nothing", |line| line.trim())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Without the escape sequences that colour a terminal.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// Only what is needed; TCP_NODELAY is set by itself.
fn haproxy_configuration(threads: usize, port: u16, to: u16) -> String {
    format!(
        "global\n  nbthread {threads}\n  maxconn 4096\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         frontend clients\n  bind 127.0.0.1:{port}\n  default_backend server\n\
         backend server\n  server only 127.0.0.1:{to}\n"
    )
}

fn envoy_configuration(port: u16, to: u16) -> String {
    let address = |port: u16| format!("{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}");
    let kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    format!(
        "static_resources:\n  listeners:\n  - name: clients\n    address: {}\n    filter_chains:\n    - filters:\n      \
         - name: envoy.filters.network.tcp_proxy\n        \
         typed_config: {{'@type': '{kind}', stat_prefix: clients, cluster: server}}\n  \
         clusters:\n  - name: server\n    type: STATIC\n    connect_timeout: 5s\n    \
         circuit_breakers: {{thresholds: [{{max_connections: 4096, max_pending_requests: 4096}}]}}\n    \
         load_assignment:\n      cluster_name: server\n      endpoints:\n      \
         - lb_endpoints: [{{endpoint: {{address: {}}}}}]\n",
        address(port),
        address(to)
    )
}

fn our_chain(arm: Arm, to: u16) -> String {
    let transforms = if let Arm::Ours(transforms) = arm { transforms } else { 0 };
    let filter = |number| format!("{{QueryTypeFilter: {{name: f{number}, DenyList: [SchemaChange]}}}}, ");
    let filters: String = (0..transforms).map(filter).collect();
    let shared = if arm == Arm::OursShared { ", connections: Shared" } else { "" };
    let sink = format!("{{name: s, remote_address: '127.0.0.1:{to}', connect_timeout_ms: 3000{shared}}}");
    format!("[{filters}{{CassandraSinkSingle: {sink}}}]")
}

/// A shotover, upstream's or ours, with this chain.
fn shotover(command: &mut Command, files: &Scratch, port: u16, chain: &str) -> std::io::Result<()> {
    let source = format!("{{name: c, listen_addr: '127.0.0.1:{port}', chain: {chain}}}");
    let topology = files.write("topology.yaml", &format!("sources:\n- Cassandra: {source}\n"))?;
    let config = files.write("config.yaml", "main_log_level: \"error\"\n")?;
    command.arg("-t").arg(topology).arg("-c").arg(config);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Arm, our_chain, plain};

    #[test]
    fn a_chain_has_its_transforms_before_the_sink() {
        let chain = our_chain(Arm::Ours(2), 9042);
        assert_eq!(chain.matches("{QueryTypeFilter: {name: f").count(), 2);
        assert!(chain.ends_with("connect_timeout_ms: 3000}}]"), "{chain}");
        assert!(our_chain(Arm::OursShared, 9042).contains(", connections: Shared}"));
    }

    #[test]
    fn colours_go_and_text_stays() {
        assert_eq!(plain("\u{1b}[2mat\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m: m"), "at ERROR: m");
    }
}
