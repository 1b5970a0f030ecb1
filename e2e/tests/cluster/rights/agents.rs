//! Agents: no token, no rights, and as restricted as pods can be.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde_json::json;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster,
    cluster::{Replica, condition},
};

use super::operator::rights;
use crate::orders::{AGENT, Orders, PATIENCE, SINK, TRUTH_AT_MOST, ready_message};

#[tokio::test]
async fn an_agent_has_no_token_and_its_account_no_rights() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "token").await?;
    let namespace = orders.namespace();
    let pod: Pod = namespace.get(Replica::AGENT).await?;
    let spec = pod.spec.context("a pod without a spec")?;
    ensure!(
        spec.service_account_name.as_deref() == Some(AGENT),
        "{:?}",
        spec.service_account_name
    );
    ensure!(
        spec.automount_service_account_token == Some(false),
        "a token is mounted"
    );
    let volumes = spec.volumes.unwrap_or_default();
    let projected = volumes.iter().filter(|volume| volume.projected.is_some());
    ensure!(projected.count() == 0, "a projected volume: {volumes:?}");
    let account: ServiceAccount = namespace.get(AGENT).await?;
    ensure!(
        account.automount_service_account_token == Some(false),
        "{account:?}"
    );
    let user = format!("system:serviceaccount:{}:{AGENT}", namespace.name);
    let has = rights(&cluster, &namespace.name, &user).await?;
    // What everybody may: to ask what they themselves are and may do.
    let others: Vec<_> = has
        .keys()
        .filter(|name| !name.starts_with("self"))
        .collect();
    ensure!(others.is_empty() && !has.is_empty(), "{has:?}");
    Ok(())
}

#[tokio::test]
async fn everything_works_where_only_restricted_pods_are_let_in() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::prepare(&cluster, "restricted").await?;
    let namespace = orders.namespace();
    let level = "pod-security.kubernetes.io/enforce=restricted";
    cluster
        .kubectl(&["label", "namespace", &namespace.name, level])
        .await?;
    // The level is in force: a pod as people write it is refused.
    let plain = "{apiVersion: v1, kind: Pod, metadata: {name: plain}, \
                 spec: {containers: [{name: one, image: sluice.local/pause:1}]}}";
    let refusal = namespace.refusal(plain).await?;
    ensure!(refusal.contains("violates PodSecurity"), "{refusal}");
    orders.replica.start().await?;
    orders.flows().await?;
    let before = orders.pod_uid().await?;
    orders
        .patch_sink(&json!({"spec": {"apply": {"batchRows": 77}}}))
        .await?;
    orders.rolled(&before).await?;
    orders.flows().await?;
    orders.assert_equal().await
}

#[tokio::test]
async fn a_namespace_that_refuses_the_agents_pod_is_told() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "quota").await?;
    let namespace = orders.namespace();
    let quota = "{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {pods: \"0\"}}}";
    namespace.apply(quota).await?;
    let since = std::time::Instant::now();
    namespace
        .kubectl(&["delete", "pod", Replica::AGENT, "--wait=false"])
        .await?;
    // First it says that the old pod is going, which is true as well.
    let told = |sink: &ReplicaSink| ready_message(sink).contains("exceeded quota");
    let what = "the quota's name for it";
    let sink = namespace.wait_for(SINK, what, PATIENCE, told).await?;
    let took = since.elapsed();
    println!("told after {took:.1?}: {}", ready_message(&sink));
    ensure!(took <= TRUTH_AT_MOST, "told after {took:?}");
    let reason = condition(&sink, "Ready").map(|ready| ready.reason);
    ensure!(reason.as_deref() == Some("AgentNotStarted"), "{reason:?}");
    namespace
        .kubectl(&["delete", "resourcequota", "none"])
        .await?;
    orders.recovers().await
}
