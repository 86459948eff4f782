//! ParallelMap where its instances do not all do the same at the same time.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use testkit::Proxy;
use testkit::scripted::{Frame, Peer, Server, accept_session, encode, opcode, query};

use super::parallel::{VOID, keyspace, large_prepare, parallel, says};
use super::tee::prepared;

/// Longer than any of these tests is quiet where all is well.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A client whose session is begun, and who does not wait for ever.
fn session(port: u16) -> Peer {
    let client = Peer::session(port);
    client.0.set_read_timeout(Some(SILENCE_MAX)).unwrap();
    client
}

fn register(id: i16) -> Vec<u8> {
    encode(4, id, opcode::REGISTER, &[0, 1, 0, 13, b'S'])
}

/// The body of an error that says that a request is not valid.
fn refusal() -> Vec<u8> {
    [&0x2200_i32.to_be_bytes()[..], &[0, 1, b'x']].concat()
}

#[test]
fn a_large_event_comes_whole() {
    let event = vec![7; 40_000];
    let sent = event.clone();
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        while let Ok(frame) = peer.receive() {
            if frame.opcode == opcode::REGISTER {
                peer.send(&encode(0x84, frame.id, opcode::READY, &[]));
                peer.send(&encode(0x84, -1, opcode::EVENT, &sent));
            } else {
                peer.send(&encode(0x84, frame.id, opcode::RESULT, &VOID));
            }
        }
    });
    for is_ordered in [false, true] {
        let proxy = parallel(server.port, 2, is_ordered);
        let mut client = session(proxy.port);
        client.send(&register(1));
        let mut frames = [client.receive().unwrap(), client.receive().unwrap()];
        frames.sort_unstable_by_key(|frame| frame.opcode);
        let [ready, heard] = frames;
        assert_eq!((ready.id, ready.opcode), (1, opcode::READY));
        assert_eq!((heard.id, heard.opcode), (-1, opcode::EVENT));
        assert!(heard.body == event, "the event was torn");
        for id in 2..6 {
            client.send(&encode(4, id, opcode::QUERY, &query(b"INSERT")));
            let reply = client.receive().unwrap();
            assert_eq!((reply.id, &*reply.body), (id, &VOID[..]));
        }
        proxy.stop().unwrap();
    }
}

#[test]
fn events_come_while_an_instance_that_leaves_owes_a_reply() {
    let server = Server::start(|mut peer| {
        accept_session(&mut peer);
        let mut is_holding = false;
        while let Ok(frame) = peer.receive() {
            if says(&frame, "HELD") {
                is_holding = true;
                continue;
            }
            let (opcode, body) = match frame.opcode {
                opcode::REGISTER => (opcode::READY, Vec::new()),
                _ if is_holding => (opcode::ERROR, refusal()),
                _ => (opcode::RESULT, keyspace("k")),
            };
            peer.send(&encode(0x84, frame.id, opcode, &body));
            if frame.opcode == opcode::REGISTER {
                peer.send(&encode(0x84, -1, opcode::EVENT, b"event"));
            }
        }
    });
    let proxy = parallel(server.port, 2, false);
    let mut client = session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT HELD")));
    client.send(&encode(4, 2, opcode::QUERY, &query(b"USE k")));
    assert_eq!(client.receive().unwrap().body, keyspace("k"));
    client.send(&register(3));
    let opcodes = [client.receive().unwrap().opcode, client.receive().unwrap().opcode];
    assert!(opcodes.contains(&opcode::READY) && opcodes.contains(&opcode::EVENT), "{opcodes:?}");
    proxy.child.signal("TERM");
}

#[test]
fn a_client_waits_for_an_instance_that_leaves_and_takes_no_more_of_a_large_request() {
    let (release, released) = mpsc::channel::<()>();
    let (released, first) = (Mutex::new(released), AtomicUsize::new(0));
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        while let Ok(frame) = peer.receive() {
            if frame.opcode == opcode::PREPARE {
                peer.send(&encode(0x84, frame.id, opcode::RESULT, &VOID));
            } else if first.fetch_add(1, Ordering::Relaxed) > 0 {
                peer.send(&encode(0x84, frame.id, opcode::RESULT, &keyspace("k")));
            } else {
                peer.send(&encode(0x84, frame.id, opcode::ERROR, &refusal()));
                released.lock().unwrap().recv().unwrap();
            }
        }
    });
    let proxy = parallel(server.port, 2, false);
    let mut client = session(proxy.port);
    // More than the sockets on its way hold.
    let (head, tail) = large_prepare(2, 48 << 20);
    client.send(&[encode(4, 1, opcode::QUERY, &query(b"USE k")), head].concat());
    assert_eq!(client.receive().unwrap().body, keyspace("k"));
    let mut sending = client.0.try_clone().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        sending.write_all(&tail).unwrap();
        tell.send(()).unwrap();
    });
    assert!(told.recv_timeout(Duration::from_secs(2)).is_err(), "all of it was taken, and waits in memory");
    release.send(()).unwrap();
    told.recv().unwrap();
    let reply = client.receive().unwrap();
    assert_eq!((reply.id, &*reply.body), (2, &VOID[..]));
    proxy.stop().unwrap();
}

/// A server whose connections know in which keyspace they are. The first one of them answers its first two requests in
/// the other order, if it is so wanted.
fn server_of_keyspaces(is_reversed: bool) -> Server {
    let connections = AtomicUsize::new(0);
    Server::start(move |mut peer| {
        let mut waits_for_second = connections.fetch_add(1, Ordering::Relaxed) == 0 && is_reversed;
        accept_session(&mut peer);
        let (mut current, mut frames) = (String::new(), Vec::new());
        while let Ok(frame) = peer.receive() {
            frames.push(frame);
            if std::mem::take(&mut waits_for_second) {
                continue;
            }
            while let Some(frame) = frames.pop() {
                let said = match changed(&frame) {
                    Some(to) => {
                        current = to;
                        keyspace(&current)
                    }
                    None => [&VOID, current.as_bytes()].concat(),
                };
                peer.send(&encode(0x84, frame.id, opcode::RESULT, &said));
            }
        }
    })
}

