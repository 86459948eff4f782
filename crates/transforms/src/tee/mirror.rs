//! A second chain of a client: its queue, its session, and how it is opened again.
//!
//! ```text
//!   Open --fault--> Away --after a pause--> Open, the session is told again --+
//!    ^ |                                                                      |
//!    | +--in another keyspace than its client--> Open, likewise --------------+
//!    +------------------------------------------------------------------------+
//! ```
//!
//! What carries state of the connection goes alone: nothing follows it until it is answered, since its server need not
//! take requests of one connection in their order. A USE also waits until the server has
//! answered all before it: what the chain's transforms hold then is let go. USEs go in the order in which the client
//! asks them, also those that are told in plain words once the first server has confirmed them.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use chain::{
    ChainPart, Chunk, Cx, Fault, Identity, KeptReply, Message, Need, Origin, Piece, Pool, Progress, Replies,
    Run, SubChain, SubExit, Tick, Ticket, with_id,
};
use wire::cql::session::{Said, said};
use wire::cql::{body, opcode};
use wire::{Framed, Head, Protocol, Side};

use super::agreement::Agreement;
use super::ids::Ids;
use super::prepared::Prepared;
use super::session::{Keyspace, Recorder, Step, Translated, translate};

/// Bytes that may wait for one client's second chain; a batch that finds none waiting may have more.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Steps of sessions that may wait; with more the chain is closed, and told only the last of them.
const STEPS_MAX: usize = 64;

/// The pause before a chain that failed is opened again, and the longest one it grows to.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// The key of a step of the session.
const STEP: u32 = u32::MAX;

/// Requests of one run.
const RUN_MAX: usize = 128;

/// A request that waits for its turn.
pub(super) struct Waiting {
    pub(super) head: Head,
    pub(super) piece: Piece,
    pub(super) origin: Origin,
    pub(super) need: Need,
    pub(super) kind: Kind,
}

/// What a waiting request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// It names statements that may be being prepared.
    ByIds,
    /// It goes on where a page of the first server ended, which was seen when all of it had come: it is not sent.
    Paged,
    Step(Step),
    /// A prepared USE, which the first server has not answered: the one to where it leads takes its place.
    UseToCome,
    /// The end of what came in one batch.
    BatchEnd,
}

impl Waiting {
    fn is_prepare(&self) -> bool {
        self.kind == Kind::Plain && self.head.opcode == opcode::PREPARE
    }

    fn is_step(&self) -> bool {
        matches!(self.kind, Kind::Step(_) | Kind::UseToCome)
    }

    /// It is a USE that the client has asked later than this one.
    fn is_use_behind(&self, number: u32) -> bool {
        matches!(self.kind, Kind::Step(Step::Use) | Kind::UseToCome) && self.origin.key > number
    }
}

/// What came of one poll.
#[derive(Default)]
pub(super) struct Outcome {
    /// Replies that are awaited, by their keys.
    pub(super) replies: Vec<(u32, Option<KeptReply>)>,
    pub(super) events: Vec<KeptReply>,
    /// Keys of requests that were not sent.
    pub(super) absent: Vec<u32>,
    /// Requests that the server did not get.
    pub(super) dropped: u64,
}

impl Outcome {
    /// The server did not get a request.
    fn was_not_given(&mut self, key: u32) {
        self.dropped += 1;
        self.will_not_reply(key);
    }

    /// If somebody waits for the server's reply to a request, there will be none.
    fn will_not_reply(&mut self, key: u32) {
        if key != 0 {
            self.absent.push(key);
        }
    }
}

enum State {
    Open(Box<SubChain>),
    Away { until: Option<Tick> },
}

/// See the module's text.
pub(super) struct Mirror {
    part: Rc<ChainPart>,
    state: State,
    queue: VecDeque<Waiting>,
    queued_bytes: usize,
    batches: usize,
    steps: usize,
    ids: Ids,
    pub(super) identity: Option<Rc<Identity>>,
    /// A step that is not answered yet, and which USE it is.
    step: Option<(Step, u32)>,
    agreement: Agreement,
    /// The server wants to know who this is.
    wants_auth: bool,
    /// PREPAREs whose ids are not known yet.
    pub(super) preparing: usize,
    /// Those of them that are still in the queue.
    prepares_queued: usize,
    pause: Duration,
    /// Nothing more will come, which the chain is told.
    is_client_done: bool,
}

