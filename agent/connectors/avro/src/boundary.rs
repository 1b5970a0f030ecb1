//! Records of a topic of transactions: where each transaction of the source begins and ends, and how
//! many changes it has, as Debezium writes them with `provide.transaction.metadata`
//! (debezium/debezium, `SchemaFactory.transactionKeySchema` and `transactionValueSchema`).

use crate::{
    avro::binary::{put_bytes, put_long, put_none, put_some},
    connect::{Kind, Schema},
    json::write::put_text,
    writer::Frame,
};

/// One end of a transaction.
#[derive(Debug, Clone, Copy)]
pub enum Boundary<'a> {
    /// Its first change comes next.
    Begin,
    /// Its last change was written.
    End {
        /// How many changes it has.
        events: u64,
        /// How many of them each table has, by `database.table`.
        tables: &'a [(String, u64)],
    },
}

/// Writes records of a topic of transactions. Made by
/// [`Codec::transaction_writer`](crate::Codec::transaction_writer).
#[derive(Debug)]
pub struct TransactionWriter(Frame);

pub(crate) fn key_schema() -> Schema {
    Schema::named(
        Kind::Struct(Vec::new()),
        "io.debezium.connector.common.TransactionMetadataKey",
    )
    .field("id", Schema::new(Kind::String))
}

pub(crate) fn value_schema() -> Schema {
    let text = || Schema::new(Kind::String);
    let long = || Schema::new(Kind::Int64);
    let collection = Schema::named(Kind::Struct(Vec::new()), "event.collection")
        .field("data_collection", text())
        .field("event_count", long())
        .optional();
    Schema::named(
        Kind::Struct(Vec::new()),
        "io.debezium.connector.common.TransactionMetadataValue",
    )
    .field("status", text())
    .field("id", text())
    .field("event_count", long().optional())
    .field(
        "data_collections",
        Schema::new(Kind::Array(Box::new(collection))).optional(),
    )
    .field("ts_ms", long())
}

impl TransactionWriter {
    pub(crate) fn new(frame: Frame) -> Self {
        Self(frame)
    }

    /// Appends the key: the transaction's id.
    pub fn key(&self, id: &str, out: &mut Vec<u8>) {
        match &self.0 {
            Frame::Avro { key, .. } => {
                out.extend_from_slice(key);
                put_bytes(id.as_bytes(), out);
            }
            Frame::Json { key, end, .. } => {
                out.extend_from_slice(key);
                out.extend_from_slice(b"{\"id\":");
                put_text(id, out);
                out.push(b'}');
                out.extend_from_slice(end);
            }
        }
    }

    /// Appends the value; `millis` is when the source committed, in milliseconds since 1970 UTC.
    pub fn value(&self, id: &str, boundary: Boundary<'_>, millis: i64, out: &mut Vec<u8>) {
        match &self.0 {
            Frame::Avro { value, .. } => {
                out.extend_from_slice(value);
                avro(id, boundary, millis, out);
            }
            Frame::Json { value, end, .. } => {
                out.extend_from_slice(value);
                json(id, boundary, millis, out);
                out.extend_from_slice(end);
            }
        }
    }
}

fn status(boundary: Boundary<'_>) -> &'static str {
    match boundary {
        Boundary::Begin => "BEGIN",
        Boundary::End { .. } => "END",
    }
}

fn avro(id: &str, boundary: Boundary<'_>, millis: i64, out: &mut Vec<u8>) {
    put_bytes(status(boundary).as_bytes(), out);
    put_bytes(id.as_bytes(), out);
    match boundary {
        Boundary::Begin => {
            put_none(out);
            put_none(out);
        }
        Boundary::End { events, tables } => {
            put_some(out);
            put_long(events as i64, out);
            put_some(out);
            if !tables.is_empty() {
                put_long(tables.len() as i64, out);
                for (table, count) in tables {
                    put_some(out);
                    put_bytes(table.as_bytes(), out);
                    put_long(*count as i64, out);
                }
            }
            // The end of the array's blocks.
            put_long(0, out);
        }
    }
    put_long(millis, out);
}

fn json(id: &str, boundary: Boundary<'_>, millis: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":\"");
    out.extend_from_slice(status(boundary).as_bytes());
    out.extend_from_slice(b"\",\"id\":");
    put_text(id, out);
    match boundary {
        Boundary::Begin => {
            out.extend_from_slice(b",\"event_count\":null,\"data_collections\":null");
        }
        Boundary::End { events, tables } => {
            out.extend_from_slice(format!(",\"event_count\":{events}").as_bytes());
            out.extend_from_slice(b",\"data_collections\":[");
            for (index, (table, count)) in tables.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b",{" } else { b"{" });
                out.extend_from_slice(b"\"data_collection\":");
                put_text(table, out);
                out.extend_from_slice(format!(",\"event_count\":{count}}}").as_bytes());
            }
            out.push(b']');
        }
    }
    out.extend_from_slice(format!(",\"ts_ms\":{millis}}}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::schema::avro_schema;

    fn tables() -> Vec<(String, u64)> {
        vec![("shop.orders".to_owned(), 2), ("shop.a\"b".to_owned(), 1)]
    }

    #[test]
    fn json_reads_as_debezium_writes_it() {
        let writer = TransactionWriter::new(Frame::plain_json());
        let mut out = Vec::new();
        writer.key("u:7", &mut out);
        assert_eq!(out, br#"{"id":"u:7"}"#);
        out.clear();
        writer.value("u:7", Boundary::Begin, 5, &mut out);
        assert_eq!(
            String::from_utf8(out.clone()).unwrap(),
            r#"{"status":"BEGIN","id":"u:7","event_count":null,"data_collections":null,"ts_ms":5}"#
        );
        out.clear();
        let tables = tables();
        let end = Boundary::End {
            events: 3,
            tables: &tables,
        };
        writer.value("u:7", end, 6, &mut out);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["event_count"], 3);
        assert_eq!(read["data_collections"][1]["data_collection"], "shop.a\"b");
        assert_eq!(read["data_collections"][0]["event_count"], 2);
    }

    #[test]
    fn avro_reads_back_by_its_own_schema() {
        let schema = apache_avro::Schema::parse_str(&avro_schema(&value_schema())).unwrap();
        let writer = TransactionWriter::new(Frame::avro(1, 2));
        let tables = tables();
        let end = Boundary::End {
            events: 3,
            tables: &tables,
        };
        for (boundary, count) in [(Boundary::Begin, 0), (end, 2)] {
            let mut out = Vec::new();
            writer.value("u:7", boundary, 6, &mut out);
            assert_eq!(out[..5], [0, 0, 0, 0, 2]);
            let mut rest = &out[5..];
            let read = apache_avro::from_avro_datum(&schema, &mut rest, None).unwrap();
            assert!(rest.is_empty(), "nothing is behind the record");
            let text = format!("{read:?}");
            assert_eq!(text.matches("data_collection\"").count(), count, "{text}");
        }
    }
}
