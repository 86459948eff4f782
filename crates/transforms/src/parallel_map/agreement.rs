//! Whether all instances of one client are in the keyspace that it has chosen last.
//!
//! A server need not take the requests of one connection in their order. So changes of the keyspace that are under way at
//! once may leave each instance in another one, and so does one that a single instance was given: an EXECUTE of a
//! statement that somebody else has prepared. Then all are told to which keyspace the youngest of them led, when none is
//! under way any more that all were given; until they have answered, the client is not read.

use chain::Entry;

/// See the module's text.
#[derive(Default)]
pub(super) struct Agreement {
    chosen: Option<Chosen>,
    /// Changes that all instances were given and that are not answered.
    changes: usize,
    /// Instances that were told and have not answered.
    told: usize,
    /// Some were told before: what an instance says it has changed may be older than what it was told.
    were_told: bool,
    differs: Differs,
}

/// Which instances may be in another keyspace than the client.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Differs {
    #[default]
    None,
    /// Those besides this one, which alone was given the change.
    From(usize),
    /// Any.
    All,
}

/// Where the client is: what the youngest request has led to that changed its keyspace.
struct Chosen {
    sequence: u64,
    version: u8,
    keyspace: String,
}

impl Agreement {
    /// All instances are given a change.
    pub(super) fn begin(&mut self) {
        if self.changes > 0 || self.told > 0 {
            self.differs = Differs::All;
        }
        self.changes += 1;
    }

    /// One that all were given is answered.
    pub(super) fn end(&mut self) {
        self.changes = self.changes.saturating_sub(1);
    }

    /// A request has led to this keyspace.
    pub(super) fn choose(&mut self, request: Option<&Entry>, version: u8, keyspace: &str) {
        let sequence = request.map_or(0, |request| request.sequence);
        if self.chosen.as_ref().is_none_or(|chosen| chosen.sequence <= sequence) {
            self.chosen = Some(Chosen { sequence, version, keyspace: keyspace.to_owned() });
        }
    }

    /// This instance has changed its keyspace, and no other was given the request.
    pub(super) fn differ(&mut self, from: usize) {
        self.differs = match self.differs {
            Differs::None => Differs::From(from),
            Differs::From(known) if known == from => Differs::From(from),
            Differs::From(_) | Differs::All => Differs::All,
        };
    }

    /// True while requests may follow.
    pub(super) fn is_settled(&self) -> bool {
        self.differs == Differs::None && self.told == 0
    }

    /// True when the instances are to be told, what [`Self::settle`] says.
    pub(super) fn is_due(&self) -> bool {
        self.differs != Differs::None && self.changes == 0 && self.told == 0
    }

    /// The protocol version and the keyspace to tell. `None` if nobody needs it: no server has accepted any, or the one
    /// that did is the only one there is.
    pub(super) fn settle(&mut self, only: Option<usize>) -> Option<(u8, String)> {
        let differs = std::mem::take(&mut self.differs);
        if only.is_some_and(|only| differs == Differs::From(only)) && !self.were_told {
            return None;
        }
        self.chosen.as_ref().map(|chosen| (chosen.version, chosen.keyspace.clone()))
    }

    /// One instance is told.
    pub(super) fn tell(&mut self) {
        self.told += 1;
        self.were_told = true;
    }

    /// It has answered, or failed.
    pub(super) fn answered(&mut self) {
        self.told = self.told.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::Agreement;

    /// It was given two EXECUTEs of a USE that nobody prepared here, and told the first one's keyspace behind both.
    #[test]
    fn the_only_instance_is_told_again_what_may_be_older_than_what_it_was_told() {
        let mut agreement = Agreement::default();
        agreement.choose(None, 4, "k3");
        agreement.differ(0);
        assert!(agreement.is_due());
        assert_eq!(agreement.settle(None), Some((4, "k3".to_owned())));
        agreement.tell();
        // The other one is lost.
        agreement.choose(None, 4, "k2");
        agreement.differ(0);
        agreement.answered();
        assert!(agreement.is_due());
        assert_eq!(agreement.settle(Some(0)), Some((4, "k2".to_owned())));
    }

    #[test]
    fn the_only_instance_is_not_told_where_it_went_by_itself() {
        let mut agreement = Agreement::default();
        agreement.choose(None, 4, "k3");
        agreement.differ(0);
        assert_eq!(agreement.settle(Some(0)), None);
        assert!(agreement.is_settled());
    }
}
