//! The counterpart by itself: what Debezium captures, Debezium's own sink applies. When this fails,
//! nothing is known about Sluice: the harness or its servers are broken.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_e2e::{
    compare::compare,
    kafka::{Format, connect::Connector, console, debezium, registry, topics},
    wait::wait_for,
};

use crate::items::{CHANGES, Captured, items_of_sink};

async fn debezium_to_debezium(format: Format, label: &str) -> Result<()> {
    let Captured {
        kafka,
        mysql,
        postgres,
        prefix,
        topic,
        source,
    } = Captured::start(format, label).await?;
    let sink = debezium::jdbc_sink(&kafka, &postgres, std::slice::from_ref(&topic), format);
    let sink = Connector::create(&kafka, &format!("{}-sink", mysql.name), &sink).await?;
    let pair = items_of_sink(&topic);
    let equal = || async {
        sink.check().await?;
        source.check().await?;
        let found = compare(&mysql, &postgres, &pair).await?;
        ensure!(found.different == 0, "differ: {:?}", found.examples);
        Ok(Some(()))
    };
    let patience = Duration::from_secs(60);
    wait_for("the snapshot to arrive", patience, equal).await?;
    mysql.exec(CHANGES).await?;
    wait_for("the changes to arrive", patience, equal).await?;

    // 3 of the snapshot; insert, 2 updates, delete and tombstone; delete, tombstone and insert.
    let records = topics::read_committed(&kafka.bootstrap, &[&topic])?;
    ensure!(records.len() == 11, "{} records in {topic}", records.len());
    if format == Format::Avro {
        let versions = registry::versions(&kafka.registry_url, &format!("{topic}-value")).await?;
        ensure!(versions == [1], "{versions:?}");
        let value = records[0].value.as_deref().unwrap_or_default();
        ensure!(
            value.len() > 5 && value[0] == 0,
            "not Confluent's wire format"
        );
        let id = u32::from_be_bytes([value[1], value[2], value[3], value[4]]);
        let schema = registry::by_id(&kafka.registry_url, id).await?;
        let latest = registry::latest(&kafka.registry_url, &format!("{topic}-value")).await?;
        ensure!(schema == latest, "the record's schema {id} is another one");
    } else {
        let lines = console::values(&kafka, &topic, 11).await?;
        let first: serde_json::Value = serde_json::from_str(&lines[0])?;
        let payload = match format {
            Format::JsonWithSchemas => &first["payload"],
            _ => &first,
        };
        ensure!(
            payload["op"] == "r" && payload["after"]["id"] == 1,
            "{first}"
        );
    }
    source.delete().await?;
    sink.delete().await?;
    topics::delete(&kafka.bootstrap, &prefix).await?;
    registry::delete_subjects(&kafka.registry_url, &prefix).await
}

#[tokio::test]
async fn debeziums_sink_applies_debeziums_topics_in_avro() -> Result<()> {
    debezium_to_debezium(Format::Avro, "dbz_avro").await
}

#[tokio::test]
async fn debeziums_sink_applies_debeziums_topics_in_json_with_schemas() -> Result<()> {
    debezium_to_debezium(Format::JsonWithSchemas, "dbz_json").await
}
