//! Debezium as counterpart, both ways: its JDBC sink applies what Sluice captured, and Sluice applies
//! what its MySQL connector captured.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase, Servers, Sluice,
    compare::{Pair, wait_equal},
    kafka::{Format, Transport, connect::Connector, debezium, registry, topics},
};

use crate::items::{CHANGES, Captured, TABLE, items_of_sink};

const PATIENCE: Duration = Duration::from_secs(90);

async fn from_sluice_to_debezium(format: Format, label: &str) -> Result<()> {
    let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
    let mysql = MysqlDatabase::create(&servers, label).await?;
    let postgres = PgDatabase::create(&servers, label).await?;
    mysql.exec(TABLE).await?;
    let transport = Transport::new(&kafka, &mysql, format);
    let mut capture = Sluice::agent(&transport.capture()?, &[])?;
    capture.wait_streaming().await?;
    let topic = transport.topic("items");
    let config = debezium::jdbc_sink(&kafka, &postgres, std::slice::from_ref(&topic), format);
    let sink = Connector::create(&kafka, &format!("{}-sink", mysql.name), &config).await?;
    let pair = items_of_sink(&topic);
    let pairs = [pair];
    let arrived = wait_equal(&mysql, &postgres, &pairs, PATIENCE).await;
    sink.check().await?;
    arrived?;
    mysql.exec(CHANGES).await?;
    let arrived = wait_equal(&mysql, &postgres, &pairs, PATIENCE).await;
    sink.check().await?;
    arrived?;
    sink.delete().await?;
    ensure!(capture.terminate().await?.success(), "{}", capture.stderr());
    topics::delete(&kafka.bootstrap, &transport.name).await?;
    registry::delete_subjects(&kafka.registry_url, &transport.name).await
}

async fn from_debezium_to_sluice(format: Format, label: &str) -> Result<()> {
    let Captured {
        kafka,
        mysql,
        postgres,
        prefix,
        topic,
        source,
    } = Captured::start(format, label).await?;
    let transport = Transport::foreign(&kafka, &mysql, &topic, format);
    let mut apply = Sluice::agent(&transport.apply(&postgres, "pg", |_| {})?, &[])?;
    let pairs = [Pair::same(&mysql, "items")];
    wait_equal(&mysql, &postgres, &pairs, PATIENCE).await?;
    mysql.exec(CHANGES).await?;
    wait_equal(&mysql, &postgres, &pairs, PATIENCE).await?;
    // What was applied is not applied again.
    apply.kill_nine().await?;
    mysql.exec("DELETE FROM items WHERE id = 1").await?;
    let mut apply = Sluice::agent(&transport.apply(&postgres, "pg", |_| {})?, &[])?;
    wait_equal(&mysql, &postgres, &pairs, PATIENCE).await?;
    source.delete().await?;
    ensure!(apply.terminate().await?.success(), "{}", apply.stderr());
    topics::delete(&kafka.bootstrap, &prefix).await?;
    registry::delete_subjects(&kafka.registry_url, &prefix).await
}

#[tokio::test(flavor = "multi_thread")]
async fn debeziums_sink_applies_what_sluice_captures_in_avro() -> Result<()> {
    from_sluice_to_debezium(Format::Avro, "ours_avro").await
}

#[tokio::test(flavor = "multi_thread")]
async fn debeziums_sink_applies_what_sluice_captures_in_json() -> Result<()> {
    from_sluice_to_debezium(Format::JsonWithSchemas, "ours_json").await
}

#[tokio::test(flavor = "multi_thread")]
async fn sluice_applies_what_debezium_captures_in_avro() -> Result<()> {
    from_debezium_to_sluice(Format::Avro, "theirs_avro").await
}

#[tokio::test(flavor = "multi_thread")]
async fn sluice_applies_what_debezium_captures_in_json() -> Result<()> {
    from_debezium_to_sluice(Format::JsonWithSchemas, "theirs_json").await
}
