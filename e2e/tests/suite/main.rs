//! One test binary; a module a subject.

#![expect(clippy::disallowed_methods, reason = "tests wait in real time, on threads of their own")]

mod budgets;
mod faults;
mod flow;
mod lifecycle;
mod real_cassandra;
mod relay;
mod restarts;
mod scylla;
mod users;
mod values;

/// True in the long tier.
pub(crate) fn is_full() -> bool {
    std::env::var_os("SHOTOVER_FULL").is_some()
}
