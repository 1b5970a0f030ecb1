//! A shop that is written to, its replica, and the resources between them, all in one namespace.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use sluice_crds::{ReplicaSink, ReplicationSource};

use super::{Cluster, Namespace, condition};
use crate::{MysqlDatabase, PgDatabase, PipelineFile, Servers};

/// How long a new pipeline may take to become ready: a check, a pod, a small copy.
pub const READY_AT_MOST: Duration = Duration::from_secs(120);

/// A pipeline in the cluster.
pub struct Replica {
    /// Where its resources are.
    pub namespace: Namespace,
    /// The source's database.
    pub mysql: MysqlDatabase,
    /// The target's database.
    pub postgres: PgDatabase,
    /// The resources; to be applied again when changed.
    pub file: PipelineFile,
}

impl Replica {
    /// Makes both databases, and resources that are not applied yet: source `shop`, sink `shop-pg`.
    pub async fn prepare(cluster: &Cluster, label: &str) -> Result<Self> {
        Self::prepare_on(cluster, &cluster.databases()?, label).await
    }

    /// The same on other servers, which pods reach too.
    pub async fn prepare_on(cluster: &Cluster, servers: &Servers, label: &str) -> Result<Self> {
        let mysql = MysqlDatabase::create(servers, label).await?;
        let postgres = PgDatabase::create(servers, label).await?;
        let file = PipelineFile::new(&mysql, &postgres).named("shop", "shop-pg");
        Ok(Self {
            namespace: cluster.namespace(label).await?,
            mysql,
            postgres,
            file,
        })
    }

    /// Applies the resources as they are now.
    pub async fn apply(&self) -> Result<()> {
        self.namespace.apply(&self.file.yaml()?).await?;
        Ok(())
    }

    /// Applies the resources and waits until the sink is ready.
    pub async fn start(&self) -> Result<ReplicaSink> {
        self.apply().await?;
        self.wait_ready().await
    }

    /// Waits until the sink is ready.
    pub async fn wait_ready(&self) -> Result<ReplicaSink> {
        self.namespace
            .wait_condition("shop-pg", ("Ready", "True"), READY_AT_MOST)
            .await
    }

    /// Waits until the sink is not ready for this reason.
    pub async fn wait_not_ready(&self, reason: &str, at_most: Duration) -> Result<ReplicaSink> {
        let what = format!("Ready=False because of {reason}");
        let is_so = |sink: &ReplicaSink| {
            let ready = condition(sink, "Ready");
            ready.is_some_and(|ready| ready.status == "False" && ready.reason == reason)
        };
        self.namespace
            .wait_for("shop-pg", &what, at_most, is_so)
            .await
    }

    /// The sink as it is now.
    pub async fn sink(&self) -> Result<ReplicaSink> {
        self.namespace.get("shop-pg").await
    }

    /// The source as it is now.
    pub async fn source(&self) -> Result<ReplicationSource> {
        self.namespace.get("shop").await
    }

    /// The agent's pod, once there is exactly one.
    pub async fn agent(&self) -> Result<Pod> {
        let labels = "app.kubernetes.io/component=agent,sluice.dev/sink=shop-pg";
        self.namespace.pod(labels, READY_AT_MOST).await
    }

    /// The name of the agent's pod.
    pub const AGENT: &'static str = "shop-pg-agent-0";
}
