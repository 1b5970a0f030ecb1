//! Reads records of one topic, whoever wrote them.

mod avro;
mod json;
mod schemaless;

use std::sync::Arc;

use sluice_core::{Result, Row, RowBuilder, TableId, TableSchema, Value};

use crate::{
    codec::Format,
    fault,
    lost::Found,
    record::{Decoded, Envelope, Operation},
};

/// Reads records of one topic. Made by [`Codec::reader`](crate::Codec::reader).
#[derive(Debug)]
pub struct RecordReader {
    topic: Topic,
    format: Inner,
}

#[derive(Debug)]
enum Inner {
    Avro(Box<avro::AvroReader>),
    Json(Box<json::JsonReader>),
}

/// What every part of the reading knows.
#[derive(Debug)]
struct Topic {
    name: String,
    envelope: Envelope,
    source_name: Arc<str>,
    /// The shape of the record before.
    last: Option<Arc<TableSchema>>,
}

/// A record's bytes, and what is known about it.
#[derive(Clone, Copy)]
struct Raw<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    known: Option<&'a Arc<TableSchema>>,
}

/// A record, read.
struct Read {
    op: Option<Operation>,
    before: Option<Row>,
    after: Option<Row>,
    /// A row of the key's columns, in key order.
    key: Option<Row>,
    table: Arc<TableSchema>,
    ts_ms: i64,
    transaction: Option<String>,
}

/// What an envelope says beside the rows.
#[derive(Debug, Default)]
struct Head {
    op: Option<Operation>,
    /// Whether there was an `op` at all.
    has_op: bool,
    source_millis: Option<i64>,
    millis: Option<i64>,
    transaction: Option<String>,
    gtid: Option<String>,
}

impl Head {
    /// Whether the key alone says which row it was.
    fn needs_key(&self, has_before: bool) -> bool {
        !has_before && matches!(self.op, Some(Operation::Update | Operation::Delete))
    }
}

impl RecordReader {
    pub(crate) fn new(
        topic: &str,
        format: Format,
        envelope: Envelope,
        source_name: Arc<str>,
    ) -> Self {
        Self {
            topic: Topic {
                name: topic.to_owned(),
                envelope,
                source_name,
                last: None,
            },
            format: match format {
                Format::Avro(registry) => Inner::Avro(Box::new(avro::AvroReader::new(registry))),
                Format::Json { schemas } => Inner::Json(Box::new(json::JsonReader::new(schemas))),
            },
        }
    }

    /// Tells the reader a foreign topic's last known shape, so that a flat delete, whose record has
    /// no value, is one of this table even if nothing was read before it.
    pub fn assume(&mut self, table: Arc<TableSchema>) {
        self.topic.last = Some(table);
    }

    /// Reads a record. `known` is the table's shape where the record says so (`sluice.schema`),
    /// `lost` the header `sluice.lost`. `None` is a tombstone or a record about no row (a truncate or
    /// a message of Debezium's).
    ///
    /// A record in another format or envelope than declared is an error with
    /// [`InvalidConfig`](sluice_core::Reason::InvalidConfig), a damaged one with
    /// [`DecodeFailed`](sluice_core::Reason::DecodeFailed). Waits while the registry is down.
    pub async fn decode(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        known: Option<&Arc<TableSchema>>,
        lost: Option<&str>,
    ) -> Result<Option<Decoded>> {
        let is_flat = self.topic.envelope == Envelope::Flat;
        if value.is_none() && (!is_flat || key.is_none()) {
            return Ok(None);
        }
        let raw = Raw { key, value, known };
        let mut read = match &mut self.format {
            Inner::Avro(reader) => reader.read(&self.topic, raw).await?,
            Inner::Json(reader) => reader.read(&self.topic, raw)?,
        };
        if is_flat {
            read.op = Some(match (&read.after, &read.key) {
                (None, _) => Operation::Delete,
                (Some(_), Some(_)) => Operation::Update,
                (Some(_), None) => Operation::Create,
            });
        }
        let Some(op) = read.op else {
            return Ok(None);
        };
        self.topic.last = Some(Arc::clone(&read.table));
        if let Some(lost) = lost {
            self.mend(&mut read, lost)?;
        }
        if read.before.is_none()
            && matches!(op, Operation::Update | Operation::Delete)
            && let Some(key) = &read.key
        {
            // The row's own key is mended already.
            read.before = Some(match (&read.after, lost.and_then(Found::parse)) {
                (Some(after), _) if is_flat => {
                    key_row(&after.project(&read.table.key), &read.table)
                }
                (_, Some(found)) => found
                    .mend(&key_row(key, &read.table), "before", &read.table)
                    .map_err(|column| self.unmended(&column))?,
                (_, None) => key_row(key, &read.table),
            });
        }
        Ok(Some(Decoded {
            op,
            before: read.before,
            after: read.after,
            table: read.table,
            ts_ms: read.ts_ms,
            transaction: read.transaction,
        }))
    }

    fn mend(&self, read: &mut Read, lost: &str) -> Result<()> {
        let found = Found::parse(lost).ok_or_else(|| {
            fault::damaged(
                &self.topic.name,
                "header sluice.lost",
                "it is no JSON object",
            )
        })?;
        for (image, row) in [("before", &mut read.before), ("after", &mut read.after)] {
            if let Some(row) = row {
                *row = found
                    .mend(row, image, &read.table)
                    .map_err(|column| self.unmended(&column))?;
            }
        }
        Ok(())
    }

    fn unmended(&self, column: &str) -> sluice_core::Error {
        fault::damaged(
            &self.topic.name,
            "header sluice.lost",
            &format!("what it says of column {column} makes no sense"),
        )
    }
}

impl Topic {
    /// The place of a table by what a record's `source` says, else by the topic's name.
    fn table_id(&self, schema: Option<&str>, table: Option<&str>) -> TableId {
        match (schema, table) {
            (Some(schema), Some(table)) if !schema.is_empty() => TableId::new(schema, table),
            _ => crate::foreign::table_of_topic(&self.name, &self.source_name),
        }
    }

    /// Why a row can't be read; `index` is the place of the damaged field among `names`.
    fn bad_field(&self, part: &str, names: &[&str], index: usize) -> sluice_core::Error {
        let what = match names.get(index) {
            Some(name) => format!("its field {name} is not of the type that its column has"),
            None => "it ends too early or makes no sense".to_owned(),
        };
        fault::damaged(&self.name, part, &what)
    }
}

/// A row that has the key's columns and leaves the others open.
fn key_row(key: &Row, table: &TableSchema) -> Row {
    let mut builder = RowBuilder::new();
    builder.begin(table.columns.len(), key.size_bytes());
    for column in 0..table.columns.len() {
        match table.key.iter().position(|&part| part == column) {
            Some(part) => builder.push_cell(key.cell(part)),
            None => builder.push(Value::Unchanged),
        }
    }
    builder.finish()
}

/// Names of a table's columns, for messages.
fn names(table: &TableSchema) -> Vec<&str> {
    table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect()
}
