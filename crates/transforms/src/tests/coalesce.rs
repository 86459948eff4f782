//! Coalesce: what waits, how long, and in which order it goes on.

use std::time::Duration;

use super::scene::{INSERT, SELECT, batch, execute, execute_of, frame, prepare, query, scene};
use crate::{Coalesce, QueryTypeFilter};
use wire::QueryType;
use wire::cql::opcode;

fn counts(count: usize) -> Coalesce {
    Coalesce { count: Some(count), after: None }
}

fn waits(millis: u64) -> Coalesce {
    Coalesce { count: None, after: Some(Duration::from_millis(millis)) }
}

fn inserts(ids: std::ops::Range<i16>) -> Vec<Vec<u8>> {
    ids.map(|id| query(id, INSERT)).collect()
}

#[test]
fn nothing_goes_on_until_there_are_so_many() {
    let options = counts(100);
    let mut scene = scene(&[&options]);
    for round in 0..3 {
        scene.send(&inserts(round * 25..round * 25 + 25));
        assert_eq!((scene.server_got(), scene.chain.deadline()), (vec![], None));
    }
    scene.send(&inserts(75..100));
    assert_eq!(scene.server_got(), (0..100).collect::<Vec<_>>());
    scene.send(&inserts(100..101));
    assert!(scene.server_got().is_empty());
}

#[test]
fn the_id_of_what_waits_is_in_flight() {
    let options = counts(100);
    let mut scene = scene(&[&options]);
    scene.send(&inserts(0..2));
    assert!(scene.is_refused(&query(1, INSERT)) && scene.is_refused(&frame(0, opcode::OPTIONS, &[])));
    scene.client_done();
    assert_eq!((scene.server_got(), scene.replies()), (vec![0, 1], vec![(0, None), (1, None)]));
    assert!(!scene.is_refused(&query(1, INSERT)));
}

#[test]
fn the_first_waits_no_longer_than_it_may() {
    let options = waits(100);
    let mut scene = scene(&[&options]);
    scene.send(&inserts(0..1));
    scene.after_millis(60);
    scene.send(&inserts(1..2));
    scene.after_millis(39);
    assert!(scene.server_got().is_empty());
    scene.after_millis(1);
    assert_eq!(scene.server_got(), [0, 1]);
    assert_eq!(scene.chain.deadline(), None, "an idle client is not woken");
    // Whoever comes late waits from then on.
    scene.after_millis(1000);
    scene.send(&inserts(2..3));
    scene.after_millis(99);
    assert!(scene.server_got().is_empty());
    scene.after_millis(1);
    assert_eq!(scene.server_got(), [2]);
}

#[test]
fn what_comes_first_decides() {
    let options = Coalesce { count: Some(3), after: Some(Duration::from_millis(100)) };
    let mut scene = scene(&[&options]);
    scene.send(&inserts(0..3));
    assert_eq!(scene.server_got(), [0, 1, 2]);
    scene.send(&inserts(3..4));
    scene.after_millis(100);
    assert_eq!(scene.server_got(), [3]);
    // A request that comes when it is time goes along.
    scene.send(&inserts(4..5));
    scene.now.0 += 100_000;
    scene.send(&inserts(5..6));
    assert_eq!(scene.server_got(), [4, 5]);
}

#[test]
fn upstream_swallowed_runs_while_it_buffered_and_replies_waited() {
    let options = counts(2);
    let mut scene = scene(&[&options]);
    scene.server_answers(false);
    scene.send(&inserts(0..2));
    scene.send(&inserts(2..3));
    assert!(scene.replies().is_empty());
    scene.server_answers(true);
    assert_eq!(scene.replies(), [(0, None), (1, None)]);
}

#[test]
fn upstream_held_handshakes() {
    let options = counts(1000);
    let mut scene = scene(&[&options]);
    for (opcode, body) in [
        (opcode::OPTIONS, b"".as_slice()),
        (opcode::STARTUP, b"\0\0"),
        (opcode::AUTH_RESPONSE, b"\0\0\0\0"),
        (opcode::REGISTER, b"\0\0"),
    ] {
        scene.send(&[frame(1, opcode, body)]);
        assert_eq!((scene.server_got(), scene.replies()), (vec![1], vec![(1, None)]), "{opcode}");
    }
    scene.send(&[prepare(2, INSERT), query(3, "USE ks")]);
    assert_eq!(scene.server_got(), [2, 3]);
    scene.send(&[execute(4), batch(5, &[INSERT]), query(6, SELECT)]);
    assert!(scene.server_got().is_empty());
}

