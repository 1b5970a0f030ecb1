//! How much memory the agent takes: idle, for a transaction of a million rows, for a value of 64 MiB.

use std::time::Duration;

use anyhow::Result;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Shop, Sluice};
use tokio::time::sleep;

use crate::{
    Settings,
    report::{Report, mebibytes},
};

const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) async fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    let mysql = MysqlDatabase::create(&settings.servers, "bench").await?;
    let postgres = PgDatabase::create(&settings.servers, "bench").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(1_000).await?;
    mysql
        .exec("CREATE TABLE papers (id int PRIMARY KEY, body longblob)")
        .await?;
    let file = PipelineFile::new(&mysql, &postgres).write()?;

    let mut sluice = Sluice::run(&file, &[])?;
    sluice.wait_caught_up().await?;
    sluice.terminate().await?;
    let mut sluice = Sluice::run(&file, &[])?;
    sluice.wait_caught_up().await?;
    sleep(Duration::from_secs(5)).await;
    let idle = mebibytes(sluice.rss_bytes()?);
    report.bar(
        "memory, idle",
        format!("{idle:.0} MiB"),
        "",
        ("< 40 MiB", idle < 40.0),
    );

    let columns = "customer, status, amount, quantity, created, updated, note, payload, flags, \
         rate, email";
    mysql
        .exec(format!(
            "SET cte_max_recursion_depth = 10000; BEGIN; \
             INSERT INTO orders ({columns}) WITH RECURSIVE n (i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) \
             SELECT {columns} FROM orders CROSS JOIN n; COMMIT;",
            settings.rows / 1_000
        ))
        .await?;
    sluice.wait_caught_up_within(PATIENCE).await?;
    let large = mebibytes(sluice.peak_rss_bytes()?);
    let what = format!("memory, transaction of {} rows", settings.rows);
    report.bar(
        &what,
        format!("{large:.0} MiB at most"),
        "",
        ("< 256 MiB", large < 256.0),
    );
    sluice.terminate().await?;

    let mut sluice = Sluice::run(&file, &[])?;
    sluice.wait_caught_up().await?;
    mysql
        .exec("INSERT INTO papers VALUES (1, REPEAT('paper', (64 << 20) / 5))")
        .await?;
    sluice.wait_caught_up_within(PATIENCE).await?;
    let wide = mebibytes(sluice.peak_rss_bytes()?);
    report.bar(
        "memory, value of 64 MiB",
        format!("{wide:.0} MiB at most"),
        "",
        ("< 256 MiB", wide < 256.0),
    );
    sluice.terminate().await?;
    Ok(())
}
