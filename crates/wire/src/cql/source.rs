//! What a request has the server prepare or run: texts, and ids of what was prepared, with the values bound to each.

use crate::cql::metadata::Metadata;
use crate::cql::value::Value;
use crate::cql::{binding_body, body, names, opcode, request, statement};
use crate::error::{Malformed, Reason};
use crate::protocol::{Head, Side, Source, Sourced};

/// A text as far as it is one: what is here of a statement may be cut off inside a character.
pub(super) fn readable(text: &[u8]) -> &str {
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let valid = text.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
    }
}

/// See [`crate::Protocol::each_source`].
#[inline]
pub fn each_source<'f>(head: &Head, frame: &'f [u8], mut each: impl FnMut(Source<'f>)) -> Sourced {
    let nothing = Sourced { is_readable: true, is_told: true, has_keyspace: false };
    let unreadable = Sourced { is_readable: false, is_told: false, has_keyspace: false };
    match head.opcode {
        opcode::QUERY | opcode::PREPARE => {
            let Some((text, rest)) = statement::text_and_rest(head, frame) else { return unreadable };
            let here = readable(text);
            let is_whole = rest.is_some() && here.len() == text.len();
            each(Source::Text(here, is_whole));
            if head.opcode == opcode::PREPARE {
                return Sourced { is_told: is_whole, ..nothing };
            }
            match rest.and_then(request::flags) {
                Some(flags) => {
                    Sourced { is_told: is_whole, has_keyspace: names::has_keyspace(flags), ..nothing }
                }
                None => Sourced { is_told: false, ..nothing },
            }
        }
        opcode::EXECUTE => match body(Side::Request, head, frame).and_then(|mut body| body.short_bytes()) {
            Ok(id) => {
                each(Source::Prepared(id));
                nothing
            }
            Err(_) => unreadable,
        },
        opcode::BATCH => {
            let Ok(body) = binding_body(head, frame) else { return unreadable };
            let read = request::batch(body, |statement, _| {
                each(match statement {
                    request::BatchStatement::Text(text) => Source::Text(text, true),
                    request::BatchStatement::Prepared(id) => Source::Prepared(id),
                });
            });
            let is_cut = frame.len() < usize::try_from(head.frame_bytes).unwrap_or(usize::MAX);
            let has_keyspace = read.is_ok_and(|batch| names::has_keyspace(batch.flags));
            Sourced { is_readable: read.is_ok() || is_cut, is_told: read.is_ok(), has_keyspace }
        }
        _ => nothing,
    }
}

/// See [`crate::Protocol::bound_values`].
///
/// # Errors
/// Truncated, not UTF-8, or a request that binds nothing.
pub fn bound_values<K: AsRef<Metadata>>(
    head: &Head,
    frame: &[u8],
    mut binds: impl FnMut(&[u8]) -> Option<K>,
    mut each: impl FnMut(usize, Option<&str>, Value<'_>),
) -> Result<(), Malformed> {
    let mut all = |place: usize, id: Option<&[u8]>, values: request::Values<'_>| {
        let known = id.and_then(&mut binds);
        let nothing = Metadata::default();
        let metadata = known.as_ref().map_or(&nothing, AsRef::as_ref);
        values.typed(metadata, |name, value| each(place, name, value))
    };
    match head.opcode {
        opcode::QUERY => {
            let (_, parameters) = request::query(binding_body(head, frame)?)?;
            all(0, None, parameters.values)
        }
        opcode::EXECUTE => {
            let (id, parameters) = request::execute(binding_body(head, frame)?)?;
            all(0, Some(id), parameters.values)
        }
        opcode::BATCH => {
            let body = binding_body(head, frame)?;
            let (mut place, mut read) = (0_usize, Ok(()));
            request::batch(body, |statement, values| {
                let id = match statement {
                    request::BatchStatement::Text(_) => None,
                    request::BatchStatement::Prepared(id) => Some(id),
                };
                read = read.and_then(|()| all(place, id, values));
                place = place.saturating_add(1);
            })?;
            read
        }
        _ => Err(binding_body(head, frame)?.malformed(Reason::UnknownOpcode { opcode: head.opcode })),
    }
}
