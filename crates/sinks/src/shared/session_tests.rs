//! Whose connections may become shared, and what clients are told when theirs end.

use std::time::Duration;

use observe::Gauge;

use super::connection::STUCK_AFTER;
use super::inbox::STALLED_MAX;
use super::scene::{
    READY, READY_AGAIN, STARTUP, Scene, frame, large_query, long_query, query, result, set_keyspace,
};
use super::slots::SLOTS_MAX;

/// The server wants to know who it is.
fn authenticate(id: i16) -> Vec<u8> {
    frame(0x84, id, 0x03, b"\0\x01x")
}

fn auth_success(id: i16) -> Vec<u8> {
    frame(0x84, id, 0x10, &[0xff; 4])
}

/// A token of one byte.
fn auth_response(user: u8) -> Vec<u8> {
    frame(4, 0, 0x0F, &[0, 0, 0, 1, user])
}

/// A STARTUP with one more option.
fn startup_with(key: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    frame(4, 0, 0x01, &[&[0, 2][..], &STARTUP[11..], &text(key), &text(value)].concat())
}

#[test]
fn a_client_that_waits_for_its_session_shares_its_connection() {
    let mut scene = Scene::new(None);
    let first = scene.client();
    scene.client_sends(first, &frame(4, 0, 0x05, &[]));
    scene.server_says(0, &frame(0x84, 0, 0x06, &[0, 0]));
    scene.client_sends(first, &STARTUP);
    scene.server_says(0, &authenticate(1));
    scene.client_sends(first, &auth_response(b'a'));
    scene.server_says(0, &auth_success(2));
    let second = scene.client();
    scene.client_sends(second, &STARTUP);
    scene.server_says(1, &authenticate(0));
    scene.client_sends(second, &auth_response(b'a'));
    scene.server_says(1, &auth_success(1));
    assert!(scene.server(1).borrow().is_closed);
    scene.take_bytes(0);
    scene.client_sends(first, &query(5, "SELECT 1"));
    scene.client_sends(second, &query(5, "SELECT 2"));
    assert_eq!(scene.take_requests(0).len(), 2);
}

#[test]
fn a_connection_that_becomes_shared_is_counted_as_one() {
    let mut scene = Scene::new(None);
    scene.accepted();
    let counted = |scene: &Scene| [&scene.metrics.own_open, &scene.metrics.shared_open].map(Gauge::get);
    assert_eq!(counted(&scene), [0, 1]);
    scene.accepted();
    assert_eq!(counted(&scene), [0, 1]);
}

