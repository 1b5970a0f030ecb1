//! The cluster's only node, taken out of service for a while.

use std::{path::PathBuf, process, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};

use super::{Cluster, NODE};
use crate::wait::wait_for;

/// How long what earlier tests left may take to go away.
const GONE_AT_MOST: Duration = Duration::from_secs(120);

/// A node that takes no new pods, until this is dropped at the latest.
#[must_use = "the node takes pods again once this is dropped"]
#[derive(Debug)]
pub struct Cordoned {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        let mut command = process::Command::new(&self.kubectl);
        let command = command.env("KUBECONFIG", &self.kubeconfig);
        let done = command.args(["uncordon", NODE]).output();
        if !done.is_ok_and(|output| output.status.success()) {
            eprintln!("{NODE} takes no pods and can't be told to");
        }
    }
}

impl Cluster {
    /// Keeps new pods from the node.
    pub async fn cordon(&self) -> Result<Cordoned> {
        let cordoned = Cordoned {
            kubectl: self.kubectl.clone(),
            kubeconfig: self.kubeconfig.clone(),
        };
        self.kubectl(&["cordon", NODE]).await?;
        Ok(cordoned)
    }

    /// Moves every pod off the node and keeps new ones from it.
    ///
    /// Waits first for namespaces that are going away: the operator has a part in that, and the API
    /// server refuses to evict what is in them.
    pub async fn drain(&self) -> Result<Cordoned> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        wait_for("namespaces to be gone", GONE_AT_MOST, || async {
            let all = namespaces.list(&ListParams::default()).await?;
            let mut going = all.items.iter();
            let going = going.find(|one| one.metadata.deletion_timestamp.is_some());
            let name = going.and_then(|one| one.metadata.name.as_deref());
            ensure!(name.is_none(), "{} is there", name.unwrap_or_default());
            Ok(Some(()))
        })
        .await?;
        let cordoned = self.cordon().await?;
        let drain = ["drain", NODE, "--timeout=120s"];
        let everything = ["--ignore-daemonsets", "--delete-emptydir-data", "--force"];
        self.kubectl(&[drain, everything].concat()).await?;
        Ok(cordoned)
    }

    /// Lets the node take pods again.
    pub async fn uncordon(&self) -> Result<String> {
        self.kubectl(&["uncordon", NODE]).await
    }
}
