//! Values to bytes.

use std::net::IpAddr;

use super::decode::fixed_bytes;
use super::{Value, vint};
use crate::cql::types::{ColumnType, VectorType};
use crate::cql::writer::{Unencodable, Writer};
use crate::reader::Raw;

/// Writes a value without its length. It goes as deep as the type.
pub(super) fn value(value: &Value<'_>, kind: &ColumnType, out: &mut Writer) -> Result<(), Unencodable> {
    match (value, kind.meaning()) {
        (Value::Empty, _) => {}
        (Value::Unknown(bytes), _) => out.plain(bytes),
        (Value::List(values), ColumnType::List(of)) | (Value::Set(values), ColumnType::Set(of)) => {
            out.count(values.len());
            for value in values {
                element(value, of, out)?;
            }
        }
        (Value::Map(pairs), ColumnType::Map(of)) => {
            out.count(pairs.len());
            for (key, value) in pairs {
                element(key, &of.0, out)?;
                element(value, &of.1, out)?;
            }
        }
        (Value::Tuple(values), ColumnType::Tuple(fields)) if values.len() <= fields.len() => {
            for (value, kind) in values.iter().zip(fields) {
                element(value, kind, out)?;
            }
        }
        (Value::Udt(values), ColumnType::Udt(udt)) if values.len() <= udt.fields.len() => {
            for ((name, value), (field, kind)) in values.iter().zip(&udt.fields) {
                if *name != &**field {
                    return Err(Unencodable::Unfit);
                }
                element(value, kind, out)?;
            }
        }
        (Value::Vector(values), ColumnType::Vector(of)) => vector(values, of, out)?,
        (_, kind) => scalar(value, kind, out)?,
    }
    Ok(())
}

/// Writes a value with its length in front.
fn element(of: &Value<'_>, kind: &ColumnType, out: &mut Writer) -> Result<(), Unencodable> {
    match of {
        Value::Null => {
            out.value(Raw::Null);
            Ok(())
        }
        _ => out.measured(|out| value(of, kind, out)),
    }
}

fn vector(values: &[Value<'_>], of: &VectorType, out: &mut Writer) -> Result<(), Unencodable> {
    if u32::try_from(values.len()) != Ok(of.dimensions) {
        return Err(Unencodable::Unfit);
    }
    let fixed = fixed_bytes(&of.element);
    for each in values {
        let mut inner = Writer::default();
        value(each, &of.element, &mut inner)?;
        let bytes = inner.finish()?;
        match fixed {
            Some(length) if length != bytes.len() => return Err(Unencodable::Unfit),
            Some(_) => {}
            None => {
                vint::write_unsigned(u64::try_from(bytes.len()).unwrap_or(u64::MAX), |vint| out.plain(vint))
            }
        }
        out.plain(&bytes);
    }
    Ok(())
}

fn scalar(value: &Value<'_>, kind: &ColumnType, out: &mut Writer) -> Result<(), Unencodable> {
    match (value, kind) {
        (Value::Ascii(text), ColumnType::Ascii) | (Value::Varchar(text), ColumnType::Varchar) => {
            out.plain(text.as_bytes());
        }
        (Value::Blob(bytes), ColumnType::Blob) | (Value::Varint(bytes), ColumnType::Varint) => {
            out.plain(bytes)
        }
        (Value::BigInt(number), ColumnType::BigInt)
        | (Value::Counter(number), ColumnType::Counter)
        | (Value::Timestamp(number), ColumnType::Timestamp)
        | (Value::Time(number), ColumnType::Time) => out.i64(*number),
        (Value::Boolean(is_true), ColumnType::Boolean) => out.u8(u8::from(*is_true)),
        (Value::Decimal { scale, unscaled }, ColumnType::Decimal) => {
            out.i32(*scale);
            out.plain(unscaled);
        }
        (Value::Double(number), ColumnType::Double) => out.plain(&number.to_be_bytes()),
        (Value::Float(number), ColumnType::Float) => out.plain(&number.to_be_bytes()),
        (Value::Int(number), ColumnType::Int) => out.i32(*number),
        (Value::Uuid(uuid), ColumnType::Uuid) | (Value::Timeuuid(uuid), ColumnType::Timeuuid) => {
            out.plain(uuid)
        }
        (Value::Inet(IpAddr::V4(address)), ColumnType::Inet) => out.plain(&address.octets()),
        (Value::Inet(IpAddr::V6(address)), ColumnType::Inet) => out.plain(&address.octets()),
        (Value::Date(days), ColumnType::Date) => out.plain(&days.to_be_bytes()),
        (Value::SmallInt(number), ColumnType::SmallInt) => out.plain(&number.to_be_bytes()),
        (Value::TinyInt(number), ColumnType::TinyInt) => out.plain(&number.to_be_bytes()),
        (Value::Duration { months, days, nanoseconds }, ColumnType::Duration) => {
            for number in [i64::from(*months), i64::from(*days), *nanoseconds] {
                vint::write_signed(number, |vint| out.plain(vint));
            }
        }
        _ => return Err(Unencodable::Unfit),
    }
    Ok(())
}
