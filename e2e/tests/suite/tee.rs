//! Tee between scripted peers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use testkit::scripted::{Frame, Peer, Server, encode, error, opcode, query};
use testkit::{Proxy, free_port};

/// A queue that is not full when a machine is slow.
pub(crate) const ROOMY: &str = "buffer_size: 1000,";

pub(crate) const WAIT: Duration = Duration::from_secs(10);

pub(crate) fn sink(name: &str, port: u16) -> String {
    format!(
        "CassandraSinkSingle: {{name: {name}, remote_address: '127.0.0.1:{port}', connect_timeout_ms: 3000}}"
    )
}

/// A proxy with a Tee from one server to another.
pub(crate) fn tee(main: u16, other: u16, options: &str) -> Proxy {
    let (main, other) = (sink("main", main), sink("other", other));
    Proxy::with_chain(&format!("[Tee: {{name: t, {options} chain: [{other}]}}, {main}]"), "")
}

/// How many requests the Tee has dropped.
pub(crate) fn dropped(proxy: &Proxy) -> u64 {
    let page = proxy.metrics();
    let line =
        page.lines().find(|line| line.starts_with("shotover_tee_dropped_messages_count{chain=\"Tee\"}"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("the counter")
}

/// What an HTTP server on this port answers.
pub(crate) fn http(port: u16, request: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + body).as_bytes()).unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    said
}

/// A server that notes what it gets after the handshake, and answers by `answer`; nothing ends the connection.
pub(crate) fn server(
    answer: impl Fn(&Frame) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (Server, Receiver<Frame>) {
    let (seen, frames) = channel();
    let seen = Mutex::new(seen);
    let server = Server::start(move |mut peer| {
        let seen = seen.lock().unwrap().clone();
        while let Ok(frame) = peer.receive() {
            let reply = match frame.opcode {
                opcode::STARTUP => Some(encode(0x84, frame.id, opcode::READY, &[])),
                _ => {
                    drop(seen.send(frame.clone()));
                    answer(&frame)
                }
            };
            let Some(reply) = reply else { return };
            if peer.0.write_all(&reply).is_err() {
                return;
            }
        }
    });
    (server, frames)
}

pub(crate) fn result(frame: &Frame, body: &[u8]) -> Option<Vec<u8>> {
    Some(encode(0x84, frame.id, opcode::RESULT, body))
}

pub(crate) const VOID: [u8; 4] = [0, 0, 0, 1];

pub(crate) fn prepared(id: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 4, 0, id.len() as u8][..], id, &[0; 16]].concat()
}

#[test]
fn tee_mirrors_by_ids_of_its_own_and_not_what_names_a_page() {
    let (main, _) = server(|frame| match frame.opcode {
        opcode::PREPARE => result(frame, &prepared(b"main")),
        _ => result(frame, &VOID),
    });
    let (other, mirrored) = server(|frame| match frame.opcode {
        opcode::PREPARE => result(frame, &prepared(b"another")),
        _ => result(frame, &VOID),
    });
    let proxy = tee(main.port, other.port, ROOMY);
    let mut client = Peer::session(proxy.port);
    let text = b"INSERT INTO t";
    let body = [&(text.len() as u32).to_be_bytes()[..], text].concat();
    client.send(&encode(4, 1, opcode::PREPARE, &body));
    assert_eq!(client.receive().unwrap().body, prepared(b"main"));
    // At once: what is prepared there is waited for.
    let execute = |id: &[u8], more: &[u8]| [&[0, id.len() as u8][..], id, more].concat();
    client.send(&encode(4, 1, opcode::EXECUTE, &execute(b"main", &[0, 1, 0])));
    assert_eq!(client.receive().unwrap().body, VOID);
    let batch = [&[0, 0, 2, 1][..], &execute(b"main", &[0, 0]), &[1], &execute(b"main", &[0, 0]), &[0, 1, 0]]
        .concat();
    client.send(&encode(4, 1, opcode::BATCH, &batch));
    assert_eq!(client.receive().unwrap().body, VOID);
    // Not there: a statement it does not know, and the place where a page ended.
    client.send(&encode(4, 1, opcode::EXECUTE, &execute(b"who", &[0, 1, 0])));
    assert_eq!(client.receive().unwrap().body, VOID);
    client.send(&encode(4, 1, opcode::EXECUTE, &execute(b"main", &[0, 1, 8, 0, 0, 0, 1, 9])));
    assert_eq!(client.receive().unwrap().body, VOID);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"last")));
    assert_eq!(client.receive().unwrap().body, VOID);
    let seen: Vec<Frame> = (0..4).map(|_| mirrored.recv_timeout(WAIT).unwrap()).collect();
    assert_eq!(seen[1].body, execute(b"another", &[0, 1, 0]));
    let other_batch =
        [&[0, 0, 2, 1][..], &execute(b"another", &[0, 0]), &[1], &execute(b"another", &[0, 0]), &[0, 1, 0]];
    assert_eq!(seen[2].body, other_batch.concat());
    assert_eq!(seen[3].body, query(b"last"));
    assert_eq!(dropped(&proxy), 2);
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_mirrors_large_requests_and_a_sample_of_all() {
    let (main, _) = server(|frame| result(frame, &VOID));
    let (other, mirrored) = server(|frame| result(frame, &VOID));
    let proxy = tee(main.port, other.port, ROOMY);
    let mut client = Peer::session(proxy.port);
    let large = query(&[b"INSERT ", &*vec![b'x'; 200_000]].concat());
    client.send(&encode(4, 1, opcode::QUERY, &large));
    assert_eq!(client.receive().unwrap().body, VOID);
    assert!(mirrored.recv_timeout(WAIT).unwrap().body == large);
    drop(client);
    proxy.stop().unwrap();
    let proxy = tee(main.port, other.port, &format!("sample_percent: 25, {ROOMY}"));
    let mut client = Peer::session(proxy.port);
    for _ in 0..100 {
        client.send(&encode(4, 1, opcode::QUERY, &query(b"q")));
        assert_eq!(client.receive().unwrap().body, VOID);
    }
    drop(client);
    let seen = std::iter::from_fn(|| mirrored.recv_timeout(Duration::from_millis(500)).ok());
    assert_eq!(seen.count(), 25);
    assert_eq!(dropped(&proxy), 0, "what is not in the sample was not dropped");
    proxy.stop().unwrap();
}