impl Mirror {
    pub(super) fn new(part: &Rc<ChainPart>) -> Self {
        Self {
            part: Rc::clone(part),
            state: SubChain::new(part)
                .map_or(State::Away { until: None }, |chain| State::Open(Box::new(chain))),
            queue: VecDeque::new(),
            queued_bytes: 0,
            batches: 0,
            steps: 0,
            ids: Ids::default(),
            identity: None,
            step: None,
            agreement: Agreement::default(),
            wants_auth: false,
            preparing: 0,
            prepares_queued: 0,
            pause: PAUSE,
            is_client_done: false,
        }
    }

    /// Says whose requests these are.
    pub(super) fn set_identity(&mut self, identity: &Rc<Identity>) {
        self.identity = Some(Rc::clone(identity));
        if let State::Open(chain) = &mut self.state {
            chain.set_identity(identity);
        }
    }

    /// What the first server has said to a USE: the one to where the client is now, if it has not refused.
    pub(super) fn first_said(&mut self, number: u32, keyspace: Option<Vec<u8>>) {
        let held = self.end_use_to_come(number);
        let Some(frame) = self.agreement.first_said(number, keyspace) else { return };
        if !self.is_open() || !self.part.feeds_servers() {
            return;
        }
        // This chain was not given it. It goes in front of those that the client has asked later.
        let later = || self.queue.iter().position(|waiting| waiting.is_use_behind(number));
        let at = held.or_else(later).unwrap_or(self.queue.len());
        self.tell(at, Step::Use, (&frame, number));
    }

    /// A prepared USE, in its place in the queue: nothing goes behind it until the first server has answered.
    pub(super) fn await_use(&mut self, head: Head, number: u32) {
        if self.is_open() && self.part.feeds_servers() {
            let piece = Piece::whole(self.part.pool().own(Vec::new()));
            let origin = Origin { ticket: Ticket::NONE, key: number };
            self.push(Waiting { head, piece, origin, need: Need::None, kind: Kind::UseToCome });
        }
    }

    /// The first server has answered a prepared USE. Its place in the queue, if it has one.
    fn end_use_to_come(&mut self, number: u32) -> Option<usize> {
        // Nearly always there is none, and the queue may be long.
        let is_it = |waiting: &Waiting| waiting.kind == Kind::UseToCome && waiting.origin.key == number;
        let at = (self.steps > 0).then(|| self.queue.iter().position(is_it)).flatten()?;
        self.take(at).map(|_| at)
    }

    /// Lets go what its chain holds: nothing more will come.
    pub(super) fn client_done(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        match &mut self.state {
            State::Open(chain) if !std::mem::replace(&mut self.is_client_done, true) => chain.client_done(cx),
            State::Open(_) | State::Away { .. } => Ok(()),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Its client has left, and nothing waits for it: but its transforms may have chains of their own.
    pub(super) fn close(&mut self, cx: &mut Cx<'_, '_>) {
        if let State::Open(chain) = &mut self.state {
            chain.close(cx);
        }
    }

    /// True when nothing waits and nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && matches!(&self.state, State::Open(chain) if chain.in_flight() == 0)
    }

    /// True when what comes now can go at once.
    pub(super) fn is_idle(&self) -> bool {
        self.is_open() && !self.is_behind() && !self.wants_auth
    }

    /// True while a reply of it is due.
    pub(super) fn is_owing(&self) -> bool {
        matches!(&self.state, State::Open(chain) if chain.in_flight() > 0)
    }

    /// True while what has come cannot go on. A server that wants a login has answered: the client's part comes next.
    pub(super) fn is_behind(&self) -> bool {
        let State::Open(chain) = &self.state else { return false };
        let is_free = self.step.is_none() && self.agreement.is_settled() && !chain.is_over_mark();
        !self.queue.is_empty() || !is_free
    }

    /// True while another batch may wait.
    pub(super) fn has_room(&self, batches_max: usize) -> bool {
        self.is_idle() || (self.batches < batches_max && self.queued_bytes < QUEUE_BYTES_MAX)
    }

    /// True when a step more cannot be taken: the chain is to be closed.
    pub(super) fn is_swamped(&self) -> bool {
        self.steps > STEPS_MAX
    }

    /// A message for a run that goes at once: as it is, or under another id if its own is in flight.
    pub(super) fn message(
        &mut self,
        head: &Head,
        bytes: &[u8],
        as_it_is: impl FnOnce() -> Message,
    ) -> Message {
        match self.ids.take(head.id) {
            id if id == head.id => as_it_is(),
            id => {
                let piece = with_id(self.part.protocol(), self.part.pool(), bytes, id);
                Message::made(Head { id, ..*head }, piece)
            }
        }
    }

    /// Sends what needs not wait.
    pub(super) fn submit(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, run: Run) -> Result<(), Fault> {
        match &mut self.state {
            State::Open(chain) if !run.is_empty() => chain.submit(cx, chunk, run),
            State::Open(_) | State::Away { .. } => Ok(()),
        }
    }

    /// Lets a request wait for its turn. The key of a USE is its number.
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.insert(self.queue.len(), waiting);
    }

