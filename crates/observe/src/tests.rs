//! The page as a whole, and what rolls out of it.

use std::sync::Arc;

use crate::{
    Catalog, ChainEntry, CutOffReason, OwnFamily, OwnMetrics, OwnReason, Process, RetireReason, SourceEntry,
    WorkerMetrics, check_filter, render, render_own,
};

fn catalog() -> Catalog {
    Catalog {
        sources: vec![SourceEntry { name: "a\"b".to_owned(), connection_limit: 512 }],
        chains: [("a", "NullSink", false), ("b", "CassandraSinkSingle", true)]
            .map(|(name, sink, reaches_servers)| ChainEntry {
                name: name.to_owned(),
                transforms: vec![sink.to_owned()],
                reaches_servers,
                shares_connections: reaches_servers,
            })
            .to_vec(),
    }
}

#[test]
fn every_series_is_there_from_the_start() {
    let catalog = catalog();
    let page = render(&catalog, &[], &Process::new(&catalog));
    for line in [
        "connections_opened{source=\"a\\\"b\"} 0",
        "shotover_available_connections_count{source=\"a\\\"b\"} 512",
        "shotover_chain_latency_seconds{chain=\"a\",quantile=\"0.999\"} 0",
        "shotover_chain_latency_seconds_count{chain=\"a\"} 0",
        "shotover_transform_total_count{transform=\"NullSink\"} 0",
        "shotover_failed_requests_count{chain=\"b\",transform=\"CassandraSinkSingle\"} 0",
        "shotover_client_protocol_version_count{version=\"v4\"} 0",
        "shotover_chunks_taken 0",
        "shotover_shared_connections_open{chain=\"b\",transform=\"CassandraSinkSingle\"} 0",
        "shotover_own_connections_opened_count{chain=\"b\",transform=\"CassandraSinkSingle\",reason=\"register\"} 0",
    ] {
        assert!(page.lines().any(|known| known == line), "{line} is not in\n{page}");
    }
    let failed = "shotover_failed_requests_count{chain=\"a\"";
    assert!(!page.contains(failed), "a sink without a server fails no requests:\n{page}");
    assert!(!page.contains("shotover_shared_connections_open{chain=\"a\""), "it shares nothing:\n{page}");
}

#[test]
fn what_is_shared_is_added_up_and_goes_down_again() {
    let catalog = catalog();
    let workers = [WorkerMetrics::new(&catalog), WorkerMetrics::new(&catalog)];
    for worker in &workers {
        let sharing = &worker.chain(1).unwrap().sharing;
        sharing.in_flight.change(0, 7);
        sharing.in_flight.change(7, 4);
        sharing.spill_bytes.set(10);
        sharing.count_own(OwnReason::Handshake);
        sharing.count_own(OwnReason::Unclear);
        sharing.count_retired(RetireReason::Failed);
        sharing.count_cut_off(CutOffReason::Memory);
        sharing.replays_refused.add(1);
    }
    let snapshots = workers.each_ref().map(|worker| worker.snapshot(0, 0));
    let page = render(&catalog, &snapshots, &Process::new(&catalog));
    for (name, more, value) in [
        ("shotover_shared_requests_in_flight", "", 8),
        ("shotover_shared_spill_bytes", "", 20),
        ("shotover_own_connections_opened_count", ",reason=\"handshake\"", 2),
        ("shotover_own_connections_opened_count", ",reason=\"register\"", 0),
        ("shotover_own_connections_opened_count", ",reason=\"unclear\"", 2),
        ("shotover_shared_connections_retired_count", ",reason=\"failed\"", 2),
        ("shotover_sharing_clients_cut_off_count", ",reason=\"memory\"", 2),
        ("shotover_sessions_replayed_count", ",outcome=\"refused\"", 2),
    ] {
        let line = format!("{name}{{chain=\"b\",transform=\"CassandraSinkSingle\"{more}}} {value}");
        assert!(page.lines().any(|known| known == line), "{line} is not in\n{page}");
    }
    assert_eq!(page.matches("# TYPE shotover_shared_connections_open gauge").count(), 1);
}