#[test]
fn tee_ignore_is_not_slowed_by_a_server_that_does_not_answer() {
    let (main, _) = server(|frame| result(frame, &VOID));
    let (other, mirrored) = server(|frame| {
        if frame.body.windows(4).any(|word| word == b"wait") {
            std::thread::sleep(Duration::from_secs(5));
        }
        result(frame, &VOID)
    });
    let proxy = tee(main.port, other.port, "");
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"wait")));
    assert_eq!(client.receive().unwrap().body, VOID);
    let begun = Instant::now();
    // The same stream id again and again: on the second connection each request has one of its own.
    for _ in 0..2000 {
        client.send(&encode(4, 1, opcode::QUERY, &query(b"go on")));
        assert_eq!(client.receive().unwrap().body, VOID);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let seen = std::iter::from_fn(|| mirrored.recv_timeout(WAIT).ok()).take(2001).count() as u64;
    assert_eq!(seen + dropped(&proxy), 2001);
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_ignore_opens_a_second_chain_again_with_its_keyspace() {
    let (main, _) = server(|frame| {
        let is_use = frame.body.windows(4).any(|word| word == b"USE ");
        result(frame, if is_use { &[0, 0, 0, 3, 0, 1, b'k'] } else { &VOID })
    });
    let (other, mirrored) = server(|frame| {
        let is_deadly = frame.body.windows(5).any(|word| word == b"DEATH");
        if is_deadly { None } else { result(frame, &VOID) }
    });
    let proxy = tee(main.port, other.port, ROOMY);
    let mut client = Peer::session(proxy.port);
    let mut ask = |text: &[u8]| {
        client.send(&encode(4, 1, opcode::QUERY, &query(text)));
        let reply = client.receive().unwrap();
        assert_eq!((reply.id, reply.opcode), (1, opcode::RESULT));
    };
    ask(b"USE k");
    assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, query(b"USE k"));
    ask(b"DEATH");
    assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, query(b"DEATH"));
    std::thread::sleep(Duration::from_millis(100));
    ask(b"while it is away");
    std::thread::sleep(Duration::from_millis(1500));
    ask(b"again");
    assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, query(b"USE \"k\""));
    assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, query(b"again"));
    assert_eq!(dropped(&proxy), 2);
    proxy.child.signal("TERM");
}

/// As real servers answer: a USE by its keyspace, unless `refuses` is in it.
pub(crate) fn keyspaces(frame: &Frame, refuses: &str) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(frame.body.get(4..).unwrap_or_default()).into_owned();
    let Some(name) = text.strip_prefix("USE ").and_then(|rest| rest.get(..rest.len() - 3)) else {
        return result(frame, &VOID);
    };
    let name = name.trim_matches('"');
    if name == refuses {
        let body = [&[0, 0, 0x22, 0, 0, 2][..], b"no"].concat();
        return Some(encode(0x84, frame.id, opcode::ERROR, &body));
    }
    result(frame, &[&[0, 0, 0, 3, 0, name.len() as u8][..], name.as_bytes()].concat())
}

