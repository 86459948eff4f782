//! A real Cassandra through the proxy: every row written through one path is read through the other, and a table
//! says what the proxy costs.

use std::time::Instant;

use testkit::{Authenticator, COUNTED_THREADS, Cassandra, Proxy, Stress, Summary, UNCOUNTED_THREADS};

use crate::run::build_proxy;

/// Rows of one counted run.
const ROWS: u64 = 100_000;

pub(crate) fn run() -> Result<(), String> {
    let started = Instant::now();
    let say = |text: &str| println!("[{:>4} s] {text}", started.elapsed().as_secs());
    say("building the proxy as it ships");
    build_proxy()?;
    say("getting (first time only) and starting Cassandra");
    let cassandra = Cassandra::start(Authenticator::AllowAll).map_err(|missing| missing.to_string())?;
    let proxy = Proxy::passthrough(cassandra.port);
    say(&format!("warming up: {ROWS} writes that do not count"));
    Stress::new("write", (10 * ROWS + 1, 11 * ROWS), UNCOUNTED_THREADS, cassandra.port).run()?;

    // Rows 1 to 200,000 are written direct, 200,001 to 400,000 through the proxy.
    let mut direct = Vec::new();
    let mut proxied = Vec::new();
    let mut cpu_ns = 0;
    for (part, is_proxied) in [(0, false), (2, true), (3, true), (1, false)] {
        let keys = (part * ROWS + 1, (part + 1) * ROWS);
        let (name, port) =
            if is_proxied { ("through the proxy", proxy.port) } else { ("direct", cassandra.port) };
        say(&format!("writing rows {} to {} {name}", keys.0, keys.1));
        let before = proxy.cpu_ns();
        let summary = Stress::new("write", keys, COUNTED_THREADS, port).run()?;
        if is_proxied {
            cpu_ns += proxy.cpu_ns() - before;
            proxied.push(summary);
        } else {
            direct.push(summary);
        }
    }
    let memory = (proxy.memory("VmRSS"), proxy.memory("RssAnon"));
    say("reading every row that was written direct through the proxy");
    Stress::new("read", (1, 2 * ROWS), UNCOUNTED_THREADS, proxy.port).run()?;
    say("reading every row that was written through the proxy direct");
    Stress::new("read", (2 * ROWS + 1, 4 * ROWS), UNCOUNTED_THREADS, cassandra.port).run()?;
    proxy.stop()?;
    drop(cassandra);
    say("done: no errors, every row is there");
    print_table(&testkit::mean(&direct), &testkit::mean(&proxied));
    println!(
        "\nproxy: {:.1} MiB resident ({:.1} MiB anonymous), {:.1} us of CPU an operation",
        memory.0 as f64 / 1_048_576.0,
        memory.1 as f64 / 1_048_576.0,
        cpu_ns as f64 / 1000.0 / (2 * ROWS) as f64
    );
    Ok(())
}

fn print_table(direct: &Summary, proxied: &Summary) {
    println!("\n| cassandra-stress write | direct | through the proxy | overhead |");
    println!("|---|---|---|---|");
    let cost = 100.0 * (1.0 - proxied.ops_per_second / direct.ops_per_second);
    println!("| op/s | {:.0} | {:.0} | {cost:.1} % |", direct.ops_per_second, proxied.ops_per_second);
    type Field = fn(&Summary) -> f64;
    let rows: [(&str, Field); 6] = [
        ("mean", |run| run.mean),
        ("median", |run| run.median),
        ("p95", |run| run.p95),
        ("p99", |run| run.p99),
        ("p99.9", |run| run.p999),
        ("max", |run| run.max),
    ];
    for (name, field) in rows {
        let (without, with) = (field(direct), field(proxied));
        println!("| {name} | {without:.2} ms | {with:.2} ms | {:+.2} ms |", with - without);
    }
}