#[test]
fn workers_are_added_up() {
    let catalog = catalog();
    let workers = [WorkerMetrics::new(&catalog), WorkerMetrics::new(&catalog)];
    for (worker, latency) in workers.iter().zip([1000, 3000]) {
        let chain = worker.chain(0).unwrap();
        chain.total.add(2);
        chain.latency.record_n(latency, 10);
    }
    let snapshots = workers.each_ref().map(|worker| worker.snapshot(1, 2));
    let page = render(&catalog, &snapshots, &Process::new(&catalog));
    for line in [
        "shotover_chain_total_count{chain=\"a\"} 4",
        "shotover_chain_latency_seconds_sum{chain=\"a\"} 0.04",
        "shotover_chain_latency_seconds_count{chain=\"a\"} 20",
        "shotover_chunks_taken 2",
        "shotover_chunks_pooled 4",
    ] {
        assert!(page.lines().any(|known| known == line), "{line} is not in\n{page}");
    }
}

/// One counter, with what it counted under each text of a label.
struct Counted(Vec<(&'static str, u64)>);

impl OwnMetrics for Counted {
    fn families(&self) -> Vec<OwnFamily> {
        let series = self.0.iter().map(|(text, count)| (vec![("path", (*text).to_owned())], *count));
        vec![OwnFamily { name: "dropped", help: "Dropped", series: series.collect() }]
    }
}

#[test]
fn chains_of_one_name_are_added_up_in_one_series() {
    let one = catalog();
    let twice = Catalog { chains: [&*one.chains, &*one.chains].concat(), ..one };
    let worker = WorkerMetrics::new(&twice);
    for (index, latency) in [(1, 1000), (3, 3000)] {
        let chain = worker.chain(index).unwrap();
        chain.latency.record_n(latency, 10);
        chain.sharing.in_flight.set(latency);
        chain.sharing.shared_requests.add(latency);
    }
    let page = render(&twice, &[worker.snapshot(0, 0)], &Process::new(&twice));
    for line in [
        "shotover_chain_latency_seconds_sum{chain=\"b\"} 0.04",
        "shotover_chain_latency_seconds_count{chain=\"b\"} 20",
        "shotover_chain_latency_seconds_count{chain=\"a\"} 0",
        "shotover_shared_requests_in_flight{chain=\"b\",transform=\"CassandraSinkSingle\"} 4000",
        "shotover_sharing_sink_requests_count{chain=\"b\",transform=\"CassandraSinkSingle\",connection=\"shared\"} 4000",
    ] {
        assert_eq!(page.lines().filter(|known| *known == line).count(), 1, "{line} in\n{page}");
    }
    let quantile = |text: &str| {
        let begin = format!("shotover_chain_latency_seconds{{chain=\"b\",quantile=\"{text}\"}} 0.00");
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(&*begin));
        (lines.next().unwrap().chars().next(), lines.count())
    };
    assert_eq!((quantile("0"), quantile("1")), ((Some('1'), 0), (Some('3'), 0)), "{page}");
}

#[test]
fn what_transforms_count_under_the_same_labels_is_added_up_in_one_series() {
    let counted = [vec![("a", 1), ("b", 2)], vec![("b", 30), ("c", 4)], vec![("b", 500)]];
    let own = counted.map(|counted| Arc::new(Counted(counted)) as Arc<dyn OwnMetrics>);
    assert_eq!(
        render_own(&own),
        "# HELP dropped Dropped\n# TYPE dropped counter\n\
         dropped{path=\"a\"} 1\ndropped{path=\"b\"} 532\ndropped{path=\"c\"} 4\n"
    );
}

#[test]
fn quantiles_forget_and_sums_do_not() {
    let catalog = catalog();
    let worker = WorkerMetrics::new(&catalog);
    worker.chain(0).unwrap().latency.record_n(1_000_000, 1);
    let median = |worker: &WorkerMetrics| {
        let page = render(&catalog, &[worker.snapshot(0, 0)], &Process::new(&catalog));
        let line = page
            .lines()
            .find(|line| line.starts_with("shotover_chain_latency_seconds{") && line.contains("\"0.5\""));
        let sum = page.lines().find(|line| line.starts_with("shotover_chain_latency_seconds_sum"));
        (line.unwrap().ends_with(" 0"), sum.unwrap().ends_with(" 1"))
    };
    assert_eq!(median(&worker), (false, true));
    worker.rotate();
    worker.rotate();
    assert_eq!(median(&worker), (false, true));
    worker.rotate();
    assert_eq!(median(&worker), (true, true));
}

#[test]
fn a_bad_directive_is_named_in_the_words_users_know() {
    assert_eq!(check_filter("info, shotover=info,,shotover::connection_span=debug"), Ok(()));
    let said = check_filter("info,shotover=loud").unwrap_err();
    assert!(said.starts_with("error parsing level filter: expected one of \"off\", "), "{said}");
    assert!(said.ends_with(" or a number 0-5: shotover=loud"), "{said}");
}
