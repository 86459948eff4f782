//! The sink of one client: decides on which connection each of its requests goes, and gives it what comes back.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::{Rc, Weak};

use chain::{
    Batch, Chunk, Cx, Fault, Leaving, Message, Need, Outgoing, Piece, Progress, Sink, Tick, Ticket, Up,
    mark_sent,
};
use observe::{OwnReason, RetireReason};
use wire::cql::opcode;
use wire::cql::session::{self, Demand, Said, Work};
use wire::{ErrorKind, Head, Protocol};

use super::connection::{Connection, Request};
use super::identity::{Identity, Recorder};
use super::inbox::{ConnectionId, Delivery, Inbox, NO_CONNECTION};
use super::{ConnectionPool, SharedPart};
use crate::faults;

/// A longer request goes on its client's own connection: others would wait behind it.
const SHARED_REQUEST_BYTES_MAX: u32 = 64 * 1024;

/// How far a client has come.
enum Session {
    /// Its handshake goes on, on its own connection.
    Beginning(Recorder),
    /// The server has accepted it, and would accept the same bytes again.
    Accepted { identity: Identity, keyspace: Option<String> },
    /// It can only be served on the connection it began on: the server would not make another the same by accepting the
    /// same handshake.
    Alone,
}

/// A connection that nobody else uses.
struct Own {
    connection: Rc<Connection>,
    /// It has what no other connection has: events, or a session that was not replayed.
    is_bound: bool,
}

/// A request that waits for its turn.
struct Waiting {
    head: Head,
    ticket: Ticket,
    need: Need,
    rest: u64,
    piece: Piece,
}

/// Where a request goes.
enum Place {
    /// On a connection that others use too.
    Shared { work: Work },
    /// On the client's own. `may_move`: it may change the keyspace, and what follows waits for its reply. `binds`:
    /// it leaves something on the connection that no other has.
    Own { work: Work, may_move: bool, binds: bool, why: OwnReason },
}

/// See the module's text.
pub(super) struct SharedSink {
    part: Rc<SharedPart>,
    inbox: Rc<Inbox>,
    session: Session,
    own: Option<Own>,
    pool: Option<Rc<ConnectionPool>>,
    /// Connections that may owe it replies, which not all are its own or on its pool's list: each is told when it goes.
    used: Vec<(ConnectionId, Weak<Connection>)>,
    last_used: ConnectionId,
    /// A request whose reply says in which keyspace the client is.
    moving: Option<Ticket>,
    waiting: VecDeque<Waiting>,
    /// Since when no connection has had room for what this client has to send, or made any.
    no_room_since: Option<Tick>,
    /// What waited last was meant for the client's own connection.
    waits_for_own: bool,
    /// Bytes of a large request that are still to come. Until then the client must be read, whatever waits.
    request_rest: u64,
    /// Those of one that will not be sent.
    dropped_rest: u64,
    /// The connection whose large reply is half out.
    reply_tail: Option<(ConnectionId, u64)>,
}

impl SharedSink {
    pub(super) fn new(part: &Rc<SharedPart>) -> Self {
        let surroundings = &part.surroundings;
        Self {
            part: Rc::clone(part),
            inbox: Inbox::new(&surroundings.pool, &surroundings.spill),
            session: Session::Beginning(Recorder::default()),
            own: None,
            pool: None,
            used: Vec::new(),
            last_used: NO_CONNECTION,
            moving: None,
            waiting: VecDeque::new(),
            no_room_since: None,
            waits_for_own: false,
            request_rest: 0,
            dropped_rest: 0,
            reply_tail: None,
        }
    }

    /// Decides where a request of an accepted client goes.
    fn place(&self, demand: Demand<'_>, leaving: &Leaving<'_>, version: u8) -> Place {
        let own = |work, why| Place::Own { work, may_move: false, binds: false, why };
        let moving = |work, why| Place::Own { work, may_move: true, binds: false, why };
        let bound = |work, why| Place::Own { work, may_move: false, binds: true, why };
        let head = &leaving.head;
        if head.version != version {
            return bound(Work::Write, OwnReason::Unclear);
        }
        let plain = |work| {
            if leaving.rest > 0 || head.frame_bytes > SHARED_REQUEST_BYTES_MAX {
                own(work, OwnReason::LargeRequest)
            } else if self.inbox.has_large_replies() {
                own(work, OwnReason::LargeReplies)
            } else {
                Place::Shared { work }
            }
        };
        match demand {
            Demand::Plain(work) | Demand::Prepare(work) => plain(work),
            Demand::Execute(id) => match self.part.surroundings.prepared.get(id) {
                Some(Work::Use) => moving(Work::Write, OwnReason::Keyspace),
                Some(work) => plain(work),
                None => moving(Work::Write, OwnReason::UnknownPrepared),
            },
            Demand::Use => moving(Work::Use, OwnReason::Keyspace),
            Demand::Register => bound(Work::Read, OwnReason::Register),
            Demand::Own => {
                // An EXECUTE may have so short a beginning that it lacks the id.
                let is_statement = matches!(head.opcode, opcode::QUERY | opcode::PREPARE | opcode::EXECUTE);
                if is_statement && head.flags & 1 == 0 {
                    moving(Work::Write, OwnReason::Unclear)
                } else {
                    bound(Work::Write, OwnReason::Unclear)
                }
            }
        }
    }