/// What a client may send behind its STARTUP without waiting for the answer.
fn sent_too_early() -> [(&'static str, Vec<u8>); 6] {
    [
        ("a query", query(1, "SELECT 1")),
        ("a change of keyspace", query(1, "USE k")),
        ("a request for events", frame(4, 1, 0x0B, &[0, 1, 0, 1, b'x'])),
        ("a second session", startup_with("A", "b")),
        ("a login", auth_response(b'a')),
        ("what the server can do", frame(4, 1, 0x05, &[])),
    ]
}

#[test]
fn a_connection_that_was_sent_more_than_a_handshake_is_never_shared() {
    for (what, early) in sent_too_early() {
        let mut scene = Scene::new(None);
        let hasty = scene.client();
        scene.client_sends(hasty, &[&STARTUP[..], &early].concat());
        scene.server_says(0, &READY);
        let other = scene.accepted();
        assert!(!scene.server(1).borrow().is_closed, "{what}: the other client's connection goes on");
        scene.take_bytes(0);
        scene.take_bytes(1);
        scene.client_sends(other, &query(5, "SELECT 1"));
        assert_eq!(scene.take_requests(0), [], "{what}");
        assert_eq!(scene.take_requests(1).len(), 1, "{what}");
        scene.client_sends(hasty, &query(6, "SELECT 1"));
        assert_eq!(scene.take_requests(0).len(), 1, "{what}");
        assert_eq!(scene.take_requests(1), [], "{what}");
    }
}

#[test]
fn a_connection_with_half_a_request_on_it_is_never_shared() {
    let mut scene = Scene::new(None);
    let hasty = scene.client();
    let large = long_query(1, "SELECT", 40_000);
    scene.client_sends(hasty, &[&STARTUP, &large[..30_000]].concat());
    scene.server_says(0, &READY);
    let other = scene.accepted();
    scene.client_sends(other, &query(5, "SELECT 1"));
    scene.client_goes_on(hasty, &large[30_000..]);
    assert_eq!(scene.take_requests(0), [(0, 0x01), (1, 0x07)]);
    scene.server_says(0, &result(1, 0));
    assert_eq!(scene.take_replies(hasty), [(0, 0x02), (1, 0x08)]);
}

#[test]
fn a_login_that_came_in_pieces_is_never_shared() {
    // Its second half is not at hand, so that two of them could not be told apart.
    let mut scene = Scene::new(None);
    let login = |last: u8| frame(4, 0, 0x0F, &[&[0, 0, 0x9C, 0x40][..], &[b'x'; 39_999], &[last]].concat());
    for (client, last) in [b'a', b'b'].into_iter().enumerate() {
        assert_eq!(scene.client(), client);
        scene.client_sends(client, &STARTUP);
        scene.server_says(client, &authenticate(0));
        scene.client_sends(client, &login(last)[..30_000]);
        scene.client_goes_on(client, &login(last)[30_000..]);
        scene.server_says(client, &auth_success(1));
        scene.take_bytes(client);
    }
    for client in 0..2 {
        scene.client_sends(client, &query(5, "SELECT 1"));
        assert_eq!(scene.take_requests(client).len(), 1);
    }
}

#[test]
fn events_reach_a_client_that_asked_for_them_before_its_session_was_accepted() {
    let mut scene = Scene::new(None);
    let hasty = scene.client();
    scene.client_sends(hasty, &[&STARTUP[..], &frame(4, 1, 0x0B, &[0, 1, 0, 1, b'x'])].concat());
    scene.server_says(0, &[READY, [0x84, 0, 0, 1, 0x02, 0, 0, 0, 0]].concat());
    scene.server_says(0, &frame(0x84, -1, 0x0C, b"event"));
    assert_eq!(scene.take_replies(hasty), [(0, 0x02), (1, 0x02), (-1, 0x0C)]);
}

#[test]
fn a_request_that_was_sent_too_early_has_its_end_when_its_connection_has() {
    for (what, early) in sent_too_early() {
        let mut scene = Scene::new(None);
        // There is a connection to share, so that no other would be kept.
        let _other = scene.accepted();
        let hasty = scene.client();
        scene.client_sends(hasty, &[&STARTUP[..], &early].concat());
        scene.server_says(1, &READY);
        assert_eq!(scene.take_replies(hasty), [(0, 0x02)]);
        scene.server_ends(1);
        assert!(scene.fault(hasty).is_some(), "{what}");
    }
}

#[test]
fn a_connection_that_its_client_has_left_ends_with_the_client() {
    let mut scene = Scene::new(None);
    let [client, other] = [scene.accepted(), scene.accepted()];
    has_large_reply(&mut scene, client);
    // There is a connection to share in the keyspace that it goes to.
    scene.client_sends(other, &query(2, "USE k"));
    scene.server_says(2, &READY_AGAIN);
    scene.server_says(2, &set_keyspace(0, b'k'));
    scene.client_sends(client, &[query(2, "SELECT 1"), query(3, "USE k")].concat());
    scene.server_says(3, &READY_AGAIN);
    scene.server_says(3, &set_keyspace(1, b'k'));
    assert_eq!(scene.take_replies(client), [(3, 0x08)]);
    assert!(!scene.server(3).borrow().is_closed, "a reply is due on it");
    scene.client_leaves(client);
    assert!(scene.server(3).borrow().is_closed);
}

/// The client asks this often.
fn ask(scene: &mut Scene, client: usize, times: usize) {
    let requests: Vec<u8> = (0..).take(times).flat_map(|id| query(id, "SELECT 1")).collect();
    scene.client_sends(client, &requests);
}

#[test]
fn a_connection_on_which_a_client_leaves_much_unanswered_is_shared_on() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let [leaver, other] = [scene.accepted(), scene.accepted()];
    ask(&mut scene, leaver, 300);
    scene.client_leaves(leaver);
    scene.take_bytes(0);
    scene.client_sends(other, &query(1, "SELECT 1"));
    assert_eq!(scene.take_requests(0), [(300, 0x07)]);
    // But its server is late with all that.
    scene.pass(READ_TIMEOUT);
    assert!(scene.server(0).borrow().is_closed);
    assert_eq!(scene.take_errors(other), [(1, 0x1200)]);
}

