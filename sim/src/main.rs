//! Seeded simulation: the real client loop, chain and sink between simulated applications and servers.
//!
//! `sim --seeds N [--from S]` runs many seeds and prints how often each fault occurred; `sim SEED` replays one;
//! `sim chains --seeds N [--from S]` runs those of random chains alone, the first of which is number 0; `sim pairs
//! [SEEDS]` drives a mixed traffic through every ordered pair of transforms.
//!
//! The remainder of a seed by four says which world it runs in: two of four a connection per client, one connections that
//! clients share, one a random chain. Each holds the minimum of [`check_minimum`], and what is printed says how many
//! there were of each.

mod client_task;
mod files;
mod frames;
mod mixed;
mod pace;
mod peers;
mod pipe;
mod probe;
mod random;
mod readiness;
mod sharing;
mod tasks;
mod turns;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use peers::FAULTS;
use pipe::CUTS;
use sharing::EVENTS;
use shotover::Files;

/// Every seed has at least so many clients at a time.
const CLIENTS_MIN: usize = 3;

/// It asks at least so many requests, whatever becomes of its clients; those that begin sessions are requests, too.
const REQUESTS_MIN: usize = 200;

/// At least so often something goes wrong in it: at its ends, or on the way to them (a write that is cut short or put
/// off, a message that comes in pieces). In some seeds nothing goes wrong but on the way.
const FAULTS_MIN: u64 = 20;

/// Seeds of random chains after which everything that can happen must have happened; with each of them come three of the
/// other worlds, unless random chains run alone.
const ENOUGH_CHAINS: u64 = 2_500;

/// Seeds of each pair, unless told otherwise.
const PAIR_SEEDS: u64 = 10;

/// Seeds of each pair in which transforms write their files: those take longer.
const FILE_SEEDS: u64 = 1;

