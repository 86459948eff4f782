//! Bytes as hexadecimal digits.

use std::fmt::{Display, Formatter, Result};

/// Shows bytes as two small digits each.
pub(super) struct Hex<'b>(pub(super) &'b [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