#[test]
fn a_connection_that_takes_no_more_requests_ends_with_the_last_client_it_owes_something() {
    let mut scene = Scene::new(None);
    let [first, last, waiting] = [scene.accepted(), scene.accepted(), scene.accepted()];
    ask(&mut scene, first, SLOTS_MAX - 1);
    scene.client_sends(last, &query(1, "SELECT 1"));
    scene.client_sends(waiting, &query(1, "SELECT 1"));
    assert!(scene.is_over_mark(waiting), "there is no room for its request");
    scene.client_leaves(first);
    assert_eq!(scene.take_requests(3), [(i16::MAX, 0x01)], "it is off the list of those that are shared");
    assert!(!scene.server(0).borrow().is_closed);
    scene.client_leaves(last);
    assert!(scene.server(0).borrow().is_closed);
}

#[test]
fn what_a_client_has_left_unanswered_in_another_keyspace_counts_when_it_goes() {
    let mut scene = Scene::new(None);
    let [client, other] = [scene.accepted(), scene.accepted()];
    ask(&mut scene, client, SLOTS_MAX);
    scene.client_sends(client, &query(3000, "USE k"));
    scene.server_says(2, &READY_AGAIN);
    scene.server_says(2, &set_keyspace(0, b'k'));
    assert_eq!(scene.take_replies(client), [(3000, 0x08)]);
    scene.client_leaves(client);
    scene.client_sends(other, &query(1, "SELECT 1"));
    assert_eq!(scene.take_requests(3), [(i16::MAX, 0x01)], "the first owes too many replies");
}

/// Replies that one client leaves unread, in bytes.
fn unread(scene: &mut Scene, client: usize, bytes: usize) {
    scene.client_reads(client, false);
    for (id, _) in (1..).zip(0..bytes / 500_000) {
        scene.client_sends(client, &query(id, "SELECT 1"));
        let (asked, _) = scene.take_requests(0).pop().expect("a request");
        scene.server_says(0, &result(asked, 500_000));
    }
}

#[test]
fn who_has_fetched_what_was_too_much_wakes_nobody_any_more() {
    let mut scene = Scene::new(None);
    let slow = scene.accepted();
    scene.take_bytes(0);
    for _ in 0..2 {
        unread(&mut scene, slow, 3_000_000);
        scene.pass(STALLED_MAX / 2);
        scene.client_reads(slow, true);
        assert_eq!(scene.take_replies(slow).len(), 6);
    }
    // Every turn of the scene looks for a deadline that has passed.
    scene.pass(STALLED_MAX * 2);
    assert!(scene.fault(slow).is_none());
}

#[test]
fn who_fetches_nothing_for_too_long_is_cut_off() {
    let mut scene = Scene::new(None);
    let slow = scene.accepted();
    scene.take_bytes(0);
    unread(&mut scene, slow, 3_000_000);
    scene.pass(STALLED_MAX.saturating_sub(Duration::from_millis(1)));
    assert!(scene.fault(slow).is_none());
    scene.pass(Duration::from_millis(1));
    assert!(scene.fault(slow).is_some());
}

