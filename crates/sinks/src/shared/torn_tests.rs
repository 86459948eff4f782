//! Requests that come in pieces, of which the first need not show what they do.

use super::scene::{READY_AGAIN, Scene, frame, large_query, query, result, set_keyspace};

/// The statement is prepared under this id.
fn prepared(id: i16, statement: &[u8; 2]) -> Vec<u8> {
    frame(0x84, id, 0x08, &[&[0, 0, 0, 4, 0, 2][..], statement].concat())
}

/// An EXECUTE of a statement, as long as is wished.
fn execute(id: i16, statement: &[u8; 2], padding: usize) -> Vec<u8> {
    frame(4, id, 0x0A, &[&[0, 2][..], statement, &vec![0; padding]].concat())
}

#[test]
fn a_statement_whose_first_word_was_not_seen_is_not_known_when_it_is_executed() {
    let mut scene = Scene::new(None);
    let client = scene.accepted();
    scene.take_bytes(0);
    let text = format!("/*{}*/USE k", "x".repeat(40_000)).into_bytes();
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    let prepare = frame(4, 1, 0x09, &[&length[..], &text].concat());
    scene.client_sends(client, &prepare[..30_000]);
    scene.server_says(1, &READY_AGAIN);
    scene.client_goes_on(client, &prepare[30_000..]);
    scene.server_says(1, &prepared(0, b"id"));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
    scene.take_bytes(1);
    // It changes the keyspace of whatever connection it is executed on, and what is sent after it must run there.
    scene.client_sends(client, &[execute(2, b"id", 3), query(3, "SELECT 1")].concat());
    assert_eq!(scene.take_requests(0), []);
    assert_eq!(scene.take_requests(1), [(1, 0x0A)]);
    scene.server_says(1, &set_keyspace(1, b'k'));
    assert_eq!(scene.take_replies(client), [(2, 0x08)]);
    assert_eq!(scene.take_requests(0), []);
    assert_eq!(scene.take_requests(1), [(2, 0x07)]);
}

#[test]
fn an_execute_whose_id_was_not_seen_does_not_tie_its_client_to_a_connection() {
    let mut scene = Scene::new(None);
    let client = scene.accepted();
    scene.take_bytes(0);
    let execute = execute(1, b"id", 100_000);
    scene.client_sends(client, &execute[..9]);
    scene.server_says(1, &READY_AGAIN);
    scene.client_goes_on(client, &execute[9..]);
    scene.server_says(1, &result(0, 0));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
    scene.server_ends(1);
    assert!(scene.fault(client).is_none());
    scene.client_sends(client, &query(2, "SELECT 1"));
    assert_eq!(scene.take_requests(0).len(), 1);
}

#[test]
fn a_request_that_comes_byte_by_byte_holds_no_more_than_its_bytes() {
    let mut scene = Scene::new(None);
    let client = scene.accepted();
    let request = large_query(1);
    // Nothing is sent before the session has begun on the connection that it goes on.
    scene.client_sends(client, &request[..69_000]);
    let taken = scene.pool.taken();
    for byte in &request[69_000..] {
        scene.client_goes_on(client, &[*byte]);
    }
    assert!(scene.pool.taken() <= taken + 2);
    scene.server_says(1, &READY_AGAIN);
    scene.server_says(1, &result(0, 0));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
    assert!(scene.take_bytes(1).ends_with(&request[9..]));
}
