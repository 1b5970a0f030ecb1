//! Records that the target refuses for their content, kept in `sluice.dead_letters`.
//!
//! They are written in the transaction that goes on without them, so that a record is either
//! applied or kept, never both and never neither.
//!
//! **One letter per row.** A letter holds all that the target lacks of its row: the row that still
//! has to come, the key that still has to go, or both. The next change of the row takes the letter
//! along ([`later`]): what the letter holds is laid under the change, the change is applied as a
//! whole, and the letter is gone in the same transaction; if that is refused, too, a new letter
//! takes the older one's place. A row's letter is therefore never older than the row in the target,
//! which is what makes a retry ([`desk`]) safe at any time. Reading the table again, emptying or
//! dropping it ends its letters.
//!
//! Rows that are too large to be kept whole, and letters of older versions, are for reading only. So
//! are records that could not be decoded ([`unreadable`]), about which the target knows nothing.
//!
//! **A topic beside.** With a topic of dead letters the records themselves go there, too, ahead of the
//! commit; the table stays the book by which rows find their letters.

pub mod desk;
pub(crate) mod later;
pub(crate) mod parcel;
mod reshape;
pub(crate) mod successors;
pub(crate) mod unreadable;
mod waiting;

use std::collections::HashMap;

use serde_json::{Map, Value as Json};
use sluice_core::{
    Letter, Origin, Reason, Row, RowChange, RowOperation, SnapshotChunk, Stage, TableId,
    TableSchema,
};
use tokio_postgres::Client;

use crate::{
    json,
    sql::{list, literal},
    text::hex,
};
use parcel::{Parcel, digest};
pub(crate) use waiting::Waiting;

/// Beyond this a value is named by its size only in the part of a letter that is for reading.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Letters per statement, and how long a statement may become before it is sent.
const LETTERS_PER_STATEMENT: usize = 200;
const STATEMENT_BYTES_MAX: usize = 1 << 20;

const COLUMNS: &str = "sink, source_table, operation, position, reason, summary, sqlstate, key, \
                       before, after, shape, removes, removes_digest, writes, writes_digest, origin";

/// A refused record.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    parcel: Parcel,
    before: Option<Row>,
    after: Option<Row>,
    position: String,
    /// The record of a topic that the change was read from.
    origin: Option<Origin>,
    cause: Cause,
}

/// Why, in words and as SQLSTATE.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    /// May quote the row.
    pub(crate) reason: String,
    /// Does not.
    pub(crate) summary: String,
    pub(crate) sqlstate: String,
}

impl DeadLetter {
    /// A letter about a change of which nothing is applied; `after` is the row after several
    /// changes, where they were applied as one.
    pub(crate) fn of_change(event: &RowChange, after: Option<&Row>, cause: Cause) -> Self {
        let mut parcel = Parcel::of_change(event);
        if let (Some(writes), Some(after)) = (&mut parcel.writes, after) {
            writes.clone_from(after);
        }
        Self::of_parcel(event, parcel, cause)
    }

    /// A letter about what is left of a change.
    pub(crate) fn of_parcel(event: &RowChange, parcel: Parcel, cause: Cause) -> Self {
        let (before, logged) = match &event.operation {
            RowOperation::Insert { after } => (None, Some(after)),
            RowOperation::Update { before, after } => (Some(before), Some(after)),
            RowOperation::Delete { before } => (Some(before), None),
        };
        let after = parcel.writes.clone().or_else(|| logged.cloned());
        Self {
            parcel,
            before: before.cloned(),
            after,
            position: event.transaction.id.clone(),
            origin: event.origin,
            cause,
        }
    }

    /// A letter about a row that was to be added after what it replaces was removed.
    pub(crate) fn of_addition(event: &RowChange, row: &Row, cause: Cause) -> Self {
        let mut parcel = Parcel::of_change(event);
        parcel.removes = None;
        parcel.writes = Some(row.clone());
        Self::of_parcel(event, parcel, cause)
    }

    /// A letter about a row that a snapshot read.
    pub(crate) fn of_row(schema: &std::sync::Arc<TableSchema>, row: &Row, cause: Cause) -> Self {
        Self {
            parcel: Parcel {
                table: std::sync::Arc::clone(schema),
                operation: parcel::READ,
                removes: None,
                writes: Some(row.clone()),
            },
            before: None,
            after: Some(row.clone()),
            position: "snapshot".into(),
            origin: None,
            cause,
        }
    }

    /// The letter as those get it who keep letters outside of the target; none where nobody knows the
    /// record.
    pub(crate) fn outside(&self) -> Option<Letter> {
        let Cause {
            summary, sqlstate, ..
        } = &self.cause;
        Some(Letter {
            origin: self.origin?,
            record: None,
            stage: Stage::Apply,
            reason: Reason::RowRefused,
            message: format!("table {}: {summary} (SQLSTATE {sqlstate})", self.table()),
        })
    }

    /// What the target lacks.
    pub(crate) fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    /// Why.
    pub(crate) fn into_cause(self) -> Cause {
        self.cause
    }

    fn table(&self) -> &TableId {
        &self.parcel.table.id
    }