#[test]
fn the_largest_inboxes_are_cut_off_until_the_rest_fits() {
    let mut scene = Scene::new(None);
    let clients = [(); 3].map(|()| scene.accepted());
    scene.take_bytes(0);
    let [small, large, larger] = clients;
    for (client, megabytes) in [(small, 4), (large, 30), (larger, 31)] {
        unread(&mut scene, client, megabytes * 1_000_000);
        assert!(clients.iter().all(|client| scene.fault(*client).is_none()));
    }
    unread(&mut scene, small, 8_000_000);
    assert_eq!(clients.map(|client| scene.fault(client).is_some()), [false, false, true]);
}

/// How long requests wait for their replies in these tests.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The client gets a large reply on the first connection: none of its requests is shared any more.
fn has_large_reply(scene: &mut Scene, client: usize) {
    scene.client_sends(client, &query(1, "SELECT 1"));
    scene.server_says(0, &result(1, 2_000_000));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
}

/// The client asks more on its own connection than may be left unanswered, and all of it is.
fn leave_unanswered(scene: &mut Scene, client: usize) {
    for id in 0..300 {
        scene.client_sends(client, &query(id, "SELECT 1"));
    }
    scene.pass(READ_TIMEOUT);
    let told = scene.take_replies(client);
    assert!(told.len() == 300 && told.iter().all(|(_, opcode)| *opcode == 0), "errors");
}

#[test]
fn a_request_that_was_sent_too_early_times_out_as_what_it_is() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.client();
    scene.client_sends(client, &[&STARTUP[..], &query(1, "SELECT 1")].concat());
    scene.server_says(0, &READY);
    scene.take_replies(client);
    scene.pass(READ_TIMEOUT);
    assert_eq!(scene.take_errors(client), [(1, 0x1200)]);
    assert!(scene.fault(client).is_none());
}

#[test]
fn a_client_ends_when_nobody_knows_where_its_early_requests_run() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.client();
    scene.client_sends(client, &[&STARTUP[..], &query(1, "USE k")].concat());
    scene.pass(READ_TIMEOUT);
    assert!(scene.fault(client).is_some());
}

#[test]
fn a_client_hears_that_the_only_connection_it_can_have_is_given_up() {
    for early in [query(1, "SELECT 1"), frame(4, 1, 0x0B, &[0, 1, 0, 1, b'x'])] {
        let mut scene = Scene::new(Some(READ_TIMEOUT));
        let client = scene.client();
        scene.client_sends(client, &[&STARTUP[..], &early].concat());
        scene.server_says(0, &[&READY[..], &result(1, 0)].concat());
        assert_eq!(scene.take_replies(client).len(), 2);
        leave_unanswered(&mut scene, client);
        assert!(scene.server(0).borrow().is_closed);
        assert!(scene.fault(client).is_some(), "nobody would answer its next request");
    }
}

#[test]
fn a_client_with_events_hears_that_its_connection_is_given_up() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.accepted();
    scene.client_sends(client, &frame(4, 1, 0x0B, &[0, 1, 0, 1, b'x']));
    scene.server_says(1, &READY_AGAIN);
    scene.server_says(1, &frame(0x84, 0, 0x02, &[]));
    assert_eq!(scene.take_replies(client), [(1, 0x02)]);
    // What asks for a connection of its own goes where the events are.
    has_large_reply(&mut scene, client);
    leave_unanswered(&mut scene, client);
    assert!(scene.fault(client).is_some(), "it would never hear of an event again");
}