/// How often something happened, by its name.
type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let from = option("--from").unwrap_or(0);
    if arguments.first().is_some_and(|first| first == "pairs") {
        let seeds = arguments.get(1).and_then(|count| count.parse().ok()).unwrap_or(PAIR_SEEDS);
        return if run_pairs(seeds) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let only_chains = arguments.first().is_some_and(|first| first == "chains");
    let (from, count) = match (option("--seeds"), arguments.first().and_then(|first| first.parse().ok())) {
        (Some(count), _) => (from, count),
        (None, Some(seed)) => (seed, 1),
        (None, None) => {
            println!("usage: sim [chains] --seeds N [--from S] | sim SEED | sim pairs [SEEDS]");
            return ExitCode::from(2);
        }
    };
    let seed_of = |number| if only_chains { 4 * number + 3 } else { number };
    let Some(counts) = run_all(from..from + count, seed_of) else { return ExitCode::FAILURE };
    let of = |world| (from..from + count).filter(|number| World::of(seed_of(*number)) == world).count();
    let [own, shared, mixed] = [World::Own, World::Shared, World::Mixed].map(of);
    println!(
        "{count} seeds clean: {own} with a connection per client, {shared} with shared connections, {mixed} with random chains"
    );
    for (name, times) in &counts {
        println!("  {name}: {times}");
    }
    let names = FAULTS.iter().map(|fault| format!("{fault:?}"));
    let names = names.chain(EVENTS.iter().map(|event| format!("Shared{event:?}"))).chain(sharing::counts());
    let names = names.chain(mixed::EVENTS.iter().map(|event| format!("Mixed{event:?}")));
    let names = names.chain(CUTS.iter().flat_map(|cut| [format!("{cut:?}"), format!("Shared{cut:?}")]));
    let names = names.filter(|name| !only_chains || name.starts_with("Mixed"));
    let never: Vec<String> = names.filter(|name| !counts.contains_key(name)).collect();
    if of(World::Mixed) as u64 >= ENOUGH_CHAINS && !never.is_empty() {
        println!("never happened: {}", never.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs the seeds of these numbers on all cores. Returns what happened in all of them, or `None` when one was not clean.
fn run_all(numbers: Range<u64>, seed_of: impl Fn(u64) -> u64 + Sync) -> Option<Counts> {
    let (next, has_failed) = (AtomicU64::new(numbers.start), AtomicBool::new(false));
    let run_some = || {
        let mut counts = Counts::new();
        while !has_failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                break;
            }
            let seed = seed_of(number);
            match run_seed(seed) {
                Ok(more) => add(&mut counts, more),
                Err(problem) => {
                    has_failed.store(true, Ordering::Relaxed);
                    println!("seed {seed}: {problem}\nreplay: cargo xtask sim {seed}");
                }
            }
            let done = number - numbers.start;
            if done > 0 && done.is_multiple_of(100_000) {
                println!("{done} seeds");
            }
        }
        counts
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut counts = Counts::new();
    outcomes.into_iter().for_each(|more| add(&mut counts, more));
    (!has_failed.into_inner()).then_some(counts)
}

/// What a seed is run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
    /// A connection per client.
    Own,
    /// Connections that clients share.
    Shared,
    /// Any chain.
    Mixed,
}

impl World {
    fn of(seed: u64) -> Self {
        match seed % 4 {
            0 | 2 => Self::Own,
            1 => Self::Shared,
            _ => Self::Mixed,
        }
    }
}

fn run_seed(seed: u64) -> Result<Counts, String> {
    caught(|| match World::of(seed) {
        World::Own => {
            let book = world::World::new(seed).run()?;
            let faults = book.faults.into_iter().map(|(fault, times)| (format!("{fault:?}"), times));
            Ok(faults.chain(CUTS.map(|cut| (format!("{cut:?}"), book.cuts[cut as usize]))).collect())
        }
        World::Shared => {
            let book = sharing::World::new(seed).run()?;
            let events = book.events.into_iter().map(|(event, times)| (format!("Shared{event:?}"), times));
            let events = events.chain(book.counts);
            Ok(events.chain(CUTS.map(|cut| (format!("Shared{cut:?}"), book.cuts[cut as usize]))).collect())
        }
        World::Mixed => Ok(counts_of(mixed::World::new(seed).run()?)),
    })
}

/// A run that is over must have been made of enough to say something.
fn check_minimum(clients: usize, requests: usize, faults: u64) -> Result<(), String> {
    if clients >= CLIENTS_MIN && requests >= REQUESTS_MIN && faults >= FAULTS_MIN {
        return Ok(());
    }
    Err(format!("only {clients} clients, {requests} requests, {faults} faults"))
}

fn counts_of(book: mixed::Book) -> Counts {
    let events = book.events.into_iter().map(|(event, times)| (format!("Mixed{event:?}"), times));
    events.chain(CUTS.map(|cut| (format!("Mixed{cut:?}"), book.cuts[cut as usize]))).collect()
}

/// A mixed traffic through every ordered pair of transforms, from so many seeds each.
fn run_pairs(seeds: u64) -> bool {
    let scratch = match files::Scratch::enter() {
        Ok(scratch) => scratch,
        Err(problem) => {
            println!("no folder for what the transforms write: {problem}");
            return false;
        }
    };
    let (mut counts, mut is_clean) = (Counts::new(), true);
    let pairs = mixed::pairs();
    for (chain, seed) in pairs.iter().flat_map(|chain| (0..seeds).map(move |seed| (chain, seed))) {
        let run = || {
            scratch.empty()?;
            let files = if seed < FILE_SEEDS { Files::Opened } else { Files::None };
            let book = mixed::World::of_chain(chain.clone(), seed, files).run()?;
            if files == Files::Opened {
                files::check(chain, &book)?;
            }
            Ok(counts_of(book))
        };
        match caught(run) {
            Ok(more) => add(&mut counts, more),
            Err(problem) => {
                println!("{chain:?}, seed {seed}: {problem}");
                is_clean = false;
            }
        }
    }
    println!("{} pairs, {seeds} seeds each: {counts:?}", pairs.len());
    let events = mixed::EVENTS.iter().filter(|event| event.occurs_in_pairs());
    let never: Vec<String> =
        events.map(|event| format!("Mixed{event:?}")).filter(|name| !counts.contains_key(name)).collect();
    if !never.is_empty() {
        println!("never happened: {}", never.join(", "));
    }
    is_clean && never.is_empty()
}

/// What a run comes to, a panic included.
fn caught(run: impl FnOnce() -> Result<Counts, String> + std::panic::UnwindSafe) -> Result<Counts, String> {
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(|text| &**text);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(format!("panicked: {text}"))
    })
}

fn add(counts: &mut Counts, more: Counts) {
    for (name, times) in more.into_iter().filter(|(_, times)| *times > 0) {
        *counts.entry(name).or_insert(0) += times;
    }
}
