//! How a check Job came out. Pure.
//!
//! `sluice check` writes its report to the container's termination message. A Job that ends without
//! one (evicted, killed, too slow) says nothing about the prerequisites, and is made again.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition},
        core::v1::{ContainerStateTerminated, Pod},
    },
    jiff::Timestamp,
};
use sluice_agent_api::status::{CheckOutcome, CheckReport};

use crate::{
    model::CheckState,
    observe::pod::{current, pod_state, shortened},
};

/// How the check that `job` makes with `pods` stands.
pub(crate) fn check_state(job: &Job, pods: &[Arc<Pod>]) -> CheckState {
    let pod = current(pods);
    let ended = pod.and_then(termination);
    let report = ended.and_then(|ended| report(ended.message.as_deref()?));
    if let (Some(report), Some(ended)) = (report, ended) {
        return outcome(report, ended);
    }
    if let Some(condition) = condition(job, "Failed") {
        return broken(condition, pod, ended);
    }
    if let Some(condition) = condition(job, "Complete") {
        // Exit code 0 without a report: passed, and nothing to tell.
        if pod.is_none() || ended.is_some_and(|ended| ended.exit_code == 0) {
            return CheckState::Passed(CheckReport::default());
        }
        return broken(condition, pod, ended);
    }
    let trouble = pod.map(pod_state).and_then(|pod| pod.trouble);
    // A container that has just ended is no trouble: the Job's controller has not counted it yet.
    CheckState::Running(trouble.filter(|_| ended.is_none()))
}

fn outcome(mut report: CheckReport, ended: &ContainerStateTerminated) -> CheckState {
    if report.passed() && ended.exit_code == 0 {
        return CheckState::Passed(report);
    }
    if report.passed() {
        let code = ended.exit_code;
        return CheckState::Broken {
            message: format!("no check failed, yet the exit code is {code}"),
            at: finished_at(ended),
        };
    }
    report.checks.sort_by_key(|check| match check.outcome {
        CheckOutcome::Failed => 0,
        CheckOutcome::Warning => 1,
        CheckOutcome::Skipped => 2,
        CheckOutcome::Passed => 3,
    });
    CheckState::Failed {
        checks: report.checks,
        at: finished_at(ended),
    }
}

fn broken(
    condition: &JobCondition,
    pod: Option<&Pod>,
    ended: Option<&ContainerStateTerminated>,
) -> CheckState {
    let reason = condition.reason.as_deref().unwrap_or("Failed");
    let state = pod.map(pod_state);
    let detail = state
        .and_then(|pod| pod.last_exit.or(pod.trouble.map(|trouble| trouble.message)))
        .or_else(|| condition.message.clone())
        .unwrap_or_else(|| "no message".to_owned());
    let at = ended.and_then(finished_at);
    let changed_at = condition.last_transition_time.as_ref().map(|time| time.0);
    CheckState::Broken {
        message: shortened(&format!("{reason}: {detail}")),
        at: at.or(changed_at),
    }
}

fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

fn termination(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.terminated.as_ref()
}

fn report(message: &str) -> Option<CheckReport> {
    serde_json::from_str(message.trim()).ok()
}

fn finished_at(ended: &ContainerStateTerminated) -> Option<Timestamp> {
    ended.finished_at.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests;