    /// As [`Self::push`], in front of what is at this place.
    fn insert(&mut self, at: usize, waiting: Waiting) {
        let number = waiting.origin.key;
        if waiting.kind == Kind::Step(Step::Use) && number != 0 && self.part.feeds_servers() {
            self.agreement.begin(number);
        }
        self.queued_bytes += waiting.piece.bytes().len();
        self.batches += usize::from(waiting.kind == Kind::BatchEnd);
        self.steps += usize::from(waiting.is_step());
        self.prepares_queued += usize::from(waiting.is_prepare());
        self.queue.insert(at.min(self.queue.len()), waiting);
    }

    /// Ends what came in one batch, if any of it waits.
    pub(super) fn end_batch(&mut self) {
        if let Some(Waiting { head, origin, kind, .. }) = self.queue.back()
            && *kind != Kind::BatchEnd
        {
            let (head, origin) = (*head, *origin);
            let piece = Piece::whole(self.part.pool().own(Vec::new()));
            self.push(Waiting { head, piece, origin, need: Need::None, kind: Kind::BatchEnd });
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        self.take(0)
    }

    fn take(&mut self, at: usize) -> Option<Waiting> {
        let waiting = self.queue.remove(at)?;
        self.queued_bytes = self.queued_bytes.saturating_sub(waiting.piece.bytes().len());
        self.batches -= usize::from(waiting.kind == Kind::BatchEnd);
        self.steps -= usize::from(waiting.is_step());
        self.prepares_queued -= usize::from(waiting.is_prepare());
        Some(waiting)
    }

    /// Sends what has waited, as far as it may go. True if something went.
    fn feed(&mut self, cx: &mut Cx<'_, '_>, prepared: &Prepared, out: &mut Outcome) -> Result<bool, Fault> {
        let mut run = Run::default();
        let mut count = 0;
        let mut has_step = false;
        while count < RUN_MAX && !has_step && self.step.is_none() && self.agreement.is_settled() {
            let State::Open(chain) = &self.state else { break };
            if chain.is_over_mark() {
                break;
            }
            let Some(front) = self.queue.front() else { break };
            let is_use = front.kind == Kind::Step(Step::Use);
            if front.kind == Kind::UseToCome || is_use && (chain.in_flight() > 0 || !run.is_empty()) {
                break;
            }
            // A PREPARE that is behind it in the queue does not tell its ids: to wait for that one would be for ever.
            if front.kind == Kind::ByIds && self.preparing > self.prepares_queued {
                let unknown = translate(&front.head, front.piece.bytes(), prepared) == Translated::Unknown;
                if unknown {
                    break;
                }
            }
            if self.wants_auth && !matches!(front.kind, Kind::Step(Step::Auth) | Kind::BatchEnd) {
                return Err(Fault::new("the tee chain's server wants a login, which the other does not"));
            }
            let Some(waiting) = self.pop() else { break };
            has_step = self.feed_one(waiting, prepared, &mut run, out);
            count += 1;
        }
        if run.is_empty() {
            // What was taken off went nowhere: what is behind it may go.
            return Ok(count > 0);
        }
        let nothing = self.part.pool().own(Vec::new());
        self.submit(cx, &nothing, run).map(|()| true)
    }

    /// True if it is a step, behind which nothing goes.
    fn feed_one(&mut self, waiting: Waiting, prepared: &Prepared, run: &mut Run, out: &mut Outcome) -> bool {
        let Waiting { mut head, mut piece, mut origin, need, kind } = waiting;
        match kind {
            Kind::BatchEnd | Kind::UseToCome => return false,
            // The server did not ask for it.
            Kind::Step(Step::Auth) if !self.wants_auth && self.part.reaches_servers() => return false,
            Kind::Step(_) if !self.part.feeds_servers() => return false,
            Kind::Step(step) => {
                self.step = Some((step, origin.key));
                if step == Step::Use {
                    self.agreement.asked(origin.key);
                }
                origin.key = STEP;
            }
            Kind::ByIds => match translate(&head, piece.bytes(), prepared) {
                // It is told in plain words, once the first server has confirmed it.
                translated if translated.is_use() => {
                    out.will_not_reply(origin.key);
                    return false;
                }
                Translated::Same { .. } => {}
                Translated::Other { frame, .. } => (head, piece) = framed(frame, self.part.pool(), head),
                Translated::Unknown => {
                    out.was_not_given(origin.key);
                    return false;
                }
            },
            Kind::Paged => {
                out.was_not_given(origin.key);
                return false;
            }
            Kind::Plain => {}
        }
        let kept = piece.pin();
        let message = self.message(&head, piece.bytes(), || Message::made(head, kept));
        run.push(message, origin, need);
        self.step.is_some()
    }

    /// Lets go what its chain holds, though more will come.
    pub(super) fn let_go(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        match &mut self.state {
            State::Open(chain) if chain.in_flight() > 0 => chain.let_go(cx),
            State::Open(_) | State::Away { .. } => Ok(()),
        }
    }

    /// Moves what can be moved. `is_ready`: more may come of it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Cx<'_, '_>,
        prepared: &Prepared,
        out: &mut Outcome,
        is_ready: bool,
    ) -> Result<Progress, Fault> {
        // What its transforms hold would keep back a USE, or a new connection.
        let is_use = self.queue.front().is_some_and(|front| front.kind == Kind::Step(Step::Use));
        if is_use || self.agreement.is_broken() {
            self.let_go(cx)?;
        }
        let has_fed = self.feed(cx, prepared, out)?;
        let State::Open(chain) = &mut self.state else { return Ok(Progress::Idle) };
        let mut collect = Collect { ids: &mut self.ids, out, steps: None, is_ready };
        let progress = chain.poll(cx, &mut collect)?;
        if let Some(reply) = collect.steps {
            self.step_answered(&reply)?;
        }
        let is_free = self.step.is_none() && self.agreement.is_settled();
        // One that was found to be in another keyspace lets go what it holds, and is renewed, at the next poll.
        let may_go_on = (!self.queue.is_empty() && is_free) || self.agreement.is_broken();
        Ok(if has_fed || (may_go_on && progress != Progress::Idle) { Progress::Moved } else { progress })
    }

