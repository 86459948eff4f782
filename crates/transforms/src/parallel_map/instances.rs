//! The instances of one client, as a sink.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use chain::{
    Batch, ChainPart, Chunk, Cx, Fault, Item, KeptReply, Message, Need, Origin, Piece, Pool, Progress,
    Replies, Run, Sink, SubChain, SubExit, Tick, Ticket, Up,
};
use wire::cql::opcode;
use wire::cql::session::{self, Demand, Said, Work};
use wire::{ErrorKind, Framed, Protocol, Side};

use super::gather::{Gathers, Kind};

/// Ids of prepared USEs that a client may have; nobody has more than one a keyspace. Beyond, it is not spread any more.
const PREPARED_USES_MAX: usize = 256;

/// The keys of requests that went to one instance: what changes something, and what does not.
const WRITE: u32 = 0;
const READ: u32 = 1;
/// The key of a request of our own, whose reply nobody gets.
const OURS: u32 = u32::MAX;
/// The keys from here on are those of gathers.
const FIRST_GATHER: u32 = 2;

enum Instance {
    Live(SubChain),
    /// Its state is not that of the others any more, or soon will not be: it is given nothing new, and closed when it owes
    /// nothing more.
    Leaving(SubChain),
    /// It said why when it was given something; what it owes is not answered yet.
    Failing(SubChain, Fault),
    Dead,
}

impl Instance {
    /// Its chain, while that works.
    fn working(&mut self) -> Option<&mut SubChain> {
        match self {
            Self::Live(chain) | Self::Leaving(chain) => Some(chain),
            Self::Failing(..) | Self::Dead => None,
        }
    }

    fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    fn leave(&mut self) {
        if self.is_live()
            && let Self::Live(chain) = std::mem::replace(self, Self::Dead)
        {
            *self = Self::Leaving(chain);
        }
    }

    /// Nothing more comes to it, and it owes something, which its transforms may hold. `stops`: nothing comes to anyone.
    fn may_hold(&self, stops: bool) -> bool {
        match self {
            Self::Live(chain) => stops && chain.in_flight() > 0,
            Self::Leaving(chain) => chain.in_flight() > 0,
            Self::Failing(..) | Self::Dead => false,
        }
    }

    /// It leaves, and owes nothing: it is to be closed.
    fn is_over(&self) -> bool {
        matches!(self, Self::Leaving(chain) if chain.in_flight() == 0)
    }

    /// What its transforms hold goes on, if they wait for more in vain.
    fn let_go(&mut self, cx: &mut Cx<'_, '_>, stops: bool) {
        if self.may_hold(stops)
            && let Some(Err(fault)) = self.working().map(|chain| chain.let_go(cx))
        {
            self.fail(fault);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_, '_>) {
        if let Some(chain) = self.working() {
            chain.close(cx);
        }
    }

    fn fail(&mut self, fault: Fault) {
        if let Self::Live(chain) | Self::Leaving(chain) = std::mem::replace(self, Self::Dead) {
            *self = Self::Failing(chain, fault);
        }
    }
}

/// A large request whose rest is to come.
#[derive(Default)]
struct RequestTail {
    /// Who has its head, and gets the rest of it.
    to: Vec<usize>,
    /// Bytes that are to come. Until then nothing of our own may be sent, or it would be torn.
    rest: u64,
}

impl RequestTail {
    /// True if this instance still gets some of it.
    fn is_for(&self, index: usize) -> bool {
        self.rest > 0 && self.to.contains(&index)
    }
}

/// Where a request goes.
#[derive(Clone, Copy)]
enum Place {
    One(usize),
    All,
}

/// See the module's text.
pub(super) struct Instances {
    instances: Vec<Instance>,
    pool: Option<Pool>,
    /// Counts the requests that are spread.
    next: usize,
    prepared_uses: HashSet<Box<[u8]>>,
    request_tail: RequestTail,
    replies: ReplyState,
}

/// What the replies of all instances have in common.
struct ReplyState {
    gathers: Gathers,
    /// The instance whose large reply or event is half out, and how much of it is to come.
    tail: Option<(usize, u64)>,
    /// The client's side failed, and not the instance.
    outer_fault: Option<Fault>,
}

impl Instances {
    pub(super) fn new(parts: &[Rc<ChainPart>], is_ordered: bool) -> Self {
        let instance = |part| SubChain::new(part).map_or(Instance::Dead, Instance::Live);
        Self {
            instances: parts.iter().map(instance).collect(),
            pool: parts.first().map(|part| part.pool().clone()),
            next: 0,
            prepared_uses: HashSet::new(),
            request_tail: RequestTail::default(),
            replies: ReplyState { gathers: Gathers::new(is_ordered), tail: None, outer_fault: None },
        }
    }

