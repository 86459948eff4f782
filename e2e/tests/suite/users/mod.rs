//! Clients of two roles in two keyspaces share connections to a real Cassandra. Server and clients are killed again
//! and again: nobody ever sees another's keyspace, rights or reply.

mod application;
mod crowd;
mod frames;
mod requests;

use std::time::{Duration, Instant};

use testkit::scripted::{opcode, query};
use testkit::{Authenticator, Cassandra, Proxy};

use self::application::Random;
use self::crowd::{CLIENTS, Crowd, PROCESSES};
use self::frames::{Connection, Reply};
use self::requests::{KEYS, KEYSPACES, ROLES, filled};
use crate::is_full;

/// Who may do everything.
const SUPERUSER: (&str, &str) = ("cassandra", "cassandra");

/// How long anything may take that a busy machine makes slow: to start, to serve again, to become quiet.
const LONG: Duration = Duration::from_secs(120);

/// A session of the superuser, without the proxy.
fn superuser(port: u16) -> Connection {
    let deadline = Instant::now() + LONG;
    loop {
        // The superuser is made a moment after Cassandra listens.
        match Connection::open(port, SUPERUSER) {
            Ok(Ok(connection)) => return connection,
            other => {
                assert!(Instant::now() < deadline, "no superuser: {:?}", other.map(|session| session.err()));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn run(connection: &mut Connection, text: &str) -> Reply {
    let reply = connection.ask(opcode::QUERY, &query(text.as_bytes())).unwrap();
    assert!(!matches!(reply, Reply::Error(..)), "{text}: {reply:?}");
    reply
}

/// Makes keyspaces, tables and roles. `mine` both may read and write, `both` only its owner may write, `own` nobody
/// else may even read.
fn fill(port: u16) {
    let mut connection = superuser(port);
    let mut run = |text: String| drop(run(&mut connection, &text));
    for (role, password) in ROLES {
        run(format!("CREATE ROLE {role} WITH PASSWORD = '{password}' AND LOGIN = true"));
    }
    for (keyspace, name) in KEYSPACES.iter().enumerate() {
        let (owner, other) = (ROLES[keyspace].0, ROLES[1 - keyspace].0);
        run(format!(
            "CREATE KEYSPACE \"{name}\" WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        ));
        run(format!(
            "CREATE TABLE \"{name}\".mine (client int, key int, value text, PRIMARY KEY (client, key))"
        ));
        for table in ["both", "own"] {
            run(format!("CREATE TABLE \"{name}\".{table} (key int PRIMARY KEY, value text)"));
            for key in 0..KEYS {
                let value = filled(keyspace, table, key);
                run(format!("INSERT INTO \"{name}\".{table} (key, value) VALUES ({key}, '{value}')"));
            }
        }
        for (permission, table, role) in [
            ("SELECT", "mine", owner),
            ("MODIFY", "mine", owner),
            ("SELECT", "mine", other),
            ("MODIFY", "mine", other),
            ("SELECT", "both", owner),
            ("MODIFY", "both", owner),
            ("SELECT", "both", other),
            ("SELECT", "own", owner),
            ("MODIFY", "own", owner),
        ] {
            run(format!("GRANT {permission} ON TABLE \"{name}\".{table} TO {role}"));
        }
    }
}

/// Patient with a server that is slow to accept a session: on a busy machine that is no fault.
fn shared_proxy(to: u16) -> Proxy {
    let sink = format!(
        "CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{to}', connect_timeout_ms: 30000, connections: Shared}}"
    );
    // With four workers the clients are on two of them at least, whatever the machine.
    Proxy::with_arguments(&format!("[{sink}]"), "", &["--core-threads", "4"])
}

/// Connections of both roles, as the server counts them.
fn connections_at(server: &mut Connection) -> usize {
    let Reply::Rows(rows) = run(server, "SELECT username FROM system_views.clients") else { return 0 };
    let is_ours = |name: &[u8]| ROLES.iter().any(|(role, _)| role.as_bytes() == name);
    rows.iter().filter(|row| row[0].as_deref().is_some_and(is_ours)).count()
}

/// A metric of the proxy's only sink.
fn metric(proxy: &Proxy, name: &str, label: &str) -> f64 {
    let series = format!("{name}{{chain=\"c\",transform=\"CassandraSinkSingle\"{label}}}");
    proxy.metric(&series).unwrap_or_else(|| panic!("no {series} in\n{}", proxy.metrics()))
}

/// The server is well: no request fails, though processes with clients are killed in the middle of what they do. What
/// is left is that they share: the server has not half as many connections as there are clients.
fn calm(crowd: &mut Crowd, (server, proxy): (u16, &Proxy), time: Duration) {
    crowd.wait_until_nothing_fails();
    let mut server = superuser(server);
    let failed_before = crowd.failed();
    let mut random = Random(failed_before);
    let (mut connections, mut orphans_max) = (Vec::new(), 0.0_f64);
    let began = Instant::now();
    while began.elapsed() < time {
        std::thread::sleep(Duration::from_millis(300 + random.below(400) as u64));
        crowd.check();
        connections.push(connections_at(&mut server));
        orphans_max = orphans_max.max(metric(proxy, "shotover_shared_requests_orphaned", ""));
        if random.below(4) == 0 {
            crowd.kill_and_start_one(random.below(PROCESSES));
        }
    }
    let failed = crowd.failed() - failed_before;
    assert_eq!(failed, 0, "requests failed though the server was well: {crowd}\n{}", crowd.failures());
    connections.sort_unstable();
    let usual = connections[connections.len() / 2];
    println!(
        "{crowd}\n  connections at the server: {usual}, at most {:?}; orphans at most {orphans_max}",
        connections.last()
    );
    assert!(
        usual > 0 && usual * 2 <= PROCESSES * CLIENTS,
        "{usual} connections for {PROCESSES} times {CLIENTS} clients"
    );
}

/// What a run like this must have done to the metrics, once all clients are gone.
fn check_metrics(proxy: &Proxy) {
    let shared = metric(proxy, "shotover_sharing_sink_requests_count", ",connection=\"shared\"");
    let own = metric(proxy, "shotover_sharing_sink_requests_count", ",connection=\"own\"");
    println!("requests on shared connections: {shared}, on clients' own: {own}");
    assert!(shared > own, "{shared} {own}");
    for (name, label) in [
        ("shotover_own_connections_opened_count", ",reason=\"handshake\""),
        ("shotover_own_connections_opened_count", ",reason=\"keyspace\""),
        ("shotover_own_connections_opened_count", ",reason=\"register\""),
        ("shotover_shared_connections_retired_count", ",reason=\"failed\""),
        ("shotover_shared_connections_retired_count", ",reason=\"unused\""),
        ("shotover_sessions_replayed_count", ",outcome=\"accepted\""),
    ] {
        assert!(metric(proxy, name, label) > 0.0, "{name}{label} in\n{}", proxy.metrics());
    }
    let gauges = [
        "shotover_shared_connections_open",
        "shotover_own_connections_open",
        "shotover_shared_requests_in_flight",
        "shotover_shared_requests_orphaned",
        "shotover_shared_spill_bytes",
    ];
    let deadline = Instant::now() + LONG;
    while gauges.iter().any(|gauge| metric(proxy, gauge, "") > 0.0) {
        assert!(Instant::now() < deadline, "nobody is there, but\n{}", proxy.metrics());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn users_and_keyspaces_are_never_mixed_up() {
    let (kills, time) = if is_full() { (7, Duration::from_secs(75)) } else { (1, Duration::from_secs(13)) };
    let mut cassandra = Cassandra::start(Authenticator::Password).unwrap();
    fill(cassandra.port);
    let proxy = shared_proxy(cassandra.port);
    let mut crowd = Crowd::start(proxy.port);
    crowd.wait_for_service();
    for kill in 1..=kills {
        calm(&mut crowd, (cassandra.port, &proxy), time);
        cassandra.kill();
        std::thread::sleep(Duration::from_secs(1));
        cassandra.start_again().unwrap();
        crowd.wait_for_service();
        println!("the server was killed {kill} of {kills} times");
    }
    calm(&mut crowd, (cassandra.port, &proxy), time);
    crowd.check_end();
    crowd.say_what_was_counted(kills);
    drop(crowd);
    check_metrics(&proxy);
    proxy.stop().unwrap();
}