#[test]
fn a_client_whose_connection_is_given_up_goes_on_upon_another() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.accepted();
    has_large_reply(&mut scene, client);
    scene.client_sends(client, &query(2, "SELECT 1"));
    scene.server_says(1, &READY_AGAIN);
    scene.server_says(1, &result(0, 0));
    assert_eq!(scene.take_replies(client), [(2, 0x08)]);
    leave_unanswered(&mut scene, client);
    assert!(scene.server(1).borrow().is_closed && scene.fault(client).is_none());
    scene.client_sends(client, &query(3, "SELECT 1"));
    scene.server_says(2, &READY_AGAIN);
    scene.server_says(2, &result(0, 0));
    assert_eq!(scene.take_replies(client), [(3, 0x08)]);
}

/// A client whose next request waits for a session that is begun again, and the server connection it is begun on.
fn waits_for_session(scene: &mut Scene) -> (usize, usize) {
    let client = scene.accepted();
    scene.client_sends(client, &query(1, "USE k"));
    assert_eq!(scene.take_requests(1), [(i16::MAX, 0x01)]);
    (client, 1)
}

#[test]
fn a_server_cannot_fill_the_memory_while_a_session_is_begun_again() {
    let mut scene = Scene::new(None);
    let (client, server) = waits_for_session(&mut scene);
    scene.server(server).borrow_mut().flood = Some(0);
    scene.server_says(server, &[0x84, 0, 0x7F, 0xFF, 0x02, 0x0F, 0xFF, 0xFF, 0xFF]);
    assert!(scene.server(server).borrow().is_closed);
    assert!(scene.server(server).borrow().read_bytes < 200_000);
    assert_eq!(scene.take_replies(client), [(1, 0x00)]);
}

#[test]
fn a_session_that_drips_in_is_given_up_in_time() {
    let mut scene = Scene::new(None);
    let (client, server) = waits_for_session(&mut scene);
    scene.server_says(server, &[0x84, 0, 0x7F, 0xFF, 0x02, 0, 0, 0, 9]);
    for _ in 0..2 {
        scene.pass(Duration::from_secs(1));
        scene.server_says(server, &[0]);
    }
    assert!(!scene.server(server).borrow().is_closed);
    scene.server(server).borrow_mut().say_later(&[0]);
    scene.pass(Duration::from_secs(1));
    assert!(scene.server(server).borrow().is_closed);
    assert_eq!(scene.take_replies(client), [(1, 0x00)]);
}

#[test]
fn a_long_answer_to_a_session_that_is_begun_again_is_read_in_more_than_one_turn() {
    let mut scene = Scene::new(None);
    let (client, server) = waits_for_session(&mut scene);
    scene.server_says(server, &frame(0x84, i16::MAX, 0x02, &[0; 65_536]));
    scene.server_says(server, &set_keyspace(0, b'k'));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
}

#[test]
fn a_request_for_which_no_connection_has_room_is_told_so_in_time() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.accepted();
    scene.server(0).borrow_mut().is_deaf = true;
    scene.client_sends(client, &query(1, "SELECT 1"));
    scene.pass(STUCK_AFTER);
    scene.client_sends(client, &[query(2, "SELECT 1"), query(3, "INSERT 1")].concat());
    scene.pass(READ_TIMEOUT - STUCK_AFTER);
    assert_eq!(scene.take_errors(client), [(1, 0x1200)]);
    assert!(scene.is_over_mark(client));
    scene.pass(STUCK_AFTER);
    // They were not sent, and may be sent again.
    assert_eq!(scene.take_errors(client), [(2, 0x0000), (3, 0x0000)]);
    assert!(!scene.is_over_mark(client) && scene.fault(client).is_none());
}

#[test]
fn without_a_timeout_a_request_waits_for_room() {
    let mut scene = Scene::new(None);
    let client = scene.accepted();
    scene.take_bytes(0);
    scene.server(0).borrow_mut().is_deaf = true;
    scene.client_sends(client, &query(1, "SELECT 1"));
    scene.pass(STUCK_AFTER);
    scene.client_sends(client, &query(2, "SELECT 1"));
    scene.pass(READ_TIMEOUT * 1000);
    scene.server_hears(0);
    assert_eq!(scene.take_requests(0), [(1, 0x07), (2, 0x07)]);
}

