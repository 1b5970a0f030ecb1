//! How values order, exactly: integers and decimals by their digits, floats by the column's own
//! width, text and bytes as bytes, dates and date-times on one line. Nothing here allocates.

use std::{
    cmp::Ordering,
    fmt::{self, Write as _},
    str,
};

use sluice_core::{Value, value::MICROS_PER_DAY};

use crate::route::filter::moment::Moment;

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::route) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Comparison {
    pub(super) fn from_symbol(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "=" => Self::Equal,
            "<>" | "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::Greater,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    /// The operator that says the same with both sides exchanged.
    pub(super) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::Greater => Self::Less,
            Self::AtLeast => Self::AtMost,
            same => same,
        }
    }

    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

/// A constant in the form that compares with its column's values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Bool(bool),
    Integer(i128),
    /// Plain digits, as in [`Value::Decimal`].
    Decimal(String),
    Float(f32),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid([u8; 16]),
    Moment(Moment),
    Time(i64),
}

/// Compares a column's value with a constant bound to the column's type; `None` for values of
/// another kind.
pub(super) fn order_literal(value: Value<'_>, literal: &Literal) -> Option<Ordering> {
    Some(match (value, literal) {
        (Value::Bool(value), Literal::Bool(literal)) => value.cmp(literal),
        (Value::Decimal(value), Literal::Decimal(literal)) => order_decimals(value, literal),
        (Value::Float(value), Literal::Float(literal)) => {
            order_floats(f64::from(value), f64::from(*literal))
        }
        (Value::Double(value), Literal::Double(literal)) => order_floats(value, *literal),
        (Value::Text(value) | Value::Enum(value) | Value::Set(value), Literal::Text(literal)) => {
            value.as_bytes().cmp(literal.as_bytes())
        }
        (Value::Bytes(value), Literal::Bytes(literal)) => value.cmp(literal),
        (Value::Uuid(value), Literal::Uuid(literal)) => value.cmp(literal),
        (Value::Time(value), Literal::Time(literal)) => value.cmp(literal),
        (value, Literal::Moment(literal)) => Moment::of(value)?.cmp(literal),
        (value, Literal::Integer(literal)) => integer(value)?.cmp(literal),
        (value, Literal::Decimal(literal)) => {
            order_decimals(Digits::of(integer(value)?).as_str(), literal)
        }
        _ => return None,
    })
}

/// Compares the values of two columns that `bind` found comparable.
pub(super) fn order_values(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (text(left), text(right)) {
        return Some(left.as_bytes().cmp(right.as_bytes()));
    }
    if let (Some(left), Some(right)) = (integer(left), integer(right)) {
        return Some(left.cmp(&right));
    }
    if let (Some(left), Some(right)) = (Moment::of(left), Moment::of(right)) {
        return Some(left.cmp(&right));
    }
    match (left, right) {
        (Value::Decimal(left), Value::Decimal(right)) => Some(order_decimals(left, right)),
        (Value::Decimal(left), right) => {
            Some(order_decimals(left, Digits::of(integer(right)?).as_str()))
        }
        (left, Value::Decimal(right)) => {
            Some(order_decimals(Digits::of(integer(left)?).as_str(), right))
        }
        (left, right) => match (float(left), float(right)) {
            (Some(left), Some(right)) => Some(order_floats(left, right)),
            _ => left.compare(&right),
        },
    }
}

/// The text of a value that is text.
pub(super) fn text(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Enum(text) | Value::Set(text) => Some(text),
        _ => None,
    }
}

/// Whether a value counts as true by itself.
pub(super) fn truth(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(value),
        value => integer(value).map(|number| number != 0),
    }
}

fn integer(value: Value<'_>) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(value)),
        Value::UInt(value) => Some(i128::from(value)),
        // The bits are left-aligned: the padding at the end goes.
        Value::Bits(bits) if bits.length <= 64 => {
            let join = |number: u128, &byte: &u8| number << 8 | u128::from(byte);
            let padding = bits.bytes.len() as u32 * 8 - bits.length;
            i128::try_from(bits.bytes.iter().fold(0, join) >> padding).ok()
        }
        _ => None,
    }
}

fn float(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Float(value) => Some(f64::from(value)),
        Value::Double(value) => Some(value),
        _ => None,
    }
}

/// NaN equals itself and is greater than everything, as in PostgreSQL.
pub(super) fn order_floats(left: f64, right: f64) -> Ordering {
    let by_nan = || left.is_nan().cmp(&right.is_nan());
    left.partial_cmp(&right).unwrap_or_else(by_nan)
}

/// Compares two plain decimals (or `NaN`, `Infinity`, `-Infinity`) by their digits.
pub(super) fn order_decimals(left: &str, right: &str) -> Ordering {
    let (left, right) = (Decimal::new(left), Decimal::new(right));
    left.sign.cmp(&right.sign).then_with(|| {
        let magnitudes = left.magnitude().cmp(&right.magnitude());
        if left.sign < 0 {
            magnitudes.reverse()
        } else {
            magnitudes
        }
    })
}

struct Decimal<'a> {
    /// -2 and 2 are the infinities, 3 is NaN.
    sign: i8,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn new(text: &'a str) -> Self {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let (whole, fraction) = (
            whole.trim_start_matches('0'),
            fraction.trim_end_matches('0'),
        );
        let size = match whole.as_bytes().first() {
            Some(b'N' | b'n') => 3,
            Some(b'I' | b'i') => 2,
            None if fraction.is_empty() => 0,
            _ => 1,
        };
        Self {
            sign: if is_negative { -size } else { size },
            whole: if size > 1 { "" } else { whole },
            fraction,
        }
    }

    /// Without leading and trailing zeros more digits are more, and fractions order as text.
    fn magnitude(&self) -> (usize, &'a str, &'a str) {
        (self.whole.len(), self.whole, self.fraction)
    }
}

/// An integer's digits, on the stack.
struct Digits {
    bytes: [u8; 40],
    length: usize,
}

impl Digits {
    fn of(number: i128) -> Self {
        let mut digits = Self {
            bytes: [0; 40],
            length: 0,
        };
        write!(digits, "{number}").expect("an i128 has at most 40 characters");
        digits
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).expect("only whole str are written")
    }
}

impl fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Microseconds since 1970 of a value on the calendar.
pub(super) fn calendar_micros(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Date(days) => i64::from(days).checked_mul(MICROS_PER_DAY),
        Value::DateTime(micros) | Value::Timestamp(micros) => Some(micros),
        _ => None,
    }
}
