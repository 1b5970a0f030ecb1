//! A sink without its source, and a source that goes before its sinks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod},
};
use sluice_crds::{ReplicaSink, ReplicationSource, status::Phase};
use sluice_e2e::{
    Cluster,
    cluster::{Object, Replica, condition},
};

use crate::orders::{AGENT, Orders, PATIENCE, SINK, SOURCE, ready_message};

#[tokio::test]
async fn a_sink_waits_for_its_source() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::prepare(&cluster, "alone").await?;
    let namespace = orders.namespace();
    let yaml = orders.replica.file.yaml()?;
    let is_source = |text: &&str| text.contains("kind: ReplicationSource");
    let rest: Vec<&str> = yaml
        .split("---\n")
        .filter(|text| !is_source(text))
        .collect();
    namespace.apply(&rest.join("---\n")).await?;
    let at_most = Duration::from_secs(10);
    let sink = orders
        .replica
        .wait_not_ready("SourceNotFound", at_most)
        .await?;
    let phase = sink.status.as_ref().and_then(|status| status.phase);
    ensure!(phase == Some(Phase::Pending), "{phase:?}");
    let message = ready_message(&sink);
    let words = format!(
        "no ReplicationSource {SOURCE} in namespace {}",
        namespace.name
    );
    ensure!(message.contains(&words), "{message}");
    ensure!(
        namespace
            .api::<StatefulSet>()
            .get_opt(AGENT)
            .await?
            .is_none(),
        "there is an agent already"
    );
    let began = Instant::now();
    orders.replica.start().await?;
    println!("ready {:.1?} after the source came", began.elapsed());
    orders.flows().await?;
    Ok(())
}

#[tokio::test]
async fn a_source_without_sinks_is_checked_and_idle_and_goes_at_once() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::prepare(&cluster, "idle").await?;
    let namespace = orders.namespace();
    let yaml = orders.replica.file.yaml()?;
    let is_sink = |text: &&str| text.contains("kind: ReplicaSink");
    let rest: Vec<&str> = yaml.split("---\n").filter(|text| !is_sink(text)).collect();
    namespace.apply(&rest.join("---\n")).await?;
    let source: ReplicationSource = namespace
        .wait_condition(SOURCE, ("Ready", "True"), PATIENCE)
        .await?;
    let met = condition(&source, "PrerequisitesMet").map(|met| met.status);
    ensure!(
        met.as_deref() == Some("True"),
        "PrerequisitesMet is {met:?}"
    );
    let phase = source.status.and_then(|status| status.phase);
    ensure!(phase == Some(Phase::Idle), "{phase:?}");
    let finalizers = source.metadata.finalizers.unwrap_or_default();
    ensure!(finalizers.is_empty(), "{finalizers:?}");
    namespace
        .kubectl(&["delete", "rsrc", SOURCE, "--timeout=10s"])
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_source_in_use_stays_until_its_last_sink_is_gone() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "in-use").await?;
    let namespace = orders.namespace();
    namespace
        .kubectl(&["delete", "rsrc", SOURCE, "--wait=false"])
        .await?;
    let blocked = |source: &ReplicationSource| {
        condition(source, "Ready").is_some_and(|ready| ready.reason == "DeletionBlocked")
    };
    let at_most = Duration::from_secs(10);
    let source = namespace
        .wait_for(SOURCE, "DeletionBlocked", at_most, blocked)
        .await?;
    let message = ready_message(&source);
    ensure!(message.contains(SINK), "{message}");
    let described = namespace.kubectl(&["describe", "rsrc", SOURCE]).await?;
    ensure!(
        described.contains("kubectl delete replicasink shop-pg"),
        "{described}"
    );
    // Its sink is as ready as ever.
    let before = orders.pod_uid().await?;
    orders.flows().await?;
    let sink = orders.replica.sink().await?;
    let ready = condition(&sink, "Ready").context("no condition Ready")?;
    ensure!(ready.status == "True", "{ready:?}");
    ensure!(orders.pod_uid().await? == before, "the pod was replaced");
    let began = Instant::now();
    namespace
        .kubectl(&["delete", "rsink", SINK, "--wait=false"])
        .await?;
    gone::<ReplicaSink>(&orders, SINK).await?;
    gone::<ReplicationSource>(&orders, SOURCE).await?;
    gone::<StatefulSet>(&orders, AGENT).await?;
    gone::<ConfigMap>(&orders, AGENT).await?;
    gone::<Pod>(&orders, Replica::AGENT).await?;
    println!("everything gone after {:.1?}", began.elapsed());
    // The replica's rows are the user's.
    orders.assert_equal().await
}

async fn gone<K: Object>(orders: &Orders, name: &str) -> Result<()> {
    orders.namespace().wait_gone::<K>(name, PATIENCE).await
}
