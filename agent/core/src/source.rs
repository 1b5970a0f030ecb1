//! The contract of what produces changes.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    error::Result,
    event::ChangeEvent,
    position::{LogPosition, Watermark},
    row::Row,
    schema::{TableId, TableSchema},
    sink::Peers,
};

/// A database's log (or a topic), as a stream of change events.
///
/// **Order.** Events come in the order in which the source committed them. **Boundaries.** A batch
/// whose `position` is `None` ends inside a transaction; a sink must not commit there. A schema change
/// and the [`TransactionEnd`](ChangeEvent::TransactionEnd) behind it come in one batch.
/// **Duplicates.** After [`open`](Self::open) the stream has exactly the transactions after the
/// position. **Selection.** Row events are only of selected tables; the position moves on all
/// transactions. **Errors.** After an error the source is used up: the caller drops it, or opens it again.
#[async_trait]
pub trait Source: Send {
    /// Names those who apply other parts of the source, for an order that holds over all of them. Called
    /// before each `open`; a source that can't be shared has no use for it.
    fn set_peers(&mut self, _peers: Option<Arc<dyn Peers>>) {}

    /// Connects, checks the prerequisites of capture, and gets ready to stream from `resume`, or
    /// from the log's present end when there is none (from its beginning, where
    /// [`can_snapshot`](Self::can_snapshot) says no). Answers with the place where the stream starts.
    ///
    /// Fails with [`Reason::PositionLost`](crate::Reason::PositionLost) when the log no longer
    /// holds everything after `resume`.
    async fn open(&mut self, resume: Option<&LogPosition>) -> Result<LogPosition>;

    /// Whether tables can be read beside the stream. A source of which they can't (topics) is
    /// followed from its beginning, has what a snapshot read in the stream itself, and announces
    /// each table by a schema change ahead of its first row, so that `tables` may be empty.
    fn can_snapshot(&self) -> bool {
        true
    }

    /// The selected tables as they are now, with keys and defaults. Called after `open`. A source
    /// without snapshots names those that are to be made ready at once, as they are where the
    /// stream starts.
    async fn tables(&mut self) -> Result<Vec<Arc<TableSchema>>>;

    /// The next events. Waits until there are some, or until there is a new position or watermark
    /// to report; an empty batch is a heartbeat. Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Result<SourceBatch>;

    /// Says that everything up to the position is durable in the target, so that the source may
    /// let go of its log (a replication slot, a consumer offset). Cumulative; may skip positions.
    async fn confirm(&mut self, position: &LogPosition) -> Result<()>;

    /// A new connection for reading snapshot chunks; several work side by side.
    async fn snapshot_reader(&mut self) -> Result<Box<dyn SnapshotReader>>;

    /// Asks for the end of the log and for its lag behind it. Independent of the stream.
    async fn log_end(&mut self) -> Result<LogEnd>;
}

/// Events and the place after them, which belong together.
#[derive(Debug, Default)]
pub struct SourceBatch {
    /// The events in order.
    pub events: Vec<ChangeEvent>,
    /// The place after the events; `None` inside a transaction.
    pub position: Option<LogPosition>,
    /// The same place by the server's own count, for snapshot chunks; `None` inside a transaction.
    pub watermark: Option<Watermark>,
    /// When the last transaction of the batch was committed (microseconds since 1970 UTC): everything
    /// that was committed before has been delivered by now, or it is `None`.
    pub commit_time_micros: Option<i64>,
}

/// The end of a source's log.
#[derive(Debug, Clone)]
pub struct LogEnd {
    /// The end by the server's own count.
    pub watermark: Watermark,
    /// How many bytes of log lie between a watermark and the end; used for lag.
    pub log_files: Vec<(u64, u64)>,
    /// Where each partition of topics ends; of a log, none.
    pub partitions: Vec<PartitionEnd>,
    /// Seconds until the log's oldest unread part may be purged, where the source can say.
    pub retention_seconds: Option<u64>,
}

