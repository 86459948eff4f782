//! Runs cassandra-stress and reads its summary.

use std::path::Path;
use std::time::Duration;

use crate::cassandra;
use crate::process::Child;

/// One run's summary; latencies in milliseconds, as coarse as cassandra-stress prints them.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub ops_per_second: f64,
    pub mean: f64,
    pub median: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub partitions: u64,
    pub errors: u64,
}

/// The threads of the original page's command.
pub const COUNTED_THREADS: u32 = 8;

/// Threads of runs that are not counted, to be done with them sooner.
pub const UNCOUNTED_THREADS: u32 = 32;

/// The start of a JVM, and a pause of Cassandra's.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// No run may take longer.
const RUN_MAX: Duration = Duration::from_secs(3600);

/// The original page's command, bounded: 8 connections a host.
#[derive(Copy, Clone, Debug)]
pub struct Stress<'a> {
    /// `write` or `read`.
    pub kind: &'a str,
    /// The rows it touches, the first and the last.
    pub keys: (u64, u64),
    pub threads: u32,
    /// Operations a second; none: as many as it can.
    pub rate: Option<u32>,
    pub port: u16,
    /// Where it writes HDR histograms of its latencies.
    pub histograms: Option<&'a Path>,
}

impl<'a> Stress<'a> {
    /// A run as fast as it can, without histograms.
    #[must_use]
    pub fn new(kind: &'a str, keys: (u64, u64), threads: u32, port: u16) -> Self {
        Self { kind, keys, threads, rate: None, port, histograms: None }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What is missing on this machine, what it printed if it failed, or the rows that it did not reach.
    pub fn run(&self) -> Result<Summary, String> {
        self.run_with(|| ())
    }

    /// Runs it, and calls `mark` just before the first operation and just after the last: neither the start nor the
    /// end of its JVM lies between the two.
    ///
    /// # Errors
    /// As [`Stress::run`].
    pub fn run_with(&self, mut mark: impl FnMut()) -> Result<Summary, String> {
        let (first, last) = self.keys;
        let rows = last - first + 1;
        let count = format!("n={rows}");
        let population = format!("seq={first}..{last}");
        let threads = format!("threads={}", self.threads);
        let rate = self.rate.map(|rate| format!("fixed={rate}/s"));
        let log = self.histograms.map(|file| format!("hdrfile={}", file.display()));
        let mut arguments = vec![self.kind, "no-warmup", &count, "-mode", "native", "cql3"];
        arguments.extend(["connectionsPerHost=8", "-rate", &threads]);
        arguments.extend(rate.as_deref());
        arguments.extend(["-pop", &population]);
        if let Some(log) = &log {
            arguments.extend(["-log", log]);
        }
        let mut command = cassandra::stress(&arguments, self.port).map_err(|missing| missing.to_string())?;
        let mut child = Child::start(&mut command);
        child.wait_for_line("Running ", SILENCE_MAX)?;
        mark();
        child.wait_for_line("Results:", RUN_MAX)?;
        mark();
        let status = child.wait(SILENCE_MAX)?;
        let text = child.lines().join("\n");
        let summary = parse(&text).filter(|_| status.success());
        let summary = summary.ok_or_else(|| format!("cassandra-stress failed:\n{text}"))?;
        if summary.errors > 0 || summary.partitions != rows {
            return Err(format!("{} errors, {} of {rows} rows", summary.errors, summary.partitions));
        }
        Ok(summary)
    }
}

fn parse(text: &str) -> Option<Summary> {
    let number = |label: &str| {
        let line = text.lines().find(|line| line.starts_with(label))?;
        let value = line.split_once(':')?.1.split_whitespace().next()?;
        value.replace(',', "").parse::<f64>().ok()
    };
    Some(Summary {
        ops_per_second: number("Op rate")?,
        mean: number("Latency mean")?,
        median: number("Latency median")?,
        p95: number("Latency 95th percentile")?,
        p99: number("Latency 99th percentile")?,
        p999: number("Latency 99.9th percentile")?,
        max: number("Latency max")?,
        partitions: number("Total partitions")? as u64,
        errors: number("Total errors")? as u64,
    })
}

/// The mean of some runs.
#[must_use]
pub fn mean(runs: &[Summary]) -> Summary {
    let of = |field: fn(&Summary) -> f64| runs.iter().map(field).sum::<f64>() / runs.len() as f64;
    Summary {
        ops_per_second: of(|run| run.ops_per_second),
        mean: of(|run| run.mean),
        median: of(|run| run.median),
        p95: of(|run| run.p95),
        p99: of(|run| run.p99),
        p999: of(|run| run.p999),
        max: runs.iter().map(|run| run.max).fold(0.0, f64::max),
        partitions: runs.iter().map(|run| run.partitions).sum(),
        errors: runs.iter().map(|run| run.errors).sum(),
    }
}
