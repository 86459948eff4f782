//! Costs that are counted, not timed.

use std::process::Command;
use std::time::Duration;

use testkit::scripted::{Peer, Server, encode, opcode};
use testkit::{Child, Proxy};

#[test]
fn one_request_costs_six_system_calls() {
    const REQUESTS: u64 = 10_000;
    let server = Server::echo();
    let proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    let mut strace =
        Child::start(Command::new("strace").args(["-f", "-c", "-p", &proxy.child.id().to_string()]));
    strace.wait_for_line("attached", Duration::from_secs(10)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    for round in 0..REQUESTS {
        client.send(&encode(4, (round % 100) as i16, opcode::QUERY, b"x"));
        client.receive().unwrap();
    }
    strace.signal("INT");
    strace.wait(Duration::from_secs(10)).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let lines = strace.lines();
    let total = lines.iter().find(|line| line.ends_with("total")).unwrap();
    let calls: u64 = total.split_whitespace().nth(3).unwrap().parse().unwrap();
    println!("{:.3} system calls a request", calls as f64 / REQUESTS as f64);
    assert!(calls * 100 <= REQUESTS * 605, "{}", lines.join("\n"));
    proxy.stop().unwrap();
}

#[test]
fn idle_clients_hold_no_chunk() {
    let server = Server::echo();
    let chain = format!(
        "[CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}]",
        server.port
    );
    let proxy = Proxy::with_chain(&chain, "connection_limit: 2000,");
    let clients: Vec<Peer> = (0..1000).map(|_| Peer::session(proxy.port)).collect();
    assert_eq!(proxy.metric("shotover_chunks_taken"), Some(0.0));
    println!("{} bytes of RssAnon with {} idle clients", proxy.memory("RssAnon"), clients.len());
    proxy.stop().unwrap();
}
