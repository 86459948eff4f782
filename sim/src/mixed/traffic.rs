//! The requests of a mixed traffic and what a server answers to each: lawful frames, so that whoever parses them finds
//! nothing wrong. A request carries a token, and its reply follows from the token alone: every server gives the same
//! one, and an application knows each byte of what it must get.

use super::model::{FIRST, Server};
use crate::frames::{Frame, opcode};

/// More opcodes (native protocol v4, section 2.4).
const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;

/// The frame carries warnings (section 2.2).
const WARNING: u8 = 0x08;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Startup,
    /// The client's part of a login.
    Login,
    Select,
    Insert,
    /// So many statements.
    Batch(u8),
    Create,
    /// The server refuses it.
    Wrong,
    /// A keyspace, by number.
    Use(u8),
    /// A statement, by number. Odd ones write.
    Prepare(u8),
    Execute(u8),
    /// Of a statement that nobody has prepared.
    ExecuteUnknown,
    /// A USE of a keyspace, by number.
    PrepareUse(u8),
    /// It may have been prepared by somebody else.
    ExecuteUse(u8),
    Options,
    Register,
}

impl Kind {
    /// A Tee that compares replies compares those to it.
    pub fn is_compared(self) -> bool {
        self.is_throttled()
            && self.used().is_none()
            && !matches!(self, Self::Prepare(_) | Self::PrepareUse(_) | Self::ExecuteUnknown)
    }

    /// The keyspace that is in use when a server accepts it.
    pub fn used(self) -> Option<u8> {
        match self {
            Self::Use(keyspace) | Self::ExecuteUse(keyspace) => Some(keyspace),
            _ => None,
        }
    }

    /// A throttle counts it.
    pub fn is_throttled(self) -> bool {
        !matches!(self, Self::Startup | Self::Login | Self::Options | Self::Register)
    }
}

/// The mark in front of a token's digits, wherever it stands.
const MARK: &[u8] = b"tok";

fn token(nonce: u64) -> String {
    format!("tok{nonce:016x}")
}

/// The nonce of the first token in some bytes.
pub fn nonce_in(bytes: &[u8]) -> Option<u64> {
    let at = bytes.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    u64::from_str_radix(std::str::from_utf8(bytes.get(at..at + 16)?).ok()?, 16).ok()
}

fn long_string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Consistency ONE, and no flags.
const PARAMETERS: [u8; 3] = [0, 1, 0];

fn query(text: &str) -> (u8, Vec<u8>) {
    (opcode::QUERY, [&*long_string(text), &PARAMETERS].concat())
}

/// So many letters that follow from the nonce.
fn filling(nonce: u64, bytes: usize) -> String {
    let first = (nonce % 23) as usize;
    (0..bytes).map(|place| char::from(b'a' + ((first + place) % 23) as u8)).collect()
}

pub fn prepared_text(statement: u8) -> String {
    if statement % 2 == 1 {
        format!("INSERT INTO ks.p{statement} (k) VALUES (?)")
    } else {
        format!("SELECT v FROM ks.p{statement} WHERE k = ?")
    }
}

/// The opcode and the body of a request.
pub fn request(kind: Kind, nonce: u64, padding: usize) -> (u8, Vec<u8>) {
    let (token, filling) = (token(nonce), filling(nonce, padding));
    match kind {
        Kind::Startup => (opcode::STARTUP, [&[0, 1][..], &string("CQL_VERSION"), &string("3.0.0")].concat()),
        Kind::Login => (opcode::AUTH_RESPONSE, [&[0, 0, 0, 4][..], b"\0u\0p"].concat()),
        Kind::Select => query(&format!("SELECT v FROM t WHERE k = '{token}{filling}'")),
        Kind::Insert => query(&format!("INSERT INTO t (k, v) VALUES ('{token}', '{filling}')")),
        Kind::Wrong => query(&format!("SELECT wrong FROM ks.t WHERE k = '{token}{filling}'")),
        Kind::Create => query(&format!("CREATE TABLE ks.{token} (k text PRIMARY KEY)")),
        Kind::Use(keyspace) => query(&format!("USE k{keyspace}")),
        Kind::Prepare(statement) => (opcode::PREPARE, long_string(&prepared_text(statement))),
        Kind::Execute(statement) => (opcode::EXECUTE, execute(statement, &token)),
        Kind::ExecuteUnknown => (opcode::EXECUTE, execute(UNKNOWN, &token)),
        Kind::PrepareUse(keyspace) => (opcode::PREPARE, long_string(&format!("USE k{keyspace}"))),
        Kind::ExecuteUse(keyspace) => {
            (opcode::EXECUTE, [&id_of(USES + keyspace, FIRST)[..], &PARAMETERS].concat())
        }
        Kind::Options => (OPTIONS, Vec::new()),
        Kind::Register => (opcode::REGISTER, [&[0, 1][..], &string("STATUS_CHANGE")].concat()),
        Kind::Batch(count) => {
            let statement = |number| {
                let text = format!("INSERT INTO ks.t (k, v) VALUES ('{token}', '{number}{filling}')");
                [&[0][..], &long_string(&text), &[0, 0]].concat()
            };
            let statements: Vec<u8> = (0..count).flat_map(statement).collect();
            (opcode::BATCH, [&[0, 0, count][..], &statements, &[0, 1, 0]].concat())
        }
    }
}

