//! ParallelMap and ConnectionBalanceAndPool between scripted peers.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use testkit::Proxy;
use testkit::scripted::{Frame, Peer, Server, accept_session, encode, error, opcode, query};

/// A proxy with a ParallelMap of so many instances.
pub(super) fn parallel(to: u16, parallelism: usize, is_ordered: bool) -> Proxy {
    Proxy::with_chain(
        &format!(
            "[ParallelMap: {{name: m, parallelism: {parallelism}, ordered_results: {is_ordered}, chain: \
             [CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{to}', connect_timeout_ms: 3000}}]}}]"
        ),
        "",
    )
}

/// A server that gives each connection a number, notes what it gets, and answers by `answer`.
fn counting(
    answer: impl Fn(usize, &Frame) -> Option<(u8, Vec<u8>)> + Send + Sync + 'static,
) -> (Server, mpsc::Receiver<(usize, Frame)>) {
    let (seen, frames) = mpsc::channel();
    let (seen, next) = (Mutex::new(seen), AtomicUsize::new(0));
    let server = Server::start(move |mut peer| {
        let seen = seen.lock().unwrap().clone();
        let number = next.fetch_add(1, Ordering::Relaxed);
        while let Ok(frame) = peer.receive() {
            seen.send((number, frame.clone())).unwrap();
            let reply = match frame.opcode {
                opcode::STARTUP | opcode::REGISTER => Some((opcode::READY, Vec::new())),
                _ => answer(number, &frame),
            };
            let Some((opcode, body)) = reply else { return };
            peer.send(&encode(0x84, frame.id, opcode, &body));
            if frame.opcode == opcode::REGISTER {
                // Each connection has events; the client gets those of one.
                let event = [
                    &[0, 13][..],
                    b"SCHEMA_CHANGE",
                    &[0, 7],
                    b"UPDATED",
                    &[0, 8],
                    b"KEYSPACE",
                    &[0, 1, b'k'],
                ];
                peer.send(&encode(0x84, -1, opcode::EVENT, &event.concat()));
            }
        }
    });
    (server, frames)
}

pub(super) const VOID: [u8; 4] = [0, 0, 0, 1];

pub(super) fn keyspace(name: &str) -> Vec<u8> {
    [&[0, 0, 0, 3, 0, name.len() as u8][..], name.as_bytes()].concat()
}

#[test]
fn parallel_map_takes_any_parallelism_and_spreads_what_carries_no_state() {
    let (server, frames) = counting(|_, frame| {
        let is_use = frame.body.windows(4).any(|word| word == b"USE ");
        Some((opcode::RESULT, if is_use { keyspace("k") } else { VOID.to_vec() }))
    });
    let proxy = parallel(server.port, 3, false);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::REGISTER, &[0, 1, 0, 13, b'S']));
    let (ready, event) = (client.receive().unwrap(), client.receive().unwrap());
    let opcodes = [ready.opcode, event.opcode];
    assert!(opcodes.contains(&opcode::READY) && opcodes.contains(&opcode::EVENT), "{opcodes:?}");
    client.send(&encode(4, 2, opcode::QUERY, &query(b"USE k")));
    assert_eq!(client.receive().unwrap().body, keyspace("k"));
    for id in 3..12 {
        client.send(&encode(4, id, opcode::QUERY, &query(b"INSERT")));
    }
    let mut ids: Vec<i16> = (3..12).map(|_| client.receive().unwrap().id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (3..12).collect::<Vec<i16>>());
    let mut counts: HashMap<(usize, u8), usize> = HashMap::new();
    while let Ok((number, frame)) = frames.recv_timeout(Duration::from_millis(300)) {
        *counts.entry((number, frame.opcode)).or_default() += 1;
    }
    for number in 0..3 {
        let count = |opcode| counts.get(&(number, opcode)).copied().unwrap_or(0);
        // The USE, and a third of the others.
        assert_eq!([count(opcode::STARTUP), count(opcode::REGISTER), count(opcode::QUERY)], [1, 1, 4]);
    }
    proxy.stop().unwrap();
}

