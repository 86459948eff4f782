//! Scripted peers, mock servers, real servers' runners, and how a chore reads its options.
//!
//! Blocking and std-only: what tests need besides the proxy itself. Everything that is started here is stopped when
//! its handle is dropped, and when the process that holds the handle is killed.

#![expect(clippy::disallowed_methods, reason = "tests wait in real time, on threads of their own")]

mod cassandra;
mod checkout;
mod counted;
mod fetch;
mod guard;
mod options;
mod process;
mod proxy;
pub mod scripted;
mod stress;

pub use cassandra::{Authenticator, Cassandra, stress};
pub use checkout::{commit, git};
pub use counted::{COUNTED, counted};
pub use fetch::{CASSANDRA, Missing, java_driver, servers_folder, workspace};
pub use guard::Scratch;
pub use options::Options;
pub use process::{Child, free_port};
pub use proxy::Proxy;
pub use stress::{COUNTED_THREADS, Stress, Summary, UNCOUNTED_THREADS, mean};
