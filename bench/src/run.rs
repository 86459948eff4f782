//! The grid: every arm under every load, in mirrored turns, block after block.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::{Child, Options, commit, free_port, workspace};

use crate::arms::{Arm, Ready, Running};
use crate::measure::Quiet;
use crate::report;
use crate::results::{Block, Described, Figures, Load, Measured, Turn};
use crate::saved;
use crate::server::{Kind, READY_LINE};

/// Why an arm is not there that `--arms` leaves out.
const NOT_ASKED_FOR: &str = "not asked for";

const START_MAX: Duration = Duration::from_secs(10);

const fn load(name: &'static str, clients: u32, deep: u32, is_quick: bool) -> Load {
    let server = Kind::Cheap;
    let (rate, part_of_direct) = (None, None);
    Load { name, server, clients, deep, rate, part_of_direct, request_bytes: 100, reply_bytes: 100, is_quick }
}

/// Clients x requests in flight, and what differs.
pub(crate) const LOADS: [Load; 10] = [
    load("8x1", 8, 1, true),
    load("8x32", 8, 32, false),
    load("64x1", 64, 1, true),
    load("64x8", 64, 8, true),
    load("400x1", 400, 1, false),
    Load { rate: Some(4000), ..load("4000/s", 8, 1, true) },
    Load { reply_bytes: 10_000, ..load("64x1-10kB", 64, 1, false) },
    Load { server: Kind::PerConnection, ..load("64x1-per-connection", 64, 1, true) },
    Load {
        server: Kind::PerConnection,
        part_of_direct: Some(0.7),
        ..load("64-per-connection at 0.7 of direct", 64, 1, false)
    },
    Load { server: Kind::PerConnection, ..load("400x1-per-connection", 400, 1, false) },
];

/// How long and how often is measured.
pub(crate) struct Plan {
    /// What was asked for, as it can be repeated.
    pub(crate) command: String,
    pub(crate) is_quick: bool,
    pub(crate) blocks: usize,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    /// How often the machine is asked to be quiet before a block.
    tries: u32,
    loads: Vec<Load>,
    pub(crate) folder: PathBuf,
}

impl Plan {
    fn read(options: &Options<'_>) -> Result<Self, String> {
        let names = ["--only-loads", "--arms", "--blocks", "--seconds", "--warm-up", "--out"];
        options.check(&["--quick", "--go-on"], &names)?;
        let is_quick = options.has("--quick");
        let (blocks, seconds, warm_up, tries) = if is_quick { (3, 0.3, 0.1, 2) } else { (9, 3.0, 1.0, 30) };
        let only = options.list("--only-loads");
        if let Some(unknown) = only.iter().flatten().find(|name| LOADS.iter().all(|load| load.name != **name))
        {
            let known: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
            return Err(format!("no load is named {unknown}; there are {}", known.join(", ")));
        }
        let is_wanted = |load: &Load| match &only {
            Some(names) => names.contains(&load.name),
            None => load.is_quick || !is_quick,
        };
        Ok(Self {
            command: options.command("cargo xtask bench"),
            is_quick,
            blocks: options.number("--blocks")?.unwrap_or(blocks),
            seconds: options.number("--seconds")?.unwrap_or(seconds),
            warm_up: options.number("--warm-up")?.unwrap_or(warm_up),
            tries,
            loads: LOADS.into_iter().filter(is_wanted).collect(),
            folder: options.text("--out").map_or_else(|| workspace().join("docs/benchmarks"), PathBuf::from),
        })
    }
}

/// An arm that was not measured, or not under every load, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Absent {
    pub(crate) arm: String,
    pub(crate) reason: String,
}

/// The arms asked for whose programs are there; the others are named.
pub(crate) fn prepare(
    arms: Vec<Arm>,
    options: &Options<'_>,
    absent: &mut Vec<Absent>,
) -> Result<Vec<Ready>, String> {
    let words = options.list("--arms");
    if let Some(unknown) = words.iter().flatten().find(|word| arms.iter().all(|arm| !arm.is_meant(word))) {
        let known: Vec<String> = arms.iter().map(|arm| arm.name()).collect();
        return Err(format!("no arm is named {unknown}; there are {}", known.join(", ")));
    }
    let is_wanted = |arm: &Arm| match &words {
        Some(words) => words.iter().any(|word| arm.is_meant(word)),
        None => *arm != Arm::OursAllCores,
    };
    let mut ready = Vec::new();
    for arm in arms {
        if !is_wanted(&arm) {
            absent.push(Absent { arm: arm.name(), reason: NOT_ASKED_FOR.to_owned() });
            continue;
        }
        match arm.prepare(!options.has("--quick")) {
            Ok(found) => ready.push(found),
            Err(reason) => absent.push(Absent { arm: arm.name(), reason }),
        }
    }
    Ok(ready)
}

