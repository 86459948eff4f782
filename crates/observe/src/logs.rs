//! Log lines: to stdout, filtered, in a form for people or as JSON.

use std::sync::mpsc::channel;
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{Directive, EnvFilter};
use tracing_subscriber::fmt::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer as _, Registry};

/// Log lines that wait for a slow stdout. Beyond that they are dropped: a log never stops the data path.
const LINES_MAX: usize = 16_384;

/// How long the end of the process waits for a stdout that takes nothing.
const ENDING_MAX: Duration = Duration::from_secs(2);

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people, with colours.
    Human,
    /// One JSON object a line.
    Json,
}

/// Replaces the filter of a running process.
#[derive(Clone)]
pub struct FilterHandle(Handle<EnvFilter, Registry>);

impl FilterHandle {
    /// Sets a new filter.
    ///
    /// # Errors
    /// What is wrong with `directives`.
    pub fn set(&self, directives: &str) -> Result<(), String> {
        let filter = parse(directives, None)?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// The running log. Dropping it writes what still waits, unless that takes too long.
pub struct Logs {
    /// Replaces the filter.
    pub filter: FilterHandle,
    guard: Option<WorkerGuard>,
}

impl Drop for Logs {
    /// The guard prints when its queue stays full, and printing waits for whoever is writing to stdout: that would be for
    /// ever where nobody reads it. So a thread that may be left behind drops the guard.
    fn drop(&mut self) {
        let (tell_end, ended) = channel();
        let guard = self.guard.take();
        let body = move || {
            drop(guard);
            tell_end.send(()).unwrap_or_default();
        };
        if std::thread::Builder::new().name("shotover-log-end".to_owned()).spawn(body).is_ok() {
            ended.recv_timeout(ENDING_MAX).unwrap_or_default();
        }
    }
}

/// Starts logging. `overrides` are appended to `level` and win for the same target.
///
/// # Errors
/// What is wrong with a directive, or that logging was already started.
pub fn start_logs(format: LogFormat, level: &str, overrides: Option<&str>) -> Result<Logs, String> {
    let filter = parse(level, overrides)?;
    let (writer, guard): (NonBlocking, _) =
        NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).lossy(true).finish(std::io::stdout());
    let (filter, handle) = reload::Layer::new(filter);
    let lines = Layer::default().with_writer(writer);
    let lines = match format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
    if format == LogFormat::Json {
        log_panics();
    }
    Ok(Logs { filter: FilterHandle(handle), guard: Some(guard) })
}

/// Reads the directives of a filter, without using them.
///
/// # Errors
/// What is wrong with a directive.
pub fn check_filter(directives: &str) -> Result<(), String> {
    parse(directives, None).map(drop)
}

fn parse(level: &str, overrides: Option<&str>) -> Result<EnvFilter, String> {
    let mut filter = EnvFilter::default();
    for text in level.split(',').chain(overrides.unwrap_or_default().split(',')) {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let directive: Directive = text.parse().map_err(|error| format!("{error}: {text}"))?;
        filter = filter.add_directive(directive);
    }
    Ok(filter)
}

/// Whoever reads JSON lines must not meet a panic's plain text between them.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location();
        tracing::error!(
            panic.file = location.map(std::panic::Location::file),
            panic.line = location.map(std::panic::Location::line),
            panic.column = location.map(std::panic::Location::column),
            panic.backtrace = %std::backtrace::Backtrace::capture(),
            "{panic}"
        );
    }));
}
