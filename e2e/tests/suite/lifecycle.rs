//! Start, mistakes in files, limits, signals, admin endpoints.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use testkit::scripted::{Peer, Server, accept_session, encode, opcode, query};
use testkit::{Child, Proxy, Scratch};

/// Starts the proxy with these files, which it must refuse, and says what it printed.
fn refused(topology: &str, config: &str) -> String {
    let folder = Scratch::new("refused").unwrap();
    folder.write("topology.yaml", topology).unwrap();
    folder.write("config.yaml", config).unwrap();
    let mut command = Command::new(Proxy::binary());
    let mut child =
        Child::start(command.current_dir(folder.path()).args(["-t", "topology.yaml", "-c", "config.yaml"]));
    let status = child.wait(Duration::from_secs(10)).unwrap();
    assert_eq!(status.code(), Some(1));
    std::thread::sleep(Duration::from_millis(100));
    child.lines().join("\n")
}

#[test]
fn every_mistake_of_both_files_is_reported_at_once() {
    let topology = "sources:\n- Cassandra:\n    name: c\n    listen_addr: here\n    chain:\n    - QueryTypeFilter: {name: f, AllowList: [Reed]}\n    - CassandraSinkSingle: {name: s, remote_address: 'x:1', conect_timeout_ms: 3, tls: {}}\n";
    let said = refused(topology, "main_log_level: shotover=loud\ncolour: red\n");
    for expected in [
        "Failed to start shotover",
        "topology.yaml:4:18: sources[0].Cassandra.listen_addr: Invalid listening address",
        "topology.yaml:6:46: sources[0].Cassandra.chain[0].QueryTypeFilter.AllowList[0]: unknown variant `Reed`",
        "topology.yaml:7:28: sources[0].Cassandra.chain[1].CassandraSinkSingle: missing field `connect_timeout_ms`",
        "unknown field `conect_timeout_ms`, expected one of `name`, `remote_address`, `tls`, `connect_timeout_ms`",
        "CassandraSinkSingle.tls: TLS is not supported by this version",
        "config.yaml:1:17: main_log_level: error parsing level filter: expected one of",
        "config.yaml:2:1: unknown field `colour`",
    ] {
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
}

#[test]
fn a_check_ends_with_what_it_found_and_listens_nowhere() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = Scratch::new("checked").unwrap();
    for (sink, config, code, expected) in [
        ("NullSink", "main_log_level: info", 0, "OK"),
        (
            "NullSink",
            "main_log_level: shotover=loud",
            1,
            "config.yaml:1:17: main_log_level: error parsing level filter",
        ),
        ("NulSink", "main_log_level: info", 1, "sources[0].Cassandra.chain[0]: unknown variant `NulSink`"),
    ] {
        let topology =
            format!("sources: [Cassandra: {{name: c, listen_addr: '{address}', chain: [{sink}]}}]");
        folder.write("topology.yaml", &topology).unwrap();
        folder.write("config.yaml", config).unwrap();
        let mut command = Command::new(Proxy::binary());
        command.current_dir(folder.path()).args(["--check", "-t", "topology.yaml", "-c", "config.yaml"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        // What would run is told on one stream, what is wrong on the other.
        let (said, silent) =
            if code == 0 { (output.stdout, output.stderr) } else { (output.stderr, output.stdout) };
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(expected) && silent.is_empty(), "{expected}\nis not in\n{said}");
    }
}

#[test]
fn a_server_without_a_port_is_reported() {
    let topology = "sources:\n- Cassandra:\n    name: c\n    listen_addr: '127.0.0.1:0'\n    chain:\n    - CassandraSinkSingle: {name: s, remote_address: cassandra, connect_timeout_ms: 3}\n";
    let said = refused(topology, "main_log_level: info");
    let expected = "topology.yaml:6:54: sources[0].Cassandra.chain[0].CassandraSinkSingle.remote_address: expected an address with its port";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_connection_limit_that_does_not_fit_is_warned_about_if_somebody_asked_for_it() {
    let folder = Scratch::new("few-files").unwrap();
    let topology = "sources: [Cassandra: {name: c, listen_addr: '127.0.0.1:0', chain: [NullSink]}]";
    folder.write("topology.yaml", topology).unwrap();
    folder.write("config.yaml", "main_log_level: info").unwrap();
    for (arguments, is_warned) in
        [("-t topology.yaml -c config.yaml", true), ("passthrough cassandra --listen 127.0.0.1:0", false)]
    {
        let mut command = Command::new("sh");
        command.current_dir(folder.path());
        command.arg("-c").arg(format!("ulimit -n 200; exec {} {arguments}", Proxy::binary().display()));
        let mut child = Child::start(&mut command);
        child.wait_for_line("accepting inbound connections", Duration::from_secs(10)).unwrap();
        let said = child.lines().join("\n");
        let warning = "allow 512 clients, which may need 1088 open files; this process may have 200";
        assert_eq!(said.contains(warning), is_warned, "{said}");
        assert_eq!(said.contains("WARN"), is_warned, "{said}");
        child.signal("INT");
        assert!(child.wait(Duration::from_secs(10)).unwrap().success());
    }
}

#[test]
fn a_port_that_is_taken_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let topology = format!("sources:\n- Cassandra: {{name: c, listen_addr: '{address}', chain: [NullSink]}}");
    let said = refused(&topology, "main_log_level: info");
    let expected =
        format!("Topology errors\nc source:\n  Address already in use (os error 98) address={address}");
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn both_dialects_start() {
    for chain in ["[DebugPrinter, NullSink]", "[DebugPrinter: {name: p}, NullSink: {name: n}]"] {
        let proxy = Proxy::with_chain(chain, "");
        let mut client = Peer::connect(proxy.port);
        client.send(&encode(4, 1, opcode::QUERY, b"\0\0\0\x01x\0\x01\0"));
        assert_eq!(client.receive().unwrap().opcode, opcode::ERROR);
        proxy.stop().unwrap();
    }
}

#[test]
fn what_was_loaded_is_logged_in_a_line_each() {
    let folder = Scratch::new("loaded").unwrap();
    let topology = "sources: [Cassandra: {name: c, listen_addr: '127.0.0.1:0', chain: [\
                    QueryTypeFilter: {name: \"f\\n\", DenyList: [Read]}, NullSink: {name: n}]}]";
    folder.write("topology.yaml", topology).unwrap();
    folder.write("config.yaml", "main_log_level: info, shotover=info").unwrap();
    for (arguments, loaded) in [
        (
            "-t topology.yaml -c config.yaml",
            [
                r#"ProcessConfig { main_log_level: "info, shotover=info", observability_interface: None, latency_metrics: true }"#,
                r#"options: {"name": "f\n", "DenyList": ["Read"]}"#,
            ],
        ),
        (
            "passthrough cassandra --listen 127.0.0.1:0 --to 127.0.0.1:1",
            ["ProcessConfig {", r#"Passthrough { listen: "127.0.0.1:0", to: "127.0.0.1:1" }"#],
        ),
    ] {
        for format in ["human", "json"] {
            let mut command = Command::new(Proxy::binary());
            command.current_dir(folder.path()).args(["--log-format", format]);
            let mut child = Child::start(command.args(arguments.split(' ')));
            child.wait_for_line("accepting inbound connections", Duration::from_secs(10)).unwrap();
            let lines = child.lines();
            let start = lines.iter().position(|line| line.contains("Starting Shotover")).unwrap();
            for (line, (field, text)) in
                lines[start + 1..].iter().zip(["configuration", "topology"].iter().zip(loaded))
            {
                // In JSON the field is a string.
                let text = if format == "json" {
                    text.replace('\\', r"\\").replace('"', "\\\"")
                } else {
                    text.to_owned()
                };
                for expected in ["INFO", "shotover::runner", field, &text] {
                    assert!(line.contains(expected), "{expected}\nis not in\n{line}");
                }
            }
            child.signal("INT");
            assert!(child.wait(Duration::from_secs(10)).unwrap().success());
        }
    }
}

#[test]
fn a_drain_waits_for_replies_and_a_second_signal_does_not() {
    let (arrived, arrivals) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        let request = peer.receive().unwrap();
        arrived.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        peer.send(&encode(0x84, request.id, opcode::RESULT, b"late"));
    });
    for is_impatient in [false, true] {
        let mut proxy = Proxy::passthrough(server.port);
        let mut client = Peer::session(proxy.port);
        client.send(&encode(4, 1, opcode::QUERY, b"x"));
        arrivals.recv().unwrap();
        proxy.child.signal("TERM");
        proxy.child.wait_for_line("received SIGTERM", Duration::from_secs(5)).unwrap();
        if is_impatient {
            proxy.child.signal("TERM");
            assert_eq!(proxy.child.wait(Duration::from_secs(2)).unwrap().code(), Some(143));
            // What was said last is not lost.
            std::thread::sleep(Duration::from_millis(100));
            let said = proxy.child.lines().join("\n");
            assert!(said.contains("received SIGTERM again: ending at once"), "{said}");
            release.send(()).unwrap();
        } else {
            release.send(()).unwrap();
            assert_eq!(client.receive().unwrap().body, b"late");
            assert!(proxy.child.wait(Duration::from_secs(5)).unwrap().success());
        }
    }
}

#[test]
fn the_process_ends_though_nobody_reads_what_it_prints() {
    let folder = Scratch::new("unread").unwrap();
    let (port, pipe) = (testkit::free_port(), folder.path().join("stdout"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opened for both, it waits for no writer. It is never read.
    let _pipe = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let chain = "[DebugPrinter: {name: p}, NullSink: {name: n}]";
    let topology =
        format!("sources:\n- Cassandra: {{name: c, listen_addr: '127.0.0.1:{port}', chain: {chain}}}\n");
    folder.write("topology.yaml", &topology).unwrap();
    folder.write("config.yaml", "main_log_level: info\n").unwrap();
    let script = format!("exec {} -t topology.yaml -c config.yaml > stdout", Proxy::binary().display());
    let mut child = Child::start(Command::new("sh").current_dir(folder.path()).args(["-c", &script]));
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut client = Peer::connect(port);
    // Two lines each: more than the pipe and the queue in front of it take.
    let requests: Vec<u8> = (0..100).flat_map(|id| encode(4, id, opcode::QUERY, &query(b"SELECT"))).collect();
    for _ in 0..120 {
        client.send(&requests);
        (0..100).for_each(|_| drop(client.receive().unwrap()));
    }
    child.signal("TERM");
    assert!(child.wait(Duration::from_secs(15)).unwrap().success());
}

#[test]
fn a_drain_awaits_a_reply_though_a_large_request_behind_it_was_refused_and_is_still_coming() {
    let (arrived, arrivals) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        let Ok(request) = peer.receive() else { return };
        arrived.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        peer.send(&encode(0x84, request.id, opcode::RESULT, b"late"));
        drop(peer.receive());
    });
    let sink = format!(
        "CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{}', connect_timeout_ms: 3000}}",
        server.port
    );
    let mut proxy =
        Proxy::with_chain(&format!("[QueryTypeFilter: {{name: f, DenyList: [Write]}}, {sink}]"), "");
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"SELECT")));
    arrivals.recv().unwrap();
    let large = [b"INSERT ", &*vec![b'x'; 1_000_000]].concat();
    client.send(&encode(4, 2, opcode::QUERY, &query(&large))[..100_000]);
    assert_eq!(client.receive().unwrap().opcode, opcode::ERROR);
    proxy.child.signal("TERM");
    proxy.child.wait_for_line("received SIGTERM", Duration::from_secs(5)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    release.send(()).unwrap();
    assert_eq!(client.receive().expect("the reply that is due").body, b"late");
    assert!(proxy.child.wait(Duration::from_secs(15)).unwrap().success());
}

