//! The grid's results on paper: a page, the raw figures as JSON, and two plots.

use std::fs;
use std::path::Path;

use serde_json::json;
use testkit::commit;

use crate::goals::{Claim, claims};
use crate::judge::{BLOCKS_MIN, Goal, Interval, interval};
use crate::peers::machine;
use crate::plot::{Dot, Group, draw};
use crate::results::{Described, Figures, Measured, Metric};
use crate::run::{Absent, Plan};
use crate::server::Kind;

pub(crate) fn write(
    plan: &Plan,
    arms: &[Described],
    absent: &[Absent],
    measured: &[Measured],
) -> Result<(), String> {
    let names: Vec<String> = arms.iter().map(|arm| arm.arm.clone()).collect();
    let claims = claims(measured);
    let page = page(plan, arms, absent, measured, &claims);
    let raw = json!({
        "commit": commit(),
        "machine": machine(),
        "quick": plan.is_quick,
        "seconds": plan.seconds,
        "warm_up": plan.warm_up,
        "arms": arms,
        "absent": absent,
        "claims": claims,
        "loads": measured,
    });
    let raw = serde_json::to_string_pretty(&raw).map_err(|error| error.to_string())?;
    let files = [
        ("grid.md", page),
        ("grid.json", raw + "\n"),
        ("grid-cpu.svg", cpu_plot(&names, measured)),
        ("grid-throughput.svg", throughput_plot(&names, measured)),
    ];
    write_files(&plan.folder, &files)
}

/// Writes what was found into a folder, which is made if it is not there.
pub(crate) fn write_files(folder: &Path, files: &[(&str, String)]) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(problem)?;
    files.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text).map_err(problem))
}

fn page(
    plan: &Plan,
    arms: &[Described],
    absent: &[Absent],
    measured: &[Measured],
    claims: &[Claim],
) -> String {
    let mut page = head(plan);
    page += &arms_table(arms, absent, measured);
    page += "\n## What is promised\n\n";
    page += &claims_table(claims);
    page += "\n![CPU a request](grid-cpu.svg)\n\n![Throughput](grid-throughput.svg)\n";
    for load in measured {
        page += &load_table(plan, arms, load);
    }
    page
}

/// What each arm is, and why some are not there.
pub(crate) fn arms_table(arms: &[Described], absent: &[Absent], measured: &[Measured]) -> String {
    let mut page = "| arm | what it is |\n|---|---|\n".to_owned();
    for arm in arms.iter().filter(|arm| measured.iter().any(|load| load.has(&arm.arm))) {
        page += &format!("| {} | {} |\n", arm.arm, arm.version);
    }
    for gap in absent {
        page += &format!("| {} | **not measured**: {} |\n", gap.arm, gap.reason.replace('|', "/"));
    }
    page
}

fn head(plan: &Plan) -> String {
    let quick = if plan.is_quick {
        "**A quick run**: few blocks and short turns show that everything works; they decide nothing.\n\n"
    } else {
        ""
    };
    format!(
        "# The grid, at {}\n\n{quick}Made by `{}`. {}.\n\n\
         {} blocks of mirrored turns over the arms of a load, each {} s after {} s of warm-up. A figure is the median over \
         blocks; a ratio is taken inside each block, with the 95 % bootstrap interval of its median. With fewer than \
         {BLOCKS_MIN} blocks, or an interval on both sides of the goal, a claim is *not decided here*. The baseline is \
         the HAProxy arm that costs less CPU under that load. How it works: [README.md](README.md).\n\n",
        commit(),
        plan.command,
        machine(),
        plan.blocks,
        plan.seconds,
        plan.warm_up
    )
}

pub(crate) fn claims_table(claims: &[Claim]) -> String {
    let mut table = "| claim | goal | found | verdict | blocks |\n|---|---|---|---|---|\n".to_owned();
    for claim in claims {
        let goal = match claim.goal {
            Goal::AtMost(limit) => format!("<= {limit:.2}"),
            Goal::AtLeast(limit) => format!(">= {limit:.2}"),
        };
        let noise = match claim.not_quiet {
            0 => String::new(),
            count => format!(", {count} began on a machine not quiet"),
        };
        table += &format!(
            "| {} | {goal}{unit} | {}{unit} | {} | {}{noise} |\n",
            claim.text,
            shown(claim.found),
            claim.verdict.text(),
            claim.blocks,
            unit = claim.unit
        );
    }
    table
}

