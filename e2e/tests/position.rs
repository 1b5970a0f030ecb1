//! Where to resume: positions that are lost, positions without GTIDs, and tables that are copied
//! again.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Shop, Sluice, ThrowAway, WriterOptions,
    Writers, assert_equal,
};

const SOON: Duration = Duration::from_secs(60);
const GENTLY: WriterOptions = WriterOptions {
    count: 3,
    seed: 5,
    changes_per_second: Some(1_000),
    bulk: true,
};

/// What the target holds: rows and position.
async fn state_of(postgres: &PgDatabase, schema: &str) -> Result<Vec<Vec<Option<String>>>> {
    let sql = format!(
        "SELECT count(*)::text, md5(string_agg(o::text, ',' ORDER BY id)), \
         (SELECT string_agg(sink || position || tables, ',') FROM sluice.positions) \
         FROM \"{schema}\".orders o"
    );
    postgres.rows(sql).await
}

/// Runs until everything is there, and stops.
async fn run_once(file: &sluice_e2e::WrittenPipeline, arguments: &[&str]) -> Result<()> {
    let mut sluice = Sluice::run(file, arguments)?;
    sluice.wait_caught_up().await?;
    ensure!(sluice.terminate().await?.success(), "{}", sluice.stderr());
    Ok(())
}

