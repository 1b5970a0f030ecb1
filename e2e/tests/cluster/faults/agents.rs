//! Agents that are killed or deleted, and the objects that they are made of.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod},
};
use sluice_agent_api::status::Phase;
use sluice_e2e::{
    Cluster,
    cluster::{Replica, restarts},
    wait::wait_for,
};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, random, report, world::World};

/// The name of everything that an agent is made of.
const AGENT: &str = "shop-pg-agent";

/// Waits until the agent is in the middle of the copy; how long it took.
async fn copying(world: &World) -> Result<Duration> {
    let begin = Instant::now();
    wait_for("the copy of present rows", PATIENCE, || async {
        let status = world.agent_status().await?;
        let copied = status.snapshot.rows_copied;
        ensure!(
            status.phase != Phase::Streaming,
            "the copy has ended with {copied} rows"
        );
        Ok((status.phase == Phase::Snapshotting && copied > 0).then_some(()))
    })
    .await?;
    Ok(begin.elapsed())
}

async fn random_moment(rng: &mut Rng, longest_ms: u64) {
    sleep(Duration::from_millis(rng.u64(..longest_ms))).await;
}

/// Kills the agent, and says how long it took until rows arrived again.
async fn kill(world: &World, what: &str) -> Result<()> {
    world.replica.namespace.kill_nine(Replica::AGENT).await?;
    report(what, world.rows_flow().await?);
    Ok(())
}

/// Kubernetes starts a container at once after its first end, after 10 s after the second, then 20 s:
/// that is why the pod is a new one in between.
#[tokio::test(flavor = "multi_thread")]
async fn agents_killed_while_copying_and_streaming_lose_nothing() -> Result<()> {
    let mut rng = random();
    let cluster = Cluster::connect().await?;
    let world = World::prepare(&cluster, "kill9", 200_000).await?;
    let namespace = &world.replica.namespace;
    world.replica.apply().await?;

    report("from nothing to copying", copying(&world).await?);
    random_moment(&mut rng, 300).await;
    namespace.kill_nine(Replica::AGENT).await?;
    report("killed while copying, first", copying(&world).await?);
    random_moment(&mut rng, 300).await;
    kill(&world, "killed while copying, again").await?;
    // The kubelet tells of a restart later than the agent is back.
    wait_for("two restarts to be counted", PATIENCE, || async {
        let counted = restarts(&world.agent().await?);
        ensure!(counted <= 2, "{counted} restarts");
        Ok((counted == 2).then_some(()))
    })
    .await?;

    let forced = [
        "delete",
        "pod",
        Replica::AGENT,
        "--force",
        "--grace-period=0",
    ];
    namespace.kubectl(&forced).await?;
    report("deleted by force", world.rows_flow().await?);
    random_moment(&mut rng, 2_000).await;
    kill(&world, "killed while streaming, first").await?;
    random_moment(&mut rng, 2_000).await;
    kill(&world, "killed while streaming, again").await?;
    world.end().await
}

/// Waits until there is an object of this name with another uid than before; how long it took.
async fn made_again<K: sluice_e2e::cluster::Object>(
    world: &World,
    name: &str,
    before: &K,
) -> Result<Duration> {
    let begin = Instant::now();
    let uid = before.meta().uid.clone();
    let other = |object: &K| object.meta().uid != uid;
    let what = format!("a new {} {name}", K::kind(&()));
    let namespace = &world.replica.namespace;
    namespace.wait_for(name, &what, PATIENCE, other).await?;
    Ok(begin.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_of_an_agent_comes_back() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let world = World::start(&cluster, "deleted").await?;
    let namespace = &world.replica.namespace;

    // Nobody misses a ConfigMap until a pod starts.
    let before: ConfigMap = namespace.get(AGENT).await?;
    let pod = world.agent().await?;
    let delete = ["delete", "configmap", AGENT, "--wait=false"];
    namespace.kubectl(&delete).await?;
    world.rows_flow().await?;
    let same = world.agent().await?;
    ensure!(
        same.metadata.uid == pod.metadata.uid && restarts(&same) == 0,
        "the agent was disturbed by it"
    );

    let delete = ["delete", "pod", Replica::AGENT, "--wait=false"];
    namespace.kubectl(&delete).await?;
    made_again(&world, Replica::AGENT, &pod).await?;
    let took = world.rows_flow().await?;
    report("rows flow after pod and ConfigMap were deleted", took);
    let again: ConfigMap = namespace.get(AGENT).await?;
    ensure!(again.data == before.data, "its content differs");
    let pod = world.agent().await?;
    namespace.kubectl(&delete).await?;
    made_again(&world, Replica::AGENT, &pod).await?;
    let took = world.rows_flow().await?;
    report("rows flow after a deleted pod is gone", took);

    // Without its pods: they must be taken over, not started again.
    let set: StatefulSet = namespace.get(AGENT).await?;
    let pod = world.agent().await?;
    // kubectl may wait for ever for the end of an object that is there again at once.
    let delete = ["delete", "statefulset", AGENT, "--wait=false"];
    let orphan = [&delete[..], &["--cascade=orphan"]].concat();
    namespace.kubectl(&orphan).await?;
    let took = made_again(&world, AGENT, &set).await?;
    report("a StatefulSet deleted without its pod is there again", took);
    let set: StatefulSet = namespace.get(AGENT).await?;
    let owner = set.metadata.uid.clone().context("no uid")?;
    let adopted = |pod: &Pod| {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        owners.any(|one| one.uid == owner)
    };
    let what = "the pod's adoption";
    let adopted = namespace.wait_for(Replica::AGENT, what, PATIENCE, adopted);
    let adopted = adopted.await?;
    ensure!(
        adopted.metadata.uid == pod.metadata.uid && restarts(&adopted) == 0,
        "the pod was started again"
    );
    world.rows_flow().await?;

    namespace.kubectl(&delete).await?;
    let begin = Instant::now();
    made_again(&world, AGENT, &set).await?;
    report("a deleted StatefulSet is there again", begin.elapsed());
    world.rows_flow().await?;
    report("and rows flow", begin.elapsed());
    world.end().await
}
