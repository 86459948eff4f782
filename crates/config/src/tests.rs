//! Files, and what is made or said of them.

use std::fmt::Write;

use crate::{Catalog, ChainSlot, Fields, TransformShape, fuzz_topology, read_process, read_topology};

struct Known;

impl Catalog for Known {
    fn sources(&self) -> Vec<&str> {
        vec!["Cassandra"]
    }

    fn transforms(&self) -> Vec<&str> {
        vec!["Sink", "Filter", "Counter", "ValkeySink", "Map", "Twin"]
    }

    fn shape(&self, transform: &str) -> Option<TransformShape> {
        let shape = |is_terminating, accepts, name_is_option| TransformShape {
            is_terminating,
            accepts,
            name_is_option,
            chains: &[],
        };
        const MAP: &[ChainSlot] =
            &[ChainSlot { path: &["chain"], released_name: "map_chain", suffix: "", count: Some("number") }];
        const TWIN: &[ChainSlot] = &[
            ChainSlot { path: &["chain"], released_name: "twin_chain", suffix: "", count: None },
            ChainSlot {
                path: &["behavior", "Differ"],
                released_name: "differ_chain",
                suffix: ".differ",
                count: None,
            },
        ];
        match transform {
            "Sink" => Some(shape(true, &[], false)),
            "Filter" => Some(shape(false, &["Cassandra", "Valkey"], false)),
            "Counter" => Some(shape(false, &[], true)),
            "Map" => Some(TransformShape { chains: MAP, ..shape(true, &[], false) }),
            "Twin" => Some(TransformShape { chains: TWIN, ..shape(false, &[], false) }),
            "ValkeySink" => Some(shape(true, &["Valkey", "Kafka"], false)),
            _ => None,
        }
    }
}

/// The options of all transforms of [`Known`].
fn read_options(fields: &mut Fields<'_>) -> Option<String> {
    let mut said = String::new();
    fields.aliases("counter_name", &["name", "label"]);
    fields.aliases("switch_port", &["http_api_port"]);
    for key in ["counter_name", "text"] {
        if let Some(value) = fields.optional_string(key) {
            write!(said, " {key}={value}").unwrap();
        }
    }
    for key in ["number", "switch_port"] {
        if let Some(value) = fields.optional_u64(key, 1..=9) {
            write!(said, " {key}={value}").unwrap();
        }
    }
    if let Some(value) = fields.optional_bool("flag") {
        write!(said, " flag={value}").unwrap();
    }
    if let Some(word) = fields.optional_one_of("kind", &["Read", "Write"]) {
        write!(said, " kind={word}").unwrap();
    }
    if fields.has("points") {
        write!(said, " points={}", fields.required_strings("points")?.join("+")).unwrap();
    }
    if let Some(behavior) = fields.optional_node("behavior") {
        let (word, options) = fields.one_key_map(&behavior)?;
        let mut nested = fields.nested(&options)?;
        let depth = nested.required_u64("depth", 0..=u64::MAX);
        nested.finish();
        write!(said, " behavior={word}:{}", depth?).unwrap();
    }
    Some(said)
}

/// What a topology says, one line a source or transform; and what is wrong with it.
fn read(text: &str) -> (String, String) {
    let (topology, mut errors) = read_topology("t.yaml", text, &Known);
    let mut said = String::new();
    for source in topology.iter().flat_map(|topology| &topology.sources) {
        let (hard, timeout) = (source.hard_connection_limit, source.timeout_seconds);
        let limits = (source.connection_limit, source.max_frame_bytes);
        writeln!(
            said,
            "{} {} {} {limits:?} {hard} {timeout:?}",
            source.kind, source.name, source.listen_addr
        )
        .unwrap();
        for transform in &source.chain {
            let options = transform.read_options(&mut errors, read_options);
            writeln!(said, "- {} {}", transform.kind, options.unwrap_or_default()).unwrap();
        }
    }
    (said, errors.to_string())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(read(text).1, expected);
}

