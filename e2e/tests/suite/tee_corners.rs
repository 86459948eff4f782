//! Tee where its second chain is not given a request, or gives no reply of its own.

use std::time::{Duration, Instant};

use testkit::scripted::{Frame, Peer, Server, encode, error, opcode, query};
use testkit::{Proxy, free_port};

use super::tee::{ROOMY, VOID, WAIT, dropped, http, keyspaces, prepared, result, server, sink, tee};

/// Longer than what comes in one chunk.
const LARGE_BYTES: usize = 40_000;

/// A statement that comes in more than one piece.
fn large() -> Vec<u8> {
    [b"INSERT ", &*vec![b'x'; LARGE_BYTES]].concat()
}

/// An error that says that a statement is not known.
fn unprepared(frame: &Frame, id: &[u8]) -> Option<Vec<u8>> {
    let body = [&[0, 0, 0x25, 0, 0, 2][..], b"no", &[0, id.len() as u8], id].concat();
    Some(encode(0x84, frame.id, opcode::ERROR, &body))
}

fn execute(id: &[u8], more: &[u8]) -> Vec<u8> {
    [&[0, id.len() as u8][..], id, more].concat()
}

fn prepare(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text].concat()
}

/// Ends a client whose connection still stands, so that what the test did not read does not matter.
fn end_of(proxy: Proxy, client: Peer) {
    drop(client);
    proxy.stop().unwrap();
}

/// What is counted becomes `expected`, since the end of a client is noticed later.
fn assert_dropped(proxy: &Proxy, expected: u64) {
    for _ in 0..100 {
        if dropped(proxy) == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(dropped(proxy), expected);
}

#[test]
fn tee_switched_over_answers_by_the_first_chain_what_the_second_was_not_given() {
    let (main, _frames) = server(|frame| match frame.opcode {
        opcode::PREPARE => result(frame, &prepared(b"main")),
        _ => result(frame, &VOID),
    });
    // The first one's answer to the EXECUTE is there before this one refuses to prepare.
    let (other, _others) = server(|frame| {
        std::thread::sleep(Duration::from_millis(300));
        Some(encode(0x84, frame.id, opcode::ERROR, &[0, 0, 0x22, 0, 0, 2, b'n', b'o']))
    });
    let port = free_port();
    let proxy = tee(main.port, other.port, &format!("switch_port: {port},"));
    http(port, "PUT /transform/tee/result-source", "tee-chain");
    let mut client = Peer::session(proxy.port);
    client.0.set_read_timeout(Some(WAIT)).unwrap();
    client.send(&encode(4, 1, opcode::PREPARE, &prepare(b"INSERT INTO t")));
    assert_eq!(client.receive().unwrap().body, prepared(b"main"));
    client.send(&encode(4, 2, opcode::EXECUTE, &execute(b"main", &[0, 1, 0])));
    assert_eq!(client.receive().expect("the first one's reply").body, VOID);
    assert_eq!(dropped(&proxy), 1);
    end_of(proxy, client);
}

#[test]
fn tee_answers_by_the_first_chain_when_the_second_server_has_forgotten_a_statement() {
    for options in ["behavior: FailOnMismatch,", "behavior: Ignore,"] {
        let (main, _frames) = server(|frame| match frame.opcode {
            opcode::PREPARE => result(frame, &prepared(b"main")),
            _ => result(frame, &VOID),
        });
        let (other, mirrored) = server(|frame| match frame.opcode {
            opcode::PREPARE => result(frame, &prepared(b"other")),
            _ => unprepared(frame, b"other"),
        });
        let port = free_port();
        let proxy = tee(main.port, other.port, &format!("{options} switch_port: {port},"));
        let mut client = Peer::session(proxy.port);
        client.send(&encode(4, 1, opcode::PREPARE, &prepare(b"INSERT INTO t")));
        assert_eq!(client.receive().unwrap().body, prepared(b"main"));
        assert_eq!(mirrored.recv_timeout(WAIT).unwrap().opcode, opcode::PREPARE);
        for (nth, source) in (1..).zip(["regular-chain", "tee-chain"]) {
            http(port, "PUT /transform/tee/result-source", source);
            client.send(&encode(4, 1, opcode::EXECUTE, &execute(b"main", &[0, 1, 0])));
            assert_eq!(client.receive().unwrap().body, VOID, "{options} {source}");
            assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, execute(b"other", &[0, 1, 0]));
            assert_dropped(&proxy, nth);
        }
        end_of(proxy, client);
    }
}

