//! The operator, installed as a user does it: the chart, packaged, by `helm install`.
//!
//! One release serves all tests of a process. What an earlier process left behind is uninstalled
//! first, so that every run shows an installation from nothing.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, api::ListParams};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{Cluster, pods};
use crate::wait::wait_for;

/// The release, and the namespace that it is in.
pub const RELEASE: &str = "sluice";
/// Where the operator is.
pub const OPERATOR_NAMESPACE: &str = "sluice-system";
/// How long an operator may take from its installation to being ready.
const READY_AT_MOST: Duration = Duration::from_secs(90);

static INSTALLED: OnceCell<Chart> = OnceCell::const_new();

/// The chart as it would be published.
#[derive(Debug)]
struct Chart {
    package: PathBuf,
    _folder: TempDir,
}

/// The installed operator.
#[derive(Clone)]
pub struct Operator {
    /// The cluster that it looks after.
    pub cluster: Cluster,
    /// The packaged chart.
    pub chart: PathBuf,
}

impl Operator {
    /// The operator, which is installed when this process has not done so yet.
    pub async fn installed(cluster: &Cluster) -> Result<Self> {
        let chart = INSTALLED.get_or_try_init(|| install(cluster)).await?;
        Ok(Self {
            cluster: cluster.clone(),
            chart: chart.package.clone(),
        })
    }

    /// Runs `helm upgrade` of the release to the same chart with the values of the installation and
    /// these settings (`replicas=2`), and waits until it is rolled out.
    pub async fn upgrade(&self, settings: &[&str]) -> Result<()> {
        let image = image_settings(&self.cluster.image()?);
        let mut arguments = vec!["upgrade", RELEASE, path(&self.chart)?];
        arguments.extend(IN_ITS_NAMESPACE);
        for setting in image
            .iter()
            .map(String::as_str)
            .chain(settings.iter().copied())
        {
            arguments.extend(["--set", setting]);
        }
        self.cluster.helm(&arguments).await?;
        Ok(())
    }

    /// Takes the release away; for tests that have the cluster alone, and only until
    /// [`install_again`](Self::install_again).
    pub async fn uninstall(&self) -> Result<()> {
        uninstall(&self.cluster).await
    }

    /// Installs the release as it was in the beginning.
    pub async fn install_again(&self) -> Result<()> {
        helm_install(&self.cluster, &self.chart).await
    }

    /// The operator's pods that are not being deleted.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), OPERATOR_NAMESPACE);
        let filter = ListParams::default().labels("app.kubernetes.io/name=sluice");
        let mut pods = api.list(&filter).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// The name of the pod that leads, by its Lease.
    pub async fn leader(&self) -> Result<String> {
        let arguments = [
            "--namespace",
            OPERATOR_NAMESPACE,
            "get",
            "lease",
            RELEASE,
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ];
        self.cluster.kubectl(&arguments).await
    }

    /// Sends a signal to the process of one of the operator's pods, from outside.
    pub async fn signal(&self, pod: &str, signal: &str) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), OPERATOR_NAMESPACE);
        pods::send_signal(&self.cluster, &api, pod, signal).await
    }

    /// What the operator's pods have logged, with the logs of those that were restarted.
    pub async fn logs(&self) -> Result<String> {
        let arguments = [
            "--namespace",
            OPERATOR_NAMESPACE,
            "logs",
            "--selector=app.kubernetes.io/name=sluice",
            "--tail=-1",
        ];
        self.cluster.kubectl(&arguments).await
    }

    /// Waits until the Deployment has as many ready pods as it wants.
    pub async fn wait_ready(&self) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.cluster.client.clone(), OPERATOR_NAMESPACE);
        wait_for("the operator's Deployment", READY_AT_MOST, || async {
            let deployment = api.get(RELEASE).await?;
            let wanted = deployment.spec.and_then(|spec| spec.replicas);
            let ready = deployment.status.and_then(|status| status.ready_replicas);
            Ok((ready.is_some() && ready == wanted).then_some(()))
        })
        .await
    }
}

const IN_ITS_NAMESPACE: [&str; 5] = [
    "--namespace",
    OPERATOR_NAMESPACE,
    "--wait",
    "--timeout=120s",
    "--set=logLevel=debug",
];

async fn install(cluster: &Cluster) -> Result<Chart> {
    let folder = tempfile::Builder::new().prefix("sluice-chart-").tempdir()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/sluice");
    let destination = format!("--destination={}", folder.path().display());
    cluster
        .helm(&["package", path(&source)?, &destination])
        .await?;
    let mut packages = std::fs::read_dir(folder.path())?;
    let package = packages.next().context("helm made no package")??.path();
    uninstall(cluster).await?;
    helm_install(cluster, &package).await?;
    Ok(Chart {
        package,
        _folder: folder,
    })
}

async fn uninstall(cluster: &Cluster) -> Result<()> {
    let arguments = ["uninstall", RELEASE, "--ignore-not-found", "--wait"];
    let there = ["--namespace", OPERATOR_NAMESPACE];
    cluster.helm(&[&arguments[..], &there].concat()).await?;
    Ok(())
}

async fn helm_install(cluster: &Cluster, package: &Path) -> Result<()> {
    let mut arguments = vec!["install", RELEASE, path(package)?, "--create-namespace"];
    arguments.extend(IN_ITS_NAMESPACE);
    let image = image_settings(&cluster.image()?);
    for setting in &image {
        arguments.extend(["--set", setting]);
    }
    cluster.helm(&arguments).await?;
    Ok(())
}

/// The chart's values for the operator's image.
pub fn image_settings(image: &str) -> Vec<String> {
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    vec![
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
    ]
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
