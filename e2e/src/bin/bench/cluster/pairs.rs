//! The pairs: for each a Secret, a ReplicationSource and a ReplicaSink, all in one namespace and on
//! one MySQL server, so that every replica id has to be kept apart from all others.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Secret};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use sluice_crds::{ReplicaSink, ReplicationSource};
use sluice_e2e::{
    Cluster,
    cluster::{Object, condition},
};
use tokio::time::sleep;

use super::node;

pub(super) const NAMESPACE: &str = "sluice-bench";
/// Requests side by side.
const CONCURRENCY: usize = 8;
const PATIENCE: Duration = Duration::from_secs(300);
const CHANGE_PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Pairs {
    pub(super) cluster: Cluster,
    pub(super) count: usize,
}

/// What everything of one pair is called.
pub(super) fn pair(index: usize) -> String {
    format!("pair-{index:03}")
}

/// The number of the pair that a pod belongs to.
pub(super) fn index(pod: &str) -> Option<usize> {
    let number = pod.strip_prefix("pair-")?.split('-').next()?;
    number.parse().ok()
}

impl Pairs {
    pub(super) fn new(cluster: &Cluster, count: usize) -> Self {
        Self {
            cluster: cluster.clone(),
            count,
        }
    }

    /// Makes what users would have before.
    pub(super) async fn prepare(&self) -> Result<()> {
        let create = ["create", "namespace", NAMESPACE];
        self.cluster.kubectl(&create).await?;
        self.create_each::<Secret>(|name| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "stringData": {"username": "sluice", "password": format!("secret of {name}")},
            })
        })
        .await
    }

    /// Creates all sources and sinks, mixed.
    pub(super) async fn create(&self) -> Result<()> {
        tokio::try_join!(
            self.create_each::<ReplicationSource>(source),
            self.create_each::<ReplicaSink>(sink)
        )?;
        Ok(())
    }

    async fn create_each<K: Object>(&self, object: impl Fn(&str) -> Value) -> Result<()> {
        let api: Api<K> = self.api();
        let objects = (0..self.count).map(|index| {
            let object = serde_json::from_value(object(&pair(index)));
            let api = api.clone();
            async move {
                api.create(&kube::api::PostParams::default(), &object?)
                    .await?;
                Ok::<(), anyhow::Error>(())
            }
        });
        let created = stream::iter(objects).buffer_unordered(CONCURRENCY);
        created.try_collect().await
    }

    /// Waits until every sink has its StatefulSet.
    pub(super) async fn wait_applied(&self) -> Result<()> {
        let sets: Api<StatefulSet> = self.api();
        self.wait("StatefulSets", || async {
            let found = sets.list_metadata(&ListParams::default()).await?;
            Ok(found.items.len())
        })
        .await
    }

    /// Waits until every source and every sink is Ready, in the present generation.
    pub(super) async fn wait_ready(&self) -> Result<()> {
        self.wait("ready ReplicaSinks", || self.ready::<ReplicaSink>())
            .await?;
        self.wait("ready ReplicationSources", || {
            self.ready::<ReplicationSource>()
        })
        .await
    }

    async fn ready<K: Object>(&self) -> Result<usize> {
        let api: Api<K> = self.api();
        let objects = api.list(&ListParams::default()).await?.items;
        let ready = objects.iter().filter(|object| {
            condition(object, "Ready").is_some_and(|ready| {
                ready.status == "True" && ready.observed_generation == object.meta().generation
            })
        });
        Ok(ready.count())
    }

    async fn wait<F: Future<Output = Result<usize>>>(
        &self,
        what: &str,
        count: impl Fn() -> F,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = count().await?;
            if found == self.count {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{found} {what} of {} after {PATIENCE:?}", self.count);
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Changes a spec; how long until its StatefulSet's pod template is another one.
    pub(super) async fn change(&self, index: usize) -> Result<Duration> {
        let (sinks, sets): (Api<ReplicaSink>, Api<StatefulSet>) = (self.api(), self.api());
        let (sink, set) = (pair(index), format!("{}-agent", pair(index)));
        let before = template(&sets.get(&set).await?);
        let patch = json!({"spec": {"apply": {"maxDelay": "150ms"}}});
        let began = Instant::now();
        sinks
            .patch(&sink, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        while template(&sets.get(&set).await?) == before {
            if began.elapsed() > CHANGE_PATIENCE {
                bail!("the pod template of {set} does not change");
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(began.elapsed())
    }

    /// Removes the namespace with everything in it, if it is there.
    pub(super) async fn remove(&self) -> Result<()> {
        let delete = ["delete", "namespace", NAMESPACE];
        let rest = ["--ignore-not-found", "--timeout=240s"];
        self.cluster.kubectl(&[&delete[..], &rest].concat()).await?;
        Ok(())
    }

    fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client.clone(), NAMESPACE)
    }
}

fn template(set: &StatefulSet) -> Option<Value> {
    let spec = set.spec.as_ref()?;
    serde_json::to_value(&spec.template).ok()
}

fn source(name: &str) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ReplicationSource",
        "metadata": {"name": name},
        "spec": {
            "mysql": {"host": "mysql.bench.svc", "credentials": {"secretRef": {"name": name}}},
            "tables": {"include": ["shop.*"]},
        },
    })
}

fn sink(name: &str) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ReplicaSink",
        "metadata": {"name": name},
        "spec": {
            "sourceRef": {"name": name},
            "postgres": {
                "host": "postgres.bench.svc",
                "database": name.replace('-', "_"),
                "credentials": {"secretRef": {"name": name}},
            },
            "agent": {
                "nodeSelector": {node::KEY: "true"},
                "tolerations": [{"key": node::KEY, "operator": "Exists"}],
            },
        },
    })
}
