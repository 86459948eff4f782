//! Runs fuzz targets, each with the corpus that is committed.

use std::fs;

use testkit::workspace;

use crate::run::{is_there, run};

/// A target may not use more memory than this, MiB: amplification is a finding.
const MEMORY_MIB: u32 = 512;

/// The targets, as the folder says.
pub(crate) fn targets() -> Vec<String> {
    let files = fs::read_dir(workspace().join("fuzz/fuzz_targets")).into_iter().flatten().flatten();
    let stem = |file: fs::DirEntry| Some(file.path().file_stem()?.to_string_lossy().into_owned());
    let mut targets: Vec<String> = files.filter_map(stem).collect();
    targets.sort();
    targets
}

/// Builds all targets, once.
fn prepare() -> Result<(), String> {
    if !is_there("cargo-fuzz") {
        run("cargo", &["install", "--quiet", "--locked", "cargo-fuzz"])?;
    }
    run("cargo", &["+nightly", "fuzz", "build"])
}

fn run_target(target: &str, seconds: u64) -> Result<(), String> {
    // What a run finds new goes into a folder that git does not see; the committed corpus is only read.
    let found = workspace().join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&found).map_err(|error| error.to_string())?;
    let (found, corpus) = (found.to_string_lossy().into_owned(), format!("fuzz/corpus/{target}"));
    let time = format!("-max_total_time={seconds}");
    let memory = format!("-rss_limit_mb={MEMORY_MIB}");
    run(
        "cargo",
        &["+nightly", "fuzz", "run", target, &found, &corpus, "--", &time, &memory, "-print_final_stats=1"],
    )
}

pub(crate) fn run_all(seconds: u64) -> Result<(), String> {
    prepare()?;
    // One target a core at a time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for some in targets().chunks(cores) {
        std::thread::scope(|scope| {
            let runs: Vec<_> =
                some.iter().map(|target| scope.spawn(|| run_target(target, seconds))).collect();
            runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(|_| Err("panicked".to_owned())))
        })?;
    }
    Ok(())
}

/// The command.
pub(crate) fn command(target: &str, seconds: &str) -> Result<(), String> {
    let seconds = seconds.parse().map_err(|_| format!("{seconds} is no number of seconds"))?;
    match target {
        "all" => run_all(seconds),
        _ => prepare().and_then(|()| run_target(target, seconds)),
    }
}
