//! The few frames that are made here: errors.

use crate::cql::opcode;
use crate::error::{Malformed, Reason};
use crate::protocol::{ErrorKind, Head};

/// The version of replies to clients whose own version is not known, or not spoken here.
const FALLBACK_VERSION: u8 = 4;

/// Consistency ONE (section 3), for the timeouts that are made here.
const CONSISTENCY_ONE: u16 = 0x0001;

/// An ERROR (section 4.2.1, codes in section 9) that answers `request`.
#[must_use]
pub fn error_reply(request: &Head, kind: ErrorKind, text: &str) -> Vec<u8> {
    let [_, _, high, low] = request.id.to_be_bytes();
    error_frame(request.version, [high, low], kind, text)
}

/// The ERROR for bytes that were no lawful frame. Drivers step down to an older version on its text.
#[must_use]
pub fn refusal(malformed: &Malformed) -> Vec<u8> {
    let version = malformed.version.unwrap_or(FALLBACK_VERSION);
    match malformed.reason {
        Reason::UnsupportedVersion { .. } => {
            error_frame(version, [0, 0], ErrorKind::Protocol, "Invalid or unsupported protocol version")
        }
        reason => {
            let [_, _, high, low] = malformed.id.to_be_bytes();
            error_frame(version, [high, low], ErrorKind::Protocol, &reason.to_string())
        }
    }
}

fn error_frame(version: u8, id: [u8; 2], kind: ErrorKind, text: &str) -> Vec<u8> {
    let code: i32 = match kind {
        ErrorKind::Server => 0x0000,
        ErrorKind::Protocol => 0x000A,
        ErrorKind::Overloaded => 0x1001,
        ErrorKind::WriteTimeout => 0x1100,
        ErrorKind::ReadTimeout => 0x1200,
        ErrorKind::Invalid => 0x2200,
    };
    let mut body = error_body(code, text);
    match kind {
        ErrorKind::WriteTimeout => {
            push_timeout(&mut body);
            body.extend_from_slice(b"\x00\x06SIMPLE");
        }
        ErrorKind::ReadTimeout => {
            push_timeout(&mut body);
            body.push(0);
        }
        _ => {}
    }
    frame_of(version, id, &body)
}

/// The ERROR Unprepared, for the statement that `request` runs: drivers prepare it again.
#[must_use]
pub fn unprepared_reply(request: &Head, id: &[u8], text: &str) -> Vec<u8> {
    let mut body = error_body(0x2500, text);
    body.extend_from_slice(&u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend_from_slice(id);
    let [_, _, high, low] = request.id.to_be_bytes();
    frame_of(request.version, [high, low], &body)
}

/// What every ERROR begins with.
fn error_body(code: i32, text: &str) -> Vec<u8> {
    let text = truncated(text, usize::from(u16::MAX));
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
    body
}

fn frame_of(version: u8, [high, low]: [u8; 2], body: &[u8]) -> Vec<u8> {
    let mut frame = vec![version | 0x80, 0, high, low, opcode::ERROR];
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Consistency, replicas that answered (0), replicas that had to (1).
fn push_timeout(body: &mut Vec<u8>) {
    body.extend_from_slice(&CONSISTENCY_ONE.to_be_bytes());
    body.extend_from_slice(&0_i32.to_be_bytes());
    body.extend_from_slice(&1_i32.to_be_bytes());
}

/// The longest prefix of at most `bytes_max` bytes that ends between characters.
pub(crate) fn truncated(text: &str, bytes_max: usize) -> &str {
    let end = text.floor_char_boundary(bytes_max);
    text.get(..end).unwrap_or(text)
}
