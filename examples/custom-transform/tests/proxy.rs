//! The program, between a client and a server that are scripted.

use std::process::Command;
use std::time::Duration;

use testkit::scripted::{Peer, Server, encode, error, opcode, query};
use testkit::{Child, Scratch, free_port};

const PROXY: &str = env!("CARGO_BIN_EXE_custom-transform");

/// The topology of this folder, with other ports.
fn topology(port: u16, server: u16) -> String {
    let text = include_str!("../topology.yaml");
    text.replace("127.0.0.1:9043", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:9042", &format!("127.0.0.1:{server}"))
}

#[test]
fn a_select_without_a_bound_is_refused_and_others_reach_the_server() {
    let (server, port) = (Server::echo(), free_port());
    let files = Scratch::new("custom").unwrap();
    let topology = files.write("topology.yaml", &topology(port, server.port)).unwrap();
    let config = files.write("config.yaml", "main_log_level: info").unwrap();
    let mut command = Command::new(PROXY);
    let mut proxy = Child::start(command.arg("-t").arg(topology).arg("-c").arg(config));
    proxy.wait_for_line("accepting inbound connections", Duration::from_secs(10)).unwrap();

    let mut client = Peer::session(port);
    client.send(&encode(4, 1, opcode::QUERY, &query(b"SELECT * FROM ks.t")));
    let reply = client.receive().unwrap();
    assert_eq!((reply.id, reply.opcode), (1, opcode::ERROR));
    assert_eq!(error(&reply.body), (0x2200, "a SELECT from t needs a WHERE or a LIMIT".to_owned()));

    let bounded = query(b"SELECT * FROM ks.t WHERE k = 1");
    client.send(&encode(4, 2, opcode::QUERY, &bounded));
    let reply = client.receive().unwrap();
    assert_eq!((reply.id, reply.opcode, reply.body), (2, opcode::RESULT, bounded));

    proxy.signal("TERM");
    assert!(proxy.wait(Duration::from_secs(15)).unwrap().success());
}

#[test]
fn the_files_of_this_folder_are_right_and_a_mistake_is_told_with_its_place() {
    let check = |topology: &std::path::Path| {
        let mut command = Command::new(PROXY);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["--check", "-c", "config.yaml", "-t"]);
        let output = command.arg(topology).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said, _) = check("topology.yaml".as_ref());
    assert_eq!(code, Some(0));
    assert!(said.contains("RefuseUnboundedSelect \"no-full-scans\"") && said.ends_with("OK\n"), "{said}");

    let files = Scratch::new("custom").unwrap();
    let wrong = topology(9043, 9042).replace("except_keyspaces", "except_keyspace");
    let (code, _, said) = check(&files.write("topology.yaml", &wrong).unwrap());
    assert_eq!(code, Some(1));
    assert!(said.contains("unknown field `except_keyspace`, expected one of `name`"), "{said}");
}

#[test]
fn editors_know_the_transform_too() {
    let output = Command::new(PROXY).args(["--schema", "topology"]).output().unwrap();
    let schema = String::from_utf8(output.stdout).unwrap();
    assert!(
        schema.contains("\"RefuseUnboundedSelect\"") && schema.contains("\"except_keyspaces\""),
        "{schema}"
    );
}
