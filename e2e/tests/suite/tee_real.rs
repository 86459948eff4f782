//! Tee between two real Cassandras, and every new transform between a driver and one.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::scripted::{Frame, Peer, encode, error, opcode, query};
use testkit::{Authenticator, Cassandra, Proxy, free_port};

use crate::tee::{dropped, http, sink, tee};

/// A session; unlike a script, Cassandra wants to know the version of the language.
fn session(port: u16) -> Peer {
    let mut peer = Peer::connect(port);
    let options = [&[0, 1, 0, 11][..], b"CQL_VERSION", &[0, 5], b"3.0.0"].concat();
    peer.send(&encode(4, 0, opcode::STARTUP, &options));
    assert_eq!(peer.receive().expect("READY").opcode, opcode::READY);
    peer
}

/// Asks, and waits for the reply.
fn ask(peer: &mut Peer, text: &str) -> Frame {
    peer.send(&encode(4, 1, opcode::QUERY, &query(text.as_bytes())));
    peer.receive().expect("a reply")
}

fn must(peer: &mut Peer, text: &str) -> Frame {
    let reply = ask(peer, text);
    assert_eq!(reply.opcode, opcode::RESULT, "{text}: {:?}", error(&reply.body));
    reply
}

/// Two servers with the same table, and in it a row that differs.
fn two() -> [Cassandra; 2] {
    let servers = [(); 2].map(|()| Cassandra::start(Authenticator::AllowAll).unwrap());
    for (number, server) in servers.iter().enumerate() {
        let mut direct = session(server.port);
        must(
            &mut direct,
            "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        );
        must(&mut direct, "CREATE TABLE k.t (a text PRIMARY KEY, b text)");
        must(&mut direct, "INSERT INTO k.t (a, b) VALUES ('same', 'same')");
        must(&mut direct, &format!("INSERT INTO k.t (a, b) VALUES ('differs', 'server {number}')"));
    }
    servers
}

fn shows(frame: &Frame, text: &str) -> bool {
    frame.body.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Rows whose key begins like this.
fn rows(server: &Cassandra, beginning: &str) -> u64 {
    let mut direct = session(server.port);
    let reply = must(&mut direct, "SELECT a FROM k.t");
    reply.body.windows(beginning.len()).filter(|part| *part == beginning.as_bytes()).count() as u64
}

const SAME: &str = "SELECT b FROM k.t WHERE a = 'same'";
const DIFFERS: &str = "SELECT b FROM k.t WHERE a = 'differs'";

/// A write that was answered: when it was sent, and how long its reply took.
type Answered = (Instant, Duration);

/// Writes with several clients while `work` goes on. What was answered; none of it with an error.
fn load(proxy: &Proxy, beginning: &str, work: impl FnOnce()) -> Vec<Answered> {
    let (done, answered) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (done, answered) = (&done, &answered);
            scope.spawn(move || {
                let mut peer = session(proxy.port);
                for row in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let sent = Instant::now();
                    must(
                        &mut peer,
                        &format!("INSERT INTO k.t (a, b) VALUES ('{beginning}{client}-{row}', 'x')"),
                    );
                    answered.lock().unwrap().push((sent, sent.elapsed()));
                    std::thread::sleep(Duration::from_millis(2));
                }
                // What is under way to a second server that was stopped gets there while its client is there.
                std::thread::sleep(Duration::from_secs(3));
            });
        }
        work();
        done.store(true, Ordering::Relaxed);
    });
    answered.into_inner().unwrap()
}

/// The longest but one in a hundred of the replies to what was sent in this time.
fn p99(answered: &[Answered], time: Range<Instant>) -> Duration {
    let of_time = answered.iter().filter(|(sent, _)| time.contains(sent));
    let mut took: Vec<Duration> = of_time.map(|(_, took)| *took).collect();
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().expect("replies in this time")
}