#[test]
fn tee_whose_queue_is_full_still_takes_the_rest_of_a_large_request() {
    let (main, _frames) = server(|frame| result(frame, &VOID));
    // It never accepts a session: nothing leaves the queue.
    let other = Server::start(|_peer| std::thread::sleep(Duration::from_secs(60)));
    let proxy = tee(main.port, other.port, "buffer_size: 2, timeout_micros: 100000,");
    let mut client = Peer::session(proxy.port);
    client.0.set_read_timeout(Some(WAIT)).unwrap();
    for body in [query(b"q"), query(b"q"), query(&large()), query(&large())] {
        client.send(&encode(4, 1, opcode::QUERY, &body));
        assert_eq!(client.receive().expect("a reply").body, VOID);
    }
    proxy.child.signal("TERM");
}

#[test]
fn timers_go_on_while_the_rest_of_an_answered_request_is_due() {
    let (main, frames) = server(|frame| result(frame, &VOID));
    let silent = Server::start(|_peer| std::thread::sleep(Duration::from_secs(60)));
    let filter = "QueryTypeFilter: {name: f, DenyList: [Write]}";
    let (silent, end) = (sink("silent", silent.port), sink("main", main.port));
    let full = format!("Tee: {{name: t, buffer_size: 1, timeout_micros: 100000, chain: [{silent}]}}");
    let held = "Coalesce: {name: k, flush_when_millis_since_last_flush: 100}".to_owned();
    for waits in [full, held] {
        let proxy = Proxy::with_chain(&format!("[{filter}, {waits}, {end}]"), "");
        let mut client = Peer::session(proxy.port);
        client.0.set_read_timeout(Some(WAIT)).unwrap();
        let denied = encode(4, 2, opcode::QUERY, &query(&[large(), vec![b'x'; 200_000]].concat()));
        let (start, rest) = denied.split_at(60_000);
        client.send(&[&encode(4, 1, opcode::QUERY, &query(b"SELECT")), start].concat());
        // What was asked before is answered though the rest has not come.
        let mut answered = [client.receive().unwrap().id, client.receive().unwrap().id];
        answered.sort_unstable();
        assert_eq!(answered, [1, 2], "{waits}");
        client.send(&[rest, &encode(4, 3, opcode::QUERY, &query(b"SELECT"))].concat());
        assert_eq!(client.receive().expect("a reply").id, 3, "{waits}");
        assert_eq!(frames.try_iter().count(), 2, "{waits}");
        proxy.child.signal("TERM");
    }
}

#[test]
fn tee_second_chain_lets_go_what_it_holds_before_a_use() {
    let ((main, _frames), (other, mirrored)) = (server(hidden), server(hidden));
    let held = "Coalesce: {name: k, flush_when_buffered_message_count: 200}";
    let filter = "QueryTypeFilter: {name: f, deny_tables: [k.no]}";
    let (other, end) = (sink("other", other.port), sink("main", main.port));
    let tee = format!("Tee: {{name: t, {ROOMY} chain: [{filter}, {held}, {other}]}}");
    let proxy = Proxy::with_chain(&format!("[{tee}, {end}]"), "");
    let mut client = Peer::session(proxy.port);
    let texts = [&b"USE k"[..], b"SELECT * FROM t", b"USE k", b"SELECT * FROM k.u", b"USE k"];
    for text in texts {
        client.send(&encode(4, 1, opcode::QUERY, &query(text)));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    }
    for text in texts {
        assert_eq!(mirrored.recv_timeout(WAIT).expect("all of them").body, query(text));
    }
    assert_eq!(dropped(&proxy), 0);
    end_of(proxy, client);
}

