//! A real Cassandra behind the proxy.
fn placeholder() {}
