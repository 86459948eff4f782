//! Instances between a client and a server that answers each connection for itself.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use chain::{
    Batch, Builder, Chain, ChainPart, ChainPlan, Chunk, Cx, Exit, Fault, Link, Message, PlanEntry, Pool,
    Progress, Sink, Tick, Ticket, Transform, Up, WorkerCx, WorkerPart,
};
use wire::Side;
use wire::cql::opcode;

use super::{ConnectionBalanceAndPool, ParallelMap};
use crate::tests::scene::{frame, head_of, long_string, reply_frame, worker};

/// Connections are numbered in the order in which they are made, and the first refuses every USE.
#[derive(Clone, Default)]
struct Server {
    connections: Arc<AtomicUsize>,
    closed: Arc<Mutex<Vec<usize>>>,
}

struct Part(Server, Pool);

struct End {
    number: usize,
    server: Server,
    pool: Pool,
    waiting: Vec<(i16, Ticket)>,
}

impl Builder for Server {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Part(self.clone(), worker.pool.clone()))
    }
}

impl WorkerPart for Part {
    fn client(&self) -> Link {
        let (server, pool) = (self.0.clone(), self.1.clone());
        let number = server.connections.fetch_add(1, Ordering::Relaxed);
        Link::Sink(Box::new(End { number, server, pool, waiting: Vec::new() }))
    }
}

impl Sink for End {
    fn submit(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|leaving, _| {
            self.waiting.push((i16::try_from(leaving.head.id).unwrap(), leaving.ticket));
            Ok(())
        })
    }

    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        let Some((id, ticket)) = self.waiting.pop() else { return Ok(Progress::Idle) };
        let reply = match self.number {
            0 => reply_frame(id, opcode::ERROR, b"\0\0\x22\0\0\x02no"),
            _ => reply_frame(id, opcode::RESULT, b"\0\0\0\x03\0\x01k"),
        };
        let (head, bytes) = (head_of(&reply, Side::Response), reply.len());
        let mut list = up.list();
        list.push(Message::reply(head, 0, bytes, ticket));
        up.replies(cx, &self.pool.own(reply), list)?;
        Ok(Progress::Drained)
    }

    fn close(&mut self, _: &mut Cx<'_, '_>) {
        self.server.closed.lock().unwrap().push(self.number);
    }
}

/// Counts what the client gets.
struct Replies(usize);

impl Exit for Replies {
    fn is_ready(&self) -> bool {
        true
    }
    fn looks(&self) -> bool {
        true
    }
    fn deliver(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|_, _| {
            self.0 += 1;
            Ok(())
        })
    }
    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, _: &Chunk, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

/// Nothing else may wake its client for a long time.
#[test]
fn an_instance_that_refuses_a_use_is_closed_without_another_wake() {
    let server = Server::default();
    let (kind, name) = ("Sink".to_owned(), "sink".to_owned());
    let entry = PlanEntry { kind, name, builder: Box::new(server.clone()) };
    let names = vec!["map[0]".to_owned(), "map[1]".to_owned()];
    let map = ParallelMap { plans: ChainPlan::of(names, 0, vec![entry]), is_ordered: false };
    let worker = worker();
    let entries: [(&str, &str, &dyn Builder); 1] = [("ParallelMap", "map", &map)];
    let mut chain = ChainPart::new("c", &worker, entries, None).client().unwrap();
    ask(&mut chain, &worker, "USE k");
    assert_eq!(*server.closed.lock().unwrap(), [0]);
}

/// One request, and its reply.
fn ask(chain: &mut Chain, worker: &WorkerCx, text: &str) {
    let mut task = Context::from_waker(Waker::noop());
    let mut cx = Cx { task: &mut task, now: Tick(0) };
    let request = frame(1, opcode::QUERY, &[&long_string(text), &[0, 1, 0][..]].concat());
    let mut messages = chain.list();
    messages.push(Message::new(head_of(&request, Side::Request), 0, request.len()));
    chain.submit(&mut cx, &worker.pool.own(request), messages).unwrap();
    let mut replies = Replies(0);
    while chain.poll(&mut cx, &mut replies).unwrap() == Progress::Moved {}
    assert_eq!(replies.0, 1);
}

/// Notes whose requests it sees.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Option<IpAddr>>>>);

impl Builder for Notes {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }
}

impl WorkerPart for Notes {
    fn client(&self) -> Link {
        Link::Transform(Box::new(self.clone()))
    }
}

impl Transform for Notes {
    fn requests(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.0.lock().unwrap().push(batch.identity().address());
        Ok(())
    }
}

#[test]
fn upstream_told_the_chain_of_a_pool_the_address_of_another_client() {
    let notes = Notes::default();
    let entry = |kind: &str, builder| PlanEntry { kind: kind.to_owned(), name: kind.to_owned(), builder };
    let entries = vec![entry("Notes", Box::new(notes.clone())), entry("Sink", Box::<Server>::default())];
    let pool =
        ConnectionBalanceAndPool { plan: ChainPlan::of(vec!["pool".to_owned()], 0, entries).remove(0) };
    let worker = worker();
    let entries: [(&str, &str, &dyn Builder); 1] = [("ConnectionBalanceAndPool", "pool", &pool)];
    let part = ChainPart::new("c", &worker, entries, None);
    let addresses = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
    let mut clients = addresses.map(|address| {
        let chain = part.client().unwrap();
        chain.identity().set_address(address);
        chain
    });
    for _ in 0..2 {
        clients.iter_mut().for_each(|client| ask(client, &worker, "SELECT 1"));
    }
    assert_eq!(
        *notes.0.lock().unwrap(),
        [addresses, addresses].concat().into_iter().map(Some).collect::<Vec<_>>()
    );
}
