//! Enrichment in a whole chain, above a sink that answers as Cassandra does: what a transform sees of prepared
//! statements, bound values, rows and the keyspace.

use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use wire::{Framed, Protocol, Side};

use crate::tests::Nobody;
use crate::view::TAKEN_APART;
use crate::{
    AllPrepared, Batch, Builder, Chain, ChainPart, Chunk, Cx, Exit, Fault, Item, Link, Message, Pool,
    Prepared, Progress, Sink, Tick, Ticket, Transform, Up, WorkerCx, WorkerPart,
};

pub(crate) const PREPARE: u8 = 9;
pub(crate) const EXECUTE: u8 = 10;
pub(crate) const QUERY: u8 = 7;
pub(crate) const BATCH: u8 = 13;

pub(crate) fn frame(version: u8, opcode: u8, body: &[u8]) -> Vec<u8> {
    [&[version, 0, 0, 1, opcode][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

/// A transform that writes down what it sees.
#[derive(Clone, Default)]
struct Seer {
    enriches: bool,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Seer {
    fn see(&self, way: &str, item: &Item<'_>) {
        let statement = item.prepared();
        let mut bound = String::new();
        let has_values =
            item.bound_values(|_, name, value| bound += &format!("{}={value} ", name.unwrap_or("?")));
        let rows = item.rows().map(|page| {
            let values =
                page.rows().flat_map(|row| row.values().map(|value| value.to_string()).collect::<Vec<_>>());
            values.collect::<Vec<_>>().join(" ")
        });
        let line = format!(
            "{way} in {:?}: {:?}, {:?}, {rows:?}",
            item.keyspace(),
            statement.as_ref().map(|known| &*known.text),
            has_values.then_some(bound),
        );
        self.seen.lock().unwrap().push(line);
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Builder for Seer {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }
    fn enriches(&self) -> bool {
        self.enriches
    }
}

impl WorkerPart for Seer {
    fn client(&self) -> Link {
        Link::Transform(Box::new(self.clone()))
    }
}

impl Transform for Seer {
    fn requests(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| self.see("down", request));
        Ok(())
    }
    fn responses(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|reply| self.see("up", reply));
        Ok(())
    }
}

/// A server of one statement, of `ks.t`; the type of its only column and only value, by its code, or [`NO_COLUMN`].
struct Server(u8);

impl Builder for Server {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Part(worker.pool.clone(), self.0))
    }
}

// A pool stays on its thread; a builder does not.
struct Part(Pool, u8);

impl WorkerPart for Part {
    fn client(&self) -> Link {
        Link::Sink(Box::new(Below(self.0.clone(), self.1, Vec::new())))
    }
}

struct Below(Pool, u8, Vec<(Ticket, Vec<u8>)>);

/// What is said to a request, by a server of this kind of column. To a QUERY: that its keyspace is in use now, or `other`.
fn reply(request: &[u8], kind: u8) -> Vec<u8> {
    let column = [&b"\0\x02ks\0\x01t\0\x01v\0"[..], &[kind]].concat();
    let body = match request[4] {
        PREPARE if kind == NO_COLUMN => [&b"\0\0\0\x04\0\x02id"[..], &[0; 15], &[4], &[0; 4]].concat(),
        PREPARE => [
            &b"\0\0\0\x04\0\x02id\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0"[..],
            &column,
            b"\0\0\0\x01\0\0\0\x01",
            &column,
        ]
        .concat(),
        EXECUTE => b"\0\0\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff".to_vec(),
        _ => {
            let entered = request.get(13..).and_then(|text| text.strip_prefix(b"USE ")).unwrap_or(b"other");
            let entered = entered.split(|byte| *byte == 0).next().unwrap();
            [&b"\0\0\0\x03\0"[..], &[u8::try_from(entered.len()).unwrap()], entered].concat()
        }
    };
    frame(0x84, 8, &body)
}

impl Sink for Below {
    fn submit(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|leaving, _| {
            self.2.push((leaving.ticket, leaving.outgoing.bytes().to_vec()));
            Ok(())
        })
    }
    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        for (ticket, request) in self.2.drain(..) {
            let bytes = reply(&request, self.1);
            let here = bytes.len();
            let Framed::Frame(head) = Protocol::Cql.frame(&bytes, Side::Response, u32::MAX) else { panic!() };
            up.replies(cx, &self.0.own(bytes), vec![Message::reply(head, 0, here, ticket)])?;
        }
        Ok(Progress::Idle)
    }
}