/// The number of a statement that is never prepared.
const UNKNOWN: u8 = u8::MAX;

/// The numbers of statements that use a keyspace, from here on.
const USES: u8 = 100;

/// What a server calls a statement, with its length in front: each has words of its own.
fn id_of(statement: u8, server: Server) -> Vec<u8> {
    if server == FIRST { vec![0, 2, b'p', statement] } else { vec![0, 3, b'q', server, statement] }
}

/// One bound value: the token.
fn execute(statement: u8, token: &str) -> Vec<u8> {
    [&id_of(statement, FIRST)[..], &[0, 1, 1, 0, 1], &long_string(token)].concat()
}

/// What a server understands of a request: ids only in its own words, unless it is asked in those of others too.
pub fn understand(frame: &Frame, server: Server, knows_others: bool) -> Option<(Kind, Option<u64>)> {
    let nonce = nonce_in(&frame.body);
    let kind = match frame.opcode {
        opcode::STARTUP => Kind::Startup,
        opcode::AUTH_RESPONSE => Kind::Login,
        OPTIONS => Kind::Options,
        opcode::REGISTER => Kind::Register,
        opcode::BATCH => Kind::Batch(*frame.body.get(2)?),
        opcode::EXECUTE => {
            let id = frame.body.get(..id_of(0, server).len())?;
            match *id.last()? {
                statement if *id != id_of(statement, server) => {
                    return knows_others.then_some((Kind::ExecuteUnknown, nonce));
                }
                UNKNOWN => Kind::ExecuteUnknown,
                statement if statement >= USES => Kind::ExecuteUse(statement - USES),
                statement => Kind::Execute(statement),
            }
        }
        opcode::PREPARE => {
            let text = std::str::from_utf8(frame.body.get(4..)?).ok()?;
            if let Some(keyspace) = text.strip_prefix("USE k") {
                return Some((Kind::PrepareUse(keyspace.parse().ok()?), nonce));
            }
            let digits = text.split_once("ks.p")?.1.split(' ').next()?;
            Kind::Prepare(digits.parse().ok()?)
        }
        opcode::QUERY => {
            let text = frame.body.get(4..)?;
            match text.get(..8)? {
                b"SELECT v" => Kind::Select,
                b"SELECT w" => Kind::Wrong,
                b"INSERT I" => Kind::Insert,
                b"CREATE T" => Kind::Create,
                _ => {
                    let name = std::str::from_utf8(text).ok()?.strip_prefix("USE ")?.trim_start_matches('"');
                    Kind::Use(name.get(1..2)?.parse().ok()?)
                }
            }
        }
        _ => return None,
    };
    Some((kind, nonce))
}

/// A column of type blob, and one row in it.
fn rows(value: &[u8]) -> Vec<u8> {
    let metadata =
        [&[0, 0, 0, 1, 0, 0, 0, 1][..], &string("ks"), &string("t"), &string("v"), &[0, 3]].concat();
    let cell = [&(value.len() as u32).to_be_bytes()[..], value].concat();
    [&[0, 0, 0, 2][..], &metadata, &[0, 0, 0, 1], &cell].concat()
}

/// Bound: one text, the partition key; nothing by a USE. Result: one blob, or nothing.
fn prepared(statement: u8, server: Server) -> Vec<u8> {
    let leading = [&[0, 0, 0, 4][..], &id_of(statement, server)].concat();
    if statement >= USES {
        return [&leading[..], &[0; 12], &[0, 0, 0, 4, 0, 0, 0, 0]].concat();
    }
    let table = [string("ks"), string(&format!("p{statement}"))].concat();
    let bound = [&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0][..], &table, &string("k"), &[0, 0x0D]].concat();
    let result = if statement % 2 == 1 {
        vec![0, 0, 0, 4, 0, 0, 0, 0]
    } else {
        [&[0, 0, 0, 1, 0, 0, 0, 1][..], &table, &string("v"), &[0, 3]].concat()
    };
    [leading, bound, result].concat()
}

