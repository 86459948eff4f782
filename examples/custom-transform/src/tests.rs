//! The statement by itself, and the hook in a chain that has no sockets.

use std::rc::Rc;
use std::task::{Context, Waker};

use shotover::chain::{
    Batch, Builder, ChainPart, Chunk, Connecting, Connector, Cx, Exit, Fault, Link, Message, Pool, Sink,
    Spawner, Task, Tick, WorkerCx, WorkerPart,
};
use shotover::wire::{ErrorKind, Framed, Protocol, Side};
use testkit::scripted::{encode, error, opcode, query};

use crate::refuse_unbounded_select::RefuseUnboundedSelect;
use crate::statement::{Select, unbounded_select};

#[test]
fn a_select_needs_a_bound() {
    let table = |table| Some(Select { keyspace: None, table });
    for (statement, expected) in [
        ("SELECT * FROM t", table("t")),
        ("select a, b from t;", table("t")),
        ("/* WHERE */ SELECT * -- LIMIT 1\n FROM t // WHERE", table("t")),
        ("SELECT 'WHERE' FROM \"LIMIT\"", table("LIMIT")),
        ("SELECT (text)$$ WHERE $$, a.b FROM t", table("t")),
        ("SELECT * FROM t FROM system.local", table("t")),
        ("SELECT * FROM ks . t", Some(Select { keyspace: Some("ks"), table: "t" })),
        ("SELECT * FROM t PER PARTITION LIMIT 1", table("t")),
        ("SELECT * FROM t PER PARTITION LIMIT 1 LIMIT 2", None),
        ("SELECT * FROM t WHERE k = 1", None),
        ("SELECT * FROM t\nLimit ?", None),
        ("INSERT INTO t JSON '{}'", None),
        ("", None),
    ] {
        assert_eq!(unbounded_select(statement), expected, "{statement}");
    }
}

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
    let worker = WorkerCx {
        pool: Pool::new(),
        connector: Rc::new(Nowhere),
        spawner: Rc::new(Nowhere),
        protocol: Protocol::Cql,
        sharing: Rc::default(),
        nested: Rc::default(),
        prepared: Rc::default(),
    };
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

#[test]
fn what_has_no_bound_is_answered_and_the_rest_passes() {
    let refused = |table: &str| format!("a SELECT from {table} needs a WHERE or a LIMIT");
    for (opcode, body, expected) in [
        (opcode::QUERY, query(b"SELECT * FROM t"), refused("t")),
        (opcode::QUERY, query(b"SELECT * FROM ks.t"), refused("t")),
        (opcode::PREPARE, query(b"SELECT a FROM t"), refused("t")),
        (opcode::QUERY, query(b"SELECT * FROM t WHERE k = 1"), "it came".to_owned()),
        (opcode::QUERY, query(b"SELECT * FROM small.t"), "it came".to_owned()),
        (opcode::QUERY, query(b"SELECT * FROM system.peers"), "it came".to_owned()),
        (opcode::EXECUTE, b"SELECT * FROM t".to_vec(), "it came".to_owned()),
        (opcode::QUERY, query(b"\xff"), "a statement that cannot be read is refused".to_owned()),
    ] {
        assert_eq!(told(encode(4, 7, opcode, &body)), expected);
    }
    let mut compressed = encode(4, 7, opcode::QUERY, &query(b"SELECT * FROM t"));
    compressed[1] = 1;
    assert_eq!(told(compressed), "a statement that cannot be read is refused");
}
