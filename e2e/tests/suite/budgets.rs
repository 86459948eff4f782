//! Costs that are counted, not timed.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use testkit::scripted::{Peer, Server, encode, opcode, query};
use testkit::{Child, Proxy, Scratch, counted};

/// A chain to the server at this port; `connections` as in the topology.
fn chain_to(port: u16, connections: &str) -> String {
    format!(
        "[CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{port}', connect_timeout_ms: 3000, \
         connections: {connections}}}]"
    )
}

/// A request that may be sent on a shared connection.
fn select(id: usize) -> Vec<u8> {
    encode(4, id as i16, opcode::QUERY, &query(&[&b"SELECT "[..], &[b'x'; 86]].concat()))
}

/// How often a system call was made, or all of them, as `strace -c` says.
fn calls_of(table: &[String], name: &str) -> u64 {
    let row = table.iter().find(|line| line.split_whitespace().last() == Some(name));
    row.map_or(0, |row| row.split_whitespace().nth(3).unwrap().parse().unwrap())
}

/// Six that read, write and wait. At so low a rate the worker may also let others run before it waits.
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
    let yields = calls_of(&lines, "sched_yield");
    let calls = calls_of(&lines, "total") - yields;
    let a_request = |count| count as f64 / REQUESTS as f64;
    println!("{:.3} yields a request", a_request(yields));
    counted("system calls a request, 1 client 1 deep (strace)", format!("{:.4}", a_request(calls)), 6.05);
    assert!((REQUESTS * 6..=REQUESTS * 605 / 100).contains(&calls), "{}", lines.join("\n"));
    assert!(
        yields <= calls_of(&lines, "epoll_wait") + calls_of(&lines, "epoll_pwait"),
        "{}",
        lines.join("\n")
    );
    proxy.stop().unwrap();
}

/// Clients that share.
const SHARING: usize = 64;

/// Accepts sessions, and answers requests when as many have come as there are clients that share, in one write.
fn wave_server() -> Server {
    Server::start(|mut peer| {
        let (mut replies, mut count) = (Vec::new(), 0);
        while let Ok(frame) = peer.receive() {
            if frame.opcode == opcode::STARTUP {
                peer.send(&encode(0x84, frame.id, opcode::READY, &[]));
                continue;
            }
            replies.extend(encode(0x84, frame.id, opcode::RESULT, &[0, 0, 0, 1]));
            count += 1;
            if count == SHARING {
                peer.send(&std::mem::take(&mut replies));
                count = 0;
            }
        }
    })
}

/// System calls of a worker, by what they are for.
#[derive(Debug, Default)]
struct Calls {
    client_reads: usize,
    client_writes: usize,
    sink: usize,
    waits: usize,
    yields: usize,
    other: Vec<String>,
}

impl Calls {
    /// Reads what strace wrote of one thread, with the ends of each socket beside its number (`-yy`).
    fn of(log: &str, server: u16) -> Self {
        let mut calls = Self::default();
        let to_server = format!("->127.0.0.1:{server}]");
        // What begins with `+++` or `---` is no call but a signal.
        for line in log.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase())) {
            match line.split('(').next().unwrap_or_default() {
                _ if line.contains(&to_server) => calls.sink += 1,
                "recvfrom" | "read" | "readv" => calls.client_reads += 1,
                "sendto" | "write" | "writev" => calls.client_writes += 1,
                "epoll_wait" | "epoll_pwait" => calls.waits += 1,
                "sched_yield" => calls.yields += 1,
                _ => calls.other.push(line.to_owned()),
            }
        }
        calls
    }
}

/// The proxy is stopped while 64 clients send, so that all their requests are there when it goes on.
#[test]
fn sharing_clients_cost_one_read_and_one_write_each() {
    const WAVES: usize = 100;
    let server = wave_server();
    let chain = chain_to(server.port, "Shared");
    let proxy = Proxy::with_arguments(&chain, "", &["--core-threads", "1"]);
    let mut clients: Vec<Peer> = (0..SHARING).map(|_| Peer::session(proxy.port)).collect();
    let mut wave = |id: usize| {
        proxy.pause();
        clients.iter_mut().for_each(|client| client.send(&select(id)));
        proxy.go_on();
        for client in &mut clients {
            assert_eq!(client.receive().unwrap().id, id as i16);
        }
    };
    wave(0);
    let files = Scratch::new("strace").unwrap();
    let log = files.write("log", "").unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-yy", "-s", "0", "-p", &proxy.worker().to_string(), "-o"]).arg(&log);
    let mut strace = Child::start(&mut strace);
    strace.wait_for_line("attached", Duration::from_secs(10)).unwrap();
    (1..=WAVES).for_each(wave);
    strace.signal("INT");
    strace.wait(Duration::from_secs(10)).unwrap();
    let calls = Calls::of(&std::fs::read_to_string(&log).unwrap(), server.port);
    println!("in {WAVES} waves of {SHARING}: {calls:?}");
    for (what, calls, most) in [
        ("reads from clients", calls.client_reads, SHARING),
        ("writes to clients", calls.client_writes, SHARING),
        ("calls on the server connection", calls.sink, 4),
        ("waits", calls.waits, 6),
    ] {
        let what = format!("shared, {SHARING} clients that send at once: {what} (strace)");
        counted(&what, calls as f64 / WAVES as f64, most);
    }
    assert!(calls.client_reads <= WAVES * SHARING, "{calls:?}");
    assert!(calls.client_writes <= WAVES * SHARING, "{calls:?}");
    assert!(calls.sink <= WAVES * 4, "{calls:?}");
    // The wait that the pause interrupts is among them, and the one under way when strace came.
    assert!(calls.waits <= WAVES * 6, "{calls:?}");
    assert!(calls.yields <= calls.waits, "{calls:?}");
    assert!(calls.other.is_empty(), "{calls:?}");
    proxy.stop().unwrap();
}

