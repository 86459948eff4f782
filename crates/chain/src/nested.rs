//! A chain that an entry of another chain owns: its plan in the topology, and its run in the task of one client.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chain::Chain;
use crate::chunk::{Chunk, Pool};
use crate::exit::Exit;
use crate::identity::Identity;
use crate::item::Item;
use crate::ledger::{REQUESTS_KEPT, Stage, Ticket};
use crate::message::{Batch, Leaving, Message};
use crate::part::ChainPart;
use crate::prepared::{AllPrepared, Prepared};
use crate::stream::{Cx, Tick};
use crate::transform::{Builder, Fault, Need, Progress, WorkerCx};

/// One entry of a chain of the topology.
pub struct PlanEntry {
    /// Its type.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What makes its parts.
    pub builder: Box<dyn Builder>,
}

/// A chain of the topology that an entry of another chain owns. Chains of the same form share their entries.
#[derive(Clone)]
pub struct ChainPlan {
    name: String,
    number: usize,
    entries: Arc<[PlanEntry]>,
    /// What was prepared at its servers, which may be others than those of the chain around it.
    prepared: AllPrepared,
}

impl ChainPlan {
    /// One plan a name, all with the same entries. `first`: the number of the first among all chains in chains.
    #[must_use]
    pub fn of(names: Vec<String>, first: usize, entries: Vec<PlanEntry>) -> Vec<Self> {
        let entries: Arc<[PlanEntry]> = entries.into();
        let named = names.into_iter().zip(first..);
        let plan = |(name, number)| Self {
            name,
            number,
            entries: Arc::clone(&entries),
            prepared: AllPrepared::default(),
        };
        named.map(plan).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number among all chains in chains.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its entries, the sink last.
    #[must_use]
    pub fn entries(&self) -> &[PlanEntry] {
        &self.entries
    }

    /// The builder of its sink, to change; `None` while there is another plan with the same entries.
    pub fn sink_mut(&mut self) -> Option<&mut dyn Builder> {
        let last = Arc::get_mut(&mut self.entries)?.last_mut()?;
        Some(&mut *last.builder)
    }

    /// True if an entry talks to servers.
    #[must_use]
    pub fn reaches_servers(&self) -> bool {
        self.entries.iter().any(|entry| entry.builder.reaches_servers())
    }

    fn feeds_servers(&self) -> bool {
        self.entries.iter().any(|entry| feeds(&*entry.builder))
    }

    /// Makes the worker's part of the chain.
    #[must_use]
    pub fn worker(&self, worker: &WorkerCx) -> Rc<ChainPart> {
        let metrics = worker.nested.chains.get(self.number).map(Rc::clone);
        let worker = WorkerCx {
            pool: worker.pool.clone(),
            connector: Rc::clone(&worker.connector),
            spawner: Rc::clone(&worker.spawner),
            protocol: worker.protocol,
            prepared: Rc::new(Prepared::new(&self.prepared)),
            sharing: metrics.as_ref().map(|metrics| Rc::clone(&metrics.sharing)).unwrap_or_default(),
            nested: Rc::clone(&worker.nested),
        };
        let entries = self.entries.iter().map(|entry| (&*entry.kind, &*entry.name, &*entry.builder));
        ChainPart::new(&self.name, &worker, entries, metrics)
    }
}

/// True if an entry talks to servers, or one of its chains does.
pub(crate) fn feeds(builder: &dyn Builder) -> bool {
    builder.reaches_servers() || builder.chains().into_iter().any(ChainPlan::feeds_servers)
}

/// Which of two chains' replies clients get: one word of the process, flipped by HTTP and read once a batch.
#[derive(Clone, Debug)]
pub struct Switch {
    /// Where it is flipped, on 127.0.0.1.
    pub port: u16,
    is_on: Arc<AtomicBool>,
}

impl Switch {
    /// Not flipped yet.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port, is_on: Arc::default() }
    }