/// What was answered is on the second server or was counted as dropped: not fewer, not more. What is under way has some
/// seconds to arrive. How many were dropped in all.
fn all_accounted_for(proxy: &Proxy, other: &Cassandra, beginning: &str, answered: u64, before: u64) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let (second, lost) = (rows(other, beginning), dropped(proxy));
        let is_late = Instant::now() > deadline;
        if second + lost - before == answered || is_late {
            println!("{answered} writes, {second} mirrored, {} dropped", lost - before);
            assert_eq!(second + lost - before, answered);
            return lost;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn tee_shows_each_of_its_behaviors() {
    let [one, other] = two();
    let proxy = tee(one.port, other.port, "behavior: FailOnMismatch,");
    let mut client = session(proxy.port);
    assert!(shows(&must(&mut client, SAME), "same"));
    let reply = ask(&mut client, DIFFERS);
    assert_eq!(reply.opcode, opcode::ERROR);
    assert!(
        error(&reply.body).1.starts_with("The responses from the Tee subchain"),
        "{:?}",
        error(&reply.body)
    );
    // Rows that describe a server are its own affair.
    must(&mut client, "SELECT host_id FROM system.local");
    must(&mut client, "USE k");
    must(&mut client, "SELECT b FROM t WHERE a = 'same'");
    drop(client);
    proxy.stop().unwrap();

    let mut proxy = tee(one.port, other.port, "behavior: LogWarningOnMismatch,");
    let mut client = session(proxy.port);
    assert!(shows(&must(&mut client, DIFFERS), "server 0"));
    proxy.child.wait_for_line("Tee mismatch", Duration::from_secs(10)).unwrap();
    drop(client);
    // The mismatch was a warning: that is what this behavior is for.
    proxy.child.signal("TERM");

    let resend = "behavior: {SubchainOnMismatch: {chain: [DebugPrinter: {name: p}, NullSink: {name: n}]}},";
    let mut proxy = tee(one.port, other.port, resend);
    let mut client = session(proxy.port);
    assert!(shows(&must(&mut client, SAME), "same"));
    assert!(shows(&must(&mut client, DIFFERS), "server 0"));
    proxy.child.wait_for_line("Request: ", Duration::from_secs(10)).unwrap();
    let requests = proxy.child.lines().iter().filter(|line| line.contains("Request: ")).count();
    assert_eq!(requests, 1);
    drop(client);
    proxy.stop().unwrap();

    let proxy = tee(one.port, other.port, "");
    let mut client = session(proxy.port);
    assert!(shows(&must(&mut client, DIFFERS), "server 0"));
    must(&mut client, "INSERT INTO k.t (a, b) VALUES ('mirrored', 'x')");
    let deadline = Instant::now() + Duration::from_secs(10);
    while rows(&other, "mirrored") == 0 {
        assert!(Instant::now() < deadline, "it was not mirrored");
    }
    assert_eq!(dropped(&proxy), 0);
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn tee_switch_flips_under_load_without_an_error() {
    let [one, other] = two();
    for behavior in ["Ignore", "LogWarningOnMismatch"] {
        let port = free_port();
        let proxy = tee(one.port, other.port, &format!("behavior: {behavior}, switch_port: {port},"));
        let (done, seen) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut peer = session(proxy.port);
                    while !done.load(Ordering::Relaxed) {
                        let reply = must(&mut peer, DIFFERS);
                        let number = usize::from(!shows(&reply, "server 0"));
                        seen[number].fetch_add(1, Ordering::Relaxed);
                        assert!(number == 0 || shows(&reply, "server 1"));
                    }
                });
            }
            for flip in 0..40 {
                let word = if flip % 2 == 0 { "tee-chain" } else { "regular-chain" };
                let said = http(port, "PUT /transform/tee/result-source", word);
                assert!(said.starts_with("HTTP/1.1 200"), "{said}");
                std::thread::sleep(Duration::from_millis(50));
            }
            done.store(true, Ordering::Relaxed);
        });
        let seen = seen.map(AtomicU64::into_inner);
        println!("{behavior}: {seen:?} replies of either server");
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
        proxy.child.signal("TERM");
    }
}

