//! The types of columns: the options that name them on the wire (native protocol v4, section 4.2.5.2), and their names
//! in CQL. What the server has no code for it names by a Java class; `class` reads those.

mod class;

use std::fmt;

use crate::cql::writer::Writer;
use crate::error::{Malformed, Reason};
use crate::limits::{TYPE_DEPTH_MAX, TYPES_MAX};
use crate::reader::Reader;

/// The type of a column, of a bound value, or of what is inside one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the native types have the names that CQL gives them")]
pub enum ColumnType {
    Ascii,
    BigInt,
    Blob,
    Boolean,
    Counter,
    Decimal,
    Double,
    Float,
    Int,
    Timestamp,
    Uuid,
    Varchar,
    Varint,
    Timeuuid,
    Inet,
    Date,
    Time,
    SmallInt,
    TinyInt,
    Duration,
    List(Box<Self>),
    Set(Box<Self>),
    /// Of keys and values.
    Map(Box<(Self, Self)>),
    Tuple(Vec<Self>),
    Udt(Box<UserType>),
    /// Never by itself in a frame of v3 or v4: the meaning of a custom type.
    Vector(Box<VectorType>),
    /// A type that is named by its class.
    Custom(Box<CustomType>),
    /// A code that is not known here.
    Other(u16),
}

/// A user-defined type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserType {
    /// The keyspace that it is of.
    pub keyspace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its fields, in order.
    pub fields: Vec<(Box<str>, ColumnType)>,
}

/// So many elements of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorType {
    /// The type of each element.
    pub element: ColumnType,
    /// How many there are.
    pub dimensions: u32,
}

/// A type that is named by its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomType {
    /// The name, as it was received.
    pub class: Box<str>,
    /// The type it stands for, if that is known here.
    pub meaning: Option<ColumnType>,
}

/// A native type: its code (section 4.2.5.2), its name in CQL, the name of its class.
struct Native {
    code: u16,
    name: &'static str,
    class: &'static str,
    kind: ColumnType,
}

const fn native(code: u16, name: &'static str, class: &'static str, kind: ColumnType) -> Native {
    Native { code, name, class, kind }
}

static NATIVE: [Native; 20] = [
    native(0x0001, "ascii", "AsciiType", ColumnType::Ascii),
    native(0x0002, "bigint", "LongType", ColumnType::BigInt),
    native(0x0003, "blob", "BytesType", ColumnType::Blob),
    native(0x0004, "boolean", "BooleanType", ColumnType::Boolean),
    native(0x0005, "counter", "CounterColumnType", ColumnType::Counter),
    native(0x0006, "decimal", "DecimalType", ColumnType::Decimal),
    native(0x0007, "double", "DoubleType", ColumnType::Double),
    native(0x0008, "float", "FloatType", ColumnType::Float),
    native(0x0009, "int", "Int32Type", ColumnType::Int),
    native(0x000B, "timestamp", "TimestampType", ColumnType::Timestamp),
    native(0x000C, "uuid", "UUIDType", ColumnType::Uuid),
    native(0x000D, "text", "UTF8Type", ColumnType::Varchar),
    native(0x000E, "varint", "IntegerType", ColumnType::Varint),
    native(0x000F, "timeuuid", "TimeUUIDType", ColumnType::Timeuuid),
    native(0x0010, "inet", "InetAddressType", ColumnType::Inet),
    native(0x0011, "date", "SimpleDateType", ColumnType::Date),
    native(0x0012, "time", "TimeType", ColumnType::Time),
    native(0x0013, "smallint", "ShortType", ColumnType::SmallInt),
    native(0x0014, "tinyint", "ByteType", ColumnType::TinyInt),
    // A code of v5; v3 and v4 name the class.
    native(0x0015, "duration", "DurationType", ColumnType::Duration),
];

mod code {
    pub(super) const CUSTOM: u16 = 0x0000;
    pub(super) const LIST: u16 = 0x0020;
    pub(super) const MAP: u16 = 0x0021;
    pub(super) const SET: u16 = 0x0022;
    pub(super) const UDT: u16 = 0x0030;
    pub(super) const TUPLE: u16 = 0x0031;
}

/// Counts the types of one list of columns.
pub(crate) struct Types {
    left: u32,
}

impl Types {
    pub(crate) fn new() -> Self {
        Self { left: TYPES_MAX }
    }

    fn count(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        Some(())
    }

    /// Reads one type.
    pub(crate) fn read(&mut self, body: &mut Reader<'_>) -> Result<ColumnType, Malformed> {
        self.read_at(body, 0)
    }

