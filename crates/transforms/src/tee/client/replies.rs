//! What becomes of the replies of both chains.

use chain::{Batch, Item, KeptReply, Need, Origin, Piece, Ticket, Transform};
use observe::target;
use tracing::warn;
use wire::cql::session::{self, Said, said};
use wire::{ErrorKind, Head, Protocol, Side};

use super::super::OnMismatch;
use super::super::mirror::{Kind, Mirror, Outcome, Waiting};
use super::super::pairs::{Aim, Pair};
use super::super::prepared::Statement;
use super::super::session::Uses;
use super::TeeClient;

const MISMATCH: &str = "The responses from the Tee subchain and down-chain did not match and behavior is set to fail on mismatch";

impl TeeClient {
    /// What the first chain has said to a request of which both replies matter.
    pub(super) fn main_reply(&mut self, item: &mut Item<'_>, key: u32) {
        // What comes in the turn in which it becomes too much is still held: in the next one nothing is read.
        let is_full = self.pairs.has_much_of_main() && !Transform::is_full(self);
        let Some(pair) = self.pairs.get(key) else { return };
        match pair.aim {
            Aim::State { number, uses } => {
                self.pairs.close(key);
                self.is_restless |= self.failed.is_some();
                if uses != Uses::No {
                    self.use_reply(item, number, uses);
                }
            }
            Aim::Prepare { is_use } => {
                // However long the reply is: the id is in its first bytes.
                if let Said::Prepared(id) = said(item.head(), item.bytes()) {
                    if is_use {
                        self.shared.prepared.learn(id, Statement::new(id, id, true));
                    }
                    pair.prepared = Some(id.into());
                }
                pair.main = Some(None);
                self.learn(key);
                self.is_restless = true;
            }
            Aim::Passed => {}
            // It was not mirrored after all.
            Aim::Compare if matches!(pair.tee, Some(None)) => {
                self.pairs.close(key);
            }
            // It is read though it is ahead: what comes behind it may be what the second chain waits for.
            Aim::Compare if is_full && pair.tee.is_none() => {
                warn!(target: target::TEE, "a reply is not compared: too many wait for those of the tee chain");
                self.pass(key);
            }
            Aim::Compare => match item.hold_reply() {
                None => self.pass(key),
                reply => {
                    self.pairs.hold_main(key, reply);
                    if let Some((reply, _)) = self.judge(key) {
                        item.answer_instead(reply);
                    }
                }
            },
        }
    }

    /// The first chain's reply goes on as it is.
    fn pass(&mut self, key: u32) {
        if let Some(pair) = self.pairs.get(key) {
            (pair.main, pair.aim) = (Some(None), Aim::Passed);
        }
        self.pairs.close_if_complete(key);
    }

    /// What the first chain has said to a USE.
    fn use_reply(&mut self, item: &Item<'_>, number: u32, uses: Uses) {
        let keyspace = match said(item.head(), item.bytes()) {
            Said::Keyspace(name) => Some(session::use_keyspace(item.head().version, 0, name)),
            _ => None,
        };
        self.recorder.use_ends(number, uses, keyspace.as_deref());
        if uses == Uses::May && keyspace.is_some() {
            // The second server was not told: what was asked behind it is prepared in the keyspace before it.
            self.forget_prepares(|pair| pair.behind >= number);
        }
        if let (Some(mismatch), Some(keyspace)) = (&mut self.mismatch, &keyspace) {
            mismatch.first_said(number, Some(keyspace.clone()));
        }
        self.mirror.first_said(number, keyspace);
        self.is_restless = true;
    }

    /// What the second chain was given to prepare is not learned, where that holds.
    pub(super) fn forget_prepares(&mut self, is_lost: impl Fn(&Pair) -> bool) {
        for pair in self.pairs.each_mut().filter(|pair| pair.is_preparing && is_lost(pair)) {
            pair.is_preparing = false;
            self.mirror.preparing = self.mirror.preparing.saturating_sub(1);
        }
    }

    /// Learns ids once both servers have prepared.
    pub(super) fn learn(&mut self, key: u32) {
        let Some(pair) = self.pairs.close_if_complete(key).filter(|pair| pair.is_preparing) else { return };
        self.mirror.preparing = self.mirror.preparing.saturating_sub(1);
        let Aim::Prepare { is_use } = pair.aim else { return };
        let (Some(id), Some(Some(tee))) = (&pair.prepared, &pair.tee) else { return };
        if let Said::Prepared(other) = said(tee.head(), tee.bytes()) {
            self.shared.prepared.learn(id, Statement::new(id, other, is_use));
        }
    }

