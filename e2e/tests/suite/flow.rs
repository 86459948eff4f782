//! Messages through the proxy: large ones, many at once, out of order, and clients that do not read.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use testkit::Proxy;
use testkit::scripted::{HEADER_BYTES, Peer, Server, accept_session, encode, header, opcode};

const MIB: usize = 1024 * 1024;

#[test]
fn replies_pass_each_other_and_requests_do_not_wait() {
    let (seen, requests) = mpsc::channel();
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        let (first, second) = (peer.receive().unwrap(), peer.receive().unwrap());
        // Both are here before either is answered.
        seen.send((first.id, second.id)).unwrap();
        peer.send(&encode(0x84, second.id, opcode::RESULT, b"second"));
        peer.receive().unwrap();
        peer.send(&encode(0x84, first.id, opcode::RESULT, b"first"));
        drop(peer.receive());
    });
    let proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, b"one"));
    client.send(&encode(4, 2, opcode::QUERY, b"two"));
    assert_eq!(requests.recv_timeout(Duration::from_secs(10)).unwrap(), (1, 2));
    let reply = client.receive().unwrap();
    assert_eq!((reply.id, &*reply.body), (2, b"second".as_slice()));
    client.send(&encode(4, 3, opcode::QUERY, b"go on"));
    let reply = client.receive().unwrap();
    assert_eq!((reply.id, &*reply.body), (1, b"first".as_slice()));
    proxy.stop().unwrap();
}

/// Watches the largest resident memory of the proxy while `work` goes on, and says by how much it grew.
fn growth(proxy: &Proxy, work: impl FnOnce()) -> u64 {
    let before = proxy.memory("VmRSS");
    let done = AtomicBool::new(false);
    let most = AtomicU64::new(before);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(proxy.memory("VmRSS"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
    });
    most.load(Ordering::Relaxed) - before
}

#[test]
fn the_largest_request_and_reply_pass_without_being_held() {
    const LARGEST: usize = 256 * MIB;
    let server = Server::start(|mut peer| {
        accept_session(&mut peer);
        let mut buffer = vec![0; MIB];
        let mut header_bytes = [0; HEADER_BYTES];
        peer.0.read_exact(&mut header_bytes).unwrap();
        for _ in 0..LARGEST / MIB {
            peer.0.read_exact(&mut buffer).unwrap();
            assert!(buffer.iter().all(|byte| *byte == b'q'));
        }
        buffer.fill(b'r');
        peer.send(&header(0x84, 7, opcode::RESULT, LARGEST));
        for _ in 0..LARGEST / MIB {
            peer.send(&buffer);
        }
        drop(peer.receive());
    });
    let proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    let grown = growth(&proxy, || {
        let mut buffer = vec![b'q'; MIB];
        client.send(&header(4, 7, opcode::QUERY, LARGEST));
        for _ in 0..LARGEST / MIB {
            client.send(&buffer);
        }
        let mut header_bytes = [0; HEADER_BYTES];
        client.0.read_exact(&mut header_bytes).unwrap();
        assert_eq!(header_bytes, header(0x84, 7, opcode::RESULT, LARGEST));
        for _ in 0..LARGEST / MIB {
            client.0.read_exact(&mut buffer).unwrap();
            assert!(buffer.iter().all(|byte| *byte == b'r'));
        }
    });
    assert!(grown < 2 * MIB as u64, "it grew by {grown} bytes");
    proxy.stop().unwrap();
}

