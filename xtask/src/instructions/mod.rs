//! User-space instructions of the pure core for a request and its reply, counted: they may not grow unnoticed.
//!
//! Callgrind counts what the same binary executes for so many rounds and for twice as many; the difference is what
//! the rounds cost, without the program's start. On one machine two counts of the same code are the same.

mod cases;
mod page;
mod ratchet;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use testkit::workspace;

use self::cases::{Case, DEEP_FOUR_TRANSFORMS, DEEP_ONE_TRANSFORM, FOUR_TRANSFORMS, ONE_TRANSFORM, cases};
use self::ratchet::{Figures, Named, RATCHET, find};
use crate::run::{is_there, run};

/// How much more than the ratchet is not yet a failure, percent.
const MORE_MAX: f64 = 2.0;

/// Less than one in a thousand rounds: of the start, not of the rounds.
const NEARLY_NONE: f64 = 0.005;

/// What else than our own code decides the count is settled here, so that the 2 % are ours. The toolchain is pinned by
/// `rust-toolchain.toml`. The C library chooses its memcpy by the processor that valgrind shows, which is the one
/// there is: an AVX one needs half the instructions of one without, 9 % of a round of 32. So the one is taken that
/// every x86-64 has. (`AVX2_Usable` is what old versions call it; unknown words are ignored.) Another version of the
/// library can still differ by some instructions a copy, which is far below the 2 %.
const PLAINEST_PROCESSOR: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,\
                                  -AVX,-ERMS,-FSRM,-SSSE3";

/// What a transform that reads headers may add for a message in one direction, beyond what the first one costs by
/// being there at all: without any, messages are not looked at singly. It allocates nothing and calls no kernel.
const HEADER_TRANSFORM_BUDGET: f64 = 60.0;

/// One row of the table.
struct Counted {
    name: &'static str,
    figures: Figures,
    ratchet: Option<Figures>,
    budget: Option<f64>,
}

/// A figure and what it may be.
struct Budget {
    name: &'static str,
    figure: f64,
    most: f64,
}

impl Budget {
    fn passes(&self) -> bool {
        self.figure <= self.most + NEARLY_NONE
    }
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
    let ratchets = ratchet::read();
    let cases = cases();
    let row = |(case, figures): (&Case, Figures)| Counted {
        name: case.name,
        figures,
        ratchet: find(&ratchets, case.name),
        budget: case.budget,
    };
    let table: Vec<Counted> = cases.iter().zip(count_all(&cases)?).map(row).collect();
    let counted: Named = table.iter().map(|row| (row.name.to_owned(), row.figures)).collect();
    print_table(&table, &counted);
    if updates {
        page::write(&ratchet::write(&counted)?)?;
    } else {
        page::check(&ratchets)?;
    }
    judge(&table, &counted, updates)
}

/// What one header transform more costs for a message in one direction.
fn budgets(figures: &Named) -> Vec<Budget> {
    let more = |four, one| {
        let (four, one) = (find(figures, four)?, find(figures, one)?);
        Some(four.beyond(one, 3.0 * 2.0))
    };
    let (Some(shallow), Some(deep)) =
        (more(FOUR_TRANSFORMS, ONE_TRANSFORM), more(DEEP_FOUR_TRANSFORMS, DEEP_ONE_TRANSFORM))
    else {
        return Vec::new();
    };
    let instructions =
        |name, figures: Figures| Budget { name, figure: figures.instructions, most: HEADER_TRANSFORM_BUDGET };
    let none = |name, figure| Budget { name, figure, most: 0.0 };
    vec![
        instructions("user instructions, 1 deep", shallow),
        instructions("user instructions, 32 deep", deep),
        none("allocations", shallow.allocations.max(deep.allocations)),
        none("system calls", shallow.calls.max(deep.calls)),
    ]
}

/// What has a budget, as rows of a page: what it is, the ratchet's figure, and the budget.
pub(crate) fn budget_rows() -> Option<Vec<String>> {
    let figures = ratchet::read();
    let mut rows = Vec::new();
    for case in cases() {
        let Some(budget) = case.budget else { continue };
        let counted = find(&figures, case.name)?;
        rows.push(format!(
            "{}: user instructions, request and reply | {} | {budget}",
            case.name, counted.instructions
        ));
    }
    rows.extend(budgets(&figures).iter().map(|Budget { name, figure, most }| {
        format!("one more header transform, a message in one direction: {name} | {figure:.0} | {most}")
    }));
    Some(rows)
}

