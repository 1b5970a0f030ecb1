//! What the API server has, as the operator's watches saw it last.

use std::{fmt::Debug, hash::Hash, sync::Arc};

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

/// All watched objects of one kind: one store for each watched namespace, or one for all of them.
pub(crate) struct Cache<K>
where
    K: Resource + 'static,
    K::DynamicType: Eq + Hash,
{
    stores: Vec<Store<K>>,
}

impl<K> Cache<K>
where
    K: Resource + Clone + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Default + Debug,
{
    /// A cache over the stores of all watched namespaces.
    pub(crate) fn new(stores: Vec<Store<K>>) -> Self {
        Self { stores }
    }

    /// The object of this name, if there is one.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let reference =
            ObjectRef::new_with(&key.name, K::DynamicType::default()).within(&key.namespace);
        self.stores.iter().find_map(|store| store.get(&reference))
    }

    /// Every object, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<K>> + '_ {
        self.stores.iter().flat_map(Store::state)
    }
}

/// Every cache.
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
