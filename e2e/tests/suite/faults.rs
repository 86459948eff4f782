//! Peers that misbehave: each costs its own connection and nobody else's.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;

use testkit::scripted::{Peer, Server, accept_session, encode, error, opcode, query};
use testkit::{Proxy, free_port};

/// Sends bytes as a client, and says what came back until the proxy closed. Another client is served before and after.
fn refused(bytes: &[u8]) -> Vec<(i16, i32, String)> {
    let server = Server::echo();
    let proxy = Proxy::passthrough(server.port);
    let mut other = Peer::session(proxy.port);
    let mut client = Peer::connect(proxy.port);
    client.send(bytes);
    let frames = client.receive_all();
    other.send(&encode(4, 5, opcode::QUERY, b"still here"));
    assert_eq!(other.receive().unwrap().body, b"still here");
    proxy.stop().unwrap();
    frames
        .into_iter()
        .map(|frame| {
            assert_eq!(frame.opcode, opcode::ERROR);
            let (code, text) = error(&frame.body);
            (frame.id, code, text)
        })
        .collect()
}

const PROTOCOL_ERROR: i32 = 0x000A;

#[test]
fn a_client_that_sends_garbage_is_refused() {
    let expected = vec![(0, PROTOCOL_ERROR, "Invalid or unsupported protocol version".to_owned())];
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), expected);
}

#[test]
fn other_protocol_versions_are_refused_so_that_drivers_step_down() {
    for version in [1, 2, 5, 6, 0x41] {
        let startup = encode(version, 0, opcode::STARTUP, &[0, 0]);
        let expected = vec![(0, PROTOCOL_ERROR, "Invalid or unsupported protocol version".to_owned())];
        assert_eq!(refused(&startup), expected, "version {version}");
    }
}

#[test]
fn a_client_that_sends_a_negative_length_is_refused() {
    let [first, ..] = &*refused(&[4, 0, 0, 9, opcode::QUERY, 0xff, 0xff, 0xff, 0xff]) else { panic!() };
    assert_eq!((first.0, first.1, &*first.2), (9, PROTOCOL_ERROR, "negative body length -1"));
}

#[test]
fn a_client_that_sends_an_unknown_opcode_is_refused() {
    let [first, ..] = &*refused(&[4, 0, 0, 9, 0x63, 0, 0, 0, 0]) else { panic!() };
    assert_eq!((first.0, first.1, &*first.2), (9, PROTOCOL_ERROR, "unknown opcode 0x63"));
}

#[test]
fn a_client_that_declares_two_gib_is_refused() {
    let [first, ..] = &*refused(&[4, 0, 0, 9, opcode::QUERY, 0x7f, 0xff, 0xff, 0xff]) else { panic!() };
    assert_eq!((first.0, first.1), (9, PROTOCOL_ERROR));
    assert!(first.2.starts_with("body of 2147483647 bytes, at most 65536"), "{}", first.2);
}

#[test]
fn no_other_reply_passes_for_that_to_a_use() {
    const OPTIONS: u8 = 0x05;
    let (got, requests) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        let Ok(request) = peer.receive() else { return };
        got.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        peer.send(&encode(0x84, request.id, opcode::RESULT, &[0, 0, 0, 3, 0, 1, b'a']));
        assert!(peer.receive().is_err(), "which of the replies it answers could not be told");
        got.send(()).unwrap();
    });
    let sink = format!(
        "CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}",
        server.port
    );
    let filter = "QueryTypeFilter: {name: f, deny_tables: [a.t]}";
    let proxy = Proxy::with_chain(&format!("[{filter}, {sink}]"), "");
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 5, opcode::QUERY, &query(b"USE a")));
    requests.recv().unwrap();
    client.send(&encode(4, 5, OPTIONS, &[]));
    client.send(&encode(4, 6, opcode::QUERY, &query(b"SELECT * FROM t")));
    release.send(()).unwrap();
    let [used, refused] = &*client.receive_all() else { panic!() };
    assert_eq!((used.id, used.opcode), (5, opcode::RESULT));
    let (code, text) = error(&refused.body);
    assert_eq!((refused.id, code, &*text), (5, PROTOCOL_ERROR, "stream id 5 is in flight already"));
    requests.recv().unwrap();
    proxy.stop().unwrap();
}

#[test]
fn a_client_that_sends_nothing_is_closed_when_it_is_idle_for_too_long() {
    let server = Server::echo();
    let chain = format!(
        "[CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}]",
        server.port
    );
    let proxy = Proxy::with_chain(&chain, "timeout: 1,");
    let mut idle = Peer::connect(proxy.port);
    let mut busy = Peer::session(proxy.port);
    for _ in 0..15 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        busy.send(&encode(4, 5, opcode::QUERY, b"x"));
        assert_eq!(busy.receive().unwrap().id, 5);
    }
    assert_eq!(idle.0.read(&mut [0]).unwrap(), 0);
    proxy.stop().unwrap();
}