    /// What the client gets, once both chains have replied, and for which request.
    fn judge(&mut self, key: u32) -> Option<(KeptReply, Ticket)> {
        let Pair { ticket, id, to_tee, main, tee, request, behind, .. } =
            self.pairs.close_if_complete(key)?;
        let (protocol, pool) = (Protocol::Cql, &self.shared.pool);
        let tee = tee.flatten().map(|tee| tee.with_id(protocol, pool, id));
        let (main, tee) = match (main.flatten(), tee) {
            (Some(main), Some(tee)) => (main, tee),
            (main, tee) => return main.or(tee).map(|reply| (reply, ticket)),
        };
        let is_compared = self.shared.on_mismatch != OnMismatch::Ignore;
        if is_compared && !protocol.is_same_reply((main.head(), main.bytes()), (tee.head(), tee.bytes())) {
            let (result, other) = if to_tee { (&tee, &main) } else { (&main, &tee) };
            match self.shared.on_mismatch {
                OnMismatch::Ignore => {}
                OnMismatch::Log => {
                    let describe =
                        |reply: &KeptReply| protocol.describe(Side::Response, reply.head(), reply.bytes());
                    let difference = protocol
                        .first_difference((result.head(), result.bytes()), (other.head(), other.bytes()))
                        .map_or_else(String::new, |difference| format!("\nfirst difference: {difference}"));
                    warn!(
                        target: target::TEE,
                        "Tee mismatch:\nresult-source response: {}\nother response: {}{difference}",
                        describe(result),
                        describe(other)
                    );
                }
                OnMismatch::Fail => {
                    let frame = protocol.error_reply(main.head(), ErrorKind::Invalid, MISMATCH);
                    return Some((KeptReply::made(protocol, pool, frame)?, ticket));
                }
                OnMismatch::Resend => self.resend(request, behind),
            }
        }
        Some((if to_tee { tee } else { main }, ticket))
    }

    /// Sends a request down the chain that is there for mismatches. `behind`: the last USE that was asked before it.
    fn resend(&mut self, request: Option<(Head, Piece)>, behind: u32) {
        let (Some(part), Some((head, piece))) = (&self.shared.mismatch, request) else { return };
        if behind < self.recorder.keyspace().number || !self.recorder.is_settled() {
            // It would run in another keyspace than it did.
            warn!(target: target::TEE, "a request that differs is not sent again: its client has changed the keyspace");
            return;
        }
        let (recorder, identity) = (&self.recorder, &self.mirror.identity);
        let mirror = self.mismatch.get_or_insert_with(|| {
            let mut mirror = Mirror::new(part);
            identity.iter().for_each(|identity| mirror.set_identity(identity));
            mirror.begin(recorder, recorder.keyspace().clone());
            mirror
        });
        let origin = Origin { ticket: Ticket::NONE, key: 0 };
        mirror.push(Waiting { head, piece, origin, need: Need::None, kind: Kind::Plain });
    }

    /// Takes what came of a poll of the second chain.
    pub(super) fn settle(&mut self, batch: &mut Batch<'_>, out: Outcome) {
        self.shared.dropped.add(out.dropped);
        if self.to_tee {
            out.events.into_iter().for_each(|event| batch.answer(Ticket::NONE, event));
        }
        let absent = out.absent.into_iter().map(|key| (key, None));
        for (key, reply) in out.replies.into_iter().chain(absent) {
            self.tee_reply(batch, key, reply);
        }
    }

    /// What the second chain has said to a request, or that it was not asked.
    pub(super) fn tee_reply(&mut self, batch: &mut Batch<'_>, key: u32, reply: Option<KeptReply>) {
        match self.pairs.keep_tee(key, reply) {
            None => {}
            Some(Aim::Prepare { .. }) => self.learn(key),
            Some(Aim::Passed) => drop(self.pairs.close_if_complete(key)),
            Some(Aim::Compare | Aim::State { .. }) => {
                if let Some((reply, ticket)) = self.judge(key) {
                    batch.answer(ticket, reply);
                }
            }
        }
    }
}
