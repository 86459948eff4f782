//! Frames of the simulated peers, written by hand so that the code under test does not judge itself.
//!
//! A request's text begins with its nonce; every other byte of a body follows from the nonce, so that a byte that is
//! lost, repeated or taken from elsewhere shows.

use std::collections::BTreeMap;

use bytes::{Buf as _, BytesMut};
pub use testkit::scripted::{Frame, HEADER_BYTES, encode, opcode};

use crate::pipe::Pipe;
use crate::random::Random;

/// A stream id that is not in flight: mostly a low one, sometimes that of events.
pub fn free_id<T>(random: &mut Random, in_flight: &BTreeMap<i16, T>) -> i16 {
    loop {
        let id = match random.below(40) {
            0 => -1,
            1 | 2 => random.below(300) as i16 * 100,
            _ => random.below(300) as i16,
        };
        if !in_flight.contains_key(&id) {
            return id;
        }
    }
}

/// Takes the first whole frame off a buffer.
pub fn take(buffer: &mut BytesMut) -> Option<Frame> {
    let header = buffer.get(..HEADER_BYTES)?;
    let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) as usize;
    let (flags, id, opcode) = (header[1], i16::from_be_bytes([header[2], header[3]]), header[4]);
    let body = buffer.get(HEADER_BYTES..HEADER_BYTES + length)?.to_vec();
    buffer.advance(HEADER_BYTES + length);
    Some(Frame { flags, id, opcode, body })
}

/// Receives what has come to a client, and hands over each whole frame of it.
pub fn each_reply(
    pipe: &Pipe,
    received: &mut BytesMut,
    mut check: impl FnMut(&Frame) -> Result<(), String>,
) -> Result<(), String> {
    pipe.peer_receive(received);
    while let Some(frame) = take(received) {
        check(&frame)?;
    }
    if received.first().is_some_and(|version| *version != 0x84) {
        return Err("bytes that begin no frame".to_owned());
    }
    Ok(())
}

/// After so many bytes the filling of a body begins again.
const PERIOD: usize = 23;

/// Enough of it to be copied in large pieces: most of a simulation's time goes into bodies.
static FILLING: [u8; PERIOD * 180] = {
    let (mut filling, mut place) = ([0; PERIOD * 180], 0);
    while place < filling.len() {
        filling[place] = b'a' + (place % PERIOD) as u8;
        place += 1;
    }
    filling
};

fn fill(body: &mut Vec<u8>, nonce: u64, bytes: usize) {
    let piece = &FILLING[(nonce % PERIOD as u64) as usize..][..FILLING.len() - PERIOD];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(piece.len());
        body.extend_from_slice(&piece[..count]);
        left -= count;
    }
}

/// The body of a QUERY.
pub fn query(nonce: u64, is_write: bool, padding: usize) -> Vec<u8> {
    let mut text = if is_write { b"INSERT".to_vec() } else { b"SELECT".to_vec() };
    text.extend_from_slice(format!(" {nonce:016x} ").as_bytes());
    fill(&mut text, nonce, padding);
    let mut body = (text.len() as u32).to_be_bytes().to_vec();
    body.extend_from_slice(&text);
    body.extend_from_slice(&[0, 1, 0]);
    body
}

/// The nonce of a QUERY, if its body is as `query` made it.
pub fn query_nonce(body: &[u8]) -> Option<(u64, bool)> {
    let text = body.get(4..body.len().checked_sub(3)?)?;
    let is_write = text.starts_with(b"INSERT");
    let nonce = u64::from_str_radix(std::str::from_utf8(text.get(7..23)?).ok()?, 16).ok()?;
    (query(nonce, is_write, text.len() - 24) == body).then_some((nonce, is_write))
}

/// The body of the RESULT that answers it.
pub fn result(nonce: u64, padding: usize) -> Vec<u8> {
    let mut body = nonce.to_be_bytes().to_vec();
    fill(&mut body, nonce, padding);
    body
}

/// The nonce of a RESULT, if its body is as `result` made it.
pub fn result_nonce(body: &[u8]) -> Option<u64> {
    let nonce = u64::from_be_bytes(body.get(..8)?.try_into().ok()?);
    (result(nonce, body.len() - 8) == body).then_some(nonce)
}

/// The body of a RESULT without rows, whose other bytes are those of `result`.
pub fn void(nonce: u64, padding: usize) -> Vec<u8> {
    [&[0, 0, 0, 1], &*result(nonce, padding)].concat()
}

/// The nonce of such a RESULT.
pub fn void_nonce(body: &[u8]) -> Option<u64> {
    result_nonce(body.strip_prefix(&[0, 0, 0, 1])?)
}

/// The body of an ERROR.
pub fn error(code: i32, text: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// The text of an ERROR.
pub fn error_text(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned()
}
