//! The way from the first object to the last.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use serde_json::json;
use sluice_crds::{ReplicaSink, ReplicationSource};
use sluice_e2e::{
    Cluster, PgDatabase, WriterOptions, Writers,
    compare::{Pair, wait_equal},
    kafka::{Format, KafkaServers},
    wait::wait_for,
};

use super::fed::{Fed, PATIENCE, SINK, TABLES};

#[tokio::test]
async fn a_source_in_kafka_feeds_sinks_that_come_when_they_like_and_goes_without_a_trace()
-> Result<()> {
    let cluster = Cluster::connect().await?;
    let kafka = KafkaServers::for_pods()?;
    let fed = Fed::prepare(&cluster, &kafka, "kafka-path", Format::Avro).await?;
    fed.start().await?;
    let options = WriterOptions {
        count: 2,
        changes_per_second: Some(200),
        bulk: false,
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&fed.shop, options).await?;

    // It reads what was written before it was thought of.
    let late = PgDatabase::create(&cluster.databases()?, "kafka_late").await?;
    let table = format!("{}.orders", fed.mysql.name);
    let some = json!({"tables": [{"source": table}]});
    fed.add_sink("late", &late, &some).await?;
    fed.wait_sink("late", "True", None, PATIENCE).await?;
    writers.stop().await?;
    fed.equal().await?;
    let orders = [Pair::same(&fed.mysql, "orders")];
    wait_equal(&fed.mysql, &late, &orders, PATIENCE).await?;
    fed.assert_nothing_refused().await?;
    counted(&fed).await?;

    deleted(&fed).await?;
    late.drop().await
}

/// Both say how many topics there are, and that none of their records is missing.
async fn counted(fed: &Fed) -> Result<()> {
    let what = "figures of the topics";
    let is_done = |sink: &ReplicaSink| {
        let status = sink.status.as_ref();
        let kafka = status.and_then(|status| status.kafka.as_ref());
        kafka.is_some_and(|kafka| kafka.consumer_lag_records == Some(0))
    };
    // What merely drifts is written once a minute.
    let namespace = &fed.namespace;
    let sink = namespace.wait_for(SINK, what, PATIENCE, is_done).await?;
    let status = sink.status.context("no status")?;
    let kafka = status.kafka.context("no figures")?;
    let tables = i32::try_from(TABLES.len())?;
    ensure!(kafka.topics == tables, "{kafka:?}");
    ensure!(kafka.partitions >= tables, "{kafka:?}");
    ensure!(
        status.ready_replicas == Some(1),
        "{:?}",
        status.ready_replicas
    );
    let source: ReplicationSource = namespace.get(&fed.source).await?;
    let written = source.status.and_then(|status| status.kafka);
    let written = written.context("no figures of the source")?;
    ensure!(
        (written.topics, written.partitions) == (kafka.topics, kafka.partitions),
        "{written:?} and {kafka:?}"
    );
    ensure!(written.consumer_lag_records.is_none(), "{written:?}");
    Ok(())
}

/// Nothing is left of the agents once the resources are gone.
async fn deleted(fed: &Fed) -> Result<()> {
    for object in ["rsink/late", "rsink/pg"] {
        fed.namespace.kubectl(&["delete", object]).await?;
    }
    let source = format!("rsrc/{}", fed.source);
    fed.namespace.kubectl(&["delete", &source]).await?;
    wait_for("the agents to go", PATIENCE, || async {
        let pods = fed.namespace.pods("app.kubernetes.io/component=agent");
        let pods: Vec<Pod> = pods.await?;
        let sets = fed.namespace.api::<StatefulSet>();
        let sets = sets.list(&kube::api::ListParams::default()).await?;
        let left = (pods.len(), sets.items.len());
        ensure!(left == (0, 0), "{left:?} pods and StatefulSets are left");
        Ok(Some(()))
    })
    .await
}
