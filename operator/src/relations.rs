//! What is watched, what of it is kept, and whom a change concerns.
//!
//! ```text
//! ReplicaSink ──────────────► itself, and its ReplicationSource
//! ReplicationSource ────────► itself, and every ReplicaSink that names it
//! StatefulSet, Pod, Job ────► the ReplicaSink or ReplicationSource of its label
//! Secret (metadata alone) ──► everything in its namespace that refers to it
//! ```

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{Pod, PodSpec, Secret},
};
use kube::{Resource, ResourceExt as _, api::PartialObjectMeta};
use sluice_convert::{sink_secrets, source_secrets};

use crate::{
    cache::{Caches, GuardedSink, GuardedSource},
    model::{ObjectKey, SINK_LABEL, SOURCE_LABEL},
    resnapshot, restart,
    wake::Wake,
    watch::Change,
};

/// Whom a changed ReplicaSink concerns. Its status, which the operator writes itself, concerns nobody.
pub(crate) fn of_sink(change: &Change<'_, GuardedSink>) -> Vec<Wake> {
    if !change.differs(what_counts) {
        return Vec::new();
    }
    let key = change.key();
    let sources = [change.before, change.after].into_iter().flatten();
    let mut wakes: Vec<Wake> = sources
        .filter_map(source_of)
        .map(|source| Wake::Source(key.sibling(source)))
        .collect();
    wakes.dedup();
    wakes.push(Wake::Sink(key));
    wakes
}

/// Whom a changed ReplicationSource concerns.
pub(crate) fn of_source(caches: &Caches, change: &Change<'_, GuardedSource>) -> Vec<Wake> {
    if !change.differs(what_counts) {
        return Vec::new();
    }
    let key = change.key();
    let mut wakes: Vec<Wake> = caches.sinks_of(&key).map(Wake::Sink).collect();
    wakes.push(Wake::Source(key));
    wakes
}

/// Whom a change of something that the operator made concerns.
pub(crate) fn of_child<K: Resource>(change: &Change<'_, K>) -> Vec<Wake> {
    let object = change.object();
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let key = |name: &String| ObjectKey {
        namespace: namespace.clone(),
        name: name.clone(),
    };
    let labels = object.labels();
    let sink = labels.get(SINK_LABEL).map(|name| Wake::Sink(key(name)));
    let source = labels.get(SOURCE_LABEL).map(|name| Wake::Source(key(name)));
    sink.into_iter().chain(source).collect()
}

/// Whom a changed Secret concerns.
pub(crate) fn of_secret(
    caches: &Caches,
    change: &Change<'_, PartialObjectMeta<Secret>>,
) -> Vec<Wake> {
    if !change.differs(|secret| (secret.uid(), secret.resource_version())) {
        return Vec::new();
    }
    let secret = change.key();
    let mut wakes = Vec::new();
    for source in caches.sources.all() {
        let Ok(object) = &source.0 else { continue };
        let refers = source_secrets(object)
            .iter()
            .any(|used| used.key.name == secret.name);
        if refers && ObjectKey::of(object).namespace == secret.namespace {
            let key = ObjectKey::of(object);
            wakes.extend(caches.sinks_of(&key).map(Wake::Sink));
            wakes.push(Wake::Source(key));
        }
    }
    for sink in caches.sinks.all() {
        let Ok(object) = &sink.0 else { continue };
        let refers = sink_secrets(object)
            .iter()
            .any(|used| used.key.name == secret.name);
        if refers && ObjectKey::of(object).namespace == secret.namespace {
            wakes.push(Wake::Sink(ObjectKey::of(object)));
        }
    }
    wakes
}

/// The source that a readable sink names.
fn source_of(sink: &GuardedSink) -> Option<String> {
    let sink = sink.0.as_ref().ok()?;
    Some(sink.spec.source_ref.name.clone())
}

/// What of a custom resource makes a reconcile worthwhile.
#[derive(PartialEq)]
struct WhatCounts {
    uid: Option<String>,
    generation: Option<i64>,
    deleted: bool,
    finalizers: Vec<String>,
    annotations: [Option<String>; 3],
}

fn what_counts<K: Resource>(object: &K) -> WhatCounts {
    let annotation = |name: &str| object.annotations().get(name).cloned();
    WhatCounts {
        uid: object.uid(),
        generation: object.meta().generation,
        deleted: object.meta().deletion_timestamp.is_some(),
        finalizers: object.finalizers().to_vec(),
        annotations: [
            annotation(restart::ANNOTATION),
            annotation(resnapshot::ANNOTATION),
            annotation(resnapshot::REQUEST_ANNOTATION),
        ],
    }
}

/// Takes out of metadata what nobody reads: who wrote which field, and `kubectl apply`'s copy.
pub(crate) fn slim<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
    object
        .annotations_mut()
        .remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// Of a Secret only name and version are kept.
pub(crate) fn slim_secret(secret: &mut PartialObjectMeta<Secret>) {
    slim(secret);
    let metadata = &mut secret.metadata;
    metadata.labels = None;
    metadata.annotations = None;
    metadata.owner_references = None;
}

/// Of a pod: metadata and status.
pub(crate) fn slim_pod(pod: &mut Pod) {
    slim(pod);
    pod.annotations_mut().clear();
    if let Some(spec) = &mut pod.spec {
        *spec = PodSpec {
            node_name: spec.node_name.take(),
            ..PodSpec::default()
        };
    }
}

/// Of a Job: metadata and status.
pub(crate) fn slim_job(job: &mut Job) {
    slim(job);
    job.spec = None;
}

/// Of a StatefulSet: what decides about upgrades.
pub(crate) fn slim_stateful_set(stateful_set: &mut StatefulSet) {
    slim(stateful_set);
    let Some(spec) = &mut stateful_set.spec else {
        return;
    };
    spec.volume_claim_templates = None;
    spec.template.metadata = None;
    if let Some(pod) = &mut spec.template.spec {
        let image = pod
            .containers
            .first_mut()
            .and_then(|first| first.image.take());
        *pod = PodSpec::default();
        pod.containers.push(k8s_openapi::api::core::v1::Container {
            image,
            ..Default::default()
        });
    }
}
