//! Settings of MySQL that capture can't live with, before the start and in the middle of the stream.

use std::time::Duration;

use anyhow::{Context, Result};
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Sluice, ThrowAway, assert_equal};

use super::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_names_or_rows_is_refused_and_can_be_mended() -> Result<()> {
    let own = ThrowAway::mysql(&["--binlog-row-metadata=MINIMAL"]).await?;
    let mysql = MysqlDatabase::create(own.servers(), "settings").await?;
    let postgres = PgDatabase::create(own.servers(), "settings").await?;
    mysql
        .exec("CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 1)")
        .await?;
    let file = PipelineFile::new(&mysql, &postgres);
    let fault = |check: &'static str, setting: &'static str, (is, should): (&str, &str)| Fault {
        what: setting,
        file: file.clone(),
        check,
        reason: "PrerequisiteMissing",
        names: vec![format!("{setting} is {is}")],
        remedy: format!("SET PERSIST {setting} = {should}"),
    };
    fault(
        "BinlogRowMetadata",
        "binlog_row_metadata",
        ("MINIMAL", "FULL"),
    )
    .expect()
    .await?;
    mysql
        .exec("SET GLOBAL binlog_row_metadata = FULL; SET GLOBAL binlog_format = STATEMENT")
        .await?;
    fault("BinlogFormat", "binlog_format", ("STATEMENT", "ROW"))
        .expect()
        .await?;
    mysql.exec("SET GLOBAL binlog_format = ROW").await?;

    let written = file.write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    mysql
        .exec("SET SESSION binlog_format = ROW; INSERT INTO t VALUES (2, 2)")
        .await?;
    sluice.wait_caught_up().await?;

    // One session writes a statement.
    mysql
        .exec("SET SESSION binlog_format = STATEMENT; UPDATE t SET v = v + 10 WHERE id = 1")
        .await?;
    let (status, said) = sluice.exit_within(Duration::from_secs(30)).await?;
    assert_eq!(status.code(), Some(1), "{said}");
    for word in [
        "StatementInLog",
        "UPDATE",
        "binlog_format = ROW",
        &format!("{}.t", mysql.name),
    ] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    let schema = &mysql.name;
    let sql = format!("SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM \"{schema}\".t");
    assert_eq!(postgres.value(&sql).await?, "1=1 2=2", "nothing is touched");

    mysql.exec("INSERT INTO t VALUES (3, 3)").await?;
    mend(&said, &written, &mysql, &postgres).await?;

    // And one describes its rows without names.
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    mysql
        .exec("SET GLOBAL binlog_row_metadata = MINIMAL; INSERT INTO t VALUES (14, 4)")
        .await?;
    let what = "the log without names";
    let refused = sluice
        .wait_until(what, Duration::from_secs(30), |status| {
            status.last_error.is_some()
        })
        .await?;
    let error = refused.last_error.context("was waited for")?;
    assert_eq!(error.reason, "PrerequisiteMissing", "{error:?}");
    assert!(error.message.contains("binlog_row_metadata"), "{error:?}");
    let hint = error.hint.unwrap_or_default();
    assert!(
        hint.contains("SET PERSIST binlog_row_metadata = FULL"),
        "{hint}"
    );
    mysql
        .exec("SET GLOBAL binlog_row_metadata = FULL; INSERT INTO t VALUES (15, 5)")
        .await?;
    sluice.kill_nine().await?;
    mend("--resnapshot", &written, &mysql, &postgres).await
}

/// Copies everything again, as the message says, and expects both sides to be equal.
async fn mend(
    said: &str,
    written: &sluice_e2e::WrittenPipeline,
    mysql: &MysqlDatabase,
    postgres: &PgDatabase,
) -> Result<()> {
    assert!(
        said.contains("--resnapshot"),
        "the message does not say how to go on: {said}"
    );
    let mut sluice = Sluice::run(written, &["--resnapshot", "*"])?;
    sluice.wait_caught_up().await?;
    mysql
        .exec("INSERT INTO t SELECT MAX(id) + 1, 0 FROM t")
        .await?;
    sluice.wait_caught_up().await?;
    assert_equal(mysql, postgres, &["t"]).await?;
    sluice.terminate().await?;
    Ok(())
}
