//! A namespace of a test's own, and waiting for objects in it.

use std::{collections::BTreeMap, env, fmt::Debug, process::Stdio, time::Duration};

use anyhow::{Result, bail};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use super::Cluster;
use crate::mysql::unique_name;

/// How often an object is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// A kind of object that lives in namespaces and is known by its Rust type.
pub trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// A namespace, deleted with everything in it when dropped.
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub cluster: Cluster,
}

impl Namespace {
    pub(super) async fn create(cluster: &Cluster, label: &str) -> Result<Self> {
        let name = unique_name(label).replace('_', "-");
        cluster.kubectl(&["create", "namespace", &name]).await?;
        Ok(Self {
            name,
            cluster: cluster.clone(),
        })
    }

    /// Runs `kubectl -n` this namespace; its standard output. Fails with its standard error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_reading(arguments, "").await
    }

    async fn kubectl_reading(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut all = vec!["--namespace", &self.name];
        all.extend(arguments);
        self.cluster.kubectl_reading(&all, input).await
    }

    /// Applies YAML documents of any kind, by server-side apply, in this namespace.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let arguments = ["apply", "--server-side", "-f", "-"];
        self.kubectl_reading(&arguments, yaml).await
    }

    /// What the API server says against this YAML. Fails when it accepts it; nothing is stored.
    pub async fn refusal(&self, yaml: &str) -> Result<String> {
        let arguments = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
        match self.kubectl_reading(&arguments, yaml).await {
            Ok(accepted) => bail!("the API server accepts it: {accepted}"),
            Err(refused) => Ok(format!("{refused:#}")),
        }
    }

    /// Makes a Secret, or gives it these keys and no others.
    pub async fn secret(&self, name: &str, values: &[(&str, &str)]) -> Result<()> {
        let pairs = values.iter();
        let values = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(
                values
                    .map(|(key, value)| (key, k8s_openapi::ByteString(value.into_bytes())))
                    .collect::<BTreeMap<_, _>>(),
            ),
            ..Secret::default()
        };
        let apply = PatchParams::apply("sluice-e2e").force();
        let api: Api<Secret> = self.api();
        api.patch(name, &apply, &Patch::Apply(&secret)).await?;
        Ok(())
    }

    /// The objects of a kind in this namespace.
    pub fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    /// One object.
    pub async fn get<K: Object>(&self, name: &str) -> Result<K> {
        Ok(self.api::<K>().get(name).await?)
    }

    /// Waits until an object is as wanted, and returns it. The API server may be away meanwhile.
    pub async fn wait_for<K: Object>(
        &self,
        name: &str,
        what: &str,
        at_most: Duration,
        mut wanted: impl FnMut(&K) -> bool,
    ) -> Result<K> {
        let api: Api<K> = self.api();
        let deadline = Instant::now() + at_most;
        let mut last = "nothing was seen".to_owned();
        loop {
            match api.get_opt(name).await {
                Ok(Some(object)) if wanted(&object) => return Ok(object),
                Ok(Some(object)) => last = status_of(&object),
                Ok(None) => "it does not exist".clone_into(&mut last),
                Err(error) => last = format!("{last}\nthen: {error}"),
            }
            if Instant::now() >= deadline {
                let seen = self.describe::<K>(name).await;
                bail!("waited {at_most:?} for {what}; the last status: {last}\n{seen}");
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until a condition of an object has this status (`True`, `False`, `Unknown`).
    pub async fn wait_condition<K: Object>(
        &self,
        name: &str,
        (kind, status): (&str, &str),
        at_most: Duration,
    ) -> Result<K> {
        let what = format!("{kind}={status} of {} {name}", K::kind(&()));
        self.wait_for(name, &what, at_most, |object: &K| {
            condition(object, kind).is_some_and(|condition| condition.status == status)
        })
        .await
    }

    /// Waits until there is no object of this name.
    pub async fn wait_gone<K: Object>(&self, name: &str, at_most: Duration) -> Result<()> {
        let api: Api<K> = self.api();
        let deadline = Instant::now() + at_most;
        while !matches!(api.get_opt(name).await, Ok(None)) {
            if Instant::now() >= deadline {
                let seen = self.describe::<K>(name).await;
                bail!(
                    "waited {at_most:?} until {} {name} is gone\n{seen}",
                    K::kind(&())
                );
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// What a person would look at: the object's description, the pods and the events.
    pub async fn describe<K: Object>(&self, name: &str) -> String {
        let resource = match K::group(&()) {
            group if group.is_empty() => K::plural(&()).into_owned(),
            group => format!("{}.{group}", K::plural(&())),
        };
        let mut seen = Vec::new();
        for arguments in [
            vec!["describe", &resource, name],
            vec!["get", "pods", "-o", "wide"],
            vec!["events"],
        ] {
            let said = match self.kubectl(&arguments).await {
                Ok(said) => said,
                Err(error) => format!("{error:#}"),
            };
            seen.push(format!("--- kubectl {}\n{said}\n", arguments.join(" ")));
        }
        seen.concat()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if env::var_os("SLUICE_KEEP").is_some() {
            eprintln!("namespace {} is left there", self.name);
            return;
        }
        let kubectl = |arguments: &[&str]| {
            let mut command = std::process::Command::new(&self.cluster.kubectl);
            command.args(["--request-timeout=10s", "--namespace", &self.name]);
            command
                .args(arguments)
                .env("KUBECONFIG", &self.cluster.kubeconfig)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output()
        };
        let deleted = kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        if !deleted.is_ok_and(|output| output.status.success()) {
            eprintln!("namespace {} could not be deleted", self.name);
        }
        // The operator may be gone that would remove its finalizer.
        let Ok(sources) = kubectl(&["get", "replicationsources.sluice.dev", "-o", "name"]) else {
            return;
        };
        for source in String::from_utf8_lossy(&sources.stdout).lines() {
            let patch = r#"{"metadata":{"finalizers":null}}"#;
            drop(kubectl(&["patch", source, "--type=merge", "-p", patch]));
        }
    }
}

/// A condition in an object's status.
pub fn condition(object: &impl Serialize, kind: &str) -> Option<Condition> {
    let object = serde_json::to_value(object).ok()?;
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|one| one["type"] == kind)?;
    serde_json::from_value(found.clone()).ok()
}

fn status_of(object: &impl Serialize) -> String {
    let object = serde_json::to_value(object).unwrap_or_default();
    serde_yaml::to_string(&object["status"]).unwrap_or_default()
}
