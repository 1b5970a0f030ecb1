//! A row, packed into one run of bytes.
//!
//! Many rows share one buffer (a binlog event's, a chunk's), so a row costs no allocation of its
//! own, its size is known exactly for back-pressure, and equal values have equal bytes, so that a
//! key can be hashed and compared as bytes.
//!
//! Layout, little endian: `u16` column count, one `u32` end offset per column (from the first
//! cell), then the cells: one tag byte and the payload. The layout lives in memory and in snapshot
//! frontiers only; [`FORMAT`] names its version there.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::value::{Bits, Geometry, Interval, Value};

/// The version of the packed layout, written in front of persisted keys.
pub const FORMAT: u8 = 1;

const NULL: u8 = 0;
const UNCHANGED: u8 = 1;
const BOOL: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const FLOAT: u8 = 5;
const DOUBLE: u8 = 6;
const DECIMAL: u8 = 7;
const TEXT: u8 = 8;
const BYTES: u8 = 9;
const BITS: u8 = 10;
const DATE: u8 = 11;
const DATE_TIME: u8 = 12;
const TIMESTAMP: u8 = 13;
const TIME: u8 = 14;
const INTERVAL: u8 = 15;
const IMPOSSIBLE: u8 = 16;
const ENUM: u8 = 17;
const SET: u8 = 18;
const JSON: u8 = 19;
const UUID: u8 = 20;
const GEOMETRY: u8 = 21;
const ARRAY: u8 = 22;

/// An owned row. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Row(Bytes);

/// A borrowed row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowRef<'a>(&'a [u8]);

impl Row {
    /// Packs values into a row of its own; for keys and tests, not for the hot path.
    pub fn pack<'a>(values: impl IntoIterator<Item = Value<'a>>) -> Self {
        let values: Vec<_> = values.into_iter().collect();
        let mut builder = RowBuilder::new();
        builder.begin(values.len(), 0);
        for value in values {
            builder.push(value);
        }
        builder.finish()
    }

    /// How many columns the row has.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether the row has no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a column by its ordinal.
    pub fn get(&self, index: usize) -> Value<'_> {
        self.view().get(index)
    }

    /// The packed cell of a column: equal cells are equal values.
    pub fn cell(&self, index: usize) -> &[u8] {
        self.view().cell(index)
    }

    /// The values in column order.
    pub fn values(&self) -> impl Iterator<Item = Value<'_>> {
        self.view().values()
    }

    /// The row's size in bytes.
    pub fn size_bytes(&self) -> usize {
        self.0.len()
    }

    /// The packed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A borrowed view.
    pub fn view(&self) -> RowRef<'_> {
        RowRef(&self.0)
    }

    /// A row of some of this row's columns, in the given order.
    pub fn project(&self, columns: &[usize]) -> Self {
        let mut builder = RowBuilder::new();
        let payload: usize = columns.iter().map(|&column| self.cell(column).len()).sum();
        builder.begin(columns.len(), payload);
        for &column in columns {
            builder.push_cell(self.cell(column));
        }
        builder.finish()
    }

    /// Whether any column is [`Value::Unchanged`].
    pub fn has_unchanged(&self) -> bool {
        (0..self.len()).any(|index| self.cell(index) == [UNCHANGED])
    }

    /// Lays this row over an older one: columns that this row leaves unchanged come from `older`.
    pub fn laid_over(&self, older: &Self) -> Self {
        if !self.has_unchanged() || older.len() != self.len() {
            return self.clone();
        }
        let mut builder = RowBuilder::new();
        builder.begin(self.len(), self.size_bytes());
        for index in 0..self.len() {
            let cell = self.cell(index);
            builder.push_cell(if cell == [UNCHANGED] {
                older.cell(index)
            } else {
                cell
            });
        }
        builder.finish()
    }

    /// Reads a row from its packed bytes; `None` when they are not a well-formed row.
    pub fn from_packed(bytes: Bytes) -> Option<Self> {
        RowRef::checked(&bytes)?;
        Some(Self(bytes))
    }
}

