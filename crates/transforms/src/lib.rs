//! The transforms, one file each, named as in the topology.
//!
//! Toward the server: they pass, answer or replace requests. Toward the client: they see the replies.
//! Needs decoded: each says for itself. Knows no sockets.
//! Must hold: every request gets exactly one reply, from here or from below.

mod debug_printer;
mod debug_returner;
mod null_sink;
mod own_chains;
mod parallel_map;
mod query_type_filter;
mod tee;

pub use debug_printer::DebugPrinter;
pub use debug_returner::DebugReturner;
pub use null_sink::NullSink;
pub use own_chains::OwnChains;
pub use parallel_map::{ConnectionBalanceAndPool, ParallelMap};
pub use query_type_filter::QueryTypeFilter;
pub use tee::Tee;