#[test]
fn parallel_map_a_failing_instance_makes_no_reply_vanish() {
    let (server, frames) = counting(|_, frame| {
        let is_deadly = frame.body.windows(5).any(|word| word == b"DEATH");
        if is_deadly { None } else { Some((opcode::RESULT, VOID.to_vec())) }
    });
    let proxy = parallel(server.port, 3, false);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT DEATH")));
    let reply = client.receive().unwrap();
    // It may have run: no driver may be told to try again.
    assert_eq!((reply.id, reply.opcode, error(&reply.body).0), (1, opcode::ERROR, 0x1100));
    for id in 2..10 {
        client.send(&encode(4, id, opcode::QUERY, &query(b"INSERT")));
        assert_eq!(client.receive().unwrap().body, VOID);
    }
    for id in 10..12 {
        client.send(&encode(4, id, opcode::QUERY, &query(b"INSERT DEATH")));
        assert_eq!(client.receive().unwrap().opcode, opcode::ERROR);
    }
    assert!(client.receive().is_err(), "there is no instance left");
    drop(frames);
    proxy.child.signal("TERM");
}

#[test]
fn parallel_map_gives_ordered_results_in_the_order_of_the_requests() {
    let (server, _frames) = counting(|_, frame| {
        if frame.id % 3 == 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        Some((opcode::RESULT, VOID.to_vec()))
    });
    let proxy = parallel(server.port, 3, true);
    let mut client = Peer::session(proxy.port);
    let all: Vec<u8> = (0..30).flat_map(|id| encode(4, id, opcode::QUERY, &query(b"INSERT"))).collect();
    client.send(&all);
    let ids: Vec<i16> = (0..30).map(|_| client.receive().unwrap().id).collect();
    assert_eq!(ids, (0..30).collect::<Vec<i16>>());
    proxy.stop().unwrap();
}

#[test]
fn parallel_map_passes_large_messages_of_all_instances_whole() {
    let server = Server::echo();
    let proxy = parallel(server.port, 4, false);
    let mut client = Peer::session(proxy.port);
    let body = |id: u8| {
        let text = [b"INSERT ".to_vec(), vec![id; 300_000 + usize::from(id)]].concat();
        query(&text)
    };
    let reader = client.0.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for id in 0..40_u8 {
            client.send(&encode(4, i16::from(id), opcode::QUERY, &body(id)));
        }
        client
    });
    let mut replies = Peer(reader);
    for _ in 0..40 {
        let reply = replies.receive().unwrap();
        assert!(reply.body == body(reply.id as u8), "reply {} was torn", reply.id);
    }
    drop(sending.join().unwrap());
    proxy.stop().unwrap();
}

#[test]
fn an_execute_that_changes_the_keyspace_of_one_instance_changes_it_for_all() {
    let (server, frames) = counting(|_, frame| {
        let is_use = frame.opcode == opcode::EXECUTE || frame.body.windows(4).any(|word| word == b"USE ");
        Some((opcode::RESULT, if is_use { keyspace("k") } else { VOID.to_vec() }))
    });
    let proxy = parallel(server.port, 3, false);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::EXECUTE, &[0, 1, b'x', 0, 1, 0]));
    assert_eq!(client.receive().unwrap().body, keyspace("k"));
    client.send(&encode(4, 2, opcode::QUERY, &query(b"INSERT")));
    assert_eq!(client.receive().unwrap().body, VOID);
    let seen: Vec<(usize, Frame)> =
        std::iter::from_fn(|| frames.recv_timeout(Duration::from_millis(300)).ok()).collect();
    let uses = seen.iter().filter(|(_, frame)| frame.body.windows(7).any(|word| word == b"USE \"k\""));
    assert_eq!(uses.count(), 3, "each of them, whoever was first");
    proxy.stop().unwrap();
}

