//! `sluice check` before an agent's first start, and for each generation after.
//!
//! A check is a Job that is named after its content. What ended is remembered, so that a Job that
//! somebody deletes is not made again for nothing. A failed one is made again after a while; until
//! the new one has ended, the old outcome counts.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use crate::{
    apply::{self, ApplyError},
    build::CheckResources,
    checks::has_ended,
    context::Context,
    memory::EndedCheck,
    model::{CheckState, ObjectKey, SINK_LABEL, SOURCE_LABEL},
    observe::check_state,
    wake::Wake,
};

/// When a failed check is made again.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// When somebody who waits for a slot looks again, should nobody have woken them.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How a check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preflight {
    /// How it counts.
    pub(crate) state: CheckState,
    /// What is to be remembered.
    pub(crate) ended: Option<EndedCheck>,
    /// When to look again without being woken.
    pub(crate) again_after: Option<Duration>,
}

impl Preflight {
    /// Nothing to check, or nothing that can be checked now.
    pub(crate) fn none(state: CheckState, ended: Option<EndedCheck>) -> Self {
        Self {
            state,
            ended,
            again_after: None,
        }
    }

    /// Whether an agent may start for the first time.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, CheckState::Disabled | CheckState::Passed(_))
    }
}

/// Sees to it that the check of `owner` is made, and says how it stands.
pub(crate) async fn run(
    context: &Context,
    owner: Wake,
    check: &CheckResources,
    ended: Option<EndedCheck>,
) -> Result<Preflight, ApplyError> {
    if !context.settings.arguments.preflight {
        return Ok(Preflight::none(CheckState::Disabled, None));
    }
    let key = ObjectKey::of(&check.job);
    let ended = ended.filter(|ended| ended.job == key);
    let Some(job) = context.caches.jobs.get(&key) else {
        return make(context, owner, check, ended).await;
    };
    delete_older(context, &owner, &key).await?;
    let state = check_state(&job, &pods(context, &key));
    let at = match &state {
        CheckState::Passed(_) => return Ok(remember(key, state, None)),
        CheckState::Failed { at, .. } | CheckState::Broken { at, .. } => *at,
        CheckState::Running(_) | CheckState::Waiting | CheckState::Disabled => {
            let state = counting(state, ended.as_ref());
            return Ok(Preflight::none(state, ended));
        }
    };
    let age = Timestamp::now().duration_since(at.unwrap_or_else(|| made_at(&job)));
    let left = SignedDuration::try_from(RETRY_AFTER).unwrap_or_default() - age;
    let left = Duration::try_from(left).unwrap_or_default();
    if left.is_zero() {
        apply::delete_check(context, &key).await?;
    }
    // Deleted, it comes back through the watch as absent, and is made again.
    Ok(remember(key, state, Some(left.max(Duration::from_secs(1)))))
}

/// How the check of this name stands as far as is known without doing anything.
pub(crate) fn look(context: &Context, key: &ObjectKey, ended: Option<&EndedCheck>) -> CheckState {
    if !context.settings.arguments.preflight {
        return CheckState::Disabled;
    }
    let ended = ended.filter(|ended| ended.job == *key);
    let Some(job) = context.caches.jobs.get(key) else {
        return ended.map_or(CheckState::Waiting, |ended| ended.state.clone());
    };
    counting(check_state(&job, &pods(context, key)), ended)
}

/// Adds the reason why a check makes no headway, where the API server knows one.
pub(crate) async fn explain(context: &Context, owner: &Wake, state: &CheckState) -> CheckState {
    if *state != CheckState::Running(None) {
        return state.clone();
    }
    let (label, owner) = label_of(owner);
    let jobs = context.caches.jobs.all();
    let job = jobs.iter().find(|job| {
        job.namespace()
            .is_some_and(|namespace| namespace == owner.namespace)
            && job.labels().get(label) == Some(&owner.name)
            && !has_ended(job)
    });
    let Some(job) = job else { return state.clone() };
    let pods = pods(context, &ObjectKey::of(&**job));
    context.observer.check(job, &pods).await
}

fn label_of(owner: &Wake) -> (&'static str, &ObjectKey) {
    match owner {
        Wake::Sink(key) => (SINK_LABEL, key),
        Wake::Source(key) => (SOURCE_LABEL, key),
    }
}

/// The pods of a Job.
pub(crate) fn pods(context: &Context, job: &ObjectKey) -> Vec<Arc<Pod>> {
    let pods = context.caches.pods.all().into_iter();
    pods.filter(|pod| {
        pod.namespace()
            .is_some_and(|namespace| namespace == job.namespace)
            && pod.labels().get("batch.kubernetes.io/job-name") == Some(&job.name)
    })
    .collect()
}

async fn make(
    context: &Context,
    owner: Wake,
    check: &CheckResources,
    ended: Option<EndedCheck>,
) -> Result<Preflight, ApplyError> {
    if let Some(passed) = &ended
        && matches!(passed.state, CheckState::Passed(_))
    {
        return Ok(Preflight::none(passed.state.clone(), ended));
    }
    let key = ObjectKey::of(&check.job);
    let parallelism = context.settings.arguments.check_parallelism;
    let (checks, caches) = (&context.checks, &context.caches);
    let state = if checks.may_start(caches, &key, owner, parallelism) {
        if let Err(error) = apply::check(context, check).await {
            checks.not_made(&key);
            return Err(error);
        }
        CheckState::Running(None)
    } else {
        CheckState::Waiting
    };
    Ok(Preflight {
        state: counting(state, ended.as_ref()),
        ended,
        again_after: Some(LOOK_AGAIN_AFTER),
    })
}

/// Deletes the checks of earlier generations.
async fn delete_older(
    context: &Context,
    owner: &Wake,
    present: &ObjectKey,
) -> Result<(), ApplyError> {
    let (label, owner) = label_of(owner);
    for job in context.caches.jobs.all() {
        let key = ObjectKey::of(&*job);
        let older = key.namespace == owner.namespace
            && key != *present
            && job.labels().get(label) == Some(&owner.name)
            && job.metadata.deletion_timestamp.is_none();
        if older {
            apply::delete_check(context, &key).await?;
        }
    }
    Ok(())
}

/// A check that is being made again counts as before until it has ended.
fn counting(state: CheckState, ended: Option<&EndedCheck>) -> CheckState {
    match (&state, ended) {
        (CheckState::Running(None) | CheckState::Waiting, Some(ended)) => ended.state.clone(),
        _ => state,
    }
}

fn remember(job: ObjectKey, state: CheckState, again_after: Option<Duration>) -> Preflight {
    Preflight {
        ended: Some(EndedCheck {
            job,
            state: state.clone(),
        }),
        state,
        again_after,
    }
}

fn made_at(job: &Job) -> Timestamp {
    let created = job.creation_timestamp();
    created.map_or(Timestamp::UNIX_EPOCH, |created| created.0)
}
