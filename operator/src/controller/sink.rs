//! The control loop over ReplicaSinks: each one is an agent.

mod inputs;
mod missing;
mod pass;
mod request;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{api::apps::v1::StatefulSet, jiff::Timestamp};
use kube::{Resource as _, ResourceExt as _, runtime::controller::Action};
use sluice_convert::sink_problems;
use sluice_crds::{ReplicaSink, ReplicaSinkStatus, ReplicationSource};
use tracing::{debug, info, warn};

use crate::{
    apply,
    build::{self, APPLIED_ANNOTATION},
    cache::GuardedSink,
    context::{Context, SharedContext},
    controller::{APPLY_AGAIN_AFTER, StepError, requeue, retry_after, status_interval},
    dereference,
    memory::Memory,
    model::{CheckState, Notice, ObjectKey, PausedBy, Problem, ValidatedAgent},
    preflight::{self, Preflight},
    unreadable,
    upgrade::Agent,
    validate,
    wake::Wake,
};

pub(crate) use inputs::{Inputs, StatefulSetVersion};

use inputs::version_of;
use pass::Pass;

type SinkMemory = Memory<Inputs, ReplicaSinkStatus>;

/// What the steps came to.
#[derive(Debug, Clone)]
struct Outcome {
    problem: Option<Problem>,
    check: CheckState,
    paused: Option<PausedBy>,
    /// `success`, or the step that failed.
    step: &'static str,
    /// When to go through them again without being woken.
    again_after: Option<Duration>,
}

/// Brings one ReplicaSink's agent into step with it.
pub(crate) async fn reconcile(object: Arc<GuardedSink>, context: SharedContext) -> Action {
    let key = ObjectKey::of(&*object);
    let began = Instant::now();
    if object.meta().deletion_timestamp.is_some() {
        return Action::await_change();
    }
    let memory = context.sinks.of(&key);
    let outcome = match &object.0 {
        Ok(sink) => steps(&context, &key, sink, &memory).await,
        Err(invalid) => {
            let client = &context.client;
            let error = unreadable::explain::<ReplicaSink>(client, &key, &invalid.error).await;
            stopped(&memory, "InvalidSpec", error)
        }
    };
    let metrics = &context.metrics;
    metrics.reconciled("ReplicaSink", outcome.step, began.elapsed());
    report_upgrade(&context, &key, &object, &memory);
    let again_after = outcome.again_after;
    let pass = Pass {
        context: Arc::clone(&context),
        key: key.clone(),
        object,
        outcome,
        memory,
    };
    let wait = if asks(&context, &key) {
        let does_well = pass.memory.lock().does_well;
        tokio::spawn(pass.run());
        Some(status_interval(&context, does_well))
    } else {
        pass.run().await
    };
    requeue([again_after, wait])
}

/// Whether there is an agent to be asked.
fn asks(context: &Context, key: &ObjectKey) -> bool {
    let present = dereference::stateful_set(context, key);
    let spec = present.as_ref().and_then(|present| present.spec.as_ref());
    spec.is_some_and(|spec| spec.replicas != Some(0)) || pass::pod(context, key).is_some()
}

/// Says once that an upgrade makes no headway: the others wait for it.
fn report_upgrade(context: &Context, key: &ObjectKey, object: &GuardedSink, memory: &SinkMemory) {
    let present = dereference::stateful_set(context, key);
    let agent = present.as_deref().and_then(Agent::of);
    let upgrade = agent.and_then(|agent| agent.upgrade);
    let stuck = upgrade.filter(|upgrade| upgrade.is_stuck(Timestamp::now()));
    let reported = std::mem::replace(&mut memory.lock().upgrade_reported, stuck.is_some());
    if reported != stuck.is_some() {
        context
            .metrics
            .set_upgrades_stuck(u64::from(stuck.is_some()));
    }
    if let Some(upgrade) = stuck.filter(|_| !reported) {
        let (from, began_at) = (&upgrade.from, &upgrade.began_at);
        let notice = Notice {
            warning: true,
            reason: "UpgradeStuck".to_owned(),
            message: format!(
                "the agent was moved from image {from} to the operator's new one at {began_at} and is not Ready again; the upgrades of all other agents wait for it: mend what its conditions say, or pin spec.agent.image to the old image"
            ),
        };
        let reference = object.object_ref(&());
        context.publisher.publish(&reference, &[notice]);
    }
}

