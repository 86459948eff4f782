//! How long a client is waited for, with a clock that is handed in; and who it is, when not all is answered in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use chain::{
    Batch, Builder, ChainPart, Connecting, Connector, Cx, Fault, Held, Identity, Link, Message, Pool,
    Progress, Sink, Spawner, Stream, Task, Tick, Ticket, Transform, Up, Why, WorkerCx, WorkerPart,
};
use wire::{ErrorKind, Framed, Protocol, Side};

use crate::{Client, End, Rules};

const STARTUP: [u8; 11] = [4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
const AUTH_SUCCESS: [u8; 9] = [0x84, 0, 0, 0, 0x10, 0, 0, 0, 0];
const QUERY: [u8; 10] = [4, 0, 0, 1, 7, 0, 0, 0, 1, b'x'];

/// The client's end of its connection.
#[derive(Clone, Default)]
struct Socket {
    to_read: Rc<RefCell<VecDeque<u8>>>,
    /// The client has ended its sending side.
    is_shut: Rc<Cell<bool>>,
    /// The client takes nothing.
    is_stuck: Rc<Cell<bool>>,
    written: Rc<RefCell<Vec<u8>>>,
}

impl Stream for Socket {
    fn poll_read(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut bytes = self.to_read.borrow_mut();
        let count = bytes.len().min(into.len());
        into.iter_mut().zip(bytes.drain(..count)).for_each(|(to, from)| *to = from);
        if count == 0 && !self.is_shut.get() { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }
    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_stuck.get() {
            return Poll::Pending;
        }
        self.written.borrow_mut().extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn is_closed(&self) -> bool {
        self.is_shut.get()
    }
    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A sink that accepts handshakes, answers everything else with an error once it is told to, and is over its mark while
/// it is told to be. Where it is told to, it refuses queries at once, and accepts the login that waits longest.
#[derive(Clone, Default)]
struct Below {
    reaches_servers: bool,
    answers: Arc<AtomicBool>,
    is_over_mark: Arc<AtomicBool>,
    refuses: Arc<AtomicBool>,
    accepts: Arc<AtomicBool>,
    waiting: Vec<Ticket>,
}

impl Builder for Below {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }
    fn reaches_servers(&self) -> bool {
        self.reaches_servers
    }
}

impl WorkerPart for Below {
    fn client(&self) -> Link {
        Link::Sink(Box::new(self.clone()))
    }
}

impl Sink for Below {
    fn submit(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| {
            if Protocol::Cql.is_startup(request.head()) {
                request.answer(vec![0x84, 0, 0, 0, 2, 0, 0, 0, 0]);
            } else if self.refuses.load(Ordering::Relaxed) && request.head().opcode == QUERY[4] {
                request.answer_error(ErrorKind::Server, "no");
            }
        });
        batch.leaving(|leaving, _| {
            self.waiting.push(leaving.ticket);
            Ok(())
        })
    }
    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        if self.accepts.swap(false, Ordering::Relaxed) {
            let chunk = Pool::new().own(AUTH_SUCCESS.to_vec());
            let Framed::Frame(head) = Protocol::Cql.frame(&AUTH_SUCCESS, Side::Response, 9) else { panic!() };
            let reply = Message::reply(head, 0, AUTH_SUCCESS.len(), self.waiting.remove(0));
            up.replies(cx, &chunk, vec![reply])?;
            return Ok(Progress::Moved);
        }
        if !self.answers.load(Ordering::Relaxed) || self.waiting.is_empty() {
            return Ok(Progress::Idle);
        }
        for ticket in self.waiting.drain(..) {
            up.answer_error(cx, ticket, ErrorKind::Server, "no")?;
        }
        Ok(Progress::Moved)
    }
    fn is_over_mark(&self) -> bool {
        self.is_over_mark.load(Ordering::Relaxed)
    }
}

struct Nobody;

impl Connector for Nobody {
    fn connect(&self, _: &str) -> Connecting {
        Box::pin(std::future::pending())
    }
}

