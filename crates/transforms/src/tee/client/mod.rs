//! The transform of one client. `replies` is what becomes of what comes back.

mod replies;

use std::ops::Range;
use std::rc::Rc;

use chain::{
    Batch, Chunk, Cx, Fault, Item, Message, Need, Origin, Progress, Run, Tick, Ticket, Transform,
    WHOLE_BYTES_MAX, Why,
};
use observe::target;
use tracing::warn;
use wire::cql::opcode;
use wire::{Head, Protocol};

use super::emptying::Emptying;
use super::large::Large;
use super::mirror::{Kind, Mirror, Outcome, Waiting, framed};
use super::pairs::{Aim, Pair, Pairs};
use super::session::{Recorder, Sort, Step, Translated, Uses, sort, translate};
use super::{OnMismatch, Surroundings};

/// Bytes of PREPAREs that wait for one client's second chain that cannot take them: as many as may wait in its queue. What
/// does not fit is dropped.
const UNPREPARED_BYTES_MAX: usize = 1024 * 1024;

/// Each of them counts for so many at least, so that there are never more than 1,024.
const UNPREPARED_BYTES_MIN: usize = 1024;

/// How the requests of one batch are treated.
#[derive(Clone, Copy)]
struct Mode {
    /// The client gets the second chain's replies.
    to_tee: bool,
    /// Both replies are awaited.
    is_paired: bool,
    /// The second chain takes the batch.
    admits: bool,
    /// It takes the next request at once.
    is_direct: bool,
    /// A step of the session is too large for it.
    is_torn: bool,
}

/// See the module's text.
pub(super) struct TeeClient {
    shared: Rc<Surroundings>,
    mirror: Mirror,
    /// Opened by the first mismatch.
    mismatch: Option<Mirror>,
    recorder: Recorder,
    pairs: Pairs,
    /// What the switch said last.
    to_tee: bool,
    /// Hundredths of requests that are due to be mirrored.
    sampled: u32,
    large: Option<Large>,
    /// Bytes of the last request that are still to come, whether it is mirrored or not.
    rest: u64,
    /// PREPAREs that the second chain could not take.
    unprepared: Vec<u32>,
    unprepared_bytes: usize,
    /// The queue is full: until then the client is not read.
    wait_until: Option<Tick>,
    /// The second chain may go on, since the first has answered.
    is_restless: bool,
    /// The second chain has failed: the client's end, once the first server has answered a step of the session.
    failed: Option<Fault>,
}

impl TeeClient {
    pub(super) fn new(shared: &Rc<Surroundings>) -> Self {
        Self {
            shared: Rc::clone(shared),
            mirror: Mirror::new(&shared.chain),
            mismatch: None,
            recorder: Recorder::default(),
            pairs: Pairs::default(),
            to_tee: false,
            sampled: 0,
            large: None,
            rest: 0,
            unprepared: Vec::new(),
            unprepared_bytes: 0,
            wait_until: None,
            is_restless: false,
            failed: None,
        }
    }

    fn is_ignoring(&self) -> bool {
        self.shared.on_mismatch == OnMismatch::Ignore
    }

    /// True for so many of a hundred, evenly.
    fn is_in_sample(&mut self) -> bool {
        self.sampled += self.shared.sample_percent;
        let is_in = self.sampled >= 100;
        self.sampled -= if is_in { 100 } else { 0 };
        is_in
    }

