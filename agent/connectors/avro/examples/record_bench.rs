//! How fast the twelve columns of an order become records, and records rows: rows per second on one
//! core, bytes per record, and allocations per row.
//!
//! `cargo run --release -p sluice-avro --example record_bench [rows]`

use std::{fs, hint::black_box, sync::Arc};

use sluice_agent_api::secret::InlineSecrets;
use sluice_avro::{
    Codec, Envelope, Format, Meta, Operation, Record, RecordReader, RecordWriter, Registry,
    RegistryConfig,
};
use sluice_core::{Column, ColumnType as T, Row, TableId, TableSchema, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::Runtime,
};

const ROWS: usize = 400_000;
const TOPIC: &str = "shop.shop.orders";

fn table() -> Arc<TableSchema> {
    let int = |bits| T::Int {
        bits,
        unsigned: false,
    };
    let columns = [
        ("id", int(64), false),
        ("customer_id", int(32), false),
        (
            "status",
            T::Enum {
                labels: vec!["new".into(), "paid".into(), "sent".into()],
            },
            false,
        ),
        (
            "total",
            T::Decimal {
                precision: 12,
                scale: 2,
            },
            false,
        ),
        ("currency", T::Char { length: 3 }, false),
        ("created_at", T::DateTime { precision: 6 }, false),
        ("updated_at", T::Timestamp { precision: 6 }, false),
        ("note", T::Varchar { length: 255 }, true),
        ("payload", T::Json, true),
        ("weight", T::Double, true),
        ("flags", int(8), false),
        ("email", T::Varchar { length: 120 }, false),
    ];
    let column = |(name, ty, nullable): (&str, T, bool)| Column {
        name: name.to_owned(),
        ty,
        nullable,
        generated: false,
        boolean: false,
        default: None,
    };
    Arc::new(TableSchema {
        id: TableId::new("shop", "orders"),
        columns: columns.into_iter().map(column).collect(),
        key: vec![0],
    })
}

fn rows(count: usize) -> Vec<Row> {
    let row = |number: usize| {
        let number = number as i64;
        let total = format!("{}.{:02}", number % 90_000, number % 100);
        let email = format!("customer{}@example.com", number % 5_000);
        Row::pack([
            Value::Int(number),
            Value::Int(number % 5_000),
            Value::Enum("paid"),
            Value::Decimal(&total),
            Value::Text("EUR"),
            Value::DateTime(1_700_000_000_000_000 + number * 1_000),
            Value::Timestamp(1_700_000_000_000_000 + number * 1_001),
            Value::Text("please leave it with the neighbours"),
            Value::Json("{\"items\": [1, 2, 3], \"gift\": false}"),
            Value::Double(number as f64 / 7.0),
            Value::Int(number % 3),
            Value::Text(&email),
        ])
    };
    (0..count).map(row).collect()
}

/// A registry that knows one table.
async fn registry() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        let mut schemas: Vec<String> = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = String::new();
            let mut chunk = [0; 8_192];
            while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                request.push_str(&String::from_utf8_lossy(&chunk[..count]));
                let Some((head, body)) = request.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.and_then(|text| text.parse().ok()).unwrap_or(0) {
                    break;
                }
            }
            let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let answer = if let Some(rest) = request.strip_prefix("GET /schemas/ids/") {
                let id = rest
                    .split(' ')
                    .next()
                    .and_then(|id| id.parse::<usize>().ok());
                schemas[id.unwrap_or(1) - 1].clone()
            } else {
                schemas.push(body.to_owned());
                format!("{{\"id\":{}}}", schemas.len())
            };
            let length = answer.len();
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}");
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    Ok(url)
}

struct Encoded {
    bytes: Vec<u8>,
    /// Ends of key and value of each record.
    ends: Vec<(usize, usize)>,
}

fn encode(writer: &mut RecordWriter, rows: &[Row], out: &mut Encoded) {
    out.bytes.clear();
    out.ends.clear();
    for (number, row) in rows.iter().enumerate() {
        writer.key(row, &mut out.bytes);
        let key = out.bytes.len();
        let meta = Meta {
            source_micros: 1_700_000_000_000_000 + number as i64,
            now_micros: 1_700_000_001_000_000,
            gtid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:23"),
            file: "binlog.000012",
            position: 154,
            ..Meta::default()
        };
        let record = Record {
            op: Operation::Create,
            before: None,
            after: Some(row),
            meta,
        };
        black_box(writer.value(&record, &mut out.bytes));
        out.ends.push((key, out.bytes.len()));
    }
}

async fn decode(reader: &mut RecordReader, table: &Arc<TableSchema>, encoded: &Encoded) -> usize {
    let (mut start, mut cells) = (0, 0);
    for &(key, end) in &encoded.ends {
        let decoded = reader
            .decode(
                Some(&encoded.bytes[start..key]),
                Some(&encoded.bytes[key..end]),
                Some(table),
                None,
            )
            .await
            .expect("what was written can be read");
        cells += decoded
            .and_then(|decoded| decoded.after)
            .map_or(0, |row| row.len());
        start = end;
    }
    cells
}

/// The thread's time on a core, whoever else uses the machine; zero where Linux does not say.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text
        .split(' ')
        .next()
        .and_then(|text| text.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e9
}

fn report(what: &str, rows: usize, seconds: f64, allocations: u64) {
    println!(
        "  {what}: {:>9.0} rows/s, {:.0} ns/row, {:.4} allocations/row",
        rows as f64 / seconds,
        seconds * 1e9 / rows as f64,
        allocations as f64 / rows as f64,
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args()
        .nth(1)
        .map_or(Ok(ROWS), |text| text.parse())?;
    let runtime = Runtime::new()?;
    let url = runtime.block_on(registry())?;
    let config = RegistryConfig {
        url,
        ..RegistryConfig::default()
    };
    let registry = Arc::new(Registry::new(config, Arc::new(InlineSecrets::default()))?);
    let table = table();
    let rows = rows(count);
    let formats = [
        ("Avro", Format::Avro(registry)),
        ("JSON", Format::Json { schemas: false }),
        ("JSON with schemas", Format::Json { schemas: true }),
    ];
    for (name, format) in formats {
        for envelope in [Envelope::Debezium, Envelope::Flat] {
            // Schemas make records of kilobytes: fewer of them, or they fill the memory.
            let rows = if name == "JSON with schemas" {
                &rows[..count / 10]
            } else {
                &rows[..]
            };
            let codec = Codec::new(format.clone(), envelope, "shop");
            let mut writer = runtime.block_on(codec.writer(TOPIC, &table))?;
            let mut encoded = Encoded {
                bytes: Vec::new(),
                ends: Vec::new(),
            };
            encode(&mut writer, rows, &mut encoded);
            println!(
                "{name}, {envelope:?}: {} bytes/record",
                encoded.bytes.len() / rows.len()
            );
            let start = cpu_seconds();
            let counted = allocation_counter::measure(|| encode(&mut writer, rows, &mut encoded));
            report(
                "encode",
                rows.len(),
                cpu_seconds() - start,
                counted.count_total,
            );

            let mut reader = codec.reader(TOPIC);
            runtime.block_on(decode(&mut reader, &table, &encoded));
            let start = cpu_seconds();
            let counted = allocation_counter::measure(|| {
                black_box(runtime.block_on(decode(&mut reader, &table, &encoded)));
            });
            report(
                "decode",
                rows.len(),
                cpu_seconds() - start,
                counted.count_total,
            );
        }
    }
    Ok(())
}
