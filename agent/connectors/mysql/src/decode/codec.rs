//! How one column's values are read and packed.

use sluice_core::{
    RowBuilder, Value,
    value::{Bits, Geometry},
};

use super::{
    decimal::{DecimalLayout, DecimalText},
    json::put_document,
    reader::{Checked, Fault, Reader},
    temporal::{self, DateText},
};
use crate::charset::TextCodec;

/// How a column's values are read, decided once per table map.
#[derive(Debug)]
pub(crate) enum Codec {
    Int8,
    Int16,
    Int24,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt24,
    UInt32,
    UInt64,
    Float,
    Double,
    Decimal(DecimalLayout),
    Bit {
        length: u8,
    },
    Utf8 {
        length_width: u8,
    },
    Text {
        length_width: u8,
        charset: Box<TextCodec>,
    },
    Bytes {
        length_width: u8,
    },
    FixedBytes {
        length_width: u8,
        length: u16,
    },
    Date,
    DateTime(u8),
    Timestamp(u8),
    Time(u8),
    OldDateTime,
    OldTimestamp,
    OldTime,
    Year,
    Enum {
        width: u8,
        labels: Box<[Box<str>]>,
    },
    Set {
        width: u8,
        labels: Box<[Box<str>]>,
    },
    Json {
        length_width: u8,
    },
    Geometry {
        length_width: u8,
    },
}

/// Room for text on its way into a row, kept from value to value.
#[derive(Debug)]
pub(crate) struct Scratch {
    decimal: DecimalText,
    date: DateText,
    set: String,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            decimal: DecimalText::new(),
            date: DateText::default(),
            set: String::new(),
        }
    }
}

impl Codec {
    /// Whether the column holds JSON.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self, Self::Json { .. })
    }

    /// About how many bytes a packed value takes beside the contents of text and bytes.
    pub(crate) fn cell_bytes(&self) -> usize {
        match self {
            Self::Decimal(layout) => 4 + 3 * layout.size_bytes(),
            Self::FixedBytes { length, .. } => 1 + usize::from(*length),
            Self::Enum { labels, .. } => {
                1 + labels.iter().map(|label| label.len()).max().unwrap_or(0)
            }
            Self::Set { labels, .. } => {
                1 + labels.iter().map(|label| label.len() + 1).sum::<usize>()
            }
            Self::Bit { .. } => 13,
            Self::Date => 12,
            Self::Geometry { .. } | Self::Utf8 { .. } | Self::Text { .. } | Self::Bytes { .. } => 2,
            Self::Json { .. } => 8,
            _ => 9,
        }
    }

    /// Reads a value and packs it as the row's next column.
    #[inline]
    pub(crate) fn decode(
        &self,
        reader: &mut Reader<'_>,
        row: &mut RowBuilder,
        scratch: &mut Scratch,
    ) -> Checked<()> {
        let value = match self {
            Self::Int8 => Value::Int(i64::from(reader.u8()?.cast_signed())),
            Self::Int16 => Value::Int(i64::from(reader.i16()?)),
            Self::Int24 => Value::Int(i64::from((reader.uint(3)? as i32) << 8 >> 8)),
            Self::Int32 => Value::Int(i64::from(reader.i32()?)),
            Self::Int64 => Value::Int(reader.i64()?),
            Self::UInt8 => Value::UInt(u64::from(reader.u8()?)),
            Self::UInt16 => Value::UInt(u64::from(reader.u16()?)),
            Self::UInt24 => Value::UInt(reader.uint(3)?),
            Self::UInt32 => Value::UInt(u64::from(reader.u32()?)),
            Self::UInt64 => Value::UInt(reader.u64()?),
            Self::Float => Value::Float(f32::from_bits(reader.u32()?)),
            Self::Double => Value::Double(f64::from_bits(reader.u64()?)),
            Self::Decimal(layout) => Value::Decimal(layout.read(reader, &mut scratch.decimal)?),
            Self::Bit { length } => return decode_bits(*length, reader, row),
            Self::Utf8 { length_width } => {
                let bytes = reader.prefixed(*length_width)?;
                Value::Text(std::str::from_utf8(bytes).map_err(|_| Fault::InvalidText)?)
            }
            Self::Text {
                length_width,
                charset,
            } => return decode_text(charset, reader.prefixed(*length_width)?, row),
            Self::Bytes { length_width } => Value::Bytes(reader.prefixed(*length_width)?),
            Self::FixedBytes {
                length_width,
                length,
            } => return decode_fixed(*length, reader.prefixed(*length_width)?, row),
            Self::Date => temporal::date(reader, &mut scratch.date)?,
            Self::DateTime(precision) => {
                temporal::date_time(reader, *precision, &mut scratch.date)?
            }
            Self::Timestamp(precision) => {
                temporal::timestamp(reader, *precision, &mut scratch.date)?
            }
            Self::Time(precision) => temporal::time(reader, *precision)?,
            Self::OldDateTime => temporal::old_date_time(reader, &mut scratch.date)?,
            Self::OldTimestamp => temporal::old_timestamp(reader, &mut scratch.date)?,
            Self::OldTime => temporal::old_time(reader)?,
            Self::Year => match reader.u8()? {
                0 => Value::Int(0),
                year => Value::Int(1900 + i64::from(year)),
            },
            Self::Enum { width, labels } => Value::Enum(enum_label(*width, labels, reader)?),
            Self::Set { width, labels } => {
                Value::Set(set_labels(*width, labels, reader, &mut scratch.set)?)
            }
            Self::Json { length_width } => {
                return decode_json(reader.prefixed(*length_width)?, row);
            }
            Self::Geometry { length_width } => {
                let bytes = reader.prefixed(*length_width)?;
                let (srid, wkb) = bytes.split_first_chunk().ok_or(Fault::Truncated)?;
                Value::Geometry(Geometry {
                    srid: u32::from_le_bytes(*srid),
                    wkb,
                })
            }
        };
        row.push(value);
        Ok(())
    }

    /// Passes over a value.
    pub(crate) fn skip(&self, reader: &mut Reader<'_>) -> Checked<()> {
        let size = match self {
            Self::Int8 | Self::UInt8 | Self::Year => 1,
            Self::Int16 | Self::UInt16 => 2,
            Self::Int24 | Self::UInt24 | Self::Date | Self::OldTime => 3,
            Self::Int32 | Self::UInt32 | Self::Float | Self::OldTimestamp => 4,
            Self::Int64 | Self::UInt64 | Self::Double | Self::OldDateTime => 8,
            Self::Decimal(layout) => layout.size_bytes(),
            Self::Bit { length } => usize::from(length.div_ceil(8)),
            Self::DateTime(precision) => 5 + temporal::fraction_bytes(*precision),
            Self::Timestamp(precision) => 4 + temporal::fraction_bytes(*precision),
            Self::Time(precision) => 3 + temporal::fraction_bytes(*precision),
            Self::Enum { width, .. } | Self::Set { width, .. } => usize::from(*width),
            Self::Utf8 { length_width }
            | Self::Text { length_width, .. }
            | Self::Bytes { length_width }
            | Self::FixedBytes { length_width, .. }
            | Self::Json { length_width }
            | Self::Geometry { length_width } => {
                return reader.prefixed(*length_width).map(drop);
            }
        };
        reader.take(size).map(drop)
    }
}

