//! User-space instructions of the pure core for a request and its reply, counted: they may not grow unnoticed.
//!
//! Callgrind counts what the same binary executes for so many rounds and for twice as many; the difference is what
//! the rounds cost, without the program's start. On one machine two counts of the same code are the same.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use testkit::workspace;

use crate::run::{is_there, run};

/// The committed figures; a line each: instructions, `|`, what was counted.
const RATCHET: &str = "xtask/instructions.txt";

/// How much more than the ratchet is not yet a failure, percent.
const MORE_MAX: f64 = 2.0;

/// Rounds of the shorter count; the longer has twice as many, with as many digits. Many enough for the instructions of
/// the start that differ from run to run (hash maps are seeded at random) to vanish.
const ROUNDS: u64 = 1000;

/// What else than our own code decides the count is settled here, so that the 2 % are ours. The toolchain is pinned by
/// `rust-toolchain.toml`. The C library chooses its memcpy by the processor that valgrind shows, which is the one
/// there is: an AVX one needs half the instructions of one without, 9 % of a round of 32. So the one is taken that
/// every x86-64 has. (`AVX2_Usable` is what old versions call it; unknown words are ignored.) Another version of the
/// library can still differ by some instructions a copy, which is far below the 2 %.
const PLAINEST_PROCESSOR: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,\
                                  -AVX,-ERMS,-FSRM,-SSSE3";

/// Something to count.
struct Case {
    name: &'static str,
    /// For the example `rounds`: what stands before the number of rounds, and behind it.
    arguments: (&'static [&'static str], &'static [&'static str]),
    /// Requests, each with its reply, that pass in a round.
    requests: u32,
    budget: Option<f64>,
}

const fn single(
    name: &'static str,
    depth: (&'static [&'static str], u32),
    transforms: &'static [&'static str],
    budget: Option<f64>,
) -> Case {
    Case { name, arguments: (depth.0, transforms), requests: depth.1, budget }
}

const ONE: (&[&str], u32) = (&["single", "1"], 1);
const DEEP: (&[&str], u32) = (&["single", "32"], 32);

const GENERIC: (&[&str], u32) = (&["generic", "32"], 32);

const DEEP_ONE_TRANSFORM: &str = "one client, 32 deep, 1 header transform";
const DEEP_FOUR_TRANSFORMS: &str = "one client, 32 deep, 4 header transforms";

/// The budgets are those of the design: 2,500 one request deep, 600 at 32.
const CASES: [Case; 13] = [
    single("one client, 1 deep", ONE, &["0"], Some(2500.0)),
    single("one client, 32 deep", DEEP, &["0"], Some(600.0)),
    single("one client, 1 deep, 1 header transform", ONE, &["1"], None),
    single("one client, 1 deep, 4 header transforms", ONE, &["4"], None),
    single(DEEP_ONE_TRANSFORM, DEEP, &["1"], None),
    single(DEEP_FOUR_TRANSFORMS, DEEP, &["4"], None),
    single("one client, 32 deep, Coalesce that holds nothing", GENERIC, &["Coalesce"], None),
    single("one client, 32 deep, QueryCounter", GENERIC, &["QueryCounter"], None),
    single("one client, 32 deep, RequestThrottling", GENERIC, &["RequestThrottling"], None),
    single("one client, 32 deep, 1 header transform, counted", (&["counts", "32"], 32), &[], None),
    single(
        "one client, 32 deep, 1 header transform, counted with latencies",
        (&["latencies", "32"], 32),
        &[],
        None,
    ),
    Case { name: "shared, 1 client, 1 deep", arguments: (&["shared", "1"], &[]), requests: 1, budget: None },
    Case {
        name: "shared, 64 clients, 1 deep",
        arguments: (&["shared", "64"], &[]),
        requests: 64,
        budget: None,
    },
];

/// What a transform that reads headers may add for a message in one direction, beyond what the first one costs by
/// being there at all: without any, messages are not looked at singly.
const HEADER_TRANSFORM_BUDGET: f64 = 60.0;

/// One row of the table.
struct Counted {
    name: &'static str,
    figure: f64,
    ratchet: Option<f64>,
    budget: Option<f64>,
}

/// The command.
pub(crate) fn command(options: &[&str]) -> Result<(), String> {
    let updates = match options {
        [] => false,
        ["--update"] => true,
        _ => return Err("usage: cargo xtask instructions [--update]".to_owned()),
    };
    if !is_there("valgrind") {
        return Err("`valgrind` is not there; .ci/run installs what the tests need".to_owned());
    }
    run("cargo", &["build", "--quiet", "--release", "--package", "sim", "--example", "rounds"])?;
    let ratchets = read_ratchets();
    let mut table = Vec::new();
    for case in &CASES {
        let ratchet = ratchets.iter().find(|(name, _)| name == case.name).map(|(_, figure)| *figure);
        table.push(Counted { name: case.name, figure: count(case)?, ratchet, budget: case.budget });
    }
    table.push(header_transform(&table));
    print_table(&table);
    if updates {
        write_ratchets(&table)?;
    }
    judge(&table, updates)
}