    /// Copies a request to the second chain, if it goes there.
    fn mirror_item(&mut self, item: &mut Item<'_>, mode: &mut Mode, run: &mut Run) {
        let head = *item.head();
        self.rest = item.rest();
        let sorted = sort(&head, item.bytes());
        if let Sort::State(step) = sorted {
            self.mirror_step(item, step, mode);
            return;
        }
        let translated = self.translated(sorted, item);
        let is_foreign = translated == Translated::Unknown && !self.is_being_prepared(&head, item.bytes());
        // The second chain is told of a keyspace in plain words, once the first server is there.
        if translated.is_use() {
            let number = self.await_first(item, Uses::Does);
            self.mirror.await_use(head, number);
            mode.is_direct = false;
            return;
        }
        if sorted == Sort::Hidden || is_foreign && head.opcode == opcode::EXECUTE {
            self.await_first(item, Uses::May);
        }
        let is_prepare = matches!(sorted, Sort::Prepare { .. });
        if !mode.to_tee && !is_prepare && !self.is_in_sample() {
            return;
        }
        if is_prepare && !mode.admits && item.is_whole() {
            let (key, _) = self.pair(item, sorted, *mode);
            self.prepare_later(key);
            return;
        }
        let is_possible = mode.admits
            && !matches!(sorted, Sort::Paged | Sort::Hidden)
            && head.frame_bytes as usize <= WHOLE_BYTES_MAX;
        if !is_possible {
            self.shared.dropped.add(1);
            return;
        }
        let (frame, kind) = match translated {
            Translated::Same { .. } => (None, Kind::Plain),
            Translated::Other { frame, .. } => (Some(frame), Kind::Plain),
            Translated::Unknown if !is_foreign => (None, Kind::ByIds),
            Translated::Unknown => {
                self.shared.dropped.add(1);
                return;
            }
        };
        let (key, need) = self.pair(item, sorted, *mode);
        let origin = Origin { ticket: item.ticket(), key };
        if !item.is_whole() {
            self.large = Some(Large::begin(&self.shared.pool, item, origin, need));
            mode.is_direct = false;
            return;
        }
        mode.is_direct &= kind == Kind::Plain;
        let (head, piece) = match frame {
            Some(frame) => framed(frame, &self.shared.pool, head),
            None if mode.is_direct => {
                let shared = item.share();
                let message = self.mirror.message(&head, item.bytes(), || shared);
                run.push(message, origin, need);
                return;
            }
            None => (head, item.keep()),
        };
        if mode.is_direct {
            let kept = piece.pin();
            let message = self.mirror.message(&head, piece.bytes(), || Message::made(head, kept));
            run.push(message, origin, need);
        } else {
            self.mirror.push(Waiting { head, piece, origin, need, kind });
        }
    }

    /// A request in the second server's words, as far as they differ.
    fn translated(&self, sorted: Sort, item: &Item<'_>) -> Translated {
        if sorted != Sort::ByIds {
            return Translated::Same { is_use: false };
        }
        match translate(item.head(), item.bytes(), &self.shared.prepared) {
            // Its words are exchanged when all of it has come.
            Translated::Other { is_use, .. } if !item.is_whole() => Translated::Same { is_use },
            translated => translated,
        }
    }

    /// True if a request may name statements that the second server is still preparing: an EXECUTE only those that the
    /// first one has prepared already. Any other may be a USE.
    fn is_being_prepared(&self, head: &Head, frame: &[u8]) -> bool {
        if self.mirror.preparing == 0 || head.opcode != opcode::EXECUTE {
            return self.mirror.preparing > 0;
        }
        let id = Protocol::Cql.prepared_id(head, frame);
        id.is_some_and(|id| self.pairs.each().any(|pair| pair.is_prepared_as(id)))
    }

    /// Copies a request that carries state of its connection.
    fn mirror_step(&mut self, item: &mut Item<'_>, step: Step, mode: &mut Mode) {
        self.recorder.record(item.head(), item.bytes());
        let number = self.await_first(item, if step == Step::Use { Uses::Does } else { Uses::No });
        if !self.mirror.is_open() || !item.is_whole() {
            mode.is_torn |= self.mirror.is_open();
            return;
        }
        mode.is_direct = false;
        let (head, piece) = (*item.head(), item.keep());
        let origin = Origin { ticket: Ticket::NONE, key: number };
        self.mirror.push(Waiting { head, piece, origin, need: Need::Head, kind: Kind::Step(step) });
    }

    /// Waits for the first chain's reply to what changes its connection. The number of a USE, else 0.
    fn await_first(&mut self, item: &mut Item<'_>, uses: Uses) -> u32 {
        let number = if uses == Uses::No { 0 } else { self.recorder.use_begins(uses) };
        let key = self.pairs.open(Pair::of(item, Aim::State { number, uses }));
        item.set_tag(key);
        item.need_reply(Need::Head);
        number
    }

    /// Awaits both replies to a request, if both matter. Its key, and how much of the second chain's reply is wanted.
    fn pair(&mut self, item: &mut Item<'_>, sorted: Sort, mode: Mode) -> (u32, Need) {
        let aim = match sorted {
            Sort::Prepare { is_use } => Aim::Prepare { is_use },
            _ if !mode.is_paired || item.head().opcode == opcode::OPTIONS => return (0, Need::None),
            _ => Aim::Compare,
        };
        match aim {
            Aim::Compare => item.need_reply(Need::Whole),
            Aim::Prepare { .. } => item.need_reply(Need::Head),
            Aim::State { .. } | Aim::Passed => {}
        }
        let resends = aim == Aim::Compare && self.shared.on_mismatch == OnMismatch::Resend;
        let is_kept = item.is_whole() && (resends || matches!(aim, Aim::Prepare { .. }));
        let request = is_kept.then(|| (*item.head(), item.keep()));
        let request_bytes = if resends { item.head().frame_bytes as usize } else { 0 };
        let behind = self.recorder.last_use();
        let key = self.pairs.open(Pair {
            to_tee: mode.to_tee,
            request,
            request_bytes,
            behind,
            ..Pair::of(item, aim)
        });
        item.set_tag(key);
        if mode.admits && matches!(aim, Aim::Prepare { .. }) {
            self.begin_preparing(key);
        }
        (key, Need::Whole)
    }

