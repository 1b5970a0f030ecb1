//! One column's value, without loss.
//!
//! A [`Value`] is a view: it borrows from the [`Row`](crate::Row) that stores it, so that reading a
//! row allocates nothing. Which variant a column uses follows from its
//! [`ColumnType`](crate::ColumnType) alone, never from the data, with four exceptions that any
//! column may hold: [`Value::Null`], [`Value::Unchanged`] and, in temporal columns,
//! [`Value::Impossible`].

use std::cmp::Ordering;

use crate::row::RowRef;

/// Microseconds in a day.
pub const MICROS_PER_DAY: i64 = 86_400_000_000;

/// One column's value, borrowed from its row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// The source did not log this column (an unchanged TOAST value, a column outside a MINIMAL row
    /// image). A sink keeps what it has; it never writes NULL for it.
    Unchanged,
    /// A truth value (PostgreSQL `boolean`; MySQL has none).
    Bool(bool),
    /// A signed integer; also MySQL `YEAR`.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A 32-bit float.
    Float(f32),
    /// A 64-bit float.
    Double(f64),
    /// An exact decimal: `-?digits[.digits]` with exactly the column's scale, or `NaN`,
    /// `Infinity`, `-Infinity` (PostgreSQL `numeric`).
    Decimal(&'a str),
    /// Text, in UTF-8 whatever the column's character set.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A bit string.
    Bits(Bits<'a>),
    /// Days since 1970-01-01 in the proleptic Gregorian calendar.
    Date(i32),
    /// Microseconds since 1970-01-01 00:00:00 on a clock without a zone (MySQL `DATETIME`).
    DateTime(i64),
    /// Microseconds since 1970-01-01 00:00:00 UTC (MySQL `TIMESTAMP`).
    Timestamp(i64),
    /// A signed span of microseconds (MySQL `TIME`, -838:59:59 to 838:59:59, or a time of day).
    Time(i64),
    /// A span whose months and days have no fixed length (PostgreSQL `interval`).
    Interval(Interval),
    /// A date or date-time that no calendar has (`0000-00-00`, `2024-02-31`), as the source prints it.
    Impossible(&'a str),
    /// The label of an enum; empty for MySQL's error value.
    Enum(&'a str),
    /// The labels of a set in declaration order, joined by commas.
    Set(&'a str),
    /// A JSON document as text.
    Json(&'a str),
    /// A UUID's sixteen bytes.
    Uuid([u8; 16]),
    /// A geometry as WKB, with its spatial reference id.
    Geometry(Geometry<'a>),
    /// An array; an element may be an array.
    Array(RowRef<'a>),
}

/// A string of `length` bits, the first bit in the highest bit of the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits<'a> {
    /// How many bits.
    pub length: u32,
    /// The bits, left-aligned: `ceil(length / 8)` bytes with zero padding at the end.
    pub bytes: &'a [u8],
}

/// A span of time whose months and days have no fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Whole months.
    pub months: i32,
    /// Whole days.
    pub days: i32,
    /// The rest in microseconds.
    pub micros: i64,
}

/// A geometry in well-known binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry<'a> {
    /// The spatial reference id; zero when the source names none.
    pub srid: u32,
    /// Well-known binary, without the SRID.
    pub wkb: &'a [u8],
}

impl Value<'_> {
    /// Whether this is SQL NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Whether the source left this column out of its log.
    pub fn is_unchanged(&self) -> bool {
        matches!(self, Value::Unchanged)
    }

    /// Compares two values of one column whose type [orders the same everywhere](crate::ColumnType::orders_everywhere).
    ///
    /// Returns `None` for values without such an order (text, NULL, different kinds).
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Value::Int(a), Value::Int(b))
            | (Value::DateTime(a), Value::DateTime(b))
            | (Value::Timestamp(a), Value::Timestamp(b))
            | (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
            (Value::UInt(a), Value::UInt(b)) => Some(a.cmp(b)),
            (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Uuid(a), Value::Uuid(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// Converts a civil date of the proleptic Gregorian calendar to days since 1970-01-01.
///
/// Returns `None` when the calendar has no such day.
pub fn days_from_civil(year: i32, month: u32, day: u32) -> Option<i32> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let month_index = (month as i32 + 9) % 12;
    let day_of_year = (153 * month_index + 2) / 5 + day as i32 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Converts days since 1970-01-01 to year, month and day.
pub fn civil_from_days(days: i32) -> (i32, u32, u32) {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month, day)
}

fn days_in_month(year: i32, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_survive_the_round_trip() {
        for days in (-800_000..3_000_000).step_by(97) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), Some(days));
        }
    }

    #[test]
    fn days_that_no_calendar_has_are_refused() {
        assert_eq!(days_from_civil(2023, 2, 29), None);
        assert_eq!(days_from_civil(2024, 2, 29), Some(19_782));
        assert_eq!(days_from_civil(0, 0, 0), None);
        assert_eq!(days_from_civil(2024, 4, 31), None);
        assert_eq!(days_from_civil(1970, 1, 1), Some(0));
    }
}
