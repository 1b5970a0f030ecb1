//! A target that takes every event by the letter: a row inserted twice, or changed without being
//! there, is a fault of the pipeline.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use sluice_core::{
    Batch, ChangeEvent, Error, Position, Reason, Result, Row, RowChange, RowOperation,
    SchemaChange, Sink, SnapshotChunk, TableId, TableSchema, TableState, WriteOutcome,
    event::ChunkMode, position::LogPosition,
};

use crate::database::{Contents, Database, Rows, key_of};

/// What the target holds.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    pub(crate) position: Option<Position>,
    contents: Contents,
    schemas: BTreeMap<TableId, Arc<TableSchema>>,
    /// How often each table that followed the stream was begun anew.
    pub(crate) begun_anew: BTreeMap<TableId, u32>,
}

pub(crate) struct SimulatedTarget {
    random: fastrand::Rng,
    database: Arc<Mutex<Database>>,
    committed: Arc<Mutex<Stored>>,
    open: Stored,
    /// Whether positions are those of topics, which the database's history does not know.
    behind_topics: bool,
}

impl SimulatedTarget {
    pub(crate) fn new(random: fastrand::Rng, database: Arc<Mutex<Database>>) -> Self {
        Self {
            random,
            database,
            committed: Arc::default(),
            open: Stored::default(),
            behind_topics: false,
        }
    }

    /// A new target whose source are topics.
    pub(crate) fn behind_topics(random: fastrand::Rng, database: Arc<Mutex<Database>>) -> Self {
        let mut target = Self::new(random, database);
        target.behind_topics = true;
        target
    }

    /// A target that holds what another one left behind.
    pub(crate) fn on(
        random: fastrand::Rng,
        database: Arc<Mutex<Database>>,
        committed: Arc<Mutex<Stored>>,
    ) -> Self {
        Self {
            random,
            database,
            committed,
            open: Stored::default(),
            behind_topics: false,
        }
    }

    pub(crate) fn state(&self) -> Arc<Mutex<Stored>> {
        Arc::clone(&self.committed)
    }