    /// The second chain is given a PREPARE.
    fn begin_preparing(&mut self, key: u32) {
        if let Some(pair) = self.pairs.get(key) {
            self.mirror.preparing += usize::from(!pair.is_preparing);
            pair.is_preparing = true;
        }
    }

    /// Lets a PREPARE wait until the second chain can take it: without it, no EXECUTE of its statement is mirrored.
    fn prepare_later(&mut self, key: u32) {
        let request = self.pairs.get(key).and_then(|pair| pair.request.as_ref());
        let bytes = request.map_or(0, |(_, piece)| piece.bytes().len()).max(UNPREPARED_BYTES_MIN);
        if self.unprepared_bytes + bytes > UNPREPARED_BYTES_MAX {
            self.prepare_never(key);
        } else {
            self.unprepared_bytes += bytes;
            self.unprepared.push(key);
        }
    }

    /// The second chain is not given a PREPARE.
    fn prepare_never(&mut self, key: u32) {
        self.shared.dropped.add(1);
        if let Some(pair) = self.pairs.get(key) {
            pair.tee = Some(None);
        }
        self.learn(key);
    }

    /// Sends the PREPAREs that have waited, once it is known in which keyspace the client is.
    fn prepare_now(&mut self) {
        let may_go = self.mirror.is_open() && self.has_room() && self.recorder.is_settled();
        if may_go && !self.unprepared.is_empty() {
            self.push_unprepared();
        }
    }

    fn push_unprepared(&mut self) {
        self.unprepared_bytes = 0;
        for key in std::mem::take(&mut self.unprepared) {
            let Some(Pair { ticket, behind, request: Some((head, piece)), .. }) = self.pairs.get(key) else {
                continue;
            };
            // In the keyspace to which the client has gone since, it would be another statement.
            if *behind < self.recorder.keyspace().number {
                self.prepare_never(key);
                continue;
            }
            let (head, piece) = (*head, piece.pin());
            let origin = Origin { ticket: *ticket, key };
            self.begin_preparing(key);
            self.mirror.push(Waiting { head, piece, origin, need: Need::Whole, kind: Kind::Plain });
        }
        self.mirror.end_batch();
    }

    /// The client has left: what waits for a chain of its own is still sent.
    fn leave(&mut self, cx: &mut Cx<'_, '_>) {
        if self.mirror.is_open() && self.recorder.is_settled() {
            self.push_unprepared();
        } else {
            self.shared.dropped.add(self.unprepared.len() as u64);
        }
        // Half of a request is of no use to anybody.
        self.shared.dropped.add(u64::from(self.large.take().is_some()));
        let second = std::mem::replace(&mut self.mirror, Mirror::new(&self.shared.chain));
        let recorder = Rc::new(std::mem::take(&mut self.recorder));
        let mirrors = self.mismatch.take().into_iter().map(|mirror| (mirror, false));
        for (mut mirror, is_second) in std::iter::once((second, true)).chain(mirrors) {
            if mirror.is_open() && !mirror.is_empty() {
                let emptying = Emptying::new(cx.now, &self.shared, &recorder, mirror, is_second);
                self.shared.spawner.spawn(Box::new(emptying));
            } else {
                mirror.close(cx);
            }
        }
    }

    /// Opens again what is due.
    fn open_again(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let fault =
            || Fault::new("the tee chain is in another keyspace, and cannot be told the session again");
        let is_settled = self.recorder.is_settled();
        if let Some(mismatch) = &mut self.mismatch
            && mismatch.is_due(cx.now, is_settled)
            && !mismatch.open_again(cx, &self.recorder)
        {
            return Err(fault());
        }
        if self.mirror.is_due(cx.now, is_settled) && !self.mirror.open_again(cx, &self.recorder) {
            return self.mirror_failed(cx, batch, fault());
        }
        Ok(())
    }

