//! What a scrape finds of whole topologies.

use std::collections::BTreeSet;

use observe::{Process, WorkerMetrics, render, render_own};
use testkit::Scratch;

use crate::assemble::{Graph, load_topology};
use crate::registry::Registry;

/// A source of this name, on this port, with everything that has metrics of its own twice in each of its chains.
fn everything_twice(name: &str, port: u16) -> String {
    let entries = "QueryCounter: {name: c}, QueryCounter: {name: c}, RequestLog, RequestLog, DebugLogToFile, DebugLogToFile";
    let sink =
        "CassandraSinkSingle: {remote_address: '127.0.0.1:1', connect_timeout_ms: 1, connections: Shared}";
    let tee =
        format!("Tee: {{behavior: {{SubchainOnMismatch: [{entries}, {sink}]}}, chain: [{entries}, {sink}]}}");
    let pool = format!(
        "ConnectionBalanceAndPool: {{max_connections: 1, name: p, chain: [{entries}, {tee}, {sink}]}}"
    );
    let map = format!(
        "ParallelMap: {{parallelism: 2, ordered_results: true, chain: [{entries}, {tee}, {tee}, {pool}]}}"
    );
    let chain = format!("{entries}, {tee}, {tee}, {map}");
    format!("- Cassandra: {{name: {name}, listen_addr: '127.0.0.1:{port}', chain: [{chain}]}}\n")
}

fn graph_of(topology: &str) -> Graph {
    let folder = Scratch::new("metrics").unwrap();
    folder.write("topology.yaml", topology).unwrap();
    let mut problems = String::new();
    let file = folder.path().join("topology.yaml");
    let graph = load_topology(&file, &Registry::built_in(), &mut |_, _| (), &mut problems);
    graph.unwrap_or_else(|| panic!("{problems}")).0
}

#[test]
fn no_series_stands_twice_on_a_page() {
    // Chains of chains may also have the name of a source.
    let sources = ["tee_chain", "parallel_map_chain", "p"].map(|name| everything_twice(name, 0));
    let graph = graph_of(&format!("sources:\n{}", sources.concat()));
    let catalog = graph.catalog();
    let workers = [true, false].map(|has_latencies| WorkerMetrics::with_latencies(&catalog, has_latencies));
    let each = workers.each_ref().map(|worker| vec![worker.snapshot(1, 1), worker.snapshot(2, 2)]);
    for snapshots in [&*each[0], &*each[1], &[]] {
        let page = render(&catalog, snapshots, &Process::new(&catalog)) + &render_own(&graph.own_metrics());
        let mut known = BTreeSet::new();
        for line in page.lines() {
            // What comes behind the last space is the value; of a comment, the first words say which it is.
            let series = match line.strip_prefix("# ") {
                Some(comment) => comment.split(' ').take(2).collect::<Vec<_>>().join(" "),
                None => line.rsplit_once(' ').unwrap().0.to_owned(),
            };
            assert!(known.insert(series), "twice: {line}\n{page}");
        }
        assert!(known.contains("shotover_message_log_dropped_count"), "{page}");
    }
}

#[test]
fn an_entry_below_several_instances_counts_and_starts_once() {
    // Between the instances, which have their entries in common, stands what is in a chain of those.
    let graph = graph_of(
        "sources: [Cassandra: {name: c, listen_addr: '127.0.0.1:0', chain: [ParallelMap: {parallelism: 3, \
         ordered_results: true, chain: [QueryCounter: {name: q}, Tee: {chain: [RequestLog, NullSink]}, NullSink]}]}]",
    );
    assert_eq!(graph.own_metrics().len(), 2);
}
