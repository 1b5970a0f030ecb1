//! Records to events.

use std::sync::Arc;

use futures_util::FutureExt as _;
use rdkafka::{Message, message::Headers};
use sluice_avro::{Decoded, Operation};
use sluice_core::{
    ChangeEvent, Error, Origin, Reason, Result, Row, RowChange, RowOperation, SchemaChange,
    SnapshotChunk, TableSchema, Transaction, event::ChunkMode,
};

use crate::{
    header::{self, Header, Kind},
    lookup::finished,
    schemas::Fingerprint,
    topic::Topic,
};

use super::{Reading, order::Turn};

/// What became of a record.
pub(super) enum Taken {
    /// It is an event now, or nothing.
    Done,
    /// It waits for a control event, or for its transaction's turn.
    Held,
    /// It waits for a schema.
    Stuck,
}

impl Reading {
    /// Makes an event of a record, if nothing is missing for it.
    pub(super) fn record<M: Message>(&mut self, index: usize, message: &M) -> Result<Taken> {
        let (said, lost) = headers(message);
        let said = said.and_then(Header::parse);
        let mut known = None;
        if let Some(said) = &said {
            if said.control > self.topics.get(index).control && self.controls.is_some() {
                return Ok(Taken::Held);
            }
            if let Some(transactions) = &mut self.transactions {
                let turn = Turn::of(said);
                if !transactions.order.allows(turn) {
                    let number = message.partition() as usize;
                    transactions.order.wait(turn, index, number);
                    return Ok(Taken::Held);
                }
            }
            known = self.shapes.get(said.shape).cloned();
            if known.is_none() && self.controls.is_some() {
                return Ok(Taken::Stuck);
            }
        }
        let is_tombstone = said
            .as_ref()
            .is_some_and(|said| said.kind == Kind::Tombstone);
        let mut decoded = None;
        if !is_tombstone {
            let reader = &mut self.topics.get_mut(index).reader;
            let decoding = reader.decode(message.key(), message.payload(), known.as_ref(), lost);
            match decoding.now_or_never() {
                Some(Ok(done)) => decoded = done,
                Some(Err(error)) => {
                    self.unreadable(index, message, known.as_ref(), error)?;
                    self.count(said.as_ref(), message);
                    return Ok(Taken::Done);
                }
                None => return Ok(Taken::Stuck),
            }
        }
        self.pass_on(index, message, said, decoded);
        Ok(Taken::Done)
    }

    /// Waits for what a record lacks, and takes it. The record stays until then.
    pub(super) async fn unstick(&mut self) -> Result<()> {
        let Some(message) = self.stuck.clone() else {
            return Ok(());
        };
        let Some(index) = self.topics.find(message.topic()) else {
            self.stuck = None;
            return Ok(());
        };
        let (text, lost) = headers(&message);
        let said = text.and_then(Header::parse);
        let known = match &said {
            Some(said) if self.controls.is_some() => Some(self.shape(said.shape).await?),
            _ => None,
        };
        let reader = &mut self.topics.get_mut(index).reader;
        let decoded = reader
            .decode(message.key(), message.payload(), known.as_ref(), lost)
            .await;
        match decoded {
            Ok(decoded) => self.pass_on(index, &message, said, decoded),
            Err(error) => {
                self.unreadable(index, &message, known.as_ref(), error)?;
                self.count(said.as_ref(), &message);
            }
        }
        self.stuck = None;
        Ok(())
    }

    /// A shape; it was written with or before the first record that has it.
    pub(super) async fn shape(&mut self, shape: Fingerprint) -> Result<Arc<TableSchema>> {
        if let Some(known) = self.shapes.get(shape) {
            return Ok(Arc::clone(known));
        }
        let missing = || {
            Error::new(
                Reason::DecodeFailed,
                format!("the shape {shape} of a record is not in the topic of shapes"),
            )
            .with_hint("the topic of shapes was cut off or belongs to another capture")
        };
        let controls = self.controls.as_mut().ok_or_else(missing)?;
        // The pipeline may drop the call any time: what was begun goes on then.
        let topic = &controls.schemas_topic;
        let from = controls.schemas_next;
        let begin = || self.lookup.begin_read(topic, from);
        let read = self.fetching.get_or_insert_with(begin).await;
        self.fetching = None;
        let (records, next) = finished(read)?;
        for record in &records {
            self.shapes
                .take(record.key.as_deref(), record.value.as_deref());
        }
        controls.schemas_next = next;
        self.shapes.get(shape).cloned().ok_or_else(missing)
    }

    /// Counts a record of a transaction, whatever became of it.
    fn count<M: Message>(&mut self, said: Option<&Header<'_>>, message: &M) {
        if let (Some(transactions), Some(said)) = (&mut self.transactions, said)
            && transactions.order.count(said, message.topic())
        {
            self.advance();
        }
    }