/// Goes through the steps, unless nothing has changed since they were gone through.
async fn steps(
    context: &Context,
    key: &ObjectKey,
    sink: &ReplicaSink,
    memory: &SinkMemory,
) -> Outcome {
    let source = match source_of(context, key, sink) {
        Ok(source) => source,
        Err(problem) => return stopped(memory, problem.reason, problem.message),
    };
    let paused = paused_by(&source, sink);
    if let Err(error) = request::take(context, key, &source, sink, memory).await {
        return failed(memory, paused, &StepError::from(error));
    }
    missing::mend(context, key, memory);
    let inputs = Inputs::gather(context, key, sink, &source, memory);
    if let Some(outcome) = unchanged(memory, &inputs, paused) {
        return outcome;
    }
    let went = go_through(context, key, sink, &source, memory).await;
    match went {
        Ok((preflight, applied)) => {
            let mut state = memory.lock();
            state.check.clone_from(&preflight.ended);
            state.problem = None;
            state.failures = 0;
            state.inputs = Some(inputs.after(preflight.state.clone(), applied.as_ref()));
            state.done_at = Some(Instant::now());
            Outcome {
                problem: None,
                check: preflight.state,
                paused,
                step: "success",
                again_after: preflight.again_after,
            }
        }
        Err(error) => {
            let outcome = failed(memory, paused, &error);
            if !error.may_pass() {
                let mut state = memory.lock();
                state.inputs = Some(inputs);
                state.done_at = Some(Instant::now());
            }
            outcome
        }
    }
}

/// What the steps came to the last time, if they would come to the same now.
fn unchanged(memory: &SinkMemory, inputs: &Inputs, paused: Option<PausedBy>) -> Option<Outcome> {
    let state = memory.lock();
    let recent = state.done_at?.elapsed() < APPLY_AGAIN_AFTER;
    let same = recent && state.inputs.as_ref() == Some(inputs);
    (same && (inputs.is_settled() || state.problem.is_some())).then(|| Outcome {
        problem: state.problem.clone(),
        check: inputs.check.clone(),
        paused,
        step: "success",
        again_after: None,
    })
}

/// Dereference, validate, build, apply. Answers with the StatefulSet that was applied, if any was.
async fn go_through(
    context: &Context,
    key: &ObjectKey,
    sink: &ReplicaSink,
    source: &Arc<ReplicationSource>,
    memory: &SinkMemory,
) -> Result<(Preflight, Option<StatefulSet>), StepError> {
    let sink = Arc::new(sink.clone());
    let dereferenced = dereference::sink(context, key, sink, Arc::clone(source)).await?;
    let validated = validate::sink(&context.settings, &dereferenced)?;
    let present = dereference::stateful_set(context, key);
    let mut applied = None;
    if let Some(present) = &present {
        // Before the check: the change of an agent that runs waits for nothing.
        applied = apply_agent(context, &validated, Some(present), memory).await?;
    }
    let preflight = check(context, key, &validated, memory).await?;
    if present.is_none() && preflight.is_open() {
        applied = apply_agent(context, &validated, None, memory).await?;
    }
    Ok((preflight, applied))
}

/// Applies the agent's objects unless the cluster has them already.
async fn apply_agent(
    context: &Context,
    validated: &ValidatedAgent,
    present: Option<&StatefulSet>,
    memory: &SinkMemory,
) -> Result<Option<StatefulSet>, StepError> {
    let resources = build::agent(validated, context.extras())?;
    let wanted = resources.stateful_set.annotations().get(APPLIED_ANNOTATION);
    let has = present.and_then(|present| present.annotations().get(APPLIED_ANNOTATION));
    if has.is_some() && has == wanted && is_untouched(memory, present) {
        return Ok(None);
    }
    let applied = apply::agent(context, &resources, present).await?;
    info!(sink = %validated.key, image = validated.pod.image, "the agent's objects are applied");
    Ok(Some(applied))
}