#[test]
fn a_drain_does_not_wait_longer_for_a_client_that_has_ended_its_side() {
    let (arrived, arrivals) = mpsc::channel();
    let server = Server::start(move |mut peer| {
        accept_session(&mut peer);
        drop(peer.receive());
        arrived.send(()).unwrap();
        // Never answers.
        drop(peer.receive());
    });
    let proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, b"x"));
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    arrivals.recv().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    // Waits for at most 15 s.
    proxy.stop().unwrap();
}

#[test]
fn connection_limits_hold_soft_and_hard() {
    for is_hard in [false, true] {
        let options = format!("connection_limit: 2, hard_connection_limit: {is_hard},");
        let proxy = Proxy::with_chain("[NullSink: {name: n}]", &options);
        let ask = |peer: &mut Peer| {
            peer.send(&encode(4, 1, opcode::QUERY, b"\0\0\0\x01x\0\x01\0"));
            assert_eq!(peer.receive().unwrap().opcode, opcode::ERROR);
        };
        let mut allowed = [Peer::connect(proxy.port), Peer::connect(proxy.port)];
        allowed.iter_mut().for_each(ask);
        if is_hard {
            while TcpStream::connect(("127.0.0.1", proxy.port)).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
            drop(allowed);
            while TcpStream::connect(("127.0.0.1", proxy.port)).is_err() {
                std::thread::sleep(Duration::from_millis(50));
            }
        } else {
            let mut third = Peer::connect(proxy.port);
            third.send(&encode(4, 1, opcode::QUERY, b"\0\0\0\x01x\0\x01\0"));
            third.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            assert!(third.receive().is_err());
            drop(allowed);
            third.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            assert_eq!(third.receive().unwrap().opcode, opcode::ERROR);
        }
        proxy.stop().unwrap();
    }
}

