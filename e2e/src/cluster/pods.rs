//! The pods of a namespace: found by label, read, and killed from outside.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, api::ListParams};
use tokio::process::Command;

use super::{Cluster, Namespace, output_of};
use crate::{process, wait::wait_for};

/// Kubernetes' containers in containerd.
const CONTAINERD_NAMESPACE: &str = "k8s.io";

impl Namespace {
    /// The pods with these labels (`app=web,tier!=test`), those that are being deleted too.
    pub async fn pods(&self, labels: &str) -> Result<Vec<Pod>> {
        let filter = ListParams::default().labels(labels);
        Ok(self.api::<Pod>().list(&filter).await?.items)
    }

    /// The one pod with these labels that is not being deleted, once there is exactly one.
    pub async fn pod(&self, labels: &str, at_most: Duration) -> Result<Pod> {
        let what = format!("one pod with {labels} in {}", self.name);
        wait_for(&what, at_most, || async {
            let mut pods = self.pods(labels).await?;
            pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
            match pods.len() {
                1 => Ok(pods.pop()),
                count => bail!("there are {count}"),
            }
        })
        .await
    }

    /// Waits until a pod is ready.
    pub async fn wait_pod_ready(&self, name: &str, at_most: Duration) -> Result<Pod> {
        self.wait_condition(name, ("Ready", "True"), at_most).await
    }

    /// What a pod's containers have written, the newest container only.
    pub async fn logs(&self, pod: &str) -> Result<String> {
        self.kubectl(&["logs", pod, "--all-containers"]).await
    }

    /// Runs a program in a pod.
    pub async fn exec(&self, pod: &str, program: &[&str]) -> Result<String> {
        let mut arguments = vec!["exec", pod, "--"];
        arguments.extend(program);
        self.kubectl(&arguments).await
    }

    /// A page of a pod by HTTP, directly from its address.
    pub async fn http_get(&self, pod: &str, port: u16, path: &str) -> Result<String> {
        let pod: Pod = self.get(pod).await?;
        let address = pod.status.and_then(|status| status.pod_ip);
        let address = address.context("the pod has no address yet")?;
        process::get(&format!("{address}:{port}"), path).await
    }

    /// Kills the first process of a pod's container with signal 9, from outside, so that neither the
    /// process nor Kubernetes knows of it before.
    pub async fn kill_nine(&self, pod: &str) -> Result<()> {
        self.signal(pod, "SIGKILL").await
    }

    /// Sends a signal to the first process of a pod's container: `SIGSTOP` makes it silent, `SIGCONT`
    /// lets it go on.
    pub async fn signal(&self, pod: &str, signal: &str) -> Result<()> {
        send_signal(&self.cluster, &self.api(), pod, signal).await
    }
}

/// Sends a signal to the first process of a pod's container, as soon as Kubernetes knows that it runs:
/// a process that was just started may have answered before.
pub(super) async fn send_signal(
    cluster: &Cluster,
    pods: &Api<Pod>,
    name: &str,
    signal: &str,
) -> Result<()> {
    let what = format!("pod {name} to take {signal}");
    wait_for(&what, Duration::from_secs(30), || async {
        let pod = pods.get(name).await?;
        let id = running_container(&pod).context("it runs no container")?;
        let kill = ["tasks", "kill", "--signal", signal, &id];
        ctr(cluster, &kill).await.map(Some)
    })
    .await
}

/// Has containerd do something to Kubernetes' containers and images.
pub(super) async fn ctr(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ctr");
    command.args(["--address", &cluster.containerd]);
    command.args(["--namespace", CONTAINERD_NAMESPACE]);
    command.args(arguments);
    let output = output_of(command, "").await?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("ctr {} failed: {error}", arguments.join(" "));
    }
    Ok(())
}

/// How often a pod's containers were started again.
pub fn restarts(pod: &Pod) -> i32 {
    containers(pod).map(|one| one.restart_count).sum()
}

fn running_container(pod: &Pod) -> Option<String> {
    let running = containers(pod).find(|one| {
        let state = one.state.as_ref();
        state.is_some_and(|state| state.running.is_some())
    })?;
    let id = running.container_id.as_deref()?;
    Some(id.strip_prefix("containerd://").unwrap_or(id).to_owned())
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let statuses = status.and_then(|status| status.container_statuses.as_deref());
    statuses.unwrap_or_default().iter()
}
