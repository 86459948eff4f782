//! The transforms, one file each, named as in the topology.
//!
//! Toward the server: they pass, answer or replace requests. Toward the client: they see the replies.
//! Needs decoded: each says for itself. Knows no sockets.
//! Must hold: every request gets exactly one reply, from here or from below.

mod coalesce;
mod debug_force;
mod debug_force_encode;
mod debug_force_parse;
mod debug_log_to_file;
mod debug_printer;
mod debug_returner;
mod limiter;
mod name_filter;
mod name_throttle;
mod null_sink;
mod own_chains;
mod parallel_map;
mod query_counter;
mod query_type_filter;
mod request_log;
mod request_throttling;
mod tee;
#[cfg(test)]
mod tests;

pub use coalesce::Coalesce;
pub use debug_force_encode::DebugForceEncode;
pub use debug_force_parse::DebugForceParse;
pub use debug_log_to_file::{DebugLogToFile, OpenFiles};
pub use debug_printer::DebugPrinter;
pub use debug_returner::DebugReturner;
pub use null_sink::NullSink;
pub use own_chains::OwnChains;
pub use parallel_map::{ConnectionBalanceAndPool, ParallelMap};
pub use query_counter::QueryCounter;
pub use query_type_filter::QueryTypeFilter;
pub use request_log::{OpenLines, RequestLog};
pub use request_throttling::RequestThrottling;
pub use tee::Tee;
#[cfg(any(test, fuzzing))]
pub use tee::fuzz_tee_session;
