//! A database of its own, and a source that captures it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mysql_async::{Conn, Opts, prelude::Queryable};
use sluice_agent_api::{
    SecretKey,
    config::{ConnectionConfig, MysqlConfig, TlsConfig},
    secret::InlineSecrets,
};
use sluice_core::{
    ChangeEvent, LogPosition, Row, RowOperation, SchemaChange, Source, SourceBatch, TableId,
    TableSelection, Value, Watermark,
};
use sluice_mysql::MysqlSource;
use tokio::time::{Instant, timeout};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A number that no other test has.
pub(crate) fn unique() -> u32 {
    std::process::id() % 100_000 * 1000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The server that every test may use.
pub(crate) fn shared_url() -> String {
    std::env::var("SLUICE_MYSQL_URL")
        .expect("SLUICE_MYSQL_URL is set by: eval \"$(e2e/servers up)\"")
}

/// How to reach a server as one of its users, and the secrets that go with it.
pub(crate) fn config_as(url: &str, user: &str, password: &str) -> (MysqlConfig, InlineSecrets) {
    let options = Opts::from_url(url).unwrap();
    let key = |key: &str| SecretKey {
        name: "db".into(),
        key: key.into(),
    };
    let mut secrets = InlineSecrets::default();
    secrets.insert(key("username"), user.into());
    secrets.insert(key("password"), password.into());
    let connection = ConnectionConfig {
        host: options.ip_or_hostname().to_owned(),
        port: options.tcp_port(),
        database: None,
        username: key("username"),
        password: key("password"),
        tls: TlsConfig::default(),
    };
    let config = MysqlConfig {
        connection,
        server_id: 1_000_000 + unique(),
    };
    (config, secrets)
}

/// The same as the user of the URL.
pub(crate) fn config(url: &str) -> (MysqlConfig, InlineSecrets) {
    let options = Opts::from_url(url).unwrap();
    config_as(
        url,
        options.user().unwrap_or_default(),
        options.pass().unwrap_or_default(),
    )
}

/// A database that is dropped at the end, a client, and a way to make sources.
pub(crate) struct Fixture {
    pub(crate) url: String,
    pub(crate) client: Conn,
    pub(crate) database: String,
}

impl Fixture {
    /// On the shared server.
    pub(crate) async fn start() -> Self {
        Self::start_on(&shared_url()).await
    }

    /// On a server of the test's own.
    pub(crate) async fn start_on(url: &str) -> Self {
        let mut client = Conn::new(Opts::from_url(url).unwrap()).await.unwrap();
        let database = format!("sluice_source_{}", unique());
        for statement in [
            format!("CREATE DATABASE {database}"),
            format!("USE {database}"),
            "SET time_zone = '+00:00', sql_mode = '', cte_max_recursion_depth = 10000000".into(),
        ] {
            client.query_drop(statement).await.unwrap();
        }
        Self {
            url: url.to_owned(),
            client,
            database,
        }
    }

    /// Runs statements, one after the other.
    pub(crate) async fn run<S: AsRef<str>>(&mut self, statements: impl IntoIterator<Item = S>) {
        for statement in statements {
            let statement = statement.as_ref();
            let done = self.client.query_drop(statement).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    /// A table of the database.
    pub(crate) fn table(&self, name: &str) -> TableId {
        TableId::new(self.database.as_str(), name)
    }

    /// A source that is not open and captures the whole database.
    pub(crate) fn source(&self) -> MysqlSource {
        self.source_of(&["*"], &[])
    }

    /// A source that captures some tables of the database.
    pub(crate) fn source_of(&self, include: &[&str], exclude: &[&str]) -> MysqlSource {
        let (config, secrets) = config(&self.url);
        let patterns = |patterns: &[&str]| {
            let qualified = patterns
                .iter()
                .map(|name| format!("{}.{name}", self.database));
            qualified.collect::<Vec<_>>()
        };
        let selection = TableSelection::new(patterns(include), patterns(exclude));
        MysqlSource::new(config, selection, 1, Arc::new(secrets))
    }

    /// A stream of the whole database from the log's present end.
    pub(crate) async fn stream(&self) -> Stream {
        Stream::open(self.source(), None).await
    }

    /// Drops the database.
    pub(crate) async fn end(mut self) {
        self.run([format!("DROP DATABASE {}", self.database)]).await;
    }
}

/// An open source and what it has delivered.
pub(crate) struct Stream {
    pub(crate) source: MysqlSource,
    pub(crate) start: LogPosition,
    /// Events in order, without the ends of transactions.
    pub(crate) events: Vec<ChangeEvent>,
    pub(crate) batches: usize,
    pub(crate) ends: usize,
    pub(crate) position: Option<LogPosition>,
    pub(crate) watermark: Option<Watermark>,
}

impl Stream {
    pub(crate) async fn open(mut source: MysqlSource, resume: Option<&LogPosition>) -> Self {
        let start = source.open(resume).await.unwrap();
        Self {
            source,
            start,
            events: Vec::new(),
            batches: 0,
            ends: 0,
            position: None,
            watermark: None,
        }
    }

    /// The next batch, within the deadline.
    pub(crate) async fn next(&mut self) -> sluice_core::Result<SourceBatch> {
        let batch = timeout(DEADLINE, self.source.next())
            .await
            .expect("a batch in time")?;
        self.batches += 1;
        self.position = batch.position.clone().or(self.position.take());
        self.watermark = batch.watermark.clone().or(self.watermark.take());
        Ok(batch)
    }

    /// Reads until the stream stands at the log's present end, with every refresh announced.
    pub(crate) async fn catch_up(&mut self) {
        self.try_catch_up().await.unwrap();
    }

    pub(crate) async fn try_catch_up(&mut self) -> sluice_core::Result<()> {
        let end = self.source.log_end().await?.watermark;
        let deadline = Instant::now() + DEADLINE;
        let mut is_there = false;
        while !is_there {
            assert!(
                Instant::now() < deadline,
                "the stream does not reach the log's end"
            );
            let batch = self.next().await?;
            is_there = batch
                .watermark
                .as_ref()
                .is_some_and(|here| here.has_reached(&end) == Some(true));
            self.take(batch.events);
        }
        Ok(())
    }

    /// Reads until the events satisfy a condition.
    pub(crate) async fn until(&mut self, met: impl Fn(&[ChangeEvent]) -> bool) {
        while !met(&self.events) {
            let batch = self.next().await.unwrap();
            self.take(batch.events);
        }
    }

    fn take(&mut self, events: Vec<ChangeEvent>) {
        for event in events {
            match event {
                ChangeEvent::TransactionEnd(_) => self.ends += 1,
                event => self.events.push(event),
            }
        }
    }

    /// The events as short texts, and forgets them.
    pub(crate) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events).iter().map(tell).collect()
    }
}

/// An event as a short text: `+1,a`, `-1`, `~1,a>1,b`, `create t(a,b)`.
pub(crate) fn tell(event: &ChangeEvent) -> String {
    let columns = |schema: &sluice_core::TableSchema| {
        let names: Vec<_> = schema
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        format!("{}({})", schema.id.name, names.join(","))
    };
    match event {
        ChangeEvent::Row(change) => {
            let table = &change.table.id.name;
            match &change.operation {
                RowOperation::Insert { after } => format!("{table}+{}", tell_row(after)),
                RowOperation::Delete { before } => format!("{table}-{}", tell_row(before)),
                RowOperation::Update { before, after } => {
                    format!("{table}~{}>{}", tell_row(before), tell_row(after))
                }
            }
        }
        ChangeEvent::Schema(change) => match change {
            SchemaChange::Create(schema) => format!("create {}", columns(schema)),
            SchemaChange::Alter(schema)
            | SchemaChange::Refill(schema)
            | SchemaChange::Renew(schema) => {
                format!("alter {}", columns(schema))
            }
            SchemaChange::RenameColumns { table, columns } => {
                let names: Vec<_> = columns.iter().map(|(a, b)| format!("{a}>{b}")).collect();
                format!("rename {}: {}", table.name, names.join(","))
            }
            SchemaChange::RenameTable { from, to } => {
                format!("rename {} to {}", from.name, to.name)
            }
            SchemaChange::Truncate(table) => format!("truncate {}", table.name),
            SchemaChange::Drop(table) => format!("drop {}", table.name),
        },
        ChangeEvent::Chunk(_) => "chunk".into(),
        ChangeEvent::Unreadable(_) => "unreadable".into(),
        ChangeEvent::TransactionEnd(_) => "end".into(),
    }
}

pub(crate) fn tell_row(row: &Row) -> String {
    let values: Vec<_> = row.values().map(|value| tell_value(&value)).collect();
    values.join(",")
}

fn tell_value(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Unchanged => "?".into(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Text(text) | Value::Decimal(text) | Value::Enum(text) => (*text).into(),
        other => format!("{other:?}"),
    }
}