#[test]
fn a_connection_of_a_clients_own_that_has_no_room_for_too_long_is_left() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.accepted();
    scene.client_sends(client, &large_query(1));
    scene.server_says(1, &READY_AGAIN);
    scene.server_says(1, &result(0, 0));
    assert_eq!(scene.take_replies(client), [(1, 0x08)]);
    scene.server(1).borrow_mut().is_deaf = true;
    // The last one has no room any more, and is not wholly there.
    let requests: Vec<u8> = (2..7).flat_map(large_query).collect();
    scene.client_sends(client, &requests[..requests.len() - 30_000]);
    assert!(scene.is_over_mark(client));
    scene.pass(READ_TIMEOUT);
    let told: Vec<i16> = scene.take_errors(client).iter().map(|(id, _)| *id).collect();
    assert_eq!(told, [6, 2, 3, 4, 5]);
    assert!(!scene.is_over_mark(client));
    scene.client_goes_on(client, &requests[requests.len() - 30_000..]);
    scene.client_sends(client, &large_query(7));
    scene.server_says(2, &READY_AGAIN);
    assert_eq!(scene.take_requests(2), [(i16::MAX, 0x01), (0, 0x07)]);
}

#[test]
fn a_request_for_events_that_was_not_sent_does_not_tie_its_client_to_a_connection() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.accepted();
    scene.client_sends(client, &large_query(1));
    scene.server_says(1, &READY_AGAIN);
    scene.server(1).borrow_mut().is_deaf = true;
    (2..6).for_each(|id| scene.client_sends(client, &large_query(id)));
    scene.client_sends(client, &frame(4, 6, 0x0B, &[0, 1, 0, 1, b'x']));
    scene.pass(READ_TIMEOUT);
    assert!(scene.fault(client).is_none());
    assert_eq!(scene.take_errors(client).len(), 6);
    scene.client_sends(client, &query(7, "SELECT 1"));
    assert_eq!(scene.take_requests(0).len(), 2);
}

#[test]
fn a_client_ends_when_the_only_connection_it_can_have_has_no_room_for_too_long() {
    let mut scene = Scene::new(Some(READ_TIMEOUT));
    let client = scene.client();
    scene.client_sends(client, &[&STARTUP[..], &query(1, "SELECT 1")].concat());
    scene.server_says(0, &[&READY[..], &result(1, 0)].concat());
    scene.server(0).borrow_mut().is_deaf = true;
    for id in 2..6 {
        scene.client_sends(client, &large_query(id));
    }
    assert!(scene.is_over_mark(client));
    scene.pass(READ_TIMEOUT);
    assert!(scene.fault(client).is_some());
}

#[test]
fn the_rest_of_a_request_that_was_given_up_goes_nowhere() {
    // The second changes the keyspace; what the third does is not seen.
    for text in ["SELECT", "USE", "/*"] {
        let mut scene = Scene::new(Some(READ_TIMEOUT));
        let client = scene.accepted();
        scene.client_sends(client, &large_query(1));
        scene.server_says(1, &READY_AGAIN);
        scene.server_says(1, &result(0, 0));
        scene.server(1).borrow_mut().is_deaf = true;
        let request = long_query(2, text, 400_000);
        scene.client_sends(client, &request[..30_000]);
        scene.client_goes_on(client, &request[30_000..300_000]);
        scene.pass(READ_TIMEOUT);
        assert_eq!(scene.take_replies(client), [(1, 0x08), (2, 0x00)], "{text}");
        scene.client_goes_on(client, &request[300_000..]);
        scene.client_sends(client, &large_query(3));
        scene.server_says(2, &READY_AGAIN);
        assert_eq!(scene.take_requests(2), [(i16::MAX, 0x01), (0, 0x07)], "{text}");
        assert!(scene.fault(client).is_none(), "{text}");
    }
}
