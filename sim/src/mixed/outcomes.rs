//! What a request may come to in a chain.

use std::fmt;

use super::model::{Behavior, FIRST, Filter, Part, Tee};
use super::traffic::Kind;

/// How a request may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Its own reply from a server.
    Own,
    Filtered,
    Throttled,
    Null,
    Mismatch,
    /// A USE that its server does not accept.
    Refused,
    /// Its connection is closed, or it is told what became of that of a server.
    Closed,
    /// A server of a second chain has forgotten the statement: no client hears of it.
    Forgotten,
}

const ALL: [Outcome; 8] = [
    Outcome::Own,
    Outcome::Filtered,
    Outcome::Throttled,
    Outcome::Null,
    Outcome::Mismatch,
    Outcome::Refused,
    Outcome::Closed,
    Outcome::Forgotten,
];

impl Outcome {
    /// What the reply says that was made on the way.
    pub fn of_text(text: &str) -> Option<Self> {
        let known = [
            ("Message was filtered out by shotover", Self::Filtered),
            ("Server overloaded", Self::Throttled),
            ("Handled by shotover null transform", Self::Null),
            ("did not match and behavior is set to fail on mismatch", Self::Mismatch),
            ("Intentional Fail!", Self::Closed),
        ];
        known.iter().find(|(words, _)| text.contains(words)).map(|(_, outcome)| *outcome)
    }
}

/// Some of them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes(u8);

impl Outcomes {
    pub const NONE: Self = Self(0);

    pub fn only(outcome: Outcome) -> Self {
        Self(1 << outcome as u8)
    }

    pub fn contains(self, outcome: Outcome) -> bool {
        self.0 & Self::only(outcome).0 != 0
    }

    /// These without that one.
    #[must_use]
    pub fn but(self, outcome: Outcome) -> Self {
        Self(self.0 & !Self::only(outcome).0)
    }

    #[must_use]
    pub fn or(self, outcome: Outcome) -> Self {
        self.and(Self::only(outcome))
    }

    /// These and those.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    fn each(self) -> impl Iterator<Item = Outcome> {
        ALL.into_iter().filter(move |outcome| self.contains(*outcome))
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.each()).finish()
    }
}

/// What a filter makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Passes,
    Refused,
    /// The keyspace in use decides, or what else is in flight: a USE leaves open which keyspace that is.
    Either,
}

/// How a request of this kind may end in a chain.
pub fn outcomes(chain: &[Part], kind: Kind) -> Outcomes {
    let Some((part, rest)) = chain.split_first() else { return Outcomes::NONE };
    match part {
        Part::Filter(filter) => match filter.judges(kind) {
            Judged::Passes => outcomes(rest, kind),
            // What fails below takes along what is answered here in the same run.
            Judged::Refused if may_fail(rest) => Outcomes::only(Outcome::Filtered).or(Outcome::Closed),
            Judged::Refused => Outcomes::only(Outcome::Filtered),
            Judged::Either => outcomes(rest, kind).or(Outcome::Filtered),
        },
        Part::Throttle { .. } if kind.is_throttled() => outcomes(rest, kind).or(Outcome::Throttled),
        Part::Tee(tee) => tee.outcomes(rest, kind),
        Part::Null => Outcomes::only(Outcome::Null),
        Part::Fail => Outcomes::only(Outcome::Closed),
        Part::Single { .. } if kind.used().is_some() => Outcomes::only(Outcome::Own).or(Outcome::Refused),
        Part::Single { server, .. } if *server != FIRST && matches!(kind, Kind::Execute(_)) => {
            Outcomes::only(Outcome::Own).or(Outcome::Forgotten)
        }
        Part::Single { .. } => Outcomes::only(Outcome::Own),
        // An instance that fails takes along what was answered in it and is not out yet.
        Part::ParallelMap { chain, .. } | Part::Pool { chain, .. } if part.may_fail() => {
            outcomes(chain, kind).or(Outcome::Closed)
        }
        Part::ParallelMap { chain, .. } | Part::Pool { chain, .. } => outcomes(chain, kind),
        _ => outcomes(rest, kind),
    }
}

impl Tee {
    fn outcomes(&self, rest: &[Part], kind: Kind) -> Outcomes {
        let (first, second) = (outcomes(rest, kind), outcomes(&self.second, kind));
        let mut ends = first;
        if kind.is_compared() && self.behavior == Behavior::FailOnMismatch {
            ends = compared(first, second);
            // It may not go to the second chain, or the second server may not know the statement.
            if self.sample < 100 || matches!(kind, Kind::Execute(_)) {
                ends = ends.and(first);
            }
        } else if kind.is_compared() && self.has_switch {
            ends = ends.and(second.but(Outcome::Forgotten));
        }
        if self.may_fail() { ends.or(Outcome::Closed) } else { ends }
    }

    /// Who waits for another chain ends with it.
    fn may_fail(&self) -> bool {
        let is_paired = self.behavior != Behavior::Ignore || self.has_switch;
        is_paired && (may_fail(&self.second) || may_fail(&self.mismatch))
    }

    /// True if both chains may answer a request of this kind in different ways.
    pub fn may_differ(&self, rest: &[Part], kind: Kind) -> bool {
        let ends = compared(outcomes(rest, kind), outcomes(&self.second, kind));
        kind.is_compared() && ends.contains(Outcome::Mismatch)
    }
}

