//! PostgreSQL's binary `numeric`: base-10000 digits with a weight, a sign and a display scale.
//!
//! Written straight from decimal text or from integers into the output; nothing is allocated.

use bytes::{BufMut, BytesMut};

const POSITIVE: u16 = 0;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;
/// Digits that the header's sixteen bits can hold on either side of the point, and more than any
/// source has.
const DIGITS_MAX: usize = 16_000;

/// How many digits a column holds on each side of the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Before the point.
    pub(crate) whole: u16,
    /// Behind it.
    pub(crate) fraction: u16,
}

/// Writes decimal text as a `numeric`. Answers `false`, and writes nothing, when the text is no
/// decimal or has more digits than there is room for.
pub(crate) fn put_decimal(text: &str, room: Option<Room>, out: &mut BytesMut) -> bool {
    let special = match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(INFINITY),
        "-Infinity" => Some(NEGATIVE_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        put_header(out, 0, 0, sign, 0);
        return true;
    }
    let Some((negative, whole, fraction)) = split(text.as_bytes()) else {
        return false;
    };
    if whole.len() > DIGITS_MAX || fraction.len() > DIGITS_MAX || !fits(whole, fraction, room) {
        return false;
    }
    put_digits(negative, whole, fraction, out);
    true
}

/// Writes an integer as a `numeric`.
pub(crate) fn put_integer(negative: bool, magnitude: u64, out: &mut BytesMut) {
    let mut groups = [0_u16; 5];
    let (mut rest, mut count) = (magnitude, 0);
    while rest > 0 {
        groups[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let trailing = groups[..count].iter().take_while(|&&group| group == 0);
    let low = trailing.count();
    let sign = if negative { NEGATIVE } else { POSITIVE };
    let weight = if count == 0 { 0 } else { count as i16 - 1 };
    put_header(out, (count - low) as u16, weight, sign, 0);
    for &group in groups[low..count].iter().rev() {
        out.put_u16(group);
    }
}

/// Splits into sign, whole digits without leading zeros, and digits of the fraction.
fn split(text: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let point = digits.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    let all_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if digits.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let leading = whole.iter().take_while(|&&digit| digit == b'0').count();
    Some((negative, &whole[leading..], fraction))
}

fn fits(whole: &[u8], fraction: &[u8], room: Option<Room>) -> bool {
    let Some(room) = room else { return true };
    let beyond = fraction.get(usize::from(room.fraction)..).unwrap_or(&[]);
    whole.len() <= usize::from(room.whole) && beyond.iter().all(|&digit| digit == b'0')
}

fn put_digits(negative: bool, whole: &[u8], fraction: &[u8], out: &mut BytesMut) {
    let header = out.len();
    let mut weight = whole.len().div_ceil(4) as i16 - 1;
    put_header(out, 0, 0, 0, fraction.len() as u16);
    let start = out.len();
    let (first, full) = whole.split_at(whole.len() % 4);
    if !first.is_empty() {
        out.put_u16(group(first));
    }
    for four in full.chunks_exact(4) {
        out.put_u16(group(four));
    }
    for four in fraction.chunks(4) {
        // A last short group stands for its digits followed by zeros.
        let missing = 4 - four.len() as u32;
        let group = group(four) * 10_u16.pow(missing);
        if out.len() == start && group == 0 {
            weight -= 1;
        } else {
            out.put_u16(group);
        }
    }
    while out.len() > start && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
    let count = ((out.len() - start) / 2) as u16;
    if count == 0 {
        weight = 0;
    }
    let sign = if negative && count > 0 {
        NEGATIVE
    } else {
        POSITIVE
    };
    out[header..header + 2].copy_from_slice(&count.to_be_bytes());
    out[header + 2..header + 4].copy_from_slice(&weight.to_be_bytes());
    out[header + 4..header + 6].copy_from_slice(&sign.to_be_bytes());
}

fn group(digits: &[u8]) -> u16 {
    digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
}

fn put_header(out: &mut BytesMut, count: u16, weight: i16, sign: u16, scale: u16) {
    out.reserve(8);
    out.put_u16(count);
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<u16> {
        let mut out = BytesMut::new();
        assert!(put_decimal(text, None, &mut out), "{text}");
        out.chunks(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect()
    }

    #[test]
    fn decimals_become_groups_of_four_digits() {
        assert_eq!(words("0"), [0, 0, 0, 0]);
        assert_eq!(words("-0.00"), [0, 0, 0, 2]);
        assert_eq!(words("12345.678"), [3, 1, 0, 3, 1, 2345, 6780]);
        assert_eq!(words("-10000"), [1, 1, NEGATIVE, 0, 1]);
        assert_eq!(words("0.00001234"), [1, (-2_i16) as u16, 0, 8, 1234]);
        assert_eq!(words("0.0500"), [1, u16::MAX, 0, 4, 500]);
        assert_eq!(words("100.10"), [2, 0, 0, 2, 100, 1000]);
    }

    #[test]
    fn integers_equal_their_decimal_text() {
        for number in [0, 1, 9_999, 10_000, 20_000_000, 123_456_789, u64::MAX] {
            let (mut from_integer, mut from_text) = (BytesMut::new(), BytesMut::new());
            put_integer(true, number, &mut from_integer);
            assert!(put_decimal(&format!("-{number}"), None, &mut from_text));
            if number > 0 {
                assert_eq!(from_integer, from_text, "{number}");
            }
        }
    }

    #[test]
    fn what_is_no_decimal_or_has_no_room_is_refused() {
        let mut out = BytesMut::new();
        for text in ["", "-", "1e5", "1.2.3", "abc"] {
            assert!(!put_decimal(text, None, &mut out), "{text}");
        }
        let room = Some(Room {
            whole: 3,
            fraction: 1,
        });
        assert!(put_decimal("0999.50", room, &mut out));
        assert!(!put_decimal("1000.5", room, &mut out));
        assert!(!put_decimal("999.55", room, &mut out));
    }
}
