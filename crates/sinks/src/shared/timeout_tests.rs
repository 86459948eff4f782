//! How long a server may be silent, and what then becomes of its clients.

use std::time::Duration;

use super::scene::{READY_AGAIN, Scene, large_query, long_query, query, result};
use crate::Connections;

const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Just not the whole of it.
const NEARLY: Duration = Duration::from_millis(4999);

#[test]
fn a_server_that_falls_silent_inside_a_large_reply_loses_its_connection() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let [reader, other] = [scene.accepted(), scene.accepted()];
    let large = result(1, 200_000);
    scene.client_sends(reader, &query(1, "SELECT 1"));
    scene.server_says(0, &large[..100_000]);
    scene.pass(NEARLY);
    scene.server_says(0, &large[100_000..150_000]);
    // What others ask meanwhile is not answered either.
    scene.client_sends(other, &query(2, "SELECT 1"));
    scene.pass(NEARLY);
    assert!(!scene.server(0).borrow().is_closed && scene.fault(reader).is_none());
    scene.pass(READ_TIMEOUT - NEARLY);
    assert!(scene.server(0).borrow().is_closed);
    assert!(scene.fault(reader).is_some(), "its reply will never be whole");
    assert_eq!(scene.take_errors(other), [(2, 0x1200)]);
    assert!(scene.fault(other).is_none());
}

#[test]
fn the_rest_of_a_large_reply_is_awaited_even_if_its_client_has_left() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let [reader, _other] = [scene.accepted(), scene.accepted()];
    scene.client_sends(reader, &query(1, "SELECT 1"));
    scene.server_says(0, &result(1, 200_000)[..100_000]);
    scene.client_leaves(reader);
    scene.pass(NEARLY);
    assert!(!scene.server(0).borrow().is_closed);
    scene.pass(READ_TIMEOUT - NEARLY);
    assert!(scene.server(0).borrow().is_closed, "no other reply can come on it");
}

#[test]
fn without_a_timeout_the_rest_of_a_large_reply_may_take_any_time() {
    let mut scene = Scene::new(None);
    let reader = scene.accepted();
    let large = result(1, 200_000);
    scene.client_sends(reader, &query(1, "SELECT 1"));
    scene.server_says(0, &large[..100_000]);
    scene.pass(READ_TIMEOUT * 1000);
    scene.server_says(0, &large[100_000..]);
    assert_eq!(scene.take_replies(reader), [(1, 0x08)]);
}

/// The client was told that its first request took too long, or its connection ended.
fn assert_timed_out(connections: Connections, scene: &mut Scene, client: usize) {
    let told = scene.take_errors(client);
    match connections {
        Connections::PerClient => assert!(scene.fault(client).is_some()),
        Connections::Shared => assert_eq!(told, [(1, 0x1200)]),
    }
}

#[test]
fn a_request_is_timed_once_the_server_has_all_of_it() {
    for connections in [Connections::PerClient, Connections::Shared] {
        let mut scene = Scene::of(connections, Some(READ_TIMEOUT));
        let client = scene.accepted();
        let request = long_query(1, "SELECT", 400_000);
        scene.client_sends(client, &request[..30_000]);
        if connections == Connections::Shared {
            scene.server_says(1, &READY_AGAIN);
        }
        scene.pass(READ_TIMEOUT * 2);
        scene.client_goes_on(client, &request[30_000..200_000]);
        scene.pass(READ_TIMEOUT * 2);
        scene.client_goes_on(client, &request[200_000..]);
        scene.pass(NEARLY);
        assert_eq!(scene.take_replies(client), []);
        assert!(scene.fault(client).is_none());
        scene.pass(READ_TIMEOUT - NEARLY);
        assert_timed_out(connections, &mut scene, client);
    }
}

#[test]
fn what_else_a_server_owes_is_timed_while_a_request_comes() {
    for connections in [Connections::PerClient, Connections::Shared] {
        let mut scene = Scene::of(connections, Some(READ_TIMEOUT));
        let client = scene.accepted();
        let request = long_query(2, "SELECT", 400_000);
        scene.client_sends(client, &[&query(1, "SELECT 1")[..], &request[..30_000]].concat());
        if connections == Connections::Shared {
            scene.server_says(1, &READY_AGAIN);
        }
        scene.pass(NEARLY);
        scene.client_goes_on(client, &request[30_000..200_000]);
        scene.pass(READ_TIMEOUT - NEARLY);
        assert_timed_out(connections, &mut scene, client);
    }
}

