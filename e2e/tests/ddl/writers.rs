//! Writers that go on whatever happens to their tables.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use anyhow::{Result, ensure};
use fastrand::Rng;
use mysql_async::{Conn, prelude::Queryable};
use sluice_e2e::MysqlDatabase;
use tokio::task::JoinHandle;

/// Inserts, updates and deletes rows of tables with the columns `id` and `n`. An error (a table
/// that is being dropped, a column that has a new name, a deadlock) is passed over.
pub(crate) struct RestlessWriters {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl RestlessWriters {
    pub(crate) async fn start(
        mysql: &MysqlDatabase,
        tables: &[&'static str],
        count: u64,
    ) -> Result<Self> {
        let mut writers = Self {
            stop: Arc::default(),
            written: Arc::default(),
            tasks: Vec::new(),
        };
        for seed in 0..count {
            let mut conn = mysql.conn().await?;
            // Rows get what MySQL thinks fit for columns that they do not name.
            conn.query_drop("SET SESSION sql_mode = '', innodb_lock_wait_timeout = 1")
                .await?;
            let (stop, written) = (Arc::clone(&writers.stop), Arc::clone(&writers.written));
            let (tables, rng) = (tables.to_vec(), Rng::with_seed(seed));
            writers.tasks.push(tokio::spawn(async move {
                write(conn, &tables, rng, (&stop, &written)).await
            }));
        }
        Ok(writers)
    }

    /// How many statements have succeeded.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Stops them; they must have got something done.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        let written = self.written.load(Ordering::Relaxed);
        ensure!(written > 100, "only {written} statements were written");
        Ok(())
    }
}

async fn write(
    mut conn: Conn,
    tables: &[&str],
    mut rng: Rng,
    (stop, written): (&AtomicBool, &AtomicU64),
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let table = tables[rng.usize(..tables.len())];
        let id = rng.u32(1..2_000);
        let statement = match rng.u8(..8) {
            0..4 => {
                format!("INSERT IGNORE INTO {table} (id, n) VALUES ({id}, 1), ({id} + 2000, 2)")
            }
            4..7 => format!("UPDATE {table} SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 20"),
            _ => format!("DELETE FROM {table} WHERE id BETWEEN {id} AND {id} + 3"),
        };
        if conn.query_drop(statement).await.is_ok() {
            written.fetch_add(1, Ordering::Relaxed);
        }
    }
    conn.disconnect().await?;
    Ok(())
}
