//! The column types of table map events, with what each keeps about a column.

use super::reader::{Checked, Fault, Reader};

pub(crate) const TYPE_TINY: u8 = 1;
pub(crate) const TYPE_SHORT: u8 = 2;
pub(crate) const TYPE_LONG: u8 = 3;
pub(crate) const TYPE_FLOAT: u8 = 4;
pub(crate) const TYPE_DOUBLE: u8 = 5;
pub(crate) const TYPE_TIMESTAMP: u8 = 7;
pub(crate) const TYPE_LONGLONG: u8 = 8;
pub(crate) const TYPE_INT24: u8 = 9;
pub(crate) const TYPE_DATE: u8 = 10;
pub(crate) const TYPE_TIME: u8 = 11;
pub(crate) const TYPE_DATETIME: u8 = 12;
pub(crate) const TYPE_YEAR: u8 = 13;
pub(crate) const TYPE_NEW_DATE: u8 = 14;
pub(crate) const TYPE_VARCHAR: u8 = 15;
pub(crate) const TYPE_BIT: u8 = 16;
pub(crate) const TYPE_TIMESTAMP2: u8 = 17;
pub(crate) const TYPE_DATETIME2: u8 = 18;
pub(crate) const TYPE_TIME2: u8 = 19;
pub(crate) const TYPE_VECTOR: u8 = 242;
pub(crate) const TYPE_JSON: u8 = 245;
pub(crate) const TYPE_NEW_DECIMAL: u8 = 246;
pub(crate) const TYPE_ENUM: u8 = 247;
pub(crate) const TYPE_SET: u8 = 248;
pub(crate) const TYPE_TINY_BLOB: u8 = 249;
pub(crate) const TYPE_MEDIUM_BLOB: u8 = 250;
pub(crate) const TYPE_LONG_BLOB: u8 = 251;
pub(crate) const TYPE_BLOB: u8 = 252;
pub(crate) const TYPE_VAR_STRING: u8 = 253;
pub(crate) const TYPE_STRING: u8 = 254;
pub(crate) const TYPE_GEOMETRY: u8 = 255;

/// A column as a table map describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawType {
    /// An integer of so many bits.
    Int(u8),
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bit {
        length: u16,
    },
    /// `CHAR` or `BINARY`: the longest value in bytes.
    Fixed {
        length_bytes: u16,
    },
    /// `VARCHAR` or `VARBINARY`: the longest value in bytes.
    Variable {
        length_bytes: u16,
    },
    /// A text or blob whose length takes so many bytes.
    Blob {
        length_width: u8,
    },
    Geometry {
        length_width: u8,
    },
    Json {
        length_width: u8,
    },
    Vector {
        length_width: u8,
    },
    Date,
    DateTime(u8),
    Timestamp(u8),
    Time(u8),
    OldDateTime,
    OldTimestamp,
    OldTime,
    Year,
    /// An enum whose number takes so many bytes.
    Enum(u8),
    /// A set whose bits take so many bytes.
    Set(u8),
}

