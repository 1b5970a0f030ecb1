//! Sluice: an agent that captures and an agent that applies.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_e2e::{
    AgentFolder, KafkaServers, MysqlDatabase, PgDatabase, Sluice,
    kafka::{Format, Transport, topics},
    process::{has_passed, is_streaming, log_end},
};

use super::chain::{Chain, PATIENCE};

pub(crate) struct Ours<'a> {
    kafka: &'a KafkaServers,
    mysql: &'a MysqlDatabase,
    postgres: &'a PgDatabase,
    transport: Transport,
    capture: AgentFolder,
    apply: AgentFolder,
    capturing: Option<Sluice>,
    applying: Option<Sluice>,
    /// The most that capture and apply have used.
    memory: [u64; 2],
    cpu: [f64; 2],
}

impl<'a> Ours<'a> {
    pub(crate) fn new(
        kafka: &'a KafkaServers,
        mysql: &'a MysqlDatabase,
        postgres: &'a PgDatabase,
    ) -> Result<Self> {
        let transport = Transport::new(kafka, mysql, Format::Avro).source_spec(|spec| {
            spec["tables"] = json!({
                "include": [format!("{}.orders", mysql.name), format!("{}.ticks", mysql.name)]
            });
            spec["kafka"]["partitions"] = json!(1);
        });
        Ok(Self {
            capture: transport.capture()?,
            apply: transport.apply(postgres, "pg", |_| {})?,
            kafka,
            mysql,
            postgres,
            transport,
            capturing: None,
            applying: None,
            memory: [0; 2],
            cpu: [0.0; 2],
        })
    }

    /// What its topics' names begin with.
    pub(crate) fn topics(&self) -> String {
        self.transport.name.clone()
    }

    pub(crate) async fn capture_snapshot(&mut self, rows: u64) -> Result<Duration> {
        let started = Instant::now();
        let mut sluice = Sluice::agent(&self.capture, &[])?;
        sluice
            .wait_until("the copy", PATIENCE, is_streaming)
            .await?;
        let took = started.elapsed();
        self.end_capture(sluice).await?;
        let topic = self.transport.topic("orders");
        let count = topics::count_committed(&self.kafka.bootstrap, &[&topic])?;
        ensure!(count == rows, "{count} records in {topic} of {rows} rows");
        Ok(took)
    }

    pub(crate) async fn capture_backlog(&mut self, _changes: u64) -> Result<Duration> {
        let here = log_end(&self.capture.ends).await?;
        let started = Instant::now();
        let mut sluice = Sluice::agent(&self.capture, &[])?;
        sluice
            .wait_until("the backlog", PATIENCE, |status| {
                let position = status.position.as_deref();
                position.is_some_and(|position| has_passed(position, &here))
            })
            .await?;
        let took = started.elapsed();
        self.end_capture(sluice).await?;
        Ok(took)
    }

    pub(crate) async fn apply_snapshot(&mut self, rows: u64) -> Result<Duration> {
        self.postgres.exec("CHECKPOINT").await?;
        let started = Instant::now();
        self.applying = Some(Sluice::agent(&self.apply, &[])?);
        self.wait_orders(rows).await?;
        let took = started.elapsed();
        self.end_apply().await?;
        Ok(took)
    }

    pub(crate) async fn apply_backlog(&mut self) -> Result<Duration> {
        self.postgres.exec("CHECKPOINT").await?;
        let started = Instant::now();
        self.applying = Some(Sluice::agent(&self.apply, &[])?);
        self.wait_marker().await?;
        let took = started.elapsed();
        self.end_apply().await?;
        let arrived = format!("SELECT count(*) FROM {}", self.table("orders"));
        let arrived = self.postgres.value(arrived).await?;
        let expected = self.mysql.value("SELECT COUNT(*) FROM orders").await?;
        ensure!(arrived == expected, "{arrived} rows instead of {expected}");
        Ok(took)
    }

    pub(crate) async fn run_both(&mut self) -> Result<()> {
        let mut capturing = Sluice::agent(&self.capture, &[])?;
        capturing.wait_streaming().await?;
        self.capturing = Some(capturing);
        self.applying = Some(Sluice::agent(&self.apply, &[])?);
        Ok(())
    }

    pub(crate) async fn stop_both(&mut self) -> Result<()> {
        let capturing = self.capturing.take().context("it does not run")?;
        self.end_capture(capturing).await?;
        self.end_apply().await
    }

    /// The most memory of capture and apply so far.
    pub(crate) fn memory_bytes(&mut self) -> Result<[u64; 2]> {
        for (index, running) in [&self.capturing, &self.applying].into_iter().enumerate() {
            if let Some(running) = running {
                self.memory[index] = self.memory[index].max(running.peak_rss_bytes()?);
            }
        }
        Ok(self.memory)
    }

    /// The processor time of capture and apply of all runs that have ended.
    pub(crate) fn cpu_seconds(&self) -> [f64; 2] {
        self.cpu
    }

    async fn end_capture(&mut self, sluice: Sluice) -> Result<()> {
        self.end(sluice, 0).await
    }

    async fn end_apply(&mut self) -> Result<()> {
        let applying = self.applying.take().context("it does not run")?;
        self.end(applying, 1).await
    }

    async fn end(&mut self, mut sluice: Sluice, index: usize) -> Result<()> {
        self.memory[index] = self.memory[index].max(sluice.peak_rss_bytes()?);
        self.cpu[index] += sluice.cpu_seconds()?;
        sluice.terminate().await.map(drop)
    }
}

impl Chain for Ours<'_> {
    fn target(&self) -> &PgDatabase {
        self.postgres
    }

    fn table(&self, table: &str) -> String {
        format!("\"{}\".{table}", self.mysql.name)
    }

    async fn check(&mut self) -> Result<()> {
        for running in [&mut self.capturing, &mut self.applying]
            .into_iter()
            .flatten()
        {
            ensure!(running.is_running()?, "sluice ended: {}", running.stderr());
        }
        Ok(())
    }
}