    /// The letter as a list of values, in the order of [`COLUMNS`].
    fn values(&self, sink: &str, shape: &str) -> String {
        let schema = &*self.parcel.table;
        let key = self.before.as_ref().or(self.after.as_ref());
        let key = key.filter(|_| schema.has_key());
        let json = |json: Option<String>| match json {
            Some(json) => format!("{}::jsonb", literal(&json)),
            None => "NULL".to_owned(),
        };
        let packed = self.parcel.pack();
        let bytes = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => format!("'\\x{}'::bytea", hex(bytes)),
            None => "NULL".to_owned(),
        };
        let shape = match &packed {
            Some(_) => literal(shape),
            None => "NULL".to_owned(),
        };
        let (removes, writes) = packed.unwrap_or((None, None));
        let digests = [&removes, &writes].map(|part| part.as_ref().map(|part| part.digest));
        list([
            literal(sink),
            literal(&schema.id.to_string()),
            literal(self.parcel.operation),
            literal(&self.position),
            literal(&self.cause.reason.replace('\0', "")),
            literal(&self.cause.summary.replace('\0', "")),
            literal(&self.cause.sqlstate),
            json(key.map(|row| object(schema, row, &schema.key))),
            json(self.before.as_ref().map(|row| whole(schema, row))),
            json(self.after.as_ref().map(|row| whole(schema, row))),
            shape,
            bytes(removes.as_ref().map(|part| &*part.bytes)),
            bytes(digests[0].as_ref().map(<[u8; 16]>::as_slice)),
            bytes(writes.as_ref().map(|part| &*part.bytes)),
            bytes(digests[1].as_ref().map(<[u8; 16]>::as_slice)),
            match &self.origin {
                Some(origin) => literal(&origin.to_string()),
                None => "NULL".to_owned(),
            },
        ])
    }
}

/// Says of rows that a snapshot read where their records lie.
pub(crate) fn set_origins(letters: &mut [DeadLetter], chunk: &SnapshotChunk) {
    if letters.is_empty() || chunk.origins.is_empty() {
        return;
    }
    // A row's copies share its bytes.
    let place = |row: &Row| row.as_bytes().as_ptr();
    let rows = chunk.rows.iter().map(place);
    let origins: HashMap<_, _> = rows.zip(&chunk.origins).collect();
    for letter in letters {
        let row = letter.after.as_ref();
        letter.origin = row.and_then(|row| origins.get(&place(row)).copied().copied());
    }
}

fn whole(schema: &TableSchema, row: &Row) -> String {
    let all: Vec<_> = (0..schema.columns.len()).collect();
    object(schema, row, &all)
}

/// Columns by name; those that the source did not log are left out.
fn object(schema: &TableSchema, row: &Row, columns: &[usize]) -> String {
    let mut object = Map::new();
    for &at in columns {
        if let Some(value) = json::value(&row.get(at), VALUE_BYTES_MAX) {
            object.insert(schema.columns[at].name.clone(), value);
        }
    }
    Json::Object(object).to_string()
}

/// Writes letters in the open transaction.
pub(crate) async fn store(
    client: &Client,
    sink: &str,
    waiting: &mut Waiting,
    letters: &[DeadLetter],
) -> Result<(), tokio_postgres::Error> {
    let mut fingerprint: Option<(&TableSchema, String)> = None;
    let mut rows = String::new();
    let mut count = 0;
    for letter in letters {
        let schema = &*letter.parcel.table;
        let shape = match &fingerprint {
            Some((known, shape)) if std::ptr::eq(*known, schema) => shape.clone(),
            _ => store_shape(client, sink, schema).await?,
        };
        let comma = if rows.is_empty() { "" } else { ", " };
        rows.extend([comma, "(", &letter.values(sink, &shape), ")"]);
        fingerprint = Some((schema, shape));
        count += 1;
        for key in letter.parcel.keys() {
            waiting.insert(letter.table(), digest(&key));
        }
        if count == LETTERS_PER_STATEMENT || rows.len() > STATEMENT_BYTES_MAX {
            insert(client, &std::mem::take(&mut rows)).await?;
            count = 0;
        }
    }
    if count > 0 {
        insert(client, &rows).await?;
    }
    Ok(())
}

async fn insert(client: &Client, rows: &str) -> Result<(), tokio_postgres::Error> {
    let statement = format!("INSERT INTO sluice.dead_letters ({COLUMNS}) VALUES {rows}");
    client.batch_execute(&statement).await
}

/// Keeps a shape; answers its fingerprint.
pub(crate) async fn store_shape(
    client: &Client,
    sink: &str,
    schema: &TableSchema,
) -> Result<String, tokio_postgres::Error> {
    let text = serde_json::to_string(schema).expect("a table's shape has a text form");
    let fingerprint = hex(&parcel::sha256(text.as_bytes()));
    let statement = format!(
        "INSERT INTO sluice.dead_letter_shapes (sink, fingerprint, shape) VALUES ({}, {}, {}::jsonb)
         ON CONFLICT DO NOTHING",
        literal(sink),
        literal(&fingerprint),
        literal(&text),
    );
    client.batch_execute(&statement).await?;
    Ok(fingerprint)
}