#[test]
fn tee_goes_on_in_the_keyspace_of_its_client_if_only_one_server_accepts_a_use() {
    let (main, _frames) = server(|frame| keyspaces(frame, "b"));
    let (other, mirrored) = server(|frame| keyspaces(frame, "c"));
    for options in [ROOMY, "behavior: LogWarningOnMismatch,"] {
        let proxy = tee(main.port, other.port, options);
        let mut client = Peer::session(proxy.port);
        let mut ask = |text: &str, answer: u8, mirrored_as: &[&str]| {
            client.send(&encode(4, 1, opcode::QUERY, &query(text.as_bytes())));
            assert_eq!(client.receive().unwrap().opcode, answer, "{text}");
            for text in mirrored_as {
                assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, query(text.as_bytes()));
            }
        };
        ask("USE a", opcode::RESULT, &["USE a"]);
        // The first refuses it: a new connection to the second is told where the client still is.
        ask("USE b", opcode::ERROR, &["USE b", "USE \"a\""]);
        ask("in a", opcode::RESULT, &["in a"]);
        // The second refuses it: there, no keyspace is in use any more.
        ask("USE c", opcode::RESULT, &["USE c", "USE \"c\""]);
        ask("in none", opcode::RESULT, &["in none"]);
        ask("USE a", opcode::RESULT, &["USE a"]);
        ask("in a", opcode::RESULT, &["in a"]);
        drop(client);
        assert_eq!(dropped(&proxy), 0);
        proxy.stop().unwrap();
    }
}

