//! The contract: what a transform and a sink are, how long each part of one lives, and what it is asked.
//!
//! **Three lifetimes.** A [`Builder`] is one topology entry: `Send + Sync`, it holds what is global by meaning.
//! On each worker it makes one [`WorkerPart`], which holds what the clients of that worker share; that makes one
//! [`Link`] a client. The last two never leave their thread: no locks, no atomics, no `Send`.
//!
//! **Three hooks**, all synchronous, called by [`crate::Chain`] so that nobody can forget the next one:
//! [`Transform::requests`] on the way to the server, [`Transform::responses`] on the way back,
//! [`Transform::woken`] when something else happened.
//!
//! **Need** is settled before the first byte of a message moves on: nothing but the header, its first chunk, or all
//! of it. A message larger than a chunk with need `None` or `Head` is seen once, and that verdict rules its tail.
//!
//! **Ends.** For every request that a transform let pass it sees exactly one end: a reply in `responses`, or
//! `woken(Why::Closing)`, which ends all that are left. Before that, `woken(Why::ClientDone)` says that no more requests
//! come, unless the client's connection failed.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use observe::{NestedMetrics, OwnMetrics, SharingMetrics};
use wire::Protocol;

use crate::chunk::{Chunk, Pool};
use crate::ledger::IdTable;
use crate::message::Batch;
use crate::nested::{ChainPlan, Switch};
use crate::prepared::Prepared;
use crate::stream::{Connector, Cx, Spawner, Tick};
use crate::up::Up;

/// How much of a message a transform looks at.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Need {
    /// The header alone. A large message flows through as it arrives.
    #[default]
    None,
    /// Its first chunk, or all of it if it is smaller.
    Head,
    /// All of it, assembled under `WHOLE_BYTES_MAX`.
    Whole,
}

/// The largest message that is assembled for a transform that needs it whole; the sender of a larger one gets an
/// error. 16 MiB is Cassandra's own default for a request (`native_transport_max_frame_size`).
pub const WHOLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why [`Transform::woken`] is called.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The deadline this transform asked for has come.
    Deadline,
    /// No more requests will come: the client has ended its sending side, or is being drained. Said once, and before
    /// `Closing`. What is released goes on to the server, and its replies are awaited: nothing should be held from here on.
    ClientDone,
    /// Something waits for the end of all requests, or the client's session has not begun, so none should be held that has
    /// come. More will come.
    LetGo,
    /// The client is gone or its connection is being closed: every request left has had its end.
    Closing,
}

/// Sees every request and every reply of one client.
///
/// Each hook lets everything pass unless it is written otherwise: a transform writes those that it needs. None may block,
/// or take long: a worker serves many clients. What a hook does not touch goes on as the bytes it came in.
///
/// ```
/// use chain::{Batch, Cx, Fault, Transform};
/// use wire::cql::opcode::EXECUTE;
///
/// /// Counts the replies to requests that run prepared statements.
/// struct Executed {
///     replies: u64,
/// }
///
/// impl Transform for Executed {
///     fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
///         batch.each(|request| {
///             if request.head().opcode == EXECUTE {
///                 request.set_tag(1);
///             }
///         });
///         Ok(())
///     }
///
///     fn responses(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
///         // The tag is the request's: a transform needs no table of what is in flight.
///         batch.each(|reply| self.replies += u64::from(reply.tag()));
///         Ok(())
///     }
/// }
/// ```
pub trait Transform {
    /// How much of a request with this opcode `requests` looks at. Asked about each request that is larger than a chunk,
    /// as often as some of it comes until that is settled.
    fn request_need(&self, _opcode: u8) -> Need {
        Need::None
    }

    /// How much of the reply to a request with this opcode `responses` looks at. Asked about each request;
    /// [`crate::Item::need_reply`] raises it for one.
    fn reply_need(&self, _request_opcode: u8) -> Need {
        Need::None
    }

