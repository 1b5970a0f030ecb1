//! Agents that don't answer or don't live.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster,
    cluster::{PAUSE_IMAGE, Replica, condition},
};

use crate::orders::{Orders, PATIENCE, ROW_AT_MOST, SINK, ready_message};

#[tokio::test]
async fn an_agent_that_has_fallen_silent_is_told() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "truth-stopped").await?;
    let namespace = orders.namespace();
    namespace.signal(Replica::AGENT, "SIGSTOP").await?;
    let since = Instant::now();
    let id = orders.insert().await?;
    let told = orders
        .truth(since, "AgentUnreachable", &[Replica::AGENT])
        .await;
    // Let go in any case: a stopped process would hold up the namespace's end.
    namespace.signal(Replica::AGENT, "SIGCONT").await?;
    let sink = told?;
    ensure!(
        sink.status.is_some_and(|status| status.lag.is_none()),
        "a lag that nobody knows"
    );
    orders.replica.wait_ready().await?;
    orders.arrived(id, ROW_AT_MOST).await?;
    orders.recovers().await
}

#[tokio::test]
async fn an_agent_that_ends_again_and_again_is_told_with_its_last_words() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "truth-crash").await?;
    // An image without the program: the container can be made, and ends at once.
    let image = json!({"spec": {"agent": {"image": PAUSE_IMAGE}}});
    orders.patch_sink(&image).await?;
    let since = Instant::now();
    let what = "a sink that is not ready any more";
    let not_ready =
        |sink: &ReplicaSink| condition(sink, "Ready").is_some_and(|ready| ready.status == "False");
    let namespace = orders.namespace();
    let sink = namespace.wait_for(SINK, what, PATIENCE, not_ready).await?;
    println!(
        "not ready after {:.1?}: {}",
        since.elapsed(),
        ready_message(&sink)
    );
    let words = [Replica::AGENT, "sluice", "not found", "kubectl logs"];
    orders.truth(since, "AgentCrashLooping", &words).await?;
    let own = json!({"spec": {"agent": {"image": null}}});
    orders.patch_sink(&own).await?;
    orders.recovers().await
}

#[tokio::test]
async fn an_agent_that_finds_no_node_is_told_in_the_schedulers_words() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "truth-node").await?;
    let nowhere = json!({"spec": {"agent": {"nodeSelector": {"sluice.dev/nowhere": "true"}}}});
    orders.patch_sink(&nowhere).await?;
    let since = Instant::now();
    let words = ["node affinity/selector", "spec.agent.nodeSelector"];
    let sink = orders.truth(since, "AgentUnschedulable", &words).await?;
    let status = sink.status.context("no status")?;
    ensure!(
        status.rate.is_none(),
        "a rate of a pod that does not run: {:?}",
        status.rate
    );
    ensure!(status.position.is_some(), "the position was forgotten");
    let anywhere = json!({"spec": {"agent": {"nodeSelector": null}}});
    orders.patch_sink(&anywhere).await?;
    orders.recovers().await
}