#[test]
fn the_idle_timeout_spares_who_reads_slowly_and_ends_who_does_not_read() {
    const BODY_BYTES: usize = 32 << 20;
    let server = Server::start(|mut peer| {
        accept_session(&mut peer);
        let Ok(request) = peer.receive() else { return };
        drop(peer.0.write_all(&encode(0x84, request.id, opcode::RESULT, &vec![7; BODY_BYTES])));
        // The second request is never answered.
        while peer.receive().is_ok() {}
    });
    let chain = format!(
        "[CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}]",
        server.port
    );
    let proxy = Proxy::with_chain(&chain, "timeout: 1,");
    let [mut slow, mut stuck] = [(); 2].map(|()| {
        let mut client = Peer::session(proxy.port);
        client.send(&encode(4, 1, opcode::QUERY, b"x"));
        client
    });
    stuck.send(&encode(4, 2, opcode::QUERY, b"x"));
    let mut part = vec![0; 1 << 20];
    slow.0.read_exact(&mut part[..9]).unwrap();
    for _ in 0..BODY_BYTES / part.len() {
        slow.0.read_exact(&mut part).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut got = 0;
    while let Ok(count @ 1..) = stuck.0.read(&mut part) {
        got += count;
    }
    assert!(got < BODY_BYTES, "{got}");
    proxy.stop().unwrap();
}

#[test]
fn a_server_that_stalls_inside_a_large_reply_times_out() {
    for connections in ["PerClient", "Shared"] {
        let server = Server::start(|mut peer| {
            accept_session(&mut peer);
            let Ok(request) = peer.receive() else { return };
            peer.send(&encode(0x84, request.id, opcode::RESULT, &vec![7; 1 << 20])[..1 << 19]);
            drop(peer.receive());
        });
        let proxy = Proxy::with_chain(&impatient_sink(server.port, connections), "");
        let mut client = Peer::session(proxy.port);
        client.0.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        client.send(&encode(4, 1, opcode::QUERY, &query(b"SELECT 1")));
        let mut got = Vec::new();
        // Ended by the proxy, and not by this end's patience.
        client.0.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 1 << 19, "{connections}");
        proxy.stop().unwrap();
    }
}

/// A chain whose server may be silent for a second.
fn impatient_sink(port: u16, connections: &str) -> String {
    let options = format!("remote_address: '127.0.0.1:{port}', connect_timeout_ms: 3000, read_timeout: 1");
    format!("[CassandraSinkSingle: {{name: s, {options}, connections: {connections}}}]")
}

#[test]
fn a_server_that_waits_for_a_slow_client_is_not_silent() {
    let server = Server::echo();
    for connections in ["PerClient", "Shared"] {
        let proxy = Proxy::with_chain(&impatient_sink(server.port, connections), "");
        let mut client = Peer::session(proxy.port);
        let body = query(&[&b"SELECT "[..], &[b'x'; 400_000]].concat());
        let request = encode(4, 1, opcode::QUERY, &body);
        // Steadily, and then with a pause that is longer than the server may be silent.
        for (piece, pause) in request.chunks(110_000).zip([600, 600, 1300, 0]) {
            client.send(piece);
            std::thread::sleep(std::time::Duration::from_millis(pause));
        }
        assert!(client.receive().expect("its reply").body == body, "{connections}");
        proxy.stop().unwrap();
    }
}

