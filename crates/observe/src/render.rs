//! Metrics as Prometheus reads them: text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use crate::metrics::{Catalog, Process, Snapshot, SummarySnapshot, TransformSnapshot, load};
use crate::own::{OwnFamily, OwnMetrics};
use crate::sharing::{Family, SharingMetrics};

/// Quantiles of every summary.
const QUANTILES: [(&str, f64); 8] = [
    ("0", 0.0),
    ("0.1", 0.1),
    ("0.5", 0.5),
    ("0.9", 0.9),
    ("0.95", 0.95),
    ("0.99", 0.99),
    ("0.999", 0.999),
    ("1", 1.0),
];

/// Microseconds to seconds.
const SECONDS: f64 = 1e-6;

/// A plain number.
const PLAIN: f64 = 1.0;

/// All metrics of the process.
#[must_use]
pub fn render(catalog: &Catalog, snapshots: &[Snapshot], process: &Process) -> String {
    let mut page = Page(String::new());
    sources(&mut page, catalog, snapshots, process);
    chains(&mut page, catalog, snapshots);
    let has_latencies =
        snapshots.iter().flat_map(|snapshot| &snapshot.chains).all(|chain| chain.has_latencies);
    if has_latencies {
        ends(&mut page, catalog, snapshots);
    }
    transforms(&mut page, catalog, snapshots, has_latencies);
    sharing(&mut page, catalog, snapshots);
    let total = |of: fn(&Snapshot) -> u64| snapshots.iter().map(of).sum::<u64>();
    page.family("shotover_chunks_taken", "gauge", "Chunks of memory now in use");
    page.line("shotover_chunks_taken", &[], total(|snapshot| snapshot.chunks_taken));
    page.family("shotover_chunks_pooled", "gauge", "Chunks of memory kept for reuse");
    page.line("shotover_chunks_pooled", &[], total(|snapshot| snapshot.chunks_pooled));
    page.0
}

/// What transforms count by themselves; those that count the same add to one family, and to one series where their
/// labels are the same.
#[must_use]
pub fn render_own(own: &[Arc<dyn OwnMetrics>]) -> String {
    let mut families: Vec<OwnFamily> = Vec::new();
    for family in own.iter().flat_map(|own| own.families()) {
        match families.iter_mut().find(|known| known.name == family.name) {
            Some(known) => known.series.extend(family.series),
            None => families.push(family),
        }
    }
    for family in &mut families {
        family.series = added_up(std::mem::take(&mut family.series));
    }
    let mut page = Page(String::new());
    for OwnFamily { name, help, series } in &families {
        page.family(name, "counter", help);
        for (labels, value) in series {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(label, text)| (*label, &**text)).collect();
            page.line(name, &labels, value);
        }
    }
    page.0
}

/// Each series once, in the order in which they came.
fn added_up<L: PartialEq>(series: impl IntoIterator<Item = (L, u64)>) -> Vec<(L, u64)> {
    let mut sums: Vec<(L, u64)> = Vec::new();
    for (labels, value) in series {
        match sums.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, sum)) => *sum += value,
            None => sums.push((labels, value)),
        }
    }
    sums
}

fn sources(page: &mut Page, catalog: &Catalog, snapshots: &[Snapshot], process: &Process) {
    let named = || catalog.sources.iter().zip(&process.sources);
    page.family("connections_opened", "counter", "Clients accepted");
    for (source, counts) in named() {
        page.line("connections_opened", &[("source", &source.name)], load(&counts.opened));
    }
    page.family("shotover_available_connections_count", "gauge", "Places for further clients");
    for (source, counts) in named() {
        let name = "shotover_available_connections_count";
        page.line(name, &[("source", &source.name)], load(&counts.available));
    }
    page.family("shotover_connections_accept_failures_count", "counter", "Accepts that failed");
    for (source, counts) in named() {
        let name = "shotover_connections_accept_failures_count";
        page.line(name, &[("source", &source.name)], load(&counts.accept_failures));
    }
    page.family(
        "shotover_listener_create_failures_count",
        "counter",
        "Listeners that could not be made again",
    );
    for (source, counts) in named() {
        let name = "shotover_listener_create_failures_count";
        page.line(name, &[("source", &source.name)], load(&counts.create_failures));
    }
    page.family("shotover_client_protocol_version_count", "counter", "Sessions begun, by protocol version");
    for (index, version) in ["v3", "v4", "v5"].iter().enumerate() {
        let versions = snapshots.iter().flat_map(|snapshot| &snapshot.protocol_versions);
        let count: u64 = versions.filter_map(|versions| versions.get(index)).sum();
        page.line("shotover_client_protocol_version_count", &[("version", version)], count);
    }
}

