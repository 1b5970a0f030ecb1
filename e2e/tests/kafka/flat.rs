//! The Flat envelope: records that are the rows themselves, for Sluice and for any JDBC sink.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_agent_api::{AgentStatus, status::Phase};
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase, Servers, Sluice,
    compare::{Pair, wait_equal},
    kafka::{Format, Transport, connect::Connector, console, debezium, registry, topics},
};

use crate::items::{CHANGES, TABLE, items_of_sink};

const PATIENCE: Duration = Duration::from_secs(90);
const KEYLESS: &str = "CREATE TABLE log (line varchar(200)); INSERT INTO log VALUES ('first')";

async fn rows_alone(format: Format, label: &str) -> Result<()> {
    let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
    let mysql = MysqlDatabase::create(&servers, label).await?;
    let (own, others) = (
        PgDatabase::create(&servers, label).await?,
        PgDatabase::create(&servers, label).await?,
    );
    mysql.exec(TABLE).await?;
    mysql.exec(KEYLESS).await?;
    let transport = Transport::new(&kafka, &mysql, format).source_spec(|spec| {
        spec["kafka"]["envelope"] = json!("Flat");
    });
    let mut capture = Sluice::agent(&transport.capture()?, &[])?;
    // What has no key can't say which row is gone: it stops alone, and says what to do.
    let log = format!("{}.log", mysql.name);
    let error_of = |status: &AgentStatus| status.tables.get(&log)?.error.clone();
    let status = capture
        .wait_until("the table without a key to stop", PATIENCE, |status| {
            error_of(status).is_some() && status.phase == Phase::Streaming
        })
        .await?;
    let hint = format!("{:?}", error_of(&status).context("no error")?);
    ensure!(hint.contains("envelope: Debezium"), "{hint}");

    let topic = transport.topic("items");
    if format == Format::Json {
        let line = &console::values(&kafka, &topic, 1).await?[0];
        let record: Value = serde_json::from_str(line)?;
        ensure!(record["id"].is_i64() && record["op"].is_null(), "{record}");
    }
    let mut apply = Sluice::agent(&transport.apply(&own, "pg", |_| {})?, &[])?;
    let sink = debezium::jdbc_sink(&kafka, &others, std::slice::from_ref(&topic), format);
    let sink = match format {
        // Without schemas, Connect's sinks know no columns.
        Format::Json => None,
        _ => Some(Connector::create(&kafka, &format!("{}-sink", mysql.name), &sink).await?),
    };
    let theirs = [items_of_sink(&topic)];
    let ours = [Pair::same(&mysql, "items")];
    for changes in [None, Some(CHANGES)] {
        if let Some(changes) = changes {
            mysql.exec(changes).await?;
        }
        wait_equal(&mysql, &own, &ours, PATIENCE).await?;
        if let Some(sink) = &sink {
            let arrived = wait_equal(&mysql, &others, &theirs, PATIENCE).await;
            sink.check().await?;
            arrived?;
        }
    }
    if let Some(sink) = sink {
        sink.delete().await?;
    }
    for sluice in [&mut apply, &mut capture] {
        ensure!(sluice.terminate().await?.success(), "{}", sluice.stderr());
    }
    topics::delete(&kafka.bootstrap, &transport.name).await?;
    registry::delete_subjects(&kafka.registry_url, &transport.name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flat_records_in_avro_feed_sluice_and_a_jdbc_sink() -> Result<()> {
    rows_alone(Format::Avro, "flat_avro").await
}

#[tokio::test(flavor = "multi_thread")]
async fn flat_records_in_json_with_schemas_feed_sluice_and_a_jdbc_sink() -> Result<()> {
    rows_alone(Format::JsonWithSchemas, "flat_schemas").await
}

#[tokio::test(flavor = "multi_thread")]
async fn flat_records_in_json_are_rows_and_feed_sluice() -> Result<()> {
    rows_alone(Format::Json, "flat_json").await
}
