//! Events to records.
//!
//! A record's key is the table's primary key, so that changes of one row stay in order; a change of
//! the key is a delete and a new row. A delete is followed by a tombstone, for compaction.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use sluice_avro::{Meta, Operation, Record};
use sluice_core::{
    Batch, ChangeEvent, Error, Reason, Result, Row, RowChange, RowOperation, SchemaChange,
    SnapshotChunk, TableId, TableSchema, Transaction, event::ChunkMode, position::Frontier,
};

use crate::{
    bounds::Bounds,
    control::What,
    header::{Header, Kind},
    partition::partition_of,
    producer::Outgoing,
    resume::Written,
    schemas::Fingerprint,
    session::Session,
    topics::{Declared, Purpose, topic_of},
};

/// How many rows are written between two looks at the transaction's age.
const LOOK_ROWS: usize = 1_000;
/// What a record takes beside key, value and header.
const OVERHEAD_BYTES: usize = 128;

/// Memory that one record after another uses.
#[derive(Default)]
pub(crate) struct Buffers {
    key: Vec<u8>,
    value: Vec<u8>,
    header: String,
}

/// One record to come.
struct Change<'a> {
    kind: Kind,
    before: Option<&'a Row>,
    after: Option<&'a Row>,
    meta: Meta<'a>,
    transaction: Option<(&'a str, u64)>,
}