#[test]
fn tee_goes_on_at_once_when_the_first_server_has_answered_a_use() {
    // The first answers the USE last, together with what was asked last: nothing comes behind it.
    let (main, _frames) = server(|frame| match frame.id {
        1 => Some(Vec::new()),
        3 => {
            std::thread::sleep(Duration::from_millis(300));
            let changed = encode(0x84, 1, opcode::RESULT, &[0, 0, 0, 3, 0, 1, b'k']);
            Some([result(frame, &VOID)?, changed].concat())
        }
        _ => result(frame, &VOID),
    });
    let (other, _others) = server(|frame| keyspaces(frame, ""));
    let proxy = tee(main.port, other.port, "behavior: LogWarningOnMismatch,");
    let mut client = Peer::session(proxy.port);
    let texts: [&[u8]; 3] = [b"USE k", b"one", b"two"];
    let at_once: Vec<Vec<u8>> =
        (1..).zip(texts).map(|(id, text)| encode(4, id, opcode::QUERY, &query(text))).collect();
    let begun = Instant::now();
    client.send(&at_once.concat());
    let mut answered: Vec<i16> = (0..3).map(|_| client.receive().unwrap().id).collect();
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3]);
    // Else it would sleep until the next timer, of 3 s.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_is_told_of_a_prepared_use_in_plain_words() {
    let answer = |frame: &Frame| match frame.opcode {
        opcode::PREPARE => result(frame, &prepared(b"id")),
        opcode::EXECUTE => result(frame, &[0, 0, 0, 3, 0, 1, b'k']),
        _ => keyspaces(frame, ""),
    };
    let ((main, _frames), (other, mirrored)) = (server(answer), server(answer));
    let proxy = tee(main.port, other.port, ROOMY);
    let mut client = Peer::session(proxy.port);
    let mut ask = |code: u8, body: &[u8], mirrored_as: &[u8]| {
        client.send(&encode(4, 1, code, body));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
        assert_eq!(mirrored.recv_timeout(WAIT).unwrap().body, mirrored_as);
    };
    let prepare = [&[0, 0, 0, 5][..], b"USE k"].concat();
    let plain = query(b"USE \"k\"");
    ask(opcode::PREPARE, &prepare, &prepare);
    ask(opcode::EXECUTE, &[0, 2, b'i', b'd', 0, 1, 0], &plain);
    ask(opcode::QUERY, &query(b"in k"), &query(b"in k"));
    // Prepared by somebody else: only its reply says what it is.
    ask(opcode::EXECUTE, &[0, 2, b'n', b'o', 0, 1, 0], &plain);
    ask(opcode::QUERY, &query(b"in k again"), &query(b"in k again"));
    assert_eq!(dropped(&proxy), 1);
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_chain_of_mismatches_is_told_of_a_use() {
    let (main, _frames) = server(|frame| keyspaces(frame, ""));
    let (other, _others) = server(|frame| match frame.body.windows(7).any(|word| word == b"differs") {
        true => result(frame, &[0, 0, 0, 9]),
        false => keyspaces(frame, ""),
    });
    let (third, resent) = server(|frame| keyspaces(frame, ""));
    let chain = sink("third", third.port);
    let proxy =
        tee(main.port, other.port, &format!("behavior: {{SubchainOnMismatch: {{chain: [{chain}]}}}},"));
    let mut client = Peer::session(proxy.port);
    let texts = ["USE a", "differs", "USE b", "same", "differs too"];
    for text in texts {
        client.send(&encode(4, 1, opcode::QUERY, &query(text.as_bytes())));
        assert_eq!(client.receive().unwrap().opcode, opcode::RESULT);
    }
    for text in ["USE \"a\"", "differs", "USE \"b\"", "differs too"] {
        assert_eq!(resent.recv_timeout(WAIT).unwrap().body, query(text.as_bytes()));
    }
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_switch_has_upstreams_paths_and_words() {
    let (main, other) = (Server::echo(), Server::echo());
    let port = free_port();
    let mut proxy = tee(main.port, other.port, &format!("switch_port: {port},"));
    let path = "/transform/tee/result-source";
    assert!(http(port, "GET /", "").ends_with("\r\n\r\ntry /transform/tee/result-source"));
    assert!(http(port, &format!("GET {path}"), "").ends_with("\r\n\r\nregular-chain"));
    assert!(http(port, &format!("PUT {path}"), "tee-chain").starts_with("HTTP/1.1 200"));
    proxy.child.wait_for_line("result source set to tee-chain", Duration::from_secs(5)).unwrap();
    assert!(http(port, &format!("GET {path}"), "").ends_with("\r\n\r\ntee-chain"));
    let said = http(port, &format!("PUT {path}"), "both");
    assert!(said.starts_with("HTTP/1.1 500"), "{said}");
    assert!(said.ends_with(
        "HTTP 500 error: Invalid value for result source: \"both\", should be 'tee-chain' or 'regular-chain'"
    ));
    proxy.stop().unwrap();
}

#[test]
fn tee_fails_on_mismatch_with_an_error_that_no_driver_sends_again() {
    let (main, _) = server(|frame| result(frame, &VOID));
    let (other, _) = server(|frame| {
        let differs = frame.body.windows(7).any(|word| word == b"differs");
        result(frame, if differs { &[0, 0, 0, 9] } else { &VOID })
    });
    let proxy = tee(main.port, other.port, "behavior: FailOnMismatch,");
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 3, opcode::QUERY, &query(b"same")));
    assert_eq!(client.receive().unwrap().body, VOID);
    client.send(&encode(4, 4, opcode::QUERY, &query(b"differs")));
    let reply = client.receive().unwrap();
    assert_eq!((reply.id, reply.opcode), (4, opcode::ERROR));
    let expected = "The responses from the Tee subchain and down-chain did not match and behavior is set to fail on mismatch";
    assert_eq!(error(&reply.body), (0x2200, expected.to_owned()));
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn upstream_took_replies_for_different_where_only_one_chain_of_a_tee_parsed_them() {
    let answer = |frame: &Frame| result(frame, &VOID);
    let ((main, _), (other, _)) = (server(answer), server(answer));
    let parse = "DebugForceParse: {name: p, parse_requests: true, parse_responses: true}";
    let (main, other) = (sink("main", main.port), sink("other", other.port));
    for (own, second) in [(format!("{parse}, "), String::new()), (String::new(), format!("{parse}, "))] {
        let chain =
            format!("[Tee: {{name: t, behavior: FailOnMismatch, chain: [{second}{other}]}}, {own}{main}]");
        let proxy = Proxy::with_chain(&chain, "");
        let mut client = Peer::session(proxy.port);
        client.send(&encode(4, 3, opcode::QUERY, &query(b"same")));
        assert_eq!(client.receive().unwrap().body, VOID);
        drop(client);
        proxy.stop().unwrap();
    }
}

