//! QueryTypeFilter and NullSink, in the combinations that upstream did not survive.

use std::sync::Arc;

use super::scene::{INSERT, SELECT, batch, execute, execute_of, frame, prepare, query, scene, scene_over};
use crate::{DebugPrinter, NullSink, QueryTypeFilter};
use chain::{Batch, Builder, Cx, Fault, Link, Transform, WorkerCx, WorkerPart};
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

/// Puts frames in the place of requests, by their ids.
#[derive(Clone)]
pub(super) struct Replacer(pub(super) Arc<[(i32, Vec<u8>)]>);

impl Builder for Replacer {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }
}

impl WorkerPart for Replacer {
    fn client(&self) -> Link {
        Link::Transform(Box::new(self.clone()))
    }
}

impl Transform for Replacer {
    fn requests(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| {
            let other = self.0.iter().find(|(id, _)| *id == request.head().id);
            if let Some((_, frame)) = other {
                assert!(request.replace(frame.clone()));
            }
        });
        Ok(())
    }
}

/// The same request, with a custom payload.
fn with_payload(request: &[u8]) -> Vec<u8> {
    let payload = b"\0\x01\0\x01k\0\0\0\x01v";
    let length = u32::try_from(request.len() - 9 + payload.len()).unwrap().to_be_bytes();
    [&request[..1], &[4], &request[2..5], &length, payload, &request[9..]].concat()
}

#[test]
fn a_request_that_was_replaced_is_judged_by_what_is_there_now() {
    let no_writes = QueryTypeFilter::DenyList(vec![QueryType::Write]);
    let replaced = [(1, with_payload(&query(1, INSERT))), (2, batch(2, &[INSERT])), (3, query(3, SELECT))];
    let mut scene = scene(&[&Replacer(Arc::new(replaced)), &no_writes]);
    scene.send(&[query(1, INSERT), query(2, SELECT), query(3, INSERT)]);
    let mut replies = scene.replies();
    replies.sort_unstable();
    assert_eq!(replies, [(1, FILTERED), (2, FILTERED), (3, None)]);
}

#[test]
fn a_statement_that_was_replaced_is_what_the_server_has() {
    let filter = QueryTypeFilter::AllowList(vec![QueryType::Write]);
    let to_select = Replacer(Arc::new([(1, prepare(1, SELECT))]));
    let mut scene = scene(&[&filter, &to_select]);
    scene.send(&[prepare(1, INSERT), prepare(2, INSERT)]);
    assert_eq!(scene.replies(), [(1, None), (2, None)]);
    scene.send(&[execute_of(3, 1), execute_of(4, 2)]);
    let mut replies = scene.replies();
    replies.sort_unstable();
    assert_eq!(replies, [(3, FILTERED), (4, None)]);
}

#[test]
fn an_execute_that_was_replaced_is_of_the_statement_that_it_runs() {
    let filter = QueryTypeFilter::AllowList(vec![QueryType::Write]);
    let to_unknown = Replacer(Arc::new([(3, execute(3)), (4, query(4, INSERT)), (5, execute_of(5, 1))]));
    let mut scene = scene(&[&to_unknown, &filter]);
    scene.send(&[prepare(1, INSERT)]);
    assert_eq!(scene.replies(), [(1, None)]);
    scene.send(&[execute_of(3, 1), execute_of(4, 1), query(5, SELECT)]);
    let mut replies = scene.replies();
    replies.sort_unstable();
    assert_eq!(replies, [(3, UNPREPARED), (4, None), (5, None)]);
}
