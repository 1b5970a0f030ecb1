//! Numbers and times in the forms that records use.

use num_bigint::BigInt;
use sluice_core::value::{MICROS_PER_DAY, civil_from_days, days_from_civil};

/// Calls `take` with the big-endian two's complement of a decimal's digits, shortest form, as Java's
/// `BigDecimal.unscaledValue().toByteArray()`. Gives nothing where the text isn't a decimal of at
/// most `scale` digits behind the point.
pub(crate) fn with_unscaled<T>(text: &str, scale: u16, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut fraction = None;
    let mut count = 0;
    let mut value: i128 = 0;
    for &byte in digits {
        match byte {
            b'.' if fraction.is_none() => fraction = Some(0),
            b'0'..=b'9' => {
                if let Some(behind) = &mut fraction {
                    *behind += 1;
                }
                count += 1;
                if count <= 38 {
                    value = value * 10 + i128::from(byte - b'0');
                }
            }
            _ => return None,
        }
    }
    let missing = scale.checked_sub(fraction.unwrap_or(0))?;
    if count == 0 {
        return None;
    }
    if count + usize::from(missing) > 38 {
        return big_unscaled(text, missing).map(|bytes| take(&bytes));
    }
    value *= 10_i128.pow(u32::from(missing));
    let bytes = if negative { -value } else { value }.to_be_bytes();
    Some(take(shortest(&bytes)))
}

/// Like [`with_unscaled`], into a buffer of its own.
pub(crate) fn unscaled(text: &str, scale: u16) -> Option<Vec<u8>> {
    with_unscaled(text, scale, <[u8]>::to_vec)
}

fn big_unscaled(text: &str, missing: u16) -> Option<Vec<u8>> {
    let mut digits = text.replace('.', "");
    digits.extend(std::iter::repeat_n('0', usize::from(missing)));
    Some(digits.parse::<BigInt>().ok()?.to_signed_bytes_be())
}

/// Leaves away leading bytes that say nothing about a two's complement number.
pub(crate) fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let redundant = (*first == 0 && *second < 0x80) || (*first == 0xff && *second >= 0x80);
        if !redundant {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

/// Reads a big-endian two's complement number that fits.
pub(crate) fn small_integer(bytes: &[u8]) -> Option<i128> {
    if bytes.len() > 16 {
        return None;
    }
    let negative = bytes.first().is_some_and(|&byte| byte >= 0x80);
    let mut full = [if negative { 0xff } else { 0 }; 16];
    full[16 - bytes.len()..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(full))
}

/// Writes an unscaled number as a decimal with exactly `scale` digits behind the point.
pub(crate) fn decimal_text(bytes: &[u8], scale: i32, out: &mut String) {
    out.clear();
    match small_integer(bytes) {
        Some(value) => out.push_str(itoa::Buffer::new().format(value)),
        None => out.push_str(&BigInt::from_signed_bytes_be(bytes).to_string()),
    }
    if scale < 0 {
        if out != "0" {
            out.extend(std::iter::repeat_n('0', scale.unsigned_abs() as usize));
        }
        return;
    }
    let scale = scale as usize;
    if scale == 0 {
        return;
    }
    let sign = usize::from(out.starts_with('-'));
    let digits = out.len() - sign;
    if digits <= scale {
        let zeros = "0".repeat(scale - digits + 1);
        out.insert_str(sign, &zeros);
    }
    out.insert(out.len() - scale, '.');
}

/// Brings a decimal's text to exactly `scale` digits behind the point; `None` where it has more or
/// is no plain decimal.
pub(crate) fn scaled_text(text: &str, scale: i32, out: &mut String) -> Option<()> {
    let scale = u16::try_from(scale).ok()?;
    let plain = plain_decimal(text)?;
    let bytes = unscaled(&plain, scale)?;
    decimal_text(&bytes, i32::from(scale), out);
    Some(())
}

/// A decimal without an exponent and without zeros at the end of its fraction beyond need.
fn plain_decimal(text: &str) -> Option<String> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if exponent.unsigned_abs() > 1_000 {
        return None;
    }
    let mut all = format!("{whole}{fraction}");
    let mut point = whole.len() as i32 + exponent;
    while point < 0 {
        all.insert(0, '0');
        point += 1;
    }
    while (all.len() as i32) < point {
        all.push('0');
    }
    let (whole, fraction) = all.split_at(point as usize);
    let fraction = fraction.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(
        format!("{sign}{whole}.{fraction}")
            .trim_end_matches('.')
            .to_owned(),
    )
}

/// Text of a fixed room, for what is written without an allocation.
#[derive(Debug)]
pub(crate) struct Small {
    bytes: [u8; 64],
    length: usize,
}

