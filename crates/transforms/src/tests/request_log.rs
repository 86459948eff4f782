//! RequestLog: which requests make a line, and what it says.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use chain::Builder;
use observe::{LineTarget, Queue, render_own};

use super::options::read;
use super::scene::{INSERT, SELECT, batch, execute, query, scene};
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
        format!(
            "\"client\":\"10.0.0.1\",\"user\":\"b\\\"ob\",\"kind\":\"{kind}\",\"table\":{table},\"statement\":{statement},\
             \"latency_micros\":3000,\"outcome\":\"{outcome}\""
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
