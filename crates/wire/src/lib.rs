//! Bytes to frames and back, for each protocol; limits, and what is wrong with malformed bytes.
//!
//! Frames are judged by their header alone and stay where they are; views read a body when somebody asks.
//! Knows no sockets, clock, runtime or log.
//! Must hold: no byte of a peer can panic, recurse, or reserve memory by a number it merely declares.

#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod cql;
mod error;
pub mod limits;
mod protocol;
mod reader;

pub use error::{Malformed, Reason};
pub use protocol::{
    ConnectionState, ErrorKind, Framed, Head, Outlined, Protocol, QueryType, Side, Source, Sourced,
};
pub use reader::{Raw, Reader};
