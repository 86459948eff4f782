//! One client: sends mixtures of requests, many at once, and holds each reply against what it must be.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use testkit::scripted::{encode, opcode};

use super::frames::{Connection, Reply};
use super::requests::{
    Asker, Expected, KEYS, KEYSPACES, PREPARED, ROLES, Request, Statement, content, filled,
};

/// Requests in flight of a client in a hurry, and of another.
const IN_FLIGHT: [usize; 2] = [48, 12];

/// The longest pause of a client that is in no hurry, milliseconds.
const PAUSE_MAX_MS: usize = 300;

/// What the clients of a process have seen, in the order of [`COUNTS`].
pub(super) type Counts = [AtomicU64; COUNTS.len()];

/// Names of what is counted.
pub(super) const COUNTS: [&str; 7] = ["right", "denied", "used", "executed", "failed", "lost", "unprepared"];

/// What the clients of one process have in common.
#[derive(Default)]
pub(super) struct Common {
    pub(super) counts: Counts,
    /// Ids that any of them has prepared; whoever likes executes them.
    prepared: Mutex<HashMap<Statement, Vec<u8>>>,
}

impl Common {
    fn count(&self, name: &str) {
        let place = COUNTS.iter().position(|known| *known == name).unwrap();
        self.counts[place].fetch_add(1, Ordering::Relaxed);
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, HashMap<Statement, Vec<u8>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a client cannot go on as it is.
pub(super) enum Trouble {
    /// Its connection, or its keyspace, is lost: it begins again.
    Lost,
    /// What must never happen.
    Wrong(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Self::Wrong("no reply came: it hangs".to_owned())
            }
            io::ErrorKind::InvalidData => Self::Wrong(format!("not a reply: {error}")),
            _ => Self::Lost,
        }
    }
}

/// A plain generator; the seed names a client.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Rounds of a row: the last that is known to be written, and the last that was tried.
#[derive(Clone, Copy, Default)]
struct Rounds {
    known: i64,
    tried: i64,
}

/// See the module's text.
pub(super) struct Application<'c> {
    common: &'c Common,
    random: Random,
    port: u16,
    role: usize,
    client: i32,
    hurries: bool,
    /// Something has failed: it pauses before it goes on.
    hesitates: bool,
    round: i64,
    rows: HashMap<(usize, i32), Rounds>,
    keyspace: Option<usize>,
}

impl<'c> Application<'c> {
    /// `client` is nobody else's number, ever. Every sixth is in a hurry, every twelfth wants events.
    pub(super) fn new(common: &'c Common, port: u16, client: i32) -> Self {
        Self {
            common,
            random: Random(client as u64),
            port,
            role: client as usize % 2,
            client,
            hurries: client % 6 == 0,
            hesitates: false,
            round: 0,
            rows: HashMap::new(),
            keyspace: None,
        }
    }

