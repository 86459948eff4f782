//! What a test has counted, said so that a page can be made of it.

use std::fmt::Display;

/// What stands in front of such a line.
pub const COUNTED: &str = "counted | ";

/// Says what was counted, for the page that `cargo xtask counted` writes. `at_most` is what the test holds it against.
pub fn counted(what: &str, figure: impl Display, at_most: impl Display) {
    println!("{COUNTED}{what} | {figure} | {at_most}");
}
