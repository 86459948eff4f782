//! Views of response bodies (native protocol v4, section 4.2; v3 where it has the same layout).

use crate::error::{Malformed, Reason};
use crate::limits::TYPE_DEPTH_MAX;
use crate::reader::Reader;

/// ERROR: what every kind of it has.
#[derive(Clone, Copy, Debug)]
pub struct Error<'b> {
    /// The code (section 9).
    pub code: i32,
    /// The text.
    pub message: &'b str,
    /// What this code adds.
    pub rest: &'b [u8],
}

/// ERROR.
///
/// # Errors
/// Truncated, or not UTF-8.
pub fn error(mut body: Reader<'_>) -> Result<Error<'_>, Malformed> {
    Ok(Error { code: body.i32()?, message: body.string()?, rest: body.left() })
}

/// AUTHENTICATE: the class of the authenticator.
///
/// # Errors
/// Truncated, or not UTF-8.
pub fn authenticate(mut body: Reader<'_>) -> Result<&str, Malformed> {
    body.string()
}

/// AUTH_CHALLENGE or AUTH_SUCCESS: the token, a secret.
///
/// # Errors
/// Truncated.
pub fn auth_token(mut body: Reader<'_>) -> Result<Option<&[u8]>, Malformed> {
    body.bytes()
}

/// SUPPORTED: each option with each of its values.
///
/// # Errors
/// Truncated, or not UTF-8.
pub fn supported<'b>(mut body: Reader<'b>, mut each: impl FnMut(&'b str, &'b str)) -> Result<(), Malformed> {
    for _ in 0..body.u16()? {
        let key = body.string()?;
        body.string_list(|value| each(key, value))?;
    }
    Ok(())
}

/// A change of the schema, in an event or as a result.
#[derive(Clone, Copy, Debug)]
pub struct SchemaChange<'b> {
    /// CREATED, UPDATED or DROPPED.
    pub change: &'b str,
    /// KEYSPACE, TABLE, TYPE, FUNCTION or AGGREGATE.
    pub target: &'b str,
    /// The keyspace.
    pub keyspace: &'b str,
    /// What in it, unless the keyspace itself.
    pub name: Option<&'b str>,
}

fn schema_change<'b>(body: &mut Reader<'b>) -> Result<SchemaChange<'b>, Malformed> {
    let (change, target, keyspace) = (body.string()?, body.string()?, body.string()?);
    let name = if target == "KEYSPACE" { None } else { Some(body.string()?) };
    Ok(SchemaChange { change, target, keyspace, name })
}

/// EVENT.
#[derive(Clone, Copy, Debug)]
pub enum Event<'b> {
    /// A node joined, left or moved.
    Topology {
        /// NEW_NODE or REMOVED_NODE.
        change: &'b str,
        /// Of the node: 4 or 16 bytes.
        address: &'b [u8],
        /// Of the node.
        port: i32,
    },
    /// A node went up or down.
    Status {
        /// UP or DOWN.
        change: &'b str,
        /// Of the node: 4 or 16 bytes.
        address: &'b [u8],
        /// Of the node.
        port: i32,
    },
    /// The schema changed.
    Schema(SchemaChange<'b>),
}

