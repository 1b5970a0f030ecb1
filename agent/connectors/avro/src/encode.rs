//! Rows to records: what each column's value becomes, decided once, and written through [`Emit`] by
//! either format.
//!
//! What a record can't say (an impossible date, a column that the source did not log, a number that
//! is none) is written as NULL, or where the column must have a value as Debezium's stand-in for it,
//! and noted in [`Losses`].

use std::fmt::Write;

use sluice_core::{Column, ColumnType, Row, TableSchema, Value};

use crate::{connect::quote, number, record::Lost};

/// What Debezium writes for text or bytes that the log does not hold.
pub(crate) const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// What a column's value becomes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Writing {
    Boolean,
    Bit,
    Int,
    UnsignedDecimal,
    Float,
    Double,
    Decimal { scale: u16 },
    VariableScaleDecimal,
    Bits,
    Text,
    Bytes,
    Date,
    Millis,
    Micros,
    Zoned { precision: u8 },
    Time,
    Interval,
    Uuid,
    Geometry,
    Vector,
    Array(Box<Self>),
}

impl Writing {
    /// How values of a type are written; goes with `types::row`.
    pub(crate) fn of(ty: &ColumnType) -> Self {
        match ty {
            ColumnType::Bool => Self::Boolean,
            ColumnType::Bit { length: 1 } => Self::Bit,
            ColumnType::Bit { .. } => Self::Bits,
            ColumnType::Int {
                bits: 64,
                unsigned: true,
            } => Self::UnsignedDecimal,
            ColumnType::Int { .. } | ColumnType::Year => Self::Int,
            ColumnType::Float => Self::Float,
            ColumnType::Double => Self::Double,
            ColumnType::Decimal { precision: 0, .. } => Self::VariableScaleDecimal,
            ColumnType::Decimal { scale, .. } => Self::Decimal { scale: *scale },
            ColumnType::Char { .. }
            | ColumnType::Varchar { .. }
            | ColumnType::Text
            | ColumnType::Enum { .. }
            | ColumnType::Set { .. }
            | ColumnType::Json => Self::Text,
            ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob => {
                Self::Bytes
            }
            ColumnType::Date => Self::Date,
            ColumnType::DateTime { precision: ..=3 } => Self::Millis,
            ColumnType::DateTime { .. } => Self::Micros,
            ColumnType::Timestamp { precision } => Self::Zoned {
                precision: *precision,
            },
            ColumnType::Time { .. } => Self::Time,
            ColumnType::Interval => Self::Interval,
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Geometry => Self::Geometry,
            ColumnType::Vector => Self::Vector,
            ColumnType::Array(items) => Self::Array(Box::new(Self::of(items))),
        }
    }
}

/// One field of a row's struct.
#[derive(Debug)]
pub(crate) struct FieldPlan {
    /// The column's ordinal in the row.
    pub(crate) column: usize,
    /// The column's name.
    pub(crate) name: String,
    pub(crate) nullable: bool,
    pub(crate) writing: Writing,
    /// `{"name":` or `,"name":`.
    pub(crate) label: Vec<u8>,
}

/// The fields of a row's struct.
pub(crate) fn row_plan(table: &TableSchema) -> Vec<FieldPlan> {
    plan(table.columns.iter().enumerate())
}

/// The fields of a key's struct.
pub(crate) fn key_plan(table: &TableSchema) -> Vec<FieldPlan> {
    plan(
        table
            .key
            .iter()
            .map(|&column| (column, &table.columns[column])),
    )
}

fn plan<'a>(columns: impl Iterator<Item = (usize, &'a Column)>) -> Vec<FieldPlan> {
    columns
        .enumerate()
        .map(|(place, (column, definition))| {
            let mut label = String::from(if place == 0 { "{" } else { "," });
            quote(&definition.name, &mut label);
            label.push(':');
            FieldPlan {
                column,
                name: definition.name.clone(),
                nullable: definition.nullable,
                writing: Writing::of(&definition.ty),
                label: label.into_bytes(),
            }
        })
        .collect()
}

/// A format, as far as values go.
pub(crate) trait Emit {
    fn begin_field(&mut self, field: &FieldPlan);
    fn end_struct(&mut self, fields: usize);
    fn null(&mut self);
    /// An optional value follows.
    fn some(&mut self);
    fn boolean(&mut self, value: bool);
    fn int(&mut self, value: i64);
    fn float(&mut self, value: f32);
    fn double(&mut self, value: f64);
    fn text(&mut self, value: &str);
    fn bytes(&mut self, value: &[u8]);
    fn begin_array(&mut self, length: usize);
    fn begin_item(&mut self, index: usize);
    fn end_array(&mut self, length: usize);
    fn geometry(&mut self, wkb: &[u8], srid: u32);
    fn scaled_decimal(&mut self, scale: u16, unscaled: &[u8]);
}

