//! The original page's table beside ours.

use serde_json::json;
use testkit::commit;

use crate::goals::{Claim, page_claims};
use crate::page::Plan;
use crate::peers::machine;
use crate::plot::draw;
use crate::report::{arms_table, claims_table, figures_table, groups, write_files};
use crate::results::{Described, Figures, Measured};
use crate::run::Absent;

/// What the original page says: cassandra-stress write, 8 threads, 8 connections, on the author's machine.
const ORIGINAL: &str = "\
| | direct | through the original | cost |
|---|--:|--:|--:|
| op/s | 15,072 | 11,051 | -27 % |
| median | 0.3 ms | 0.6 ms | +0.3 ms |
| memory of the proxy | | about 10 MB | |
";

pub(crate) fn write(
    plan: &Plan,
    arms: &[Described],
    absent: &[Absent],
    measured: &[Measured],
) -> Result<(), String> {
    let names: Vec<String> = arms.iter().map(|arm| arm.arm.clone()).filter(|name| name != "direct").collect();
    let claims = page_claims(measured);
    let raw = json!({
        "commit": commit(),
        "machine": machine(),
        "rounds": plan.rounds,
        "ops": plan.ops,
        "absent": absent,
        "claims": claims,
        "loads": measured,
    });
    let raw = serde_json::to_string_pretty(&raw).map_err(|error| error.to_string())?;
    let full = || measured.iter().filter(|load| load.load.rate.is_none());
    let throughput = groups(&names, full(), |load, name| load.ratios(name, "direct", Figures::throughput));
    let cpu = groups(&names, measured.iter(), |load, name| load.ratios(name, "direct", Figures::machine_us));
    let note = "median over blocks, 95 % interval";
    let files = [
        ("page.md", page(plan, arms, absent, measured, &claims)),
        ("page.json", raw + "\n"),
        (
            "page-throughput.svg",
            draw("cassandra-stress: op/s / direct", &format!("more is better; {note}"), &throughput),
        ),
        (
            "page-cpu.svg",
            draw("cassandra-stress: machine CPU an op / direct", &format!("less is better; {note}"), &cpu),
        ),
    ];
    write_files(&plan.folder, &files)
}

fn page(
    plan: &Plan,
    arms: &[Described],
    absent: &[Absent],
    measured: &[Measured],
    claims: &[Claim],
) -> String {
    let mut page = format!(
        "# The original page again, at {}\n\nMade by `{}`. {}.\n\nCassandra {}, cassandra-stress \
         write, 8 threads, 8 connections, {} operations a run. {} rounds, in each of which every arm has one run; a \
         round there and one back are a block, and a ratio is taken inside each block. Latencies are from the HDR \
         histograms of cassandra-stress, not from its printed steps of 0.1 ms. CPU is that of the whole machine, from \
         the first operation to the last. How a claim is judged: [README.md](README.md).\n\n",
        commit(),
        plan.command,
        machine(),
        testkit::CASSANDRA,
        plan.ops,
        plan.rounds
    );
    page += "## The original page says\n\n";
    page += ORIGINAL;
    page += "\n## The same here\n\n";
    page += &same_table(arms, measured);
    page += "\n## What is promised\n\n";
    page += &claims_table(claims);
    page += "\n![op/s](page-throughput.svg)\n\n![CPU](page-cpu.svg)\n\n## The arms\n\n";
    page += &arms_table(arms, absent, measured);
    for load in measured {
        let rate = load
            .load
            .rate
            .map_or_else(String::new, |rate| format!(" ({rate} op/s, latency from the intended time)"));
        page += &format!("\n## At {}{rate}\n\n", load.load.name);
        if load.not_quiet() > 0 {
            let (count, all) = (load.not_quiet(), load.blocks.len());
            page += &format!("{count} of {all} blocks began on a machine not quiet.\n\n");
        }
        page += &figures_table(arms, load);
    }
    page
}

/// The rows of the original's table, for every arm.
fn same_table(arms: &[Described], measured: &[Measured]) -> String {
    const MIB: f64 = 1_048_576.0;
    let mut table = "| arm | op/s | of direct | median | added median | memory of the proxy |\n|---|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let Some(full) = measured.iter().find(|load| load.load.rate.is_none()) else { return table };
    let median = |name: &str| full.median(name, |figures| figures.p50_us / 1000.0);
    let direct = (full.median("direct", Figures::throughput), median("direct"));
    for name in arms.iter().map(|arm| &*arm.arm).filter(|name| full.has(name)) {
        let found = (full.median(name, Figures::throughput), median(name));
        let (Some(rate), Some(median)) = found else { continue };
        let of_direct = direct
            .0
            .map_or_else(|| "-".to_owned(), |direct| format!("{:+.1} %", 100.0 * (rate / direct - 1.0)));
        let added = direct.1.map_or_else(|| "-".to_owned(), |direct| format!("{:+.3} ms", median - direct));
        let memory = full.median(name, |figures| figures.vm_rss as f64 / MIB).filter(|memory| *memory > 0.0);
        let memory = memory.map_or_else(String::new, |memory| format!("{memory:.1} MiB"));
        table += &format!("| {name} | {rate:.0} | {of_direct} | {median:.3} ms | {added} | {memory} |\n");
    }
    table
}
