//! Debezium as counterpart, both ways: its JDBC sink applies what Sluice captured, and Sluice applies
//! what its MySQL connector captured.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_e2e::{
    KafkaServers, MysqlDatabase, PgDatabase, Servers, Sluice,
    compare::{Pair, wait_equal},
    kafka::{Format, Transport, connect::Connector, debezium, registry, topics},
};

const PATIENCE: Duration = Duration::from_secs(90);

/// What both sinks can say in PostgreSQL: Debezium's has no place for a TIME beyond a day, and keeps
/// an ENUM as text.
const TABLE: &str = "
CREATE TABLE items (
    id bigint NOT NULL PRIMARY KEY,
    tiny tinyint, small smallint unsigned, medium mediumint, plain int unsigned,
    huge bigint unsigned,
    name varchar(80) CHARACTER SET utf8mb4,
    price decimal(20,4) NOT NULL,
    single float, rate double,
    born date, opens time(3), created datetime(6), seconds datetime, updated timestamp(3) NULL,
    size enum('small','large'), tags set('a','b','c'),
    raw varbinary(40), note text, detail json, harvest year, flag bit(1)
);
INSERT INTO items VALUES
    (1, -128, 65535, -8388608, 4294967295, 18446744073709551615, 'café 🙂', 1234567890123456.7891, 0.5, 0.1,
     '2024-02-29', '23:59:59.999', '2024-02-29 12:34:56.789012', '1999-12-31 23:59:59', '2024-01-01 00:00:00.123',
     'small', 'a,c', 0x00FF10, 'a note', '{\"a\": [1, 2.5, null]}', 2026, b'1'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, -0.0001, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL),
    (3, 127, 0, 8388607, 0, 0, '', 0, -1.25, 1e100, '1969-12-31', '00:00:00', '1969-12-31 23:59:59.999999',
     '1970-01-01 00:00:00', '1970-01-02 00:00:00', 'large', '', 0x, '', '[]', 1901, b'0')";

const CHANGES: &str = "
    INSERT INTO items (id, name, price, created) VALUES (4, 'new', 4, '2026-11-21 01:02:03.000004');
    UPDATE items SET price = price + 1, name = 'changed', updated = '2026-11-21 05:06:07' WHERE id < 3;
    DELETE FROM items WHERE id = 3;
    UPDATE items SET id = 40 WHERE id = 4";

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
    let pair = Pair {
        mysql_table: "items".to_owned(),
        schema: "public".to_owned(),
        table: debezium::table_of(&topic),
        ..Pair::default()
    };
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
    let (servers, kafka) = (Servers::from_env(), KafkaServers::from_env()?);
    let mysql = MysqlDatabase::create(&servers, label).await?;
    let postgres = PgDatabase::create(&servers, label).await?;
    mysql.exec(TABLE).await?;
    let prefix = format!("dbz.{}", mysql.name);
    let topic = format!("{prefix}.{}.items", mysql.name);
    topics::create(&kafka.bootstrap, &topic, 1).await?;
    let config = debezium::mysql_source(&kafka, &mysql, &prefix, format);
    let source = Connector::create(&kafka, &format!("{}-source", mysql.name), &config).await?;

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
