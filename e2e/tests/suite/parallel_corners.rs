//! ParallelMap where its instances do not all do the same at the same time.

use std::time::Duration;

use testkit::scripted::{Peer, Server, accept_session, encode, opcode, query};

use super::parallel::{VOID, parallel};

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
