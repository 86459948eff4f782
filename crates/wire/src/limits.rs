//! Every maximum of this room, in one place.

/// The longest body of a CQL frame, bytes: what the protocol allows (native protocol v4, section 2.5).
pub const FRAME_BYTES_MAX_DEFAULT: u32 = 256 * 1024 * 1024;

/// The longest body of a request before the server has accepted the client's handshake, bytes. A STARTUP or an
/// AUTH_RESPONSE has some hundred; who is not yet logged in may not make anybody hold more.
pub const FRAME_BYTES_MAX_BEFORE_HANDSHAKE: u32 = 64 * 1024;

/// Nesting of a column's type (`list<frozen<map<..>>>`). Cassandra's own schemas stay below 10.
pub const TYPE_DEPTH_MAX: usize = 32;

/// Types in one list of columns, those inside others included: two for each of the 65,535 values that a statement can
/// bind. A type of two bytes takes some fifty here; more would turn a large frame into gigabytes.
pub const TYPES_MAX: u32 = 131_072;

/// Elements of one value, those of its elements included: an element of one byte takes 32 here.
pub const VALUE_ELEMENTS_MAX: u32 = 1 << 20;

/// Values of a message that is taken apart to be changed: a null of four bytes takes some fifty then. 5,000 rows, the
/// usual page, may have 400 columns.
pub const EDIT_CELLS_MAX: u32 = 1 << 21;

/// The longest varint whose digits are shown, bytes (308 digits): writing n digits takes n * n steps.
pub const VARINT_TEXT_BYTES_MAX: usize = 128;

/// Bytes of a message's text that a description shows.
pub const DESCRIBE_BYTES_MAX: usize = 4096;

/// How deeply values, types and parentheses of a CQL text may be nested. Statements that people write stay below 10;
/// each level costs the parser's stack some hundred bytes, and Cassandra's own parser recurses as well.
pub const CQL_DEPTH_MAX: usize = 64;

/// Bind markers of a statement: what the protocol can count (a \[short\], native protocol v4, section 4.1.4).
pub const CQL_MARKERS_MAX: usize = 65_535;

/// Bytes of a CQL text that is parsed as a whole. Its view has up to 20 bytes for a byte of text (a list of IN whose
/// values have one digit each); a text of a statement that people or drivers write has some hundred.
pub const CQL_PARSED_BYTES_MAX: usize = 4 * 1024 * 1024;
