//! MySQL's packed dates and times.
//!
//! A date that the calendar lacks is kept as the text that the server prints
//! ([`Value::Impossible`]); every other value becomes microseconds or days.

use std::fmt::Write as _;

use sluice_core::{
    Value,
    value::{MICROS_PER_DAY, days_from_civil},
};

use super::reader::{Checked, Fault, Reader};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Year to microsecond as packed, whether the calendar has them or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateTimeParts {
    pub(crate) year: u32,
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    pub(crate) micros: u32,
}

/// A span as packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeParts {
    pub(crate) negative: bool,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    pub(crate) micros: u32,
}

/// Room for a date's text.
#[derive(Debug, Default)]
pub(crate) struct DateText(String);

/// Bytes that a fraction of 0 to 6 digits takes.
pub(crate) fn fraction_bytes(precision: u8) -> usize {
    usize::from(precision.div_ceil(2))
}

/// Reads a `DATE`.
#[inline]
pub(crate) fn date<'t>(reader: &mut Reader<'_>, text: &'t mut DateText) -> Checked<Value<'t>> {
    let packed = reader.uint(3)? as u32;
    let (year, month, day) = (packed >> 9, packed >> 5 & 15, packed & 31);
    Ok(match days_from_civil(year as i32, month, day) {
        Some(days) => Value::Date(days),
        None => Value::Impossible(text.date(year, month, day)),
    })
}

/// Reads a `DATETIME`.
#[inline]
pub(crate) fn date_time<'t>(
    reader: &mut Reader<'_>,
    precision: u8,
    text: &'t mut DateText,
) -> Checked<Value<'t>> {
    let packed = reader.uint_big_endian(5)? as i64 - 0x80_0000_0000;
    if packed < 0 {
        return Err(Fault::Malformed("is a negative date"));
    }
    let micros = fraction(reader, precision)?;
    Ok(DateTimeParts::unpack(packed << 24 | micros).value(precision, text))
}

/// Reads a `DATETIME` as written before MySQL 5.6.4: a number of the form `YYYYMMDDhhmmss`.
pub(crate) fn old_date_time<'t>(
    reader: &mut Reader<'_>,
    text: &'t mut DateText,
) -> Checked<Value<'t>> {
    let packed = reader.u64()?;
    let (date, time) = (packed / 1_000_000, (packed % 1_000_000) as u32);
    let year = u32::try_from(date / 10_000).unwrap_or(u32::MAX);
    if year > 9999 {
        return Err(Fault::Malformed("is an impossible date"));
    }
    let parts = DateTimeParts {
        year,
        month: (date / 100 % 100) as u32,
        day: (date % 100) as u32,
        hour: time / 10_000,
        minute: time / 100 % 100,
        second: time % 100,
        micros: 0,
    };
    Ok(parts.value(0, text))
}

/// Reads a `TIMESTAMP`.
#[inline]
pub(crate) fn timestamp<'t>(
    reader: &mut Reader<'_>,
    precision: u8,
    text: &'t mut DateText,
) -> Checked<Value<'t>> {
    let seconds = reader.uint_big_endian(4)?;
    let micros = fraction(reader, precision)?;
    Ok(moment(seconds as i64, micros, precision, text))
}

/// Reads a `TIMESTAMP` as written before MySQL 5.6.4.
pub(crate) fn old_timestamp<'t>(
    reader: &mut Reader<'_>,
    text: &'t mut DateText,
) -> Checked<Value<'t>> {
    let seconds = reader.u32()?;
    Ok(moment(i64::from(seconds), 0, 0, text))
}

fn moment(seconds: i64, micros: i64, precision: u8, text: &mut DateText) -> Value<'_> {
    if seconds == 0 {
        return Value::Impossible(text.date_time(&DateTimeParts::ZERO, precision));
    }
    Value::Timestamp(seconds * MICROS_PER_SECOND + micros)
}

