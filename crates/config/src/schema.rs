//! JSON Schemas of both files, for editors: made from what the readers ask for.
//!
//! They say less than the readers do (how options depend on each other, what a text must look like), and refuse nothing
//! that a reader takes.

use serde_json::{Map, Value, json};

use crate::chain::{Catalog, Dialect, Transform};
use crate::describe::{Description, Kind, Noted, describe};
use crate::fields::Fields;
use crate::process::describe_process;
use crate::topology::describe_topology;

/// The draft that editors' YAML servers know best.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// Reads the options of one transform, whatever becomes of them.
pub type ReadAny<'r> = &'r dyn Fn(&str, &mut Fields<'_>);

/// The schema of config.yaml.
#[must_use]
pub fn process_schema() -> String {
    let described = describe(describe_process);
    let schema = Writer { description: &described, chain: "" }.value("");
    with_head("config.yaml of shotover", schema)
}

/// The schema of topology.yaml, in both dialects.
#[must_use]
pub fn topology_schema(catalog: &dyn Catalog, read: ReadAny<'_>) -> String {
    let mut definitions = Map::new();
    let mut roots = Vec::new();
    for (dialect, root, chain) in
        [(Dialect::Named, "topology", "chain"), (Dialect::Released, "releasedTopology", "releasedChain")]
    {
        let described = describe(|file, errors| describe_topology(file, catalog, dialect, errors));
        roots.push(reference(root));
        definitions.insert(root.to_owned(), Writer { description: &described, chain }.value(""));
        definitions.insert(chain.to_owned(), chain_schema(catalog, read, dialect, chain));
    }
    with_head("topology.yaml of shotover", json!({"anyOf": roots, "definitions": definitions}))
}

fn with_head(title: &str, mut schema: Value) -> String {
    if let Value::Object(entries) = &mut schema {
        entries.insert("$schema".to_owned(), json!(DRAFT));
        entries.insert("title".to_owned(), json!(title));
    }
    format!("{schema:#}\n")
}

fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/definitions/{definition}")})
}

/// A list of transforms, each a map of one key; in the older dialect also a bare word.
fn chain_schema(catalog: &dyn Catalog, read: ReadAny<'_>, dialect: Dialect, chain: &str) -> Value {
    let mut kinds = catalog.transforms();
    kinds.sort_unstable();
    let mut bare = Vec::new();
    let mut properties = Map::new();
    for kind in kinds {
        let described = describe(|file, errors| {
            Transform::described(kind, file, dialect, errors, |fields| read(kind, fields));
        });
        if described.at("").is_some_and(|noted| !has_required(noted)) {
            bare.push(kind);
        }
        properties.insert(kind.to_owned(), Writer { description: &described, chain }.value(""));
    }
    json!({"type": "array", "minItems": 1, "items": one_key_schema(&bare, properties)})
}

fn has_required(noted: &Noted) -> bool {
    noted.keys.iter().any(|key| noted.is_required(key))
}

/// One of the words, or a map of one key.
fn one_key_schema(words: &[&str], properties: Map<String, Value>) -> Value {
    let map = json!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
        "properties": properties,
    });
    if words.is_empty() { map } else { any_of(vec![json!({"enum": words}), map]) }
}

fn any_of(mut schemas: Vec<Value>) -> Value {
    match schemas.len() {
        1 => schemas.remove(0),
        _ => json!({"anyOf": schemas}),
    }
}

/// Writes what one description says.
struct Writer<'d> {
    description: &'d Description,
    /// Where the schema of a chain is defined.
    chain: &'d str,
}

impl Writer<'_> {
    /// The schema of the values at `path`; anything goes where nothing is known.
    fn value(&self, path: &str) -> Value {
        let Some(noted) = self.description.at(path).filter(|noted| !noted.kinds.is_empty()) else {
            return json!({});
        };
        any_of(noted.kinds.iter().map(|kind| self.kind(path, noted, kind)).collect())
    }

    fn kind(&self, path: &str, noted: &Noted, kind: &Kind) -> Value {
        match kind {
            // A number or a word like `true` is text where text is asked for.
            Kind::Text => json!({"type": ["string", "number", "boolean"]}),
            Kind::Address => json!({"type": "string", "pattern": ":[0-9]{1,5}$"}),
            Kind::Number { min, max: u64::MAX } => json!({"type": "integer", "minimum": min}),
            Kind::Number { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Kind::Truth => json!({"type": "boolean"}),
            Kind::List => json!({"type": "array", "items": self.value(&format!("{path}[0]"))}),
            Kind::Words(words) => json!({"enum": words}),
            Kind::Choice(words) => self.choice(path, words),
            Kind::Map => self.map(path, noted),
            Kind::Chain => reference(self.chain),
        }
    }

    fn choice(&self, path: &str, words: &[String]) -> Value {
        if words.is_empty() {
            return json!({"type": ["string", "object"]});
        }
        let values: Vec<(String, String)> =
            words.iter().map(|word| (word.clone(), join(path, word))).collect();
        let is_bare = |path: &str| self.description.at(path).is_none_or(|noted| !has_required(noted));
        let bare = values.iter().filter(|(_, path)| is_bare(path)).map(|(word, _)| word.as_str());
        let bare: Vec<&str> = bare.collect();
        let properties = values.iter().map(|(word, path)| (word.clone(), self.value(path))).collect();
        one_key_schema(&bare, properties)
    }

    fn map(&self, path: &str, noted: &Noted) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        let mut either = Vec::new();
        for key in &noted.keys {
            let is_required = noted.is_required(key);
            let value = self.value(&join(path, &key.name));
            let value = if is_required { value } else { or_null(value) };
            let names = std::iter::once(&key.name).chain(&key.aliases);
            properties.extend(names.clone().map(|name| (name.clone(), value.clone())));
            if is_required && key.aliases.is_empty() {
                required.push(key.name.as_str());
            } else if is_required {
                let one = |name: &String| json!({"required": [name]});
                either.push(json!({"anyOf": names.map(one).collect::<Vec<_>>()}));
            }
        }
        // Nothing at all is a map without entries.
        let is_nullable = required.is_empty() && either.is_empty();
        let kind = if is_nullable { json!(["object", "null"]) } else { json!("object") };
        let mut map = Map::new();
        map.insert("type".to_owned(), kind);
        map.insert("additionalProperties".to_owned(), json!(false));
        map.insert("properties".to_owned(), json!(properties));
        if !required.is_empty() {
            map.insert("required".to_owned(), json!(required));
        }
        if !either.is_empty() {
            map.insert("allOf".to_owned(), json!(either));
        }
        Value::Object(map)
    }
}

/// The path of a map's entry, as the tree has it.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// As `schema`, or nothing: a key that may be left out may have no value.
fn or_null(schema: Value) -> Value {
    let Value::Object(mut entries) = schema else { return schema };
    if entries.contains_key("$ref") {
        return any_of(vec![Value::Object(entries), json!({"type": "null"})]);
    }
    for (key, value) in &mut entries {
        match (key.as_str(), &mut *value) {
            ("type", Value::String(only)) => *value = json!([only, "null"]),
            ("type", Value::Array(types)) if types.contains(&json!("null")) => {}
            ("type", Value::Array(types)) => types.push(json!("null")),
            ("enum", Value::Array(words)) => words.push(Value::Null),
            ("anyOf", Value::Array(schemas)) => schemas.push(json!({"type": "null"})),
            _ => {}
        }
    }
    Value::Object(entries)
}
