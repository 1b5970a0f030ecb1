//! What snapshot readers are asked, and what they answer.

use std::sync::Arc;

use sluice_core::{
    ChunkRequest, Row, TableId, TableSchema,
    source::{ChunkRows, TableEstimate},
};

/// Something to be asked of the source by a snapshot reader.
#[derive(Debug)]
pub struct Job {
    pub(super) table: TableId,
    pub(super) generation: u64,
    /// The table's shape, for its key.
    pub schema: Arc<TableSchema>,
    /// What to ask.
    pub kind: JobKind,
}

/// What to ask of a snapshot reader.
#[derive(Debug)]
pub enum JobKind {
    /// Where the next chunk ends.
    Boundary {
        /// The key after which it begins.
        after: Option<Row>,
        /// Rows per chunk; to be estimated from the table's size when unknown.
        rows: Option<u64>,
    },
    /// A chunk's rows.
    Read {
        /// The chunk.
        id: u64,
        /// What to read.
        request: ChunkRequest,
    },
}

/// A job's answer.
#[derive(Debug)]
pub struct JobResult {
    pub(super) table: TableId,
    pub(super) generation: u64,
    pub(super) outcome: JobOutcome,
}

impl JobResult {
    /// The table and about how many rows it has, where the job asked for it.
    pub fn estimate(&self) -> Option<(&TableId, u64)> {
        match &self.outcome {
            JobOutcome::Boundary {
                estimate: Some(estimate),
                ..
            } => Some((&self.table, estimate.rows)),
            _ => None,
        }
    }
}

/// What a job brought.
#[derive(Debug)]
pub enum JobOutcome {
    /// The end of the next chunk (`None`: the table's end), and rows per chunk as used.
    Boundary {
        /// The chunk's last key.
        until: Option<Row>,
        /// Rows per chunk.
        rows: u64,
        /// The table's size, when it was asked for.
        estimate: Option<TableEstimate>,
    },
    /// A chunk's rows.
    Read {
        /// The chunk.
        id: u64,
        /// The rows.
        rows: ChunkRows,
    },
    /// The table does not exist any more.
    TableMissing,
}

impl Job {
    /// The answer to this job.
    pub fn answer(&self, outcome: JobOutcome) -> JobResult {
        JobResult {
            table: self.table.clone(),
            generation: self.generation,
            outcome,
        }
    }
}
