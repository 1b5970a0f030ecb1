//! Debezium: its MySQL connector and its JDBC sink in the Connect worker of `e2e/servers`.

use std::{
    env, fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase,
    kafka::{Format, connect::Connector, debezium, topics},
};
use tokio::time::sleep;

use super::chain::{Chain, PATIENCE};

const POLL: Duration = Duration::from_millis(200);

pub(crate) struct Debezium<'a> {
    kafka: &'a KafkaServers,
    mysql: &'a MysqlDatabase,
    postgres: &'a PgDatabase,
    prefix: String,
    source: Option<Connector>,
    sink: Option<Connector>,
}

impl<'a> Debezium<'a> {
    pub(crate) fn new(
        kafka: &'a KafkaServers,
        mysql: &'a MysqlDatabase,
        postgres: &'a PgDatabase,
    ) -> Result<Self> {
        worker_pid()?;
        Ok(Self {
            kafka,
            mysql,
            postgres,
            prefix: format!("dbz.{}", mysql.name),
            source: None,
            sink: None,
        })
    }

    /// What its topics' names begin with.
    pub(crate) fn topics(&self) -> String {
        self.prefix.clone()
    }

    /// From the first record in the topic on: the start of a connector is not held against it.
    pub(crate) async fn capture_snapshot(&mut self, rows: u64) -> Result<Duration> {
        for table in ["orders", "ticks"] {
            topics::create(&self.kafka.bootstrap, &self.topic(table), 1).await?;
        }
        let mut config = debezium::mysql_source(self.kafka, self.mysql, &self.prefix, Format::Avro);
        config["table.include.list"] = json!(format!("{0}.orders,{0}.ticks", self.mysql.name));
        // Its sink can't apply BIT(8) in Avro: "HeapByteBuffer cannot be cast to class [B".
        config["column.exclude.list"] = json!(format!("{}.orders.flags", self.mysql.name));
        config["max.batch.size"] = json!("8192");
        config["max.queue.size"] = json!("32768");
        let name = format!("{}-source", self.mysql.name);
        let source = Connector::create(self.kafka, &name, &config).await?;
        self.source = Some(source);
        self.wait_records(1).await?;
        let started = Instant::now();
        self.wait_records(rows).await?;
        let took = started.elapsed();
        self.source.as_ref().context("no source")?.stop().await?;
        Ok(took)
    }

    pub(crate) async fn capture_backlog(&mut self, changes: u64) -> Result<Duration> {
        let before = self.records()?;
        self.source.as_ref().context("no source")?.resume().await?;
        self.wait_records(before + 1).await?;
        let started = Instant::now();
        // A tenth are deletes, each with a tombstone.
        self.wait_records(before + changes + changes / 10).await?;
        let took = started.elapsed();
        self.source.as_ref().context("no source")?.stop().await?;
        Ok(took)
    }

    pub(crate) async fn apply_snapshot(&mut self, rows: u64) -> Result<Duration> {
        let names = [self.topic("orders"), self.topic("ticks")];
        let config = debezium::jdbc_sink(self.kafka, self.postgres, &names, Format::Avro);
        self.postgres.exec("CHECKPOINT").await?;
        let name = format!("{}-sink", self.mysql.name);
        self.sink = Some(Connector::create(self.kafka, &name, &config).await?);
        self.wait_orders(1).await?;
        let started = Instant::now();
        self.wait_orders(rows).await?;
        let took = started.elapsed();
        self.sink.as_ref().context("no sink")?.stop().await?;
        Ok(took)
    }

    pub(crate) async fn apply_backlog(&mut self) -> Result<Duration> {
        self.postgres.exec("CHECKPOINT").await?;
        let started = Instant::now();
        self.sink.as_ref().context("no sink")?.resume().await?;
        self.wait_marker().await?;
        let took = started.elapsed();
        let arrived = format!("SELECT count(*) FROM {}", self.table("orders"));
        let arrived = self.postgres.value(arrived).await?;
        let expected = self.mysql.value("SELECT COUNT(*) FROM orders").await?;
        ensure!(arrived == expected, "{arrived} rows instead of {expected}");
        self.sink.as_ref().context("no sink")?.stop().await?;
        Ok(took)
    }

    pub(crate) async fn run_both(&mut self) -> Result<()> {
        self.source.as_ref().context("no source")?.resume().await?;
        self.sink.as_ref().context("no sink")?.resume().await
    }

    pub(crate) async fn stop_both(&mut self) -> Result<()> {
        self.source.as_ref().context("no source")?.stop().await?;
        self.sink.as_ref().context("no sink")?.stop().await
    }

    /// The most memory that the worker has used, once for both.
    pub(crate) fn memory_bytes() -> Result<[u64; 2]> {
        let status = fs::read_to_string(format!("/proc/{}/status", worker_pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes.context("no VmHWM")?.trim().parse()?;
        Ok([kibibytes * 1024; 2])
    }

    /// Deletes both connectors.
    pub(crate) async fn end(self) -> Result<()> {
        for connector in [self.source, self.sink].into_iter().flatten() {
            connector.delete().await?;
        }
        Ok(())
    }

    fn topic(&self, table: &str) -> String {
        format!("{}.{}.{table}", self.prefix, self.mysql.name)
    }

    fn records(&self) -> Result<u64> {
        Ok(topics::offsets(&self.kafka.bootstrap, &self.topic("orders"))? as u64)
    }

    async fn wait_records(&mut self, count: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.records()?;
            if found >= count {
                return Ok(());
            }
            self.check().await?;
            ensure!(
                Instant::now() < deadline,
                "{found} of {count} records within {PATIENCE:?}"
            );
            sleep(POLL).await;
        }
    }
}

impl Chain for Debezium<'_> {
    fn target(&self) -> &PgDatabase {
        self.postgres
    }

    fn table(&self, table: &str) -> String {
        debezium::table_of(&self.topic(table))
    }

    async fn check(&mut self) -> Result<()> {
        for connector in [&self.source, &self.sink].into_iter().flatten() {
            connector.check().await?;
        }
        Ok(())
    }
}

fn worker_pid() -> Result<String> {
    let file = env::var("SLUICE_CONNECT_PID_FILE").context(
        "SLUICE_CONNECT_PID_FILE unset; run: eval \"$(e2e/servers up kafka registry connect)\"",
    )?;
    let pid = fs::read_to_string(&file).with_context(|| file.clone())?;
    Ok(pid.trim().to_owned())
}