/// The names of the chains, each once: in the older dialect chains of the same form share theirs, and so a series.
fn names(catalog: &Catalog) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for chain in &catalog.chains {
        if !names.contains(&&*chain.name) {
            names.push(&chain.name);
        }
    }
    names
}

/// What all workers counted for the chains of this name.
fn of_name<'s>(
    catalog: &'s Catalog,
    snapshots: &'s [Snapshot],
    name: &'s str,
) -> impl Iterator<Item = &'s crate::metrics::ChainSnapshot> {
    let chains = catalog.chains.iter().enumerate().filter(move |(_, chain)| chain.name == name);
    chains.flat_map(move |(index, _)| snapshots.iter().filter_map(move |snapshot| snapshot.chains.get(index)))
}

fn chains(page: &mut Page, catalog: &Catalog, snapshots: &[Snapshot]) {
    type Number = fn(&crate::metrics::ChainSnapshot) -> u64;
    let numbers: [(&str, &str, Number); 2] = [
        ("shotover_chain_total_count", "Runs of the chain toward the server", |chain| chain.total),
        ("shotover_chain_failures_count", "Runs of the chain that failed", |chain| chain.failures),
    ];
    for (name, help, number) in numbers {
        page.family(name, "counter", help);
        for chain in names(catalog) {
            let count = of_name(catalog, snapshots, chain).map(number).sum::<u64>();
            page.line(name, &[("chain", chain)], count);
        }
    }
    type Part = fn(&crate::metrics::ChainSnapshot) -> &SummarySnapshot;
    let summaries: [(&str, &str, f64, Part); 2] = [
        ("shotover_chain_requests_batch_size", "Requests of a run", PLAIN, |chain| {
            &chain.requests_batch_size
        }),
        ("shotover_chain_responses_batch_size", "Replies of a run", PLAIN, |chain| {
            &chain.responses_batch_size
        }),
    ];
    for (name, help, unit, part) in summaries {
        page.family(name, "summary", help);
        for chain in names(catalog) {
            page.summary(name, &[("chain", chain)], unit, of_name(catalog, snapshots, chain).map(part));
        }
    }
}

/// Latencies from one end of a chain to the other.
fn ends(page: &mut Page, catalog: &Catalog, snapshots: &[Snapshot]) {
    let latency = ("shotover_chain_latency_seconds", "From reading a request to its reply leaving the chain");
    page.family(latency.0, "summary", latency.1);
    for chain in names(catalog) {
        let parts = of_name(catalog, snapshots, chain).map(|chain| &chain.latency);
        page.summary(latency.0, &[("chain", chain)], SECONDS, parts);
    }
    let of = |indices: &[usize]| -> Vec<&crate::metrics::ChainSnapshot> {
        let chains = indices
            .iter()
            .flat_map(|index| snapshots.iter().filter_map(move |snapshot| snapshot.chains.get(*index)));
        chains.collect()
    };
    let sink = ("shotover_source_to_sink_latency_seconds", "From reading a request to giving it to the sink");
    page.family(sink.0, "summary", sink.1);
    // Sinks of one type share a series, whatever chain they end.
    let mut sinks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, chain) in catalog.chains.iter().enumerate() {
        let Some(kind) = chain.transforms.last() else { continue };
        sinks.entry(kind).or_default().push(index);
    }
    for (kind, indices) in &sinks {
        let parts = of(indices);
        page.summary(sink.0, &[("sink", kind)], SECONDS, parts.iter().map(|chain| &chain.source_to_sink));
    }
    let source =
        ("shotover_sink_to_source_latency_seconds", "From reading a reply to giving it to the source");
    page.family(source.0, "summary", source.1);
    for (index, named) in catalog.sources.iter().enumerate() {
        let parts = of(&[index]);
        let parts = parts.iter().map(|chain| &chain.sink_to_source);
        page.summary(source.0, &[("source", &named.name)], SECONDS, parts);
    }
}