#[test]
fn a_client_that_does_not_read_costs_little_and_nobody_else() {
    let server = Server::start(|mut peer| {
        accept_session(&mut peer);
        while let Ok(request) = peer.receive() {
            let bytes = if request.body == b"large" { MIB } else { 10 };
            let reply = encode(0x84, request.id, opcode::RESULT, &vec![b'x'; bytes]);
            if peer.0.write_all(&reply).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::passthrough(server.port);
    let mut other = Peer::session(proxy.port);
    let mut sluggish = Peer::session(proxy.port);
    let grown = growth(&proxy, || {
        for id in 0..64 {
            sluggish.send(&encode(4, id, opcode::QUERY, b"large"));
        }
        for round in 0..10_000_u32 {
            let id = (round % 1000) as i16;
            other.send(&encode(4, id, opcode::QUERY, b"small"));
            assert_eq!(other.receive().unwrap().id, id);
        }
    });
    assert!(grown < 2 * MIB as u64, "it grew by {grown} bytes");
    for _ in 0..64 {
        assert_eq!(sluggish.receive().unwrap().body.len(), MIB);
    }
    proxy.stop().unwrap();
}

/// A body of this length that no other nonce has.
fn body_of(nonce: u64, bytes: usize) -> Vec<u8> {
    let mut body = nonce.to_be_bytes().to_vec();
    body.extend((0..bytes).map(|place| (nonce as usize % 251 + place % 241) as u8));
    body
}

/// A small generator, so that a run needs no other crate.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Answers in bursts and out of order, in pieces of every size; the length of a reply is asked for by the request.
fn scattering_server() -> Server {
    Server::start(|mut peer| {
        accept_session(&mut peer);
        let mut state = peer.0.peer_addr().map_or(1, |address| u64::from(address.port()));
        let mut pending = Vec::new();
        while let Ok(request) = peer.receive() {
            let nonce = u64::from_be_bytes(request.body[..8].try_into().unwrap());
            let bytes = u32::from_be_bytes(request.body[8..12].try_into().unwrap()) as usize;
            pending.push(encode(0x84, request.id, opcode::RESULT, &body_of(nonce, bytes)));
            peer.0.set_nonblocking(true).unwrap();
            let has_more = peer.0.peek(&mut [0]).is_ok_and(|count| count > 0);
            peer.0.set_nonblocking(false).unwrap();
            if !has_more || pending.len() == 4 || next(&mut state).is_multiple_of(4) {
                send_in_pieces(&mut peer, &mut pending, &mut state);
            }
        }
    })
}

fn send_in_pieces(peer: &mut Peer, pending: &mut Vec<Vec<u8>>, state: &mut u64) {
    while !pending.is_empty() {
        let reply = pending.swap_remove(next(state) % pending.len());
        let mut left = &*reply;
        while !left.is_empty() {
            let piece = 1 + next(state) % if left.len() < 2000 { left.len() } else { 1 << 16 };
            let (now, later) = left.split_at(piece.min(left.len()));
            if peer.0.write_all(now).is_err() {
                return;
            }
            left = later;
        }
    }
}

#[test]
fn every_reply_is_its_own() {
    let (clients, depth, time) =
        if crate::is_full() { (200, 64, Duration::from_secs(60)) } else { (50, 16, Duration::from_secs(5)) };
    let server = scattering_server();
    let proxy = Proxy::passthrough(server.port);
    let answered = AtomicU64::new(0);
    // At most 512 MiB of replies are in flight.
    let in_flight = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (answered, in_flight, port) = (&answered, Arc::clone(&in_flight), proxy.port);
            scope.spawn(move || {
                let mut peer = Peer::session(port);
                let mut state = client + 1;
                let mut expected = vec![None; depth];
                let deadline = Instant::now() + time;
                let mut asked = 0_u64;
                loop {
                    let goes_on = Instant::now() < deadline;
                    for (id, slot) in expected.iter_mut().enumerate().filter(|(_, slot)| slot.is_none()) {
                        if !goes_on {
                            break;
                        }
                        let bits = next(&mut state) % 25;
                        let mut bytes = next(&mut state) % (1 << bits);
                        if in_flight.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64 > 512 << 20 {
                            in_flight.fetch_sub(bytes as u64, Ordering::Relaxed);
                            bytes = 0;
                        }
                        asked += 1;
                        let nonce = (client << 40) | asked;
                        let body = [&nonce.to_be_bytes()[..], &(bytes as u32).to_be_bytes()].concat();
                        peer.send(&encode(4, id as i16, opcode::QUERY, &body));
                        *slot = Some((nonce, bytes));
                    }
                    if expected.iter().all(Option::is_none) {
                        return;
                    }
                    let reply = peer.receive().expect("a reply");
                    let (nonce, bytes) =
                        expected[reply.id as usize].take().expect("a reply to what was asked");
                    assert_eq!(reply.body.len(), bytes + 8);
                    assert!(reply.body == body_of(nonce, bytes), "the reply of another");
                    in_flight.fetch_sub(bytes as u64, Ordering::Relaxed);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} replies, each its own", answered.load(Ordering::Relaxed));
    assert!(answered.load(Ordering::Relaxed) > clients * depth as u64);
    proxy.stop().unwrap();
}
