//! Records to rows: what each field's value means to its column, decided once for each schema.
//!
//! Both formats deliver a field's value as a [`Token`]; [`Reading`] turns it into the column's
//! [`Value`]. What is no single token (a geometry, an array) the formats read piece by piece.

use base64::{Engine, engine::general_purpose::STANDARD};
use sluice_core::{
    ColumnType, Value,
    value::{Bits, Interval},
};

use crate::{
    connect::{Kind, Schema},
    encode::UNAVAILABLE,
    number,
    types::DECIMAL,
};

/// A scalar as it lies in a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A number of JSON's that is no 64-bit integer.
    Number(&'a str),
    Float(f32),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Room for values that have to be made.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) bits: Vec<u8>,
}

/// What a field's value means to its column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    Bool,
    Bit,
    Int,
    UInt,
    UnsignedDecimal,
    Float,
    Double,
    Decimal {
        scale: i32,
    },
    /// Text or a double; brought to the scale if there is one.
    DecimalText {
        scale: Option<i32>,
    },
    VariableScaleDecimal,
    Bits {
        length: u32,
    },
    Text,
    Enum,
    Set,
    Json,
    /// Whatever it is, as a JSON document.
    AnyJson,
    Bytes,
    Date,
    DateText,
    DateTime(Unit),
    DateTimeText,
    Timestamp(Unit),
    TimestampText,
    Time(Unit),
    TimeText,
    IntervalText,
    IntervalSpan(Unit),
    Uuid,
    Geometry,
    Vector,
    Array(Box<Self>),
}

/// What a count of time counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    fn micros(self, count: i64) -> Option<i64> {
        match self {
            Self::Millis => count.checked_mul(1_000),
            Self::Micros => Some(count),
            Self::Nanos => Some(count.div_euclid(1_000)),
        }
    }
}

impl Reading {
    /// How values of a schema are read into a column; `None` where they can't be its values.
    pub(crate) fn of(ty: &ColumnType, schema: &Schema) -> Option<Self> {
        let name = schema.name.as_deref().unwrap_or_default();
        let is_int = matches!(
            schema.kind,
            Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64
        );
        let is_text = schema.kind == Kind::String;
        let is_bytes = schema.kind == Kind::Bytes;
        let is_float = matches!(schema.kind, Kind::Float32 | Kind::Float64);
        let scale = || schema.parameter("scale")?.parse::<i32>().ok();
        let found = match ty {
            ColumnType::Bool if schema.kind == Kind::Boolean => Self::Bool,
            ColumnType::Int {
                bits: 64,
                unsigned: true,
            } if is_bytes && name == DECIMAL => (scale()? == 0).then_some(Self::UnsignedDecimal)?,
            ColumnType::Int { unsigned: true, .. } if is_int => Self::UInt,
            ColumnType::Int { .. } | ColumnType::Year if is_int => Self::Int,
            // `TinyIntOneToBooleanConverter` of Debezium.
            ColumnType::Int {
                bits: 8,
                unsigned: false,
            } if schema.kind == Kind::Boolean => Self::Int,
            ColumnType::Float if is_float => Self::Float,
            ColumnType::Double if is_float => Self::Double,
            ColumnType::Decimal {
                precision,
                scale: declared,
            } => {
                let declared = i32::from(*declared);
                if name == DECIMAL && is_bytes {
                    let scale = scale()?;
                    (*precision == 0 || scale == declared).then_some(Self::Decimal { scale })?
                } else if name.ends_with(".VariableScaleDecimal") {
                    Self::VariableScaleDecimal
                } else if is_text || is_float {
                    Self::DecimalText {
                        scale: (*precision > 0).then_some(declared),
                    }
                } else {
                    return None;
                }
            }
            ColumnType::Bit { length: 1 } if schema.kind == Kind::Boolean => Self::Bit,
            ColumnType::Bit { length } if is_bytes => Self::Bits { length: *length },
            ColumnType::Char { .. } | ColumnType::Varchar { .. } | ColumnType::Text if is_text => {
                Self::Text
            }
            ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob
                if is_bytes && name != DECIMAL =>
            {
                Self::Bytes
            }
            ColumnType::Enum { .. } if is_text => Self::Enum,
            ColumnType::Set { .. } if is_text => Self::Set,
            ColumnType::Json if is_text => Self::Json,
            ColumnType::Json => Self::AnyJson,
            ColumnType::Uuid if is_text => Self::Uuid,
            ColumnType::Geometry if schema.get("wkb").is_some() => Self::Geometry,
            ColumnType::Vector if matches!(schema.kind, Kind::Array(_)) => Self::Vector,
            ColumnType::Array(items) => match &schema.kind {
                Kind::Array(inner) => Self::Array(Box::new(Self::of(items, inner)?)),
                _ => return None,
            },
            _ => Self::of_time(ty, name, is_int, is_text)?,
        };
        Some(found)
    }

