//! What happens in a source, in the order in which it happened.

use std::sync::Arc;

use crate::{
    letter::{Origin, Unreadable},
    row::Row,
    schema::{TableId, TableSchema},
};

/// One thing that happened in a source.
#[derive(Debug, Clone)]
pub enum ChangeEvent {
    /// A row was inserted, updated or deleted.
    Row(RowChange),
    /// Rows that a snapshot read.
    Chunk(SnapshotChunk),
    /// A table's definition changed; rows that follow have the new shape.
    Schema(SchemaChange),
    /// A record of the source that can't be decoded, in its place among the others.
    Unreadable(Arc<Unreadable>),
    /// The transaction is complete: everything before may be made visible.
    TransactionEnd(Arc<Transaction>),
}

impl ChangeEvent {
    /// The table concerned, by its name before the event.
    pub fn table(&self) -> Option<&TableId> {
        match self {
            Self::Row(change) => Some(&change.table.id),
            Self::Chunk(chunk) => Some(&chunk.table.id),
            Self::Schema(change) => Some(change.table()),
            Self::Unreadable(unreadable) => unreadable.table.as_ref(),
            Self::TransactionEnd(_) => None,
        }
    }

    /// How many bytes of memory the event holds, for back-pressure.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Row(change) => change.size_bytes(),
            Self::Chunk(chunk) => chunk.rows.iter().map(|row| row.size_bytes() + 64).sum(),
            Self::Unreadable(unreadable) => 256 + unreadable.record.size_bytes(),
            Self::Schema(_) | Self::TransactionEnd(_) => 64,
        }
    }
}

/// A transaction of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The source's own name for it (a GTID, `file:offset`, an LSN).
    pub id: String,
    /// When it was committed, in microseconds since 1970-01-01 UTC; zero when the source does not say.
    pub commit_time_micros: i64,
    /// Where the transaction begins in the log, by the server's own count as in
    /// [`Watermark::offset`](crate::Watermark); zero when unknown.
    pub start_offset: u128,
}

/// A change of one row.
#[derive(Debug, Clone)]
pub struct RowChange {
    /// The table's shape at this moment.
    pub table: Arc<TableSchema>,
    /// What happened, with the row images.
    pub operation: RowOperation,
    /// The transaction that it belongs to.
    pub transaction: Arc<Transaction>,
    /// The change's ordinal inside its transaction, from zero.
    pub ordinal: u64,
    /// The record that the change was read from, of a source that has records.
    pub origin: Option<Origin>,
}

impl RowChange {
    /// How many bytes of memory the change holds.
    pub fn size_bytes(&self) -> usize {
        let images = match &self.operation {
            RowOperation::Insert { after } => after.size_bytes(),
            RowOperation::Update { before, after } => before.size_bytes() + after.size_bytes(),
            RowOperation::Delete { before } => before.size_bytes(),
        };
        images + size_of::<ChangeEvent>()
    }
}

/// What happened to a row.
///
/// A `before` image always holds the key's columns (every column where the table has no key);
/// columns that the source did not log are [`Value::Unchanged`](crate::Value::Unchanged).
#[derive(Debug, Clone)]
pub enum RowOperation {
    /// The row is new.
    Insert {
        /// The new row.
        after: Row,
    },
    /// The row has new values; its key may be new, too.
    Update {
        /// The row as it was.
        before: Row,
        /// The row as it is.
        after: Row,
    },
    /// The row is gone.
    Delete {
        /// The row as it was.
        before: Row,
    },
}

/// Rows that a snapshot read, to be applied at the position of the commit that follows.
#[derive(Debug, Clone)]
pub struct SnapshotChunk {
    /// The table's shape when the rows were read.
    pub table: Arc<TableSchema>,
    /// The rows in key order (in any order where the table has no key).
    pub rows: Vec<Row>,
    /// The record of each row, of a source that was asked to tell; else empty.
    pub origins: Vec<Origin>,
    /// What the target may hold already.
    pub mode: ChunkMode,
}

/// How a chunk's rows meet what the target holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkMode {
    /// None of the rows exists in the target: plain COPY.
    Append,
    /// Rows may exist: replace them by key.
    Upsert,
    /// The chunk is the whole truth about a range of keys: rows with `after < key <= until` that
    /// the chunk does not hold are to be deleted. `None` is an open end.
    ReplaceRange {
        /// The key after which the range begins.
        after: Option<Row>,
        /// The last key of the range.
        until: Option<Row>,
    },
    /// The first chunk of a table that is read again from scratch: empty the table, then append.
    ReplaceAll,
}

/// A change of a table's definition, in order with the rows.
#[derive(Debug, Clone)]
pub enum SchemaChange {
    /// A table was created or is seen for the first time.
    Create(Arc<TableSchema>),
    /// Columns or key changed; the schema is the new one. Whoever applies it compares it with the
    /// schema that it applied last.
    Alter(Arc<TableSchema>),
    /// Like [`Alter`](Self::Alter), but what became of the rows is known to the source only, so that
    /// every row is copied again right behind: rows that stand against the new shape may be given
    /// up. Made by the pipeline, never by a source.
    Refill(Arc<TableSchema>),
    /// A table that had stopped goes on: a person has it copied again, and every row comes right
    /// behind. The target takes the shape whatever its policies say, and rows in the way are given up.
    /// Made by the pipeline, never by a source.
    Renew(Arc<TableSchema>),
    /// Columns were renamed, nothing else.
    RenameColumns {
        /// The table.
        table: TableId,
        /// Old and new names, all renamed at once.
        columns: Vec<(String, String)>,
    },
    /// The table has a new name.
    RenameTable {
        /// The old name.
        from: TableId,
        /// The new name.
        to: TableId,
    },
    /// The table was emptied.
    Truncate(TableId),
    /// The table was dropped.
    Drop(TableId),
}

impl SchemaChange {
    /// The table concerned, by its name before the change.
    pub fn table(&self) -> &TableId {
        match self {
            Self::Create(schema)
            | Self::Alter(schema)
            | Self::Refill(schema)
            | Self::Renew(schema) => &schema.id,
            Self::RenameColumns { table, .. } | Self::Truncate(table) | Self::Drop(table) => table,
            Self::RenameTable { from, .. } => from,
        }
    }
}

/// Events on their way to a sink, in source order.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The events.
    pub events: Vec<ChangeEvent>,
    /// How many bytes of memory they hold.
    pub size_bytes: usize,
    /// How many rows they carry.
    pub row_count: usize,
}

impl Batch {
    /// Adds an event at the end.
    pub fn push(&mut self, event: ChangeEvent) {
        self.size_bytes += event.size_bytes();
        self.row_count += match &event {
            ChangeEvent::Row(_) => 1,
            ChangeEvent::Chunk(chunk) => chunk.rows.len(),
            _ => 0,
        };
        self.events.push(event);
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
