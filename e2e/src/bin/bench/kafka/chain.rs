//! What both ways from MySQL through Kafka to PostgreSQL are asked to do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_e2e::PgDatabase;
use tokio::time::sleep;

/// Enough for the slower of both.
pub(crate) const PATIENCE: Duration = Duration::from_secs(400);
/// The row that is inserted last of a backlog.
pub(crate) const MARKER: u64 = 1_000_000_000;

/// What was measured of one of them.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) snapshot: f64,
    pub(crate) backlog: f64,
    pub(crate) apply_rows: f64,
    pub(crate) apply_changes: f64,
    pub(crate) latency: Vec<f64>,
    /// Changes per second while the latency was measured.
    pub(crate) load: f64,
    pub(crate) memory: [u64; 2],
    pub(crate) cpu: [f64; 2],
}

/// One of both ways. Each step is taken while nothing else runs.
pub(crate) trait Chain {
    /// Where it ends.
    fn target(&self) -> &PgDatabase;

    /// The name of a table's replica.
    fn table(&self, table: &str) -> String;

    /// Fails when it has given up.
    async fn check(&mut self) -> Result<()>;

    /// Waits until this many orders are there.
    async fn wait_orders(&mut self, rows: u64) -> Result<()> {
        let count = format!("SELECT count(*) FROM {}", self.table("orders"));
        // Counting a million rows is work for the same processors.
        self.wait_count(&count, rows, Duration::from_millis(250))
            .await
    }

    /// Waits until the last change of the backlog is there.
    async fn wait_marker(&mut self) -> Result<()> {
        self.wait_row("orders", MARKER as i64).await
    }

    /// Waits for a tick.
    async fn wait_tick(&mut self, id: i64) -> Result<()> {
        self.wait_row("ticks", id).await
    }

    /// Waits for a row.
    async fn wait_row(&mut self, table: &str, id: i64) -> Result<()> {
        let sql = format!("SELECT count(*) FROM {} WHERE id = {id}", self.table(table));
        self.wait_count(&sql, 1, Duration::from_millis(20)).await
    }

    /// Waits until a query counts so many; a table that is not there yet counts as empty.
    async fn wait_count(&mut self, sql: &str, wanted: u64, pause: Duration) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.target().value(sql).await;
            let found: u64 = found.map_or(Ok(0), |count| count.parse())?;
            if found >= wanted {
                return Ok(());
            }
            self.check().await?;
            ensure!(Instant::now() < deadline, "waited {PATIENCE:?} for {sql}");
            sleep(pause).await;
        }
    }
}
