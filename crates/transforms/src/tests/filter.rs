//! QueryTypeFilter and NullSink, in the combinations that upstream did not survive.

use super::scene::{INSERT, SELECT, batch, execute, execute_of, frame, prepare, query, scene, scene_over};
use crate::{DebugPrinter, NullSink, QueryTypeFilter};
use chain::Builder;
use wire::QueryType;
use wire::cql::opcode;

const FILTERED: Option<i32> = Some(0x2200);
const UNPREPARED: Option<i32> = Some(0x2500);

#[test]
fn upstream_panicked_on_two_filters_in_a_row() {
    let no_writes = QueryTypeFilter::DenyList(vec![QueryType::Write]);
    let no_schema = QueryTypeFilter::DenyList(vec![QueryType::SchemaChange]);
    let mut scene = scene(&[&no_writes, &DebugPrinter, &no_schema]);
    scene.send(&[query(1, INSERT), query(2, "DROP TABLE t"), query(3, SELECT), query(4, INSERT)]);
    let mut replies = scene.replies();
    replies.sort_unstable();
    assert_eq!(replies, [(1, FILTERED), (2, FILTERED), (3, None), (4, FILTERED)]);
}

#[test]
fn upstream_blocked_handshakes_with_an_allow_list_without_read() {
    let filter = QueryTypeFilter::AllowList(vec![QueryType::Write]);
    let mut scene = scene(&[&filter]);
    for opcode in [opcode::OPTIONS, opcode::STARTUP, opcode::AUTH_RESPONSE, opcode::REGISTER] {
        scene.send(&[frame(1, opcode, b"\0\0\0\0")]);
        assert_eq!(scene.replies(), [(1, None)], "{opcode}");
    }
    scene.send(&[query(1, SELECT), query(2, INSERT), batch(3, &[INSERT])]);
    assert_eq!(scene.replies(), [(1, FILTERED), (2, None), (3, None)]);
}

#[test]
fn upstream_let_writes_pass_that_were_prepared() {
    let filter = QueryTypeFilter::AllowList(vec![QueryType::Read]);
    let mut scene = scene(&[&filter]);
    scene.send(&[prepare(1, INSERT), prepare(2, SELECT), execute(3)]);
    assert_eq!(scene.replies(), [(1, FILTERED), (2, None), (3, None)]);
}

#[test]
fn upstream_lost_the_connection_with_a_filter_before_a_null_sink() {
    let filter = QueryTypeFilter::DenyList(vec![QueryType::Read]);
    let mut scene = scene_over(&[&filter], &NullSink);
    scene.send(&[query(1, SELECT), query(2, INSERT)]);
    let mut replies = scene.replies();
    replies.sort_unstable();
    assert_eq!(replies, [(1, FILTERED), (2, Some(0))]);
}

#[test]
fn an_execute_is_of_the_kind_of_its_statement_where_reads_do_not_pass() {
    let filter = QueryTypeFilter::AllowList(vec![QueryType::Write]);
    let mut scene = scene(&[&filter]);
    scene.send(&[prepare(1, INSERT), prepare(2, SELECT)]);
    assert_eq!(scene.replies(), [(2, FILTERED), (1, None)]);
    // Nobody knows the second, which may have been prepared before a restart, and nobody can read the last.
    let mut compressed = execute(5);
    compressed[1] = 1;
    scene.send(&[execute_of(3, 1), execute(4), compressed]);
    let mut replies = scene.replies();
    replies.sort_unstable();
    assert_eq!(replies, [(3, None), (4, UNPREPARED), (5, FILTERED)]);
}

#[test]
fn a_filter_asks_what_an_execute_is_only_where_it_matters() {
    let kinds = |kinds: &[QueryType]| kinds.to_vec();
    assert!(!QueryTypeFilter::DenyList(kinds(&[QueryType::Write])).enriches());
    assert!(!QueryTypeFilter::AllowList(kinds(&[QueryType::Read, QueryType::Write])).enriches());
    assert!(QueryTypeFilter::DenyList(kinds(&[QueryType::Read])).enriches());
    assert!(QueryTypeFilter::AllowList(kinds(&[QueryType::Write])).enriches());
}
