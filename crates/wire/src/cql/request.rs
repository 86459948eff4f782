//! Views of request bodies (native protocol v4, section 4.1; v3 has the same layouts).
//!
//! Each takes the reader that [`super::body`] gives, borrows from it, and reads no more than it is asked for.

use std::collections::HashMap;

use crate::cql::metadata::Metadata;
use crate::cql::value::Value;
use crate::error::{Malformed, Reason};
use crate::reader::{Raw, Reader};

/// STARTUP: the options, in order.
///
/// # Errors
/// Truncated, or not UTF-8.
pub fn startup<'b>(mut body: Reader<'b>, mut each: impl FnMut(&'b str, &'b str)) -> Result<(), Malformed> {
    for _ in 0..body.u16()? {
        let key = body.string()?;
        each(key, body.string()?);
    }
    Ok(())
}

/// REGISTER: the kinds of events that are asked for.
///
/// # Errors
/// Truncated, or not UTF-8.
pub fn register<'b>(mut body: Reader<'b>, each: impl FnMut(&'b str)) -> Result<(), Malformed> {
    body.string_list(each)
}

/// PREPARE: the statement.
///
/// # Errors
/// Truncated, or not UTF-8.
pub fn prepare(mut body: Reader<'_>) -> Result<&str, Malformed> {
    body.long_string()
}

/// AUTH_RESPONSE: the token, a secret.
///
/// # Errors
/// Truncated.
pub fn auth_response(mut body: Reader<'_>) -> Result<Option<&[u8]>, Malformed> {
    body.bytes()
}

/// What goes with a QUERY or an EXECUTE.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'b> {
    /// The consistency level (section 3).
    pub consistency: u16,
    /// Which of the following are there.
    pub flags: u8,
    /// Values bound to the statement.
    pub values: Values<'b>,
    /// Rows wanted in one page.
    pub page_rows: Option<i32>,
    /// Where the last page ended.
    pub paging_state: Option<&'b [u8]>,
    /// The consistency of conditions.
    pub serial_consistency: Option<u16>,
    /// The default timestamp, microseconds.
    pub timestamp: Option<i64>,
    /// What is behind all that no flag announces.
    pub rest: Reader<'b>,
}

/// Values bound to a statement, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Values<'b> {
    count: u16,
    are_named: bool,
    reader: Reader<'b>,
}

impl<'b> Values<'b> {
    /// How many there are said to be.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Each value with its name, if it has one. Gives the reader behind the last one.
    ///
    /// # Errors
    /// Truncated, or a name that is not UTF-8.
    pub fn each(self, mut each: impl FnMut(Option<&'b str>, Raw<'b>)) -> Result<Reader<'b>, Malformed> {
        let mut reader = self.reader;
        for _ in 0..self.count {
            let name = if self.are_named { Some(reader.string()?) } else { None };
            each(name, reader.value()?);
        }
        Ok(reader)
    }

    /// Each value as the statement's metadata says, with its name: its own, or that of its place. What the metadata
    /// does not know is [`Value::Unknown`].
    ///
    /// # Errors
    /// As [`Values::each`].
    pub fn typed<'v>(
        self,
        binds: &'v Metadata,
        mut each: impl FnMut(Option<&'v str>, Value<'v>),
    ) -> Result<(), Malformed>
    where
        'b: 'v,
    {
        let columns = &binds.columns;
        let named = columns.iter().map(|column| (&*column.name, column));
        let by_name: HashMap<&str, _> = if self.are_named { named.collect() } else { HashMap::new() };
        let mut place = 0_usize;
        self.each(|name, raw| {
            let column = match name {
                Some(name) => by_name.get(name).copied(),
                None => columns.get(place),
            };
            place = place.saturating_add(1);
            let value = column.map_or_else(|| Value::untyped(raw), |column| Value::decode(&column.kind, raw));
            each(name.or_else(|| column.map(|column| &*column.name)), value);
        })?;
        Ok(())
    }
}

/// The flags of a QUERY, an EXECUTE (section 4.1.4) or a BATCH (section 4.1.7).
pub(crate) mod flag {
    pub(crate) const VALUES: u8 = 0x01;
    pub(crate) const SKIP_METADATA: u8 = 0x02;
    pub(crate) const PAGE_SIZE: u8 = 0x04;
    pub(crate) const PAGING_STATE: u8 = 0x08;
    pub(crate) const SERIAL_CONSISTENCY: u8 = 0x10;
    pub(crate) const TIMESTAMP: u8 = 0x20;
    pub(crate) const NAMES: u8 = 0x40;
    /// A keyspace of the request's own is behind all that. It belongs to v5, but Cassandra goes by it in every version
    /// since 4.0, and in none before.
    pub(crate) const KEYSPACE: u8 = 0x80;
}