/// A file of one source with this chain, in one line.
fn chain(chain: &str) -> String {
    format!("sources: [Cassandra: {{name: c, listen_addr: 'h:1', chain: [{chain}]}}]")
}

const NAMED: &str = "
sources:
  - Cassandra:
      name: c
      listen_addr: 127.0.0.1:9042
      chain:
        - Filter: {name: f, number: 3, http_api_port: 4}
        - Counter:
            name: counter
            counter_name: DML
        - Sink:
            name: s
            behavior:
              Deep:
                depth: 7
            points: [a, \"b\"]
  - Cassandra:
      name: d
      listen_addr: '[::1]:9043'
      connection_limit: 3
      hard_connection_limit: true
      timeout: 60
      max_frame_bytes: 1024
      transport: Tcp
      tls: ~
      chain: [Sink: {name: t, kind: Write}]
";

const RELEASED: &str = "
sources:
  - Cassandra:
      name: c
      listen_addr: 127.0.0.1:9042
      chain:
        - Filter: &options
            number: 3
            switch_port: 4
        - Counter: {name: DML}
        - Sink:
            behavior: {Deep: {depth: 7}}
            points:
              - a
              - b
  - Cassandra: {name: d, listen_addr: '[::1]:9043', connection_limit: 3, hard_connection_limit: true, timeout: 60, max_frame_bytes: 1024,
      chain: [Sink: {kind: Write}]}
";

const SAME: &str = "Cassandra c 127.0.0.1:9042 (512, 268435456) false None
- Filter  number=3 switch_port=4
- Counter  counter_name=DML
- Sink  points=a+b behavior=Deep:7
Cassandra d [::1]:9043 (3, 1024) true Some(60)
- Sink  kind=Write
";

#[test]
fn both_dialects_say_the_same() {
    assert_eq!(read(NAMED), (SAME.to_owned(), String::new()));
    assert_eq!(read(RELEASED), (SAME.to_owned(), String::new()));
    // Marks of other editors.
    assert_eq!(read(&format!("\u{feff}{}", RELEASED.replace('\n', "\r\n"))).0, SAME);
    assert_eq!(read(&format!("---{NAMED}...\n")).0, SAME);
}

#[test]
fn names_are_made_up_where_there_are_none() {
    let text = chain("Filter, Filter, Sink")
        .replace("}]", "}, Cassandra: {name: d, listen_addr: 'h:2', chain: [Filter, Sink: ]}]");
    let (topology, errors) = read_topology("t.yaml", &text, &Known);
    assert_eq!(errors.to_string(), "");
    let sources = topology.unwrap().sources;
    let names = sources.iter().flat_map(|source| &source.chain).map(|transform| &*transform.name);
    let names: Vec<&str> = names.collect();
    assert_eq!(names, ["Filter", "Filter-2", "Sink", "Filter-3", "Sink-2"]);
}

#[test]
fn three_mistakes_are_reported_with_their_lines() {
    check(
        "
sources:
  - Cassandra:
      name: c
      listen_addr: localhost
      chain:
        - Filter: {name: f, number: 30}
        - Sink: {name: s, colour: red}
",
        "t.yaml:5:20: sources[0].Cassandra.listen_addr: Invalid listening address \"localhost\", must follow the format ip_address:port e.g. 10.0.0.1:9042
t.yaml:7:37: sources[0].Cassandra.chain[0].Filter.number: expected a whole number from 1 to 9, found `30`
t.yaml:8:27: sources[0].Cassandra.chain[1].Sink: unknown field `colour`, expected one of `name`, `counter_name`, `text`, `number`, `switch_port`, `flag`, `kind`, `behavior`",
    );
}

#[test]
fn mistakes_of_form_are_named() {
    check("", "t.yaml:1:1: missing field `sources`");
    check("sources: 3", "t.yaml:1:10: sources: expected a list, found `3`");
    check("sources: []", "");
    check("- sources", "t.yaml:1:1: expected a map of options, found a list");
    check("sources: []\nmore: 1", "t.yaml:2:1: unknown field `more`, expected `sources`");
    check("sources: []\nsources: []", "t.yaml:2:1: `sources` stands here twice");
    check("sources: []\n---\nsources: []", "t.yaml:3:1: a second document");
    check("sources:\n- {A: 1, B: 2}", "t.yaml:2:3: sources[0]: expected a map with exactly one key, found 2");
    check("sources:\n- [A]", "t.yaml:2:3: sources[0]: expected a map with exactly one key, found a list");
    check("sources:\n- ? [A]\n  : B", "t.yaml:2:5: sources[0]: a key must be a text of at most 256 bytes");
    assert!(read("sources: [").1.starts_with("t.yaml:2:1: not YAML: "), "{}", read("sources: [").1);
    assert!(
        read("sources: *nobody").1.starts_with("t.yaml:1:10: not YAML: "),
        "{}",
        read("sources: *nobody").1
    );
    check(
        &chain("!Sink {name: s}"),
        "t.yaml:1:60: sources[0].Cassandra.chain[0]: tags are not supported: `!Sink`
t.yaml:1:60: sources[0].Cassandra.chain[0]: unknown variant `name`, expected one of `Sink`, `Filter`, `Counter`, `ValkeySink`, `Map`, `Twin`",
    );
}

#[test]
fn mistakes_in_options_are_named() {
    let sink = |options: &str| chain(&format!("Sink: {{name: s, {options}}}"));
    let at =
        |place: &str, message: &str| format!("t.yaml:1:{place}: sources[0].Cassandra.chain[0].Sink{message}");
    for (options, place, message) in [
        ("number: '3'", "84", ".number: expected a whole number from 1 to 9, found the text `3`"),
        ("number: -1", "84", ".number: expected a whole number from 1 to 9, found `-1`"),
        (
            "number: 99999999999999999999",
            "84",
            ".number: expected a whole number from 1 to 9, found `99999999999999999999`",
        ),
        ("number: [3]", "84", ".number: expected a whole number from 1 to 9, found a list"),
        ("flag: yes", "82", ".flag: expected `true` or `false`, found `yes`"),
        ("text: {}", "82", ".text: expected text, found a map"),
        ("kind: Reed", "82", ".kind: unknown variant `Reed`, expected one of `Read`, `Write`"),
        ("points: [a, [], ~]", "88", ".points[1]: expected text, found a list"),
        ("behavior: {Deep: {}}", "93", ".behavior.Deep: missing field `depth`"),
        (
            "behavior: {Deep: {depth: -1}}",
            "101",
            ".behavior.Deep.depth: expected a whole number, at least 0, found `-1`",
        ),
        (
            "switch_port: 1, http_api_port: 2",
            "107",
            ".http_api_port: `http_api_port` is another name of `switch_port`, which is given too",
        ),
    ] {
        let said = read(&sink(options)).1;
        assert_eq!(said.lines().next().unwrap_or_default(), at(place, message), "{options}");
    }
    assert_eq!(read(&sink("points: [[], ~]")).1.lines().count(), 2, "both are reported");
    let text = sink(&format!("kind: {}", "x".repeat(1000)));
    assert!(read(&text).1.contains("`xxxx") && read(&text).1.len() < 300, "{}", read(&text).1);
    check(&sink("number: ~, flag: , kind: null"), "");
    check(&sink("number: !!int 3, text: !!str 3"), "");
}

#[test]
fn a_transform_that_gives_nothing_and_says_nothing_is_a_mistake() {
    let (topology, mut errors) = read_topology("t.yaml", &chain("Sink: {name: s}"), &Known);
    let sink = &topology.unwrap().sources[0].chain[0];
    sink.read_options(&mut errors, |_| None::<()>);
    let said = "t.yaml:1:66: sources[0].Cassandra.chain[0].Sink: Sink gave nothing, and did not say what is wrong with its \
                options";
    assert_eq!(errors.to_string(), said);
    sink.read_options(&mut errors, |fields| fields.required_string("address"));
    assert_eq!(
        errors.to_string(),
        format!("{said}\nt.yaml:1:66: sources[0].Cassandra.chain[0].Sink: missing field `address`")
    );
}

#[test]
fn mistakes_in_sources_are_named() {
    check(
        "sources:\n- Valkey: {}\n- Nope: {}\n- Cassandra:",
        "t.yaml:2:3: sources[0]: source type `Valkey` is not supported by this version, supported: Cassandra
t.yaml:3:3: sources[1]: unknown variant `Nope`, expected `Cassandra`
t.yaml:4:12: sources[2].Cassandra: missing field `chain`
t.yaml:4:12: sources[2].Cassandra: missing field `listen_addr`
t.yaml:4:12: sources[2].Cassandra: missing field `name`",
    );
    check(
        &chain("Sink").replace("chain:", "tls: {}, transport: WebSocket, connection_limit: 0, max_frame_bytes: 5, chain:"),
        "t.yaml:1:57: sources[0].Cassandra.tls: TLS is not supported by this version
t.yaml:1:72: sources[0].Cassandra.transport: transport `WebSocket` is not supported by this version, supported: Tcp
t.yaml:1:101: sources[0].Cassandra.connection_limit: expected a whole number from 1 to 4294967295, found `0`
t.yaml:1:121: sources[0].Cassandra.max_frame_bytes: expected a whole number from 1024 to 268435456, found `5`",
    );
    check(
        &chain("KafkaSinkSingle: {}, Nope"),
        "t.yaml:1:60: sources[0].Cassandra.chain[0]: transform `KafkaSinkSingle` is not supported by this version, supported: Sink, Filter, Counter, ValkeySink, Map, Twin
t.yaml:1:81: sources[0].Cassandra.chain[1]: unknown variant `Nope`, expected one of `Sink`, `Filter`, `Counter`, `ValkeySink`, `Map`, `Twin`",
    );
}

#[test]
fn what_is_not_supported_has_a_name_and_an_address_all_the_same() {
    check(
        "sources:\n- Valkey: {name: a, listen_addr: nowhere}\n- Cassandra: {name: a, listen_addr: \"h:1\", \
         chain: [Protect: {name: t}, Sink: {name: t}], transport: Udp}",
        "t.yaml:2:3: sources[0]: source type `Valkey` is not supported by this version, supported: Cassandra
t.yaml:2:34: sources[0].Valkey.listen_addr: Invalid listening address \"nowhere\", must follow the format ip_address:port e.g. 10.0.0.1:9042
t.yaml:3:21: sources[1].Cassandra.name: the name `a` is already that of source[0]
t.yaml:3:52: sources[1].Cassandra.chain[0]: transform `Protect` is not supported by this version, supported: Sink, Filter, Counter, ValkeySink, Map, Twin
t.yaml:3:85: sources[1].Cassandra.chain[1].Sink.name: the name `t` is already that of Transform[0] Protect named \"t\" in source[1] \"a\" chain \"a\"
t.yaml:3:101: sources[1].Cassandra.transport: unknown variant `Udp`, expected `Tcp`
Topology errors
Duplicate source names detected:
  \"a\" used by:
    source[0] \"a\"
    source[1] \"a\"
Duplicate transform names detected:
  \"t\" used by:
    Transform[0] Protect named \"t\" in source[1] \"a\" chain \"a\"
    Transform[1] Sink named \"t\" in source[1] \"a\" chain \"a\"",
    );
}

#[test]
fn a_file_is_of_one_dialect() {
    let missing = "t.yaml:1:88: sources[0].Cassandra.chain[1].Sink: missing field `name`";
    check(&chain("Filter: {name: aaaa}, Sink: {}"), missing);
    // A bare word has no place of its own for its options.
    check(
        &chain("Filter: {name: a}, Sink"),
        "t.yaml:1:79: sources[0].Cassandra.chain[1]: missing field `name`",
    );
    check(
        &chain("Filter: {name: a}, Sink: {name: }"),
        "t.yaml:1:90: sources[0].Cassandra.chain[1].Sink.name: expected text, found nothing",
    );
    check(&chain("Counter: {name: a}, Sink"), "");
}

#[test]
fn parts_that_do_not_fit_are_listed_as_upstream_does() {
    check(
        &chain(""),
        "t.yaml:1:59: sources[0].Cassandra.chain: Chain cannot be empty
Topology errors
c source:
  c chain:
    Chain cannot be empty",
    );
    check(&chain("Sink, Filter"), "t.yaml:1:60: sources[0].Cassandra.chain[0]: Terminating transform \"Sink\" is not last in chain. Terminating transform must be last in chain.
t.yaml:1:66: sources[0].Cassandra.chain[1]: Non-terminating transform \"Filter\" is last in chain. Last transform must be terminating.
Topology errors
c source:
  c chain:
    Terminating transform \"Sink\" is not last in chain. Terminating transform must be last in chain.
    Non-terminating transform \"Filter\" is last in chain. Last transform must be terminating.");
    check(
        &chain("ValkeySink"),
        "t.yaml:1:60: sources[0].Cassandra.chain[0]: Transform ValkeySink requires upchain protocol to be one of [Valkey, Kafka] but was Cassandra",
    );
    check("
sources:
- Cassandra:
    name: foo
    listen_addr: h:1
    chain:
    - Sink: {name: dup}
    - Nope: {}
    - Filter: {name: last}
- Cassandra: {name: foo, listen_addr: 'h:2', chain: [Sink: {name: dup}]}
", "t.yaml:7:7: sources[0].Cassandra.chain[0]: Terminating Transform Sink named \"dup\" is not last in chain. Terminating Transform must be last in chain.
t.yaml:8:7: sources[0].Cassandra.chain[1]: unknown variant `Nope`, expected one of `Sink`, `Filter`, `Counter`, `ValkeySink`, `Map`, `Twin`
t.yaml:9:7: sources[0].Cassandra.chain[2]: Non-terminating Transform Filter named \"last\" is last in chain. Last Transform must be terminating.
t.yaml:10:21: sources[1].Cassandra.name: the name `foo` is already that of source[0]
t.yaml:10:67: sources[1].Cassandra.chain[0].Sink.name: the name `dup` is already that of Transform[0] Sink named \"dup\" in source[0] \"foo\" chain \"foo\"
Topology errors
Duplicate source names detected:
  \"foo\" used by:
    source[0] \"foo\"
    source[1] \"foo\"
Duplicate transform names detected:
  \"dup\" used by:
    Transform[0] Sink named \"dup\" in source[0] \"foo\" chain \"foo\"
    Transform[0] Sink named \"dup\" in source[1] \"foo\" chain \"foo\"
foo source:
  foo chain:
    Terminating Transform Sink named \"dup\" is not last in chain. Terminating Transform must be last in chain.
    Non-terminating Transform Filter named \"last\" is last in chain. Last Transform must be terminating.");
    let twice = chain("Sink").replace("}]", "}, Cassandra: {name: c, listen_addr: 'h:2', chain: [Sink]}]");
    assert!(read(&twice).1.ends_with("Topology errors
Source name \"c\" occurred more than once. Make sure all source names are unique. The names will be used in logging and metrics."), "{}", read(&twice).1);
}

#[test]
fn aliases_stand_for_what_they_name() {
    let text = "
sources:
  - Cassandra: {name: c, listen_addr: 'h:1', chain: &chain [Filter: &options {number: 3}, Sink: *options]}
  - Cassandra: {name: d, listen_addr: 'h:2', chain: *chain}
";
    let (said, errors) = read(text);
    assert_eq!(errors, "");
    assert_eq!(said.matches("Filter  number=3\n- Sink  number=3").count(), 2, "{said}");
    // A mistake behind an alias has the line where it stands, and the path of who uses it.
    check(
        &text.replace("number: 3", "number: 0"),
        "t.yaml:3:87: sources[0].Cassandra.chain[0].Filter.number: expected a whole number from 1 to 9, found `0`
t.yaml:3:87: sources[0].Cassandra.chain[1].Sink.number: expected a whole number from 1 to 9, found `0`
t.yaml:3:87: sources[1].Cassandra.chain[0].Filter.number: expected a whole number from 1 to 9, found `0`
t.yaml:3:87: sources[1].Cassandra.chain[1].Sink.number: expected a whole number from 1 to 9, found `0`",
    );
    check("sources: &all [*all]", "t.yaml:1:16: sources[0]: an alias of something that contains it");
}

#[test]
fn files_cannot_blow_up() {
    let contains = |text: &str, expected: &str| assert!(read(text).1.contains(expected), "{}", read(text).1);
    let mut bomb = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1]\n");
    let mut deep = String::from("a0: &a0 []\n");
    for level in 1..100_000 {
        let below = format!("*a{}", level - 1);
        writeln!(bomb, "a{level}: &a{level} [{}]", [&*below; 9].join(",")).unwrap();
        writeln!(deep, "a{level}: &a{level} [{below}]").unwrap();
    }
    contains(&bomb, "more than 100000 values");
    contains(&deep, "t.yaml:64:12: a63[0]: more than 64 levels");
    check(
        &"[".repeat(65),
        &format!("t.yaml:1:65: {}: more than 64 levels of lists and maps", "[0]".repeat(65)),
    );
    contains(&"[".repeat(100_000), "not YAML: recursion limit");
    contains(&"- ".repeat(100_000), "64 levels");
    contains(&"? ".repeat(100_000), "64 levels");
    contains(&format!("a: '{}'", "x".repeat(100_000)), "65536 bytes");
    contains(&format!("{}: a", "x".repeat(300)), "256 bytes");
    // Each of few values may be long.
    let long = format!("a: &a {{k: '{}'}}\nb:\n", "x".repeat(65_535));
    let aliases = |count: usize| format!("{long}{}", "- *a\n".repeat(count));
    contains(&aliases(257), "t.yaml:259:3: b[256]: aliases repeat more than 16777216 bytes");
    assert!(!read(&aliases(256)).1.contains("bytes"), "16 MiB may be repeated");
    let mut wide = String::from("sources: []\n");
    for key in 0..40_000 {
        writeln!(wide, "k{key}: 1").unwrap();
    }
    contains(&wide, "t.yaml: and 39800 more mistakes");
}

