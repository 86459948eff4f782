//! What a client's session is made of, for whoever lets several clients share a server connection: which requests
//! leave nothing behind on a connection, and how a session is begun again on another one.

use crate::cql::header::{Flags, HEADER_BYTES, body};
use crate::cql::response::{self, Outcome};
use crate::cql::statement::{Statement, first_statement, text};
use crate::cql::{opcode, request};
use crate::protocol::{Head, Side};

/// What a statement does, as far as sharing its connection goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// It changes nothing, so that it may be told that it timed out as a read.
    Read,
    /// It may change rows or the schema.
    Write,
    /// It changes the keyspace of its connection.
    Use,
}

/// What a request asks of the connection it is sent on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Demand<'f> {
    /// Nothing: it may be sent on any connection of the same session.
    Plain(Work),
    /// It prepares a statement that does this.
    Prepare(Work),
    /// Whatever the statement prepared under this id does.
    Execute(&'f [u8]),
    /// It changes the keyspace of its connection.
    Use,
    /// It asks for events, which come on its connection from then on.
    Register,
    /// A connection of its client's own: it begins a session, or what it does cannot be told from its bytes.
    Own,
}

/// The flags of requests that leave nothing behind (section 2.2). There are no custom payloads before v4: a server takes
/// a connection with one for broken, for all that share it.
const fn harmless(version: u8) -> u8 {
    if version < 4 { Flags::TRACING } else { Flags::TRACING | Flags::CUSTOM_PAYLOAD }
}

/// What a request asks of its connection. `frame` may be cut short: the first word of a statement is enough.
#[must_use]
pub fn demand<'f>(head: &Head, frame: &'f [u8]) -> Demand<'f> {
    if head.flags & !harmless(head.version) != 0 {
        return Demand::Own;
    }
    match head.opcode {
        opcode::OPTIONS => Demand::Plain(Work::Read),
        opcode::BATCH => Demand::Plain(Work::Write),
        opcode::REGISTER => Demand::Register,
        opcode::QUERY => match work(head, frame) {
            Some(Work::Use) => Demand::Use,
            Some(work) => Demand::Plain(work),
            None => Demand::Own,
        },
        opcode::PREPARE => work(head, frame).map_or(Demand::Own, Demand::Prepare),
        opcode::EXECUTE => body(Side::Request, head, frame)
            .and_then(|mut body| body.short_bytes())
            .map_or(Demand::Own, Demand::Execute),
        _ => Demand::Own,
    }
}

/// What the statement of a QUERY or a PREPARE does.
fn work(head: &Head, frame: &[u8]) -> Option<Work> {
    let (text, is_whole) = text(head, frame)?;
    Some(match first_statement(text, is_whole)? {
        Statement::Read => Work::Read,
        Statement::Write | Statement::Schema | Statement::Apply => Work::Write,
        Statement::Use => Work::Use,
    })
}

/// Options of STARTUP that tell who a client is and change nothing for its requests.
fn is_about_client(option: &str) -> bool {
    option.starts_with("DRIVER_") || option.starts_with("APPLICATION_") || option == "CLIENT_ID"
}

/// The options of a STARTUP that make a session what it is, sorted, each with its value. `None` when its messages may
/// be compressed, or its body is none.
#[must_use]
pub fn startup_options<'f>(head: &Head, frame: &'f [u8]) -> Option<Vec<(&'f str, &'f str)>> {
    let mut options = Vec::new();
    let reader = body(Side::Request, head, frame).ok()?;
    request::startup(reader, |key, value| {
        if !is_about_client(key) {
            options.push((key, value));
        }
    })
    .ok()?;
    options.sort_unstable();
    // Cassandra reads the names of options in any case.
    let compresses = options.iter().any(|(key, _)| key.eq_ignore_ascii_case("COMPRESSION"));
    (!compresses).then_some(options)
}

