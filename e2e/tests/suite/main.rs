//! One test binary; a module a subject.

mod budgets;
mod faults;
mod flow;
mod lifecycle;

/// True in the long tier.
fn is_full() -> bool {
    std::env::var_os("SHOTOVER_FULL").is_some()
}