    /// Flips it.
    pub fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// True when it was flipped.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }
}

/// What a request of a chain in a chain stands for.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The request of the outer chain. It may have had its end.
    pub ticket: Ticket,
    /// Its owner's own word for it.
    pub key: u32,
}

impl Origin {
    /// Of a message that answers no request.
    const NONE: Self = Self { ticket: Ticket::NONE, key: 0 };
}

/// Requests on their way into a chain in a chain.
#[derive(Default)]
pub struct Run {
    messages: Vec<Message>,
    origins: Vec<(Origin, Need)>,
}

impl Run {
    /// Adds a request. `need`: how much of its reply the owner wants to see.
    pub fn push(&mut self, message: Message, origin: Origin, need: Need) {
        self.messages.push(message);
        self.origins.push((origin, need));
    }

    /// As [`Run::push`], of what passes a chain. Whoever above looks at its reply sees as much of it as it asked for.
    pub fn push_item(&mut self, item: &Item<'_>, key: u32, need: Need) {
        let above = item.request().map(|entry| entry.reply_need).unwrap_or_default();
        self.push(item.share(), Origin { ticket: item.ticket(), key }, need.max(above));
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// Where the replies of a chain in a chain go.
pub trait SubExit {
    /// False while no more should be given.
    fn is_ready(&self) -> bool {
        true
    }
    /// True while a large reply of another chain is half out.
    fn is_torn(&self) -> bool {
        false
    }
    /// Takes replies. The last may be the head of a large one.
    ///
    /// # Errors
    /// A fault ends the chain.
    fn deliver(&mut self, cx: &mut Cx<'_, '_>, replies: &mut Replies<'_, '_>) -> Result<(), Fault>;
    /// Takes more of the large reply that ended the last batch.
    ///
    /// # Errors
    /// A fault ends the chain.
    fn deliver_bytes(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>)
    -> Result<(), Fault>;
}

/// Replies that leave a chain in a chain.
pub struct Replies<'r, 'b> {
    batch: &'r mut Batch<'b>,
    origins: &'r [Origin],
}

impl Replies<'_, '_> {
    /// The chunk they were received in.
    #[must_use]
    pub fn chunk(&self) -> &Chunk {
        self.batch.chunk
    }

    /// The worker's pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        self.batch.pool
    }

    /// Hands over each of them, with what it answers.
    pub fn each(&mut self, mut take: impl FnMut(Origin, &Leaving<'_>)) {
        let origins = self.origins;
        let handed: Result<(), std::convert::Infallible> = self.batch.leaving(|leaving, _| {
            take(origins.get(leaving.ticket.place()).copied().unwrap_or(Origin::NONE), &leaving);
            Ok(())
        });
        match handed {
            Ok(()) => {}
        }
    }
}

struct Outward<'o> {
    origins: &'o [Origin],
    to: &'o mut dyn SubExit,
}

impl Exit for Outward<'_> {
    fn is_ready(&self) -> bool {
        self.to.is_ready()
    }

    fn is_torn(&self) -> bool {
        self.to.is_torn()
    }

    // Its replies stand in two ledgers.
    fn looks(&self) -> bool {
        true
    }

    fn deliver(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.to.deliver(cx, &mut Replies { batch, origins: self.origins })
    }

    fn deliver_bytes(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        range: Range<usize>,
    ) -> Result<(), Fault> {
        self.to.deliver_bytes(cx, chunk, range)
    }
}

/// A chain that a transform or a sink of one client owns, in the task of that client.
pub struct SubChain {
    chain: Chain,
    /// What each request stands for, by the place of its entry in the chain's ledger.
    origins: Vec<Origin>,
}

impl SubChain {
    /// The chain of one client; `None` if it is none: its last entry is not a sink, or another one is.
    #[must_use]
    pub fn new(part: &Rc<ChainPart>) -> Option<Self> {
        Some(Self { chain: part.client()?, origins: Vec::new() })
    }

