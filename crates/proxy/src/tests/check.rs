//! `--check` on wrong topologies: all of what it says is compared.

use clap::Parser;
use testkit::Scratch;

use crate::assemble::plan;
use crate::check::check;
use crate::cli::Options;
use crate::registry::Registry;

/// What `--check` says of the files of a folder.
pub(super) fn said_of(folder: &str) -> Result<String, String> {
    let files = ["-t", &format!("{folder}/topology.yaml"), "-c", &format!("{folder}/config.yaml")];
    let options = Options::parse_from([&["shotover", "--check"], &files[..]].concat());
    check(&options, &Registry::built_in())
}

/// What it says of files with these texts.
fn said_of_texts(topology: &str, config: &str) -> Result<String, String> {
    let folder = Scratch::new("check").unwrap();
    folder.write("topology.yaml", topology).unwrap();
    folder.write("config.yaml", config).unwrap();
    said_of(&folder.path().display().to_string())
}

/// Systems differ in why a name cannot be resolved.
fn without_reasons(text: &str) -> String {
    let cut = |line: &str| match line.split_once("cannot be resolved: ") {
        Some((before, _)) => format!("{before}cannot be resolved: (why)\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(cut).collect()
}

#[test]
fn every_mistake_of_the_wrong_topologies_is_told_with_its_place() {
    let mut folders: Vec<String> = std::fs::read_dir("fixtures/check")
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    folders.sort();
    assert_eq!(folders.len(), 11);
    for folder in folders {
        let said = without_reasons(&said_of(&folder).unwrap_err());
        let file = format!("{folder}/said.txt");
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(said, expected, "{file}:\n{said}");
    }
}

#[test]
fn upstream_did_not_validate_the_chain_of_a_pool() {
    let topology = "sources:
- Cassandra: {name: a, listen_addr: '127.0.0.1:0', chain: [ConnectionBalanceAndPool: {name: p, max_connections: 1, chain: [Coalesce: {name: c}, DebugPrinter: {name: d}]}]}
";
    let said = said_of_texts(topology, "main_log_level: info\nobservability_interface: ~").unwrap_err();
    let place = "sources[0].Cassandra.chain[0].ConnectionBalanceAndPool.chain";
    for mistake in [
        "[0].Coalesce: Coalesce: Provide at least one of",
        "[1]: Non-terminating Transform DebugPrinter named \"d\" is last in chain.",
    ] {
        assert!(said.contains(&format!("{place}{mistake}")), "{said}");
    }
}

#[test]
fn what_would_run_is_told() {
    let topology = "sources:
- Cassandra: {name: a, listen_addr: 'localhost:0', connection_limit: 7, chain: [DebugPrinter: {name: p}, CassandraSinkSingle: {name: s, remote_address: '127.0.0.1:1', connect_timeout_ms: 1}]}
- Cassandra: {name: b, listen_addr: '127.0.0.1:0', chain: [NullSink: {name: n}]}
";
    let said =
        said_of_texts(topology, "main_log_level: info\nobservability_interface: 127.0.0.1:9001").unwrap();
    let (listens, rest) = said.split_once(", at most").unwrap();
    assert!(listens.starts_with("Cassandra source \"a\" on localhost:0 ("), "{said}");
    assert!(listens.contains("127.0.0.1:0") || listens.contains("[::1]:0"), "{said}");
    let expected = " 7 clients
  DebugPrinter \"p\"
  CassandraSinkSingle \"s\" to 127.0.0.1:1
Cassandra source \"b\" on 127.0.0.1:0, at most 512 clients
  NullSink \"n\"
log level \"info\", metrics on 127.0.0.1:9001
OK
";
    assert_eq!(rest, expected);
    let said = said_of_texts("sources: []", "main_log_level: info").unwrap();
    assert_eq!(said, "log level \"info\", metrics nowhere\nOK\n");
}

#[test]
fn ports_collide_only_where_they_would() {
    for (first, second, collides) in [
        ("127.0.0.1:9", "127.0.0.1:9", true),
        ("127.0.0.1:9", "127.0.0.1:8", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("127.0.0.1:9", "127.0.0.2:9", false),
        ("0.0.0.0:9", "127.0.0.1:9", true),
        ("127.0.0.1:9", "[::]:9", true),
        ("0.0.0.0:9", "[::1]:9", false),
        ("0.0.0.0:9", "[::]:9", true),
    ] {
        let topology = format!(
            "sources: [Cassandra: {{name: a, listen_addr: '{first}', chain: [NullSink]}}, \
             Cassandra: {{name: b, listen_addr: '{second}', chain: [NullSink]}}]"
        );
        let said = said_of_texts(&topology, "main_log_level: info");
        assert_eq!(said.is_err(), collides, "{first} {second}: {said:?}");
    }
}

#[test]
fn a_switch_on_a_port_that_the_process_has_keeps_it_from_starting() {
    let refused = |ports: [u16; 4], metrics: u16| {
        let [source, first, nested, last] = ports;
        let folder = Scratch::new("switches").unwrap();
        let topology = format!(
            "sources: [Cassandra: {{name: a, listen_addr: '0.0.0.0:{source}', chain: [\
             Tee: {{switch_port: {first}, chain: [Tee: {{switch_port: {nested}, chain: [NullSink]}}, NullSink]}}, \
             ParallelMap: {{parallelism: 2, ordered_results: true, chain: [\
             Tee: {{switch_port: {last}, chain: [NullSink]}}, NullSink]}}]}}]"
        );
        let config = format!("main_log_level: info\nobservability_interface: 127.0.0.1:{metrics}");
        folder.write("topology.yaml", &topology).unwrap();
        folder.write("config.yaml", &config).unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let options =
            Options::parse_from(["shotover", "-t", &file("topology.yaml"), "-c", &file("config.yaml")]);
        let said = plan(&options, &Registry::built_in()).map(|_| ()).err();
        said.map(|said| said.matches("listens there already").count())
    };
    assert_eq!(refused([1, 2, 3, 4], 5), None);
    assert_eq!(refused([1, 2, 3, 2], 5), Some(1));
    assert_eq!(refused([1, 2, 1, 2], 2), Some(3));
    assert_eq!(refused([1, 2, 3, 4], 1), Some(1));
}

#[test]
fn a_file_that_cannot_be_opened_is_told_of_with_its_place_and_none_is_made() {
    let folder = Scratch::new("opened").unwrap();
    let shown = folder.path().display();
    let topology = format!(
        "sources: [Cassandra: {{name: a, listen_addr: '127.0.0.1:0', chain: [\
         RequestLog: {{path: {shown}/new}}, RequestLog: {{path: {shown}/no/log}}, RequestLog: {{path: {shown}}}, \
         Tee: {{chain: [RequestLog: {{path: {shown}/no/log}}, NullSink]}}, NullSink]}}]"
    );
    let said = said_of_texts(&topology, "main_log_level: info").unwrap_err();
    for (path, problem) in [
        ("chain[1].RequestLog", format!("{shown}/no/log: No such file or directory (os error 2)")),
        ("chain[2].RequestLog", format!("{shown}: is a directory")),
        (
            "chain[3].Tee.chain[0].RequestLog",
            format!("{shown}/no/log: No such file or directory (os error 2)"),
        ),
    ] {
        let told = format!(": sources[0].Cassandra.{path}: {problem}");
        assert!(said.lines().any(|line| line.ends_with(&told)), "{told} is not in\n{said}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_has_no_files_is_not_checked() {
    let options = Options::parse_from(["shotover", "--check", "passthrough", "cassandra"]);
    assert_eq!(check(&options, &Registry::built_in()).unwrap_err(), "--check: there are no files to check");
}
