//! Runs so many rounds of clients with requests in flight, for a program that counts instructions.
//!
//! usage: rounds single DEPTH ROUNDS [header transforms]: one client, so many requests deep
//!        rounds generic DEPTH ROUNDS NAME: the same, through the transform of this name
//!        rounds counts|latencies DEPTH ROUNDS: the same, through a header transform and with metrics
//!        rounds shared CLIENTS ROUNDS: so many clients, one request deep, on one server connection

use chain::{Builder, Link, WorkerCx, WorkerPart};
use sim::counted::{OneClient, SharedClients};

const USAGE: &str = "usage: rounds single DEPTH ROUNDS [HEADER TRANSFORMS] | shared CLIENTS ROUNDS | generic DEPTH \
                     ROUNDS NAME | counts DEPTH ROUNDS | latencies DEPTH ROUNDS";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [width, rounds, ..] = *numbers else { panic!("{USAGE}") };
    match words.first().map(String::as_str) {
        Some("single") => single(width, rounds, numbers.get(2).copied().unwrap_or_default()),
        Some("shared") => shared(width, rounds),
        Some("generic") => generic(width, rounds, words.last().map_or("", String::as_str)),
        Some("counts") => measured(width, rounds, false),
        Some("latencies") => measured(width, rounds, true),
        _ => panic!("{USAGE}"),
    }
}

fn single(depth: usize, rounds: usize, header_transforms: usize) {
    let looks = Looks;
    let mut client = OneClient::new(depth, &vec![&looks as &dyn Builder; header_transforms]);
    for _ in 0..rounds {
        client.round();
    }
}

/// One transform, set so that all requests pass at once.
fn generic(depth: usize, rounds: usize, name: &str) {
    let (coalesce, counter, throttle);
    let transform: &dyn Builder = match name {
        "Coalesce" => {
            coalesce = transforms::Coalesce { count: Some(depth), after: None };
            &coalesce
        }
        "QueryCounter" => {
            counter = transforms::QueryCounter::new("counter");
            &counter
        }
        "RequestThrottling" => {
            throttle = transforms::RequestThrottling::new(1_000_000_000);
            &throttle
        }
        _ => panic!("{USAGE}"),
    };
    let mut client = OneClient::new(depth, &[transform]);
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

/// A transform that looks at the header of every message, both ways.
#[derive(Clone, Copy)]
struct Looks;

impl Builder for Looks {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for Looks {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Looker { seen: [0; 32] }))
    }
}

struct Looker {
    seen: [u64; 32],
}

impl Looker {
    fn look(&mut self, batch: &mut chain::Batch<'_>) {
        batch.each(|item| {
            if let Some(seen) = self.seen.get_mut(item.head().opcode as usize) {
                *seen += 1;
            }
        });
    }
}

impl chain::Transform for Looker {
    fn requests(
        &mut self,
        _: &mut chain::Cx<'_, '_>,
        batch: &mut chain::Batch<'_>,
    ) -> Result<(), chain::Fault> {
        self.look(batch);
        Ok(())
    }
    fn responses(
        &mut self,
        _: &mut chain::Cx<'_, '_>,
        batch: &mut chain::Batch<'_>,
    ) -> Result<(), chain::Fault> {
        self.look(batch);
        Ok(())
    }
}
