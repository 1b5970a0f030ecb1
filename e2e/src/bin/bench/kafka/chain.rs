//! What both ways from MySQL through Kafka to PostgreSQL are asked to do.

use std::time::Duration;

use anyhow::Result;
use sluice_e2e::{PgDatabase, wait::wait_for};

/// Enough for the slower of both.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);
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

    /// Waits until this many orders are there.
    async fn wait_orders(&self, rows: u64) -> Result<()> {
        let count = format!("SELECT count(*) FROM {}", self.table("orders"));
        wait_for("the orders to be applied", PATIENCE, || async {
            // Counting a million rows is work for the same processors.
            tokio::time::sleep(Duration::from_millis(250)).await;
            let arrived: u64 = self.target().value(&count).await?.parse()?;
            Ok((arrived >= rows).then_some(()))
        })
        .await
    }

    /// Waits until the last change of the backlog is there.
    async fn wait_marker(&self) -> Result<()> {
        self.wait_row("orders", MARKER as i64).await
    }

    /// Waits for a tick.
    async fn wait_tick(&self, id: i64) -> Result<()> {
        self.wait_row("ticks", id).await
    }

    /// Waits for a row.
    async fn wait_row(&self, table: &str, id: i64) -> Result<()> {
        let sql = format!("SELECT count(*) FROM {} WHERE id = {id}", self.table(table));
        wait_for("a row to be applied", PATIENCE, || async {
            Ok((self.target().value(&sql).await? == "1").then_some(()))
        })
        .await
    }
}

