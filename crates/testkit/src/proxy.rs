//! The proxy under test, as a process.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::fetch::workspace;
use crate::guard::Scratch;
use crate::process::{Child, free_port};

/// How long the proxy may take to start.
const START_MAX: Duration = Duration::from_secs(10);

/// A running proxy.
pub struct Proxy {
    /// The process.
    pub child: Child,
    /// Where its first source listens.
    pub port: u16,
    /// Where its metrics are.
    pub admin_port: u16,
    /// Its files; they go after the process.
    _files: Option<Scratch>,
}

impl Proxy {
    /// The binary that ships. Build it first: `cargo build --release --bin shotover-proxy`.
    #[must_use]
    pub fn binary() -> PathBuf {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
        target.join("release").join("shotover-proxy")
    }

    /// Passes everything through to a local port.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn passthrough(to: u16) -> Self {
        let (port, admin_port) = (free_port(), free_port());
        let mut command = Command::new(Self::binary());
        command.args(["passthrough", "cassandra", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--to", &format!("127.0.0.1:{to}"), "--observe", &format!("127.0.0.1:{admin_port}")]);
        Self::start(&mut command, (port, admin_port), None)
    }

    /// Runs a chain, given as the YAML of a list; `{to}` in it is not replaced.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with_chain(chain: &str, source_options: &str) -> Self {
        Self::with_arguments(chain, source_options, &[])
    }

    /// As [`Proxy::with_chain`], with more arguments on the command line.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with_arguments(chain: &str, source_options: &str, arguments: &[&str]) -> Self {
        let (port, admin_port) = (free_port(), free_port());
        let topology = format!(
            "sources:\n- Cassandra: {{name: c, listen_addr: '127.0.0.1:{port}', {source_options} chain: {chain}}}\n"
        );
        let config = format!("main_log_level: info\nobservability_interface: 127.0.0.1:{admin_port}\n");
        let files = Scratch::new("proxy").expect("a folder");
        let topology = files.write("topology.yaml", &topology).expect("a file");
        let config = files.write("config.yaml", &config).expect("a file");
        let mut command = Command::new(Self::binary());
        command.arg("-t").arg(topology).arg("-c").arg(config).args(["--log-format", "json"]).args(arguments);
        Self::start(&mut command, (port, admin_port), Some(files))
    }

    fn start(command: &mut Command, (port, admin_port): (u16, u16), files: Option<Scratch>) -> Self {
        let mut child = Child::start(command);
        let ready = child.wait_for_line("Shotover is now accepting inbound connections", START_MAX);
        ready.unwrap_or_else(|said| panic!("{said}"));
        Self { child, port, admin_port, _files: files }
    }

    /// Its threads, as folders of the system.
    fn tasks(&self) -> impl Iterator<Item = std::fs::DirEntry> {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten()
    }

    /// The only worker, as a task of the system. Start it with `--core-threads 1`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn worker(&self) -> u32 {
        let is_worker = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm"))
                .is_ok_and(|name| name.trim() == "shotover-worker")
        };
        let worker = self.tasks().find(is_worker);
        let number = worker.and_then(|task| task.file_name().to_string_lossy().parse().ok());
        number.expect("a worker")
    }

    /// Stops every thread until [`Proxy::go_on`].
    ///
    /// # Panics
    /// When it does not stop.
    pub fn pause(&self) {
        self.child.signal("STOP");
        let deadline = std::time::Instant::now() + START_MAX;
        // A thread that is traced has the state `t`, and so it may have for a moment when it is not stopped.
        let mut seen = 0;
        while seen < 3 {
            assert!(std::time::Instant::now() < deadline, "it does not stop");
            seen = if self.threads_are_stopped() { seen + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn threads_are_stopped(&self) -> bool {
        let state = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
        };
        self.tasks().map(state).all(|state| matches!(state, Some('T' | 't')))
    }

    /// Ends a pause.
    pub fn go_on(&self) {
        self.child.signal("CONT");
    }

    /// A line of `/proc/PID/status` that is in kB, in bytes: `VmRSS`, `RssAnon`.
    #[must_use]
    pub fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let found = status.lines().find(|known| known.starts_with(line));
        let kilobytes = found.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kilobytes.unwrap_or_default() * 1024
    }

    /// Time on the CPU, all threads, nanoseconds.
    #[must_use]
    pub fn cpu_ns(&self) -> u64 {
        let on_cpu = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        self.tasks().filter_map(on_cpu).sum()
    }

    /// The page of metrics.
    ///
    /// # Panics
    /// When it cannot be had.
    #[must_use]
    pub fn metrics(&self) -> String {
        use std::io::{Read, Write};
        let mut socket =
            std::net::TcpStream::connect(("127.0.0.1", self.admin_port)).expect("the admin port");
        socket
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .expect("a request");
        let mut page = String::new();
        socket.read_to_string(&mut page).expect("a page");
        page
    }

    /// The value of one series.
    #[must_use]
    pub fn metric(&self, series: &str) -> Option<f64> {
        let page = self.metrics();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }

    /// Ends it as an orchestrator would.
    ///
    /// # Errors
    /// What it printed, unless it ended with 0 in time.
    pub fn stop(mut self) -> Result<(), String> {
        self.child.signal("TERM");
        let status = self.child.wait(Duration::from_secs(15))?;
        if status.success() { Ok(()) } else { Err(format!("{status}:\n{}", self.child.lines().join("\n"))) }
    }
}
