//! Requests and rows that can be changed, and made into frames again. What was not changed keeps every byte: flags,
//! custom payload, warnings, the tracing id, paging.
//!
//! A frame that could not be written again as it is (compressed, with bytes behind its body, cut short) is refused by
//! `decode`, so that whoever would change it lets it pass.

mod request;
mod rows;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use request::{Batch, BatchStatement, Bound, Parameters, Request, RequestBody};
pub use rows::Rows;

use crate::cql::header::{Flags, Lead, body_behind};
use crate::cql::types::ColumnType;
use crate::cql::value::Value;
use crate::cql::writer::{Unencodable, Writer};
use crate::error::{Malformed, Reason};
use crate::protocol::{Head, Side};
use crate::reader::{Negatives, Raw, Reader};

/// Takes a whole message apart and writes it again, which gives the same bytes. `None` for a message that can only be
/// passed on as it is: of a kind that nobody changes, or one that `decode` refuses.
#[must_use]
pub fn encode_again(side: Side, head: &Head, frame: &[u8]) -> Option<Vec<u8>> {
    match side {
        Side::Request => Request::decode(head, frame).ok()?.encode().ok(),
        Side::Response => Rows::decode(head, frame).ok()?.encode().ok(),
    }
}

/// A key and its value.
pub type Payload<'f> = (Cow<'f, str>, Cell<'f>);

/// What is around the body of a frame: its header, and what the header's flags put in front of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'f> {
    /// The protocol version.
    pub version: u8,
    /// The stream id.
    pub id: i32,
    /// The flags that announce nothing in front of the body, those not known here included.
    pub flags: u8,
    /// By which the request's trace is found; of a response.
    pub tracing_id: Option<[u8; 16]>,
    /// What the server wants to be read; of a response.
    pub warnings: Option<Vec<Cow<'f, str>>>,
    /// Custom keys and values.
    pub payload: Option<Vec<Payload<'f>>>,
}

impl<'f> Envelope<'f> {
    /// Reads what is in front of the body. All of the frame must be there.
    fn decode(side: Side, head: &Head, frame: &'f [u8]) -> Result<(Self, Reader<'f>), Malformed> {
        let has = |flag| head.flags & flag != 0;
        let (mut tracing_id, mut is_text) = (None, true);
        let mut warnings = (side == Side::Response && has(Flags::WARNING)).then(Vec::new);
        let mut payload = has(Flags::CUSTOM_PAYLOAD).then(Vec::new);
        // Any null is written as -1: a frame that says it otherwise could not be written again as it is.
        let body = body_behind(side, head, frame, Negatives::Two, |lead| match lead {
            Lead::TracingId(id) => tracing_id = <[u8; 16]>::try_from(id).ok(),
            Lead::Warning(warning) => warnings.iter_mut().for_each(|all| all.push(Cow::Borrowed(warning))),
            Lead::Payload(key, value) => match std::str::from_utf8(key) {
                Ok(key) => payload.iter_mut().for_each(|all| all.push((Cow::Borrowed(key), value.into()))),
                Err(_) => is_text = false,
            },
        })?;
        if !is_text {
            return Err(body.malformed(Reason::NotUtf8));
        }
        if u32::try_from(frame.len()) != Ok(head.frame_bytes) {
            return Err(body.malformed(Reason::Truncated));
        }
        let mut envelope =
            Self { version: head.version, id: head.id, flags: 0, tracing_id, warnings, payload };
        envelope.flags = head.flags & !envelope.announced();
        Ok((envelope, body))
    }

    /// The flags that announce what is in front of the body.
    fn announced(&self) -> u8 {
        announced(self.tracing_id.is_some(), Flags::TRACING)
            | announced(self.warnings.is_some(), Flags::WARNING)
            | announced(self.payload.is_some(), Flags::CUSTOM_PAYLOAD)
    }

    /// Writes a frame with this body.
    fn encode(
        &self,
        side: Side,
        opcode: u8,
        body: impl FnOnce(&mut Writer) -> Result<(), Unencodable>,
    ) -> Result<Vec<u8>, Unencodable> {
        let mut out = Writer::default();
        out.u8(self.version | if side == Side::Response { 0x80 } else { 0 });
        out.u8(self.flags | self.announced());
        let [_, _, high, low] = self.id.to_be_bytes();
        out.plain(&[high, low, opcode]);
        out.measured(|out| {
            if let Some(id) = &self.tracing_id {
                out.plain(id);
            }
            if let Some(warnings) = &self.warnings {
                out.short_count(warnings.len());
                warnings.iter().for_each(|warning| out.string(warning));
            }
            if let Some(payload) = &self.payload {
                out.short_count(payload.len());
                for (key, value) in payload {
                    out.string(key);
                    out.value(value.raw());
                }
            }
            body(out)
        })?;
        out.finish()
    }
}

/// The flag that announces a field, if the field is there.
fn announced(is_there: bool, flag: u8) -> u8 {
    if is_there { flag } else { 0 }
}

/// The bytes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell<'f> {
    /// None.
    Null,
    /// Not set.
    Unset,
    /// These.
    Bytes(Cow<'f, [u8]>),
}

impl<'f> From<Raw<'f>> for Cell<'f> {
    fn from(raw: Raw<'f>) -> Self {
        match raw {
            Raw::Null => Self::Null,
            Raw::Unset => Self::Unset,
            Raw::Bytes(bytes) => Self::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

impl Cell<'_> {
    /// As the reader gives it.
    #[must_use]
    pub fn raw(&self) -> Raw<'_> {
        match self {
            Self::Null => Raw::Null,
            Self::Unset => Raw::Unset,
            Self::Bytes(bytes) => Raw::Bytes(bytes),
        }
    }

    /// The value, for a column of this type.
    #[must_use]
    pub fn value<'v>(&'v self, kind: &'v ColumnType) -> Value<'v> {
        Value::decode(kind, self.raw())
    }

    /// Puts another value in its place, for a column of this type.
    ///
    /// # Errors
    /// It is no value of this type. The old one stays.
    pub fn set(&mut self, value: &Value<'_>, kind: &ColumnType) -> Result<(), Unencodable> {
        *self = match value.encode(kind)? {
            Some(bytes) => Self::Bytes(Cow::Owned(bytes)),
            None if *value == Value::Unset => Self::Unset,
            None => Self::Null,
        };
        Ok(())
    }
}