/// What comes of replies that are compared.
fn compared(first: Outcomes, second: Outcomes) -> Outcomes {
    let mut ends = Outcomes::NONE;
    for outcome in first.each() {
        for other in second.but(Outcome::Forgotten).each() {
            let closes = [outcome, other].contains(&Outcome::Closed);
            // What is told of a server's connection is a reply as well.
            if outcome != other || closes {
                ends = ends.or(Outcome::Mismatch);
            }
            if outcome == other || closes {
                ends = ends.or(if closes { Outcome::Closed } else { outcome });
            }
        }
    }
    ends
}

/// True if a chain may end its client, whatever some other request comes to.
fn may_fail(chain: &[Part]) -> bool {
    chain.iter().any(Part::may_fail)
}

impl Part {
    fn may_fail(&self) -> bool {
        match self {
            Self::Fail => true,
            Self::Tee(tee) => tee.may_fail(),
            Self::ParallelMap { chain, .. } => instances_may_differ(chain) || may_fail(chain),
            Self::Pool { chain, .. } => may_fail(chain),
            _ => false,
        }
    }
}

/// True if a USE may be answered on the way to some instances of a ParallelMap, and not to others: those are closed, and
/// so may the last of them be, which is told the keyspace of another one.
fn instances_may_differ(chain: &[Part]) -> bool {
    [1, 2].into_iter().any(|keyspace| {
        let ends = outcomes(chain, Kind::Use(keyspace));
        let is_answered = ends.contains(Outcome::Filtered) || ends.contains(Outcome::Throttled);
        is_answered && (ends.contains(Outcome::Own) || ends.contains(Outcome::Null))
    })
}

/// True where a USE may come to something else than its server's reply.
pub fn may_miss_use(chain: &[Part]) -> bool {
    let ends = outcomes(chain, Kind::Use(1)).and(outcomes(chain, Kind::Use(2)));
    ends.each().any(|outcome| !matches!(outcome, Outcome::Own | Outcome::Refused))
}

/// True when a server's replies come to the client in the order of its requests, whatever the server's order is.
pub fn is_ordered(chain: &[Part]) -> bool {
    let Some((end, above)) = chain.split_last() else { return false };
    matches!(end, Part::ParallelMap { is_ordered: true, .. })
        && !above.iter().any(|part| matches!(part, Part::Tee(_) | Part::Coalesce { .. }))
}

/// True where a USE is denied to the instances that are told the keyspace of another one: then none is left.
pub fn denies_following(chain: &[Part]) -> bool {
    let Some(Part::ParallelMap { chain, .. }) = chain.last() else { return false };
    let ends = outcomes(chain, Kind::Use(1));
    ends.contains(Outcome::Filtered) || ends.contains(Outcome::Throttled)
}

/// True when clients can get through their handshake.
pub fn begins_sessions(chain: &[Part]) -> bool {
    outcomes(chain, Kind::Startup).contains(Outcome::Own)
}

/// True if this answer may come from a second chain, so that the first may have run the request all the same.
pub fn may_come_from_second(chain: &[Part], kind: Kind, outcome: Outcome) -> bool {
    chain.iter().any(|part| match part {
        Part::Tee(tee) => tee.has_switch && outcomes(&tee.second, kind).contains(outcome),
        Part::ParallelMap { chain, .. } | Part::Pool { chain, .. } => {
            may_come_from_second(chain, kind, outcome)
        }
        _ => false,
    })
}

impl Filter {
    pub fn judges(self, kind: Kind) -> Judged {
        // These name no keyspace.
        let is_open = matches!(kind, Kind::Select | Kind::Insert);
        let is_refused = match self {
            Self::DenyTables | Self::AllowKeyspaces if is_open => return Judged::Either,
            // So does a USE behind one of these, or another USE.
            Self::DenyTables if matches!(kind, Kind::Use(_)) => return Judged::Either,
            Self::DenyTables | Self::AllowKeyspaces
                if matches!(kind, Kind::PrepareUse(_) | Kind::ExecuteUse(_)) =>
            {
                return Judged::Either;
            }
            Self::AllowKeyspaces if matches!(kind, Kind::Use(..2)) => return Judged::Either,
            Self::DenyTables => matches!(
                kind,
                Kind::Batch(_) | Kind::Wrong | Kind::Prepare(1) | Kind::Execute(1) | Kind::ExecuteUnknown
            ),
            Self::AllowKeyspaces => matches!(kind, Kind::Use(2..) | Kind::ExecuteUnknown),
            _ => self.denies_kind(kind),
        };
        if is_refused { Judged::Refused } else { Judged::Passes }
    }

    /// Statements in a QUERY, batches, and PREPAREs are of their kinds; an EXECUTE is a read, since none of another kind
    /// is prepared that these deny.
    fn denies_kind(self, kind: Kind) -> bool {
        let is_write = match kind {
            Kind::Prepare(statement) => statement % 2 == 1,
            kind => matches!(kind, Kind::Insert | Kind::Batch(_)),
        };
        let is_schema = matches!(kind, Kind::Create | Kind::Use(_) | Kind::PrepareUse(_));
        match self {
            Self::DenyWrites => is_write,
            Self::DenySchema => is_schema,
            Self::AllowReads => is_write || is_schema,
            Self::DenyTables | Self::AllowKeyspaces => false,
        }
    }
}
