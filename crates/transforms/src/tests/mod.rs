//! The transforms in chains of their own, with a clock that is handed in: what they let pass, and when.
//!
//! Tests whose names tell what upstream does wrong are there so that it is not done here.

mod coalesce;
mod debug;
mod filter;
mod name_filter;
mod options;
mod query_counter;
mod request_log;
pub(crate) mod scene;
mod throttling;
