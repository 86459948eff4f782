//! Writes what [`crate::Reader`] reads: the notations of the protocol (native protocol v4, section 3), by their names.

use std::fmt;

use crate::reader::Raw;

/// What cannot be written as bytes of the protocol.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unencodable {
    /// A count or a length that its field cannot hold.
    TooLong,
    /// A value that is none of its column's type.
    Unfit,
}

impl fmt::Display for Unencodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a count or a length that its field cannot hold",
            Self::Unfit => "a value that is none of its column's type",
        })
    }
}

impl std::error::Error for Unencodable {}

/// Bytes that are being written. What does not fit its field is noticed at the end.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Writer {
    pub(crate) fn finish(self) -> Result<Vec<u8>, Unencodable> {
        if self.is_too_long { Err(Unencodable::TooLong) } else { Ok(self.bytes) }
    }

    pub(crate) fn plain(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.plain(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.plain(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.plain(&value.to_be_bytes());
    }

    /// A \[short\] that counts something.
    pub(crate) fn short_count(&mut self, count: usize) {
        let short = u16::try_from(count);
        self.is_too_long |= short.is_err();
        self.u16(short.unwrap_or_default());
    }

    /// An \[int\] that counts something.
    pub(crate) fn count(&mut self, count: usize) {
        let int = i32::try_from(count);
        self.is_too_long |= int.is_err();
        self.i32(int.unwrap_or_default());
    }

    /// \[short bytes\]
    pub(crate) fn short_bytes(&mut self, bytes: &[u8]) {
        self.short_count(bytes.len());
        self.plain(bytes);
    }

    /// \[string\]
    pub(crate) fn string(&mut self, text: &str) {
        self.short_bytes(text.as_bytes());
    }

    /// \[bytes\] that are not null, or a \[long string\].
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.plain(bytes);
    }

    /// \[value\]
    pub(crate) fn value(&mut self, value: Raw<'_>) {
        match value {
            Raw::Null => self.i32(-1),
            Raw::Unset => self.i32(-2),
            Raw::Bytes(bytes) => self.bytes(bytes),
        }
    }

    /// What `write` writes, with its length (an \[int\]) in front.
    pub(crate) fn measured<E>(&mut self, write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let place = self.bytes.len();
        self.i32(0);
        let start = self.bytes.len();
        write(self)?;
        let length = i32::try_from(self.bytes.len().saturating_sub(start));
        self.is_too_long |= length.is_err();
        if let Some(field) = self.bytes.get_mut(place..start) {
            field.copy_from_slice(&length.unwrap_or_default().to_be_bytes());
        }
        Ok(())
    }
}
