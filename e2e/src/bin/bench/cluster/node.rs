//! A node without a machine: the scheduler gives it the pairs' pods, and this process tells the API
//! server that they run. Its taint keeps every other pod away.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node as NodeObject, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use super::{agents, pairs};

pub(super) const NAME: &str = "sluice-bench";
/// The key of the label that agents select it by, and of the taint that they tolerate.
pub(super) const KEY: &str = "sluice.dev/bench";
const LEASES: &str = "kube-node-lease";
const HEARTBEAT: Duration = Duration::from_secs(8);
const MANAGER: &str = "sluice-bench";

/// The node; what it does ends when this is dropped.
pub(super) struct Node {
    client: Client,
    tasks: JoinSet<()>,
}

impl Node {
    pub(super) async fn start(client: &Client, pods: usize) -> Result<Self> {
        beat(client).await?;
        let nodes: Api<NodeObject> = Api::all(client.clone());
        let (object, status) = (object(), status(pods));
        nodes
            .patch(NAME, &apply(), &Patch::Apply(object))
            .await
            .context("the stand-in node")?;
        nodes
            .patch_status(NAME, &PatchParams::default(), &Patch::Merge(status))
            .await
            .context("the stand-in node's status")?;
        let mut tasks = JoinSet::new();
        let own = client.clone();
        tasks.spawn(async move {
            loop {
                sleep(HEARTBEAT).await;
                if let Err(error) = beat(&own).await {
                    eprintln!("  the stand-in node's heartbeat: {error:#}");
                }
            }
        });
        tasks.spawn(run_pods(client.clone()));
        Ok(Self {
            client: client.clone(),
            tasks,
        })
    }

    /// Takes the node away, for its pods are gone.
    pub(super) async fn remove(mut self) -> Result<()> {
        self.tasks.shutdown().await;
        let nodes: Api<NodeObject> = Api::all(self.client.clone());
        nodes.delete(NAME, &DeleteParams::default()).await?;
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        leases.delete(NAME, &DeleteParams::default()).await?;
        Ok(())
    }
}

fn apply() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

fn object() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NAME, "labels": {KEY: "true"}},
        "spec": {"taints": [{"key": KEY, "value": "true", "effect": "NoSchedule"}]},
    })
}

fn status(pods: usize) -> Value {
    let room = json!({"cpu": "1000", "memory": "1Ti", "pods": (pods + 50).to_string()});
    let now = Timestamp::now().to_string();
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind,
            "status": status,
            "reason": "StandIn",
            "message": "the benchmark's node has no kubelet",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    json!({"status": {
        "capacity": room,
        "allocatable": room,
        "conditions": [
            condition("Ready", "True"),
            condition("MemoryPressure", "False"),
            condition("DiskPressure", "False"),
            condition("PIDPressure", "False"),
        ],
    }})
}

/// What tells the controller manager that the node lives.
async fn beat(client: &Client) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    let now = Timestamp::now();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME},
        "spec": {
            "holderIdentity": NAME,
            "leaseDurationSeconds": 40,
            "renewTime": format!("{now:.6}"),
        },
    });
    leases.patch(NAME, &apply(), &Patch::Apply(lease)).await?;
    Ok(())
}

/// Does a kubelet's part: pods run at once, and are gone at once.
async fn run_pods(client: Client) {
    loop {
        // A watch ends after some minutes.
        if let Err(error) = follow_pods(&client).await {
            eprintln!("  the stand-in node's pods: {error:#}");
            sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn follow_pods(client: &Client) -> Result<()> {
    let all: Api<Pod> = Api::all(client.clone());
    let mine = format!("spec.nodeName={NAME}");
    let present = all.list(&ListParams::default().fields(&mine)).await?;
    for pod in &present.items {
        serve(client, pod).await?;
    }
    let version = present.metadata.resource_version.unwrap_or_default();
    let events = all
        .watch(&WatchParams::default().fields(&mine), &version)
        .await?;
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => serve(client, &pod).await?,
            WatchEvent::Error(error) => anyhow::bail!("{}", error.message),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

async fn serve(client: &Client, pod: &Pod) -> Result<()> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let done = if pod.metadata.deletion_timestamp.is_some() {
        let at_once = DeleteParams::default().grace_period(0);
        pods.delete(name, &at_once).await.map(drop)
    } else if phase == Some("Running") {
        Ok(())
    } else {
        let index = pairs::index(name).with_context(|| format!("pod {name} is nobody's"))?;
        let patch = Patch::Merge(running(pod, &agents::address(index).to_string()));
        let parameters = PatchParams::default();
        pods.patch_status(name, &parameters, &patch).await.map(drop)
    };
    match done {
        // Somebody was faster.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        done => done.with_context(|| format!("pod {name}")),
    }
}

fn running(pod: &Pod, address: &str) -> Value {
    let now = Timestamp::now();
    let now = format!("{now:.0}");
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let containers = containers.map(|container| {
        json!({
            "name": container.name,
            "image": container.image,
            "imageID": "",
            "ready": true,
            "started": true,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        })
    });
    json!({"status": {
        "phase": "Running",
        "startTime": now,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": conditions,
        "containerStatuses": containers.collect::<Vec<_>>(),
    }})
}
