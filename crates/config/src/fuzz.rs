//! What the fuzz target and the tests run: no file may panic, take long, or be refused without a word.

use crate::{Catalog, ChainSlot, Fields, TransformShape, read_topology};

/// One transform of each shape.
struct Shapes;

impl Catalog for Shapes {
    fn sources(&self) -> Vec<&str> {
        vec!["Cassandra"]
    }

    fn transforms(&self) -> Vec<&str> {
        vec!["NullSink", "QueryTypeFilter", "QueryCounter", "ValkeySinkSingle"]
    }

    fn shape(&self, transform: &str) -> Option<TransformShape> {
        let shape =
            TransformShape { is_terminating: false, accepts: &[], name_is_option: false, chains: &[] };
        const OWN: &[ChainSlot] = &[
            ChainSlot { path: &["chain"], released_name: "tee_chain", suffix: "", count: Some("count") },
            ChainSlot {
                path: &["behavior", "SubchainOnMismatch"],
                released_name: "mismatch_chain",
                suffix: ".mismatch",
                count: None,
            },
        ];
        match transform {
            "NullSink" => Some(TransformShape { is_terminating: true, ..shape }),
            "QueryTypeFilter" => Some(TransformShape { chains: OWN, ..shape }),
            "QueryCounter" => Some(TransformShape { name_is_option: true, ..shape }),
            "ValkeySinkSingle" => {
                Some(TransformShape { is_terminating: true, accepts: &["Valkey"], ..shape })
            }
            _ => None,
        }
    }
}

/// Asks for an option of each type.
fn read_options(fields: &mut Fields<'_>) -> Option<()> {
    fields.aliases("switch_port", &["http_api_port"]);
    fields.optional_u64("switch_port", 1..=65_535);
    fields.optional_bool("ordered_results");
    fields.optional_one_of("kind", &["Read", "Write"]);
    if fields.has("first_contact_points") {
        fields.required_strings("first_contact_points");
    }
    if let Some(behavior) = fields.optional_node("behavior") {
        let (_, options) = fields.one_key_map(&behavior)?;
        let mut nested = fields.nested(&options)?;
        nested.optional_list("chain");
        nested.finish();
    }
    Some(())
}

/// Reads bytes as a topology, and shows what is wrong with it.
pub fn fuzz_topology(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (topology, mut errors) = read_topology("topology.yaml", text, &Shapes);
    assert!(topology.is_some() || !errors.is_empty());
    for transform in topology.iter().flat_map(|topology| &topology.sources).flat_map(|source| &source.chain) {
        transform.read_options(&mut errors, read_options);
    }
    assert_eq!(errors.is_empty(), errors.to_string().is_empty());
}
