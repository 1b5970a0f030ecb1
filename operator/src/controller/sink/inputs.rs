//! What decides about what the steps do.

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{Resource, ResourceExt as _};
use sluice_convert::{sink_secrets, upstream_secrets};
use sluice_crds::{ReplicaSink, ReplicationSource};

use crate::{
    context::Context,
    controller::sink::SinkMemory,
    dereference,
    model::{CheckState, ObjectKey},
    preflight, resnapshot, restart,
    upgrade::Turn,
};

/// Everything that decides about what the steps do: while it is as it was, they need not be gone
/// through again. It is made of what the caches have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inputs {
    sink: Version,
    source: Version,
    /// Resource versions of the Secrets, by name.
    secrets: Vec<(String, Option<String>)>,
    stateful_set: Option<StatefulSetVersion>,
    turn: Turn,
    /// How the last check stands.
    pub(super) check: CheckState,
}

/// What of a custom resource the steps look at.
#[derive(Debug, Clone, PartialEq)]
struct Version {
    uid: Option<String>,
    generation: Option<i64>,
    restarted_at: Option<String>,
    request: Option<String>,
}

/// A StatefulSet's uid and generation.
pub(crate) type StatefulSetVersion = (Option<String>, Option<i64>);

impl Inputs {
    /// The inputs as they are now.
    pub(super) fn gather(
        context: &Context,
        key: &ObjectKey,
        sink: &ReplicaSink,
        source: &ReplicationSource,
        memory: &SinkMemory,
    ) -> Self {
        let uses = upstream_secrets(source)
            .into_iter()
            .chain(sink_secrets(sink));
        let mut names: Vec<String> = uses.map(|used| used.key.name).collect();
        names.dedup();
        let secrets = names.into_iter().map(|name| {
            let secret = context.caches.secrets.get(&key.sibling(&name));
            let version = secret.and_then(|secret| secret.resource_version());
            (name, version)
        });
        let ended = memory.lock().check.clone();
        let check = match &ended {
            Some(ended) => preflight::look(context, &ended.job, Some(ended)),
            None if !context.settings.arguments.preflight => CheckState::Disabled,
            None => CheckState::Waiting,
        };
        Self {
            sink: Version::of(sink),
            source: Version::of(source),
            secrets: secrets.collect(),
            stateful_set: version_of(dereference::stateful_set(context, key).as_deref()),
            turn: dereference::turn(context, key, sink),
            check,
        }
    }

    /// The inputs as they will be once the watch has brought what the steps did.
    pub(super) fn after(self, check: CheckState, applied: Option<&StatefulSet>) -> Self {
        let applied = version_of(applied);
        Self {
            check,
            stateful_set: applied.or(self.stateful_set),
            ..self
        }
    }

    /// Whether nothing is under way that has to be looked at again and again.
    pub(super) fn is_settled(&self) -> bool {
        let checked = matches!(self.check, CheckState::Passed(_) | CheckState::Disabled);
        checked && self.turn.upgrade.is_none()
    }

    /// The StatefulSet, if there was one.
    pub(super) fn stateful_set(&self) -> Option<&StatefulSetVersion> {
        self.stateful_set.as_ref()
    }
}

impl Version {
    fn of<K: Resource>(object: &K) -> Self {
        let annotation = |name: &str| object.annotations().get(name).cloned();
        Self {
            uid: object.uid(),
            generation: object.meta().generation,
            restarted_at: annotation(restart::ANNOTATION),
            request: annotation(resnapshot::REQUEST_ANNOTATION),
        }
    }
}

/// What tells one state of a StatefulSet's spec from another.
pub(super) fn version_of(stateful_set: Option<&StatefulSet>) -> Option<StatefulSetVersion> {
    stateful_set.map(|stateful_set| (stateful_set.uid(), stateful_set.metadata.generation))
}