    fn live(&self) -> impl Iterator<Item = (usize, &SubChain)> {
        self.instances.iter().enumerate().filter_map(|(index, instance)| match instance {
            Instance::Live(chain) => Some((index, chain)),
            Instance::Leaving(_) | Instance::Failing(..) | Instance::Dead => None,
        })
    }

    /// Where a request goes, if there is an instance left.
    fn place(&mut self, opcode: u8, demand: Demand<'_>) -> Option<Place> {
        let count = self.live().count();
        let (first, _) = self.live().next()?;
        if count == 1 {
            return Some(Place::One(first));
        }
        let is_for_all = match demand {
            Demand::Plain(_) => false,
            Demand::Prepare(_) | Demand::Use | Demand::Register => true,
            // Whose statement is not known may run anything, but only once. If it is a USE, its reply says so.
            Demand::Execute(id) => self.prepared_uses.contains(id),
            Demand::Own => match opcode {
                opcode::STARTUP | opcode::AUTH_RESPONSE | opcode::REGISTER | opcode::PREPARE => true,
                opcode::QUERY | opcode::EXECUTE => {
                    self.leave_but_first();
                    return Some(Place::One(first));
                }
                _ => false,
            },
        };
        if is_for_all {
            return Some(Place::All);
        }
        let turn = self.next % count;
        self.next = self.next.wrapping_add(1);
        self.live().nth(turn).map(|(index, _)| Place::One(index))
    }

    /// What a request does cannot be seen: one instance gets all of them from here on. It alone has the state of the client
    /// then, so that no other may take its place when it is lost.
    fn leave_but_first(&mut self) {
        let others = self.instances.iter_mut().enumerate().filter(|(_, instance)| instance.is_live()).skip(1);
        for (index, instance) in others {
            instance.leave();
            self.replies.gathers.leaves(index);
        }
    }

    /// Puts a request into the runs of the instances it goes to.
    fn spread(&mut self, item: &mut Item<'_>, runs: &mut [Run]) -> bool {
        let demand = session::demand(item.head(), item.bytes());
        let Some(place) = self.place(item.head().opcode, demand) else { return false };
        let kind = match demand {
            Demand::Plain(Work::Read) => Kind::Read,
            Demand::Prepare(Work::Use) => Kind::PreparesUse,
            Demand::Use | Demand::Execute(_) => Kind::Use,
            Demand::Plain(_) | Demand::Prepare(_) | Demand::Register | Demand::Own => Kind::Other,
        };
        let all: Vec<usize>;
        let (to, is_for_all) = match &place {
            Place::One(index) => (std::slice::from_ref(index), false),
            Place::All => {
                all = self.live().map(|(index, _)| index).collect();
                (&*all, true)
            }
        };
        if !item.is_whole() {
            self.request_tail = RequestTail { to: Vec::from(to), rest: item.rest() };
        }
        let gathers = &mut self.replies.gathers;
        let (key, need) = if is_for_all || gathers.is_ordered() {
            (gathers.open(item.ticket(), kind, to) + FIRST_GATHER, Need::Whole)
        } else {
            (if kind == Kind::Read { READ } else { WRITE }, Need::None)
        };
        for index in to {
            if let Some(run) = runs.get_mut(*index) {
                run.push_item(item, key, need);
            }
        }
        item.mark_sent();
        true
    }

    /// Gives an instance something; what is wrong with it is dealt with in the next poll.
    fn give(&mut self, index: usize, give: impl FnOnce(&mut SubChain) -> Result<(), Fault>) {
        let Some(instance) = self.instances.get_mut(index) else { return };
        if let Some(Err(fault)) = instance.working().map(give) {
            instance.fail(fault);
        }
    }