#[test]
fn a_name_that_is_repeated_often_is_not_long() {
    let text = |name: &str| {
        let list = format!("Map: {{name: {name}, number: 9, chain: [Sink: {{name: s}}]}}");
        format!("sources: [Cassandra: {{listen_addr: 'h:1', chain: [{list}], name: {name}}}]")
    };
    let said = |length: usize| read_topology("t.yaml", &text(&"x".repeat(length)), &Known).1.to_string();
    assert!(!said(256).contains("bytes"), "{}", said(256));
    let expected = "t.yaml:1:63: sources[0].Cassandra.chain[0].Map.name: a name of more than 256 bytes
t.yaml:1:367: sources[0].Cassandra.name: a name of more than 256 bytes";
    assert_eq!(said(257), expected);
}

#[test]
fn bent_files_are_survived() {
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let valid =
        [NAMED, RELEASED].map(|text| text.replace("Filter", "QueryTypeFilter").replace("Sink", "NullSink"));
    for round in 0..10_000 {
        let mut bytes = valid[round % 2].clone().into_bytes();
        for _ in 0..=random(4) {
            let (from, to) = (random(bytes.len()), random(bytes.len()));
            match random(3) {
                0 => bytes[from] = b" \n:-{}[]&*!|>'\"#%,x1"[random(20)],
                1 => bytes[from.min(to)..=from.max(to)].rotate_left(1),
                _ => drop(bytes.drain(from.min(to)..(from.min(to) + 9).min(bytes.len()))),
            }
        }
        fuzz_topology(&bytes);
    }
}

