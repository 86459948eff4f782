//! Chains for a mixed traffic: their topology, and what each request may come to in them.

use std::collections::BTreeSet;

use super::traffic::Kind;
use crate::random::Random;

/// One entry of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Coalesce { count: Option<u32>, millis: Option<u32> },
    Counter,
    ForceEncode,
    ForceParse,
    Printer,
    Log,
    ToFile,
    Filter(Filter),
    Throttle { per_second: u32, per: Option<&'static str> },
    Tee { behavior: Behavior, queue: Queue, has_switch: bool, second: Vec<Self> },
    // What ends a chain.
    Null,
    Fail,
    Single { address: &'static str, is_shared: bool },
    ParallelMap { parallelism: u32, is_ordered: bool, chain: Vec<Self> },
    Pool { connections: u32, chain: Vec<Self> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    DenyWrites,
    DenySchema,
    AllowReads,
    /// The table of batches, and that of the first prepared statement.
    DenyTables,
    /// That of everything that names one, and one of those that can be used.
    AllowKeyspaces,
}

/// What a filter makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    Passes,
    Refused,
    /// The keyspace in use decides, or what else is in flight: a USE leaves open which keyspace that is.
    Either,
}

/// How a Tee's queue is bounded, and how long a client waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    batches: u32,
    wait_micros: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    Ignore,
    LogWarningOnMismatch,
    FailOnMismatch,
    SubchainOnMismatch,
}

/// Where the chain's own server is, and where a copy of its traffic may go.
pub const FIRST: &str = "first:9042";
pub const SECOND: &str = "second:9042";

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
    /// Its connection is closed.
    Closed,
}

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

/// All kinds of entries: those that go on first.
fn transforms() -> Vec<Part> {
    vec![
        Part::Coalesce { count: Some(4), millis: Some(10) },
        Part::Counter,
        Part::ForceEncode,
        Part::ForceParse,
        Part::Printer,
        Part::Log,
        Part::ToFile,
        Part::Filter(Filter::DenyWrites),
        Part::Filter(Filter::DenyTables),
        Part::Throttle { per_second: 50, per: None },
        Part::Throttle { per_second: 50, per: Some("Table") },
        tee(Behavior::Ignore),
        tee(Behavior::LogWarningOnMismatch),
        tee(Behavior::FailOnMismatch),
        tee(Behavior::SubchainOnMismatch),
    ]
}

fn tee(behavior: Behavior) -> Part {
    let queue = Queue { batches: 1000, wait_micros: 0 };
    Part::Tee { behavior, queue, has_switch: false, second: vec![second()] }
}

/// And those that end a chain.
fn ends() -> Vec<Part> {
    vec![
        Part::Null,
        Part::Fail,
        Part::Single { address: FIRST, is_shared: false },
        Part::Single { address: FIRST, is_shared: true },
        Part::ParallelMap { parallelism: 3, is_ordered: true, chain: vec![first()] },
        Part::Pool { connections: 2, chain: vec![first()] },
    ]
}

fn first() -> Part {
    Part::Single { address: FIRST, is_shared: false }
}

fn second() -> Part {
    Part::Single { address: SECOND, is_shared: false }
}

/// Every ordered pair of entries that can stand together, each with what a chain needs beside it.
pub fn pairs() -> Vec<Vec<Part>> {
    let mut chains = Vec::new();
    for above in transforms() {
        for below in transforms() {
            chains.push(vec![above.clone(), below, first()]);
        }
        for end in ends() {
            chains.push(vec![above.clone(), end]);
        }
    }
    chains
}

/// A chain of up to four entries, some of which have chains of their own.
pub fn random_chain(random: &mut Random) -> Vec<Part> {
    let known = transforms();
    let mut chain: Vec<Part> =
        (0..random.below(4)).map(|_| known[random.below(known.len())].clone()).collect();
    for part in &mut chain {
        vary(part, random);
    }
    let ends = ends();
    let mut end = ends[random.below(ends.len())].clone();
    if let Part::ParallelMap { parallelism, is_ordered, chain } = &mut end {
        (*parallelism, *is_ordered) = (1 + random.below(4) as u32, random.once_in(2));
        if random.once_in(2) {
            chain.insert(0, Part::Filter(Filter::DenySchema));
        }
    }
    chain.push(end);
    chain
}

