//! MySQL's packed decimals as text.
//!
//! Digits are packed nine to a big-endian 4-byte group from the point outwards, a shorter group at
//! either end; the first bit is the inverted sign, and a negative number has all bits inverted.

use super::reader::{Checked, Fault, Reader};

/// Bytes that a group of 0 to 9 digits takes.
const GROUP_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// A column has 65 digits at most, but inside a JSON document the server counts whole groups: a
/// `decimal(65,30)` there may say that it has 66 digits.
const DIGITS_MAX: u8 = 81;
/// The longest packed value: nine whole groups.
const PACKED_BYTES_MAX: usize = 40;
/// The longest text: sign, digits, point, and a zero before it.
const TEXT_BYTES_MAX: usize = 88;

/// How a decimal column's values are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecimalLayout {
    whole_digits: u8,
    fraction_digits: u8,
    size_bytes: u8,
}

impl DecimalLayout {
    /// The layout of `decimal(precision, scale)`.
    pub(crate) fn new(precision: u8, scale: u8) -> Checked<Self> {
        if precision > DIGITS_MAX || scale > 30 || scale > precision {
            return Err(Fault::Malformed("has an impossible decimal precision"));
        }
        let whole_digits = precision - scale;
        Ok(Self {
            whole_digits,
            fraction_digits: scale,
            size_bytes: (packed_bytes(whole_digits) + packed_bytes(scale)) as u8,
        })
    }

    /// How many bytes a packed value takes.
    pub(crate) fn size_bytes(self) -> usize {
        usize::from(self.size_bytes)
    }

    /// Reads a packed value and writes its text, with the full scale, into `text`.
    pub(crate) fn read<'t>(
        self,
        reader: &mut Reader<'_>,
        text: &'t mut DecimalText,
    ) -> Checked<&'t str> {
        let packed = reader.take(self.size_bytes())?;
        let Some(&first) = packed.first() else {
            return Err(Fault::Malformed("is a decimal without digits"));
        };
        let negative = first & 0x80 == 0;
        let mask = if negative { 0xff } else { 0 };
        let mut bytes = [0; PACKED_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(packed) {
            *to = from ^ mask;
        }
        bytes[0] ^= 0x80;
        text.begin();
        let mut groups = Groups {
            bytes: &bytes,
            nonzero: false,
        };
        let (whole, fraction) = (self.whole_digits, self.fraction_digits);
        groups.read(whole % 9, text)?;
        for _ in 0..whole / 9 {
            groups.read(9, text)?;
        }
        text.trim_leading_zeros();
        if fraction > 0 {
            text.push(b'.');
            for _ in 0..fraction / 9 {
                groups.read(9, text)?;
            }
            groups.read(fraction % 9, text)?;
        }
        Ok(text.finish(negative && groups.nonzero))
    }
}

fn packed_bytes(digits: u8) -> usize {
    usize::from(digits / 9) * 4 + GROUP_BYTES[usize::from(digits % 9)]
}

struct Groups<'a> {
    bytes: &'a [u8],
    nonzero: bool,
}

impl Groups<'_> {
    fn read(&mut self, digits: u8, text: &mut DecimalText) -> Checked<()> {
        if digits == 0 {
            return Ok(());
        }
        let (group, rest) = self.bytes.split_at(GROUP_BYTES[usize::from(digits)]);
        self.bytes = rest;
        let number = group
            .iter()
            .fold(0_u32, |number, &byte| number << 8 | u32::from(byte));
        if number >= 10_u32.pow(u32::from(digits)) {
            return Err(Fault::Malformed("is a decimal with impossible digits"));
        }
        self.nonzero |= number != 0;
        text.push_digits(number, usize::from(digits));
        Ok(())
    }
}

/// Room for a decimal's text; a place is kept before it for the sign.
#[derive(Debug)]
pub(crate) struct DecimalText {
    bytes: [u8; TEXT_BYTES_MAX],
    start: usize,
    end: usize,
}

impl DecimalText {
    /// Empty room.
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; TEXT_BYTES_MAX],
            start: 2,
            end: 2,
        }
    }

    fn begin(&mut self) {
        self.start = 2;
        self.end = 2;
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.end] = byte;
        self.end += 1;
    }

    fn push_digits(&mut self, mut number: u32, digits: usize) {
        for place in self.bytes[self.end..self.end + digits].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.end += digits;
    }

    fn trim_leading_zeros(&mut self) {
        while self.start < self.end && self.bytes[self.start] == b'0' {
            self.start += 1;
        }
        if self.start == self.end {
            self.start -= 1;
            self.bytes[self.start] = b'0';
        }
    }

    fn finish(&mut self, negative: bool) -> &str {
        if negative {
            self.start -= 1;
            self.bytes[self.start] = b'-';
        }
        std::str::from_utf8(&self.bytes[self.start..self.end])
            .expect("only ASCII is written into the text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(precision: u8, scale: u8, packed: &[u8]) -> String {
        let layout = DecimalLayout::new(precision, scale).unwrap();
        assert_eq!(layout.size_bytes(), packed.len());
        layout
            .read(&mut Reader::new(packed), &mut DecimalText::new())
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_reference_manual_s_example_is_read() {
        // 1234567890.1234 as decimal(14,4), from the comment of decimal2bin.
        let packed = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(decode(14, 4, &packed), "1234567890.1234");
        let inverted: Vec<u8> = packed.iter().map(|byte| !byte).collect();
        assert_eq!(decode(14, 4, &inverted), "-1234567890.1234");
    }

    #[test]
    fn zeros_keep_their_scale_and_lose_their_sign() {
        assert_eq!(decode(5, 2, &[0x80, 0, 0]), "0.00");
        assert_eq!(decode(5, 2, &[0x7f, 0xff, 0xff]), "0.00");
        assert_eq!(decode(2, 2, &[0x80 | 7]), "0.07");
        assert_eq!(decode(3, 0, &[0x80, 12]), "12");
    }

    #[test]
    fn impossible_layouts_and_digits_are_faults() {
        assert!(DecimalLayout::new(82, 0).is_err());
        assert!(DecimalLayout::new(10, 11).is_err());
        let layout = DecimalLayout::new(1, 0).unwrap();
        let mut text = DecimalText::new();
        assert!(
            layout
                .read(&mut Reader::new(&[0x80 | 0x63]), &mut text)
                .is_err()
        );
    }
}
