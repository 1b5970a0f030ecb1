//! The operator under measurement: the process behind its pod, and what it says of itself.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use sluice_e2e::{
    Cluster,
    cluster::{OPERATOR_NAMESPACE, Operator, RELEASE},
    process,
};
use tokio::time::sleep;

use super::pairs::Pairs;

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Clock ticks per second in `/proc`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// The installation's settings: what is logged is what a user would have logged.
const SETTINGS: [&str; 2] = ["preflight.enabled=false", "logLevel=info"];

pub(super) struct Measured {
    operator: Operator,
}

impl Measured {
    /// Installs the packaged chart.
    pub(super) async fn install(cluster: &Cluster) -> Result<Self> {
        let operator = Operator::installed(cluster).await?;
        operator.upgrade(&SETTINGS).await?;
        Ok(Self { operator })
    }

    pub(super) async fn uninstall(&self) -> Result<()> {
        self.operator.uninstall().await
    }

    /// The only pod that is not being deleted.
    async fn pod(&self) -> Result<Pod> {
        let mut pods = self.operator.pods().await?;
        match pods.len() {
            1 => Ok(pods.remove(0)),
            count => bail!("{count} operators"),
        }
    }

    /// The operator's process.
    pub(super) async fn process(&self) -> Result<Process> {
        let pod = self.pod().await?;
        let identity = format!("--identity={}", pod.metadata.name.unwrap_or_default());
        for entry in fs::read_dir("/proc")? {
            let folder = entry?.path();
            let command = fs::read_to_string(folder.join("cmdline")).unwrap_or_default();
            let mut arguments = command.split('\0');
            let is_operator = arguments
                .next()
                .is_some_and(|program| program.ends_with("sluice-operator"));
            if is_operator && arguments.any(|argument| argument == identity) {
                return Ok(Process { folder });
            }
        }
        bail!("no process with {identity}")
    }

    /// How many objects and statuses it has written since its start.
    pub(super) async fn writes(&self) -> Result<f64> {
        let metrics = self.metrics().await?;
        Ok(sum(&metrics, "sluice_operator_status_patches_total", &[])
            + sum(&metrics, "sluice_operator_api_writes_total", &[]))
    }

    async fn metrics(&self) -> Result<String> {
        let status = self.pod().await?.status;
        let address = status.and_then(|status| status.pod_ip);
        let address = address.context("the operator's pod has no address yet")?;
        process::get(&format!("{address}:{PORT}"), "/metrics").await
    }

    /// Ends the operator by its Deployment, and starts it; how long until all pairs are reconciled.
    pub(super) async fn scaled_from_zero(&self, pairs: usize) -> Result<Duration> {
        let ended = self.process().await?;
        self.scale(0).await?;
        let deadline = Instant::now() + PATIENCE;
        while !self.operator.pods().await?.is_empty() || ended.cpu_seconds().is_ok() {
            if Instant::now() >= deadline {
                bail!("the operator does not end");
            }
            sleep(LOOK_EVERY).await;
        }
        let began = Instant::now();
        self.scale(1).await?;
        self.reconciled(pairs, began).await
    }

    /// Kills the operator; how long until all pairs are reconciled by the one that the kubelet starts.
    pub(super) async fn killed(&self, pairs: usize) -> Result<Duration> {
        let pod = self.pod().await?.metadata.name.unwrap_or_default();
        let killed = self.process().await?;
        let began = Instant::now();
        self.operator.signal(&pod, "SIGKILL").await?;
        while killed.cpu_seconds().is_ok() {
            sleep(LOOK_EVERY).await;
        }
        self.reconciled(pairs, began).await
    }

    async fn scale(&self, replicas: u32) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        let deployment = format!("deployment/{RELEASE}");
        let scale = ["-n", OPERATOR_NAMESPACE, "scale", &deployment, &replicas];
        self.operator.cluster.kubectl(&scale).await?;
        Ok(())
    }

    /// Waits until an operator leads, has gone through every resource, and hears every agent.
    async fn reconciled(&self, pairs: usize, began: Instant) -> Result<Duration> {
        let wanted = pairs as f64;
        loop {
            let metrics = self.metrics().await.unwrap_or_default();
            let done = |kind: &str| {
                let labels = [format!("kind=\"{kind}\""), "outcome=\"success\"".to_owned()];
                let labels = labels.each_ref().map(String::as_str);
                sum(&metrics, "sluice_operator_reconciles_total", &labels) >= wanted
            };
            let answering = sum(&metrics, "sluice_operator_agents", &["answers=\"true\""]);
            if sum(&metrics, "sluice_operator_leader", &[]) > 0.0
                && done("ReplicaSink")
                && done("ReplicationSource")
                && answering >= wanted
            {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                bail!("the operator has not reconciled everything; it says:\n{metrics}");
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// A process of this machine, in a container or not.
pub(super) struct Process {
    folder: PathBuf,
}

impl Process {
    pub(super) fn rss_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    pub(super) fn peak_bytes(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    /// The processor time that it has used.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        // The second field is the program's name in parentheses.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(self.folder.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kibibytes.context("no such field")?.trim().parse::<u64>()? * 1024)
    }
}

/// What the API server has counted.
pub(super) struct ApiServer {
    /// Writes of custom resources, their status included, and of StatefulSets, by whomever.
    pub(super) writes: f64,
}

impl ApiServer {
    pub(super) async fn read(pairs: &Pairs) -> Result<Self> {
        let get = ["get", "--raw", "/metrics"];
        let metrics = pairs.cluster.kubectl(&get).await?;
        let group = "group=\"sluice.dev\"";
        let verbs = ["APPLY", "PATCH", "PUT", "POST", "DELETE"];
        let writes = verbs.map(|verb| {
            let verb = format!("verb=\"{verb}\"");
            sum(&metrics, "apiserver_request_total", &[group, &verb])
        });
        Ok(Self {
            writes: writes.iter().sum(),
        })
    }
}

/// The sum of a metric's samples that have all of these labels.
fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let samples = samples.filter(|rest| rest.starts_with(['{', ' ']));
    let samples = samples.filter(|rest| labels.iter().all(|label| rest.contains(label)));
    let values = samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}
