//! Writes records of one shape of a table, straight from packed rows.

use sluice_core::{Row, TableSchema};

use crate::{
    avro::binary::{AvroOut, put_bytes, put_long, put_none, put_some},
    connect::quote,
    encode::{Emit, FieldPlan, Losses, key_plan, row_plan, write_row},
    json::write::{JsonOut, put_text},
    record::{Envelope, Lost, Meta, Operation, Record},
};

/// What `source.version` says.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What `source.connector` says: consumers tell by it what `source` holds.
const CONNECTOR: &str = "mysql";

/// Writes records of one shape of a table. Made by [`Codec::writer`](crate::Codec::writer).
///
/// Writing takes no allocation beyond `out`'s own growth, unless a value can't be said.
#[derive(Debug)]
pub struct RecordWriter {
    format: Frame,
    envelope: Envelope,
    key: Vec<FieldPlan>,
    row: Vec<FieldPlan>,
    /// The part of `source` that is the same in every record, in the format.
    source: Vec<u8>,
    schema: String,
    table: String,
    losses: Losses,
}

/// What stands around a key's and a value's struct.
#[derive(Debug)]
pub(crate) enum Frame {
    Avro {
        key: [u8; 5],
        value: [u8; 5],
    },
    Json {
        key: Vec<u8>,
        value: Vec<u8>,
        end: &'static [u8],
    },
}

impl Frame {
    /// Confluent's wire format: a zero byte and the schema's id.
    pub(crate) fn avro(key_id: u32, value_id: u32) -> Self {
        let header = |id: u32| {
            let [a, b, c, d] = id.to_be_bytes();
            [0, a, b, c, d]
        };
        Self::Avro {
            key: header(key_id),
            value: header(value_id),
        }
    }

    /// JSON without schemas.
    pub(crate) fn plain_json() -> Self {
        Self::Json {
            key: Vec::new(),
            value: Vec::new(),
            end: b"",
        }
    }

    /// JSON in `{"schema": …, "payload": …}`.
    pub(crate) fn json_with(key_schema: &str, value_schema: &str) -> Self {
        let begin = |schema: &str| format!("{{\"schema\":{schema},\"payload\":").into_bytes();
        Self::Json {
            key: begin(key_schema),
            value: begin(value_schema),
            end: b"}",
        }
    }
}

impl RecordWriter {
    pub(crate) fn new(
        format: Frame,
        envelope: Envelope,
        source_name: &str,
        table: &TableSchema,
    ) -> Self {
        let mut source = Vec::new();
        match &format {
            Frame::Avro { .. } => {
                for text in [VERSION, CONNECTOR, source_name] {
                    put_bytes(text.as_bytes(), &mut source);
                }
            }
            Frame::Json { .. } => {
                let mut text =
                    format!("{{\"version\":\"{VERSION}\",\"connector\":\"{CONNECTOR}\",\"name\":");
                quote(source_name, &mut text);
                text.push_str(",\"ts_ms\":");
                source = text.into_bytes();
            }
        }
        Self {
            format,
            envelope,
            key: key_plan(table),
            row: row_plan(table),
            source,
            schema: table.id.schema.to_string(),
            table: table.id.name.to_string(),
            losses: Losses::default(),
        }
    }

    /// Appends a row's key to `out`; appends nothing (a null key) for a table without a key.
    pub fn key(&mut self, row: &Row, out: &mut Vec<u8>) {
        if self.key.is_empty() {
            return;
        }
        // Whatever a key can't say is noted with the value.
        let mut losses = Losses::default();
        match &self.format {
            Frame::Avro { key, .. } => {
                out.extend_from_slice(key);
                write_row(&self.key, row, &mut AvroOut(out), "key", &mut losses);
            }
            Frame::Json { key, end, .. } => {
                out.extend_from_slice(key);
                write_row(&self.key, row, &mut JsonOut(out), "key", &mut losses);
                out.extend_from_slice(end);
            }
        }
    }