    fn of_time(ty: &ColumnType, name: &str, is_int: bool, is_text: bool) -> Option<Self> {
        let unit = unit(name);
        Some(match ty {
            ColumnType::Date if is_int && name.ends_with(".Date") => Self::Date,
            ColumnType::Date if is_text => Self::DateText,
            ColumnType::DateTime { .. } if is_int => Self::DateTime(unit?),
            ColumnType::DateTime { .. } if is_text => Self::DateTimeText,
            ColumnType::Timestamp { .. } if is_int => Self::Timestamp(unit?),
            ColumnType::Timestamp { .. } if is_text => Self::TimestampText,
            ColumnType::Time { .. } if is_int => Self::Time(unit?),
            ColumnType::Time { .. } if is_text => Self::TimeText,
            ColumnType::Interval if is_int => Self::IntervalSpan(unit?),
            ColumnType::Interval if is_text => Self::IntervalText,
            _ => return None,
        })
    }

    /// Whether the value is read piece by piece.
    pub(crate) fn is_composite(&self) -> bool {
        matches!(
            self,
            Self::VariableScaleDecimal
                | Self::AnyJson
                | Self::Geometry
                | Self::Vector
                | Self::Array(_)
        )
    }

    /// A token as the column's value; `None` where it is none.
    pub(crate) fn value<'a>(
        &self,
        token: Token<'a>,
        scratch: &'a mut Scratch,
    ) -> Option<Value<'a>> {
        Some(match (self, token) {
            (_, Token::Null) => Value::Null,
            (Self::Int, Token::Int(value)) => Value::Int(value),
            (Self::Int, Token::Bool(value)) => Value::Int(i64::from(value)),
            (Self::UInt, Token::Int(value)) => Value::UInt(u64::try_from(value).ok()?),
            (Self::Text, Token::Text(text)) => Value::Text(text),
            (Self::Enum, Token::Text(text)) => Value::Enum(text),
            (Self::Set, Token::Text(text)) => Value::Set(text),
            (Self::Json, Token::Text(text)) => Value::Json(text),
            (Self::Bool, Token::Bool(value)) => Value::Bool(value),
            (Self::Bit, Token::Bool(value)) => Value::Bits(Bits {
                length: 1,
                bytes: if value { &[0x80] } else { &[0] },
            }),
            (Self::Float, token) => Value::Float(float(token)?),
            (Self::Double, token) => Value::Double(double(token)?),
            (Self::Date, Token::Int(days)) => Value::Date(days.try_into().ok()?),
            (Self::DateTime(unit), Token::Int(count)) => Value::DateTime(unit.micros(count)?),
            (Self::Timestamp(unit), Token::Int(count)) => Value::Timestamp(unit.micros(count)?),
            (Self::Time(unit), Token::Int(count)) => Value::Time(unit.micros(count)?),
            (Self::IntervalSpan(unit), Token::Int(count)) => Value::Interval(Interval {
                months: 0,
                days: 0,
                micros: unit.micros(count)?,
            }),
            (Self::DateText, Token::Text(text)) => Value::Date(number::iso_date(text)?),
            (Self::DateTimeText, Token::Text(text)) => {
                Value::DateTime(number::iso_timestamp(text)?)
            }
            (Self::TimestampText, Token::Text(text)) => {
                Value::Timestamp(number::iso_timestamp(text)?)
            }
            (Self::TimeText, Token::Text(text)) => Value::Time(number::iso_time(text)?),
            (Self::IntervalText, Token::Text(text)) => {
                let (months, days, micros) = number::interval(text)?;
                Value::Interval(Interval {
                    months,
                    days,
                    micros,
                })
            }
            (Self::Uuid, Token::Text(text)) => Value::Uuid(number::uuid(text)?),
            (Self::DecimalText { scale }, token) => decimal_text(*scale, token, scratch)?,
            (_, token) => self.value_of_bytes(token, scratch)?,
        })
    }

    /// What Connect holds as bytes, and JSON as their base64.
    fn value_of_bytes<'a>(&self, token: Token<'a>, scratch: &'a mut Scratch) -> Option<Value<'a>> {
        let Scratch {
            text,
            bytes: room,
            bits,
        } = scratch;
        let bytes = match token {
            Token::Bytes(bytes) => bytes,
            Token::Text(text) => {
                room.clear();
                STANDARD.decode_vec(text, room).ok()?;
                room.as_slice()
            }
            _ => return None,
        };
        Some(match self {
            Self::Bytes => Value::Bytes(bytes),
            Self::UnsignedDecimal => {
                Value::UInt(u64::try_from(number::small_integer(bytes)?).ok()?)
            }
            Self::Decimal { scale } => {
                number::decimal_text(bytes, *scale, text);
                Value::Decimal(text)
            }
            Self::Bits { length } => {
                left_aligned(*length, bytes, bits);
                Value::Bits(Bits {
                    length: *length,
                    bytes: bits,
                })
            }
            _ => return None,
        })
    }

    /// Whether the token stands for a value that its source did not have at hand.
    pub(crate) fn is_placeholder(&self, token: Token<'_>) -> bool {
        match (self, token) {
            (Self::Text | Self::Json | Self::Enum | Self::Set, Token::Text(text)) => {
                text == UNAVAILABLE
            }
            (Self::Bytes, Token::Bytes(bytes)) => bytes == UNAVAILABLE.as_bytes(),
            // Its base64.
            (Self::Bytes, Token::Text(text)) => text == "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",
            _ => false,
        }
    }
}

