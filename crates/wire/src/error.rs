//! What is wrong with malformed bytes, and where.

use std::fmt;

/// Bytes that are no lawful frame, or a body that is not what its opcode says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub reason: Reason,
    /// Where in the frame, bytes from its start.
    pub at: u32,
    /// The stream id, as far as it is known; else 0.
    pub id: i32,
    /// The protocol version of the sender, if it is known and spoken here.
    pub version: Option<u8>,
}

/// What can be wrong.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A protocol version that is not spoken here.
    UnsupportedVersion {
        /// The version, without the direction bit.
        version: u8,
    },
    /// A response where a request is due, or the reverse.
    WrongDirection,
    /// An opcode that does not exist, or not in this direction.
    UnknownOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// A negative body length.
    NegativeLength {
        /// The length.
        length: i32,
    },
    /// A body longer than is allowed.
    TooLong {
        /// Its length, bytes.
        length: u32,
        /// The limit, bytes.
        max: u32,
    },
    /// The body ends before the value does.
    Truncated,
    /// A string that is not UTF-8.
    NotUtf8,
    /// A value that has no meaning here.
    UnknownValue {
        /// The value.
        value: i32,
    },
    /// Types nested deeper than `TYPE_DEPTH_MAX`.
    TooDeep,
    /// More types than `TYPES_MAX` in one list of columns.
    TooManyTypes,
    /// More cells than `EDIT_CELLS_MAX` in a message that is to be changed.
    TooManyCells,
    /// Bytes behind the end of the body.
    TrailingBytes,
    /// A compressed body: it cannot be read here.
    Compressed,
    /// The id of a request that has not been answered yet.
    IdInFlight {
        /// The stream id.
        id: i32,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {} of the frame)", self.reason, self.at)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedVersion { version } => write!(f, "unsupported protocol version {version}"),
            Self::WrongDirection => f.write_str("a frame that travels the other way"),
            Self::UnknownOpcode { opcode } => write!(f, "unknown opcode 0x{opcode:02x}"),
            Self::NegativeLength { length } => write!(f, "negative body length {length}"),
            Self::TooLong { length, max } => write!(f, "body of {length} bytes, at most {max} are allowed"),
            Self::Truncated => f.write_str("the body ends too early"),
            Self::NotUtf8 => f.write_str("a string that is not UTF-8"),
            Self::UnknownValue { value } => write!(f, "the value {value} has no meaning here"),
            Self::TooDeep => f.write_str("types nested too deeply"),
            Self::TooManyTypes => f.write_str("too many types of columns"),
            Self::TooManyCells => f.write_str("too many values to be changed"),
            Self::TrailingBytes => f.write_str("bytes behind the end of the body"),
            Self::Compressed => f.write_str("a compressed body"),
            Self::IdInFlight { id } => write!(f, "stream id {id} is in flight already"),
        }
    }
}
