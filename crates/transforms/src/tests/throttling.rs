//! RequestThrottling: who may pass, and what it is counted for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Metadata, Subscriber};

use super::options::read;
use super::scene::{
    INSERT, SELECT, Scene, Server, batch, client, execute, execute_of, frame, part, prepare, query, scene,
    scene_over,
};
use crate::{NullSink, QueryTypeFilter, RequestThrottling};
use wire::QueryType;
use wire::cql::opcode;

const OVERLOADED: Option<i32> = Some(0x1001);

fn throttle(options: &str) -> RequestThrottling {
    read(options, RequestThrottling::parse).unwrap()
}

/// Sends so many requests, and says how many passed.
fn passed(scene: &mut Scene, count: i16) -> usize {
    let requests: Vec<_> = (0..count).map(|id| query(id, SELECT)).collect();
    scene.send(&requests);
    let replies = scene.replies();
    assert_eq!(replies.len(), count as usize);
    assert!(replies.iter().all(|(_, code)| code.is_none() || *code == OVERLOADED));
    replies.iter().filter(|(_, code)| code.is_none()).count()
}

#[test]
fn a_throttle_of_50_passes_exactly_50_in_the_first_second_with_clients_on_both_workers() {
    let (throttle, server) = (throttle("max_requests_per_second: 50"), Server::default());
    let workers = [part(&[&throttle], &server), part(&[&throttle], &server)];
    let mut clients: Vec<Scene> =
        workers.iter().flat_map(|worker| [client(worker, &server), client(worker, &server)]).collect();
    let all: usize = clients.iter_mut().map(|client| passed(client, 20)).sum();
    assert_eq!(all, 50);
    // A second later as many again. What comes back in that second and is asked for is paid for, and passes in the next.
    let mut after = |millis| {
        clients.iter_mut().for_each(|client| client.after_millis(millis));
        clients.iter_mut().map(|client| passed(client, 20)).sum::<usize>()
    };
    assert_eq!([after(500), after(499), after(2), after(500), after(500)], [0, 0, 1, 25, 25]);
    assert_eq!([after(1000), after(1000)], [50, 50]);
}

#[test]
fn a_batch_costs_its_statements_and_one_beyond_the_quota_is_always_refused() {
    let throttle = throttle("max_requests_per_second: 50");
    let mut scene = scene(&[&throttle]);
    scene.send(&[batch(1, &[INSERT; 25]), batch(2, &[INSERT; 60]), batch(3, &[INSERT; 24])]);
    assert_eq!(scene.replies(), [(2, OVERLOADED), (1, None), (3, None)]);
    // One is left: too little for two, enough for one, whatever their order.
    scene.send(&[batch(4, &[INSERT; 2]), query(5, INSERT), query(6, INSERT)]);
    assert_eq!(scene.replies(), [(4, OVERLOADED), (6, OVERLOADED), (5, None)]);
    scene.after_millis(10_000);
    scene.send(&[batch(7, &[INSERT; 51])]);
    assert_eq!(scene.replies(), [(7, OVERLOADED)]);
    // What could not be used is still there.
    scene.send(&[batch(8, &[INSERT; 30]), batch(9, &[INSERT; 30]), batch(10, &[INSERT; 20])]);
    assert_eq!(scene.replies(), [(9, OVERLOADED), (8, None), (10, None)]);
}

#[test]
fn upstream_throttled_handshakes() {
    let throttle = throttle("max_requests_per_second: 50");
    let mut scene = scene(&[&throttle]);
    assert_eq!(passed(&mut scene, 60), 50);
    for opcode in [opcode::OPTIONS, opcode::STARTUP, opcode::AUTH_RESPONSE, opcode::REGISTER] {
        scene.send(&[frame(1, opcode, b"\0\0\0\0")]);
        assert_eq!(scene.replies(), [(1, None)], "{opcode}");
    }
    scene.send(&[execute(1), prepare(2, SELECT), query(3, "USE ks")]);
    assert_eq!(scene.replies(), [(1, OVERLOADED), (2, OVERLOADED), (3, OVERLOADED)]);
}

#[test]
fn upstream_panicked_on_a_throttle_before_a_filter() {
    let (throttle, filter) =
        (throttle("max_requests_per_second: 50"), QueryTypeFilter::DenyList(vec![QueryType::Read]));
    let mut scene = scene(&[&throttle, &filter]);
    let requests: Vec<_> = (0..60).map(|id| query(id, if id % 2 == 0 { SELECT } else { INSERT })).collect();
    scene.send(&requests);
    let mut replies = scene.replies();
    replies.sort_unstable();
    let expected = (0..60).map(|id| match id {
        50.. => (id, OVERLOADED),
        _ if id % 2 == 0 => (id, Some(0x2200)),
        _ => (id, None),
    });
    assert_eq!(replies, expected.collect::<Vec<_>>());
}

