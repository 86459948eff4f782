//! One test binary; a module a subject.

#![expect(clippy::disallowed_methods, reason = "tests wait in real time, on threads of their own")]

mod budgets;
mod cql_corpus;
mod faults;
mod flow;
mod generic;
mod lifecycle;
mod parallel;
mod parallel_corners;
mod real_cassandra;
mod relay;
mod restarts;
mod scylla;
mod tee;
mod tee_corners;
mod tee_faults;
mod tee_real;
mod users;
mod values;

/// True in the long tier.
pub(crate) fn is_full() -> bool {
    std::env::var_os("SHOTOVER_FULL").is_some()
}