fn unit(name: &str) -> Option<Unit> {
    Some(match name {
        "io.debezium.time.Timestamp"
        | "org.apache.kafka.connect.data.Timestamp"
        | "io.debezium.time.Time"
        | "org.apache.kafka.connect.data.Time"
        | "avro.timestamp-millis" => Unit::Millis,
        "io.debezium.time.MicroTimestamp"
        | "io.debezium.time.MicroTime"
        | "io.debezium.time.MicroDuration"
        | "avro.timestamp-micros" => Unit::Micros,
        "io.debezium.time.NanoTimestamp"
        | "io.debezium.time.NanoTime"
        | "io.debezium.time.NanoDuration" => Unit::Nanos,
        _ => return None,
    })
}

fn float(token: Token<'_>) -> Option<f32> {
    match token {
        Token::Float(value) => Some(value),
        Token::Double(value) => Some(value as f32),
        Token::Int(value) => Some(value as f32),
        Token::Number(text) | Token::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn double(token: Token<'_>) -> Option<f64> {
    match token {
        Token::Float(value) => Some(f64::from(value)),
        Token::Double(value) => Some(value),
        Token::Int(value) => Some(value as f64),
        Token::Number(text) | Token::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn decimal_text<'a>(
    scale: Option<i32>,
    token: Token<'a>,
    scratch: &'a mut Scratch,
) -> Option<Value<'a>> {
    let mut buffer = ryu::Buffer::new();
    let mut integer = itoa::Buffer::new();
    let given = match token {
        Token::Text(text) | Token::Number(text) => text,
        Token::Double(value) if value.is_finite() => buffer.format_finite(value),
        Token::Float(value) if value.is_finite() => buffer.format_finite(value),
        Token::Int(value) => integer.format(value),
        _ => return None,
    };
    match given {
        "NaN" => return Some(Value::Decimal("NaN")),
        "Infinity" => return Some(Value::Decimal("Infinity")),
        "-Infinity" => return Some(Value::Decimal("-Infinity")),
        _ => {}
    }
    let own = given
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let scale = match scale {
        Some(scale) => scale,
        None if given.contains(['e', 'E']) => return None,
        None => own.try_into().ok()?,
    };
    number::scaled_text(given, scale, &mut scratch.text)?;
    Some(Value::Decimal(&scratch.text))
}

/// Bits out of a number's bytes, the lowest first.
fn left_aligned(length: u32, bytes: &[u8], out: &mut Vec<u8>) {
    let count = length.div_ceil(8) as usize;
    let padding = (8 - length % 8) % 8;
    out.clear();
    for index in (0..count).rev() {
        let own = u16::from(bytes.get(index).copied().unwrap_or(0));
        let next = index.checked_sub(1).and_then(|index| bytes.get(index));
        let pair = (own << 8) | u16::from(next.copied().unwrap_or(0));
        out.push(((pair << padding) >> 8) as u8);
    }
}