/// Where a partition ends, and how far it was passed on when that was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionEnd {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The offset behind the last record.
    pub end: i64,
    /// The offset behind the last record that was passed on.
    pub next: i64,
    /// No record lies between `next` and this offset: marks of transactions take offsets, too.
    pub empty_until: i64,
}

impl PartitionEnd {
    /// How many records, about, are not applied where everything before `applied` is.
    pub fn records_after(&self, applied: i64) -> u64 {
        let reached = if applied >= self.next {
            applied.max(self.empty_until)
        } else {
            applied
        };
        (self.end - reached).max(0) as u64
    }
}

impl LogEnd {
    /// How many bytes of log lie after `from`.
    ///
    /// For MySQL `log_files` lists each binlog's number and size; elsewhere it is empty and the
    /// watermarks subtract.
    pub fn bytes_after(&self, from: &Watermark) -> u64 {
        if self.log_files.is_empty() {
            return self.watermark.offset.saturating_sub(from.offset) as u64;
        }
        let (file, offset) = ((from.offset >> 64) as u64, from.offset as u64);
        let whole: u64 = self
            .log_files
            .iter()
            .filter(|(number, _)| *number > file)
            .map(|(_, size)| size)
            .sum();
        let own = self.log_files.iter().find(|(number, _)| *number == file);
        whole + own.map_or(0, |(_, size)| size.saturating_sub(offset))
    }
}

/// What part of a table to read.
#[derive(Debug, Clone)]
pub struct ChunkRequest {
    /// The table.
    pub table: TableId,
    /// Read rows with a key after this one; from the start without.
    pub after: Option<Row>,
    /// Read rows up to and including this key; to the end without.
    pub until: Option<Row>,
    /// Where the stream stood when the chunk was registered: the read must see everything up to here.
    pub seen: LogPosition,
    /// Stop after about this many bytes.
    pub size_bytes_max: usize,
}

/// Rows of one part of a table, read at one moment.
#[derive(Debug)]
pub struct ChunkRows {
    /// The shape of the rows.
    pub table: Arc<TableSchema>,
    /// The rows, in key order.
    pub rows: Vec<Row>,
    /// Every change that the rows show is before this place of the log.
    pub high: Watermark,
    /// The last key read when `size_bytes_max` ended the read early.
    pub truncated_at: Option<Row>,
}

/// One connection that reads tables.
#[async_trait]
pub trait SnapshotReader: Send {
    /// The key at the end of the next chunk: that of the `rows`-th row after `after`, or `None`
    /// when fewer are left.
    async fn boundary(
        &mut self,
        table: &TableSchema,
        after: Option<&Row>,
        rows: u64,
    ) -> Result<Option<Row>>;

    /// Reads a chunk of a table with a key. Everything that the stream had delivered at
    /// `request.seen` is visible to the read.
    async fn read_chunk(
        &mut self,
        table: &TableSchema,
        request: &ChunkRequest,
    ) -> Result<ChunkRows>;

    /// Opens a view of a whole table at exactly one place of the log, for tables without a key.
    async fn open_view(&mut self, table: &TableId) -> Result<TableView>;

    /// The next rows of the open view, about `size_bytes_max` of them; empty at its end.
    async fn read_view(&mut self, size_bytes_max: usize) -> Result<Vec<Row>>;

    /// About how many rows the table has and how long one is.
    async fn estimate(&mut self, table: &TableId) -> Result<TableEstimate>;
}

/// A view of a whole table at one place of the log.
#[derive(Debug)]
pub struct TableView {
    /// The shape of the rows.
    pub table: Arc<TableSchema>,
    /// The view shows every change before this place and none after.
    pub at: Watermark,
}

/// How large a table is, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableEstimate {
    /// About how many rows.
    pub rows: u64,
    /// About how many bytes a row takes.
    pub row_bytes: u64,
}
