//! A node that is drained, first of the agent and then of everything.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_e2e::{
    Cluster,
    cluster::{NODE, condition},
};
use tokio::time::Instant;

use super::{report, world::World};

/// How soon the status must say that there is no node.
const TOLD_MAX: Duration = Duration::from_secs(15);
/// How soon the status must be right once there is a node for the operator again.
const FRESH_MAX: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_stops_rows_until_there_is_one_again() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let world = World::start(&cluster, "drain").await?;
    let _cordoned = cluster.cordon().await?;

    // The operator stays where it is, so that somebody can tell.
    let agent = "--pod-selector=sluice.dev/sink=shop-pg";
    let drain = [
        "drain",
        NODE,
        agent,
        "--delete-emptydir-data",
        "--timeout=60s",
    ];
    cluster.kubectl(&drain).await?;
    let begin = Instant::now();
    let told = world.replica.wait_not_ready("AgentUnschedulable", TOLD_MAX);
    let told = told.await?;
    report("drained: the status tells", begin.elapsed());
    let ready = condition(&told, "Ready").map(|ready| ready.message);
    let message = ready.unwrap_or_default();
    ensure!(
        message.contains("unschedulable") && message.contains("Remedy:"),
        "not the scheduler's words: {message}"
    );
    let begin = Instant::now();
    cluster.uncordon().await?;
    world.rows_flow().await?;
    report("uncordoned: rows flow", begin.elapsed());
    world.replica.wait_ready().await?;
    report("uncordoned: Ready", begin.elapsed());

    // Now nobody is left who could tell.
    world.watch.excuse();
    let _drained = cluster.drain().await?;
    let here = world.log_end().await?;
    let begin = Instant::now();
    cluster.uncordon().await?;
    world.operator.wait_ready().await?;
    report("all drained: the operator is back", begin.elapsed());
    world.watch.judge();
    world.status_holds(&here, FRESH_MAX).await?;
    report("all drained: a fresh status", begin.elapsed());
    world.rows_flow().await?;
    report("all drained: rows flow", begin.elapsed());
    world.end().await
}
