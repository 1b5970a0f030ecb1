//! Targets that can't be written for a while: read-only, and with a full disk. The pipeline waits,
//! says for what, and goes on by itself.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use sluice_agent_api::AgentStatus;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, assert_equal};
use tokio::process::Command;

use super::{PATIENCE, check};

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_becomes_read_only_is_waited_for() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "readonly").await?;
    let postgres = PgDatabase::create(&servers, "readonly").await?;
    mysql
        .exec("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await?;
    let file = PipelineFile::new(&mysql, &postgres);
    let written = file.write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;

    let name = &postgres.name;
    postgres
        .exec(format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = on"
        ))
        .await?;
    end_sessions(&postgres).await?;
    mysql.exec("INSERT INTO t VALUES (2)").await?;
    let waits = |status: &AgentStatus| {
        status
            .last_error
            .as_ref()
            .is_some_and(|error| error.message.contains("read-only"))
    };
    let status = sluice
        .wait_until("the target to be read-only", PATIENCE, waits)
        .await?;
    let error = status.last_error.context("was waited for")?;
    assert_eq!(error.reason, "Unavailable", "{error:?}");
    assert!(
        error
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("read-only")),
        "{error:?}"
    );
    assert!(!status.ready, "it is not ready while it waits");
    let (output, report) = check(&file).await?;
    assert_eq!(output.status.code(), Some(1));
    let failed = report
        .checks
        .iter()
        .find(|check| check.name == "TargetWritable");
    let remedy = failed
        .and_then(|check| check.remedy.as_deref())
        .unwrap_or_default();
    assert!(
        remedy.contains("default_transaction_read_only"),
        "{failed:?}"
    );

    let client = sluice_e2e::postgres::connect(&postgres.endpoint, "postgres").await?;
    client
        .batch_execute(&format!(
            "ALTER DATABASE {name} RESET default_transaction_read_only"
        ))
        .await?;
    mysql.exec("INSERT INTO t VALUES (3)").await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &["t"]).await?;
    assert_eq!(sluice.status().await?.last_error, None);
    sluice.terminate().await?;
    Ok(())
}

/// Ends the sessions of the agent, so that it connects anew.
async fn end_sessions(postgres: &PgDatabase) -> Result<()> {
    let client = sluice_e2e::postgres::connect(&postgres.endpoint, "postgres").await?;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    client.execute(sql, &[&postgres.name]).await?;
    Ok(())
}

/// A small file system of its own with a PostgreSQL tablespace in it.
struct SmallDisk {
    folder: PathBuf,
    name: String,
}

impl SmallDisk {
    async fn create(postgres: &PgDatabase) -> Result<Self> {
        let name = format!("ts_{}", postgres.name);
        let folder = std::env::temp_dir().join(&name);
        tokio::fs::create_dir_all(&folder).await?;
        let disk = Self { folder, name };
        disk.mount("size=24m,mode=0700").await?;
        let folder = disk.folder.display().to_string();
        run("chown", &["postgres:postgres", &folder]).await?;
        postgres
            .exec(format!(
                "CREATE TABLESPACE {} LOCATION '{folder}'",
                disk.name
            ))
            .await?;
        let client = sluice_e2e::postgres::connect(&postgres.endpoint, "postgres").await?;
        client
            .batch_execute(&format!(
                "ALTER DATABASE {} SET default_tablespace = {}",
                postgres.name, disk.name
            ))
            .await?;
        Ok(disk)
    }

    async fn mount(&self, options: &str) -> Result<()> {
        let folder = self.folder.display().to_string();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &folder]).await
    }

    async fn grow(&self) -> Result<()> {
        let folder = self.folder.display().to_string();
        run("mount", &["-o", "remount,size=200m", &folder]).await
    }

    async fn drop(self, postgres: PgDatabase) -> Result<()> {
        let client = sluice_e2e::postgres::connect(&postgres.endpoint, "postgres").await?;
        postgres.drop().await?;
        client
            .batch_execute(&format!("DROP TABLESPACE {}", self.name))
            .await?;
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since a failed test leaves the server's files open.
        std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.folder)
            .status()
            .ok();
        std::fs::remove_dir(&self.folder).ok();
    }
}

async fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status().await?;
    ensure!(status.success(), "{program} {} failed", arguments.join(" "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "fulldisk").await?;
    let postgres = PgDatabase::create(&servers, "fulldisk").await?;
    let disk = SmallDisk::create(&postgres).await?;
    mysql
        .exec("CREATE TABLE t (id INT PRIMARY KEY, v BLOB)")
        .await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_streaming().await?;
    // More than the disk holds, and of a kind that can't be compressed.
    let bytes = ["RANDOM_BYTES(1024)"; 8].join(", ");
    for base in (0..4_000).step_by(1_000) {
        mysql
            .exec(format!(
                "INSERT INTO t WITH RECURSIVE r (i) AS \
                 (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 1000) \
                 SELECT {base} + i, CONCAT({bytes}) FROM r"
            ))
            .await?;
    }
    let full = |status: &AgentStatus| {
        status
            .last_error
            .as_ref()
            .is_some_and(|error| error.message.contains("No space left"))
    };
    let status = sluice
        .wait_until("the disk to be full", PATIENCE, full)
        .await?;
    let error = status.last_error.context("was waited for")?;
    assert_eq!(error.reason, "Unavailable", "{error:?}");
    assert!(
        error
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("disk space")),
        "{error:?}"
    );

    disk.grow().await?;
    sluice
        .wait_caught_up_within(Duration::from_secs(60))
        .await?;
    assert_equal(&mysql, &postgres, &["t"]).await?;
    sluice.terminate().await?;
    let gone = disk.drop(postgres);
    gone.await
}
