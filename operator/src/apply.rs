//! Brings the cluster into the state that was built: server-side apply with one field manager.
//!
//! The order is: what a pod needs to start (its account, its configuration) and what finds and protects
//! it, side by side, and then the StatefulSet, so that no pod starts with half of it. The StatefulSet carries the
//! hash of everything that was applied with it: when that is unchanged, nothing is written at all.
//! A PodMonitor comes after all: where the Prometheus operator is missing, agents run all the same.
//!
//! # What the operator must be allowed to do
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `sluice.dev` | `replicationsources`, `replicasinks` | get list watch patch | the specs; annotations and the finalizer are patched |
//! | `sluice.dev` | `replicationsources/status`, `replicasinks/status` | patch | status |
//! | `sluice.dev` | `replicationsources/finalizers`, `replicasinks/finalizers` | update | owner references that block deletion |
//! | core | `secrets` | get list watch | metadata is watched; content is read, hashed and dropped |
//! | core | `configmaps`, `serviceaccounts`, `services` | get create patch delete | agents and checks |
//! | core | `pods` | get list watch | why an agent does not run |
//! | `apps` | `statefulsets` | get list watch create patch delete | agents |
//! | `batch` | `jobs` | get list watch create patch delete | checks |
//! | `policy` | `poddisruptionbudgets` | get create patch delete | agents |
//! | `networking.k8s.io` | `networkpolicies` | get create patch delete | agents, with `--network-policies` (delete: also without) |
//! | `monitoring.coreos.com` | `podmonitors` | get create patch delete | agents, with `--pod-monitors` (delete: also without) |
//! | core and `events.k8s.io` | `events` | list create patch | what happened; why a pod does not start |
//! | `coordination.k8s.io` | `leases` (its own namespace) | get create update | leader election |

use std::{borrow::Cow, fmt::Debug};

use futures_util::try_join;
use k8s_openapi::api::{
    apps::v1::StatefulSet, batch::v1::Job, core::v1::ConfigMap, networking::v1::NetworkPolicy,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::{debug, warn};

use crate::{
    build::{self, AgentResources, CheckResources, Extras},
    context::Context,
    model::{MANAGER, ObjectKey},
    names,
};

/// What could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Another operator may be the leader by now.
    #[error("this operator is not the leader any more")]
    NotLeader,
    /// The API server refused an object or was not reached.
    #[error("{kind} {name} can't be applied: {error}")]
    Apply {
        /// The object's kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        error: kube::Error,
    },
    /// The API server refused to delete an object or was not reached.
    #[error("{kind} {name} can't be deleted: {error}")]
    Delete {
        /// The object's kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        error: kube::Error,
    },
    /// The API server refused a change of a custom resource's metadata or was not reached.
    #[error("{kind} {name} can't be changed: {error}")]
    Change {
        /// The object's kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        error: kube::Error,
    },
}

/// Applies an agent's objects; deletes the optional ones that are not wanted any more.
pub(crate) async fn agent(
    context: &Context,
    resources: &AgentResources,
    present: Option<&StatefulSet>,
) -> Result<StatefulSet, ApplyError> {
    if present.is_none() {
        let key = ObjectKey::of(&resources.stateful_set);
        context.applied.forget(&key);
    }
    // Boxed: side by side these are large, and most of the time nothing is applied at all.
    let others = Box::pin(async {
        let policy = async {
            match &resources.network_policy {
                Some(policy) => apply_changed(context, policy).await,
                None => Ok(()),
            }
        };
        try_join!(
            apply_changed(context, &resources.service_account),
            apply_changed(context, &resources.config_map),
            apply_changed(context, &resources.service),
            apply_changed(context, &resources.pod_disruption_budget),
            policy,
        )
    });
    others.await?;
    let applied = apply(context, &resources.stateful_set).await?;
    if let Some(monitor) = &resources.pod_monitor
        && let Err(error) = apply_monitor(context, monitor).await
    {
        warn!(%error, "a PodMonitor can't be applied; is the Prometheus operator installed?");
    }
    let had = present.map(build::extras);
    let had = had.filter(|had| *had != context.extras());
    if let Some(had) = had {
        delete_extras(context, &ObjectKey::of(&applied), had).await?;
    }
    Ok(applied)
}

/// Makes a check Job and what it reads.
pub(crate) async fn check(context: &Context, check: &CheckResources) -> Result<(), ApplyError> {
    apply(context, &check.config_map).await?;
    apply(context, &check.job).await.map(drop)
}

/// Deletes a check Job with its pod, and what it read.
pub(crate) async fn delete_check(context: &Context, key: &ObjectKey) -> Result<(), ApplyError> {
    debug!(job = %key, "an old check is deleted");
    delete(context, &api::<Job>(context, key), "Job", key).await?;
    delete(context, &api::<ConfigMap>(context, key), "ConfigMap", key).await
}