/// The events of one batch on their way.
pub(crate) struct Writer<'a> {
    session: &'a mut Session,
    buffers: &'a mut Buffers,
    now_micros: i64,
    rows: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(session: &'a mut Session, buffers: &'a mut Buffers) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            session,
            buffers,
            now_micros: now.map_or(0, |now| now.as_micros() as i64),
            rows: 0,
        }
    }

    /// Whether a table can't go on.
    pub(crate) fn is_stopped(&self, table: &TableId) -> bool {
        let stopped = &self.session.stopped;
        !stopped.is_empty() && stopped.contains(table)
    }

    /// Leaves a table's further events out.
    pub(crate) fn stop(&mut self, table: &TableId) {
        self.session.stopped.insert(table.clone());
    }

    /// Notes that rows of a source transaction are written of a table.
    pub(crate) fn began(&mut self, table: &TableId) {
        let unfinished = &mut self.session.unfinished;
        if !unfinished.contains(table) {
            unfinished.insert(table.clone());
        }
    }

    /// Whether rows are written of a table whose source transaction has not ended.
    pub(crate) fn is_unfinished(&self, table: &TableId) -> bool {
        self.session.unfinished.contains(table)
    }

    /// Writes the event at a place of the batch.
    pub(crate) async fn event(&mut self, batch: &Batch, index: usize) -> Result<()> {
        match &batch.events[index] {
            ChangeEvent::Row(change) => {
                let (id, ordinal) = (&change.transaction.id, change.ordinal);
                let is_written = self.is_written(id, Some(ordinal));
                if is_written {
                    self.count_written(change);
                } else {
                    self.row(change).await?;
                }
                self.session.passed.change(id, ordinal);
                self.look().await
            }
            ChangeEvent::Chunk(chunk) => self.chunk(chunk).await,
            // Topics keep no letters.
            ChangeEvent::Unreadable(unreadable) => Err(unreadable.to_error()),
            ChangeEvent::Schema(change) => {
                let rest = batch.events[index..].iter();
                let mut ends = rest.filter_map(|event| match event {
                    ChangeEvent::TransactionEnd(transaction) => Some(transaction),
                    _ => None,
                });
                let own = ends.next();
                if own.is_some_and(|own| self.is_written(&own.id, None)) {
                    return Ok(());
                }
                self.schema(change).await
            }
            ChangeEvent::TransactionEnd(transaction) => {
                let is_written = self.is_written(&transaction.id, None);
                let session = &mut *self.session;
                session.end_bounds().await?;
                session.passed.end(&transaction.id);
                session.unfinished.clear();
                if !is_written {
                    // The transaction that was written in part is whole now, or never comes.
                    session.skip = Written::default();
                }
                Ok(())
            }
        }
    }

    /// Whether a change, or with no ordinal a whole transaction, was written before the sink was
    /// opened. The first transaction that was not is the end of those.
    fn is_written(&mut self, transaction: &str, ordinal: Option<u64>) -> bool {
        let skip = &mut self.session.skip;
        if skip.is_empty() {
            return false;
        }
        if !skip.knows(transaction) {
            *skip = Written::default();
            return false;
        }
        match ordinal {
            Some(ordinal) => skip.has_change(transaction, ordinal),
            None => skip.has_whole(transaction),
        }
    }

    /// Counts the records of a change that an earlier session wrote.
    fn count_written(&mut self, change: &RowChange) {
        let session = &mut *self.session;
        let is_whole = session.skip.has_whole(&change.transaction.id);
        let Some(bounds) = session.bounds.as_mut().filter(|_| !is_whole) else {
            return;
        };
        let table = &change.table;
        let topic = topic_of(&session.settings.kafka.topics, &table.id);
        let records = match &change.operation {
            RowOperation::Update { before, after } if moves(table, before, after) => 2,
            _ => 1,
        };
        bounds.count_written(&change.transaction, &table.id, &topic, records);
    }

    /// Writes where the transaction begins, if a change of it is the first to be written.
    async fn begin_bounds(&mut self, transaction: &Transaction) -> Result<()> {
        let other = |bounds: &Bounds| bounds.is_inside_other(&transaction.id);
        if self.session.bounds.as_ref().is_some_and(other) {
            // Its end was not shown, but another one began.
            self.session.end_bounds().await?;
        }
        self.session.begin()?;
        let session = &mut *self.session;
        match &mut session.bounds {
            Some(bounds) => bounds.begin(&session.producer, transaction).await,
            None => Ok(()),
        }
    }

    /// Commits a piece when the transaction is old.
    async fn look(&mut self) -> Result<()> {
        self.rows += 1;
        if self.rows.is_multiple_of(LOOK_ROWS) && self.session.is_old() {
            self.session.split().await?;
        }
        Ok(())
    }

    async fn row(&mut self, change: &RowChange) -> Result<()> {
        if self.session.tables.ready(&change.table).is_none() {
            self.session.ready_for_rows(&change.table).await?;
        }
        if self.session.bounds.is_some() {
            self.begin_bounds(&change.transaction).await?;
        }
        let transaction = Some((change.transaction.id.as_str(), change.ordinal));
        let meta = meta(&change.transaction, change.ordinal, self.now_micros);
        let made = |kind, before, after| Change {
            kind,
            before,
            after,
            meta,
            transaction,
        };
        let table = &change.table;
        match &change.operation {
            RowOperation::Insert { after } => {
                self.record(table, &made(Kind::Create, None, Some(after)))
                    .await
            }
            RowOperation::Delete { before } => {
                self.record(table, &made(Kind::Delete, Some(before), None))
                    .await
            }
            RowOperation::Update { before, after } if !moves(table, before, after) => {
                self.record(table, &made(Kind::Update, Some(before), Some(after)))
                    .await
            }
            RowOperation::Update { after, .. } if after.has_unchanged() => {
                let message = "a row got a new key while the log does not hold all of its columns";
                Err(Error::new(Reason::RowRefused, message)
                    .with_table(table.id.clone())
                    .with_hint("SET GLOBAL binlog_row_image = FULL, then copy the table again"))
            }
            RowOperation::Update { before, after } => {
                self.record(table, &made(Kind::Delete, Some(before), None))
                    .await?;
                self.record(table, &made(Kind::Create, None, Some(after)))
                    .await
            }
        }
    }

    async fn chunk(&mut self, chunk: &SnapshotChunk) -> Result<()> {
        let table = &chunk.table;
        if begins_anew(&chunk.mode) {
            self.begin_copy(table).await?;
        } else {
            self.session.ready_for_rows(table).await?;
        }
        let shape = || Ok::<_, Error>(Fingerprint::of(table)?.0.to_string());
        let key = |row: &Option<Row>| row.clone().map(Frontier);
        match &chunk.mode {
            ChunkMode::ReplaceAll => {
                let event = What::ReplaceAll { shape: shape()? };
                self.session.control(&table.id, event).await?;
            }
            ChunkMode::ReplaceRange { after, until } => {
                let event = What::ReplaceRange {
                    shape: shape()?,
                    after: key(after),
                    until: key(until),
                };
                self.session.control(&table.id, event).await?;
            }
            ChunkMode::Append | ChunkMode::Upsert => {}
        }
        let kind = match &chunk.mode {
            ChunkMode::Append | ChunkMode::ReplaceAll => Kind::Append,
            ChunkMode::Upsert | ChunkMode::ReplaceRange { .. } => Kind::Upsert,
        };
        self.session.copied.insert(table.id.clone());
        let meta = Meta {
            source_micros: self.now_micros,
            now_micros: self.now_micros,
            snapshot: true,
            ..Meta::default()
        };
        for row in &chunk.rows {
            let change = Change {
                kind,
                before: None,
                after: Some(row),
                meta,
                transaction: None,
            };
            self.record(table, &change).await?;
            self.look().await?;
        }
        Ok(())
    }

    /// Tells readers that a table is copied from its first row: with its change, where that is why;
    /// otherwise somebody wants it so.
    async fn begin_copy(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        self.session.renewing.remove(&table.id);
        let is_known = self.session.told(&table.id).is_some();
        if !is_known || self.session.refilled.remove(&table.id) {
            return self.session.ready_for_rows(table).await;
        }
        let shape = self.reshape(table).await?;
        let event = What::Renew { shape };
        self.session.control(&table.id, event).await
    }

    /// Writes one record, and the tombstone behind a delete.
    async fn record(&mut self, schema: &Arc<TableSchema>, change: &Change<'_>) -> Result<()> {
        self.session.begin()?;
        let Session {
            tables,
            producer,
            bounds,
            ..
        } = &mut *self.session;
        let Some(table) = tables.ready(schema) else {
            return Err(Error::new(
                Reason::Internal,
                "a table is written that was not made ready",
            ));
        };
        let Buffers { key, value, header } = &mut *self.buffers;
        key.clear();
        value.clear();
        if let Some(row) = change.after.or(change.before) {
            table.writer.key(row, key);
        }
        let mut meta = change.meta;
        let mut number = 0;
        if let Some(bounds) = bounds {
            number = bounds.number();
            if let Some((id, _)) = change.transaction {
                let ordinals = bounds.ordinals(&table.schema.id, &table.topic);
                meta.transaction = Some(id);
                meta.ordinal = ordinals.total;
                meta.table_ordinal = ordinals.table;
            }
        }
        let lost = table.writer.value(
            &Record {
                op: operation(change.kind),
                before: change.before,
                after: change.after,
                meta,
            },
            value,
        );
        let mut said = Header {
            kind: change.kind,
            shape: table.fingerprint,
            control: table.control,
            transaction: change.transaction,
            number,
        };
        said.write(header);
        let size = key.len() + value.len() + header.len() + OVERHEAD_BYTES;
        if size > table.message_bytes_max {
            return Err(too_large(&table.schema.id, &table.topic, size));
        }
        let key = (!key.is_empty()).then_some(key.as_slice());
        let mut outgoing = Outgoing {
            topic: &table.topic,
            partition: partition_of(key, table.partitions),
            key,
            value: (!value.is_empty()).then_some(value.as_slice()),
            header: Some(header),
            lost: lost.as_str(),
        };
        producer.send(&outgoing).await?;
        if let Some(bounds) = bounds.as_mut().filter(|_| change.transaction.is_some()) {
            bounds.count();
        }
        if change.kind == Kind::Delete && key.is_some() && outgoing.value.is_some() {
            said.kind = Kind::Tombstone;
            let mut text = String::new();
            said.write(&mut text);
            outgoing.value = None;
            outgoing.lost = None;
            outgoing.header = Some(&text);
            producer.send(&outgoing).await?;
        }
        Ok(())
    }

    async fn schema(&mut self, change: &SchemaChange) -> Result<()> {
        let session = &mut *self.session;
        match change {
            SchemaChange::Create(schema) => {
                let shape = self.reshape(schema).await?;
                let event = What::Create { shape };
                self.session.refilled.insert(schema.id.clone());
                self.session.control(&schema.id, event).await
            }
            SchemaChange::Alter(schema) => {
                let shape = self.reshape(schema).await?;
                // A capture that begins announces what readers may know already, or will.
                if self.session.renewing.contains(&schema.id)
                    || self.session.known.shapes.get(&schema.id) == Some(&shape)
                {
                    return Ok(());
                }
                let event = What::Alter { shape };
                self.session.control(&schema.id, event).await
            }
            SchemaChange::Renew(schema) => {
                let shape = self.reshape(schema).await?;
                let event = What::Renew { shape };
                self.session.control(&schema.id, event).await
            }
            SchemaChange::Refill(schema) => {
                let shape = self.reshape(schema).await?;
                self.session.refilled.insert(schema.id.clone());
                let event = What::Refill { shape };
                self.session.control(&schema.id, event).await
            }
            SchemaChange::RenameColumns { table, columns } => {
                let renamed = session.told(table).map(|told| renamed(told, columns));
                let event = What::RenameColumns {
                    columns: columns.clone(),
                };
                session.control(table, event).await?;
                match renamed {
                    Some(schema) => self.tell(&schema).await,
                    None => Ok(()),
                }
            }
            SchemaChange::RenameTable { from, to } => self.rename(from, to).await,
            SchemaChange::Truncate(table) => session.control(table, What::Truncate).await,
            SchemaChange::Drop(table) => {
                session.control(table, What::Drop).await?;
                session.known.shapes.remove(table);
                session.tables.remove(table);
                Ok(())
            }
        }
    }

    /// Makes a table ready for a new shape, and answers with the shape's fingerprint.
    async fn reshape(&mut self, schema: &Arc<TableSchema>) -> Result<String> {
        self.session.ready(schema).await?;
        Ok(Fingerprint::of(schema)?.0.to_string())
    }

    /// Notes a shape that readers conclude for themselves.
    async fn tell(&mut self, schema: &Arc<TableSchema>) -> Result<()> {
        let shape = self.reshape(schema).await?;
        self.session.known.shapes.insert(schema.id.clone(), shape);
        Ok(())
    }

    async fn rename(&mut self, from: &TableId, to: &TableId) -> Result<()> {
        let session = &mut *self.session;
        let topic = topic_of(&session.settings.kafka.topics, to);
        let told = session.told(from).cloned();
        if let Some(told) = &told {
            let declared = Declared {
                partitions: session.settings.kafka.partitions.cast_signed(),
                replication_factor: session.settings.kafka.replication_factor.cast_signed(),
                purpose: Purpose::of(told),
            };
            let ensured = session.topics.ensure(&session.lookup, &topic, declared);
            ensured
                .await
                .map_err(|error| error.with_table(to.clone()))?;
        }
        session.producer.flush().await?;
        let number = session.known.controls.get(&topic).copied().unwrap_or(0) + 1;
        let offsets = session.ends(&topic).await?;
        let event = What::RenameTable {
            to: to.clone(),
            topic: topic.clone(),
            number,
            offsets,
        };
        session.control(from, event).await?;
        session.known.controls.insert(topic, number);
        session.known.shapes.remove(from);
        session.tables.remove(from);
        session.tables.remove(to);
        match told {
            Some(told) => {
                let mut schema = TableSchema::clone(&told);
                schema.id = to.clone();
                self.tell(&Arc::new(schema)).await
            }
            None => Ok(()),
        }
    }
}