struct Out;

impl Exit for Out {
    fn is_ready(&self) -> bool {
        true
    }
    fn deliver(&mut self, _: &mut Cx<'_, '_>, _: &mut Batch<'_>) -> Result<(), Fault> {
        Ok(())
    }
    fn looks(&self) -> bool {
        true
    }
    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, _: &Chunk, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

/// A client on a worker of its own.
fn client(seer: &Seer, kind: u8, all: &AllPrepared) -> (Chain, Pool) {
    client_behind(&[seer], kind, all)
}

/// As [`client`], behind several of them.
pub(crate) fn client_behind(seers: &[&dyn Builder], kind: u8, all: &AllPrepared) -> (Chain, Pool) {
    let worker = WorkerCx {
        prepared: Rc::new(Prepared::new(all)),
        ..WorkerCx::alone(Protocol::Cql, Rc::new(Nobody), Rc::new(Nobody))
    };
    let server = Server(kind);
    let entries =
        seers.iter().map(|seer| ("Seer", "s", *seer)).chain([("Server", "b", &server as &dyn Builder)]);
    (ChainPart::new("c", &worker, entries, None).client().unwrap(), worker.pool)
}

/// Sends a request, and takes its reply.
pub(crate) fn exchange(client: &mut (Chain, Pool), opcode: u8, body: &[u8]) {
    exchange_all(client, &[(opcode, body)]);
}

/// Sends requests, and takes their replies when all are on their way.
fn exchange_all((chain, pool): &mut (Chain, Pool), requests: &[(u8, &[u8])]) {
    let mut task = Context::from_waker(Waker::noop());
    let mut cx = Cx { task: &mut task, now: Tick(0) };
    for (id, (opcode, body)) in (1..).zip(requests) {
        let mut bytes = frame(4, *opcode, body);
        bytes[3] = id;
        let here = bytes.len();
        let Framed::Frame(head) = Protocol::Cql.frame(&bytes, Side::Request, u32::MAX) else { panic!() };
        chain.submit(&mut cx, &pool.own(bytes), vec![Message::new(head, 0, here)]).unwrap();
    }
    chain.poll(&mut cx, &mut Out).unwrap();
    assert_eq!(chain.in_flight(), 0);
}

const SELECT: &[u8] = b"\0\0\0\x06SELECT";
/// One value of four bytes; the metadata of the rows may be left out.
pub(crate) const EXECUTE_7: &[u8] = b"\0\x02id\0\x01\x03\0\x01\0\0\0\x04\0\0\0\x07";
pub(crate) const INT: u8 = 9;
const BIGINT: u8 = 2;
const NO_COLUMN: u8 = 0;
pub(crate) const USE_OTHER: &[u8] = b"\0\0\0\x09USE other\0\x01\0";
const USE_THIRD: &[u8] = b"\0\0\0\x09USE third\0\x01\0";

#[test]
fn what_one_client_prepares_is_known_where_another_executes() {
    let (seer, all) = (Seer { enriches: true, ..Seer::default() }, AllPrepared::default());
    let mut clients = [client(&seer, INT, &all), client(&seer, INT, &all)];
    exchange(&mut clients[0], PREPARE, SELECT);
    assert_eq!(seer.seen(), ["down in None: None, None, None", "up in None: None, None, None"]);
    exchange(&mut clients[1], EXECUTE, EXECUTE_7);
    let down = "down in None: Some(\"SELECT\"), Some(\"v=7 \"), None";
    // The reply of an EXECUTE binds nothing that could be read from its bytes.
    let up = "up in None: Some(\"SELECT\"), None, Some(\"7 NULL\")";
    assert_eq!(seer.seen(), [down, up]);
}

#[test]
fn rows_that_do_not_fit_their_statement_have_no_types() {
    let (seer, all) = (Seer { enriches: true, ..Seer::default() }, AllPrepared::default());
    let mut client = client(&seer, BIGINT, &all);
    exchange(&mut client, PREPARE, SELECT);
    exchange(&mut client, EXECUTE, EXECUTE_7);
    let seen = seer.seen();
    assert_eq!(seen[2], "down in None: Some(\"SELECT\"), Some(\"v=0x00000007 \"), None");
    assert_eq!(seen[3], "up in None: Some(\"SELECT\"), None, Some(\"0x00000007 NULL\")");
}

#[test]
fn the_keyspace_is_the_one_that_the_server_confirmed() {
    let (seer, all) = (Seer { enriches: true, ..Seer::default() }, AllPrepared::default());
    let mut client = client(&seer, NO_COLUMN, &all);
    exchange(&mut client, QUERY, USE_OTHER);
    exchange(&mut client, PREPARE, SELECT);
    let seen = seer.seen();
    assert_eq!(seen[0], "down in None: None, Some(\"\"), None");
    assert_eq!(seen[1], "up in Some(\"other\"): None, None, None");
    assert_eq!(seen[2], "down in Some(\"other\"): None, None, None");
    let known = Prepared::new(&all).get(b"id").unwrap();
    assert_eq!((known.keyspace.as_deref(), &*known.text), (Some("other"), "SELECT"));
}

#[test]
fn a_use_that_is_on_its_way_does_not_tell_where_a_statement_is() {
    let (seer, all) = (Seer { enriches: true, ..Seer::default() }, AllPrepared::default());
    let prepare_t = (PREPARE, &SELECT_T[..19]);
    // The server says with a column where it is.
    for (kind, with_use, alone) in [(INT, Some("ks"), Some("ks")), (NO_COLUMN, None, Some("third"))] {
        let mut client = client(&seer, kind, &all);
        exchange(&mut client, QUERY, USE_OTHER);
        for (requests, keyspace) in [
            (&[(QUERY, USE_THIRD), prepare_t][..], with_use),
            (&[prepare_t][..], alone),
            (&[(QUERY, USE_THIRD), prepare_t][..], alone),
        ] {
            exchange_all(&mut client, requests);
            let known = Prepared::new(&all).get(b"id").unwrap();
            assert_eq!(known.keyspace.as_deref(), keyspace, "{kind}, {} requests", requests.len());
        }
    }
}

#[test]
fn one_statement_is_learned_however_long_it_is() {
    let (seer, all) = (Seer { enriches: true, ..Seer::default() }, AllPrepared::default());
    let mut client = client(&seer, INT, &all);
    let text = format!("SELECT {}", "x".repeat(1_100_000));
    exchange(&mut client, PREPARE, &[&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat());
    assert_eq!(Prepared::new(&all).get(b"id").unwrap().text.len(), text.len());
}

#[test]
fn nothing_is_learned_where_nobody_asks() {
    let (seer, all) = (Seer::default(), AllPrepared::default());
    let mut client = client(&seer, INT, &all);
    exchange(&mut client, QUERY, USE_OTHER);
    exchange(&mut client, PREPARE, SELECT);
    exchange(&mut client, EXECUTE, EXECUTE_7);
    assert!(seer.seen().iter().all(|line| line.ends_with("in None: None, None, None")));
    assert!(Prepared::new(&all).get(b"id").is_none());
}

/// A transform that asks what requests are about, as often as it is told to, and may put others in their place.
#[derive(Clone)]
struct Asker {
    times: usize,
    replaces: Option<&'static [u8]>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Builder for Asker {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }
    fn enriches(&self) -> bool {
        true
    }
}

impl WorkerPart for Asker {
    fn client(&self) -> Link {
        Link::Transform(Box::new(self.clone()))
    }
}

impl Transform for Asker {
    fn requests(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| {
            for _ in 0..self.times {
                let statements = request.statements();
                let about: Vec<_> = statements.each().map(|stated| format!("{:?}", stated.about)).collect();
                self.seen.lock().unwrap().push(format!("{} {}", statements.name(), about.join(", ")));
            }
            if let Some(body) = self.replaces {
                request.replace(frame(4, QUERY, body));
            }
        });
        Ok(())
    }
}

/// What was taken apart since this was last asked.
fn taken_apart() -> usize {
    TAKEN_APART.with(|taken| taken.replace(0))
}

pub(crate) const SELECT_T: &[u8] = b"\0\0\0\x0fSELECT * FROM t\0\x01\0";
pub(crate) const SELECT_U: &[u8] = b"\0\0\0\x11SELECT * FROM k.u\0\x01\0";

#[test]
fn a_request_is_taken_apart_once_however_many_ask() {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let asker = |times, replaces| Asker { times, replaces, seen: Arc::clone(&seen) };
    let all = AllPrepared::default();
    taken_apart();
    let mut nobody = client_behind(&[&asker(0, None)], INT, &all);
    exchange(&mut nobody, QUERY, SELECT_T);
    assert_eq!(taken_apart(), 0);
    let mut three = client_behind(&[&asker(2, None), &asker(1, None), &asker(3, None)], INT, &all);
    exchange(&mut three, QUERY, SELECT_T);
    assert_eq!(taken_apart(), 1);
    let in_other = "SELECT Table { keyspace: None, table: \"t\" }";
    assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [in_other; 6]);
    // Another run, and a keyspace that the server has named since.
    exchange(&mut three, QUERY, SELECT_T);
    assert_eq!(taken_apart(), 1);
    let in_other = "SELECT Table { keyspace: Some(\"other\"), table: \"t\" }";
    assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [in_other; 6]);
    // One that has other bytes is another one.
    let mut replaced = client_behind(&[&asker(1, Some(SELECT_U)), &asker(2, None)], INT, &all);
    exchange(&mut replaced, QUERY, SELECT_T);
    assert_eq!(taken_apart(), 2);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen[2], "SELECT Table { keyspace: Some(\"k\"), table: \"u\" }");
}