#[test]
fn an_instance_is_told_of_a_keyspace_under_an_id_that_is_not_in_flight_there() {
    let (seen, uses) = mpsc::channel();
    let seen = Mutex::new(seen);
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        while let Ok(frame) = peer.receive() {
            if says(&frame, "USE \"k\"") {
                seen.lock().unwrap().send(frame.id).unwrap();
            }
            // The other one never answers.
            if !says(&frame, "LATE") {
                peer.send(&encode(0x84, frame.id, opcode::RESULT, &keyspace("k")));
            }
        }
    });
    let proxy = parallel(server.port, 2, false);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, i16::MAX, opcode::QUERY, &query(b"INSERT LATE")));
    client.send(&encode(4, 1, opcode::EXECUTE, &[0, 1, b'x', 0, 1, 0]));
    assert_eq!(client.receive().unwrap().body, keyspace("k"));
    let mut ids = [0, 0].map(|_| uses.recv_timeout(Duration::from_secs(5)).expect("each is told"));
    ids.sort_unstable();
    assert_eq!(ids, [i16::MAX - 1, i16::MAX]);
    proxy.child.signal("TERM");
}

/// A proxy with a ParallelMap of two instances, whose sink stands behind this transform.
fn behind(to: u16, transform: &str) -> Proxy {
    let sink = format!(
        "CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{to}', connect_timeout_ms: 3000}}"
    );
    Proxy::with_chain(
        &format!(
            "[ParallelMap: {{name: m, parallelism: 2, ordered_results: false, chain: [{transform}, {sink}]}}]"
        ),
        "",
    )
}

#[test]
fn what_an_instance_says_within_a_large_reply_of_another_comes_when_that_ends() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        while let Ok(frame) = peer.receive() {
            let body = if says(&frame, "large") { vec![7; 60_000] } else { VOID.to_vec() };
            let reply = encode(0x84, frame.id, opcode::RESULT, &body);
            let (start, rest) = reply.split_at(reply.len().min(45_000));
            peer.send(start);
            if !rest.is_empty() {
                released.lock().unwrap().recv().unwrap();
                peer.send(rest);
            }
        }
    });
    let proxy = behind(server.port, "QueryTypeFilter: {name: f, DenyList: [Write]}");
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"SELECT")));
    assert_eq!(client.receive().unwrap().id, 1);
    client.send(&encode(4, 2, opcode::QUERY, &query(b"SELECT large")));
    let mut start = [0; 40_000];
    client.0.read_exact(&mut start).unwrap();
    // The other instance refuses it at once.
    client.send(&encode(4, 3, opcode::QUERY, &query(b"INSERT")));
    std::thread::sleep(Duration::from_millis(200));
    release.send(()).unwrap();
    let mut rest = vec![0; 9 + 60_000 - start.len()];
    client.0.read_exact(&mut rest).unwrap();
    client.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let refused = client.receive().expect("what waited");
    assert_eq!((refused.id, refused.opcode), (3, opcode::ERROR));
    proxy.stop().unwrap();
}

#[test]
fn an_instance_that_leaves_lets_go_what_it_holds() {
    let (server, _frames) = counting(|_, _| Some((opcode::RESULT, VOID.to_vec())));
    let proxy = behind(server.port, "Coalesce: {name: k, flush_when_buffered_message_count: 200}");
    let mut client = Peer::session(proxy.port);
    client.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let held = (1..=4).map(|id| encode(4, id, opcode::QUERY, &query(b"INSERT")));
    // It goes to both, which owe its reply when one of them leaves.
    let prepare = encode(4, 6, opcode::PREPARE, &[0, 0, 0, 6, b'S', b'E', b'L', b'E', b'C', b'T']);
    let last = encode(4, 5, opcode::QUERY, &behind_comment("SELECT"));
    let at_once: Vec<u8> = [prepare].into_iter().chain(held).chain([last]).flatten().collect();
    client.send(&at_once);
    let mut answered: Vec<i16> = (0..6).map(|_| client.receive().expect("a reply").id).collect();
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3, 4, 5, 6]);
    proxy.stop().unwrap();
}