/// Puts another stream id into a frame.
pub fn set_id(frame: &mut [u8], id: i16) {
    if let Some(place) = frame.get_mut(2..4) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// The QUERY that changes to a keyspace.
#[must_use]
pub fn use_keyspace(version: u8, id: i16, keyspace: &str) -> Vec<u8> {
    // Consistency ONE, no parameters.
    const PARAMETERS: [u8; 3] = [0, 1, 0];
    let text = format!("USE \"{}\"", keyspace.replace('"', "\"\""));
    let text_bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let body_bytes = text_bytes.saturating_add(4).saturating_add(3);
    let [high, low] = id.to_be_bytes();
    let mut frame = vec![version, 0, high, low, opcode::QUERY];
    frame.extend_from_slice(&body_bytes.to_be_bytes());
    frame.extend_from_slice(&text_bytes.to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame.extend_from_slice(&PARAMETERS);
    frame
}

/// What a reply says of its connection or its statement.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Said<'f> {
    /// Nothing that outlives the request.
    Nothing,
    /// The keyspace in use is now this one.
    Keyspace(&'f str),
    /// The statement is prepared under this id.
    Prepared(&'f [u8]),
    /// The connection is of no further use: the server takes it for broken (section 9, code 0x000A).
    ProtocolError,
}

/// Reads as much of a reply as there is to tell what it says of its connection.
#[inline]
#[must_use]
pub fn said<'f>(head: &Head, frame: &'f [u8]) -> Said<'f> {
    /// The kinds of RESULT that say something: SetKeyspace and Prepared.
    const TELLING: [u8; 2] = [3, 4];
    match head.opcode {
        opcode::RESULT if head.flags == 0 => {
            let kind = frame.get(HEADER_BYTES as usize..).and_then(|body| body.get(3));
            if kind.is_some_and(|kind| TELLING.contains(kind)) {
                result_said(head, frame)
            } else {
                Said::Nothing
            }
        }
        opcode::RESULT => result_said(head, frame),
        opcode::ERROR => {
            let error = body(Side::Response, head, frame).and_then(|mut body| body.i32());
            if error == Ok(0x000A) { Said::ProtocolError } else { Said::Nothing }
        }
        _ => Said::Nothing,
    }
}

#[cold]
fn result_said<'f>(head: &Head, frame: &'f [u8]) -> Said<'f> {
    match body(Side::Response, head, frame).and_then(response::result) {
        Ok(Outcome::SetKeyspace(keyspace)) => Said::Keyspace(keyspace),
        Ok(Outcome::Prepared(prepared)) => Said::Prepared(prepared.id),
        _ => Said::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::{Demand, Work, demand, startup_options};
    use crate::{Framed, Head, Protocol, Side};

    fn frame(version: u8, flags: u8, opcode: u8, body: &[u8]) -> (Head, Vec<u8>) {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let bytes = [&[version, flags, 0, 1, opcode][..], &length, body].concat();
        let Framed::Frame(head) = Protocol::Cql.frame(&bytes, Side::Request, u32::MAX) else { panic!() };
        (head, bytes)
    }

    fn statement(text: &str) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes(), &[0, 1, 0]].concat()
    }

    #[test]
    fn a_request_demands_of_its_connection_what_its_bytes_say() {
        let query = |text| (4, 0, 0x07, statement(text));
        let flagged = |version, flags| (version, flags, 0x07, statement("SELECT 1"));
        let rows = [
            (query("SELECT 1"), Demand::Plain(Work::Read)),
            (query("insert into t"), Demand::Plain(Work::Write)),
            (query("CREATE TABLE t"), Demand::Plain(Work::Write)),
            (query("BEGIN BATCH"), Demand::Plain(Work::Write)),
            (query("USE k"), Demand::Use),
            (query("/* a */ -- b\n uSe k"), Demand::Use),
            ((4, 0, 0x07, vec![0, 0]), Demand::Own),
            ((4, 0, 0x09, statement("USE k")), Demand::Prepare(Work::Use)),
            ((4, 0, 0x09, statement("SELECT 1")), Demand::Prepare(Work::Read)),
            ((4, 0, 0x0A, vec![0, 2, 7, 8, 0, 1]), Demand::Execute(&[7, 8])),
            ((4, 0, 0x0A, vec![0, 2, 7]), Demand::Own),
            ((4, 0, 0x05, vec![]), Demand::Plain(Work::Read)),
            ((4, 0, 0x0D, vec![]), Demand::Plain(Work::Write)),
            ((4, 0, 0x0B, vec![]), Demand::Register),
            ((4, 0, 0x01, vec![]), Demand::Own),
            ((4, 0, 0x0F, vec![]), Demand::Own),
            (flagged(4, 0x02), Demand::Plain(Work::Read)),
            (flagged(3, 0x02), Demand::Plain(Work::Read)),
            (flagged(4, 0x01), Demand::Own),
            (flagged(4, 0x08), Demand::Own),
            (flagged(4, 0x80), Demand::Own),
            ((4, 0x04, 0x05, vec![0, 0]), Demand::Plain(Work::Read)),
            ((3, 0x04, 0x05, vec![0, 0]), Demand::Own),
        ];
        for ((version, flags, opcode, body), wanted) in rows {
            let (head, bytes) = frame(version, flags, opcode, &body);
            assert_eq!(demand(&head, &bytes), wanted, "v{version}, flags {flags}, opcode {opcode}: {body:?}");
        }
    }

    #[test]
    fn options_that_name_a_client_are_no_part_of_its_session() {
        let options = |pairs: &[(&str, &str)]| {
            let string = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            let mut body = vec![0, u8::try_from(pairs.len()).unwrap()];
            body.extend(pairs.iter().flat_map(|(key, value)| [string(key), string(value)]).flatten());
            let (head, bytes) = frame(4, 0, 0x01, &body);
            startup_options(&head, &bytes).map(|options| {
                options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
            })
        };
        let about_client = ["DRIVER_NAME", "DRIVER_VERSION", "APPLICATION_NAME", "CLIENT_ID"];
        for option in about_client {
            let kept = options(&[("NO_COMPACT", "true"), (option, "x"), ("CQL_VERSION", "3.0.0")]);
            assert_eq!(kept, Some(vec!["CQL_VERSION=3.0.0".to_owned(), "NO_COMPACT=true".to_owned()]));
        }
        assert_eq!(options(&[("CLIENT_IDS", "x")]), Some(vec!["CLIENT_IDS=x".to_owned()]));
        assert_eq!(options(&[("compression", "lz4")]), None);
    }
}