/// Values are data and never printed: only the shape is.
impl fmt::Debug for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Row({} columns, {} bytes)",
            self.len(),
            self.size_bytes()
        )
    }
}

impl fmt::Debug for RowRef<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RowRef({} columns)", self.len())
    }
}

impl<'a> RowRef<'a> {
    /// How many columns the row has.
    pub fn len(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// Whether the row has no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a column by its ordinal.
    pub fn get(&self, index: usize) -> Value<'a> {
        read_cell(self.cell(index))
    }

    /// The values in column order.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let row = *self;
        (0..row.len()).map(move |index| row.get(index))
    }

    /// The packed cell of a column.
    pub fn cell(&self, index: usize) -> &'a [u8] {
        let columns = self.len();
        assert!(index < columns, "column {index} of a row of {columns}");
        let cells = 2 + 4 * columns;
        let start = if index == 0 { 0 } else { self.end(index - 1) };
        &self.0[cells + start..cells + self.end(index)]
    }

    fn end(&self, index: usize) -> usize {
        let at = 2 + 4 * index;
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]]) as usize
    }

    fn checked(bytes: &'a [u8]) -> Option<Self> {
        let row = Self(bytes);
        let columns = usize::from(u16::from_le_bytes([*bytes.first()?, *bytes.get(1)?]));
        let cells = 2 + 4 * columns;
        if bytes.len() < cells {
            return None;
        }
        let mut start = 0;
        for index in 0..columns {
            let end = row.end(index);
            if end <= start || cells + end > bytes.len() {
                return None;
            }
            start = end;
        }
        (cells + start == bytes.len()).then_some(row)
    }
}

/// Packs rows one after another into shared buffers.
#[derive(Debug, Default)]
pub struct RowBuilder {
    buffer: BytesMut,
    columns: usize,
    pushed: usize,
}