/// Reads a `TIME`.
#[inline]
pub(crate) fn time(reader: &mut Reader<'_>, precision: u8) -> Checked<Value<'static>> {
    // Sign, hours to seconds and fraction form one number, offset so that it sorts as bytes.
    let width = fraction_bytes(precision);
    let packed = reader.uint_big_endian(3 + width)? as i64 - (0x80_0000 << (8 * width));
    let (magnitude, per_unit) = (packed.abs(), FRACTION_MICROS[width]);
    let fraction = (magnitude & ((1 << (8 * width)) - 1)) * per_unit;
    let parts = TimeParts::unpack((magnitude >> (8 * width)) << 24 | fraction);
    let parts = TimeParts {
        negative: packed < 0,
        ..parts
    };
    Ok(Value::Time(parts.micros()))
}

/// Reads a `TIME` as written before MySQL 5.6.4: a signed number of the form `hhmmss`.
pub(crate) fn old_time(reader: &mut Reader<'_>) -> Checked<Value<'static>> {
    let packed = (reader.uint(3)? as i32) << 8 >> 8;
    let magnitude = packed.unsigned_abs();
    let parts = TimeParts {
        negative: packed < 0,
        hour: magnitude / 10_000,
        minute: magnitude / 100 % 100,
        second: magnitude % 100,
        micros: 0,
    };
    Ok(Value::Time(parts.micros()))
}

/// Microseconds of one unit of a fraction of 0 to 3 bytes.
const FRACTION_MICROS: [i64; 4] = [1, 10_000, 100, 1];

#[inline]
fn fraction(reader: &mut Reader<'_>, precision: u8) -> Checked<i64> {
    let width = fraction_bytes(precision);
    if width == 0 {
        return Ok(0);
    }
    let micros = reader.uint_big_endian(width)? as i64 * FRACTION_MICROS[width];
    if micros >= MICROS_PER_SECOND {
        return Err(Fault::Malformed("has an impossible fraction"));
    }
    Ok(micros)
}

impl DateTimeParts {
    pub(crate) const ZERO: Self = Self {
        year: 0,
        month: 0,
        day: 0,
        hour: 0,
        minute: 0,
        second: 0,
        micros: 0,
    };

    /// Unpacks `((year * 13 + month) << 5 | day) << 17 | time of day`, shifted by the 24 bits of
    /// the microseconds.
    #[inline]
    pub(crate) fn unpack(packed: i64) -> Self {
        let whole = packed >> 24;
        let (date, time) = (whole >> 17, (whole & 0x1_ffff) as u32);
        let months = (date >> 5) as u32;
        Self {
            year: months / 13,
            month: months % 13,
            day: (date & 31) as u32,
            hour: time >> 12,
            minute: time >> 6 & 63,
            second: time & 63,
            micros: (packed & 0xff_ffff) as u32,
        }
    }

    #[inline]
    pub(crate) fn value(self, precision: u8, text: &mut DateText) -> Value<'_> {
        match days_from_civil(self.year as i32, self.month, self.day) {
            Some(days) if self.hour < 24 && self.minute < 60 && self.second < 60 => {
                let seconds = (self.hour * 60 + self.minute) * 60 + self.second;
                Value::DateTime(
                    i64::from(days) * MICROS_PER_DAY
                        + i64::from(seconds) * MICROS_PER_SECOND
                        + i64::from(self.micros),
                )
            }
            _ => Value::Impossible(text.date_time(&self, precision)),
        }
    }
}

impl TimeParts {
    /// Unpacks hours to seconds, shifted by the 24 bits of the microseconds.
    #[inline]
    pub(crate) fn unpack(packed: i64) -> Self {
        let magnitude = packed.unsigned_abs();
        let time = magnitude >> 24;
        Self {
            negative: packed < 0,
            hour: (time >> 12 & 0x3ff) as u32,
            minute: (time >> 6 & 63) as u32,
            second: (time & 63) as u32,
            micros: (magnitude & 0xff_ffff) as u32,
        }
    }

    pub(crate) fn micros(self) -> i64 {
        let seconds =
            (i64::from(self.hour) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        let micros = seconds * MICROS_PER_SECOND + i64::from(self.micros);
        if self.negative { -micros } else { micros }
    }
}

impl DateText {
    pub(crate) fn date(&mut self, year: u32, month: u32, day: u32) -> &str {
        self.0.clear();
        write!(self.0, "{year:04}-{month:02}-{day:02}").expect("a String takes any text");
        &self.0
    }

    pub(crate) fn date_time(&mut self, parts: &DateTimeParts, precision: u8) -> &str {
        self.date(parts.year, parts.month, parts.day);
        let (hour, minute, second) = (parts.hour, parts.minute, parts.second);
        write!(self.0, " {hour:02}:{minute:02}:{second:02}").expect("a String takes any text");
        self.fraction(parts.micros, precision);
        &self.0
    }

    pub(crate) fn time(&mut self, parts: &TimeParts, precision: u8) -> &str {
        self.0.clear();
        let sign = if parts.negative { "-" } else { "" };
        let (hour, minute, second) = (parts.hour, parts.minute, parts.second);
        write!(self.0, "{sign}{hour:02}:{minute:02}:{second:02}").expect("a String takes any text");
        self.fraction(parts.micros, precision);
        &self.0
    }

    fn fraction(&mut self, micros: u32, precision: u8) {
        if precision > 0 {
            let digits = micros / 10_u32.pow(6 - u32::from(precision.min(6)));
            let width = usize::from(precision);
            write!(self.0, ".{digits:0width$}").expect("a String takes any text");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_sign_and_fraction() {
        let read = |bytes: &[u8], precision| time(&mut Reader::new(bytes), precision).unwrap();
        // The bytes that MySQL stores for the values named.
        assert_eq!(read(&[0x80, 0, 0], 0), Value::Time(0));
        assert_eq!(read(&[0x7f, 0xff, 0xff], 0), Value::Time(-1_000_000));
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xf6], 2), Value::Time(-100_000));
        assert_eq!(
            read(&[0x4b, 0x91, 0x05, 0, 0, 0], 6),
            Value::Time(-3_020_399_000_000)
        );
    }

    #[test]
    fn dates_that_no_calendar_has_keep_their_text() {
        let mut text = DateText::default();
        let zero = [0x80, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            date_time(&mut Reader::new(&zero), 3, &mut text),
            Ok(Value::Impossible("0000-00-00 00:00:00.000"))
        );
        let february = (2024_u32 << 9 | 2 << 5 | 31).to_le_bytes();
        assert_eq!(
            date(&mut Reader::new(&february), &mut text),
            Ok(Value::Impossible("2024-02-31"))
        );
        assert_eq!(
            timestamp(&mut Reader::new(&[0; 4]), 0, &mut text),
            Ok(Value::Impossible("0000-00-00 00:00:00"))
        );
    }

    #[test]
    fn the_forms_of_old_servers_are_read() {
        let mut text = DateText::default();
        let packed = 19_700_102_000_001_u64.to_le_bytes();
        assert_eq!(
            old_date_time(&mut Reader::new(&packed), &mut text),
            Ok(Value::DateTime(MICROS_PER_DAY + 1_000_000))
        );
        let hours = (-8_385_959_i32).to_le_bytes();
        assert_eq!(
            old_time(&mut Reader::new(&hours)),
            Ok(Value::Time(-3_020_399_000_000))
        );
        assert_eq!(
            old_timestamp(&mut Reader::new(&[1, 0, 0, 0]), &mut text),
            Ok(Value::Timestamp(1_000_000))
        );
    }
}
