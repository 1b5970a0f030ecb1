//! Rows per second into a topic and out of it: `throughput [avro|json|schemas] [rows]`, with
//! `SLUICE_KAFKA_BOOTSTRAP` and `SLUICE_REGISTRY_URL`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{sync::Arc, time::Instant};

use sluice_agent_api::{
    SecretStore,
    config::TlsConfig,
    kafka::{
        KafkaCluster, KafkaConfig, KafkaEnvelope, KafkaFormat, KafkaSourceConfig, KafkaTopics,
        OwnTopics, RegistryConfig,
    },
    secret::InlineSecrets,
};
use sluice_core::{
    Batch, ChangeEvent, Column, ColumnType, Position, Requests, Row, RowChange, RowOperation, Sink,
    SnapshotChunk, SnapshotState, Source, TableId, TableSchema, TableSelection, TableState,
    Transaction, Value, event::ChunkMode,
};
use sluice_kafka::{KafkaSink, KafkaSource};

const BATCH: u64 = 10_000;

#[expect(clippy::too_many_lines, reason = "one measurement after another")]
#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let format = arguments.next().unwrap_or_else(|| "avro".into());
    let rows: u64 = arguments
        .next()
        .map_or(1_000_000, |rows| rows.parse().unwrap());
    let format = match format.as_str() {
        "avro" => KafkaFormat::Avro {
            registry: RegistryConfig {
                url: std::env::var("SLUICE_REGISTRY_URL").unwrap(),
                login: None,
                tls: TlsConfig::default(),
            },
        },
        other => KafkaFormat::Json {
            schemas: other == "schemas",
        },
    };
    let name = format!("bench-{}", std::process::id());
    let kafka = KafkaConfig {
        cluster: KafkaCluster {
            bootstrap_servers: std::env::var("SLUICE_KAFKA_BOOTSTRAP").unwrap(),
            sasl: None,
            tls: TlsConfig::default(),
            properties: [].into(),
        },
        topics: OwnTopics {
            name: name.clone(),
            source: name.clone(),
            topic: "{source}.{schema}.{table}".into(),
            transactions: false,
        },
        is_transport: true,
        partitions: 6,
        replication_factor: 1,
        format,
        envelope: KafkaEnvelope::Debezium,
    };
    let table = orders();
    let secrets: Arc<dyn SecretStore> = Arc::new(InlineSecrets::default());
    let mut sink = KafkaSink::new(name.clone(), kafka.clone(), Arc::clone(&secrets));
    sink.open().await.unwrap();
    sink.prepare(&table).await.unwrap();
    sink.commit(&position(&table)).await.unwrap();

    let began = Instant::now();
    for from in (0..rows).step_by(BATCH as usize) {
        let mut batch = Batch::default();
        batch.push(ChangeEvent::Chunk(SnapshotChunk {
            table: Arc::clone(&table),
            rows: (from..from + BATCH).map(order).collect(),
            origins: Vec::new(),
            mode: ChunkMode::Append,
        }));
        sink.write(&batch).await.unwrap();
        sink.commit(&position(&table)).await.unwrap();
    }
    told("snapshot rows into the topic", rows, began);

    let began = Instant::now();
    for from in (0..rows).step_by(BATCH as usize) {
        let mut batch = Batch::default();
        for id in from..from + BATCH {
            let transaction = Arc::new(Transaction {
                id: format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{id}"),
                commit_time_micros: 1_700_000_000_000_000 + id as i64,
                start_offset: 0,
            });
            let operation = match id % 10 {
                0 => RowOperation::Delete { before: order(id) },
                1..4 => RowOperation::Insert { after: order(id) },
                _ => RowOperation::Update {
                    before: order(id),
                    after: order(id),
                },
            };
            batch.push(ChangeEvent::Row(RowChange {
                table: Arc::clone(&table),
                operation,
                transaction: Arc::clone(&transaction),
                ordinal: 0,
                origin: None,
            }));
            batch.push(ChangeEvent::TransactionEnd(transaction));
        }
        sink.write(&batch).await.unwrap();
        sink.commit(&position(&table)).await.unwrap();
    }
    told("changes into the topic", rows, began);
    drop(sink);

    let config = KafkaSourceConfig {
        cluster: kafka.cluster.clone(),
        topics: KafkaTopics::Own(kafka.topics.clone()),
        group_id: name,
        format: kafka.format.clone(),
        envelope: kafka.envelope,
    };
    let all = TableSelection::new(vec!["*".into()], Vec::new());
    let mut source = KafkaSource::new(config, all, secrets);
    source.open(None).await.unwrap();
    let mut seen = 0;
    for (what, until) in [
        ("snapshot rows out of the topic", rows),
        ("changes out of the topic", 2 * rows),
    ] {
        let (began, before) = (Instant::now(), seen);
        while seen < until {
            for event in source.next().await.unwrap().events {
                seen += match event {
                    ChangeEvent::Row(_) => 1,
                    ChangeEvent::Chunk(chunk) => chunk.rows.len() as u64,
                    _ => 0,
                };
            }
        }
        told(what, seen - before, began);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap_or_default());
}

fn told(what: &str, rows: u64, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{what}: {rows} in {seconds:.2} s, {:.0}/s",
        rows as f64 / seconds
    );
}

fn orders() -> Arc<TableSchema> {
    let int = |bits| ColumnType::Int {
        bits,
        unsigned: false,
    };
    let columns = [
        ("id", int(64)),
        ("customer_id", int(32)),
        ("status", ColumnType::Varchar { length: 20 }),
        (
            "total",
            ColumnType::Decimal {
                precision: 12,
                scale: 2,
            },
        ),
        ("quantity", int(32)),
        ("note", ColumnType::Varchar { length: 200 }),
        ("created_at", ColumnType::DateTime { precision: 6 }),
        ("updated_at", ColumnType::Timestamp { precision: 6 }),
        ("due", ColumnType::Date),
        ("weight", ColumnType::Double),
        ("code", ColumnType::Char { length: 8 }),
        ("payload", ColumnType::Json),
    ];
    let columns = columns.into_iter().map(|(name, ty)| Column {
        name: name.to_owned(),
        ty,
        nullable: name != "id",
        generated: false,
        boolean: false,
        default: None,
    });
    Arc::new(TableSchema {
        id: TableId::new("shop", "orders"),
        columns: columns.collect(),
        key: vec![0],
    })
}

fn order(id: u64) -> Row {
    let id = id as i64;
    Row::pack([
        Value::Int(id),
        Value::Int(id % 9_973),
        Value::Text("shipped"),
        Value::Decimal("1234567.89"),
        Value::Int(id % 17),
        Value::Text("left at the door, please ring twice and wait for an answer"),
        Value::DateTime(1_700_000_000_000_000 + id),
        Value::Timestamp(1_700_000_000_000_000 + id),
        Value::Date(19_000),
        Value::Double(12.5),
        Value::Text("AB12CD34"),
        Value::Json(r#"{"gift": false, "parts": [1, 2, 3]}"#),
    ])
}

fn position(table: &TableSchema) -> Position {
    let tables: SnapshotState = [(table.id.clone(), TableState::Streaming)].into();
    Position {
        log: "".parse().unwrap(),
        tables: Arc::new(tables),
        requests: Requests::default(),
    }
}
