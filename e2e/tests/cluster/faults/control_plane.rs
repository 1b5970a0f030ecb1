//! A cluster without its API server: agents don't need one.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_e2e::{Cluster, Component, cluster::restarts};
use tokio::time::Instant;

use super::{report, world::World};

/// Longer than a leader goes without renewing its Lease.
const AWAY: Duration = Duration::from_secs(12);
/// How soon after the API server's return the status must be right.
const FRESH_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn rows_flow_while_the_api_server_is_away() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let world = World::start(&cluster, "apiserver").await?;
    let agent = world.agent().await?;
    let killed = cluster.kill(Component::ApiServer).await?;
    let flowed = world.rows_keep_flowing(AWAY).await;
    let here = world.log_end().await?;
    let begin = Instant::now();
    killed.start().await?;
    report("the API server answers again", begin.elapsed());
    flowed?;
    world.status_holds(&here, FRESH_MAX).await?;
    report("and the status is fresh", begin.elapsed());
    let pods = world.operator.pods().await?;
    for pod in &pods {
        eprintln!("faults: the operator was restarted {} times", restarts(pod));
    }
    let same = world.agent().await?;
    ensure!(
        same.metadata.uid == agent.metadata.uid && restarts(&same) == restarts(&agent),
        "the agent was restarted"
    );
    world.operator.wait_ready().await?;
    world.end().await
}
