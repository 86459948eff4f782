//! Gets servers from the package registries, once, into `target/servers`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of Cassandra that is tested against.
pub const CASSANDRA: &str = "5.0.6";

/// The version of the Java driver.
const JAVA_DRIVER: &str = "4.17.0";

/// The version whose cassandra-stress is used.
const STRESS: &str = "3.11.4";

/// A program that is needed and not there.
#[derive(Debug)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    // Cargo says where the package is that it runs: what was built for another checkout, in a target folder that
    // both use, must not work on that one.
    let runs = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let is_root = |folder: &&Path| folder.join("crates/testkit").is_dir();
    let said = runs.as_deref().and_then(|package| package.ancestors().find(is_root));
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    said.or_else(|| built.ancestors().nth(2)).unwrap_or(built).to_path_buf()
}

/// Where servers are kept.
#[must_use]
pub fn servers_folder() -> PathBuf {
    workspace().join("target").join("servers")
}

fn need(program: &str, how: &str) -> Result<(), Missing> {
    let probe = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    match probe {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Missing(format!("`{program}` is not there; get it with: {how}"))),
    }
}

fn maven(folder: &Path, arguments: &[&str]) -> Result<(), Missing> {
    let run = || Command::new("mvn").current_dir(folder).args(["-q", "-B"]).args(arguments).output();
    for _ in 0..2 {
        if run().is_ok_and(|output| output.status.success()) {
            return Ok(());
        }
    }
    let said = run().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    Err(Missing(format!("Maven could not get {}: {said}", arguments.join(" "))))
}

/// The folder with Cassandra's jars, and the one with cassandra-stress. Downloads what is not there.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn cassandra() -> Result<(PathBuf, PathBuf), Missing> {
    need("java", "apt-get install openjdk-17-jre-headless")?;
    let folder = servers_folder();
    let (jars, stress) =
        (folder.join(format!("cassandra-{CASSANDRA}")), folder.join(format!("apache-cassandra-{STRESS}")));
    if jars.exists() && stress.exists() {
        return Ok((jars, stress));
    }
    need("mvn", "apt-get install maven")?;
    // Made elsewhere and moved into place: whoever else looks finds all of it or nothing.
    let work = folder.join(format!("getting-{}", std::process::id()));
    let problem = |error: std::io::Error| Missing(format!("{}: {error}", work.display()));
    fs::create_dir_all(&work).map_err(problem)?;
    copy_jars(&work, ["org.apache.cassandra", "cassandra-all", CASSANDRA])?;
    let archive = format!("-Dartifact=org.apache.cassandra:apache-cassandra:{STRESS}:tar.gz:bin");
    maven(&work, &["dependency:copy", &archive, "-DoutputDirectory=."])?;
    let tarball = format!("apache-cassandra-{STRESS}-bin.tar.gz");
    let unpacked = Command::new("tar").current_dir(&work).args(["-xzf", &tarball]).status();
    if !unpacked.is_ok_and(|status| status.success()) {
        return Err(Missing(format!("{tarball} could not be unpacked")));
    }
    for (from, to) in [(work.join("jars"), &jars), (work.join(format!("apache-cassandra-{STRESS}")), &stress)]
    {
        if !to.exists() {
            fs::rename(from, to).map_err(problem)?;
        }
    }
    fs::remove_dir_all(&work).map_err(problem)?;
    Ok((jars, stress))
}

/// The jar of this group, name and version with all that it needs, into `jars` below `work`.
fn copy_jars(work: &Path, [group, name, version]: [&str; 3]) -> Result<(), Missing> {
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>servers</groupId><artifactId>servers</artifactId><version>1</version><dependencies><dependency>\
         <groupId>{group}</groupId><artifactId>{name}</artifactId>\
         <version>{version}</version></dependency></dependencies></project>"
    );
    let problem = |error: std::io::Error| Missing(format!("{}: {error}", work.display()));
    fs::write(work.join("pom.xml"), pom).map_err(problem)?;
    maven(work, &["dependency:copy-dependencies", "-DoutputDirectory=jars"])
}

/// The folder with the Java driver's jars. Downloads what is not there.
///
/// # Errors
/// What is missing, and how to get it.
pub fn java_driver() -> Result<PathBuf, Missing> {
    need("javac", "apt-get install openjdk-17-jdk-headless")?;
    need("mvn", "apt-get install maven")?;
    let folder = servers_folder();
    let jars = folder.join(format!("java-driver-{JAVA_DRIVER}"));
    if jars.exists() {
        return Ok(jars);
    }
    let work = folder.join(format!("getting-driver-{}", std::process::id()));
    let problem = |error: std::io::Error| Missing(format!("{}: {error}", work.display()));
    fs::create_dir_all(&work).map_err(problem)?;
    copy_jars(&work, ["com.datastax.oss", "java-driver-core", JAVA_DRIVER])?;
    if !jars.exists() {
        fs::rename(work.join("jars"), &jars).map_err(problem)?;
    }
    fs::remove_dir_all(&work).map_err(problem)?;
    Ok(jars)
}
