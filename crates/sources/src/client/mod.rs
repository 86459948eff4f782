//! The client loop: start reading here. One value a client, polled by whoever owns its task.
//!
//! ```text
//!     end of input, drain, bad bytes                all replies out
//!   Open ----------------------> Ending ---------------------------------> done
//!     \                             |
//!      \--fault---------------------+--> Closing --errors out--> Lingering --> done
//! ```
//!
//! *Open*: requests are read, cut and submitted; replies are written. Nothing is read while the chain is over its
//! mark. *Ending*: no more requests; what is in flight is awaited, and bad bytes are answered behind it. *Closing*:
//! whatever can be answered with a definite error is. *Lingering*: our side is shut; bytes still under way are discarded,
//! since closing a socket with unread bytes would make the kernel destroy the errors just sent.

mod ending;

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

use chain::{After, Chain, Cx, Fault, Filled, Framing, Inlet, Outlet, Progress, Stream, Tick};
use observe::SourceMetrics;
use wire::{Malformed, Side};

use crate::end::End;
use crate::exit::{ClientExit, ReplyProgress};
use crate::patience::{Patience, earlier, ending_max};
use crate::rules::Rules;

/// Turns of one poll before the other connections of the worker have theirs.
const TURNS_MAX: usize = 4;

/// Memory of replies made here that may wait for a client that does not read, before its requests wait too.
const MADE_REPLY_BYTES_MAX: usize = 256 * 1024;

enum State {
    Open,
    Ending {
        end: End,
        deadline: Tick,
    },
    /// `refusal`: requests that still arrive are answered with this text.
    Closing {
        end: End,
        deadline: Tick,
        refusal: Option<String>,
    },
    Lingering {
        end: End,
        deadline: Tick,
    },
    Done,
}

/// What a turn did.
enum Turn {
    Moved,
    Idle,
    Ended(End),
}

/// One client: its stream, its chain, and what waits in between.
pub struct Client<S> {
    stream: S,
    inlet: Inlet,
    outlet: Outlet,
    chain: Chain,
    rules: Rc<Rules>,
    metrics: Option<Rc<SourceMetrics>>,
    state: State,
    /// Bytes of a large request that are still to come.
    request_rest: u64,
    /// Those bytes go nowhere: the request was refused.
    drops_rest: bool,
    /// Whole frames may wait in the inlet, uncut because the chain was over its mark.
    has_uncut: bool,
    replies: ReplyProgress,
    /// When bytes last moved, either way.
    moved_at: Tick,
    patience: Patience,
    quiet: Quiet,
    /// The chain knows that no more requests will come.
    is_done_told: bool,
    /// What [`Client::deadline`] last said: before that nothing is due, and nobody needs to be asked.
    due_at: Cell<Option<Tick>>,
    /// That time has come.
    is_due: bool,
}

/// What needs not be asked again in this poll: it has nothing, and the task is woken when it has. Each such question
/// would cost as much as passing a message on.
#[derive(Clone, Copy, Default)]
struct Quiet {
    /// The client's socket has nothing to read.
    requests: bool,
    /// The chain can move nothing.
    replies: bool,
}

impl<S: Stream> Client<S> {
    /// A client that was just accepted. `metrics` counts for its source, if anybody wants to know.
    #[must_use]
    pub fn new(
        stream: S,
        chain: Chain,
        rules: Rc<Rules>,
        metrics: Option<Rc<SourceMetrics>>,
        now: Tick,
    ) -> Self {
        Self {
            stream,
            inlet: Inlet::new(chain.part().pool()),
            outlet: Outlet::default(),
            chain,
            rules,
            metrics,
            state: State::Open,
            request_rest: 0,
            drops_rest: false,
            has_uncut: false,
            replies: ReplyProgress::default(),
            moved_at: now,
            patience: Patience::new(now),
            quiet: Quiet::default(),
            is_done_told: false,
            due_at: Cell::default(),
            is_due: false,
        }
    }

