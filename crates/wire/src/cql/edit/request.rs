//! QUERY, PREPARE, EXECUTE and BATCH (native protocol v4, sections 4.1.4 to 4.1.7) that can be changed.

use std::borrow::Cow;

use super::{Cell, Envelope, announced};
use crate::cql::opcode;
use crate::cql::request::{self, flag};
use crate::cql::writer::{Unencodable, Writer};
use crate::error::{Malformed, Reason};
use crate::limits::EDIT_CELLS_MAX;
use crate::protocol::{Head, Side};
use crate::reader::Reader;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'f> {
    /// What is around the body.
    pub envelope: Envelope<'f>,
    /// The body.
    pub body: RequestBody<'f>,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody<'f> {
    /// QUERY.
    Query {
        /// The statement.
        text: Cow<'f, str>,
        /// What goes with it.
        parameters: Parameters<'f>,
    },
    /// PREPARE.
    Prepare {
        /// The statement.
        text: Cow<'f, str>,
    },
    /// EXECUTE.
    Execute {
        /// The prepared id.
        id: Cow<'f, [u8]>,
        /// What goes with it.
        parameters: Parameters<'f>,
    },
    /// BATCH.
    Batch(Batch<'f>),
}

/// What goes with a QUERY or an EXECUTE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters<'f> {
    /// The consistency level.
    pub consistency: u16,
    /// The flags that announce no field: that metadata may be skipped (0x02), that values have names (0x40), and those
    /// not known here.
    pub flags: u8,
    /// Values bound to the statement.
    pub values: Option<Vec<Bound<'f>>>,
    /// Rows wanted in one page.
    pub page_rows: Option<i32>,
    /// Where the last page ended.
    pub paging_state: Option<Cow<'f, [u8]>>,
    /// The consistency of conditions.
    pub serial_consistency: Option<u16>,
    /// The default timestamp, microseconds.
    pub timestamp: Option<i64>,
}

/// A value bound to a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound<'f> {
    /// Its name, where values have names.
    pub name: Option<Cow<'f, str>>,
    /// Its bytes.
    pub value: Cell<'f>,
}

/// BATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<'f> {
    /// 0 logged, 1 unlogged, 2 counter.
    pub kind: u8,
    /// The statements, each with its values.
    pub statements: Vec<(BatchStatement<'f>, Vec<Cell<'f>>)>,
    /// The consistency level.
    pub consistency: u16,
    /// The flags that announce no field.
    pub flags: u8,
    /// The consistency of conditions.
    pub serial_consistency: Option<u16>,
    /// The default timestamp, microseconds.
    pub timestamp: Option<i64>,
}

