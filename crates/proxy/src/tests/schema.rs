//! The schemas of both files: up to date, and of one mind with the readers.

use std::fs;
use std::path::PathBuf;

use jsonschema::Validator;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};
use testkit::{Scratch, workspace};

use super::check::said_of;
use crate::check::schema;
use crate::cli::SchemaOf;
use crate::registry::Registry;

pub(super) fn validator(file: SchemaOf) -> Validator {
    let schema = serde_json::from_str(&schema(file, &Registry::built_in())).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// A YAML file as JSON, in the types of YAML 1.2, as an editor sees it. No anchors.
pub(super) fn json(text: &str) -> Value {
    enum Open {
        List(Vec<Value>),
        Map(Map<String, Value>, Option<String>),
    }
    let mut open = vec![Open::List(Vec::new())];
    for event in Parser::new_from_str(text) {
        let value = match event.unwrap().0 {
            Event::Scalar(text, style, ..) => scalar(&text, style == ScalarStyle::Plain),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop().unwrap() {
                Open::List(items) => Value::Array(items),
                Open::Map(entries, _) => Value::Object(entries),
            },
            _ => continue,
        };
        match open.last_mut().unwrap() {
            Open::List(items) => items.push(value),
            Open::Map(entries, key) => match key.take() {
                Some(key) => drop(entries.insert(key, value)),
                None => *key = Some(value.as_str().unwrap().to_owned()),
            },
        }
    }
    let Some(Open::List(mut documents)) = open.pop() else { panic!("{text}") };
    documents.remove(0)
}

fn scalar(text: &str, is_plain: bool) -> Value {
    match text {
        "" | "~" | "null" if is_plain => Value::Null,
        "true" | "false" if is_plain => Value::Bool(text == "true"),
        _ if is_plain && text.parse::<i64>().is_ok() => Value::Number(text.parse::<i64>().unwrap().into()),
        _ if is_plain && text.parse::<f64>().is_ok() => {
            Number::from_f64(text.parse().unwrap()).map_or(Value::Null, Value::Number)
        }
        _ => Value::String(text.to_owned()),
    }
}

#[test]
fn the_committed_schemas_are_up_to_date() {
    for (file, name) in [(SchemaOf::Topology, "topology"), (SchemaOf::Config, "config")] {
        let committed = fs::read_to_string(workspace().join(format!("docs/schemas/{name}.json")));
        assert!(
            committed.unwrap_or_default() == schema(file, &Registry::built_in()),
            "run: cargo run -- --schema {name} > docs/schemas/{name}.json"
        );
    }
}

/// The topologies of a folder's folders.
fn below(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|folder| folder.join("topology.yaml").exists()).collect()
}

#[test]
fn the_examples_are_as_the_schemas_say() {
    let (topology, config) = (validator(SchemaOf::Topology), validator(SchemaOf::Config));
    let mut count = 0;
    for folder in below(workspace().join("examples")) {
        let read = |name: &str| json(&fs::read_to_string(folder.join(name)).unwrap());
        // A program with more transforms has a schema of its own.
        if !folder.join("Cargo.toml").exists() {
            topology.validate(&read("topology.yaml")).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
            count += 1;
        }
        config.validate(&read("config.yaml")).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    }
    assert!(count >= 2);
}

/// What the schema and the reader say of the same topology.
fn verdicts(topology: &Validator, text: &str) -> (bool, bool) {
    let folder = Scratch::new("schema").unwrap();
    folder.write("topology.yaml", text).unwrap();
    folder.write("config.yaml", "main_log_level: info").unwrap();
    (topology.is_valid(&json(text)), said_of(&folder.path().display().to_string()).is_ok())
}

/// A sink whose options go on.
const SINK: &str = "CassandraSinkSingle: {name: s, remote_address: '127.0.0.1:1', connect_timeout_ms: 3";

/// A Tee with this behavior, and the end of its chain.
fn tee(behavior: &str) -> String {
    format!("Tee: {{name: t, behavior: {behavior}, chain: [NullSink: {{name: n}}]}}, NullSink: {{name: o}}")
}