#[test]
fn tee_in_a_second_chain_lets_go_what_it_holds_before_a_use() {
    let ((main, _frames), (other, _others), (third, mirrored)) =
        (server(hidden), server(hidden), server(hidden));
    let held = "Coalesce: {name: k, flush_when_buffered_message_count: 200}";
    let (third, other, end) = (sink("third", third.port), sink("other", other.port), sink("main", main.port));
    let inner = format!("Tee: {{name: i, behavior: FailOnMismatch, chain: [{held}, {third}]}}");
    let outer = format!("Tee: {{name: o, {ROOMY} chain: [{inner}, {other}]}}");
    let proxy = Proxy::with_chain(&format!("[{outer}, {end}]"), "");
    let mut client = Peer::session(proxy.port);
    let texts = [&b"USE k"[..], b"SELECT * FROM t", b"USE k", b"SELECT * FROM t", b"USE k"];
    for text in texts {
        client.send(&encode(4, 1, opcode::QUERY, &query(text)));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    }
    for text in texts {
        assert_eq!(mirrored.recv_timeout(WAIT).expect("all of them").body, query(text));
    }
    end_of(proxy, client);
}

#[test]
fn tee_second_chain_comes_back_though_its_client_executes_what_is_not_known() {
    let (main, _frames) = server(|frame| {
        std::thread::sleep(Duration::from_millis(if frame.opcode == opcode::EXECUTE { 20 } else { 0 }));
        result(frame, &VOID)
    });
    let (other, mirrored) = server(|frame| {
        let is_deadly = frame.body.windows(5).any(|word| word == b"DEATH");
        if is_deadly { None } else { result(frame, &VOID) }
    });
    let proxy = tee(main.port, other.port, ROOMY);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"DEATH")));
    assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, query(b"DEATH"));
    let ask =
        |client: &mut Peer, id| client.send(&encode(4, id, opcode::EXECUTE, &execute(b"who", &[0, 1, 0])));
    // Some of them are always in flight.
    (2..6).for_each(|id| ask(&mut client, id));
    client.send(&encode(4, 1, opcode::QUERY, &query(b"q")));
    let begun = Instant::now();
    let is_back = loop {
        match client.receive().unwrap().id {
            1 => client.send(&encode(4, 1, opcode::QUERY, &query(b"q"))),
            id => ask(&mut client, id),
        }
        if mirrored.try_recv().is_ok() || begun.elapsed() > WAIT {
            break begun.elapsed() <= WAIT;
        }
    };
    assert!(is_back, "the second chain stays away");
    proxy.child.signal("TERM");
}

#[test]
fn tee_notices_a_use_that_somebody_else_prepared_while_it_prepares_at_the_second_server() {
    let (main, _frames) = server(|frame| match frame.opcode {
        opcode::PREPARE => result(frame, &prepared(b"main")),
        opcode::EXECUTE => result(frame, &[0, 0, 0, 3, 0, 1, b'k']),
        _ => result(frame, &VOID),
    });
    let (other, mirrored) = server(|frame| match frame.opcode {
        opcode::PREPARE => {
            std::thread::sleep(Duration::from_millis(500));
            result(frame, &prepared(b"other"))
        }
        _ => keyspaces(frame, ""),
    });
    let proxy = tee(main.port, other.port, ROOMY);
    let mut client = Peer::session(proxy.port);
    let requests = [
        (opcode::PREPARE, prepare(b"SELECT")),
        (opcode::EXECUTE, execute(b"who", &[0, 1, 0])),
        (opcode::QUERY, query(b"in k")),
    ];
    for (code, body) in &requests {
        client.send(&encode(4, 1, *code, body));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    }
    for body in [prepare(b"SELECT"), query(b"USE \"k\""), query(b"in k")] {
        assert_eq!(mirrored.recv_timeout(WAIT).expect("what was mirrored").body, body);
    }
    assert_dropped(&proxy, 1);
    end_of(proxy, client);
}

