//! Files that are checked, described and documented.

mod admin;
mod check;
mod docs;
mod metrics;
mod schema;
