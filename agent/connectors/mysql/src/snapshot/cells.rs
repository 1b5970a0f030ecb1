//! Rows of the binary protocol, packed straight from the receive buffer.
//!
//! The values are those that the log's decoder makes of the same row, for every type.

use sluice_core::{
    Column, ColumnType, Error, Reason, Result, Row, RowBuilder, TableId, Value,
    value::{Bits, Geometry, MICROS_PER_DAY, days_from_civil},
};

use crate::{
    decode::temporal::{DateText, DateTimeParts, TimeParts},
    wire::{query::ResultColumn, read::Fields},
};

/// How each column of a result is read.
pub(super) struct CellPlan {
    cells: Vec<Cell>,
    names: Vec<String>,
    table: TableId,
}

/// How one column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Int { width: u8, unsigned: bool },
    Float,
    Double,
    Decimal,
    Bit { length: u32 },
    Text,
    Bytes,
    Date,
    DateTime { precision: u8 },
    Timestamp { precision: u8 },
    Time,
    Enum,
    Set,
    Json,
    Geometry,
}

impl CellPlan {
    /// Plans for columns and what the result says of them.
    pub(super) fn new<'a>(
        columns: impl Iterator<Item = &'a Column>,
        results: &[ResultColumn],
        table: &TableId,
    ) -> Result<Self> {
        let mut plan = Self {
            cells: Vec::new(),
            names: Vec::new(),
            table: table.clone(),
        };
        for (column, result) in columns.zip(results) {
            plan.names.push(column.name.clone());
            let cell = Cell::new(&column.ty, result);
            plan.cells
                .push(cell.ok_or_else(|| plan.fault(plan.cells.len()))?);
        }
        if plan.cells.len() != results.len() {
            return Err(plan.fault(plan.cells.len()));
        }
        Ok(plan)
    }

    /// Packs a row.
    pub(super) fn pack(&self, row: &[u8], builder: &mut RowBuilder) -> Result<Row> {
        // Two bits of the bitmap are for the protocol's own use.
        let bitmap_bytes = (self.cells.len() + 9) / 8;
        let mut fields = Fields(row);
        let nulls = fields.bytes(bitmap_bytes).ok_or_else(|| self.fault(0))?;
        builder.begin(self.cells.len(), row.len() + 8 * self.cells.len());
        for (index, cell) in self.cells.iter().enumerate() {
            if nulls[(index + 2) / 8] >> ((index + 2) % 8) & 1 != 0 {
                builder.push(Value::Null);
            } else if cell.read(&mut fields, builder).is_none() {
                return Err(self.fault(index));
            }
        }
        Ok(builder.finish())
    }

    fn fault(&self, index: usize) -> Error {
        let column = self.names.get(index).map_or("?", String::as_str);
        let message = format!(
            "column {column} of table {} can't be read as it is declared",
            self.table
        );
        Error::new(Reason::DecodeFailed, message)
            .with_hint("exclude the table, and report this with SHOW CREATE TABLE")
            .with_table(self.table.clone())
    }
}

impl Cell {
    fn new(ty: &ColumnType, result: &ResultColumn) -> Option<Self> {
        Some(match *ty {
            ColumnType::Int { .. } | ColumnType::Year => {
                let width = match result.kind {
                    1 => 1,
                    2 | 13 => 2,
                    3 | 9 => 4,
                    8 => 8,
                    _ => return None,
                };
                // A year is unsigned to the protocol, and a plain integer to us.
                let unsigned = matches!(ty, ColumnType::Int { unsigned: true, .. });
                Self::Int { width, unsigned }
            }
            ColumnType::Float => Self::Float,
            ColumnType::Double => Self::Double,
            ColumnType::Decimal { .. } => Self::Decimal,
            ColumnType::Bit { length } => Self::Bit { length },
            ColumnType::Char { .. } | ColumnType::Varchar { .. } | ColumnType::Text => Self::Text,
            ColumnType::Binary { .. }
            | ColumnType::Varbinary { .. }
            | ColumnType::Blob
            | ColumnType::Vector => Self::Bytes,
            ColumnType::Date => Self::Date,
            ColumnType::DateTime { precision } => Self::DateTime { precision },
            ColumnType::Timestamp { precision } => Self::Timestamp { precision },
            ColumnType::Time { .. } => Self::Time,
            ColumnType::Enum { .. } => Self::Enum,
            ColumnType::Set { .. } => Self::Set,
            ColumnType::Json => Self::Json,
            ColumnType::Geometry => Self::Geometry,
            ColumnType::Bool | ColumnType::Interval | ColumnType::Uuid | ColumnType::Array(_) => {
                return None;
            }
        })
    }