    /// Adds a record's event and moves the position behind it.
    fn pass_on<M: Message>(
        &mut self,
        index: usize,
        message: &M,
        said: Option<Header<'_>>,
        decoded: Option<Decoded>,
    ) {
        self.count(said.as_ref(), message);
        let topic = self.topics.get_mut(index);
        topic.partitions[message.partition() as usize].next = message.offset() + 1;
        let Some(decoded) = decoded else {
            return;
        };
        topic.is_read = true;
        if said.is_none() && !self.selection.contains(&decoded.table.id) {
            return;
        }
        if said.is_none()
            && let Some(change) = seen(topic, &decoded.table)
        {
            self.events.push(ChangeEvent::Schema(change));
        }
        let time = match decoded.ts_ms {
            0 => message.timestamp().to_millis().unwrap_or(0),
            known => known,
        };
        let kind = said
            .as_ref()
            .map_or_else(|| kind_of(decoded.op), |said| said.kind);
        let transaction = said.as_ref().and_then(|said| said.transaction);
        let (id, ordinal) =
            transaction.unwrap_or_else(|| (decoded.transaction.as_deref().unwrap_or_default(), 0));
        let partition = &mut topic.partitions[message.partition() as usize];
        partition.newest_micros = partition.newest_micros.max(time * 1000);
        let origin = Origin {
            place: partition.place,
            offset: message.offset(),
        };
        let told = self.with_origins.then_some(origin);
        let transaction = transaction_of(&mut self.newest, id, time * 1000);
        let table = decoded.table;
        let operation = match (kind, decoded.before, decoded.after) {
            (Kind::Append, _, Some(after)) => {
                self.size_bytes += after.size_bytes();
                return add_row(&mut self.events, table, (after, told), ChunkMode::Append);
            }
            (Kind::Upsert, _, Some(after)) => {
                self.size_bytes += after.size_bytes();
                return add_row(&mut self.events, table, (after, told), ChunkMode::Upsert);
            }
            (Kind::Delete, Some(before), _) => RowOperation::Delete { before },
            (Kind::Update, Some(before), Some(after)) => RowOperation::Update { before, after },
            (_, _, Some(after)) => RowOperation::Insert { after },
            _ => return,
        };
        let event = ChangeEvent::Row(RowChange {
            table,
            operation,
            transaction,
            ordinal,
            origin: Some(origin),
        });
        self.size_bytes += event.size_bytes();
        self.events.push(event);
    }
}

/// What Sluice says about a record, and what the format could not say.
pub(super) fn headers<M: Message>(message: &M) -> (Option<&[u8]>, Option<&str>) {
    let (mut said, mut lost) = (None, None);
    if let Some(headers) = message.headers() {
        for header in headers.iter() {
            match header.key {
                header::NAME => said = header.value,
                header::LOST => {
                    lost = header
                        .value
                        .and_then(|value| std::str::from_utf8(value).ok());
                }
                _ => {}
            }
        }
    }
    (said, lost)
}

/// Adds where a record lies to an error about it.
pub(super) fn placed<M: Message>(error: Error, message: &M) -> Error {
    let place = format!(
        "topic {}, partition {}, offset {}: {}",
        message.topic(),
        message.partition(),
        message.offset(),
        error.message()
    );
    let mut told = Error::new(error.reason(), place);
    if let Some(hint) = error.hint() {
        told = told.with_hint(hint);
    }
    if let Some(table) = error.table() {
        told = told.with_table(table.clone());
    }
    told.with_source(error)
}

/// What is to be told of the shape of a record that another capture wrote. Records of several
/// partitions may have an older shape for a while: what was told once is not told again.
fn seen(topic: &mut Topic, table: &Arc<TableSchema>) -> Option<SchemaChange> {
    if topic
        .seen
        .last()
        .is_some_and(|last| Arc::ptr_eq(last, table))
        || topic.seen.contains(table)
    {
        return None;
    }
    let is_first = topic.seen.is_empty() && !topic.is_known;
    topic.seen.push(Arc::clone(table));
    let table = Arc::clone(table);
    Some(if is_first {
        SchemaChange::Create(table)
    } else {
        SchemaChange::Alter(table)
    })
}

fn kind_of(operation: Operation) -> Kind {
    match operation {
        Operation::Create => Kind::Create,
        Operation::Update => Kind::Update,
        Operation::Delete => Kind::Delete,
        Operation::Read => Kind::Upsert,
    }
}

/// The transaction of a record, shared with the record before if it is the same.
fn transaction_of(
    newest: &mut Option<Arc<Transaction>>,
    id: &str,
    commit_time_micros: i64,
) -> Arc<Transaction> {
    match newest {
        Some(known) if known.id == id && known.commit_time_micros == commit_time_micros => {
            Arc::clone(known)
        }
        newest => Arc::clone(newest.insert(Arc::new(Transaction {
            id: id.to_owned(),
            commit_time_micros,
            start_offset: 0,
        }))),
    }
}

/// Adds a row to the chunk at the end, or begins one.
fn add_row(
    events: &mut Vec<ChangeEvent>,
    table: Arc<TableSchema>,
    (row, origin): (Row, Option<Origin>),
    mode: ChunkMode,
) {
    if let Some(ChangeEvent::Chunk(chunk)) = events.last_mut()
        && chunk.mode == mode
        && Arc::ptr_eq(&chunk.table, &table)
    {
        chunk.rows.push(row);
        chunk.origins.extend(origin);
        return;
    }
    events.push(ChangeEvent::Chunk(SnapshotChunk {
        table,
        rows: vec![row],
        origins: origin.into_iter().collect(),
        mode,
    }));
}
