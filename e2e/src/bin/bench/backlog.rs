//! A backlog of changes, end to end, against what the target itself can take: the same netted
//! changes from files by COPY into staging tables and set-based upsert and delete.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use serde_json::json;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Shop, Sluice, WrittenPipeline, assert_equal,
};

use crate::{
    Settings,
    changes::{Net, Orders},
    report::{Report, grouped, median, rate},
    shell::{ORDER_COLUMNS, mysql_export, psql, timed},
};

const PATIENCE: Duration = Duration::from_secs(600);

struct World<'a> {
    settings: &'a Settings,
    mysql: MysqlDatabase,
    postgres: PgDatabase,
    file: WrittenPipeline,
    folder: tempfile::TempDir,
}

pub(crate) async fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    let mysql = MysqlDatabase::create(&settings.servers, "bench").await?;
    Shop::create(&mysql).await?.load_rows(settings.rows).await?;
    let postgres = PgDatabase::create(&settings.servers, "bench").await?;
    let file = PipelineFile::new(&mysql, &postgres)
        .source_spec(|spec| spec["tables"] = json!({"include": [format!("{}.orders", mysql.name)]}))
        .write()?;
    let folder = tempfile::tempdir()?;
    let world = World {
        settings,
        mysql,
        postgres,
        file,
        folder,
    };
    let mut sluice = Sluice::run(&world.file, &[])?;
    sluice.wait_caught_up_within(PATIENCE).await?;
    sluice.terminate().await?;

    let mut orders = Orders::new(settings.rows);
    let (mut ours, mut theirs, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..settings.repeat {
        world.copy_target().await?;
        let net = orders.change(&world.mysql, settings.changes).await?;
        world.export(&net).await?;
        for turn in 0..2 {
            world.postgres.exec("CHECKPOINT").await?;
            if (round + turn) % 2 == 0 {
                let (took, cpu_seconds) = world.catch_up().await?;
                ours.push(rate(settings.changes, took));
                cpu.push(cpu_seconds * 1e6 / settings.changes as f64);
            } else {
                theirs.push(rate(settings.changes, world.apply_files().await?));
            }
        }
        assert_equal(&world.mysql, &world.postgres, &["orders"]).await?;
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let baseline = format!(
        "{} changes/s (netted files by COPY, upsert, delete), ratio {:.2}",
        grouped(theirs),
        ours / theirs
    );
    let measured = format!("{} changes/s", grouped(ours));
    report.bar(
        "backlog",
        measured.clone(),
        &baseline,
        ("ratio >= 0.70", ours >= 0.7 * theirs),
    );
    report.bar(
        "backlog",
        measured,
        "",
        ("> 30,000 changes/s", ours > 30_000.0),
    );
    report.note(
        "backlog: CPU of the agent",
        format!("{:.1} s per million changes", median(cpu)),
        "",
    );
    Ok(())
}

impl World<'_> {
    /// A copy of the replica as it is, for the baseline; both are tidied.
    async fn copy_target(&self) -> Result<()> {
        let orders = format!("\"{}\".orders", self.mysql.name);
        self.postgres
            .exec(format!(
                "DROP TABLE IF EXISTS orders; CREATE TABLE orders (LIKE {orders} INCLUDING ALL); \
                 INSERT INTO orders SELECT * FROM {orders} ORDER BY id"
            ))
            .await?;
        self.postgres.exec("VACUUM (ANALYZE) orders").await?;
        self.postgres
            .exec(format!("VACUUM (ANALYZE) {orders}"))
            .await
    }

    /// Writes the netted changes to files.
    async fn export(&self, net: &Net) -> Result<()> {
        let mut conn = self.mysql.conn().await?;
        // Not part of the backlog.
        conn.query_drop(
            "SET sql_log_bin = 0; CREATE TABLE IF NOT EXISTS touched (id bigint PRIMARY KEY); \
             TRUNCATE touched",
        )
        .await?;
        let touched: Vec<u64> = net.touched.iter().copied().collect();
        for some in touched.chunks(10_000) {
            let values: Vec<String> = some.iter().map(|id| format!("({id})")).collect();
            conn.query_drop(format!("INSERT INTO touched VALUES {}", values.join(",")))
                .await?;
        }
        conn.disconnect().await?;
        let query = format!("SELECT {ORDER_COLUMNS} FROM orders JOIN touched USING (id)");
        let export = mysql_export(&self.settings.servers, &self.mysql.name, &query);
        let folder = self.folder.path().display();
        timed(&self.postgres, &format!("{export} > {folder}/upserts")).await?;
        let mut gone = String::new();
        for id in &net.gone {
            writeln!(gone, "{id}")?;
        }
        Ok(std::fs::write(self.folder.path().join("deletes"), gone)?)
    }

    /// Lets Sluice apply the backlog; how long it took from its start, and its processor time.
    async fn catch_up(&self) -> Result<(Duration, f64)> {
        let started = Instant::now();
        let mut sluice = Sluice::run(&self.file, &[])?;
        sluice.wait_caught_up_within(PATIENCE).await?;
        let took = started.elapsed();
        let cpu_seconds = sluice.cpu_seconds()?;
        sluice.terminate().await?;
        Ok((took, cpu_seconds))
    }

    async fn apply_files(&self) -> Result<Duration> {
        let names = "customer status amount quantity created updated note payload flags rate email";
        let set: Vec<String> = names
            .split(' ')
            .map(|name| format!("{name} = EXCLUDED.{name}"))
            .collect();
        let folder = self.folder.path().display();
        let script = format!(
            "SET synchronous_commit = off;\nBEGIN;\n\
             CREATE TEMP TABLE staging (LIKE orders) ON COMMIT DROP;\n\
             CREATE TEMP TABLE gone (id bigint) ON COMMIT DROP;\n\
             \\copy staging FROM '{folder}/upserts' (NULL 'NULL')\n\
             \\copy gone FROM '{folder}/deletes'\n\
             INSERT INTO orders SELECT * FROM staging ON CONFLICT (id) DO UPDATE SET {};\n\
             DELETE FROM orders o USING gone g WHERE o.id = g.id;\nCOMMIT;\n",
            set.join(", ")
        );
        let file = self.folder.path().join("apply.sql");
        std::fs::write(&file, script)?;
        let command = format!("{} -f {}", psql(&self.postgres), file.display());
        let took = timed(&self.postgres, &command).await?;
        let expected = self.mysql.value("SELECT COUNT(*) FROM orders").await?;
        let arrived = self.postgres.value("SELECT count(*) FROM orders").await?;
        ensure!(arrived == expected, "{arrived} rows instead of {expected}");
        Ok(took)
    }
}