/// What could not be said, as a JSON object under way; allocates only once there is something.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    json: String,
}

impl Losses {
    pub(crate) fn add(&mut self, image: &str, column: &str, what: Unsaid<'_>) {
        self.json.push(if self.json.is_empty() { '{' } else { ',' });
        quote(&format!("{image}.{column}"), &mut self.json);
        self.json.push(':');
        match what {
            Unsaid::Unchanged => self.json.push_str("{\"unchanged\":true}"),
            Unsaid::Impossible(text) => {
                self.json.push_str("{\"impossible\":");
                quote(text, &mut self.json);
                self.json.push('}');
            }
            Unsaid::Decimal(text) => {
                self.json.push_str("{\"decimal\":");
                quote(text, &mut self.json);
                self.json.push('}');
            }
            Unsaid::Micros(micros) => {
                write!(self.json, "{{\"micros\":{micros}}}").expect("a string takes everything");
            }
            Unsaid::Mismatch | Unsaid::Item => self.json.push_str("{\"mismatch\":true}"),
        }
    }

    pub(crate) fn take(&mut self) -> Lost {
        if self.json.is_empty() {
            return Lost::default();
        }
        self.json.push('}');
        Lost(Some(std::mem::take(&mut self.json)))
    }
}

/// Why a value can't be said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unsaid<'a> {
    Unchanged,
    Impossible(&'a str),
    /// A decimal that is no number.
    Decimal(&'a str),
    /// A date and time finer than the column is declared.
    Micros(i64),
    /// An element of an array; the array is written without it.
    Item,
    /// The value is of another kind than its column, which is a fault of whoever made the row.
    Mismatch,
}

/// Writes a row's struct; `image` names it in the losses.
pub(crate) fn write_row<E: Emit>(
    plan: &[FieldPlan],
    row: &Row,
    emit: &mut E,
    image: &str,
    losses: &mut Losses,
) {
    for field in plan {
        emit.begin_field(field);
        let value = row.get(field.column);
        if field.nullable {
            match value {
                Value::Null => {
                    emit.null();
                    continue;
                }
                Value::Unchanged if !has_placeholder(&field.writing) => {
                    losses.add(image, &field.name, Unsaid::Unchanged);
                    emit.null();
                    continue;
                }
                Value::Impossible(text) => {
                    losses.add(image, &field.name, Unsaid::Impossible(text));
                    emit.null();
                    continue;
                }
                _ => emit.some(),
            }
        }
        if let Err(unsaid) = write_value(&field.writing, value, emit) {
            losses.add(image, &field.name, unsaid);
            write_stand_in(&field.writing, unsaid, emit);
        }
    }
    emit.end_struct(plan.len());
}

fn has_placeholder(writing: &Writing) -> bool {
    matches!(writing, Writing::Text | Writing::Bytes)
}

/// Writes a value, or nothing at all where the format has no way to say it.
fn write_value<'a, E: Emit>(
    writing: &Writing,
    value: Value<'a>,
    emit: &mut E,
) -> Result<(), Unsaid<'a>> {
    match (writing, value) {
        (Writing::Int, Value::Int(value)) => emit.int(value),
        (Writing::Int, Value::UInt(value)) => emit.int(value as i64),
        (
            Writing::Text,
            Value::Text(text) | Value::Enum(text) | Value::Set(text) | Value::Json(text),
        ) => {
            emit.text(text);
        }
        (Writing::Bytes, Value::Bytes(bytes)) => emit.bytes(bytes),
        (Writing::Decimal { scale }, Value::Decimal(text)) => {
            number::with_unscaled(text, *scale, |bytes| emit.bytes(bytes))
                .ok_or(Unsaid::Decimal(text))?;
        }
        (Writing::UnsignedDecimal, Value::UInt(value)) => {
            emit.bytes(number::shortest(&i128::from(value).to_be_bytes()));
        }
        (Writing::Date, Value::Date(days)) => emit.int(i64::from(days)),
        (Writing::Millis, Value::DateTime(micros)) => {
            emit.int(micros.div_euclid(1000));
            if micros % 1000 != 0 {
                // The stand-in is written already.
                return Err(Unsaid::Micros(micros));
            }
        }
        (Writing::Micros, Value::DateTime(micros)) | (Writing::Time, Value::Time(micros)) => {
            emit.int(micros);
        }
        (Writing::Zoned { precision }, Value::Timestamp(micros)) => {
            emit.text(number::zoned_timestamp(micros, *precision).as_str());
        }
        (Writing::Float, Value::Float(value)) => emit.float(value),
        (Writing::Double, Value::Double(value)) => emit.double(value),
        (Writing::Boolean, Value::Bool(value)) => emit.boolean(value),
        (Writing::Bit, Value::Bits(bits)) if bits.length == 1 && bits.bytes.len() == 1 => {
            emit.boolean(bits.bytes[0] >= 0x80);
        }
        (Writing::Bits, Value::Bits(bits)) => write_bits(bits.length, bits.bytes, emit),
        (Writing::VariableScaleDecimal, Value::Decimal(text)) => {
            let scale = text
                .split_once('.')
                .map_or(0, |(_, fraction)| fraction.len());
            let scale = u16::try_from(scale).map_err(|_| Unsaid::Decimal(text))?;
            number::with_unscaled(text, scale, |bytes| emit.scaled_decimal(scale, bytes))
                .ok_or(Unsaid::Decimal(text))?;
        }
        (Writing::Interval, Value::Interval(span)) => {
            emit.text(&number::interval_text(span.months, span.days, span.micros));
        }
        (Writing::Uuid, Value::Uuid(bytes)) => emit.text(number::uuid_text(&bytes).as_str()),
        (Writing::Geometry, Value::Geometry(geometry)) => {
            emit.geometry(geometry.wkb, geometry.srid);
        }
        (Writing::Vector, Value::Bytes(bytes)) => write_vector(bytes, emit),
        (Writing::Array(items), Value::Array(row)) => {
            let mut complete = true;
            emit.begin_array(row.len());
            for (index, value) in row.values().enumerate() {
                emit.begin_item(index);
                if value.is_null() {
                    emit.null();
                    continue;
                }
                emit.some();
                if let Err(unsaid) = write_value(items, value, emit) {
                    write_stand_in(items, unsaid, emit);
                    complete = false;
                }
            }
            emit.end_array(row.len());
            if !complete {
                return Err(Unsaid::Item);
            }
        }
        (_, Value::Unchanged) => return Err(Unsaid::Unchanged),
        (_, Value::Impossible(text)) => return Err(Unsaid::Impossible(text)),
        _ => return Err(Unsaid::Mismatch),
    }
    Ok(())
}

