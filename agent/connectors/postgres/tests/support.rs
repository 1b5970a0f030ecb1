//! A database of its own for each test, and short ways to say what happens in a source.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use sluice_agent_api::{
    config::{
        ConnectionConfig, Deletes, EnumAs, OnBadRecord, PostgresConfig, SchemaPolicies,
        SchemaPolicy, SetAs, SinkConfig, SinkSystem, Tinyint1, TlsConfig, TlsMode, Unrepresentable,
    },
    secret::{InlineSecrets, SecretKey},
};
use sluice_core::{
    Batch, ChangeEvent, Column, ColumnType, LogPosition, Position, Row, RowChange, RowOperation,
    SchemaChange, Sink, SnapshotChunk, TableId, TableSchema, TableState, Transaction, Value,
    WriteOutcome, event::ChunkMode,
};
use sluice_postgres::PostgresSink;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database that is dropped by [`Database::drop_now`].
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
    /// A session of the test's own.
    pub(crate) client: Client,
}

fn server() -> Config {
    let url = std::env::var("SLUICE_PG_URL")
        .expect("SLUICE_PG_URL names a superuser's connection: eval \"$(e2e/servers up)\"");
    url.parse().expect("SLUICE_PG_URL is a connection string")
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Database {
    pub(crate) async fn new() -> Self {
        let mut config = server();
        let admin = connect(&config).await;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice_test_{}_{number}", std::process::id());
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        config.dbname(&name);
        let client = connect(&config).await;
        client.batch_execute("SET timezone = 'UTC'").await.unwrap();
        let host = match &config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            tokio_postgres::config::Host::Unix(_) => panic!("SLUICE_PG_URL names a TCP address"),
        };
        Self {
            name,
            host,
            port: config.get_ports()[0],
            user: config.get_user().unwrap().to_owned(),
            password: String::from_utf8(config.get_password().unwrap().to_vec()).unwrap(),
            client,
        }
    }

    pub(crate) async fn drop_now(self) {
        let admin = connect(&server()).await;
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        admin.batch_execute(&statement).await.unwrap();
    }

    pub(crate) async fn run(&self, statements: &str) {
        self.client.batch_execute(statements).await.unwrap();
    }

    /// The rows of a query, as text.
    pub(crate) async fn rows(&self, query: &str) -> Vec<Vec<Option<String>>> {
        let answer = self.client.simple_query(query).await.unwrap();
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| {
            (0..row.len())
                .map(|at| row.get(at).map(ToOwned::to_owned))
                .collect()
        })
        .collect()
    }

    /// The rows of a query as lines, columns joined by `|`, NULL as `-`.
    pub(crate) async fn lines(&self, query: &str) -> Vec<String> {
        let rows = self.rows(query).await;
        let field = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".into());
        rows.iter()
            .map(|row| row.iter().map(field).collect::<Vec<_>>().join("|"))
            .collect()
    }

    /// The only value of a query.
    pub(crate) async fn value(&self, query: &str) -> String {
        self.lines(query).await.pop().expect("one row")
    }

    pub(crate) fn postgres(&self) -> PostgresConfig {
        let key = |key: &str| SecretKey {
            name: "pg".into(),
            key: key.into(),
        };
        PostgresConfig {
            connection: ConnectionConfig {
                host: self.host.clone(),
                port: self.port,
                database: Some(self.name.clone()),
                username: key("username"),
                password: key("password"),
                tls: TlsConfig {
                    mode: TlsMode::Disable,
                    ca: None,
                    client: None,
                },
            },
            tinyint1: Tinyint1::Smallint,
            enums: EnumAs::Text,
            sets: SetAs::Text,
        }
    }

    pub(crate) fn secrets(&self) -> InlineSecrets {
        secrets(&self.user, &self.password)
    }

    pub(crate) fn config(&self) -> SinkConfig {
        SinkConfig {
            name: "pg".into(),
            schema_changes: policies(SchemaPolicy::Apply),
            deletes: Deletes::Apply,
            on_bad_record: OnBadRecord::DeadLetter,
            dead_letter_topic: None,
            unrepresentable: Unrepresentable::Null,
            system: SinkSystem::Postgres(self.postgres()),
        }
    }

    /// An open sink with changed settings.
    pub(crate) async fn sink_with(
        &self,
        change: impl FnOnce(&mut SinkConfig, &mut PostgresConfig),
    ) -> Target {
        let (mut config, mut postgres) = (self.config(), self.postgres());
        change(&mut config, &mut postgres);
        let secrets = Arc::new(self.secrets());
        let mut sink = PostgresSink::new("test".into(), &config, postgres, secrets);
        let position = sink.open().await.unwrap();
        Target {
            sink,
            position: position.unwrap_or_else(|| at(0)),
        }
    }

    /// An open sink.
    pub(crate) async fn sink(&self) -> Target {
        self.sink_with(|_, _| {}).await
    }
}

pub(crate) fn secrets(user: &str, password: &str) -> InlineSecrets {
    let mut secrets = InlineSecrets::default();
    for (key, content) in [("username", user), ("password", password)] {
        let key = SecretKey {
            name: "pg".into(),
            key: key.into(),
        };
        secrets.insert(key, content.as_bytes().to_vec());
    }
    secrets
}

pub(crate) fn policies(policy: SchemaPolicy) -> SchemaPolicies {
    SchemaPolicies {
        create_table: SchemaPolicy::Apply,
        add_column: policy,
        rename_column: policy,
        alter_column: policy,
        drop_column: policy,
        truncate: policy,
        drop_table: policy,
    }
}

/// An open sink and where it stands.
pub(crate) struct Target {
    pub(crate) sink: PostgresSink,
    pub(crate) position: Position,
}

