//! What readers say of themselves, in ways that readers have.

use serde_json::{Value, json};

use crate::describe::describe;
use crate::errors::{Errors, Purpose};
use crate::fields::Fields;
use crate::schema::topology_schema;
use crate::tree::Node;
use crate::{Catalog, TransformShape};

/// One transform that ends a chain.
struct Only;

impl Catalog for Only {
    fn sources(&self) -> Vec<&str> {
        vec!["Cassandra"]
    }

    fn transforms(&self) -> Vec<&str> {
        vec!["Only"]
    }

    fn shape(&self, transform: &str) -> Option<TransformShape> {
        let shape = TransformShape { is_terminating: true, accepts: &[], name_is_option: false, chains: &[] };
        (transform == "Only").then_some(shape)
    }
}

/// The schema of the named dialect's only transform has this at this place.
#[track_caller]
fn says(read: &dyn Fn(&mut Fields<'_>) -> Option<()>, place: &str, expected: &Value) {
    let schema = topology_schema(&Only, &|_, fields| {
        read(fields);
    });
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let place = format!("/definitions/chain/items/properties/Only{place}");
    assert_eq!(schema.pointer(&place), Some(expected), "{place} of {schema:#}");
}

#[test]
fn a_key_is_required_if_no_reader_goes_on_without_it() {
    let read = |fields: &mut Fields<'_>| {
        fields.required_u64("always", 1..=9);
        if fields.optional_bool("flag") == Some(true) {
            fields.required_string("beside_the_flag");
        }
        if fields.has("strings") {
            fields.required_strings("strings");
        }
        fields.optional_strings("more_strings");
        Some(())
    };
    says(&read, "/required", &json!(["name", "always"]));
    says(&read, "/properties/always", &json!({"type": "integer", "minimum": 1, "maximum": 9}));
    says(&read, "/properties/beside_the_flag/type", &json!(["string", "number", "boolean", "null"]));
    let strings = json!({"type": ["array", "null"], "items": {"type": ["string", "number", "boolean"]}});
    says(&read, "/properties/strings", &strings);
    says(&read, "/properties/more_strings", &strings);
}

#[test]
fn a_reader_that_gives_up_at_once_is_found_out_all_the_same() {
    // As DebugReturner does.
    let read = |fields: &mut Fields<'_>| {
        if fields.optional_node("one").is_some() {
            return None;
        }
        if fields.has("other") {
            fields.optional_u64("other", 0..=u64::MAX);
        }
        Some(())
    };
    says(&read, "/properties/one", &json!({}));
    says(&read, "/properties/other", &json!({"type": ["integer", "null"], "minimum": 0}));
}

#[test]
fn another_name_is_as_good() {
    let read = |fields: &mut Fields<'_>| {
        fields.aliases("port", &["http_port", "name"]);
        fields.required_u64("port", 1..=2).map(drop)
    };
    // `name` is the transform's own.
    says(&read, "/allOf", &json!([{"anyOf": [{"required": ["port"]}, {"required": ["http_port"]}]}]));
    says(&read, "/properties/http_port", &json!({"type": "integer", "minimum": 1, "maximum": 2}));
}

/// A choice of which one word has a chain, and one an option.
fn choice(fields: &mut Fields<'_>) -> Option<()> {
    let node = fields.required_node("behavior")?;
    let (word, options) = fields.choice(&node, &["Ignore", "Log", "Chain"])?;
    match word {
        "Log" => {
            let mut log = fields.nested(&options)?;
            log.required_u64("lines", 1..=5);
            log.finish();
        }
        "Chain" => {
            let mut nested = fields.nested(&options)?;
            nested.required_chain("chain");
            nested.finish();
        }
        _ => {}
    }
    Some(())
}

#[test]
fn choices_and_nested_chains_are_described() {
    const BEHAVIOR: &str = "/properties/behavior/anyOf";
    says(&choice, &format!("{BEHAVIOR}/0/enum"), &json!(["Ignore"]));
    says(&choice, &format!("{BEHAVIOR}/1/minProperties"), &json!(1));
    says(&choice, &format!("{BEHAVIOR}/1/properties/Ignore"), &json!({}));
    says(&choice, &format!("{BEHAVIOR}/1/properties/Log/required"), &json!(["lines"]));
    let chain = json!({"chain": {"$ref": "#/definitions/chain"}});
    says(&choice, &format!("{BEHAVIOR}/1/properties/Chain/properties"), &chain);
}

