//! A Tee between two scripted sinks: of which of them something is read, and when.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use chain::{
    Batch, Builder, Chain, ChainPart, ChainPlan, Chunk, Cx, Exit, Fault, Link, Message, PlanEntry, Pool,
    Progress, Sink, Spawner, Switch, Task, Tick, Ticket, Up, WorkerCx, WorkerPart, mark_sent,
};
use wire::Side;
use wire::cql::opcode;

use super::prepared::none_prepared;
use super::{Behavior, Tee};
use crate::tests::scene::{frame, head_of, reply_frame, worker};

/// Replies to compare, and how long each is: many more than may wait.
const REPLIES: i16 = 40;
const REPLY_BYTES: usize = 1024 * 1024;

/// As many are more than may wait of one chain.
const KEPT_MAX: usize = 18;

/// The id of an event.
const EVENT: i16 = -1;

/// The id of a request that is not mirrored. Its reply comes in halves.
const HALVED: i16 = 1000;

/// A server as a sink: it has these replies, one of which is read in each poll, or all.
#[derive(Default)]
struct Book {
    asked: Vec<(i32, Ticket)>,
    replies: VecDeque<i16>,
    /// What its replies are full of.
    filling: u8,
    read: usize,
    /// There is always more to read, of which nothing becomes a reply.
    is_endless: bool,
    reads_all: bool,
    /// Half a reply is still to be read.
    is_torn: bool,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Book>>);

struct ServerPart(Server, Pool);

impl Builder for Server {
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(ServerPart(self.clone(), worker.pool.clone()))
    }
}

impl WorkerPart for ServerPart {
    fn client(&self) -> Link {
        Link::Sink(Box::new(Self(self.0.clone(), self.1.clone())))
    }
}

impl Sink for ServerPart {
    fn submit(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let mut book = self.0.0.lock().unwrap();
        let taken: Result<(), Infallible> = batch.outgoing(
            |message, ledger| {
                mark_sent(message.ticket(), ledger);
                book.asked.push((message.head().id, message.ticket()));
            },
            |_| Ok(()),
        );
        match taken {
            Ok(()) => Ok(()),
        }
    }

    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        let progress = self.read_one(cx, up)?;
        let goes_on = || {
            let book = self.0.0.lock().unwrap();
            book.reads_all && !book.is_torn
        };
        while goes_on() && self.read_one(cx, up)? == Progress::Moved {}
        Ok(progress)
    }
}

impl ServerPart {
    fn read_one(&self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        if up.is_ready() && std::mem::take(&mut self.0.0.lock().unwrap().is_torn) {
            let half = REPLY_BYTES / 2;
            up.reply_tail(cx, &self.1.own(vec![0; half]), 0..half)?;
            return Ok(Progress::Moved);
        }
        let (id, ticket, filling) = {
            let mut book = self.0.0.lock().unwrap();
            if book.is_endless {
                return Ok(Progress::Moved);
            }
            let Some(id) = book.replies.front().copied().filter(|_| up.is_ready()) else {
                return Ok(Progress::Idle);
            };
            book.replies.pop_front();
            book.read += 1;
            let asked = book.asked.iter().position(|(asked, _)| *asked == i32::from(id));
            (id, asked.map_or(Ticket::NONE, |asked| book.asked.swap_remove(asked).1), book.filling)
        };
        let reply = match id {
            EVENT => reply_frame(EVENT, opcode::EVENT, &[]),
            id => reply_frame(id, opcode::RESULT, &vec![filling; REPLY_BYTES]),
        };
        let mut messages = up.list();
        self.0.0.lock().unwrap().is_torn = id == HALVED;
        let here = if id == HALVED { reply.len() - REPLY_BYTES / 2 } else { reply.len() };
        messages.push(Message::reply(head_of(&reply, Side::Response), 0, here, ticket));
        up.replies(cx, &self.1.own(reply), messages)?;
        Ok(Progress::Moved)
    }
}

/// A sink that notes where the client of the last request is.
#[derive(Clone, Default)]
struct Where(Arc<Mutex<Option<IpAddr>>>);

impl Builder for Where {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }
}

impl WorkerPart for Where {
    fn client(&self) -> Link {
        Link::Sink(Box::new(self.clone()))
    }
}

impl Sink for Where {
    fn submit(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        *self.0.lock().unwrap() = batch.identity().address();
        Ok(())
    }
}

