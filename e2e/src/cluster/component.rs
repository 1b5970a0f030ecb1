//! Killing and starting what the cluster is made of.

use std::{
    path::{Path, PathBuf},
    process::{self, Stdio},
};

use anyhow::{Result, ensure};
use tokio::process::Command;

/// A process of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The database of the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of StatefulSets, Jobs, garbage collection and so on.
    ControllerManager,
    /// What gives pods their node.
    Scheduler,
    /// What runs containers; they live on without it.
    Containerd,
    /// The node's agent.
    Kubelet,
    /// What makes the addresses of Services work.
    KubeProxy,
    /// What answers for the names of Services.
    Dns,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Dns => "dns",
        }
    }
}

/// A component that is down. Dropping this starts it again, so that a test that fails does not leave
/// the next ones without it.
#[must_use = "dropping it starts the component again"]
#[derive(Debug)]
pub struct Killed {
    component: Component,
    is_started: bool,
}

impl Killed {
    pub(super) async fn now(component: Component) -> Result<Self> {
        cluster_command(&["kill", component.name()]).await?;
        Ok(Self {
            component,
            is_started: false,
        })
    }

    /// Starts the component and waits until it answers.
    pub async fn start(mut self) -> Result<()> {
        cluster_command(&["start", self.component.name()]).await?;
        self.is_started = true;
        Ok(())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if self.is_started {
            return;
        }
        let mut command = process::Command::new(script());
        let status = command.args(["start", self.component.name()]).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("{:?} could not be started again", self.component);
        }
    }
}

async fn cluster_command(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(script());
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.await?;
    ensure!(
        output.status.success(),
        "e2e/cluster {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster")
}
