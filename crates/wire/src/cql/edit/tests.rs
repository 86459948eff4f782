//! Frames that are changed, and frames that are not.

use std::borrow::Cow;

use super::{Cell, Request, RequestBody, Rows};
use crate::cql::value::Value;
use crate::cql::{fuzz, opcode};
use crate::{Framed, Head, Protocol, Side};

fn frame(version: u8, flags: u8, opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![version, flags, 0x12, 0x34, opcode];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

fn head(side: Side, bytes: &[u8]) -> Head {
    let Framed::Frame(head) = Protocol::Cql.frame(bytes, side, 1 << 20) else { panic!() };
    head
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn long_string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// Every flag that is known, and one that is not.
fn requests() -> Vec<Vec<u8>> {
    let payload = [vec![0, 2], string("k"), long_string("v"), string("n"), vec![0xff; 4]].concat();
    let named = [
        vec![0, 6, 0xff, 0, 2],
        string("a"),
        long_string("x"),
        string("b"),
        vec![0xff, 0xff, 0xff, 0xfe],
        100_i32.to_be_bytes().to_vec(),
        long_string("state"),
        vec![0, 8],
        7_i64.to_be_bytes().to_vec(),
    ]
    .concat();
    let statements = [
        vec![1, 0, 2, 0],
        long_string("INSERT"),
        vec![0, 0, 1, 0, 1, 9, 0, 1, 0xff, 0xff, 0xff, 0xff],
        vec![0, 4, 0x30, 0, 9],
        7_i64.to_be_bytes().to_vec(),
    ]
    .concat();
    vec![
        frame(4, 0x02, opcode::QUERY, &[long_string("SELECT 1"), vec![0, 1, 0]].concat()),
        frame(4, 0x84, opcode::QUERY, &[payload, long_string("Q"), named.clone()].concat()),
        frame(3, 0, opcode::EXECUTE, &[string("id"), named].concat()),
        frame(4, 0, opcode::PREPARE, &long_string("USE ks")),
        frame(4, 0, opcode::BATCH, &statements),
    ]
}

fn rows(flags: u8, lead: &[u8], metadata: &[u8]) -> Vec<u8> {
    let cells = [vec![0, 0, 0, 2], long_string("\0\0\0\x07"), vec![0xff; 4]].concat();
    frame(0x84, flags, opcode::RESULT, &[lead, &[0, 0, 0, 2], metadata, &cells].concat())
}

fn results() -> Vec<Vec<u8>> {
    let global = [vec![0, 0, 0, 1, 0, 0, 0, 1], string("ks"), string("t"), string("c"), vec![0, 9]].concat();
    let each = [vec![0, 0, 0, 0, 0, 0, 0, 1], string("ks"), string("t"), string("c"), vec![0, 9]].concat();
    let paged = [vec![0, 0, 0, 7, 0, 0, 0, 1], long_string("state")].concat();
    let warned = [vec![7; 16], vec![0, 1], string("slow"), vec![0, 1], string("k"), vec![0xff; 4]].concat();
    vec![rows(0, &[], &global), rows(0x0e, &warned, &each), rows(0x10, &[], &paged)]
}

#[test]
fn what_is_not_changed_keeps_every_byte() {
    for bytes in requests() {
        let request = Request::decode(&head(Side::Request, &bytes), &bytes).unwrap();
        assert_eq!(request.encode().unwrap(), bytes);
        fuzz::reencode(&bytes);
    }
    for bytes in results() {
        let rows = Rows::decode(&head(Side::Response, &bytes), &bytes).unwrap();
        assert_eq!(rows.encode().unwrap(), bytes);
        fuzz::reencode(&bytes);
    }
}

#[test]
fn what_is_cut_short_or_has_bytes_behind_is_refused() {
    for mut bytes in requests() {
        let of_request = head(Side::Request, &bytes);
        for cut in 9..bytes.len() {
            assert!(Request::decode(&of_request, &bytes[..cut]).is_err());
        }
        bytes.push(0);
        bytes[8] += 1;
        assert!(Request::decode(&head(Side::Request, &bytes), &bytes).is_err());
    }
    for mut bytes in results() {
        let of_rows = head(Side::Response, &bytes);
        for cut in 9..bytes.len() {
            assert!(Rows::decode(&of_rows, &bytes[..cut]).is_err());
        }
        bytes.push(0);
        bytes[8] += 1;
        assert!(Rows::decode(&head(Side::Response, &bytes), &bytes).is_err());
    }
}

#[test]
fn a_null_that_would_be_written_otherwise_is_refused() {
    for (length, is_kept) in [(0xff, true), (0xfe, true), (0xfd, false), (0, false)] {
        let null = vec![0xff, 0xff, 0xff, length];
        let body = [vec![0, 1], string("k"), null, long_string("Q"), vec![0, 1, 0]].concat();
        let bytes = frame(4, 4, opcode::QUERY, &body);
        let head = head(Side::Request, &bytes);
        assert_eq!(Request::decode(&head, &bytes).is_ok(), is_kept, "{length}");
        // A server reads it all the same.
        assert_eq!(Protocol::Cql.check(Side::Request, &head, &bytes), Ok(()), "{length}");
        fuzz::reencode(&bytes);
    }
}

#[test]
fn what_is_changed_is_changed_alone() {
    let bytes = &requests()[1];
    let mut request = Request::decode(&head(Side::Request, bytes), bytes).unwrap();
    let RequestBody::Query { text, parameters } = &mut request.body else { panic!() };
    *text = Cow::Borrowed("SELECT longer");
    parameters.page_rows = None;
    parameters.values.as_mut().unwrap()[0].value = Cell::Null;
    let changed = request.encode().unwrap();
    let again = Request::decode(&head(Side::Request, &changed), &changed).unwrap();
    assert_eq!(again, request);
    assert_eq!(again.envelope.payload.unwrap().len(), 2);
}

#[test]
fn a_cell_takes_values_of_its_type_only() {
    let bytes = &results()[0];
    let mut result = Rows::decode(&head(Side::Response, bytes), bytes).unwrap();
    let metadata = result.metadata.clone().unwrap();
    let kind = &metadata.columns[0].kind;
    let cell = &mut result.rows[0][0];
    assert_eq!(cell.value(kind), Value::Int(7));
    assert!(cell.set(&Value::Varchar("seven"), kind).is_err());
    cell.set(&Value::Int(8), kind).unwrap();
    assert_eq!(result.rows[0][0].value(kind), Value::Int(8));
    result.rows[1].pop();
    assert!(result.encode().is_err(), "a row without all its cells");
}