#[test]
fn a_server_that_takes_no_more_of_a_request_is_timed() {
    let mut scene = Scene::of(Connections::PerClient, Some(READ_TIMEOUT));
    let client = scene.accepted();
    let request = long_query(1, "SELECT", 400_000);
    scene.client_sends(client, &request[..30_000]);
    scene.server(0).borrow_mut().is_deaf = true;
    scene.pass(READ_TIMEOUT * 2);
    scene.client_goes_on(client, &request[30_000..200_000]);
    scene.pass(NEARLY);
    assert!(scene.fault(client).is_none());
    scene.pass(READ_TIMEOUT - NEARLY);
    assert!(scene.fault(client).is_some());
}

#[test]
fn the_rest_of_a_request_whose_connection_is_gone_does_not_end_its_client() {
    // What changes the keyspace, or may, has an end of its own.
    for text in ["SELECT", "USE", "/*"] {
        let mut scene = Scene::new(None);
        let client = scene.accepted();
        let request = long_query(1, text, 400_000);
        scene.client_sends(client, &request[..30_000]);
        scene.server_says(1, &READY_AGAIN);
        scene.server_ends(1);
        assert_eq!(scene.take_replies(client), [(1, 0x00)]);
        scene.client_goes_on(client, &request[30_000..200_000]);
        scene.client_goes_on(client, &request[200_000..]);
        scene.client_sends(client, &large_query(2));
        scene.server_says(2, &READY_AGAIN);
        scene.server_says(2, &result(0, 0));
        assert_eq!(scene.take_replies(client), [(2, 0x08)]);
        assert!(scene.fault(client).is_none());
    }
}

#[test]
fn a_connection_that_is_given_up_still_takes_the_rest_of_a_request() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.accepted();
    let large = large_query(1);
    scene.client_sends(client, &large);
    scene.server_says(1, &READY_AGAIN);
    scene.server_says(1, &result(0, 2_000_000));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
    // None of these is shared any more, and all are left unanswered.
    let asked: Vec<u8> = (2..302).flat_map(|id| query(id, "SELECT 1")).collect();
    scene.client_sends(client, &[&asked[..], &large[..30_000]].concat());
    scene.pass(READ_TIMEOUT);
    assert_eq!(scene.take_errors(client).len(), 300);
    scene.client_goes_on(client, &large[30_000..]);
    let (asked, _) = *scene.take_requests(1).last().expect("requests");
    scene.server_says(1, &result(asked, 0));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
    assert!(scene.server(1).borrow().is_closed && scene.fault(client).is_none());
}

#[test]
fn a_connection_that_is_given_up_takes_no_more_of_the_rest_than_its_server() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.accepted();
    let large = long_query(1, "SELECT", 2_000_000);
    scene.client_sends(client, &large_query(1));
    scene.server_says(1, &READY_AGAIN);
    scene.server_says(1, &result(0, 2_000_000));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
    let asked: Vec<u8> = (2..302).flat_map(|id| query(id, "SELECT 1")).collect();
    scene.client_sends(client, &[&asked[..], &large[..30_000]].concat());
    scene.pass(READ_TIMEOUT);
    assert_eq!(scene.take_errors(client).len(), 300);
    scene.server(1).borrow_mut().is_deaf = true;
    scene.client_goes_on(client, &large[30_000..500_000]);
    assert!(scene.is_over_mark(client));
}

#[test]
fn a_server_that_makes_room_slowly_is_not_given_up() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.accepted();
    let request = long_query(1, "SELECT", 900_000);
    scene.client_sends(client, &request[..30_000]);
    scene.server_says(1, &READY_AGAIN);
    scene.server(1).borrow_mut().is_deaf = true;
    scene.client_goes_on(client, &request[30_000..500_000]);
    assert!(scene.is_over_mark(client));
    for _ in 0..5 {
        scene.pass(NEARLY);
        scene.server_takes(1, 10_000);
    }
    assert!(scene.is_over_mark(client));
    scene.pass(NEARLY);
    assert_eq!(scene.take_replies(client), []);
    // Now it takes nothing any more.
    scene.pass(READ_TIMEOUT - NEARLY);
    assert_eq!(scene.take_errors(client), [(1, 0x1200)]);
}

#[test]
fn who_waits_for_a_connection_of_its_own_is_not_put_off_by_what_others_are_answered() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let [client, other] = [scene.accepted(), scene.accepted()];
    let request = long_query(1, "SELECT", 900_000);
    scene.client_sends(client, &request[..30_000]);
    scene.server_says(2, &READY_AGAIN);
    scene.server(2).borrow_mut().is_deaf = true;
    scene.client_goes_on(client, &request[30_000..500_000]);
    scene.pass(NEARLY);
    scene.take_bytes(0);
    scene.client_sends(other, &query(1, "SELECT 1"));
    let (asked, _) = scene.take_requests(0).pop().expect("a request");
    scene.server_says(0, &result(asked, 0));
    scene.pass(READ_TIMEOUT - NEARLY);
    assert_eq!(scene.take_errors(client), [(1, 0x1200)]);
}