#[test]
fn config_yaml_is_read() {
    let config = read_process(
        "c.yaml",
        "main_log_level: \"info, shotover=info\"\nobservability_interface: 127.0.0.1:9001",
        &|_| Ok(()),
    );
    assert_eq!(config.unwrap().observability_interface.unwrap().port(), 9001);
    assert!(read_process("c.yaml", "main_log_level: info", &|_| Ok(())).is_ok());
    let said = read_process("c.yaml", "observability_interface: here\nlevel: 3", &|_| Ok(()));
    let said = said.unwrap_err().to_string();
    assert_eq!(
        said,
        "c.yaml:1:1: missing field `main_log_level`\n\
         c.yaml:1:26: observability_interface: expected an address like 127.0.0.1:9001, found `here`\n\
         c.yaml:2:1: unknown field `level`, expected one of `main_log_level`, `observability_interface`, `latency_metrics`"
    );
    let said = read_process("c.yaml", "main_log_level: loud", &|text| Err(format!("{text} is no level")));
    assert_eq!(said.unwrap_err().to_string(), "c.yaml:1:17: main_log_level: loud is no level");
}

/// The chains of the transforms of a file, each with its names.
fn chains_of(text: &str) -> String {
    fn list(said: &mut String, transforms: &[crate::Transform], depth: usize) {
        for transform in transforms {
            writeln!(said, "{:depth$}{}", "", transform.name).unwrap();
            for chain in &transform.chains {
                writeln!(said, "{:depth$}:{} {}", "", chain.slot, chain.names.join(" ")).unwrap();
                list(said, &chain.transforms, depth + 1);
            }
        }
    }
    let (topology, errors) = read_topology("t.yaml", text, &Known);
    let mut said = errors.to_string();
    list(&mut said, &topology.unwrap().sources[0].chain, 0);
    said
}

