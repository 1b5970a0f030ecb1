//! A source of its own for each test: topics, a sink, a source, tables and events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

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
    Batch, ChangeEvent, Column, ColumnType, LogPosition, Position, Requests, Row, RowChange,
    RowOperation, Sink, SnapshotChunk, SnapshotState, Source, TableId, TableSchema, TableSelection,
    TableState, Transaction, Value, event::ChunkMode,
};
use sluice_kafka::{KafkaSink, KafkaSource};

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see e2e/servers up"))
}

/// The three formats.
pub(crate) fn formats() -> [KafkaFormat; 3] {
    [
        KafkaFormat::Json { schemas: false },
        KafkaFormat::Json { schemas: true },
        avro(),
    ]
}

pub(crate) fn avro() -> KafkaFormat {
    KafkaFormat::Avro {
        registry: RegistryConfig {
            url: variable("SLUICE_REGISTRY_URL"),
            login: None,
            tls: TlsConfig::default(),
        },
    }
}

/// One captured source.
#[derive(Clone)]
pub(crate) struct Stand {
    pub(crate) kafka: KafkaConfig,
    pub(crate) secrets: Arc<dyn SecretStore>,
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self::with(KafkaFormat::Json { schemas: false })
    }

    pub(crate) fn with(format: KafkaFormat) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{count}", now.as_micros());
        Self {
            secrets: secrets(),
            kafka: KafkaConfig {
                cluster: KafkaCluster {
                    bootstrap_servers: variable("SLUICE_KAFKA_BOOTSTRAP"),
                    sasl: None,
                    tls: TlsConfig::default(),
                    properties: [].into(),
                },
                topics: OwnTopics {
                    name: name.clone(),
                    source: name,
                    topic: "{source}.{schema}.{table}".into(),
                    transactions: false,
                },
                is_transport: true,
                partitions: 4,
                replication_factor: 1,
                format,
                envelope: KafkaEnvelope::Debezium,
            },
        }
    }

    pub(crate) fn sink(&self) -> KafkaSink {
        KafkaSink::new(
            self.kafka.topics.name.clone(),
            self.kafka.clone(),
            Arc::clone(&self.secrets),
        )
    }

    pub(crate) fn source(&self) -> KafkaSource {
        let config = KafkaSourceConfig {
            cluster: self.kafka.cluster.clone(),
            topics: KafkaTopics::Own(self.kafka.topics.clone()),
            group_id: format!("g-{}", self.kafka.topics.name),
            format: self.kafka.format.clone(),
            envelope: self.kafka.envelope,
        };
        let all = TableSelection::new(vec!["*".into()], Vec::new());
        KafkaSource::new(config, all, Arc::clone(&self.secrets))
    }

    /// An open sink with a table that is ready, and the first position stored.
    pub(crate) async fn ready(&self, table: &Arc<TableSchema>) -> KafkaSink {
        let mut sink = self.sink();
        assert_eq!(sink.open().await.unwrap(), None);
        sink.prepare(table).await.unwrap();
        sink.commit(&position(0, table)).await.unwrap();
        sink
    }
}

pub(crate) fn secrets() -> Arc<dyn SecretStore> {
    Arc::new(InlineSecrets::default())
}

pub(crate) fn column(name: &str, ty: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        ty,
        nullable: name != "id",
        generated: false,
        boolean: false,
        default: None,
    }
}

/// `id` and `note`, with `id` as the key.
pub(crate) fn notes() -> Arc<TableSchema> {
    Arc::new(TableSchema {
        id: TableId::new("shop", "notes"),
        columns: vec![
            column(
                "id",
                ColumnType::Int {
                    bits: 64,
                    unsigned: false,
                },
            ),
            column("note", ColumnType::Varchar { length: 200 }),
        ],
        key: vec![0],
    })
}

pub(crate) fn keyless() -> Arc<TableSchema> {
    let mut table = TableSchema::clone(&notes());
    table.id = TableId::new("shop", "log");
    table.key = Vec::new();
    Arc::new(table)
}

pub(crate) fn row(id: i64, note: &str) -> Row {
    Row::pack([Value::Int(id), Value::Text(note)])
}

pub(crate) fn transaction(number: u64) -> Arc<Transaction> {
    Arc::new(Transaction {
        id: format!("{SERVER}:{number}"),
        commit_time_micros: 1_700_000_000_000_000 + number as i64 * 1_000,
        start_offset: 0,
    })
}