fn vary(part: &mut Part, random: &mut Random) {
    match part {
        Part::Coalesce { count, millis } => {
            *count = random.once_in(2).then(|| 1 + random.below(9) as u32);
            // Without it the last requests of a client that awaits its replies would wait for ever.
            *millis = Some(1 + random.below(30) as u32);
        }
        Part::Filter(filter) => {
            let all = [
                Filter::DenyWrites,
                Filter::DenySchema,
                Filter::AllowReads,
                Filter::DenyTables,
                Filter::AllowKeyspaces,
            ];
            *filter = all[random.below(all.len())];
        }
        Part::Throttle { per, .. } => {
            let all = [None, Some("ClientAddress"), Some("User"), Some("Keyspace"), Some("Table")];
            *per = all[random.below(all.len())];
        }
        Part::Tee { behavior, queue, has_switch, .. } => {
            queue.batches = [1, 3, 1000][random.below(3)];
            queue.wait_micros = [0, 0, 500, 100_000][random.below(4)];
            *has_switch = random.once_in(3);
            let all = [
                Behavior::Ignore,
                Behavior::LogWarningOnMismatch,
                Behavior::FailOnMismatch,
                Behavior::SubchainOnMismatch,
            ];
            *behavior = all[random.below(all.len())];
        }
        _ => {}
    }
}

/// A chain as a topology writes it, in one line. Every entry gets a name of its own.
pub fn yaml(chain: &[Part], names: &mut usize) -> String {
    let parts: Vec<String> = chain.iter().map(|part| part.yaml(names)).collect();
    format!("[{}]", parts.join(", "))
}

impl Part {
    /// Its type, as in a topology.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Coalesce { .. } => "Coalesce",
            Self::Counter => "QueryCounter",
            Self::ForceEncode => "DebugForceEncode",
            Self::ForceParse => "DebugForceParse",
            Self::Printer => "DebugPrinter",
            Self::Log => "RequestLog",
            Self::ToFile => "DebugLogToFile",
            Self::Filter(_) => "QueryTypeFilter",
            Self::Throttle { .. } => "RequestThrottling",
            Self::Tee { .. } => "Tee",
            Self::Null => "NullSink",
            Self::Fail => "DebugReturner",
            Self::Single { .. } => "CassandraSinkSingle",
            Self::ParallelMap { .. } => "ParallelMap",
            Self::Pool { .. } => "ConnectionBalanceAndPool",
        }
    }

    fn yaml(&self, names: &mut usize) -> String {
        *names += 1;
        let name = format!("e{names}");
        let options = match self {
            Self::Coalesce { count, millis } => {
                let count = count.map(|count| format!(", flush_when_buffered_message_count: {count}"));
                let millis = millis.map(|millis| format!(", flush_when_millis_since_last_flush: {millis}"));
                count.unwrap_or_default() + &millis.unwrap_or_default()
            }
            Self::Counter => format!(", counter_name: {name}"),
            Self::ForceEncode => ", encode_requests: true, encode_responses: true".to_owned(),
            Self::ForceParse => ", parse_requests: true, parse_responses: true".to_owned(),
            Self::Printer | Self::ToFile | Self::Null => String::new(),
            Self::Log => format!(", path: {}", log_file(*names)),
            Self::Filter(Filter::DenyWrites) => ", DenyList: [Write]".to_owned(),
            Self::Filter(Filter::DenySchema) => ", DenyList: [SchemaChange]".to_owned(),
            Self::Filter(Filter::AllowReads) => ", AllowList: [Read]".to_owned(),
            Self::Filter(Filter::DenyTables) => ", deny_tables: [ks.t, p1]".to_owned(),
            Self::Filter(Filter::AllowKeyspaces) => ", allow_keyspaces: [ks, k1]".to_owned(),
            Self::Throttle { per_second, per } => {
                let per = per.map(|per| format!(", per: {per}")).unwrap_or_default();
                format!(", max_requests_per_second: {per_second}{per}")
            }
            Self::Tee { behavior, queue: Queue { batches, wait_micros }, has_switch, second } => {
                let second = yaml(second, names);
                let behavior = match behavior {
                    Behavior::SubchainOnMismatch => {
                        *names += 1;
                        format!("{{SubchainOnMismatch: {{chain: [NullSink: {{name: e{names}}}]}}}}")
                    }
                    plain => format!("{plain:?}"),
                };
                let queue = format!("buffer_size: {batches}, timeout_micros: {wait_micros}");
                // Nobody listens there: the world flips it.
                let switch = if *has_switch { format!(", switch_port: {names}") } else { String::new() };
                format!(", behavior: {behavior}, {queue}{switch}, chain: {second}")
            }
            Self::Fail => ", Fail: null".to_owned(),
            Self::Single { address, is_shared } => {
                let connections = if *is_shared { ", connections: Shared" } else { "" };
                // Each Tee has a second server of its own.
                let host = if *address == SECOND { format!("{name}-") } else { String::new() };
                format!(", remote_address: '{host}{address}', connect_timeout_ms: 3000{connections}")
            }
            Self::ParallelMap { parallelism, is_ordered, chain } => {
                let chain = yaml(chain, names);
                format!(", parallelism: {parallelism}, ordered_results: {is_ordered}, chain: {chain}")
            }
            Self::Pool { connections, chain } => {
                format!(", max_connections: {connections}, chain: {}", yaml(chain, names))
            }
        };
        format!("{{{}: {{name: {name}{options}}}}}", self.kind())
    }
}