    fn read_at(&mut self, body: &mut Reader<'_>, depth: usize) -> Result<ColumnType, Malformed> {
        if depth >= TYPE_DEPTH_MAX {
            return Err(body.malformed(Reason::TooDeep));
        }
        self.count().ok_or_else(|| body.malformed(Reason::TooManyTypes))?;
        let inner = depth.saturating_add(1);
        Ok(match body.u16()? {
            code::CUSTOM => {
                let class = body.string()?;
                let meaning = class::meaning(class, self, inner);
                ColumnType::Custom(Box::new(CustomType { class: class.into(), meaning }))
            }
            code::LIST => ColumnType::List(Box::new(self.read_at(body, inner)?)),
            code::SET => ColumnType::Set(Box::new(self.read_at(body, inner)?)),
            code::MAP => {
                let key = self.read_at(body, inner)?;
                ColumnType::Map(Box::new((key, self.read_at(body, inner)?)))
            }
            code::UDT => {
                let (keyspace, name) = (body.string()?.into(), body.string()?.into());
                let mut fields = Vec::new();
                for _ in 0..body.u16()? {
                    let field = body.string()?.into();
                    fields.push((field, self.read_at(body, inner)?));
                }
                ColumnType::Udt(Box::new(UserType { keyspace, name, fields }))
            }
            code::TUPLE => {
                let mut fields = Vec::new();
                for _ in 0..body.u16()? {
                    fields.push(self.read_at(body, inner)?);
                }
                ColumnType::Tuple(fields)
            }
            code => NATIVE
                .iter()
                .find(|native| native.code == code)
                .map_or(ColumnType::Other(code), |native| native.kind.clone()),
        })
    }
}

impl ColumnType {
    /// The type that a custom type stands for, or this one.
    #[must_use]
    pub fn meaning(&self) -> &Self {
        match self {
            Self::Custom(custom) => custom.meaning.as_ref().unwrap_or(self),
            _ => self,
        }
    }

    fn native(&self) -> Option<&'static Native> {
        NATIVE.iter().find(|native| native.kind == *self)
    }

    /// Writes the option that names this type.
    pub(crate) fn write(&self, out: &mut Writer) {
        match self {
            Self::List(element) => {
                out.u16(code::LIST);
                element.write(out);
            }
            Self::Set(element) => {
                out.u16(code::SET);
                element.write(out);
            }
            Self::Map(pair) => {
                out.u16(code::MAP);
                pair.0.write(out);
                pair.1.write(out);
            }
            Self::Tuple(fields) => {
                out.u16(code::TUPLE);
                out.short_count(fields.len());
                fields.iter().for_each(|field| field.write(out));
            }
            Self::Udt(udt) => {
                out.u16(code::UDT);
                out.string(&udt.keyspace);
                out.string(&udt.name);
                out.short_count(udt.fields.len());
                for (name, kind) in &udt.fields {
                    out.string(name);
                    kind.write(out);
                }
            }
            Self::Vector(_) => {
                out.u16(code::CUSTOM);
                out.string(&class::name(self));
            }
            Self::Custom(custom) => {
                out.u16(code::CUSTOM);
                out.string(&custom.class);
            }
            Self::Other(code) => out.u16(*code),
            _ => out.u16(self.native().map_or(code::CUSTOM, |native| native.code)),
        }
    }

    /// Bytes that belong to it outside itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        let own = size_of::<Self>();
        let behind = |kind: &Self| own.saturating_add(kind.heap_bytes());
        match self {
            Self::List(element) | Self::Set(element) => behind(element),
            Self::Map(pair) => behind(&pair.0).saturating_add(behind(&pair.1)),
            Self::Tuple(fields) => fields.iter().map(behind).sum(),
            Self::Udt(udt) => udt.fields.iter().fold(
                size_of::<UserType>().saturating_add(udt.keyspace.len()).saturating_add(udt.name.len()),
                |sum, (name, kind)| {
                    sum.saturating_add(name.len()).saturating_add(16).saturating_add(behind(kind))
                },
            ),
            Self::Vector(vector) => behind(&vector.element),
            Self::Custom(custom) => custom
                .class
                .len()
                .saturating_add(16)
                .saturating_add(custom.meaning.as_ref().map_or(0, behind)),
            _ => 0,
        }
    }
}

/// As CQL writes it.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(element) => write!(f, "list<{element}>"),
            Self::Set(element) => write!(f, "set<{element}>"),
            Self::Map(pair) => write!(f, "map<{}, {}>", pair.0, pair.1),
            Self::Tuple(fields) => {
                f.write_str("tuple<")?;
                for (index, field) in fields.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{field}")?;
                }
                f.write_str(">")
            }
            Self::Udt(udt) => write!(f, "{}.{}", udt.keyspace, udt.name),
            Self::Vector(vector) => write!(f, "vector<{}, {}>", vector.element, vector.dimensions),
            Self::Custom(custom) => match &custom.meaning {
                Some(meaning) => meaning.fmt(f),
                None => write!(f, "'{}'", custom.class),
            },
            Self::Other(code) => write!(f, "0x{code:04x}"),
            _ => f.write_str(self.native().map_or("unknown", |native| native.name)),
        }
    }
}
