//! The control loop over ReplicationSources: each one is checked, and is as its sinks are.

mod capture;
mod deletion;
mod pass;
mod request;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{Resource as _, ResourceExt as _, runtime::controller::Action};
use sluice_convert::source_secrets;
use sluice_crds::{ReplicationSource, ReplicationSourceStatus};
use tracing::{debug, warn};

use crate::{
    build,
    cache::GuardedSource,
    context::{Context, SharedContext},
    controller::{APPLY_AGAIN_AFTER, StepError, requeue, retry_after, status_interval},
    dereference,
    memory::Memory,
    model::{CheckState, ObjectKey, Problem},
    preflight::{self, Preflight},
    unreadable,
    validate::{self, ValidateError},
    wake::Wake,
};

use pass::Pass;

type SourceMemory = Memory<Inputs, ReplicationSourceStatus>;

/// Everything that decides about what the steps do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inputs {
    uid: Option<String>,
    generation: Option<i64>,
    /// Resource versions of the Secrets, by name.
    secrets: Vec<(String, Option<String>)>,
    check: CheckState,
    /// Of its own agent, where it is captured into Kafka.
    capture: Option<capture::Inputs>,
}

/// What the steps came to.
#[derive(Debug, Clone)]
struct Outcome {
    problem: Option<Problem>,
    check: CheckState,
    /// `success`, or the step that failed.
    step: &'static str,
    again_after: Option<Duration>,
}

/// Brings one ReplicationSource's check and status into step with it.
pub(crate) async fn reconcile(object: Arc<GuardedSource>, context: SharedContext) -> Action {
    let key = ObjectKey::of(&*object);
    let began = Instant::now();
    let memory = context.sources.of(&key);
    let sinks: Vec<ObjectKey> = context.caches.sinks_of(&key).collect();
    let blocked = match deletion::guard(&context, &key, &object, &sinks).await {
        Ok(blocked) => blocked,
        Err(error) => {
            let outcome = failed(&memory, &StepError::from(error));
            return requeue([outcome.again_after]);
        }
    };
    if object.meta().deletion_timestamp.is_some() && blocked.is_none() {
        return Action::await_change();
    }
    let mut outcome = match &object.0 {
        Ok(source) => steps(&context, &key, source, &memory).await,
        Err(invalid) => {
            let client = &context.client;
            let error = unreadable::explain::<ReplicationSource>(client, &key, &invalid.error);
            stopped(&memory, error.await)
        }
    };
    outcome.problem = blocked.or(outcome.problem);
    let metrics = &context.metrics;
    metrics.reconciled("ReplicationSource", outcome.step, began.elapsed());
    let again_after = outcome.again_after;
    let pass = Pass {
        context: &context,
        key: &key,
        object: &object,
        outcome: &outcome,
        sinks: &sinks,
        memory: &memory,
    };
    let wait = pass.run().await;
    let asked = pass.has_agent().then(|| status_interval(&context, false));
    requeue([again_after, wait, asked])
}

async fn steps(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    memory: &SourceMemory,
) -> Outcome {
    let requested = match source.spec.kafka {
        Some(_) => request::take(context, key, source, memory).await,
        None => request::hand_on(context, key, source).await,
    };
    if let Err(error) = requested {
        return failed(memory, &StepError::from(error));
    }
    let inputs = inputs(context, key, source, memory);
    if let Some(outcome) = unchanged(memory, &inputs) {
        return outcome;
    }
    match go_through(context, key, source, memory).await {
        Ok((preflight, applied)) => {
            let mut state = memory.lock();
            state.check.clone_from(&preflight.ended);
            state.problem = None;
            state.failures = 0;
            let after = |capture: capture::Inputs| capture.after(applied.as_ref());
            state.inputs = Some(Inputs {
                check: preflight.state.clone(),
                capture: inputs.capture.map(after),
                ..inputs
            });
            state.done_at = Some(Instant::now());
            Outcome {
                problem: None,
                check: preflight.state,
                step: "success",
                again_after: preflight.again_after,
            }
        }
        Err(error) => {
            let outcome = failed(memory, &error);
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
fn unchanged(memory: &SourceMemory, inputs: &Inputs) -> Option<Outcome> {
    let state = memory.lock();
    let recent = state.done_at?.elapsed() < APPLY_AGAIN_AFTER;
    let checked = matches!(inputs.check, CheckState::Passed(_) | CheckState::Disabled);
    let runs = inputs
        .capture
        .as_ref()
        .is_none_or(capture::Inputs::is_settled);
    let settled = (checked && runs) || state.problem.is_some();
    (recent && settled && state.inputs.as_ref() == Some(inputs)).then(|| Outcome {
        problem: state.problem.clone(),
        check: inputs.check.clone(),
        step: "success",
        again_after: None,
    })
}

/// Dereference, validate, build, apply: a source has nothing but its check, and its agent where it is
/// captured into Kafka. Answers with the StatefulSet that was applied, if any was.
async fn go_through(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    memory: &SourceMemory,
) -> Result<(Preflight, Option<StatefulSet>), StepError> {
    let config = sluice_convert::capture_config(source).map_err(ValidateError::from)?;
    if let Some(config) = config {
        // Boxed: most of the time nothing is applied at all.
        return Box::pin(capture::go_through(context, key, source, config, memory)).await;
    }
    let contents = dereference::source(context, key, source).await?;
    let validated = validate::source(&context.settings, source, &contents)?;
    let owner = Wake::Source(key.clone());
    let ended = memory.lock().check.clone();
    let resources = build::source_check(&validated)?;
    if source.spec.paused || source.metadata.deletion_timestamp.is_some() {
        context.checks.forget(&owner);
        let job = key.sibling(resources.name());
        let state = preflight::look(context, &job, ended.as_ref());
        return Ok((Preflight::none(state, ended), None));
    }
    let preflight = preflight::run(context, owner, &resources, ended).await?;
    Ok((preflight, None))
}

fn inputs(
    context: &Context,
    key: &ObjectKey,
    source: &ReplicationSource,
    memory: &SourceMemory,
) -> Inputs {
    let uses = source_secrets(source).into_iter();
    let mut names: Vec<String> = uses.map(|used| used.key.name).collect();
    names.dedup();
    let secrets = names.into_iter().map(|name| {
        let secret = context.caches.secrets.get(&key.sibling(&name));
        let version = secret.and_then(|secret| secret.resource_version());
        (name, version)
    });
    let ended = memory.lock().check.clone();
    Inputs {
        uid: source.uid(),
        generation: source.metadata.generation,
        secrets: secrets.collect(),
        check: match &ended {
            Some(ended) => preflight::look(context, &ended.job, Some(ended)),
            None if !context.settings.arguments.preflight => CheckState::Disabled,
            None => CheckState::Waiting,
        },
        capture: capture::Inputs::gather(context, key, source),
    }
}

fn stopped(memory: &SourceMemory, message: String) -> Outcome {
    let mut state = memory.lock();
    state.inputs = None;
    let problem = Problem {
        reason: "InvalidSpec",
        message,
    };
    state.problem = Some(problem.clone());
    Outcome {
        problem: Some(problem),
        check: CheckState::Waiting,
        step: "dereference",
        again_after: None,
    }
}

fn failed(memory: &SourceMemory, error: &StepError) -> Outcome {
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
    let ended = state.check.as_ref();
    Outcome {
        problem: Some(problem),
        check: ended.map_or(CheckState::Waiting, |ended| ended.state.clone()),
        step,
        again_after,
    }
}
