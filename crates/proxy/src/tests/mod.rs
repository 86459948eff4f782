//! Files that are checked, described and documented.

mod admin;
mod check;
mod docs;
mod schema;
