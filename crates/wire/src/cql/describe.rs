//! Messages in one line, for people.

use crate::cql::encode::truncated;
use crate::cql::hex::Hex;
use crate::cql::{binding_body, body, opcode, request, response};
use crate::error::Malformed;
use crate::limits::DESCRIBE_BYTES_MAX;
use crate::protocol::{Head, Side};
use crate::reader::Reader;

/// See [`crate::Protocol::describe`].
#[must_use]
pub fn describe(side: Side, head: &Head, frame: &[u8]) -> String {
    let mut line = format!("Cassandra V{} stream:{} ", head.version, head.id);
    let detail = match side {
        Side::Request => binding_body(head, frame).and_then(|body| of_request(head, body)),
        Side::Response => body(side, head, frame).and_then(|body| of_response(head, body)),
    };
    let shown = detail.unwrap_or_else(|malformed| match malformed.reason {
        crate::Reason::Compressed => format!("{} (compressed)", opcode::name(head.opcode)),
        _ => format!("{} of {} bytes", opcode::name(head.opcode), head.frame_bytes),
    });
    push_escaped(&mut line, &shown);
    line
}

fn of_request(head: &Head, body: Reader<'_>) -> Result<String, Malformed> {
    Ok(match head.opcode {
        opcode::QUERY => {
            let (text, parameters) = request::query(body)?;
            format!("Query consistency:{} {text}", consistency(parameters.consistency))
        }
        opcode::PREPARE => format!("Prepare {}", request::prepare(body)?),
        opcode::EXECUTE => {
            let (id, parameters) = request::execute(body)?;
            format!("Execute consistency:{} id:{}", consistency(parameters.consistency), hex(id))
        }
        opcode::BATCH => {
            let mut texts = String::new();
            let batch = request::batch(body, |statement, _| {
                if texts.len() < DESCRIBE_BYTES_MAX {
                    texts.push_str("; ");
                    match statement {
                        request::BatchStatement::Text(text) => texts.push_str(text),
                        request::BatchStatement::Prepared(id) => texts.push_str(&hex(id)),
                    }
                }
            })?;
            format!("Batch consistency:{} of {}{texts}", consistency(batch.consistency), batch.statements)
        }
        opcode::STARTUP => {
            let mut options = String::from("Startup");
            request::startup(body, |key, value| push_pair(&mut options, key, value))?;
            options
        }
        opcode::REGISTER => {
            let mut kinds = String::from("Register");
            request::register(body, |kind| {
                kinds.push(' ');
                kinds.push_str(kind);
            })?;
            kinds
        }
        other => opcode::name(other).to_owned(),
    })
}

fn of_response(head: &Head, body: Reader<'_>) -> Result<String, Malformed> {
    Ok(match head.opcode {
        opcode::ERROR => {
            let error = response::error(body)?;
            format!("Error 0x{:04x} {}", error.code, error.message)
        }
        opcode::RESULT => match response::result(body)? {
            response::Outcome::Void => "Result Void".to_owned(),
            response::Outcome::Rows(rows) => format!("Result Rows {} x {}", rows.count()?, rows.columns),
            response::Outcome::SetKeyspace(keyspace) => format!("Result SetKeyspace {keyspace}"),
            response::Outcome::Prepared(prepared) => format!("Result Prepared {}", hex(prepared.id)),
            response::Outcome::SchemaChange(change) => format!("Result SchemaChange {change:?}"),
        },
        opcode::EVENT => format!("Event {:?}", response::event(body)?),
        opcode::AUTHENTICATE => format!("Authenticate {}", response::authenticate(body)?),
        opcode::SUPPORTED => {
            let mut options = String::from("Supported");
            response::supported(body, |key, value| push_pair(&mut options, key, value))?;
            options
        }
        other => opcode::name(other).to_owned(),
    })
}

fn push_pair(line: &mut String, key: &str, value: &str) {
    if line.len() < DESCRIBE_BYTES_MAX {
        line.push(' ');
        line.push_str(key);
        line.push('=');
        line.push_str(value);
    }
}

/// The name of a consistency level (section 3).
fn consistency(level: u16) -> &'static str {
    match level {
        0x0000 => "ANY",
        0x0001 => "ONE",
        0x0002 => "TWO",
        0x0003 => "THREE",
        0x0004 => "QUORUM",
        0x0005 => "ALL",
        0x0006 => "LOCAL_QUORUM",
        0x0007 => "EACH_QUORUM",
        0x0008 => "SERIAL",
        0x0009 => "LOCAL_SERIAL",
        0x000A => "LOCAL_ONE",
        _ => "UNKNOWN",
    }
}

/// The first bytes of an id; Cassandra's have 16.
fn hex(id: &[u8]) -> String {
    Hex(id.get(..32).unwrap_or(id)).to_string()
}

/// Control characters would let a peer forge log lines.
fn push_escaped(line: &mut String, text: &str) {
    for character in truncated(text, DESCRIBE_BYTES_MAX).chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}
