//! The release: linted, upgraded with other values, taken away, and confined to namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::Api;
use serde_json::json;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster, Namespace,
    cluster::{Operator, READY_AT_MOST, condition, image_settings, restarts},
};

use crate::orders::{AGENT, Orders, PATIENCE, SINK};

/// A release beside the usual one.
const TEAM: &str = "team";

#[tokio::test]
async fn the_packaged_chart_lints_strictly() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let operator = Operator::installed(&cluster).await?;
    let chart = operator
        .chart
        .to_str()
        .context("a path that is not UTF-8")?;
    let version = "--kube-version=1.34.0";
    let said = cluster.helm(&["lint", "--strict", version, chart]).await?;
    ensure!(said.contains("0 chart(s) failed"), "{said}");
    Ok(())
}

#[tokio::test]
async fn an_upgrade_to_other_values_reaches_the_agents_while_rows_flow() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let operator = Operator::installed(&cluster).await?;
    let orders = Orders::started(&cluster, "upgrade").await?;
    let before = orders.pod_uid().await?;
    let began = Instant::now();
    let settings = [
        "statusIntervalSeconds=1",
        "agent.resources.requests.cpu=50m",
        "agent.resources.requests.memory=96Mi",
        "agent.resources.limits.memory=384Mi",
    ];
    operator.upgrade(&settings).await?;
    println!("helm upgrade took {:.1?}", began.elapsed());
    let rolled = async {
        orders.rolled(&before).await?;
        println!("rolled {:.1?} after the upgrade began", began.elapsed());
        let limit = memory_limit(&orders.stateful_set().await?);
        ensure!(limit.as_deref() == Some("384Mi"), "{limit:?}");
        orders.flows().await?;
        anyhow::Ok(())
    }
    .await;
    // And back again, as the others expect it.
    let before = orders.pod_uid().await?;
    operator.upgrade(&[]).await?;
    rolled?;
    orders.rolled(&before).await?;
    orders.recovers().await
}

fn memory_limit(stateful_set: &StatefulSet) -> Option<String> {
    let template = stateful_set.spec.as_ref()?.template.spec.as_ref()?;
    let resources = template.containers.first()?.resources.as_ref()?;
    Some(resources.limits.as_ref()?.get("memory")?.0.clone())
}

#[tokio::test]
async fn a_release_that_is_uninstalled_leaves_everything_running() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let operator = Operator::installed(&cluster).await?;
    let orders = Orders::started(&cluster, "uninstall").await?;
    let pod = orders.pod_uid().await?;
    operator.uninstall().await?;
    let without = without_operator(&orders, &pod).await;
    let confined = confined(&cluster, &operator, &orders).await;
    let installed = operator.install_again().await;
    without.and(confined).and(installed)?;
    orders.recovers().await?;
    ensure!(
        orders.pod_uid().await? == pod,
        "the agent's pod was replaced"
    );
    Ok(())
}

/// The definitions, the resources and the rows are there; the agent goes on.
async fn without_operator(orders: &Orders, pod: &str) -> Result<()> {
    let client = orders.namespace().cluster.client.clone();
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    for name in ["replicationsources.sluice.dev", "replicasinks.sluice.dev"] {
        let definition = definitions.get(name).await?;
        ensure!(
            definition.metadata.deletion_timestamp.is_none(),
            "{name} is going"
        );
    }
    orders.replica.sink().await?;
    orders.replica.source().await?;
    let took = orders.flows().await?;
    println!("without an operator, a row takes {took:.1?}");
    orders.assert_equal().await?;
    ensure!(
        orders.pod_uid().await? == pod,
        "the agent's pod was replaced"
    );
    let pods = orders.namespace().pods("sluice.dev/sink=shop-pg").await?;
    ensure!(
        pods.iter().map(restarts).sum::<i32>() == 0,
        "it was restarted"
    );
    Ok(())
}

/// A release that looks after one namespace works there, and nowhere else.
async fn confined(cluster: &Cluster, operator: &Operator, orders: &Orders) -> Result<()> {
    let team = cluster.namespace(TEAM).await?;
    let chart = operator
        .chart
        .to_str()
        .context("a path that is not UTF-8")?;
    let mut settings = image_settings(&cluster.image()?);
    // The definitions belong to the other release, and are there still.
    settings.push("crds.install=false".to_owned());
    settings.push(format!("watchNamespaces={{{}}}", orders.namespace().name));
    let mut install = vec![
        "install",
        TEAM,
        chart,
        "--namespace",
        &team.name,
        "--wait",
        "--timeout=90s",
    ];
    for setting in &settings {
        install.extend(["--set", setting]);
    }
    cluster.helm(&install).await?;
    let works = works(cluster, orders).await;
    let logs = team
        .kubectl(&[
            "logs",
            "--selector=app.kubernetes.io/name=sluice",
            "--tail=-1",
        ])
        .await?;
    ensure!(!logs.contains("orbidden"), "{logs}");
    let uninstall = ["uninstall", TEAM, "--namespace", &team.name, "--wait"];
    cluster.helm(&uninstall).await?;
    works?;
    nothing_left(&team).await
}

async fn works(cluster: &Cluster, orders: &Orders) -> Result<()> {
    let threshold = json!({"spec": {"lagThresholdSeconds": 61}});
    orders.patch_sink(&threshold).await?;
    let seen = |sink: &ReplicaSink| {
        let status = sink.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        let ready = condition(sink, "Ready").is_some_and(|ready| ready.status == "True");
        observed == sink.metadata.generation && ready
    };
    let what = "the new generation to be seen by the confined operator";
    orders
        .namespace()
        .wait_for(SINK, what, PATIENCE, seen)
        .await?;
    // A sink elsewhere is left alone: nobody gives it a status.
    let elsewhere = Orders::prepare(cluster, "elsewhere").await?;
    elsewhere.replica.apply().await?;
    orders.flows().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sink = elsewhere.replica.sink().await?;
    ensure!(
        sink.status.is_none(),
        "a status from elsewhere: {:?}",
        sink.status
    );
    let agent = elsewhere
        .namespace()
        .api::<StatefulSet>()
        .get_opt(AGENT)
        .await?;
    ensure!(agent.is_none(), "an agent from elsewhere");
    Ok(())
}

async fn nothing_left(team: &Namespace) -> Result<()> {
    let at_most = READY_AT_MOST;
    sluice_e2e::wait::wait_for("the end of the release's pods", at_most, || async {
        let pods = team.pods("app.kubernetes.io/name=sluice").await?;
        let names: Vec<&Option<String>> = pods.iter().map(|pod: &Pod| &pod.metadata.name).collect();
        ensure!(names.is_empty(), "{names:?}");
        Ok(Some(()))
    })
    .await
}
