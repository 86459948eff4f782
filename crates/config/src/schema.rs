//! JSON Schemas of both files, for editors: made from what the readers ask for.
//!
//! They say less than the readers do (how options depend on each other, what a text must look like), and refuse nothing
//! that a reader takes.

use crate::chain::{Catalog, Dialect, Transform};
use crate::describe::{Description, Kind, Noted, describe};
use crate::fields::Fields;
use crate::json::Json;
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
    let mut definitions = Vec::new();
    let mut roots = Vec::new();
    for (dialect, root, chain) in
        [(Dialect::Named, "topology", "chain"), (Dialect::Released, "releasedTopology", "releasedChain")]
    {
        let described = describe(|file, errors| describe_topology(file, catalog, dialect, errors));
        roots.push(reference(root));
        definitions.push((root.to_owned(), Writer { description: &described, chain }.value("")));
        definitions.push((chain.to_owned(), chain_schema(catalog, read, dialect, chain)));
    }
    let schema = Json::map([("anyOf", Json::List(roots)), ("definitions", Json::Map(definitions))]);
    with_head("topology.yaml of shotover", schema)
}

fn with_head(title: &str, schema: Json) -> String {
    let mut entries =
        vec![("$schema".to_owned(), Json::text(DRAFT)), ("title".to_owned(), Json::text(title))];
    if let Json::Map(schema) = schema {
        entries.extend(schema);
    }
    format!("{}\n", Json::Map(entries))
}

fn reference(definition: &str) -> Json {
    Json::map([("$ref", Json::text(format!("#/definitions/{definition}")))])
}

/// A list of transforms, each a map of one key; in the older dialect also a bare word.
fn chain_schema(catalog: &dyn Catalog, read: ReadAny<'_>, dialect: Dialect, chain: &str) -> Json {
    let mut kinds = catalog.transforms();
    kinds.sort_unstable();
    let mut bare = Vec::new();
    let mut properties = Vec::new();
    for kind in kinds {
        let described = describe(|file, errors| {
            Transform::described(kind, file, dialect, errors, |fields| read(kind, fields));
        });
        if described.at("").is_some_and(|noted| !has_required(noted)) {
            bare.push(kind);
        }
        properties.push((kind.to_owned(), Writer { description: &described, chain }.value("")));
    }
    let transform = one_key_schema(&bare, properties);
    Json::map([("type", Json::text("array")), ("minItems", Json::Number(1)), ("items", transform)])
}

fn has_required(noted: &Noted) -> bool {
    noted.keys.iter().any(|key| noted.is_required(key))
}

/// One of the words, or a map of one key.
fn one_key_schema(words: &[&str], properties: Vec<(String, Json)>) -> Json {
    let map = Json::map([
        ("type", Json::text("object")),
        ("minProperties", Json::Number(1)),
        ("maxProperties", Json::Number(1)),
        ("additionalProperties", Json::Truth(false)),
        ("properties", Json::Map(properties)),
    ]);
    if words.is_empty() {
        return map;
    }
    any_of(vec![Json::map([("enum", Json::texts(words.iter().copied()))]), map])
}

fn any_of(mut schemas: Vec<Json>) -> Json {
    match schemas.len() {
        1 => schemas.remove(0),
        _ => Json::map([("anyOf", Json::List(schemas))]),
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
    fn value(&self, path: &str) -> Json {
        let Some(noted) = self.description.at(path).filter(|noted| !noted.kinds.is_empty()) else {
            return Json::Map(Vec::new());
        };
        any_of(noted.kinds.iter().map(|kind| self.kind(path, noted, kind)).collect())
    }

    fn kind(&self, path: &str, noted: &Noted, kind: &Kind) -> Json {
        // A number or a word like `true` is text where text is asked for.
        let scalars = || Json::texts(["string", "number", "boolean"]);
        match kind {
            Kind::Text => Json::map([("type", scalars())]),
            Kind::Address => {
                Json::map([("type", Json::text("string")), ("pattern", Json::text(":[0-9]{1,5}$"))])
            }
            Kind::Number { min, max } => {
                let number = Json::map([("type", Json::text("integer")), ("minimum", Json::Number(*min))]);
                if *max == u64::MAX { number } else { with(number, "maximum", Json::Number(*max)) }
            }
            Kind::Truth => Json::map([("type", Json::text("boolean"))]),
            Kind::List => {
                Json::map([("type", Json::text("array")), ("items", self.value(&format!("{path}[0]")))])
            }
            Kind::Words(words) => Json::map([("enum", Json::texts(words.iter().map(String::as_str)))]),
            Kind::Choice(words) => self.choice(path, words),
            Kind::Map => self.map(path, noted),
            Kind::Chain => reference(self.chain),
        }
    }

    fn choice(&self, path: &str, words: &[String]) -> Json {
        if words.is_empty() {
            return Json::map([("type", Json::texts(["string", "object"]))]);
        }
        let values: Vec<(String, String)> =
            words.iter().map(|word| (word.clone(), join(path, word))).collect();
        let is_bare = |path: &str| self.description.at(path).is_none_or(|noted| !has_required(noted));
        let bare = values.iter().filter(|(_, path)| is_bare(path)).map(|(word, _)| word.as_str());
        let bare: Vec<&str> = bare.collect();
        let properties = values.iter().map(|(word, path)| (word.clone(), self.value(path))).collect();
        one_key_schema(&bare, properties)
    }

    fn map(&self, path: &str, noted: &Noted) -> Json {
        let mut properties = Vec::new();
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
                let one = |name: &String| Json::map([("required", Json::texts([name.as_str()]))]);
                either.push(Json::map([("anyOf", Json::List(names.map(one).collect()))]));
            }
        }
        // Nothing at all is a map without entries.
        let is_nullable = required.is_empty() && either.is_empty();
        let kind = if is_nullable { Json::texts(["object", "null"]) } else { Json::text("object") };
        let mut map = Json::map([("type", kind), ("additionalProperties", Json::Truth(false))]);
        if !required.is_empty() {
            map = with(map, "required", Json::texts(required));
        }
        if !either.is_empty() {
            map = with(map, "allOf", Json::List(either));
        }
        with(map, "properties", Json::Map(properties))
    }
}

/// The path of a map's entry, as the tree has it.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn with(map: Json, key: &str, value: Json) -> Json {
    let Json::Map(mut entries) = map else { return map };
    entries.push((key.to_owned(), value));
    Json::Map(entries)
}

/// As `schema`, or nothing: a key that may be left out may have no value.
fn or_null(schema: Json) -> Json {
    let Json::Map(mut entries) = schema else { return schema };
    for (key, value) in &mut entries {
        match (key.as_str(), &mut *value) {
            ("type", Json::Text(only)) => *value = Json::texts([only.as_str(), "null"]),
            ("type", Json::List(types)) if types.contains(&Json::text("null")) => {}
            ("type", Json::List(types)) => types.push(Json::text("null")),
            ("enum", Json::List(words)) => words.push(Json::Null),
            ("anyOf", Json::List(schemas)) => schemas.push(Json::map([("type", Json::text("null"))])),
            ("$ref", _) => {
                let reference = Json::Map(entries);
                return any_of(vec![reference, Json::map([("type", Json::text("null"))])]);
            }
            _ => {}
        }
    }
    Json::Map(entries)
}
