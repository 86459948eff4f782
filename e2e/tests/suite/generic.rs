//! The generic transforms in the program that ships: their examples, what they do at both ends, and what they write.

use std::net::Shutdown;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use testkit::scripted::{Peer, Server, accept_session, encode, error, opcode, query};
use testkit::{Child, Proxy, Scratch, free_port, workspace};

const READY: &str = "Shotover is now accepting inbound connections";
const READY_MAX: Duration = Duration::from_secs(10);

fn sink(server: &Server) -> String {
    format!(
        "CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}",
        server.port
    )
}

/// Starts the proxy in a folder, with this topology and what it needs else.
fn start_in(folder: &Scratch, topology: &str) -> Child {
    folder.write("topology.yaml", topology).unwrap();
    folder.write("config.yaml", "main_log_level: info").unwrap();
    let mut command = Command::new(Proxy::binary());
    command.current_dir(folder.path()).args(["-t", "topology.yaml", "-c", "config.yaml"]);
    Child::start(&mut command)
}

fn stop(mut child: Child) {
    child.signal("TERM");
    assert!(child.wait(Duration::from_secs(15)).unwrap().success(), "{}", child.lines().join("\n"));
}

/// The examples of a page.
fn examples(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```yaml topology\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(example, _)| example.replace("127.0.0.1:9043", "127.0.0.1:0")).collect()
}

#[test]
fn every_example_of_the_transforms_pages_starts() {
    let mut started = 0;
    for page in std::fs::read_dir(workspace().join("docs/transforms")).unwrap().flatten() {
        for example in examples(&page.path()) {
            let folder = Scratch::new("page").unwrap();
            let mut child = start_in(&folder, &example);
            let ready = child.wait_for_line(READY, READY_MAX);
            ready.unwrap_or_else(|said| panic!("{}: {said}", page.path().display()));
            stop(child);
            started += 1;
        }
    }
    assert!(started >= 10, "{started}");
}

#[test]
fn what_coalesce_held_is_sent_when_the_client_has_no_more_to_send() {
    for connections in ["PerClient", "Shared"] {
        let server = Server::echo();
        let sink = sink(&server).replace("name: s,", &format!("name: s, connections: {connections},"));
        what_coalesce_held_is_sent(&format!("[{COALESCE}, {sink}]"));
    }
}

#[test]
fn upstream_passed_no_flush_to_the_chains_of_a_parallel_map_or_a_pool() {
    let server = Server::echo();
    let inner = format!("chain: [{COALESCE}, {}]", sink(&server));
    for ordered in [true, false] {
        what_coalesce_held_is_sent(&format!(
            "[ParallelMap: {{name: m, parallelism: 2, ordered_results: {ordered}, {inner}}}]"
        ));
    }
    what_coalesce_held_is_sent(&format!(
        "[ConnectionBalanceAndPool: {{name: p, max_connections: 2, {inner}}}]"
    ));
}

/// It holds more than any client here sends, for any time.
const COALESCE: &str = "Coalesce: {name: c, flush_when_buffered_message_count: 1000}";

fn what_coalesce_held_is_sent(chain: &str) {
    let proxy = Proxy::with_chain(chain, "");
    let requests: Vec<u8> = (0..100).flat_map(|id| encode(4, id, opcode::QUERY, &query(b"INSERT"))).collect();
    let mut left = Peer::session(proxy.port);
    left.send(&requests);
    left.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(left.receive().is_err(), "nothing was held");
    left.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    left.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(left.receive_all().len(), 100);
    // The end of the process is the end of what a client has to send.
    let mut stays = Peer::session(proxy.port);
    stays.send(&requests);
    std::thread::sleep(Duration::from_millis(200));
    proxy.child.signal("TERM");
    assert_eq!(stays.receive_all().len(), 100);
    // It has been told already: a second signal would end it at once.
    let mut proxy = proxy;
    assert!(proxy.child.wait(Duration::from_secs(15)).unwrap().success());
}

#[test]
fn coalesce_sends_when_it_is_time_and_replies_go_on() {
    let server = Server::echo();
    let chain =
        format!("[Coalesce: {{name: c, flush_when_millis_since_last_flush: 100}}, {}]", sink(&server));
    let proxy = Proxy::with_chain(&chain, "");
    let mut client = Peer::session(proxy.port);
    for _ in 0..3 {
        let begun = Instant::now();
        client.send(&encode(4, 1, opcode::QUERY, &query(b"INSERT")));
        assert_eq!(client.receive().unwrap().id, 1);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(95), "{took:?}");
    }
    proxy.stop().unwrap();
}

#[test]
fn a_throttle_passes_its_quota_in_the_first_second_whichever_workers_the_clients_are_on() {
    let server = Server::echo();
    let chain = format!("[RequestThrottling: {{name: t, max_requests_per_second: 50}}, {}]", sink(&server));
    let proxy = Proxy::with_arguments(&chain, "", &["--core-threads", "16"]);
    // Of sixteen workers each takes eight: these are on two.
    let mut clients: Vec<Peer> = (0..16).map(|_| Peer::session(proxy.port)).collect();
    let begun = Instant::now();
    // They ask for 1,600 a second, all the time.
    let (mut passed, mut asked) = (0, 0);
    while begun.elapsed() < Duration::from_millis(700) {
        for client in &mut clients {
            client.send(&encode(4, 7, opcode::QUERY, &query(b"SELECT")));
        }
        for client in &mut clients {
            let reply = client.receive().unwrap();
            match reply.opcode {
                opcode::RESULT => passed += 1,
                _ => assert_eq!(error(&reply.body), (0x1001, "Server overloaded".to_owned())),
            }
            asked += 1;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // A machine that stood still in between has seen some of the next second.
    let most = 50 + begun.elapsed().saturating_sub(Duration::from_secs(1)).as_millis().div_ceil(20);
    assert!((50..=most).contains(&passed), "{passed} of {asked}, {most} at most");
    proxy.stop().unwrap();
}

#[test]
fn statements_are_counted_on_the_page_of_metrics() {
    let server = Server::echo();
    for (counter, sink) in [
        ("QueryCounter: {name: q, counter_name: mine}", sink(&server)),
        ("QueryCounter: {name: mine}", sink(&server).replace("name: s, ", "")),
    ] {
        let proxy = Proxy::with_chain(&format!("[{counter}, {sink}]"), "");
        assert_eq!(proxy.metric("shotover_query_count{name=\"mine\"}"), Some(0.0));
        let mut client = Peer::session(proxy.port);
        for text in ["SELECT 1", "insert into t", "SELECT 2"] {
            client.send(&encode(4, 1, opcode::QUERY, &query(text.as_bytes())));
            client.receive().unwrap();
        }
        let series = "shotover_query_count{name=\"mine\",query=\"SELECT\",type=\"cassandra\"}";
        assert_eq!(proxy.metric(series), Some(2.0), "{}", proxy.metrics());
        for (series, count) in [
            ("shotover_source_to_sink_latency_seconds_count{sink=\"CassandraSinkSingle\"}", 4.0),
            ("shotover_sink_to_source_latency_seconds_count{source=\"c\"}", 4.0),
            ("shotover_transform_latency_seconds_count{transform=\"QueryCounter\"}", 4.0),
        ] {
            assert_eq!(proxy.metric(series), Some(count), "{series}");
        }
        assert!(!proxy.metrics().contains("client_details"), "upstream had a series for each client");
        proxy.stop().unwrap();
    }
}

#[test]
fn a_request_log_has_a_line_for_each_request_with_its_user() {
    let server = Server::start(|mut peer| {
        while let Ok(frame) = peer.receive() {
            let (opcode, body) = match frame.opcode {
                opcode::STARTUP => (opcode::AUTHENTICATE, b"\0\x01x".as_slice()),
                opcode::AUTH_RESPONSE => (opcode::AUTH_SUCCESS, b"\xff\xff\xff\xff".as_slice()),
                _ => (opcode::RESULT, b"\0\0\0\x01".as_slice()),
            };
            peer.send(&encode(0x84, frame.id, opcode, body));
        }
    });
    let (folder, port) = (Scratch::new("request-log").unwrap(), free_port());
    let topology = format!(
        "sources:\n- Cassandra: {{name: c, listen_addr: '127.0.0.1:{port}', chain: [RequestLog: {{name: l, path: log}}, {}]}}\n",
        sink(&server)
    );
    let mut child = start_in(&folder, &topology);
    child.wait_for_line(READY, READY_MAX).unwrap();
    let mut client = Peer::connect(port);
    for (opcode, body) in [
        (opcode::STARTUP, b"\0\0".to_vec()),
        (opcode::AUTH_RESPONSE, b"\0\0\0\x0b\0bob\0secret".to_vec()),
        (opcode::QUERY, query(b"SELECT * FROM ks.t WHERE a = 'secret'")),
    ] {
        client.send(&encode(4, 1, opcode, &body));
        client.receive().unwrap();
    }
    drop(client);
    stop(child);
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    let expected = "\"client\":\"127.0.0.1\",\"user\":\"bob\",\"kind\":\"SELECT\",\"table\":\"ks.t\",\"prepared\":false,\"statement\":\"SELECT * FROM ks.t WHERE a = ?\",\"latency_micros\":";
    assert!(lines[2].contains(expected) && lines[2].ends_with(",\"outcome\":\"ok\"}"), "{log}");
    assert!(lines[0].contains("\"user\":null,\"kind\":\"STARTUP\""), "{log}");
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_request_log_that_cannot_be_opened_keeps_the_process_from_starting() {
    let folder = Scratch::new("no-log").unwrap();
    let mut child = start_in(
        &folder,
        "sources: [Cassandra: {name: c, listen_addr: '127.0.0.1:0', chain: [RequestLog: {path: no/such/folder}, NullSink]}]",
    );
    assert_eq!(child.wait(READY_MAX).unwrap().code(), Some(1));
    std::thread::sleep(Duration::from_millis(100));
    let said = child.lines().join("\n");
    assert!(said.contains("RequestLog: no/such/folder: No such file or directory"), "{said}");
}

#[test]
fn messages_are_kept_as_files_and_those_of_earlier_runs_go() {
    let server = Server::echo();
    let (folder, port) = (Scratch::new("message-log").unwrap(), free_port());
    let old = folder.path().join("message-log/9/requests");
    std::fs::create_dir_all(&old).unwrap();
    let topology = format!(
        "sources:\n- Cassandra: {{name: c, listen_addr: '127.0.0.1:{port}', chain: [DebugLogToFile: {{name: l}}, {}]}}\n",
        sink(&server)
    );
    let mut child = start_in(&folder, &topology);
    child.wait_for_line(READY, READY_MAX).unwrap();
    assert!(!old.exists());
    let mut client = Peer::session(port);
    let large = encode(4, 2, opcode::QUERY, &query(&[b'x'; 100_000]));
    client.send(&large);
    client.receive().unwrap();
    drop(client);
    stop(child);
    let read = |path: &str| std::fs::read(folder.path().join("message-log/1").join(path)).unwrap();
    assert_eq!(read("requests/message1.bin"), encode(4, 0, opcode::STARTUP, &[0, 0]));
    assert_eq!(read("requests/message2.bin"), large);
    assert_eq!(read("responses/message1.bin"), encode(0x84, 0, opcode::READY, &[]));
    assert_eq!(read("responses/message2.bin").len(), large.len());
}

#[test]
fn messages_that_cannot_be_read_are_logged_and_pass() {
    let server = Server::echo();
    let chain = format!(
        "[DebugForceParse: {{name: p, parse_requests: true, parse_responses: false}}, {}]",
        sink(&server)
    );
    let mut proxy = Proxy::with_chain(&chain, "");
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, b"?"));
    assert_eq!(client.receive().unwrap().body, b"?");
    let expected = "Failed to parse frame: the body ends too early";
    proxy.child.wait_for_line(expected, Duration::from_secs(5)).unwrap();
    proxy.stop().unwrap();
}

#[test]
fn latencies_can_be_switched_off() {
    let (arrived, arrivals) = mpsc::channel();
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        arrived.send(()).unwrap();
        drop(peer.receive());
    });
    let (folder, port, admin_port) = (Scratch::new("latencies").unwrap(), free_port(), free_port());
    folder
        .write(
            "topology.yaml",
            &format!(
                "sources:\n- Cassandra: {{name: c, listen_addr: '127.0.0.1:{port}', chain: [{}]}}\n",
                sink(&server)
            ),
        )
        .unwrap();
    let config = format!(
        "main_log_level: info\nobservability_interface: 127.0.0.1:{admin_port}\nlatency_metrics: false\n"
    );
    folder.write("config.yaml", &config).unwrap();
    let mut command = Command::new(Proxy::binary());
    command.current_dir(folder.path()).args(["-t", "topology.yaml", "-c", "config.yaml"]);
    let mut child = Child::start(&mut command);
    child.wait_for_line(READY, READY_MAX).unwrap();
    let client = Peer::session(port);
    arrivals.recv_timeout(Duration::from_secs(5)).unwrap();
    let mut admin = Peer::connect(admin_port);
    admin.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut page = String::new();
    std::io::Read::read_to_string(&mut admin.0, &mut page).unwrap();
    assert!(page.contains("shotover_chain_total_count{chain=\"c\"} 1\n"), "{page}");
    assert!(!page.contains("latency"), "{page}");
    drop(client);
    stop(child);
}
