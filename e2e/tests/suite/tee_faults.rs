//! Tee whose servers want a login, fail, or are slow when the process ends.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use testkit::free_port;
use testkit::scripted::{Frame, Peer, Server, encode, error, opcode, query};

use super::tee::{ROOMY, VOID, WAIT, http, result, server, sink, tee};

const AUTH_CHALLENGE: u8 = 0x0E;

/// Behaviors with which a client waits for both servers' replies.
fn waiting(third: u16) -> [String; 3] {
    let chain = sink("third", third);
    let [log, fail] =
        ["LogWarningOnMismatch", "FailOnMismatch"].map(|behavior| format!("behavior: {behavior},"));
    [log, fail, format!("behavior: {{SubchainOnMismatch: {{chain: [{chain}]}}}},")]
}

/// A server that wants a login in two rounds, of which the second has the right word. Behind a wrong one it answers after
/// this time, and ends the connection.
fn guarded(refusal: Duration) -> Server {
    Server::start(move |mut peer| {
        while let Ok(frame) = peer.receive() {
            let (opcode, body) = match (frame.opcode, &*frame.body) {
                (opcode::STARTUP, _) => (opcode::AUTHENTICATE, [&[0, 1], &b"a"[..]].concat()),
                (opcode::AUTH_RESPONSE, b"begin") => (AUTH_CHALLENGE, vec![0; 4]),
                (opcode::AUTH_RESPONSE, b"right") => (opcode::AUTH_SUCCESS, vec![0xFF; 4]),
                (opcode::AUTH_RESPONSE, _) => {
                    std::thread::sleep(refusal);
                    let body = [&[0, 0, 1, 0, 0, 3][..], b"bad"].concat();
                    drop(peer.0.write_all(&encode(0x84, frame.id, opcode::ERROR, &body)));
                    return;
                }
                _ => (opcode::RESULT, VOID.to_vec()),
            };
            if peer.0.write_all(&encode(0x84, frame.id, opcode, &body)).is_err() {
                return;
            }
        }
    })
}

/// The last reply to a login with this word.
fn log_in(client: &mut Peer, word: &[u8]) -> Frame {
    client.0.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut ask = |opcode, body: &[u8]| {
        client.send(&encode(4, 0, opcode, body));
        client.receive().expect("what the server says to a login")
    };
    assert_eq!(ask(opcode::STARTUP, &[0, 0]).opcode, opcode::AUTHENTICATE);
    assert_eq!(ask(opcode::AUTH_RESPONSE, b"begin").opcode, AUTH_CHALLENGE);
    ask(opcode::AUTH_RESPONSE, word)
}

#[test]
fn tee_that_waits_for_both_servers_lets_its_client_log_in() {
    let servers = [(); 3].map(|()| guarded(Duration::ZERO));
    let [main, other, third] = &servers;
    let port = free_port();
    let switched = format!("switch_port: {port},");
    for options in waiting(third.port).iter().chain([&switched]) {
        let proxy = tee(main.port, other.port, options);
        if *options == switched {
            http(port, "PUT /transform/tee/result-source", "tee-chain");
        }
        let mut client = Peer::connect(proxy.port);
        assert_eq!(log_in(&mut client, b"right").opcode, opcode::AUTH_SUCCESS, "{options}");
        client.send(&encode(4, 1, opcode::QUERY, &query(b"q")));
        assert_eq!(client.receive().expect("a reply").body, VOID, "{options}");
        drop(client);
        proxy.stop().unwrap();
    }
}

#[test]
fn tee_lets_the_first_server_say_why_a_login_is_refused() {
    let [main, other] = [300, 0].map(|millis| guarded(Duration::from_millis(millis)));
    for options in waiting(free_port()) {
        let proxy = tee(main.port, other.port, &options);
        let mut client = Peer::connect(proxy.port);
        let refused = log_in(&mut client, b"wrong");
        assert_eq!((refused.opcode, error(&refused.body)), (opcode::ERROR, (0x0100, "bad".to_owned())));
        client.0.set_read_timeout(Some(WAIT)).unwrap();
        assert!(client.receive_all().is_empty());
        proxy.stop().unwrap();
    }
}

#[test]
fn tee_says_of_no_write_that_it_can_be_sent_again_when_a_chain_aside_cannot_connect() {
    // The first server answers the SELECT only: the INSERT may have run.
    let (main, frames) = server(|frame| match frame.id {
        1 => Some(Vec::new()),
        _ => result(frame, &VOID),
    });
    let (other, _others) = server(|frame| result(frame, &[0, 0, 0, 9]));
    // Nobody listens there: it is found at the first mismatch.
    let [_, _, resend] = waiting(free_port());
    let proxy = tee(main.port, other.port, &resend);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT")));
    assert_eq!(frames.recv_timeout(WAIT).unwrap().body, query(b"INSERT"));
    client.send(&encode(4, 2, opcode::QUERY, &query(b"SELECT")));
    let answered = client.receive_all();
    assert!(answered.iter().all(|reply| reply.id != 1), "{answered:?}");
    proxy.stop().unwrap();
}

#[test]
fn tee_says_of_no_write_that_it_can_be_sent_again_when_its_second_chain_cannot_connect() {
    let (main, _frames) = server(|_| Some(Vec::new()));
    for options in waiting(free_port()) {
        let proxy = tee(main.port, free_port(), &options);
        let mut client = Peer::connect(proxy.port);
        client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT")));
        let answered = client.receive_all();
        assert!(answered.is_empty(), "{answered:?}");
        proxy.stop().unwrap();
    }
}

#[test]
fn tee_sends_what_waits_though_the_process_is_told_to_end() {
    let (main, _frames) = server(|frame| result(frame, &VOID));
    let (seen, mirrored) = channel();
    let seen = Mutex::new(seen);
    // Until it accepts the session, all waits.
    let other = Server::start(move |mut peer| {
        let seen = seen.lock().unwrap().clone();
        while let Ok(frame) = peer.receive() {
            let is_first = frame.opcode == opcode::STARTUP;
            std::thread::sleep(Duration::from_millis(if is_first { 2500 } else { 0 }));
            let code = if is_first { opcode::READY } else { opcode::RESULT };
            drop(seen.send(frame.body.clone()));
            drop(peer.0.write_all(&encode(0x84, frame.id, code, &VOID)));
        }
    });
    for leaves in [false, true] {
        let proxy = tee(main.port, other.port, ROOMY);
        let mut client = Peer::session(proxy.port);
        for _ in 0..5 {
            client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT")));
            assert_eq!(client.receive().unwrap().body, VOID);
        }
        let stays = (!leaves).then_some(client);
        std::thread::sleep(Duration::from_millis(100));
        proxy.stop().unwrap();
        assert_eq!(mirrored.try_iter().filter(|body| *body == query(b"INSERT")).count(), 5, "{leaves}");
        drop(stays);
    }
}