#[test]
fn an_instance_that_leaves_lets_go_what_a_second_chain_in_it_holds() {
    let (server, _frames) = counting(|_, _| Some((opcode::RESULT, VOID.to_vec())));
    let second = format!(
        "Coalesce: {{name: k, flush_when_buffered_message_count: 200}}, CassandraSinkSingle: {{name: o, \
         remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}",
        server.port
    );
    let tee = format!("Tee: {{name: t, behavior: FailOnMismatch, chain: [{second}]}}");
    let proxy = behind(server.port, &tee);
    let mut client = Peer::session(proxy.port);
    client.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // One for each instance, and one that leaves the first alone.
    for (id, body) in [(1, query(b"INSERT")), (2, query(b"INSERT")), (3, behind_comment("SELECT"))] {
        client.send(&encode(4, id, opcode::QUERY, &body));
    }
    let mut answered = [0, 0].map(|_| client.receive().expect("a reply").id);
    answered.sort_unstable();
    assert_eq!(answered, [2, 3]);
    proxy.child.signal("TERM");
}

pub(super) fn says(frame: &Frame, words: &str) -> bool {
    frame.body.windows(words.len()).any(|found| found == words.as_bytes())
}

/// A statement behind a comment that is longer than what is looked at.
fn behind_comment(statement: &str) -> Vec<u8> {
    query(format!("/*{}*/ {statement}", " ".repeat(40_000)).as_bytes())
}

#[test]
fn a_client_of_one_instance_ends_with_it_and_not_in_the_keyspace_of_another() {
    let (server, frames) = counting(|_, frame| match frame {
        _ if says(frame, "DEATH") => None,
        _ if says(frame, "USE a") => Some((opcode::RESULT, keyspace("a"))),
        _ if says(frame, "USE b") => Some((opcode::RESULT, keyspace("b"))),
        _ => Some((opcode::RESULT, VOID.to_vec())),
    });
    for is_ordered in [false, true] {
        let proxy = parallel(server.port, 2, is_ordered);
        let mut client = Peer::session(proxy.port);
        client.send(&encode(4, 1, opcode::QUERY, &query(b"USE a")));
        assert_eq!(client.receive().unwrap().body, keyspace("a"));
        // What it does cannot be seen, so that all requests go where it went.
        client.send(&encode(4, 2, opcode::QUERY, &behind_comment("INSERT")));
        assert_eq!(client.receive().unwrap().body, VOID);
        client.send(&encode(4, 3, opcode::QUERY, &query(b"USE b")));
        assert_eq!(client.receive().unwrap().body, keyspace("b"));
        client.send(&encode(4, 4, opcode::QUERY, &query(b"INSERT DEATH")));
        assert_eq!(error(&client.receive().unwrap().body).0, 0x1100);
        // The client may know already that it is over.
        client.0.write_all(&encode(4, 5, opcode::QUERY, &query(b"INSERT b.t"))).unwrap_or_default();
        assert!(client.receive().is_err(), "nobody is left who is in b");
        let seen: Vec<(usize, Frame)> =
            std::iter::from_fn(|| frames.recv_timeout(Duration::from_millis(300)).ok()).collect();
        assert!(!seen.iter().any(|(_, frame)| says(frame, "INSERT b.t")), "it ran in a");
        proxy.child.signal("TERM");
    }
}

