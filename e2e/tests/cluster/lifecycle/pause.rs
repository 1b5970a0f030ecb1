//! Pause and resume.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sluice_crds::{ReplicaSink, ReplicationSource, status::Phase};
use sluice_e2e::{
    Cluster,
    cluster::{Replica, condition},
};

use crate::orders::{Orders, PATIENCE, ROW_AT_MOST, SINK, SOURCE, ready_message};

/// Rows that are there from the beginning.
const ROWS: u32 = 300;

#[tokio::test]
async fn a_paused_replica_keeps_its_position_and_goes_on_from_there() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::prepare(&cluster, "pause").await?;
    let rows: Vec<String> = (10..10 + ROWS).map(|id| format!("({id}, 'x')")).collect();
    let rows = format!("INSERT INTO orders VALUES {}", rows.join(", "));
    orders.replica.mysql.exec(rows).await?;
    orders.replica.start().await?;
    orders.flows().await?;
    for by_source in [false, true] {
        let pause = |paused: bool| json!({"spec": {"paused": paused}});
        switch(&orders, by_source, &pause(true)).await?;
        let sink = paused(&orders).await?;
        let status = sink.status.as_ref().context("no status")?;
        ensure!(
            status.position.is_some() && status.replicas == Some(0),
            "{status:?}"
        );
        ensure!(status.rate.is_none() && status.lag.is_none(), "{status:?}");
        let message = ready_message(&sink);
        ensure!(
            message.contains("of its ReplicationSource") == by_source,
            "{message}"
        );
        let source: ReplicationSource = orders.namespace().get(SOURCE).await?;
        let phase = source.status.and_then(|status| status.phase);
        ensure!(
            phase == Some(Phase::Paused),
            "the source's phase is {phase:?}"
        );
        let id = orders.insert().await?;
        ensure!(!orders.has(id).await?, "a row came although nobody runs");
        switch(&orders, by_source, &pause(false)).await?;
        orders.arrived(id, PATIENCE).await?;
        orders.replica.wait_ready().await?;
        orders.flows().await?;
        // It went on, and did not begin anew.
        let rows = orders.agent_status().await?.rows_total;
        ensure!(rows < u64::from(ROWS), "{rows} rows since the start");
    }
    orders.assert_equal().await
}

async fn switch(orders: &Orders, by_source: bool, patch: &Value) -> Result<()> {
    if by_source {
        orders.patch_source(patch).await
    } else {
        orders.patch_sink(patch).await
    }
}

async fn paused(orders: &Orders) -> Result<ReplicaSink> {
    let namespace = orders.namespace();
    namespace.wait_gone::<Pod>(Replica::AGENT, PATIENCE).await?;
    let wanted = |sink: &ReplicaSink| {
        let ready = condition(sink, "Ready");
        let is_paused =
            ready.is_some_and(|ready| ready.status == "False" && ready.reason == "Paused");
        let status = sink.status.as_ref();
        is_paused
            && status.is_some_and(|status| {
                status.phase == Some(Phase::Paused) && status.replicas == Some(0)
            })
    };
    let sink = namespace
        .wait_for(SINK, "a paused sink", ROW_AT_MOST, wanted)
        .await?;
    let settled = |source: &ReplicationSource| {
        source
            .status
            .as_ref()
            .is_some_and(|status| status.phase == Some(Phase::Paused))
    };
    let at_most = Duration::from_secs(10);
    namespace
        .wait_for(SOURCE, "a paused source", at_most, settled)
        .await?;
    let stateful_set = orders.stateful_set().await?;
    let replicas = stateful_set.spec.and_then(|spec| spec.replicas);
    ensure!(replicas == Some(0), "{replicas:?} replicas");
    Ok(sink)
}