/// EVENT.
///
/// # Errors
/// Truncated, not UTF-8, or a kind that does not exist.
pub fn event(mut body: Reader<'_>) -> Result<Event<'_>, Malformed> {
    match body.string()? {
        "SCHEMA_CHANGE" => schema_change(&mut body).map(Event::Schema),
        kind @ ("TOPOLOGY_CHANGE" | "STATUS_CHANGE") => {
            let change = body.string()?;
            let address_bytes = body.u8()?;
            let address = body.take(usize::from(address_bytes))?;
            let port = body.i32()?;
            Ok(if kind == "STATUS_CHANGE" {
                Event::Status { change, address, port }
            } else {
                Event::Topology { change, address, port }
            })
        }
        _ => Err(body.malformed(Reason::UnknownValue { value: 0 })),
    }
}

/// RESULT. Its kind leads the body, behind what the header's flags put in front of it.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'b> {
    /// Nothing to say.
    Void,
    /// Rows.
    Rows(Rows<'b>),
    /// The keyspace in use is now this one.
    SetKeyspace(&'b str),
    /// A statement was prepared under this id.
    Prepared {
        /// The id.
        id: &'b [u8],
    },
    /// The schema changed.
    SchemaChange(SchemaChange<'b>),
}

/// RESULT.
///
/// # Errors
/// Truncated, not UTF-8, or a kind that does not exist.
pub fn result(mut body: Reader<'_>) -> Result<Outcome<'_>, Malformed> {
    match body.i32()? {
        1 => Ok(Outcome::Void),
        2 => rows(&mut body).map(Outcome::Rows),
        3 => body.string().map(Outcome::SetKeyspace),
        4 => Ok(Outcome::Prepared { id: body.short_bytes()? }),
        5 => schema_change(&mut body).map(Outcome::SchemaChange),
        value => Err(body.malformed(Reason::UnknownValue { value })),
    }
}

/// Rows of a result.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'b> {
    /// How many columns each row has.
    pub columns: i32,
    /// Where this page ended, if it is not the last.
    pub paging_state: Option<&'b [u8]>,
    /// Keyspace and table, if they are the same for all columns.
    pub table: Option<(&'b str, &'b str)>,
    /// The columns' names and types are left out.
    pub has_no_metadata: bool,
    /// How many rows there are.
    pub count: i32,
    /// The cells, row by row.
    pub cells: Reader<'b>,
    metadata: Reader<'b>,
}

mod flag {
    pub(super) const GLOBAL_TABLE: i32 = 0x01;
    pub(super) const MORE_PAGES: i32 = 0x02;
    pub(super) const NO_METADATA: i32 = 0x04;
}

fn rows<'b>(body: &mut Reader<'b>) -> Result<Rows<'b>, Malformed> {
    let flags = body.i32()?;
    let columns = body.i32()?;
    let paging_state = if flags & flag::MORE_PAGES != 0 { body.bytes()? } else { None };
    let has_no_metadata = flags & flag::NO_METADATA != 0;
    let has_table = flags & flag::GLOBAL_TABLE != 0 && !has_no_metadata;
    let table = if has_table { Some((body.string()?, body.string()?)) } else { None };
    let metadata = *body;
    if !has_no_metadata {
        each_column(body, columns, table.is_some(), |_, _| ())?;
    }
    let count = body.i32()?;
    Ok(Rows { columns, paging_state, table, has_no_metadata, count, cells: *body, metadata })
}

impl<'b> Rows<'b> {
    /// Each column's name and the bytes of its type (section 6 of the type codes).
    ///
    /// # Errors
    /// Truncated, not UTF-8, or types nested too deeply.
    pub fn columns(&self, each: impl FnMut(&'b str, &'b [u8])) -> Result<(), Malformed> {
        if self.has_no_metadata {
            return Ok(());
        }
        let mut reader = self.metadata;
        each_column(&mut reader, self.columns, self.table.is_some(), each)
    }
}

fn each_column<'b>(
    body: &mut Reader<'b>,
    columns: i32,
    has_table: bool,
    mut each: impl FnMut(&'b str, &'b [u8]),
) -> Result<(), Malformed> {
    for _ in 0..columns {
        if !has_table {
            body.string()?;
            body.string()?;
        }
        let name = body.string()?;
        let before = body.left();
        skip_type(body)?;
        let type_bytes = before.len().saturating_sub(body.left().len());
        each(name, before.get(..type_bytes).unwrap_or_default());
    }
    Ok(())
}

/// What an open level of a type still wants: so many types, each with a name in front of it in a UDT.
#[derive(Clone, Copy, Default)]
struct Level {
    types: u16,
    are_named: bool,
}

/// Skips a type (section 4.2.5.2). Without recursion: the levels that are open stand in an array.
fn skip_type(body: &mut Reader<'_>) -> Result<(), Malformed> {
    let mut levels = [Level::default(); TYPE_DEPTH_MAX];
    let mut depth: usize = 0;
    if let Some(outermost) = levels.first_mut() {
        outermost.types = 1;
    }
    loop {
        let Some(level) = levels.get_mut(depth) else { return Err(body.malformed(Reason::TooDeep)) };
        if level.types == 0 {
            let Some(outer) = depth.checked_sub(1) else { return Ok(()) };
            depth = outer;
            continue;
        }
        level.types = level.types.saturating_sub(1);
        if level.are_named {
            body.string()?;
        }
        let inner = inner_types(body)?;
        if inner.types > 0 {
            depth = depth.saturating_add(1);
            *levels.get_mut(depth).ok_or_else(|| body.malformed(Reason::TooDeep))? = inner;
        }
    }
}

/// Reads one type code and what belongs to it, and says which types follow inside it.
fn inner_types(body: &mut Reader<'_>) -> Result<Level, Malformed> {
    let plain = |types| Level { types, are_named: false };
    match body.u16()? {
        // Custom: the name of its class.
        0x0000 => body.short_bytes().map(|_| plain(0)),
        // List and set, map.
        0x0020 | 0x0022 => Ok(plain(1)),
        0x0021 => Ok(plain(2)),
        // UDT: keyspace, name, fields.
        0x0030 => {
            body.string()?;
            body.string()?;
            Ok(Level { types: body.u16()?, are_named: true })
        }
        // Tuple.
        0x0031 => body.u16().map(plain),
        _ => Ok(plain(0)),
    }
}
