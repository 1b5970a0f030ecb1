//! What the API server has, as the operator's watches saw it last.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{Pod, Secret},
};
use kube::{
    Resource,
    api::PartialObjectMeta,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};
use sluice_crds::{ReplicaSink, ReplicationSource};

use crate::model::ObjectKey;

/// A ReplicaSink, or why it can't be read.
pub(crate) type GuardedSink = DeserializeGuard<ReplicaSink>;
/// A ReplicationSource, or why it can't be read.
pub(crate) type GuardedSource = DeserializeGuard<ReplicationSource>;

/// All watched objects of one kind.
#[derive(Clone)]
pub(crate) struct Cache<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Cache<K> {
    /// A cache over what a watch fills.
    pub(crate) fn new(store: Store<K>) -> Self {
        Self { store }
    }

    /// The object of this name, if there is one.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        self.store.get(&reference)
    }

    /// What a watch fills.
    pub(crate) fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Every object, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }
}

/// Every cache.
#[derive(Clone)]
pub(crate) struct Caches {
    pub(crate) sinks: Cache<GuardedSink>,
    pub(crate) sources: Cache<GuardedSource>,
    /// Of agents.
    pub(crate) stateful_sets: Cache<StatefulSet>,
    /// Of checks.
    pub(crate) jobs: Cache<Job>,
    /// Of agents and checks.
    pub(crate) pods: Cache<Pod>,
    /// All of them, without their content.
    pub(crate) secrets: Cache<PartialObjectMeta<Secret>>,
}

impl Caches {
    /// The ReplicaSinks that name this ReplicationSource.
    pub(crate) fn sinks_of(&self, source: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        let sinks = self.sinks.all().into_iter();
        sinks.filter_map(move |sink| {
            let sink = sink.0.as_ref().ok()?;
            // Before its key is made: nearly all of them are others'.
            let names = sink.spec.source_ref.name == source.name
                && sink.metadata.namespace.as_deref() == Some(&*source.namespace);
            names.then(|| ObjectKey::of(sink))
        })
    }
}