    #[inline]
    fn read(self, fields: &mut Fields<'_>, builder: &mut RowBuilder) -> Option<()> {
        match self {
            Self::Int { width, unsigned } => {
                let number = fields.uint(usize::from(width))?;
                builder.push(if unsigned {
                    Value::UInt(number)
                } else {
                    let spare = 64 - 8 * u32::from(width);
                    Value::Int((number << spare) as i64 >> spare)
                });
            }
            Self::Float => builder.push(Value::Float(f32::from_le_bytes(fields.array()?))),
            Self::Double => builder.push(Value::Double(f64::from_le_bytes(fields.array()?))),
            Self::Decimal => builder.push(Value::Decimal(plain_decimal(text(fields)?))),
            Self::Bit { length } => {
                let aligned = left_aligned(fields.packed_bytes()?, length)?;
                let bytes = &aligned[..length.div_ceil(8) as usize];
                builder.push(Value::Bits(Bits { length, bytes }));
            }
            Self::Text => builder.push(Value::Text(text(fields)?)),
            Self::Bytes => builder.push(Value::Bytes(fields.packed_bytes()?)),
            Self::Date => push_date(&moment(fields)?, builder),
            Self::DateTime { precision } => {
                builder.push(moment(fields)?.value(precision, &mut DateText::default()));
            }
            Self::Timestamp { precision } => push_timestamp(moment(fields)?, precision, builder),
            Self::Time => builder.push(Value::Time(span(fields)?.micros())),
            Self::Enum => builder.push(Value::Enum(text(fields)?)),
            Self::Set => builder.push(Value::Set(text(fields)?)),
            Self::Json => builder.push(Value::Json(text(fields)?)),
            Self::Geometry => {
                let mut geometry = Fields(fields.packed_bytes()?);
                let srid = geometry.u32()?;
                builder.push(Value::Geometry(Geometry {
                    srid,
                    wkb: geometry.0,
                }));
            }
        }
        Some(())
    }
}

fn text<'a>(fields: &mut Fields<'a>) -> Option<&'a str> {
    std::str::from_utf8(fields.packed_bytes()?).ok()
}

/// ZEROFILL pads with zeros on the left, which are no part of the value.
fn plain_decimal(text: &str) -> &str {
    if !text.starts_with('0') {
        return text;
    }
    let digits = text.trim_start_matches('0');
    let kept = if digits.is_empty() || digits.starts_with('.') {
        digits.len() + 1
    } else {
        digits.len()
    };
    &text[text.len() - kept..]
}

/// The protocol sends a bit string as a number, big-endian.
fn left_aligned(bytes: &[u8], length: u32) -> Option<[u8; 8]> {
    if bytes.len() > 8 || !(1..=64).contains(&length) {
        return None;
    }
    let number = bytes
        .iter()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    Some((number << (64 - length)).to_be_bytes())
}

/// A date with or without a time of day; what is zero at the end is not sent.
fn moment(fields: &mut Fields<'_>) -> Option<DateTimeParts> {
    let length = usize::from(fields.u8()?);
    let mut sent = Fields(fields.bytes(length)?);
    let mut parts = DateTimeParts::ZERO;
    if length >= 4 {
        parts.year = u32::from(sent.u16()?);
        parts.month = u32::from(sent.u8()?);
        parts.day = u32::from(sent.u8()?);
    }
    if length >= 7 {
        parts.hour = u32::from(sent.u8()?);
        parts.minute = u32::from(sent.u8()?);
        parts.second = u32::from(sent.u8()?);
    }
    if length >= 11 {
        parts.micros = sent.u32()?;
    }
    Some(parts)
}