    /// Sends requests down the chain; those that do not bring their bytes have them in `chunk`.
    ///
    /// # Errors
    /// What the chain said.
    pub fn submit(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, run: Run) -> Result<(), Fault> {
        let Run { mut messages, origins } = run;
        for (message, (origin, need)) in messages.iter_mut().zip(origins) {
            self.chain.enter(message, cx.now, need);
            let place = message.ticket.place();
            if self.origins.len() <= place {
                self.origins.resize(place + 1, Origin::NONE);
            }
            if let Some(kept) = self.origins.get_mut(place) {
                *kept = origin;
            }
        }
        if messages.is_empty() { Ok(()) } else { self.chain.submit_entered(cx, chunk, messages) }
    }

    /// Sends more bytes of the large request that ended the last run.
    ///
    /// # Errors
    /// What the chain said.
    pub fn submit_tail(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        range: Range<usize>,
    ) -> Result<(), Fault> {
        self.chain.submit_tail(cx, chunk, range)
    }

    /// Moves what can be moved, and gives replies to `to`.
    ///
    /// # Errors
    /// What the chain or `to` said.
    pub fn poll(&mut self, cx: &mut Cx<'_, '_>, to: &mut dyn SubExit) -> Result<Progress, Fault> {
        if self.chain.deadline().is_some_and(|deadline| deadline <= cx.now) {
            self.chain.wake_due(cx)?;
        }
        let moved = self.chain.poll(cx, &mut Outward { origins: &self.origins, to });
        if self.origins.len() > REQUESTS_KEPT && self.chain.in_flight() == 0 {
            self.origins.truncate(REQUESTS_KEPT);
            self.origins.shrink_to_fit();
        }
        moved
    }

    /// Says who its client is: whom the chain around it serves.
    pub fn set_identity(&mut self, identity: &Rc<Identity>) {
        if !Rc::ptr_eq(self.chain.identity(), identity) {
            self.chain.set_identity(Rc::clone(identity));
        }
    }

    /// Tells the chain that no more requests come: what is held in it is sent.
    ///
    /// # Errors
    /// What the chain said.
    pub fn client_done(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        self.chain.client_done(cx)
    }

    /// Tells the chain that what is held in it is to be sent, though more will come.
    ///
    /// # Errors
    /// What the chain said.
    pub fn let_go(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        self.chain.let_go(cx)
    }

    /// How much of a request with this opcode somebody in the chain wants to see.
    #[must_use]
    pub fn request_need(&self, opcode: u8) -> Need {
        self.chain.request_need(opcode)
    }

    /// True when no more should be submitted for now.
    #[must_use]
    pub fn is_over_mark(&self) -> bool {
        self.chain.is_over_mark()
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.chain.in_flight()
    }

    /// A stream id that no request in flight has: the greatest, since clients use those last.
    #[must_use]
    pub fn free_id(&self) -> i16 {
        self.chain.free_id()
    }

    /// When somebody in the chain wants to be polled.
    #[must_use]
    pub fn deadline(&self) -> Option<Tick> {
        self.chain.deadline()
    }

    /// Ends every request in flight, oldest first. Each with true if no byte of it was given to a server.
    pub fn end_all(&mut self, nothing_sent: bool) -> Vec<(Origin, bool)> {
        let ended = self.chain.end_all().into_iter();
        let origin = |ticket: Ticket| self.origins.get(ticket.place()).copied().unwrap_or(Origin::NONE);
        ended.map(|(ticket, stage)| (origin(ticket), nothing_sent || stage == Stage::Chain)).collect()
    }

    /// For how many requests there is room.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.origins.capacity().max(self.chain.capacity())
    }

    /// Tells the chain that its client is gone.
    pub fn close(&mut self, cx: &mut Cx<'_, '_>) {
        self.chain.close(cx);
    }
}
