//! Every metric, log field and span, once.
//!
//! A worker counts in plain cells that nobody shares; what it counted leaves it as a snapshot, and snapshots are
//! merged when somebody asks. Knows no protocol.
//! Must hold: counting never locks, never allocates per message, and has bounded memory and bounded labels.

mod connection_span;
mod could_open;
mod lines;
mod logs;
mod metrics;
mod own;
mod render;
mod sharing;
#[cfg(test)]
mod tests;
mod writer;

pub use connection_span::connection_span;
pub use could_open::{could_open_lines, could_open_message_files};
pub use lines::{LineTarget, json_string, open_lines};
pub use logs::{FilterHandle, LogFormat, Logs, check_filter, start_logs};
pub use metrics::{
    Catalog, ChainEntry, ChainMetrics, Counter, NestedMetrics, Process, Snapshot, SourceCounts, SourceEntry,
    SourceMetrics, Summary, TransformMetrics, WorkerMetrics,
};
pub use own::{OwnFamily, OwnMetrics, Tallies, Tally};
pub use render::{render, render_own};
pub use sharing::{CutOffReason, Gauge, OwnReason, RetireReason, SharingMetrics};
pub use writer::{MessageFile, Queue, open_message_files};

/// Targets of log lines. They are upstream's, since filters and tests of its users name them.
pub mod target {
    /// Start and end of the process.
    pub const RUNNER: &str = "shotover::runner";
    /// Reading and building the topology.
    pub const TOPOLOGY: &str = "shotover::config::topology";
    /// The admin endpoints.
    pub const OBSERVABILITY: &str = "shotover::observability";
    /// Files that messages are kept in.
    pub const LOG_TO_FILE: &str = "shotover::transforms::debug::log_to_file";
    /// Requests that are refused because there are too many.
    pub const THROTTLING: &str = "shotover::transforms::throttling";
    /// Messages that are read though nobody needs it.
    pub const FORCE_PARSE: &str = "shotover::transforms::debug::force_parse";
    /// Tee: mismatches, its second chain, its switch.
    pub const TEE: &str = "shotover::transforms::tee";
    /// The life of a client's connection.
    pub const SOURCE_TASK: &str = "shotover::source_task";
}