    fn give_each(&mut self, mut give: impl FnMut(&mut SubChain) -> Result<(), Fault>) {
        (0..self.instances.len()).for_each(|index| self.give(index, &mut give));
    }

    /// An instance is gone: what it owes gets definite errors, and the others go on.
    fn bury(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>, index: usize) -> Result<(), Fault> {
        let Some(instance) = self.instances.get_mut(index) else { return Ok(()) };
        let Instance::Failing(mut chain, mut fault) = std::mem::replace(instance, Instance::Dead) else {
            return Ok(());
        };
        self.replies.gathers.leaves(index);
        let text = format!("an instance of ParallelMap's chain failed: {fault}");
        let owed = chain.end_all(fault.nothing_sent);
        chain.close(cx);
        for (Origin { ticket, key }, is_unsent) in owed {
            let is_read = match key {
                READ => true,
                WRITE | OURS => false,
                key => self.replies.gathers.is_read(key - FIRST_GATHER),
            };
            let kind = match (is_unsent, is_read) {
                (true, _) => ErrorKind::Server,
                (false, true) => ErrorKind::ReadTimeout,
                (false, false) => ErrorKind::WriteTimeout,
            };
            match key {
                OURS => self.replies.gathers.agreement.answered(),
                READ | WRITE => up.answer_error(cx, ticket, kind, &text)?,
                key => self.replies.gathers.lose(key - FIRST_GATHER, kind, &text),
            }
        }
        let is_torn = self.replies.tail.is_some_and(|(torn, _)| torn == index);
        let is_last = self.live().next().is_none();
        if is_last {
            self.answer(cx, up)?;
        }
        // It says nothing of what others were sent that owe their replies.
        fault.nothing_sent &= self.instances.iter().all(|instance| matches!(instance, Instance::Dead));
        if is_torn || is_last { Err(fault) } else { Ok(()) }
    }

    fn answer(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<bool, Fault> {
        let Self { instances, replies, prepared_uses, .. } = self;
        let mut is_full = false;
        let learn = |reply: &KeptReply| {
            let Said::Prepared(id) = session::said(reply.head(), reply.bytes()) else { return };
            if prepared_uses.len() < PREPARED_USES_MAX {
                prepared_uses.insert(id.into());
            } else {
                is_full = true;
            }
        };
        let answered = replies.gathers.answer(cx, up, learn)?;
        for index in replies.gathers.gone() {
            if let Some(instance) = instances.get_mut(*index) {
                instance.leave();
            }
        }
        if is_full {
            self.leave_but_first();
        }
        Ok(answered)
    }

    /// Tells all instances the keyspace of their client, if they may not all be in it and the rest of no large request is
    /// still to come. True if that was due.
    fn settle(&mut self, cx: &mut Cx<'_, '_>) -> bool {
        if self.request_tail.rest > 0 || !self.replies.gathers.agreement.is_due() {
            return false;
        }
        let Some(pool) = self.pool.clone() else { return true };
        let only = self.live().next().filter(|_| self.live().count() == 1).map(|(index, _)| index);
        let agreement = &mut self.replies.gathers.agreement;
        let Some((version, keyspace)) = agreement.settle(only) else { return true };
        for instance in &mut self.instances {
            let Instance::Live(chain) = instance else { continue };
            // Under an id of its own: a server may answer two with one id in any order.
            let frame = session::use_keyspace(version, chain.free_id(), &keyspace);
            let Framed::Frame(head) = Protocol::Cql.frame(&frame, Side::Request, u32::MAX) else {
                return true;
            };
            let nothing = pool.own(Vec::new());
            let mut run = Run::default();
            let message = Message::made(head, Piece::whole(pool.own(frame)));
            run.push(message, Origin { ticket: Ticket::NONE, key: OURS }, Need::Whole);
            agreement.tell();
            if let Err(fault) = chain.submit(cx, &nothing, run) {
                instance.fail(fault);
            }
        }
        true
    }
}

impl Sink for Instances {
    fn request_need(&self, opcode: u8) -> Need {
        let below = self.live().next().map(|(_, chain)| chain.request_need(opcode));
        below.unwrap_or_default().max(Need::Head)
    }