fn transforms(page: &mut Page, catalog: &Catalog, snapshots: &[Snapshot], has_latencies: bool) {
    let mut kinds: Vec<&str> =
        catalog.chains.iter().flat_map(|chain| chain.transforms.iter().map(String::as_str)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    // Transforms of one type share a series, whatever chain and worker they are in.
    let of_kind = |kind: &str| -> Vec<&TransformSnapshot> {
        let places = catalog.chains.iter().enumerate().flat_map(|(chain, entry)| {
            let same = entry.transforms.iter().enumerate().filter(|(_, named)| *named == kind);
            same.map(move |(layer, _)| (chain, layer))
        });
        let parts = places.flat_map(|(chain, layer)| {
            snapshots.iter().filter_map(move |snapshot| snapshot.chains.get(chain)?.transforms.get(layer))
        });
        parts.collect()
    };
    page.family("shotover_transform_total_count", "counter", "Runs of transforms of this type");
    for kind in &kinds {
        let count = of_kind(kind).iter().map(|part| part.total).sum::<u64>();
        page.line("shotover_transform_total_count", &[("transform", kind)], count);
    }
    page.family(
        "shotover_transform_failures_count",
        "counter",
        "Runs of transforms of this type that failed",
    );
    for kind in &kinds {
        let count = of_kind(kind).iter().map(|part| part.failures).sum::<u64>();
        page.line("shotover_transform_failures_count", &[("transform", kind)], count);
    }
    let help = "From reading a request to its reply passing this transform";
    if has_latencies {
        page.family("shotover_transform_latency_seconds", "summary", help);
    }
    for kind in kinds.iter().filter(|_| has_latencies) {
        let parts = of_kind(kind);
        let name = "shotover_transform_latency_seconds";
        page.summary(name, &[("transform", kind)], SECONDS, parts.iter().map(|part| &part.latency));
    }
    page.family("shotover_failed_requests_count", "counter", "Error replies of servers");
    let reach_servers = catalog.chains.iter().enumerate().filter(|(_, chain)| chain.reaches_servers);
    let counts = reach_servers.filter_map(|(index, chain)| {
        let (layer, kind) = chain.transforms.iter().enumerate().next_back()?;
        let of_workers =
            snapshots.iter().filter_map(|snapshot| snapshot.chains.get(index)?.transforms.get(layer));
        Some(((&*chain.name, &**kind), of_workers.map(|part| part.failed_requests).sum::<u64>()))
    });
    for ((chain, kind), count) in added_up(counts) {
        page.line("shotover_failed_requests_count", &[("chain", chain), ("transform", kind)], count);
    }
    if kinds.contains(&"Tee") {
        let count: u64 = snapshots.iter().map(|snapshot| snapshot.tee_dropped).sum();
        let name = "shotover_tee_dropped_messages_count";
        page.family(name, "counter", "Requests that a Tee did not mirror though it should have");
        page.line(name, &[("chain", "Tee")], count);
    }
}

/// Sinks whose clients share connections. Without one there is nothing to say.
fn sharing(page: &mut Page, catalog: &Catalog, snapshots: &[Snapshot]) {
    let sharing = catalog.chains.iter().enumerate().filter(|(_, chain)| chain.shares_connections);
    // Sinks of one type share a series where the names of their chains are the same.
    let mut chains: Vec<(&str, &str, Vec<Family>)> = Vec::new();
    for (index, chain) in sharing {
        let Some(transform) = chain.transforms.last() else { continue };
        let labels = (&*chain.name, &**transform);
        let place = chains.iter().position(|(name, kind, _)| (*name, *kind) == labels);
        let place = place.unwrap_or_else(|| {
            chains.push((labels.0, labels.1, SharingMetrics::default().snapshot()));
            chains.len() - 1
        });
        let Some((_, _, families)) = chains.get_mut(place) else { continue };
        for chain in snapshots.iter().filter_map(|snapshot| snapshot.chains.get(index)) {
            families.iter_mut().zip(&chain.sharing).for_each(|(family, more)| family.add(more));
        }
    }
    let Some((_, _, families)) = chains.first() else { return };
    for (place, Family { name, kind, help, label, .. }) in families.iter().enumerate() {
        page.family(name, kind, help);
        for (chain, transform, families) in &chains {
            for (text, value) in families.get(place).into_iter().flat_map(|family| &family.values) {
                let labels = [("chain", *chain), ("transform", *transform)];
                let more = label.map(|label| (label, *text));
                let labels: Vec<_> = labels.into_iter().chain(more).collect();
                page.line(name, &labels, value);
            }
        }
    }
}

struct Page(String);

impl Page {
    fn put(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.0.push_str(&arguments.to_string());
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            self.put(format_args!("{before}{label}=\"{}\"", escaped(text)));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{end} {value}\n"));
    }

    fn summary<'s>(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        unit: f64,
        parts: impl Iterator<Item = &'s SummarySnapshot>,
    ) {
        let mut all = SummarySnapshot::default();
        parts.for_each(|part| all.add(part));
        for (text, quantile) in QUANTILES {
            let value = all.recent.as_ref().map_or(0, |recent| recent.value_at_quantile(quantile));
            let labels = [labels, &[("quantile", text)]].concat();
            self.line(name, &labels, value as f64 * unit);
        }
        self.line(&format!("{name}_sum"), labels, all.sum as f64 * unit);
        self.line(&format!("{name}_count"), labels, all.count);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
