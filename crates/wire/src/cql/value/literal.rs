//! Values as CQL writes them. What has no literal is shown by its nearest: bytes of an unknown type as a blob.

use std::fmt::{self, Formatter};

use super::Value;
use crate::cql::hex::Hex;
use crate::limits::VARINT_TEXT_BYTES_MAX;

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Unset => f.write_str("UNSET"),
            Self::Empty => f.write_str("''"),
            Self::Ascii(text) | Self::Varchar(text) => quoted(f, text, '\''),
            Self::BigInt(number) | Self::Counter(number) => write!(f, "{number}"),
            Self::Blob(bytes) | Self::Unknown(bytes) => hex(f, bytes),
            Self::Boolean(is_true) => write!(f, "{is_true}"),
            Self::Decimal { scale, unscaled } => decimal(f, *scale, unscaled),
            Self::Double(number) => float(f, *number, format_args!("{number:?}")),
            Self::Float(number) => float(f, f64::from(*number), format_args!("{number:?}")),
            Self::Int(number) => write!(f, "{number}"),
            Self::Timestamp(milliseconds) => timestamp(f, *milliseconds),
            Self::Uuid(uuid) | Self::Timeuuid(uuid) => uuid_text(f, uuid),
            Self::Varint(bytes) => match digits(bytes) {
                Some((is_negative, digits)) => write!(f, "{}{digits}", if is_negative { "-" } else { "" }),
                None => hex(f, bytes),
            },
            Self::Inet(address) => write!(f, "'{address}'"),
            Self::Date(days) => match calendar(i64::from(*days).saturating_sub(1 << 31)) {
                Some((year, month, day)) => write!(f, "'{year:04}-{month:02}-{day:02}'"),
                None => write!(f, "{days}"),
            },
            Self::Time(nanoseconds) => time(f, *nanoseconds),
            Self::SmallInt(number) => write!(f, "{number}"),
            Self::TinyInt(number) => write!(f, "{number}"),
            Self::Duration { months, days, nanoseconds } => duration(f, *months, *days, *nanoseconds),
            Self::List(values) | Self::Vector(values) => {
                separated(f, ('[', ']'), values, |f, value| value.fmt(f))
            }
            Self::Set(values) => separated(f, ('{', '}'), values, |f, value| value.fmt(f)),
            Self::Map(pairs) => {
                separated(f, ('{', '}'), pairs, |f, (key, value)| write!(f, "{key}: {value}"))
            }
            Self::Tuple(values) => separated(f, ('(', ')'), values, |f, value| value.fmt(f)),
            Self::Udt(fields) => separated(f, ('{', '}'), fields, |f, (name, value)| {
                identifier(f, name)?;
                write!(f, ": {value}")
            }),
        }
    }
}

fn separated<T>(
    f: &mut Formatter<'_>,
    (open, close): (char, char),
    all: &[T],
    mut each: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    write!(f, "{open}")?;
    for (index, one) in all.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        each(f, one)?;
    }
    write!(f, "{close}")
}

/// Text between quotes, those inside it doubled.
fn quoted(f: &mut Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    write!(f, "{quote}")?;
    for (index, part) in text.split(quote).enumerate() {
        if index > 0 {
            write!(f, "{quote}{quote}")?;
        }
        f.write_str(part)?;
    }
    write!(f, "{quote}")
}

/// A name, between quotes unless it is one that CQL reads as it stands.
fn identifier(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain { f.write_str(name) } else { quoted(f, name, '"') }
}

fn hex(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    write!(f, "0x{}", Hex(bytes))
}

