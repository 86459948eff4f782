//! What a pool does with a connection that is of no more use to all, and who must not touch one.

use std::time::Duration;

use super::connection::STUCK_AFTER;
use super::scene::{READY_AGAIN, STARTUP, Scene, error, frame, large_query, query, result, set_keyspace};

/// Three clients that share server connection 0, each with a request there: slots 1, 2 and 3, since the first handshake
/// was slot 0.
fn three_that_ask(scene: &mut Scene) -> [usize; 3] {
    let clients = [scene.accepted(), scene.accepted(), scene.accepted()];
    scene.take_bytes(0);
    for client in clients {
        scene.client_sends(client, &query(7, "SELECT 1"));
    }
    assert_eq!(scene.take_requests(0), [(1, 0x07), (2, 0x07), (3, 0x07)]);
    clients
}

#[test]
fn a_connection_whose_keyspace_changes_unasked_is_left_by_all() {
    let mut scene = Scene::new(None);
    let [before, moved, after] = three_that_ask(&mut scene);
    scene.server_says(0, &set_keyspace(2, b'k'));
    assert_eq!(scene.take_replies(moved), [(7, 0x08)]);
    assert_eq!(scene.take_errors(after), [(7, 0x1200)], "it may have run in the wrong keyspace");
    assert_eq!(scene.take_replies(before), [], "its request came first, and is awaited");
    scene.server_says(0, &result(1, 0));
    assert_eq!(scene.take_replies(before), [(7, 0x08)]);
    assert!(scene.server(0).borrow().is_closed);
    // Each goes on in the keyspace that it was told of.
    scene.client_sends(moved, &query(8, "SELECT 1"));
    scene.server_says(3, &READY_AGAIN);
    scene.server_says(3, &set_keyspace(i16::MAX, b'k'));
    assert_eq!(scene.take_requests(3), [(i16::MAX, 0x01), (i16::MAX, 0x07), (0, 0x07)]);
    scene.client_sends(after, &query(8, "SELECT 1"));
    scene.server_says(4, &READY_AGAIN);
    assert_eq!(scene.take_requests(4), [(i16::MAX, 0x01), (0, 0x07)]);
}

#[test]
fn what_has_not_left_when_the_keyspace_changes_unasked_never_does() {
    let mut scene = Scene::new(None);
    let [moved, begun, waits] = [scene.accepted(), scene.accepted(), scene.accepted()];
    scene.client_sends(moved, &query(7, "SELECT 1"));
    scene.take_bytes(0);
    scene.server(0).borrow_mut().is_deaf = true;
    let half = query(7, "INSERT 1");
    scene.server_takes(0, 5);
    scene.client_sends(begun, &half);
    scene.client_sends(waits, &query(7, "INSERT 2"));
    scene.server_says(0, &set_keyspace(1, b'k'));
    assert_eq!(scene.take_replies(moved), [(7, 0x08)]);
    assert_eq!(scene.take_errors(begun), [(7, 0x1100)]);
    assert_eq!(scene.take_errors(waits), [(7, 0x0000)], "not sent");
    scene.server_hears(0);
    let heard = scene.take_bytes(0);
    assert!(half.starts_with(&heard[..1]) && heard.len() <= half.len(), "{heard:?}");
    assert!(scene.server(0).borrow().is_closed);
}

#[test]
fn a_client_whose_keyspace_changes_unasked_leaves_its_own_connection_behind() {
    let mut scene = Scene::new(None);
    let client = scene.accepted();
    scene.client_sends(client, &large_query(1));
    scene.server_says(1, &READY_AGAIN);
    scene.server_says(1, &result(0, 0));
    scene.client_sends(client, &query(2, "SELECT 1"));
    scene.server_says(0, &set_keyspace(1, b'k'));
    assert_eq!(scene.take_replies(client), [(1, 0x08), (2, 0x08)]);
    assert!(scene.server(1).borrow().is_closed);
    scene.client_sends(client, &large_query(3));
    scene.server_says(2, &READY_AGAIN);
    scene.server_says(2, &set_keyspace(i16::MAX, b'k'));
    assert_eq!(scene.take_requests(2).len(), 3);
}

#[test]
fn a_client_with_events_ends_when_its_keyspace_changes_elsewhere() {
    let mut scene = Scene::new(None);
    let client = scene.accepted();
    scene.client_sends(client, &frame(4, 1, 0x0B, &[0, 1, 0, 1, b'x']));
    scene.server_says(1, &READY_AGAIN);
    scene.server_says(1, &frame(0x84, 0, 0x02, &[]));
    scene.client_sends(client, &query(2, "SELECT 1"));
    scene.server_says(0, &set_keyspace(1, b'k'));
    assert!(scene.fault(client).is_some());
}

#[test]
fn a_connection_that_the_server_calls_broken_has_a_second_for_what_is_due() {
    let mut scene = Scene::new(None);
    let [guilty, answered, forgotten] = three_that_ask(&mut scene);
    scene.server_says(0, &error(1, 0x000A));
    assert_eq!(scene.take_errors(guilty), [(7, 0x000A)]);
    scene.client_sends(answered, &query(8, "SELECT 2"));
    assert_eq!(scene.take_requests(0), [], "it takes no new requests");
    scene.pass(Duration::from_millis(900));
    scene.server_says(0, &result(2, 0));
    assert_eq!(scene.take_replies(answered), [(7, 0x08)]);
    assert!(!scene.server(0).borrow().is_closed);
    scene.pass(Duration::from_millis(100));
    assert_eq!(scene.take_errors(forgotten), [(7, 0x1200)]);
    assert!(scene.server(0).borrow().is_closed);
    scene.server_says(3, &READY_AGAIN);
    assert_eq!(scene.take_requests(3), [(i16::MAX, 0x01), (0, 0x07)]);
}

