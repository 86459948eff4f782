//! What the proxy promises to cost, and what the measured blocks say about it.

use serde::Serialize;

use crate::judge::{Goal, Interval, Verdict, geometric_mean, interval, verdict};
use crate::results::{Figures, Measured, Metric};
use crate::server::Kind;

/// A promise, and whether it is kept.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claim {
    pub(crate) text: String,
    pub(crate) goal: Goal,
    pub(crate) unit: &'static str,
    pub(crate) found: Interval,
    pub(crate) verdict: Verdict,
    pub(crate) blocks: usize,
    /// Blocks at whose beginning the machine did other things.
    pub(crate) not_quiet: usize,
}

fn claim(text: String, goal: Goal, values: &[f64], measured: &Measured) -> Option<Claim> {
    let found = interval(values)?;
    let (blocks, not_quiet) = (values.len(), measured.not_quiet());
    Some(Claim { text, goal, unit: "", found, verdict: verdict(found, goal, blocks), blocks, not_quiet })
}

/// Every promise that these loads and arms say something about.
pub(crate) fn claims(loads: &[Measured]) -> Vec<Claim> {
    let mut claims = Vec::new();
    claims.extend(mean_cpu(loads));
    for load in loads.iter().filter(|load| load.load.server == Kind::Cheap) {
        claims.extend(cpu(load));
        claims.extend(throughput_of_haproxy(load));
        claims.extend(added_latency(load, "direct", 50.0));
    }
    for load in loads.iter().filter(|load| load.load.server == Kind::PerConnection) {
        claims.extend(throughput_of_direct(load));
        claims.extend(tail_of_direct(load));
    }
    claims
}

/// Every promise about a real Cassandra.
pub(crate) fn page_claims(loads: &[Measured]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for load in loads.iter().filter(|load| load.load.rate.is_none()) {
        let haproxy = load.baseline();
        let mut add = |what: &str, goal: Goal, (arm, metric): (&str, Metric), base: Option<&str>| {
            let Some(base) = base else { return };
            let shown = if base.starts_with("haproxy") { "HAProxy" } else { base };
            let ratios = load.ratios(arm, base, metric);
            claims.extend(claim(format!("{arm}: {what} / {shown}"), goal, &ratios, load));
        };
        let (machine, rate): (Metric, Metric) = (Figures::machine_us, Figures::throughput);
        add("machine CPU an op", Goal::AtMost(1.08), ("ours", machine), Some("direct"));
        add("machine CPU an op", Goal::AtMost(1.0), ("ours", machine), haproxy.as_deref());
        add("op/s", Goal::AtLeast(1.0), ("ours", rate), haproxy.as_deref());
        add("op/s", Goal::AtLeast(1.0), ("ours", rate), Some("upstream"));
        add("op/s", Goal::AtLeast(0.95), ("ours-shared", rate), Some("direct"));
    }
    for load in loads {
        claims.extend(added_latency(load, "direct", 100.0));
        claims.extend(load.baseline().and_then(|haproxy| added_latency(load, &haproxy, 0.0)));
    }
    claims
}

fn cpu_ratios(load: &Measured, arm: &str) -> Option<Vec<f64>> {
    let ratios = load.ratios(arm, &load.baseline()?, Figures::proxy_us);
    (!ratios.is_empty()).then_some(ratios)
}

fn mean_cpu(loads: &[Measured]) -> Option<Claim> {
    let cheap = loads.iter().filter(|load| load.load.server == Kind::Cheap);
    let (loads, ratios): (Vec<&Measured>, Vec<Vec<f64>>) =
        cheap.filter_map(|load| Some((load, cpu_ratios(load, "ours")?))).unzip();
    let (goal, found) = (Goal::AtMost(0.90), geometric_mean(&ratios)?);
    // A mean over a few loads is not the mean over the grid, but its text says over how many it is.
    let blocks = ratios.iter().map(Vec::len).min().unwrap_or_default();
    Some(Claim {
        text: format!("ours: CPU a request / HAProxy, geometric mean over {} loads", ratios.len()),
        goal,
        unit: "",
        found,
        verdict: verdict(found, goal, blocks),
        blocks,
        not_quiet: loads.iter().map(|load| load.not_quiet()).sum(),
    })
}

fn cpu(load: &Measured) -> Vec<Claim> {
    let name = load.load.name;
    let of = |arm: &str, goal: f64| {
        let text = format!("{arm}: CPU a request / HAProxy, {name}");
        claim(text, Goal::AtMost(goal), &cpu_ratios(load, arm)?, load)
    };
    let shared = (name == "64x1").then(|| of("ours-shared", 0.50)).flatten();
    of("ours", 1.00).into_iter().chain(shared).collect()
}