    /// True while the first server owes the answer to a step of the session other than a USE.
    fn awaits_step(&self) -> bool {
        self.pairs.each().any(|pair| matches!(pair.aim, Aim::State { uses: Uses::No, .. }))
    }

    /// The second chain has failed. With `Ignore` that ends nothing but it, unless the client waits for it.
    fn mirror_failed(
        &mut self,
        cx: &mut Cx<'_, '_>,
        batch: &mut Batch<'_>,
        fault: Fault,
    ) -> Result<(), Fault> {
        let fault = aside(fault);
        let can_return = self.is_ignoring() && self.recorder.can_return();
        let (mut keys, mut lost) = self.mirror.fail(cx, can_return);
        self.forget_prepares(|pair| pair.tee.is_none());
        if let Some(large) = self.large.take() {
            keys.extend(Some(large.origin.key).filter(|key| *key != 0));
            lost += 1;
        }
        let is_prepare = |pairs: &mut Pairs, key: u32| {
            let pair = pairs.get(key);
            pair.is_some_and(|pair| matches!(pair.aim, Aim::Prepare { .. }) && pair.request.is_some())
        };
        let prepares = keys.iter().filter(|key| is_prepare(&mut self.pairs, **key)).count();
        let dropped = lost.saturating_sub(prepares as u64);
        self.shared.dropped.add(dropped);
        if !self.is_ignoring() && self.awaits_step() {
            // If both refuse it, the client is to hear it from the first. It may never hear of this one.
            warn!(target: target::TEE, "the tee chain failed: {fault}");
            self.failed = Some(fault);
            return Ok(());
        }
        let is_awaited = |key: &u32| self.pairs.get(*key).is_some_and(|pair| pair.aim == Aim::Compare);
        let is_awaited = keys.iter().any(is_awaited);
        if is_awaited || !self.is_ignoring() {
            return Err(fault);
        }
        warn!(target: target::TEE, "the tee chain failed, {dropped} requests were dropped: {fault}");
        for key in keys {
            if is_prepare(&mut self.pairs, key) {
                self.prepare_later(key);
            } else {
                self.tee_reply(batch, key, None);
            }
        }
        Ok(())
    }

    /// Puts a large request that has wholly come into the queue.
    fn finish_large(&mut self) {
        let Some(large) = self.large.take_if(|large| large.is_complete()) else { return };
        let (waiting, sorted) = large.into_waiting(&self.shared.pool);
        if let Some(pair) = self.pairs.get(waiting.origin.key) {
            match (&mut pair.aim, sorted) {
                (Aim::Compare, _) if self.shared.on_mismatch == OnMismatch::Resend => {
                    pair.request = Some((waiting.head, waiting.piece.pin()));
                }
                (Aim::Prepare { is_use, .. }, Sort::Prepare { is_use: is_one }) => *is_use = is_one,
                _ => {}
            }
        }
        self.mirror.push(waiting);
        self.mirror.end_batch();
    }

    /// If the queue is full now, the client waits a little; if it has waited, no longer. True if it goes on.
    fn wait(&mut self, now: Tick) -> bool {
        let is_over = self.wait_until.is_some_and(|until| until <= now || self.has_room());
        if is_over {
            self.wait_until = None;
        }
        is_over
    }

    fn has_room(&self) -> bool {
        !self.mirror.is_open() || self.mirror.has_room(self.shared.buffer_batches)
    }
}

/// What a chain aside says of its own server says nothing of the first, which may have been sent requests.
fn aside(mut fault: Fault) -> Fault {
    fault.nothing_sent = false;
    fault
}

impl Transform for TeeClient {
    fn request_need(&self, _opcode: u8) -> Need {
        Need::Head
    }

    fn requests(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.to_tee = self.shared.switch.as_ref().is_some_and(chain::Switch::is_on);
        self.mirror.set_identity(batch.identity());
        let is_paired = !self.is_ignoring() || self.to_tee;
        let admits = self.mirror.is_open() && (is_paired || self.has_room());
        if is_paired && !self.mirror.is_open() {
            return Err(Fault::new("the tee chain has failed and is the source of results"));
        }
        let mut mode =
            Mode { to_tee: self.to_tee, is_paired, admits, is_direct: self.mirror.is_idle(), is_torn: false };
        let mut run = Run::default();
        batch.each(|item| self.mirror_item(item, &mut mode, &mut run));
        self.mirror.end_batch();
        let mut submitted = self.mirror.submit(cx, batch.chunk(), run);
        if submitted.is_ok() && (mode.is_torn || self.mirror.is_swamped()) {
            submitted = Err(Fault::new("too many or too large steps of the session wait for the tee chain"));
        }
        if let Err(fault) = submitted {
            self.mirror_failed(cx, batch, fault)?;
        }
        if !is_paired && !self.has_room() && !self.shared.wait_max.is_zero() {
            self.wait_until = Some(cx.now.after(self.shared.wait_max));
        }
        Ok(())
    }

