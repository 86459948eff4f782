//! The `shotover-proxy` program.
fn main() {}
