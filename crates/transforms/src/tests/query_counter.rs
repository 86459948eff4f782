//! QueryCounter: what is counted, and under which names.

use std::sync::Arc;

use chain::Builder;
use observe::{OwnMetrics, render_own};

use super::options::read;
use super::scene::{INSERT, SELECT, batch, execute, frame, part, prepare, query, scene};
use crate::{QueryCounter, RequestThrottling};
use wire::cql::opcode;

/// What is shown of a counter, without what is shown of all.
fn page(counters: &[&QueryCounter]) -> Vec<String> {
    let own: Vec<Arc<dyn OwnMetrics>> = counters.iter().flat_map(|counter| counter.own_metrics()).collect();
    let page = render_own(&own);
    page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn a_series_with_only_a_name_is_there_from_the_start() {
    let counters =
        ["a", "b"].map(|name| read(&format!("counter_name: {name}"), QueryCounter::parse).unwrap());
    assert_eq!(
        page(&[&counters[0], &counters[1]]),
        ["shotover_query_count{name=\"a\"} 0", "shotover_query_count{name=\"b\"} 0"]
    );
    assert_eq!(
        render_own(&counters[0].own_metrics()).matches("# TYPE shotover_query_count counter").count(),
        1
    );
}

#[test]
fn every_statement_is_counted_by_its_kind() {
    let counter = read("counter_name: c", QueryCounter::parse).unwrap();
    let throttle = read("max_requests_per_second: 1000000, per: Table", RequestThrottling::parse).unwrap();
    // Also where the transform above has asked what the requests are about.
    let mut scenes = [scene(&[&counter]), scene(&[&throttle, &counter])];
    for scene in &mut scenes {
        scene.send(&[
            query(1, SELECT),
            query(2, "create table t (a int primary key)"),
            query(3, "BEGIN BATCH INSERT INTO t (a) VALUES (1); UPDATE t SET a = 'DELETE' APPLY BATCH"),
            batch(4, &[INSERT, "", "DELETE FROM t"]),
            query(5, "HELLO"),
            prepare(6, INSERT),
            execute(7),
            frame(8, opcode::OPTIONS, b""),
            frame(9, opcode::QUERY, b"\0"),
        ]);
        assert_eq!(scene.replies().len(), 9);
    }
    let series = |query: &str, kind: &str, count| {
        format!("shotover_query_count{{name=\"c\",query=\"{query}\",type=\"{kind}\"}} {count}")
    };
    let mut expected = vec!["shotover_query_count{name=\"c\"} 0".to_owned()];
    for (query, count) in [
        ("SELECT", 2),
        ("INSERT", 4),
        ("UPDATE", 2),
        ("DELETE", 2),
        ("CREATE TABLE", 2),
        ("UNRECOGNIZED CQL", 2),
    ] {
        expected.push(series(query, "cassandra", count));
    }
    expected.push(series("unknown", "none", 2));
    assert_eq!(page(&[&counter]), expected);
}

#[test]
fn workers_add_up() {
    let counter = read("counter_name: c", QueryCounter::parse).unwrap();
    let server = super::scene::Server::default();
    for _ in 0..3 {
        let worker = part(&[&counter], &server);
        super::scene::client(&worker, &server).send(&[query(1, SELECT)]);
    }
    assert!(page(&[&counter])[1].ends_with(" 3"));
}
