//! Bytes to values.

use std::net::IpAddr;

use super::{Value, vint};
use crate::cql::types::{ColumnType, UserType, VectorType};
use crate::reader::{Raw, Reader};

/// Decodes a value that is there. It goes as deep as the type, which was read under a limit; `left` is how many
/// elements there may still be.
pub(super) fn value<'v>(kind: &'v ColumnType, bytes: &'v [u8], left: &mut u32) -> Value<'v> {
    let kind = kind.meaning();
    let decoded = match kind {
        ColumnType::Ascii => std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()).map(Value::Ascii),
        ColumnType::Varchar => std::str::from_utf8(bytes).ok().map(Value::Varchar),
        ColumnType::Blob => Some(Value::Blob(bytes)),
        ColumnType::Custom(_) | ColumnType::Other(_) => None,
        _ if bytes.is_empty() => Some(Value::Empty),
        ColumnType::List(element) => elements(element, bytes, left).map(Value::List),
        ColumnType::Set(element) => elements(element, bytes, left).map(Value::Set),
        ColumnType::Map(pair) => pairs(pair, bytes, left).map(Value::Map),
        ColumnType::Tuple(fields) => tuple(fields, bytes, left).map(Value::Tuple),
        ColumnType::Udt(udt) => user_type(udt, bytes, left).map(Value::Udt),
        ColumnType::Vector(of) => vector(of, bytes, left).map(Value::Vector),
        _ => scalar(kind, bytes),
    };
    decoded.unwrap_or(Value::Unknown(bytes))
}

fn scalar<'v>(kind: &ColumnType, bytes: &'v [u8]) -> Option<Value<'v>> {
    Some(match kind {
        ColumnType::BigInt => Value::BigInt(i64::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Boolean => match bytes {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return None,
        },
        ColumnType::Counter => Value::Counter(i64::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Decimal => {
            let (scale, unscaled) = bytes.split_first_chunk().filter(|(_, unscaled)| !unscaled.is_empty())?;
            Value::Decimal { scale: i32::from_be_bytes(*scale), unscaled }
        }
        ColumnType::Double => Value::Double(f64::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Float => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Int => Value::Int(i32::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Timestamp => Value::Timestamp(i64::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Uuid => Value::Uuid(bytes.try_into().ok()?),
        ColumnType::Varint => Value::Varint(bytes),
        ColumnType::Timeuuid => {
            let uuid: [u8; 16] = bytes.try_into().ok()?;
            // The version is in the upper half of byte 6.
            let is_of_time = uuid.get(6).is_some_and(|byte| byte >> 4 == 1);
            return is_of_time.then_some(Value::Timeuuid(uuid));
        }
        ColumnType::Inet => match <[u8; 4]>::try_from(bytes) {
            Ok(address) => Value::Inet(IpAddr::from(address)),
            Err(_) => Value::Inet(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        },
        ColumnType::Date => Value::Date(u32::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Time => Value::Time(i64::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::SmallInt => Value::SmallInt(i16::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::TinyInt => Value::TinyInt(i8::from_be_bytes(bytes.try_into().ok()?)),
        ColumnType::Duration => duration(bytes)?,
        _ => return None,
    })
}

fn duration(bytes: &[u8]) -> Option<Value<'_>> {
    let (months, rest) = vint::signed(bytes)?;
    let (days, rest) = vint::signed(rest)?;
    let (nanoseconds, rest) = vint::signed(rest)?;
    let (months, days) = (i32::try_from(months).ok()?, i32::try_from(days).ok()?);
    rest.is_empty().then_some(Value::Duration { months, days, nanoseconds })
}

/// One element with its length in front.
fn element<'v>(kind: &'v ColumnType, body: &mut Reader<'v>, left: &mut u32) -> Option<Value<'v>> {
    *left = left.checked_sub(1)?;
    match body.value().ok()? {
        Raw::Null => Some(Value::Null),
        Raw::Unset => None,
        Raw::Bytes(bytes) => Some(value(kind, bytes, left)),
    }
}

/// A list or a set: a count, then the elements. Each takes at least the bytes of its length.
fn elements<'v>(kind: &'v ColumnType, bytes: &'v [u8], left: &mut u32) -> Option<Vec<Value<'v>>> {
    let mut body = Reader::new(bytes, 0);
    let mut elements = Vec::new();
    for _ in 0..body.count().ok()? {
        elements.push(element(kind, &mut body, left)?);
    }
    body.end().ok().map(|()| elements)
}

fn pairs<'v>(
    pair: &'v (ColumnType, ColumnType),
    bytes: &'v [u8],
    left: &mut u32,
) -> Option<Vec<(Value<'v>, Value<'v>)>> {
    let mut body = Reader::new(bytes, 0);
    let mut pairs = Vec::new();
    for _ in 0..body.count().ok()? {
        let key = element(&pair.0, &mut body, left)?;
        pairs.push((key, element(&pair.1, &mut body, left)?));
    }
    body.end().ok().map(|()| pairs)
}

/// The fields that are there, each with its length in front: those behind them are null.
fn tuple<'v>(fields: &'v [ColumnType], bytes: &'v [u8], left: &mut u32) -> Option<Vec<Value<'v>>> {
    let mut body = Reader::new(bytes, 0);
    let mut values = Vec::new();
    for kind in fields {
        if body.left().is_empty() {
            break;
        }
        values.push(element(kind, &mut body, left)?);
    }
    body.end().ok().map(|()| values)
}

fn user_type<'v>(udt: &'v UserType, bytes: &'v [u8], left: &mut u32) -> Option<Vec<(&'v str, Value<'v>)>> {
    let mut body = Reader::new(bytes, 0);
    let mut values = Vec::new();
    for (name, kind) in &udt.fields {
        if body.left().is_empty() {
            break;
        }
        values.push((&**name, element(kind, &mut body, left)?));
    }
    body.end().ok().map(|()| values)
}

/// The elements, one behind the other: without lengths if every value of their type has the same.
fn vector<'v>(of: &'v VectorType, bytes: &'v [u8], left: &mut u32) -> Option<Vec<Value<'v>>> {
    let fixed = fixed_bytes(&of.element);
    let mut rest = bytes;
    let mut values = Vec::new();
    for _ in 0..of.dimensions {
        *left = left.checked_sub(1)?;
        let length = match fixed {
            Some(length) => length,
            None => {
                let (length, after) = vint::unsigned(rest)?;
                rest = after;
                usize::try_from(length).ok()?
            }
        };
        let (element, after) = rest.split_at_checked(length)?;
        rest = after;
        values.push(value(&of.element, element, left));
    }
    rest.is_empty().then_some(values)
}

/// The bytes of every value of a type that is stored without its length in a vector: those of which Cassandra says
/// so (`valueLengthIfFixed`), at least 1.
pub(super) fn fixed_bytes(kind: &ColumnType) -> Option<usize> {
    match kind.meaning() {
        ColumnType::Boolean => Some(1),
        ColumnType::Int | ColumnType::Float => Some(4),
        ColumnType::BigInt | ColumnType::Double | ColumnType::Timestamp => Some(8),
        ColumnType::Uuid | ColumnType::Timeuuid => Some(16),
        ColumnType::Vector(of) => {
            let dimensions = usize::try_from(of.dimensions).ok().filter(|dimensions| *dimensions > 0)?;
            fixed_bytes(&of.element)?.checked_mul(dimensions)
        }
        _ => None,
    }
}