impl Small {
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; 64],
            length: 0,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("only ASCII is pushed")
    }

    fn push(&mut self, byte: u8) {
        if self.length < self.bytes.len() {
            self.bytes[self.length] = byte;
            self.length += 1;
        }
    }

    fn number(&mut self, value: u64, width: usize) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(value).as_bytes();
        for _ in digits.len()..width {
            self.push(b'0');
        }
        for &digit in digits {
            self.push(digit);
        }
    }
}

/// A moment as Debezium's `ZonedTimestamp` writes a column of `precision` digits.
pub(crate) fn zoned_timestamp(micros: i64, precision: u8) -> Small {
    let mut text = Small::new();
    let days = micros.div_euclid(MICROS_PER_DAY) as i32;
    let rest = micros.rem_euclid(MICROS_PER_DAY) as u64;
    let (year, month, day) = civil_from_days(days);
    if year < 0 {
        text.push(b'-');
    } else if year > 9999 {
        text.push(b'+');
    }
    text.number(u64::from(year.unsigned_abs()), 4);
    text.push(b'-');
    text.number(u64::from(month), 2);
    text.push(b'-');
    text.number(u64::from(day), 2);
    text.push(b'T');
    let seconds = rest / 1_000_000;
    text.number(seconds / 3600, 2);
    text.push(b':');
    text.number(seconds / 60 % 60, 2);
    text.push(b':');
    text.number(seconds % 60, 2);
    let fraction = rest % 1_000_000;
    let mut digits = usize::from(precision.min(6));
    while !fraction.is_multiple_of(10_u64.pow(6 - digits as u32)) {
        digits += 1;
    }
    if digits > 0 {
        text.push(b'.');
        text.number(fraction / 10_u64.pow(6 - digits as u32), digits);
    }
    text.push(b'Z');
    text
}

/// Reads an ISO 8601 date and time, with or without an offset, as microseconds in UTC.
pub(crate) fn iso_timestamp(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let days = iso_date(date)?;
    let (time, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], iso_offset(&time[at..])?),
        None => (time, 0),
    };
    let day = i64::from(days).checked_mul(MICROS_PER_DAY)?;
    day.checked_add(iso_time(time)?)?.checked_sub(offset)
}

/// Reads an ISO 8601 date as days since 1970.
pub(crate) fn iso_date(text: &str) -> Option<i32> {
    let text = text.trim_end_matches('Z');
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.trim_start_matches('+')),
    };
    let mut parts = rest.splitn(3, '-').map(str::parse::<u32>);
    let year: i32 = parts.next()?.ok()?.try_into().ok()?;
    let (month, day) = (parts.next()?.ok()?, parts.next()?.ok()?);
    days_from_civil(sign * year, month, day)
}

/// Reads `hh:mm[:ss[.fraction]]`, with any number of hours and an optional sign, as microseconds.
pub(crate) fn iso_time(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.trim_end_matches('Z')),
    };
    let mut parts = text.splitn(3, ':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let (seconds, fraction) = match parts.next() {
        Some(rest) => rest.split_once('.').unwrap_or((rest, "")),
        None => ("0", ""),
    };
    let seconds: i64 = seconds.parse().ok()?;
    let mut micros = 0;
    let mut unit = 100_000;
    for digit in fraction.bytes() {
        if !digit.is_ascii_digit() {
            return None;
        }
        micros += i64::from(digit - b'0') * unit;
        unit /= 10;
    }
    let total = hours
        .checked_mul(3_600)?
        .checked_add(minutes * 60 + seconds)?;
    Some(sign * (total.checked_mul(1_000_000)? + micros))
}

fn iso_offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'Z' => return Some(0),
        b'-' => -1,
        _ => 1,
    };
    let digits = text[1..].replace(':', "");
    let digits = digits.split('[').next()?;
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..4).map_or(Ok(0), str::parse).ok()?;
    Some(sign * (hours * 60 + minutes) * 60_000_000)
}

/// A span as Debezium's `Interval` writes it, `P1Y2M3DT4H5M6.5S`.
pub(crate) fn interval_text(months: i32, days: i32, micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, (micros % 1_000_000).unsigned_abs());
    let sign = if micros < 0 && seconds % 60 == 0 && fraction > 0 {
        "-"
    } else {
        ""
    };
    let mut text = format!(
        "P{}Y{}M{days}DT{}H{}M{sign}{}",
        months / 12,
        months % 12,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    );
    if fraction > 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    text.push('S');
    text
}

