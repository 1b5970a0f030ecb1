//! Values in PostgreSQL's binary format, for COPY and for array parameters alike.
//!
//! An [`Encoder`] belongs to a pair of a source's column type and a target's actual type and is
//! chosen once per plan. A value that the target can't hold is [`Unfit`]: what happens then (NULL,
//! dead letter, stop) is the caller's policy; nothing is ever clipped or rounded.

use bytes::{BufMut, BytesMut};
use sluice_core::{
    Value,
    value::{Geometry, MICROS_PER_DAY},
};

use crate::{
    numeric::{Room, put_decimal, put_integer},
    text::write_text,
};

/// Days from 1970-01-01 to PostgreSQL's 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * MICROS_PER_DAY;
const TEXT_OID: u32 = 25;
const FLOAT4_OID: u32 = 700;
const EWKB_SRID: u32 = 0x2000_0000;

/// Why the target can't hold a value; never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit(pub(crate) &'static str);

const OUT_OF_RANGE: Unfit = Unfit("value out of the target type's range");
const IMPOSSIBLE: Unfit = Unfit("a date that no calendar has");
const NUL: Unfit = Unfit("text with a NUL character");
const MORE_DIGITS: Unfit = Unfit("more fractional digits than the target type keeps");
const WRONG_KIND: Unfit = Unfit("a kind of value that the column's type does not announce");

/// A value in binary: a prefix, and bytes that the value has already.
pub(crate) type Parts<'v> = (&'static [u8], &'v [u8]);

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoder {
    /// `boolean`; with `any`, every number but zero is true.
    Bool {
        /// Whether numbers beyond 0 and 1 are taken.
        any: bool,
    },
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `numeric`; digits are counted only where the source may have more.
    Numeric(Option<Room>),
    /// `text`, `varchar`, `bpchar`, and enums, whose labels are text.
    Text,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `timestamp` and `timestamptz`: microseconds that must be a multiple of `unit`.
    Timestamp {
        /// The smallest step that the column keeps.
        unit: i64,
    },
    /// `time`.
    Time,
    /// `interval`.
    Interval,
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// `uuid`.
    Uuid,
    /// `bit(n)`.
    Bit(u32),
    /// `varbit`.
    Varbit,
    /// `text[]`.
    TextArray,
    /// `real[]`.
    FloatArray,
    /// PostGIS `geometry`.
    Geometry,
}

impl Encoder {
    /// Writes a value without its length. What was written before an error is the caller's to cut.
    pub(crate) fn put(self, value: &Value<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
        if let Value::Impossible(text) = value {
            return if self == Self::Text {
                put_text(text, out)
            } else {
                Err(IMPOSSIBLE)
            };
        }
        match self {
            Self::Int2 => out.put_i16(integer(value)?),
            Self::Int4 => out.put_i32(integer(value)?),
            Self::Int8 => out.put_i64(integer(value)?),
            Self::Text => return put_any_text(value, out),
            Self::Numeric(room) => return put_numeric(value, room, out),
            Self::Timestamp { unit } => out.put_i64(timestamp(value, unit)?),
            Self::Date => out.put_i32(date(value)?),
            Self::Bool { any } => out.put_u8(u8::from(boolean(value, any)?)),
            Self::Float4 => out.put_f32(single(value)?),
            Self::Float8 => out.put_f64(double(value)?),
            Self::Bytea => return put_bytes(value, out),
            Self::Time => out.put_i64(time_of_day(value)?),
            Self::Interval => return put_interval(value, out),
            Self::Json | Self::Jsonb if matches!(value, Value::Array(_)) => {
                if self == Self::Jsonb {
                    out.put_u8(1);
                }
                let array = crate::json::value(value, usize::MAX).ok_or(WRONG_KIND)?;
                out.put_slice(array.to_string().as_bytes());
            }
            Self::Json => out.put_slice(json(value, false)?.as_bytes()),
            Self::Jsonb => {
                let text = json(value, true)?;
                out.put_u8(1);
                out.put_slice(text.as_bytes());
            }
            Self::Uuid => out.put_slice(&uuid(value)?),
            Self::Bit(length) => return put_bits(value, Some(length), out),
            Self::Varbit => return put_bits(value, None, out),
            Self::TextArray => return put_text_array(value, out),
            Self::FloatArray => return put_float_array(value, out),
            Self::Geometry => match value {
                Value::Geometry(geometry) => return put_ewkb(geometry, out),
                _ => return Err(WRONG_KIND),
            },
        }
        Ok(())
    }