    /// Appends the record's value to `out`; appends nothing (a null value) for a delete in the
    /// [`Flat`](Envelope::Flat) envelope. Returns what goes into the header `sluice.lost`.
    pub fn value(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Lost {
        let mut losses = std::mem::take(&mut self.losses);
        match (self.envelope, record.after) {
            (Envelope::Debezium, _) => match &self.format {
                Frame::Avro { value, .. } => {
                    out.extend_from_slice(value);
                    self.avro_envelope(record, out, &mut losses);
                }
                Frame::Json { value, end, .. } => {
                    out.extend_from_slice(value);
                    self.json_envelope(record, out, &mut losses);
                    out.extend_from_slice(end);
                }
            },
            (Envelope::Flat, Some(after)) if record.op != Operation::Delete => match &self.format {
                Frame::Avro { value, .. } => {
                    out.extend_from_slice(value);
                    write_row(&self.row, after, &mut AvroOut(out), "after", &mut losses);
                }
                Frame::Json { value, end, .. } => {
                    out.extend_from_slice(value);
                    write_row(&self.row, after, &mut JsonOut(out), "after", &mut losses);
                    out.extend_from_slice(end);
                }
            },
            (Envelope::Flat, _) => {
                // The key is all that a reader gets to see of the row.
                if let Some(before) = record.before {
                    write_row(&self.key, before, &mut Nowhere, "before", &mut losses);
                }
            }
        }
        let lost = losses.take();
        self.losses = losses;
        lost
    }

    fn avro_envelope(&self, record: &Record<'_>, out: &mut Vec<u8>, losses: &mut Losses) {
        for (image, name) in [(record.before, "before"), (record.after, "after")] {
            match image {
                Some(row) => {
                    put_some(out);
                    write_row(&self.row, row, &mut AvroOut(out), name, losses);
                }
                None => put_none(out),
            }
        }
        let meta = &record.meta;
        self.avro_source(meta, out);
        match meta.transaction {
            Some(id) => {
                put_some(out);
                put_bytes(id.as_bytes(), out);
                put_long(meta.ordinal as i64 + 1, out);
                put_long(meta.table_ordinal as i64 + 1, out);
            }
            None => put_none(out),
        }
        put_bytes(record.op.code().as_bytes(), out);
        for time in times(meta.now_micros) {
            put_some(out);
            put_long(time, out);
        }
    }

    fn avro_source(&self, meta: &Meta<'_>, out: &mut Vec<u8>) {
        let text = |text: &str, out: &mut Vec<u8>| put_bytes(text.as_bytes(), out);
        let [millis, micros, nanos] = times(meta.source_micros);
        out.extend_from_slice(&self.source);
        put_long(millis, out);
        // The only union whose first branch is not null: it has a default.
        put_none(out);
        text(snapshot(meta), out);
        text(&self.schema, out);
        // sequence
        put_none(out);
        for time in [micros, nanos] {
            put_some(out);
            put_long(time, out);
        }
        put_some(out);
        text(&self.table, out);
        // server_id
        put_long(0, out);
        match meta.gtid {
            Some(gtid) => {
                put_some(out);
                text(gtid, out);
            }
            None => put_none(out),
        }
        text(meta.file, out);
        put_long(meta.position as i64, out);
        // row, thread, query
        put_long(0, out);
        put_none(out);
        put_none(out);
    }

    fn json_envelope(&self, record: &Record<'_>, out: &mut Vec<u8>, losses: &mut Losses) {
        for (image, name, label) in [
            (record.before, "before", &b"{\"before\":"[..]),
            (record.after, "after", &b",\"after\":"[..]),
        ] {
            out.extend_from_slice(label);
            match image {
                Some(row) => write_row(&self.row, row, &mut JsonOut(out), name, losses),
                None => out.extend_from_slice(b"null"),
            }
        }
        let meta = &record.meta;
        out.extend_from_slice(b",\"source\":");
        self.json_source(meta, out);
        out.extend_from_slice(b",\"transaction\":");
        match meta.transaction {
            Some(id) => {
                out.extend_from_slice(b"{\"id\":");
                put_text(id, out);
                out.extend_from_slice(b",\"total_order\":");
                put_number(meta.ordinal as i64 + 1, out);
                out.extend_from_slice(b",\"data_collection_order\":");
                put_number(meta.table_ordinal as i64 + 1, out);
                out.push(b'}');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"op\":\"");
        out.extend_from_slice(record.op.code().as_bytes());
        let [millis, micros, nanos] = times(meta.now_micros);
        out.extend_from_slice(b"\",\"ts_ms\":");
        put_number(millis, out);
        put_later_times(micros, nanos, out);
        out.push(b'}');
    }

    fn json_source(&self, meta: &Meta<'_>, out: &mut Vec<u8>) {
        let [millis, micros, nanos] = times(meta.source_micros);
        out.extend_from_slice(&self.source);
        put_number(millis, out);
        out.extend_from_slice(b",\"snapshot\":\"");
        out.extend_from_slice(snapshot(meta).as_bytes());
        out.extend_from_slice(b"\",\"db\":");
        put_text(&self.schema, out);
        out.extend_from_slice(b",\"sequence\":null");
        put_later_times(micros, nanos, out);
        out.extend_from_slice(b",\"table\":");
        put_text(&self.table, out);
        out.extend_from_slice(b",\"server_id\":0,\"gtid\":");
        match meta.gtid {
            Some(gtid) => put_text(gtid, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"file\":");
        put_text(meta.file, out);
        out.extend_from_slice(b",\"pos\":");
        put_number(meta.position as i64, out);
        out.extend_from_slice(b",\"row\":0,\"thread\":null,\"query\":null}");
    }
}

fn snapshot(meta: &Meta<'_>) -> &'static str {
    if meta.snapshot { "true" } else { "false" }
}

/// Milliseconds, microseconds and nanoseconds.
fn times(micros: i64) -> [i64; 3] {
    [micros.div_euclid(1000), micros, micros.saturating_mul(1000)]
}

fn put_number(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn put_later_times(micros: i64, nanos: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"ts_us\":");
    put_number(micros, out);
    out.extend_from_slice(b",\"ts_ns\":");
    put_number(nanos, out);
}

/// Writes nothing: for what a value would lose.
struct Nowhere;

impl Emit for Nowhere {
    fn begin_field(&mut self, _field: &FieldPlan) {}
    fn end_struct(&mut self, _fields: usize) {}
    fn null(&mut self) {}
    fn some(&mut self) {}
    fn boolean(&mut self, _value: bool) {}
    fn int(&mut self, _value: i64) {}
    fn float(&mut self, _value: f32) {}
    fn double(&mut self, _value: f64) {}
    fn text(&mut self, _value: &str) {}
    fn bytes(&mut self, _value: &[u8]) {}
    fn begin_array(&mut self, _length: usize) {}
    fn begin_item(&mut self, _index: usize) {}
    fn end_array(&mut self, _length: usize) {}
    fn geometry(&mut self, _wkb: &[u8], _srid: u32) {}
    fn scaled_decimal(&mut self, _scale: u16, _unscaled: &[u8]) {}
}
