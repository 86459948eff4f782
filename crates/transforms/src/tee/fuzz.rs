//! What the fuzz target and the tests run: a request in another server's words is the same request, and a session that
//! was recorded is told in whole frames.

use chain::Ids;
use wire::cql::request::{self, BatchStatement};
use wire::cql::session::{Said, said, use_keyspace};
use wire::cql::{body, opcode};
use wire::{Framed, Head, Protocol, Side};

use super::prepared::{Prepared, Statement, none_prepared};
use super::session::{Recorder, Translated, Uses, sort, translate};

/// The last byte of another server's ids, so that none is one of the first server's as well.
const MARK: u8 = 0xA5;

/// What becomes of the ids of a frame.
#[derive(Clone, Copy)]
struct Plan {
    /// Of ids with an odd first byte: they are not known.
    forgets: bool,
    /// Of ids with an even first byte: both servers have the same.
    keeps: bool,
    /// By so many bytes the others are longer.
    longer: usize,
}

impl Plan {
    fn of(byte: u8) -> Self {
        Self { forgets: byte & 1 != 0, keeps: byte & 2 != 0, longer: 1 + usize::from(byte >> 4) }
    }

    /// The other server's id, if it knows one.
    fn other(self, id: &[u8]) -> Option<Vec<u8>> {
        let is_odd = id.first().is_some_and(|first| first % 2 == 1);
        if self.forgets && is_odd {
            return None;
        }
        // A length is two bytes.
        let has_room = id.len() + self.longer <= usize::from(u16::MAX);
        if !has_room || self.keeps && !is_odd {
            return Some(id.to_vec());
        }
        let mut other = id.to_vec();
        other.resize(id.len() + self.longer, MARK);
        Some(other)
    }
}

/// One byte says what becomes of ids; behind it are frames, of which each is a request, a reply, or both.
pub fn session(bytes: &[u8]) {
    let Some((policy, mut left)) = bytes.split_first() else { return };
    let mut recorder = Recorder::default();
    while !left.is_empty() {
        let mut length = None;
        for side in [Side::Request, Side::Response] {
            let Framed::Frame(head) = Protocol::Cql.frame(left, side, u32::MAX) else { continue };
            let Some(frame) = left.get(..head.frame_bytes as usize) else { continue };
            length = Some(frame.len());
            match side {
                Side::Request => {
                    sort(&head, frame);
                    recorder.record(&head, frame);
                    translated(Plan::of(*policy), &head, frame);
                }
                Side::Response => {
                    if let Said::Keyspace(keyspace) = said(&head, frame) {
                        let number = recorder.use_begins(Uses::Does);
                        recorder.use_ends(number, Uses::Does, Some(&use_keyspace(head.version, 0, keyspace)));
                    }
                }
            }
        }
        let Some(rest) = length.and_then(|length| left.get(length..)) else { return };
        left = rest;
    }
    let frames = recorder.frames_in(recorder.keyspace());
    for (step, frame) in frames {
        let Framed::Frame(head) = Protocol::Cql.frame(&frame, Side::Request, u32::MAX) else {
            unreachable!("a recorded {step:?} is no frame");
        };
        assert_eq!(head.frame_bytes as usize, frame.len(), "{step:?}");
    }
}

/// The ids in a request, in their places; `None` if it cannot be read.
fn ids(head: &Head, frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut ids = Vec::new();
    let mut body = body(Side::Request, head, frame).ok()?;
    match head.opcode {
        opcode::EXECUTE => ids.push(body.short_bytes().ok()?.to_vec()),
        opcode::BATCH => {
            let read = request::batch(body, |statement, _| {
                if let BatchStatement::Prepared(id) = statement {
                    ids.push(id.to_vec());
                }
            });
            read.ok()?;
        }
        _ => {}
    }
    Some(ids)
}