    fn step_answered(&mut self, reply: &StepReply) -> Result<(), Fault> {
        let (step, number) = self.step.take().unzip();
        if step == Some(Step::Use) {
            self.agreement.second_said(number.unwrap_or(0), reply.is_there);
        }
        self.wants_auth = match reply.opcode {
            opcode::AUTHENTICATE | opcode::AUTH_CHALLENGE => true,
            opcode::READY | opcode::AUTH_SUCCESS => {
                self.pause = PAUSE;
                false
            }
            // What its sink says does not matter if only the Tees in it have servers.
            opcode::ERROR
                if matches!(step, Some(Step::Startup | Step::Auth)) && self.part.reaches_servers() =>
            {
                return Err(Fault::new("the tee chain's server does not accept the session"));
            }
            _ => self.wants_auth,
        };
        Ok(())
    }

    /// When it wants to be polled. `is_settled`: as for `is_due`.
    pub(super) fn deadline(&self, is_settled: bool) -> Option<Tick> {
        match &self.state {
            State::Open(chain) => chain.deadline(),
            State::Away { until } => until.filter(|_| is_settled),
        }
    }

    /// True when it is time to open it again. `is_settled`: it is known in which keyspace its client is.
    pub(super) fn is_due(&self, now: Tick, is_settled: bool) -> bool {
        match &self.state {
            State::Open(chain) => self.agreement.is_broken() && chain.in_flight() == 0,
            State::Away { until } => is_settled && until.is_some_and(|until| until <= now),
        }
    }

    /// Gives up the chain. What was not answered is given up too: the keys of requests that somebody waits for, and how
    /// many they are in all.
    pub(super) fn fail(&mut self, cx: &mut Cx<'_, '_>, can_return: bool) -> (Vec<u32>, u64) {
        let until = can_return.then(|| cx.now.after(self.pause));
        let before = std::mem::replace(&mut self.state, State::Away { until });
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        let mut lost: Vec<u32> = Vec::new();
        if let State::Open(mut chain) = before {
            lost.extend(chain.end_all(false).iter().map(|(origin, _)| origin.key).filter(|key| *key != STEP));
            chain.close(cx);
        }
        while let Some(waiting) = self.pop() {
            if matches!(waiting.kind, Kind::Plain | Kind::ByIds | Kind::Paged) {
                lost.push(waiting.origin.key);
            }
        }
        self.ids = Ids::default();
        self.agreement.lost();
        (self.step, self.wants_auth) = (None, false);
        let count = lost.len() as u64;
        lost.retain(|key| *key != 0);
        (lost, count)
    }

