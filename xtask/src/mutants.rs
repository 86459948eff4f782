//! Bugs that were made on purpose: each must be caught by a seed of the simulator, or by the test it names.
//!
//! A file of `sim/mutants` says what the bug is, and is a patch without line numbers, so that it keeps for as long as
//! the lines that it changes do. The patches are applied to a copy of the workspace, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::workspace;

/// Seeds after which a bug counts as not caught.
const SEEDS_MAX: &str = "20000";

/// Seeds that must be clean without any bug, before the bugs' turn comes.
const SEEDS_CLEAN: &str = "1000";

/// How long a bug may keep the simulator busy, seconds: one may hang it.
const SIM_SECONDS: &str = "1800";

/// Of the bugs, so many must be caught by a seed; the others by their test at least.
const NOT_BY_SEED_MAX: usize = 5;

/// Lines of a file that stand together, and what takes their place.
struct Hunk {
    file: String,
    before: String,
    after: String,
}

/// A bug, as its file describes it.
struct Mutant {
    number: u32,
    bug: String,
    /// The room and the name of the test that catches it, if the simulator does not.
    test: Option<(String, String)>,
    /// No seed can: the simulator does not use what is changed, or it does not show there.
    is_for_test: bool,
    hunks: Vec<Hunk>,
}

/// What became of a bug.
enum Outcome {
    BySeed { seed: u64, invariant: String },
    ByTest(String),
    Not(String),
}

/// Where the mutants are built.
struct Workshop {
    tree: PathBuf,
    target: PathBuf,
}

/// The command: `mutants [--only N | --from N]`. The rows of bugs whose turn it was not stay as they are.
pub(crate) fn command(options: &[&str]) -> Result<(), String> {
    let number = |number: &str| number.parse::<u32>().map_err(|_| format!("{number} is no number"));
    let numbers = match options {
        [] => 0..=u32::MAX,
        ["--only", only] => number(only)?..=number(only)?,
        ["--from", from] => number(from)?..=u32::MAX,
        _ => return Err("usage: cargo xtask mutants [--only N | --from N]".to_owned()),
    };
    let mut mutants = read_mutants()?;
    mutants.retain(|mutant| numbers.contains(&mutant.number));
    if mutants.is_empty() {
        return Err("no bug has this number".to_owned());
    }
    let workshop = Workshop::open()?;
    workshop.check_clean()?;
    let mut rows = known_rows();
    let (mut missed, mut not_by_seed) = (0, 0);
    for mutant in &mutants {
        let outcome = workshop.judge(mutant).unwrap_or_else(Outcome::Not);
        missed += usize::from(matches!(outcome, Outcome::Not(_)));
        not_by_seed += usize::from(!matches!(outcome, Outcome::BySeed { .. }));
        let row = row(mutant, &outcome);
        print!("{row}");
        rows.insert(mutant.number, row);
        write_result(&rows)?;
    }
    if missed > 0 || not_by_seed > NOT_BY_SEED_MAX {
        return Err(format!("{missed} bugs were not caught, {not_by_seed} not by a seed"));
    }
    Ok(())
}

fn result_page() -> PathBuf {
    workspace().join("docs/results/mutants.md")
}

/// The rows of the table that there is, by the numbers of their bugs.
fn known_rows() -> BTreeMap<u32, String> {
    let page = fs::read_to_string(result_page()).unwrap_or_default();
    let row =
        |line: &str| Some((line.strip_prefix("| ")?.split_once('.')?.0.parse().ok()?, format!("{line}\n")));
    page.lines().filter_map(row).collect()
}

/// How many bugs the table has, and how many of them a seed has caught. All must have been.
pub(crate) fn caught() -> Result<[usize; 2], String> {
    let (all, rows) = (read_mutants()?.len(), known_rows());
    let by = |start| {
        rows.values().filter(|row| row.split(" | ").nth(1).is_some_and(|by| by.starts_with(start))).count()
    };
    let (by_seed, by_test) = (by("seed "), by("test "));
    match by_seed + by_test == all {
        true => Ok([all, by_seed]),
        false => Err(format!("{} of {all} bugs were caught", by_seed + by_test)),
    }
}

/// Whether every bug can still be made. A patch that no longer applies is noticed when the lines are changed.
pub(crate) fn check() -> Result<(), String> {
    let mutants = read_mutants()?;
    mutants.iter().flat_map(|mutant| &mutant.hunks).try_for_each(|hunk| hunk.applied(&workspace()).map(drop))
}