impl Spawner for Nobody {
    fn spawn(&self, _: Box<dyn Task>) {}
}

struct Scene {
    client: Client<Socket>,
    socket: Socket,
    below: Below,
    identity: Rc<Identity>,
}

/// A client that was accepted at 0 s.
fn scene(reaches_servers: bool) -> Scene {
    scene_below(&[], reaches_servers)
}

/// As [`scene`], with these transforms.
fn scene_below(above: &[&dyn Builder], reaches_servers: bool) -> Scene {
    let (socket, below) = (Socket::default(), Below { reaches_servers, ..Below::default() });
    let worker = WorkerCx::alone(Protocol::Cql, Rc::new(Nobody), Rc::new(Nobody));
    let above = above.iter().map(|above| ("Above", "a", *above));
    let part = ChainPart::new("c", &worker, above.chain([("Below", "b", &below as &dyn Builder)]), None);
    let rules = Rc::new(Rules { frame_bytes_max: 1 << 20, idle_timeout: None });
    let chain = part.client().unwrap();
    let identity = Rc::clone(chain.identity());
    let client = Client::new(socket.clone(), chain, rules, None, Tick(0));
    let mut scene = Scene { client, socket, below, identity };
    scene.at(0, &[]);
    scene
}

impl Scene {
    /// At this second the client sends `bytes`. Says how its connection ended.
    fn try_at(&mut self, second: u64, bytes: &[u8]) -> Option<End> {
        self.socket.to_read.borrow_mut().extend(bytes);
        let mut task = Context::from_waker(Waker::noop());
        let mut cx = Cx { task: &mut task, now: Tick(second * 1_000_000) };
        // More often than the turns of one poll could need.
        for _ in 0..3 {
            if let Poll::Ready(end) = self.client.poll(&mut cx) {
                return Some(end);
            }
        }
        None
    }

    fn written(&self) -> usize {
        self.socket.written.borrow().len()
    }

    /// As [`Scene::try_at`]: its connection goes on, and wants to be polled at the second that is returned.
    fn at(&mut self, second: u64, bytes: &[u8]) -> Option<u64> {
        let end = self.try_at(second, bytes);
        assert!(end.is_none(), "at {second} s: {end:?}");
        self.client.deadline().map(|deadline| deadline.0 / 1_000_000)
    }
}

#[test]
fn a_client_that_sends_nothing_is_closed_after_30_seconds() {
    for reaches_servers in [true, false] {
        let mut scene = scene(reaches_servers);
        assert_eq!(scene.at(29, &[]), Some(30));
        assert!(matches!(scene.try_at(30, &[]), Some(End::NotBegun)));
    }
}

#[test]
fn a_handshake_that_drips_is_not_waited_for_any_longer() {
    let mut scene = scene(true);
    for (second, byte) in [0, 9, 18, 27].into_iter().zip(STARTUP) {
        assert_eq!(scene.at(second, &[byte]), Some(30));
    }
    assert!(matches!(scene.try_at(30, &[]), Some(End::NotBegun)));
}

#[test]
fn a_slow_server_does_not_use_up_the_patience_with_its_client() {
    let mut scene = scene(true);
    // Not a handshake, but a request like any other.
    assert_eq!(scene.at(10, &QUERY), None);
    assert_eq!(scene.at(50, &[]), None);
    scene.below.answers.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(100, &[]), Some(120));
    assert!(scene.written() > 9);
    // One that is answered at once wins no time.
    assert_eq!(scene.at(119, &QUERY), Some(120));
    assert!(matches!(scene.try_at(120, &[]), Some(End::NotBegun)));
}

#[test]
fn who_takes_no_replies_uses_up_the_patience_with_it() {
    let mut scene = scene(true);
    scene.socket.is_stuck.set(true);
    scene.below.answers.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(0, &query(1)), Some(30));
    scene.below.answers.store(false, Ordering::Relaxed);
    // However much it has asked besides.
    assert_eq!(scene.at(20, &[query(2), query(3)].concat()), Some(30));
    assert!(matches!(scene.try_at(30, &[]), Some(End::NotBegun)));
}

