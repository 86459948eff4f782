//! What is counted.

/// Something to count.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// For the example `rounds`: what stands before the number of rounds, and behind it.
    before: (&'static str, u32),
    behind: String,
    /// Requests, each with its reply, that pass in a round.
    pub(super) requests: u32,
    pub(super) budget: Option<f64>,
    /// Rounds of the shorter count; the longer has twice as many, with as many digits. Many enough for the instructions
    /// of the start that differ from run to run (hash maps are seeded at random) to vanish.
    pub(super) rounds: u64,
    /// A thread that writes lines is there as well: only the thread of the data path is counted.
    pub(super) has_writer: bool,
}

impl Case {
    /// The arguments of the example.
    pub(super) fn arguments(&self, rounds: u64) -> [String; 4] {
        [self.before.0.to_owned(), self.before.1.to_string(), rounds.to_string(), self.behind.clone()]
    }

    fn new(name: &'static str, before: (&'static str, u32), behind: &str) -> Self {
        let behind = behind.to_owned();
        Self { name, before, behind, requests: before.1, budget: None, rounds: 1000, has_writer: false }
    }

    fn within(self, budget: f64) -> Self {
        Self { budget: Some(budget), ..self }
    }
}

pub(super) const ONE_TRANSFORM: &str = "one client, 1 deep, 1 header transform";
pub(super) const FOUR_TRANSFORMS: &str = "one client, 1 deep, 4 header transforms";
pub(super) const DEEP_ONE_TRANSFORM: &str = "one client, 32 deep, 1 header transform";
pub(super) const DEEP_FOUR_TRANSFORMS: &str = "one client, 32 deep, 4 header transforms";

/// Chains that the others are compared with.
pub(super) const CHAIN_OF_SINK: &str = "chain: CassandraSinkSingle";
pub(super) const CHAIN_OF_ONE: &str = "chain: 1 header transform";
pub(super) const CHAIN_OF_ONE_IN_HALVES: &str = "chain: 1 header transform, two reads";

/// A transform, or an end of a chain, whose cost has a line on the page.
pub(super) struct Cost {
    /// Its page in docs/transforms.
    pub(super) page: &'static str,
    /// What the line says of its options.
    pub(super) options: &'static str,
    /// The name of its case.
    pub(super) case: &'static str,
    /// Its entry of a chain; what stands for sinks in it is replaced.
    entry: &'static str,
    /// The requests of a round come in two reads.
    pub(super) in_halves: bool,
}

const fn cost(page: &'static str, options: &'static str, case: &'static str, entry: &'static str) -> Cost {
    Cost { page, options, case, entry, in_halves: false }
}

/// Its lines are counted where they are printed.
const PRINTED: &str = "chain: DebugPrinter, printed";

/// Transforms, each counted behind a transform that looks at headers.
pub(super) const TRANSFORMS: [Cost; 18] = [
    cost(
        "Coalesce",
        "holds nothing: `flush_when_buffered_message_count: 32`",
        "chain: Coalesce that holds nothing",
        "Coalesce: {name: t, flush_when_buffered_message_count: 32}",
    ),
    Cost {
        in_halves: true,
        ..cost(
            "Coalesce",
            "holds 16 requests until 16 more come: `flush_when_buffered_message_count: 32` (d)",
            "chain: Coalesce that holds every other 16",
            "Coalesce: {name: t, flush_when_buffered_message_count: 32}",
        )
    },
    cost(
        "DebugForceEncode",
        "both sides",
        "chain: DebugForceEncode",
        "DebugForceEncode: {name: t, encode_requests: true, encode_responses: true}",
    ),
    cost(
        "DebugForceParse",
        "both sides",
        "chain: DebugForceParse",
        "DebugForceParse: {name: t, parse_requests: true, parse_responses: true}",
    ),
    cost(
        "DebugLogToFile",
        "without the thread that writes (a)",
        "chain: DebugLogToFile",
        "DebugLogToFileUnwritten: {name: t}",
    ),
    cost("DebugPrinter", "its lines filtered out", "chain: DebugPrinter, silent", "DebugPrinter: {name: t}"),
    cost(
        "DebugPrinter",
        "its lines printed, without the thread that writes (b)",
        PRINTED,
        "DebugPrinter: {name: t}",
    ),
    cost("QueryCounter", "", "chain: QueryCounter", "QueryCounter: {name: t, counter_name: c}"),
    cost(
        "QueryTypeFilter",
        "lets pass",
        "chain: QueryTypeFilter",
        "QueryTypeFilter: {name: t, DenyList: [Write]}",
    ),
    cost(
        "QueryTypeFilter",
        "by names: `deny_tables: [ks.hidden]`, lets pass",
        "chain: QueryTypeFilter, names",
        "QueryTypeFilter: {name: t, deny_tables: [ks.hidden]}",
    ),
    cost(
        "RequestLog",
        "every request, without the thread that writes (a)",
        "chain: RequestLog",
        "RequestLogUnwritten: {name: t}",
    ),
    cost(
        "RequestThrottling",
        "lets pass",
        "chain: RequestThrottling",
        "RequestThrottling: {name: t, max_requests_per_second: 1000000000}",
    ),
    cost(
        "RequestThrottling",
        "`per: Table`, lets pass",
        "chain: RequestThrottling, Table",
        "RequestThrottling: {name: t, max_requests_per_second: 1000000000, per: Table}",
    ),
    cost("Tee", "`Ignore` (c)", "chain: Tee, Ignore", "Tee: {name: t, behavior: Ignore, chain: [OTHER]}"),
    cost(
        "Tee",
        "`LogWarningOnMismatch`, replies are the same (c)",
        "chain: Tee, LogWarningOnMismatch",
        "Tee: {name: t, behavior: LogWarningOnMismatch, chain: [OTHER]}",
    ),
    cost(
        "Tee",
        "`FailOnMismatch`, replies are the same (c)",
        "chain: Tee, FailOnMismatch",
        "Tee: {name: t, behavior: FailOnMismatch, chain: [OTHER]}",
    ),
    cost(
        "Tee",
        "`SubchainOnMismatch`, replies are the same (c)",
        "chain: Tee, SubchainOnMismatch",
        "Tee: {name: t, behavior: {SubchainOnMismatch: [NullSink: {name: n}]}, chain: [OTHER]}",
    ),
    cost(
        "Tee",
        "`Ignore`, `sample_percent: 1` (c)",
        "chain: Tee, Ignore, 1 %",
        "Tee: {name: t, behavior: Ignore, sample_percent: 1, chain: [OTHER]}",
    ),
];