/// One statement of a BATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchStatement<'f> {
    /// By its text.
    Text(Cow<'f, str>),
    /// By its prepared id.
    Prepared(Cow<'f, [u8]>),
}

impl<'f> Request<'f> {
    /// Reads a frame.
    ///
    /// # Errors
    /// Another opcode than those four, or a frame that could not be written again as it is.
    pub fn decode(head: &Head, frame: &'f [u8]) -> Result<Self, Malformed> {
        let (envelope, mut body) = Envelope::decode(Side::Request, head, frame)?;
        let body = match head.opcode {
            opcode::QUERY => {
                let (text, parameters) = request::query(body)?;
                RequestBody::Query { text: Cow::Borrowed(text), parameters: Parameters::decode(&parameters)? }
            }
            opcode::EXECUTE => {
                let (id, parameters) = request::execute(body)?;
                RequestBody::Execute { id: Cow::Borrowed(id), parameters: Parameters::decode(&parameters)? }
            }
            opcode::PREPARE => {
                let text = body.long_string()?;
                body.end()?;
                RequestBody::Prepare { text: Cow::Borrowed(text) }
            }
            opcode::BATCH => RequestBody::Batch(Batch::decode(body)?),
            opcode => return Err(body.malformed(Reason::UnknownOpcode { opcode })),
        };
        Ok(Self { envelope, body })
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// Something is longer than the protocol has room for.
    pub fn encode(&self) -> Result<Vec<u8>, Unencodable> {
        let opcode = match &self.body {
            RequestBody::Query { .. } => opcode::QUERY,
            RequestBody::Prepare { .. } => opcode::PREPARE,
            RequestBody::Execute { .. } => opcode::EXECUTE,
            RequestBody::Batch(_) => opcode::BATCH,
        };
        self.envelope.encode(Side::Request, opcode, |out| {
            match &self.body {
                RequestBody::Query { text, parameters } => {
                    out.bytes(text.as_bytes());
                    parameters.write(out);
                }
                RequestBody::Prepare { text } => out.bytes(text.as_bytes()),
                RequestBody::Execute { id, parameters } => {
                    out.short_bytes(id);
                    parameters.write(out);
                }
                RequestBody::Batch(batch) => batch.write(out),
            }
            Ok(())
        })
    }
}

/// The flags that announce a field.
const FIELDS: u8 =
    flag::VALUES | flag::PAGE_SIZE | flag::PAGING_STATE | flag::SERIAL_CONSISTENCY | flag::TIMESTAMP;

impl<'f> Parameters<'f> {
    fn decode(view: &request::Parameters<'f>) -> Result<Self, Malformed> {
        view.rest.end()?;
        if view.flags & flag::PAGING_STATE != 0 && view.paging_state.is_none() {
            return Err(view.rest.malformed(Reason::UnknownValue { value: -1 }));
        }
        let mut values = (view.flags & flag::VALUES != 0).then(Vec::new);
        if let Some(values) = &mut values {
            view.values.each(|name, raw| {
                values.push(Bound { name: name.map(Cow::Borrowed), value: raw.into() });
            })?;
        }
        Ok(Self {
            consistency: view.consistency,
            flags: view.flags & !FIELDS,
            values,
            page_rows: view.page_rows,
            paging_state: view.paging_state.map(Cow::Borrowed),
            serial_consistency: view.serial_consistency,
            timestamp: view.timestamp,
        })
    }

    fn write(&self, out: &mut Writer) {
        out.u16(self.consistency);
        out.u8(self.flags
            | announced(self.values.is_some(), flag::VALUES)
            | announced(self.page_rows.is_some(), flag::PAGE_SIZE)
            | announced(self.paging_state.is_some(), flag::PAGING_STATE)
            | announced(self.serial_consistency.is_some(), flag::SERIAL_CONSISTENCY)
            | announced(self.timestamp.is_some(), flag::TIMESTAMP));
        if let Some(values) = &self.values {
            out.short_count(values.len());
            for bound in values {
                if self.flags & flag::NAMES != 0 {
                    out.string(bound.name.as_deref().unwrap_or_default());
                }
                out.value(bound.value.raw());
            }
        }
        if let Some(rows) = self.page_rows {
            out.i32(rows);
        }
        if let Some(state) = &self.paging_state {
            out.bytes(state);
        }
        write_last(out, self.serial_consistency, self.timestamp);
    }
}

fn write_last(out: &mut Writer, serial_consistency: Option<u16>, timestamp: Option<i64>) {
    if let Some(level) = serial_consistency {
        out.u16(level);
    }
    if let Some(timestamp) = timestamp {
        out.i64(timestamp);
    }
}

impl<'f> Batch<'f> {
    fn decode(body: Reader<'f>) -> Result<Self, Malformed> {
        let mut statements = Vec::new();
        let mut broken = None;
        let mut left = EDIT_CELLS_MAX;
        let view = request::batch(body, |statement, values| {
            let statement = match statement {
                request::BatchStatement::Text(text) => BatchStatement::Text(Cow::Borrowed(text)),
                request::BatchStatement::Prepared(id) => BatchStatement::Prepared(Cow::Borrowed(id)),
            };
            let mut cells = Vec::new();
            let Some(after) = left.checked_sub(u32::from(values.count())) else {
                broken = Some(body.malformed(Reason::TooManyCells));
                return;
            };
            left = after;
            if let Err(malformed) = values.each(|_, raw| cells.push(Cell::from(raw))) {
                broken = Some(malformed);
            }
            statements.push((statement, cells));
        })?;
        view.rest.end()?;
        if let Some(malformed) = broken {
            return Err(malformed);
        }
        Ok(Self {
            kind: view.kind,
            statements,
            consistency: view.consistency,
            flags: view.flags & !(flag::SERIAL_CONSISTENCY | flag::TIMESTAMP),
            serial_consistency: view.serial_consistency,
            timestamp: view.timestamp,
        })
    }

    fn write(&self, out: &mut Writer) {
        out.u8(self.kind);
        out.short_count(self.statements.len());
        for (statement, values) in &self.statements {
            match statement {
                BatchStatement::Text(text) => {
                    out.u8(0);
                    out.bytes(text.as_bytes());
                }
                BatchStatement::Prepared(id) => {
                    out.u8(1);
                    out.short_bytes(id);
                }
            }
            out.short_count(values.len());
            values.iter().for_each(|value| out.value(value.raw()));
        }
        out.u16(self.consistency);
        out.u8(self.flags
            | announced(self.serial_consistency.is_some(), flag::SERIAL_CONSISTENCY)
            | announced(self.timestamp.is_some(), flag::TIMESTAMP));
        write_last(out, self.serial_consistency, self.timestamp);
    }
}