#[test]
fn nothing_is_held_before_the_session_has_begun() {
    let mut scene = scene_below(&[&HoldingBuilder], true);
    scene.below.answers.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(0, &QUERY), Some(30));
    assert!(scene.written() > 9, "it waits for what may never come");
    scene.at(0, &STARTUP);
    scene.socket.written.borrow_mut().clear();
    assert_eq!(scene.at(0, &QUERY), None);
    assert_eq!(scene.written(), 0, "now it is held");
}

/// Holds every query until it is told to let go.
#[derive(Default)]
struct Holding(Vec<Held>);

struct HoldingBuilder;

impl Builder for HoldingBuilder {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Self)
    }
}

impl WorkerPart for HoldingBuilder {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Holding::default()))
    }
}

impl Transform for Holding {
    fn requests(&mut self, _: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.each(|request| {
            if request.head().opcode == QUERY[4] {
                self.0.extend(request.hold());
            }
        });
        Ok(())
    }
    fn woken(&mut self, _: &mut Cx<'_, '_>, _: Why, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.release_in_front(self.0.drain(..));
        Ok(())
    }
}

#[test]
fn who_has_begun_may_be_silent_for_ever() {
    let mut session = scene(true);
    assert_eq!(session.at(29, &STARTUP), None);
    assert_eq!(session.at(1_000_000, &[]), None);
    // Where nobody accepts a handshake, any answer will do.
    let mut answered = scene(false);
    answered.below.answers.store(true, Ordering::Relaxed);
    assert_eq!(answered.at(29, &QUERY), None);
    assert_eq!(answered.at(1_000_000, &[]), None);
}

#[test]
fn a_request_that_begins_must_go_on() {
    let mut scene = scene(true);
    scene.at(0, &STARTUP);
    assert_eq!(scene.at(100, &QUERY[..1]), Some(130));
    assert_eq!(scene.at(110, &[]), Some(130));
    assert_eq!(scene.at(129, &QUERY[1..5]), Some(159));
    assert_eq!(scene.at(150, &QUERY[5..]), None);
    // Requests in flight are no excuse.
    assert_eq!(scene.at(200, &QUERY[..9]), Some(230));
    assert_eq!(scene.at(229, &[]), Some(230));
    assert!(matches!(scene.try_at(230, &[]), Some(End::Stalled)));
}

/// The beginning of a query with a body of 512 KiB, this much of that.
fn large(bytes: usize) -> Vec<u8> {
    [[4, 0, 0, 1, 7, 0, 8, 0, 0].as_slice(), &vec![b'x'; bytes]].concat()
}

#[test]
fn the_rest_of_a_large_request_must_come() {
    let mut scene = scene(true);
    scene.at(0, &STARTUP);
    assert_eq!(scene.at(10, &large(100_000)), Some(40));
    assert_eq!(scene.at(39, &[b'x'; 10]), Some(69));
    assert!(matches!(scene.try_at(69, &[]), Some(End::Stalled)));
}

#[test]
fn who_is_drained_may_pause_in_a_large_request_and_finish_it() {
    let mut scene = scene(true);
    scene.at(0, &STARTUP);
    scene.at(10, &large(300_000));
    scene.client.drain(Tick(25_000_000));
    assert_eq!(scene.at(11, &[]), Some(25));
    assert_eq!(scene.at(20, &vec![b'x'; 224_288]), Some(25), "its reply is due");
    assert_eq!(scene.written(), 9);
    scene.below.answers.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(21, &[]), Some(22), "what is under way is discarded for a second");
    assert!(scene.written() > 9);
    assert!(matches!(scene.try_at(22, &[]), Some(End::Drained)));
}