const MIB: u64 = 1024 * 1024;

/// What the proxy had in memory, at most.
#[derive(Default)]
struct Memory {
    anonymous: u64,
    all: u64,
}

impl Memory {
    /// Looks once more. Clients are connected.
    fn look(&mut self, proxy: &Proxy) {
        self.anonymous = self.anonymous.max(proxy.memory("RssAnon"));
        self.all = self.all.max(proxy.memory("VmRSS"));
    }

    /// Holds it against its budgets.
    fn check(&self, what: &str, anonymous_max: u64) {
        for (name, bytes, most) in [("RssAnon", self.anonymous, anonymous_max), ("VmRSS", self.all, 12 * MIB)]
        {
            let what = format!("{what}: {name}, KiB");
            counted(&what, bytes / 1024, most / 1024);
            assert!(bytes > 0 && bytes <= most, "{what}: {bytes} B");
        }
    }
}

fn check_memory(proxy: &Proxy, what: &str, anonymous_max: u64) {
    let mut memory = Memory::default();
    memory.look(proxy);
    memory.check(what, anonymous_max);
}

/// Every worker has a pool, so the count of workers is that of the machine the budgets were made for.
fn start_with_two_workers(server: u16, connections: &str) -> Proxy {
    let proxy = Proxy::with_arguments(
        &chain_to(server, connections),
        "connection_limit: 2000,",
        &["--core-threads", "2"],
    );
    check_memory(&proxy, &format!("{connections}, at the start"), 2 * MIB);
    proxy
}

fn memory_with_idle_clients(connections: &str) {
    let server = Server::echo();
    let proxy = start_with_two_workers(server.port, connections);
    let clients: Vec<Peer> = (0..1000).map(|_| Peer::session(proxy.port)).collect();
    check_memory(&proxy, &format!("{connections}, {} idle clients", clients.len()), 6 * MIB);
    assert_eq!(proxy.metric("shotover_chunks_taken"), Some(0.0));
    proxy.stop().unwrap();
}

/// Sends 32 requests, and takes 32 replies, until told to stop.
fn keep_busy(mut client: Peer, is_over: &AtomicBool, rounds: &AtomicU64) {
    const DEPTH: usize = 32;
    let block: Vec<u8> = (0..DEPTH).flat_map(select).collect();
    while !is_over.load(Ordering::Relaxed) {
        client.send(&block);
        for _ in 0..DEPTH {
            client.receive().unwrap();
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

fn memory_with_busy_clients(connections: &str) {
    const CLIENTS: u64 = 64;
    const SAMPLES: u64 = 20;
    let server = Server::echo();
    let proxy = start_with_two_workers(server.port, connections);
    let (is_over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients = (0..CLIENTS).map(|_| {
        let (client, is_over, rounds) =
            (Peer::session(proxy.port), Arc::clone(&is_over), Arc::clone(&rounds));
        std::thread::spawn(move || keep_busy(client, &is_over, &rounds))
    });
    let clients: Vec<_> = clients.collect();
    let mut memory = Memory::default();
    for sample in 1..=SAMPLES {
        // As often as every client on the average has had ten rounds more.
        while rounds.load(Ordering::Relaxed) < sample * CLIENTS * 10 {
            assert!(!clients.iter().any(std::thread::JoinHandle::is_finished), "a client ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        memory.look(&proxy);
    }
    memory.check(&format!("{connections}, {CLIENTS} busy clients"), 6 * MIB);
    is_over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    proxy.stop().unwrap();
}

#[test]
fn idle_clients_need_little_memory() {
    memory_with_idle_clients("PerClient");
}

#[test]
fn idle_clients_that_share_need_little_memory() {
    memory_with_idle_clients("Shared");
}

#[test]
fn busy_clients_need_little_memory() {
    memory_with_busy_clients("PerClient");
}

#[test]
fn busy_clients_that_share_need_little_memory() {
    memory_with_busy_clients("Shared");
}
