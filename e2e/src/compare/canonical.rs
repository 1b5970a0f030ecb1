//! One form for each value, whichever database printed it.

use std::fmt;

use sluice_core::value::{MICROS_PER_DAY, days_from_civil};

use crate::compare::json;

/// The extended WKB flag that says that an SRID follows.
const EWKB_SRID: u32 = 0x2000_0000;

/// What a column holds, as far as printing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    Decimal,
    Float,
    Bits,
    Text,
    Bytes,
    /// A date, or date and time.
    Moment,
    /// A span of time.
    Span,
    Json,
    Geometry,
    Vector,
}

impl Kind {
    /// The kind of a MySQL data type.
    pub(super) fn of(data_type: &str) -> Self {
        match data_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Self::Whole,
            "decimal" => Self::Decimal,
            "float" | "double" => Self::Float,
            "bit" => Self::Bits,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "date" | "datetime" | "timestamp" => Self::Moment,
            "time" => Self::Span,
            "json" => Self::Json,
            "vector" => Self::Vector,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geomcollection" | "geometrycollection" => Self::Geometry,
            _ => Self::Text,
        }
    }
}

/// A value that compares and sorts the same whichever side it came from.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(super) enum Canonical {
    Null,
    Whole(i128),
    Float(f64),
    /// Sorts by the nearest float first; two keys that near do not matter here.
    Decimal(f64, String),
    Text(String),
}

impl Canonical {
    /// Reads a value as either side prints it; what can't be read stays the text that it is.
    pub(super) fn read(kind: Kind, text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::Null };
        let read = match kind {
            Kind::Whole => text.parse().ok().map(Self::Whole),
            Kind::Decimal => Some(decimal(text)),
            Kind::Float => text.parse().ok().map(Self::Float),
            // A day that no calendar has arrives as NULL.
            Kind::Moment => {
                Some(moment(text).map_or(Self::Null, |micros| Self::Whole(micros.into())))
            }
            Kind::Span => span(text).map(|micros| Self::Whole(micros.into())),
            Kind::Json => json::canonical(text).map(Self::Text),
            Kind::Geometry => geometry(text).map(Self::Text),
            Kind::Vector => vector(text).map(Self::Text),
            Kind::Bits | Kind::Text | Kind::Bytes => None,
        };
        read.unwrap_or_else(|| Self::Text(text.to_owned()))
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("NULL"),
            Self::Whole(value) => value.fmt(formatter),
            Self::Float(value) => value.fmt(formatter),
            Self::Decimal(_, text) | Self::Text(text) => text.fmt(formatter),
        }
    }
}

fn decimal(text: &str) -> Canonical {
    let mut digits = text;
    if digits.contains('.') {
        digits = digits.trim_end_matches('0').trim_end_matches('.');
    }
    if digits == "-0" {
        digits = "0";
    }
    Canonical::Decimal(digits.parse().unwrap_or(f64::NAN), digits.to_owned())
}

/// Microseconds since 1970 of `YYYY-MM-DD[ HH:MM:SS[.ffffff]][+00][ BC]`.
fn moment(text: &str) -> Option<i64> {
    let (text, is_before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let text = text.strip_suffix("+00").unwrap_or(text);
    let (day, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let mut parts = day.split('-').map(|part| part.parse::<i32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    // There is no year zero before Christ, but in MySQL and in the calendar's arithmetic there is.
    let year = if is_before_christ { 1 - year } else { year };
    let days = days_from_civil(year, month.try_into().ok()?, day.try_into().ok()?)?;
    Some(i64::from(days) * MICROS_PER_DAY + span(time)?)
}

/// Microseconds of `[-]HHH:MM:SS[.ffffff]`, or of a number of them.
fn span(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    if !digits.contains(':') {
        return digits.parse::<i64>().ok().map(|micros| sign * micros);
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let seconds = whole.split(':').try_fold(0_i64, |sum, part| {
        Some(sum * 60 + part.parse::<i64>().ok()?)
    })?;
    let micros: i64 = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<6}").parse().ok()?
    };
    Some(sign * (seconds * 1_000_000 + micros))
}

/// `SRID:WKB` of either that form or extended WKB.
fn geometry(text: &str) -> Option<String> {
    if text.contains(':') {
        return Some(text.to_owned());
    }
    let kind = u32::from_str_radix(text.get(2..10)?, 16).ok()?.swap_bytes();
    if kind & EWKB_SRID == 0 {
        return Some(format!("0:{text}"));
    }
    let srid = u32::from_str_radix(text.get(10..18)?, 16)
        .ok()?
        .swap_bytes();
    let plain = (kind & !EWKB_SRID).swap_bytes();
    Some(format!(
        "{srid}:{}{plain:08X}{}",
        text.get(..2)?,
        text.get(18..)?
    ))
}

/// The floats of `{1,2.5}` or of little-endian hexadecimal digits.
fn vector(text: &str) -> Option<String> {
    let floats: Option<Vec<f32>> = match text.strip_prefix('{') {
        Some(list) => list
            .trim_end_matches('}')
            .split(',')
            .map(|float| float.parse().ok())
            .collect(),
        None => (0..text.len() / 8)
            .map(|index| u32::from_str_radix(text.get(index * 8..index * 8 + 8)?, 16).ok())
            .map(|bits| Some(f32::from_bits(bits?.swap_bytes())))
            .collect(),
    };
    Some(format!("{:?}", floats?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(kind: Kind, mysql: &str, postgres: &str) {
        assert_eq!(
            Canonical::read(kind, Some(mysql)),
            Canonical::read(kind, Some(postgres)),
            "{mysql} {postgres}"
        );
    }

    #[test]
    fn both_spellings_of_a_value_are_equal() {
        same(
            Kind::Moment,
            "2024-02-29 01:02:03.500000",
            "2024-02-29 01:02:03.5+00",
        );
        same(
            Kind::Moment,
            "0000-01-01 00:00:00",
            "0001-01-01 00:00:00 BC",
        );
        same(Kind::Moment, "2024-01-01", "2024-01-01 00:00:00");
        same(Kind::Span, "-838:59:59.000000", "-3020399000000");
        same(Kind::Span, "00:00:00.25", "250000");
        same(Kind::Float, "1e20", "1e+20");
        same(Kind::Decimal, "-0.00", "0");
        same(Kind::Decimal, "1.500", "1.5");
        same(
            Kind::Json,
            r#"{"b": 1.0, "a": [1e2]}"#,
            r#"{"a":[100],"b":1}"#,
        );
        same(
            Kind::Geometry,
            "4326:0101000000000000000000F03F0000000000000040",
            "0101000020E6100000000000000000F03F0000000000000040",
        );
        same(Kind::Vector, "0000803F00002040", "{1,2.5}");
    }

    #[test]
    fn a_day_that_no_calendar_has_is_null() {
        for text in [
            "0000-00-00",
            "0000-00-00 00:00:00",
            "2023-02-31",
            "2023-00-10 00:00:00",
        ] {
            assert_eq!(Canonical::read(Kind::Moment, Some(text)), Canonical::Null);
        }
    }

    #[test]
    fn other_values_differ() {
        for (kind, left, right) in [
            (Kind::Text, "a", "a "),
            (
                Kind::Moment,
                "2024-01-01 00:00:00.000001",
                "2024-01-01 00:00:00",
            ),
            (Kind::Json, "1", "\"1\""),
            (Kind::Decimal, "0.10000000000000000001", "0.1"),
        ] {
            assert_ne!(
                Canonical::read(kind, Some(left)),
                Canonical::read(kind, Some(right))
            );
        }
    }
}