#[test]
fn who_is_drained_and_leaves_in_a_large_request_is_not_waited_for() {
    let mut scene = scene(true);
    scene.at(0, &STARTUP);
    scene.at(10, &large(300_000));
    scene.client.drain(Tick(25_000_000));
    scene.at(11, &[]);
    scene.socket.is_shut.set(true);
    assert!(matches!(scene.try_at(12, &[]), Some(End::ClientLeft)));
}

/// What is behind its half of a request, and what a transform holds, can go nowhere any more.
#[test]
fn who_leaves_in_a_large_request_is_waited_for_only_shortly() {
    for (bytes, until) in [(QUERY.to_vec(), 70), ([&QUERY[..], &large(100_000)].concat(), 15)] {
        let mut scene = scene(true);
        scene.at(0, &STARTUP);
        scene.at(9, &bytes);
        scene.socket.is_shut.set(true);
        assert_eq!(scene.at(10, &[]), Some(until), "the reply to the first is due");
        assert!(matches!(scene.try_at(until, &[]), Some(End::TimedOut)));
    }
}

#[test]
fn a_client_that_is_not_read_is_not_to_blame() {
    let mut scene = scene(true);
    scene.at(0, &STARTUP);
    assert_eq!(scene.at(10, &QUERY[..5]), Some(40));
    scene.below.is_over_mark.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(20, &[]), Some(80), "then somebody looks whether it is still there");
    assert_eq!(scene.at(100, &[]), Some(160));
    scene.below.is_over_mark.store(false, Ordering::Relaxed);
    assert_eq!(scene.at(200, &[]), Some(230));
    // The mark is over before its clock is looked at.
    scene.below.is_over_mark.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(230, &[]), Some(290));
    scene.below.is_over_mark.store(false, Ordering::Relaxed);
    assert_eq!(scene.at(240, &QUERY[5..]), None);
}

#[test]
fn a_client_that_left_is_noticed_though_it_is_not_read() {
    let mut scene = scene(true);
    scene.at(0, &STARTUP);
    scene.at(10, &QUERY);
    scene.below.is_over_mark.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(20, &[]), Some(80));
    // Nobody is woken by that.
    scene.socket.is_shut.set(true);
    assert!(matches!(scene.try_at(80, &[]), Some(End::TimedOut)));
}

#[test]
fn a_client_that_left_while_its_server_took_bytes_again_has_its_replies() {
    let mut scene = scene(true);
    scene.at(0, &STARTUP);
    scene.at(10, &QUERY);
    scene.below.is_over_mark.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(20, &[]), Some(80));
    assert_eq!(scene.at(80, &[]), Some(140));
    scene.socket.is_shut.set(true);
    scene.below.answers.store(true, Ordering::Relaxed);
    assert_eq!(scene.at(139, &[]), Some(199), "something moved");
    scene.below.is_over_mark.store(false, Ordering::Relaxed);
    assert!(matches!(scene.try_at(150, &[]), Some(End::ClientLeft)));
}

/// The login of a user whose name has three letters.
fn login(user: &str) -> Vec<u8> {
    [&[4, 0, 0, 0, 0x0F, 0, 0, 0, 10, 0, 0, 0, 6, 0], user.as_bytes(), b"\0x"].concat()
}

#[test]
fn a_refused_query_does_not_make_its_client_another_user() {
    let mut scene = scene(true);
    scene.below.refuses.store(true, Ordering::Relaxed);
    scene.at(0, &login("eve"));
    scene.at(0, &QUERY);
    scene.at(0, &login("bob"));
    assert!(scene.written() > 9, "the query was refused");
    scene.below.accepts.store(true, Ordering::Relaxed);
    scene.at(0, &[]);
    assert!(scene.identity.user().is_none(), "which of the two?");
}

#[test]
fn a_refused_query_does_not_take_its_clients_login_away() {
    let mut scene = scene(true);
    scene.below.refuses.store(true, Ordering::Relaxed);
    scene.at(0, &login("eve"));
    scene.at(0, &QUERY);
    scene.below.accepts.store(true, Ordering::Relaxed);
    scene.at(0, &[]);
    assert_eq!(scene.identity.user().as_deref(), Some("eve"));
}