#[test]
fn a_port_that_was_taken_at_a_hard_limit_is_asked_for_again() {
    let options = "connection_limit: 1, hard_connection_limit: true,";
    let mut proxy = Proxy::with_chain("[NullSink: {name: n}]", options);
    let client = Peer::connect(proxy.port);
    while TcpStream::connect(("127.0.0.1", proxy.port)).is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let taken = std::net::TcpListener::bind(("127.0.0.1", proxy.port)).unwrap();
    drop(client);
    let said =
        format!("Failed to create listener on [127.0.0.1:{}] with error: Address already in use", proxy.port);
    proxy.child.wait_for_line(&said, Duration::from_secs(10)).unwrap();
    let line = proxy.child.lines().into_iter().find(|line| line.contains(&said)).unwrap();
    assert!(line.contains("WARN"), "{line}");
    assert!(
        proxy.metric("shotover_listener_create_failures_count{source=\"c\"}") > Some(0.0),
        "{}",
        proxy.metrics()
    );
    drop(taken);
    proxy.child.wait_for_line("] again", Duration::from_secs(10)).unwrap();
    let mut client = Peer::connect(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"x")));
    assert_eq!(client.receive().unwrap().opcode, opcode::ERROR);
    drop(client);
    proxy.stop().unwrap();
}

