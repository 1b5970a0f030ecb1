//! `kubectl scale` under load.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster, WriterOptions, Writers,
    kafka::{Format, KafkaServers},
};

use super::fed::{Fed, PATIENCE, SINK};

#[tokio::test]
async fn agents_are_scaled_up_and_down_under_load() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let kafka = KafkaServers::for_pods()?;
    let json = Format::Json;
    let fed = Fed::prepare(&cluster, &kafka, "kafka-scale", json).await?;
    fed.start().await?;
    let options = WriterOptions {
        count: 2,
        changes_per_second: Some(400),
        bulk: false,
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&fed.shop, options).await?;
    scaled(&fed, 3).await?;
    fed.mysql
        .exec("ALTER TABLE accounts ADD COLUMN scaled int DEFAULT 3")
        .await?;
    scaled(&fed, 1).await?;
    writers.stop().await?;
    fed.equal().await?;
    fed.assert_nothing_refused().await?;
    // One row for each pipeline in all, its agents' own aside.
    let fences = fed
        .postgres
        .value("SELECT string_agg(sink, ' ' ORDER BY sink) FROM sluice.positions")
        .await?;
    let name = format!("{}/{SINK}", fed.namespace.name);
    ensure!(
        fences == format!("{name} {name}:0") || fences == name,
        "{fences}"
    );
    Ok(())
}

/// Scales, and waits until so many agents are there, each of them ready.
async fn scaled(fed: &Fed, count: i32) -> Result<()> {
    let replicas = format!("--replicas={count}");
    let scale = ["scale", "replicasink", SINK, &replicas];
    fed.namespace.kubectl(&scale).await?;
    let what = format!("{count} agents that are ready");
    let generation = {
        let sink: ReplicaSink = fed.namespace.get(SINK).await?;
        sink.metadata.generation.context("no generation")?
    };
    let is_so = |sink: &ReplicaSink| {
        let ready = sluice_e2e::cluster::condition(sink, "Ready");
        let status = sink.status.as_ref();
        ready.is_some_and(|ready| ready.status == "True")
            && status.is_some_and(|status| {
                status.replicas == Some(count)
                    && status.ready_replicas == Some(count)
                    && status.observed_generation == Some(generation)
            })
    };
    let namespace = &fed.namespace;
    namespace.wait_for(SINK, &what, PATIENCE, is_so).await?;
    let label = format!("app.kubernetes.io/component=agent,sluice.dev/sink={SINK}");
    let pods: Vec<Pod> = namespace.pods(&label).await?;
    let count = usize::try_from(count)?;
    ensure!(pods.len() == count, "{} pods", pods.len());
    Ok(())
}