/// Chains that are wrong, each in one way.
fn wrong_chains() -> Vec<String> {
    vec![
        // An unknown key, a missing one, wrong types, wrong words, numbers out of range.
        format!("{SINK}, colour: red}}"),
        "NullSink: {name: n, colour: red}".to_owned(),
        "CassandraSinkSingle: {name: s, remote_address: '127.0.0.1:1'}".to_owned(),
        "CassandraSinkSingle: {name: s, connect_timeout_ms: 3}".to_owned(),
        "CassandraSinkSingle: {name: s, remote_address: 'a', connect_timeout_ms: 3}".to_owned(),
        "CassandraSinkSingle: {name: s, remote_address: [a], connect_timeout_ms: 3}".to_owned(),
        "CassandraSinkSingle: {name: s, remote_address: ~, connect_timeout_ms: 3}".to_owned(),
        "CassandraSinkSingle: {name: s, remote_address: '127.0.0.1:1', connect_timeout_ms: '3'}".to_owned(),
        "CassandraSinkSingle: {name: s, remote_address: '127.0.0.1:1', connect_timeout_ms: 3.5}".to_owned(),
        format!("{SINK}, read_timeout: 0}}"),
        format!("{SINK}, connections: Pooled}}"),
        "CassandraSinkSingle".to_owned(),
        "QueryTypeFilter: {name: f, AllowList: [Reed]}, NullSink: {name: n}".to_owned(),
        "QueryTypeFilter: {name: f, AllowList: Read}, NullSink: {name: n}".to_owned(),
        "Nope: {name: n}".to_owned(),
        "Nope".to_owned(),
        "NullSink: [name]".to_owned(),
        "{NullSink: {name: n}, DebugPrinter: {name: p}}".to_owned(),
        tee("SubchainOnMismatch"),
        tee("{SubchainOnMismatch: }"),
        tee("{SubchainOnMismatch: {}}"),
        tee("{SubchainOnMismatch: []}"),
        tee("{SubchainOnMismatch: [NullSink: {name: m, colour: red}]}"),
        tee("{SubchainOnMismatch: {chain: [Nope: {name: m}]}}"),
        tee("{SubchainOnMismatch: {chain: [NullSink: {name: m}], colour: red}}"),
        // The same in the older dialect.
        "Tee: {behavior: SubchainOnMismatch, chain: [NullSink]}, NullSink".to_owned(),
        "Tee: {behavior: {SubchainOnMismatch: {}}, chain: [NullSink]}, NullSink".to_owned(),
        "Tee: {behavior: {SubchainOnMismatch: [Nope]}, chain: [NullSink]}, NullSink".to_owned(),
        // A file is of one dialect.
        "DebugPrinter: {name: p}, NullSink".to_owned(),
        "DebugPrinter: {name: p}, NullSink: {}".to_owned(),
        "NullSink: {name: }".to_owned(),
        "".to_owned(),
    ]
}

#[test]
fn schema_and_reader_agree() {
    let topology = validator(SchemaOf::Topology);
    let named = [
        tee("Ignore"),
        tee("~"),
        tee("{FailOnMismatch: }"),
        tee("{SubchainOnMismatch: [NullSink: {name: m}]}"),
        tee("{SubchainOnMismatch: {chain: [DebugPrinter: {name: 5}, NullSink: {name: m}]}}"),
        "NullSink: {name: n}".to_owned(),
        format!("{SINK}}}"),
        format!("{SINK}, read_timeout: 5, connections: Shared, tls: ~}}"),
        format!("{SINK}, read_timeout: ~, connections: ~}}"),
        format!("QueryTypeFilter: {{name: f, AllowList: [Read, SchemaChange]}}, {SINK}}}"),
        format!("QueryTypeFilter: {{name: f, DenyList: [Write]}}, DebugPrinter: {{name: 5}}, {SINK}}}"),
        "DebugReturner: {name: r, Fail: }".to_owned(),
    ];
    let released = named.clone().map(|chain| {
        let chain =
            ["name: n", "name: m", "name: o", "name: s, ", "name: t, ", "name: f, ", "name: 5", "name: r, "]
                .into_iter()
                .fold(chain, |chain, name| chain.replace(name, ""));
        chain.replace("DebugPrinter: {}", "DebugPrinter")
    });
    let bare = ["NullSink".to_owned(), "DebugPrinter, DebugPrinter: , NullSink".to_owned()];
    let file = |options: &str, chain: &str| {
        format!("sources: [Cassandra: {{name: c, listen_addr: '127.0.0.1:1', {options} chain: [{chain}]}}]")
    };
    for chain in named.iter().chain(&released).chain(&bare) {
        for options in ["", "connection_limit: 3, hard_connection_limit: true, timeout: ~, transport: Tcp,"] {
            assert_eq!(verdicts(&topology, &file(options, chain)), (true, true), "{options} {chain}");
        }
    }
    assert_eq!(verdicts(&topology, "sources: []"), (true, true));
    for chain in wrong_chains() {
        assert_eq!(verdicts(&topology, &file("", &chain)), (false, false), "{chain}");
    }
    let options =
        ["connection_limit: 0,", "connection_limit: many,", "hard_connection_limit: 1,", "timeout: -1,"];
    for options in options.into_iter().chain(["transport: WebSocket,", "max_frame_bytes: 5,", "owner: me,"]) {
        assert_eq!(verdicts(&topology, &file(options, "NullSink")), (false, false), "{options}");
    }
    for text in [
        "sources: 3",
        "sources: ~",
        "{}",
        "sources: []\nmore: 1",
        "sources: [Valkey: {}]",
        "sources: [Cassandra]",
    ] {
        assert_eq!(verdicts(&topology, text), (false, false), "{text}");
    }
}

#[test]
fn no_wrong_file_is_right_by_the_schema_unless_its_mistake_is_beyond_one() {
    let (topology, config) = (validator(SchemaOf::Topology), validator(SchemaOf::Config));
    for (text, is_valid) in [
        ("main_log_level: info", true),
        ("main_log_level: info\nobservability_interface: 127.0.0.1:9001", true),
        ("main_log_level: info\nobservability_interface: ~", true),
        ("main_log_level: ~", false),
        ("observability_interface: 127.0.0.1:9001", false),
        ("main_log_level: info\ncolour: red", false),
        ("main_log_level: [info]", false),
    ] {
        assert_eq!(config.is_valid(&json(text)), is_valid, "{text}");
    }
    for folder in below(PathBuf::from("fixtures/check")) {
        let shown = folder.display().to_string();
        // Not YAML; with anchors; with names that stand for two things, or for nothing; with ports of two.
        if !["01", "05", "06", "08", "10", "11"].iter().any(|number| shown.contains(number)) {
            let text = fs::read_to_string(folder.join("topology.yaml")).unwrap();
            assert!(!topology.is_valid(&json(&text)), "{shown}");
        }
    }
}
