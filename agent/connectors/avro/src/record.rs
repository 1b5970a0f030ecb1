//! What a record says: the row images, the operation and where it comes from.

use std::sync::Arc;

use sluice_core::{Row, TableSchema};

/// What a record's value looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Envelope {
    /// `{before, after, source, transaction, op, ts_ms, ts_us, ts_ns}`, as Debezium writes it.
    #[default]
    Debezium,
    /// The row alone; a delete is a record without value.
    Flat,
}

/// What happened to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It has new values.
    Update,
    /// It is gone.
    Delete,
    /// A snapshot read it.
    Read,
}

impl Operation {
    /// Debezium's code: `c`, `u`, `d` or `r`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
        }
    }

    /// The operation of one of Debezium's codes; `None` for codes that are no change of a row
    /// (`t` truncate, `m` message).
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "c" => Some(Self::Create),
            "u" => Some(Self::Update),
            "d" => Some(Self::Delete),
            "r" => Some(Self::Read),
            _ => None,
        }
    }
}

/// Where a change comes from; goes into the envelope's `source` and `transaction`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meta<'a> {
    /// When the source committed it, in microseconds since 1970 UTC.
    pub source_micros: i64,
    /// When it was captured, in microseconds since 1970 UTC (the envelope's own `ts_*`).
    pub now_micros: i64,
    /// The transaction's id, for the envelope's `transaction` block; without it the block is null.
    pub transaction: Option<&'a str>,
    /// The change's ordinal inside its transaction, from zero.
    pub ordinal: u64,
    /// The change's ordinal inside its transaction among those of its table, from zero.
    pub table_ordinal: u64,
    /// Whether a snapshot read it.
    pub snapshot: bool,
    /// The transaction's GTID.
    pub gtid: Option<&'a str>,
    /// The binlog file; empty when unknown.
    pub file: &'a str,
    /// The place in the log.
    pub position: u64,
}

/// A change to be written. Images have the shape that the writer was made for.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// What happened.
    pub op: Operation,
    /// The row as it was.
    pub before: Option<&'a Row>,
    /// The row as it is.
    pub after: Option<&'a Row>,
    /// Where it comes from.
    pub meta: Meta<'a>,
}

/// What a written record can't say: goes into the header `sluice.lost` and back into
/// [`RecordReader::decode`](crate::RecordReader::decode).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost(pub(crate) Option<String>);

impl Lost {
    /// The header's text; `None` when the record says everything.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether the record says everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// A record as it was read.
///
/// The images follow the contract of [`RowOperation`](sluice_core::RowOperation): a `before` image
/// always has the key's columns; what the record does not hold is
/// [`Value::Unchanged`](sluice_core::Value::Unchanged).
#[derive(Debug, Clone)]
pub struct Decoded {
    /// What happened. A flat record without a mark of its own is an [`Operation::Update`] (insert or
    /// update, by key), or an [`Operation::Create`] where there is no key.
    pub op: Operation,
    /// The row as it was; always there for an update or a delete of a table with a key.
    pub before: Option<Row>,
    /// The row as it is.
    pub after: Option<Row>,
    /// The shape of both. The same `Arc` as long as the shape is the same.
    pub table: Arc<TableSchema>,
    /// When the source committed it, in milliseconds since 1970 UTC; the time of capture where the
    /// source does not say; zero when unknown.
    pub ts_ms: i64,
    /// The source's transaction: the id of the `transaction` block, else the GTID.
    pub transaction: Option<String>,
}
