//! A table that is copied again on request.

use anyhow::{Context, Result, ensure};
use sluice_crds::{ReplicaSink, ReplicationSource};
use sluice_e2e::cluster::Cluster;
use sluice_e2e::wait::wait_for;

use crate::orders::{Orders, PATIENCE, SINK, SOURCE};

#[tokio::test]
async fn a_table_is_copied_again_exactly_once_for_each_request() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "again").await?;
    let namespace = orders.namespace();
    let pattern = format!("sluice.dev/resnapshot={}.orders", orders.replica.mysql.name);
    lose(&orders, 1).await?;
    namespace
        .kubectl(&["annotate", "rsink", SINK, &pattern])
        .await?;
    orders.arrived(1, PATIENCE).await?;
    let what = "the annotation's end";
    namespace
        .wait_for(SINK, what, PATIENCE, |sink: &ReplicaSink| {
            !is_annotated(&sink.metadata)
        })
        .await?;
    orders.replica.wait_ready().await?;
    let events = namespace
        .kubectl(&["events", "--for=replicasink/shop-pg"])
        .await?;
    ensure!(events.contains("ResnapshotRequested"), "{events}");
    let first = done(&orders, None).await?;

    // A restart finds the same request in its configuration, and does not do it again.
    lose(&orders, 2).await?;
    let before = orders.pod_uid().await?;
    let restart = "sluice.dev/restartedAt=2026-01-01T00:00:00Z";
    namespace
        .kubectl(&["annotate", "rsink", SINK, restart])
        .await?;
    orders.rolled(&before).await?;
    orders.flows().await?;
    ensure!(!orders.has(2).await?, "the table was copied once more");

    // By way of the source, for all its sinks, with a pattern.
    let pattern = format!("sluice.dev/resnapshot={}.ord*", orders.replica.mysql.name);
    namespace
        .kubectl(&["annotate", "rsrc", SOURCE, &pattern])
        .await?;
    orders.arrived(2, PATIENCE).await?;
    namespace
        .wait_for(SOURCE, what, PATIENCE, |source: &ReplicationSource| {
            !is_annotated(&source.metadata)
        })
        .await?;
    namespace
        .wait_for(SINK, what, PATIENCE, |sink: &ReplicaSink| {
            !is_annotated(&sink.metadata)
        })
        .await?;
    done(&orders, Some(&first)).await?;
    orders.recovers().await
}

/// Takes a row away from the replica behind everybody's back.
async fn lose(orders: &Orders, id: u32) -> Result<()> {
    let table = orders.table();
    orders
        .replica
        .postgres
        .exec(format!("DELETE FROM {table} WHERE id = {id}"))
        .await?;
    ensure!(!orders.has(id).await?, "row {id} is still there");
    Ok(())
}

/// Waits until the agent has taken a request on that is not `before`; its id.
async fn done(orders: &Orders, before: Option<&str>) -> Result<String> {
    wait_for("a request that the agent took on", PATIENCE, || async {
        let id = orders.agent_status().await?.resnapshot_id;
        let id = id.context("no request was taken on")?;
        Ok((Some(id.as_str()) != before).then_some(id))
    })
    .await
}

fn is_annotated(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key("sluice.dev/resnapshot"))
}