fn push_date(parts: &DateTimeParts, builder: &mut RowBuilder) {
    if let Some(days) = days_from_civil(parts.year as i32, parts.month, parts.day) {
        builder.push(Value::Date(days));
    } else {
        let mut text = DateText::default();
        builder.push(Value::Impossible(text.date(
            parts.year,
            parts.month,
            parts.day,
        )));
    }
}

/// The session's time zone is UTC, so that the clock shows the moment itself.
fn push_timestamp(parts: DateTimeParts, precision: u8, builder: &mut RowBuilder) {
    let mut text = DateText::default();
    builder.push(match parts.value(precision, &mut text) {
        Value::DateTime(micros) => Value::Timestamp(micros),
        other => other,
    });
}

fn span(fields: &mut Fields<'_>) -> Option<TimeParts> {
    const HOURS_PER_DAY: u32 = (MICROS_PER_DAY / 3_600_000_000) as u32;
    let length = usize::from(fields.u8()?);
    let mut sent = Fields(fields.bytes(length)?);
    let mut parts = TimeParts {
        negative: false,
        hour: 0,
        minute: 0,
        second: 0,
        micros: 0,
    };
    if length >= 8 {
        parts.negative = sent.u8()? != 0;
        parts.hour = sent.u32()?.checked_mul(HOURS_PER_DAY)? + u32::from(sent.u8()?);
        parts.minute = u32::from(sent.u8()?);
        parts.second = u32::from(sent.u8()?);
    }
    if length >= 12 {
        parts.micros = sent.u32()?;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cell: Cell, bytes: &[u8]) -> Row {
        let mut builder = RowBuilder::new();
        builder.begin(1, 16);
        cell.read(&mut Fields(bytes), &mut builder).unwrap();
        builder.finish()
    }

    #[test]
    fn integers_keep_their_sign() {
        let int = |width, unsigned| Cell::Int { width, unsigned };
        assert_eq!(read(int(1, false), &[0xff]).get(0), Value::Int(-1));
        assert_eq!(read(int(1, true), &[0xff]).get(0), Value::UInt(255));
        assert_eq!(read(int(8, true), &[0xff; 8]).get(0), Value::UInt(u64::MAX));
    }

    #[test]
    fn bits_are_aligned_to_the_left() {
        let row = read(Cell::Bit { length: 9 }, &[2, 1, 1]);
        let Value::Bits(bits) = row.get(0) else {
            panic!("no bits")
        };
        assert_eq!(
            (bits.length, bits.bytes),
            (9, &[0b1000_0000, 0b1000_0000][..])
        );
    }

    #[test]
    fn impossible_dates_are_kept_as_text() {
        assert_eq!(
            read(Cell::Date, &[0]).get(0),
            Value::Impossible("0000-00-00")
        );
        let zero = read(Cell::Timestamp { precision: 2 }, &[0]);
        assert_eq!(zero.get(0), Value::Impossible("0000-00-00 00:00:00.00"));
        assert_eq!(read(Cell::Date, &[4, 0xb2, 7, 1, 2]).get(0), Value::Date(1));
    }

    #[test]
    fn spans_and_padded_decimals_are_read() {
        let row = read(Cell::Time, &[8, 1, 34, 0, 0, 0, 22, 59, 59]);
        assert_eq!(row.get(0), Value::Time(-3_020_399_000_000));
        assert_eq!(plain_decimal("0000012.50"), "12.50");
        assert_eq!(plain_decimal("0000000.50"), "0.50");
        assert_eq!(plain_decimal("000"), "0");
        assert_eq!(plain_decimal("-1.5"), "-1.5");
    }
}
