//! Reads everything there is of a message, for whoever wants to know that all of it can be read.

use crate::cql::{binding_body, body, opcode, request, response};
use crate::error::Malformed;
use crate::protocol::{Head, Side};
use crate::reader::Reader;

/// See [`crate::Protocol::check`].
///
/// # Errors
/// What is wrong with the message, or that it is compressed.
pub fn check(side: Side, head: &Head, frame: &[u8]) -> Result<(), Malformed> {
    match side {
        Side::Request => check_request(head, binding_body(head, frame)?),
        Side::Response => check_response(head, body(side, head, frame)?),
    }
}

fn check_request(head: &Head, body: Reader<'_>) -> Result<(), Malformed> {
    match head.opcode {
        opcode::STARTUP => request::startup(body, |_, _| ()),
        opcode::REGISTER => request::register(body, |_| ()),
        opcode::PREPARE => request::prepare(body).map(drop),
        opcode::AUTH_RESPONSE => request::auth_response(body).map(drop),
        opcode::QUERY => request::query(body).map(drop),
        opcode::EXECUTE => request::execute(body).map(drop),
        opcode::BATCH => request::batch(body, |_, _| ()).map(drop),
        _ => Ok(()),
    }
}

fn check_response(head: &Head, body: Reader<'_>) -> Result<(), Malformed> {
    match head.opcode {
        opcode::ERROR => response::error(body).map(drop),
        opcode::AUTHENTICATE => response::authenticate(body).map(drop),
        opcode::SUPPORTED => response::supported(body, |_, _| ()),
        opcode::EVENT => response::event(body).map(drop),
        opcode::AUTH_CHALLENGE | opcode::AUTH_SUCCESS => response::auth_token(body).map(drop),
        opcode::RESULT => match response::result(body)? {
            response::Outcome::Rows(rows) => rows.page(None).map(drop),
            response::Outcome::Prepared(prepared) => prepared.metadata(head.version).map(drop),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::error::Reason;
    use crate::protocol::{Framed, Protocol, Side};

    fn said(version: u8, opcode: u8, body: &[u8]) -> Result<(), Reason> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let frame = [&[version, 0, 0, 1, opcode], &length[..], body].concat();
        let side = if version & 0x80 == 0 { Side::Request } else { Side::Response };
        let Framed::Frame(head) = Protocol::Cql.frame(&frame, side, u32::MAX) else { panic!("no frame") };
        check(side, &head, &frame).map_err(|malformed| malformed.reason)
    }

    /// Rows of one column `c` of type int, without a table of their own.
    fn rows(count: i32, cells: &[u8]) -> Vec<u8> {
        [
            &[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1],
            b"\0\x01k\0\x01t\0\x01c\0\x09".as_slice(),
            &count.to_be_bytes(),
            cells,
        ]
        .concat()
    }

    #[test]
    fn all_of_a_message_is_read() {
        assert_eq!(said(4, 7, b"\0\0\0\x01x\0\x01\0"), Ok(()));
        assert_eq!(said(4, 7, b"\0\0\0\x01x\0\x01\x01\0\x01"), Err(Reason::Truncated));
        assert_eq!(said(4, 0x0D, b"\0\0\x01\x02"), Err(Reason::UnknownValue { value: 2 }));
        assert_eq!(said(4, 5, b""), Ok(()));
        assert_eq!(said(0x84, 8, &rows(2, b"\0\0\0\x01a\xff\xff\xff\xff")), Ok(()));
        assert_eq!(said(0x84, 8, &rows(3, b"\0\0\0\x01a\xff\xff\xff\xff")), Err(Reason::Truncated));
        assert_eq!(said(0x84, 8, &rows(-1, b"")), Err(Reason::UnknownValue { value: -1 }));
        assert_eq!(said(0x84, 8, &rows(i32::MAX, b"\0\0")), Err(Reason::Truncated));
        assert_eq!(said(0x84, 8, b"\0\0\0\x04\0\x01i\0\0\0\0\0\0\0\x01"), Err(Reason::Truncated));
        assert_eq!(said(0x84, 0, b"\0\0\0\0\0\x05ab"), Err(Reason::Truncated));
    }
}
