//! What one pipeline is to do, independent of the systems at its ends.

use std::time::Duration;

use crate::route::Router;

/// How a pipeline runs.
#[derive(Debug)]
pub struct PipelineConfig {
    /// Names the pipeline in logs.
    pub name: String,
    /// When present rows are copied.
    pub snapshot_mode: SnapshotMode,
    /// Rows per snapshot chunk.
    pub chunk_rows: u64,
    /// Chunks read side by side.
    pub parallelism: usize,
    /// Whether a lost position is answered by copying every table again.
    pub resnapshot_when_lost: bool,
    /// The most rows in one batch.
    pub rows_max: usize,
    /// The most bytes in one batch and in the queue before it, beyond a single row's own size.
    pub size_bytes_max: usize,
    /// The longest that rows wait for more rows.
    pub delay_max: Duration,
    /// Which tables go where, in which shape.
    pub router: Router,
    /// Patterns over `schema.table`: tables to copy again at the start, whatever their state. `*`
    /// alone starts over at the log's present end.
    pub resnapshot: Vec<String>,
    /// The same, once and for all: a request whose id the target knows is done.
    pub request: Option<ResnapshotRequest>,
    /// When the run ends by itself.
    pub finish: FinishWhen,
}

/// A request to copy tables again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResnapshotRequest {
    /// Tells it from every other one.
    pub id: String,
    /// Patterns over `schema.table`; `*` alone starts over at the log's present end.
    pub tables: Vec<String>,
}

/// When present rows are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Once, when the replica is new; new tables when they appear.
    Initial,
    /// Never.
    Never,
    /// Once, and then the run ends.
    Only,
    /// When the replica is new or its position is lost.
    WhenNeeded,
}

/// When a run ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishWhen {
    /// Never.
    Never,
    /// Once every table is copied and everything that was in the log then is applied.
    Synced,
}
