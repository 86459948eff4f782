//! The ends of a chain that talk to servers.
//!
//! Toward the server: requests leave as the bytes they came in. Toward the client: replies are framed, matched with
//! the request they answer, and handed up. Needs decoded: headers.
//! Must hold: a reply that answers no request ends both connections.

mod shared;
mod single;

pub use single::{CassandraSinkSingle, Connections, SINGLE_KIND};
