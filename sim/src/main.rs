//! Seeded simulation: the real client loop, chain and sink between simulated applications and servers.
//!
//! `sim --seeds N [--from S]` runs many seeds and prints how often each fault occurred; `sim SEED` replays one.

mod frames;
mod peers;
mod pipe;
mod random;
mod world;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use peers::{Book, Fault};
use world::World;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let from = option("--from").unwrap_or(0);
    let (from, count) = match (option("--seeds"), arguments.first().and_then(|first| first.parse().ok())) {
        (Some(count), _) => (from, count),
        (None, Some(seed)) => (seed, 1),
        (None, None) => {
            println!("usage: sim --seeds N [--from S] | sim SEED");
            return ExitCode::from(2);
        }
    };
    let Some((replies, faults)) = run_all(from, count) else { return ExitCode::FAILURE };
    println!("{count} seeds clean, {replies} replies checked");
    for (fault, times) in faults {
        println!("  {fault:?}: {times}");
    }
    ExitCode::SUCCESS
}

/// Runs the seeds on all cores. Returns the replies and the faults of all of them, or `None` when one was not clean.
fn run_all(from: u64, count: u64) -> Option<(u64, BTreeMap<Fault, u64>)> {
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let run_some = || {
        let (mut replies, mut faults) = (0, BTreeMap::new());
        while !has_failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            match run_seed(from + number) {
                Ok(book) => {
                    replies += book.replies;
                    add(&mut faults, book.faults);
                }
                Err(problem) => {
                    has_failed.store(true, Ordering::Relaxed);
                    let seed = from + number;
                    println!("seed {seed}: {problem}\nreplay: cargo xtask sim {seed}");
                }
            }
            if number > 0 && number.is_multiple_of(100_000) {
                println!("{number} seeds");
            }
        }
        (replies, faults)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let (mut replies, mut faults) = (0, BTreeMap::new());
    for (some_replies, some_faults) in outcomes {
        replies += some_replies;
        add(&mut faults, some_faults);
    }
    (!has_failed.into_inner()).then_some((replies, faults))
}

fn run_seed(seed: u64) -> Result<Book, String> {
    std::panic::catch_unwind(|| World::new(seed).run()).unwrap_or_else(|_| Err("panicked".to_owned()))
}

fn add(faults: &mut BTreeMap<Fault, u64>, more: BTreeMap<Fault, u64>) {
    for (fault, times) in more {
        *faults.entry(fault).or_insert(0) += times;
    }
}
