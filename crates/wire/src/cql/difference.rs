//! What two servers said differently, for people: where the first difference is, however long what they said.

use crate::cql::describe::{Line, push_escaped};
use crate::cql::encode::truncated;
use crate::cql::header::body;
use crate::cql::hex::Hex;
use crate::cql::metadata::Column;
use crate::cql::opcode;
use crate::cql::response::{self, Outcome, Page, Rows};
use crate::protocol::{Head, Side};
use crate::reader::Raw;

/// Bytes of a value that is shown as one. Of a longer one it is told where it begins to differ.
const VALUE_BYTES_MAX: usize = 64;

/// Bytes of a longer value that are shown from there on.
const PART_BYTES: usize = 16;

/// Bytes of a value's text that are shown, and of a column's name.
const TEXT_BYTES_MAX: usize = 256;

/// See [`crate::Protocol::first_difference`]. Linear.
#[must_use]
pub fn first_difference(one: (&Head, &[u8]), other: (&Head, &[u8])) -> Option<String> {
    let ((one_head, one_frame), (other_head, other_frame)) = (one, other);
    if one_head.opcode != other_head.opcode {
        return None;
    }
    let bodies = (body(Side::Response, one_head, one_frame), body(Side::Response, other_head, other_frame));
    let (Ok(one), Ok(other)) = bodies else { return of_bytes(one_frame.get(9..)?, other_frame.get(9..)?) };
    if one_head.opcode == opcode::RESULT
        && let (Ok(one_said), Ok(other_said)) = (response::result(one), response::result(other))
    {
        if std::mem::discriminant(&one_said) != std::mem::discriminant(&other_said) {
            return None;
        }
        if let (Outcome::Rows(one), Outcome::Rows(other)) = (one_said, other_said)
            && let Some(difference) = of_rows(&one, &other)
        {
            let mut line = String::new();
            push_escaped(&mut line, &difference);
            return Some(line);
        }
    }
    of_bytes(one.left(), other.left())
}

