//! How long a server may be silent, and what then becomes of its clients.

use std::time::Duration;

use super::scene::{Scene, query, result};

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