fn translated(plan: Plan, head: &Head, frame: &[u8]) {
    let (there, back) = (all_known(), all_known());
    let Some(ids) = ids(head, frame) else {
        let is_execute = head.opcode == opcode::EXECUTE;
        match translate(head, frame, &there) {
            Translated::Unknown => {}
            Translated::Same { .. } if !is_execute => {}
            other => unreachable!("what cannot be read became {other:?}"),
        }
        return;
    };
    let others: Option<Vec<Vec<u8>>> = ids.iter().map(|id| plan.other(id)).collect();
    for id in &ids {
        if let Some(other) = plan.other(id) {
            there.learn(id, Statement::new(id, &other, false));
            back.learn(&other, Statement::new(&other, id, false));
        }
    }
    match (translate(head, frame, &there), others) {
        (Translated::Unknown, None) => {}
        (Translated::Same { .. }, Some(others)) => assert_eq!(ids, others),
        (Translated::Other { frame: other, .. }, Some(others)) => {
            assert_ne!(ids, others);
            let Framed::Frame(other_head) = Protocol::Cql.frame(&other, Side::Request, u32::MAX) else {
                unreachable!("no frame any more");
            };
            assert_eq!(other_head.frame_bytes as usize, other.len());
            assert_eq!(self::ids(&other_head, &other), Some(others));
            let again = translate(&other_head, &other, &back);
            assert_eq!(again, Translated::Other { frame: frame.to_vec(), is_use: false });
        }
        (translated, others) => unreachable!("{ids:?} to be {others:?}: {translated:?}"),
    }
}

fn all_known() -> Prepared {
    Ids::new(&none_prepared())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opcode: u8, body: &[u8]) -> Vec<u8> {
        [&[4, 0, 0, 7, opcode, 0, 0, 0, body.len() as u8], body].concat()
    }

    fn string(text: &str) -> Vec<u8> {
        [&[0, text.len() as u8], text.as_bytes()].concat()
    }

    /// A whole session: STARTUP, a login, REGISTER, an EXECUTE with a value, a BATCH of text and ids, and a keyspace.
    fn frames() -> Vec<Vec<u8>> {
        let startup = [&[0, 1][..], &string("CQL_VERSION"), &string("3.0.0")].concat();
        let execute = [&[0, 3, 2, b'i', b'd'][..], &[0, 1, 1, 0, 1, 0, 0, 0, 1, 9]].concat();
        let text = [&[0, 0, 0, 0, 8][..], b"INSERT x", &[0, 0]].concat();
        let by_id = |id: &[u8]| [&[1, 0, id.len() as u8][..], id, &[0, 1, 0, 0, 0, 1, 7]].concat();
        let batch = [&[1, 0, 4][..], &by_id(b"\x02a"), &text, &by_id(b"\x03bc"), &by_id(b""), &[0, 1, 0]];
        let keyspace = [&[0, 0, 0, 3][..], &string("k\"s")].concat();
        vec![
            request(opcode::STARTUP, &startup),
            request(opcode::AUTH_RESPONSE, &[0, 0, 0, 2, 0, 0]),
            request(opcode::REGISTER, &[&[0, 1][..], &string("STATUS_CHANGE")].concat()),
            request(opcode::EXECUTE, &execute),
            request(opcode::BATCH, &batch.concat()),
            [&[0x84, 0, 0, 7, opcode::RESULT, 0, 0, 0, keyspace.len() as u8], &*keyspace].concat(),
        ]
    }

    #[test]
    fn requests_are_the_same_in_other_words_and_back() {
        let all = frames().concat();
        for policy in 0..=u8::MAX {
            session(&[&[policy], &*all].concat());
        }
    }

    #[test]
    fn what_is_cut_at_any_byte_is_survived() {
        for frame in frames() {
            let Framed::Frame(head) = Protocol::Cql.frame(&frame, Side::Request, u32::MAX) else { continue };
            for cut in 0..=frame.len() {
                let prefix = frame.get(..cut).unwrap_or_default();
                sort(&head, prefix);
                assert!(!matches!(translate(&head, prefix, &all_known()), Translated::Other { .. }));
            }
        }
        let all = frames().concat();
        for cut in 0..=all.len() {
            session(&[&[0x20], &all[..cut]].concat());
        }
    }

    #[test]
    fn bent_bytes_are_survived() {
        let all = [&[0x10], &*frames().concat()].concat();
        let mut state = 1_u64;
        for _ in 0..5000 {
            let mut bent = all.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bent.len();
                bent[at] = (state >> 20) as u8;
            }
            session(&bent);
        }
    }
}
