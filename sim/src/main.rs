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
    let mut faults = BTreeMap::new();
    let mut replies = 0;
    for seed in from..from + count {
        let outcome = std::panic::catch_unwind(|| World::new(seed).run());
        match outcome {
            Ok(Ok(book)) => {
                replies += book.replies;
                for (fault, times) in book.faults {
                    *faults.entry(fault).or_insert(0) += times;
                }
            }
            Ok(Err(problem)) => {
                println!("seed {seed}: {problem}\nreplay: cargo xtask sim {seed}");
                return ExitCode::FAILURE;
            }
            Err(_) => {
                println!("seed {seed}: panicked\nreplay: cargo xtask sim {seed}");
                return ExitCode::FAILURE;
            }
        }
        if count > 1 && (seed - from + 1).is_multiple_of(100_000) {
            println!("{} seeds", seed - from + 1);
        }
    }
    println!("{count} seeds clean, {replies} replies checked");
    for (fault, times) in faults {
        println!("  {fault:?}: {times}");
    }
    ExitCode::SUCCESS
}
