//! Operators that are killed, hang, or are two.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster,
    cluster::{Operator, restarts},
    wait::wait_for,
};
use tokio::time::Instant;

use super::{PATIENCE, report, world::World};

/// How long nobody may lead after a leader died.
const LEADERLESS_MAX: Duration = Duration::from_secs(15);
/// How soon the status must be right again once there is a leader.
const FRESH_MAX: Duration = Duration::from_secs(15);

/// The generation that the status is about.
fn observed(sink: &ReplicaSink) -> Option<i64> {
    sink.status.as_ref()?.observed_generation
}

/// The operator's only pod, as often restarted as it is.
async fn only_pod(operator: &Operator) -> Result<(String, i32)> {
    let pods = operator.pods().await?;
    ensure!(pods.len() == 1, "there are {} operators", pods.len());
    let name = pods[0].metadata.name.clone().context("no name")?;
    Ok((name, restarts(&pods[0])))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_flow_while_the_operator_is_away_and_it_comes_back() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let mut world = World::start(&cluster, "operator").await?;
    let operator = world.operator.clone();
    let agent = world.agent().await?;
    // The second time Kubernetes waits for 10 s before it starts the operator again.
    for round in 1..=2_u32 {
        let (pod, before) = only_pod(&operator).await?;
        operator.signal(&pod, "SIGKILL").await?;
        let begin = Instant::now();
        let here = world.log_end().await?;
        world.edit(60 + round).await?;
        let what = format!("killed operator, time {round}");
        let generation = world.replica.sink().await?.metadata.generation;
        let away = Duration::from_secs(if round == 1 { 0 } else { 8 });
        world.rows_keep_flowing(away).await?;
        let knows = |sink: &ReplicaSink| observed(sink) == generation;
        let namespace = &world.replica.namespace;
        namespace
            .wait_for("shop-pg", "the spec to be seen", PATIENCE, knows)
            .await?;
        report(format!("{what}: reconciled"), begin.elapsed());
        world.status_holds(&here, FRESH_MAX).await?;
        report(format!("{what}: a fresh status"), begin.elapsed());
        // The kubelet tells of a restart later than the operator is back.
        wait_for("the restart to be counted", PATIENCE, || async {
            let (again, after) = only_pod(&operator).await?;
            ensure!(again == pod && after <= before + 1, "{after} restarts");
            Ok((after == before + 1).then_some(()))
        })
        .await?;
        world.rows_flow().await?;
    }
    undisturbed(&world, &agent).await?;
    operator.wait_ready().await?;
    world.end().await
}

/// Fails unless the agent is the same process as before.
async fn undisturbed(world: &World, before: &k8s_openapi::api::core::v1::Pod) -> Result<()> {
    let now = world.agent().await?;
    ensure!(
        now.metadata.uid == before.metadata.uid,
        "the agent's pod is another one"
    );
    ensure!(
        restarts(&now) == restarts(before),
        "the agent was restarted"
    );
    Ok(())
}

/// Waits until another pod than this one leads.
async fn other_leader(operator: &Operator, than: &str) -> Result<String> {
    wait_for("another leader", PATIENCE, || async {
        let leader = operator.leader().await?;
        Ok((leader != than && !leader.is_empty()).then_some(leader))
    })
    .await
}

/// How long it takes until a change of the spec is seen by whoever leads.
async fn reconciled(world: &mut World, threshold_seconds: u32) -> Result<Duration> {
    let begin = Instant::now();
    world.edit(threshold_seconds).await?;
    let generation = world.replica.sink().await?.metadata.generation;
    let knows = |sink: &ReplicaSink| observed(sink) == generation;
    let namespace = &world.replica.namespace;
    namespace
        .wait_for("shop-pg", "the spec to be seen", PATIENCE, knows)
        .await?;
    Ok(begin.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_one_leads_and_the_other_takes_over() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let mut world = World::start(&cluster, "leaders").await?;
    let operator = world.operator.clone();
    let agent = world.agent().await?;
    operator.upgrade(&["replicas=2"]).await?;
    let done = take_over(&mut world, &operator).await;
    operator.upgrade(&[]).await?;
    done?;
    undisturbed(&world, &agent).await?;
    world.end().await
}

async fn take_over(world: &mut World, operator: &Operator) -> Result<()> {
    operator.wait_ready().await?;
    let pods = operator.pods().await?;
    ensure!(pods.len() == 2, "there are {} operators", pods.len());
    let first = wait_for("one of the two to lead", PATIENCE, || async {
        let leader = operator.leader().await?;
        let is_one = |pod: &k8s_openapi::api::core::v1::Pod| {
            pod.metadata.name.as_deref() == Some(leader.as_str())
        };
        Ok(pods.iter().any(is_one).then_some(leader))
    })
    .await?;

    // Kubernetes starts it again at once, under the same name: the Lease is its own.
    let begin = Instant::now();
    operator.signal(&first, "SIGKILL").await?;
    let here = world.log_end().await?;
    let took = reconciled(world, 71).await?;
    let leader = operator.leader().await?;
    report(
        format!("a killed leader: {leader} (was {first}) reconciles"),
        took,
    );
    ensure!(took < LEADERLESS_MAX, "nobody led for {took:?}");
    world.status_holds(&here, FRESH_MAX).await?;
    report("and the status is fresh", begin.elapsed());

    // One that hangs gives nothing back, and nobody starts it again: the other one has to.
    let hung = operator.leader().await?;
    let begin = Instant::now();
    operator.signal(&hung, "SIGSTOP").await?;
    let here = world.log_end().await?;
    let next = other_leader(operator, &hung).await?;
    let took = begin.elapsed();
    report(
        format!("a hung leader: {next} leads instead of {hung}"),
        took,
    );
    ensure!(took < LEADERLESS_MAX, "nobody led for {took:?}");
    reconciled(world, 72).await?;
    report("and reconciles", begin.elapsed());
    world.status_holds(&here, FRESH_MAX).await?;
    report("and the status is fresh", begin.elapsed());

    // What woke up must see that it is the leader no more, before it does anything.
    operator.signal(&hung, "SIGCONT").await?;
    let begin = Instant::now();
    reconciled(world, 73).await?;
    ensure!(operator.leader().await? == next, "{next} leads no more");
    operator.wait_ready().await?;
    report("the one that hung waits again", begin.elapsed());
    world.rows_flow().await?;

    // Dead for good: its node is gone, say.
    let begin = Instant::now();
    let force = ["--force", "--grace-period=0"];
    let mut arguments = vec!["--namespace", sluice_e2e::cluster::OPERATOR_NAMESPACE];
    arguments.extend(["delete", "pod", &next]);
    arguments.extend(force);
    world.operator.cluster.kubectl(&arguments).await?;
    let here = world.log_end().await?;
    let last = other_leader(operator, &next).await?;
    let took = begin.elapsed();
    report(format!("a leader that is gone: {last} leads"), took);
    ensure!(took < LEADERLESS_MAX, "nobody led for {took:?}");
    reconciled(world, 74).await?;
    world.status_holds(&here, FRESH_MAX).await?;
    report("and the status is fresh", begin.elapsed());
    Ok(())
}
