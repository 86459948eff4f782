//! CQL v4 by hand, as much as the applications of this test say and hear: so that the code under test does not judge
//! itself.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use testkit::scripted::{encode, opcode};

/// How long a reply may take. Cassandra itself gives up after 20 s.
const REPLY_MAX: Duration = Duration::from_secs(45);

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Void,
    /// Each row's columns.
    Rows(Vec<Vec<Option<Vec<u8>>>>),
    Keyspace(String),
    Prepared(Vec<u8>),
    SchemaChange,
    Error(i32, String),
    /// Anything without a content that matters, by its opcode.
    Other(u8),
}

/// A statement of a batch.
pub(super) enum Part {
    Text(String),
    Prepared(Vec<u8>, Vec<Vec<u8>>),
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_be_bytes()
}

fn int(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap().to_be_bytes()
}

/// The body of a PREPARE.
pub(super) fn prepare(text: &str) -> Vec<u8> {
    [&int(text.len()), text.as_bytes()].concat()
}

fn values(values: &[Vec<u8>]) -> Vec<u8> {
    let all = values.iter().flat_map(|value| [int(value.len()).to_vec(), value.clone()]);
    [short(values.len()).to_vec(), all.collect::<Vec<_>>().concat()].concat()
}

/// The body of an EXECUTE, at consistency ONE.
pub(super) fn execute(id: &[u8], bound: &[Vec<u8>]) -> Vec<u8> {
    [&short(id.len()), id, &[0, 1, 1], &values(bound)].concat()
}

/// The body of a logged BATCH.
pub(super) fn batch(parts: &[Part]) -> Vec<u8> {
    let part = |part: &Part| match part {
        Part::Text(text) => [&[0], &prepare(text)[..], &short(0)].concat(),
        Part::Prepared(id, bound) => [&[1], &short(id.len())[..], id, &values(bound)].concat(),
    };
    let all: Vec<Vec<u8>> = parts.iter().map(part).collect();
    [&[0], &short(parts.len())[..], &all.concat(), &[0, 1, 0]].concat()
}

/// Reads a body from its front; `None` when it is too short.
struct Body<'b>(&'b [u8]);

impl<'b> Body<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn short(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes(*self.take(2)?.first_chunk()?)))
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    fn string(&mut self) -> Option<String> {
        let count = self.short()?;
        Some(String::from_utf8_lossy(self.take(count)?).into_owned())
    }

    /// A column's type: one number, and for collections what they are made of.
    fn skip_type(&mut self) -> Option<()> {
        let inner = match self.short()? {
            0x20 | 0x22 => 1,
            0x21 => 2,
            _ => 0,
        };
        (0..inner).try_for_each(|_| self.skip_type())
    }

    fn rows(&mut self) -> Option<Reply> {
        let (flags, columns) = (self.int()?, self.int()?);
        let has_one_table = flags & 1 != 0;
        if has_one_table {
            self.string().zip(self.string())?;
        }
        for _ in 0..columns {
            if !has_one_table {
                self.string().zip(self.string())?;
            }
            self.string()?;
            self.skip_type()?;
        }
        let count = self.int()?;
        let mut rows = Vec::new();
        for _ in 0..count {
            let row = (0..columns).map(|_| match usize::try_from(self.int()?) {
                Ok(count) => Some(Some(self.take(count)?.to_vec())),
                Err(_) => Some(None),
            });
            rows.push(row.collect::<Option<Vec<_>>>()?);
        }
        self.0.is_empty().then_some(Reply::Rows(rows))
    }

    fn reply(&mut self, flags: u8, opcode: u8) -> Option<Reply> {
        if flags & 8 != 0 {
            let warnings = self.short()?;
            (0..warnings).try_for_each(|_| self.string().map(drop))?;
        }
        Some(match opcode {
            opcode::ERROR => Reply::Error(self.int()?, self.string()?),
            opcode::RESULT => match self.int()? {
                1 => Reply::Void,
                2 => self.rows()?,
                3 => Reply::Keyspace(self.string()?),
                4 => {
                    let count = self.short()?;
                    Reply::Prepared(self.take(count)?.to_vec())
                }
                _ => Reply::SchemaChange,
            },
            other => Reply::Other(other),
        })
    }
}

/// A connection of an application.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects and logs in.
    pub(super) fn open(port: u16, (user, password): (&str, &str)) -> io::Result<Result<Self, Reply>> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(REPLY_MAX))?;
        socket.set_write_timeout(Some(REPLY_MAX))?;
        let mut connection = Self(BufReader::new(socket));
        let startup = [&short(1)[..], &short(11), b"CQL_VERSION", &short(5), b"3.0.0"].concat();
        let asked = connection.ask(opcode::STARTUP, &startup)?;
        if asked != Reply::Other(opcode::AUTHENTICATE) {
            return Ok(Err(asked));
        }
        let token = format!("\0{user}\0{password}");
        let login = [&int(token.len()), token.as_bytes()].concat();
        let answered = connection.ask(opcode::AUTH_RESPONSE, &login)?;
        Ok(if answered == Reply::Other(opcode::AUTH_SUCCESS) { Ok(connection) } else { Err(answered) })
    }

    /// Sends one request and awaits its reply.
    pub(super) fn ask(&mut self, opcode: u8, body: &[u8]) -> io::Result<Reply> {
        self.send(&encode(4, 0, opcode, body))?;
        let (id, reply) = self.receive()?;
        if id == 0 { Ok(reply) } else { Err(garbage(&format!("stream {id} instead of 0: {reply:?}"))) }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The next reply and its stream id.
    pub(super) fn receive(&mut self) -> io::Result<(i16, Reply)> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header)?;
        let [version, flags, high, low, opcode, l0, l1, l2, l3] = header;
        let count = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if version != 0x84 || count > 1 << 20 {
            return Err(garbage(&format!("a header {header:?}")));
        }
        let mut body = vec![0; count];
        self.0.read_exact(&mut body)?;
        let reply = Body(&body).reply(flags, opcode);
        let reply = reply.ok_or_else(|| garbage(&format!("a body {header:?} {body:?}")))?;
        Ok((i16::from_be_bytes([high, low]), reply))
    }
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