/// Fails before anything is sent.
struct Failing;

impl Builder for Failing {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Self)
    }
}

impl WorkerPart for Failing {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Self))
    }
}

impl Transform for Failing {
    fn requests(&mut self, _: &mut Cx<'_, '_>, _: &mut Batch<'_>) -> Result<(), Fault> {
        Err(Fault::new("x").nothing_sent())
    }
}

#[test]
fn a_fault_answers_each_request_once() {
    let three = [1, 2, 3].map(query).concat();
    for (sent, requests) in [(QUERY.to_vec(), 1), (three, 3), (large(100_000), 1)] {
        let mut scene = scene_below(&[&Failing], true);
        scene.at(0, &sent);
        assert_eq!(scene.errors().len(), requests);
    }
}

/// [`QUERY`] with another stream id.
fn query(id: u8) -> Vec<u8> {
    let mut query = QUERY.to_vec();
    query[3] = id;
    query
}

impl Scene {
    /// The errors that the client got, and nothing else, since it was last asked: the stream id and code of each.
    fn errors(&self) -> Vec<(i32, Option<i32>)> {
        let written = std::mem::take(&mut *self.socket.written.borrow_mut());
        let (mut rest, mut errors) = (&*written, Vec::new());
        while let Framed::Frame(head) = Protocol::Cql.frame(rest, Side::Response, 1 << 20) {
            let (frame, behind) = rest.split_at(head.frame_bytes as usize);
            errors.push((head.id, Protocol::Cql.error_code(&head, frame)));
            rest = behind;
        }
        assert!(rest.is_empty() && errors.iter().all(|(_, code)| code.is_some()), "{errors:?}");
        errors
    }
}

/// Lets everything pass.
struct Passing;

impl Builder for Passing {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(Self)
    }
}

impl WorkerPart for Passing {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Self))
    }
}

impl Transform for Passing {}

/// The code of a protocol error.
const PROTOCOL_ERROR: Option<i32> = Some(0x000A);

#[test]
fn who_repeats_an_id_in_flight_is_refused_behind_the_replies_that_are_due() {
    let again = |first: &[u8]| [first, &*query(2), &QUERY, &query(3)].concat();
    // In one piece, one after the other, behind a large one.
    for parts in [vec![again(&QUERY)], vec![QUERY.to_vec(), again(&[])], vec![large(524_288), again(&[])]] {
        let mut scene = scene_below(&[&Passing], true);
        scene.at(0, &STARTUP);
        scene.socket.written.borrow_mut().clear();
        for part in parts {
            scene.at(1, &part);
        }
        assert_eq!(scene.errors(), [], "which reply would answer which?");
        scene.below.answers.store(true, Ordering::Relaxed);
        scene.at(2, &query(4));
        assert_eq!(scene.errors(), [(1, Some(0)), (2, Some(0)), (1, PROTOCOL_ERROR)]);
        let end = scene.try_at(10, &[]);
        assert!(matches!(end, Some(End::Refused(_))), "{end:?}");
    }
}

#[test]
fn an_id_is_free_again_when_its_reply_has_come() {
    let mut scene = scene_below(&[&Passing], true);
    scene.at(0, &STARTUP);
    scene.socket.written.borrow_mut().clear();
    scene.below.answers.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        scene.at(1, &[query(1), query(2)].concat());
        assert_eq!(scene.errors(), [(1, Some(0)), (2, Some(0))]);
    }
}

#[test]
fn a_chain_that_is_nothing_but_a_sink_takes_ids_as_they_come() {
    let mut scene = scene(true);
    scene.at(0, &STARTUP);
    scene.socket.written.borrow_mut().clear();
    scene.at(1, &QUERY.repeat(2));
    scene.below.answers.store(true, Ordering::Relaxed);
    scene.at(2, &[]);
    assert_eq!(scene.errors(), [(1, Some(0)), (1, Some(0))]);
}
