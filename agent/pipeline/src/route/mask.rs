//! Hides values: a value becomes the SHA-256 of its text, or a fixed text, or NULL.
//!
//! The text of a value is what its database prints: digits, `YYYY-MM-DD HH:MM:SS[.ffffff]` with
//! the column's digits (moments in UTC), labels, JSON as it arrived; bytes count as they are. So
//! `sha2(email, 256)` on the source finds a row of the replica. Floats are printed in the shortest
//! form that reads back the same, without an exponent.

use std::fmt::{self, Write as _};

use bytes::{BufMut, BytesMut};
use sha2::{Digest, Sha256};
use sluice_core::{
    ColumnType, Value,
    value::{Interval, MICROS_PER_DAY, civil_from_days},
};

/// What a redacted value reads.
pub(super) const REDACTED: &str = "***";

/// Appends the SHA-256 of the value's text as 64 hexadecimal digits.
pub(super) fn put_digest(value: Value<'_>, ty: &ColumnType, target: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = Hash(Sha256::new());
    write_value(value, ty, &mut hash).expect("a hash takes everything");
    for byte in hash.0.finalize() {
        target.put_u8(DIGITS[usize::from(byte >> 4)]);
        target.put_u8(DIGITS[usize::from(byte & 15)]);
    }
}

struct Hash(Sha256);

impl fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

fn write_value(value: Value<'_>, ty: &ColumnType, hash: &mut Hash) -> fmt::Result {
    match value {
        Value::Null | Value::Unchanged => Ok(()),
        Value::Bool(value) => write!(hash, "{value}"),
        Value::Int(value) => write!(hash, "{value}"),
        Value::UInt(value) => write!(hash, "{value}"),
        Value::Float(value) => write!(hash, "{value}"),
        Value::Double(value) => write!(hash, "{value}"),
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Impossible(text)
        | Value::Enum(text)
        | Value::Set(text)
        | Value::Json(text) => hash.write_str(text),
        Value::Bytes(bytes) => {
            hash.0.update(bytes);
            Ok(())
        }
        Value::Bits(bits) => (0..bits.length).try_for_each(|bit| {
            let byte = bits.bytes[bit as usize / 8];
            let is_set = byte >> (7 - bit % 8) & 1 == 1;
            hash.write_str(if is_set { "1" } else { "0" })
        }),
        Value::Date(days) => write_date(i64::from(days), hash),
        Value::DateTime(micros) | Value::Timestamp(micros) => {
            write_date(micros.div_euclid(MICROS_PER_DAY), hash)?;
            hash.write_str(" ")?;
            write_clock(
                micros.rem_euclid(MICROS_PER_DAY).unsigned_abs(),
                precision(ty),
                hash,
            )
        }
        Value::Time(micros) => {
            hash.write_str(if micros < 0 { "-" } else { "" })?;
            write_clock(micros.unsigned_abs(), precision(ty), hash)
        }
        Value::Interval(Interval {
            months,
            days,
            micros,
        }) => write!(hash, "{months} mons {days} days {micros} us"),
        Value::Uuid(bytes) => bytes.iter().enumerate().try_for_each(|(index, byte)| {
            let dash = if matches!(index, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(hash, "{dash}{byte:02x}")
        }),
        Value::Geometry(geometry) => {
            hash.0.update(geometry.srid.to_le_bytes());
            hash.0.update(geometry.wkb);
            Ok(())
        }
        Value::Array(elements) => {
            let element_type = match ty {
                ColumnType::Array(element_type) => element_type,
                other => other,
            };
            hash.write_str("{")?;
            for (index, element) in elements.values().enumerate() {
                hash.write_str(if index > 0 { "," } else { "" })?;
                match element {
                    Value::Null => hash.write_str("NULL")?,
                    // An element's length goes first, so that no two arrays have one text.
                    Value::Text(text) => write!(hash, "{}:{text}", text.len())?,
                    element => write_value(element, element_type, hash)?,
                }
            }
            hash.write_str("}")
        }
    }
}

fn precision(ty: &ColumnType) -> usize {
    match ty {
        ColumnType::DateTime { precision }
        | ColumnType::Timestamp { precision }
        | ColumnType::Time { precision } => usize::from(*precision),
        _ => 6,
    }
}

fn write_date(days: i64, hash: &mut Hash) -> fmt::Result {
    let (year, month, day) = civil_from_days(days as i32);
    write!(hash, "{year:04}-{month:02}-{day:02}")
}

fn write_clock(micros: u64, precision: usize, hash: &mut Hash) -> fmt::Result {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(hash, "{hours:02}:{minutes:02}:{seconds:02}")?;
    if precision == 0 {
        return Ok(());
    }
    let digits = precision.min(6);
    let shown = fraction / 10_u64.pow(6 - digits as u32);
    write!(hash, ".{shown:0digits$}")
}
