//! Writers: connections that change the shop until they are told to stop.
//!
//! A transaction that fails (a deadlock, a server that dies) is rolled back and forgotten; a lost
//! connection is made again. Which rows change follows from the seed, when they change does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use fastrand::Rng;
use mysql_async::{Conn, prelude::Queryable};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::workload::{Shop, transactions};

/// How the shop is written to.
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    /// How many connections write.
    pub count: usize,
    /// Where the random numbers begin.
    pub seed: u64,
    /// The most rows changed per second by all of them; as fast as possible without.
    pub changes_per_second: Option<u32>,
    /// Whether some transactions change hundreds of rows.
    pub bulk: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            count: 4,
            seed: 1,
            changes_per_second: None,
            bulk: true,
        }
    }
}

/// What writers did.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriterReport {
    /// Transactions that ended as intended, some of them by ROLLBACK.
    pub transactions: u64,
    /// About how many rows they changed.
    pub changes: u64,
    /// Transactions that failed.
    pub failures: u64,
}

/// Running writers. They stop when this is dropped, too.
pub struct Writers {
    ending: Arc<AtomicBool>,
    tasks: JoinSet<WriterReport>,
}

impl Writers {
    /// Starts so many writers, as fast as they can.
    pub async fn start(shop: &Shop, count: usize) -> Result<Self> {
        let options = WriterOptions {
            count,
            ..WriterOptions::default()
        };
        Self::start_with(shop, options).await
    }

    /// Starts writers.
    pub async fn start_with(shop: &Shop, options: WriterOptions) -> Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let highest = shop.highest_order().await?.max(100);
        let mut tasks = JoinSet::new();
        for number in 0..options.count {
            let rate = options.changes_per_second;
            let writer = Writer {
                shop: shop.clone(),
                ending: Arc::clone(&ending),
                rng: Rng::with_seed(options.seed.wrapping_mul(1_000).wrapping_add(number as u64)),
                highest,
                bulk: options.bulk,
                changes_per_second: rate.map(|rate| f64::from(rate) / options.count as f64),
            };
            tasks.spawn(writer.run());
        }
        Ok(Self { ending, tasks })
    }

    /// Ends the transactions that are open, and every writer.
    pub async fn stop(mut self) -> Result<WriterReport> {
        self.ending.store(true, Ordering::Relaxed);
        let mut total = WriterReport::default();
        let all = async {
            while let Some(report) = self.tasks.join_next().await {
                let report = report?;
                total.transactions += report.transactions;
                total.changes += report.changes;
                total.failures += report.failures;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(Duration::from_secs(60), all).await {
            Ok(done) => done?,
            Err(_) => bail!("the writers do not end"),
        }
        Ok(total)
    }
}

struct Writer {
    shop: Shop,
    ending: Arc<AtomicBool>,
    rng: Rng,
    highest: u64,
    bulk: bool,
    changes_per_second: Option<f64>,
}

impl Writer {
    async fn run(mut self) -> WriterReport {
        let mut report = WriterReport::default();
        let mut conn = None;
        let mut due = Instant::now();
        while !self.ending.load(Ordering::Relaxed) {
            let script = transactions::random(&mut self.rng, self.highest, self.bulk);
            match self.transact(&mut conn, &script.sql).await {
                Ok(()) => {
                    report.transactions += 1;
                    report.changes += script.changes;
                }
                Err(_) => report.failures += 1,
            }
            if let Some(rate) = self.changes_per_second {
                due += Duration::from_secs_f64(script.changes as f64 / rate);
                // What a pause of the server cost is not made up for.
                due = due.max(
                    Instant::now()
                        .checked_sub(Duration::from_secs(1))
                        .unwrap_or(due),
                );
                self.sleep_until(due).await;
            }
        }
        report
    }

    /// Sleeps, but not through the order to stop.
    async fn sleep_until(&self, due: Instant) {
        while Instant::now() < due && !self.ending.load(Ordering::Relaxed) {
            sleep_until(due.min(Instant::now() + Duration::from_millis(50))).await;
        }
    }

    async fn transact(&self, open: &mut Option<Conn>, sql: &str) -> Result<()> {
        let mut conn = match open.take() {
            Some(conn) => conn,
            None => self.connect().await?,
        };
        let done = conn.query_drop(sql).await;
        // Of several statements the first that fails ends them: the transaction is still open.
        if done.is_ok() || conn.query_drop("ROLLBACK").await.is_ok() {
            *open = Some(conn);
        }
        Ok(done?)
    }

    async fn connect(&self) -> Result<Conn> {
        let connected = self.shop.connect().await;
        let mut conn = match connected {
            Ok(conn) => conn,
            Err(error) => {
                sleep(Duration::from_millis(50)).await;
                return Err(error);
            }
        };
        conn.query_drop("SET innodb_lock_wait_timeout = 2").await?;
        Ok(conn)
    }
}
