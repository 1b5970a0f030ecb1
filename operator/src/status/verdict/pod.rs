//! What is thought of an agent whose pod does not run, or whose process says nothing.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use sluice_agent_api::AgentStatus;
use sluice_crds::status::Phase;

use crate::{
    model::{AgentAnswer, PodState, PodTrouble, SinkFacts},
    observe::pod::{CRASH_LOOPING, IMAGE_PULL, NOT_STARTED, UNSCHEDULABLE},
    status::{
        SILENCE_MAX,
        condition::{Truth, find, rfc3339},
        verdict::Verdict,
    },
};

/// A process that listens within this time after its start is not silent.
const START_TIME: SignedDuration = SignedDuration::from_secs(10);
/// A process that ended again and again has to run for this long to be believed.
const CRASH_FREE_TIME: SignedDuration = SignedDuration::from_secs(30);

pub(super) fn of_pod(
    facts: &SinkFacts,
    report: Option<&AgentStatus>,
    previous: &[Condition],
    now: Timestamp,
) -> Option<Verdict> {
    let pending = |message: String| {
        Some(Verdict::calm(
            Truth::False,
            NOT_STARTED,
            Phase::Pending,
            message,
        ))
    };
    let Some(stateful_set) = &facts.observation.stateful_set else {
        return pending("The agent is about to be made.".to_owned());
    };
    let Some(pod) = &facts.observation.pod else {
        return match &stateful_set.problem {
            Some(problem) => Some(Verdict::trouble(
                NOT_STARTED,
                Phase::Pending,
                format!("The agent's pod is refused: {problem}"),
                "make room in the namespace's quota, or allow the pod where the message says",
            )),
            None if stateful_set.replicas > 1 => pending(format!(
                "Of {} agents, {} are ready; the pods of some are about to be made.",
                stateful_set.replicas, facts.observation.ready_replicas
            )),
            None => pending("The agent's pod is about to be made.".to_owned()),
        };
    };
    if pod.terminating {
        return pending(going(pod));
    }
    if let Some(trouble) = &pod.trouble {
        return Some(of_trouble(trouble, Some(&pod.name)));
    }
    if let Some(crash) = unproven(pod, report, previous, now) {
        return Some(crash);
    }
    if !pod.running {
        return pending(format!("The agent's pod {} is starting.", pod.name));
    }
    None
}

fn going(pod: &PodState) -> String {
    let node = pod.node.as_deref().unwrap_or("its node");
    format!(
        "The agent's pod {} is being deleted; the next one starts when it is gone. If {node} is gone \
         for good: kubectl delete pod {} --force.",
        pod.name, pod.name
    )
}

/// A pod that was crash-looping and runs at the moment: not trusted before it has run for a while.
fn unproven(
    pod: &PodState,
    report: Option<&AgentStatus>,
    previous: &[Condition],
    now: Timestamp,
) -> Option<Verdict> {
    let looped = find(previous, "Ready").is_some_and(|ready| ready.reason == CRASH_LOOPING);
    let proven = pod
        .running_since
        .is_some_and(|since| now.duration_since(since) >= CRASH_FREE_TIME);
    let explained = report.is_some_and(|report| report.last_error.is_some());
    if !looped || proven || explained {
        return None;
    }
    let exit = pod.last_exit.as_deref().unwrap_or("no exit code is known");
    let trouble = PodTrouble {
        reason: CRASH_LOOPING,
        message: format!("CrashLoopBackOff, restarted {} times: {exit}", pod.restarts),
    };
    Some(of_trouble(&trouble, Some(&pod.name)))
}

/// What keeps the agent's pod from running, or the check's when no name is given.
pub(super) fn of_trouble(trouble: &PodTrouble, agent: Option<&str>) -> Verdict {
    let message = &trouble.message;
    let whose = agent.map_or_else(
        || "check's pod".to_owned(),
        |name| format!("agent's pod {name}"),
    );
    let name = agent.map_or_else(String::new, |name| format!(" {name}"));
    let logs = format!("kubectl logs --previous{name}");
    let describe = format!("kubectl describe pod{name}");
    let (text, phase, hint) = match trouble.reason {
        UNSCHEDULABLE => (
            format!("The {whose} finds no node: {message}"),
            Phase::Pending,
            "add room, or lower spec.agent.resources, or mend spec.agent.nodeSelector, tolerations \
             and affinity",
        ),
        IMAGE_PULL => (
            format!("The image of the {whose} can't be pulled: {message}"),
            Phase::Pending,
            "mend spec.agent.image or the operator's --agent-image, or let the nodes pull it",
        ),
        CRASH_LOOPING if message.contains("OOMKilled") => (
            format!("The {whose} keeps running out of memory: {message}"),
            Phase::Failed,
            "raise spec.agent.resources.limits.memory, or lower the source's snapshot.chunkRows and \
             snapshot.parallelism",
        ),
        CRASH_LOOPING => (
            format!("The {whose} keeps ending: {message}"),
            Phase::Failed,
            logs.as_str(),
        ),
        _ if message.contains("OOMKilled") => (
            format!("The {whose} ran out of memory and is started again: {message}"),
            Phase::Pending,
            "raise spec.agent.resources.limits.memory if it happens again",
        ),
        _ => (
            format!("The {whose} does not run: {message}"),
            Phase::Pending,
            describe.as_str(),
        ),
    };
    Verdict::trouble(trouble.reason, phase, text, hint)
}

/// The pod runs, and there is nothing that its agent says.
pub(super) fn silence(facts: &SinkFacts, now: Timestamp) -> Verdict {
    let pod = facts.observation.pod.as_ref();
    let name = pod.map_or("", |pod| pod.name.as_str());
    let started = |since: Timestamp| now.duration_since(since) < START_TIME;
    let young = pod.and_then(|pod| pod.running_since).is_some_and(started);
    let (since, error) = match &facts.observation.agent {
        AgentAnswer::Silent { since, error, .. }
            if !young && now.duration_since(*since) >= SILENCE_MAX =>
        {
            (*since, error)
        }
        _ => {
            let text = format!("The agent's pod {name} runs and has not said yet how it is doing.");
            return Verdict::calm(Truth::False, NOT_STARTED, Phase::Pending, text);
        }
    };
    let node = pod.and_then(|pod| pod.node.as_deref());
    let on = node.map_or_else(String::new, |node| format!(" on {node}"));
    Verdict::trouble(
        "AgentUnreachable",
        Phase::Pending,
        format!(
            "The agent (pod {name}{on}) has not answered since {}: {error}",
            rfc3339(since)
        ),
        &format!(
            "see whether the node is up and a NetworkPolicy lets the operator reach port 8080; \
             kubectl logs {name}; if the node is gone for good, kubectl delete pod {name} --force"
        ),
    )
}
