//! The hook, in a chain that has no sockets.

use std::rc::Rc;
use std::task::{Context, Waker};

use shotover::chain::{
    Batch, Builder, ChainPart, Chunk, Connecting, Connector, Cx, Exit, Fault, Link, Message, Sink, Spawner,
    Task, Tick, WorkerCx, WorkerPart,
};
use shotover::wire::{ErrorKind, Framed, Protocol, Side};
use testkit::scripted::{encode, error, opcode, query};

use crate::refuse_unbounded_select::RefuseUnboundedSelect;

/// Opens no connections and runs no tasks.
struct Nowhere;

impl Connector for Nowhere {
    fn connect(&self, _address: &str) -> Connecting {
        Box::pin(std::future::pending())
    }
}

impl Spawner for Nowhere {
    fn spawn(&self, _task: Box<dyn Task>) {}
}

/// A sink that tells which requests came to it.
#[derive(Clone, Copy)]
struct Came;

impl Builder for Came {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for Came {
    fn client(&self) -> Link {
        Link::Sink(Box::new(*self))
    }
}

impl Sink for Came {
    fn submit(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| request.answer_error(ErrorKind::Server, "it came"));
        Ok(())
    }
}

/// The client, as far as a chain sees it.
#[derive(Default)]
struct Client(Vec<Vec<u8>>);

impl Exit for Client {
    fn is_ready(&self) -> bool {
        true
    }

    fn deliver(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.outgoing(
            |_, _| (),
            |reply| {
                self.0.push(reply.bytes().to_vec());
                Ok(())
            },
        )
    }

    fn looks(&self) -> bool {
        true
    }

    fn deliver_bytes(
        &mut self,
        _cx: &mut Cx<'_, '_>,
        _chunk: &Chunk,
        _range: std::ops::Range<usize>,
    ) -> Result<(), Fault> {
        Ok(())
    }
}

/// What the client is told of one request.
fn told(frame: Vec<u8>) -> String {
    let transform = RefuseUnboundedSelect::new(&["small".to_owned()]);
    let worker = WorkerCx::alone(Protocol::Cql, Rc::new(Nowhere), Rc::new(Nowhere));
    let entries: [(&str, &str, &dyn Builder); 2] =
        [("RefuseUnboundedSelect", "refuse", &transform), ("Came", "came", &Came)];
    let mut chain = ChainPart::new("test", &worker, entries, None).client().unwrap();
    let mut task = Context::from_waker(Waker::noop());
    let mut cx = Cx { now: Tick(0), task: &mut task };
    let Framed::Frame(head) = Protocol::Cql.frame(&frame, Side::Request, u32::MAX) else {
        panic!("no frame")
    };
    let request = Message::new(head, 0, frame.len());
    chain.submit(&mut cx, &worker.pool.own(frame), vec![request]).unwrap();
    let mut client = Client::default();
    chain.poll(&mut cx, &mut client).unwrap();
    assert_eq!(client.0.len(), 1);
    error(&client.0[0][9..]).1
}

const PASSED: &str = "it came";
const UNREADABLE: &str = "a statement that cannot be read is refused";

#[test]
fn a_select_needs_a_bound() {
    let refused = |table| format!("a SELECT from {table} needs a WHERE or a LIMIT");
    for (statement, expected) in [
        ("SELECT * FROM t", refused("t")),
        ("select a, b from t;", refused("t")),
        ("/* WHERE */ SELECT * -- LIMIT 1\n FROM t // WHERE\n", refused("t")),
        ("SELECT 'WHERE' FROM \"LIMIT\"", refused("LIMIT")),
        ("SELECT (text)$$ WHERE $$, a.b FROM t", refused("t")),
        ("SELECT * FROM t FROM system.local", UNREADABLE.to_owned()),
        ("SELECT * FROM ks . T", refused("t")),
        ("SELECT * FROM t PER PARTITION LIMIT 1", refused("t")),
        ("SELECT * FROM t PER PARTITION LIMIT 1 LIMIT 2", PASSED.to_owned()),
        ("SELECT * FROM t WHERE k = 1", PASSED.to_owned()),
        ("SELECT * FROM t\nLimit ?", PASSED.to_owned()),
        ("SELECT * FROM small.t", PASSED.to_owned()),
        ("SELECT * FROM \"Small\".t", refused("t")),
        ("SELECT * FROM System.peers", PASSED.to_owned()),
        ("INSERT INTO t JSON '{}'", PASSED.to_owned()),
        // As a newer server may know it.
        ("INSERT OR SO INTO t JSON '{}'", PASSED.to_owned()),
        ("SELECT * FROM t AS OF YESTERDAY", UNREADABLE.to_owned()),
        ("", UNREADABLE.to_owned()),
    ] {
        for opcode in [opcode::QUERY, opcode::PREPARE] {
            assert_eq!(told(encode(4, 7, opcode, &query(statement.as_bytes()))), expected, "{statement}");
        }
    }
}

#[test]
fn what_is_not_looked_at_passes_and_what_cannot_be_read_does_not() {
    for (opcode, body, expected) in [
        (opcode::EXECUTE, b"SELECT * FROM t".to_vec(), PASSED),
        (opcode::QUERY, query(b"\xff"), UNREADABLE),
        (opcode::QUERY, b"\0\0\0\x0fSELECT".to_vec(), UNREADABLE),
    ] {
        assert_eq!(told(encode(4, 7, opcode, &body)), expected);
    }
    let mut compressed = encode(4, 7, opcode::QUERY, &query(b"SELECT * FROM t WHERE k = 1"));
    compressed[1] = 1;
    assert_eq!(told(compressed), UNREADABLE);
}
