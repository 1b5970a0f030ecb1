//! The crate's door: formats, writers and readers.

use std::sync::Arc;

use sluice_core::{Result, TableSchema};

use crate::{
    avro::schema::avro_schema,
    boundary::{self, TransactionWriter},
    connect::Schema,
    reader::RecordReader,
    record::Envelope,
    registry::Registry,
    types,
    writer::{Frame, RecordWriter},
};

/// How records are encoded.
#[derive(Debug, Clone)]
pub enum Format {
    /// Avro with Confluent's wire format.
    Avro(Arc<Registry>),
    /// JSON, as Kafka Connect's `JsonConverter` writes it.
    Json {
        /// Whether each record carries its schema (`schemas.enable`).
        schemas: bool,
    },
}

/// Makes writers and readers of one format and envelope.
#[derive(Debug, Clone)]
pub struct Codec {
    format: Format,
    envelope: Envelope,
    source: Arc<str>,
}

impl Codec {
    /// A codec of the source with this name (`source.name` in Debezium's envelope).
    pub fn new(format: Format, envelope: Envelope, source_name: impl Into<Arc<str>>) -> Self {
        Self {
            format,
            envelope,
            source: source_name.into(),
        }
    }

    /// Makes a writer for one shape of a table. For Avro it registers `<topic>-key` and
    /// `<topic>-value`, after a compatibility check; waits while the registry is down.
    ///
    /// An incompatible schema is an error of class
    /// [`StopTable`](sluice_core::Class::StopTable) that names subject and rule.
    pub async fn writer(&self, topic: &str, table: &Arc<TableSchema>) -> Result<RecordWriter> {
        let frame = match &self.format {
            Format::Json { schemas: false } => Frame::plain_json(),
            Format::Json { schemas: true } => {
                let (key, value) = self.schemas(topic, table, str::to_owned, str::to_owned);
                Frame::json_with(&json_text(&key), &json_text(&value))
            }
            Format::Avro(registry) => {
                let (key, value) =
                    self.schemas(topic, table, types::avro_name, types::avro_full_name);
                let in_table = |error: sluice_core::Error| error.with_table(table.id.clone());
                let key_id = if table.has_key() {
                    let subject = format!("{topic}-key");
                    registry
                        .register(&subject, &avro_schema(&key))
                        .await
                        .map_err(in_table)?
                } else {
                    0
                };
                let subject = format!("{topic}-value");
                let value_id = registry
                    .register(&subject, &avro_schema(&value))
                    .await
                    .map_err(in_table)?;
                Frame::avro(key_id, value_id)
            }
        };
        Ok(RecordWriter::new(frame, self.envelope, &self.source, table))
    }

    /// Makes a writer for a topic of transactions, as [`writer`](Self::writer) does for a table's.
    pub async fn transaction_writer(&self, topic: &str) -> Result<TransactionWriter> {
        let (key, value) = (boundary::key_schema(), boundary::value_schema());
        let frame = match &self.format {
            Format::Json { schemas: false } => Frame::plain_json(),
            Format::Json { schemas: true } => {
                Frame::json_with(&json_text(&key), &json_text(&value))
            }
            Format::Avro(registry) => {
                let register = async |part: &str, schema: &Schema| {
                    let subject = format!("{topic}-{part}");
                    registry.register(&subject, &avro_schema(schema)).await
                };
                Frame::avro(
                    register("key", &key).await?,
                    register("value", &value).await?,
                )
            }
        };
        Ok(TransactionWriter::new(frame))
    }

    /// Makes a reader for a topic's records, whoever wrote them.
    pub fn reader(&self, topic: &str) -> RecordReader {
        RecordReader::new(
            topic,
            self.format.clone(),
            self.envelope,
            Arc::clone(&self.source),
        )
    }

    /// The schemas of key and value, named after the topic as Debezium does.
    fn schemas(
        &self,
        topic: &str,
        table: &TableSchema,
        field_name: types::FieldName,
        full_name: fn(&str) -> String,
    ) -> (Schema, Schema) {
        let key = types::key(table, &full_name(&format!("{topic}.Key")), field_name);
        let row = types::row(table, &full_name(&format!("{topic}.Value")), field_name);
        let value = match self.envelope {
            Envelope::Flat => row,
            Envelope::Debezium => types::envelope(row, &full_name(&format!("{topic}.Envelope"))),
        };
        (key, value)
    }
}

/// A schema as `JsonConverter` writes it.
fn json_text(schema: &Schema) -> String {
    let mut text = String::new();
    schema.write_json(None, &mut text);
    text
}
