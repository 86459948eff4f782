//! Messages in one line, for people.

use std::fmt::{self, Write as _};

use crate::cql::encode::truncated;
use crate::cql::hex::Hex;
use crate::cql::metadata::Column;
use crate::cql::response::Rows;
use crate::cql::types::ColumnType;
use crate::cql::value::Value;
use crate::cql::{binding_body, body, opcode, request, response};
use crate::error::Malformed;
use crate::limits::DESCRIBE_BYTES_MAX;
use crate::protocol::{Head, Side};
use crate::reader::{Raw, Reader};

/// Bytes of a value that is taken apart to be shown: an element of one byte takes 32 then. A longer one, but for a text, is
/// shown as bytes.
const DECODED_BYTES_MAX: usize = 16 * 1024;

/// Bytes of what is said of rows that are not all shown, and of how many there are.
const CUT_BYTES_MAX: usize = 128;

/// See [`crate::Protocol::describe`].
#[must_use]
pub fn describe(side: Side, head: &Head, frame: &[u8]) -> String {
    let mut line = format!("Cassandra V{} stream:{} ", head.version, head.id);
    let detail = match side {
        Side::Request => binding_body(head, frame).and_then(|body| of_request(head, body)),
        Side::Response => body(side, head, frame).and_then(|body| of_response(head, body)),
    };
    let shown = detail.unwrap_or_else(|malformed| match malformed.reason {
        crate::Reason::Compressed => format!("{} (compressed)", opcode::name(head.opcode)),
        _ => format!("{} of {} bytes", opcode::name(head.opcode), head.frame_bytes),
    });
    push_escaped(&mut line, &shown);
    line
}

fn of_request(head: &Head, body: Reader<'_>) -> Result<String, Malformed> {
    Ok(match head.opcode {
        opcode::QUERY => {
            let (text, parameters) = request::query(body)?;
            format!("Query consistency:{} {text}", consistency(parameters.consistency))
        }
        opcode::PREPARE => format!("Prepare {}", request::prepare(body)?),
        opcode::EXECUTE => {
            let (id, parameters) = request::execute(body)?;
            format!("Execute consistency:{} id:{}", consistency(parameters.consistency), hex(id))
        }
        opcode::BATCH => {
            let mut texts = String::new();
            let batch = request::batch(body, |statement, _| {
                if texts.len() < DESCRIBE_BYTES_MAX {
                    texts.push_str("; ");
                    match statement {
                        request::BatchStatement::Text(text) => texts.push_str(text),
                        request::BatchStatement::Prepared(id) => texts.push_str(&hex(id)),
                    }
                }
            })?;
            format!("Batch consistency:{} of {}{texts}", consistency(batch.consistency), batch.statements)
        }
        opcode::STARTUP => {
            let mut options = String::from("Startup");
            request::startup(body, |key, value| push_pair(&mut options, key, value))?;
            options
        }
        opcode::REGISTER => {
            let mut kinds = String::from("Register");
            request::register(body, |kind| {
                kinds.push(' ');
                kinds.push_str(kind);
            })?;
            kinds
        }
        other => opcode::name(other).to_owned(),
    })
}

fn of_response(head: &Head, body: Reader<'_>) -> Result<String, Malformed> {
    Ok(match head.opcode {
        opcode::ERROR => {
            let error = response::error(body)?;
            format!("Error 0x{:04x} {}", error.code, error.message)
        }
        opcode::RESULT => match response::result(body)? {
            response::Outcome::Void => "Result Void".to_owned(),
            response::Outcome::Rows(rows) => of_rows(&rows)?,
            response::Outcome::SetKeyspace(keyspace) => format!("Result SetKeyspace {keyspace}"),
            response::Outcome::Prepared(prepared) => format!("Result Prepared {}", hex(prepared.id)),
            response::Outcome::SchemaChange(change) => format!("Result SchemaChange {change:?}"),
        },
        opcode::EVENT => format!("Event {:?}", response::event(body)?),
        opcode::AUTHENTICATE => format!("Authenticate {}", response::authenticate(body)?),
        opcode::SUPPORTED => {
            let mut options = String::from("Supported");
            response::supported(body, |key, value| push_pair(&mut options, key, value))?;
            options
        }
        other => opcode::name(other).to_owned(),
    })
}

