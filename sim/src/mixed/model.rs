//! Chains for a mixed traffic: what stands in them, where, and how a topology writes it.

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
    Tee(Tee),
    // What ends a chain.
    Null,
    Fail,
    Single { server: Server, is_shared: bool },
    ParallelMap { parallelism: u32, is_ordered: bool, chain: Vec<Self> },
    Pool { connections: u32, chain: Vec<Self> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tee {
    pub behavior: Behavior,
    pub queue: Queue,
    pub has_switch: bool,
    /// So many of a hundred requests go to the second chain.
    pub sample: u32,
    pub second: Vec<Part>,
    /// Where what differs is sent again, with `SubchainOnMismatch`.
    pub mismatch: Vec<Part>,
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

/// How a Tee's queue is bounded, and how long a client waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub batches: u32,
    pub wait_micros: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    Ignore,
    LogWarningOnMismatch,
    FailOnMismatch,
    SubchainOnMismatch,
}

/// The number of a server.
pub type Server = u8;

/// The chain's own. All others get copies of its traffic.
pub const FIRST: Server = 0;

/// One that has no number yet.
pub const SOME_SERVER: Server = u8::MAX;

/// Where a server is.
fn address(server: Server) -> String {
    format!("server{server}:9042")
}

/// The server at this address.
pub fn server_at(address: &str) -> Option<Server> {
    address.strip_prefix("server")?.split(':').next()?.parse().ok()
}

/// Gives each server that has none a number of its own. Instances of one chain have the same.
pub fn number_servers(chain: &mut [Part], last: &mut Server) {
    for part in chain {
        if let Part::Single { server, .. } = part
            && *server == SOME_SERVER
        {
            *last += 1;
            *server = *last;
        }
        for own in part.chains_mut() {
            number_servers(own, last);
        }
    }
}

/// How a server is reached.
pub struct Route<'c> {
    pub server: Server,
    /// The entries that a request passes on its way there.
    pub path: Vec<&'c Part>,
    /// So many of them are in the chain itself: the others are in what a Tee has for itself.
    pub own: usize,
    /// It gets what a Tee sends again.
    pub is_for_mismatches: bool,
    /// Tees that send copies there, one after the other.
    pub tees: usize,
    /// What stands below those of them that are in a second chain.
    pub beside: Vec<&'c [Part]>,
}

/// All servers of a chain.
pub fn routes(chain: &[Part]) -> Vec<Route<'_>> {
    let mut routes = Vec::new();
    let (path, beside) = (Vec::new(), Vec::new());
    let begin = Route { server: FIRST, path, own: 0, is_for_mismatches: false, tees: 0, beside };
    walk(chain, begin, &mut routes);
    routes
}

fn walk<'c>(chain: &'c [Part], mut so_far: Route<'c>, routes: &mut Vec<Route<'c>>) {
    for (at, part) in chain.iter().enumerate() {
        so_far.path.push(part);
        so_far.own += usize::from(so_far.tees == 0);
        match part {
            Part::Tee(tee) => {
                for (own, is_for_mismatches) in [(&tee.second, false), (&tee.mismatch, true)] {
                    let (path, mut beside) = (so_far.path.clone(), so_far.beside.clone());
                    beside.extend(chain.get(at + 1..).filter(|_| so_far.tees > 0));
                    let tees = so_far.tees + 1;
                    walk(own, Route { path, is_for_mismatches, tees, beside, ..so_far }, routes);
                }
            }
            Part::ParallelMap { chain, .. } | Part::Pool { chain, .. } => {
                return walk(chain, so_far, routes);
            }
            Part::Single { server, .. } => {
                return routes.push(Route { server: *server, ..so_far });
            }
            _ => {}
        }
    }
}

/// Every Tee, those in chains of others included, each with what is below it.
pub fn tees(chain: &[Part]) -> Vec<(&Tee, &[Part])> {
    let mut found = Vec::new();
    for (at, part) in chain.iter().enumerate() {
        if let Part::Tee(tee) = part {
            found.push((tee, chain.get(at + 1..).unwrap_or_default()));
        }
        found.extend(part.chains().into_iter().flat_map(tees));
    }
    found
}

/// What ends a chain, whoever's it is.
pub fn end(chain: &[Part]) -> Option<&Part> {
    match chain.last()? {
        Part::ParallelMap { chain, .. } | Part::Pool { chain, .. } => end(chain),
        part => Some(part),
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
            Self::Tee(_) => "Tee",
            Self::Null => "NullSink",
            Self::Fail => "DebugReturner",
            Self::Single { .. } => "CassandraSinkSingle",
            Self::ParallelMap { .. } => "ParallelMap",
            Self::Pool { .. } => "ConnectionBalanceAndPool",
        }
    }

    /// The chains that it has for itself.
    pub fn chains(&self) -> Vec<&[Self]> {
        match self {
            Self::Tee(tee) => vec![&tee.second, &tee.mismatch],
            Self::ParallelMap { chain, .. } | Self::Pool { chain, .. } => vec![chain],
            _ => Vec::new(),
        }
    }

    fn chains_mut(&mut self) -> Vec<&mut [Self]> {
        match self {
            Self::Tee(tee) => vec![&mut tee.second, &mut tee.mismatch],
            Self::ParallelMap { chain, .. } | Self::Pool { chain, .. } => vec![chain],
            _ => Vec::new(),
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
            Self::Tee(tee) => tee.yaml(names),
            Self::Fail => ", Fail: null".to_owned(),
            Self::Single { server, is_shared } => {
                let connections = if *is_shared { ", connections: Shared" } else { "" };
                let address = address(*server);
                format!(", remote_address: '{address}', connect_timeout_ms: 3000{connections}")
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

impl Tee {
    fn yaml(&self, names: &mut usize) -> String {
        let Self { behavior, queue: Queue { batches, wait_micros }, has_switch, sample, .. } = self;
        // Nobody listens there: the world flips it.
        let switch = if *has_switch { format!(", switch_port: {names}") } else { String::new() };
        let second = yaml(&self.second, names);
        let behavior = match behavior {
            Behavior::SubchainOnMismatch => {
                format!("{{SubchainOnMismatch: {{chain: {}}}}}", yaml(&self.mismatch, names))
            }
            plain => format!("{plain:?}"),
        };
        let queue = format!("buffer_size: {batches}, timeout_micros: {wait_micros}");
        format!(", behavior: {behavior}, {queue}, sample_percent: {sample}{switch}, chain: {second}")
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

/// True for a chain in which nobody goes by which reply answers which request: what repeats an id is sent on.
pub fn sends_repeats_on(chain: &[Part]) -> bool {
    chain.len() == 1 && !matches!(chain, [Part::ParallelMap { .. } | Part::Pool { .. }])
}