#[test]
fn each_address_has_a_quota_of_its_own() {
    let (throttle, server) =
        (throttle("{max_requests_per_second: 50, per: ClientAddress}"), Server::default());
    let workers = [part(&[&throttle], &server), part(&[&throttle], &server)];
    let of = |worker: usize, last: u8| {
        let scene = client(&workers[worker], &server);
        scene.chain.identity().set_address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
        scene
    };
    let [mut one, mut same, mut other] = [of(0, 1), of(1, 1), of(0, 2)];
    assert_eq!([passed(&mut one, 40), passed(&mut same, 40), passed(&mut other, 60)], [40, 10, 50]);
}

#[test]
fn each_user_has_a_quota_of_its_own() {
    let (throttle, server) = (throttle("{max_requests_per_second: 50, per: User}"), Server::default());
    let worker = part(&[&throttle], &server);
    let [mut one, mut same, mut other] = [(); 3].map(|()| client(&worker, &server));
    // Nobody is known yet.
    assert_eq!([passed(&mut one, 30), passed(&mut same, 30)], [30, 20]);
    for (scene, user) in [(&one, "bob"), (&same, "bob"), (&other, "eve")] {
        scene.chain.identity().set_user(user.into());
    }
    assert_eq!([passed(&mut one, 40), passed(&mut same, 40), passed(&mut other, 60)], [40, 10, 50]);
}

#[test]
fn upstream_lost_the_connection_with_a_throttle_before_a_null_sink() {
    let throttle = throttle("max_requests_per_second: 50");
    let mut scene = scene_over(&[&throttle], &NullSink);
    scene.send(&(0..60).map(|id| query(id, SELECT)).collect::<Vec<_>>());
    let mut replies = scene.replies();
    replies.sort_unstable();
    let expected = (0..60).map(|id| (id, if id < 50 { Some(0) } else { OVERLOADED }));
    assert_eq!(replies, expected.collect::<Vec<_>>());
}

/// How many of so many requests with this text pass.
fn texts_passed(scene: &mut Scene, count: i16, text: &str) -> usize {
    scene.send(&(0..count).map(|id| query(id, text)).collect::<Vec<_>>());
    let replies = scene.replies();
    assert!(replies.iter().all(|(_, code)| code.is_none() || *code == OVERLOADED));
    replies.iter().filter(|(_, code)| code.is_none()).count()
}

#[test]
fn each_keyspace_has_a_quota_of_its_own() {
    let (throttle, server) = (throttle("{max_requests_per_second: 50, per: Keyspace}"), Server::default());
    let workers = [part(&[&throttle], &server), part(&[&throttle], &server)];
    let [mut one, mut other] = [client(&workers[0], &server), client(&workers[1], &server)];
    assert_eq!(texts_passed(&mut one, 30, "SELECT * FROM ks.t"), 30);
    assert_eq!(texts_passed(&mut other, 30, "SELECT * FROM KS.u"), 20, "on another worker");
    assert_eq!(texts_passed(&mut other, 60, "SELECT * FROM \"KS\".u"), 50);
    assert_eq!(texts_passed(&mut one, 60, "USE x"), 50);
    assert_eq!(texts_passed(&mut one, 2, "SELECT * FROM t"), 0, "it is in x");
    // What is about no keyspace has a quota together.
    assert_eq!(texts_passed(&mut one, 30, "CREATE ROLE bob"), 30);
    assert_eq!(texts_passed(&mut other, 30, "what is this"), 20);
    one.after_millis(100);
    assert_eq!(texts_passed(&mut one, 60, "SELECT * FROM ks.t"), 0);
    one.after_millis(900);
    assert_eq!(texts_passed(&mut one, 60, "SELECT * FROM ks.t"), 45);
}

#[test]
fn each_table_has_a_quota_of_its_own() {
    let (throttle, server) = (throttle("{max_requests_per_second: 50, per: Table}"), Server::default());
    let workers = [part(&[&throttle], &server), part(&[&throttle], &server)];
    let [mut one, mut other] = [client(&workers[0], &server), client(&workers[1], &server)];
    one.send(&[prepare(1, "SELECT * FROM ks.t")]);
    assert_eq!(one.replies(), [(1, None)]);
    one.send(&(0..60).map(|id| execute_of(id, 1)).collect::<Vec<_>>());
    assert_eq!(one.replies().iter().filter(|(_, code)| code.is_none()).count(), 49, "the PREPARE was one");
    assert_eq!(texts_passed(&mut other, 60, "SELECT * FROM ks.t"), 0);
    assert_eq!(texts_passed(&mut other, 60, "SELECT * FROM ks.u"), 50);
    // Of no table, and of a statement that nobody knows.
    assert_eq!(texts_passed(&mut one, 30, "DROP KEYSPACE ks"), 30);
    one.send(&(0..60).map(execute).collect::<Vec<_>>());
    assert_eq!(one.replies().iter().filter(|(_, code)| code.is_none()).count(), 20);
}