    /// A value whose binary form is a short prefix and bytes that the value already has, so that a
    /// huge one can be sent in pieces.
    pub(crate) fn verbatim<'v>(self, value: &Value<'v>) -> Result<Option<Parts<'v>>, Unfit> {
        Ok(match (self, *value) {
            (
                Self::Text,
                Value::Text(text) | Value::Enum(text) | Value::Set(text) | Value::Json(text),
            ) => Some((&[], checked(text)?.as_bytes())),
            (Self::Bytea, Value::Bytes(bytes)) => Some((&[], bytes)),
            (Self::Json, _) => Some((&[], json(value, false)?.as_bytes())),
            (Self::Jsonb, _) => Some((&[1], json(value, true)?.as_bytes())),
            _ => None,
        })
    }

    /// Whether the column's own type is an array, which can't be the element of an array parameter.
    pub(crate) fn is_array(self) -> bool {
        matches!(self, Self::TextArray | Self::FloatArray)
    }

    /// Whether keys order in the target as [`Value::compare`] orders them.
    pub(crate) fn keeps_order(self) -> bool {
        !matches!(
            self,
            Self::Text | Self::Json | Self::Jsonb | Self::TextArray | Self::FloatArray
        ) && self != Self::Geometry
    }

    /// Writes an array column's value as the text of an array literal.
    pub(crate) fn put_array_literal(
        self,
        value: &Value<'_>,
        out: &mut BytesMut,
    ) -> Result<(), Unfit> {
        out.put_u8(b'{');
        match (self, value) {
            (Self::TextArray, Value::Set(labels)) => {
                for (index, label) in set_labels(checked(labels)?).enumerate() {
                    out.put_slice(if index > 0 { b",\"" } else { b"\"" });
                    for byte in label.bytes() {
                        if matches!(byte, b'"' | b'\\') {
                            out.put_u8(b'\\');
                        }
                        out.put_u8(byte);
                    }
                    out.put_u8(b'"');
                }
            }
            (Self::FloatArray, Value::Bytes(bytes)) => {
                for (index, number) in floats(bytes)?.enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    out.put_slice(format!("{comma}{number}").as_bytes());
                }
            }
            _ => return Err(WRONG_KIND),
        }
        out.put_u8(b'}');
        Ok(())
    }
}

fn integer<T: TryFrom<i64> + TryFrom<u64>>(value: &Value<'_>) -> Result<T, Unfit> {
    match *value {
        Value::Int(value) => T::try_from(value).map_err(|_| OUT_OF_RANGE),
        Value::UInt(value) => T::try_from(value).map_err(|_| OUT_OF_RANGE),
        Value::Bool(value) => T::try_from(i64::from(value)).map_err(|_| OUT_OF_RANGE),
        Value::Bits(bits) if bits.length <= 64 => {
            let value = bits
                .bytes
                .iter()
                .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
            let padding = 8 * bits.bytes.len() as u32 - bits.length;
            T::try_from(value >> padding).map_err(|_| OUT_OF_RANGE)
        }
        Value::Decimal(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            if fraction.bytes().any(|digit| digit != b'0') {
                return Err(MORE_DIGITS);
            }
            let value: i64 = whole.parse().map_err(|_| OUT_OF_RANGE)?;
            T::try_from(value).map_err(|_| OUT_OF_RANGE)
        }
        _ => Err(WRONG_KIND),
    }
}

fn boolean(value: &Value<'_>, any: bool) -> Result<bool, Unfit> {
    let number: u64 = match *value {
        Value::Int(value) => value.unsigned_abs(),
        _ => integer(value)?,
    };
    match (number, value) {
        (0, _) => Ok(false),
        (1, Value::Int(1) | Value::UInt(_) | Value::Bool(_) | Value::Bits(_)) => Ok(true),
        _ if any => Ok(true),
        _ => Err(OUT_OF_RANGE),
    }
}

