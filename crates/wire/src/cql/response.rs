//! Views of response bodies (native protocol v4, section 4.2; v3 where it has the same layout).

use std::sync::Arc;

use crate::cql::metadata::{Metadata, PreparedMetadata};
use crate::cql::types::ColumnType;
use crate::cql::value::Value;
use crate::error::{Malformed, Reason};
use crate::reader::{Raw, Reader};

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
    /// A statement was prepared.
    Prepared(Prepared<'b>),
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
        2 => rows(body).map(Outcome::Rows),
        3 => body.string().map(Outcome::SetKeyspace),
        4 => Ok(Outcome::Prepared(Prepared { id: body.short_bytes()?, rest: body })),
        5 => schema_change(&mut body).map(Outcome::SchemaChange),
        value => Err(body.malformed(Reason::UnknownValue { value })),
    }
}

/// The flags of metadata (section 4.2.5.2).
pub(crate) mod flag {
    pub(crate) const GLOBAL_TABLE: i32 = 0x01;
    pub(crate) const MORE_PAGES: i32 = 0x02;
    pub(crate) const NO_METADATA: i32 = 0x04;
}

/// A statement that was prepared (section 4.2.5.4).
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'b> {
    /// The id by which it is executed.
    pub id: &'b [u8],
    rest: Reader<'b>,
}

impl Prepared<'_> {
    /// What it binds and what rows it has. `version`: of the frame.
    ///
    /// # Errors
    /// Truncated, not UTF-8, or types that are too many or nested too deeply.
    pub fn metadata(&self, version: u8) -> Result<PreparedMetadata, Malformed> {
        let mut body = self.rest;
        let flags = body.i32()?;
        let count = body.count()?;
        let mut partition_key = Vec::new();
        // Since v4 the places of the partition key's columns among the bound values.
        if version >= 4 {
            for _ in 0..body.count()? {
                partition_key.push(body.u16()?);
            }
        }
        let binds = Metadata::read(&mut body, count, flags & flag::GLOBAL_TABLE != 0)?;
        let result = rows(body)?.own_metadata()?.0.map(Arc::new);
        Ok(PreparedMetadata { binds, partition_key, result })
    }
}

/// Rows of a result (section 4.2.5.2): what leads them. [`Rows::page`] reads on.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'b> {
    /// The flags of the metadata.
    pub flags: i32,
    /// How many columns each row has.
    pub columns: u32,
    /// Where this page ended, if it is not the last.
    pub paging_state: Option<&'b [u8]>,
    rest: Reader<'b>,
}

fn rows(mut body: Reader<'_>) -> Result<Rows<'_>, Malformed> {
    let flags = body.i32()?;
    let columns = body.count()?;
    let paging_state = if flags & flag::MORE_PAGES != 0 { body.bytes()? } else { None };
    Ok(Rows { flags, columns, paging_state, rest: body })
}

impl<'b> Rows<'b> {
    /// The columns' names and types, unless they are left out, and what follows.
    fn own_metadata(&self) -> Result<(Option<Metadata>, Reader<'b>), Malformed> {
        let mut body = self.rest;
        if self.flags & flag::NO_METADATA != 0 {
            return Ok((None, body));
        }
        let metadata = Metadata::read(&mut body, self.columns, self.flags & flag::GLOBAL_TABLE != 0)?;
        Ok((Some(metadata), body))
    }

    /// The columns, unless they are left out, how many rows there are, and their values as far as they are here.
    pub(crate) fn parts(&self) -> Result<(Option<Metadata>, u32, Reader<'b>), Malformed> {
        let (metadata, mut body) = self.own_metadata()?;
        let count = body.count()?;
        Ok((metadata, count, body))
    }

    /// The rows. `known`: the columns of the statement, for a page that leaves them out. Where they are not those of
    /// this page (the schema changed since) its values are not typed at all, rather than wrongly.
    ///
    /// # Errors
    /// Truncated, not UTF-8, types that are too many or nested too deeply, or bytes behind the last row.
    pub fn page(&self, known: Option<&Arc<Metadata>>) -> Result<Page<'b>, Malformed> {
        let (metadata, count, mut body) = self.parts()?;
        if self.columns == 0 && count > 0 {
            return Err(body.malformed(Reason::UnknownValue { value: 0 }));
        }
        let cells = body;
        for _ in 0..u64::from(count).saturating_mul(u64::from(self.columns)) {
            body.value()?;
        }
        body.end()?;
        let page = Page { metadata: metadata.map(Arc::new), columns: self.columns, count, cells };
        if page.metadata.is_some() {
            return Ok(page);
        }
        let same_count = |known: &&Arc<Metadata>| u32::try_from(known.columns.len()) == Ok(self.columns);
        let typed = Page { metadata: known.filter(same_count).map(Arc::clone), ..page.clone() };
        Ok(if typed.fits() { typed } else { page })
    }
}

/// The rows of one page, all of them there.
#[derive(Clone, Debug)]
pub struct Page<'b> {
    /// The columns, if they are known.
    pub metadata: Option<Arc<Metadata>>,
    columns: u32,
    count: u32,
    cells: Reader<'b>,
}

impl<'b> Page<'b> {
    /// How many rows there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many columns each has.
    #[must_use]
    pub fn columns(&self) -> u32 {
        self.columns
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_, 'b>> {
        let mut cells = self.cells;
        (0..self.count).map_while(move |_| {
            let row = Row { page: self, cells };
            for _ in 0..self.columns {
                cells.value().ok()?;
            }
            Some(row)
        })
    }

    /// True if every value is one of its column's type, as far as that can be told.
    fn fits(&self) -> bool {
        let columns = self.metadata.as_ref().map(|metadata| &*metadata.columns).unwrap_or_default();
        self.rows().all(|row| row.cells().zip(columns).all(|(cell, column)| could_be(&column.kind, cell)))
    }
}

/// True if these bytes are a value of this type, or nobody knows what is.
fn could_be(kind: &ColumnType, cell: Raw<'_>) -> bool {
    match (kind.meaning(), cell) {
        (ColumnType::Custom(_) | ColumnType::Other(_), _) => true,
        // Cassandra stores any byte, and takes all but 0 for true.
        (ColumnType::Boolean, Raw::Bytes([_])) => true,
        _ => !matches!(Value::decode(kind, cell), Value::Unknown(_)),
    }
}

/// One row of a page.
#[derive(Clone, Copy, Debug)]
pub struct Row<'p, 'b> {
    page: &'p Page<'b>,
    cells: Reader<'b>,
}

impl<'p, 'b> Row<'p, 'b> {
    /// The bytes of each column.
    pub fn cells(&self) -> impl Iterator<Item = Raw<'b>> + use<'b> {
        let mut cells = self.cells;
        (0..self.page.columns).map_while(move |_| cells.value().ok())
    }

    /// The value of each column, in order.
    pub fn values(&self) -> impl Iterator<Item = Value<'p>> + use<'p, 'b> {
        let columns = self.page.metadata.as_ref().map(|metadata| &*metadata.columns).unwrap_or_default();
        self.cells().enumerate().map(move |(index, cell)| match columns.get(index) {
            Some(column) => Value::decode(&column.kind, cell),
            None => Value::untyped(cell),
        })
    }
}