/// The keyspace that a request changes to: its statement is prepared under that name, or a USE.
fn changed(frame: &Frame) -> Option<String> {
    if frame.opcode == opcode::EXECUTE {
        return Some(char::from(frame.body[2]).to_string());
    }
    let text = String::from_utf8_lossy(&frame.body).into_owned();
    let (_, name) = text.split_once("USE ")?;
    Some(name.trim_matches('"').chars().take(1).collect())
}

/// What a client says by two requests at once, and then the keyspaces in which each of three instances runs what it asks.
fn keyspaces_after(server: &Server, requests: [(u8, Vec<u8>); 2]) -> Vec<String> {
    let proxy = parallel(server.port, 3, false);
    let mut client = session(proxy.port);
    let requests = (1..).zip(requests);
    let requests = requests.map(|(id, (opcode, body))| encode(4, id, opcode, &body));
    client.send(&requests.collect::<Vec<_>>().concat());
    drop((client.receive().unwrap(), client.receive().unwrap()));
    let ran_in = (3..6).map(|id| {
        client.send(&encode(4, id, opcode::QUERY, &query(b"INSERT")));
        let reply = client.receive().unwrap();
        assert_eq!(reply.id, id);
        String::from_utf8_lossy(&reply.body[VOID.len()..]).into_owned()
    });
    let ran_in = ran_in.collect();
    proxy.stop().unwrap();
    ran_in
}

#[test]
fn changes_of_the_keyspace_that_are_under_way_at_once_leave_all_instances_in_the_youngest() {
    let execute = |name: u8| (opcode::EXECUTE, vec![0, 1, name, 0, 1, 0]);
    let uses = |name: &str| (opcode::QUERY, query(format!("USE {name}").as_bytes()));
    let cases = [
        (false, [execute(b'b'), uses("c")]),
        (false, [uses("b"), execute(b'c')]),
        (false, [execute(b'b'), execute(b'c')]),
        (true, [uses("b"), uses("c")]),
    ];
    for (index, (is_reversed, requests)) in cases.into_iter().enumerate() {
        let ran_in = keyspaces_after(&server_of_keyspaces(is_reversed), requests);
        assert_eq!(ran_in, ["c", "c", "c"], "case {index}");
    }
}

#[test]
fn what_instances_hold_goes_while_the_client_is_not_read() {
    let server = Server::start(|mut peer| {
        accept_session(&mut peer);
        while let Ok(frame) = peer.receive() {
            let body = if frame.opcode == opcode::PREPARE { prepared(b"use") } else { keyspace("k") };
            peer.send(&encode(0x84, frame.id, opcode::RESULT, &body));
        }
    });
    let chain = format!(
        "[ParallelMap: {{name: m, parallelism: 2, ordered_results: false, chain: [Coalesce: {{name: c, flush_when_buffered_message_count: 200}}, \
         CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}]}}]",
        server.port
    );
    let proxy = Proxy::with_chain(&chain, "");
    let mut client = session(proxy.port);
    client.send(&encode(4, 1, opcode::PREPARE, &[&[0, 0, 0, 5], &b"USE k"[..]].concat()));
    assert_eq!(client.receive().unwrap().body, prepared(b"use"));
    // Two changes of the keyspace at once: nothing more is read until both are answered, and each is held.
    let execute = |id| encode(4, id, opcode::EXECUTE, &[&[0, 3], &b"use"[..], &[0, 1, 0]].concat());
    client.send(&[execute(2), execute(3)].concat());
    let mut ids = [client.receive().unwrap().id, client.receive().unwrap().id];
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);
    proxy.child.signal("TERM");
}

#[test]
fn of_replies_that_wait_for_an_older_one_only_some_are_read() {
    const REQUESTS: i16 = 192;
    const REPLY_BYTES: usize = 1 << 20;
    let (release, released) = mpsc::channel::<()>();
    let (released, sent) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        while let Ok(frame) = peer.receive() {
            if says(&frame, "FIRST") {
                released.lock().unwrap().recv().unwrap();
            }
            let is_large = says(&frame, "LARGE");
            let body = if is_large { vec![7; REPLY_BYTES] } else { VOID.to_vec() };
            peer.send(&encode(0x84, frame.id, opcode::RESULT, &body));
            counted.fetch_add(usize::from(is_large), Ordering::Relaxed);
        }
    });
    let proxy = parallel(server.port, 2, true);
    let mut client = session(proxy.port);
    let text = |id: i16| match id {
        0 => "SELECT FIRST",
        id if id % 2 == 1 => "SELECT LARGE",
        _ => "SELECT",
    };
    let all = (0..REQUESTS).flat_map(|id| encode(4, id, opcode::QUERY, &query(text(id).as_bytes())));
    client.send(&all.collect::<Vec<u8>>());
    std::thread::sleep(Duration::from_secs(2));
    let sent = sent.load(Ordering::Relaxed);
    // Some of them are in sockets.
    assert!(
        (16..72).contains(&sent),
        "{sent} of 96 large replies were read while the first one was not there"
    );
    release.send(()).unwrap();
    for id in 0..REQUESTS {
        let reply = client.receive().unwrap();
        let bytes = if text(id) == "SELECT LARGE" { REPLY_BYTES } else { VOID.len() };
        assert_eq!((reply.id, reply.body.len()), (id, bytes));
    }
    proxy.stop().unwrap();
}