/// How many bytes are equal in front: the place of the first that differs, or that only one has.
fn equal_bytes(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn of_bytes(one: &[u8], other: &[u8]) -> Option<String> {
    (one != other).then(|| format!("byte {} of the body", equal_bytes(one, other)))
}

fn of_rows(one: &Rows<'_>, other: &Rows<'_>) -> Option<String> {
    let have_more = (one.paging_state.is_some(), other.paging_state.is_some());
    let (one, other) = (one.page(None).ok()?, other.page(None).ok()?);
    if let Some(difference) = of_columns(&one, &other) {
        return Some(difference);
    }
    for (number, (one_row, other_row)) in (1_u64..).zip(one.rows().zip(other.rows())) {
        let cells = one_row.cells().zip(other_row.cells());
        if let Some((index, (one_cell, other_cell))) =
            cells.enumerate().find(|(_, (one, other))| one != other)
        {
            return Some(of_cells(&one, (number, index), one_cell, other_cell));
        }
    }
    match (one.count(), other.count()) {
        (one, other) if one != other => Some(format!("{one} rows, other {other}")),
        _ if have_more.0 != have_more.1 => Some("only one of them has another page".to_owned()),
        _ => None,
    }
}

fn of_columns(one: &Page<'_>, other: &Page<'_>) -> Option<String> {
    if one.columns() != other.columns() {
        return Some(format!("{} columns, other {}", one.columns(), other.columns()));
    }
    let (Some(one), Some(other)) = (&one.metadata, &other.metadata) else {
        return (one.metadata != other.metadata).then(|| "only one of them names its columns".to_owned());
    };
    if one.table != other.table {
        return Some("the table of the columns".to_owned());
    }
    let mut columns = one.columns.iter().zip(&other.columns).enumerate();
    let (index, (one, _)) = columns.find(|(_, (one, other))| one != other)?;
    Some(format!("the name, type or table of {}", column_text(index, Some(one))))
}

fn column_text(index: usize, column: Option<&Column>) -> String {
    let number = index.saturating_add(1);
    match column {
        Some(column) => format!("column {number} ({})", truncated(&column.name, TEXT_BYTES_MAX)),
        None => format!("column {number}"),
    }
}

/// `page`: the one of the first cell.
fn of_cells(page: &Page<'_>, (row, index): (u64, usize), one: Raw<'_>, other: Raw<'_>) -> String {
    let column = page.metadata.as_ref().and_then(|metadata| metadata.columns.get(index));
    let place = format!("row {row}, {}", column_text(index, column));
    if let (Raw::Bytes(one), Raw::Bytes(other)) = (one, other)
        && one.len().max(other.len()) > VALUE_BYTES_MAX
    {
        let byte = equal_bytes(one, other);
        let part = |bytes: &[u8]| {
            let behind = bytes.get(byte..).unwrap_or_default();
            format!("0x{}", Hex(behind.get(..PART_BYTES).unwrap_or(behind)))
        };
        return format!("{place}, byte {byte} of the value: {}, other {}", part(one), part(other));
    }
    let shown = |cell| {
        let mut line = Line::new(TEXT_BYTES_MAX);
        // One that is too long is cut.
        line.push_value(column, cell).unwrap_or_default();
        line.text
    };
    format!("{place}: {}, other {}", shown(one), shown(other))
}

#[cfg(test)]
mod tests {
    use super::first_difference;
    use crate::cql::opcode;
    use crate::protocol::Head;

    fn frame(flags: u8, opcode: u8, body: &[u8]) -> (Head, Vec<u8>) {
        let frame = [&[0x84, flags, 0, 1, opcode], &(body.len() as u32).to_be_bytes()[..], body].concat();
        (Head { frame_bytes: frame.len() as u32, id: 1, opcode, flags, version: 4 }, frame)
    }

    /// Rows of two columns of this type, of which the second has this name.
    fn rows(has_more: bool, name: u8, kind: u8, rows: &[[&[u8]; 2]]) -> (Head, Vec<u8>) {
        let flags = 1 + 2 * u8::from(has_more);
        let mut body = vec![0, 0, 0, 2, 0, 0, 0, flags, 0, 0, 0, 2];
        if has_more {
            body.extend([0, 0, 0, 1, 7]);
        }
        body.extend([0, 1, b'k', 0, 1, b't', 0, 1, b'a', 0, kind, 0, 1, name, 0, kind]);
        body.extend((rows.len() as u32).to_be_bytes());
        for cell in rows.iter().flatten() {
            body.extend((cell.len() as u32).to_be_bytes());
            body.extend(*cell);
        }
        frame(0, opcode::RESULT, &body)
    }

    #[track_caller]
    fn check(one: &(Head, Vec<u8>), other: &(Head, Vec<u8>), expected: Option<&str>) {
        assert_eq!(first_difference((&one.0, &one.1), (&other.0, &other.1)).as_deref(), expected);
    }

    #[test]
    fn the_first_difference_is_told() {
        const TEXT: u8 = 0x0d;
        let of = |cells: &[[&[u8]; 2]]| rows(false, b'b', TEXT, cells);
        check(&of(&[]), &of(&[]), None);
        let (same, last) = ([b"1".as_slice(), b"2"], [b"3".as_slice(), b"4\n"]);
        check(&of(&[same, last]), &of(&[same, [b"3", b"5"]]), Some("row 2, column 2 (b): '4\\n', other '5'"));
        check(&of(&[same, last]), &of(&[same]), Some("2 rows, other 1"));
        check(&of(&[last]), &rows(true, b'b', TEXT, &[last]), Some("only one of them has another page"));
        check(
            &of(&[last]),
            &rows(false, b'c', TEXT, &[last]),
            Some("the name, type or table of column 2 (b)"),
        );
        check(&of(&[last]), &rows(false, b'b', 3, &[last]), Some("the name, type or table of column 1 (a)"));
        let (long, mut longer) = (vec![b'x'; 9000], vec![b'x'; 9003]);
        check(
            &of(&[[&long, b""]]),
            &of(&[[&longer, b""]]),
            Some("row 1, column 1 (a), byte 9000 of the value: 0x, other 0x787878"),
        );
        longer[8000] = b'y';
        check(
            &of(&[[&long, b""]]),
            &of(&[[&longer, b""]]),
            Some(
                "row 1, column 1 (a), byte 8000 of the value: 0x78787878787878787878787878787878, other 0x79787878787878787878787878787878",
            ),
        );
        // What is not of rows is told by its bytes, and not at all where the first words say it.
        let (void, error) = ([0, 0, 0, 1], [0, 0, 0x11, 0, 0, 1, b'x', 0, 5]);
        check(&frame(0, opcode::RESULT, &void), &of(&[]), None);
        check(&frame(0, opcode::RESULT, &void), &frame(0, opcode::ERROR, &error), None);
        let mut other = error;
        other[8] = 6;
        check(&frame(0, opcode::ERROR, &error), &frame(0, opcode::ERROR, &other), Some("byte 8 of the body"));
        check(&frame(1, opcode::RESULT, b"ab"), &frame(1, opcode::RESULT, b"ac"), Some("byte 1 of the body"));
    }
}