/// Whether the StatefulSet is still as it was applied, as far as its generation tells, and nothing
/// is due to be applied anew.
fn is_untouched(memory: &SinkMemory, present: Option<&StatefulSet>) -> bool {
    let state = memory.lock();
    let recent = state
        .done_at
        .is_none_or(|at| at.elapsed() < APPLY_AGAIN_AFTER);
    let known = state.inputs.as_ref().and_then(Inputs::stateful_set);
    recent && (known.is_none() || known == version_of(present).as_ref())
}

async fn check(
    context: &Context,
    key: &ObjectKey,
    validated: &ValidatedAgent,
    memory: &SinkMemory,
) -> Result<Preflight, StepError> {
    let owner = Wake::Sink(key.clone());
    let ended = memory.lock().check.clone();
    let resources = build::agent_check(validated)?;
    if validated.paused {
        context.checks.forget(&owner);
        let job = key.sibling(resources.name());
        let state = preflight::look(context, &job, ended.as_ref());
        return Ok(Preflight::none(state, ended));
    }
    Ok(preflight::run(context, owner, &resources, ended).await?)
}

/// The ReplicationSource, or why there is none.
fn source_of(
    context: &Context,
    key: &ObjectKey,
    sink: &ReplicaSink,
) -> Result<Arc<ReplicationSource>, Problem> {
    let name = &sink.spec.source_ref.name;
    let Some(guarded) = context.caches.sources.get(&key.sibling(name)) else {
        // What is wrong with the sink itself is said at once, and not when it has a source.
        let problems = sink_problems(sink);
        let own = problems.first().map(|problem| Problem {
            reason: "InvalidSpec",
            message: format!("ReplicaSink {problem}"),
        });
        let namespace = &key.namespace;
        return Err(own.unwrap_or_else(|| Problem {
            reason: "SourceNotFound",
            message: format!(
                "there is no ReplicationSource {name} in namespace {namespace}; create it, and this replica begins by itself"
            ),
        }));
    };
    match &guarded.0 {
        Ok(source) => Ok(Arc::new(source.clone())),
        Err(invalid) => Err(Problem {
            reason: "InvalidSpec",
            message: format!("ReplicationSource {name}: {}", invalid.error),
        }),
    }
}

/// Who says that no agent is to run.
fn paused_by(source: &ReplicationSource, sink: &ReplicaSink) -> Option<PausedBy> {
    if sink.spec.paused {
        return Some(PausedBy::Sink);
    }
    sluice_convert::is_paused(source, sink).then_some(PausedBy::Source)
}

/// The outcome of something that has to be mended by a person or to come into being.
fn stopped(memory: &SinkMemory, reason: &'static str, message: String) -> Outcome {
    let mut state = memory.lock();
    let problem = Problem { reason, message };
    state.inputs = None;
    state.problem = Some(problem.clone());
    Outcome {
        problem: Some(problem),
        check: last_check(&state),
        paused: None,
        step: "dereference",
        again_after: None,
    }
}

fn failed(memory: &SinkMemory, paused: Option<PausedBy>, error: &StepError) -> Outcome {
    let step = error.step();
    let problem = error.problem();
    let mut state = memory.lock();
    let again_after = if error.may_pass() {
        warn!(step, %error, "a step failed and is tried again");
        state.failures = state.failures.saturating_add(1);
        Some(retry_after(state.failures))
    } else {
        debug!(step, %error, "a resource can't be worked with");
        state.failures = 0;
        None
    };
    state.inputs = None;
    state.problem = Some(problem.clone());
    Outcome {
        problem: Some(problem),
        check: last_check(&state),
        paused,
        step,
        again_after,
    }
}

fn last_check(state: &crate::memory::State<Inputs, ReplicaSinkStatus>) -> CheckState {
    let ended = state.check.as_ref();
    ended.map_or(CheckState::Waiting, |ended| ended.state.clone())
}
