//! The agent of a ReplicationSource that is captured into Kafka.

use std::sync::Arc;

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::ResourceExt as _;
use sluice_agent_api::AgentConfig;
use sluice_crds::ReplicationSource;
use tracing::info;

use crate::{
    apply,
    build::{self, APPLIED_ANNOTATION},
    context::Context,
    controller::{APPLY_AGAIN_AFTER, StepError, sink::StatefulSetVersion, source::SourceMemory},
    dereference,
    model::{AgentAnswer, ObjectKey, Observation, ValidatedAgent},
    names,
    preflight::{self, Preflight},
    resnapshot, restart,
    upgrade::Turn,
    validate,
    wake::Wake,
};

/// What decides about the agent beside what decides about a source without one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inputs {
    stateful_set: Option<StatefulSetVersion>,
    turn: Turn,
    restarted_at: Option<String>,
    request: Option<String>,
}

impl Inputs {
    /// As they are now; none for a source that is not captured into Kafka.
    pub(super) fn gather(
        context: &Context,
        key: &ObjectKey,
        source: &ReplicationSource,
    ) -> Option<Self> {
        source.spec.kafka.as_ref()?;
        Some(Self {
            stateful_set: version_of(dereference::capture_stateful_set(context, key).as_deref()),
            turn: dereference::capture_turn(context, key, source),
            restarted_at: restart::of_source(source),
            request: source
                .annotations()
                .get(resnapshot::REQUEST_ANNOTATION)
                .cloned(),
        })
    }

    /// As they will be once the watch has brought what the steps did.
    pub(super) fn after(self, applied: Option<&StatefulSet>) -> Self {
        Self {
            stateful_set: version_of(applied).or(self.stateful_set),
            ..self
        }
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_settled(&self) -> bool {
        self.stateful_set.is_some() && self.turn.upgrade.is_none()
    }
}

fn version_of(stateful_set: Option<&StatefulSet>) -> Option<StatefulSetVersion> {
    stateful_set.map(|present| (present.uid(), present.metadata.generation))
}

/// Dereference, validate, build, apply.
pub(super) async fn go_through(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    config: AgentConfig,
    memory: &SourceMemory,
) -> Result<(Preflight, Option<StatefulSet>), StepError> {
    let dereferenced = dereference::capture(context, key, source, config).await?;
    let validated = validate::capture(&context.settings, &dereferenced)?;
    let present = dereference::capture_stateful_set(context, key);
    let mut applied = None;
    if let Some(present) = &present {
        // Before the check: the change of an agent that runs waits for nothing.
        applied = apply_agent(context, &validated, Some(present), memory).await?;
    }
    let preflight = check(context, key, source, &validated, memory).await?;
    let is_going = source.metadata.deletion_timestamp.is_some();
    if present.is_none() && preflight.is_open() && !is_going {
        applied = apply_agent(context, &validated, None, memory).await?;
    }
    Ok((preflight, applied))
}

/// Applies the agent's objects unless the cluster has them already.
async fn apply_agent(
    context: &Context,
    validated: &ValidatedAgent,
    present: Option<&StatefulSet>,
    memory: &SourceMemory,
) -> Result<Option<StatefulSet>, StepError> {
    let resources = build::agent(validated, context.extras())?;
    let wanted = resources.stateful_set.annotations().get(APPLIED_ANNOTATION);
    let has = present.and_then(|present| present.annotations().get(APPLIED_ANNOTATION));
    if has.is_some() && has == wanted && is_untouched(memory, present) {
        return Ok(None);
    }
    let applied = apply::agent(context, &resources, present).await?;
    info!(source = %validated.key, image = validated.pod.image, "the capture agent's objects are applied");
    Ok(Some(applied))
}

/// Whether the StatefulSet is still as it was applied, as far as its generation tells, and nothing
/// is due to be applied anew.
fn is_untouched(memory: &SourceMemory, present: Option<&StatefulSet>) -> bool {
    let state = memory.lock();
    let recent = state
        .done_at
        .is_none_or(|at| at.elapsed() < APPLY_AGAIN_AFTER);
    let inputs = state.inputs.as_ref();
    let known = inputs.and_then(|inputs| inputs.capture.as_ref()?.stateful_set.as_ref());
    recent && (known.is_none() || known == version_of(present).as_ref())
}

async fn check(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    validated: &ValidatedAgent,
    memory: &SourceMemory,
) -> Result<Preflight, StepError> {
    let owner = Wake::Source(key.clone());
    let ended = memory.lock().check.clone();
    let resources = build::agent_check(validated)?;
    if validated.paused || source.metadata.deletion_timestamp.is_some() {
        context.checks.forget(&owner);
        let job = key.sibling(resources.name());
        let state = preflight::look(context, &job, ended.as_ref());
        return Ok(Preflight::none(state, ended));
    }
    Ok(preflight::run(context, owner, &resources, ended).await?)
}

/// What is seen of the agent; the check's outcome is filled in by the caller.
pub(super) async fn observe(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    memory: &SourceMemory,
) -> Observation {
    let stateful_set = dereference::capture_stateful_set(context, key);
    let pod = key.sibling(names::first_pod(&names::capture(&key.name)));
    let pods: Vec<Arc<Pod>> = context.caches.pods.get(&pod).into_iter().collect();
    // Closed never; without a permit nobody is asked.
    let permit = context.questions.acquire().await;
    let pipeline = sluice_convert::capture_name(source);
    let sighting = context
        .observer
        .agent(&pipeline, stateful_set.as_deref(), &pods)
        .await;
    drop(permit);
    if let AgentAnswer::Answered(report) = &sighting.agent {
        let mut state = memory.lock();
        state.resnapshot_id.clone_from(&report.resnapshot_id);
    }
    Observation {
        stateful_set: sighting.stateful_set,
        pod: sighting.pod,
        agent: sighting.agent,
        ready_replicas: sighting.ready_replicas,
        ..Observation::default()
    }
}