impl RowBuilder {
    /// A builder without a buffer yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder whose first buffer holds `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: BytesMut::with_capacity(capacity),
            columns: 0,
            pushed: 0,
        }
    }

    /// Starts a row of `columns` columns whose cells take about `payload` bytes.
    ///
    /// An unfinished row is discarded.
    pub fn begin(&mut self, columns: usize, payload: usize) {
        self.buffer.clear();
        self.columns = columns;
        self.pushed = 0;
        self.buffer.reserve(2 + 5 * columns + payload);
        self.buffer
            .put_u16_le(u16::try_from(columns).expect("a table has at most 65,535 columns"));
        self.buffer.put_bytes(0, 4 * columns);
    }

    /// Adds the next column's value.
    pub fn push(&mut self, value: Value<'_>) {
        let buffer = &mut self.buffer;
        match value {
            Value::Null => buffer.put_u8(NULL),
            Value::Unchanged => buffer.put_u8(UNCHANGED),
            Value::Bool(value) => buffer.put_slice(&[BOOL, u8::from(value)]),
            Value::Int(value) => put_tagged(buffer, INT, &value.to_le_bytes()),
            Value::UInt(value) => put_tagged(buffer, UINT, &value.to_le_bytes()),
            Value::Float(value) => put_tagged(buffer, FLOAT, &value.to_le_bytes()),
            Value::Double(value) => put_tagged(buffer, DOUBLE, &value.to_le_bytes()),
            Value::Decimal(text) => put_tagged(buffer, DECIMAL, text.as_bytes()),
            Value::Text(text) => put_tagged(buffer, TEXT, text.as_bytes()),
            Value::Bytes(bytes) => put_tagged(buffer, BYTES, bytes),
            Value::Bits(bits) => {
                put_tagged(buffer, BITS, &bits.length.to_le_bytes());
                buffer.put_slice(bits.bytes);
            }
            Value::Date(days) => put_tagged(buffer, DATE, &days.to_le_bytes()),
            Value::DateTime(micros) => put_tagged(buffer, DATE_TIME, &micros.to_le_bytes()),
            Value::Timestamp(micros) => put_tagged(buffer, TIMESTAMP, &micros.to_le_bytes()),
            Value::Time(micros) => put_tagged(buffer, TIME, &micros.to_le_bytes()),
            Value::Interval(interval) => {
                put_tagged(buffer, INTERVAL, &interval.months.to_le_bytes());
                buffer.put_i32_le(interval.days);
                buffer.put_i64_le(interval.micros);
            }
            Value::Impossible(text) => put_tagged(buffer, IMPOSSIBLE, text.as_bytes()),
            Value::Enum(text) => put_tagged(buffer, ENUM, text.as_bytes()),
            Value::Set(text) => put_tagged(buffer, SET, text.as_bytes()),
            Value::Json(text) => put_tagged(buffer, JSON, text.as_bytes()),
            Value::Uuid(bytes) => put_tagged(buffer, UUID, &bytes),
            Value::Geometry(geometry) => {
                put_tagged(buffer, GEOMETRY, &geometry.srid.to_le_bytes());
                buffer.put_slice(geometry.wkb);
            }
            Value::Array(row) => put_tagged(buffer, ARRAY, row.0),
        }
        self.end_cell();
    }

    /// Adds the next column as a cell that another row packed.
    pub fn push_cell(&mut self, cell: &[u8]) {
        self.buffer.put_slice(cell);
        self.end_cell();
    }

    /// Adds the next column as text whose pieces the caller appends.
    pub fn push_text_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.buffer.put_u8(TEXT);
        write(&mut self.buffer);
        self.end_cell();
    }

    /// Adds the next column as a JSON document whose pieces the caller appends.
    pub fn push_json_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.buffer.put_u8(JSON);
        write(&mut self.buffer);
        self.end_cell();
    }

    /// Ends the row and hands it out; the buffer's rest serves the next row.
    pub fn finish(&mut self) -> Row {
        assert_eq!(
            self.pushed, self.columns,
            "every column of a row is pushed exactly once"
        );
        Row(self.buffer.split().freeze())
    }

    fn end_cell(&mut self) {
        assert!(self.pushed < self.columns, "more values than columns");
        let end = (self.buffer.len() - (2 + 4 * self.columns)) as u32;
        let at = 2 + 4 * self.pushed;
        self.buffer[at..at + 4].copy_from_slice(&end.to_le_bytes());
        self.pushed += 1;
    }
}

fn put_tagged(buffer: &mut BytesMut, tag: u8, payload: &[u8]) {
    buffer.reserve(1 + payload.len());
    buffer.put_u8(tag);
    buffer.put_slice(payload);
}

fn read_cell(cell: &[u8]) -> Value<'_> {
    let (tag, payload) = (cell[0], &cell[1..]);
    match tag {
        NULL => Value::Null,
        UNCHANGED => Value::Unchanged,
        BOOL => Value::Bool(payload[0] != 0),
        INT => Value::Int(i64::from_le_bytes(fixed(payload))),
        UINT => Value::UInt(u64::from_le_bytes(fixed(payload))),
        FLOAT => Value::Float(f32::from_le_bytes(fixed(payload))),
        DOUBLE => Value::Double(f64::from_le_bytes(fixed(payload))),
        DECIMAL => Value::Decimal(text(payload)),
        TEXT => Value::Text(text(payload)),
        BYTES => Value::Bytes(payload),
        BITS => Value::Bits(Bits {
            length: u32::from_le_bytes(fixed(&payload[..4])),
            bytes: &payload[4..],
        }),
        DATE => Value::Date(i32::from_le_bytes(fixed(payload))),
        DATE_TIME => Value::DateTime(i64::from_le_bytes(fixed(payload))),
        TIMESTAMP => Value::Timestamp(i64::from_le_bytes(fixed(payload))),
        TIME => Value::Time(i64::from_le_bytes(fixed(payload))),
        INTERVAL => Value::Interval(Interval {
            months: i32::from_le_bytes(fixed(&payload[..4])),
            days: i32::from_le_bytes(fixed(&payload[4..8])),
            micros: i64::from_le_bytes(fixed(&payload[8..])),
        }),
        IMPOSSIBLE => Value::Impossible(text(payload)),
        ENUM => Value::Enum(text(payload)),
        SET => Value::Set(text(payload)),
        JSON => Value::Json(text(payload)),
        UUID => Value::Uuid(fixed(payload)),
        GEOMETRY => Value::Geometry(Geometry {
            srid: u32::from_le_bytes(fixed(&payload[..4])),
            wkb: &payload[4..],
        }),
        ARRAY => Value::Array(RowRef(payload)),
        _ => unreachable!("a cell's tag is written by RowBuilder::push"),
    }
}

