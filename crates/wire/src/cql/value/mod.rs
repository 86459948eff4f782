//! Typed values (native protocol v4, section 6): bytes and the type of their column make a [`Value`], which can be
//! changed, shown as CQL and made into bytes again. Bytes that are no value of their type are [`Value::Unknown`].
//!
//! `decode` and `encode` are inverse: what was decoded encodes to the same bytes. `vint` has the variable-length
//! integers of durations and vectors, `literal` the text.

mod decode;
mod encode;
mod literal;
#[cfg(test)]
mod tests;
mod vint;

use std::net::IpAddr;

use crate::cql::types::ColumnType;
use crate::cql::writer::{Unencodable, Writer};
use crate::limits::VALUE_ELEMENTS_MAX;
use crate::reader::Raw;

/// A value of a column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'v> {
    /// None.
    Null,
    /// Not set: the column is left as it is.
    Unset,
    /// No bytes, of a type whose values all have some. Cassandra keeps those apart from null, for old data.
    Empty,
    /// ASCII.
    Ascii(&'v str),
    /// 64 bits.
    BigInt(i64),
    /// Bytes.
    Blob(&'v [u8]),
    /// True or false.
    Boolean(bool),
    /// 64 bits, which are counted up and down.
    Counter(i64),
    /// `unscaled * 10 ^ -scale`; the former as a varint.
    Decimal {
        /// Digits behind the point.
        scale: i32,
        /// Two's complement, the highest byte first.
        unscaled: &'v [u8],
    },
    /// 64 bits of IEEE 754.
    Double(f64),
    /// 32 bits of IEEE 754.
    Float(f32),
    /// 32 bits.
    Int(i32),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// 16 bytes.
    Uuid([u8; 16]),
    /// UTF-8.
    Varchar(&'v str),
    /// Two's complement, the highest byte first.
    Varint(&'v [u8]),
    /// 16 bytes of version 1.
    Timeuuid([u8; 16]),
    /// An address.
    Inet(IpAddr),
    /// Days; 1970-01-01 is 2^31.
    Date(u32),
    /// Nanoseconds since midnight.
    Time(i64),
    /// 16 bits.
    SmallInt(i16),
    /// 8 bits.
    TinyInt(i8),
    /// Months, days and nanoseconds, which cannot be converted into each other.
    Duration {
        /// Months.
        months: i32,
        /// Days.
        days: i32,
        /// Nanoseconds.
        nanoseconds: i64,
    },
    /// In order.
    List(Vec<Self>),
    /// As they were received.
    Set(Vec<Self>),
    /// Keys with their values, as they were received.
    Map(Vec<(Self, Self)>),
    /// In order; fields at the end may be missing.
    Tuple(Vec<Self>),
    /// In order, each with its name; fields at the end may be missing.
    Udt(Vec<(&'v str, Self)>),
    /// In order.
    Vector(Vec<Self>),
    /// Bytes that are no value of their type, or of which the type is not known.
    Unknown(&'v [u8]),
}

impl<'v> Value<'v> {
    /// What these bytes are as a value of this type.
    #[must_use]
    pub fn decode(kind: &'v ColumnType, raw: Raw<'v>) -> Self {
        match raw {
            Raw::Null => Self::Null,
            Raw::Unset => Self::Unset,
            Raw::Bytes(bytes) => {
                let mut elements = VALUE_ELEMENTS_MAX;
                decode::value(kind, bytes, &mut elements)
            }
        }
    }

    /// What these bytes are if the type is not known.
    #[must_use]
    pub fn untyped(raw: Raw<'v>) -> Self {
        match raw {
            Raw::Null => Self::Null,
            Raw::Unset => Self::Unset,
            Raw::Bytes(bytes) => Self::Unknown(bytes),
        }
    }

    /// The bytes of this value in a column of this type; `None` when it has none (null, not set).
    ///
    /// # Errors
    /// It is no value of this type, or too long for the protocol.
    pub fn encode(&self, kind: &ColumnType) -> Result<Option<Vec<u8>>, Unencodable> {
        if matches!(self, Self::Null | Self::Unset) {
            return Ok(None);
        }
        let mut out = Writer::default();
        encode::value(self, kind, &mut out)?;
        out.finish().map(Some)
    }
}