/// Bits as a number's bytes, the lowest first.
fn write_bits<E: Emit>(length: u32, bytes: &[u8], emit: &mut E) {
    let padding = (8 - length % 8) % 8;
    let mut buffer = [0_u8; 8];
    let mut large;
    let out = if let Some(out) = buffer.get_mut(..bytes.len()) {
        out
    } else {
        large = vec![0; bytes.len()];
        &mut large[..]
    };
    for (index, slot) in out.iter_mut().rev().enumerate() {
        let high = if index == 0 {
            0
        } else {
            u16::from(bytes[index - 1])
        };
        let pair = (high << 8) | u16::from(bytes[index]);
        *slot = (pair >> padding) as u8;
    }
    emit.bytes(out);
}

fn write_vector<E: Emit>(bytes: &[u8], emit: &mut E) {
    let length = bytes.len() / 4;
    emit.begin_array(length);
    for (index, chunk) in bytes.chunks_exact(4).enumerate() {
        emit.begin_item(index);
        emit.float(f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
    }
    emit.end_array(length);
}

/// Writes what stands for a value that can't be said in a column that must have one: what Debezium
/// writes for it, zero or nothing.
fn write_stand_in<E: Emit>(writing: &Writing, unsaid: Unsaid<'_>, emit: &mut E) {
    match writing {
        // Written as far as it goes.
        _ if matches!(unsaid, Unsaid::Micros(_) | Unsaid::Item) => {}
        Writing::Text if unsaid == Unsaid::Unchanged => emit.text(UNAVAILABLE),
        Writing::Bytes if unsaid == Unsaid::Unchanged => emit.bytes(UNAVAILABLE.as_bytes()),
        Writing::Boolean | Writing::Bit => emit.boolean(false),
        Writing::Int | Writing::Date | Writing::Millis | Writing::Micros | Writing::Time => {
            emit.int(0);
        }
        Writing::Float => emit.float(0.0),
        Writing::Double => emit.double(0.0),
        Writing::Text => emit.text(""),
        Writing::Zoned { .. } => emit.text("1970-01-01T00:00:00Z"),
        Writing::Interval => emit.text("P0Y0M0DT0H0M0S"),
        Writing::Uuid => emit.text(number::uuid_text(&[0; 16]).as_str()),
        Writing::UnsignedDecimal | Writing::Decimal { .. } => emit.bytes(&[0]),
        Writing::VariableScaleDecimal => emit.scaled_decimal(0, &[0]),
        Writing::Bits | Writing::Bytes => emit.bytes(&[]),
        Writing::Geometry => emit.geometry(&[], 0),
        Writing::Vector | Writing::Array(_) => {
            emit.begin_array(0);
            emit.end_array(0);
        }
    }
}
