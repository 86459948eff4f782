//! Seeded simulation: the real client loop, chain and sink between simulated applications and servers.
//!
//! The simulator is the program `sim`; here is what counts the cost of the same loop without any socket.

pub mod counted;
