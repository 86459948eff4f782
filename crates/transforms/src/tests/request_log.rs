//! RequestLog: which requests make a line, and what it says.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use chain::Builder;
use observe::{LineTarget, Queue, render_own};

use super::options::read;
use super::scene::{INSERT, SELECT, Scene, batch, execute, execute_of, prepare, query, scene};
use crate::{QueryTypeFilter, RequestLog};
use wire::QueryType;

thread_local! {
    /// The lines of the test that runs on this thread.
    static LINES: Mutex<Vec<String>> = const { Mutex::new(Vec::new()) };
}

struct Memory;

impl Queue<String> for Memory {
    fn push(&self, job: String) {
        LINES.with(|lines| lines.lock().unwrap().push(job));
    }
    fn dropped(&self) -> u64 {
        3
    }
}

fn open(target: &LineTarget) -> Result<Arc<dyn Queue<String>>, String> {
    match &target.path {
        Some(path) if path.starts_with("/bad") => Err("it is bad".to_owned()),
        _ => Ok(Arc::new(Memory)),
    }
}

fn log(options: &str) -> RequestLog {
    let log = read(options, |fields| RequestLog::parse(fields, open)).unwrap();
    log.start().unwrap();
    log
}

fn lines() -> Vec<String> {
    LINES.with(|lines| std::mem::take(&mut *lines.lock().unwrap()))
}