    fn submit(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let mut runs: Vec<Run> = self.instances.iter().map(|_| Run::default()).collect();
        let mut is_lost = false;
        for instance in &mut self.instances {
            if let Instance::Live(chain) = instance {
                chain.set_identity(batch.identity());
            }
        }
        batch.each(|item| is_lost |= !self.spread(item, &mut runs));
        for (index, run) in runs.into_iter().enumerate().filter(|(_, run)| !run.is_empty()) {
            self.give(index, |chain| chain.submit(cx, batch.chunk(), run));
        }
        if is_lost { Err(Fault::new("every instance of ParallelMap's chain has failed")) } else { Ok(()) }
    }

    fn submit_tail(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>) -> Result<(), Fault> {
        let RequestTail { to, rest } = std::mem::take(&mut self.request_tail);
        for index in &to {
            self.give(*index, |instance| instance.submit_tail(cx, chunk, range.clone()));
        }
        self.request_tail = RequestTail { to, rest: rest.saturating_sub(range.len() as u64) };
        // Before the next request, which may be in the same chunk.
        self.settle(cx);
        Ok(())
    }

    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        let mut progress = Progress::Idle;
        let mut is_first = true;
        let was_torn = self.replies.tail.is_some();
        let mut was_over_mark = self.replies.gathers.is_over_mark();
        for index in 0..self.instances.len() {
            let Self { instances, replies, pool, .. } = self;
            let Some(instance) = instances.get_mut(index) else { break };
            instance.let_go(cx, replies.gathers.stops());
            // One that leaves is not told any more for which events the client registers.
            let takes_events = instance.is_live() && std::mem::take(&mut is_first);
            if let Some(chain) = instance.working() {
                let mut exit = InstanceExit { index, takes_events, up, replies, pool: pool.as_ref() };
                let polled = chain.poll(cx, &mut exit);
                if let Some(fault) = replies.outer_fault.take() {
                    return Err(fault);
                }
                match polled {
                    Ok(moved) => progress = progress.max(moved),
                    Err(fault) => instance.fail(fault),
                }
            }
            was_over_mark |= replies.gathers.is_over_mark();
            let is_torn = replies.tail.is_some_and(|(torn, _)| torn == index);
            if instance.is_over() && !is_torn {
                instance.close(cx);
                *instance = Instance::Dead;
            }
            if let Some(Instance::Failing(..)) = self.instances.get(index) {
                progress = Progress::Moved;
                self.bury(cx, up, index)?;
            }
        }
        if self.answer(cx, up)? {
            progress = progress.max(Progress::Drained);
        }
        if self.settle(cx) {
            progress = Progress::Moved;
        }
        // What was made here waits to be written, and there may be more to read when it is. What other instances have
        // waited for the end of a large reply, or until less waited for one of them. One that leaves lets go what it holds,
        // and is closed.
        let may_go_on = !up.is_ready()
            || (was_torn && self.replies.tail.is_none())
            || was_over_mark
            || self.instances.iter().any(|instance| instance.may_hold(self.replies.gathers.stops()))
            || (self.replies.tail.is_none() && self.instances.iter().any(Instance::is_over));
        if self.instances.iter().all(|instance| matches!(instance, Instance::Dead)) {
            return Err(Fault::new("no instance of ParallelMap's chain is left"));
        }
        Ok(if progress != Progress::Idle && may_go_on { Progress::Moved } else { progress })
    }

    fn is_over_mark(&self) -> bool {
        let mut taking = self.instances.iter().enumerate().filter_map(|(index, instance)| match instance {
            Instance::Live(chain) => Some(chain),
            Instance::Leaving(chain) if self.request_tail.is_for(index) => Some(chain),
            Instance::Leaving(_) | Instance::Failing(..) | Instance::Dead => None,
        });
        // The rest of a large request must come, whatever waits: until then nobody can be told anything.
        let is_settling = self.request_tail.rest == 0 && !self.replies.gathers.agreement.is_settled();
        is_settling || self.replies.gathers.is_over_mark() || taking.any(SubChain::is_over_mark)
    }