#[test]
fn chains_in_chains_are_named_in_either_dialect() {
    let released =
        chain("Twin: {behavior: {Differ: [Sink]}, chain: [Map: {number: 2, chain: [Sink]}]}, Sink");
    let expected =
        "Twin\n:0 twin_chain\n Map\n :0 map_chain map_chain\n  Sink\n:1 differ_chain\n Sink-2\nSink-3\n";
    assert_eq!(chains_of(&released), expected);
    // Any number of instances: upstream registers their names once an instance, and refuses more than one.
    let named = chain(
        "Twin: {name: t, behavior: {Differ: {chain: [Sink: {name: a}]}}, chain: [Map: {name: m, number: 2, \
         chain: [Sink: {name: b}]}]}, Sink: {name: c}",
    );
    assert_eq!(chains_of(&named), "t\n:0 t\n m\n :0 m[0] m[1]\n  b\n:1 t.differ\n a\nc\n");
    // The name that makes a file one of the later dialect may stand in a chain's chain.
    let mixed = chain("Twin: {chain: [Sink: {name: b}]}, Sink");
    assert!(chains_of(&mixed).contains("missing field `name`"), "{}", chains_of(&mixed));
}

#[test]
fn what_is_wrong_in_chains_of_chains_is_listed_as_upstream_does() {
    let text = chain(
        "Twin: {name: c, chain: [Filter: {name: x}]}, Map: {name: m, number: 2, chain: [Sink: {name: x}, Nope: {}]}",
    );
    let said = read(&text).1;
    let (_, outline) = said.split_once("Topology errors\n").unwrap();
    assert_eq!(
        outline,
        "Duplicate transform names detected:
  \"x\" used by:
    Transform[0] Filter named \"x\" in source[0] \"c\" chain \"c\" -> subchain \"c\" (from Transform Twin named \"c\")
    Transform[0] Sink named \"x\" in source[0] \"c\" chain \"c\" -> subchain \"m[0]\" (from Transform Map named \"m\")
Duplicate chain names detected:
  \"c\" used by:
    root chain for source[0] \"c\"
    chain \"c\" at source[0] \"c\" chain \"c\" -> subchain \"c\" (from Transform Twin named \"c\")
c source:
  c chain:
    Twin:
      c chain:
        Non-terminating Transform Filter named \"x\" is last in chain. Last Transform must be terminating.
    Map:
      m[0] chain:
        Terminating Transform Sink named \"x\" is not last in chain. Terminating Transform must be last in chain."
    );
    assert!(said.contains("sources[0].Cassandra.chain[1].Map.chain[1]: unknown variant `Nope`"), "{said}");
}