fn uuid_text(f: &mut Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// CQL has words for what is no number.
fn float(f: &mut Formatter<'_>, number: f64, digits: fmt::Arguments<'_>) -> fmt::Result {
    if number.is_nan() {
        f.write_str("NaN")
    } else if number.is_infinite() {
        f.write_str(if number < 0.0 { "-Infinity" } else { "Infinity" })
    } else {
        f.write_fmt(digits)
    }
}

/// The sign and the decimal digits of a varint; `None` if they would be too many.
fn digits(bytes: &[u8]) -> Option<(bool, String)> {
    const BILLION: u64 = 1_000_000_000;
    if bytes.len() > VARINT_TEXT_BYTES_MAX {
        return None;
    }
    let is_negative = bytes.first().is_some_and(|first| first >> 7 == 1);
    // Nine digits each, the lowest first.
    let mut limbs: Vec<u64> = vec![0];
    let multiply_add = |limbs: &mut Vec<u64>, factor: u64, plus: u64| {
        let mut carry = plus;
        for limb in limbs.iter_mut() {
            let sum = limb.wrapping_mul(factor).wrapping_add(carry);
            (*limb, carry) = (sum % BILLION, sum / BILLION);
        }
        if carry > 0 {
            limbs.push(carry);
        }
    };
    for byte in bytes {
        let magnitude = if is_negative { !byte } else { *byte };
        multiply_add(&mut limbs, 256, u64::from(magnitude));
    }
    if is_negative {
        // Two's complement: -x is !x + 1.
        multiply_add(&mut limbs, 1, 1);
    }
    let mut text = String::new();
    for limb in limbs.iter().rev() {
        let part = if text.is_empty() { limb.to_string() } else { format!("{limb:09}") };
        text.push_str(&part);
    }
    Some((is_negative, text))
}

/// As Java and Python write it: with an exponent where the point is far from the digits.
fn decimal(f: &mut Formatter<'_>, scale: i32, unscaled: &[u8]) -> fmt::Result {
    let Some((is_negative, digits)) = digits(unscaled) else {
        hex(f, unscaled)?;
        return write!(f, "E-({scale})");
    };
    if is_negative {
        f.write_str("-")?;
    }
    let scale = i64::from(scale);
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let exponent = count.saturating_sub(1).saturating_sub(scale);
    if scale >= 0 && exponent >= -6 {
        let point = usize::try_from(count.saturating_sub(scale)).unwrap_or(0);
        return match digits.split_at_checked(point) {
            Some((whole, "")) => f.write_str(whole),
            Some(("", fraction)) => {
                let zeros = usize::try_from(scale.saturating_sub(count)).unwrap_or(0);
                write!(f, "0.{}{fraction}", "0".repeat(zeros))
            }
            Some((whole, fraction)) => write!(f, "{whole}.{fraction}"),
            None => f.write_str(&digits),
        };
    }
    let (first, rest) = digits.split_at_checked(1).unwrap_or((&digits, ""));
    let point = if rest.is_empty() { "" } else { "." };
    write!(f, "{first}{point}{rest}E{exponent:+}")
}

/// Year, month and day of a number of days since 1970, in the years that CQL's dates have four digits for.
fn calendar(days: i64) -> Option<(i64, i64, i64)> {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    // Counted from 0000-03-01, so that the day that is not always there is the last of its year.
    let days = days.checked_add(719_468)?;
    let era = days.div_euclid(DAYS_OF_400_YEARS);
    let day_of_era = days.rem_euclid(DAYS_OF_400_YEARS);
    let leap_days = [(1460, -1_i64), (36_524, 1), (146_096, -1)];
    let counted = leap_days.iter().fold(day_of_era, |sum, (every, sign)| {
        sum.saturating_add(sign.saturating_mul(day_of_era.checked_div(*every).unwrap_or(0)))
    });
    let year_of_era = counted.div_euclid(365);
    let before = year_of_era
        .saturating_mul(365)
        .saturating_add(year_of_era.div_euclid(4))
        .saturating_sub(year_of_era.div_euclid(100));
    let day_of_year = day_of_era.saturating_sub(before);
    // Months of March to February: 153 days each five.
    let month = day_of_year.saturating_mul(5).saturating_add(2).div_euclid(153);
    let first = month.saturating_mul(153).saturating_add(2).div_euclid(5);
    let day = day_of_year.saturating_sub(first).saturating_add(1);
    let month = if month < 10 { month.saturating_add(3) } else { month.saturating_sub(9) };
    let year = era.saturating_mul(400).saturating_add(year_of_era).saturating_add(i64::from(month <= 2));
    (0..=9999).contains(&year).then_some((year, month, day))
}

fn timestamp(f: &mut Formatter<'_>, milliseconds: i64) -> fmt::Result {
    const DAY: i64 = 86_400_000;
    let Some((year, month, day)) = calendar(milliseconds.div_euclid(DAY)) else {
        return write!(f, "{milliseconds}");
    };
    let rest = milliseconds.rem_euclid(DAY);
    let (seconds, milliseconds) = (rest.div_euclid(1000), rest.rem_euclid(1000));
    write!(f, "'{year:04}-{month:02}-{day:02} ")?;
    clock(f, seconds)?;
    write!(f, ".{milliseconds:03}Z'")
}

fn clock(f: &mut Formatter<'_>, seconds: i64) -> fmt::Result {
    let minutes = seconds.div_euclid(60);
    write!(f, "{:02}:{:02}:{:02}", minutes.div_euclid(60), minutes.rem_euclid(60), seconds.rem_euclid(60))
}

fn time(f: &mut Formatter<'_>, nanoseconds: i64) -> fmt::Result {
    const SECOND: i64 = 1_000_000_000;
    if !(0..SECOND.saturating_mul(86_400)).contains(&nanoseconds) {
        return write!(f, "{nanoseconds}");
    }
    f.write_str("'")?;
    clock(f, nanoseconds.div_euclid(SECOND))?;
    write!(f, ".{:09}'", nanoseconds.rem_euclid(SECOND))
}

/// One sign stands for all three parts; CQL knows no other durations.
fn duration(f: &mut Formatter<'_>, months: i32, days: i32, nanoseconds: i64) -> fmt::Result {
    let sign = if months < 0 || days < 0 || nanoseconds < 0 { "-" } else { "" };
    write!(f, "{sign}{}mo{}d{}ns", months.unsigned_abs(), days.unsigned_abs(), nanoseconds.unsigned_abs())
}
