//! The batch that is being filled.

use std::sync::Arc;

use sluice_core::{
    ChangeEvent, RowChange, RowOperation, SchemaChange, SourceBatch, TableSchema, Transaction,
};

/// A batch is handed out when it holds so many rows or bytes.
const ROWS_MAX: usize = 2_000;
const SIZE_BYTES_MAX: usize = 1024 * 1024;

/// Or when so many events of the log went by without a row, so that the position moves on.
const EVENTS_MAX: usize = 20_000;

/// Collects events for one batch.
#[derive(Default)]
pub(crate) struct Pending {
    events: Vec<ChangeEvent>,
    rows: usize,
    size_bytes: usize,
    seen: usize,
    commit_time_micros: Option<i64>,
    /// Whether there is something to report although there is no event.
    has_news: bool,
}

impl Pending {
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.size_bytes >= SIZE_BYTES_MAX || self.seen >= EVENTS_MAX
    }

    /// Whether there is nothing to report.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.has_news
    }

    /// Counts an event of the log.
    pub(crate) fn count_event(&mut self) {
        self.seen += 1;
    }

    /// Notes that position or watermark moved.
    pub(crate) fn note_news(&mut self) {
        self.has_news = true;
    }

    /// Notes that a transaction of the log is through, whether it had rows for us or not.
    pub(crate) fn note_commit(&mut self, commit_time_micros: i64) {
        self.has_news = true;
        if commit_time_micros > 0 {
            self.commit_time_micros = Some(commit_time_micros);
        }
    }

    pub(crate) fn push_row(
        &mut self,
        table: &Arc<TableSchema>,
        transaction: &Arc<Transaction>,
        ordinal: u64,
        operation: RowOperation,
    ) {
        let change = RowChange {
            table: Arc::clone(table),
            operation,
            transaction: Arc::clone(transaction),
            ordinal,
            origin: None,
        };
        self.rows += 1;
        self.size_bytes += change.size_bytes();
        self.events.push(ChangeEvent::Row(change));
    }

    pub(crate) fn push_schema(&mut self, change: SchemaChange) {
        self.events.push(ChangeEvent::Schema(change));
    }

    pub(crate) fn push_end(&mut self, transaction: Arc<Transaction>) {
        self.events.push(ChangeEvent::TransactionEnd(transaction));
    }

    /// Hands the batch out without a position, and starts the next.
    pub(crate) fn take(&mut self) -> SourceBatch {
        let Self {
            events,
            commit_time_micros,
            ..
        } = std::mem::take(self);
        SourceBatch {
            events,
            position: None,
            watermark: None,
            commit_time_micros,
        }
    }
}
