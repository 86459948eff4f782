//! Clients whose keyspace the server does not know any more.

use super::scene::{READY_AGAIN, Scene, error, frame, large_query, query, result, set_keyspace};

/// The server does not know the keyspace that was to be chosen again.
fn no_such_keyspace() -> Vec<u8> {
    error(i16::MAX, 0x2200)
}

/// A client of the pool of keyspace `k`. The answer is the connection of that pool, too.
fn client_in_k(scene: &mut Scene) -> (usize, usize) {
    let (client, server) = (scene.accepted(), scene.servers());
    scene.client_sends(client, &query(1, "USE k"));
    scene.server_says(server, &READY_AGAIN);
    scene.server_says(server, &set_keyspace(0, b'k'));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
    scene.take_bytes(server);
    (client, server)
}

/// The server has been restarted: its connections are new, and `k` is gone.
fn drops_k(scene: &mut Scene, server: usize) {
    scene.server_says(server, &READY_AGAIN);
    scene.server_says(server, &no_such_keyspace());
    assert_eq!(scene.take_requests(server)[..2], [(i16::MAX, 0x01), (i16::MAX, 0x07)]);
}

#[test]
fn a_client_whose_keyspace_was_dropped_can_use_another() {
    let mut scene = Scene::new(None);
    let (client, server) = client_in_k(&mut scene);
    scene.client_sends(client, &query(2, "USE b"));
    let own = server + 1;
    scene.server_says(own, &READY_AGAIN);
    scene.server_says(own, &no_such_keyspace());
    assert_eq!(scene.take_requests(own), [(i16::MAX, 0x01), (i16::MAX, 0x07), (0, 0x07)]);
    scene.server_says(own, &set_keyspace(0, b'b'));
    assert_eq!(scene.take_replies(client), [(2, 0x08)]);
    scene.client_sends(client, &query(3, "SELECT 1"));
    assert_eq!(scene.take_requests(own).len(), 1, "it is shared by who is in the new keyspace");
}

#[test]
fn what_needs_no_keyspace_is_served_though_that_of_the_client_is_gone() {
    let mut scene = Scene::new(None);
    let (client, server) = client_in_k(&mut scene);
    scene.server_ends(server);
    scene.client_sends(client, &query(2, "SELECT * FROM b.t"));
    let without = scene.servers() - 1;
    scene.server_says(without, &READY_AGAIN);
    scene.server_says(without, &no_such_keyspace());
    assert_eq!(scene.take_requests(without)[2..], [(0, 0x07)]);
    scene.server_says(without, &result(0, 0));
    assert_eq!(scene.take_replies(client), [(2, 0x08)]);
    assert!(scene.server(without).borrow().is_closed);
    assert!(scene.fault(client).is_none());
}

#[test]
fn a_connection_without_the_keyspace_of_its_pool_serves_no_more_than_waited_for_it() {
    let mut scene = Scene::new(None);
    let (client, server) = client_in_k(&mut scene);
    scene.server_ends(server);
    scene.client_sends(client, &query(2, "CREATE KEYSPACE k"));
    let without = scene.servers() - 1;
    drops_k(&mut scene, without);
    // Now it is there again, and nobody may be told that it is not.
    scene.client_sends(client, &query(3, "SELECT 1"));
    assert_eq!(scene.take_requests(without), []);
    scene.server_says(without + 1, &READY_AGAIN);
    scene.server_says(without + 1, &set_keyspace(i16::MAX, b'k'));
    assert_eq!(scene.take_requests(without + 1)[2..], [(0, 0x07)]);
    scene.server_says(without, &result(0, 0));
    scene.server_says(without + 1, &result(0, 0));
    assert_eq!(scene.take_replies(client), [(2, 0x08), (3, 0x08)]);
}

#[test]
fn a_connection_of_a_clients_own_without_its_keyspace_is_replaced_once_it_is_idle() {
    let mut scene = Scene::new(None);
    let (client, server) = client_in_k(&mut scene);
    scene.client_sends(client, &large_query(2));
    let without = server + 1;
    drops_k(&mut scene, without);
    scene.client_sends(client, &large_query(3));
    assert_eq!(scene.take_requests(without).len(), 1, "the reply to the first is still due");
    scene.server_says(without, &[result(0, 0), result(1, 0)].concat());
    assert_eq!(scene.take_replies(client).len(), 2);
    scene.client_sends(client, &large_query(4));
    assert!(scene.server(without).borrow().is_closed);
    scene.server_says(without + 1, &READY_AGAIN);
    scene.server_says(without + 1, &set_keyspace(i16::MAX, b'k'));
    assert_eq!(scene.take_requests(without + 1).len(), 3);
}

#[test]
fn events_go_on_though_the_keyspace_of_their_client_is_gone() {
    let mut scene = Scene::new(None);
    let (client, server) = client_in_k(&mut scene);
    scene.client_sends(client, &frame(4, 2, 0x0B, &[0, 1, 0, 1, b'x']));
    let own = server + 1;
    drops_k(&mut scene, own);
    scene.server_says(own, &frame(0x84, 0, 0x02, &[]));
    scene.client_sends(client, &large_query(3));
    scene.server_says(own, &[result(1, 0), frame(0x84, -1, 0x0C, b"event")].concat());
    assert_eq!(scene.take_replies(client), [(2, 0x02), (3, 0x08), (-1, 0x0C)]);
}

#[test]
fn a_session_that_is_refused_for_another_reason_is_not_gone_on_with() {
    // Overloaded, and not allowed.
    for code in [0x1001, 0x2100] {
        let mut scene = Scene::new(None);
        let (client, server) = client_in_k(&mut scene);
        scene.client_sends(client, &query(2, "USE b"));
        scene.server_says(server + 1, &READY_AGAIN);
        scene.server_says(server + 1, &error(i16::MAX, code));
        assert!(scene.server(server + 1).borrow().is_closed);
        assert_eq!(scene.take_errors(client), [(2, 0x0000)]);
    }
}