    /// Sends a request where it goes; gives it back when there is no room.
    fn send<'l>(&mut self, now: Tick, leaving: Leaving<'l>, need: Need) -> Result<(), Leaving<'l>> {
        let demand = session::demand(&leaving.head, leaving.outgoing.bytes());
        let place = match &mut self.session {
            Session::Beginning(recorder) => {
                recorder.record(&leaving.head, leaving.outgoing.bytes(), leaving.rest);
                let work = work_alone(demand);
                Place::Own { work, may_move: false, binds: false, why: OwnReason::Handshake }
            }
            Session::Alone => {
                let work = work_alone(demand);
                Place::Own { work, may_move: false, binds: true, why: OwnReason::Session }
            }
            Session::Accepted { identity, .. } => {
                let version = identity.version;
                self.place(demand, &leaving, version)
            }
        };
        let (Place::Shared { work } | Place::Own { work, .. }) = place;
        // Only of a statement that was seen: what another does is not known, and its id must not be learned.
        let prepares = matches!(demand, Demand::Prepare(_));
        let connection = match place {
            Place::Shared { .. } => self.shared(now),
            Place::Own { binds, why, .. } => self.own(now, binds, why),
        };
        let Some(connection) = connection else {
            self.waits_for_own = matches!(place, Place::Own { .. });
            return Err(leaving);
        };
        let metrics = &self.part.surroundings.metrics;
        match place {
            Place::Shared { .. } => metrics.shared_requests.add(1),
            Place::Own { .. } => metrics.own_requests.add(1),
        }
        if let Place::Own { may_move: true, .. } = place {
            self.moving = Some(leaving.ticket);
        }
        self.request_rest = leaving.rest;
        if connection.id != self.last_used {
            self.note_used(&connection);
        }
        connection.submit(now, &Request { leaving, work, prepares, need }, &self.inbox);
        Ok(())
    }

    fn note_used(&mut self, connection: &Rc<Connection>) {
        self.last_used = connection.id;
        if !self.used.iter().any(|(id, _)| *id == connection.id) {
            self.used.retain(|(_, used)| used.strong_count() > 0);
            self.used.push((connection.id, Rc::downgrade(connection)));
        }
    }

    /// A connection of the client's pool with room for a request.
    fn shared(&self, now: Tick) -> Option<Rc<Connection>> {
        let (Some(pool), Session::Accepted { identity, keyspace }) = (&self.pool, &self.session) else {
            return None;
        };
        pool.pick(now, || self.part.open(now, Some(identity.replay(keyspace.as_deref())), None))
    }

    /// The client's own connection, opened if it has none, with room for a request.
    fn own(&mut self, now: Tick, binds: bool, why: OwnReason) -> Option<Rc<Connection>> {
        let is_accepted = matches!(self.session, Session::Accepted { .. });
        // One that is gone is replaced; unless it cannot be: then word of its end, which ends the client, is under way.
        let outdated = self.own.take_if(|own| is_accepted && !own.is_bound && own.connection.is_outdated());
        if let Some(own) = outdated {
            own.connection.retire(RetireReason::KeyspaceChanged);
        }
        let own = self.own.get_or_insert_with(|| {
            let replay = match &self.session {
                Session::Accepted { identity, keyspace } => Some(identity.replay(keyspace.as_deref())),
                Session::Beginning(_) | Session::Alone => None,
            };
            self.part.surroundings.metrics.count_own(why);
            let connection = self.part.open(now, replay, Some(Rc::clone(&self.inbox)));
            Own { connection, is_bound: false }
        });
        let can_take = own.connection.is_usable() && own.connection.has_room();
        // A request that waits for room has left nothing behind yet, and may never be sent.
        own.is_bound |= binds && can_take;
        can_take.then(|| Rc::clone(&own.connection))
    }

    /// Sends what waits, as far as there is room. True when something went.
    fn send_waiting(&mut self, cx: &Cx<'_, '_>, up: &mut Up<'_>) -> bool {
        let mut has_sent = false;
        while self.moving.is_none()
            && let Some(Waiting { head, ticket, need, rest, piece }) = self.waiting.pop_front()
        {
            let leaving = Leaving { head, ticket, rest, outgoing: Outgoing::Made(&piece) };
            if self.send(cx.now, leaving, need).is_err() {
                self.waiting.push_front(Waiting { head, ticket, need, rest, piece });
                break;
            }
            up.mark_sent(ticket);
            has_sent = true;
        }
        has_sent
    }

    /// Waits until there is room for what there is to send, or may be; `since` when it has waited already. Says when it has
    /// waited too long, which is as long as it would for a reply.
    fn wait_for_room(&mut self, cx: &Cx<'_, '_>, since: Option<Tick>) -> bool {
        let is_blocked = !self.waiting.is_empty() && self.moving.is_none();
        if !is_blocked && self.own.as_ref().is_none_or(|own| own.connection.has_room()) {
            return false;
        }
        // A server that takes or says something is slow, and not silent: room is on its way.
        self.no_room_since =
            since.map_or(Some(cx.now), |since| Some(since.max(self.moved_at(cx.now, is_blocked))));
        if self.deadline().is_some_and(|deadline| deadline <= cx.now) {
            return true;
        }
        let waker = cx.task.waker();
        if let Some(own) = &self.own {
            own.connection.wait_for_room(waker);
        }
        if let Some(pool) = &self.pool {
            pool.each(|connection| connection.wait_for_room(waker));
        }
        false
    }

    /// When something last moved on the connections whose room is waited for.
    fn moved_at(&self, now: Tick, is_blocked: bool) -> Tick {
        let mut moved_at = Tick::default();
        if let Some(pool) = self.pool.as_ref().filter(|_| is_blocked && !self.waits_for_own) {
            pool.each(|connection| moved_at = moved_at.max(connection.moved_at(now)));
        } else if let Some(own) = &self.own {
            moved_at = own.connection.moved_at(now);
        }
        moved_at
    }

    /// What waits for room is told that it was not sent. A connection of the client's own that has none is of no more use.
    fn give_up_waiting(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<(), Fault> {
        self.no_room_since = None;
        if self.moving.is_some() && self.request_rest == 0 {
            // That request has a time of its own, since all of it was sent, and who does not know its end does not know
            // the keyspace.
            return Ok(());
        }
        let timeout = self.part.surroundings.read_timeout.unwrap_or_default();
        if let Some(own) = self.own.take_if(|own| !own.connection.has_room()) {
            if own.is_bound || !matches!(self.session, Session::Accepted { .. }) {
                self.own = Some(own);
                return Err(Fault::new(faults::no_response(self.part.surroundings.read_timeout)));
            }
            own.connection.retire(RetireReason::Failed);
            own.connection.give_up_torn(cx.now, &format!("the server took no more of it within {timeout:?}"));
            self.drop_rest();
        }
        let text = format!("no server connection had room within {timeout:?}; the request was not sent");
        for Waiting { ticket, rest, .. } in std::mem::take(&mut self.waiting) {
            self.dropped_rest = rest;
            up.answer_error(cx, ticket, ErrorKind::Server, &text)?;
        }
        Ok(())
    }

    /// What is still to come of a request goes nowhere: the connection that has its beginning is gone.
    fn drop_rest(&mut self) {
        if self.request_rest > 0 {
            self.dropped_rest = std::mem::take(&mut self.request_rest);
        }
    }

    /// The server has accepted the client: from here on it may share, unless more is on its connection than a handshake:
    /// a request that was sent too early, which may be half there, or have changed what the connection is.
    fn accepted(&mut self, version: u8) {
        let Session::Beginning(recorder) = std::mem::replace(&mut self.session, Session::Alone) else {
            return;
        };
        let has_more = self.own.as_ref().is_none_or(|own| own.connection.load() > 0);
        let Some(identity) = recorder.accepted(version).filter(|_| !has_more) else {
            self.part.surroundings.metrics.count_own(OwnReason::Session);
            return;
        };
        self.session = Session::Accepted { identity, keyspace: None };
        self.join();
    }

    /// Goes to the pool of the client's session and keyspace, with its own connection if that has a place for it.
    fn join(&mut self) {
        let Session::Accepted { identity, keyspace } = &self.session else { return };
        let pool = self.part.pool(&identity.key(keyspace.as_deref()));
        // A server that answers what is not wholly there gets the rest of it all the same.
        let is_torn = self.request_rest > 0;
        if let Some(own) = self.own.take_if(|own| !own.is_bound && !is_torn) {
            if pool.has_place() {
                own.connection.share();
                pool.add(own.connection);
            } else {
                own.connection.retire(RetireReason::Unused);
            }
        }
        if let Some(before) = self.pool.replace(pool)
            && Rc::strong_count(&before) == 1
        {
            before.each(|connection| connection.retire(RetireReason::Unused));
        }
    }

    /// Hears what a reply says of the client's session.
    fn hear(&mut self, head: &Head, ticket: Ticket, piece: &Piece, from: ConnectionId) -> Result<(), Fault> {
        if let Session::Beginning(_) = self.session {
            if Protocol::Cql.establishes(head) {
                self.accepted(head.version);
            }
            return Ok(());
        }
        if let Session::Accepted { keyspace, .. } = &mut self.session
            && let Said::Keyspace(now_in) = session::said(head, piece.bytes())
        {
            *keyspace = Some(now_in.to_owned());
            self.leave_own_behind(from)?;
            self.join();
        }
        if self.moving == Some(ticket) {
            self.moving = None;
        }
        Ok(())
    }

    /// The keyspace has changed, but not on the client's own connection, if it has one: it is replaced by one in that
    /// keyspace when it is needed again. (The request was not seen to be a USE: it was sent where others are.)
    fn leave_own_behind(&mut self, changed_on: ConnectionId) -> Result<(), Fault> {
        let Some(own) = self.own.as_ref().filter(|own| own.connection.id != changed_on) else {
            return Ok(());
        };
        if own.is_bound {
            return Err(Fault::new(
                "the keyspace changed, but not on the connection that has the client's events",
            ));
        }
        own.connection.retire(RetireReason::KeyspaceChanged);
        // The rest of a request still goes there.
        self.own.take_if(|_| self.request_rest == 0);
        Ok(())
    }

    /// Gives what has come to the client, neighbours of one chunk in one run. True when there was something.
    fn fetch(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<bool, Fault> {
        let mut has_moved = false;
        let mut run: Option<Chunk> = None;
        let mut messages = up.list();
        while up.is_ready() {
            let from = self.reply_tail.map(|(from, _)| from);
            let Some(delivery) = self.inbox.fetch(from, cx.now) else {
                if from.is_some() {
                    self.inbox.wait_for_rest();
                }
                break;
            };
            has_moved = true;
            if let Delivery::Reply { head, ticket, piece, rest, from } = delivery {
                self.hear(&head, ticket, &piece, from)?;
                let (chunk, range) = piece.place();
                if let Some(before) = run.take_if(|before| !before.is_same(chunk)) {
                    up.replies(cx, &before, std::mem::replace(&mut messages, up.list()))?;
                }
                messages.push(Message::reply(head, range.start, range.len(), ticket));
                let chunk = run.get_or_insert_with(|| chunk.pin());
                if rest > 0 {
                    self.reply_tail = Some((from, rest));
                    up.replies(cx, chunk, std::mem::replace(&mut messages, up.list()))?;
                    run = None;
                }
                continue;
            }
            if let Some(before) = run.take() {
                up.replies(cx, &before, std::mem::replace(&mut messages, up.list()))?;
            }
            self.receive(cx, up, delivery)?;
        }
        match run {
            Some(chunk) => up.replies(cx, &chunk, messages)?,
            None => up.give_back(messages),
        }
        Ok(has_moved)
    }

    /// Takes what is no whole reply.
    fn receive(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>, delivery: Delivery) -> Result<(), Fault> {
        match delivery {
            Delivery::Reply { .. } => Ok(()),
            Delivery::Tail { piece, from } => {
                let (chunk, range) = piece.place();
                let rest = self.reply_tail.map_or(0, |(_, rest)| rest.saturating_sub(range.len() as u64));
                self.reply_tail = (rest > 0).then_some((from, rest));
                up.reply_tail(cx, chunk, range)
            }
            Delivery::Failed { ticket, kind, text } => {
                if self.moving == Some(ticket) {
                    self.moving_failed(&text)?;
                }
                let is_alone = match &self.session {
                    Session::Beginning(recorder) => recorder.has_more,
                    Session::Accepted { .. } => false,
                    Session::Alone => true,
                };
                // On the only connection that such a client can have, what may still run may change the keyspace.
                if is_alone && kind == ErrorKind::WriteTimeout {
                    return Err(Fault::new(&*text));
                }
                up.answer_error(cx, ticket, kind, &text)
            }
            Delivery::Broken { fault, from } => self.broken(fault, from),
        }
    }

    /// Nobody knows in which keyspace the own connection is, or will be when a late reply comes: it is given up.
    fn moving_failed(&mut self, text: &str) -> Result<(), Fault> {
        self.moving = None;
        match self.own.take() {
            Some(own) if own.is_bound => {
                self.own = Some(own);
                Err(Fault::new(text))
            }
            Some(own) => {
                own.connection.retire(RetireReason::KeyspaceChanged);
                self.drop_rest();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A connection is gone that only this client used, or that owes it the rest of a reply.
    fn broken(&mut self, mut fault: Fault, from: ConnectionId) -> Result<(), Fault> {
        let is_torn = self.reply_tail.is_some_and(|(torn, _)| torn == from);
        let was_own = self.own.take_if(|own| own.connection.id == from);
        if was_own.is_some() {
            self.drop_rest();
        }
        let must_end = match &self.session {
            Session::Accepted { .. } => {
                // Nothing was sent on this connection; on the shared ones there may be more of the client's.
                fault.nothing_sent = false;
                is_torn || was_own.is_some_and(|own| own.is_bound)
            }
            Session::Beginning(_) | Session::Alone => was_own.is_some(),
        };
        if must_end { Err(fault) } else { Ok(()) }
    }
}

/// What a request does whose client has no choice of connections.
fn work_alone(demand: Demand<'_>) -> Work {
    match demand {
        Demand::Plain(work) | Demand::Prepare(work) => work,
        _ => Work::Write,
    }
}

impl Sink for SharedSink {
    fn submit(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        batch.leaving(|leaving, ledger| {
            let Leaving { head, ticket, rest, .. } = leaving;
            let need = ledger.get(ticket).map(|entry| entry.reply_need).unwrap_or_default();
            let piece = if self.moving.is_some() || !self.waiting.is_empty() {
                leaving.outgoing.keep(&self.part.surroundings.pool)
            } else {
                match self.send(cx.now, leaving, need) {
                    Ok(()) => {
                        mark_sent(ticket, ledger);
                        return Ok(());
                    }
                    Err(leaving) => leaving.outgoing.pin_behind(0),
                }
            };
            self.waiting.push_back(Waiting { head, ticket, need, rest, piece });
            Ok(())
        })
    }

    fn submit_tail(&mut self, cx: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>) -> Result<(), Fault> {
        let dropped = self.dropped_rest.min(range.len() as u64);
        if dropped > 0 {
            self.dropped_rest -= dropped;
            return Ok(());
        }
        self.request_rest = self.request_rest.saturating_sub(range.len() as u64);
        // The client is not read while something waits, so the request that this belongs to has been sent. A connection
        // that takes no new ones takes the rest of that all the same.
        if let Some(own) = self.own.as_ref().filter(|own| !own.connection.is_dead()) {
            own.connection.submit_tail(cx.now, chunk, range);
        } else {
            // Word of its end is under way, and says whether the client can go on.
            self.drop_rest();
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Cx<'_, '_>, up: &mut Up<'_>) -> Result<Progress, Fault> {
        self.inbox.register(cx.task.waker());
        if let Some(why) = self.inbox.cut_off_why() {
            return Err(Fault::new(why));
        }
        let mut progress = Progress::Idle;
        if self.inbox.has_any() && self.fetch(cx, up)? {
            progress = if up.is_ready() { Progress::Drained } else { Progress::Moved };
        }
        let mut since = self.no_room_since.take();
        if !self.waiting.is_empty() && self.send_waiting(cx, up) {
            progress = Progress::Moved;
            since = None;
        }
        if self.wait_for_room(cx, since) {
            self.give_up_waiting(cx, up)?;
            progress = Progress::Moved;
        }
        Ok(progress)
    }

    fn deadline(&self) -> Option<Tick> {
        Some(self.no_room_since?.after(self.part.surroundings.read_timeout?))
    }

    fn is_over_mark(&self) -> bool {
        // One that was given up still takes the rest of a request.
        let takes =
            |own: &Own| own.connection.is_usable() || (self.request_rest > 0 && !own.connection.is_dead());
        (self.moving.is_some() && self.request_rest == 0)
            || !self.waiting.is_empty()
            || self.own.as_ref().is_some_and(|own| takes(own) && !own.connection.has_room())
    }
}

impl Drop for SharedSink {
    fn drop(&mut self) {
        self.inbox.close();
        let used = self.used.iter().filter_map(|(_, connection)| connection.upgrade());
        used.for_each(|connection| connection.forget(&self.inbox));
    }
}
