//! The ends of a chain that talk to servers.
//!
//! Toward the server: requests leave as the bytes they came in. Toward the client: replies are framed, matched with
//! the request they answer, and handed up. Needs decoded: headers; where clients share connections also their handshakes,
//! what statements they send, and what replies say of a connection or a statement.
//! Must hold: a reply that answers no request ends both connections.

mod faults;
mod shared;
mod single;

pub use single::{CassandraSinkSingle, Connections, SINGLE_KIND};
