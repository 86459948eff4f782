//! Clients that read slowly, and connections of their own.

use std::time::Duration;

use super::inbox::{BYTES_MAX, STALLED_MAX};
use super::scene::{READY_AGAIN, Scene, large_query, query, result};

const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that has asked this on connection 1, which is its own.
fn asks_alone(scene: &mut Scene, ids: &[i16]) -> usize {
    let client = scene.accepted();
    for id in ids {
        scene.client_sends(client, &large_query(*id));
    }
    scene.server_says(1, &READY_AGAIN);
    client
}

#[test]
fn a_client_that_does_not_read_is_not_cut_off_for_what_its_own_connection_brings() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = asks_alone(&mut scene, &[1, 2, 3]);
    scene.client_reads(client, false);
    scene.server_says(1, &[result(0, 1_500_000), result(1, 500_000)].concat());
    assert!(scene.server(1).borrow().read_bytes < BYTES_MAX);
    // Nor is the server silent meanwhile.
    scene.pass(STALLED_MAX * 2);
    assert!(scene.fault(client).is_none());
    scene.client_reads(client, true);
    assert_eq!(scene.take_replies(client), [(1, 0x08), (2, 0x08)]);
    scene.pass(READ_TIMEOUT);
    assert_eq!(scene.take_errors(client), [(3, 0x1200)]);
}

#[test]
fn a_server_that_is_not_listened_to_need_not_make_room() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = asks_alone(&mut scene, &[1, 2, 3]);
    scene.client_reads(client, false);
    scene.server_says(1, &[result(0, 1_500_000), result(1, 500_000)].concat());
    // It does not read either, until it is heard.
    scene.server(1).borrow_mut().is_deaf = true;
    (4..9).for_each(|id| scene.client_sends(client, &large_query(id)));
    assert!(scene.is_over_mark(client));
    scene.pass(READ_TIMEOUT * 3);
    assert!(scene.fault(client).is_none());
    scene.client_reads(client, true);
    assert_eq!(scene.take_replies(client), [(1, 0x08), (2, 0x08)]);
}

#[test]
fn a_large_reply_goes_on_though_much_of_others_waits_behind_it() {
    let mut scene = Scene::new(None);
    let client = asks_alone(&mut scene, &[1]);
    let large = result(0, 1_000_000);
    scene.server_says(1, &large[..100_000]);
    scene.take_bytes(0);
    scene.client_sends(client, &[query(2, "SELECT 1"), query(3, "SELECT 1")].concat());
    for (asked, _) in scene.take_requests(0) {
        scene.server_says(0, &result(asked, 400_000));
    }
    scene.server_says(1, &large[100_000..]);
    assert_eq!(scene.take_replies(client), [(1, 0x08), (2, 0x08), (3, 0x08)]);
}

#[test]
fn a_client_is_not_cut_off_because_a_server_does_not_go_on_with_a_large_reply() {
    let mut scene = Scene::new(None);
    let client = asks_alone(&mut scene, &[1]);
    let large = result(0, 1_000_000);
    scene.server_says(1, &large[..100_000]);
    scene.take_bytes(0);
    (2..6).for_each(|id| scene.client_sends(client, &query(id, "SELECT 1")));
    for (asked, _) in scene.take_requests(0) {
        scene.server_says(0, &result(asked, 400_000));
    }
    scene.pass(STALLED_MAX * 2);
    assert!(scene.fault(client).is_none());
    // From here on it is late itself.
    scene.client_reads(client, false);
    scene.server_says(1, &large[100_000..200_000]);
    scene.pass(STALLED_MAX);
    assert!(scene.fault(client).is_some());
}

#[test]
fn a_connection_that_is_not_read_ends_with_its_client() {
    let mut scene = Scene::new(None);
    let client = asks_alone(&mut scene, &[1]);
    scene.client_reads(client, false);
    scene.server_says(1, &result(0, 1_000_000));
    scene.client_leaves(client);
    assert!(scene.server(1).borrow().is_closed);
}