#[test]
fn instances_that_are_left_for_one_answer_what_they_owe_and_are_closed() {
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let server = Server::start(move |mut peer| {
        counted.fetch_add(1, Ordering::Relaxed);
        accept_session(&mut peer);
        while let Ok(frame) = peer.receive() {
            if says(&frame, "LATE") {
                std::thread::sleep(Duration::from_millis(200));
            }
            let body = if says(&frame, "USE a") { keyspace("a") } else { VOID.to_vec() };
            peer.send(&encode(0x84, frame.id, opcode::RESULT, &body));
        }
        counted.fetch_sub(1, Ordering::Relaxed);
    });
    let proxy = parallel(server.port, 3, false);
    let mut client = Peer::session(proxy.port);
    let requests = [query(b"INSERT LATE"), query(b"INSERT LATE"), query(b"INSERT LATE"), query(b"USE a")];
    let requests = requests.into_iter().chain([behind_comment("INSERT")]).zip(1..);
    let requests: Vec<u8> = requests.flat_map(|(body, id)| encode(4, id, opcode::QUERY, &body)).collect();
    client.send(&requests);
    let mut replies: Vec<Frame> = (0..5).map(|_| client.receive().unwrap()).collect();
    replies.sort_unstable_by_key(|reply| reply.id);
    let bodies: Vec<&[u8]> = replies.iter().map(|reply| &*reply.body).collect();
    assert_eq!(bodies, [&VOID[..], &VOID, &VOID, &keyspace("a"), &VOID]);
    let is_alone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        open.load(Ordering::Relaxed) == 1
    });
    assert!(is_alone, "{open:?} connections");
    client.send(&encode(4, 6, opcode::QUERY, &query(b"INSERT")));
    assert_eq!(client.receive().unwrap().body, VOID);
    proxy.stop().unwrap();
}

/// The head and the tail of a PREPARE whose statement has so many bytes more than what is read at once.
pub(super) fn large_prepare(id: i16, bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let text = format!("INSERT {}", "x".repeat(bytes));
    let body = [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let mut head = encode(4, id, opcode::PREPARE, &body);
    let tail = head.split_off(40_000);
    (head, tail)
}

#[test]
fn an_instance_that_leaves_gets_no_bytes_of_a_request_that_it_did_not_get() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Server::start(move |mut peer| {
        let tell = tell.lock().unwrap().clone();
        accept_session(&mut peer);
        let mut held = None;
        while let Ok(frame) = peer.receive() {
            match held {
                _ if says(&frame, "HELD") => held = Some(frame.id),
                None if says(&frame, "USE k") => {
                    peer.send(&encode(0x84, frame.id, opcode::RESULT, &keyspace("k")));
                }
                None => peer.send(&encode(0x84, frame.id, opcode::RESULT, &VOID)),
                Some(held) => {
                    let refusal = [&0x2200_i32.to_be_bytes()[..], &[0, 1, b'x']].concat();
                    peer.send(&encode(0x84, frame.id, opcode::ERROR, &refusal));
                    peer.0.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                    tell.send(peer.0.read(&mut [0; 64]).ok()).unwrap();
                    peer.send(&encode(0x84, held, opcode::RESULT, &VOID));
                }
            }
        }
    });
    let proxy = parallel(server.port, 3, false);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT HELD")));
    client.send(&encode(4, 2, opcode::QUERY, &query(b"USE k")));
    assert_eq!(client.receive().unwrap().body, keyspace("k"));
    let (head, tail) = large_prepare(3, 100_000);
    client.send(&[head, tail].concat());
    assert_eq!(told.recv().unwrap(), None, "nothing while it owed a reply");
    let mut replies = [client.receive().unwrap(), client.receive().unwrap()];
    replies.sort_unstable_by_key(|reply| reply.id);
    assert_eq!(replies.map(|reply| (reply.id, reply.body)), [(1, VOID.to_vec()), (3, VOID.to_vec())]);
    proxy.stop().unwrap();
}

#[test]
fn an_instance_that_begins_to_leave_within_a_large_request_gets_the_rest_of_it() {
    let first = AtomicUsize::new(0);
    let (server, frames) = counting(move |_, frame| match frame {
        _ if !says(frame, "USE k") => Some((opcode::RESULT, VOID.to_vec())),
        _ if first.fetch_add(1, Ordering::Relaxed) == 0 => {
            Some((opcode::ERROR, [&0x2200_i32.to_be_bytes()[..], &[0, 1, b'x']].concat()))
        }
        _ => Some((opcode::RESULT, keyspace("k"))),
    });
    let proxy = parallel(server.port, 3, false);
    let mut client = Peer::session(proxy.port);
    let (head, tail) = large_prepare(2, 100_000);
    client.send(&[encode(4, 1, opcode::QUERY, &query(b"USE k")), head].concat());
    assert_eq!(client.receive().unwrap().body, keyspace("k"));
    client.send(&tail);
    let reply = client.receive().unwrap();
    assert_eq!((reply.id, &*reply.body), (2, &VOID[..]));
    let seen = std::iter::from_fn(|| frames.recv_timeout(Duration::from_millis(300)).ok());
    let whole = seen.filter(|(_, frame)| frame.opcode == opcode::PREPARE && frame.body.len() == 100_011);
    assert_eq!(whole.count(), 3);
    proxy.stop().unwrap();
}