#[test]
fn what_an_execute_is_about_was_told_by_its_prepare() {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let asker = Asker { times: 1, replaces: None, seen: Arc::clone(&seen) };
    let mut client = client_behind(&[&asker], INT, &AllPrepared::default());
    exchange(&mut client, EXECUTE, EXECUTE_7);
    exchange(&mut client, PREPARE, &SELECT_U[..21]);
    exchange(&mut client, EXECUTE, EXECUTE_7);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen[0], "EXECUTE Unknown");
    assert_eq!(seen[1], "PREPARE Table { keyspace: Some(\"k\"), table: \"u\" }");
    assert_eq!(seen[2], "EXECUTE Table { keyspace: Some(\"k\"), table: \"u\" }");
}

#[test]
fn an_id_in_a_batch_is_one_statement_or_nobody_knows_what() {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let asker = Asker { times: 1, replaces: None, seen: Arc::clone(&seen) };
    let mut client = client_behind(&[&asker], INT, &AllPrepared::default());
    let insert = "INSERT INTO k.u (a) VALUES (1)";
    let inserts = format!("BEGIN BATCH {insert} {insert} APPLY BATCH");
    for text in [insert, &inserts, "BEGIN BATCH APPLY BATCH"] {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        exchange(&mut client, PREPARE, &[&length, text.as_bytes()].concat());
        seen.lock().unwrap().clear();
        exchange(&mut client, BATCH, b"\0\0\x02\x01\0\x02id\0\0\x01\0\x02id\0\0\0\x01\0");
        exchange(&mut client, EXECUTE, EXECUTE_7);
        let table = "Table { keyspace: Some(\"k\"), table: \"u\" }";
        let (batch, execute) = match text {
            // Cassandra runs no batch within a batch.
            "BEGIN BATCH APPLY BATCH" => ("BATCH Unknown, Unknown".to_owned(), "EXECUTE ".to_owned()),
            _ if text == inserts => {
                ("BATCH Unknown, Unknown".to_owned(), format!("EXECUTE {table}, {table}"))
            }
            _ => (format!("BATCH {table}, {table}"), format!("EXECUTE {table}")),
        };
        assert_eq!(*seen.lock().unwrap(), [batch, execute], "{text}");
    }
}