#[test]
fn a_refused_server_answers_every_request_by_its_own_error() {
    let port = free_port();
    let chain = format!(
        "[CassandraSinkSingle: {{name: sink, remote_address: '127.0.0.1:{port}', connect_timeout_ms: 3000}}]"
    );
    let proxy = Proxy::with_chain(&chain, "");
    for _ in 0..2 {
        // Each client is a fresh attempt.
        let mut client = Peer::connect(proxy.port);
        let requests: Vec<u8> = (1..=10).flat_map(|id| encode(4, id, opcode::QUERY, &query(b"x"))).collect();
        client.send(&requests);
        let replies = client.receive_all();
        assert_eq!(replies.iter().map(|reply| reply.id).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        for reply in replies {
            let (code, text) = error(&reply.body);
            assert_eq!(code, 0);
            assert_eq!(
                text,
                format!(
                    "Internal shotover (or custom transform) bug (chain: c): Failed to send and/or receive messages, \
                     the connection will now be closed.\n\nCaused by:\n    0: Transform CassandraSinkSingle named sink \
                     failed in chain c\n    1: Failed to connect to destination 127.0.0.1:{port}\n    2: Connection \
                     refused (os error 111)"
                )
            );
        }
    }
    proxy.stop().unwrap();
}

/// What a client with two requests in flight gets, when the server does `end` after it answered the first.
fn after_one_reply(end: impl Fn(&mut Peer, i16) + Send + Sync + 'static) -> Vec<i16> {
    let (connected, connections) = mpsc::channel();
    let server = Server::start(move |mut peer| {
        connected.send(()).unwrap();
        accept_session(&mut peer);
        let (Ok(first), Ok(second)) = (peer.receive(), peer.receive()) else { return };
        peer.send(&encode(0x84, first.id, opcode::RESULT, b"done"));
        end(&mut peer, second.id);
        // Whatever the proxy does must not be because this end closed.
        drop(peer.receive());
    });
    let proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    client.send(&[encode(4, 1, opcode::QUERY, b"a"), encode(4, 2, opcode::QUERY, b"b")].concat());
    let ids = client.receive_all().into_iter().map(|reply| reply.id).collect();
    assert_eq!(connections.try_iter().count(), 1);
    // The next client gets a connection of its own.
    drop(Peer::session(proxy.port));
    assert_eq!(connections.try_iter().count(), 1);
    proxy.stop().unwrap();
    ids
}

#[test]
fn a_server_that_dies_closes_the_client_after_what_arrived() {
    assert_eq!(after_one_reply(|peer, _| peer.0.shutdown(Shutdown::Both).unwrap()), [1]);
}

#[test]
fn a_server_that_dies_inside_a_reply_closes_the_client() {
    let ids = after_one_reply(|peer, id| {
        peer.send(&encode(0x84, id, opcode::RESULT, &[1; 100])[..50]);
        peer.0.shutdown(Shutdown::Both).unwrap();
    });
    assert_eq!(ids, [1]);
}

#[test]
fn garbage_from_a_server_closes_both_sides() {
    assert_eq!(after_one_reply(|peer, _| peer.send(&[0x13; 100])), [1]);
}

#[test]
fn an_unknown_stream_id_from_a_server_closes_both_sides() {
    assert_eq!(after_one_reply(|peer, _| peer.send(&encode(0x84, 77, opcode::RESULT, b"?"))), [1]);
}

#[test]
fn an_error_on_an_unknown_stream_id_is_logged_in_the_servers_words() {
    let server = Server::start(|mut peer| {
        accept_session(&mut peer);
        drop(peer.receive());
        let text = b"wrong\nin every way";
        let body = [&[0, 0, 0, 0x0a, 0, text.len() as u8], text.as_slice()].concat();
        peer.send(&encode(0x84, 0, opcode::ERROR, &body));
        drop(peer.receive());
    });
    let mut proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 7, opcode::QUERY, b"x"));
    assert!(client.receive_all().is_empty());
    let expected = r"Cassandra V4 stream:0 Error 0x000a wrong\nin every way";
    proxy.child.wait_for_line(expected, std::time::Duration::from_secs(5)).unwrap();
    proxy.stop().unwrap();
}

#[test]
fn events_pass_though_nobody_asked() {
    let server = Server::start(|mut peer| {
        accept_session(&mut peer);
        peer.send(&encode(0x84, -1, opcode::EVENT, b"news"));
        drop(peer.receive());
    });
    let proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    assert_eq!(client.receive().unwrap().body, b"news");
    proxy.stop().unwrap();
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_replies() {
    let server = Server::echo();
    let proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    let requests: Vec<u8> = (0..100).flat_map(|id| encode(4, id, opcode::QUERY, b"x")).collect();
    client.send(&requests);
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.receive_all().len(), 100);
    proxy.stop().unwrap();
}

