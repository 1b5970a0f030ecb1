//! What a pod says about itself, and why it does not run. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::model::{PodState, PodTrouble};

/// The scheduler finds no node.
pub(crate) const UNSCHEDULABLE: &str = "AgentUnschedulable";
/// The image can't be had.
pub(crate) const IMAGE_PULL: &str = "AgentImagePull";
/// The process ends again and again.
pub(crate) const CRASH_LOOPING: &str = "AgentCrashLooping";
/// Anything else that keeps a pod from running.
pub(crate) const NOT_STARTED: &str = "AgentNotStarted";

/// So many restarts are not an accident any more.
const CRASHES_MIN: i32 = 2;

/// The longest piece of somebody else's message that is shown.
const MESSAGE_LENGTH_MAX: usize = 700;

const IMAGE_REASONS: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
];
const CONFIG_REASONS: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PostStartHookError",
];

/// The pod that counts: the newest of those that are not being deleted, or else the newest.
pub(crate) fn current(pods: &[Arc<Pod>]) -> Option<&Pod> {
    let newest = |pod: &&Arc<Pod>| {
        (
            pod.metadata.deletion_timestamp.is_none(),
            pod.creation_timestamp(),
        )
    };
    pods.iter().max_by_key(newest).map(Arc::as_ref)
}

/// What matters of a pod.
pub(crate) fn pod_state(pod: &Pod) -> PodState {
    let container = container(pod);
    let state = container.and_then(|container| container.state.as_ref());
    let running = state.and_then(|state| state.running.as_ref());
    let last_state = container.and_then(|container| container.last_state.as_ref());
    let last_exit = ended(state).or_else(|| ended(last_state));
    let status = pod.status.as_ref();
    PodState {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        address: status.and_then(|status| status.pod_ip.clone()),
        created_at: pod.creation_timestamp().map(|time| time.0),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        running: running.is_some() && !is_over(pod),
        running_since: running.and_then(|running| Some(running.started_at.as_ref()?.0)),
        restarts: container.map_or(0, |container| container.restart_count),
        last_exit: last_exit.map(exit),
        trouble: trouble(pod),
    }
}

/// Why a pod does not run: none while it runs, or may be about to.
pub(crate) fn trouble(pod: &Pod) -> Option<PodTrouble> {
    evicted(pod).or_else(|| unschedulable(pod)).or_else(|| {
        let container = container(pod)?;
        let state = container.state.as_ref()?;
        waiting(container, state).or_else(|| stopped(container, state))
    })
}

/// The beginning of a message that is too long, on one line, without the full stop of its sentence.
pub(crate) fn shortened(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MESSAGE_LENGTH_MAX {
        return line.trim_end_matches('.').to_owned();
    }
    let start: String = line.chars().take(MESSAGE_LENGTH_MAX).collect();
    format!("{start}…")
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// The first container: pods of Sluice's have no other, but a mesh may have injected one behind it.
fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let named = |status: &&ContainerStatus| matches!(status.name.as_str(), "agent" | "check");
    statuses.iter().find(named).or_else(|| statuses.first())
}

fn evicted(pod: &Pod) -> Option<PodTrouble> {
    let status = pod.status.as_ref()?;
    let reason = status.reason.as_deref()?;
    let failed = status.phase.as_deref() == Some("Failed");
    failed.then(|| {
        let message = status.message.as_deref().unwrap_or("no message");
        PodTrouble {
            reason: NOT_STARTED,
            message: shortened(&format!("{reason}: {message}")),
        }
    })
}

fn unschedulable(pod: &Pod) -> Option<PodTrouble> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
    let message = condition.message.as_deref().unwrap_or("no message");
    Some(PodTrouble {
        reason: UNSCHEDULABLE,
        message: shortened(&format!("{reason}: {message}")),
    })
}

fn waiting(container: &ContainerStatus, state: &ContainerState) -> Option<PodTrouble> {
    let waiting = state.waiting.as_ref()?;
    let kind = waiting.reason.as_deref()?;
    let text = waiting.message.as_deref().unwrap_or_default();
    if IMAGE_REASONS.contains(&kind) {
        return Some(PodTrouble {
            reason: IMAGE_PULL,
            message: shortened(&format!("{kind}: image {}: {text}", container.image)),
        });
    }
    if CONFIG_REASONS.contains(&kind) {
        return Some(PodTrouble {
            reason: NOT_STARTED,
            message: shortened(&format!("{kind}: {text}")),
        });
    }
    (kind == "CrashLoopBackOff").then(|| crash(container, kind))
}

/// A container that has ended and is not started again yet.
fn stopped(container: &ContainerStatus, state: &ContainerState) -> Option<PodTrouble> {
    state.terminated.as_ref()?;
    let mut trouble = crash(container, "Stopped");
    if container.restart_count < CRASHES_MIN {
        trouble.reason = NOT_STARTED;
    }
    Some(trouble)
}

fn crash(container: &ContainerStatus, kind: &str) -> PodTrouble {
    let last = ended(container.state.as_ref()).or_else(|| ended(container.last_state.as_ref()));
    let last = last.map_or_else(|| "no exit code is known".to_owned(), exit);
    let restarts = match container.restart_count {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        count => format!(", restarted {count} times"),
    };
    PodTrouble {
        reason: CRASH_LOOPING,
        message: format!("{kind}{restarts}: {last}"),
    }
}

fn ended(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state?.terminated.as_ref()
}

/// How a container ended, in words: the reason where it says more than the code, and what the
/// process left in its termination message.
fn exit(ended: &ContainerStateTerminated) -> String {
    let reason = ended.reason.as_deref().unwrap_or_default();
    let code = match reason {
        "" | "Error" | "Completed" => format!("exit code {}", ended.exit_code),
        reason => format!("{reason}, exit code {}", ended.exit_code),
    };
    match ended.message.as_deref().map(str::trim) {
        None | Some("") => code,
        Some(message) => shortened(&format!("{code}: {message}")),
    }
}

#[cfg(test)]
mod tests;