/// Changes a custom resource's metadata by a JSON patch. Answers whether it was still as the patch
/// expects it.
pub(crate) async fn patch_json<K>(
    context: &Context,
    key: &ObjectKey,
    patch: Value,
) -> Result<bool, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    context.ensure_leader()?;
    let patch = serde_json::from_value(patch).unwrap_or_default();
    let (api, parameters) = (api::<K>(context, key), PatchParams::default());
    let patched = api
        .patch_metadata(&key.name, &parameters, &Patch::<()>::Json(patch))
        .await;
    changed::<K>(key, patched.map(drop))
}

/// Changes a custom resource's metadata by a merge patch. Answers whether it was still there, and
/// as the patch expects it if that names a resource version.
pub(crate) async fn patch_merge<K>(
    context: &Context,
    key: &ObjectKey,
    patch: &Value,
) -> Result<bool, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    context.ensure_leader()?;
    let parameters = PatchParams::default();
    let api = api::<K>(context, key);
    let patched = api
        .patch_metadata(&key.name, &parameters, &Patch::Merge(patch))
        .await;
    changed::<K>(key, patched.map(drop))
}

/// Writes a status that a server-side apply is to make the present one.
pub(crate) async fn status<K>(
    context: &Context,
    key: &ObjectKey,
    status: &impl Serialize,
) -> Result<bool, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    context.ensure_leader()?;
    let patch = serde_json::json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "status": status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let api = api::<K>(context, key);
    let patched = api
        .patch_status(&key.name, &parameters, &Patch::Apply(&patch))
        .await;
    changed::<K>(key, patched.map(drop))
}

fn changed<K: Resource<DynamicType = ()>>(
    key: &ObjectKey,
    result: Result<(), kube::Error>,
) -> Result<bool, ApplyError> {
    match result {
        Ok(()) => Ok(true),
        // Gone, or changed by somebody else: the watch brings what there is now. A failed test of a
        // JSON patch is 422.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
            debug!(object = %key, message = status.message, "an object has changed meanwhile");
            Ok(false)
        }
        Err(error) => Err(ApplyError::Change {
            kind: K::kind(&()).into_owned(),
            name: key.name.clone(),
            error,
        }),
    }
}

/// Applies an object unless it was applied like this lately.
async fn apply_changed<K>(context: &Context, object: &K) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let (kind, key) = (static_kind::<K>(), ObjectKey::of(object));
    let json = serde_json::to_vec(object).unwrap_or_default();
    let hash = names::hash(&json);
    if context.applied.has(kind, &key, &hash) {
        return Ok(());
    }
    apply(context, object).await?;
    context.applied.remember(kind, &key, hash);
    Ok(())
}

async fn apply<K>(context: &Context, object: &K) -> Result<K, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    context.ensure_leader()?;
    context.metrics.api_write(static_kind::<K>());
    let key = ObjectKey::of(object);
    let parameters = PatchParams::apply(MANAGER).force();
    let objects = api::<K>(context, &key);
    let applied = objects
        .patch(&key.name, &parameters, &Patch::Apply(object))
        .await;
    applied.map_err(|error| ApplyError::Apply {
        kind: K::kind(&()).into_owned(),
        name: key.name,
        error,
    })
}

async fn apply_monitor(context: &Context, monitor: &DynamicObject) -> Result<(), ApplyError> {
    context.ensure_leader()?;
    let resource = build::pod_monitor_resource();
    let namespace = monitor.namespace().unwrap_or_default();
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &namespace, &resource);
    let name = monitor.name_any();
    let parameters = PatchParams::apply(MANAGER).force();
    let applied = api.patch(&name, &parameters, &Patch::Apply(monitor)).await;
    applied.map(drop).map_err(|error| ApplyError::Apply {
        kind: "PodMonitor".to_owned(),
        name,
        error,
    })
}

async fn delete_extras(context: &Context, key: &ObjectKey, had: Extras) -> Result<(), ApplyError> {
    let wanted = context.extras();
    if had.network_policy && !wanted.network_policy {
        let policies = api::<NetworkPolicy>(context, key);
        delete(context, &policies, "NetworkPolicy", key).await?;
    }
    if had.pod_monitor && !wanted.pod_monitor {
        let resource = build::pod_monitor_resource();
        let monitors: Api<DynamicObject> =
            Api::namespaced_with(context.client.clone(), &key.namespace, &resource);
        delete(context, &monitors, "PodMonitor", key).await?;
    }
    Ok(())
}

async fn delete<K>(
    context: &Context,
    api: &Api<K>,
    kind: &str,
    key: &ObjectKey,
) -> Result<(), ApplyError>
where
    K: Clone + Debug + DeserializeOwned,
{
    context.ensure_leader()?;
    match api.delete(&key.name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ApplyError::Delete {
            kind: kind.to_owned(),
            name: key.name.clone(),
            error,
        }),
    }
}

/// The kind's name, for metrics.
fn static_kind<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        Cow::Borrowed(kind) => kind,
        Cow::Owned(_) => "other",
    }
}

fn api<K>(context: &Context, key: &ObjectKey) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(context.client.clone(), &key.namespace)
}