#[test]
fn a_port_of_metrics_that_is_taken_is_an_error_and_clients_are_served() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, port) = (taken.local_addr().unwrap(), testkit::free_port());
    let folder = Scratch::new("taken").unwrap();
    let topology =
        format!("sources: [Cassandra: {{name: c, listen_addr: '127.0.0.1:{port}', chain: [NullSink]}}]");
    folder.write("topology.yaml", &topology).unwrap();
    folder
        .write("config.yaml", &format!("main_log_level: info\nobservability_interface: '{address}'"))
        .unwrap();
    let mut command = Command::new(Proxy::binary());
    let mut child =
        Child::start(command.current_dir(folder.path()).args(["-t", "topology.yaml", "-c", "config.yaml"]));
    child.wait_for_line("accepting inbound connections", Duration::from_secs(10)).unwrap();
    let expected = format!("Metrics HTTP server failed: Failed to bind to {address}");
    let line = child.lines().into_iter().find(|line| line.contains(&expected)).unwrap();
    assert!(line.contains("ERROR"), "{line}");
    let mut client = Peer::connect(port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"x")));
    assert_eq!(client.receive().unwrap().opcode, opcode::ERROR);
    drop(client);
    child.signal("TERM");
    assert!(child.wait(Duration::from_secs(10)).unwrap().success());
}

fn http(port: u16, request: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_admin_endpoints_answer() {
    let server = Server::echo();
    let proxy = Proxy::passthrough(server.port);
    let mut client = Peer::session(proxy.port);
    client.send(&encode(4, 1, opcode::QUERY, b"x"));
    client.receive().unwrap();
    let page = proxy.metrics();
    assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{page}");
    for line in [
        "connections_opened{source=\"cassandra\"} 1",
        "shotover_client_protocol_version_count{version=\"v4\"} 1",
        "shotover_chain_total_count{chain=\"cassandra\"} 2",
        "shotover_chain_latency_seconds_count{chain=\"cassandra\"} 2",
        "shotover_failed_requests_count{chain=\"cassandra\",transform=\"CassandraSinkSingle\"} 0",
        "shotover_chunks_taken 0",
    ] {
        assert!(page.lines().any(|known| known == line), "{line}\nis not in\n{page}");
    }
    let put = |body: &str| {
        let head = format!(
            "PUT /filter HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        http(proxy.admin_port, &head)
    };
    assert!(put("debug").ends_with("Filter set"));
    assert!(put("info=what=ever").contains("HTTP 500 error: error parsing level filter"));
    let post = http(
        proxy.admin_port,
        "POST /filter HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    );
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    let free_places = |page: &str| -> u64 {
        let line = page.lines().find(|line| line.starts_with("shotover_available_connections_count{"));
        line.and_then(|line| line.split_once("} ")?.1.parse().ok()).unwrap()
    };
    let before = free_places(&page);
    drop(client);
    let has_come = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        free_places(&proxy.metrics()) == before + 1
    });
    assert!(has_come, "the place of a client that left is not free: {}", proxy.metrics());
    proxy.stop().unwrap();
}

#[test]
fn every_example_starts() {
    let folders = std::fs::read_dir(testkit::workspace().join("examples")).unwrap().flatten();
    let mut started = 0;
    // Programs of their own are tested where they are.
    let folders = folders.map(|entry| entry.path()).filter(|folder| !folder.join("Cargo.toml").exists());
    for folder in folders {
        let mut command = Command::new(Proxy::binary());
        command.arg("-t").arg(folder.join("topology.yaml")).arg("-c").arg(folder.join("config.yaml"));
        let mut child = Child::start(&mut command);
        let ready =
            child.wait_for_line("Shotover is now accepting inbound connections", Duration::from_secs(10));
        ready.unwrap_or_else(|said| panic!("{}: {said}", folder.display()));
        child.signal("INT");
        assert!(child.wait(Duration::from_secs(10)).unwrap().success());
        started += 1;
    }
    assert!(started >= 2);
}
