//! The task of a shared connection: connects, begins a session, writes what was gathered, and gives each reply to who
//! waits for it.

use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use chain::{After, Cx, Fault, Filled, Framing, Message, Outlet, Piece, Task, Tick, Ticket};
use observe::RetireReason;
use wire::cql::session::{self, Said, Work};
use wire::{ErrorKind, Head, Protocol, Side};

use super::connection::{Connection, Inner, Ready, ReplyTail, State, Surroundings};
use super::identity::Next;
use super::inbox::ConnectionId;
use super::inbox::Delivery;
use super::slots::{ORPHANS_MAX, Orphaned, Pending};
use crate::faults;

/// Bytes read in one turn, before the other connections of the worker have theirs.
const TURN_BYTES: usize = 64 * 1024;

/// The longest body of a reply while a session is begun again, bytes, as for what clients send before theirs has begun.
/// The longest that a server has reason to send is a token of some hundred.
const HANDSHAKE_REPLY_BYTES_MAX: u32 = 64 * 1024;

/// How long replies are awaited on a connection that the server has called broken.
const BROKEN_GRACE: Duration = Duration::from_secs(1);

/// A reply longer than this makes its client have a connection of its own: others would wait behind it.
const LARGE_REPLY_BYTES: u32 = 1024 * 1024;

/// The task of a connection.
pub(super) struct ConnectionTask(pub(super) Rc<Connection>);

impl Task for ConnectionTask {
    fn poll(&mut self, cx: &mut Cx<'_, '_>) -> Poll<()> {
        let Self(connection) = self;
        {
            let mut task = connection.task.borrow_mut();
            if !task.as_ref().is_some_and(|known| known.will_wake(cx.task.waker())) {
                *task = Some(cx.task.waker().clone());
            }
        }
        connection.is_woken.set(false);
        let mut inner = connection.inner.borrow_mut();
        let surroundings = &connection.surroundings;
        let mut turn = Turn { id: connection.id, surroundings, inner: &mut inner };
        let ran = turn.run(cx);
        surroundings.spill.cut_off(cx.now);
        if let Err(fault) = ran.and_then(|()| turn.check_use()) {
            turn.die(&fault, cx.now);
        }
        let is_over = matches!(inner.state, State::Dead);
        if is_over {
            inner.outlet = Outlet::default();
        }
        inner.settle(&surroundings.metrics);
        // One that takes no more requests may be replaced.
        if is_over || inner.retires || inner.has_room() {
            inner.waiting.drain(..).for_each(Waker::wake);
        }
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }

    fn deadline(&self) -> Option<Tick> {
        let inner = self.0.inner.borrow();
        let own = match &inner.state {
            State::Connecting { deadline, .. } | State::Beginning { deadline, .. } => Some(*deadline),
            State::Open(_) | State::Dead => None,
        };
        let timeout = inner.timeouts.deadline().filter(|_| !inner.is_paused);
        let tail = inner.tail_deadline(self.0.surroundings.read_timeout);
        let spill = self.0.surroundings.spill.deadline();
        own.into_iter().chain(inner.retire_deadline).chain(timeout).chain(tail).chain(spill).min()
    }
}

/// One poll of a connection's task.
struct Turn<'t> {
    id: ConnectionId,
    surroundings: &'t Rc<Surroundings>,
    inner: &'t mut Inner,
}

