//! What a source demands of its clients.

use std::time::Duration;

/// What the source demands of its clients.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The longest body of a request, bytes.
    pub frame_bytes_max: u32,
    /// A client is closed when nothing was sent or read by it for this long, and nothing but it is waited for.
    pub idle_timeout: Option<Duration>,
}
