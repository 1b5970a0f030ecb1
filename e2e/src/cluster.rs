//! The Kubernetes cluster of `e2e/cluster`: real API server, real kubelet, real pods.
//!
//! A test takes the cluster with [`Cluster::connect`], or with [`Cluster::alone`] when it is going to
//! kill [components](Component) or drain the node; then a [`Namespace`] of its own, which goes away
//! with everything in it. Objects are applied as YAML through `kubectl`, as a user does it, and read
//! as Rust types. What a wait says when it fails is what a person would look up next: the object as it
//! was last seen, its description, the pods and the events.
//!
//! Environment: the variables of `e2e/cluster up`; `SLUICE_KEEP=1` leaves namespaces there.

mod component;
mod namespace;
mod node;
mod operator;
mod pods;
mod replica;

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, LazyLock},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    io::AsyncWriteExt,
    process::Command,
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
    time::timeout,
};

pub use component::{Component, Killed};
pub use namespace::{Namespace, Object, condition};
pub use node::Cordoned;
pub use operator::{OPERATOR_NAMESPACE, Operator, RELEASE, image_settings};
pub use pods::restarts;
pub use replica::{READY_AT_MOST, Replica};

use crate::servers::{self, Servers};

/// The image of a program that does nothing and is always there.
pub const PAUSE_IMAGE: &str = "sluice.local/pause:1";
/// The name of the cluster's only node.
pub const NODE: &str = "node1";
/// No call of a tool takes longer, `helm --wait` included.
const COMMAND_AT_MOST: Duration = Duration::from_secs(300);

/// Held for reading by tests that share the cluster, for writing by one that has it for itself.
static USERS: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// The cluster; a clone is the same one.
#[derive(Clone)]
pub struct Cluster {
    /// A client with the administrator's rights.
    pub client: Client,
    /// The host's address as pods see it.
    pub host: String,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
    containerd: String,
    _place: Arc<Place>,
}

#[expect(dead_code, reason = "the guards are only held")]
enum Place {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Cluster {
    /// The cluster that the environment names, shared with the other tests of this process.
    ///
    /// To be taken once per test and cloned: a second call may wait for a test that wants to be alone,
    /// which waits for the first.
    pub async fn connect() -> Result<Self> {
        let place = Place::Shared(Arc::clone(&USERS).read_owned().await);
        Self::open(place).await
    }

    /// The cluster, while no other test of this process uses it.
    pub async fn alone() -> Result<Self> {
        let place = Place::Alone(Arc::clone(&USERS).write_owned().await);
        Self::open(place).await
    }

    async fn open(place: Place) -> Result<Self> {
        let kubeconfig = PathBuf::from(variable("KUBECONFIG")?);
        let read = Kubeconfig::read_from(&kubeconfig).context("KUBECONFIG")?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let cluster = Self {
            client: Client::try_from(config)?,
            host: variable("SLUICE_CLUSTER_HOST")?,
            kubeconfig,
            kubectl: variable("SLUICE_KUBECTL")?.into(),
            helm: variable("SLUICE_HELM")?.into(),
            containerd: variable("SLUICE_CONTAINERD")?,
            _place: Arc::new(place),
        };
        let version = cluster.client.apiserver_version().await;
        version.context("the API server does not answer; run: eval \"$(e2e/cluster up)\"")?;
        Ok(cluster)
    }

    /// The Sluice image that is loaded in the cluster.
    pub fn image(&self) -> Result<String> {
        variable("SLUICE_IMAGE")
    }

    /// Gives an image of the node a second name, such as that of a newer version.
    pub async fn tag_image(&self, image: &str, name: &str) -> Result<()> {
        pods::ctr(self, &["images", "tag", "--force", image, name]).await
    }

    /// Takes a name of [`tag_image`](Self::tag_image) away; the image stays under its other names.
    pub async fn untag_image(&self, name: &str) -> Result<()> {
        pods::ctr(self, &["images", "rm", name]).await
    }

    /// The MySQL and PostgreSQL servers of `e2e/cluster databases`, by an address that the test and the
    /// pods both reach. No test may stop or configure them; that is what
    /// [`ThrowAway::for_pods`](crate::ThrowAway::for_pods) is for.
    pub fn databases(&self) -> Result<Servers> {
        servers::Servers::for_pods()
    }

    /// Makes a namespace of a unique name that begins with the label; it is deleted when dropped.
    pub async fn namespace(&self, label: &str) -> Result<Namespace> {
        Namespace::create(self, label).await
    }

    /// Runs `kubectl`; its standard output. Fails with its standard error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_reading(arguments, "").await
    }

    /// Runs `kubectl` with this standard input.
    pub async fn kubectl_reading(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.run(&self.kubectl, arguments, input).await
    }

    /// Runs `helm`; its standard output. Fails with its standard error.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.run(&self.helm, arguments, "").await
    }

    /// Applies YAML documents of any kind, by server-side apply.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl_reading(&["apply", "--server-side", "-f", "-"], yaml)
            .await
    }

    /// Kills a component with signal 9. It stays dead until [`Killed::start`], or until what this
    /// returns is dropped.
    pub async fn kill(&self, component: Component) -> Result<Killed> {
        Killed::now(component).await
    }

    async fn run(&self, program: &Path, arguments: &[&str], input: &str) -> Result<String> {
        let name = program.file_name().unwrap_or_default().display();
        let what = || format!("{name} {}", arguments.join(" "));
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig);
        let ended = timeout(COMMAND_AT_MOST, output_of(command, input)).await;
        let output = ended
            .with_context(|| format!("{} does not end", what()))?
            .with_context(what)?;
        ensure!(
            output.status.success(),
            "{} failed: {}{}",
            what(),
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

async fn output_of(mut command: Command, input: &str) -> Result<std::process::Output> {
    command.kill_on_drop(true).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    Ok(child.wait_with_output().await?)
}

/// A variable that `e2e/cluster up` prints.
fn variable(name: &str) -> Result<String> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => bail!("{name} is not set; run: eval \"$(e2e/cluster up)\""),
    }
}