    /// Opens the chain again, with the session in front of what waits. False if it cannot be told.
    pub(super) fn open_again(&mut self, cx: &mut Cx<'_, '_>, recorder: &Recorder) -> bool {
        let keyspace = if self.is_open() { self.agreement.keyspace() } else { recorder.keyspace() }.clone();
        let Some(mut chain) = SubChain::new(&self.part).filter(|_| recorder.can_return()) else {
            return false;
        };
        if self.is_client_done && chain.client_done(cx).is_err() {
            return false;
        }
        if let State::Open(mut before) = std::mem::replace(&mut self.state, State::Open(Box::new(chain))) {
            before.close(cx);
        }
        self.wants_auth = false;
        let behind = std::mem::take(&mut self.queue);
        self.begin(recorder, keyspace);
        self.queue.extend(behind);
        true
    }

    /// Tells a new chain the session of its client.
    pub(super) fn begin(&mut self, recorder: &Recorder, keyspace: Keyspace) {
        if let (State::Open(chain), Some(identity)) = (&mut self.state, &self.identity) {
            chain.set_identity(identity);
        }
        for (step, frame) in recorder.frames_in(&keyspace) {
            let number = if step == Step::Use { keyspace.number } else { 0 };
            self.tell(self.queue.len(), step, (&frame, number));
        }
        self.agreement.renewed(keyspace);
    }

    /// Lets a step of our own wait for its turn, in front of what is at this place. A USE has a number, and the first server
    /// has confirmed it.
    fn tell(&mut self, at: usize, step: Step, (frame, number): (&[u8], u32)) {
        let Framed::Frame(head) = Protocol::Cql.frame(frame, Side::Request, u32::MAX) else { return };
        let piece = Piece::whole(self.part.pool().own(frame.to_vec()));
        let origin = Origin { ticket: Ticket::NONE, key: number };
        self.insert(at, Waiting { head, piece, origin, need: Need::Head, kind: Kind::Step(step) });
        if step == Step::Use {
            self.agreement.first_said(number, Some(frame.to_vec()));
        }
    }
}

/// A request that was written anew; `before` is the head of what it was.
pub(super) fn framed(frame: Vec<u8>, pool: &Pool, before: Head) -> (Head, Piece) {
    let head = match Protocol::Cql.frame(&frame, Side::Request, u32::MAX) {
        Framed::Frame(head) => head,
        Framed::NotYet | Framed::Malformed(_) => before,
    };
    (head, Piece::whole(pool.own(frame)))
}

/// Takes the replies of one poll.
struct Collect<'c> {
    ids: &'c mut Ids,
    out: &'c mut Outcome,
    steps: Option<StepReply>,
    is_ready: bool,
}

/// What answered a step.
struct StepReply {
    opcode: u8,
    /// It answers a USE, and the server is there.
    is_there: bool,
}

impl SubExit for Collect<'_> {
    fn is_ready(&self) -> bool {
        self.is_ready
    }

    fn deliver(&mut self, _: &mut Cx<'_, '_>, replies: &mut Replies<'_, '_>) -> Result<(), Fault> {
        let pool = replies.pool().clone();
        replies.each(|origin, leaving| {
            if Protocol::Cql.is_unsolicited(&leaving.head) {
                self.out.events.extend(KeptReply::of(leaving, &pool));
                return;
            }
            self.ids.free(leaving.head.id);
            match origin.key {
                STEP => {
                    let said = said(&leaving.head, leaving.outgoing.bytes());
                    let is_there = matches!(said, Said::Keyspace(_));
                    self.steps = Some(StepReply { opcode: leaving.head.opcode, is_there });
                }
                key if is_unprepared(&leaving.head, leaving.outgoing.bytes()) => self.out.was_not_given(key),
                0 => {}
                key => self.out.replies.push((key, KeptReply::of(leaving, &pool))),
            }
        });
        Ok(())
    }

    fn deliver_bytes(&mut self, _: &mut Cx<'_, '_>, _: &Chunk, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

/// The server does not know a statement that it had prepared: it did not get the request.
fn is_unprepared(head: &Head, frame: &[u8]) -> bool {
    const UNPREPARED: i32 = 0x2500;
    head.opcode == opcode::ERROR
        && body(Side::Response, head, frame).and_then(|mut body| body.i32()) == Ok(UNPREPARED)
}
