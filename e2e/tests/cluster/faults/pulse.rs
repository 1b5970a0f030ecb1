//! A row that counts ten times a second, in MySQL; where it stands in PostgreSQL tells whether rows
//! flow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use mysql_async::{Conn, prelude::Queryable};
use sluice_e2e::MysqlDatabase;
use tokio::{task::JoinHandle, time::sleep};

const EVERY: Duration = Duration::from_millis(100);

/// The table, for comparisons.
pub(crate) const TABLE: &str = "pulse";

/// The writer of the row; it ends when this is dropped.
pub(crate) struct Pulse {
    written: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Pulse {
    /// Makes the table and begins to count.
    pub(crate) async fn start(mysql: &MysqlDatabase) -> Result<Self> {
        mysql
            .exec(format!(
                "CREATE TABLE {TABLE} (id int PRIMARY KEY, n bigint NOT NULL); \
                 INSERT INTO {TABLE} VALUES (1, 0)"
            ))
            .await?;
        let written = Arc::new(AtomicU64::new(0));
        let conn = mysql.conn().await?;
        let task = tokio::spawn(count(conn, Arc::clone(&written)));
        Ok(Self { written, task })
    }

    /// The last number that MySQL has.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The same, for somebody who looks later.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.written)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// No test harms the source's server, so an error is not expected: the numbers stand still then, and
/// whoever waits for one says so.
async fn count(mut conn: Conn, written: Arc<AtomicU64>) {
    for number in 1_u64.. {
        let sql = format!("UPDATE {TABLE} SET n = {number} WHERE id = 1");
        if let Err(error) = conn.query_drop(sql).await {
            eprintln!("faults: the pulse has ended: {error}");
            return;
        }
        written.store(number, Ordering::Relaxed);
        sleep(EVERY).await;
    }
}