impl Target {
    /// Writes events and commits them.
    pub(crate) async fn apply(&mut self, events: Vec<ChangeEvent>) -> WriteOutcome {
        let outcome = self.sink.write(&batch(events)).await.unwrap();
        self.commit().await;
        outcome
    }

    pub(crate) async fn commit(&mut self) {
        let LogPosition::File { offset, .. } = &mut self.position.log else {
            panic!("tests use file positions");
        };
        *offset += 1;
        self.sink.commit(&self.position).await.unwrap();
    }

    pub(crate) async fn prepare(&mut self, schema: &Arc<TableSchema>) {
        self.sink.prepare(schema).await.unwrap();
    }

    /// Says that tables follow the stream.
    pub(crate) fn streaming(&mut self, tables: &[&TableId]) {
        let states = tables.iter().map(|&id| (id.clone(), TableState::Streaming));
        self.position.tables = Arc::new(states.collect());
    }
}

pub(crate) fn batch(events: Vec<ChangeEvent>) -> Batch {
    let mut batch = Batch::default();
    for event in events {
        batch.push(event);
    }
    batch
}

pub(crate) fn at(offset: u64) -> Position {
    Position {
        log: LogPosition::File {
            file: "binlog.000001".into(),
            offset,
        },
        tables: Arc::new(BTreeMap::new()),
        requests: sluice_core::Requests::default(),
    }
}

pub(crate) fn column(name: &str, ty: ColumnType) -> Column {
    Column {
        name: name.into(),
        ty,
        nullable: true,
        generated: false,
        boolean: false,
        default: None,
    }
}

pub(crate) fn not_null(mut column: Column) -> Column {
    column.nullable = false;
    column
}

pub(crate) const BIGINT: ColumnType = ColumnType::Int {
    bits: 64,
    unsigned: false,
};

/// A table in the schema `shop`; the key is its first column unless there is to be none.
pub(crate) fn table(name: &str, columns: Vec<Column>, keyed: bool) -> Arc<TableSchema> {
    let mut columns = columns;
    let mut key = Vec::new();
    if keyed {
        columns[0].nullable = false;
        key.push(0);
    }
    Arc::new(TableSchema {
        id: TableId::new("shop", name),
        columns,
        key,
    })
}

/// `id bigint primary key` and text columns.
pub(crate) fn texts(name: &str, columns: &[&str]) -> Arc<TableSchema> {
    let id = [column("id", BIGINT)];
    let texts = columns.iter().map(|name| column(name, ColumnType::Text));
    table(name, id.into_iter().chain(texts).collect(), true)
}

pub(crate) fn transaction(number: u64) -> Arc<Transaction> {
    Arc::new(Transaction {
        id: format!("binlog.000001:{number}"),
        start_offset: 0,
        commit_time_micros: 1_700_000_000_000_000,
    })
}

pub(crate) fn change(table: &Arc<TableSchema>, operation: RowOperation) -> ChangeEvent {
    ChangeEvent::Row(RowChange {
        table: Arc::clone(table),
        operation,
        transaction: transaction(7),
        ordinal: 0,
        origin: None,
    })
}

pub(crate) fn insert(table: &Arc<TableSchema>, after: Row) -> ChangeEvent {
    change(table, RowOperation::Insert { after })
}

pub(crate) fn update(table: &Arc<TableSchema>, before: Row, after: Row) -> ChangeEvent {
    change(table, RowOperation::Update { before, after })
}

pub(crate) fn delete(table: &Arc<TableSchema>, before: Row) -> ChangeEvent {
    change(table, RowOperation::Delete { before })
}

pub(crate) fn end() -> ChangeEvent {
    ChangeEvent::TransactionEnd(transaction(7))
}

pub(crate) fn chunk(table: &Arc<TableSchema>, mode: ChunkMode, rows: Vec<Row>) -> ChangeEvent {
    ChangeEvent::Chunk(SnapshotChunk {
        table: Arc::clone(table),
        rows,
        origins: Vec::new(),
        mode,
    })
}

/// A row of an id and texts; `~` stands for a column that the source did not log, `-` for NULL.
pub(crate) fn row(id: i64, texts: &[&str]) -> Row {
    let texts = texts.iter().map(|&text| match text {
        "~" => Value::Unchanged,
        "-" => Value::Null,
        text => Value::Text(text),
    });
    Row::pack(std::iter::once(Value::Int(id)).chain(texts))
}

pub(crate) fn alter(schema: &Arc<TableSchema>) -> ChangeEvent {
    ChangeEvent::Schema(SchemaChange::Alter(Arc::clone(schema)))
}

/// A changed copy of a table.
pub(crate) fn changed(
    schema: &Arc<TableSchema>,
    change: impl FnOnce(&mut TableSchema),
) -> Arc<TableSchema> {
    let mut schema = (**schema).clone();
    change(&mut schema);
    Arc::new(schema)
}

pub(crate) async fn start(policy: SchemaPolicy) -> (Database, Target, Arc<TableSchema>) {
    let database = Database::new().await;
    let mut target = database
        .sink_with(|config, _| config.schema_changes = policies(policy))
        .await;
    let orders = texts("orders", &["a", "b"]);
    target.prepare(&orders).await;
    target.streaming(&[&orders.id]);
    target
        .apply(vec![
            insert(&orders, row(1, &["x", "y"])),
            insert(&orders, row(2, &["p", "q"])),
        ])
        .await;
    (database, target, orders)
}

pub(crate) async fn types_of(database: &Database) -> Vec<String> {
    database
        .lines(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
             WHERE attrelid = 'shop.orders'::regclass AND attnum > 0 AND NOT attisdropped
             ORDER BY attnum",
        )
        .await
}
