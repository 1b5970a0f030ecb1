//! The database as a source that fails now and then.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use sluice_core::{
    ChangeEvent, ChunkRequest, Error, LogPosition, Reason, Result, Row, SnapshotReader, Source,
    SourceBatch, TableId, TableSchema, Watermark,
    source::{ChunkRows, LogEnd, TableEstimate, TableView},
};

use crate::database::{Database, key_of};

type Shared = Arc<Mutex<Database>>;

pub(crate) struct SimulatedSource {
    random: fastrand::Rng,
    database: Shared,
    /// Transactions delivered whole.
    cursor: u64,
    /// Events of the transaction that is delivered in pieces.
    rest: VecDeque<ChangeEvent>,
}

impl SimulatedSource {
    pub(crate) fn new(random: fastrand::Rng, database: Shared) -> Self {
        Self {
            random,
            database,
            cursor: 0,
            rest: VecDeque::new(),
        }
    }

    fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().expect("no holder panicked")
    }

    fn place(&self, batch: &mut SourceBatch) {
        batch.position = Some(LogPosition::Lsn(self.cursor));
        batch.watermark = Some(mark(self.cursor));
    }
}

fn mark(position: u64) -> Watermark {
    Watermark {
        server: "simulated".into(),
        offset: u128::from(position),
    }
}

fn fault(what: &str) -> Error {
    Error::new(Reason::Unavailable, format!("simulated fault: {what}"))
}

#[async_trait]
impl Source for SimulatedSource {
    async fn open(&mut self, resume: Option<&LogPosition>) -> Result<LogPosition> {
        if self.random.u32(0..10) == 0 {
            return Err(fault("open"));
        }
        self.rest.clear();
        self.cursor = match resume {
            Some(LogPosition::Lsn(position)) => *position,
            Some(_) => panic!("a position of another kind"),
            None => self.database().log().len() as u64,
        };
        Ok(LogPosition::Lsn(self.cursor))
    }

    async fn tables(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        Ok(self.database().tables().map(Arc::clone).collect())
    }

    async fn next(&mut self) -> Result<SourceBatch> {
        tokio::time::sleep(Duration::from_millis(self.random.u64(0..5))).await;
        if self.random.u32(0..60) == 0 {
            return Err(fault("stream"));
        }
        self.database().work();
        let mut batch = SourceBatch::default();
        for _ in 0..self.random.usize(1..5) {
            if self.rest.is_empty() {
                let next = self.database().log().get(self.cursor as usize).cloned();
                let Some(next) = next else { break };
                self.rest = next.events.into();
            }
            let whole = self.rest.len();
            let schema_change = matches!(self.rest.front(), Some(ChangeEvent::Schema(_)));
            let take = if !schema_change && self.random.u32(0..4) == 0 {
                self.random.usize(0..=whole)
            } else {
                whole
            };
            batch.events.extend(self.rest.drain(..take));
            if !self.rest.is_empty() {
                return Ok(batch);
            }
            self.cursor += 1;
        }
        self.place(&mut batch);
        Ok(batch)
    }

    async fn confirm(&mut self, _position: &LogPosition) -> Result<()> {
        Ok(())
    }

    async fn snapshot_reader(&mut self) -> Result<Box<dyn SnapshotReader>> {
        let random = self.random.fork();
        Ok(Box::new(Reader {
            random,
            database: Arc::clone(&self.database),
            view: VecDeque::new(),
        }))
    }

    async fn log_end(&mut self) -> Result<LogEnd> {
        let end = self.database().log().len() as u64;
        // The end that the whole workload will have, so that no run ends before it.
        let ahead = self.database().transactions_left() as u64;
        Ok(LogEnd {
            watermark: mark(end + ahead),
            log_files: Vec::new(),
            partitions: Vec::new(),
            retention_seconds: None,
        })
    }
}

struct Reader {
    random: fastrand::Rng,
    database: Shared,
    view: VecDeque<Row>,
}

impl Reader {
    async fn pause(&mut self, what: &str) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(self.random.u64(0..30))).await;
        if self.random.u32(0..40) == 0 {
            Err(fault(what))
        } else {
            Ok(())
        }
    }

    /// The table's rows after a key, in key order.
    fn rows_after(&self, table: &TableSchema, after: Option<&Row>) -> Vec<Row> {
        let database = self.database.lock().expect("no holder panicked");
        let after = after.map(|key| key_bytes(table, key));
        let rows = database.rows(&table.id).iter();
        rows.filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .map(|(_, row)| row.clone())
            .collect()
    }
}

/// The map key of a packed key.
fn key_bytes(table: &TableSchema, key: &Row) -> Vec<u8> {
    let as_row = TableSchema {
        key: (0..key.len()).collect(),
        ..table.clone()
    };
    key_of(&as_row, key)
}

#[async_trait]
impl SnapshotReader for Reader {
    async fn boundary(
        &mut self,
        table: &TableSchema,
        after: Option<&Row>,
        rows: u64,
    ) -> Result<Option<Row>> {
        self.pause("boundary").await?;
        let rest = self.rows_after(table, after);
        Ok(rest
            .get(rows as usize - 1)
            .map(|row| row.project(&table.key)))
    }

    async fn read_chunk(
        &mut self,
        table: &TableSchema,
        request: &ChunkRequest,
    ) -> Result<ChunkRows> {
        self.pause("before the read").await?;
        self.database.lock().expect("no holder panicked").work();
        let mut rows = self.rows_after(table, request.after.as_ref());
        if let Some(until) = &request.until {
            let until = key_bytes(table, until);
            rows.retain(|row| key_of(table, row) <= until);
        }
        let mut truncated_at = None;
        if rows.len() > 2 && self.random.u32(0..6) == 0 {
            rows.truncate(rows.len() / 2);
            truncated_at = rows.last().map(|row| row.project(&table.key));
        }
        let table = {
            let mut database = self.database.lock().expect("no holder panicked");
            let table = database
                .schema(&table.id)
                .map(Arc::clone)
                .expect("tables are not dropped");
            database.work();
            table
        };
        self.pause("after the read").await?;
        let high = mark(
            self.database
                .lock()
                .expect("no holder panicked")
                .log()
                .len() as u64,
        );
        self.pause("the answer").await?;
        Ok(ChunkRows {
            table,
            rows,
            high,
            truncated_at,
        })
    }

    async fn open_view(&mut self, table: &TableId) -> Result<TableView> {
        self.pause("view").await?;
        let mut database = self.database.lock().expect("no holder panicked");
        database.work();
        self.view = database.rows(table).values().cloned().collect();
        let at = mark(database.log().len() as u64);
        let table = database
            .schema(table)
            .map(Arc::clone)
            .expect("tables are not dropped");
        database.work();
        Ok(TableView { table, at })
    }

    async fn read_view(&mut self, _size_bytes_max: usize) -> Result<Vec<Row>> {
        self.pause("rows of a view").await?;
        let count = self.random.usize(1..10).min(self.view.len());
        Ok(self.view.drain(..count).collect())
    }

    async fn estimate(&mut self, table: &TableId) -> Result<TableEstimate> {
        let rows = self
            .database
            .lock()
            .expect("no holder panicked")
            .rows(table)
            .len() as u64;
        Ok(TableEstimate {
            rows,
            row_bytes: 40,
        })
    }
}