/// Whether a chunk is the first of a whole table that targets may hold already.
fn begins_anew(mode: &ChunkMode) -> bool {
    matches!(
        mode,
        ChunkMode::ReplaceAll | ChunkMode::ReplaceRange { after: None, .. }
    )
}

fn renamed(schema: &TableSchema, columns: &[(String, String)]) -> Arc<TableSchema> {
    let mut renamed = schema.clone();
    for column in &mut renamed.columns {
        if let Some((_, to)) = columns.iter().find(|(from, _)| *from == column.name) {
            column.name.clone_from(to);
        }
    }
    Arc::new(renamed)
}

/// Whether an update gives the row another key.
fn moves(table: &TableSchema, before: &Row, after: &Row) -> bool {
    let mut key = table.key.iter();
    key.any(|&column| {
        !after.get(column).is_unchanged() && before.cell(column) != after.cell(column)
    })
}

fn operation(kind: Kind) -> Operation {
    match kind {
        Kind::Create => Operation::Create,
        Kind::Update => Operation::Update,
        Kind::Delete | Kind::Tombstone => Operation::Delete,
        Kind::Append | Kind::Upsert => Operation::Read,
    }
}

fn meta(transaction: &Transaction, ordinal: u64, now_micros: i64) -> Meta<'_> {
    let id = transaction.id.as_str();
    // A GTID begins with a UUID; anything else is a file and a place in it.
    let is_gtid = id.len() > 36 && id.as_bytes()[8] == b'-' && id.as_bytes()[23] == b'-';
    let place = if is_gtid { None } else { id.rsplit_once(':') };
    Meta {
        source_micros: transaction.commit_time_micros,
        now_micros,
        transaction: None,
        ordinal,
        table_ordinal: ordinal,
        snapshot: false,
        gtid: is_gtid.then_some(id),
        file: place.map_or("", |(file, _)| file),
        position: place.map_or(transaction.start_offset as u64, |(_, offset)| {
            offset.parse().unwrap_or(0)
        }),
    }
}

fn too_large(table: &TableId, topic: &str, size: usize) -> Error {
    let message = format!("a record of {size} bytes is larger than topic {topic} takes");
    Error::new(Reason::RowRefused, message)
        .with_table(table.clone())
        .with_hint(format!(
            "kafka-configs --alter --entity-type topics --entity-name {topic} --add-config \
             max.message.bytes={}, then copy the table again",
            size.next_power_of_two()
        ))
}
