//! Ends that don't answer, and an end that is too slow.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster, TcpProxy, ThrowAway,
    cluster::{Replica, condition},
    servers::Kind,
};

use crate::orders::{Orders, PATIENCE, SINK};

/// Rows of the backlog that a slow target gets, and the bytes of each.
const BACKLOG_ROWS: u32 = 800;
const NOTE_LENGTH: u32 = 2_000;

#[tokio::test]
async fn a_locked_target_is_told_with_who_holds_the_lock() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "truth-lock").await?;
    let blocker = orders.replica.postgres.client().await?;
    let lock = format!("BEGIN; LOCK TABLE {}", orders.table());
    blocker.batch_execute(&lock).await?;
    let process: i32 = blocker
        .query_one("SELECT pg_backend_pid()", &[])
        .await?
        .get(0);
    let since = Instant::now();
    orders.insert().await?;
    let remedy = format!("pg_terminate_backend({process})");
    let words = ["PostgreSQL at", ".orders", remedy.as_str()];
    let sink = orders.truth(since, "TargetStalled", &words).await?;
    let streaming = condition(&sink, "Streaming").map(|streaming| streaming.status);
    ensure!(streaming.as_deref() == Some("False"), "{streaming:?}");
    // A stall is nothing that a restart would mend.
    let before = orders.pod_uid().await?;
    let described = orders.namespace().kubectl(&["describe", "rsink", SINK]);
    let described = described.await?;
    ensure!(described.contains(&remedy), "{described}");
    blocker.batch_execute("COMMIT").await?;
    orders.recovers().await?;
    ensure!(orders.pod_uid().await? == before, "the pod was replaced");
    Ok(())
}

#[tokio::test]
async fn a_source_that_falls_silent_is_told_although_the_pod_runs() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let mut orders = Orders::prepare(&cluster, "truth-silent").await?;
    let address = orders.replica.mysql.endpoint.address();
    let proxy = TcpProxy::at(cluster.host.parse()?, &address).await?;
    let file = orders.replica.file.clone();
    orders.replica.file = file.mysql_address(&proxy.host(), proxy.port());
    orders.replica.start().await?;
    proxy.stall();
    let since = Instant::now();
    let words = [proxy.host(), proxy.port().to_string()];
    let words = words.each_ref().map(String::as_str);
    orders.truth(since, "SourceStalled", &words).await?;
    assert_running(&orders).await?;
    proxy.resume();
    orders.recovers().await
}

#[tokio::test]
async fn a_source_that_is_killed_is_told_although_the_pod_runs() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let own = ThrowAway::for_pods(&cluster.host, &[Kind::Mysql]).await?;
    let orders = Orders::prepare_on(&cluster, own.servers(), "truth-killed").await?;
    orders.replica.start().await?;
    own.kill(Kind::Mysql).await?;
    let since = Instant::now();
    let address = own.servers().mysql.address();
    let sink = orders.truth(since, "Unreachable", &[&address]).await?;
    let told = sink.status.and_then(|status| status.last_error);
    ensure!(
        told.as_ref()
            .is_some_and(|error| error.reason == "Unreachable"),
        "{told:?}"
    );
    assert_running(&orders).await?;
    own.start(Kind::Mysql).await?;
    orders.recovers().await
}

async fn assert_running(orders: &Orders) -> Result<()> {
    let pod: Pod = orders.namespace().get(Replica::AGENT).await?;
    let phase = pod.status.and_then(|status| status.phase);
    ensure!(phase.as_deref() == Some("Running"), "{phase:?}");
    Ok(())
}

#[tokio::test]
async fn a_replica_that_is_too_far_behind_is_told() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let mut orders = Orders::prepare(&cluster, "truth-lag").await?;
    let address = orders.replica.postgres.endpoint.address();
    let proxy = TcpProxy::at(cluster.host.parse()?, &address).await?;
    let file = orders.replica.file.clone();
    orders.replica.file = file
        .postgres_address(&proxy.host(), proxy.port())
        .sink_spec(|spec| {
            spec["lagThresholdSeconds"] = json!(4);
            // Small batches: the target is slow, and never silent.
            spec["apply"] = json!({"batchRows": 5});
        });
    orders.replica.start().await?;
    proxy.throttle(Some(30_000));
    // One row for each transaction, so that batches stay small.
    let rows = (10_000..10_000 + BACKLOG_ROWS)
        .map(|id| format!("INSERT INTO orders VALUES ({id}, REPEAT('x', {NOTE_LENGTH}))"));
    orders
        .replica
        .mysql
        .exec(rows.collect::<Vec<_>>().join(";"))
        .await?;
    let since = Instant::now();
    let sink = orders.truth(since, "LagTooHigh", &["4 s behind"]).await?;
    let within = condition(&sink, "LagWithinThreshold");
    ensure!(
        within
            .as_ref()
            .is_some_and(|within| within.status == "False"),
        "{within:?}"
    );
    let lag = lag_of(&sink);
    ensure!(lag.is_some_and(|lag| lag > 4.0), "the lag is {lag:?}");
    proxy.throttle(None);
    orders.recovers().await?;
    let small = |sink: &ReplicaSink| lag_of(sink).is_some_and(|lag| lag < 4.0);
    let namespace = orders.namespace();
    namespace
        .wait_for(
            SINK,
            "a small lag",
            PATIENCE.min(Duration::from_secs(40)),
            small,
        )
        .await?;
    namespace
        .wait_condition::<ReplicaSink>(SINK, ("LagWithinThreshold", "True"), PATIENCE)
        .await?;
    Ok(())
}

fn lag_of(sink: &ReplicaSink) -> Option<f64> {
    sink.status.as_ref()?.lag.as_ref()?.seconds
}