/// What each case costs. All cores count, since others do not matter to what is counted; but where a case has a thread
/// that writes, how the two take turns does.
fn count_all(cases: &[Case]) -> Result<Vec<Figures>, String> {
    let (next, counted) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let count_some = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !case.has_writer {
                let figures = count(case);
                counted.lock().unwrap_or_else(PoisonError::into_inner).insert(case.name, figures);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(count_some)));
    });
    let mut counted = counted.into_inner().unwrap_or_else(PoisonError::into_inner);
    cases.iter().map(|case| counted.remove(case.name).unwrap_or_else(|| count(case))).collect()
}

/// What a case costs for one request and its reply.
fn count(case: &Case) -> Result<Figures, String> {
    let more = callgrind(case, 2 * case.rounds)?;
    let fewer = callgrind(case, case.rounds)?;
    Ok(more.beyond(fewer, case.rounds as f64 * f64::from(case.requests)))
}

/// What a whole run costs.
fn callgrind(case: &Case, rounds: u64) -> Result<Figures, String> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    // The environment lies on the stack, whose alignment some copies depend on: it is the same everywhere.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let kept = std::env::temp_dir().join(format!("instructions-{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command.env_clear().env("PATH", path).env("GLIBC_TUNABLES", PLAINEST_PROCESSOR);
    command.args(["--tool=callgrind", "--collect-systime=yes"]);
    if case.has_writer {
        command.arg("--separate-threads=yes");
        command.arg(format!("--callgrind-out-file={}", kept.display()));
    } else {
        command.arg("--callgrind-out-file=/dev/null");
    }
    command.arg(target.join("release/examples/rounds")).args(case.arguments(rounds));
    let output = command.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = if case.has_writer {
        totals_of_first_thread(&kept)
    } else {
        said.lines().find_map(|line| line.split_once("Collected :")).map(|(_, numbers)| numbers.to_owned())
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    let allocations = printed.lines().find_map(|line| line.strip_prefix("allocations: ")?.parse().ok());
    let numbers = collected.unwrap_or_default();
    let mut numbers = numbers.split_whitespace().map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next(), allocations) {
        (Some(instructions), Some(calls), Some(allocations)) if output.status.success() => {
            Ok(Figures { instructions, allocations, calls })
        }
        _ => Err(format!("valgrind counted nothing for {}:\n{said}", case.name)),
    }
}

/// What callgrind wrote of the first thread. Its files are removed.
fn totals_of_first_thread(kept: &std::path::Path) -> Option<String> {
    let file = |number| PathBuf::from(format!("{}-{number:02}", kept.display()));
    let text = std::fs::read_to_string(file(1)).ok()?;
    // As many as there are threads.
    (1..).take_while(|number| std::fs::remove_file(file(*number)).is_ok()).for_each(drop);
    text.lines().find_map(|line| line.strip_prefix("totals: ")).map(str::to_owned)
}

fn shown(figure: f64) -> String {
    let whole = format!("{:.0}", figure.abs());
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if figure <= -0.5 { format!("-{text}") } else { text }
}

fn print_table(table: &[Counted], counted: &Named) {
    let cell = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.1}"));
    println!(
        "| for a request and its reply | instructions | ratchet | budget | allocations | system calls |"
    );
    println!("|---|---|---|---|---|---|");
    for Counted { name, figures: Figures { instructions, allocations, calls }, ratchet, budget } in table {
        let ratchet = cell(ratchet.map(|ratchet| ratchet.instructions));
        let budget = cell(*budget);
        println!("| {name} | {instructions:.1} | {ratchet} | {budget} | {allocations:.2} | {calls:.2} |");
    }
    for budget in budgets(counted) {
        let outcome = if budget.passes() { "passes" } else { "FAILS" };
        let Budget { name, figure, most } = budget;
        println!(
            "one more header transform, a message in one direction: {name}: {figure:.1} <= {most} {outcome}"
        );
    }
}

