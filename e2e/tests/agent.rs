//! `sluice agent` as the operator's pods run it: it stays up whatever happens to its pipeline, takes
//! rotated Secrets, and copies tables again exactly once for each request.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_agent_api::{
    config::{ResnapshotRequest, SchemaPolicy, SnapshotMode},
    status::Phase,
};
use sluice_e2e::{AgentFolder, MysqlDatabase, PgDatabase, Servers, Sluice};

const PATIENCE: Duration = Duration::from_secs(60);

async fn world(label: &str) -> Result<(MysqlDatabase, PgDatabase, AgentFolder)> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, label).await?;
    let postgres = PgDatabase::create(&servers, label).await?;
    mysql
        .exec(
            "CREATE TABLE orders (id int PRIMARY KEY, note text); \
             CREATE TABLE items (id int PRIMARY KEY); \
             INSERT INTO orders VALUES (1, 'one'), (2, 'two'); INSERT INTO items VALUES (1)",
        )
        .await?;
    let pod = AgentFolder::new(&mysql, &postgres)?;
    Ok((mysql, postgres, pod))
}

async fn count(mysql: &MysqlDatabase, postgres: &PgDatabase, table: &str) -> Result<String> {
    let sql = format!("SELECT count(*) FROM \"{}\".{table}", mysql.name);
    postgres.value(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_takes_effect_at_the_reconnect() -> Result<()> {
    let (mysql, postgres, pod) = world("rotate").await?;
    let user = format!("u{}", &mysql.name[mysql.name.len().saturating_sub(20)..]);
    mysql
        .exec(format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY 'first'; \
             GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'"
        ))
        .await?;
    pod.secret("mysql", &user, "first")?;
    let mut agent = Sluice::agent(&pod, &[])?;
    agent.wait_streaming().await?;

    // The old password is revoked and the connections are cut while the file is still the old one.
    mysql
        .exec(format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'second'"))
        .await?;
    let sql = format!("SELECT id FROM information_schema.processlist WHERE user = '{user}'");
    for row in mysql.rows(sql).await? {
        let id = row[0].clone().unwrap_or_default();
        mysql.exec(format!("KILL {id}")).await.ok();
    }
    let status = agent
        .wait_until("the refusal", PATIENCE, |status| {
            let error = status.last_error.as_ref();
            error.is_some_and(|error| error.reason == "AccessDenied")
        })
        .await?;
    ensure!(!status.ready, "{status:#?}");
    pod.secret("mysql", &user, "second")?;
    mysql.exec("INSERT INTO orders VALUES (3, 'x')").await?;
    agent.wait_caught_up_within(PATIENCE).await?;
    ensure!(count(&mysql, &postgres, "orders").await? == "3");
    ensure!(!agent.stderr().contains("second"), "a secret is in the log");
    mysql.exec(format!("DROP USER '{user}'@'%'")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_waits_for_a_person_stays_up_and_recovers_without_a_restart() -> Result<()>
{
    let (mysql, postgres, pod) = world("mended").await?;
    let mut agent = Sluice::agent(&pod, &[])?;
    agent.wait_caught_up().await?;
    agent.terminate().await?;
    let kept = postgres
        .value("SELECT position FROM sluice.positions")
        .await?;
    // Transactions that the server never had.
    let foreign = "11111111-1111-1111-1111-111111111111:1-5";
    let set = |position: &str| format!("UPDATE sluice.positions SET position = '{position}'");
    postgres.exec(set(foreign)).await?;

    let mut agent = Sluice::agent(&pod, &["--retry-seconds", "1"])?;
    let status = agent
        .wait_until("failure", PATIENCE, |status| status.phase == Phase::Failed)
        .await?;
    let error = status.last_error.as_ref();
    ensure!(
        error.is_some_and(|error| error.reason == "PositionLost" && error.hint.is_some()),
        "{status:#?}"
    );
    agent.get("/healthz").await?;
    ensure!(agent.get("/readyz").await.is_err(), "it is not ready");
    ensure!(agent.is_running()?);
    mysql.exec("INSERT INTO orders VALUES (3, 'x')").await?;
    postgres.exec(set(&kept)).await?;
    agent.wait_caught_up_within(PATIENCE).await?;
    agent
        .wait_until("readiness", PATIENCE, |status| status.ready)
        .await?;
    ensure!(agent.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_an_older_agent_is_gone_on_with() -> Result<()> {
    let (mysql, postgres, pod) = world("older").await?;
    let mut agent = Sluice::agent(&pod, &[])?;
    agent.wait_caught_up().await?;
    agent.terminate().await?;
    let schema = format!("\"{}\"", mysql.name);
    postgres
        .exec(format!(
            "ALTER TABLE sluice.positions DROP COLUMN requests; \
             COMMENT ON SCHEMA sluice IS 'an older version'; DELETE FROM {schema}.orders"
        ))
        .await?;
    mysql.exec("INSERT INTO orders VALUES (3, 'x')").await?;
    let mut agent = Sluice::agent(&pod, &[])?;
    agent.wait_caught_up().await?;
    let rows = count(&mysql, &postgres, "orders").await?;
    ensure!(rows == "1", "nothing is copied again: {rows}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_copy_is_complete_and_the_agent_stays() -> Result<()> {
    let (mysql, postgres, mut pod) = world("only").await?;
    pod.config.snapshot.mode = SnapshotMode::Only;
    pod.write()?;
    let mut agent = Sluice::agent(&pod, &[])?;
    let status = agent
        .wait_until("the end", PATIENCE, |status| status.phase == Phase::Stopped)
        .await?;
    ensure!(
        status.ready && status.snapshot.percent == 100,
        "{status:#?}"
    );
    ensure!(count(&mysql, &postgres, "orders").await? == "2");
    agent.get("/healthz").await?;
    agent.get("/readyz").await?;
    ensure!(agent.is_running()?);
    ensure!(agent.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_copy_tables_again_is_done_exactly_once() -> Result<()> {
    let (mysql, postgres, mut pod) = world("again").await?;
    pod.config.sink.schema_changes.add_column = SchemaPolicy::Pause;
    pod.write()?;
    let mut agent = Sluice::agent(&pod, &[])?;
    agent.wait_caught_up().await?;
    mysql
        .exec("ALTER TABLE orders ADD COLUMN more int DEFAULT 7")
        .await?;
    mysql.exec("INSERT INTO orders VALUES (3, 'x', 8)").await?;
    agent
        .wait_until("the pause", PATIENCE, |status| {
            status.tables.values().any(|table| table.phase == "Paused")
        })
        .await?;
    agent.terminate().await?;
    let schema = format!("\"{}\"", mysql.name);
    let spoil = format!("DELETE FROM {schema}.items; DELETE FROM {schema}.orders");
    postgres.exec(&spoil).await?;

    // Killed at once, as often as it takes to be in the middle of it: done all the same.
    let request = |id: &str, table: &str| {
        Some(ResnapshotRequest {
            id: id.to_owned(),
            tables: vec![table.to_owned()],
        })
    };
    pod.config.resnapshot = request("first", &format!("{}.ord*", mysql.name));
    pod.write()?;
    for pause_ms in [20, 60, 120] {
        let mut agent = Sluice::agent(&pod, &[])?;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        agent.kill_nine().await?;
    }
    let mut agent = Sluice::agent(&pod, &[])?;
    agent
        .wait_until("the request", PATIENCE, |status| {
            status.resnapshot_id.as_deref() == Some("first")
        })
        .await?;
    agent.wait_caught_up().await?;
    ensure!(count(&mysql, &postgres, "orders").await? == "3");
    ensure!(
        count(&mysql, &postgres, "items").await? == "0",
        "not asked for"
    );
    let sum = format!("SELECT sum(more) FROM {schema}.orders");
    ensure!(
        postgres.value(sum).await? == "22",
        "the new column is there"
    );
    agent.terminate().await?;

    // The same request in the configuration of the next agent is no new one.
    postgres
        .exec(format!("DELETE FROM {schema}.orders"))
        .await?;
    let mut agent = Sluice::agent(&pod, &[])?;
    mysql.exec("INSERT INTO orders VALUES (4, 'x', 1)").await?;
    agent.wait_caught_up().await?;
    ensure!(count(&mysql, &postgres, "orders").await? == "1");
    agent.terminate().await?;

    pod.config.resnapshot = request("second", "*");
    pod.write()?;
    let mut agent = Sluice::agent(&pod, &[])?;
    agent.wait_caught_up().await?;
    ensure!(count(&mysql, &postgres, "orders").await? == "4");
    ensure!(count(&mysql, &postgres, "items").await? == "1");
    let status = agent.status().await?;
    ensure!(
        status.resnapshot_id.as_deref() == Some("second"),
        "{status:#?}"
    );
    Ok(())
}
