//! Changes of a spec that runs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::json;
use sluice_e2e::Cluster;

use crate::orders::{AGENT, Orders, PATIENCE, SINK};

/// How soon a change reaches the pod template. The bar is one second; a loaded machine gets more.
const TEMPLATE_AT_MOST: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_change_reaches_the_pod_template_at_once_and_rolls_the_pod() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "change").await?;
    let mut times = Vec::new();
    let before = orders.pod_uid().await?;
    for rows in [1_001, 1_002, 1_003] {
        let hash = config_hash(&orders.stateful_set().await?);
        orders
            .patch_sink(&json!({"spec": {"apply": {"batchRows": rows}}}))
            .await?;
        let since = Instant::now();
        let changed = |stateful_set: &StatefulSet| config_hash(stateful_set) != hash;
        let namespace = orders.namespace();
        namespace
            .wait_for(AGENT, "another configuration", PATIENCE, changed)
            .await?;
        times.push(since.elapsed());
    }
    println!("spec to pod template: {times:.0?}");
    let slowest = times.iter().max().copied().unwrap_or_default();
    ensure!(
        slowest < TEMPLATE_AT_MOST,
        "the template followed after {slowest:?}"
    );
    orders.rolled(&before).await?;
    orders.flows().await?;
    Ok(())
}

#[tokio::test]
async fn an_annotation_restarts_the_agent() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "restart").await?;
    let before = orders.pod_uid().await?;
    let restart = "sluice.dev/restartedAt=2026-01-01T00:00:00Z";
    orders
        .namespace()
        .kubectl(&["annotate", "rsink", SINK, restart])
        .await?;
    let began = Instant::now();
    orders.rolled(&before).await?;
    println!("restarted and ready after {:.1?}", began.elapsed());
    let template = template_annotation(&orders.stateful_set().await?, "sluice.dev/restarted-at");
    ensure!(
        template.as_deref() == Some("2026-01-01T00:00:00Z"),
        "{template:?}"
    );
    orders.flows().await?;
    orders.assert_equal().await
}

#[tokio::test]
async fn what_a_replica_is_can_not_be_changed() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "immutable").await?;
    let file = &orders.replica.file;
    let database = file
        .clone()
        .sink_spec(|spec| spec["postgres"]["database"] = json!("other"));
    let source = orders
        .replica
        .file
        .yaml()?
        .replace("name: shop\n", "name: other\n");
    for (yaml, words) in [
        (database.yaml()?, "another database is another replica"),
        (source, "the replica's position belongs to its source"),
    ] {
        let refusal = orders.namespace().refusal(&yaml).await?;
        ensure!(refusal.contains(words), "no \"{words}\" in: {refusal}");
    }
    orders.flows().await?;
    Ok(())
}

fn config_hash(stateful_set: &StatefulSet) -> Option<String> {
    template_annotation(stateful_set, "sluice.dev/config-hash")
}

fn template_annotation(stateful_set: &StatefulSet, name: &str) -> Option<String> {
    let spec = stateful_set.spec.as_ref()?;
    let meta = spec.template.metadata.as_ref()?;
    meta.annotations.as_ref()?.get(name).cloned()
}