/// Ends of chains, each with nothing above it.
pub(super) const ENDS: [Cost; 6] = [
    cost("CassandraSinkSingle", "", CHAIN_OF_SINK, "SINK"),
    cost(
        "CassandraSinkSingle",
        "`connections: Shared`",
        "chain: CassandraSinkSingle, Shared",
        "CassandraSinkSingle: {name: s, remote_address: '127.0.0.1:9042', connect_timeout_ms: 3000, connections: Shared}",
    ),
    cost(
        "ConnectionBalanceAndPool",
        "`max_connections: 1`",
        "chain: ConnectionBalanceAndPool",
        "ConnectionBalanceAndPool: {name: t, max_connections: 1, chain: [SINK]}",
    ),
    cost(
        "ParallelMap",
        "`parallelism: 2`, `ordered_results: false`",
        "chain: ParallelMap, unordered",
        "ParallelMap: {name: t, parallelism: 2, ordered_results: false, chain: [SINK]}",
    ),
    cost(
        "ParallelMap",
        "`parallelism: 2`, `ordered_results: true`",
        "chain: ParallelMap, ordered",
        "ParallelMap: {name: t, parallelism: 2, ordered_results: true, chain: [SINK]}",
    ),
    cost("NullSink", "answers without a server", "chain: NullSink", "NullSink: {name: t}"),
];

/// The life of a client that is ended at its first request.
pub(super) const RETURNER: Cost =
    cost("DebugReturner", "", "a client's life: DebugReturner", "DebugReturner: {name: t, Fail: }");

/// Everything. The budgets are those of the design: 2,500 one request deep, 600 at 32.
pub(super) fn cases() -> Vec<Case> {
    const SHALLOW: (&str, u32) = ("single", 1);
    const DEEP: (&str, u32) = ("single", 32);
    const HALVES: (&str, u32) = ("halves", 32);
    let mut cases = vec![
        Case::new("one client, 1 deep", SHALLOW, "0").within(2500.0),
        Case::new("one client, 32 deep", DEEP, "0").within(600.0),
        Case::new(ONE_TRANSFORM, SHALLOW, "1"),
        Case::new(FOUR_TRANSFORMS, SHALLOW, "4"),
        Case::new(DEEP_ONE_TRANSFORM, DEEP, "1"),
        Case::new(DEEP_FOUR_TRANSFORMS, DEEP, "4"),
        Case::new("one client, 32 deep, 1 header transform, counted", ("counts", 32), ""),
        Case::new("one client, 32 deep, 1 header transform, counted with latencies", ("latencies", 32), ""),
        Case::new("shared, 1 client, 1 deep", ("shared", 1), ""),
        Case::new("shared, 64 clients, 1 deep", ("shared", 64), ""),
        chain(CHAIN_OF_ONE, &["Looks: {name: l}", "SINK"]),
        Case { before: HALVES, ..chain(CHAIN_OF_ONE_IN_HALVES, &["Looks: {name: l}", "SINK"]) },
    ];
    cases.extend(TRANSFORMS.iter().map(|cost| {
        let case = chain(cost.case, &["Looks: {name: l}", cost.entry, "SINK"]);
        if cost.case == PRINTED {
            return Case { before: ("printed", 32), rounds: 200, has_writer: true, ..case };
        }
        if cost.in_halves { Case { before: HALVES, ..case } } else { case }
    }));
    cases.extend(ENDS.iter().map(|cost| chain(cost.case, &[cost.entry])));
    let life = chain(RETURNER.case, &[RETURNER.entry]);
    cases.push(Case { before: ("lives", 1), requests: 1, ..life });
    cases
}

/// One client, 32 deep, behind this chain.
fn chain(name: &'static str, entries: &[&str]) -> Case {
    const SINK: &str =
        "CassandraSinkSingle: {name: s, remote_address: '127.0.0.1:9042', connect_timeout_ms: 3000}";
    let entries: Vec<String> = entries.iter().map(|entry| format!("{{{entry}}}")).collect();
    let text = format!("[{}]", entries.join(", "));
    let other = format!("{{{}}}", SINK.replace("name: s", "name: o"));
    let text = text.replace("[OTHER]", &format!("[{other}]")).replace("[SINK]", &format!("[{{{SINK}}}]"));
    Case::new(name, ("chain", 32), &text.replace("{SINK}", &format!("{{{SINK}}}")))
}
