//! How fast tables and the log are read, beside what that costs in CPU time:
//! `cargo run --release -p sluice-mysql --example source_bench [ROWS]`.
//!
//! Fills `sluice_bench.orders`, twelve mixed columns, on the server of `SLUICE_MYSQL_URL`, reads it
//! by one and by two snapshot readers in chunks of 50,000 rows, and streams the transactions that
//! filled it.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mysql_async::{Conn, Opts, prelude::Queryable};
use sluice_agent_api::{
    SecretKey,
    config::{ConnectionConfig, MysqlConfig, TlsConfig},
    secret::InlineSecrets,
};
use sluice_core::{
    ChangeEvent, LogPosition, Row, Source, TableSchema, TableSelection, source::ChunkRequest,
};
use sluice_mysql::MysqlSource;

const CHUNK_ROWS: u64 = 50_000;

fn source(url: &str) -> MysqlSource {
    let options = Opts::from_url(url).unwrap();
    let key = |key: &str| SecretKey {
        name: "db".into(),
        key: key.into(),
    };
    let mut secrets = InlineSecrets::default();
    secrets.insert(key("username"), options.user().unwrap_or_default().into());
    secrets.insert(key("password"), options.pass().unwrap_or_default().into());
    let connection = ConnectionConfig {
        host: options.ip_or_hostname().to_owned(),
        port: options.tcp_port(),
        database: None,
        username: key("username"),
        password: key("password"),
        tls: TlsConfig::default(),
    };
    let selection = TableSelection::new(vec!["sluice_bench.*".into()], vec![]);
    let config = MysqlConfig {
        connection,
        server_id: 4_000_000 + std::process::id(),
    };
    MysqlSource::new(config, selection, 10, Arc::new(secrets))
}

/// CPU time of this process in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

struct Measured(Instant, f64);

impl Measured {
    fn start() -> Self {
        Self(Instant::now(), cpu_seconds())
    }

    fn report(&self, what: &str, rows: usize) {
        let (seconds, cpu) = (self.0.elapsed().as_secs_f64(), cpu_seconds() - self.1);
        let count = rows as f64;
        println!(
            "{what:<28} {rows:>9} rows {:>9.0} rows/s {:>6.2} us CPU per row, {:>9.0} rows per CPU second",
            count / seconds,
            cpu * 1e6 / count,
            count / cpu.max(0.001)
        );
    }
}

async fn fill(url: &str, rows: u64) -> LogPosition {
    let mut client = Conn::new(Opts::from_url(url).unwrap()).await.unwrap();
    for statement in [
        "CREATE DATABASE IF NOT EXISTS sluice_bench",
        "DROP TABLE IF EXISTS sluice_bench.orders",
        "CREATE TABLE sluice_bench.orders (id BIGINT PRIMARY KEY, customer_id INT NOT NULL, \
         status ENUM('new','paid','shipped','done') NOT NULL, total DECIMAL(12,2) NOT NULL, \
         tax_rate DECIMAL(6,4), currency CHAR(3) NOT NULL, email VARCHAR(100), note VARCHAR(250), \
         created_at DATETIME(6) NOT NULL, updated_at TIMESTAMP(3) NULL, due DATE, weight DOUBLE)",
        "SET cte_max_recursion_depth = 10000000",
    ] {
        client.query_drop(statement).await.unwrap();
    }
    let executed: String = client
        .query_first("SELECT @@GLOBAL.gtid_executed")
        .await
        .unwrap()
        .unwrap();
    for first in (0..rows).step_by(100_000) {
        let last = (first + 100_000).min(rows);
        let insert = format!(
            "INSERT INTO sluice_bench.orders WITH RECURSIVE n (i) AS \
             (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {last}) \
             SELECT i, i % 100000, 1 + i % 4, i % 100000 / 7, 0.19, 'EUR', CONCAT('customer', i, '@example.org'), \
             REPEAT('note ', i % 12), '2024-01-01' + INTERVAL i SECOND, '2024-01-01' + INTERVAL i SECOND, \
             '2024-01-01' + INTERVAL i % 900 DAY, i / 3 FROM n"
        );
        client.query_drop(insert).await.unwrap();
    }
    executed.replace('\n', "").parse().unwrap()
}

/// Reads every `step`-th chunk, beginning with `first`.
async fn read(
    source: &mut MysqlSource,
    table: Arc<TableSchema>,
    seen: LogPosition,
    bounds: Arc<Vec<Option<Row>>>,
    (first, step): (usize, usize),
) -> tokio::task::JoinHandle<usize> {
    let mut reader = source.snapshot_reader().await.unwrap();
    tokio::spawn(async move {
        let mut rows = 0;
        for index in (first..bounds.len() - 1).step_by(step) {
            let request = ChunkRequest {
                table: table.id.clone(),
                after: bounds[index].clone(),
                until: bounds[index + 1].clone(),
                seen: seen.clone(),
                size_bytes_max: 64 << 20,
            };
            rows += reader
                .read_chunk(&table, &request)
                .await
                .unwrap()
                .rows
                .len();
        }
        rows
    })
}

/// The most memory that the process has had since the last call.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak.replace('\t', " ")
}