/// A choice of four words that may be left out. Each has an option of its own name; the last may be a list instead.
fn optional_choice(fields: &mut Fields<'_>) -> Option<()> {
    if fields.optional_bool("is_off") == Some(false) {
        fields.required_u64("strength", 1..=2);
    }
    let node = fields.optional_node("behavior")?;
    let (word, options) = fields.choice(&node, &["a", "b", "c", "d"])?;
    if word == "d" {
        return fields.chain_or_nested(&options).map(drop);
    }
    let mut nested = fields.nested(&options)?;
    nested.required_bool(word);
    nested.finish();
    Some(())
}

#[test]
fn every_word_of_an_optional_choice_is_described() {
    const WORDS: &str = "/properties/behavior/properties";
    for word in ["a", "b", "c"] {
        let place = format!("{WORDS}/{word}");
        says(&optional_choice, &format!("{place}/properties"), &json!({word: {"type": "boolean"}}));
        says(&optional_choice, &format!("{place}/required"), &json!([word]));
    }
    // None of them may stand by itself.
    says(&optional_choice, "/properties/behavior/type", &json!(["object", "null"]));
    let chain = json!({"$ref": "#/definitions/chain"});
    let map = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"chain": chain},
        "required": ["chain"],
    });
    says(&optional_choice, &format!("{WORDS}/d"), &json!({"anyOf": [map, chain]}));
    // An option that may be left out is `false` as well as `true`.
    says(&optional_choice, "/properties/strength/maximum", &json!(2));
}

#[test]
fn a_chain_is_read_where_it_may_stand() {
    for (text, expected) in [
        ("mismatch: [Only: {name: o}]", ""),
        ("mismatch: {chain: [Only: {name: o}]}", ""),
        ("mismatch: {}", "t.yaml:1:11: mismatch: missing field `chain`"),
        ("mismatch: Only", "t.yaml:1:11: mismatch: expected a map of options, found `Only`"),
        ("mismatch: {chain: [], more: 1}", "t.yaml:1:23: mismatch: unknown field `more`, expected `chain`"),
    ] {
        let errors = read(text, |fields| {
            let node = fields.required_node("mismatch").unwrap();
            fields.chain_or_nested(&node);
        });
        assert_eq!(errors.to_string(), expected, "{text}");
    }
}

fn read(text: &str, read: impl FnOnce(&mut Fields<'_>)) -> Errors {
    let mut errors = Errors::new("t.yaml");
    let node = Node::parse(text, &mut errors).unwrap();
    read(&mut Fields::new(&node, &mut errors).unwrap());
    errors
}

#[test]
fn choices_are_read() {
    for (text, expected) in [
        ("behavior: Ignore", ""),
        ("behavior: {Log: {lines: 3}}", ""),
        ("behavior: Log", "t.yaml:1:11: behavior: missing field `lines`"),
        (
            "behavior: Nope",
            "t.yaml:1:11: behavior: unknown variant `Nope`, expected one of `Ignore`, `Log`, `Chain`",
        ),
        ("behavior: {Chain: {chain: [Only: {name: o}]}}", ""),
        ("behavior: [Log]", "t.yaml:1:11: behavior: expected a map with exactly one key, found a list"),
    ] {
        let errors = read(text, |fields| {
            choice(fields);
        });
        assert_eq!(errors.to_string(), expected, "{text}");
    }
}

#[test]
fn addresses_are_kept_for_who_resolves_them() {
    let errors = read("one: 'a:1'\nmany: [b:2, c, '[::1]:3']", |fields| {
        assert_eq!(fields.required_address("one").as_deref(), Some("a:1"));
        assert_eq!(fields.required_addresses("many"), None);
    });
    let known: Vec<(&str, &str)> =
        errors.addresses().iter().map(|address| (&*address.text, &*address.path)).collect();
    assert_eq!(known, [("a:1", "one"), ("b:2", "many[0]"), ("[::1]:3", "many[2]")]);
    assert!(errors.addresses().iter().all(|address| address.purpose == Purpose::Connect));
    assert_eq!(
        errors.to_string(),
        "t.yaml:2:13: many[1]: expected an address with its port, like 10.0.0.1:9042"
    );
    let read = |fields: &mut Fields<'_>| fields.required_address("one").map(drop);
    says(&read, "/properties/one", &json!({"type": "string", "pattern": ":[0-9]{1,5}$"}));
}

#[test]
fn nothing_is_wrong_while_readers_are_asked() {
    let description = describe(|file, errors| {
        let mut fields = Fields::new(file, errors).unwrap();
        fields.required_string("key");
        fields.fail("never");
        fields.finish();
        assert!(errors.is_empty());
    });
    assert_eq!(description.at("").unwrap().keys.len(), 1);
}