#[test]
fn a_prepared_use_does_not_wait_where_a_transform_has_the_chain_know_it() {
    let (options, knows) = (counts(1000), QueryTypeFilter::DenyList(vec![QueryType::Read]));
    for (is_known, mut scene) in [(true, scene(&[&knows, &options])), (false, scene(&[&options]))] {
        scene.send(&[prepare(1, "USE ks"), prepare(2, INSERT)]);
        scene.replies();
        assert_eq!(scene.server_got(), [1, 2]);
        scene.send(&[query(3, INSERT), execute_of(4, 2), execute_of(5, 1), query(6, INSERT)]);
        assert_eq!(scene.server_got(), if is_known { vec![3, 4, 5] } else { vec![] });
        scene.client_done();
        assert_eq!(scene.server_got(), if is_known { vec![6] } else { vec![3, 4, 5, 6] });
    }
}

#[test]
fn nothing_overtakes_what_changes_the_connection_nor_is_overtaken_by_it() {
    let options = counts(1000);
    let mut scene = scene(&[&options]);
    scene.send(&inserts(0..2));
    scene.send(&[query(2, INSERT), query(3, "USE other"), query(4, INSERT), prepare(5, INSERT)]);
    // What prepares work need not wait for anybody.
    assert_eq!(scene.server_got(), [0, 1, 2, 3, 5]);
    scene.send(&[query(6, "use third")]);
    assert_eq!(scene.server_got(), [4, 6]);
}

#[test]
fn a_large_request_does_not_wait_and_nothing_waits_for_it() {
    let options = Coalesce { count: Some(1000), after: Some(Duration::from_millis(10)) };
    let mut scene = scene(&[&options]);
    scene.send(&inserts(0..1));
    let mut large = query(1, &format!("{INSERT} {}", "x".repeat(200_000)));
    large.truncate(chain::CHUNK_BYTES);
    scene.send(&[large]);
    assert_eq!(scene.server_got(), [0, 1]);
    assert_eq!(scene.chain.deadline(), None);
}

#[test]
fn upstream_dropped_what_it_held_when_nothing_more_came() {
    let options = counts(1000);
    let mut scene = scene(&[&options]);
    scene.send(&inserts(0..3));
    scene.client_done();
    assert_eq!(scene.server_got(), [0, 1, 2]);
    assert_eq!(scene.replies(), [(0, None), (1, None), (2, None)]);
}

#[test]
fn one_behind_another_passes_on_what_the_first_releases_at_the_end() {
    let (first, second) = (counts(10), counts(1000));
    let mut scene = scene(&[&first, &second]);
    scene.send(&inserts(0..10));
    scene.send(&inserts(10..13));
    assert!(scene.server_got().is_empty());
    scene.client_done();
    assert_eq!(scene.server_got(), (0..13).collect::<Vec<_>>());
}

#[test]
fn what_is_held_is_bounded_by_number_and_by_bytes() {
    let options = counts(usize::MAX);
    for transforms in [1, 3] {
        let mut scene = scene(&vec![&options as &dyn chain::Builder; transforms]);
        let mut most = 0;
        for round in 0..200_i16 {
            scene.send(&inserts(round * 100..round * 100 + 100));
            assert!(!scene.chain.is_over_mark() || !scene.server_got().is_empty(), "nobody reads the client");
            scene.replies();
            most = most.max(scene.chain.in_flight());
        }
        assert!(most <= 4200, "{most}");
    }
    let mut scene = scene(&[&options]);
    let long = format!("{INSERT} {}", "x".repeat(5000));
    let held = (0..100).take_while(|id| {
        scene.send(&[query(*id, &long)]);
        scene.server_got().is_empty()
    });
    assert_eq!(held.count(), 32, "each may keep a chunk of 32 KiB");
}

#[test]
fn a_filter_above_or_below_answers_at_its_own_time() {
    let (options, filter) = (counts(3), QueryTypeFilter::DenyList(vec![QueryType::Read]));
    let mut above = scene(&[&filter, &options]);
    above.send(&[query(1, SELECT), query(2, INSERT), query(3, SELECT)]);
    assert_eq!(above.replies(), [(1, Some(0x2200)), (3, Some(0x2200))]);
    above.send(&[query(4, INSERT), query(5, INSERT)]);
    assert_eq!(above.server_got(), [2, 4, 5]);
    let mut below = scene(&[&options, &filter]);
    below.send(&[query(1, SELECT), query(2, INSERT)]);
    assert!(below.replies().is_empty());
    below.client_done();
    assert_eq!(below.replies(), [(1, Some(0x2200)), (2, None)]);
}
