//! What a table looks like: names, types, key.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A table's name: schema (MySQL calls it database) and table, as the system stores them.
///
/// `Display` and `FromStr` use `schema.table`; a dot inside a schema name is not supported by the
/// text form, inside a table name it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId {
    /// The schema (MySQL: database).
    pub schema: Arc<str>,
    /// The table.
    pub name: Arc<str>,
}

impl TableId {
    /// Names a table.
    pub fn new(schema: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.name)
    }
}

/// A text that is not `schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a table name of the form schema.table")]
pub struct InvalidTableId(pub String);

impl FromStr for TableId {
    type Err = InvalidTableId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((schema, name)) if !schema.is_empty() && !name.is_empty() => {
                Ok(Self::new(schema, name))
            }
            _ => Err(InvalidTableId(text.to_owned())),
        }
    }
}

impl Serialize for TableId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A table's columns and key at one moment of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The table.
    pub id: TableId,
    /// The columns in the source's order; a row has one value for each.
    pub columns: Vec<Column>,
    /// Ordinals of the primary key's columns in key order; empty for a table without a key.
    pub key: Vec<usize>,
}

impl TableSchema {
    /// Whether rows of one schema are rows of the other: the same names, types, nullability and
    /// key. A log's own description of a row says no more than that; defaults and the like are
    /// known from the catalog only.
    pub fn same_shape(&self, other: &Self) -> bool {
        let shape = |column: &Column| (column.name.clone(), column.ty.clone(), column.nullable);
        self.id == other.id
            && self.key == other.key
            && self.columns.len() == other.columns.len()
            && self
                .columns
                .iter()
                .zip(&other.columns)
                .all(|(a, b)| shape(a) == shape(b))
    }

    /// Whether the table has a primary key.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether the key's values order the same way in every system, so that a stream event can be
    /// compared with a snapshot frontier.
    pub fn key_orders_everywhere(&self) -> bool {
        self.has_key()
            && self
                .key
                .iter()
                .all(|&column| self.columns[column].ty.orders_everywhere())
    }

    /// Whether keys of rows of this shape and of another shape of the table are of the same kinds, so
    /// that one can be told from the other and ranges of one mean something in the other.
    pub fn key_is_like(&self, other: &Self) -> bool {
        let is_like = |one: &ColumnType, other: &ColumnType| match (one, other) {
            (ColumnType::Int { unsigned: a, .. }, ColumnType::Int { unsigned: b, .. }) => a == b,
            _ => std::mem::discriminant(one) == std::mem::discriminant(other),
        };
        self.key.len() == other.key.len()
            && self
                .key_columns()
                .zip(other.key_columns())
                .all(|(one, other)| is_like(&one.ty, &other.ty))
    }

    /// The ordinal of a column.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The key's columns in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|&column| &self.columns[column])
    }
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: ColumnType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Whether the source computes the value (a generated column).
    #[serde(default)]
    pub generated: bool,
    /// Whether it was declared as a truth value although its type is an integer (MySQL `tinyint(1)`).
    #[serde(default)]
    pub boolean: bool,
    /// What an insert that does not name the column stores, where the source says.
    #[serde(default)]
    pub default: Option<ColumnDefault>,
}

/// A column's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ColumnDefault {
    /// A constant, in the text form that the source prints.
    Literal(String),
    /// An expression that only the source can compute, such as `CURRENT_TIMESTAMP` or `(uuid())`.
    Expression(String),
}

/// What kind of values a column holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ColumnType {
    /// Truth values.
    Bool,
    /// Integers of 8, 16, 24, 32 or 64 bits: [`Value::Int`](crate::Value::Int) or, unsigned,
    /// [`Value::UInt`](crate::Value::UInt).
    Int {
        /// The width.
        bits: u8,
        /// Whether negative numbers are excluded.
        unsigned: bool,
    },
    /// 32-bit floats.
    Float,
    /// 64-bit floats.
    Double,
    /// Exact decimals; precision 0 means unlimited.
    Decimal {
        /// All digits.
        precision: u16,
        /// Digits after the point.
        scale: u16,
    },
    /// Bit strings of a fixed length.
    Bit {
        /// How many bits.
        length: u32,
    },
    /// Text of a fixed length in characters (trailing spaces are not part of the value).
    Char {
        /// The length in characters.
        length: u32,
    },
    /// Text of at most a length in characters.
    Varchar {
        /// The longest length in characters.
        length: u32,
    },
    /// Text without a declared limit.
    Text,
    /// Bytes of a fixed length.
    Binary {
        /// The length.
        length: u32,
    },
    /// Bytes of at most a length.
    Varbinary {
        /// The longest length.
        length: u32,
    },
    /// Bytes without a declared limit.
    Blob,
    /// Days.
    Date,
    /// Date and time of day without a zone.
    DateTime {
        /// Digits of the second's fraction, 0 to 6.
        precision: u8,
    },
    /// A moment.
    Timestamp {
        /// Digits of the second's fraction, 0 to 6.
        precision: u8,
    },
    /// A span or time of day.
    Time {
        /// Digits of the second's fraction, 0 to 6.
        precision: u8,
    },
    /// A span with months and days.
    Interval,
    /// A year, 1901 to 2155 or 0.
    Year,
    /// One of a list of labels.
    Enum {
        /// The labels in declaration order.
        labels: Vec<String>,
    },
    /// Any of a list of labels.
    Set {
        /// The labels in declaration order.
        labels: Vec<String>,
    },
    /// JSON documents.
    Json,
    /// UUIDs.
    Uuid,
    /// Geometries.
    Geometry,
    /// Vectors of 32-bit floats, as little-endian bytes ([`Value::Bytes`](crate::Value::Bytes)).
    Vector,
    /// Arrays.
    Array(Box<Self>),
}

impl ColumnType {
    /// Whether values order the same way in every system (integers, binary, spans, UUIDs).
    ///
    /// Text does not (its order depends on a collation), nor do dates (an impossible date has a
    /// place in MySQL's order, but in no calendar).
    pub fn orders_everywhere(&self) -> bool {
        matches!(
            self,
            Self::Bool
                | Self::Int { .. }
                | Self::Binary { .. }
                | Self::Varbinary { .. }
                | Self::Time { .. }
                | Self::Year
                | Self::Uuid
        )
    }

    /// Whether values may be [`Value::Impossible`](crate::Value::Impossible).
    pub fn may_be_impossible(&self) -> bool {
        matches!(
            self,
            Self::Date | Self::DateTime { .. } | Self::Timestamp { .. }
        )
    }
}
