//! Size: neither a huge transaction nor a huge value makes the agent use much memory.

use std::time::Duration;

use anyhow::Result;
use mysql_async::prelude::Queryable;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, wait::wait_for};

const MEBIBYTE: u64 = 1 << 20;
const BUSY_BYTES_MAX: u64 = 256 * MEBIBYTE;
const IDLE_BYTES_MAX: u64 = 40 * MEBIBYTE;
const PATIENCE: Duration = Duration::from_secs(150);
/// How long the value is.
const VALUE_BYTES: u64 = 64 * MEBIBYTE;
const ROWS: u64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_million_rows_passes_through_little_memory() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "million").await?;
    let postgres = PgDatabase::create(&servers, "million").await?;
    mysql
        .exec("CREATE TABLE t (id INT PRIMARY KEY, n INT, v VARCHAR(40))")
        .await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_streaming().await?;
    let idle = sluice.rss_bytes()?;
    assert!(idle < IDLE_BYTES_MAX, "idle: {} MiB", idle / MEBIBYTE);

    let mut conn = mysql.conn().await?;
    let numbers = "WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 1000)";
    conn.query_drop(format!(
        "INSERT INTO t {numbers} \
         SELECT a.i * 1000 + b.i, 1, CONCAT('row ', a.i, '/', b.i) FROM r a CROSS JOIN r b"
    ))
    .await?;
    sluice.wait_caught_up_within(PATIENCE).await?;
    let sql = format!(
        "SELECT count(*) || ' ' || sum(n) || ' ' || sum(id) FROM \"{}\".t",
        mysql.name
    );
    let expected = format!(
        "{ROWS} {ROWS} {}",
        mysql.value("SELECT SUM(id) FROM t").await?
    );
    assert_eq!(postgres.value(&sql).await?, expected);

    let watcher = tokio::spawn(watch(postgres.client().await?, mysql.name.clone()));
    conn.query_drop("UPDATE t SET n = 2").await?;
    sluice.wait_caught_up_within(PATIENCE).await?;
    watcher.await??;
    let expected = format!(
        "{ROWS} {} {}",
        2 * ROWS,
        mysql.value("SELECT SUM(id) FROM t").await?
    );
    assert_eq!(postgres.value(&sql).await?, expected);
    conn.disconnect().await?;
    let peak = sluice.peak_rss_bytes()?;
    eprintln!(
        "a million rows: idle {} MiB, peak {} MiB",
        idle / MEBIBYTE,
        peak / MEBIBYTE
    );
    assert!(peak < BUSY_BYTES_MAX, "peak: {} MiB", peak / MEBIBYTE);
    sluice.terminate().await?;
    Ok(())
}

/// Looks at the replica until the update is there: it shows all of it or nothing.
async fn watch(client: tokio_postgres::Client, schema: String) -> Result<()> {
    let sql = format!("SELECT count(*) FILTER (WHERE n = 2) FROM \"{schema}\".t");
    wait_for("the update", PATIENCE, || async {
        let updated: i64 = client.query_one(&sql, &[]).await?.get(0);
        assert!(
            [0, ROWS as i64].contains(&updated),
            "{updated} rows are visible"
        );
        Ok((updated > 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_sixty_four_mebibytes_pass_through_little_memory() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "huge").await?;
    let postgres = PgDatabase::create(&servers, "huge").await?;
    let bytes = format!("REPEAT(x'00ff5c0a', {})", VALUE_BYTES / 4);
    let text = format!("REPEAT('é\\\\\n', {})", VALUE_BYTES / 4);
    mysql
        .exec("CREATE TABLE t (id INT PRIMARY KEY, n INT, b LONGBLOB, v LONGTEXT)")
        .await?;
    mysql
        .exec(format!("INSERT INTO t VALUES (1, 0, {bytes}, 'short')"))
        .await?;
    mysql
        .exec(format!("INSERT INTO t VALUES (2, 0, 'short', {text})"))
        .await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_streaming().await?;
    let copied = sluice.peak_rss_bytes()?;
    let mut conn = mysql.conn().await?;
    conn.query_drop(format!("INSERT INTO t VALUES (3, 0, {bytes}, 'short')"))
        .await?;
    conn.query_drop(format!("INSERT INTO t VALUES (4, 0, 'short', {text})"))
        .await?;
    conn.query_drop("DELETE FROM t WHERE id = 4").await?;
    conn.query_drop(format!("INSERT INTO t VALUES (4, 0, NULL, {text})"))
        .await?;
    sluice.wait_caught_up_within(PATIENCE).await?;
    let peak = sluice.peak_rss_bytes()?;
    // With the value in the log twice, before and after.
    conn.query_drop("UPDATE t SET n = 1 WHERE id = 3").await?;
    conn.disconnect().await?;
    sluice.wait_caught_up_within(PATIENCE).await?;
    let peak_twice = sluice.peak_rss_bytes()?;
    eprintln!(
        "64 MiB: {} MiB copied, {} MiB streamed, {} MiB when it is there twice",
        copied / MEBIBYTE,
        peak / MEBIBYTE,
        peak_twice / MEBIBYTE
    );

    let there = mysql
        .rows("SELECT id, n, SHA2(b, 256), SHA2(v, 256) FROM t ORDER BY id")
        .await?;
    let here = postgres
        .rows(format!(
            "SELECT id, n, encode(sha256(b), 'hex'), encode(sha256(convert_to(v, 'UTF8')), 'hex') \
             FROM \"{}\".t ORDER BY id",
            mysql.name
        ))
        .await?;
    assert_eq!(there, here);
    assert!(peak < BUSY_BYTES_MAX, "peak: {} MiB", peak / MEBIBYTE);
    assert!(
        peak_twice < BUSY_BYTES_MAX + VALUE_BYTES,
        "peak: {} MiB",
        peak_twice / MEBIBYTE
    );
    sluice.terminate().await?;
    Ok(())
}
