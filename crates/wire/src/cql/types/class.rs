//! Types by the names of Cassandra's Java classes: `org.apache.cassandra.db.marshal.VectorType(...FloatType , 3)`.
//! Vectors come so in every version, durations in v3 and v4, and some more in v3.

use super::{ColumnType, NATIVE, Types, UserType, VectorType};
use crate::cql::hex::Hex;
use crate::limits::TYPE_DEPTH_MAX;

/// The package of the server's own types; a name without any package is of it too.
const PACKAGE: &str = "org.apache.cassandra.db.marshal.";

/// The type that a class stands for; `None` if it is not one of the server's own, or is more than `types` may be.
pub(super) fn meaning(class: &str, types: &mut Types, depth: usize) -> Option<ColumnType> {
    let mut parser = Parser { rest: class, types };
    let kind = parser.class(depth)?;
    parser.rest.trim().is_empty().then_some(kind)
}

struct Parser<'c, 't> {
    rest: &'c str,
    types: &'t mut Types,
}

impl<'c> Parser<'c, '_> {
    /// What stands before the next `(`, `)`, `,` or `:`, without the white space around it.
    fn word(&mut self) -> &'c str {
        let end = self.rest.find(['(', ')', ',', ':']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        word.trim()
    }

    fn has(&mut self, mark: char) -> bool {
        match self.rest.trim_start().strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn must(&mut self, mark: char) -> Option<()> {
        self.has(mark).then_some(())
    }

    fn class(&mut self, depth: usize) -> Option<ColumnType> {
        if depth >= TYPE_DEPTH_MAX {
            return None;
        }
        self.types.count()?;
        let word = self.word();
        let name = word.strip_prefix(PACKAGE).unwrap_or(word);
        if let Some(native) = NATIVE.iter().find(|native| native.class == name) {
            return Some(native.kind.clone());
        }
        match name {
            // A UUID by another order, and what timestamps were called before.
            "LexicalUUIDType" => return Some(ColumnType::Uuid),
            "DateType" => return Some(ColumnType::Timestamp),
            _ => {}
        }
        self.must('(')?;
        let kind = self.with_arguments(name, depth.saturating_add(1))?;
        self.must(')')?;
        Some(kind)
    }

    fn with_arguments(&mut self, name: &str, inner: usize) -> Option<ColumnType> {
        match name {
            // How a value is stored or sorted does not change its bytes.
            "FrozenType" | "ReversedType" => self.class(inner),
            "ListType" => Some(ColumnType::List(Box::new(self.class(inner)?))),
            "SetType" => Some(ColumnType::Set(Box::new(self.class(inner)?))),
            "MapType" => {
                let key = self.class(inner)?;
                self.must(',')?;
                Some(ColumnType::Map(Box::new((key, self.class(inner)?))))
            }
            "TupleType" => {
                let mut fields = vec![self.class(inner)?];
                while self.has(',') {
                    fields.push(self.class(inner)?);
                }
                Some(ColumnType::Tuple(fields))
            }
            "UserType" => self.user_type(inner),
            "VectorType" => {
                let element = self.class(inner)?;
                self.must(',')?;
                let dimensions = self.word().parse().ok().filter(|dimensions| *dimensions > 0)?;
                Some(ColumnType::Vector(Box::new(VectorType { element, dimensions })))
            }
            _ => None,
        }
    }

    /// `keyspace,name in hex,field in hex:type,...`
    fn user_type(&mut self, inner: usize) -> Option<ColumnType> {
        let keyspace = self.word().into();
        self.must(',')?;
        let name = of_hex(self.word())?;
        let mut fields = Vec::new();
        while self.has(',') {
            let field = of_hex(self.word())?;
            self.must(':')?;
            fields.push((field, self.class(inner)?));
        }
        Some(ColumnType::Udt(Box::new(UserType { keyspace, name, fields })))
    }
}

fn of_hex(text: &str) -> Option<Box<str>> {
    let mut bytes = Vec::new();
    let mut digits = text.chars();
    while let Some(high) = digits.next() {
        let byte = high.to_digit(16)?.checked_mul(16)?.checked_add(digits.next()?.to_digit(16)?)?;
        bytes.push(u8::try_from(byte).ok()?);
    }
    String::from_utf8(bytes).ok().map(String::into_boxed_str)
}

fn hex(name: &str) -> String {
    Hex(name.as_bytes()).to_string()
}

/// The class of a type, as the server names it.
pub(super) fn name(kind: &ColumnType) -> String {
    let mut name = String::new();
    push_name(&mut name, kind);
    name
}

fn push_name(name: &mut String, kind: &ColumnType) {
    let mut with = |class: &str, arguments: &mut dyn FnMut(&mut String)| {
        name.push_str(PACKAGE);
        name.push_str(class);
        name.push('(');
        arguments(name);
        name.push(')');
    };
    match kind {
        ColumnType::List(element) => with("ListType", &mut |name| push_name(name, element)),
        ColumnType::Set(element) => with("SetType", &mut |name| push_name(name, element)),
        ColumnType::Map(pair) => with("MapType", &mut |name| {
            push_name(name, &pair.0);
            name.push(',');
            push_name(name, &pair.1);
        }),
        ColumnType::Tuple(fields) => with("TupleType", &mut |name| {
            for (index, field) in fields.iter().enumerate() {
                if index > 0 {
                    name.push(',');
                }
                push_name(name, field);
            }
        }),
        ColumnType::Udt(udt) => with("UserType", &mut |name| {
            name.push_str(&udt.keyspace);
            name.push(',');
            name.push_str(&hex(&udt.name));
            for (field, kind) in &udt.fields {
                name.push(',');
                name.push_str(&hex(field));
                name.push(':');
                push_name(name, kind);
            }
        }),
        ColumnType::Vector(vector) => with("VectorType", &mut |name| {
            push_name(name, &vector.element);
            name.push_str(" , ");
            name.push_str(&vector.dimensions.to_string());
        }),
        ColumnType::Custom(custom) => name.push_str(&custom.class),
        _ => {
            name.push_str(PACKAGE);
            name.push_str(kind.native().map_or("BytesType", |native| native.class));
        }
    }
}