#[test]
fn tee_ignore_does_not_notice_that_the_second_server_is_stopped() {
    let [one, mut other] = two();
    let proxy = tee(one.port, other.port, "");
    let stopped = Duration::from_secs(if crate::is_full() { 30 } else { 5 });
    let (mut began, mut ended) = (Instant::now(), Instant::now());
    let answered = load(&proxy, "stop", || {
        std::thread::sleep(stopped);
        other.pause();
        began = Instant::now();
        std::thread::sleep(stopped);
        ended = Instant::now();
        other.go_on();
        std::thread::sleep(Duration::from_secs(1));
    });
    let (before, during) = (p99(&answered, began - stopped..began), p99(&answered, began..ended));
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    println!("p99 {before:?} before, {during:?} while the second server is stopped: {ratio:.2}");
    // A machine that does other things for a moment can do this to 5 s, but not to 30.
    assert!(ratio <= 1.5 || !crate::is_full(), "{ratio:.2}");
    let answered = answered.len() as u64;
    assert_eq!(rows(&one, "stop"), answered);
    let lost = all_accounted_for(&proxy, &other, "stop", answered, 0);

    // Killed: what was in flight then may have run, and is counted as dropped; and what it had acknowledged but not yet
    // written to its log, every 10 s, it has forgotten when it starts again.
    let answered = load(&proxy, "kill", || {
        std::thread::sleep(Duration::from_secs(1));
        other.kill();
        std::thread::sleep(stopped);
    });
    let answered = answered.len() as u64;
    assert_eq!(rows(&one, "kill"), answered);
    other.start_again().unwrap();
    let (second, lost) = (rows(&other, "kill"), dropped(&proxy) - lost);
    println!("{answered} writes, {second} mirrored, {lost} dropped");
    assert!(second + lost <= answered + 4, "{second} and {lost} of {answered}");
    assert!(lost > 100 && lost < answered, "{lost} of {answered}");
    let before = dropped(&proxy);
    let answered = load(&proxy, "back", || std::thread::sleep(Duration::from_secs(1)));
    all_accounted_for(&proxy, &other, "back", answered.len() as u64, before);
    proxy.child.signal("TERM");
}

#[test]
fn drivers_see_the_same_through_chains_of_chains() {
    let [one, other] = [(); 2].map(|()| Cassandra::start(Authenticator::Password).unwrap());
    let login = ["cassandra", "cassandra"];
    let direct = crate::real_cassandra::python_suite(one.port, &login);
    let (main, second) = (sink("a", one.port), sink("b", other.port));
    let chains = [
        format!("[ParallelMap: {{name: m, parallelism: 3, ordered_results: false, chain: [{main}]}}]"),
        format!("[ParallelMap: {{name: m, parallelism: 2, ordered_results: true, chain: [{main}]}}]"),
        format!("[ConnectionBalanceAndPool: {{name: p, max_connections: 2, chain: [{main}]}}]"),
        format!("[Tee: {{name: t, chain: [{second}]}}, {main}]"),
        format!("[DebugForceEncode: {{name: e, encode_requests: true, encode_responses: true}}, {main}]"),
        format!(
            "[QueryTypeFilter: {{name: f, deny_tables: [nobody.knows]}}, \
             RequestThrottling: {{name: r, max_requests_per_second: 1000000, per: Table}}, {main}]"
        ),
    ];
    for chain in &chains {
        let proxy = Proxy::with_chain(chain, "");
        let through = crate::real_cassandra::python_suite(proxy.port, &login);
        // What is no CQL could be about any table: a filter by names refuses it in words of its own.
        let is_compared =
            |line: &&str| !(chain.contains("deny_tables") && line.starts_with("syntax error: "));
        let compared = |said: &str| said.lines().filter(is_compared).collect::<Vec<_>>().join("\n");
        assert_eq!(compared(&through), compared(&direct), "{chain}");
        println!("as direct: {chain}");
        proxy.child.signal("TERM");
    }
}