/// A text that grows up to a limit. What is beyond is cut off, and whoever writes it is told by an error.
pub(super) struct Line {
    pub(super) text: String,
    bytes_max: usize,
}

impl Line {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max }
    }

    /// A value as CQL writes it; its bytes where its type is not known.
    pub(super) fn push_value(&mut self, column: Option<&Column>, cell: Raw<'_>) -> fmt::Result {
        let is_decoded = match (cell, column.map(|column| column.kind.meaning())) {
            (_, None) => false,
            // Not copied: what is not shown costs nothing.
            (_, Some(ColumnType::Ascii | ColumnType::Varchar)) => true,
            (Raw::Bytes(bytes), Some(_)) => bytes.len() <= DECODED_BYTES_MAX,
            (Raw::Null | Raw::Unset, Some(_)) => true,
        };
        match column.filter(|_| is_decoded) {
            Some(column) => write!(self, "{}", Value::decode(&column.kind, cell)),
            None => write!(self, "{}", Value::untyped(cell)),
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = self.bytes_max.saturating_sub(self.text.len());
        self.text.push_str(truncated(part, room));
        if part.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The columns and the values, as far as they are here and there is room.
fn of_rows(rows: &Rows<'_>) -> Result<String, Malformed> {
    let (columns, count, mut cells) = rows.parts()?;
    let mut line = Line::new(DESCRIBE_BYTES_MAX.saturating_sub(CUT_BYTES_MAX));
    let columns = columns.map(|metadata| metadata.columns);
    let names = columns.as_deref().map(|columns| push_names(&mut line, columns));
    let mut note = None;
    if names.is_some_and(|pushed| pushed.is_err()) {
        note = Some("cut in the names of the columns".to_owned());
    } else if rows.columns > 0 {
        for row in 1..=count {
            match push_row(&mut line, row, rows.columns, columns.as_deref(), &mut cells) {
                Ok(()) => {}
                Err(NotShown::Cut) => note = Some(format!("cut in row {row}")),
                Err(NotShown::NotHere) => note = Some(format!("row {row} is not all here")),
            }
            if note.is_some() {
                break;
            }
        }
    }
    let note = note.map(|note| format!(" ... ({note})")).unwrap_or_default();
    Ok(format!("Result Rows {count} x {}{}{note}", rows.columns, line.text))
}

fn push_names(line: &mut Line, columns: &[Column]) -> fmt::Result {
    for (index, column) in columns.iter().enumerate() {
        write!(line, "{}{}", if index == 0 { " (" } else { ", " }, column.name)?;
    }
    line.write_str(")")
}

/// Why something is not shown.
enum NotShown {
    /// There is no room.
    Cut,
    /// The message is not all here.
    NotHere,
}

impl From<fmt::Error> for NotShown {
    fn from(_: fmt::Error) -> Self {
        Self::Cut
    }
}

fn push_row(
    line: &mut Line,
    row: u32,
    count: u32,
    columns: Option<&[Column]>,
    cells: &mut Reader<'_>,
) -> Result<(), NotShown> {
    line.write_str(if row == 1 { ": (" } else { ", (" })?;
    for index in 0..count {
        let cell = cells.value().map_err(|_| NotShown::NotHere)?;
        if index > 0 {
            line.write_str(", ")?;
        }
        let column = columns.and_then(|columns| columns.get(usize::try_from(index).ok()?));
        line.push_value(column, cell)?;
    }
    Ok(line.write_str(")")?)
}

fn push_pair(line: &mut String, key: &str, value: &str) {
    if line.len() < DESCRIBE_BYTES_MAX {
        line.push(' ');
        line.push_str(key);
        line.push('=');
        line.push_str(value);
    }
}

/// The name of a consistency level (section 3).
fn consistency(level: u16) -> &'static str {
    match level {
        0x0000 => "ANY",
        0x0001 => "ONE",
        0x0002 => "TWO",
        0x0003 => "THREE",
        0x0004 => "QUORUM",
        0x0005 => "ALL",
        0x0006 => "LOCAL_QUORUM",
        0x0007 => "EACH_QUORUM",
        0x0008 => "SERIAL",
        0x0009 => "LOCAL_SERIAL",
        0x000A => "LOCAL_ONE",
        _ => "UNKNOWN",
    }
}

/// The first bytes of an id; Cassandra's have 16.
fn hex(id: &[u8]) -> String {
    Hex(id.get(..32).unwrap_or(id)).to_string()
}

/// Control characters would let a peer forge log lines.
pub(super) fn push_escaped(line: &mut String, text: &str) {
    let mut rest = truncated(text, DESCRIBE_BYTES_MAX);
    while let Some((plain, behind)) = rest.find(char::is_control).and_then(|at| rest.split_at_checked(at)) {
        line.push_str(plain);
        let mut behind = behind.chars();
        line.extend(behind.next().into_iter().flat_map(char::escape_default));
        rest = behind.as_str();
    }
    line.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::describe;
    use crate::cql::opcode;
    use crate::protocol::{Head, Side};

    fn head(frame_bytes: usize) -> Head {
        Head { frame_bytes: frame_bytes as u32, id: 1, opcode: opcode::RESULT, flags: 0, version: 4 }
    }

    /// A reply of a column `n` of ints and a column `t` of texts, or of these columns without their names.
    fn rows(has_names: bool, rows: &[(Option<i32>, &str)]) -> Vec<u8> {
        let mut frame = vec![0x84, 0, 0, 1, opcode::RESULT, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0];
        if has_names {
            frame.extend(b"\x01\0\0\0\x02\0\x01k\0\x01t\0\x01n\0\x09\0\x01t\0\x0d");
        } else {
            frame.extend(b"\x04\0\0\0\x02");
        }
        frame.extend((rows.len() as u32).to_be_bytes());
        for (number, text) in rows {
            match number {
                Some(number) => frame.extend([4_i32.to_be_bytes(), number.to_be_bytes()].concat()),
                None => frame.extend((-1_i32).to_be_bytes()),
            }
            frame.extend((text.len() as u32).to_be_bytes());
            frame.extend(text.as_bytes());
        }
        frame
    }

    fn shown(frame: &[u8]) -> String {
        let line = describe(Side::Response, &head(frame.len()), frame);
        line.strip_prefix("Cassandra V4 stream:1 Result Rows ").unwrap().to_owned()
    }

    #[test]
    fn rows_are_shown_with_their_columns_and_typed_values() {
        let two = [(Some(-5), "it's\n"), (None, "b")];
        assert_eq!(shown(&rows(true, &two)), "2 x 2 (n, t): (-5, 'it''s\\n'), (NULL, 'b')");
        assert_eq!(shown(&rows(false, &two)), "2 x 2: (0xfffffffb, 0x697427730a), (NULL, 0x62)");
        assert_eq!(shown(&rows(true, &[])), "0 x 2 (n, t)");
    }

    #[test]
    fn what_is_not_shown_of_rows_is_told() {
        let long = "x".repeat(5000);
        let line = shown(&rows(true, &[(Some(1), "a"), (Some(2), &long), (Some(3), "a")]));
        assert!(line.starts_with("3 x 2 (n, t): (1, 'a'), (2, 'xxx"), "{line}");
        assert!(line.ends_with("xxx ... (cut in row 2)") && line.len() < 4096, "{line}");
        let many: Vec<_> = (0..2000).map(|number| (Some(number), "")).collect();
        let line = shown(&rows(true, &many));
        assert!(line.starts_with("2000 x 2") && line.contains(" ... (cut in row "), "{line}");
        let whole = rows(true, &[(Some(1), "a"), (Some(2), "b")]);
        for cut in 0..whole.len() {
            let line = describe(Side::Response, &head(whole.len()), &whole[..cut]);
            let is_told = line.contains(" is not all here)")
                || line.ends_with(&format!("RESULT of {} bytes", whole.len()));
            assert!(is_told, "{cut}: {line}");
        }
    }
}