impl RawType {
    /// Reads what the table map's metadata block says about a column of the type `code`.
    pub(crate) fn read(code: u8, metadata: &mut Reader<'_>) -> Checked<Self> {
        Ok(match code {
            TYPE_TINY => Self::Int(8),
            TYPE_SHORT => Self::Int(16),
            TYPE_INT24 => Self::Int(24),
            TYPE_LONG => Self::Int(32),
            TYPE_LONGLONG => Self::Int(64),
            TYPE_FLOAT => metadata.u8().map(|_| Self::Float)?,
            TYPE_DOUBLE => metadata.u8().map(|_| Self::Double)?,
            TYPE_NEW_DECIMAL => Self::Decimal {
                precision: metadata.u8()?,
                scale: metadata.u8()?,
            },
            TYPE_BIT => {
                let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
                let length = u16::from(bytes) * 8 + u16::from(bits);
                if length == 0 || length > 64 || bits > 7 {
                    return Err(Fault::Malformed("has an impossible number of bits"));
                }
                Self::Bit { length }
            }
            TYPE_STRING => return Self::read_string(metadata),
            TYPE_VARCHAR | TYPE_VAR_STRING => Self::Variable {
                length_bytes: metadata.u16()?,
            },
            TYPE_ENUM => Self::Enum(metadata.u16().and_then(|packed| enum_width(packed >> 8))?),
            TYPE_SET => Self::Set(metadata.u16().and_then(|packed| set_width(packed >> 8))?),
            TYPE_BLOB | TYPE_TINY_BLOB | TYPE_MEDIUM_BLOB | TYPE_LONG_BLOB => Self::Blob {
                length_width: length_width(metadata)?,
            },
            TYPE_GEOMETRY => Self::Geometry {
                length_width: length_width(metadata)?,
            },
            TYPE_JSON => Self::Json {
                length_width: length_width(metadata)?,
            },
            TYPE_VECTOR => Self::Vector {
                length_width: length_width(metadata)?,
            },
            TYPE_DATE | TYPE_NEW_DATE => Self::Date,
            TYPE_DATETIME2 => Self::DateTime(precision(metadata)?),
            TYPE_TIMESTAMP2 => Self::Timestamp(precision(metadata)?),
            TYPE_TIME2 => Self::Time(precision(metadata)?),
            TYPE_DATETIME => Self::OldDateTime,
            TYPE_TIMESTAMP => Self::OldTimestamp,
            TYPE_TIME => Self::OldTime,
            TYPE_YEAR => Self::Year,
            _ => return Err(Fault::Malformed("has a type that Sluice does not know")),
        })
    }

    /// `CHAR`, `BINARY`, `ENUM` and `SET` share a type code: the first byte of the metadata says
    /// which, with the highest bits of a long `CHAR`'s length folded into it.
    fn read_string(metadata: &mut Reader<'_>) -> Checked<Self> {
        let (first, second) = (metadata.u8()?, metadata.u8()?);
        let high = u16::from(first & 0x30 ^ 0x30) << 4;
        match first | 0x30 {
            _ if first == 0 => Ok(Self::Fixed {
                length_bytes: u16::from(second),
            }),
            TYPE_STRING => Ok(Self::Fixed {
                length_bytes: high | u16::from(second),
            }),
            TYPE_ENUM => Ok(Self::Enum(enum_width(u16::from(second))?)),
            TYPE_SET => Ok(Self::Set(set_width(u16::from(second))?)),
            _ => Err(Fault::Malformed("has a type that Sluice does not know")),
        }
    }

    /// Whether the table map says of the column if it is unsigned.
    pub(crate) fn has_sign(self) -> bool {
        matches!(
            self,
            Self::Int(_) | Self::Float | Self::Double | Self::Decimal { .. } | Self::Year
        )
    }

    /// Whether the table map says which collation the column has. It does so for vectors, which
    /// have none.
    pub(crate) fn has_collation(self) -> bool {
        matches!(
            self,
            Self::Fixed { .. } | Self::Variable { .. } | Self::Blob { .. } | Self::Vector { .. }
        )
    }
}

fn length_width(metadata: &mut Reader<'_>) -> Checked<u8> {
    match metadata.u8()? {
        width @ 1..=4 => Ok(width),
        _ => Err(Fault::Malformed("has an impossible length")),
    }
}

fn precision(metadata: &mut Reader<'_>) -> Checked<u8> {
    match metadata.u8()? {
        precision @ 0..=6 => Ok(precision),
        _ => Err(Fault::Malformed("has an impossible precision")),
    }
}

fn enum_width(bytes: u16) -> Checked<u8> {
    match bytes {
        1 => Ok(1),
        2 => Ok(2),
        _ => Err(Fault::Malformed("has an impossible number of labels")),
    }
}

fn set_width(bytes: u16) -> Checked<u8> {
    match bytes {
        1..=8 => Ok(bytes as u8),
        _ => Err(Fault::Malformed("has an impossible number of labels")),
    }
}
