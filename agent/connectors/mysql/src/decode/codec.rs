//! How one column's values are read and packed.

use sluice_core::{
    ColumnType, RowBuilder, Value,
    value::{Bits, Geometry},
};

use super::{
    column_type::RawType,
    decimal::{DecimalLayout, DecimalText},
    json::put_document,
    metadata::Metadata,
    reader::{Checked, Fault, Reader},
    temporal::{self, DateText},
};
use crate::charset::{Charsets, TextCodec, UnknownCharset};

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

/// A codec and what only the column's type is made of.
#[derive(Debug)]
pub(crate) struct ColumnCodec {
    pub(crate) codec: Codec,
    /// The longest character in bytes; `None` for what isn't text.
    char_bytes_max: Option<u8>,
}

/// Why a column can't be decoded, as the end of a sentence about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ColumnProblem {
    #[error("has a text type but no collation")]
    NoCollation,
    #[error("can't be decoded: {0}")]
    Charset(#[from] UnknownCharset),
    #[error("has a label that its character set does not allow")]
    Label,
    #[error("{}", .0.describe())]
    Layout(Fault),
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
    /// Decides how the column at `index` is read.
    pub(crate) fn new(
        ty: RawType,
        index: usize,
        metadata: &Metadata<'_>,
        charsets: &Charsets,
    ) -> Result<ColumnCodec, ColumnProblem> {
        let unsigned = metadata.unsigned[index];
        let collation = || match metadata.collations[index] {
            Some(collation) => Ok(charsets.resolve(collation)?),
            None => Err(ColumnProblem::NoCollation),
        };
        let labels = || {
            let (charset, _) = collation()?;
            let labels = metadata.labels[index].iter().map(|label| match charset {
                // A binary enum's labels have no character set; the server reads them as UTF-8.
                TextCodec::Binary => TextCodec::Utf8.to_text(label),
                _ => charset.to_text(label),
            });
            let labels = labels.map(|label| label.map(String::into_boxed_str));
            labels
                .collect::<Result<_, _>>()
                .or(Err(ColumnProblem::Label))
        };
        let codec = match ty {
            RawType::Int(bits) => int_codec(bits, unsigned),
            RawType::Float => Self::Float,
            RawType::Double => Self::Double,
            RawType::Decimal { precision, scale } => {
                let layout = DecimalLayout::new(precision, scale);
                Self::Decimal(layout.map_err(ColumnProblem::Layout)?)
            }
            RawType::Bit { length } => Self::Bit {
                length: length as u8,
            },
            RawType::Fixed { length_bytes } => {
                let fixed = |length_width| Self::FixedBytes {
                    length_width,
                    length: length_bytes,
                };
                return Ok(text_codec(collation()?, length_prefix(length_bytes), fixed));
            }
            RawType::Variable { length_bytes } => {
                let bytes = |length_width| Self::Bytes { length_width };
                return Ok(text_codec(collation()?, length_prefix(length_bytes), bytes));
            }
            RawType::Blob { length_width } => {
                let bytes = |length_width| Self::Bytes { length_width };
                return Ok(text_codec(collation()?, length_width, bytes));
            }
            RawType::Geometry { length_width } => Self::Geometry { length_width },
            RawType::Json { length_width } => Self::Json { length_width },
            RawType::Vector { length_width } => Self::Bytes { length_width },
            RawType::Date => Self::Date,
            RawType::DateTime(precision) => Self::DateTime(precision),
            RawType::Timestamp(precision) => Self::Timestamp(precision),
            RawType::Time(precision) => Self::Time(precision),
            RawType::OldDateTime => Self::OldDateTime,
            RawType::OldTimestamp => Self::OldTimestamp,
            RawType::OldTime => Self::OldTime,
            RawType::Year => Self::Year,
            RawType::Enum(width) => Self::Enum {
                width,
                labels: labels()?,
            },
            RawType::Set(width) => Self::Set {
                width,
                labels: labels()?,
            },
        };
        Ok(ColumnCodec {
            codec,
            char_bytes_max: None,
        })
    }

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

/// The type of a column.
pub(crate) fn column_type(ty: RawType, codec: &ColumnCodec, unsigned: bool) -> ColumnType {
    let chars = |bytes: u16| {
        let char_bytes_max = codec.char_bytes_max.unwrap_or(1);
        u32::from(bytes) / u32::from(char_bytes_max)
    };
    let owned = |labels: &[Box<str>]| labels.iter().map(|label| label.to_string()).collect();
    let is_text = codec.char_bytes_max.is_some();
    match (ty, &codec.codec) {
        (RawType::Int(bits), _) => ColumnType::Int { bits, unsigned },
        (RawType::Float, _) => ColumnType::Float,
        (RawType::Double, _) => ColumnType::Double,
        (RawType::Decimal { precision, scale }, _) => ColumnType::Decimal {
            precision: u16::from(precision),
            scale: u16::from(scale),
        },
        (RawType::Bit { length }, _) => ColumnType::Bit {
            length: u32::from(length),
        },
        (RawType::Fixed { length_bytes }, _) if is_text => ColumnType::Char {
            length: chars(length_bytes),
        },
        (RawType::Fixed { length_bytes }, _) => ColumnType::Binary {
            length: u32::from(length_bytes),
        },
        (RawType::Variable { length_bytes }, _) if is_text => ColumnType::Varchar {
            length: chars(length_bytes),
        },
        (RawType::Variable { length_bytes }, _) => ColumnType::Varbinary {
            length: u32::from(length_bytes),
        },
        (RawType::Blob { .. }, _) if is_text => ColumnType::Text,
        (RawType::Blob { .. }, _) => ColumnType::Blob,
        (RawType::Geometry { .. }, _) => ColumnType::Geometry,
        (RawType::Json { .. }, _) => ColumnType::Json,
        (RawType::Vector { .. }, _) => ColumnType::Vector,
        (RawType::Date, _) => ColumnType::Date,
        (RawType::DateTime(precision), _) => ColumnType::DateTime { precision },
        (RawType::Timestamp(precision), _) => ColumnType::Timestamp { precision },
        (RawType::Time(precision), _) => ColumnType::Time { precision },
        (RawType::OldDateTime, _) => ColumnType::DateTime { precision: 0 },
        (RawType::OldTimestamp, _) => ColumnType::Timestamp { precision: 0 },
        (RawType::OldTime, _) => ColumnType::Time { precision: 0 },
        (RawType::Year, _) => ColumnType::Year,
        (RawType::Enum(_), Codec::Enum { labels, .. }) => ColumnType::Enum {
            labels: owned(labels),
        },
        (RawType::Set(_), Codec::Set { labels, .. }) => ColumnType::Set {
            labels: owned(labels),
        },
        (RawType::Enum(_) | RawType::Set(_), _) => unreachable!("Codec::new keeps the kind"),
    }
}

fn int_codec(bits: u8, unsigned: bool) -> Codec {
    match (bits, unsigned) {
        (8, false) => Codec::Int8,
        (16, false) => Codec::Int16,
        (24, false) => Codec::Int24,
        (32, false) => Codec::Int32,
        (_, false) => Codec::Int64,
        (8, true) => Codec::UInt8,
        (16, true) => Codec::UInt16,
        (24, true) => Codec::UInt24,
        (32, true) => Codec::UInt32,
        (_, true) => Codec::UInt64,
    }
}

fn length_prefix(length_bytes: u16) -> u8 {
    if length_bytes > 255 { 2 } else { 1 }
}

fn text_codec(
    (charset, char_bytes_max): (TextCodec, u8),
    length_width: u8,
    binary: impl FnOnce(u8) -> Codec,
) -> ColumnCodec {
    let codec = match charset {
        TextCodec::Binary => {
            return ColumnCodec {
                codec: binary(length_width),
                char_bytes_max: None,
            };
        }
        TextCodec::Utf8 => Codec::Utf8 { length_width },
        charset => Codec::Text {
            length_width,
            charset: Box::new(charset),
        },
    };
    ColumnCodec {
        codec,
        char_bytes_max: Some(char_bytes_max),
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
    let mut separator = "";
    for label in labels {
        if bits & 1 != 0 {
            joined.push_str(separator);
            joined.push_str(label);
            separator = ",";
        }
        bits >>= 1;
    }
    if bits != 0 {
        return Err(Fault::Malformed("has a number beyond its labels"));
    }
    Ok(joined)
}
