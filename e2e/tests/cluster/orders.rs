//! A replica of one small table, which most of these tests are about.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::api::{Patch, PatchParams};
use serde_json::Value;
use sluice_agent_api::AgentStatus;
use sluice_crds::{ReplicaSink, ReplicationSource};
use sluice_e2e::{
    Cluster, Namespace, Servers, assert_equal,
    cluster::{Object, Operator, Replica, condition},
    wait::wait_for,
};

/// How long anything may take that passes by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// How soon a row is in the replica when nothing is in the way.
pub(crate) const ROW_AT_MOST: Duration = Duration::from_secs(30);
/// How soon the status must tell the truth.
pub(crate) const TRUTH_AT_MOST: Duration = Duration::from_secs(20);

/// The sink, its source and its StatefulSet.
pub(crate) const SINK: &str = "shop-pg";
pub(crate) const SOURCE: &str = "shop";
pub(crate) const AGENT: &str = "shop-pg-agent";

/// The replica.
pub(crate) struct Orders {
    pub(crate) replica: Replica,
    next: AtomicU32,
}

impl Orders {
    /// Makes the table with two rows, and resources that are not applied yet.
    pub(crate) async fn prepare(cluster: &Cluster, label: &str) -> Result<Self> {
        Self::prepare_on(cluster, &cluster.databases()?, label).await
    }

    /// The same on other servers.
    pub(crate) async fn prepare_on(
        cluster: &Cluster,
        servers: &Servers,
        label: &str,
    ) -> Result<Self> {
        Operator::installed(cluster).await?;
        let replica = Replica::prepare_on(cluster, servers, label).await?;
        let table = "CREATE TABLE orders (id int PRIMARY KEY, note text); \
                     INSERT INTO orders VALUES (1, 'one'), (2, 'two')";
        replica.mysql.exec(table).await?;
        Ok(Self {
            replica,
            next: AtomicU32::new(1_000),
        })
    }

    /// Makes all of it and waits until the sink is ready.
    pub(crate) async fn started(cluster: &Cluster, label: &str) -> Result<Self> {
        let orders = Self::prepare(cluster, label).await?;
        orders.replica.start().await?;
        Ok(orders)
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.replica.namespace
    }

    /// Adds a row to the source; its id.
    pub(crate) async fn insert(&self) -> Result<u32> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let insert = format!("INSERT INTO orders VALUES ({id}, 'row {id}')");
        self.replica.mysql.exec(insert).await?;
        Ok(id)
    }

    /// Whether the replica has this row.
    pub(crate) async fn has(&self, id: u32) -> Result<bool> {
        let table = self.table();
        let count = format!("SELECT count(*) FROM {table} WHERE id = {id}");
        Ok(self.replica.postgres.value(count).await? == "1")
    }

    /// Waits until the replica has this row.
    pub(crate) async fn arrived(&self, id: u32, at_most: Duration) -> Result<()> {
        let what = format!("row {id} in the replica");
        let waited = wait_for(&what, at_most, || async {
            Ok(self.has(id).await?.then_some(()))
        });
        match waited.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let seen = self.namespace().describe::<ReplicaSink>(SINK).await;
                Err(error.context(seen))
            }
        }
    }

    /// Adds a row and waits until it has arrived; how long that took.
    pub(crate) async fn flows(&self) -> Result<Duration> {
        let began = Instant::now();
        let id = self.insert().await?;
        self.arrived(id, ROW_AT_MOST).await?;
        Ok(began.elapsed())
    }

    /// Fails unless both tables are equal.
    pub(crate) async fn assert_equal(&self) -> Result<()> {
        assert_equal(&self.replica.mysql, &self.replica.postgres, &["orders"]).await
    }

    /// The table in PostgreSQL.
    pub(crate) fn table(&self) -> String {
        format!("\"{}\".orders", self.replica.mysql.name)
    }

    /// Patches the sink as `kubectl patch --type=merge` does.
    pub(crate) async fn patch_sink(&self, patch: &Value) -> Result<()> {
        self.patch::<ReplicaSink>(SINK, patch).await
    }

    /// Patches the source.
    pub(crate) async fn patch_source(&self, patch: &Value) -> Result<()> {
        self.patch::<ReplicationSource>(SOURCE, patch).await
    }

    async fn patch<K: Object>(&self, name: &str, patch: &Value) -> Result<()> {
        let patched = self.namespace().api::<K>();
        let parameters = PatchParams::default();
        patched
            .patch(name, &parameters, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// The agent's StatefulSet.
    pub(crate) async fn stateful_set(&self) -> Result<StatefulSet> {
        self.namespace().get(AGENT).await
    }

    /// What tells the agent's pod from the next one.
    pub(crate) async fn pod_uid(&self) -> Result<String> {
        let pod: Pod = self.namespace().get(Replica::AGENT).await?;
        pod.metadata.uid.context("a pod without a uid")
    }

    /// Waits until another pod than this one is ready and the sink as well.
    pub(crate) async fn rolled(&self, before: &str) -> Result<()> {
        let another = |pod: &Pod| {
            let ready = condition(pod, "Ready").is_some_and(|ready| ready.status == "True");
            ready && pod.metadata.uid.as_deref().is_some_and(|uid| uid != before)
        };
        let name = Replica::AGENT;
        let namespace = self.namespace();
        namespace
            .wait_for(name, "another pod that is ready", PATIENCE, another)
            .await?;
        self.replica.wait_ready().await?;
        Ok(())
    }

    /// What the agent itself says.
    pub(crate) async fn agent_status(&self) -> Result<AgentStatus> {
        let body = self
            .namespace()
            .http_get(Replica::AGENT, 8080, "/v1/status");
        let mut body: Value = serde_json::from_str(&body.await?)?;
        Ok(serde_json::from_value(body["pipelines"][0].take())?)
    }

    /// Waits until the sink is not ready for this reason, with these words in the message, in time
    /// counted from `since`; prints how long it took.
    pub(crate) async fn truth(
        &self,
        since: Instant,
        reason: &str,
        words: &[&str],
    ) -> Result<ReplicaSink> {
        let sink = self.replica.wait_not_ready(reason, PATIENCE).await?;
        let took = since.elapsed();
        let message = ready_message(&sink);
        println!("{reason} after {took:.1?}: {message}");
        ensure!(took <= TRUTH_AT_MOST, "{reason} was told after {took:?}");
        for word in words {
            ensure!(message.contains(word), "no {word} in: {message}");
        }
        Ok(sink)
    }

    /// Waits until the sink is ready again and rows flow; prints how long it took.
    pub(crate) async fn recovers(&self) -> Result<()> {
        let began = Instant::now();
        self.replica.wait_ready().await?;
        println!("ready again after {:.1?}", began.elapsed());
        self.flows().await?;
        self.assert_equal().await
    }
}

/// The message of the condition `Ready`.
pub(crate) fn ready_message(object: &impl serde::Serialize) -> String {
    condition(object, "Ready").map_or_else(String::new, |ready| ready.message)
}
