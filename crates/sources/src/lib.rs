//! The client loop, and what each protocol wants of it.
//!
//! Toward the server: the client's bytes are cut into requests and submitted to its chain. Toward the client: what
//! the chain delivers is written. Needs decoded: headers.
//! Must hold: no socket, clock or runtime type in here; epoll and the simulator drive the same code.

mod client;
mod end;
mod exit;
mod login;
mod patience;
mod rules;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use end::End;
pub use rules::Rules;