    fn deadline(&self) -> Option<Tick> {
        let working = self.instances.iter().filter_map(|instance| match instance {
            Instance::Live(chain) | Instance::Leaving(chain) => Some(chain),
            Instance::Failing(..) | Instance::Dead => None,
        });
        working.filter_map(SubChain::deadline).min()
    }

    fn client_done(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        self.give_each(|chain| chain.client_done(cx));
        Ok(())
    }

    fn let_go(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        self.give_each(|chain| chain.let_go(cx));
        Ok(())
    }

    fn close(&mut self, cx: &mut Cx<'_, '_>) {
        self.instances.iter_mut().for_each(|instance| instance.close(cx));
    }
}

/// The way up from one instance.
struct InstanceExit<'e, 'u> {
    index: usize,
    takes_events: bool,
    up: &'e mut Up<'u>,
    replies: &'e mut ReplyState,
    pool: Option<&'e Pool>,
}

impl InstanceExit<'_, '_> {
    /// Sorts one reply; `None` if it does not go up by itself.
    fn sort(&mut self, origin: Origin, leaving: &chain::Leaving<'_>) -> Option<Message> {
        if Protocol::Cql.is_unsolicited(&leaving.head) {
            return self.takes_events.then(|| self.pass(leaving, Ticket::NONE));
        }
        match origin.key {
            OURS => {
                self.replies.gathers.agreement.answered();
                if Protocol::Cql.is_error(&leaving.head) {
                    self.replies.gathers.leaves(self.index);
                }
                None
            }
            READ | WRITE => {
                self.hear(origin.ticket, leaving);
                Some(self.pass(leaving, origin.ticket))
            }
            key => {
                if self.replies.gathers.is_single(key - FIRST_GATHER) {
                    self.hear(origin.ticket, leaving);
                }
                let kept = self.pool.and_then(|pool| KeptReply::of(leaving, pool));
                self.replies.gathers.reply(key - FIRST_GATHER, self.index, kept);
                None
            }
        }
    }

    /// What goes up by itself, and the rest of it behind it.
    fn pass(&mut self, leaving: &chain::Leaving<'_>, ticket: Ticket) -> Message {
        if leaving.rest > 0 {
            self.replies.tail = Some((self.index, leaving.rest));
        }
        leaving.to_message(ticket)
    }

    /// Hears if this instance, and no other, has changed its keyspace.
    fn hear(&mut self, ticket: Ticket, leaving: &chain::Leaving<'_>) {
        if leaving.head.opcode == opcode::RESULT
            && let Said::Keyspace(keyspace) = session::said(&leaving.head, leaving.outgoing.bytes())
        {
            let agreement = &mut self.replies.gathers.agreement;
            agreement.choose(self.up.request(ticket), leaving.head.version, keyspace);
            agreement.differ(self.index);
        }
    }
}

impl SubExit for InstanceExit<'_, '_> {
    fn is_ready(&self) -> bool {
        // The rest of what is half out must come, whatever waits.
        let is_next = self.replies.tail.is_some() || self.replies.gathers.may_read(self.index);
        is_next && self.up.is_ready() && !self.is_torn()
    }

    fn is_torn(&self) -> bool {
        self.replies.tail.is_some_and(|(torn, _)| torn != self.index) || self.up.is_torn()
    }

    fn deliver(&mut self, cx: &mut Cx<'_, '_>, replies: &mut Replies<'_, '_>) -> Result<(), Fault> {
        let chunk = replies.chunk().pin();
        let mut messages = self.up.list();
        replies.each(|origin, leaving| messages.extend(self.sort(origin, leaving)));
        self.up.replies(cx, &chunk, messages).inspect_err(|fault| {
            self.replies.outer_fault = Some(fault.clone());
        })
    }

    fn deliver_bytes(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        range: Range<usize>,
    ) -> Result<(), Fault> {
        let Some((torn, rest)) = self.replies.tail.filter(|(torn, _)| *torn == self.index) else {
            return Ok(());
        };
        let rest = rest.saturating_sub(range.len() as u64);
        self.replies.tail = (rest > 0).then_some((torn, rest));
        self.up.reply_tail(cx, chunk, range).inspect_err(|fault| {
            self.replies.outer_fault = Some(fault.clone());
        })
    }
}