/// What one value of 64 MiB costs in memory, streamed and read.
async fn large_value(url: &str, source: &mut MysqlSource) {
    let mut client = Conn::new(Opts::from_url(url).unwrap()).await.unwrap();
    let create = "CREATE TABLE sluice_bench.large (id INT PRIMARY KEY, n INT, v LONGBLOB)";
    client
        .query_drop("DROP TABLE IF EXISTS sluice_bench.large")
        .await
        .unwrap();
    client.query_drop(create).await.unwrap();
    peak_memory();
    for (what, statement) in [
        (
            "inserted",
            "INSERT INTO sluice_bench.large VALUES (1, 1, REPEAT('x', 64 << 20))",
        ),
        ("updated beside", "UPDATE sluice_bench.large SET n = 2"),
        ("deleted", "DELETE FROM sluice_bench.large"),
        (
            "inserted again",
            "INSERT INTO sluice_bench.large VALUES (1, 1, REPEAT('x', 64 << 20))",
        ),
    ] {
        client.query_drop(statement).await.unwrap();
        let is_row = |event: &ChangeEvent| matches!(event, ChangeEvent::Row(_));
        while !source.next().await.unwrap().events.iter().any(is_row) {}
        println!("64 MiB {what:<16} {}", peak_memory());
    }
    let seen = source
        .log_end()
        .await
        .map(|_| LogPosition::Gtid(sluice_core::GtidSet::new()));
    let tables = source.tables().await.unwrap();
    let table = tables.iter().find(|table| &*table.id.name == "large");
    let table = match table {
        Some(table) => Arc::clone(table),
        None => source.tables().await.unwrap().remove(0),
    };
    let request = ChunkRequest {
        table: table.id.clone(),
        after: None,
        until: None,
        seen: seen.unwrap(),
        size_bytes_max: 1 << 20,
    };
    let mut reader = source.snapshot_reader().await.unwrap();
    let rows = reader.read_chunk(&table, &request).await.unwrap().rows;
    println!("64 MiB {:<16} {}", "read", peak_memory());
    assert_eq!(rows.len(), 1);
    client
        .query_drop("DROP TABLE sluice_bench.large")
        .await
        .unwrap();
}

/// Commits one row at a time and looks how long it takes until the stream shows it.
async fn delays(url: &str, source: &mut MysqlSource) {
    let mut client = Conn::new(Opts::from_url(url).unwrap()).await.unwrap();
    let mut delays = Vec::new();
    for _ in 0..500 {
        let update = "UPDATE sluice_bench.orders SET tax_rate = IF(tax_rate = 0.07, 0.19, 0.07) WHERE id = 7";
        client.query_drop(update).await.unwrap();
        let committed = Instant::now();
        while !source
            .next()
            .await
            .unwrap()
            .events
            .iter()
            .any(|event| matches!(event, ChangeEvent::Row(_)))
        {}
        delays.push(committed.elapsed());
    }
    delays.sort_unstable();
    println!(
        "commit to event: p50 {:.0?}, p99 {:.0?}",
        delays[250], delays[495]
    );
}

#[tokio::main]
async fn main() {
    let url = std::env::var("SLUICE_MYSQL_URL").expect("eval \"$(e2e/servers up)\" sets it");
    let rows = std::env::args()
        .nth(1)
        .map_or(1_000_000, |rows| rows.parse().unwrap());
    let before = fill(&url, rows).await;
    let mut source = source(&url);
    let opening = Instant::now();
    let start = source.open(None).await.unwrap();
    let table = source.tables().await.unwrap().remove(0);
    println!("opened in {:.0?}", opening.elapsed());
    delays(&url, &mut source).await;

    let mut planner = source.snapshot_reader().await.unwrap();
    let measured = Measured::start();
    let mut bounds: Vec<Option<Row>> = vec![None];
    loop {
        let after = bounds.last().unwrap().clone();
        bounds.push(
            planner
                .boundary(&table, after.as_ref(), CHUNK_ROWS)
                .await
                .unwrap(),
        );
        if bounds.last().unwrap().is_none() {
            break;
        }
    }
    measured.report("chunk boundaries", rows as usize);
    let bounds = Arc::new(bounds);
    for readers in [1, 2] {
        let measured = Measured::start();
        let mut tasks = Vec::new();
        for first in 0..readers {
            let part = (first, readers);
            let bounds = Arc::clone(&bounds);
            tasks.push(read(&mut source, Arc::clone(&table), start.clone(), bounds, part).await);
        }
        let mut read = 0;
        for task in tasks {
            read += task.await.unwrap();
        }
        assert_eq!(read as u64, rows);
        measured.report(&format!("read_chunk, {readers} reader(s)"), read);
    }

    source.open(Some(&before)).await.unwrap();
    let measured = Measured::start();
    let (mut streamed, mut batches) = (0, 0);
    while streamed < rows as usize {
        let batch = tokio::time::timeout(Duration::from_secs(60), source.next())
            .await
            .unwrap();
        let events = batch.unwrap().events;
        streamed += events
            .iter()
            .filter(|event| matches!(event, ChangeEvent::Row(_)))
            .count();
        batches += 1;
    }
    measured.report("stream", streamed);
    println!("{batches} batches, {}", peak_memory());
    large_value(&url, &mut source).await;
}