/// The flags of a QUERY, of what is behind its text; `None` if they are not there. In front of them is the consistency.
pub(crate) fn flags(parameters: &[u8]) -> Option<u8> {
    parameters.get(2).copied()
}

impl Parameters<'_> {
    /// True if the reply may leave its columns out.
    #[must_use]
    pub fn skips_metadata(&self) -> bool {
        self.flags & flag::SKIP_METADATA != 0
    }
}

fn parameters(mut body: Reader<'_>) -> Result<Parameters<'_>, Malformed> {
    let consistency = body.u16()?;
    let flags = body.u8()?;
    let has = |flag| flags & flag != 0;
    let count = if has(flag::VALUES) { body.u16()? } else { 0 };
    let values = Values { count, are_named: has(flag::NAMES), reader: body };
    body = values.each(|_, _| ())?;
    Ok(Parameters {
        consistency,
        flags,
        values,
        page_rows: if has(flag::PAGE_SIZE) { Some(body.i32()?) } else { None },
        paging_state: if has(flag::PAGING_STATE) { body.bytes()? } else { None },
        serial_consistency: if has(flag::SERIAL_CONSISTENCY) { Some(body.u16()?) } else { None },
        timestamp: if has(flag::TIMESTAMP) { Some(body.i64()?) } else { None },
        rest: body,
    })
}

/// QUERY: the statement and its parameters.
///
/// # Errors
/// Truncated, or not UTF-8.
pub fn query(mut body: Reader<'_>) -> Result<(&str, Parameters<'_>), Malformed> {
    let text = body.long_string()?;
    Ok((text, parameters(body)?))
}

/// EXECUTE: the prepared id and the parameters.
///
/// # Errors
/// Truncated, or a name that is not UTF-8.
pub fn execute(mut body: Reader<'_>) -> Result<(&[u8], Parameters<'_>), Malformed> {
    let id = body.short_bytes()?;
    Ok((id, parameters(body)?))
}

/// One statement of a BATCH.
#[derive(Clone, Copy, Debug)]
pub enum BatchStatement<'b> {
    /// By its text.
    Text(&'b str),
    /// By its prepared id.
    Prepared(&'b [u8]),
}

/// What goes with a BATCH.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'b> {
    /// 0 logged, 1 unlogged, 2 counter.
    pub kind: u8,
    /// How many statements there are.
    pub statements: u16,
    /// The consistency level.
    pub consistency: u16,
    /// Which of the following are there.
    pub flags: u8,
    /// The consistency of conditions.
    pub serial_consistency: Option<u16>,
    /// The default timestamp, microseconds.
    pub timestamp: Option<i64>,
    /// What is behind all that no flag announces.
    pub rest: Reader<'b>,
}

/// BATCH: each statement with its values, then the rest.
///
/// # Errors
/// Truncated, not UTF-8, or an unknown kind of statement.
pub fn batch<'b>(
    mut body: Reader<'b>,
    mut each: impl FnMut(BatchStatement<'b>, Values<'b>),
) -> Result<Batch<'b>, Malformed> {
    let kind = body.u8()?;
    let statements = body.u16()?;
    for _ in 0..statements {
        let statement = match body.u8()? {
            0 => BatchStatement::Text(body.long_string()?),
            1 => BatchStatement::Prepared(body.short_bytes()?),
            other => return Err(body.malformed(Reason::UnknownValue { value: i32::from(other) })),
        };
        let count = body.u16()?;
        let values = Values { count, are_named: false, reader: body };
        body = values.each(|_, _| ())?;
        each(statement, values);
    }
    let (consistency, flags) = (body.u16()?, body.u8()?);
    let has = |flag| flags & flag != 0;
    Ok(Batch {
        kind,
        statements,
        consistency,
        flags,
        serial_consistency: if has(flag::SERIAL_CONSISTENCY) { Some(body.u16()?) } else { None },
        timestamp: if has(flag::TIMESTAMP) { Some(body.i64()?) } else { None },
        rest: body,
    })
}