/// Fails on what has grown or is beyond its budget; `updated` ratchets are what was counted.
fn judge(table: &[Counted], counted: &Named, updated: bool) -> Result<(), String> {
    let mut wrong = Vec::new();
    for budget in budgets(counted).into_iter().filter(|budget| !budget.passes()) {
        let Budget { name, figure, most } = budget;
        wrong.push(format!(
            "one more header transform, a message in one direction: {name}: {figure:.1}, the budget is {most:.0}"
        ));
    }
    for row in table {
        if let Some(budget) = row.budget.filter(|budget| row.figures.instructions > *budget) {
            let (name, instructions) = (row.name, row.figures.instructions);
            wrong.push(format!("{name}: {instructions:.1} instructions, the budget is {budget:.0}"));
        }
        if !updated {
            wrong.extend(grown(row));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// What is wrong with a row beside its ratchet. The page is made of it, so what has become less is said there, too.
fn grown(row: &Counted) -> Option<String> {
    let Counted { name, figures: Figures { instructions, allocations, calls }, ratchet, .. } = row;
    let Some(ratchet) = ratchet else {
        return Some(format!("{name}: no line in {RATCHET}; `cargo xtask instructions --update` writes it"));
    };
    let most = |ratchet: f64| ratchet * (1.0 + MORE_MAX / 100.0) + NEARLY_NONE;
    if *allocations > most(ratchet.allocations) {
        let was = ratchet.allocations;
        return Some(format!("{name}: {allocations:.2} allocations, the ratchet in {RATCHET} is {was:.2}"));
    }
    if *calls > NEARLY_NONE && ratchet.calls < NEARLY_NONE {
        return Some(format!("{name}: {calls:.2} system calls, and there were none"));
    }
    let was = ratchet.instructions;
    let more = 100.0 * (instructions / was - 1.0);
    if more > MORE_MAX {
        return Some(format!(
            "{name}: {instructions:.1} instructions, {more:.1} % more than the ratchet of {was:.1} in {RATCHET}. Find out \
             why (callgrind_annotate); if it is worth it, `cargo xtask instructions --update`, and say in the commit \
             what for"
        ));
    }
    (more < -MORE_MAX).then(|| {
        format!(
            "{name}: {instructions:.1} instructions, {:.1} % fewer than the ratchet of {was:.1}: lower it, with the page \
             made of it, by `cargo xtask instructions --update`",
            -more
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Counted, Figures, judge, shown};

    fn figures(instructions: f64, allocations: f64) -> Figures {
        Figures { instructions, allocations, calls: 0.0 }
    }

    fn said(instructions: f64, allocations: f64) -> String {
        let ratchet = Some(figures(100.0, 0.0));
        let figures = figures(instructions, allocations);
        let row = Counted { name: "one client, 1 deep", figures, ratchet, budget: Some(110.0) };
        judge(&[row], &Vec::new(), false).err().unwrap_or_default()
    }

    #[test]
    fn growth_beyond_two_percent_and_beyond_a_budget_fails() {
        assert_eq!(said(98.1, 0.0), "");
        assert_eq!(said(101.9, 0.0), "");
        assert!(said(102.1, 0.0).contains("2.1 % more than the ratchet of 100.0"));
        assert!(said(110.1, 0.0).contains("the budget is 110"));
    }

    #[test]
    fn an_allocation_fails_and_so_does_a_ratchet_that_is_too_high() {
        assert!(said(100.0, 0.03).contains("0.03 allocations, the ratchet in"));
        assert!(said(97.9, 0.0).contains("2.1 % fewer than the ratchet of 100.0"));
    }

    #[test]
    fn a_header_transform_beyond_its_budget_fails() {
        let counted = |four: f64, allocations: f64| {
            let named = |name: &str, figures| (name.to_owned(), figures);
            vec![
                named(super::ONE_TRANSFORM, figures(1000.0, 0.0)),
                named(super::FOUR_TRANSFORMS, figures(four, allocations)),
                named(super::DEEP_ONE_TRANSFORM, figures(500.0, 0.0)),
                named(super::DEEP_FOUR_TRANSFORMS, figures(560.0, 0.0)),
            ]
        };
        let said = |counted| judge(&[], &counted, true).err().unwrap_or_default();
        assert_eq!(said(counted(1360.0, 0.0)), "");
        assert!(said(counted(1367.0, 0.0)).contains("user instructions, 1 deep: 61.2, the budget is 60"));
        assert!(said(counted(1360.0, 3.0)).contains("allocations: 0.5, the budget is 0"));
    }

    #[test]
    fn figures_have_their_thousands_apart() {
        assert_eq!([shown(12_345.4), shown(999.6), shown(-1.2), shown(7.0)], ["12,345", "1,000", "-1", "7"]);
    }
}