fn plan(number: usize, sink: impl Builder + 'static) -> ChainPlan {
    let entry = PlanEntry { kind: "Sink".to_owned(), name: "s".to_owned(), builder: Box::new(sink) };
    ChainPlan::of(vec!["aside".to_owned()], number, vec![entry]).pop().unwrap()
}

impl Server {
    fn has(&self, replies: impl IntoIterator<Item = i16>) {
        self.0.lock().unwrap().replies.extend(replies);
    }

    /// Replies that were read.
    fn read(&self) -> usize {
        self.0.lock().unwrap().read
    }
}

#[derive(Clone, Default)]
struct Spawned(Rc<RefCell<Vec<Box<dyn Task>>>>);

impl Spawner for Spawned {
    fn spawn(&self, task: Box<dyn Task>) {
        self.0.borrow_mut().push(task);
    }
}

/// A client, how many frames it has got, and how many of them were errors.
#[derive(Default)]
struct Out {
    got: usize,
    errors: usize,
    is_full: bool,
}

impl Exit for Out {
    fn is_ready(&self) -> bool {
        !self.is_full
    }
    fn looks(&self) -> bool {
        true
    }
    fn deliver(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|leaving, _| {
            self.got += 1;
            self.errors += usize::from(leaving.head.opcode == opcode::ERROR);
            Ok(())
        })
    }
    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, _: &Chunk, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

struct Scene {
    main: Server,
    other: Server,
    switch: Switch,
    spawned: Spawned,
    worker: WorkerCx,
    chain: Chain,
    out: Out,
    now: Tick,
}

impl Scene {
    fn new(behavior: Behavior) -> Self {
        let (main, other, spawned) = (Server::default(), Server::default(), Spawned::default());
        let switch = Switch::new(1);
        let tee = Tee {
            plan: plan(0, other.clone()),
            behavior,
            buffer_batches: 5,
            wait_max: Duration::ZERO,
            sample_percent: 100,
            switch: Some(switch.clone()),
            prepared: none_prepared(),
        };
        let worker = WorkerCx { spawner: Rc::new(spawned.clone()), ..worker() };
        let entries: [(&str, &str, &dyn Builder); 2] = [("Tee", "t", &tee), ("Sink", "main", &main)];
        let chain = ChainPart::new("c", &worker, entries, None).client().unwrap();
        Self { main, other, switch, spawned, worker, chain, out: Out::default(), now: Tick(1_000_000) }
    }

    fn with<T>(&mut self, run: impl FnOnce(&mut Self, &mut Cx<'_, '_>) -> T) -> T {
        let (mut task, now) = (Context::from_waker(Waker::noop()), self.now);
        run(self, &mut Cx { task: &mut task, now })
    }

    /// The client asks under these ids.
    fn ask(&mut self, ids: impl IntoIterator<Item = i16>) {
        self.ask_with(ids, b"SELECT");
    }