fn shown(found: Interval) -> String {
    format!("{:.3} [{:.3}, {:.3}]", found.median, found.low, found.high)
}

fn load_table(plan: &Plan, arms: &[Described], measured: &Measured) -> String {
    let load = measured.load;
    let loop_ =
        load.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate} requests/s, open loop"));
    let mut table = format!(
        "\n## {}\n\n{} clients, {} in flight each, {loop_}, {} B requests, {} B replies, server `{}`",
        load.name,
        load.clients,
        if load.rate.is_some() { "any number".to_owned() } else { load.deep.to_string() },
        load.request_bytes,
        load.reply_bytes,
        load.server.name()
    );
    if measured.not_quiet() > 0 {
        let (count, all) = (measured.not_quiet(), measured.blocks.len());
        table += &format!("; {count} of {all} blocks began on a machine not quiet");
    }
    if measured.command != plan.command {
        table += &format!("; made by `{}`", measured.command);
    }
    table + ".\n\n" + &figures_table(arms, measured)
}

/// A row of figures for each arm.
pub(crate) fn figures_table(arms: &[Described], measured: &Measured) -> String {
    const MIB: f64 = 1_048_576.0;
    let mut table = "| arm | requests/s | p50 us | p99 us | p99.9 us | proxy CPU us/request | / HAProxy | machine CPU \
              us/request | proxy switches/request | machine switches/request | RssAnon MiB | VmRSS MiB | throughput / \
              direct |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let baseline = measured.baseline().unwrap_or_default();
    for name in arms.iter().map(|arm| &*arm.arm).filter(|name| measured.has(name)) {
        let cell = |metric: Metric, places: usize| {
            measured.median(name, metric).map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
        };
        let ratio = |base: &str, metric: Metric| {
            interval(&measured.ratios(name, base, metric)).map_or_else(|| "-".to_owned(), shown)
        };
        // There is no process between clients and server.
        let of_proxy = |text: String| if name == "direct" { "-".to_owned() } else { text };
        table += &format!(
            "| {name}{} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            if name == baseline { " (baseline)" } else { "" },
            cell(Figures::throughput, 0),
            cell(|figures| figures.p50_us, 0),
            cell(|figures| figures.p99_us, 0),
            cell(|figures| figures.p999_us, 0),
            of_proxy(cell(Figures::proxy_us, 2)),
            of_proxy(ratio(&baseline, Figures::proxy_us)),
            cell(Figures::machine_us, 2),
            of_proxy(cell(Figures::proxy_switches, 2)),
            cell(Figures::machine_switches, 2),
            of_proxy(cell(|figures| figures.rss_anon as f64 / MIB, 1)),
            of_proxy(cell(|figures| figures.vm_rss as f64 / MIB, 1)),
            ratio("direct", Figures::throughput),
        );
    }
    table
}

/// A group for each load, with a dot for each arm that has a ratio.
pub(crate) fn groups<'a>(
    names: &[String],
    loads: impl Iterator<Item = &'a Measured>,
    ratios: impl Fn(&Measured, &str) -> Vec<f64>,
) -> Vec<Group> {
    let group = |load: &Measured| {
        let dot = |name: &String| Some(Dot { label: name.clone(), at: interval(&ratios(load, name))? });
        Group { label: load.load.name.to_owned(), dots: names.iter().filter_map(dot).collect() }
    };
    loads.map(group).collect()
}

fn cpu_plot(names: &[String], measured: &[Measured]) -> String {
    let names: Vec<String> = names.iter().filter(|name| *name != "direct").cloned().collect();
    let loads = measured.iter().filter(|load| load.load.server == Kind::Cheap);
    let groups = groups(&names, loads, |load, name| {
        let baseline = load.baseline().unwrap_or_default();
        load.ratios(name, &baseline, Figures::proxy_us)
    });
    draw("CPU a request / the cheaper HAProxy", "less is better; median over blocks, 95 % interval", &groups)
}

fn throughput_plot(names: &[String], measured: &[Measured]) -> String {
    let names: Vec<String> = names.iter().filter(|name| *name != "direct").cloned().collect();
    let loads = measured.iter().filter(|load| load.load.rate.is_none());
    let groups = groups(&names, loads, |load, name| load.ratios(name, "direct", Figures::throughput));
    draw("Throughput / direct", "more is better; median over blocks, 95 % interval", &groups)
}