fn decode_bits(length: u8, reader: &mut Reader<'_>, row: &mut RowBuilder) -> Checked<()> {
    let width = usize::from(length.div_ceil(8));
    let number = reader.uint_big_endian(width)?;
    // The log aligns bits to the right of their bytes, a row to the left.
    let aligned = (number << (64 - u32::from(length))).to_be_bytes();
    row.push(Value::Bits(Bits {
        length: u32::from(length),
        bytes: &aligned[..width],
    }));
    Ok(())
}

fn decode_text(charset: &TextCodec, bytes: &[u8], row: &mut RowBuilder) -> Checked<()> {
    if let Some(text) = charset.borrow(bytes).map_err(|_| Fault::InvalidText)? {
        row.push(Value::Text(text));
        return Ok(());
    }
    let mut converted = Ok(());
    row.push_text_with(|buffer| {
        buffer.reserve(bytes.len());
        converted = charset.convert(bytes, buffer);
    });
    converted.map_err(|_| Fault::InvalidText)
}

/// Packs a `BINARY(n)`: the log leaves out the zeros at its end.
fn decode_fixed(length: u16, bytes: &[u8], row: &mut RowBuilder) -> Checked<()> {
    const ZEROS: [u8; 256] = [0; 256];
    let length = usize::from(length);
    match length.checked_sub(bytes.len()) {
        Some(0) => row.push(Value::Bytes(bytes)),
        Some(_) if length <= ZEROS.len() => {
            let mut padded = ZEROS;
            padded[..bytes.len()].copy_from_slice(bytes);
            row.push(Value::Bytes(&padded[..length]));
        }
        Some(missing) => row.push(Value::Bytes(&[bytes, &vec![0; missing]].concat())),
        None => return Err(Fault::Malformed("is longer than its column")),
    }
    Ok(())
}

fn decode_json(bytes: &[u8], row: &mut RowBuilder) -> Checked<()> {
    let mut written = Ok(());
    row.push_json_with(|buffer| {
        buffer.reserve(bytes.len());
        written = put_document(bytes, buffer);
    });
    written
}

fn enum_label<'a>(width: u8, labels: &'a [Box<str>], reader: &mut Reader<'_>) -> Checked<&'a str> {
    let number = reader.uint(usize::from(width))? as usize;
    if number == 0 {
        return Ok("");
    }
    let label = labels.get(number - 1);
    label
        .map(|label| &**label)
        .ok_or(Fault::Malformed("has a number beyond its labels"))
}

fn set_labels<'a>(
    width: u8,
    labels: &[Box<str>],
    reader: &mut Reader<'_>,
    joined: &'a mut String,
) -> Checked<&'a str> {
    let mut bits = reader.uint(usize::from(width))?;
    joined.clear();
    for label in labels {
        if bits & 1 != 0 {
            // The server prints no comma after a label that is empty and first.
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(label);
        }
        bits >>= 1;
    }
    if bits != 0 {
        return Err(Fault::Malformed("has a number beyond its labels"));
    }
    Ok(joined)
}