    /// As [`Self::ask`], with this text.
    fn ask_with(&mut self, ids: impl IntoIterator<Item = i16>, text: &[u8]) {
        let text = [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat();
        for id in ids {
            // A page is of its own server.
            let more: &[u8] = if id == HALVED { &[0, 1, 8, 0, 0, 0, 1, 9] } else { &[0, 1, 0] };
            let body = [&*text, more].concat();
            let request = frame(id, opcode::QUERY, &body);
            let mut messages = self.chain.list();
            messages.push(Message::new(head_of(&request, Side::Request), 0, request.len()));
            let chunk = self.worker.pool.own(request);
            self.with(|scene, cx| assert_eq!(scene.chain.submit(cx, &chunk, messages), Ok(None)));
        }
    }

    /// Moves what can be moved.
    fn poll(&mut self) {
        for _ in 0..1000 {
            let moved = self.with(|scene, cx| scene.chain.poll(cx, &mut scene.out).unwrap());
            if moved != Progress::Moved {
                return;
            }
        }
    }
}

#[test]
fn of_a_chain_that_is_ahead_no_more_is_read_than_may_wait() {
    for is_main_ahead in [false, true] {
        let mut scene = Scene::new(Behavior::LogWarning);
        let (main, other) = (scene.main.clone(), scene.other.clone());
        let [ahead, behind] = if is_main_ahead { [main, other] } else { [other, main] };
        scene.ask(0..REPLIES);
        ahead.has(0..REPLIES);
        scene.poll();
        assert!(ahead.read() > 1 && ahead.read() <= KEPT_MAX, "{} were read", ahead.read());
        assert_eq!(scene.out.got, 0);
        behind.has(0..REPLIES);
        scene.poll();
        assert_eq!(scene.out.got, REPLIES as usize);
    }
}

#[test]
fn the_rest_of_a_reply_comes_though_too_much_waits_and_all_replies_are_compared() {
    let mut scene = Scene::new(Behavior::Fail);
    scene.switch.set(true);
    scene.other.0.lock().unwrap().filling = 1;
    scene.main.0.lock().unwrap().reads_all = true;
    scene.ask((0..REPLIES).chain([HALVED]));
    scene.main.has((0..REPLIES).chain([HALVED]));
    scene.poll();
    scene.other.has(0..REPLIES);
    scene.poll();
    assert_eq!((scene.out.got, scene.out.errors), (REPLIES as usize + 1, REPLIES as usize));
}

#[test]
fn servers_that_answer_in_opposite_orders_wait_for_one_another_within_bounds() {
    for behavior in [Behavior::LogWarning, Behavior::Fail, Behavior::Ignore] {
        let mut scene = Scene::new(behavior);
        scene.switch.set(true);
        scene.ask(0..REPLIES);
        scene.main.has(0..REPLIES);
        scene.other.has((0..REPLIES).rev());
        let pool = scene.worker.pool.clone();
        while scene.out.got < REPLIES as usize {
            let moved = scene.with(|scene, cx| scene.chain.poll(cx, &mut scene.out).unwrap());
            assert_ne!(moved, Progress::Idle, "{} came", scene.out.got);
            assert!(pool.taken() <= 2 * KEPT_MAX, "{} wait", pool.taken());
        }
        assert_eq!(scene.out.got, REPLIES as usize);
    }
}

#[test]
fn a_client_is_not_read_while_too_many_of_its_requests_may_have_to_be_sent_again() {
    let mut scene = Scene::new(Behavior::Subchain(plan(1, Where::default())));
    let text = [b"INSERT ", &*vec![b'x'; REPLY_BYTES]].concat();
    scene.ask_with(0..10, &text);
    assert!(!scene.chain.is_over_mark());
    scene.ask_with(10..20, &text);
    assert!(scene.chain.is_over_mark());
    scene.main.has(0..20);
    scene.other.has(0..20);
    scene.poll();
    assert!(!scene.chain.is_over_mark());
}

#[test]
fn a_client_that_takes_nothing_gets_no_events_of_the_second_chain() {
    let mut scene = Scene::new(Behavior::LogWarning);
    scene.switch.set(true);
    scene.ask([0]);
    scene.other.has([EVENT; 10]);
    scene.out.is_full = true;
    scene.poll();
    assert_eq!(scene.other.read(), 0);
    scene.out.is_full = false;
    scene.poll();
    assert_eq!((scene.other.read(), scene.out.got), (10, 10));
}

#[test]
fn the_chain_of_mismatches_knows_whose_requests_it_gets() {
    let seen = Where::default();
    let mut scene = Scene::new(Behavior::Subchain(plan(1, seen.clone())));
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    scene.chain.identity().set_address(address);
    scene.ask([0]);
    scene.other.0.lock().unwrap().filling = 1;
    scene.main.has([0]);
    scene.other.has([0]);
    scene.poll();
    assert_eq!(*seen.0.lock().unwrap(), Some(address));
}

#[test]
fn a_chain_whose_client_has_left_lets_others_have_their_turn_and_ends_in_time() {
    let mut scene = Scene::new(Behavior::Ignore);
    scene.ask([0]);
    scene.other.0.lock().unwrap().is_endless = true;
    scene.with(|scene, cx| scene.chain.close(cx));
    let mut task = scene.spawned.0.borrow_mut().pop().expect("what is left to be done");
    assert!(task.is_awaited());
    assert!(scene.with(|_, cx| task.poll(cx)).is_pending());
    scene.now = scene.now.after(Duration::from_secs(5));
    assert!(task.deadline().is_some_and(|deadline| deadline <= scene.now));
    assert!(scene.with(|_, cx| task.poll(cx)).is_ready());
    assert_eq!(scene.worker.nested.tee_dropped.get(), 1);
}
