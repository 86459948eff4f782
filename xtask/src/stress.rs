//! Runs cassandra-stress and reads its summary.

use std::process::Stdio;

/// One run's summary; latencies in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) ops_per_second: f64,
    pub(crate) mean: f64,
    pub(crate) median: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) partitions: u64,
    pub(crate) errors: u64,
}

/// The threads of the original page's command.
pub(crate) const COUNTED_THREADS: u32 = 8;

/// Threads of runs that are not counted, to be done with them sooner.
pub(crate) const UNCOUNTED_THREADS: u32 = 32;

/// The original page's command, bounded: 8 connections a host. `keys` are the rows it touches.
pub(crate) fn run(kind: &str, keys: (u64, u64), threads: u32, port: u16) -> Result<Summary, String> {
    let (first, last) = keys;
    let count = format!("n={}", last - first + 1);
    let population = format!("seq={first}..{last}");
    let threads = format!("threads={threads}");
    let arguments = [
        kind,
        "no-warmup",
        &count,
        "-mode",
        "native",
        "cql3",
        "connectionsPerHost=8",
        "-rate",
        &threads,
        "-pop",
        &population,
    ];
    let mut command = testkit::stress(&arguments, port).map_err(|missing| missing.to_string())?;
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("cassandra-stress: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = parse(&text).filter(|_| output.status.success());
    let said = || format!("cassandra-stress failed:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let summary = summary.ok_or_else(said)?;
    if summary.errors > 0 || summary.partitions != last - first + 1 {
        return Err(format!(
            "{} errors, {} of {} rows",
            summary.errors,
            summary.partitions,
            last - first + 1
        ));
    }
    Ok(summary)
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

/// The mean of two runs.
pub(crate) fn mean(runs: &[Summary]) -> Summary {
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
