//! The chains that a mixed traffic runs through: every ordered pair of transforms, and any at random.

use super::model::{Behavior, FIRST, Filter, Part, Queue, SOME_SERVER, Tee, number_servers};
use crate::random::Random;

/// How deep chains may stand in chains: a Tee in the second chain of a Tee, and no deeper.
const DEPTH_MAX: usize = 2;

/// Of the Tees at random, those that send only some requests to their second chains.
const SAMPLED_ONE_IN: usize = 4;

/// Of the chains in chains, those with transforms of their own.
const NESTED_ONE_IN: usize = 2;

/// All kinds of entries: those that go on first.
fn transforms() -> Vec<Part> {
    vec![
        Part::Coalesce { count: Some(4), millis: Some(10) },
        Part::Counter,
        Part::ForceEncode,
        Part::ForceParse,
        Part::Printer,
        Part::Log,
        Part::ToFile,
        Part::Filter(Filter::DenyWrites),
        Part::Filter(Filter::DenyTables),
        Part::Throttle { per_second: 50, per: None },
        Part::Throttle { per_second: 50, per: Some("Table") },
        tee(Behavior::Ignore),
        tee(Behavior::LogWarningOnMismatch),
        tee(Behavior::FailOnMismatch),
        tee(Behavior::SubchainOnMismatch),
    ]
}

fn tee(behavior: Behavior) -> Part {
    let queue = Queue { batches: 1000, wait_micros: 0 };
    let mismatch = if behavior == Behavior::SubchainOnMismatch { vec![other()] } else { Vec::new() };
    let (has_switch, sample, second) = (false, 100, vec![other()]);
    Part::Tee(Tee { behavior, queue, has_switch, sample, second, mismatch })
}

/// And those that end a chain.
fn ends() -> Vec<Part> {
    vec![
        Part::Null,
        Part::Fail,
        Part::Single { server: FIRST, is_shared: false },
        Part::Single { server: FIRST, is_shared: true },
        Part::ParallelMap { parallelism: 3, is_ordered: true, chain: vec![first()] },
        Part::Pool { connections: 2, chain: vec![first()] },
    ]
}

fn first() -> Part {
    Part::Single { server: FIRST, is_shared: false }
}

/// A sink with a server of its own.
fn other() -> Part {
    Part::Single { server: SOME_SERVER, is_shared: false }
}

/// Every ordered pair of entries that can stand together, each with what a chain needs beside it.
pub fn pairs() -> Vec<Vec<Part>> {
    let mut chains = Vec::new();
    for above in transforms() {
        for below in transforms() {
            chains.push(vec![above.clone(), below, first()]);
        }
        for end in ends() {
            chains.push(vec![above.clone(), end]);
        }
    }
    chains.iter_mut().for_each(|chain| number_servers(chain, &mut 0));
    chains
}

/// A chain of up to four entries, some of which have chains of their own.
pub fn random_chain(random: &mut Random) -> Vec<Part> {
    let count = random.below(4);
    let mut chain = random_transforms(random, count, 0);
    let ends = ends();
    let mut end = ends[random.below(ends.len())].clone();
    fill(&mut end, random, 1);
    chain.push(end);
    number_servers(&mut chain, &mut 0);
    chain
}

fn random_transforms(random: &mut Random, count: usize, depth: usize) -> Vec<Part> {
    let known = transforms();
    let mut chain: Vec<Part> = (0..count).map(|_| known[random.below(known.len())].clone()).collect();
    for part in &mut chain {
        if matches!(part, Part::Tee(_)) && depth >= DEPTH_MAX {
            *part = Part::Counter;
        }
        vary(part, random, depth);
    }
    chain
}

