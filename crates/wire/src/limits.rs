//! Every maximum of this room, in one place.

/// The longest body of a CQL frame, bytes: what the protocol allows (native protocol v4, section 2.5).
pub const FRAME_BYTES_MAX_DEFAULT: u32 = 256 * 1024 * 1024;

/// The longest body of a request before the server has accepted the client's handshake, bytes. A STARTUP or an
/// AUTH_RESPONSE has some hundred; who is not yet logged in may not make anybody hold more.
pub const FRAME_BYTES_MAX_BEFORE_HANDSHAKE: u32 = 64 * 1024;

/// Nesting of a column's type (`list<frozen<map<..>>>`). Cassandra's own schemas stay below 10.
pub const TYPE_DEPTH_MAX: usize = 32;

/// Bytes of a message's text that a description shows.
pub const DESCRIBE_BYTES_MAX: usize = 4096;
