//! Runs so many rounds of clients with requests in flight, for a program that counts instructions.
//!
//! usage: rounds single DEPTH ROUNDS [header transforms]: one client, so many requests deep
//!        rounds chain DEPTH ROUNDS CHAIN: the same, through a chain that is written as in a topology
//!        rounds halves DEPTH ROUNDS CHAIN: the same, with the requests of a round in two reads
//!        rounds printed DEPTH ROUNDS CHAIN: the same, with log lines
//!        rounds lives CLIENTS ROUNDS CHAIN: so many clients each round, whose chain ends them
//!        rounds counts|latencies DEPTH ROUNDS: the same, through a header transform and with metrics
//!        rounds shared CLIENTS ROUNDS: so many clients, one request deep, on one server connection
//!
//! Says how often memory was allocated.

use chain::Builder;
use sim::counted::{ChainClient, Counting, Looks, OneClient, SharedClients, allocations, lives};

const USAGE: &str = "usage: rounds single DEPTH ROUNDS [HEADER TRANSFORMS] | shared CLIENTS ROUNDS | chain|halves|printed \
                     DEPTH ROUNDS CHAIN | lives CLIENTS ROUNDS CHAIN | counts DEPTH ROUNDS | latencies DEPTH ROUNDS";

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [width, rounds, ..] = *numbers else { panic!("{USAGE}") };
    let last = words.last().map_or("", String::as_str);
    match words.first().map(String::as_str) {
        Some("single") => single(width, rounds, numbers.get(2).copied().unwrap_or_default()),
        Some("shared") => shared(width, rounds),
        Some("chain") => run(rounds, ChainClient::new(width, last)),
        Some("halves") => run(rounds, ChainClient::in_halves(width, last)),
        Some("printed") => {
            let _logs = observe::start_logs(observe::LogFormat::Human, "info", None).expect("logs");
            run(rounds, ChainClient::new(width, last));
        }
        Some("lives") => lives(width * rounds, last),
        Some("counts") => measured(width, rounds, false),
        Some("latencies") => measured(width, rounds, true),
        _ => panic!("{USAGE}"),
    }
    println!("allocations: {}", allocations());
}

fn single(depth: usize, rounds: usize, header_transforms: usize) {
    let looks = Looks;
    let mut client = OneClient::new(depth, &vec![&looks as &dyn Builder; header_transforms]);
    for _ in 0..rounds {
        client.round();
    }
}

fn run(rounds: usize, mut client: ChainClient) {
    for _ in 0..rounds {
        client.round();
    }
}

/// A header transform and a sink that are counted.
fn measured(depth: usize, rounds: usize, has_latencies: bool) {
    let chain = observe::ChainEntry {
        name: "chain".to_owned(),
        transforms: ["Transform", "CassandraSinkSingle"].map(str::to_owned).to_vec(),
        reaches_servers: true,
        shares_connections: false,
    };
    let catalog = observe::Catalog { sources: Vec::new(), chains: vec![chain] };
    let metrics = observe::WorkerMetrics::with_latencies(&catalog, has_latencies);
    let looks = Looks;
    let mut client = OneClient::with_metrics(depth, &[&looks], metrics.chain(0).cloned());
    for _ in 0..rounds {
        client.round();
    }
}

fn shared(count: usize, rounds: usize) {
    let mut clients = SharedClients::new(count);
    for _ in 0..rounds {
        clients.round();
    }
}
