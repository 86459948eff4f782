//! The original page again: cassandra-stress and a real Cassandra, direct and through each proxy, round after round.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use testkit::{
    Authenticator, COUNTED_THREADS, Cassandra, Options, Scratch, Stress, UNCOUNTED_THREADS, workspace,
};

use crate::arms::{Arm, Ready, Running};
use crate::measure::{Quiet, Sample, memory};
use crate::page_report;
use crate::results::{Block, Described, Figures, Load, Measured, Turn};
use crate::run::{Absent, prepare};
use crate::server::Kind;

/// How the rounds go.
pub(crate) struct Plan {
    /// What was asked for, as it can be repeated.
    pub(crate) command: String,
    /// In a round each arm has one run; two rounds, there and back, are a block.
    pub(crate) rounds: usize,
    /// Operations of a run at full speed.
    pub(crate) ops: u64,
    pub(crate) folder: PathBuf,
}

/// Operations of the run that does not count: by then most of Cassandra's code is compiled. cassandra-stress is a new JVM,
/// with all to compile, in every run.
const WARM_UP_OPS: u64 = 100_000;

/// How often the machine is asked to be quiet before a block.
const QUIET_TRIES: u32 = 30;

/// A run at a rate is shorter: its latencies are steady.
const RATED_PART: u64 = 4;