impl Turn<'_> {
    fn run(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        if !self.inner.is_paused {
            self.expire(cx.now);
        }
        if self.inner.retire_deadline.is_some_and(|deadline| deadline <= cx.now) {
            return Err(Fault::new("the server called the connection broken"));
        }
        if let State::Connecting { .. } = self.inner.state {
            self.connect(cx)?;
        }
        if let State::Beginning { .. } = self.inner.state {
            self.begin(cx)?;
        }
        if let State::Open(_) = self.inner.state {
            return self.exchange(cx);
        }
        Ok(())
    }

    /// A connection that takes no new requests ends with the last that somebody awaits. An owner whose connection it
    /// still is must hear of that: he may have no other.
    fn check_use(&self) -> Result<(), Fault> {
        let is_over = matches!(self.inner.state, State::Dead);
        if is_over || !self.inner.retires || self.inner.is_awaited() {
            return Ok(());
        }
        Err(Fault::new("the server leaves too many requests unanswered"))
    }

    fn connect(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        let State::Connecting { attempt, deadline } = &mut self.inner.state else { return Ok(()) };
        let Surroundings { address, connect_timeout, .. } = &**self.surroundings;
        let stream = match attempt.as_mut().poll(cx.task) {
            Poll::Ready(Ok(stream)) => stream,
            Poll::Ready(Err(error)) => return Err(faults::cannot_connect(address, &error)),
            Poll::Pending if cx.now >= *deadline => {
                return Err(faults::connect_timed_out(address, *connect_timeout));
            }
            Poll::Pending => return Ok(()),
        };
        self.inner.taken_at = cx.now;
        let Some(mut replay) = self.inner.replay.take() else {
            self.inner.state = State::Open(stream);
            return Ok(());
        };
        let Next::Send(frame) = replay.first() else { return Err(refused()) };
        let mut frames = Outlet::default();
        frames.push(self.own_frame(&frame));
        let deadline = cx.now.after(*connect_timeout);
        self.inner.state = State::Beginning { stream, replay, frames, deadline };
        Ok(())
    }

    /// A frame of the handshake.
    fn own_frame(&self, frame: &[u8]) -> Piece {
        Piece::whole(self.surroundings.pool.own(frame.to_vec())) // copy: a handshake
    }

    /// Goes on with the handshake as its replies come. The requests that wait leave when it is over.
    fn begin(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        let mut turn_bytes = 0;
        while turn_bytes < TURN_BYTES {
            let Inner { state, inlet, .. } = &mut *self.inner;
            let State::Beginning { stream, frames, deadline, .. } = state else { return Ok(()) };
            let is_late = cx.now >= *deadline;
            if let Poll::Ready(Err(error)) = frames.poll_flush(cx, stream) {
                return Err(faults::io_failed(error).nothing_sent());
            }
            let is_all = match inlet.poll_fill(cx, stream) {
                Poll::Pending => true,
                Poll::Ready(Ok(Filled::Bytes(count))) => {
                    turn_bytes += count;
                    false
                }
                Poll::Ready(Ok(Filled::End)) => return Err(faults::closed().nothing_sent()),
                Poll::Ready(Err(error)) => return Err(faults::io_failed(error).nothing_sent()),
            };
            let has_moved = !is_all && self.go_on()?;
            if is_late && !has_moved {
                return Err(Fault::new("the server did not answer the handshake in time").nothing_sent());
            }
            if is_all {
                return Ok(());
            }
        }
        cx.task.waker().wake_by_ref();
        Ok(())
    }

    /// Takes the next step of the handshake, if a whole reply is here. True when it was.
    fn go_on(&mut self) -> Result<bool, Fault> {
        let Inner { state, inlet, .. } = &mut *self.inner;
        let State::Beginning { replay, .. } = state else { return Ok(false) };
        let head = match Protocol::Cql.frame(inlet.bytes(), Side::Response, HANDSHAKE_REPLY_BYTES_MAX) {
            wire::Framed::Frame(head) if inlet.bytes().len() >= head.frame_bytes as usize => head,
            wire::Framed::Frame(_) | wire::Framed::NotYet => return Ok(false),
            wire::Framed::Malformed(malformed) => {
                return Err(faults::malformed(malformed).nothing_sent());
            }
        };
        let next = replay.answered(&head, inlet.bytes());
        inlet.consume(head.frame_bytes as usize);
        match next {
            Next::Send(frame) => {
                let frame = self.own_frame(&frame);
                if let State::Beginning { frames, .. } = &mut self.inner.state {
                    frames.push(frame);
                }
            }
            Next::Refused => {
                self.surroundings.metrics.replays_refused.add(1);
                return Err(refused());
            }
            Next::Done => self.begun(),
            Next::NoKeyspace => {
                self.begun();
                self.inner.lacks_keyspace = true;
                // Those whose requests wait have asked for this keyspace, and need it no more than on a connection that was
                // in it. Nobody else is served: the next connection may find it there again.
                if self.inner.owner.is_none() {
                    self.inner.retire(&self.surroundings.metrics, RetireReason::KeyspaceChanged);
                }
            }
        }
        Ok(true)
    }

    /// The session is as it was on another connection.
    fn begun(&mut self) {
        self.surroundings.metrics.replays_accepted.add(1);
        if let State::Beginning { stream, .. } = std::mem::replace(&mut self.inner.state, State::Dead) {
            self.inner.state = State::Open(stream);
        }
    }

    /// Writes what was gathered, then reads what came.
    fn exchange(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), Fault> {
        let broken = self.write(cx).err();
        let mut turn_bytes = 0;
        while turn_bytes < TURN_BYTES {
            if self.must_pause(cx) {
                // Whether it is broken is asked again when what came before has been read.
                return Ok(());
            }
            let Inner { state, inlet, .. } = &mut *self.inner;
            let State::Open(stream) = state else { return Ok(()) };
            match inlet.poll_fill(cx, stream) {
                // Reading goes on though writing failed: replies may have arrived before.
                Poll::Pending => {
                    return broken
                        .map_or_else(|| self.check_tail(cx.now), |error| Err(faults::io_failed(error)));
                }
                Poll::Ready(Ok(Filled::Bytes(count))) => {
                    turn_bytes += count;
                    self.inner.heard_at = cx.now;
                    self.cut(cx.now)?;
                }
                Poll::Ready(Ok(Filled::End)) => return Err(faults::closed()),
                Poll::Ready(Err(error)) => return Err(faults::io_failed(error)),
            }
        }
        cx.task.waker().wake_by_ref();
        Ok(())
    }

    /// True when the owner has enough to fetch: as direct, a server whose client does not read is not read either, and is
    /// not silent because it is not listened to.
    fn must_pause(&mut self, cx: &Cx<'_, '_>) -> bool {
        let must_pause = self.inner.owner.as_ref().is_some_and(|owner| owner.has_enough(self.id));
        if must_pause && let Some(owner) = &self.inner.owner {
            owner.pause(cx.task.waker());
        } else if self.inner.is_paused {
            self.listen_again(cx.now);
        }
        self.inner.is_paused = must_pause;
        must_pause
    }

    /// All that the server owes is timed from here on.
    #[cold]
    fn listen_again(&mut self, now: Tick) {
        self.inner.heard_at = now;
        self.inner.timeouts.begin_again(now);
    }

    /// A server that falls silent inside a large reply will not answer anybody else's request either.
    fn check_tail(&self, now: Tick) -> Result<(), Fault> {
        match self.inner.tail_deadline(self.surroundings.read_timeout) {
            Some(deadline) if deadline <= now => {
                Err(Fault::new(faults::no_response(self.surroundings.read_timeout)))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, cx: &mut Cx<'_, '_>) -> io::Result<()> {
        let before = self.inner.queued_bytes();
        let Inner { state, outlet, gather, .. } = &mut *self.inner;
        let State::Open(stream) = state else { return Ok(()) };
        if outlet.poll_flush(cx, stream)?.is_ready() {
            gather.send(cx, stream, outlet)?;
        }
        if self.inner.queued_bytes() < before {
            self.inner.taken_at = cx.now;
        }
        Ok(())
    }

    /// Cuts what was read into replies, and gives each to who waits for it: after all of them have their clients' ids,
    /// since from the first pin on nobody may write into the chunk.
    fn cut(&mut self, now: Tick) -> Result<(), Fault> {
        loop {
            self.inner.inlet.make_own();
            if self.pass_tail(now) {
                return Ok(());
            }
            let mut messages = self.surroundings.pool.take_list();
            let Inner { inlet, slots, .. } = &mut *self.inner;
            let framing =
                Framing { protocol: Protocol::Cql, side: Side::Response, frame_bytes_max: u32::MAX };
            let need = |head: &Head| slots.get(head.id).map(|pending| pending.need).unwrap_or_default();
            let (bytes, after) = framing.cut(inlet, need, &mut messages);
            let unknown = messages.iter().find_map(|message| self.answer(message, now));
            self.surroundings.pool.give_list(messages);
            if unknown.is_none() && after == After::More {
                self.inner.inlet.consume(bytes);
                continue;
            }
            self.deliver(now);
            self.inner.inlet.consume(bytes);
            if let Some(id) = unknown {
                return Err(faults::unknown_reply(id));
            }
            match after {
                After::Nothing => return Ok(()),
                After::More => {}
                After::Wait { frame_bytes } => {
                    self.inner.inlet.make_room(frame_bytes);
                    return Ok(());
                }
                After::Tail { rest } => {
                    self.inner.reply_tail.rest = rest;
                    return Ok(());
                }
                After::TooLarge(head) => self.refuse_large(head, now),
                After::Malformed(malformed) => return Err(faults::malformed(malformed)),
            }
        }
    }

    /// Gives on what has come of the rest of a large reply. True when that was all.
    fn pass_tail(&mut self, now: Tick) -> bool {
        let Inner { inlet, reply_tail, ready, .. } = &mut *self.inner;
        let Some((_, place)) = inlet.place() else { return true };
        let here = place.len().min(usize::try_from(reply_tail.rest).unwrap_or(usize::MAX));
        if here == 0 {
            return false;
        }
        reply_tail.rest -= here as u64;
        let to =
            if reply_tail.rest == 0 { reply_tail.to.take() } else { reply_tail.to.as_ref().map(Rc::clone) };
        if let Some(inbox) = to.filter(|to| !to.is_closed()) {
            ready.push(Ready { inbox, range: place.start..place.start + here, reply: None });
        }
        let is_all = here == place.len();
        if is_all {
            self.deliver(now);
        }
        self.inner.inlet.consume(here);
        is_all
    }

    /// Finds who waits for a reply. The id of one that answers nothing is the answer.
    fn answer(&mut self, message: &Message, now: Tick) -> Option<i32> {
        let head = message.head();
        let (inbox, ticket, id) = if Protocol::Cql.is_unsolicited(head) {
            (self.inner.owner.as_ref().map(Rc::clone), Ticket::NONE, head.id)
        } else {
            let Some(pending) = self.recognise(message, now) else { return Some(head.id) };
            (pending.inbox, pending.ticket, i32::from(pending.client_id))
        };
        let inbox = inbox.filter(|inbox| !inbox.is_closed());
        if message.rest() > 0 {
            self.inner.reply_tail.to = inbox.as_ref().map(Rc::clone);
        }
        let reply = Some((Head { id, ..*head }, ticket, message.rest()));
        if let Some(inbox) = inbox {
            self.inner.ready.push(Ready { inbox, range: message.range(), reply });
        }
        None
    }

    /// Puts what is ready into the inboxes.
    fn deliver(&mut self, now: Tick) {
        let Inner { inlet, ready, .. } = &mut *self.inner;
        let Some((chunk, _)) = inlet.place() else { return };
        let from = self.id;
        for Ready { inbox, range, reply } in ready.drain(..) {
            let piece = inbox.piece(chunk, range);
            let delivery = match reply {
                Some((head, ticket, rest)) => Delivery::Reply { head, ticket, piece, rest, from },
                None => Delivery::Tail { piece, from },
            };
            inbox.put(delivery, now);
        }
    }

    /// Finds what a reply answers, gives it its client's id, and hears what it says of the connection.
    fn recognise(&mut self, message: &Message, now: Tick) -> Option<Pending> {
        let head = message.head();
        let pending = self.inner.slots.answer(head.id)?;
        let bytes = self.inner.inlet.bytes_mut(message.range()).unwrap_or_default();
        session::set_id(bytes, pending.client_id);
        match session::said(head, bytes) {
            Said::Nothing => {}
            Said::Prepared(id) if pending.prepares => self.surroundings.prepared.learn(id, pending.work),
            Said::Prepared(_) => {}
            Said::Keyspace(_) => self.keyspace_changed(pending.sequence, now),
            Said::ProtocolError => self.called_broken(now),
        }
        if head.frame_bytes > LARGE_REPLY_BYTES
            && let Some(inbox) = &pending.inbox
        {
            inbox.note_large_reply();
        }
        Some(pending)
    }

    /// A shared connection must never have another keyspace than its clients think. If it has, it is of no more use,
    /// and what was sent after that request may have run in the wrong one.
    fn keyspace_changed(&mut self, sequence: u64, now: Tick) {
        if self.inner.owner.is_some() {
            self.inner.lacks_keyspace = false;
            return;
        }
        self.inner.retire(&self.surroundings.metrics, RetireReason::KeyspaceChanged);
        self.inner.drop_unsent();
        let (late, unsent_from) = (self.inner.slots.orphan_after(Some(sequence)), self.inner.unsent_from());
        Inner::fail(late, unsent_from, "the keyspace of the connection changed", now);
    }

    /// The server answers nothing but this error from here on.
    fn called_broken(&mut self, now: Tick) {
        if self.inner.owner.is_none() && self.inner.retire_deadline.is_none() {
            self.inner.retire(&self.surroundings.metrics, RetireReason::ProtocolError);
            self.inner.retire_deadline = Some(now.after(BROKEN_GRACE));
        }
    }

    /// A reply too large to be assembled for a transform that wants it whole.
    fn refuse_large(&mut self, head: Head, now: Tick) {
        let inbox =
            self.inner.slots.answer(head.id).and_then(|pending| Some((pending.inbox?, pending.ticket)));
        if let Some((inbox, ticket)) = inbox {
            let text = chain::reply_too_large().into();
            inbox.put(Delivery::Failed { ticket, kind: ErrorKind::Invalid, text }, now);
        }
        self.inner.reply_tail = ReplyTail { rest: u64::from(head.frame_bytes), to: None };
    }

    /// Requests that waited too long get their end; their ids are not used again until the late replies came.
    fn expire(&mut self, now: Tick) {
        let mut is_late = false;
        while let Some(name) = self.inner.timeouts.take_late(now, &self.inner.slots) {
            is_late = true;
            let Some(Orphaned { inbox, ticket, work, .. }) = self.inner.slots.orphan(name) else { continue };
            let kind = if work == Work::Read { ErrorKind::ReadTimeout } else { ErrorKind::WriteTimeout };
            let text = faults::no_response(self.surroundings.read_timeout).into();
            inbox.put(Delivery::Failed { ticket, kind, text }, now);
        }
        let slots = &self.inner.slots;
        if slots.orphans() > ORPHANS_MAX && (is_late || !slots.has_room()) {
            self.inner.retire(&self.surroundings.metrics, RetireReason::Orphans);
        }
    }

    /// Every request has its end; an owner, and whoever has half a reply, is told that the connection is gone.
    fn die(&mut self, fault: &Fault, now: Tick) {
        let broken = || Delivery::Broken { fault: fault.clone(), from: self.id };
        if let Some(to) = self.inner.reply_tail.to.take() {
            to.put(broken(), now);
        }
        self.inner.retire(&self.surroundings.metrics, RetireReason::Failed);
        let owner = self.inner.owner.take();
        if owner.is_none() || self.inner.is_replayed {
            let pending = self.inner.slots.orphan_after(None);
            Inner::fail(pending, self.inner.unsent_from(), &fault.to_string(), now);
        }
        if let Some(owner) = owner {
            owner.put(broken(), now);
        }
        self.inner.state = State::Dead;
    }
}

fn refused() -> Fault {
    Fault::new("the server did not accept the session of this client again").nothing_sent()
}