    /// Goes on until something wrong happens.
    pub(super) fn run(&mut self) -> String {
        loop {
            match self.session() {
                Ok(()) => {}
                Err(Trouble::Lost) => {
                    self.common.count("lost");
                    self.distrust();
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(Trouble::Wrong(what)) => {
                    let Self { client, role, keyspace, .. } = self;
                    let keyspace = keyspace.map(|keyspace| KEYSPACES[keyspace]);
                    return format!("client {client} of role {:?} in {keyspace:?}: {what}", ROLES[*role].0);
                }
            }
        }
    }

    /// A server that died may not have all that it had acknowledged.
    fn distrust(&mut self) {
        self.rows.values_mut().for_each(|rounds| rounds.known = 0);
        self.hesitates = true;
    }

    /// One connection, from its beginning to its end.
    fn session(&mut self) -> Result<(), Trouble> {
        self.keyspace = None;
        let mut connection = match Connection::open(self.port, ROLES[self.role])? {
            Ok(connection) => connection,
            Err(Reply::Error(code, text)) if is_passing(code, &text) => return Err(Trouble::Lost),
            Err(other) => return Err(Trouble::Wrong(format!("the login: {other:?}"))),
        };
        if self.client % 12 == 1 {
            self.burst(&mut connection, vec![Asker::register()])?;
        }
        for _ in 0..100 + self.random.below(200) {
            let requests = self.requests();
            self.burst(&mut connection, requests)?;
            let hesitates = std::mem::take(&mut self.hesitates);
            if hesitates || !self.hurries {
                std::thread::sleep(Duration::from_millis(self.random.below(PAUSE_MAX_MS) as u64));
            }
        }
        Ok(())
    }

    fn asker(&self, keyspace: Option<usize>) -> Asker {
        Asker { role: self.role, client: self.client, keyspace, round: self.round }
    }

    /// Requests that are sent together. Each has keys of its own. Beside a USE none of them depends on the keyspace:
    /// a server runs them in any order.
    fn requests(&mut self) -> Vec<Request> {
        let count = 1 + self.random.below(IN_FLIGHT[usize::from(!self.hurries)]);
        let changes = self.random.once_in(8) || self.keyspace.is_none();
        let keyspace = self.keyspace.filter(|_| !changes);
        let mut requests: Vec<Request> = (0..count).map(|place| self.request(keyspace, place)).collect();
        if changes {
            let place = self.random.below(count);
            requests[place] = self.change();
        }
        requests
    }

    /// A request that changes the keyspace, or would if it could.
    fn change(&mut self) -> Request {
        let (keyspace, spelling) = (self.random.below(KEYSPACES.len()), self.random.below(100));
        let ids = self.common.prepared();
        let prepared = ids.get(&(self.random.below(KEYSPACES.len()), keyspace + 5));
        match prepared {
            Some(id) if spelling < 30 => {
                let statement = *ids.iter().find(|(_, known)| *known == id).unwrap().0;
                self.asker(None).execute(statement, id, 0)
            }
            _ if spelling < 40 && self.keyspace.is_some() => Asker::use_nobodys(),
            _ => self.asker(None).use_keyspace(keyspace, spelling),
        }
    }

    fn request(&mut self, keyspace: Option<usize>, place: usize) -> Request {
        self.round += 1;
        let asker = self.asker(keyspace);
        // No two requests of a burst have a key in common.
        let key = place as i32;
        let second_key = KEYS + key;
        let at = keyspace.filter(|_| !self.random.once_in(3));
        let at = (at.unwrap_or_else(|| self.random.below(KEYSPACES.len())), key);
        let qualifies = self.random.once_in(4);
        match self.random.below(20) {
            0..5 => asker.select(at, qualifies),
            5..8 => asker.insert(at, qualifies),
            8..11 => asker.guarded(at, self.random.below(4), qualifies),
            11 => asker.forbidden_batch(key),
            12 => Asker::list_roles(),
            13 => {
                let ids = self.common.prepared();
                let insert = ids.get(&(at.0, 1)).filter(|_| !qualifies).map(|id| (at.0, &**id));
                asker.batch([key, second_key], qualifies, insert)
            }
            _ => self.prepared(&asker, at),
        }
    }

    /// Executes a statement of either keyspace; prepares it if nobody has, or anew.
    fn prepared(&mut self, asker: &Asker, at: (usize, i32)) -> Request {
        let index = self.random.below(PREPARED.len());
        if let Some(keyspace) = asker.keyspace
            && (self.random.once_in(10) || !self.common.prepared().contains_key(&(keyspace, index)))
        {
            return asker.prepare((keyspace, index));
        }
        let statement = (at.0, index.min(4));
        match self.common.prepared().get(&statement) {
            Some(id) => asker.execute(statement, id, at.1),
            None => asker.select(at, false),
        }
    }

    /// Sends requests, all before the first reply is read, and looks at every reply.
    fn burst(&mut self, connection: &mut Connection, requests: Vec<Request>) -> Result<(), Trouble> {
        let mut bytes = Vec::new();
        for (id, request) in requests.iter().enumerate() {
            if let Expected::Done { written, round } = &request.expected {
                written.iter().for_each(|place| self.rows.entry(*place).or_default().tried = *round);
            }
            bytes.extend(encode(4, id as i16, request.opcode, &request.body));
        }
        connection.send(&bytes)?;
        let mut awaited: Vec<Option<Request>> = requests.into_iter().map(Some).collect();
        for _ in 0..awaited.len() {
            let (id, reply) = loop {
                let (id, reply) = connection.receive()?;
                if reply != Reply::Other(opcode::EVENT) {
                    break (id, reply);
                }
            };
            let request = usize::try_from(id).ok().and_then(|id| awaited.get_mut(id)?.take());
            let request = request.ok_or_else(|| {
                Trouble::Wrong(format!("a reply to nothing, stream {id}: {}", shown(&reply)))
            })?;
            self.look(&request, &reply)?;
        }
        Ok(())
    }

    fn look(&mut self, request: &Request, reply: &Reply) -> Result<(), Trouble> {
        /// Unprepared (section 9).
        const UNPREPARED: i32 = 0x2500;
        if let Reply::Error(code, text) = reply
            && is_passing(*code, text)
        {
            self.common.count("failed");
            if !self.hesitates {
                println!("failed: {}: {code:#x} {text}", request.text);
            }
            self.distrust();
            // Whether it is in another keyspace now, nobody can tell.
            return if let Expected::Keyspace(_) = request.expected { Err(Trouble::Lost) } else { Ok(()) };
        }
        if let (Some(statement), Reply::Error(UNPREPARED, _)) = (request.executes, reply) {
            self.common.count("unprepared");
            self.common.prepared().remove(&statement);
            return Ok(());
        }
        if !self.is_right(&request.expected, reply) {
            let Request { text, expected, .. } = request;
            return Err(Trouble::Wrong(format!(
                "{text}\n  expected {expected:?}\n  was told {}",
                shown(reply)
            )));
        }
        self.common.count("right");
        match &request.expected {
            Expected::Denied => self.common.count("denied"),
            Expected::Keyspace(keyspace) => {
                self.common.count("used");
                self.keyspace = Some(*keyspace);
            }
            Expected::Done { written, round } => {
                written.iter().for_each(|place| self.rows.entry(*place).or_default().known = *round);
            }
            Expected::Prepared { statement, .. } => {
                if let Reply::Prepared(id) = reply {
                    self.common.prepared().insert(*statement, id.clone());
                }
            }
            _ => {}
        }
        if request.executes.is_some() {
            self.common.count("executed");
        }
        Ok(())
    }

    fn is_right(&self, expected: &Expected, reply: &Reply) -> bool {
        /// Codes of ERROR (section 9).
        const UNAUTHORIZED: i32 = 0x2100;
        const INVALID: i32 = 0x2200;
        match expected {
            Expected::Mine { keyspace, key } => self.is_mine((*keyspace, *key), reply),
            Expected::Filled { keyspace, table, key } => {
                only(reply).is_some_and(|value| value == filled(*keyspace, table, *key).as_bytes())
            }
            Expected::Done { .. } => *reply == Reply::Void,
            Expected::Denied => matches!(reply, Reply::Error(UNAUTHORIZED, _)),
            Expected::Keyspace(keyspace) => *reply == Reply::Keyspace(KEYSPACES[*keyspace].to_owned()),
            Expected::NoSuchKeyspace => {
                matches!(reply, Reply::Error(INVALID, text) if text.contains("nobodys"))
            }
            Expected::Prepared { is_denied, .. } => match reply {
                Reply::Prepared(_) => true,
                Reply::Error(UNAUTHORIZED, _) => *is_denied,
                _ => false,
            },
            Expected::Role => match reply {
                Reply::Rows(rows) => match &**rows {
                    [row] => {
                        row.first().is_some_and(|name| name.as_deref() == Some(ROLES[self.role].0.as_bytes()))
                    }
                    _ => false,
                },
                _ => false,
            },
            Expected::Ready => *reply == Reply::Other(opcode::READY),
        }
    }

    /// The row is what this client wrote last, or tried to since.
    fn is_mine(&self, (keyspace, key): (usize, i32), reply: &Reply) -> bool {
        let rounds = self.rows.get(&(keyspace, key)).copied().unwrap_or_default();
        if matches!(reply, Reply::Rows(rows) if rows.is_empty()) {
            return rounds.known == 0;
        }
        let Some(value) = only(reply) else { return false };
        let text = String::from_utf8_lossy(value);
        let round = text.split(' ').nth(4).and_then(|round| round.parse::<i64>().ok()).unwrap_or(-1);
        (rounds.known..=rounds.tried).contains(&round)
            && text == content(keyspace, (self.role, self.client), (key, round))
    }
}

/// The only column of the only row.
fn only(reply: &Reply) -> Option<&[u8]> {
    let Reply::Rows(rows) = reply else { return None };
    match &**rows {
        [row] => match &**row {
            [value] => value.as_deref(),
            _ => None,
        },
        _ => None,
    }
}

/// An error that says nothing but that a server is not there, or was not: any client must expect it.
fn is_passing(code: i32, text: &str) -> bool {
    match code {
        0x0000 | 0x1000..=0x1003 | 0x1100 | 0x1200 | 0x1300 | 0x1500 => true,
        // The tables of roles could not be read.
        0x0100 | 0x2100 => text.contains("Unable to perform"),
        _ => false,
    }
}

fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Rows(rows) => {
            let text =
                |value: &Option<Vec<u8>>| value.as_deref().map(|v| String::from_utf8_lossy(v).into_owned());
            let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(text).collect()).collect();
            format!("rows {rows:?}")
        }
        other => format!("{other:?}"),
    }
}
