//! Values as text: for text columns that take other types, and for dead letters.

use std::fmt::{self, Write};

use sluice_core::{
    Value,
    value::{MICROS_PER_DAY, civil_from_days},
};

/// Writes a value in the form that PostgreSQL prints under ISO settings. Answers `false` for values
/// without such a form (NULL, bytes, geometries, arrays).
pub(crate) fn write_text(value: &Value<'_>, out: &mut impl Write) -> Result<bool, fmt::Error> {
    match *value {
        Value::Bool(value) => out.write_str(if value { "true" } else { "false" })?,
        Value::Int(value) => write!(out, "{value}")?,
        Value::UInt(value) => write!(out, "{value}")?,
        Value::Float(value) => write!(out, "{value}")?,
        Value::Double(value) => write!(out, "{value}")?,
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Impossible(text)
        | Value::Enum(text)
        | Value::Set(text)
        | Value::Json(text) => out.write_str(text)?,
        Value::Bits(bits) => {
            for index in 0..bits.length as usize {
                let bit = bits.bytes[index / 8] >> (7 - index % 8) & 1;
                out.write_char(if bit == 1 { '1' } else { '0' })?;
            }
        }
        Value::Date(days) => write_date(days, out)?,
        Value::DateTime(micros) => write_date_time(micros, out)?,
        Value::Timestamp(micros) => {
            write_date_time(micros, out)?;
            out.write_str("+00")?;
        }
        Value::Time(micros) => write_time(micros, out)?,
        Value::Interval(span) => {
            write!(out, "{} mons {} days ", span.months, span.days)?;
            write_time(span.micros, out)?;
        }
        Value::Uuid(bytes) => write_uuid(&bytes, out)?,
        Value::Null | Value::Unchanged | Value::Bytes(_) | Value::Geometry(_) | Value::Array(_) => {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

fn write_date(days: i32, out: &mut impl Write) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    // The year before 1 is 1 BC here.
    if year > 0 {
        write!(out, "{year:04}-{month:02}-{day:02}")
    } else {
        write!(out, "{:04}-{month:02}-{day:02} BC", 1 - year)
    }
}

fn write_date_time(micros: i64, out: &mut impl Write) -> fmt::Result {
    let days = micros.div_euclid(MICROS_PER_DAY);
    let (year, month, day) = civil_from_days(days as i32);
    write!(out, "{year:04}-{month:02}-{day:02} ")?;
    write_time(micros.rem_euclid(MICROS_PER_DAY), out)
}

fn write_time(micros: i64, out: &mut impl Write) -> fmt::Result {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, fraction) = (
        micros.unsigned_abs() / 1_000_000,
        micros.unsigned_abs() % 1_000_000,
    );
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, "{sign}{hours:02}:{minutes:02}:{seconds:02}")?;
    if fraction > 0 {
        let digits = format!("{fraction:06}");
        write!(out, ".{}", digits.trim_end_matches('0'))?;
    }
    Ok(())
}

fn write_uuid(bytes: &[u8; 16], out: &mut impl Write) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sluice_core::value::Bits;

    use super::*;

    fn text(value: Value<'_>) -> String {
        let mut out = String::new();
        assert!(write_text(&value, &mut out).unwrap());
        out
    }

    #[test]
    fn values_are_written_as_the_server_prints_them() {
        assert_eq!(text(Value::Date(0)), "1970-01-01");
        assert_eq!(text(Value::DateTime(-1)), "1969-12-31 23:59:59.999999");
        assert_eq!(
            text(Value::Timestamp(1_500_000)),
            "1970-01-01 00:00:01.5+00"
        );
        assert_eq!(text(Value::Time(-3_020_399_000_000)), "-838:59:59");
        let bits = Bits {
            length: 3,
            bytes: &[0b1010_0000],
        };
        assert_eq!(text(Value::Bits(bits)), "101");
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