#[test]
fn a_keyspace_is_not_followed_within_a_large_request() {
    let (server, frames) = counting(|_, frame| {
        let is_use = frame.opcode == opcode::EXECUTE || says(frame, "USE ");
        Some((opcode::RESULT, if is_use { keyspace("k") } else { VOID.to_vec() }))
    });
    let proxy = parallel(server.port, 2, false);
    let mut client = Peer::session(proxy.port);
    let large = query(format!("INSERT {}", "x".repeat(100_000)).as_bytes());
    let mut head = encode(4, 2, opcode::QUERY, &large);
    let tail = head.split_off(40_000);
    client.send(&[encode(4, 1, opcode::EXECUTE, &[0, 1, b'x', 0, 1, 0]), head].concat());
    assert_eq!(client.receive().unwrap().body, keyspace("k"));
    client.send(&[tail, encode(4, 3, opcode::QUERY, &query(b"INSERT next"))].concat());
    let mut replies = [client.receive().unwrap(), client.receive().unwrap()];
    replies.sort_unstable_by_key(|reply| reply.id);
    assert_eq!(replies.map(|reply| (reply.id, reply.body)), [(2, VOID.to_vec()), (3, VOID.to_vec())]);
    client.send(&encode(4, 4, opcode::QUERY, &query(b"INSERT last")));
    assert_eq!(client.receive().unwrap().body, VOID);
    let seen: Vec<(usize, Frame)> =
        std::iter::from_fn(|| frames.recv_timeout(Duration::from_millis(300)).ok()).collect();
    let (follower, _) = seen.iter().find(|(_, frame)| frame.body == large).expect("it is whole");
    let of_follower: Vec<&Frame> =
        seen.iter().filter(|(number, _)| number == follower).map(|(_, frame)| frame).collect();
    let expected = ["", "INSERT xxx", "USE \"k\"", "INSERT last"];
    assert_eq!(of_follower.len(), expected.len());
    assert!(of_follower.iter().zip(expected).all(|(frame, words)| words.is_empty() || says(frame, words)));
    proxy.stop().unwrap();
}

#[test]
fn connection_balance_and_pool_gives_late_replies_to_nobody_else() {
    // The first request is answered when its client is gone, and the second has used its connection.
    let late = Arc::new(AtomicUsize::new(0));
    let (server, frames) = counting({
        let late = Arc::clone(&late);
        move |_, frame| {
            if frame.body.windows(4).any(|word| word == b"LATE") {
                late.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(500));
            }
            Some((opcode::RESULT, frame.body.clone()))
        }
    });
    let proxy = Proxy::with_chain(
        &format!(
            "[ConnectionBalanceAndPool: {{name: p, max_connections: 1, chain: [CassandraSinkSingle: {{name: s, \
             remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}]}}]",
            server.port
        ),
        "",
    );
    let (mut first, mut second) = (Peer::session(proxy.port), Peer::session(proxy.port));
    first.send(&encode(4, 7, opcode::QUERY, &query(b"SELECT LATE")));
    while late.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(first);
    second.send(&encode(4, 7, opcode::QUERY, &query(b"SELECT own")));
    assert_eq!(second.receive().unwrap().body, query(b"SELECT own"));
    let connections: Vec<usize> = std::iter::from_fn(|| frames.recv_timeout(Duration::from_millis(100)).ok())
        .filter(|(_, frame)| frame.opcode == opcode::QUERY)
        .map(|(number, _)| number)
        .collect();
    assert_eq!(connections.len(), 2);
    assert_eq!(connections.first(), connections.last(), "both clients are on one connection");
    drop(second);
    proxy.stop().unwrap();
}
