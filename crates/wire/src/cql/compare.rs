//! Whether two servers said the same.

use crate::cql::header::{Flags, body};
use crate::cql::opcode;
use crate::cql::response::{self, Outcome, Page};
use crate::protocol::{Head, Side};

/// True if two replies have the same content. What leads a body (a tracing id, warnings, a payload) is not compared,
/// nor is where a page ended: each server names that place in its own words. Rows of the keyspaces that describe a
/// server (`system` and those named after it) are taken for the same: no two servers have the same. Compressed bodies
/// are compared as they are.
#[must_use]
pub fn is_same_reply(one: (&Head, &[u8]), other: (&Head, &[u8])) -> bool {
    let ((one_head, one_frame), (other_head, other_frame)) = (one, other);
    let is_compressed = |head: &Head| head.flags & Flags::COMPRESSED != 0;
    if one_head.opcode != other_head.opcode || is_compressed(one_head) != is_compressed(other_head) {
        return false;
    }
    if is_compressed(one_head) {
        return one_frame.get(9..) == other_frame.get(9..);
    }
    let bodies = (body(Side::Response, one_head, one_frame), body(Side::Response, other_head, other_frame));
    let (Ok(one), Ok(other)) = bodies else { return one_frame.get(9..) == other_frame.get(9..) };
    if one.left() == other.left() {
        return true;
    }
    if one_head.opcode != opcode::RESULT {
        return false;
    }
    match (response::result(one), response::result(other)) {
        (Ok(Outcome::Rows(one)), Ok(Outcome::Rows(other))) => {
            let has_more = one.paging_state.is_some() == other.paging_state.is_some();
            match (one.page(None), other.page(None)) {
                (Ok(one), Ok(other)) => {
                    is_about_server(&one) && is_about_server(&other) || has_more && is_same_page(&one, &other)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

fn is_about_server(page: &Page<'_>) -> bool {
    let table = page.metadata.as_ref().and_then(|metadata| metadata.table.as_ref());
    table.is_some_and(|table| &*table.keyspace == "system" || table.keyspace.starts_with("system_"))
}

fn is_same_page(one: &Page<'_>, other: &Page<'_>) -> bool {
    (one.columns(), one.count(), &one.metadata) == (other.columns(), other.count(), &other.metadata)
        && one.rows().zip(other.rows()).all(|(one, other)| one.cells().eq(other.cells()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::fuzz;

    fn frame(id: u8, flags: u8, opcode: u8, body: &[u8]) -> (Head, Vec<u8>) {
        let frame = [&[0x84, flags, 0, id, opcode, 0, 0, 0, body.len() as u8], body].concat();
        let head = Head { frame_bytes: frame.len() as u32, id: i32::from(id), opcode, flags, version: 4 };
        (head, frame)
    }

    fn rows(paging_state: Option<&[u8]>, keyspace: &[u8], cell: u8) -> Vec<u8> {
        let flags = if paging_state.is_some() { 3 } else { 1 };
        let mut body = vec![0, 0, 0, 2, 0, 0, 0, flags, 0, 0, 0, 1];
        if let Some(state) = paging_state {
            body.extend([0, 0, 0, state.len() as u8]);
            body.extend(state);
        }
        body.extend([0, keyspace.len() as u8]);
        body.extend(keyspace);
        body.extend([0, 1, b't', 0, 1, b'c', 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, cell]);
        body
    }

    #[track_caller]
    fn check(one: &(Head, Vec<u8>), other: &(Head, Vec<u8>), expected: bool) {
        assert_eq!(is_same_reply((&one.0, &one.1), (&other.0, &other.1)), expected);
        assert_eq!(is_same_reply((&other.0, &other.1), (&one.0, &one.1)), expected);
    }

    #[test]
    fn replies_are_the_same_by_their_content() {
        let void = [0, 0, 0, 1];
        check(&frame(1, 0, opcode::RESULT, &void), &frame(9, 0, opcode::RESULT, &void), true);
        check(&frame(1, 0, opcode::RESULT, &void), &frame(1, 0, opcode::ERROR, &void), false);
        // A tracing id leads one of them.
        let traced = [&[7; 16], &void[..]].concat();
        check(&frame(1, 2, opcode::RESULT, &traced), &frame(1, 0, opcode::RESULT, &void), true);
        let reply = |state: Option<&[u8]>, keyspace: &[u8], cell| {
            frame(1, 0, opcode::RESULT, &rows(state, keyspace, cell))
        };
        check(&reply(None, b"k", 1), &reply(None, b"k", 2), false);
        check(&reply(Some(b"a"), b"k", 1), &reply(Some(b"bc"), b"k", 1), true);
        check(&reply(Some(b"a"), b"k", 1), &reply(None, b"k", 1), false);
        check(&reply(None, b"system", 1), &reply(None, b"system", 2), true);
        check(&reply(None, b"systems", 1), &reply(None, b"systems", 2), false);
        // What cannot be read is compared as it is.
        check(&frame(1, 0, opcode::RESULT, &[0, 0]), &frame(1, 0, opcode::RESULT, &[0, 0]), true);
        check(&frame(1, 0, opcode::RESULT, &[0, 0]), &frame(1, 0, opcode::RESULT, &[0, 1]), false);
        check(&frame(1, 1, opcode::RESULT, &[5]), &frame(2, 1, opcode::RESULT, &[5]), true);
        check(&frame(1, 1, opcode::RESULT, &[5]), &frame(2, 0, opcode::RESULT, &[5]), false);
    }

    /// Replies of all forms.
    fn replies() -> Vec<Vec<u8>> {
        let traced = [&[7; 16], &[0, 0, 0, 1][..]].concat();
        let error = [&[0, 0, 0x22, 0, 0, 2][..], b"no"].concat();
        vec![
            frame(1, 0, opcode::RESULT, &[0, 0, 0, 1]).1,
            frame(2, 2, opcode::RESULT, &traced).1,
            frame(3, 1, opcode::RESULT, &[5]).1,
            frame(4, 0, opcode::ERROR, &error).1,
            frame(5, 0, opcode::RESULT, &rows(None, b"k", 1)).1,
            frame(6, 0, opcode::RESULT, &rows(None, b"k", 2)).1,
            frame(7, 0, opcode::RESULT, &rows(Some(b"here"), b"k", 1)).1,
            frame(8, 0, opcode::RESULT, &rows(None, b"system", 1)).1,
        ]
    }

    #[test]
    fn replies_that_are_cut_or_bent_are_survived() {
        let replies = replies();
        let mut state = 1_u64;
        for (one, other) in replies.iter().flat_map(|one| replies.iter().map(move |other| (one, other))) {
            // Each body of the second with another length is another reply.
            for cut in 9..=other.len() {
                let mut shorter = other[..cut].to_vec();
                shorter[8] = (cut - 9) as u8;
                fuzz::compare(&[&**one, &shorter].concat());
                fuzz::compare(&[&shorter, &**one].concat());
            }
            let pair = [&**one, &**other].concat();
            for _ in 0..200 {
                let mut bent = pair.clone();
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bent.len();
                bent[at] = (state >> 20) as u8;
                fuzz::compare(&bent);
            }
        }
    }
}
