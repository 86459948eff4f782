//! Every check that a change must pass, in order; a failed one does not hide the next.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use testkit::Options;

use crate::run::{build_proxy, is_there, run, run_with, sim};
use crate::{fuzz, instructions, mutants, tidy};

/// What the two tiers differ in.
struct Tier {
    fuzz_seconds: u64,
    seeds: &'static str,
    /// How many of the seeds are of random chains, and how many more of these there are.
    chains: &'static str,
    more_chains: &'static str,
    is_full: bool,
}

const CI: Tier =
    Tier { fuzz_seconds: 10, seeds: "10000", chains: "2500", more_chains: "7500", is_full: false };
const FULL: Tier =
    Tier { fuzz_seconds: 600, seeds: "1000000", chains: "250000", more_chains: "750000", is_full: true };

type Check = fn(&Tier) -> Result<(), String>;

/// What the real servers and drivers say comes before the hours of the simulator and the fuzzer.
const STEPS: [(&str, Check); 14] = [
    ("format", |_| run("cargo", &["fmt", "--all", "--check"])),
    ("lints", |_| {
        run("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
    }),
    ("tidy", |_| tidy::run()),
    ("deny", |_| deny()),
    ("docs", |_| {
        run_with("cargo", &["doc", "--quiet", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
    }),
    ("unit", |_| run("cargo", &["test", "--quiet", "--workspace", "--exclude", "e2e"])),
    ("custom", |_| custom_transform()),
    ("e2e", end_to_end),
    ("sim", |tier| sim(&["--seeds", tier.seeds])),
    // Of those before, a quarter was of random chains: with these there are as many of random chains alone.
    ("chains", |tier| sim(&["chains", "--seeds", tier.more_chains, "--from", tier.chains])),
    ("pairs", |tier| sim(&["pairs", if tier.is_full { "200" } else { "5" }])),
    ("mutants", |tier| if tier.is_full { mutants::command(&[]) } else { mutants::check() }),
    ("fuzz", |tier| fuzz::run_all(tier.fuzz_seconds)),
    ("instructions", |_| instructions::command(&[])),
];

fn deny() -> Result<(), String> {
    if !is_there("cargo-deny") {
        run("cargo", &["install", "--quiet", "--locked", "cargo-deny"])?;
    }
    run("cargo", &["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])
}

/// The example of a program with more transforms, which is a workspace of its own.
fn custom_transform() -> Result<(), String> {
    const MANIFEST: [&str; 2] = ["--manifest-path", "examples/custom-transform/Cargo.toml"];
    let own = || testkit::workspace().join("target").display().to_string();
    // What was built for this workspace serves there too.
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| own());
    let cargo = |arguments: &[&str], more: &[&str]| {
        run_with("cargo", &[arguments, &MANIFEST, more].concat(), &[("CARGO_TARGET_DIR", &target)])
    };
    cargo(&["fmt"], &["--check"])?;
    cargo(&["clippy", "--quiet", "--locked", "--all-targets"], &["--", "-D", "warnings"])?;
    cargo(&["test", "--quiet", "--locked"], &[])
}

/// The tests measure time and memory of one machine: they take turns.
fn end_to_end(tier: &Tier) -> Result<(), String> {
    for program in ["strace", "java", "mvn", "python3"] {
        if !is_there(program) {
            return Err(format!("`{program}` is not there; .ci/run installs what the tests need"));
        }
    }
    build_proxy()?;
    let variables: &[(&str, &str)] = if tier.is_full { &[("SHOTOVER_FULL", "1")] } else { &[] };
    run_with("cargo", &["test", "--package", "e2e", "--", "--test-threads=1"], variables)
}

/// A step's name, how long it took, and whether it passed.
type Outcome = (&'static str, Duration, bool);

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    is_full: bool,
    goes_on: bool,
    only: Option<&'static str>,
}

impl Wanted {
    /// Refuses what it does not know: who mistypes `--full`, or asks for `--help`, does not mean to wait for the short
    /// tier, and a step that there is not must not begin a new list of what has passed.
    fn read(options: Options<'_>) -> Result<Self, String> {
        options.check(&["--full", "--go-on"], &["--only"])?;
        let named = |name| {
            let step = STEPS.iter().map(|(step, _)| *step).find(|step| *step == name);
            step.ok_or_else(|| format!("no step is called `{name}`"))
        };
        let only = options.text("--only").map(named).transpose()?;
        match (options.has("--full"), options.has("--go-on")) {
            (false, true) => Err("--go-on is for `test --full`".to_owned()),
            (is_full, goes_on) => Ok(Self { is_full, goes_on, only }),
        }
    }
}

pub(crate) fn command(options: &[&str]) -> Result<(), String> {
    let Wanted { is_full, goes_on, only } = Wanted::read(Options::new(options))?;
    let tier = if is_full { FULL } else { CI };
    let commit = testkit::commit();
    let before = if goes_on { passed_before(&commit)? } else { Vec::new() };
    if is_full && before.is_empty() {
        begin_list(&commit)?;
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (name, check) in STEPS {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        if let Some(passed) = before.iter().find(|passed| passed.0 == name) {
            println!("==> {name}: passed at {commit} before");
            outcomes.push(*passed);
            continue;
        }
        println!("==> {name}");
        let started = Instant::now();
        let outcome = check(&tier);
        if let Err(problem) = &outcome {
            println!("{problem}");
        }
        outcomes.push((name, started.elapsed(), outcome.is_ok()));
        if is_full && outcome.is_ok() {
            add_to_list(name, started.elapsed())?;
        }
    }
    println!();
    for (name, time, is_ok) in &outcomes {
        println!("{:<12} {:>5} s  {}", name, time.as_secs(), if *is_ok { "ok" } else { "FAILED" });
    }
    let failed = outcomes.iter().filter(|(_, _, is_ok)| !is_ok).count();
    let passed = outcomes.len() - failed;
    if is_full && only.is_none() {
        write_result(&commit, &outcomes)?;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(String::new()) }
}

fn list_of_passed() -> PathBuf {
    testkit::workspace().join("target/full-passed")
}

/// What has passed is kept, so that a run of hours that was stopped can go on: the commit, then a line a step.
fn begin_list(commit: &str) -> Result<(), String> {
    let begun = fs::create_dir_all(testkit::workspace().join("target"));
    begun.and_then(|()| fs::write(list_of_passed(), format!("{commit}\n"))).map_err(|error| error.to_string())
}

fn add_to_list(step: &str, time: Duration) -> Result<(), String> {
    let list = fs::File::options().append(true).open(list_of_passed());
    let added = list.and_then(|mut list| writeln!(list, "{step} {}", time.as_secs()));
    added.map_err(|error| error.to_string())
}

/// The steps that a run of this commit has passed already.
fn passed_before(commit: &str) -> Result<Vec<Outcome>, String> {
    let text = fs::read_to_string(list_of_passed()).unwrap_or_default();
    let (of, steps) = text.split_once('\n').unwrap_or_default();
    if of != commit || commit.ends_with("-changed") {
        return Err(format!("no run of {commit} can go on; what has passed is of `{of}`"));
    }
    let step = |line: &str| {
        let (name, seconds) = line.split_once(' ')?;
        let (name, _) = STEPS.iter().find(|(known, _)| *known == name)?;
        Some((*name, Duration::from_secs(seconds.parse().ok()?), true))
    };
    Ok(steps.lines().filter_map(step).collect())
}

/// The long tier leaves its result, with the commit, in docs/results.
fn write_result(commit: &str, outcomes: &[Outcome]) -> Result<(), String> {
    let date = testkit::git(&["log", "-1", "--format=%cs"]);
    let mut page = format!(
        "# `cargo xtask test --full` at {commit} ({date})\n\n| step | time | result |\n|---|---|---|\n"
    );
    for (name, time, is_ok) in outcomes {
        let result = if *is_ok { "ok" } else { "FAILED" };
        page.push_str(&format!("| {name} | {} s | {result} |\n", time.as_secs()));
    }
    let folder = testkit::workspace().join("docs/results");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    fs::write(folder.join(format!("{date}-{commit}.md")), page).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Options, Wanted};

    #[test]
    fn what_is_not_known_is_refused() {
        let read = |words: &[&str]| Wanted::read(Options::new(words));
        assert_eq!(read(&[]), Ok(Wanted { is_full: false, goes_on: false, only: None }));
        let all = Wanted { is_full: true, goes_on: true, only: Some("sim") };
        assert_eq!(read(&["--only", "sim", "--full", "--go-on"]), Ok(all));
        for wrong in [&["--help"][..], &["--ful"], &["--only"], &["--only", "simm"], &["--go-on"], &["sim"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