#[test]
fn a_batch_is_taken_from_the_quota_of_each_of_its_tables_or_of_none() {
    let throttle = throttle("{max_requests_per_second: 50, per: Table}");
    let mut scene = scene(&[&throttle]);
    let (t, u) = ("INSERT INTO ks.t (a) VALUES (1)", "INSERT INTO ks.u (a) VALUES (1)");
    let both = |of_t: usize, of_u: usize| [vec![t; of_t], vec![u; of_u]].concat();
    scene.send(&[batch(1, &both(40, 10)), batch(2, &both(10, 41)), batch(3, &both(10, 40))]);
    // The second had too many for one of them, and the third found what it had left.
    assert_eq!(scene.replies(), [(2, OVERLOADED), (1, None), (3, None)]);
    scene.send(&[query(4, t), query(5, u)]);
    assert_eq!(scene.replies(), [(4, OVERLOADED), (5, OVERLOADED)]);
    scene.after_millis(10_000);
    scene.send(&[batch(6, &both(1, 51)), batch(7, &both(50, 50))]);
    assert_eq!(scene.replies(), [(6, OVERLOADED), (7, None)]);
    scene.after_millis(10_000);
    let text = "BEGIN BATCH INSERT INTO ks.t (a) VALUES (1) UPDATE ks.u SET a = 1 WHERE b = 1 APPLY BATCH";
    assert_eq!(texts_passed(&mut scene, 30, text), 30);
    assert_eq!([texts_passed(&mut scene, 30, t), texts_passed(&mut scene, 30, u)], [20, 20]);
}

/// Counts what is logged.
struct Logged(Arc<AtomicUsize>);

impl Subscriber for Logged {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn nothing_is_taken_for_a_batch_that_can_never_pass_however_much_of_the_quota_is_left() {
    let throttle = throttle("{max_requests_per_second: 50, per: Table}");
    let mut scene = scene(&[&throttle]);
    let (t, u) = ("INSERT INTO ks.t (a) VALUES (1)", "INSERT INTO ks.u (a) VALUES (1)");
    assert_eq!(texts_passed(&mut scene, 30, t), 30);
    let warnings = Arc::<AtomicUsize>::default();
    with_default(Logged(Arc::clone(&warnings)), || {
        scene.send(&[batch(1, &[t; 51])]);
        assert_eq!((scene.replies(), warnings.load(Ordering::Relaxed)), (vec![(1, OVERLOADED)], 1));
        // One of another table between any two of them.
        scene.send(&[batch(2, &[t, u].repeat(51))]);
        assert_eq!((scene.replies(), warnings.load(Ordering::Relaxed)), (vec![(2, OVERLOADED)], 2));
        // This one may pass later.
        scene.send(&[batch(3, &[u, t].repeat(21))]);
        assert_eq!((scene.replies(), warnings.load(Ordering::Relaxed)), (vec![(3, OVERLOADED)], 2));
    });
    assert_eq!([texts_passed(&mut scene, 60, t), texts_passed(&mut scene, 60, u)], [20, 50]);
}

#[test]
fn a_batch_costs_what_it_says_though_it_cannot_be_read() {
    let throttle = throttle("{max_requests_per_second: 50, per: Table}");
    let mut scene = scene(&[&throttle]);
    // Of 40 statements, the first is of a kind that there is not.
    scene.send(&[1, 2].map(|id| frame(id, opcode::BATCH, b"\0\0\x28\x07")));
    assert_eq!(scene.replies(), [(2, OVERLOADED), (1, None)]);
    assert_eq!(texts_passed(&mut scene, 30, "CREATE ROLE bob"), 10);
}

#[test]
fn names_that_clients_make_up_do_not_fill_the_memory() {
    let throttle = throttle("{max_requests_per_second: 50, per: Table}");
    let mut scene = scene(&[&throttle]);
    // They share the quota of what is about no table.
    let long = format!("SELECT * FROM ks.{}", "t".repeat(600));
    assert_eq!(texts_passed(&mut scene, 30, &long), 30);
    let other = format!("SELECT * FROM ks.{}", "u".repeat(600));
    assert_eq!(texts_passed(&mut scene, 30, &other), 20);
}