/// What one header transform more costs for a message in one direction.
fn header_transform(table: &[Counted]) -> Counted {
    let figure = |name| table.iter().find(|row| row.name == name).map_or(f64::NAN, |row| row.figure);
    let three_more = figure(DEEP_FOUR_TRANSFORMS) - figure(DEEP_ONE_TRANSFORM);
    Counted {
        name: "one more header transform, a message in one direction",
        figure: three_more / 3.0 / 2.0,
        ratchet: None,
        budget: Some(HEADER_TRANSFORM_BUDGET),
    }
}

/// Instructions of a case for one request and its reply.
fn count(case: &Case) -> Result<f64, String> {
    let more = callgrind(case, 2 * ROUNDS)?;
    let fewer = callgrind(case, ROUNDS)?;
    Ok((more as f64 - fewer as f64) / ROUNDS as f64 / f64::from(case.requests))
}

/// Instructions of a whole run.
fn callgrind(case: &Case, rounds: u64) -> Result<u64, String> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let (before, behind) = case.arguments;
    // The environment lies on the stack, whose alignment some copies depend on: it is the same everywhere.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new("valgrind");
    command.env_clear().env("PATH", path).env("GLIBC_TUNABLES", PLAINEST_PROCESSOR);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(target.join("release/examples/rounds")).args(before).arg(rounds.to_string()).args(behind);
    let output = command.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let collected =
        collected.filter(|_| output.status.success()).and_then(|(_, count)| count.trim().parse().ok());
    collected.ok_or_else(|| format!("valgrind counted nothing for {}:\n{said}", case.name))
}

fn read_ratchets() -> Vec<(String, f64)> {
    let text = fs::read_to_string(workspace().join(RATCHET)).unwrap_or_default();
    let line = |line: &str| {
        let (figure, name) = line.split_once('|')?;
        Some((name.trim().to_owned(), figure.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn write_ratchets(table: &[Counted]) -> Result<(), String> {
    let mut text =
        "# User-space instructions for a request and its reply. `cargo xtask instructions --update` writes \
                    this;\n# a commit that raises a figure says why.\n"
            .to_owned();
    for Counted { name, figure, .. } in table {
        if CASES.iter().any(|case| case.name == *name) {
            writeln!(text, "{figure:>7.1} | {name}").map_err(|error| error.to_string())?;
        }
    }
    fs::write(workspace().join(RATCHET), text).map_err(|error| format!("{RATCHET}: {error}"))
}

fn print_table(table: &[Counted]) {
    let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.1}"));
    println!("| instructions for a request and its reply | counted | ratchet | budget |\n|---|---|---|---|");
    for Counted { name, figure, ratchet, budget } in table {
        println!("| {name} | {figure:.1} | {} | {} |", shown(*ratchet), shown(*budget));
    }
}

/// Fails on what has grown or is beyond its budget; `updated` ratchets are what was counted.
fn judge(table: &[Counted], updated: bool) -> Result<(), String> {
    let mut wrong = Vec::new();
    for Counted { name, figure, ratchet, budget } in table {
        if let Some(budget) = budget.filter(|budget| figure > budget) {
            wrong.push(format!("{name}: {figure:.1} instructions, the budget is {budget:.0}"));
        }
        if updated || !CASES.iter().any(|case| case.name == *name) {
            continue;
        }
        let Some(ratchet) = ratchet else {
            wrong
                .push(format!("{name}: no line in {RATCHET}; `cargo xtask instructions --update` writes it"));
            continue;
        };
        let more = 100.0 * (figure / ratchet - 1.0);
        if more > MORE_MAX {
            wrong.push(format!(
                "{name}: {figure:.1} instructions, {more:.1} % more than the ratchet of {ratchet:.1} in {RATCHET}. Find \
                 out why (callgrind_annotate); if it is worth it, `cargo xtask instructions --update`, and say in the \
                 commit what for"
            ));
        } else if more < -MORE_MAX {
            println!(
                "{name}: {figure:.1} instructions, {:.1} % fewer than the ratchet of {ratchet:.1}. \
                 It can be lowered: `cargo xtask instructions --update`",
                -more
            );
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::{Counted, judge};

    fn said(figure: f64) -> String {
        let row = Counted { name: "one client, 1 deep", figure, ratchet: Some(100.0), budget: Some(110.0) };
        judge(&[row], false).err().unwrap_or_default()
    }

    #[test]
    fn growth_beyond_two_percent_and_beyond_a_budget_fails() {
        assert_eq!(said(90.0), "");
        assert_eq!(said(101.9), "");
        assert!(said(102.1).contains("2.1 % more than the ratchet of 100.0"));
        assert!(said(110.1).contains("the budget is 110"));
    }
}
