//! Runs programs.

use std::process::Command;

use testkit::workspace;

/// Runs a program in the workspace; its output goes where ours goes.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    run_with(program, arguments, &[])
}

/// As [`run`], with variables.
pub(crate) fn run_with(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(program);
    // The toolchain that runs this program must not choose the one of the program it runs.
    command.env_remove("RUSTUP_TOOLCHAIN").current_dir(workspace()).args(arguments);
    command.envs(variables.iter().copied());
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} {}: {status}", arguments.join(" "))) }
}

/// True when a program can be found.
pub(crate) fn is_there(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Builds what ships.
pub(crate) fn build_proxy() -> Result<(), String> {
    run("cargo", &["build", "--quiet", "--release", "--bin", "shotover-proxy"])
}

/// Runs the simulator.
pub(crate) fn sim(options: &[&str]) -> Result<(), String> {
    run("cargo", &[&["run", "--quiet", "--profile", "sim", "--package", "sim", "--"], options].concat())
}

/// Runs a benchmark of the proxy as it ships: the grid, unless `page` is asked for.
pub(crate) fn bench(options: &[&str]) -> Result<(), String> {
    build_proxy()?;
    let part: &[&str] =
        if matches!(options.first(), Some(&"page" | &"peers" | &"readme")) { &[] } else { &["run"] };
    let bench = ["run", "--quiet", "--release", "--package", "bench", "--"];
    run("cargo", &[&bench, part, options].concat())
}
