//! Files that are checked, described and documented.

mod check;
mod docs;
mod schema;
