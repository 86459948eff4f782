//! Bytes as hexadecimal digits.

use std::fmt::{Display, Formatter, Result};

/// Shows bytes as two small digits each.
pub(super) struct Hex<'b>(pub(super) &'b [u8]);

/// Bytes that are shown at once: to format each by itself takes ten times as long.
const PART_BYTES: usize = 32;

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for part in self.0.chunks(PART_BYTES) {
            let mut digits = [0; 2 * PART_BYTES];
            for (pair, byte) in digits.chunks_exact_mut(2).zip(part) {
                pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0x0F)]);
            }
            let digits = digits.get(..part.len().saturating_mul(2)).unwrap_or_default();
            f.write_str(std::str::from_utf8(digits).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// `half`: below 16.
fn digit(half: u8) -> u8 {
    half.saturating_add(if half < 10 { b'0' } else { b'a'.saturating_sub(10) })
}

#[cfg(test)]
mod tests {
    use super::Hex;

    #[test]
    fn every_byte_has_two_digits() {
        let all: Vec<u8> = (0..=255).collect();
        let digits: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        for length in [0, 1, 31, 32, 33, 256] {
            let expected: String = digits.chars().take(2 * length).collect();
            assert_eq!(Hex(&all[..length]).to_string(), expected);
        }
    }
}