    fn fault(&mut self, one_in: u32, what: &str) -> Result<()> {
        if self.random.u32(0..one_in) == 0 {
            return Err(Error::new(
                Reason::Unavailable,
                format!("simulated fault: {what}"),
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for SimulatedTarget {
    async fn open(&mut self) -> Result<Option<Position>> {
        self.fault(10, "open")?;
        self.open = self.committed.lock().expect("no holder panicked").clone();
        Ok(self.open.position.clone())
    }

    async fn prepare(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        self.open.contents.entry(table.id.clone()).or_default();
        self.open
            .schemas
            .insert(table.id.clone(), Arc::clone(table));
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<WriteOutcome> {
        tokio::time::sleep(Duration::from_millis(self.random.u64(0..8))).await;
        self.fault(60, "write")?;
        for event in &batch.events {
            match event {
                ChangeEvent::Row(change) => self.open.change(change),
                ChangeEvent::Chunk(chunk) => self.open.chunk(chunk),
                ChangeEvent::Schema(change) => self.open.reshape(change),
                ChangeEvent::Unreadable(_) | ChangeEvent::TransactionEnd(_) => {}
            }
        }
        Ok(WriteOutcome::default())
    }

    async fn commit(&mut self, position: &Position) -> Result<()> {
        self.fault(60, "before the commit")?;
        self.open.count_begun_anew(position);
        self.open.position = Some(position.clone());
        if !self.behind_topics {
            self.open
                .assert_equals_history(&self.database.lock().expect("no holder panicked"));
        }
        *self.committed.lock().expect("no holder panicked") = self.open.clone();
        self.fault(60, "after the commit")
    }

    async fn durable(&mut self) -> Result<Option<Position>> {
        Ok(self
            .committed
            .lock()
            .expect("no holder panicked")
            .position
            .clone())
    }
}

impl Stored {
    /// Every table shows what the source had at the position, up to its frontier.
    pub(crate) fn assert_equals_history(&self, database: &Database) {
        let position = self.position.as_ref().expect("a position is stored");
        let LogPosition::Lsn(place) = position.log else {
            panic!("a position of another kind")
        };
        let history = database.history(place);
        for (table, state) in position.tables.iter() {
            let schema = &self.schemas[table];
            let held = &self.contents[table];
            let Some(had) = history.get(table) else {
                assert!(held.is_empty(), "{table} has rows before it exists");
                continue;
            };
            match state {
                TableState::Streaming => assert!(held == had, "{table} differs at {place}"),
                TableState::Snapshotting { replace: true, .. }
                    if !schema.key_orders_everywhere() => {}
                TableState::Snapshotting { .. } if !schema.key_orders_everywhere() => {
                    // Any subset, but of the rows as they were at this very position.
                    for (key, row) in held {
                        assert_eq!(had.get(key), Some(row), "{table} has an odd row at {place}");
                    }
                }
                TableState::Snapshotting {
                    frontier, replace, ..
                } => {
                    let until = frontier.as_ref().map(|key| key_of(schema, &key.0));
                    let reached = |key: &Vec<u8>| until.as_ref().is_some_and(|until| key <= until);
                    let upto = |rows: &Rows| -> Rows {
                        rows.clone()
                            .into_iter()
                            .filter(|(key, _)| reached(key))
                            .collect()
                    };
                    // A table that is copied again keeps its older rows beyond the frontier.
                    let held = if *replace { upto(held) } else { held.clone() };
                    assert!(
                        held == upto(had),
                        "{table} differs up to its frontier at {place}"
                    );
                }
                TableState::Stopped { message, .. } => panic!("{table} stopped: {message}"),
            }
        }
    }

    /// Every table shows what the source has now.
    pub(crate) fn assert_equals_now(&self, database: &Database) {
        for table in database.tables() {
            let held = &self.contents[&table.id];
            assert!(held == database.rows(&table.id), "{} differs", table.id);
        }
    }

    fn count_begun_anew(&mut self, position: &Position) {
        let Some(before) = &self.position else { return };
        for (table, state) in position.tables.iter() {
            let followed = before.tables.get(table) == Some(&TableState::Streaming);
            if followed && matches!(state, TableState::Snapshotting { .. }) {
                *self.begun_anew.entry(table.clone()).or_default() += 1;
            }
        }
    }

    fn change(&mut self, change: &RowChange) {
        let table = &change.table;
        let copying = !table.has_key() || !table.key_orders_everywhere();
        let rows = self
            .contents
            .get_mut(&table.id)
            .expect("rows follow their table");
        let key = |row: &Row| key_of(table, row);
        match &change.operation {
            RowOperation::Insert { after } => {
                let older = rows.insert(key(after), after.clone());
                assert!(older.is_none() || copying, "{} got a row twice", table.id);
            }
            RowOperation::Delete { before } => {
                let older = rows.remove(&key(before));
                assert!(
                    older.is_some() || copying,
                    "{} lacks a row to delete",
                    table.id
                );
            }
            RowOperation::Update { before, after } => {
                let older = rows.remove(&key(before));
                assert!(
                    older.is_some() || copying,
                    "{} lacks a row to update",
                    table.id
                );
                match older {
                    Some(older) => {
                        let after = after.laid_over(&older);
                        rows.insert(key(&after), after);
                    }
                    None if after.has_unchanged() => {}
                    None => {
                        rows.insert(key(after), after.clone());
                    }
                }
            }
        }
    }

    fn chunk(&mut self, chunk: &SnapshotChunk) {
        let table = &chunk.table;
        let rows = self
            .contents
            .get_mut(&table.id)
            .expect("rows follow their table");
        match &chunk.mode {
            ChunkMode::Append | ChunkMode::Upsert => {}
            ChunkMode::ReplaceAll => rows.clear(),
            ChunkMode::ReplaceRange { after, until } => {
                let bound = |key: &Option<Row>| key.as_ref().map(|key| key_of(table, key));
                let (after, until) = (bound(after), bound(until));
                rows.retain(|key, _| {
                    after.as_ref().is_some_and(|after| key <= after)
                        || until.as_ref().is_some_and(|until| key > until)
                });
            }
        }
        for row in &chunk.rows {
            let older = rows.insert(key_of(table, row), row.clone());
            assert!(
                older.is_none() || chunk.mode == ChunkMode::Upsert,
                "a chunk of {} brought a row twice",
                table.id
            );
        }
    }

    fn reshape(&mut self, change: &SchemaChange) {
        match change {
            SchemaChange::Create(schema) | SchemaChange::Alter(schema) => {
                self.contents.entry(schema.id.clone()).or_default();
                self.schemas.insert(schema.id.clone(), Arc::clone(schema));
            }
            SchemaChange::Truncate(table) => {
                self.contents.insert(table.clone(), Rows::new());
            }
            other => panic!("the workload has no {other:?}"),
        }
    }
}
