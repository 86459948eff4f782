//! Sockets, acceptor, workers.
//!
//! Accepted sockets go to one worker each; a worker is a thread with a loop of its own. Knows no
//! frames: what a client's bytes mean is the business of whoever is handed the socket.
//! Must hold: nothing on a worker blocks, and no error of one socket ends anything but that socket.

mod clock;
mod connect;
mod descriptors;
mod listener;
mod place;
mod reactor;
mod resolve;
mod spawner;
mod tcp;
#[cfg(test)]
mod tests;
mod worker;

pub use clock::Clock;
pub use connect::TcpConnector;
pub use descriptors::raise_descriptor_limit;
pub use listener::{Bound, Listening, bind, listen};
pub use place::{Counts, Place};
pub use reactor::Handle;
pub use resolve::Resolver;
pub use spawner::{LocalSpawner, Timed};
pub use tcp::Tcp;
pub use worker::{Accepted, Drain, DrainSeat, Seat, Serve, Workers};