#[test]
fn tee_goes_on_at_once_when_the_second_server_refuses_a_use() {
    let (main, _frames) = server(|frame| keyspaces(frame, ""));
    let (other, _others) = server(refuses_b_late);
    let proxy = tee(main.port, other.port, "behavior: LogWarningOnMismatch,");
    let mut client = Peer::session(proxy.port);
    let begun = Instant::now();
    for text in [&b"USE a"[..], b"USE b", b"SELECT"] {
        client.send(&encode(4, 1, opcode::QUERY, &query(text)));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    }
    // Else it would sleep until the next timer, of 3 s.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    end_of(proxy, client);
}

#[test]
fn tee_is_told_of_a_use_that_is_executed_by_a_large_request() {
    let answer = |frame: &Frame| match frame.opcode {
        opcode::PREPARE => result(frame, &prepared(b"id")),
        opcode::EXECUTE => result(frame, &[0, 0, 0, 3, 0, 1, b'k']),
        _ => keyspaces(frame, ""),
    };
    let ((main, _frames), (other, mirrored)) = (server(answer), server(answer));
    let proxy = tee(main.port, other.port, ROOMY);
    let mut client = Peer::session(proxy.port);
    let bound = [&[0, 1, 1, 0, 1][..], &(LARGE_BYTES as u32).to_be_bytes(), &vec![b'x'; LARGE_BYTES]];
    let requests = [
        (opcode::PREPARE, prepare(b"USE k"), prepare(b"USE k")),
        (opcode::EXECUTE, execute(b"id", &bound.concat()), query(b"USE \"k\"")),
        (opcode::QUERY, query(b"in k"), query(b"in k")),
    ];
    for (code, body, mirrored_as) in requests {
        client.send(&encode(4, 1, code, &body));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
        assert_eq!(mirrored.recv_timeout(WAIT).expect("what is mirrored").body, mirrored_as);
    }
    assert_eq!(dropped(&proxy), 0);
    end_of(proxy, client);
}

#[test]
fn tee_whose_client_has_left_goes_on_in_its_keyspace() {
    let (main, _frames) = server(|frame| keyspaces(frame, ""));
    let (other, mirrored) = server(refuses_b_late);
    let proxy = tee(main.port, other.port, ROOMY);
    let mut client = Peer::session(proxy.port);
    for text in [&b"USE a"[..], b"USE b", b"SELECT"] {
        client.send(&encode(4, 1, opcode::QUERY, &query(text)));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    }
    drop(client);
    for text in [&b"USE a"[..], b"USE b", b"USE \"b\"", b"SELECT"] {
        assert_eq!(mirrored.recv_timeout(WAIT).expect("all of it").body, query(text));
    }
    assert_eq!(dropped(&proxy), 0);
    proxy.stop().unwrap();
}

#[test]
fn tee_counts_a_prepare_that_waited_in_vain() {
    let (main, _frames) = server(|frame| result(frame, &VOID));
    // Nobody listens there any more.
    let proxy = tee(main.port, free_port(), "");
    let mut client = Peer::session(proxy.port);
    for (code, body) in [(opcode::PREPARE, prepare(b"INSERT INTO t")), (opcode::QUERY, query(b"q"))] {
        client.send(&encode(4, 1, code, &body));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    }
    drop(client);
    assert_dropped(&proxy, 2);
    proxy.stop().unwrap();
}

#[test]
fn tee_sends_a_prepare_that_found_the_queue_full_when_its_client_leaves() {
    let (main, _frames) = server(|frame| keyspaces(frame, ""));
    let (other, mirrored) = server(|frame| {
        let is_slow = frame.body.windows(4).any(|word| word == b"slow");
        std::thread::sleep(Duration::from_millis(if is_slow { 500 } else { 0 }));
        keyspaces(frame, "")
    });
    let proxy = tee(main.port, other.port, "buffer_size: 1,");
    let mut client = Peer::session(proxy.port);
    // Behind a USE that is not answered all waits.
    let requests = [
        (opcode::QUERY, query(b"slow")),
        (opcode::QUERY, query(b"USE k")),
        (opcode::QUERY, query(b"q")),
        (opcode::PREPARE, prepare(b"INSERT INTO t")),
    ];
    for (code, body) in requests {
        client.send(&encode(4, 1, code, &body));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    }
    drop(client);
    let seen = std::iter::from_fn(|| mirrored.recv_timeout(Duration::from_secs(2)).ok());
    assert!(seen.map(|frame| frame.opcode).any(|code| code == opcode::PREPARE));
    proxy.stop().unwrap();
}

