//! Numbers inside JSON documents, printed as the server prints them.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use super::reader::{Checked, Fault};

/// The server prints numbers with more digits before the point than this with an exponent.
const WHOLE_DIGITS_MAX: i32 = 15;

/// Writes a signed integer.
pub(crate) fn put_int(number: i64, out: &mut BytesMut) {
    if number < 0 {
        out.put_u8(b'-');
    }
    put_uint(number.unsigned_abs(), out);
}

/// Writes an unsigned integer.
pub(crate) fn put_uint(mut number: u64, out: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
}

/// Writes a double: the fewest digits that read back as the same number, without an exponent where
/// the server prints none, and never looking like an integer.
pub(crate) fn put_double(number: f64, out: &mut BytesMut) -> Checked<()> {
    if !number.is_finite() {
        return Err(Fault::Malformed(
            "is a JSON document with an infinite number",
        ));
    }
    let mut shortest = Shortest::of(number);
    let (count, point) = shortest.take_apart();
    shortest.settle_tie(number, count);
    let digits = &shortest.bytes[..count];
    if number.is_sign_negative() {
        out.put_u8(b'-');
    }
    if point < 1 - WHOLE_DIGITS_MAX || (point > WHOLE_DIGITS_MAX && count as i32 <= point) {
        out.put_u8(digits[0]);
        if count > 1 {
            out.put_u8(b'.');
            out.put_slice(&digits[1..]);
        }
        out.put_u8(b'e');
        put_int(i64::from(point - 1), out);
    } else if point <= 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', point.unsigned_abs() as usize);
        out.put_slice(digits);
    } else {
        let (whole, fraction) = digits.split_at(digits.len().min(point as usize));
        out.put_slice(whole);
        out.put_bytes(b'0', point as usize - whole.len());
        out.put_u8(b'.');
        out.put_slice(if fraction.is_empty() { b"0" } else { fraction });
    }
    Ok(())
}

/// Room for a number of the form `-d.ddde-ddd`, later for its digits alone.
struct Shortest {
    bytes: [u8; 48],
    length: usize,
}

impl std::fmt::Write for Shortest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end);
        room.ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Shortest {
    fn of(number: f64) -> Self {
        Self::written(format_args!("{number:e}"))
    }

    fn written(form: std::fmt::Arguments<'_>) -> Self {
        let mut written = Self {
            bytes: [0; 48],
            length: 0,
        };
        write!(written, "{form}").expect("both forms of a double that are used fit");
        written
    }

    /// Moves the digits to the front, without sign and point; answers with how many there are and
    /// how many of them stand before the point.
    fn take_apart(&mut self) -> (usize, i32) {
        let mut digits = 0;
        let (mut exponent, mut exponent_sign, mut in_exponent) = (0, 1, false);
        for at in 0..self.length {
            match self.bytes[at] {
                b'e' => in_exponent = true,
                b'-' if in_exponent => exponent_sign = -1,
                digit @ b'0'..=b'9' if in_exponent => {
                    exponent = exponent * 10 + i32::from(digit - b'0');
                }
                digit @ b'0'..=b'9' => {
                    self.bytes[digits] = digit;
                    digits += 1;
                }
                _ => {}
            }
        }
        (digits, exponent * exponent_sign + 1)
    }

    /// Rounds to the even digit, as the server does, where two shortest forms are equally near.
    fn settle_tie(&mut self, number: f64, count: usize) {
        // A tie is a number of at most 18 digits, of which the last is a five.
        if count < 15 || self.bytes[count - 1].is_multiple_of(2) {
            return;
        }
        let mut exact = Self::written(format_args!("{number:.35e}"));
        let (exact_count, _) = exact.take_apart();
        let (kept, dropped) = exact.bytes[..exact_count].split_at(count);
        let is_tie = dropped[0] == b'5' && dropped[1..].iter().all(|&digit| digit == b'0');
        if is_tie && kept[count - 1].is_multiple_of(2) {
            self.bytes[..count].copy_from_slice(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(number: f64) -> String {
        let mut out = BytesMut::new();
        put_double(number, &mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn doubles_are_printed_as_the_server_does() {
        // Each of these is what MySQL 9.7 prints for the number.
        for (number, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (-12.5, "-12.5"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (1.5e15, "1.5e15"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1e-14, "0.00000000000001"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (1e100, "1e100"),
            (f64::MAX, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
            (3_269_980_496_978_369.0 / 4.0, "817495124244592.2"),
            (3_269_980_496_978_371.0 / 4.0, "817495124244592.8"),
        ] {
            assert_eq!(double(number), text);
        }
    }

    #[test]
    fn integers_are_printed_to_their_limits() {
        let mut out = BytesMut::new();
        put_int(i64::MIN, &mut out);
        put_uint(u64::MAX, &mut out);
        put_uint(0, &mut out);
        assert_eq!(&out[..], b"-9223372036854775808184467440737095516150");
    }
}
