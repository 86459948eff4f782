//! Files and what is said of them.

use crate::{Catalog, TransformShape, fuzz_topology, read_process, read_topology};

struct Known;

impl Catalog for Known {
    fn sources(&self) -> Vec<&str> {
        vec!["Cassandra"]
    }
    fn transforms(&self) -> Vec<&str> {
        vec!["Sink", "Filter"]
    }
    fn shape(&self, transform: &str) -> Option<TransformShape> {
        let is_terminating = match transform {
            "Sink" => true,
            "Filter" => false,
            _ => return None,
        };
        Some(TransformShape { is_terminating, accepts: &[], name_is_option: false })
    }
}

/// Reads a topology, and for every transform the option `number`.
fn read(text: &str) -> (Vec<(String, Vec<String>)>, String) {
    let (topology, mut errors) = read_topology("t.yaml", text, &Known);
    let mut sources = Vec::new();
    for source in topology.iter().flat_map(|topology| &topology.sources) {
        for transform in &source.chain {
            transform.read_options(&mut errors, |fields| fields.optional_u64("number", 1..=9));
        }
        sources.push((
            source.name.clone(),
            source.chain.iter().map(|transform| transform.kind.clone()).collect(),
        ));
    }
    (sources, errors.to_string())
}

const NAMED: &str = "
sources:
  - Cassandra:
      name: c
      listen_addr: 127.0.0.1:9042
      chain:
        - Filter: {name: f, number: 3}
        - Sink:
            name: s
";

const RELEASED: &str = "
sources:
  - Cassandra:
      name: c
      listen_addr: 127.0.0.1:9042
      chain:
        - Filter:
            number: 3
        - Sink
";

#[test]
fn both_dialects_say_the_same() {
    let expected = vec![("c".to_owned(), vec!["Filter".to_owned(), "Sink".to_owned()])];
    assert_eq!(read(NAMED), (expected.clone(), String::new()));
    assert_eq!(read(RELEASED), (expected, String::new()));
}

#[test]
fn three_mistakes_are_reported_with_their_lines() {
    let text = "
sources:
  - Cassandra:
      name: c
      listen_addr: localhost
      chain:
        - Filter: {name: f, number: 30}
        - Sink: {name: s, colour: red}
";
    assert_eq!(
        read(text).1,
        "t.yaml:5:20: sources[0].Cassandra.listen_addr: Invalid listening address \"localhost\", must follow the format ip_address:port e.g. 10.0.0.1:9042\n\
         t.yaml:7:37: sources[0].Cassandra.chain[0].Filter.number: expected a whole number from 1 to 9\n\
         t.yaml:8:27: sources[0].Cassandra.chain[1].Sink: unknown field `colour`, expected one of `name`, `number`"
    );
}

#[test]
fn mistakes_are_named() {
    let check = |text: &str, expected: &[&str]| {
        let said = read(text).1;
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{said}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{line}\nis not\n{expected}");
        }
    };
    check("sources: [", &["t.yaml:2:1: not YAML"]);
    check("", &["missing field `sources`"]);
    check("sources: 3", &["sources: expected a list"]);
    check("sources: []\nmore: 1", &["t.yaml:2:1: unknown field `more`, expected `sources`"]);
    check(
        "sources:\n- Valkey: {}",
        &["source type `Valkey` is not supported by this version, expected `Cassandra`"],
    );
    check("sources:\n- Nope: {}", &["unknown variant `Nope`, expected `Cassandra`"]);
    check("a: 1\na: 2\nsources: []", &["unknown field `a`", "t.yaml:2:1: `a` stands here twice"]);
    let named =
        |chain: &str| format!("sources:\n- Cassandra: {{name: c, listen_addr: 'h:1', chain: [{chain}]}}");
    check(&named(""), &["Chain cannot be empty"]);
    check(
        &named("Tee: {}"),
        &["transform `Tee` is not supported by this version, expected one of `Sink`, `Filter`"],
    );
    check(
        &named("Filter: {name: f}"),
        &[
            "Non-terminating Transform Filter named \"f\" is last in chain. Last Transform must be terminating.",
        ],
    );
    check(&named("Filter"), &["Non-terminating transform \"Filter\" is last in chain."]);
    check(&named("Filter: {name: a}, Sink: {}"), &["missing field `name`"]);
    check(
        &named("Sink: {name: a}, Sink: {name: a}"),
        &["Terminating Transform Sink named \"a\" is not last", "Duplicate transform names detected: \"a\""],
    );
}

#[test]
fn aliases_work_and_cannot_blow_up() {
    let text =
        format!("{NAMED}  - Cassandra: &x {{name: d, listen_addr: 'h:1', chain: &c [Sink: {{name: z}}]}}\n");
    assert_eq!(read(&text).1, "");
    let mut bomb = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1]\n");
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [&*below; 9].join(",")));
    }
    assert!(read(&bomb).1.contains("more than 100000 values"), "{}", read(&bomb).1);
    assert!(read(&"[".repeat(65)).1.contains("64 levels"), "{}", read(&"[".repeat(65)).1);
    assert!(!read(&"[".repeat(100_000)).1.is_empty());
}

#[test]
fn bent_files_are_survived() {
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut bytes = NAMED.as_bytes().to_vec();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = b" \n:-{}[]&*!|>'\"#%,x1"[(state >> 20) as usize % 20];
        }
        fuzz_topology(&bytes);
    }
}

#[test]
fn config_yaml_is_read() {
    let config = read_process(
        "c.yaml",
        "main_log_level: \"info, shotover=info\"\nobservability_interface: 127.0.0.1:9001",
    );
    assert_eq!(config.unwrap().observability_interface.unwrap().port(), 9001);
    assert!(read_process("c.yaml", "main_log_level: info").is_ok());
    let said = read_process("c.yaml", "observability_interface: here\nlevel: 3").unwrap_err().to_string();
    assert_eq!(
        said,
        "c.yaml:1:1: missing field `main_log_level`\n\
         c.yaml:1:26: observability_interface: expected an address like 127.0.0.1:9001\n\
         c.yaml:2:1: unknown field `level`, expected one of `main_log_level`, `observability_interface`"
    );
}