/// Reads an ISO 8601 span as months, days and microseconds.
pub(crate) fn interval(text: &str) -> Option<(i32, i32, i64)> {
    let (date, time) = text
        .strip_prefix('P')?
        .split_once('T')
        .unwrap_or((&text[1..], ""));
    let (mut months, mut days, mut micros) = (0_i64, 0_i64, 0_i64);
    for (part, units, is_date) in [(date, "YMWD", true), (time, "HMS", false)] {
        let mut rest = part;
        while !rest.is_empty() {
            let end = rest.find(|character: char| character.is_ascii_alphabetic())?;
            let (number, unit) = (&rest[..end], rest.as_bytes()[end]);
            if !units.as_bytes().contains(&unit) {
                return None;
            }
            rest = &rest[end + 1..];
            if unit == b'S' {
                let (negative, number) = match number.strip_prefix('-') {
                    Some(number) => (true, number),
                    None => (false, number),
                };
                let value = iso_time(&format!("0:0:{number}"))?;
                micros += if negative { -value } else { value };
                continue;
            }
            let number: i64 = number.parse().ok()?;
            match (unit, is_date) {
                (b'Y', _) => months += number.checked_mul(12)?,
                (b'M', true) => months += number,
                (b'W', _) => days += number.checked_mul(7)?,
                (b'D', _) => days += number,
                (b'H', _) => micros = micros.checked_add(number.checked_mul(3_600_000_000)?)?,
                _ => micros = micros.checked_add(number.checked_mul(60_000_000)?)?,
            }
        }
    }
    Some((months.try_into().ok()?, days.try_into().ok()?, micros))
}

/// Reads a UUID's text.
pub(crate) fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut digits = text.bytes().filter(|&byte| byte != b'-');
    for byte in &mut bytes {
        let high = char::from(digits.next()?).to_digit(16)?;
        let low = char::from(digits.next()?).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    digits.next().is_none().then_some(bytes)
}

/// Writes a UUID's text.
pub(crate) fn uuid_text(bytes: &[u8; 16]) -> Small {
    let mut text = Small::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(text: &str, scale: u16) -> String {
        let mut out = String::new();
        decimal_text(&unscaled(text, scale).unwrap(), i32::from(scale), &mut out);
        out
    }

    #[test]
    fn decimals_become_javas_bytes() {
        assert_eq!(unscaled("0", 0), Some(vec![0]));
        assert_eq!(unscaled("-1.00", 2), Some(vec![0x9c]));
        assert_eq!(unscaled("1.28", 2), Some(vec![0, 0x80]));
        assert_eq!(unscaled("1.5", 2), Some(vec![0, 0x96]));
        assert_eq!(unscaled("1.555", 2), None);
        assert_eq!(unscaled("NaN", 2), None);
        assert_eq!(unscaled("-", 2), None);
    }

    #[test]
    fn moments_are_written_as_debezium_writes_them() {
        let text = |micros, precision| zoned_timestamp(micros, precision).as_str().to_owned();
        assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_500_000, 3), "1970-01-01T00:00:01.500Z");
        assert_eq!(text(-1, 6), "1969-12-31T23:59:59.999999Z");
        assert_eq!(iso_timestamp("1970-01-01T01:00:00.5+01:00"), Some(500_000));
        assert_eq!(
            iso_timestamp("2018-06-20T13:37:03Z"),
            Some(1_529_501_823_000_000)
        );
    }

    #[test]
    fn doubles_of_decimals_come_back_to_scale() {
        let mut out = String::new();
        scaled_text("1e2", 2, &mut out).unwrap();
        assert_eq!(out, "100.00");
        scaled_text("-1.5E-1", 3, &mut out).unwrap();
        assert_eq!(out, "-0.150");
        scaled_text("12.3400", 2, &mut out).unwrap();
        assert_eq!(out, "12.34");
    }

    proptest! {
        #[test]
        fn decimals_survive(digits in "[1-9][0-9]{0,64}", fraction in "[0-9]{0,30}", minus: bool) {
            let sign = if minus { "-" } else { "" };
            let scale = fraction.len() as u16;
            let text = if scale == 0 { format!("{sign}{digits}") } else { format!("{sign}{digits}.{fraction}") };
            prop_assert_eq!(through(&text, scale), text);
        }

        #[test]
        fn small_decimals_survive(fraction in "[0-9]{1,30}") {
            let text = format!("0.{fraction}");
            prop_assert_eq!(through(&text, fraction.len() as u16), text);
        }

        #[test]
        fn moments_survive(micros in -377_705_116_800_000_000_i64..253_402_300_799_999_999, precision in 0_u8..7) {
            let text = zoned_timestamp(micros, precision);
            prop_assert_eq!(iso_timestamp(text.as_str()), Some(micros));
        }

        #[test]
        fn spans_survive(months: i32, days: i32, micros: i64) {
            let text = interval_text(months, days, micros);
            prop_assert_eq!(interval(&text), Some((months, days, micros)), "{}", text);
        }
    }
}
