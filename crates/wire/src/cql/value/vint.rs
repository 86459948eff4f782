//! \[unsigned vint\] and \[vint\] (native protocol v5, section 3; Cassandra uses them inside values in every version): the
//! first byte begins with as many ones as bytes follow it.

/// Bytes of the shortest form, the first one included.
fn bytes_of(value: u64) -> usize {
    let bits = u64::BITS.saturating_sub((value | 1).leading_zeros());
    // 7 bits a byte, but the ninth byte costs no bit any more.
    usize::try_from(bits.saturating_add(6) / 7).unwrap_or(9).min(9)
}

/// The first number of `bytes`, and what follows it; `None` if it is cut off, or not in its shortest form.
pub(super) fn unsigned(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let ones = first.leading_ones();
    let more_bytes = usize::try_from(ones).ok()?;
    let (more, rest) = rest.split_at_checked(more_bytes)?;
    let mask = u8::MAX.checked_shr(ones).unwrap_or(0);
    let value = more.iter().fold(u64::from(first & mask), |value, byte| (value << 8) | u64::from(*byte));
    (bytes_of(value) == more_bytes.saturating_add(1)).then_some((value, rest))
}

/// The bytes of a number, and how many of them count, from the end.
fn shortest(value: u64) -> ([u8; 9], usize) {
    let count = bytes_of(value);
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    let mut bytes = [0, a, b, c, d, e, f, g, h];
    let start = bytes.len().saturating_sub(count);
    let ones = u32::try_from(count.saturating_sub(1)).unwrap_or(8);
    if let Some(first) = bytes.get_mut(start) {
        *first |= !u8::MAX.checked_shr(ones).unwrap_or(0);
    }
    (bytes, start)
}

/// Hands the bytes of a number to `write`.
pub(super) fn write_unsigned(value: u64, write: impl FnOnce(&[u8])) {
    let (bytes, start) = shortest(value);
    write(bytes.get(start..).unwrap_or_default());
}

/// As [`unsigned`], with the sign in the lowest bit.
pub(super) fn signed(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (folded, rest) = unsigned(bytes)?;
    let sign = (folded & 1).wrapping_neg();
    Some((((folded >> 1) ^ sign).cast_signed(), rest))
}

/// As [`write_unsigned`], with the sign in the lowest bit.
pub(super) fn write_signed(value: i64, write: impl FnOnce(&[u8])) {
    write_unsigned((value.wrapping_shl(1) ^ value.wrapping_shr(63)).cast_unsigned(), write);
}