    /// Requests on their way to the server.
    ///
    /// # Errors
    /// A fault ends this client: every request not yet sent is answered with it.
    fn requests(&mut self, _cx: &mut Cx<'_, '_>, _batch: &mut Batch<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Replies on their way to the client, in the order in which they completed.
    ///
    /// # Errors
    /// As for `requests`.
    fn responses(&mut self, _cx: &mut Cx<'_, '_>, _batch: &mut Batch<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Something else happened. `batch` is empty; what is released into it goes on from here.
    ///
    /// # Errors
    /// As for `requests`.
    fn woken(&mut self, _cx: &mut Cx<'_, '_>, _why: Why, _batch: &mut Batch<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// When this transform wants to be woken.
    fn deadline(&self) -> Option<Tick> {
        None
    }

    /// True for a transform that has something going on besides its hooks: a chain of its own. Asked once a client;
    /// the hooks below are called only if it is.
    fn is_polled(&self) -> bool {
        false
    }

    /// Moves what this transform has going on. `batch` is empty; requests may be answered by [`Batch::answer`], and by
    /// many and large replies only if the client takes some, which `is_ready` says.
    ///
    /// # Errors
    /// As for `requests`.
    fn polled(
        &mut self,
        _cx: &mut Cx<'_, '_>,
        _batch: &mut Batch<'_>,
        _is_ready: bool,
    ) -> Result<Progress, Fault> {
        Ok(Progress::Idle)
    }

    /// True if what came in `responses` lets it go on: it is polled again at once.
    fn is_restless(&self) -> bool {
        false
    }

    /// True while no more requests should come.
    fn is_over_mark(&self) -> bool {
        false
    }

    /// True while no more replies should come from below. Asked after `polled`, which must be what ends it.
    fn is_full(&self) -> bool {
        false
    }

    /// More bytes of the large request that ended the last batch.
    ///
    /// # Errors
    /// As for `requests`.
    fn request_tail(
        &mut self,
        _cx: &mut Cx<'_, '_>,
        _chunk: &Chunk,
        _range: Range<usize>,
    ) -> Result<(), Fault> {
        Ok(())
    }
}

/// What one poll of a sink or a chain achieved. What two of them achieved together is the greater one.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing can move until the task is woken.
    Idle,
    /// Something moved, and as far as this goes nothing more can until the task is woken or more is submitted.
    Drained,
    /// Something moved; there may be more.
    Moved,
}

/// The end of a chain: talks to servers, or answers by itself.
///
/// `submit` never refuses; backpressure is [`Sink::is_over_mark`], upon which the client is not read.
pub trait Sink {
    /// How much of a request with this opcode `submit` looks at. Asked only about requests larger than a chunk.
    fn request_need(&self, _opcode: u8) -> Need {
        Need::None
    }

    /// Takes every message of the batch that is still on its way. Its last one may be the head of a large message,
    /// whose tail follows by `submit_tail` before the next `submit`.
    ///
    /// # Errors
    /// A fault ends this client.
    fn submit(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault>;

    /// Takes more bytes of the large message that ended the last batch. Not called when the sink answered it.
    ///
    /// # Errors
    /// A fault ends this client.
    fn submit_tail(
        &mut self,
        _cx: &mut Cx<'_, '_>,
        _chunk: &Chunk,
        _range: Range<usize>,
    ) -> Result<(), Fault> {
        Ok(())
    }

    /// What this sink awaits, by the clients' own ids, if it sends requests as they are and could send some now.
    fn plain(&mut self, _now: Tick) -> Option<&mut IdTable> {
        None
    }

    /// Takes whole requests that nobody looked at, which stand in [`Sink::plain`]'s table already.
    ///
    /// # Errors
    /// A fault ends this client.
    fn submit_plain(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>) -> Result<(), Fault> {
        self.submit_tail(cx, chunk, range)
    }

    /// Requests that nobody looked at and whose replies are due.
    fn plain_in_flight(&self) -> usize {
        0
    }

    /// Moves what can be moved, and hands replies to `up`. A sink that talks to no server has nothing to move.
    ///
    /// # Errors
    /// A fault ends this client, after what arrived was delivered.
    fn poll(&mut self, _cx: &mut Cx<'_, '_>, _up: &mut Up<'_>) -> Result<Progress, Fault> {
        Ok(Progress::Idle)
    }

    /// True while more is queued than should be.
    fn is_over_mark(&self) -> bool {
        false
    }

    /// When this sink wants to be polled though nothing came.
    fn deadline(&self) -> Option<Tick> {
        None
    }

    /// No more requests will come: see [`Why::ClientDone`].
    ///
    /// # Errors
    /// A fault ends this client.
    fn client_done(&mut self, _cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        Ok(())
    }

    /// What has come is not to be held: see [`Why::LetGo`].
    ///
    /// # Errors
    /// A fault ends this client.
    fn let_go(&mut self, _cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        Ok(())
    }

    /// The client is gone or its connection is being closed.
    fn close(&mut self, _cx: &mut Cx<'_, '_>) {}
}

/// What a worker part makes for one client.
pub enum Link {
    /// A transform in the chain.
    Transform(Box<dyn Transform>),
    /// The chain's end.
    Sink(Box<dyn Sink>),
}

/// One entry of the topology.
///
/// It is made when the files are read, also by who only checks them: what it needs beyond its options is opened by the
/// parts it makes. Those of a transform without state can be copies of the builder itself:
///
/// ```
/// use chain::{Builder, Link, Transform, WorkerCx, WorkerPart};
///
/// #[derive(Clone)]
/// struct Nothing;
///
/// impl Transform for Nothing {}
///
/// impl WorkerPart for Nothing {
///     fn client(&self) -> Link {
///         Link::Transform(Box::new(self.clone()))
///     }
/// }
///
/// impl Builder for Nothing {
///     fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
///         Box::new(self.clone())
///     }
/// }
/// ```
pub trait Builder: Send + Sync {
    /// Makes the part that the clients of one worker share. Called on that worker's thread.
    fn worker(&self, worker: &WorkerCx) -> Box<dyn WorkerPart>;

    /// Opens what this entry needs beyond its options: files, folders. Called once, before any worker starts; never when
    /// a topology is only checked.
    ///
    /// # Errors
    /// Why the process cannot start.
    fn start(&self) -> Result<(), String> {
        Ok(())
    }

    /// Looks whether [`Builder::start`] would certainly fail, and changes nothing: no file is made. Asked when a topology
    /// is read from a file, also when it is only checked.
    ///
    /// # Errors
    /// Why the process could not start.
    fn could_start(&self) -> Result<(), String> {
        Ok(())
    }

    /// What this entry counts besides what is counted of every transform. Asked once, also of the entries of chains in
    /// chains: who owns those adds nothing for them.
    fn own_metrics(&self) -> Vec<Arc<dyn OwnMetrics>> {
        Vec::new()
    }

    /// True for a sink that talks to servers: only those accept a client's session, and can fail a request.
    fn reaches_servers(&self) -> bool {
        false
    }

    /// True for a part that asks what messages mean: [`crate::Item::keyspace`] and its like. A chain without such a
    /// part pays nothing for it.
    fn enriches(&self) -> bool {
        false
    }

    /// True for a sink whose clients share connections: it has metrics of its own.
    fn shares_connections(&self) -> bool {
        false
    }

    /// Lets the clients of a sink share so many connections; false if they cannot share any.
    fn share_connections(&mut self, _connections_max: usize) -> bool {
        false
    }

    /// The chains that it owns.
    fn chains(&self) -> Vec<&ChainPlan> {
        Vec::new()
    }

    /// The switch that people flip by HTTP.
    fn switch(&self) -> Option<&Switch> {
        None
    }
}

/// What a worker hands to its parts.
pub struct WorkerCx {
    /// The worker's chunks.
    pub pool: Pool,
    /// Opens streams toward servers.
    pub connector: Rc<dyn Connector>,
    /// Runs what belongs to no single client.
    pub spawner: Rc<dyn Spawner>,
    /// The protocol of the chain.
    pub protocol: Protocol,
    /// What is known of the statements that the chain's clients prepared.
    pub prepared: Rc<Prepared>,
    /// What the chain's sink counts if its clients share connections.
    pub sharing: Rc<SharingMetrics>,
    /// What chains in chains count.
    pub nested: Rc<NestedMetrics>,
}

impl WorkerCx {
    /// That of a worker that stands alone: chunks of its own, nothing is known of statements, and nobody reads what is
    /// counted.
    #[must_use]
    pub fn alone(protocol: Protocol, connector: Rc<dyn Connector>, spawner: Rc<dyn Spawner>) -> Self {
        Self {
            pool: Pool::new(),
            connector,
            spawner,
            protocol,
            prepared: Rc::default(),
            sharing: Rc::default(),
            nested: Rc::default(),
        }
    }
}

/// What the clients of one worker share of one topology entry. It never leaves its thread: `Rc` and `Cell` will do.
pub trait WorkerPart {
    /// Makes the part of one client: a sink if the entry's type is said to end a chain, else a transform.
    fn client(&self) -> Link;
}

/// What ended a client, outermost cause first.
///
/// ```
/// let fault = chain::Fault::new("the quota is used up").caused_by("3 of 3 rows");
/// assert_eq!(fault.to_string(), "the quota is used up\n\nCaused by:\n    3 of 3 rows");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    causes: Vec<String>,
    /// True when no byte of any request in flight reached a server: each can be given a definite error.
    pub nothing_sent: bool,
    /// It has been counted and its place named, or it is none of the chain's: it passes what is around it as it is.
    is_placed: bool,
}

impl Fault {
    /// A fault with one cause.
    #[must_use]
    pub fn new(cause: impl Into<String>) -> Self {
        Self { causes: vec![cause.into()], nothing_sent: false, is_placed: false }
    }

    /// Adds what the innermost cause so far was caused by.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Puts a wider cause around this fault.
    #[must_use]
    pub fn within(mut self, cause: impl Into<String>) -> Self {
        self.causes.insert(0, cause.into());
        self
    }

    /// Says that who is to blame is settled.
    pub(crate) fn placed(mut self) -> Self {
        self.is_placed = true;
        self
    }

    pub(crate) fn is_placed(&self) -> bool {
        self.is_placed
    }

    /// Says that no byte of any request in flight reached a server.
    #[must_use]
    pub fn nothing_sent(mut self) -> Self {
        self.nothing_sent = true;
        self
    }
}

/// The outermost cause, then the list of what caused it: the form in which users of upstream know it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, rest) = self.causes.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        f.write_str(first)?;
        match rest {
            [] => Ok(()),
            [only] => write!(f, "\n\nCaused by:\n    {only}"),
            _ => {
                f.write_str("\n\nCaused by:")?;
                rest.iter().enumerate().try_for_each(|(index, cause)| write!(f, "\n    {index}: {cause}"))
            }
        }
    }
}