/// Puts transforms in front of the sink of a chain in a chain.
fn fill(part: &mut Part, random: &mut Random, depth: usize) {
    let (Part::ParallelMap { chain, .. } | Part::Pool { chain, .. }) = part else { return };
    if random.once_in(NESTED_ONE_IN) {
        let count = 1 + random.below(3);
        chain.splice(..0, random_transforms(random, count, depth));
    }
    if let Part::ParallelMap { parallelism, is_ordered, .. } = part {
        (*parallelism, *is_ordered) = (1 + random.below(4) as u32, random.once_in(2));
    }
}

/// The second chain of a Tee.
fn random_second(random: &mut Random, depth: usize) -> Vec<Part> {
    if !random.once_in(NESTED_ONE_IN) {
        return vec![other()];
    }
    let count = random.below(3);
    let mut chain = random_transforms(random, count, depth);
    let mut end = match random.below(8) {
        0 => Part::Null,
        1 => Part::Fail,
        2 => Part::Single { server: SOME_SERVER, is_shared: true },
        3 => Part::ParallelMap { parallelism: 2, is_ordered: false, chain: vec![other()] },
        4 => Part::Pool { connections: 1, chain: vec![other()] },
        _ => other(),
    };
    fill(&mut end, random, DEPTH_MAX);
    chain.push(end);
    chain
}

fn vary(part: &mut Part, random: &mut Random, depth: usize) {
    match part {
        Part::Coalesce { count, millis } => {
            *count = random.once_in(2).then(|| 1 + random.below(9) as u32);
            // Without it the last requests of a client that awaits its replies would wait for ever.
            *millis = Some(1 + random.below(30) as u32);
        }
        Part::Filter(filter) => {
            let all = [
                Filter::DenyWrites,
                Filter::DenySchema,
                Filter::AllowReads,
                Filter::DenyTables,
                Filter::AllowKeyspaces,
            ];
            *filter = all[random.below(all.len())];
        }
        Part::Throttle { per, .. } => {
            let all = [None, Some("ClientAddress"), Some("User"), Some("Keyspace"), Some("Table")];
            *per = all[random.below(all.len())];
        }
        Part::Tee(tee) => vary_tee(tee, random, depth),
        _ => {}
    }
}

fn vary_tee(tee: &mut Tee, random: &mut Random, depth: usize) {
    tee.queue.batches = [1, 3, 1000][random.below(3)];
    tee.queue.wait_micros = [0, 0, 500, 100_000][random.below(4)];
    tee.has_switch = random.once_in(3);
    if random.once_in(SAMPLED_ONE_IN) {
        tee.sample = [0, 30, 75][random.below(3)];
    }
    let all = [
        Behavior::Ignore,
        Behavior::LogWarningOnMismatch,
        Behavior::FailOnMismatch,
        Behavior::SubchainOnMismatch,
    ];
    tee.behavior = all[random.below(all.len())];
    tee.second = random_second(random, depth + 1);
    tee.mismatch = match tee.behavior {
        Behavior::SubchainOnMismatch if random.once_in(6) => vec![Part::Null],
        Behavior::SubchainOnMismatch => {
            let count = random.below(2);
            let mut chain = random_transforms(random, count, DEPTH_MAX);
            chain.push(other());
            chain
        }
        _ => Vec::new(),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ends, transforms};

    /// Types of transforms that no simulated chain has, each with the reason.
    const LEFT_OUT: [(&str, &str); 0] = [];

    #[test]
    fn every_transform_there_is_stands_in_the_pairs_and_in_random_chains() {
        let simulated: BTreeSet<&str> = transforms().iter().chain(&ends()).map(|part| part.kind()).collect();
        let registered: BTreeSet<&str> = shotover::transform_names().into_iter().collect();
        let left_out: BTreeSet<&str> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
        let missing: Vec<_> =
            registered.difference(&simulated).filter(|name| !left_out.contains(*name)).collect();
        assert!(missing.is_empty(), "neither simulated nor left out for a reason: {missing:?}");
        let stale: Vec<_> =
            left_out.iter().filter(|name| simulated.contains(*name) || !registered.contains(*name)).collect();
        assert!(stale.is_empty(), "simulated, or no transform: {stale:?}");
    }
}