    /// Moves what can be moved. `Ready` when the connection is over and can be dropped.
    pub fn poll(&mut self, cx: &mut Cx<'_, '_>) -> Poll<End> {
        self.quiet = Quiet::default();
        self.is_due = self.due_at.get().is_some_and(|due_at| due_at <= cx.now);
        if !self.replies.is_established {
            self.patience.before_session(cx.now, self.waits_for_us());
        }
        for _ in 0..TURNS_MAX {
            match self.turn(cx) {
                Turn::Moved if self.is_settled() => return Poll::Pending,
                Turn::Moved => {}
                Turn::Idle => return Poll::Pending,
                Turn::Ended(end) => {
                    if !matches!(self.state, State::Lingering { .. }) {
                        self.chain.close(cx);
                    }
                    self.state = State::Done;
                    return Poll::Ready(end);
                }
            }
        }
        cx.task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Another turn would move nothing.
    fn is_settled(&self) -> bool {
        let Quiet { requests, replies } = self.quiet;
        requests && replies && !self.has_uncut && !self.is_due && matches!(self.state, State::Open)
    }

    /// Ends the connection once every request in flight is answered, or at `deadline`.
    pub fn drain(&mut self, deadline: Tick) {
        match &mut self.state {
            State::Open => self.state = State::Ending { end: End::Drained, deadline },
            // A client that left with replies due may not hold up the end of the process for longer than others.
            State::Ending { deadline: own, .. } => *own = deadline.min(*own),
            State::Closing { .. } | State::Lingering { .. } | State::Done => {}
        }
    }

    /// When this client wants to be polled though nothing came. To be asked after each poll.
    #[must_use]
    pub fn deadline(&self) -> Option<Tick> {
        let due_at = match &self.state {
            State::Open => {
                let [idle, begin, stalled, look] = self.open_deadlines();
                earlier(self.chain.deadline(), earlier(earlier(idle, look), earlier(begin, stalled)))
            }
            State::Ending { deadline, .. } => earlier(self.chain.deadline(), Some(*deadline)),
            // The chain is asked nothing any more; a deadline it has missed would wake the task for ever.
            State::Closing { deadline, .. } | State::Lingering { deadline, .. } => Some(*deadline),
            State::Done => None,
        };
        self.due_at.set(due_at);
        due_at
    }

    fn idle_deadline(&self) -> Option<Tick> {
        let timeout = self.rules.idle_timeout?;
        // What the server still owes is not the client's fault, unless the client does not take what is here.
        let is_owed = self.chain.in_flight() > 0 || self.replies.rest > 0;
        (!is_owed || !self.outlet.is_empty()).then(|| self.moved_at.after(timeout))
    }

    /// Until when an open client is waited for: whatever it does, to begin its session, to go on with a request, to be read.
    fn open_deadlines(&self) -> [Option<Tick>; 4] {
        let is_beginning = !self.replies.is_established && !self.waits_for_us();
        let has_begun_request = self.request_rest > 0 || !self.inlet.is_empty();
        [
            self.idle_deadline(),
            is_beginning.then(|| self.patience.begin_by()),
            if has_begun_request { self.patience.stalled_at() } else { None },
            self.patience
                .unread_since()
                .map(|since| since.max(self.moved_at).after(ending_max(self.request_rest > 0))),
        ]
    }

    /// A reply is due that does not wait for the client itself.
    fn is_owed(&self) -> bool {
        self.chain.in_flight() > self.torn() || self.replies.rest > 0
    }

    /// As [`Self::is_owed`], and the client has taken all replies that have come.
    fn waits_for_us(&self) -> bool {
        self.is_owed() && self.outlet.is_empty()
    }

    /// 1 if a request is in flight whose rest has not come.
    fn torn(&self) -> usize {
        usize::from(self.chain.is_torn())
    }

    fn turn(&mut self, cx: &mut Cx<'_, '_>) -> Turn {
        let result = match &self.state {
            State::Open => self.open(cx),
            State::Ending { .. } => self.ending(cx),
            State::Closing { .. } => return self.closing(cx),
            State::Lingering { .. } => return self.lingering(cx),
            State::Done => return Turn::Idle,
        };
        result.unwrap_or_else(|fault| self.fail(cx, fault))
    }

    fn open(&mut self, cx: &mut Cx<'_, '_>) -> Result<Turn, Fault> {
        let requests = self.take_requests(cx)?;
        if let Turn::Ended(_) = requests {
            return Ok(requests);
        }
        let replies = self.take_replies(cx)?;
        match (requests, replies) {
            (Turn::Idle, Progress::Idle) => {}
            _ => {
                self.moved_at = cx.now;
                return Ok(Turn::Moved);
            }
        }
        if !self.is_due {
            return Ok(Turn::Idle);
        }
        let is_over = |deadline: Option<Tick>| deadline.is_some_and(|deadline| deadline <= cx.now);
        Ok(match self.open_deadlines().map(is_over) {
            [true, ..] => Turn::Ended(End::Idle),
            [_, true, ..] => Turn::Ended(End::NotBegun),
            [_, _, true, _] => Turn::Ended(End::Stalled),
            // It waits as long as one that was read and ended its sending side, though nobody was woken when it did.
            [.., true] if self.stream.is_closed() => Turn::Ended(End::TimedOut),
            [.., is_looked_at] => {
                if is_looked_at {
                    self.patience.looked(cx.now);
                }
                Turn::Idle
            }
        })
    }

    /// Reads requests, unless something below is over its mark, and submits them.
    fn take_requests(&mut self, cx: &mut Cx<'_, '_>) -> Result<Turn, Fault> {
        if self.is_over_mark() {
            self.patience.unread(cx.now);
            return Ok(Turn::Idle);
        }
        if !self.has_uncut {
            if self.quiet.requests {
                self.patience.silent(cx.now);
                return Ok(Turn::Idle);
            }
            match self.inlet.poll_fill(cx, &mut self.stream) {
                Poll::Pending => {
                    self.quiet.requests = true;
                    self.patience.silent(cx.now);
                    return Ok(Turn::Idle);
                }
                Poll::Ready(Ok(Filled::Bytes(_))) => self.patience.not_silent(),
                Poll::Ready(Ok(Filled::End)) => {
                    let deadline = cx.now.after(ending_max(self.request_rest > 0));
                    self.state = State::Ending { end: End::ClientLeft, deadline };
                    return Ok(Turn::Moved);
                }
                Poll::Ready(Err(error)) => return Ok(Turn::Ended(End::ClientFailed(error))),
            }
        }
        let malformed = self.cut_requests(cx)?;
        if !self.replies.is_established {
            // The rest of what a transform waits for may never come, and until then this client's time would stand still.
            self.chain.let_go(cx)?;
        }
        if let Some(malformed) = malformed {
            self.refuse(cx, malformed);
        } else if !self.has_uncut && self.stream.poll_readable(cx.task).is_pending() {
            self.quiet.requests = true;
            self.patience.silent(cx.now);
        }
        Ok(Turn::Moved)
    }

    fn is_over_mark(&self) -> bool {
        self.chain.is_over_mark() || self.outlet.memory() > MADE_REPLY_BYTES_MAX
    }

    /// Cuts what was read into requests and submits them, until the inlet is empty or the chain is over its mark.
    fn cut_requests(&mut self, cx: &mut Cx<'_, '_>) -> Result<Option<Malformed>, Fault> {
        self.has_uncut = false;
        self.quiet.replies = false;
        loop {
            self.pass_tail(cx)?;
            if self.inlet.is_empty() {
                return Ok(None);
            }
            if self.is_over_mark() {
                self.has_uncut = true;
                return Ok(None);
            }
            if self.replies.is_established {
                let bytes = self.chain.submit_plain(cx, &self.inlet, self.rules.frame_bytes_max)?;
                self.inlet.consume(bytes);
                if self.inlet.is_empty() {
                    return Ok(None);
                }
            }
            let framing = Framing {
                protocol: self.chain.part().protocol(),
                side: Side::Request,
                frame_bytes_max: if self.replies.is_established {
                    self.rules.frame_bytes_max
                } else {
                    wire::limits::FRAME_BYTES_MAX_BEFORE_HANDSHAKE
                },
            };
            let mut messages = self.chain.list();
            let need = |head: &wire::Head| self.chain.request_need(head.opcode);
            let (bytes, after) = framing.cut(&self.inlet, need, &mut messages);
            if let Some((chunk, _)) = self.inlet.place() {
                self.replies.note_handshake(framing.protocol, chunk, &messages, self.metrics.as_deref());
                match self.chain.submit(cx, chunk, messages) {
                    Ok(None) => {}
                    Ok(repeated) => return Ok(repeated),
                    Err(fault) => {
                        // The ledger has these requests, and answers them: their bytes are not to be answered as well.
                        self.request_rest = bytes as u64 + after.rest();
                        return Err(fault);
                    }
                }
            }
            self.inlet.consume(bytes);
            match after {
                After::Nothing => return Ok(None),
                After::More => {}
                After::Wait { frame_bytes } => {
                    self.inlet.make_room(frame_bytes);
                    return Ok(None);
                }
                After::Tail { rest } => {
                    (self.request_rest, self.drops_rest) = (rest, false);
                    return Ok(None);
                }
                After::TooLarge(head) => {
                    let repeated = self.refuse_large(cx, head);
                    if repeated.is_some() {
                        return Ok(repeated);
                    }
                }
                After::Malformed(malformed) => return Ok(Some(malformed)),
            }
        }
    }

    /// Sends on, or discards, what has come of the rest of a large request.
    fn pass_tail(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        let Some((chunk, place)) = self.inlet.place().filter(|_| self.request_rest > 0) else {
            return Ok(());
        };
        let here = place.len().min(usize::try_from(self.request_rest).unwrap_or(usize::MAX));
        if !self.drops_rest {
            self.chain.submit_tail(cx, chunk, place.start..place.start + here)?;
        }
        self.request_rest -= here as u64;
        self.inlet.consume(here);
        Ok(())
    }

    /// Answers a request that is too large to be assembled for a transform that needs it whole, and discards it.
    /// Says what is wrong with it if it may not even be answered.
    fn refuse_large(&mut self, cx: &Cx<'_, '_>, head: wire::Head) -> Option<Malformed> {
        let (bytes, most) = (head.frame_bytes, chain::WHOLE_BYTES_MAX);
        let text = format!("the request has {bytes} bytes, more than the {most} a transform can be given");
        let repeated = self.chain.refuse(cx, head, &text);
        self.request_rest = u64::from(head.frame_bytes);
        self.drops_rest = true;
        repeated
    }

    /// Lets the chain move replies to the client, and the client take those that wait.
    fn take_replies(&mut self, cx: &mut Cx<'_, '_>) -> Result<Progress, Fault> {
        let mut progress = Progress::Idle;
        if !self.outlet.is_empty() && self.flush(cx)? {
            progress = Progress::Moved;
            self.quiet.replies = false;
        }
        if self.is_due && self.chain.deadline().is_some_and(|deadline| deadline <= cx.now) {
            self.chain.wake_due(cx)?;
            self.quiet.replies = false;
        }
        if self.quiet.replies {
            return Ok(progress);
        }
        let mut exit = ClientExit {
            protocol: self.chain.part().protocol(),
            reaches_servers: self.chain.part().reaches_servers(),
            stream: &mut self.stream,
            outlet: &mut self.outlet,
            progress: &mut self.replies,
        };
        let moved = self.chain.poll(cx, &mut exit)?;
        self.quiet.replies = moved != Progress::Moved;
        Ok(if moved == Progress::Idle { progress } else { Progress::Moved })
    }

    /// True when nothing waits any more.
    fn flush(&mut self, cx: &mut Cx<'_, '_>) -> Result<bool, Fault> {
        let waiting = self.outlet.queued_bytes();
        let flushed = self.outlet.poll_flush(cx, &mut self.stream);
        if self.outlet.queued_bytes() < waiting {
            self.moved_at = cx.now;
        }
        match flushed {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => {
                let fault = Fault::new("the client's connection failed").caused_by(&error);
                self.replies.gone = Some(error);
                Err(fault)
            }
        }
    }
}
