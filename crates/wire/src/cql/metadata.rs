//! Which columns a result has and which values a statement binds (native protocol v4, sections 4.2.5.2 and 4.2.5.4).

use std::borrow::Cow;

use crate::cql::types::{ColumnType, Types};
use crate::cql::writer::Writer;
use crate::error::Malformed;
use crate::reader::Reader;

/// A table by its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its keyspace.
    pub keyspace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// A column of a result, or a value that a statement binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its table, if not all have the same.
    pub table: Option<Box<Table>>,
    /// Its name.
    pub name: Box<str>,
    /// Its type.
    pub kind: ColumnType,
}

/// Columns, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The table of all columns, if they have the same.
    pub table: Option<Table>,
    /// The columns.
    pub columns: Vec<Column>,
}

impl Table {
    fn read(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { keyspace: body.string()?.into(), name: body.string()?.into() })
    }

    fn write(&self, out: &mut Writer) {
        out.string(&self.keyspace);
        out.string(&self.name);
    }

    fn heap_bytes(&self) -> usize {
        self.keyspace.len().saturating_add(self.name.len())
    }
}

impl AsRef<Self> for Metadata {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Metadata {
    /// Reads so many columns. `has_table`: their table stands in front of them.
    pub(crate) fn read(body: &mut Reader<'_>, count: u32, has_table: bool) -> Result<Self, Malformed> {
        let mut types = Types::new();
        let table = if has_table { Some(Table::read(body)?) } else { None };
        let mut columns = Vec::new();
        for _ in 0..count {
            let table = if has_table { None } else { Some(Box::new(Table::read(body)?)) };
            let name = body.string()?.into();
            columns.push(Column { table, name, kind: types.read(body)? });
        }
        Ok(Self { table, columns })
    }

    /// Writes what [`Metadata::read`] reads.
    pub(crate) fn write(&self, out: &mut Writer) {
        if let Some(table) = &self.table {
            table.write(out);
        }
        for column in &self.columns {
            if self.table.is_none() {
                let nowhere = || Cow::Owned(Table { keyspace: "".into(), name: "".into() });
                column.table.as_deref().map_or_else(nowhere, Cow::Borrowed).write(out);
            }
            out.string(&column.name);
            column.kind.write(out);
        }
    }

    /// The table of a column.
    #[must_use]
    pub fn table_of<'m>(&'m self, column: &'m Column) -> Option<&'m Table> {
        column.table.as_deref().or(self.table.as_ref())
    }

    /// The tables of the columns, as often as they are there.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        let of_columns = self.columns.iter().filter_map(|column| column.table.as_deref());
        self.table.iter().chain(of_columns)
    }

    /// Bytes that belong to it outside itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.columns.iter().fold(self.table.as_ref().map_or(0, Table::heap_bytes), |sum, column| {
            let table = column
                .table
                .as_ref()
                .map_or(0, |table| table.heap_bytes().saturating_add(size_of::<Table>()));
            sum.saturating_add(size_of::<Column>())
                .saturating_add(table)
                .saturating_add(column.name.len())
                .saturating_add(column.kind.heap_bytes())
        })
    }
}

/// What the reply to a PREPARE says of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedMetadata {
    /// The values that it binds, in order.
    pub binds: Metadata,
    /// Which of them are the partition key, in its order (v4; none in v3).
    pub partition_key: Vec<u16>,
    /// The columns of its rows, if it has any. Shared with the pages that leave them out.
    pub result: Option<std::sync::Arc<Metadata>>,
}

impl PreparedMetadata {
    /// The tables of what it binds and of its columns, as often as they are there.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        [Some(&self.binds), self.result.as_deref()].into_iter().flatten().flat_map(Metadata::tables)
    }

    /// Bytes that it takes, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            .saturating_add(self.binds.heap_bytes())
            .saturating_add(self.partition_key.len().saturating_mul(2))
            .saturating_add(self.result.as_ref().map_or(0, |result| result.heap_bytes().saturating_add(64)))
    }
}
