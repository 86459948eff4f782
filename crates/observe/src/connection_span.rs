//! The span of one client's connection, in a module of its own so that
//! `shotover::connection_span=debug` switches on it alone.

use tracing::{Span, debug_span};

/// A span named `connection`: `id` counts the connections of `source` from 1.
#[must_use]
pub fn connection_span(id: u64, source: &str) -> Span {
    debug_span!(target: "shotover::connection_span", "connection", id, source)
}