/// Where the log of the entry of this number is.
fn log_file(number: usize) -> String {
    format!("requests-{number}.log")
}

/// The files of a chain's logs, each with what is above it.
pub fn log_files(chain: &[Part]) -> Vec<(String, &[Part])> {
    let mut names = 0;
    let files = chain.iter().enumerate().filter_map(|(at, part)| {
        let number = names + 1;
        part.yaml(&mut names);
        (*part == Part::Log).then(|| (log_file(number), chain.get(..at).unwrap_or_default()))
    });
    files.collect()
}

/// True when a server's replies come to the client in the order of its requests, whatever the server's order is.
pub fn is_ordered(chain: &[Part]) -> bool {
    let Some((end, above)) = chain.split_last() else { return false };
    matches!(end, Part::ParallelMap { is_ordered: true, .. })
        && !above.iter().any(|part| matches!(part, Part::Tee { .. } | Part::Coalesce { .. }))
}

/// True for a chain in which nobody goes by which reply answers which request: what repeats an id is sent on.
pub fn sends_repeats_on(chain: &[Part]) -> bool {
    chain.len() == 1 && !matches!(chain, [Part::ParallelMap { .. } | Part::Pool { .. }])
}

/// How a request of this kind may end in a chain.
pub fn outcomes(chain: &[Part], kind: Kind) -> BTreeSet<Outcome> {
    let Some((part, rest)) = chain.split_first() else { return BTreeSet::new() };
    match part {
        Part::Filter(filter) => match filter.judges(kind) {
            Judged::Passes => outcomes(rest, kind),
            Judged::Refused => BTreeSet::from([Outcome::Filtered]),
            Judged::Either => outcomes(rest, kind).into_iter().chain([Outcome::Filtered]).collect(),
        },
        Part::Throttle { .. } if kind.is_throttled() => {
            outcomes(rest, kind).into_iter().chain([Outcome::Throttled]).collect()
        }
        Part::Tee { behavior, has_switch, .. } if kind.is_compared() => {
            let seen = |outcome| match outcome {
                Outcome::Own | Outcome::Refused | Outcome::Closed => outcome,
                // The second server has answered.
                _ if *behavior == Behavior::FailOnMismatch => Outcome::Mismatch,
                _ => outcome,
            };
            let first = outcomes(rest, kind);
            // The second server's, if it is switched over.
            let other = has_switch.then_some(Outcome::Own);
            // The second server may have forgotten the statement.
            let forgotten = matches!(kind, Kind::Execute(_)).then(|| first.clone()).unwrap_or_default();
            first.into_iter().map(seen).chain(other).chain(forgotten).collect()
        }
        Part::Null => BTreeSet::from([Outcome::Null]),
        Part::Fail => BTreeSet::from([Outcome::Closed]),
        Part::Single { .. } if kind.used().is_some() => BTreeSet::from([Outcome::Own, Outcome::Refused]),
        Part::Single { .. } => BTreeSet::from([Outcome::Own]),
        Part::ParallelMap { chain, .. } | Part::Pool { chain, .. } => outcomes(chain, kind),
        _ => outcomes(rest, kind),
    }
}

/// True where a USE is denied to the instances that are told the keyspace of another one: then none is left.
pub fn denies_following(chain: &[Part]) -> bool {
    let Some(Part::ParallelMap { chain, .. }) = chain.last() else { return false };
    outcomes(chain, Kind::Use(1)).contains(&Outcome::Filtered)
}

/// True when clients can get through their handshake.
pub fn begins_sessions(chain: &[Part]) -> bool {
    outcomes(chain, Kind::Startup).contains(&Outcome::Own)
}

impl Filter {
    fn judges(self, kind: Kind) -> Judged {
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