#[test]
fn tee_resends_what_differs_though_its_client_has_left_and_though_it_is_large() {
    let (main, _frames) = server(|frame| result(frame, &VOID));
    let (other, _others) = server(|frame| result(frame, &[0, 0, 0, 9]));
    let (third, resent) = server(|frame| result(frame, &VOID));
    let coalesce = "Coalesce: {name: k, flush_when_buffered_message_count: 100}";
    let chain = sink("third", third.port);
    for chain in [chain.clone(), format!("{coalesce}, {chain}")] {
        let behavior = format!("behavior: {{SubchainOnMismatch: {{chain: [{chain}]}}}},");
        let proxy = tee(main.port, other.port, &behavior);
        for body in [query(b"differs"), query(&large())] {
            let mut client = Peer::session(proxy.port);
            client.send(&encode(4, 1, opcode::QUERY, &body));
            assert_eq!(client.receive().unwrap().body, VOID);
            drop(client);
            let frame = resent.recv_timeout(WAIT).expect("it is sent once more");
            assert!(frame.body == body);
        }
        proxy.stop().unwrap();
    }
}

#[test]
fn tee_sends_nothing_again_in_another_keyspace() {
    let says = |frame: &Frame, text: &str| frame.body == query(text.as_bytes());
    let (main, _frames) = server(|frame| keyspaces(frame, ""));
    let (other, _others) = server(move |frame| {
        if says(frame, "differs late") {
            std::thread::sleep(Duration::from_millis(300));
        }
        let differs = says(frame, "differs late") || says(frame, "differs");
        if differs { result(frame, &[0, 0, 0, 9]) } else { keyspaces(frame, "") }
    });
    let (third, resent) = server(|frame| keyspaces(frame, ""));
    let behavior = format!("behavior: {{SubchainOnMismatch: {{chain: [{}]}}}},", sink("third", third.port));
    let proxy = tee(main.port, other.port, &behavior);
    let mut client = Peer::session(proxy.port);
    for pipelined in [&["USE a"][..], &["differs late", "USE b"], &["differs"]] {
        let frames =
            (1..).zip(pipelined).map(|(id, text)| encode(4, id, opcode::QUERY, &query(text.as_bytes())));
        client.send(&frames.collect::<Vec<_>>().concat());
        pipelined.iter().for_each(|_| assert_eq!(client.receive().unwrap().opcode, opcode::RESULT));
    }
    for text in ["USE \"b\"", "differs"] {
        assert_eq!(resent.recv_timeout(WAIT).unwrap().body, query(text.as_bytes()));
    }
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_mirrors_no_large_request_that_names_a_page() {
    let (main, _frames) = server(|frame| match frame.opcode {
        opcode::PREPARE => result(frame, &prepared(b"main")),
        _ => result(frame, &VOID),
    });
    let (other, mirrored) = server(|frame| match frame.opcode {
        opcode::PREPARE => result(frame, &prepared(b"other")),
        _ => result(frame, &VOID),
    });
    for options in [ROOMY, "behavior: FailOnMismatch,"] {
        let proxy = tee(main.port, other.port, options);
        let mut client = Peer::session(proxy.port);
        let mut ask = |code: u8, body: &[u8]| {
            client.send(&encode(4, 1, code, body));
            assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
        };
        ask(opcode::PREPARE, &prepare(b"SELECT"));
        let page = [0, 0, 0, 1, 9];
        let text = large();
        let paged = [&(text.len() as u32).to_be_bytes()[..], &text, &[0, 1, 8], &page].concat();
        ask(opcode::QUERY, &paged);
        let value = [&[0, 1, 9, 0, 1][..], &(text.len() as u32).to_be_bytes(), &text, &page].concat();
        ask(opcode::EXECUTE, &execute(b"main", &value));
        ask(opcode::QUERY, &query(b"last"));
        assert_eq!(mirrored.recv_timeout(WAIT).unwrap().opcode, opcode::PREPARE);
        assert!(mirrored.recv_timeout(WAIT).unwrap().body == query(b"last"), "{options}");
        assert_eq!(dropped(&proxy), 2, "{options}");
        drop(client);
        proxy.stop().unwrap();
    }
}

#[test]
fn tee_is_told_of_a_use_that_stands_behind_a_long_comment() {
    let ((main, _frames), (other, mirrored)) = (server(hidden), server(hidden));
    let proxy = tee(main.port, other.port, "behavior: FailOnMismatch,");
    let mut client = Peer::session(proxy.port);
    let long = [b"/*", &*vec![b'x'; LARGE_BYTES], b"*/ USE k"].concat();
    for body in [query(&long), query(b"in k")] {
        client.send(&encode(4, 1, opcode::QUERY, &body));
        let reply = client.receive().unwrap();
        assert_eq!(reply.opcode, opcode::RESULT, "{:?}", error(&reply.body));
    }
    assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, query(b"USE \"k\""));
    assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, query(b"in k"));
    assert_eq!(dropped(&proxy), 1);
    end_of(proxy, client);
}