pub(crate) fn command(options: &Options<'_>) -> Result<(), String> {
    let started = Instant::now();
    options.check(&[], &["--rounds", "--ops", "--arms", "--out"])?;
    let plan = Plan {
        command: options.command("cargo xtask bench page"),
        rounds: options.number::<usize>("--rounds")?.unwrap_or(18).next_multiple_of(2),
        ops: options.number("--ops")?.unwrap_or(100_000),
        folder: options.text("--out").map_or_else(|| workspace().join("docs/benchmarks"), PathBuf::from),
    };
    let mut arms = vec![Arm::Direct];
    arms.extend(Arm::haproxies());
    arms.extend([Arm::Upstream, Arm::Ours(0), Arm::OursShared]);
    let mut absent = Vec::new();
    let arms = prepare(arms, options, &mut absent)?;
    println!("[{:>4} s] starting Cassandra", started.elapsed().as_secs());
    let cassandra = Cassandra::start(Authenticator::AllowAll).map_err(|missing| missing.to_string())?;
    let running = start(&arms, cassandra.port, &mut absent);
    println!("[{:>4} s] warming up", started.elapsed().as_secs());
    Stress::new("write", (1, WARM_UP_OPS), UNCOUNTED_THREADS, cassandra.port).run()?;

    let mut failures = Vec::new();
    let full = measure("full speed", None, (&plan, plan.ops), &running, (&started, &mut failures))?;
    let direct = full.median("direct", Figures::throughput).unwrap_or(3000.0);
    let (rate, ops) = ((direct / 3.0) as u32, (plan.ops / RATED_PART).max(1));
    let third = measure("a third of direct", Some(rate), (&plan, ops), &running, (&started, &mut failures))?;
    let arms: Vec<Described> = arms.iter().map(Ready::described).collect();
    page_report::write(&plan, &arms, &absent, &[full, third])?;
    println!("[{:>4} s] {}", started.elapsed().as_secs(), plan.folder.join("page.md").display());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn start(arms: &[Ready], to: u16, absent: &mut Vec<Absent>) -> Vec<Running> {
    let mut running = Vec::new();
    for ready in arms {
        match ready.start(to) {
            Ok(started) => running.push(started),
            Err(reason) => {
                println!("{}: {reason}", ready.arm.name());
                absent.push(Absent { arm: ready.arm.name(), reason });
            }
        }
    }
    running
}

/// All rounds at one rate.
fn measure(
    name: &'static str,
    rate: Option<u32>,
    (plan, ops): (&Plan, u64),
    running: &[Running],
    (started, failures): (&Instant, &mut Vec<String>),
) -> Result<Measured, String> {
    let load = Load {
        name,
        server: Kind::Cassandra,
        clients: COUNTED_THREADS,
        deep: 1,
        rate,
        part_of_direct: None,
        request_bytes: 0,
        reply_bytes: 0,
        is_quick: false,
    };
    let mut quiet = Quiet::default();
    let files = Scratch::new("stress").map_err(|error| error.to_string())?;
    let mut blocks: Vec<Block> = Vec::new();
    for round in 0..plan.rounds {
        println!("[{:>4} s] {name}, round {} of {}", started.elapsed().as_secs(), round + 1, plan.rounds);
        if round % 2 == 0 {
            blocks.push(Block { was_quiet: quiet.wait(QUIET_TRIES), turns: Vec::new() });
        }
        let mut places: Vec<usize> = (0..running.len()).collect();
        if round % 2 == 1 {
            places.reverse();
        }
        for arm in places.into_iter().filter_map(|place| running.get(place)) {
            let stress = Stress { rate, ..Stress::new("write", (1, ops), COUNTED_THREADS, arm.port) };
            match turn(stress, arm, &files.path().join("hdr.log")) {
                Ok(figures) => {
                    let turn = Turn { arm: arm.name.clone(), figures };
                    blocks
                        .iter_mut()
                        .next_back()
                        .into_iter()
                        .for_each(|block| block.turns.push(turn.clone()));
                }
                Err(problem) => failures.push(format!("{} at {name}: {problem}", arm.name)),
            }
        }
    }
    Ok(Measured { command: plan.command.clone(), load, blocks })
}

/// One run of cassandra-stress through an arm.
fn turn(stress: Stress<'_>, arm: &Running, log: &Path) -> Result<Figures, String> {
    drop(fs::remove_file(log));
    let process = arm.process();
    let mut marks: Vec<(Sample, (u64, u64))> = Vec::new();
    let mark = || marks.push((Sample::take(process), process.map_or((0, 0), memory)));
    let summary = Stress { histograms: Some(log), ..stress }.run_with(mark)?;
    let [(before, _), (after, (rss_anon, vm_rss))] = &*marks else {
        return Err("cassandra-stress has no beginning or no end".to_owned());
    };
    let used = after.since(before);
    let bytes = fs::read(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let histogram = histogram(&bytes)?;
    if histogram.len() != summary.partitions {
        return Err(format!("{} latencies of {} operations", histogram.len(), summary.partitions));
    }
    let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Figures {
        requests: summary.partitions,
        seconds: summary.partitions as f64 / summary.ops_per_second,
        p50_us: us(0.50),
        p99_us: us(0.99),
        p999_us: us(0.999),
        process_ns: used.process_ns,
        process_switches: used.process_switches,
        machine_ns: used.machine_ns,
        machine_switches: used.machine_switches,
        rss_anon: *rss_anon,
        vm_rss: *vm_rss,
    })
}

/// The latencies of a log of cassandra-stress, nanoseconds. With a rate it writes three histograms an interval: those
/// of the response count from the intended time (`-rt`); without one there is only the service time (`-st`).
fn histogram(log: &[u8]) -> Result<Histogram<u64>, String> {
    const PLACES: u8 = 3;
    let has_response_times = log.windows(4).any(|window| window == b"-rt,");
    let wanted = if has_response_times { "-rt" } else { "-st" };
    let mut sum: Histogram<u64> = Histogram::new(PLACES).map_err(|error| error.to_string())?;
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(log) {
        let LogEntry::Interval(interval) =
            entry.map_err(|error| format!("a log of histograms: {error:?}"))?
        else {
            continue;
        };
        if !interval.tag().is_some_and(|tag| tag.as_str().ends_with(wanted)) {
            continue;
        }
        let problem = |error: &dyn std::fmt::Display| format!("a histogram: {error}");
        let packed = STANDARD.decode(interval.encoded_histogram()).map_err(|error| problem(&error))?;
        let found: Histogram<u64> =
            deserializer.deserialize(&mut &*packed).map_err(|error| problem(&error))?;
        sum.add(&found).map_err(|error| problem(&error))?;
    }
    if sum.is_empty() { Err("no latencies were logged".to_owned()) } else { Ok(sum) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::V2DeflateSerializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

    use super::histogram;

    /// A log of one interval a tag, in which each operation took so many ns.
    fn log(intervals: &[(&str, u64)]) -> Vec<u8> {
        let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
        let mut writer = IntervalLogWriterBuilder::new().begin_log_with(&mut bytes, &mut serializer).unwrap();
        for (tag, ns) in intervals {
            let mut interval = Histogram::<u64>::new(3).unwrap();
            interval.record(*ns).unwrap();
            let second = Duration::from_secs(1);
            writer.write_histogram(&interval, second, second, Tag::new(tag)).unwrap();
        }
        bytes
    }

    #[test]
    fn latency_from_the_intended_time_is_taken_where_it_is_logged() {
        let rated = log(&[("WRITE-st", 1000), ("WRITE-rt", 5_000_000), ("WRITE-wt", 9000), ("WRITE-rt", 90)]);
        let found = histogram(&rated).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.max() >= 5_000_000);
        let found = histogram(&log(&[("WRITE-st", 300_000), ("WRITE-st", 40)])).unwrap();
        assert_eq!(found.len(), 2);
        assert!(histogram(&log(&[])).is_err());
    }
}