fn row(mutant: &Mutant, outcome: &Outcome) -> String {
    let (by, seeds) = match outcome {
        Outcome::BySeed { seed, invariant } => {
            let invariant: String = invariant.chars().take(110).collect();
            (format!("seed {seed}: {}", invariant.replace('|', "/")), (seed + 1).to_string())
        }
        Outcome::ByTest(name) if mutant.is_for_test => (format!("test `{name}`"), "-".to_owned()),
        Outcome::ByTest(name) => (format!("test `{name}`"), format!("more than {SEEDS_MAX}")),
        Outcome::Not(why) => (format!("**NOT CAUGHT**: {why}"), "-".to_owned()),
    };
    format!("| {}. {} | {by} | {seeds} |\n", mutant.number, mutant.bug)
}

fn read_mutants() -> Result<Vec<Mutant>, String> {
    let folder = workspace().join("sim/mutants");
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut mutants = Vec::new();
    for path in files.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some()) {
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        mutants.push(Mutant::parse(&name, &text).ok_or_else(|| format!("{name} is no patch"))?);
    }
    mutants.sort_by_key(|mutant| mutant.number);
    Ok(mutants)
}

impl Mutant {
    /// `# text` describes, its first line is the bug's name; `# test: room name` names a test,
    /// `# test only: room name` one that catches what no seed can. `--- file` and `@@` begin
    /// what is changed: lines with `-` go, lines with `+` come, lines with a blank stay.
    fn parse(name: &str, text: &str) -> Option<Self> {
        let number = name.split('-').next()?.parse().ok()?;
        let mut mutant =
            Self { number, bug: String::new(), test: None, is_for_test: false, hunks: Vec::new() };
        let mut file = None;
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                let comment = comment.trim();
                if mutant.bug.is_empty() {
                    comment.clone_into(&mut mutant.bug);
                }
                let only = comment.strip_prefix("test only: ");
                let test = only.or_else(|| comment.strip_prefix("test: "));
                if let Some((room, test)) = test.and_then(|test| test.split_once(' ')) {
                    mutant.is_for_test = only.is_some();
                    mutant.test = Some((room.to_owned(), test.to_owned()));
                }
            } else if let Some(path) = line.strip_prefix("--- ") {
                file = Some(path.to_owned());
            } else if line.starts_with("@@") {
                let (before, after) = (String::new(), String::new());
                mutant.hunks.push(Hunk { file: file.clone()?, before, after });
            } else if let Some(hunk) = mutant.hunks.last_mut() {
                let (sign, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
                if sign != "+" {
                    hunk.before.push_str(&format!("{rest}\n"));
                }
                if sign != "-" {
                    hunk.after.push_str(&format!("{rest}\n"));
                }
            }
        }
        (!mutant.bug.is_empty() && !mutant.hunks.is_empty()).then_some(mutant)
    }

    /// Changes the copy of the workspace.
    fn apply(&self, tree: &Path) -> Result<(), String> {
        for hunk in &self.hunks {
            fs::write(tree.join(&hunk.file), hunk.applied(tree)?).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Hunk {
    /// The text of its file with the change.
    fn applied(&self, tree: &Path) -> Result<String, String> {
        let Self { file, before, after } = self;
        let text = fs::read_to_string(tree.join(file)).map_err(|error| format!("{file}: {error}"))?;
        match text.matches(&**before).count() {
            1 => Ok(text.replacen(&**before, after, 1)),
            times => Err(format!("a bug's patch no longer applies: {file} has {times} times\n{before}")),
        }
    }
}

impl Workshop {
    /// Copies the workspace as it is, with what is not committed; what has not changed keeps its date, and is not built
    /// again.
    fn open() -> Result<Self, String> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
        let target = target.join("mutants");
        let workshop = Self { tree: target.join("tree"), target };
        let list = Command::new("git")
            .current_dir(workspace())
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .output()
            .map_err(|error| format!("git: {error}"))?;
        let list = String::from_utf8_lossy(&list.stdout);
        let files: BTreeSet<&str> = list.lines().filter(|file| !file.starts_with("fuzz/")).collect();
        files.iter().try_for_each(|file| workshop.copy(file))?;
        workshop.remove_others(&workshop.tree, &files)?;
        Ok(workshop)
    }

    /// Removes what is not in the workspace any more: the rest of a room that has moved would be built too.
    fn remove_others(&self, folder: &Path, files: &BTreeSet<&str>) -> Result<(), String> {
        let problem = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(folder).map_err(problem)? {
            let path = entry.map_err(problem)?.path();
            let name = path.strip_prefix(&self.tree).ok().and_then(Path::to_str).unwrap_or_default();
            if path.is_dir() {
                self.remove_others(&path, files)?;
            } else if !files.contains(name) {
                fs::remove_file(&path).map_err(problem)?;
            }
        }
        Ok(())
    }

    /// Makes one file what it is in the workspace.
    fn copy(&self, file: &str) -> Result<(), String> {
        let (from, to) = (workspace().join(file), self.tree.join(file));
        let Ok(bytes) = fs::read(&from) else {
            // Deleted, and git was not told.
            return if to.exists() {
                fs::remove_file(&to).map_err(|error| error.to_string())
            } else {
                Ok(())
            };
        };
        if fs::read(&to).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        let folder = to.parent().map_or(Ok(()), fs::create_dir_all);
        folder.and_then(|()| fs::write(&to, bytes)).map_err(|error| format!("{}: {error}", to.display()))
    }

    fn cargo(&self, arguments: &[&str]) -> Result<Output, String> {
        let output = Command::new("cargo")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "1")
            // A bug may leave something unused, or do what no sound code here may.
            .env("RUSTFLAGS", "--cap-lints allow")
            .current_dir(&self.tree)
            .args(arguments)
            .output();
        output.map_err(|error| format!("cargo: {error}"))
    }

    /// Runs the simulator. The first seed that is not clean, and what is wrong with it.
    fn simulate(&self, seeds: &str) -> Result<Option<(u64, String)>, String> {
        let built = self.cargo(&["build", "--quiet", "--profile", "sim", "--package", "sim"])?;
        if !built.status.success() {
            return Err(format!("it does not compile: {}", String::from_utf8_lossy(&built.stderr)));
        }
        let output = Command::new("timeout")
            .arg(SIM_SECONDS)
            .arg(self.target.join("sim/sim"))
            .args(["--seeds", seeds])
            .output()
            .map_err(|error| format!("sim: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let failures = text.lines().filter_map(|line| {
            let (seed, problem) = line.strip_prefix("seed ")?.split_once(": ")?;
            Some((seed.parse::<u64>().ok()?, problem.to_owned()))
        });
        Ok(failures.min_by_key(|(seed, _)| *seed))
    }

    /// Without a bug the simulator finds nothing, or what it finds with one would say nothing.
    fn check_clean(&self) -> Result<(), String> {
        match self.simulate(SEEDS_CLEAN)? {
            None => Ok(()),
            Some((seed, problem)) => Err(format!("without any bug: seed {seed}: {problem}")),
        }
    }

    /// Makes one bug, looks for it, and takes it back.
    fn judge(&self, mutant: &Mutant) -> Result<Outcome, String> {
        let outcome = mutant.apply(&self.tree).and_then(|()| self.look_for(mutant));
        mutant.hunks.iter().try_for_each(|hunk| self.copy(&hunk.file))?;
        outcome
    }

    fn look_for(&self, mutant: &Mutant) -> Result<Outcome, String> {
        if !mutant.is_for_test
            && let Some((seed, invariant)) = self.simulate(SEEDS_MAX)?
        {
            return Ok(Outcome::BySeed { seed, invariant });
        }
        let Some((room, name)) = &mutant.test else { return Err("no seed, and no test is named".to_owned()) };
        let test = ["test", "--quiet", "--profile", "sim", "--package", room];
        let built = self.cargo(&[&test[..], &["--no-run"]].concat())?;
        if !built.status.success() {
            return Err(format!("its test does not compile: {}", String::from_utf8_lossy(&built.stderr)));
        }
        let tested = self.cargo(&[&test[..], &[name]].concat())?;
        if tested.status.success() {
            Err(format!("no seed, nor {name}"))
        } else {
            Ok(Outcome::ByTest(name.clone()))
        }
    }
}

/// Leaves the table in docs/results.
fn write_result(rows: &BTreeMap<u32, String>) -> Result<(), String> {
    let rows: String = rows.values().map(String::as_str).collect();
    let page = format!(
        "# Bugs that were made on purpose, and what caught each\n\n`cargo xtask mutants` has written this; \
         the bugs are in `sim/mutants`. Even seeds: a server connection per client; odd ones: shared connections, or any \
         chain under a mixed traffic.\n\n| bug | caught by | seeds needed |\n|---|---|---|\n{rows}"
    );
    let folder = workspace().join("docs/results");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(result_page(), page))
        .map_err(|error| error.to_string())
}