fn fixed<const N: usize>(payload: &[u8]) -> [u8; N] {
    payload
        .try_into()
        .expect("a cell's length follows from its tag")
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("text cells are packed from str")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Value<'static>> {
        vec![
            Value::Null,
            Value::Unchanged,
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::UInt(u64::MAX),
            Value::Float(1.5),
            Value::Double(-0.0),
            Value::Decimal("-12.50"),
            Value::Text("a\u{1f600}"),
            Value::Bytes(&[0, 255]),
            Value::Bits(Bits {
                length: 9,
                bytes: &[1, 128],
            }),
            Value::Date(-1),
            Value::DateTime(7),
            Value::Timestamp(8),
            Value::Time(-3_020_399_000_000),
            Value::Interval(Interval {
                months: 1,
                days: -2,
                micros: 3,
            }),
            Value::Impossible("0000-00-00"),
            Value::Enum(""),
            Value::Set("a,b"),
            Value::Json("{}"),
            Value::Uuid([7; 16]),
            Value::Geometry(Geometry {
                srid: 4326,
                wkb: &[1],
            }),
        ]
    }

    #[test]
    fn every_kind_of_value_is_read_as_it_was_packed() {
        let row = Row::pack(every_kind());
        assert_eq!(row.values().collect::<Vec<_>>(), every_kind());
        let nested = Row::pack([Value::Array(row.view())]);
        assert_eq!(nested.get(0), Value::Array(row.view()));
    }

    #[test]
    fn packed_bytes_are_read_back_and_damage_is_refused() {
        let row = Row::pack(every_kind());
        let bytes = row.as_bytes().to_vec();
        assert_eq!(Row::from_packed(bytes.clone().into()), Some(row));
        assert_eq!(
            Row::from_packed(bytes[..bytes.len() - 1].to_vec().into()),
            None
        );
        assert_eq!(Row::from_packed(Bytes::new()), None);
    }

    #[test]
    fn an_unchanged_column_keeps_the_older_value() {
        let older = Row::pack([Value::Int(1), Value::Text("big")]);
        let newer = Row::pack([Value::Int(2), Value::Unchanged]);
        let merged = newer.laid_over(&older);
        assert_eq!(
            merged.values().collect::<Vec<_>>(),
            [Value::Int(2), Value::Text("big")]
        );
    }

    #[test]
    fn one_builder_packs_many_rows() {
        let mut builder = RowBuilder::with_capacity(1024);
        let rows: Vec<_> = (0..10)
            .map(|number| {
                builder.begin(2, 16);
                builder.push(Value::Int(number));
                builder.push(Value::Text("x"));
                builder.finish()
            })
            .collect();
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(row.get(0), Value::Int(number as i64));
        }
    }

    #[test]
    fn debug_never_prints_values() {
        let row = Row::pack([Value::Text("secret")]);
        assert!(!format!("{row:?}").contains("secret"));
    }
}
