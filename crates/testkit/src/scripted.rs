//! Peers that do what a test tells them: a CQL client, and a CQL server, over plain blocking sockets.
//!
//! Frames are written by hand here, so that the code under test does not judge itself.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Opcodes (native protocol v4, section 2.4) that scripts use.
pub mod opcode {
    pub const ERROR: u8 = 0x00;
    pub const STARTUP: u8 = 0x01;
    pub const READY: u8 = 0x02;
    pub const AUTHENTICATE: u8 = 0x03;
    pub const QUERY: u8 = 0x07;
    pub const RESULT: u8 = 0x08;
    pub const PREPARE: u8 = 0x09;
    pub const EXECUTE: u8 = 0x0A;
    pub const REGISTER: u8 = 0x0B;
    pub const EVENT: u8 = 0x0C;
    pub const BATCH: u8 = 0x0D;
    pub const AUTH_RESPONSE: u8 = 0x0F;
    pub const AUTH_SUCCESS: u8 = 0x10;
}

/// Bytes of a header.
pub const HEADER_BYTES: usize = 9;

/// How long a script waits for its peer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub flags: u8,
    pub id: i16,
    pub opcode: u8,
    pub body: Vec<u8>,
}

/// A header.
#[must_use]
pub fn header(version: u8, id: i16, opcode: u8, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = id.to_be_bytes();
    let [l0, l1, l2, l3] = (body_bytes as u32).to_be_bytes();
    [version, 0, high, low, opcode, l0, l1, l2, l3]
}

/// A frame's bytes.
#[must_use]
pub fn encode(version: u8, id: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    [&header(version, id, opcode, body.len()), body].concat()
}

impl Frame {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self, version: u8) -> Vec<u8> {
        let mut bytes = encode(version, self.id, self.opcode, &self.body);
        bytes[1] = self.flags;
        bytes
    }
}

/// The body of a QUERY with this text.
#[must_use]
pub fn query(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text, &[0, 1, 0]].concat()
}

/// The code and the text of an ERROR's body.
#[must_use]
pub fn error(body: &[u8]) -> (i32, String) {
    let code = body.first_chunk().map_or(-1, |code| i32::from_be_bytes(*code));
    (code, String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned())
}

/// One end of a connection.
pub struct Peer(pub TcpStream);

impl Peer {
    /// Connects to a local port.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        Self::of(socket)
    }

    /// As [`Peer::connect`], and a session is begun.
    ///
    /// # Panics
    /// When the server is not ready for it.
    #[must_use]
    pub fn session(port: u16) -> Self {
        let mut peer = Self::connect(port);
        peer.send(&encode(4, 0, opcode::STARTUP, &[0, 0]));
        assert_eq!(peer.receive().expect("READY").opcode, opcode::READY);
        peer
    }

    fn of(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket");
        socket.set_read_timeout(Some(WAIT_MAX)).expect("a socket");
        socket.set_write_timeout(Some(WAIT_MAX)).expect("a socket");
        Self(socket)
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("to send");
    }

    /// The next frame.
    ///
    /// # Errors
    /// The connection ended, or was silent for too long.
    pub fn receive(&mut self) -> io::Result<Frame> {
        let mut header = [0; HEADER_BYTES];
        self.0.read_exact(&mut header)?;
        let [_, flags, high, low, opcode, l0, l1, l2, l3] = header;
        let mut body = vec![0; u32::from_be_bytes([l0, l1, l2, l3]) as usize];
        self.0.read_exact(&mut body)?;
        Ok(Frame { flags, id: i16::from_be_bytes([high, low]), opcode, body })
    }

    /// Everything until the other side ends the connection.
    #[must_use]
    pub fn receive_all(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Ok(frame) = self.receive() {
            frames.push(frame);
        }
        frames
    }
}

/// A server that runs the same script for every connection, each on a thread of its own.
pub struct Server {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Starts a server. It goes on until the test ends.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(script: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let script = Arc::clone(&script);
                std::thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(move || script(Peer::of(socket)))
                    .ok();
            }
        });
        Self { port }
    }

    /// A server that accepts every session and answers every request by its own body.
    #[must_use]
    pub fn echo() -> Self {
        Self::start(|mut peer| {
            while let Ok(frame) = peer.receive() {
                let reply = match frame.opcode {
                    opcode::STARTUP => encode(0x84, frame.id, opcode::READY, &[]),
                    _ => encode(0x84, frame.id, opcode::RESULT, &frame.body),
                };
                if peer.0.write_all(&reply).is_err() {
                    return;
                }
            }
        })
    }
}

/// Takes the first frame of a session off a connection, and accepts it.
pub fn accept_session(peer: &mut Peer) {
    if let Ok(startup) = peer.receive() {
        peer.send(&encode(0x84, startup.id, opcode::READY, &[]));
    }
}