/// As [`keyspaces`], but that `USE b` is refused, and late.
fn refuses_b_late(frame: &Frame) -> Option<Vec<u8>> {
    let is_refused = frame.body == query(b"USE b");
    std::thread::sleep(Duration::from_millis(if is_refused { 300 } else { 0 }));
    keyspaces(frame, if is_refused { "b" } else { "" })
}

/// As [`keyspaces`], whatever stands in front of a USE.
fn hidden(frame: &Frame) -> Option<Vec<u8>> {
    let is_use = frame.body.windows(4).any(|word| word == b"USE ");
    result(frame, if is_use { &[0, 0, 0, 3, 0, 1, b'k'] } else { &VOID })
}

/// A page of one row, of this number and this text.
fn page(number: u8, text: &str) -> Vec<u8> {
    let head =
        b"\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\x01k\0\x01t\0\x01n\0\x09\0\x01v\0\x0d\0\0\0\x01\0\0\0\x04\0\0\0";
    [&head[..], &[number], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

#[test]
fn tee_says_what_differs_though_it_is_in_the_values_alone_and_far_behind() {
    let long = "x".repeat(5000);
    let (at_main, at_other) =
        ([page(5, "a"), page(5, &(long.clone() + "a"))], [page(6, "a"), page(5, &(long + "b"))]);
    let answers =
        |pages: [Vec<u8>; 2]| move |frame: &Frame| result(frame, &pages[usize::from(frame.id == 2)]);
    let ((main, _), (other, _)) = (server(answers(at_main)), server(answers(at_other)));
    let mut proxy = tee(main.port, other.port, "behavior: LogWarningOnMismatch,");
    let mut client = Peer::session(proxy.port);
    for (id, expected) in [
        (1, "first difference: row 1, column 1 (n): 5, other 6"),
        (2, "first difference: row 1, column 2 (v), byte 5000 of the value: 0x61, other 0x62"),
    ] {
        client.send(&encode(4, id, opcode::QUERY, &query(b"SELECT")));
        assert_eq!(client.receive().unwrap().id, id);
        proxy.child.wait_for_line(expected, WAIT).unwrap();
    }
    for (who, number) in [("result-source", 5), ("other", 6)] {
        let expected =
            format!("{who} response: Cassandra V4 stream:1 Result Rows 1 x 2 (n, v): ({number}, 'a')");
        proxy.child.wait_for_line(&expected, WAIT).unwrap();
    }
    proxy.child.wait_for_line("xxx ... (cut in row 1)", WAIT).unwrap();
    end_of(proxy, client);
}
