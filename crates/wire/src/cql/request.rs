//! Views of request bodies (native protocol v4, section 4.1; v3 has the same layouts).
//!
//! Each takes the reader that [`super::body`] gives, borrows from it, and reads no more than it is asked for.

use crate::error::{Malformed, Reason};
use crate::reader::Reader;

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

    /// Each value with its name, if it has one; `None` is null or not set. Gives the reader behind the last one.
    ///
    /// # Errors
    /// Truncated, or a name that is not UTF-8.
    pub fn each(
        self,
        mut each: impl FnMut(Option<&'b str>, Option<&'b [u8]>),
    ) -> Result<Reader<'b>, Malformed> {
        let mut reader = self.reader;
        for _ in 0..self.count {
            let name = if self.are_named { Some(reader.string()?) } else { None };
            each(name, reader.bytes()?);
        }
        Ok(reader)
    }
}

mod flag {
    pub(super) const VALUES: u8 = 0x01;
    pub(super) const PAGE_SIZE: u8 = 0x04;
    pub(super) const PAGING_STATE: u8 = 0x08;
    pub(super) const SERIAL_CONSISTENCY: u8 = 0x10;
    pub(super) const TIMESTAMP: u8 = 0x20;
    pub(super) const NAMES: u8 = 0x40;
}

fn parameters<'b>(body: &mut Reader<'b>) -> Result<Parameters<'b>, Malformed> {
    let consistency = body.u16()?;
    let flags = body.u8()?;
    let has = |flag| flags & flag != 0;
    let count = if has(flag::VALUES) { body.u16()? } else { 0 };
    let values = Values { count, are_named: has(flag::NAMES), reader: *body };
    *body = values.each(|_, _| ())?;
    Ok(Parameters {
        consistency,
        flags,
        values,
        page_rows: if has(flag::PAGE_SIZE) { Some(body.i32()?) } else { None },
        paging_state: if has(flag::PAGING_STATE) { body.bytes()? } else { None },
        serial_consistency: if has(flag::SERIAL_CONSISTENCY) { Some(body.u16()?) } else { None },
        timestamp: if has(flag::TIMESTAMP) { Some(body.i64()?) } else { None },
    })
}

/// QUERY: the statement and its parameters.
///
/// # Errors
/// Truncated, or not UTF-8.
pub fn query(mut body: Reader<'_>) -> Result<(&str, Parameters<'_>), Malformed> {
    let text = body.long_string()?;
    Ok((text, parameters(&mut body)?))
}

/// EXECUTE: the prepared id and the parameters.
///
/// # Errors
/// Truncated, or a name that is not UTF-8.
pub fn execute(mut body: Reader<'_>) -> Result<(&[u8], Parameters<'_>), Malformed> {
    let id = body.short_bytes()?;
    Ok((id, parameters(&mut body)?))
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
pub struct Batch {
    /// 0 logged, 1 unlogged, 2 counter.
    pub kind: u8,
    /// How many statements there are.
    pub statements: u16,
    /// The consistency level.
    pub consistency: u16,
}

/// BATCH: each statement with its values, then the rest.
///
/// # Errors
/// Truncated, not UTF-8, or an unknown kind of statement.
pub fn batch<'b>(
    mut body: Reader<'b>,
    mut each: impl FnMut(BatchStatement<'b>, Values<'b>),
) -> Result<Batch, Malformed> {
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
    Ok(Batch { kind, statements, consistency: body.u16()? })
}
