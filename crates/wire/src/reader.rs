//! The checked cursor over a body: it can only hand out what is there.

use crate::error::{Malformed, Reason};

/// A \[value\] before anybody asks for its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw<'b> {
    /// Length -1.
    Null,
    /// Length -2: the column is left as it is (since v4, values bound to a statement).
    Unset,
    /// The bytes.
    Bytes(&'b [u8]),
}

/// Reads values of the protocol from front to back. Every answer is inside the bytes it was given.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'b> {
    left: &'b [u8],
    /// Where `left` begins in the frame, for errors.
    at: u32,
    /// What is made of the negative lengths of a \[value\].
    negatives: Negatives,
}

/// What is made of the negative lengths of a \[value\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Negatives {
    /// -1 is null, -2 not set, and any other is malformed.
    Two,
    /// Any is null, as Cassandra has it in custom payloads and, in v3, among bound values: whoever counts and judges what
    /// such a frame makes the server do must read on.
    AllNull,
}

impl<'b> Reader<'b> {
    /// A reader of `bytes`, which begin `at` bytes into their frame.
    #[must_use]
    pub fn new(bytes: &'b [u8], at: u32) -> Self {
        Self { left: bytes, at, negatives: Negatives::Two }
    }

    /// The same, which makes this of negative lengths.
    pub(crate) fn with(self, negatives: Negatives) -> Self {
        Self { negatives, ..self }
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn left(&self) -> &'b [u8] {
        self.left
    }

    /// An error at the current place.
    #[must_use]
    pub fn malformed(&self, reason: Reason) -> Malformed {
        Malformed { reason, at: self.at, id: 0, version: None }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (taken, left) =
            self.left.split_at_checked(count).ok_or_else(|| self.malformed(Reason::Truncated))?;
        self.left = left;
        self.at = self.at.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.malformed(Reason::Truncated))
    }

    /// \[byte\]
    ///
    /// # Errors
    /// Truncated.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// \[short\]
    ///
    /// # Errors
    /// Truncated.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// \[int\]
    ///
    /// # Errors
    /// Truncated.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// \[long\]
    ///
    /// # Errors
    /// Truncated.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// \[short bytes\]
    ///
    /// # Errors
    /// Truncated.
    pub fn short_bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// \[int\] that counts something.
    ///
    /// # Errors
    /// Truncated, or negative.
    pub fn count(&mut self) -> Result<u32, Malformed> {
        let at = *self;
        let count = self.i32()?;
        u32::try_from(count).map_err(|_| at.malformed(Reason::UnknownValue { value: count }))
    }

    /// \[value\]: unlike [`Reader::bytes`] it tells null from not set.
    ///
    /// # Errors
    /// Truncated, or a negative length without a meaning, but where Cassandra takes it for null.
    pub fn value(&mut self) -> Result<Raw<'b>, Malformed> {
        let at = *self;
        match self.i32()? {
            -1 => Ok(Raw::Null),
            ..-1 if self.negatives == Negatives::AllNull => Ok(Raw::Null),
            -2 => Ok(Raw::Unset),
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| at.malformed(Reason::UnknownValue { value: length }))?;
                self.take(length).map(Raw::Bytes)
            }
        }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// Something is.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.left.is_empty() { Ok(()) } else { Err(self.malformed(Reason::TrailingBytes)) }
    }

    /// \[bytes\]; a negative length (null) is `None`.
    ///
    /// # Errors
    /// Truncated.
    pub fn bytes(&mut self) -> Result<Option<&'b [u8]>, Malformed> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// \[string\]
    ///
    /// # Errors
    /// Truncated, or not UTF-8.
    pub fn string(&mut self) -> Result<&'b str, Malformed> {
        let bytes = self.short_bytes()?;
        self.utf8(bytes)
    }

    /// \[long string\]
    ///
    /// # Errors
    /// Truncated, not UTF-8, or of negative length.
    pub fn long_string(&mut self) -> Result<&'b str, Malformed> {
        let at = *self;
        let length = self.count()?;
        let length = usize::try_from(length).map_err(|_| at.malformed(Reason::Truncated))?;
        let bytes = self.take(length)?;
        self.utf8(bytes)
    }

    /// \[string list\], each handed to `each`.
    ///
    /// # Errors
    /// Truncated, or not UTF-8.
    pub fn string_list(&mut self, mut each: impl FnMut(&'b str)) -> Result<(), Malformed> {
        for _ in 0..self.u16()? {
            each(self.string()?);
        }
        Ok(())
    }

    fn utf8(&self, bytes: &'b [u8]) -> Result<&'b str, Malformed> {
        std::str::from_utf8(bytes).map_err(|_| self.malformed(Reason::NotUtf8))
    }
}
