//! A process that ends with its handle, and the lines it prints.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::Guard;

/// A port of this host that was free a moment ago. It is none of those that the system gives to connections (32768 and
/// up), or one of a test's own clients could take it before the server listens.
///
/// # Panics
/// When none is free.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests that run in other processes begin elsewhere.
    let begin = std::process::id().wrapping_mul(7919) % u32::from(COUNT);
    let begin = u16::try_from(begin).unwrap_or_default();
    let candidate = |_| FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..COUNT).map(candidate).find(is_free).expect("a free port")
}

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// A running process. It is killed when this is dropped, and when the process that holds this ends in any other way.
pub struct Child {
    child: std::process::Child,
    _guard: Guard,
    lines: Arc<Lines>,
}

impl Child {
    /// Starts a command; what it prints is kept.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = Arc::new(Lines::default());
        for stream in [
            child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
            child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ] {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(stream.expect("piped")).lines().map_while(Result::ok) {
                    lines.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    lines.more.notify_all();
                }
            });
        }
        Self { _guard: Guard::of_process(child.id()), child, lines }
    }

    /// The number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it prints a line with `text`.
    ///
    /// # Errors
    /// All it printed, when it ended or the time is over.
    pub fn wait_for_line(&mut self, text: &str, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait().ok().flatten();
            let lines = self.lines.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.iter().any(|line| line.contains(text)) {
                return Ok(());
            }
            if ended.is_some() || Instant::now() > deadline {
                let end = ended.map_or("it runs on".to_owned(), |status| status.to_string());
                return Err(format!("no line with {text:?} ({end}):\n{}", lines.join("\n")));
            }
            drop(self.lines.more.wait_timeout(lines, Duration::from_millis(100)));
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.is_ok(), "kill");
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// All it printed, when the time is over.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("it runs on:\n{}", self.lines().join("\n")))
    }

    /// Kills it.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