pub(crate) fn command(options: &Options<'_>) -> Result<(), String> {
    let started = Instant::now();
    let plan = Plan::read(options)?;
    let mut absent = Vec::new();
    let arms = prepare(Arm::all(), options, &mut absent)?;
    let mut failures = Vec::new();
    let mut quiet = Quiet::default();
    let (before, mut measured) = if options.has("--go-on") {
        saved::measured(&plan.folder, &commit(), &LOADS, plan.blocks)?
    } else {
        Default::default()
    };
    // An arm that was left out here, but not before, is in the tables.
    absent.retain(|gap| gap.reason != NOT_ASKED_FOR || !measured.iter().any(|load| load.has(&gap.arm)));
    let described = described(&arms, &before);
    for load in &plan.loads {
        if measured.iter().any(|found| found.load.name == load.name) {
            continue;
        }
        println!("[{:>4} s] {}", started.elapsed().as_secs(), load.name);
        let load = match at_rate(load, &measured) {
            Ok(load) => load,
            Err(problem) => {
                failures.push(problem);
                continue;
            }
        };
        let found = measure(&load, &plan, &arms, (&mut quiet, &mut absent, &mut failures))?;
        measured.push(found);
        absent.dedup();
        report::write(&plan, &described, &absent, &measured)?;
    }
    println!("[{:>4} s] {}", started.elapsed().as_secs(), plan.folder.join("grid.md").display());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// The arms of this run and of the one that it goes on from, in the order of their turns.
fn described(arms: &[Ready], before: &[Described]) -> Vec<Described> {
    let now = |name: &str| arms.iter().map(Ready::described).find(|arm| arm.arm == name);
    let then = |name: &str| before.iter().find(|arm| arm.arm == name).cloned();
    Arm::all().into_iter().filter_map(|arm| now(&arm.name()).or_else(|| then(&arm.name()))).collect()
}

/// The load with its rate in requests a second.
fn at_rate(load: &Load, measured: &[Measured]) -> Result<Load, String> {
    let Some(part) = load.part_of_direct else { return Ok(*load) };
    let maximum = measured.iter().find(|found| found.is_maximum_of(load));
    match maximum.and_then(|found| found.median("direct", Figures::throughput)) {
        Some(direct) => Ok(Load { rate: Some((direct * part) as u32), ..*load }),
        None => Err(format!("{} needs direct in a closed loop in the same run", load.name)),
    }
}

/// One load's blocks. Each load has fresh processes: what one left in their memory is not the next one's.
fn measure(
    load: &Load,
    plan: &Plan,
    arms: &[Ready],
    (quiet, absent, failures): (&mut Quiet, &mut Vec<Absent>, &mut Vec<String>),
) -> Result<Measured, String> {
    let (_server, port) = start_server(load.server)?;
    let mut running: Vec<Running> = Vec::new();
    for ready in arms {
        match ready.start(port) {
            Ok(started) => running.push(started),
            Err(reason) => {
                let gap = Absent { arm: ready.arm.name(), reason };
                println!("{}: {}", gap.arm, gap.reason);
                if !absent.iter().any(|known| known.arm == gap.arm) {
                    absent.push(gap);
                }
            }
        }
    }
    let mut blocks = Vec::new();
    for _ in 0..plan.blocks {
        let mut block = Block { was_quiet: quiet.wait(plan.tries), turns: Vec::new() };
        let there: Vec<usize> = (0..running.len()).collect();
        for place in there.iter().chain(there.iter().rev()) {
            let arm = &running[*place];
            match turn(load, plan, arm) {
                Ok(figures) => block.turns.push(Turn { arm: arm.name.clone(), figures }),
                Err(problem) => failures.push(format!("{} under {}: {problem}", arm.name, load.name)),
            }
        }
        blocks.push(block);
        // What failed once is not tried again for hours.
        let failed = |arm: &Running| {
            let beginning = format!("{} under {}:", arm.name, load.name);
            failures.iter().any(|failure| failure.starts_with(&beginning))
        };
        running.retain(|arm| !failed(arm));
    }
    Ok(Measured { command: plan.command.clone(), load: *load, blocks })
}

fn start_server(kind: Kind) -> Result<(Child, u16), String> {
    let port = free_port();
    let mut command = this_program()?;
    command.args(["server", kind.name(), "--port", &port.to_string()]);
    let mut server = Child::start(&mut command);
    server.wait_for_line(READY_LINE, START_MAX)?;
    Ok((server, port))
}

fn this_program() -> Result<Command, String> {
    std::env::current_exe().map(Command::new).map_err(|error| error.to_string())
}

/// One arm's turn: a load in a process of its own, which says what it found in its last line.
fn turn(load: &Load, plan: &Plan, arm: &Running) -> Result<Figures, String> {
    let mut command = this_program()?;
    command.arg("load");
    let mut option = |name: &str, value: String| {
        command.arg(name).arg(value);
    };
    option("--port", arm.port.to_string());
    option("--clients", load.clients.to_string());
    option("--deep", load.deep.to_string());
    option("--request-bytes", load.request_bytes.to_string());
    option("--reply-bytes", load.reply_bytes.to_string());
    option("--seconds", plan.seconds.to_string());
    option("--warm-up", plan.warm_up.to_string());
    if let Some(rate) = load.rate {
        option("--rate", rate.to_string());
    }
    if let Some(process) = arm.process() {
        option("--watch", process.to_string());
    }
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}