    fn responses(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let was_full = self.pairs.has_much_of_tee();
        batch.each(|item| {
            if Protocol::Cql.is_unsolicited(item.head()) {
                if self.to_tee {
                    item.discard_reply();
                }
                return;
            }
            let key = item.tag();
            if key != 0 {
                self.main_reply(item, key);
            }
        });
        self.is_restless |= was_full && !self.pairs.has_much_of_tee();
        Ok(())
    }

    fn woken(&mut self, cx: &mut Cx<'_, '_>, why: Why, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let tell: fn(&mut Mirror, &mut Cx<'_, '_>) -> Result<(), Fault> = match why {
            Why::ClientDone => Mirror::client_done,
            Why::LetGo => Mirror::let_go,
            Why::Closing => {
                self.leave(cx);
                return Ok(());
            }
            Why::Deadline => return Ok(()),
        };
        if let Some(mismatch) = &mut self.mismatch {
            tell(mismatch, cx).map_err(aside)?;
        }
        match tell(&mut self.mirror, cx) {
            Ok(()) => Ok(()),
            Err(fault) => self.mirror_failed(cx, batch, fault),
        }
    }

    fn deadline(&self) -> Option<Tick> {
        let deadline = |mirror: &Mirror| mirror.deadline(self.recorder.is_settled());
        [deadline(&self.mirror), self.mismatch.as_ref().and_then(deadline), self.wait_until]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn polled(
        &mut self,
        cx: &mut Cx<'_, '_>,
        batch: &mut Batch<'_>,
        is_ready: bool,
    ) -> Result<Progress, Fault> {
        self.is_restless = false;
        if self.failed.is_some()
            && !self.awaits_step()
            && let Some(fault) = self.failed.take()
        {
            return Err(fault);
        }
        self.open_again(cx, batch)?;
        let was_over_mark = self.is_over_mark();
        self.prepare_now();
        let mut out = Outcome::default();
        let shared = Rc::clone(&self.shared);
        // Replies wait for the first chain's, which is not read either when the client is full; events do not.
        let is_ready = !self.pairs.has_much_of_tee() && (is_ready || !self.to_tee);
        // The first chain waits for what the second one's transforms hold.
        let let_go = if self.pairs.has_much_of_main() { self.mirror.let_go(cx) } else { Ok(()) };
        let polled = let_go.and_then(|()| self.mirror.poll(cx, &shared.prepared, &mut out, is_ready));
        self.settle(batch, out);
        let mut progress = match polled {
            Ok(progress) => progress,
            Err(fault) => {
                self.mirror_failed(cx, batch, fault)?;
                Progress::Moved
            }
        };
        if let Some(mismatch) = &mut self.mismatch {
            let polled = mismatch.poll(cx, &shared.prepared, &mut Outcome::default(), true);
            progress = progress.max(polled.map_err(aside)?);
        }
        // A client that was not read is read again.
        let goes_on = self.wait(cx.now) || (was_over_mark && !self.is_over_mark());
        Ok(if goes_on { Progress::Moved } else { progress })
    }

    fn is_restless(&self) -> bool {
        self.is_restless
    }

    fn is_full(&self) -> bool {
        // One of both is always read, and the first also when the second may wait for it.
        self.pairs.has_much_of_main() && !self.pairs.has_much_of_tee() && self.mirror.is_owing()
    }

    fn is_over_mark(&self) -> bool {
        // The rest of a large request must come, whatever waits: until then no timer of a transform runs.
        if self.rest > 0 {
            return false;
        }
        let is_paired = !self.is_ignoring() || self.to_tee;
        (is_paired && self.mirror.is_behind())
            || self.failed.is_some()
            || self.pairs.has_much_of_requests()
            || self.mismatch.as_ref().is_some_and(Mirror::is_behind)
            || self.wait_until.is_some()
    }

    fn request_tail(&mut self, _: &mut Cx<'_, '_>, chunk: &Chunk, range: Range<usize>) -> Result<(), Fault> {
        self.rest = self.rest.saturating_sub(range.len() as u64);
        if let Some(large) = &mut self.large {
            large.take(&self.shared.pool, chunk.bytes().get(range).unwrap_or_default());
            self.finish_large();
        }
        Ok(())
    }
}
