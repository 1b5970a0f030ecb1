//! The optional part of a table map, which `binlog_row_metadata=FULL` completes: signs,
//! collations, names, labels, key.
//!
//! It is a list of fields, each a type, a length and a value; a field counts only the columns that
//! it is about (the third collation is that of the third text column).

use super::{
    column_type::RawType,
    reader::{Checked, Fault, Reader},
};

const SIGNEDNESS: u8 = 1;
const DEFAULT_CHARSET: u8 = 2;
const COLUMN_CHARSET: u8 = 3;
const COLUMN_NAME: u8 = 4;
const SET_STR_VALUE: u8 = 5;
const ENUM_STR_VALUE: u8 = 6;
const SIMPLE_PRIMARY_KEY: u8 = 8;
const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;

/// What the fields say, one entry per column of the table.
#[derive(Debug, Default)]
pub(crate) struct Metadata<'a> {
    /// Whether a number is unsigned.
    pub(crate) unsigned: Vec<bool>,
    /// The collation of a text, an enum or a set.
    pub(crate) collations: Vec<Option<u16>>,
    /// The names; `None` where the server logs MINIMAL metadata.
    pub(crate) names: Option<Vec<&'a [u8]>>,
    /// The labels of an enum or a set.
    pub(crate) labels: Vec<Vec<&'a [u8]>>,
    /// Ordinals of the primary key's columns in key order.
    pub(crate) key: Vec<usize>,
}

impl<'a> Metadata<'a> {
    /// Reads the fields that follow the fixed part of a table map.
    pub(crate) fn read(mut fields: Reader<'a>, types: &[RawType]) -> Checked<Self> {
        let mut metadata = Self {
            unsigned: vec![false; types.len()],
            collations: vec![None; types.len()],
            labels: vec![Vec::new(); types.len()],
            ..Self::default()
        };
        let indexes = |wanted: fn(RawType) -> bool| -> Vec<usize> {
            let all = types.iter().enumerate();
            all.filter(|&(_, &ty)| wanted(ty))
                .map(|(at, _)| at)
                .collect()
        };
        let labelled: fn(RawType) -> bool = |ty| matches!(ty, RawType::Enum(_) | RawType::Set(_));
        while !fields.is_empty() {
            let kind = fields.u8()?;
            let mut field = Reader::new(fields.length_encoded_bytes()?);
            match kind {
                SIGNEDNESS => {
                    let bits = field.rest();
                    for (bit, column) in indexes(RawType::has_sign).into_iter().enumerate() {
                        let byte = bits.get(bit / 8).ok_or(Fault::Truncated)?;
                        metadata.unsigned[column] = byte << (bit % 8) & 0x80 != 0;
                    }
                }
                DEFAULT_CHARSET => {
                    metadata.default_collations(field, &indexes(RawType::has_collation))?;
                }
                COLUMN_CHARSET => {
                    metadata.each_collation(field, &indexes(RawType::has_collation))?;
                }
                ENUM_AND_SET_DEFAULT_CHARSET => {
                    metadata.default_collations(field, &indexes(labelled))?;
                }
                ENUM_AND_SET_COLUMN_CHARSET => {
                    metadata.each_collation(field, &indexes(labelled))?;
                }
                COLUMN_NAME => {
                    let names = types.iter().map(|_| field.length_encoded_bytes());
                    metadata.names = Some(names.collect::<Checked<_>>()?);
                }
                SET_STR_VALUE => {
                    metadata.read_labels(field, &indexes(|ty| matches!(ty, RawType::Set(_))))?;
                }
                ENUM_STR_VALUE => {
                    metadata.read_labels(field, &indexes(|ty| matches!(ty, RawType::Enum(_))))?;
                }
                SIMPLE_PRIMARY_KEY | PRIMARY_KEY_WITH_PREFIX => {
                    metadata.read_key(field, kind == PRIMARY_KEY_WITH_PREFIX, types.len())?;
                }
                // Geometry types, visibility and vector dimensions change nothing about a row;
                // neither may a field that a later server adds.
                _ => {}
            }
        }
        Ok(metadata)
    }

    fn default_collations(&mut self, mut field: Reader<'a>, columns: &[usize]) -> Checked<()> {
        let default = collation(&mut field)?;
        for &column in columns {
            self.collations[column] = Some(default);
        }
        while !field.is_empty() {
            let column = *columns.get(field.length()?).ok_or(Fault::Truncated)?;
            self.collations[column] = Some(collation(&mut field)?);
        }
        Ok(())
    }

    fn each_collation(&mut self, mut field: Reader<'a>, columns: &[usize]) -> Checked<()> {
        for &column in columns {
            self.collations[column] = Some(collation(&mut field)?);
        }
        Ok(())
    }

    fn read_labels(&mut self, mut field: Reader<'a>, columns: &[usize]) -> Checked<()> {
        for &column in columns {
            for _ in 0..field.length()? {
                let label = field.length_encoded_bytes()?;
                self.labels[column].push(label);
            }
        }
        Ok(())
    }

    fn read_key(&mut self, mut field: Reader<'a>, prefixed: bool, columns: usize) -> Checked<()> {
        while !field.is_empty() {
            let column = field.length()?;
            if column >= columns || self.key.contains(&column) {
                return Err(Fault::Malformed("has a key of unknown columns"));
            }
            if prefixed {
                // A prefix is unique, so the whole value is, too.
                field.length_encoded()?;
            }
            self.key.push(column);
        }
        Ok(())
    }
}

fn collation(field: &mut Reader<'_>) -> Checked<u16> {
    u16::try_from(field.length_encoded()?)
        .map_err(|_| Fault::Malformed("has an impossible collation"))
}