/// The agent ends, names the reason and a remedy.
async fn ends_with_lost_position(file: &sluice_e2e::WrittenPipeline) -> Result<()> {
    let mut sluice = Sluice::run(file, &[])?;
    let (status, stderr) = sluice.exit_within(SOON).await?;
    assert_eq!(status.code(), Some(1), "{stderr}");
    ensure!(stderr.contains("PositionLost"), "{stderr}");
    ensure!(
        stderr.to_lowercase().contains("resnapshot"),
        "no remedy: {stderr}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_logs_stop_the_pipeline_untouched_until_a_new_copy_is_asked_for() -> Result<()> {
    let own = ThrowAway::mysql(&[]).await?;
    let mysql = MysqlDatabase::create(own.servers(), "purged").await?;
    let postgres = PgDatabase::create(own.servers(), "purged").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(10_000).await?;
    let file = PipelineFile::new(&mysql, &postgres);
    run_once(&file.write()?, &[]).await?;
    let before = state_of(&postgres, &mysql.name).await?;

    mysql
        .exec("UPDATE orders SET quantity = quantity + 1; DELETE FROM orders WHERE id % 3 = 0;")
        .await?;
    mysql.exec("FLUSH BINARY LOGS").await?;
    let logs = mysql.rows("SHOW BINARY LOGS").await?;
    let last = logs
        .last()
        .and_then(|row| row[0].clone())
        .unwrap_or_default();
    mysql.exec(format!("PURGE BINARY LOGS TO '{last}'")).await?;
    ends_with_lost_position(&file.write()?).await?;
    assert_eq!(state_of(&postgres, &mysql.name).await?, before);

    let recovering = file.source_spec(|spec| spec["onPositionLost"] = json!("Resnapshot"));
    let writers = Writers::start_with(&shop, GENTLY).await?;
    let mut sluice = Sluice::run(&recovering.write()?, &[])?;
    sluice.wait_streaming().await?;
    writers.stop().await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_the_server_never_had_are_a_lost_position() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "errant").await?;
    let postgres = PgDatabase::create(&servers, "errant").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(1_000).await?;
    let file = PipelineFile::new(&mysql, &postgres);
    run_once(&file.write()?, &[]).await?;
    // As after a failover to a server that lacks what the old one had.
    postgres
        .exec(
            "UPDATE sluice.positions SET position = \
             '00000000-0000-0000-0000-00000000000e:1-7,' || position",
        )
        .await?;
    let before = state_of(&postgres, &mysql.name).await?;
    ends_with_lost_position(&file.write()?).await?;
    assert_eq!(state_of(&postgres, &mysql.name).await?, before);
    let recovering = file.source_spec(|spec| spec["onPositionLost"] = json!("Resnapshot"));
    run_once(&recovering.write()?, &[]).await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_file_and_offset_are_as_exact() -> Result<()> {
    let own = ThrowAway::mysql(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).await?;
    let mysql = MysqlDatabase::create(own.servers(), "file").await?;
    let postgres = PgDatabase::create(own.servers(), "file").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(30_000).await?;
    let file = PipelineFile::new(&mysql, &postgres)
        .source_spec(|spec| spec["snapshot"] = json!({"chunkRows": 1000}))
        .write()?;
    let writers = Writers::start_with(&shop, GENTLY).await?;
    for round in 0..6_u64 {
        let mut sluice = Sluice::run(&file, &[])?;
        let wanted = round * 3_000;
        sluice
            .wait_until("some rows", SOON, |status| {
                status.rows_total + status.snapshot.rows_copied > wanted
            })
            .await?;
        mysql.exec("FLUSH BINARY LOGS").await?;
        sluice.kill_nine().await?;
    }
    let mut sluice = Sluice::run(&file, &[])?;
    sluice.wait_streaming().await?;
    writers.stop().await?;
    sluice.wait_caught_up().await?;
    let status = sluice.status().await?;
    let position = status.position.unwrap_or_default();
    ensure!(position.starts_with("binlog."), "{position}");
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_is_copied_again_on_request_while_the_others_stream() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "again").await?;
    let postgres = PgDatabase::create(&servers, "again").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(20_000).await?;
    let file = PipelineFile::new(&mysql, &postgres)
        .source_spec(|spec| spec["snapshot"] = json!({"chunkRows": 2000}))
        .write()?;
    run_once(&file, &[]).await?;
    // Somebody has spoilt the replica.
    let orders = format!("\"{}\".orders", mysql.name);
    postgres
        .exec(format!(
            "DELETE FROM {orders} WHERE id % 3 = 0; UPDATE {orders} SET amount = 0 WHERE id % 5 = 0; \
             UPDATE {orders} SET id = id + 900000000 WHERE id % 7 = 1"
        ))
        .await?;
    let writers = Writers::start_with(&shop, GENTLY).await?;
    let mut sluice = Sluice::run(&file, &["--resnapshot", &format!("{}.orders", mysql.name)])?;
    sluice.wait_streaming().await?;
    writers.stop().await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_stopped_alone_comes_back_by_a_new_copy() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "stopped").await?;
    let postgres = PgDatabase::create(&servers, "stopped").await?;
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(2_000).await?;
    let file = PipelineFile::new(&mysql, &postgres)
        .sink_spec(|spec| spec["schemaChanges"] = json!({"addColumn": "Fail"}))
        .write()?;
    let orders = format!("{}.orders", mysql.name);
    let mut sluice = Sluice::run(&file, &[])?;
    sluice.wait_caught_up().await?;
    mysql
        .exec("ALTER TABLE orders ADD COLUMN extra int DEFAULT 7; UPDATE orders SET extra = 8;")
        .await?;
    let status = sluice
        .wait_until("the table to stop", SOON, |status| {
            status
                .tables
                .get(&orders)
                .is_some_and(|table| table.error.is_some())
        })
        .await?;
    let error = status.tables[&orders].error.clone().unwrap_or_default();
    assert_eq!(error.reason, "SchemaChangeRefused");
    ensure!(
        error.hint.is_some_and(|hint| hint.contains("resnapshot")),
        "no remedy"
    );
    // The others go on.
    mysql.exec("UPDATE counters SET x = x + 5").await?;
    let moved = format!("SELECT min(x) FROM \"{}\".counters", mysql.name);
    sluice_e2e::wait::wait_for("the counters", SOON, || async {
        Ok((postgres.value(&moved).await? == "5").then_some(()))
    })
    .await?;
    sluice.terminate().await?;
    let mended = PipelineFile::new(&mysql, &postgres).write()?;
    run_once(&mended, &["--resnapshot", &orders]).await?;
    assert_equal(&mysql, &postgres, &Shop::TABLES).await
}
