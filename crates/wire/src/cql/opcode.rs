//! Opcodes (native protocol v4, section 2.4), and which way each of them travels.

/// An error; response.
pub const ERROR: u8 = 0x00;
/// Begins a session; request.
pub const STARTUP: u8 = 0x01;
/// The session may begin; response.
pub const READY: u8 = 0x02;
/// The server wants to know who this is; response.
pub const AUTHENTICATE: u8 = 0x03;
/// Which options are there; request.
pub const OPTIONS: u8 = 0x05;
/// The options; response.
pub const SUPPORTED: u8 = 0x06;
/// A statement; request.
pub const QUERY: u8 = 0x07;
/// What came of it; response.
pub const RESULT: u8 = 0x08;
/// A statement to be prepared; request.
pub const PREPARE: u8 = 0x09;
/// A prepared statement to be run; request.
pub const EXECUTE: u8 = 0x0A;
/// Asks for events; request.
pub const REGISTER: u8 = 0x0B;
/// An event; response, to no request.
pub const EVENT: u8 = 0x0C;
/// Several statements; request.
pub const BATCH: u8 = 0x0D;
/// A further question to the client; response.
pub const AUTH_CHALLENGE: u8 = 0x0E;
/// The client's answer; request.
pub const AUTH_RESPONSE: u8 = 0x0F;
/// The client is logged in; response.
pub const AUTH_SUCCESS: u8 = 0x10;

const fn bits(opcodes: &[u8]) -> u32 {
    let mut mask = 0;
    let mut rest = opcodes;
    while let [first, after @ ..] = rest {
        mask |= 1_u32.wrapping_shl(*first as u32);
        rest = after;
    }
    mask
}

/// One bit for each request opcode.
const REQUESTS: u32 = bits(&[STARTUP, OPTIONS, QUERY, PREPARE, EXECUTE, REGISTER, BATCH, AUTH_RESPONSE]);

/// One bit for each response opcode.
const RESPONSES: u32 =
    bits(&[ERROR, READY, AUTHENTICATE, SUPPORTED, RESULT, EVENT, AUTH_CHALLENGE, AUTH_SUCCESS]);

/// True for an opcode that travels this way.
#[inline]
#[must_use]
pub fn travels(opcode: u8, side: crate::Side) -> bool {
    let mask = match side {
        crate::Side::Request => REQUESTS,
        crate::Side::Response => RESPONSES,
    };
    opcode < 32 && mask.wrapping_shr(u32::from(opcode)) & 1 == 1
}

/// The name of an opcode.
#[must_use]
pub fn name(opcode: u8) -> &'static str {
    match opcode {
        ERROR => "ERROR",
        STARTUP => "STARTUP",
        READY => "READY",
        AUTHENTICATE => "AUTHENTICATE",
        OPTIONS => "OPTIONS",
        SUPPORTED => "SUPPORTED",
        QUERY => "QUERY",
        RESULT => "RESULT",
        PREPARE => "PREPARE",
        EXECUTE => "EXECUTE",
        REGISTER => "REGISTER",
        EVENT => "EVENT",
        BATCH => "BATCH",
        AUTH_CHALLENGE => "AUTH_CHALLENGE",
        AUTH_RESPONSE => "AUTH_RESPONSE",
        AUTH_SUCCESS => "AUTH_SUCCESS",
        _ => "UNKNOWN",
    }
}
