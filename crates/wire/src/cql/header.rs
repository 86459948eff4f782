//! The header of a frame (native protocol v4, section 2): version, flags, stream id, opcode, body length.

use crate::cql::opcode;
use crate::error::{Malformed, Reason};
use crate::protocol::{Framed, Head, Side};
use crate::reader::{Negatives, Raw, Reader};

/// Bytes of a header.
pub const HEADER_BYTES: u32 = 9;

/// Set in the version byte of responses.
const RESPONSE_BIT: u8 = 0x80;

/// The flags of a header (section 2.2).
#[derive(Copy, Clone, Debug)]
pub struct Flags;

impl Flags {
    /// The body is compressed.
    pub const COMPRESSED: u8 = 0x01;
    /// Tracing is asked for; in a response, a tracing id leads the body.
    pub const TRACING: u8 = 0x02;
    /// A map of custom values leads the body.
    pub const CUSTOM_PAYLOAD: u8 = 0x04;
    /// A list of warnings leads the body of a response.
    pub const WARNING: u8 = 0x08;
}

/// Reads a header; see [`crate::Protocol::frame`].
#[inline]
#[must_use]
pub fn frame(bytes: &[u8], side: Side, body_bytes_max: u32) -> Framed {
    let &[version, flags, id_high, id_low, opcode, l0, l1, l2, l3, ..] = bytes else {
        return short(bytes, side);
    };
    let id = i32::from(i16::from_be_bytes([id_high, id_low]));
    let direction = if side == Side::Response { RESPONSE_BIT } else { 0 };
    let spoken = version ^ direction;
    if spoken != 3 && spoken != 4 {
        return version_refused(version, side);
    }
    let malformed = |reason, at| Framed::Malformed(Malformed { reason, at, id, version: Some(spoken) });
    if !opcode::travels(opcode, side) {
        return malformed(Reason::UnknownOpcode { opcode }, 4);
    }
    let length = i32::from_be_bytes([l0, l1, l2, l3]);
    let Ok(body_bytes) = u32::try_from(length) else {
        return malformed(Reason::NegativeLength { length }, 5);
    };
    if body_bytes > body_bytes_max {
        return malformed(Reason::TooLong { length: body_bytes, max: body_bytes_max }, 5);
    }
    Framed::Frame(Head {
        frame_bytes: body_bytes.saturating_add(HEADER_BYTES),
        id,
        opcode,
        flags,
        version: spoken,
    })
}

/// Judges what there is of an incomplete header: a header of v1 or v2 has 8 bytes, so the version cannot wait.
#[cold]
fn short(bytes: &[u8], side: Side) -> Framed {
    let Some(&version) = bytes.first() else { return Framed::NotYet };
    let direction = if side == Side::Response { RESPONSE_BIT } else { 0 };
    match version ^ direction {
        3 | 4 => Framed::NotYet,
        _ => version_refused(version, side),
    }
}

#[cold]
fn version_refused(version: u8, side: Side) -> Framed {
    let is_response = version & RESPONSE_BIT != 0;
    let number = version & !RESPONSE_BIT;
    let (reason, version) = if is_response != (side == Side::Response) && matches!(number, 3 | 4) {
        (Reason::WrongDirection, Some(number))
    } else {
        (Reason::UnsupportedVersion { version: number }, None)
    };
    Framed::Malformed(Malformed { reason, at: 0, id: 0, version })
}

/// What the flags of a header put in front of a body (section 2.2), in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lead<'f> {
    /// Of a response.
    TracingId(&'f [u8]),
    /// Of a response.
    Warning(&'f str),
    /// A key and its value.
    Payload(&'f [u8], Raw<'f>),
}

/// The body of a frame, behind what flags put in front of it, which `each` is shown. `frame` may be cut short.
/// `negatives`: what is made of negative lengths in a custom payload.
pub(crate) fn body_behind<'f>(
    side: Side,
    head: &Head,
    frame: &'f [u8],
    negatives: Negatives,
    mut each: impl FnMut(Lead<'f>),
) -> Result<Reader<'f>, Malformed> {
    let bytes = frame.get(HEADER_BYTES as usize..).unwrap_or_default();
    let mut reader = Reader::new(bytes, HEADER_BYTES);
    if head.flags & Flags::COMPRESSED != 0 {
        return Err(reader.malformed(Reason::Compressed));
    }
    if side == Side::Response && head.flags & Flags::TRACING != 0 {
        each(Lead::TracingId(reader.take(16)?));
    }
    if side == Side::Response && head.flags & Flags::WARNING != 0 {
        reader.string_list(|warning| each(Lead::Warning(warning)))?;
    }
    if head.flags & Flags::CUSTOM_PAYLOAD != 0 {
        let mut payload = reader.with(negatives);
        for _ in 0..payload.u16()? {
            let key = payload.short_bytes()?;
            each(Lead::Payload(key, payload.value()?));
        }
        reader = payload.with(Negatives::Two);
    }
    Ok(reader)
}

/// The body of a frame, behind what flags put in front of it. `frame` may be cut short.
///
/// # Errors
/// A compressed body, or one that ends inside what leads it.
#[inline]
pub fn body<'f>(side: Side, head: &Head, frame: &'f [u8]) -> Result<Reader<'f>, Malformed> {
    body_behind(side, head, frame, Negatives::AllNull, |_| ())
}

/// As [`body`], of a request whose bound values will be read: negative lengths are what a server of its version makes of
/// them.
///
/// # Errors
/// As [`body`].
pub fn binding_body<'f>(request: &Head, frame: &'f [u8]) -> Result<Reader<'f>, Malformed> {
    let body = body(Side::Request, request, frame)?;
    Ok(if request.version < 4 { body.with(Negatives::AllNull) } else { body })
}