/// What the first server answers. `padding_max`: the longest value in a row.
pub fn reply(kind: Kind, nonce: Option<u64>, id: i16, padding_max: usize) -> Frame {
    let warned = |result: Vec<u8>| {
        let warnings = [&[0, 1][..], &string(&token(nonce.unwrap_or_default()))].concat();
        Frame { flags: WARNING, id, opcode: opcode::RESULT, body: [warnings, result].concat() }
    };
    let plain = |opcode, body| Frame { flags: 0, id, opcode, body };
    let error = |code, text: &str, more: &[u8]| {
        plain(opcode::ERROR, [&u32::to_be_bytes(code)[..], &string(text), more].concat())
    };
    let of_nonce = nonce.unwrap_or_default();
    match kind {
        Kind::Startup | Kind::Register => plain(opcode::READY, Vec::new()),
        Kind::Login => plain(opcode::AUTH_SUCCESS, vec![0xFF; 4]),
        Kind::Options => plain(SUPPORTED, vec![0, 0]),
        Kind::Select | Kind::Execute(_) => {
            // Lengths of all magnitudes, and for one token always the same.
            let bytes = (of_nonce.wrapping_mul(0x9E37_79B9) >> 7) as usize % (1 << (of_nonce % 20));
            warned(rows(filling(of_nonce, bytes.min(padding_max)).as_bytes()))
        }
        Kind::Insert | Kind::Batch(_) => warned(vec![0, 0, 0, 1]),
        Kind::Create => {
            let change = ["CREATED", "TABLE", "ks", &token(of_nonce)].map(string).concat();
            warned([&[0, 0, 0, 5][..], &change].concat())
        }
        Kind::Use(keyspace) | Kind::ExecuteUse(keyspace) => {
            plain(opcode::RESULT, [&[0, 0, 0, 3][..], &string(&format!("k{keyspace}"))].concat())
        }
        Kind::Prepare(statement) => plain(opcode::RESULT, prepared(statement, FIRST)),
        Kind::PrepareUse(keyspace) => plain(opcode::RESULT, prepared(USES + keyspace, FIRST)),
        Kind::Wrong => error(0x2200, &format!("no such column: {}", token(of_nonce)), &[]),
        Kind::ExecuteUnknown => {
            error(0x2500, &format!("unknown: {}", token(of_nonce)), &id_of(UNKNOWN, FIRST))
        }
    }
}

/// What a server that wants a login answers to a STARTUP.
pub fn challenge(id: i16) -> Frame {
    Frame { flags: 0, id, opcode: opcode::AUTHENTICATE, body: string("authenticator") }
}

/// What a server answers to a USE that it refuses.
pub fn refusal(id: i16) -> Frame {
    let body = [&u32::to_be_bytes(0x2200)[..], &string("no such keyspace")].concat();
    Frame { flags: 0, id, opcode: opcode::ERROR, body }
}

/// What a second server answers to an EXECUTE of a statement that it has forgotten.
pub fn forgotten(id: i16, server: Server) -> Frame {
    let body = [&u32::to_be_bytes(0x2500)[..], &string("forgotten"), &id_of(0, server)].concat();
    Frame { flags: 0, id, opcode: opcode::ERROR, body }
}

/// As [`reply`], in the words of this server.
pub fn reply_of(server: Server, kind: Kind, nonce: Option<u64>, id: i16, padding_max: usize) -> Frame {
    let statement = match kind {
        Kind::Prepare(statement) => statement,
        Kind::PrepareUse(keyspace) => USES + keyspace,
        kind => return reply(kind, nonce, id, padding_max),
    };
    Frame { flags: 0, id, opcode: opcode::RESULT, body: prepared(statement, server) }
}

/// An event that a server sends to who registered. A large one does not come in one piece.
pub fn event(is_large: bool) -> Frame {
    let body = if is_large {
        ["SCHEMA_CHANGE", "CREATED", "KEYSPACE", &filling(0, 50_000)].map(string).concat()
    } else {
        let address = [4, 127, 0, 0, 1, 0, 0, 0x23, 0x52];
        [&string("STATUS_CHANGE")[..], &string("UP"), &address].concat()
    };
    Frame { flags: 0, id: -1, opcode: opcode::EVENT, body }
}
