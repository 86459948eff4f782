//! RequestThrottling: who may pass, and what it is counted for.

use std::net::{IpAddr, Ipv4Addr};

use super::options::read;
use super::scene::{
    INSERT, SELECT, Scene, Server, batch, client, execute, frame, part, prepare, query, scene, scene_over,
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
    // A second later as many again, and half of them after half a second.
    clients.iter_mut().for_each(|client| client.after_millis(1000));
    assert_eq!(clients.iter_mut().map(|client| passed(client, 20)).sum::<usize>(), 50);
    clients.iter_mut().for_each(|client| client.after_millis(500));
    assert_eq!(clients.iter_mut().map(|client| passed(client, 20)).sum::<usize>(), 25);
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