#[test]
fn tee_released_dialect_sends_what_differs_down_the_chain_of_mismatches() {
    let (main, _) = server(|frame| result(frame, &VOID));
    let (other, _) = server(|frame| result(frame, &[0, 0, 0, 9]));
    let (third, resent) = server(|frame| result(frame, &VOID));
    let sink = |port| {
        format!("CassandraSinkSingle: {{remote_address: '127.0.0.1:{port}', connect_timeout_ms: 3000}}")
    };
    let (main, other, third) = (sink(main.port), sink(other.port), sink(third.port));
    let proxy = Proxy::with_chain(
        &format!(
            "[Tee: {{behavior: {{SubchainOnMismatch: [DebugPrinter, {third}]}}, chain: [{other}]}}, {main}]"
        ),
        "",
    );
    let mut client = Peer::session(proxy.port);
    for id in 0..3 {
        client.send(&encode(4, id, opcode::QUERY, &query(b"q")));
        assert_eq!(client.receive().unwrap().body, VOID);
    }
    for _ in 0..3 {
        assert_eq!(resent.recv_timeout(WAIT).unwrap().body, query(b"q"));
    }
    let page = proxy.metrics();
    for chain in ["c", "tee_chain", "mismatch_chain"] {
        let line = format!("shotover_chain_total_count{{chain=\"{chain}\"}}");
        assert_eq!(page.matches(&line).count(), 1, "{line}");
    }
    drop(client);
    proxy.stop().unwrap();
}

/// Upstream's tee.rs:309: every request is stored, and those that match are never removed.
#[test]
fn tee_subchain_mode_keeps_no_request_that_matched() {
    let (main, _frames) = server(|frame| result(frame, &VOID));
    let (other, _others) = server(|frame| result(frame, &VOID));
    let resend = "behavior: {SubchainOnMismatch: {chain: [NullSink: {name: n}]}},";
    let proxy = tee(main.port, other.port, resend);
    let mut client = Peer::session(proxy.port);
    let request = encode(4, 1, opcode::QUERY, &query(&[b'x'; 20_000]));
    let mut ask = |times: usize| {
        for _ in 0..times {
            client.send(&request);
            assert_eq!(client.receive().unwrap().body, VOID);
        }
    };
    ask(100);
    let before = proxy.memory("RssAnon");
    ask(3000);
    let growth = proxy.memory("RssAnon").saturating_sub(before);
    assert!(growth < 4 * 1024 * 1024, "{growth} bytes more after 60 MB of requests");
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_gives_events_of_the_source_of_results_only() {
    let event = |name: u8| {
        let body = [&[0, 13][..], b"SCHEMA_CHANGE", &[0, 7], b"UPDATED", &[0, 8], b"KEYSPACE", &[0, 1, name]];
        encode(0x84, -1, opcode::EVENT, &body.concat())
    };
    let answer = move |name: u8| {
        move |frame: &Frame| {
            let reply = result(frame, &VOID)?;
            Some(if frame.opcode == opcode::QUERY { [event(name), reply].concat() } else { reply })
        }
    };
    let ((main, _frames), (other, _others)) = (server(answer(b'm')), server(answer(b'o')));
    let port = free_port();
    let proxy = tee(main.port, other.port, &format!("behavior: LogWarningOnMismatch, switch_port: {port},"));
    let mut client = Peer::session(proxy.port);
    for (word, name) in [("regular-chain", b'm'), ("tee-chain", b'o'), ("regular-chain", b'm')] {
        http(port, "PUT /transform/tee/result-source", word);
        client.send(&encode(4, 1, opcode::QUERY, &query(b"q")));
        let two = [client.receive().unwrap(), client.receive().unwrap()];
        let events: Vec<&Frame> = two.iter().filter(|frame| frame.opcode == opcode::EVENT).collect();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].body.last(), Some(&name), "{word}");
    }
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_waits_for_a_full_queue_no_longer_than_it_is_told() {
    let (main, _frames) = server(|frame| result(frame, &VOID));
    // It never accepts a session: nothing leaves the queue.
    let other = Server::start(|_peer| std::thread::sleep(Duration::from_secs(30)));
    for (options, least, most) in [("", 0, 1000), ("timeout_micros: 100000,", 900, 5000)] {
        let proxy = tee(main.port, other.port, &format!("buffer_size: 2, {options}"));
        let mut client = Peer::session(proxy.port);
        let begun = Instant::now();
        for _ in 0..12 {
            client.send(&encode(4, 1, opcode::QUERY, &query(b"q")));
            assert_eq!(client.receive().unwrap().body, VOID);
        }
        let millis = begun.elapsed().as_millis();
        assert!(millis >= least && millis < most, "{options} {millis} ms");
        // The session's first step is a batch too.
        assert!((10..=11).contains(&dropped(&proxy)), "{}", dropped(&proxy));
        proxy.child.signal("TERM");
    }
}
