//! What the kernel says of a process and of the machine, and whether the machine is quiet.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::flights::scramble;

/// Counters at one moment; two of them make a figure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Time on the CPU of all threads of the process, from schedstat: exact, where ticks are not.
    process_ns: u64,
    process_switches: u64,
    machine: Machine,
}

/// What was used between two samples.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Used {
    pub(crate) process_ns: u64,
    pub(crate) process_switches: u64,
    /// Time on the CPU of everything that runs on the machine.
    pub(crate) machine_ns: u64,
    pub(crate) machine_switches: u64,
}

impl Sample {
    /// Reads them; a process of none has used nothing.
    pub(crate) fn take(process: Option<u32>) -> Self {
        let machine = Machine::read();
        let (process_ns, process_switches) = process.map_or((0, 0), |process| of_threads(process.into()));
        Self { process_ns, process_switches, machine }
    }

    pub(crate) fn since(&self, before: &Self) -> Used {
        Used {
            process_ns: self.process_ns.saturating_sub(before.process_ns),
            process_switches: self.process_switches.saturating_sub(before.process_switches),
            machine_ns: self.machine.ran_since(&before.machine),
            machine_switches: self.machine.switches.saturating_sub(before.machine.switches),
        }
    }
}

/// What all processes of the machine used. `/proc/stat` would be one file instead of hundreds, but the kernel looks only
/// once a tick at who runs: of a load that sleeps and wakes by a clock too it may see nothing.
#[derive(Clone, Debug, Default)]
struct Machine {
    /// By process: time on the CPU.
    ran_ns: HashMap<u64, u64>,
    switches: u64,
}

impl Machine {
    fn read() -> Self {
        let ran_ns = processes().map(|process| (process, ran(process))).collect();
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self { ran_ns, switches: line_number(&text, "ctxt").unwrap_or_default() }
    }

    /// What ran between. A process that has ended in between is missed.
    fn ran_since(&self, before: &Self) -> u64 {
        let of = |(process, ran): (&u64, &u64)| {
            ran.saturating_sub(before.ran_ns.get(process).copied().unwrap_or_default())
        };
        self.ran_ns.iter().map(of).sum()
    }
}

/// All processes.
fn processes() -> impl Iterator<Item = u64> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// How long a process was on the CPU: the sum over its threads is exact, and what the kernel says of the process, in steps
/// of 10 ms, has those that have ended.
fn ran(process: u64) -> u64 {
    const TICK_NS: u64 = 10_000_000;
    /// User and system time, counted behind the name, which may hold blanks.
    const PLACES: [usize; 2] = [11, 12];
    let of_threads: u64 = threads(process).map(|thread| thread_ran(&thread)).sum();
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let words: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks = |place: usize| words.get(place).and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    of_threads.max(PLACES.into_iter().map(ticks).sum::<u64>() * TICK_NS)
}

fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The number in the line of a file that begins so.
fn line_number(text: &str, label: &str) -> Option<u64> {
    number(text.lines().find_map(|line| line.strip_prefix(label))?)
}

/// The folders of a process's threads.
fn threads(process: u64) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn thread_ran(thread: &Path) -> u64 {
    number(&fs::read_to_string(thread.join("schedstat")).unwrap_or_default()).unwrap_or_default()
}

/// Time on the CPU of all threads of a process, and their context switches.
fn of_threads(process: u64) -> (u64, u64) {
    threads(process).fold((0, 0), |(ran, switches), thread| {
        let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
        let of = |label| line_number(&status, label).unwrap_or_default();
        let switched = of("voluntary_ctxt_switches:") + of("nonvoluntary_ctxt_switches:");
        (ran + thread_ran(&thread), switches + switched)
    })
}

/// Memory of a process, bytes: anonymous, and all that is resident.
pub(crate) fn memory(process: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let of = |label| line_number(&status, label).unwrap_or_default() * 1024;
    (of("RssAnon:"), of("VmRSS:"))
}

/// How far the calibrator may be from its best.
const SLOWER_MAX: f64 = 0.03;

/// How much of the idle gap before a block some task may have waited for a CPU.
const PRESSURE_MAX: f64 = 0.05;

/// The idle gap. The kernel's own average of the last 10 s would still be full of our block before.
const GAP: Duration = Duration::from_millis(300);

/// The calibrator spins for so long.
const SPIN: Duration = Duration::from_millis(50);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(700);

/// Watches over the machine's quiet.
#[derive(Default)]
pub(crate) struct Quiet {
    /// The most that the calibrator ever did in its time.
    best: u64,
}

impl Quiet {
    /// Waits until the machine is quiet. False when it was not in as many tries.
    pub(crate) fn wait(&mut self, tries: u32) -> bool {
        for attempt in 0..tries {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let before = waited();
            std::thread::sleep(GAP);
            let pressure = waited().saturating_sub(before) as f64 / GAP.as_micros() as f64;
            let done = spin();
            self.best = self.best.max(done);
            if pressure < PRESSURE_MAX && done as f64 >= self.best as f64 * (1.0 - SLOWER_MAX) {
                return true;
            }
        }
        println!("machine not quiet");
        false
    }
}

/// Microseconds since the start of the machine in which some task waited for a CPU.
fn waited() -> u64 {
    let text = fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let some = text.lines().find(|line| line.starts_with("some")).unwrap_or_default();
    some.rsplit_once("total=").and_then(|(_, total)| total.parse().ok()).unwrap_or_default()
}

fn spin() -> u64 {
    const STEPS: u64 = 1000;
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed() < SPIN {
        for step in 0..STEPS {
            black_box(scramble(black_box(step)));
        }
        done += 1;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::{Sample, line_number, memory};

    #[test]
    fn counters_of_this_process_grow() {
        let before = Sample::take(Some(std::process::id()));
        super::spin();
        let used = Sample::take(Some(std::process::id())).since(&before);
        assert!(used.process_ns > 1_000_000, "{used:?}");
        assert!(used.machine_ns > 1_000_000, "{used:?}");
        assert!(memory(std::process::id()).0 > 0);
    }

    #[test]
    fn threads_that_have_ended_count() {
        let before = Sample::take(None);
        std::thread::spawn(|| (0..4).map(|_| super::spin()).max()).join().unwrap();
        let used = Sample::take(None).since(&before);
        assert!(used.machine_ns > 100_000_000, "{used:?}");
    }

    #[test]
    fn a_line_is_found_by_its_label() {
        assert_eq!(line_number("a: 1\nVmRSS:   2345 kB\n", "VmRSS:"), Some(2345));
        assert_eq!(line_number("a: 1\n", "VmRSS:"), None);
    }
}