#[test]
fn a_line_says_who_asked_what_and_what_became_of_it() {
    let (log, filter) = (log(""), QueryTypeFilter::DenyList(vec![QueryType::Write]));
    let mut scene = scene(&[&log, &filter]);
    scene.chain.identity().set_address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    scene.chain.identity().set_user("b\"ob".into());
    scene.send(&[query(1, SELECT), query(2, INSERT), execute(3), batch(4, &[INSERT])]);
    scene.after_millis(3);
    assert_eq!(scene.replies().len(), 4);
    let line = |kind, table, statement, outcome| {
        let prepared = kind == "EXECUTE";
        format!(
            "\"client\":\"10.0.0.1\",\"user\":\"b\\\"ob\",\"kind\":\"{kind}\",\"table\":{table},\"prepared\":{prepared},\
             \"statement\":{statement},\"latency_micros\":3000,\"outcome\":\"{outcome}\""
        )
    };
    let table = "\"ks.t\"";
    let insert = "\"INSERT INTO ks.t (a) VALUES (?)\"";
    let mut found = lines();
    found.sort_unstable();
    let mut expected = [
        line("SELECT", table, "\"SELECT * FROM ks.t WHERE a = ?\"", "ok"),
        line("INSERT", table, insert, "error 0x2200"),
        line("EXECUTE", "null", "null", "ok"),
        line("BATCH", table, insert, "error 0x2200"),
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(render_own(&log.own_metrics()).contains("{path=\"stdout\"} 3\n"));
}

/// Sends these, lets the server answer, and gives what the lines say of kind, table, prepared and statement.
fn logged(scene: &mut Scene, frames: &[Vec<u8>]) -> Vec<String> {
    scene.send(frames);
    scene.replies();
    let between = |line: String| {
        let (_, behind) = line.split_once("\"kind\":").unwrap();
        behind.split_once(",\"latency_micros\"").unwrap().0.to_owned()
    };
    lines().into_iter().map(between).collect()
}

fn said(kind: &str, table: &str, is_prepared: bool, statement: &str) -> String {
    format!("\"{kind}\",\"table\":{table},\"prepared\":{is_prepared},\"statement\":{statement}")
}

#[test]
fn what_is_executed_is_the_statement_that_was_prepared() {
    let log = log("");
    let mut scene = scene(&[&log]);
    logged(&mut scene, &[query(1, "USE ks")]);
    let texts = [
        SELECT,
        "INSERT INTO t (a) VALUES ('s')",
        "BEGIN BATCH DELETE FROM k.u WHERE a = ? APPLY BATCH",
        "USE b",
    ];
    for (index, text) in texts.iter().enumerate() {
        let line = logged(&mut scene, &[prepare(index as i16, text)]);
        assert!(line[0].starts_with("\"PREPARE\",") && line[0].contains("\"prepared\":false"), "{line:?}");
    }
    let select = "\"SELECT * FROM ks.t WHERE a = ?\"";
    let insert = "\"INSERT INTO t (a) VALUES (?)\"";
    assert_eq!(logged(&mut scene, &[execute_of(9, 0)]), [said("SELECT", "\"ks.t\"", true, select)]);
    assert_eq!(logged(&mut scene, &[execute_of(9, 1)]), [said("INSERT", "\"ks.t\"", true, insert)]);
    let batched = "\"BEGIN BATCH DELETE FROM k.u WHERE a = ? APPLY BATCH\"";
    assert_eq!(logged(&mut scene, &[execute_of(9, 2)]), [said("BATCH", "\"k.u\"", true, batched)]);
    assert_eq!(logged(&mut scene, &[execute_of(9, 3)]), [said("USE", "null", true, "\"USE b\"")]);
    // A batch is what it begins with.
    assert_eq!(logged(&mut scene, &[batch(9, &["1", INSERT])]), [said("BATCH", "\"ks.t\"", true, insert)]);
    assert_eq!(logged(&mut scene, &[batch(9, &["", INSERT])]), [said("BATCH", "null", true, "null")]);
    assert_eq!(logged(&mut scene, &[execute_of(9, 8)]), [said("EXECUTE", "null", true, "null")]);
}

#[test]
fn a_name_without_a_keyspace_is_one_of_the_keyspace_that_the_server_confirmed() {
    let all = log("");
    let mut client = scene(&[&all]);
    let table = |lines: Vec<String>| lines[0].split(',').nth(1).unwrap().to_owned();
    assert_eq!(table(logged(&mut client, &[query(1, "SELECT * FROM t")])), "\"table\":\"t\"");
    logged(&mut client, &[query(1, "USE one")]);
    assert_eq!(table(logged(&mut client, &[query(1, "SELECT * FROM t")])), "\"table\":\"one.t\"");
    assert_eq!(table(logged(&mut client, &[batch(1, &["DELETE FROM t"])])), "\"table\":\"one.t\"");
    // While another one is asked for nobody can tell.
    let mut found = logged(&mut client, &[query(1, "USE two"), query(2, "SELECT * FROM t")]);
    assert_eq!(table(found.split_off(1)), "\"table\":\"t\"");
    assert_eq!(table(logged(&mut client, &[query(1, "SELECT * FROM t")])), "\"table\":\"two.t\"");
    logged(&mut client, &[query(1, "USE wrong")]);
    assert_eq!(table(logged(&mut client, &[query(1, "SELECT * FROM t")])), "\"table\":\"two.t\"");
    // Also when that one is not logged.
    let half = log("sample_percent: 50");
    let mut client = scene(&[&half]);
    logged(&mut client, &[query(1, "USE one"), query(2, SELECT)]);
    assert_eq!(
        table(logged(&mut client, &[query(1, "USE two"), query(2, "SELECT * FROM t")])),
        "\"table\":\"t\""
    );
    logged(&mut client, &[query(1, SELECT)]);
    assert_eq!(table(logged(&mut client, &[query(2, "SELECT * FROM t")])), "\"table\":\"two.t\"");
}

#[test]
fn literals_are_shown_to_who_asks_for_them() {
    let log = log("redact: false");
    let mut scene = scene(&[&log]);
    scene.send(&[query(1, SELECT)]);
    scene.replies();
    assert!(lines()[0].contains("a = 'secret'"));
}

#[test]
fn only_slow_ones_and_only_some() {
    let slow = log("slow_threshold_millis: 5");
    let mut scene = scene(&[&slow]);
    scene.server_answers(false);
    scene.send(&[query(1, SELECT)]);
    scene.after_millis(4);
    scene.send(&[query(2, SELECT)]);
    scene.after_millis(1);
    scene.server_answers(true);
    scene.replies();
    let found = lines();
    assert!(matches!(&*found, [only] if only.contains("\"latency_micros\":5000")), "{found:?}");

    let some = log("sample_percent: 30");
    // Many clients with one request each, too.
    let server = super::scene::Server::default();
    let worker = super::scene::part(&[&some], &server);
    for _ in 0..1000 {
        let mut client = super::scene::client(&worker, &server);
        client.send(&[query(1, SELECT)]);
        client.replies();
    }
    assert_eq!(lines().len(), 300);
}

#[test]
fn a_request_without_a_reply_has_a_line_too() {
    let log = log("");
    let mut scene = scene(&[&log]);
    scene.server_answers(false);
    scene.send(&[query(1, SELECT), query(2, SELECT)]);
    scene.close();
    let found = lines();
    assert!(
        found.len() == 2 && found.iter().all(|line| line.ends_with("\"outcome\":\"closed\"")),
        "{found:?}"
    );
}

#[test]
fn a_log_that_cannot_be_opened_keeps_the_process_from_starting() {
    let log = read("path: /bad/log", |fields| RequestLog::parse(fields, open)).unwrap();
    assert_eq!(log.start(), Err("RequestLog: it is bad".to_owned()));
    for options in ["sample_percent: 0", "sample_percent: 101", "files_kept: -1", "max_file_mebibytes: 0"] {
        assert!(read(options, |fields| RequestLog::parse(fields, open)).is_err(), "{options}");
    }
}

#[test]
fn a_long_statement_that_was_prepared_is_read_no_further_than_it_is_shown() {
    let log = log("");
    let mut scene = scene(&[&log]);
    let text = format!("SELECT * FROM ks.t WHERE a = '{}' AND b = 'secret'", "x".repeat(8000));
    logged(&mut scene, &[prepare(1, &text)]);
    let shown = "\"SELECT * FROM ks.t WHERE a =\"";
    assert_eq!(logged(&mut scene, &[execute_of(2, 1)]), [said("SELECT", "\"ks.t\"", true, shown)]);
}