pub(crate) fn log(number: u64) -> LogPosition {
    match number {
        0 => "".parse().unwrap(),
        _ => format!("{SERVER}:1-{number}").parse().unwrap(),
    }
}

pub(crate) fn position(number: u64, table: &TableSchema) -> Position {
    let tables: SnapshotState = [(table.id.clone(), TableState::Streaming)].into();
    Position {
        log: log(number),
        tables: Arc::new(tables),
        requests: Requests::default(),
    }
}

/// Builds one batch.
#[derive(Default)]
pub(crate) struct Events(pub(crate) Batch);

impl Events {
    pub(crate) fn change(
        mut self,
        table: &Arc<TableSchema>,
        number: u64,
        ordinal: u64,
        operation: RowOperation,
    ) -> Self {
        self.0.push(ChangeEvent::Row(RowChange {
            table: Arc::clone(table),
            operation,
            transaction: transaction(number),
            ordinal,
            origin: None,
        }));
        self
    }

    pub(crate) fn insert(self, table: &Arc<TableSchema>, number: u64, row: Row) -> Self {
        self.change(table, number, 0, RowOperation::Insert { after: row })
    }

    pub(crate) fn end(mut self, number: u64) -> Self {
        self.0
            .push(ChangeEvent::TransactionEnd(transaction(number)));
        self
    }

    pub(crate) fn chunk(
        mut self,
        table: &Arc<TableSchema>,
        mode: ChunkMode,
        rows: Vec<Row>,
    ) -> Self {
        self.0.push(ChangeEvent::Chunk(SnapshotChunk {
            table: Arc::clone(table),
            rows,
            origins: Vec::new(),
            mode,
        }));
        self
    }

    pub(crate) fn schema(mut self, change: sluice_core::SchemaChange) -> Self {
        self.0.push(ChangeEvent::Schema(change));
        self
    }
}

/// Reads events until enough rows have come and nothing more does for a moment. Ends of
/// transactions are left out.
pub(crate) async fn read(source: &mut KafkaSource, rows: usize) -> (Vec<ChangeEvent>, LogPosition) {
    let deadline = Instant::now() + PATIENCE;
    let (mut events, mut last) = (Vec::new(), None);
    let mut count = 0;
    loop {
        let batch = source.next().await.unwrap();
        let is_empty = batch.events.is_empty();
        let position = batch.position.unwrap();
        for event in batch.events {
            count += match &event {
                ChangeEvent::Row(_) => 1,
                ChangeEvent::Chunk(chunk) => chunk.rows.len(),
                _ => 0,
            };
            if !matches!(event, ChangeEvent::TransactionEnd(_)) {
                events.push(event);
            }
        }
        last = Some(position).or(last);
        if count >= rows && is_empty {
            return (events, last.unwrap());
        }
        assert!(Instant::now() < deadline, "{count} of {rows} rows came");
    }
}

/// An event in words, so that two can be compared.
pub(crate) fn told(event: &ChangeEvent) -> String {
    let image = |row: &Row| format!("{:?}", row.values().collect::<Vec<_>>());
    match event {
        ChangeEvent::Row(change) => {
            let operation = match &change.operation {
                RowOperation::Insert { after } => format!("insert {}", image(after)),
                RowOperation::Update { before, after } => {
                    format!("update {} to {}", image(before), image(after))
                }
                RowOperation::Delete { before } => format!("delete {}", image(before)),
            };
            let transaction = &change.transaction;
            format!(
                "{} {operation} in {}:{} at {}",
                change.table.id, transaction.id, change.ordinal, transaction.commit_time_micros
            )
        }
        ChangeEvent::Chunk(chunk) => {
            let rows: Vec<String> = chunk.rows.iter().map(image).collect();
            format!("{} {:?} {}", chunk.table.id, chunk.mode, rows.join(" "))
        }
        other => format!("{other:?}"),
    }
}

/// The first column of every row of inserts and chunks.
pub(crate) fn ids(events: &[ChangeEvent]) -> Vec<i64> {
    let id = |row: &Row| match row.get(0) {
        Value::Int(id) => id,
        other => panic!("{other:?} is no id"),
    };
    let mut ids = Vec::new();
    for event in events {
        match event {
            ChangeEvent::Row(change) => match &change.operation {
                RowOperation::Insert { after } => ids.push(id(after)),
                other => panic!("{other:?} is no insert"),
            },
            ChangeEvent::Chunk(chunk) => ids.extend(chunk.rows.iter().map(id)),
            _ => {}
        }
    }
    ids
}
