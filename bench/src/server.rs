//! Two echo servers, each one thread and one epoll.
//!
//! `cheap` costs as little as a server can, so that the CPU of a two-core machine is the proxy's. `per-connection` is
//! built as Redis is: a wake reads once from every connection that is ready, in small pieces, then works, then writes
//! once to every connection that is owed a reply. What many connections cost a server shows against that one only.

use std::io::ErrorKind;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use testkit::Options;

use crate::frames::answer;
use crate::stream::{Found, Stream};

/// Room for one read of `cheap`: all that 400 clients of one shared connection can have under way.
const CHEAP_READ_BYTES: usize = 256 * 1024;

/// Room for one read of `per-connection`; Redis reads as much (PROTO_IOBUF_LEN).
const PER_CONNECTION_READ_BYTES: usize = 16 * 1024;

/// Events of one wake.
const EVENTS_MAX: usize = 1024;

const LISTENER: Token = Token(usize::MAX);

/// What the harness waits for.
pub(crate) const READY_LINE: &str = "listening";

/// Which server it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cheap,
    PerConnection,
    /// A real one, which is not of this program.
    Cassandra,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cheap => "cheap",
            Self::PerConnection => "per-connection",
            Self::Cassandra => "Cassandra",
        }
    }
}

pub(crate) fn command(kind: &str, options: &Options<'_>) -> Result<(), String> {
    options.check(&[], &["--port"])?;
    let kind = [Kind::Cheap, Kind::PerConnection].into_iter().find(|known| known.name() == kind);
    let kind = kind.ok_or("a server is cheap or per-connection")?;
    let port: u16 = options.number("--port")?.ok_or("a server needs --port")?;
    Server::listen(kind, port).and_then(Server::run).map_err(|error| format!("port {port}: {error}"))
}

struct Server {
    kind: Kind,
    poll: Poll,
    listener: TcpListener,
    streams: Vec<Option<Stream>>,
    scratch: Vec<u8>,
    /// Connections that may have more than one read took, and those that are owed replies.
    again: Vec<usize>,
    owed: Vec<usize>,
}

impl Server {
    fn listen(kind: Kind, port: u16) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        println!("{READY_LINE}");
        let read_bytes = match kind {
            Kind::Cheap => CHEAP_READ_BYTES,
            Kind::PerConnection | Kind::Cassandra => PER_CONNECTION_READ_BYTES,
        };
        let scratch = vec![0; read_bytes];
        Ok(Self { kind, poll, listener, streams: Vec::new(), scratch, again: Vec::new(), owed: Vec::new() })
    }

    fn run(mut self) -> std::io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let timeout = (!self.again.is_empty()).then_some(std::time::Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => done?,
            }
            for place in std::mem::take(&mut self.again) {
                self.serve(place, false);
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept_all()?;
                } else if !event.is_readable() {
                    self.flush(event.token().0);
                } else {
                    self.serve(event.token().0, event.is_read_closed() || event.is_error());
                }
            }
            for place in std::mem::take(&mut self.owed) {
                self.flush(place);
            }
        }
    }

    fn accept_all(&mut self) -> std::io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let place = self.streams.iter().position(Option::is_none).unwrap_or(self.streams.len());
            register(&self.poll, &mut socket, place)?;
            if place == self.streams.len() {
                self.streams.push(None);
            }
            self.streams[place] = Some(Stream::new(socket));
        }
    }

    /// One read, and its replies.
    fn serve(&mut self, place: usize, must_end: bool) {
        let Some(Some(stream)) = self.streams.get_mut(place) else { return };
        let found = stream.read(&mut self.scratch, answer);
        match found {
            Ok(Found::Some) => self.again.push(place),
            // A read that finds all does not see the end behind it, and epoll tells of it once.
            Ok(Found::All) if must_end => self.again.push(place),
            Ok(Found::All) => {}
            Ok(Found::End) | Err(_) => {
                self.streams[place] = None;
                return;
            }
        }
        match self.kind {
            Kind::Cheap => self.flush(place),
            Kind::PerConnection | Kind::Cassandra => self.owed.push(place),
        }
    }

    fn flush(&mut self, place: usize) {
        if let Some(Some(stream)) = self.streams.get_mut(place)
            && stream.flush().is_err()
        {
            self.streams[place] = None;
        }
    }
}

/// Both directions at once: an edge costs nothing until it comes.
pub(crate) fn register(poll: &Poll, socket: &mut TcpStream, place: usize) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    poll.registry().register(socket, Token(place), Interest::READABLE | Interest::WRITABLE)
}