fn single(value: &Value<'_>) -> Result<f32, Unfit> {
    match *value {
        Value::Float(value) => Ok(value),
        Value::Double(value) => {
            let narrow = value as f32;
            let same = f64::from(narrow).to_bits() == value.to_bits() || value.is_nan();
            same.then_some(narrow).ok_or(OUT_OF_RANGE)
        }
        _ => Err(WRONG_KIND),
    }
}

fn double(value: &Value<'_>) -> Result<f64, Unfit> {
    const EXACT_MAX: u64 = 1 << 53;
    match *value {
        Value::Float(value) => Ok(f64::from(value)),
        Value::Double(value) => Ok(value),
        Value::Int(value) if value.unsigned_abs() <= EXACT_MAX => Ok(value as f64),
        Value::UInt(value) if value <= EXACT_MAX => Ok(value as f64),
        Value::Int(_) | Value::UInt(_) => Err(OUT_OF_RANGE),
        _ => Err(WRONG_KIND),
    }
}

fn put_numeric(value: &Value<'_>, room: Option<Room>, out: &mut BytesMut) -> Result<(), Unfit> {
    let (negative, magnitude) = match *value {
        Value::Decimal(text) => {
            return put_decimal(text, room, out)
                .then_some(())
                .ok_or(OUT_OF_RANGE);
        }
        Value::Int(value) => (value < 0, value.unsigned_abs()),
        Value::UInt(value) => (false, value),
        _ => return Err(WRONG_KIND),
    };
    let digits = magnitude.checked_ilog10().map_or(0, |log| log + 1);
    if room.is_some_and(|room| digits > u32::from(room.whole)) {
        return Err(OUT_OF_RANGE);
    }
    put_integer(negative, magnitude, out);
    Ok(())
}

fn put_any_text(value: &Value<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
    match value {
        Value::Text(text) | Value::Enum(text) | Value::Set(text) => put_text(text, out),
        other => match write_text(other, out) {
            Ok(true) => Ok(()),
            _ => Err(WRONG_KIND),
        },
    }
}

fn put_text(text: &str, out: &mut BytesMut) -> Result<(), Unfit> {
    out.put_slice(checked(text)?.as_bytes());
    Ok(())
}

fn checked(text: &str) -> Result<&str, Unfit> {
    if text.as_bytes().contains(&0) {
        Err(NUL)
    } else {
        Ok(text)
    }
}

fn put_bytes(value: &Value<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
    match value {
        Value::Bytes(bytes) => out.put_slice(bytes),
        Value::Geometry(geometry) => return put_ewkb(geometry, out),
        Value::Uuid(bytes) => out.put_slice(bytes),
        _ => return Err(WRONG_KIND),
    }
    Ok(())
}

fn date(value: &Value<'_>) -> Result<i32, Unfit> {
    match *value {
        Value::Date(days) => days.checked_sub(EPOCH_DAYS).ok_or(OUT_OF_RANGE),
        _ => Err(WRONG_KIND),
    }
}

fn timestamp(value: &Value<'_>, unit: i64) -> Result<i64, Unfit> {
    let micros = match *value {
        Value::DateTime(micros) | Value::Timestamp(micros) => micros,
        Value::Date(days) => i64::from(days) * MICROS_PER_DAY,
        _ => return Err(WRONG_KIND),
    };
    if micros % unit != 0 {
        return Err(MORE_DIGITS);
    }
    micros.checked_sub(EPOCH_MICROS).ok_or(OUT_OF_RANGE)
}

fn time_of_day(value: &Value<'_>) -> Result<i64, Unfit> {
    match *value {
        Value::Time(micros) if (0..=MICROS_PER_DAY).contains(&micros) => Ok(micros),
        Value::Time(_) => Err(OUT_OF_RANGE),
        _ => Err(WRONG_KIND),
    }
}

fn put_interval(value: &Value<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
    let (micros, days, months) = match *value {
        Value::Time(micros) => (micros, 0, 0),
        Value::Interval(span) => (span.micros, span.days, span.months),
        _ => return Err(WRONG_KIND),
    };
    out.put_i64(micros);
    out.put_i32(days);
    out.put_i32(months);
    Ok(())
}