#[test]
fn filters_and_returners_answer_in_place_of_the_server() {
    let server = Server::echo();
    let sink = format!(
        "CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}",
        server.port
    );
    let filters =
        "QueryTypeFilter: {name: a, DenyList: [Write]}, QueryTypeFilter: {name: b, DenyList: [SchemaChange]}";
    let proxy = Proxy::with_chain(&format!("[DebugPrinter: {{name: p}}, {filters}, {sink}]"), "");
    let mut client = Peer::session(proxy.port);
    for (id, text) in [(1, "SELECT 1"), (2, "/* */ insert into t"), (3, "DROP TABLE t")] {
        client.send(&encode(4, id, opcode::QUERY, &query(text.as_bytes())));
    }
    let mut replies: Vec<_> = (0..3).map(|_| client.receive().unwrap()).collect();
    replies.sort_by_key(|reply| reply.id);
    assert_eq!(replies[0].opcode, opcode::RESULT);
    for reply in &replies[1..] {
        assert_eq!(error(&reply.body), (0x2200, "Message was filtered out by shotover".to_owned()));
    }
    proxy.stop().unwrap();

    let proxy = Proxy::with_chain("[QueryTypeFilter: {name: f, DenyList: [Read]}, NullSink: {name: n}]", "");
    let mut client = Peer::connect(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT")));
    assert_eq!(error(&client.receive().unwrap().body), (0, "Handled by shotover null transform".to_owned()));
    proxy.stop().unwrap();

    let proxy = Proxy::with_chain("[DebugReturner: {name: r, Fail: null}]", "");
    let mut client = Peer::connect(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"x")));
    let frames = client.receive_all();
    assert!(error(&frames[0].body).1.ends_with("1: Intentional Fail!"), "{frames:?}");
    proxy.stop().unwrap();
}

#[test]
fn a_startup_that_no_server_takes_gets_the_servers_error_and_ends_nobody_else() {
    const REFUSED: &[u8] = b"\0\0\0\x0a\0\x07refused";
    let unknown = b"\0\x02\0\x0bCQL_VERSION\0\x053.0.0\0\x0bCOMPRESSION\0\x05zippy".as_slice();
    // More options than there are, a length beyond the end, no text.
    let malformed: [&[u8]; 4] = [b"", b"\0\x05", b"\0\x01\xff\xffCQL", b"\0\x01\0\x01\xff\0\x01\xff"];
    let server = Server::start(|mut peer| {
        while let Ok(frame) = peer.receive() {
            let is_good = frame.opcode != opcode::STARTUP || frame.body == b"\0\0";
            let reply = match frame.opcode {
                opcode::STARTUP if is_good => encode(0x84, frame.id, opcode::READY, &[]),
                opcode::STARTUP => encode(0x84, frame.id, opcode::ERROR, REFUSED),
                _ => encode(0x84, frame.id, opcode::RESULT, &frame.body),
            };
            peer.send(&reply);
            if !is_good {
                return;
            }
        }
    });
    for connections in ["PerClient", "Shared"] {
        let proxy = Proxy::with_chain(&impatient_sink(server.port, connections), "");
        let mut other = Peer::session(proxy.port);
        for body in malformed.iter().chain([&unknown]) {
            let mut client = Peer::connect(proxy.port);
            client.send(&encode(4, 3, opcode::STARTUP, body));
            let replies = client.receive_all();
            let [only] = &*replies else { panic!("{connections} {body:?}: {replies:?}") };
            assert_eq!((only.id, error(&only.body)), (3, (PROTOCOL_ERROR, "refused".to_owned())), "{body:?}");
        }
        other.send(&encode(4, 5, opcode::QUERY, &query(b"still here")));
        assert_eq!(other.receive().unwrap().id, 5, "{connections}");
        drop(other);
        proxy.stop().unwrap();
    }
}

#[test]
fn a_server_that_was_asked_nothing_since_a_filter_answered_is_not_silent() {
    let server = Server::echo();
    for connections in ["PerClient", "Shared"] {
        let sink = impatient_sink(server.port, connections);
        let chain = sink.replacen('[', "[QueryTypeFilter: {name: f, DenyList: [Write]}, ", 1);
        let proxy = Proxy::with_chain(&chain, "");
        let mut client = Peer::session(proxy.port);
        client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT")));
        assert_eq!(client.receive().unwrap().opcode, opcode::ERROR);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        client.send(&encode(4, 2, opcode::QUERY, &query(b"SELECT")));
        let reply = client.receive().expect("the session goes on");
        assert_eq!((reply.id, reply.opcode), (2, opcode::RESULT), "{connections}");
        drop(client);
        proxy.stop().unwrap();
    }
}

#[test]
fn a_server_whose_name_has_no_address_is_an_error_and_the_next_client_tries_again() {
    const NAME: &str = "no.such.name.invalid:9042";
    for connections in ["PerClient", "Shared"] {
        let chain = impatient_sink(1, connections).replace("127.0.0.1:1", NAME);
        let proxy = Proxy::with_chain(&chain, "");
        for _ in 0..2 {
            let mut client = Peer::connect(proxy.port);
            client.send(&encode(4, 1, opcode::QUERY, &query(b"x")));
            let replies = client.receive_all();
            let [only] = &*replies else { panic!("{replies:?}") };
            let (code, text) = error(&only.body);
            assert_eq!(code, 0, "{text}");
            assert!(text.contains(&format!("Failed to connect to destination {NAME}")), "{text}");
        }
        proxy.stop().unwrap();
    }
}
