//! A relay that keeps what passes: the bytes of each connection, each way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use wire::Side;

/// The bytes of one direction of one connection.
pub(crate) struct Recorded {
    pub(crate) side: Side,
    pub(crate) bytes: Arc<Mutex<Vec<u8>>>,
}

/// A relay to a port of this machine. It relays until the process ends.
pub(crate) struct Relay {
    pub(crate) port: u16,
    recorded: Arc<Mutex<Vec<Recorded>>>,
}

impl Relay {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&recorded);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let ways = [(Side::Request, &client, &server), (Side::Response, &server, &client)];
                for (side, from, to) in ways {
                    let bytes = Arc::new(Mutex::new(Vec::new()));
                    kept.lock().unwrap().push(Recorded { side, bytes: Arc::clone(&bytes) });
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || copy(from, to, &bytes));
                }
            }
        });
        Self { port, recorded }
    }

    /// Everything so far, a connection and direction each.
    pub(crate) fn recorded(&self) -> Vec<(Side, Vec<u8>)> {
        let recorded = self.recorded.lock().unwrap();
        recorded.iter().map(|recorded| (recorded.side, recorded.bytes.lock().unwrap().clone())).collect()
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
        kept.lock().unwrap().extend(&buffer[..count]);
    }
    // The other side may be gone already.
    drop(to.shutdown(Shutdown::Write));
}
