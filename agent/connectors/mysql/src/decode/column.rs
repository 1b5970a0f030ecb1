//! What a table map says of a column, turned into a [`Codec`] and a [`ColumnType`].

use sluice_core::ColumnType;

use super::{
    codec::Codec, column_type::RawType, decimal::DecimalLayout, metadata::Metadata, reader::Fault,
};
use crate::charset::{Charsets, TextCodec, UnknownCharset};

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

impl ColumnCodec {
    /// Decides how the column at `index` is read.
    pub(crate) fn new(
        ty: RawType,
        index: usize,
        metadata: &Metadata<'_>,
        charsets: &Charsets,
    ) -> Result<Self, ColumnProblem> {
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
            RawType::Float => Codec::Float,
            RawType::Double => Codec::Double,
            RawType::Decimal { precision, scale } => {
                let layout = DecimalLayout::new(precision, scale);
                Codec::Decimal(layout.map_err(ColumnProblem::Layout)?)
            }
            RawType::Bit { length } => Codec::Bit {
                length: length as u8,
            },
            RawType::Fixed { length_bytes } => {
                let fixed = |length_width| Codec::FixedBytes {
                    length_width,
                    length: length_bytes,
                };
                return Ok(Self::of_text(
                    collation()?,
                    length_prefix(length_bytes),
                    fixed,
                ));
            }
            RawType::Variable { length_bytes } => {
                let bytes = |length_width| Codec::Bytes { length_width };
                return Ok(Self::of_text(
                    collation()?,
                    length_prefix(length_bytes),
                    bytes,
                ));
            }
            RawType::Blob { length_width } => {
                let bytes = |length_width| Codec::Bytes { length_width };
                return Ok(Self::of_text(collation()?, length_width, bytes));
            }
            RawType::Geometry { length_width } => Codec::Geometry { length_width },
            RawType::Json { length_width } => Codec::Json { length_width },
            RawType::Vector { length_width } => Codec::Bytes { length_width },
            RawType::Date => Codec::Date,
            RawType::DateTime(precision) => Codec::DateTime(precision),
            RawType::Timestamp(precision) => Codec::Timestamp(precision),
            RawType::Time(precision) => Codec::Time(precision),
            RawType::OldDateTime => Codec::OldDateTime,
            RawType::OldTimestamp => Codec::OldTimestamp,
            RawType::OldTime => Codec::OldTime,
            RawType::Year => Codec::Year,
            RawType::Enum(width) => Codec::Enum {
                width,
                labels: labels()?,
            },
            RawType::Set(width) => Codec::Set {
                width,
                labels: labels()?,
            },
        };
        Ok(Self {
            codec,
            char_bytes_max: None,
        })
    }

    /// The type of the column.
    pub(crate) fn ty(&self, ty: RawType, unsigned: bool) -> ColumnType {
        let chars = |bytes: u16| {
            let char_bytes_max = self.char_bytes_max.unwrap_or(1);
            u32::from(bytes) / u32::from(char_bytes_max)
        };
        let owned = |labels: &[Box<str>]| labels.iter().map(ToString::to_string).collect();
        let is_text = self.char_bytes_max.is_some();
        match (ty, &self.codec) {
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

    fn of_text(
        (charset, char_bytes_max): (TextCodec, u8),
        length_width: u8,
        binary: impl FnOnce(u8) -> Codec,
    ) -> Self {
        let codec = match charset {
            TextCodec::Binary => {
                return Self {
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
        Self {
            codec,
            char_bytes_max: Some(char_bytes_max),
        }
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