fn throughput_of_haproxy(load: &Measured) -> Option<Claim> {
    if load.load.rate.is_some() {
        return None;
    }
    let ratios = load.ratios("ours", &load.baseline()?, Figures::throughput);
    claim(format!("ours: throughput / HAProxy, {}", load.load.name), Goal::AtLeast(0.97), &ratios, load)
}

fn throughput_of_direct(load: &Measured) -> Option<Claim> {
    if load.load.rate.is_some() {
        return None;
    }
    let goal = if load.load.clients >= 400 { 1.00 } else { 0.90 };
    let ratios = load.ratios("ours-shared", "direct", Figures::throughput);
    claim(format!("ours-shared: throughput / direct, {}", load.load.name), Goal::AtLeast(goal), &ratios, load)
}

/// At a rate that direct can serve with ease, the slowest requests are no slower than there.
fn tail_of_direct(load: &Measured) -> Option<Claim> {
    load.load.part_of_direct?;
    let ratios = load.ratios("ours-shared", "direct", |figures| figures.p99_us);
    claim(format!("ours-shared: p99 / direct, {}", load.load.name), Goal::AtMost(1.00), &ratios, load)
}

/// At most so many us more than another arm, at a rate that leaves the machine time.
fn added_latency(load: &Measured, base: &str, limit: f64) -> Option<Claim> {
    load.load.rate?;
    let added = load.pairs("ours", base, |figures| figures.p50_us, |ours, base| ours - base);
    let what = match base {
        "direct" => "added median latency".to_owned(),
        base => format!("median latency beyond {base}'s"),
    };
    let text = format!("ours: {what}, {}", load.load.name);
    let found = claim(text, Goal::AtMost(limit), &added, load);
    found.map(|claim| Claim { unit: " us", ..claim })
}

#[cfg(test)]
mod tests {
    use super::{claims, page_claims};
    use crate::judge::Verdict;
    use crate::results::Load;
    use crate::results::tests::{LOAD, measured};
    use crate::server::Kind;

    #[test]
    fn every_promise_is_judged_where_its_arms_were_measured() {
        let arms = [("direct", 0), ("haproxy-1", 10_000), ("ours", 8000), ("ours-shared", 6000)];
        let loads = [
            measured(LOAD, 9, &arms),
            measured(Load { name: "4000/s", rate: Some(4000), ..LOAD }, 9, &arms),
            measured(Load { name: "64x1 per connection", server: Kind::PerConnection, ..LOAD }, 9, &arms),
            measured(
                Load {
                    name: "at 0.7 of direct",
                    server: Kind::PerConnection,
                    rate: Some(700),
                    part_of_direct: Some(0.7),
                    ..LOAD
                },
                9,
                &arms,
            ),
        ];
        let found = claims(&loads);
        let verdict = |text: &str| found.iter().find(|claim| claim.text.contains(text)).unwrap().verdict;
        assert_eq!(verdict("ours-shared: p99 / direct"), Verdict::Holds);
        assert_eq!(verdict("mean over 2 loads"), Verdict::Holds);
        assert_eq!(verdict("ours: CPU a request / HAProxy, 64x1"), Verdict::Holds);
        assert_eq!(verdict("ours-shared: CPU"), Verdict::Fails);
        assert_eq!(verdict("throughput / direct"), Verdict::Holds);
        assert_eq!(verdict("added median"), Verdict::Holds);
        assert_eq!(claims(&[measured(LOAD, 9, &arms[..1])]).len(), 0);
    }

    #[test]
    fn the_page_has_promises_of_its_own() {
        let arms =
            [("direct", 0), ("haproxy-1", 10_000), ("upstream", 9000), ("ours", 8000), ("ours-shared", 6000)];
        let full = Load { name: "full speed", server: Kind::Cassandra, ..LOAD };
        let third = Load { name: "a third", rate: Some(1000), ..full };
        let found = page_claims(&[measured(full, 9, &arms), measured(third, 9, &arms)]);
        let verdict = |text: &str| found.iter().find(|claim| claim.text.contains(text)).unwrap().verdict;
        assert_eq!(verdict("ours: op/s / HAProxy"), Verdict::Holds);
        assert_eq!(verdict("ours-shared: op/s / direct"), Verdict::Holds);
        assert_eq!(verdict("ours: op/s / upstream"), Verdict::Holds);
        assert_eq!(verdict("added median latency, a third"), Verdict::Holds);
        assert_eq!(verdict("median latency beyond haproxy-1's, a third"), Verdict::Holds);
        assert_eq!(page_claims(&[measured(full, 9, &arms[..1])]).len(), 0);
    }
}