/// The text of a JSON document; `jsonb` can't hold the escape of NUL.
fn json<'v>(value: &Value<'v>, binary: bool) -> Result<&'v str, Unfit> {
    let (Value::Json(text) | Value::Text(text)) = *value else {
        return Err(WRONG_KIND);
    };
    if binary && has_nul_escape(text.as_bytes()) {
        return Err(NUL);
    }
    checked(text)
}

fn has_nul_escape(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        if rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        // Whatever is escaped, a second backslash included, is not the start of an escape.
        rest = rest.get(at + 2..).unwrap_or(&[]);
    }
    false
}

fn uuid(value: &Value<'_>) -> Result<[u8; 16], Unfit> {
    const NO_UUID: Unfit = Unfit("not a UUID");
    match *value {
        Value::Uuid(bytes) => Ok(bytes),
        Value::Bytes(bytes) => bytes.try_into().map_err(|_| NO_UUID),
        Value::Text(text) => {
            let mut digits = text.bytes().filter(|&byte| byte != b'-');
            let mut bytes = [0; 16];
            for byte in &mut bytes {
                let mut digit = || char::from(digits.next()?).to_digit(16);
                let (high, low) = (digit().ok_or(NO_UUID)?, digit().ok_or(NO_UUID)?);
                *byte = (high << 4 | low) as u8;
            }
            digits.next().is_none().then_some(bytes).ok_or(NO_UUID)
        }
        _ => Err(WRONG_KIND),
    }
}

fn put_bits(value: &Value<'_>, length: Option<u32>, out: &mut BytesMut) -> Result<(), Unfit> {
    let Value::Bits(bits) = value else {
        return Err(WRONG_KIND);
    };
    if length.is_some_and(|length| length != bits.length) {
        return Err(Unfit("a bit string of another length"));
    }
    out.put_u32(bits.length);
    out.put_slice(bits.bytes);
    Ok(())
}

fn set_labels(labels: &str) -> impl Iterator<Item = &str> {
    labels.split(',').filter(|label| !label.is_empty())
}

fn put_text_array(value: &Value<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
    let Value::Set(labels) = value else {
        return Err(WRONG_KIND);
    };
    let labels = checked(labels)?;
    put_array_header(set_labels(labels).count(), false, TEXT_OID, out);
    for label in set_labels(labels) {
        out.put_u32(label.len() as u32);
        out.put_slice(label.as_bytes());
    }
    Ok(())
}

fn floats(bytes: &[u8]) -> Result<impl ExactSizeIterator<Item = f32>, Unfit> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Unfit("a vector of broken length"));
    }
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)))
}

fn put_float_array(value: &Value<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
    let Value::Bytes(bytes) = value else {
        return Err(WRONG_KIND);
    };
    let numbers = floats(bytes)?;
    put_array_header(numbers.len(), false, FLOAT4_OID, out);
    for number in numbers {
        out.put_u32(4);
        out.put_f32(number);
    }
    Ok(())
}

/// Writes the header of an array of one dimension.
pub(crate) fn put_array_header(count: usize, nulls: bool, element: u32, out: &mut BytesMut) {
    out.reserve(20);
    out.put_u32(u32::from(count > 0));
    out.put_u32(u32::from(nulls));
    out.put_u32(element);
    if count > 0 {
        out.put_u32(count as u32);
        out.put_u32(1);
    }
}

/// Writes a geometry as PostGIS' extended WKB: the SRID follows the type when there is one.
fn put_ewkb(geometry: &Geometry<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
    let (srid, wkb) = (geometry.srid, geometry.wkb);
    if srid == 0 {
        out.put_slice(wkb);
        return Ok(());
    }
    let (Some(&order), Some(kind)) = (wkb.first(), wkb.get(1..5)) else {
        return Err(Unfit("a geometry of broken length"));
    };
    let kind: [u8; 4] = [kind[0], kind[1], kind[2], kind[3]];
    out.put_u8(order);
    if order == 1 {
        out.put_u32_le(u32::from_le_bytes(kind) | EWKB_SRID);
        out.put_u32_le(srid);
    } else {
        out.put_u32(u32::from_be_bytes(kind) | EWKB_SRID);
        out.put_u32(srid);
    }
    out.put_slice(&wkb[5..]);
    Ok(())
}
