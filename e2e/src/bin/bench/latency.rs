//! From commit on MySQL to visible in PostgreSQL, at a thousand changes per second.

use std::{
    hint::spin_loop,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use fastrand::Rng;
use mysql_async::prelude::Queryable;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Shop, Sluice, WriterOptions, Writers};
use tokio::time::sleep;
use tokio_postgres::{Client, Statement};

use crate::{
    Settings,
    report::{Report, percentile},
};

const CHANGES_PER_SECOND: u32 = 1_000;
const SAMPLES: i64 = 1_500;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    let mysql = MysqlDatabase::create(&settings.servers, "bench").await?;
    let postgres = PgDatabase::create(&settings.servers, "bench").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(50_000).await?;
    mysql
        .exec("CREATE TABLE ticks (id bigint PRIMARY KEY)")
        .await?;
    postgres
        .exec("CREATE TABLE ticks (id bigint PRIMARY KEY)")
        .await?;
    let mut sluice = Sluice::run(&PipelineFile::new(&mysql, &postgres).write()?, &[])?;
    sluice.wait_caught_up().await?;
    let options = WriterOptions {
        count: 2,
        changes_per_second: Some(CHANGES_PER_SECOND),
        bulk: false,
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&shop, options).await?;
    let started = Instant::now();
    let table = format!("\"{}\".ticks", mysql.name);
    let ours = through(&mysql, &postgres, &table, 0..SAMPLES).await?;
    let theirs = straight(&postgres).await?;
    let took = started.elapsed();
    let written = writers.stop().await?;
    let cpu = sluice.cpu_seconds()?;
    sluice.terminate().await?;

    let per_second = written.changes as f64 / took.as_secs_f64();
    let load = format!("at {per_second:.0} changes/s");
    for (name, part, bar) in [("p50", 0.5, 10.0), ("p99", 0.99, 50.0)] {
        let (own, direct) = (percentile(&ours, part), percentile(&theirs, part));
        report.bar(
            &format!("latency {name}"),
            format!("{own:.1} ms {load}"),
            &format!("{direct:.1} ms (a commit in PostgreSQL itself)"),
            (&format!("< {bar:.0} ms"), own < bar),
        );
    }
    report.note(
        "latency: CPU of the agent",
        format!("{cpu:.1} s in {:.0} s", took.as_secs_f64()),
        "",
    );
    Ok(())
}

/// Inserts into MySQL's `ticks`, these numbers, and waits for each row in the replica's table.
pub(crate) async fn through(
    mysql: &MysqlDatabase,
    postgres: &PgDatabase,
    table: &str,
    ids: Range<i64>,
) -> Result<Vec<f64>> {
    let mut conn = mysql.conn().await?;
    let reader = Reader::new(postgres, table).await?;
    let mut rng = Rng::with_seed(1);
    let mut times = Vec::new();
    for id in ids {
        conn.query_drop(format!("INSERT INTO ticks VALUES ({id})"))
            .await?;
        times.push(reader.until_visible(id).await?);
        // Not in step with anybody's rhythm.
        sleep(Duration::from_millis(rng.u64(1..15))).await;
    }
    conn.disconnect().await?;
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// The floor: what PostgreSQL's own commit takes.
async fn straight(postgres: &PgDatabase) -> Result<Vec<f64>> {
    let writer = postgres.client().await?;
    let reader = Reader::new(postgres, "ticks").await?;
    let insert = writer.prepare("INSERT INTO ticks VALUES ($1)").await?;
    let mut times = Vec::new();
    for id in 0..SAMPLES / 5 {
        let started = Instant::now();
        writer.execute(&insert, &[&id]).await?;
        reader.until_visible(id).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        sleep(Duration::from_millis(5)).await;
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

struct Reader {
    client: Client,
    select: Statement,
}

impl Reader {
    async fn new(postgres: &PgDatabase, table: &str) -> Result<Self> {
        let client = postgres.client().await?;
        let select = client
            .prepare(&format!("SELECT 1 FROM {table} WHERE id = $1"))
            .await?;
        Ok(Self { client, select })
    }

    /// Milliseconds until the row is there.
    async fn until_visible(&self, id: i64) -> Result<f64> {
        let started = Instant::now();
        while self.client.query_opt(&self.select, &[&id]).await?.is_none() {
            ensure!(started.elapsed() < PATIENCE, "row {id} does not arrive");
            spin_loop();
        }
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }
}