#[test]
fn what_could_break_a_connection_for_all_is_sent_on_one_of_its_clients_own() {
    let with_flags = |flags: u8| {
        let mut frame = query(1, "SELECT 1");
        frame[1] = flags;
        frame
    };
    let poison = [
        ("a second STARTUP", STARTUP.to_vec()),
        ("a second login", frame(4, 1, 0x0F, &[0, 0, 0, 1, b'a'])),
        ("compressed", with_flags(0x01)),
        ("an unknown flag", with_flags(0x80)),
        ("another version", [&[3], &query(1, "SELECT 1")[1..]].concat()),
    ];
    for (what, bytes) in poison {
        let mut scene = Scene::new(None);
        let client = scene.accepted();
        scene.take_bytes(0);
        scene.client_sends(client, &bytes);
        assert_eq!((scene.servers(), scene.take_bytes(0).len()), (2, 0), "{what}");
        scene.server_says(1, &READY_AGAIN);
        assert_eq!(scene.take_requests(1).len(), 2, "{what}");
    }
}

#[test]
fn a_custom_payload_is_shared_where_the_protocol_has_it() {
    for (version, shared) in [(3, 0), (4, 1)] {
        let mut scene = Scene::new(None);
        let client = scene.client();
        scene.client_sends(client, &[&[version], &STARTUP[1..]].concat());
        scene.server_says(0, &frame(0x80 | version, 0, 0x02, &[]));
        scene.take_bytes(0);
        let mut bytes = frame(version, 1, 0x05, &[0, 0]);
        bytes[1] = 0x04;
        scene.client_sends(client, &bytes);
        assert_eq!(scene.take_requests(0).len(), shared, "v{version}");
    }
}

#[test]
fn a_stuck_connection_gets_a_sibling_for_new_requests() {
    let mut scene = Scene::sharing(2);
    let [first, second] = [scene.accepted(), scene.accepted()];
    scene.take_bytes(0);
    scene.server(0).borrow_mut().is_deaf = true;
    scene.client_sends(first, &query(1, "SELECT 1"));
    scene.pass(STUCK_AFTER - Duration::from_millis(1));
    scene.client_sends(second, &query(1, "SELECT 2"));
    assert_eq!(scene.servers(), 2, "it may be slow");
    scene.pass(Duration::from_millis(1));
    scene.client_sends(second, &query(2, "SELECT 3"));
    scene.server_says(2, &READY_AGAIN);
    assert_eq!(scene.take_requests(2), [(i16::MAX, 0x01), (0, 0x07)]);
    scene.server_says(2, &result(0, 0));
    assert_eq!(scene.take_replies(second), [(2, 0x08)]);
    // What waits was sent to the first, and stays there.
    scene.server_hears(0);
    assert_eq!(scene.take_requests(0), [(1, 0x07), (2, 0x07)]);
    scene.server_says(0, &[result(2, 0), result(1, 0)].concat());
    assert_eq!((scene.take_replies(first), scene.take_replies(second)), (vec![(1, 0x08)], vec![(1, 0x08)]));
}

#[test]
fn a_pool_has_no_more_connections_than_it_may() {
    let mut scene = Scene::sharing(2);
    let clients = [scene.accepted(), scene.accepted(), scene.accepted()];
    for (client, server) in clients.into_iter().zip([0, 3]) {
        scene.client_sends(client, &query(1, "SELECT 1"));
        if server > 0 {
            scene.server_says(server, &READY_AGAIN);
        }
        scene.take_bytes(server);
        scene.server(server).borrow_mut().is_deaf = true;
        scene.client_sends(client, &query(2, "SELECT 1"));
        scene.pass(STUCK_AFTER);
    }
    scene.client_sends(clients[2], &query(1, "SELECT 1"));
    assert_eq!(scene.servers(), 4);
    assert!(scene.is_over_mark(clients[2]), "it waits for room");
    scene.server_hears(3);
    assert_eq!(scene.take_requests(3).last(), Some(&(2, 0x07)));
}

#[test]
fn a_login_of_more_than_one_round_is_never_shared() {
    let mut scene = Scene::new(None);
    let login = |token: u8| frame(4, 0, 0x0F, &[0, 0, 0, 1, token]);
    for server in [0, 1] {
        let client = scene.client();
        scene.client_sends(client, &STARTUP);
        scene.server_says(server, &frame(0x84, 0, 0x03, b"\0\x01x"));
        scene.client_sends(client, &login(b'a'));
        scene.server_says(server, &frame(0x84, 1, 0x0E, &[0, 0, 0, 1, b'?']));
        scene.client_sends(client, &login(b'b'));
        scene.server_says(server, &frame(0x84, 2, 0x10, &[0xff; 4]));
        scene.take_bytes(server);
        scene.client_sends(client, &query(1, "SELECT 1"));
        assert_eq!(scene.take_requests(server).len(), 1);
    }
    assert_eq!(scene.servers(), 2);
}
