//! The rows of a RESULT (native protocol v4, section 4.2.5.2) that can be changed.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Cell, Envelope};
use crate::cql::metadata::Metadata;
use crate::cql::opcode;
use crate::cql::response::{self, Outcome, flag};
use crate::cql::writer::Unencodable;
use crate::error::{Malformed, Reason};
use crate::limits::EDIT_CELLS_MAX;
use crate::protocol::{Head, Side};

/// The kind of a RESULT that has rows.
const KIND_ROWS: i32 = 2;

/// A RESULT with rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<'f> {
    /// What is around the body.
    pub envelope: Envelope<'f>,
    /// The flags of the metadata that announce no field, those not known here included.
    pub flags: i32,
    /// Where this page ended, if it is not the last.
    pub paging_state: Option<Cow<'f, [u8]>>,
    /// The columns, unless they are left out.
    pub metadata: Option<Arc<Metadata>>,
    /// How many columns there are, where they are left out.
    pub columns: u32,
    /// The rows; each has as many cells as there are columns.
    pub rows: Vec<Vec<Cell<'f>>>,
}

impl<'f> Rows<'f> {
    /// Reads a frame.
    ///
    /// # Errors
    /// No RESULT with rows, or a frame that could not be written again as it is.
    pub fn decode(head: &Head, frame: &'f [u8]) -> Result<Self, Malformed> {
        let (envelope, body) = Envelope::decode(Side::Response, head, frame)?;
        if head.opcode != opcode::RESULT {
            return Err(body.malformed(Reason::UnknownOpcode { opcode: head.opcode }));
        }
        let Outcome::Rows(view) = response::result(body)? else {
            return Err(body.malformed(Reason::UnknownValue { value: 0 }));
        };
        if view.flags & flag::MORE_PAGES != 0 && view.paging_state.is_none() {
            return Err(body.malformed(Reason::UnknownValue { value: -1 }));
        }
        let page = view.page(None)?;
        if u64::from(page.count()).saturating_mul(u64::from(view.columns)) > u64::from(EDIT_CELLS_MAX) {
            return Err(body.malformed(Reason::TooManyCells));
        }
        // As many cells as are there: the page has looked.
        let columns = usize::try_from(view.columns).unwrap_or_default();
        let cells = |row: response::Row<'_, 'f>| {
            let mut cells = Vec::with_capacity(columns);
            cells.extend(row.cells().map(Cell::from));
            cells
        };
        let rows = page.rows().map(cells).collect();
        let announced = announced(page.metadata.as_deref(), view.paging_state.is_some());
        Ok(Self {
            envelope,
            flags: view.flags & !announced,
            paging_state: view.paging_state.map(Cow::Borrowed),
            metadata: page.metadata.clone(),
            columns: view.columns,
            rows,
        })
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// A row with more or fewer cells than there are columns, or something longer than the protocol has room for.
    pub fn encode(&self) -> Result<Vec<u8>, Unencodable> {
        let columns = match &self.metadata {
            Some(metadata) => metadata.columns.len(),
            None => usize::try_from(self.columns).map_err(|_| Unencodable::TooLong)?,
        };
        if self.rows.iter().any(|row| row.len() != columns) {
            return Err(Unencodable::Unfit);
        }
        self.envelope.encode(Side::Response, opcode::RESULT, |out| {
            out.i32(KIND_ROWS);
            out.i32(self.flags | announced(self.metadata.as_deref(), self.paging_state.is_some()));
            out.count(columns);
            if let Some(state) = &self.paging_state {
                out.bytes(state);
            }
            if let Some(metadata) = &self.metadata {
                metadata.write(out);
            }
            out.count(self.rows.len());
            self.rows.iter().flatten().for_each(|cell| out.value(cell.raw()));
            Ok(())
        })
    }
}

/// The flags of the metadata that announce something.
fn announced(metadata: Option<&Metadata>, has_more_pages: bool) -> i32 {
    let of_columns = match metadata {
        None => flag::NO_METADATA,
        Some(Metadata { table: Some(_), .. }) => flag::GLOBAL_TABLE,
        Some(_) => 0,
    };
    of_columns | if has_more_pages { flag::MORE_PAGES } else { 0 }
}
