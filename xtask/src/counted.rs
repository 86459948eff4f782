//! The page of what is counted, not measured: made of what the ratchet holds and of what tests say while they run.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use testkit::{COUNTED, workspace};

use crate::run::build_proxy;
use crate::{instructions, mutants};

const PAGE: &str = "docs/benchmarks/counted.md";

/// Tests that count, and how each is run.
const TESTS: [&[&str]; 2] = [
    &["test", "--quiet", "--package", "sim", "--test", "allocations"],
    &["test", "--quiet", "--package", "e2e", "--test", "suite", "--", "budgets::", "users::"],
];

/// The command.
pub(crate) fn command() -> Result<(), String> {
    build_proxy()?;
    let mut rows = instructions::budget_rows().ok_or("a figure of the core is missing")?;
    for arguments in TESTS {
        let counted = said(arguments)?;
        if counted.is_empty() {
            return Err(format!("cargo {} counted nothing", arguments.join(" ")));
        }
        rows.extend(counted);
    }
    let rows: String = rows.iter().map(|row| format!("| {row} |\n")).collect();
    let [bugs, by_seed] = mutants::caught()?;
    let text = format!(
        "# What is counted\n\n\
         `cargo xtask counted` has written this, at {commit}. No clock is in these figures: CI fails when one is more than its \
         budget.\nInstructions are those of the ratchet (`cargo xtask instructions`, [transforms.md](transforms.md)); the rest \
         is counted by tests, of\nwhich the last takes ten minutes and a real Cassandra that is killed seven times \
         (`e2e/tests/suite/users`).\n\n\
         | | counted | at most |\n|---|---|---|\n{rows}\n\
         Bugs that were made on purpose: {bugs}, of which {by_seed} are caught by a seed of the simulator and the others by a \
         named test:\n[mutants.md](../results/mutants.md). How many seeds were clean is with the long tier's results: \
         [results](../results).\n",
        commit = testkit::commit(),
    );
    fs::write(workspace().join(PAGE), text).map_err(|error| format!("{PAGE}: {error}"))
}

/// Runs tests of the long tier, one at a time, and gives what they have counted.
fn said(arguments: &[&str]) -> Result<Vec<String>, String> {
    let separator: &[&str] = if arguments.contains(&"--") { &[] } else { &["--"] };
    let mut cargo = Command::new("cargo")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("SHOTOVER_FULL", "1")
        .current_dir(workspace())
        .args([arguments, separator, &["--nocapture", "--test-threads=1"]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo: {error}"))?;
    let mut counted = Vec::new();
    for line in cargo.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        let line = line.map_err(|error| error.to_string())?;
        println!("{line}");
        // The harness may have begun the line with the name of the test.
        counted.extend(line.split_once(COUNTED).map(|(_, row)| row.to_owned()));
    }
    let status = cargo.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(counted) } else { Err(format!("cargo {}: {status}", arguments.join(" "))) }
}
