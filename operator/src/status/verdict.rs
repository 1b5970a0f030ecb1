//! The condition `Ready` of a ReplicaSink, and everything that follows from the same thought: the
//! phase and the error that a person should read.
//!
//! The first thing that stands in the way is named, from the resource (spec, source, Secrets) over
//! the check and the pod to what the agent says itself.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use sluice_agent_api::{
    AgentStatus,
    status::{LastError, Phase as AgentPhase, StalledOn, TableStatus},
};
use sluice_crds::status::Phase;

use crate::{
    model::{AgentAnswer, CheckState, PausedBy, PodState, PodTrouble, Problem, SinkFacts},
    observe::pod::{CRASH_LOOPING, IMAGE_PULL, NOT_STARTED, UNSCHEDULABLE},
    status::{
        SILENCE_MAX,
        condition::{State, Truth, find, holds, rfc3339},
        phase, prerequisites,
        report::{is_late, was_late},
    },
};

/// A process that listens within this time after its start is not silent.
const START_TIME: SignedDuration = SignedDuration::from_secs(10);
/// A process that ended again and again has to run for this long to be believed.
const CRASH_FREE_TIME: SignedDuration = SignedDuration::from_secs(30);
/// An agent calls itself not ready above some lag of its own; below this it means something else.
const AGENT_LAG_SECONDS_MAX: f64 = 30.0;
/// Tables that are named in a message.
const TABLES_SHOWN_MAX: usize = 3;

/// What is thought of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// Whether it is ready.
    pub(crate) truth: Truth,
    /// In CamelCase.
    pub(crate) reason: String,
    /// What it does.
    pub(crate) phase: Phase,
    /// For people; without the remedy of `trouble`, if there is one.
    pub(crate) message: String,
    /// What should be mended.
    pub(crate) trouble: Option<Trouble>,
}

/// Something to be mended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Trouble {
    /// What happened, and where.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// When, as far as somebody said it.
    pub(crate) at: Option<String>,
}

impl Verdict {
    /// Something that is as it should be, or passes by itself.
    fn calm(truth: Truth, reason: &str, phase: Phase, message: impl Into<String>) -> Self {
        Self {
            truth,
            reason: reason.to_owned(),
            phase,
            message: message.into(),
            trouble: None,
        }
    }

    /// Something that a person should look at.
    fn trouble(reason: &str, phase: Phase, message: impl Into<String>, hint: &str) -> Self {
        let message = message.into();
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Self {
            truth: Truth::False,
            reason: reason.to_owned(),
            phase,
            message: message.clone(),
            trouble: Some(Trouble {
                message,
                hint,
                at: None,
            }),
        }
    }

    /// With a word about records that are kept aside, if there are any and nothing is worse.
    pub(crate) fn with_dead_letters(mut self, kept: bool) -> Self {
        if kept && self.truth == Truth::True {
            self.message.push_str(
                " Some records were refused and are kept aside: see sluice.dead_letters.",
            );
        }
        self
    }

    /// The condition: what is, and what to do about it.
    pub(crate) fn state(&self) -> State {
        let hint = self
            .trouble
            .as_ref()
            .and_then(|trouble| trouble.hint.as_ref());
        let message = match hint {
            Some(hint) => format!("{} Remedy: {hint}", sentence(&self.message)),
            None => sentence(&self.message),
        };
        State::new(self.truth, &self.reason, message)
    }
}

/// What is thought of a ReplicaSink. `report` is what its agent says at present.
pub(crate) fn of_sink(
    facts: &SinkFacts,
    report: Option<&AgentStatus>,
    previous: &[Condition],
    now: Timestamp,
) -> Verdict {
    let told = report.map(|report| of_report(report, facts, previous));
    let flows = told
        .as_ref()
        .is_some_and(|verdict| verdict.truth == Truth::True);
    let phase = told.as_ref().map(|verdict| verdict.phase);
    if let Some(problem) = &facts.problem
        && !(flows && problem.reason == "ReadFailed")
    {
        return of_problem(problem, phase);
    }
    if let Some(by) = facts.paused {
        return paused(by);
    }
    if flows && let Some(told) = told {
        return told;
    }
    of_check(facts, phase, previous)
        .or_else(|| of_pod(facts, report, previous, now))
        .or(told)
        .unwrap_or_else(|| silence(facts, now))
}

/// The name of an agent's error, as far as it is one.
pub(crate) fn reason_of(error: &LastError) -> String {
    let is_name = error
        .reason
        .starts_with(|first: char| first.is_ascii_uppercase())
        && error.reason.chars().all(|c| c.is_ascii_alphanumeric());
    if is_name {
        error.reason.clone()
    } else {
        "AgentError".to_owned()
    }
}

/// The reason for a stall.
pub(crate) fn stall_reason(on: StalledOn) -> &'static str {
    match on {
        StalledOn::Source => "SourceStalled",
        StalledOn::Target => "TargetStalled",
    }
}

/// A message as a sentence: with a capital, unless it begins with a name, and with a full stop,
/// unless it ends in one or in a statement.
pub(crate) fn sentence(message: &str) -> String {
    let message = message.trim();
    let first = message.split(' ').next().unwrap_or_default();
    let is_word = !first.is_empty() && first.chars().all(|c| c.is_ascii_lowercase());
    let mut text = if is_word {
        let (capital, rest) = message.split_at(1);
        format!("{}{rest}", capital.to_ascii_uppercase())
    } else {
        message.to_owned()
    };
    if !text.is_empty() && !text.ends_with(['.', '!', '?', ';', '…']) {
        text.push('.');
    }
    text
}

fn of_problem(problem: &Problem, phase: Option<Phase>) -> Verdict {
    let stopped = match problem.reason {
        "InvalidSpec" | "ApplyFailed" => Phase::Failed,
        _ => Phase::Pending,
    };
    // An agent that runs goes on with what it was made for.
    Verdict::trouble(
        problem.reason,
        phase.unwrap_or(stopped),
        &*problem.message,
        "",
    )
}

fn paused(by: PausedBy) -> Verdict {
    let whose = match by {
        PausedBy::Sink => "spec.paused",
        PausedBy::Source => "spec.paused of its ReplicationSource",
    };
    let message = format!(
        "Paused by {whose}: the position is kept as long as the source keeps its log. Set it to \
         false to go on."
    );
    Verdict::calm(Truth::False, "Paused", Phase::Paused, message)
}

fn of_check(facts: &SinkFacts, phase: Option<Phase>, previous: &[Condition]) -> Option<Verdict> {
    const REASON: &str = "PrerequisitesNotMet";
    let has_agent = facts.observation.stateful_set.is_some();
    match &facts.observation.check {
        CheckState::Failed { checks, .. } => {
            let message = prerequisites::failed(checks);
            let phase = phase.unwrap_or(Phase::Failed);
            Some(Verdict::trouble(REASON, phase, message, ""))
        }
        _ if has_agent => None,
        CheckState::Waiting | CheckState::Running(None) => Some(being_checked(previous)),
        CheckState::Running(Some(trouble)) => Some(of_trouble(trouble, None)),
        CheckState::Broken { message, .. } => Some(Verdict::trouble(
            REASON,
            Phase::Pending,
            format!("The check of the prerequisites ended without a report: {message}"),
            "none for now: the check is made again after a minute; if it ends like this again, see \
             kubectl describe job",
        )),
        CheckState::Passed(_) | CheckState::Disabled => None,
    }
}

/// While the check runs, what the last one found goes on being true.
fn being_checked(previous: &[Condition]) -> Verdict {
    let failed = find(previous, "PrerequisitesMet").filter(|met| met.status == "False");
    match failed {
        Some(failed) => {
            Verdict::trouble("PrerequisitesNotMet", Phase::Failed, &*failed.message, "")
        }
        None => Verdict::calm(
            Truth::Unknown,
            "CheckRunning",
            Phase::Pending,
            "The prerequisites are being checked; the agent starts when they are met.",
        ),
    }
}

fn of_pod(
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
fn of_trouble(trouble: &PodTrouble, agent: Option<&str>) -> Verdict {
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
fn silence(facts: &SinkFacts, now: Timestamp) -> Verdict {
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

fn of_report(report: &AgentStatus, facts: &SinkFacts, previous: &[Condition]) -> Verdict {
    let phase = phase(report);
    stopped_by(report, phase)
        .or_else(|| late(report, phase, facts.lag_threshold_seconds, previous))
        .or_else(|| tables(report, phase, "Failed"))
        .or_else(|| tables(report, phase, "Paused"))
        .or_else(|| connecting(report, facts))
        .or_else(|| snapshotting(report, phase, previous))
        .unwrap_or_else(|| flowing(report, phase))
}

fn stopped_by(report: &AgentStatus, phase: Phase) -> Option<Verdict> {
    if let Some(error) = &report.last_error {
        let hint = error.hint.as_deref().unwrap_or_default();
        let mut verdict = Verdict::trouble(&reason_of(error), phase, &*error.message, hint);
        if let Some(trouble) = &mut verdict.trouble
            && !error.at.is_empty()
        {
            trouble.at = Some(error.at.clone());
        }
        return Some(verdict);
    }
    if let Some(stall) = &report.stalled {
        let hint = stall.hint.as_deref().unwrap_or_default();
        let reason = stall_reason(stall.on);
        return Some(Verdict::trouble(reason, phase, &*stall.message, hint));
    }
    (report.phase == AgentPhase::Failed).then(|| {
        let message = "The agent has stopped and does not say why";
        Verdict::trouble("AgentFailed", phase, message, "see the agent's log")
    })
}

fn late(
    report: &AgentStatus,
    phase: Phase,
    threshold: f64,
    previous: &[Condition],
) -> Option<Verdict> {
    if is_late(report, threshold, was_late(previous)) != Some(true) {
        return None;
    }
    let message =
        format!("The replica is more than {threshold} s behind (spec.lagThresholdSeconds)");
    let hint = if phase == Phase::Snapshotting {
        "wait for the copy of present rows to end: both share the target's time"
    } else {
        "see what holds up the target (locks, disk, missing indexes), or give it time to catch up \
         while the rate is above the source's"
    };
    Some(Verdict::trouble("LagTooHigh", phase, message, hint))
}

/// Tables that wait for a person, in one of two ways.
fn tables(report: &AgentStatus, phase: Phase, table_phase: &str) -> Option<Verdict> {
    let waiting: Vec<(&String, &TableStatus)> = report
        .tables
        .iter()
        .filter(|(_, table)| table.phase == table_phase)
        .collect();
    let (first, table) = waiting.first()?;
    let names: Vec<&str> = waiting
        .iter()
        .take(TABLES_SHOWN_MAX)
        .map(|(name, _)| name.as_str())
        .collect();
    let more = match waiting.len().saturating_sub(TABLES_SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (reason, does) = match table_phase {
        "Paused" => ("TablePaused", "waits by policy"),
        _ => ("TableFailed", "can't go on"),
    };
    let error = table.error.as_ref();
    let why = error.map_or("no reason is known", |error| error.message.as_str());
    let subject = match waiting.len() {
        1 => format!("Table {first} {does}"),
        count => format!(
            "{count} tables ({}{more}) {}; {first}",
            names.join(", "),
            if reason == "TablePaused" {
                "wait by policy"
            } else {
                "can't go on"
            }
        ),
    };
    let hint = error.and_then(|error| error.hint.clone()).unwrap_or_else(|| {
        format!(
            "mend it, then copy the table again: kubectl annotate replicasink {} sluice.dev/resnapshot={first}",
            report.sink
        )
    });
    let message = format!(
        "{subject}: {}; the other tables go on",
        why.trim_end_matches('.')
    );
    Some(Verdict::trouble(reason, phase, message, &hint))
}

/// Nothing flows yet, and nothing is wrong.
fn connecting(report: &AgentStatus, facts: &SinkFacts) -> Option<Verdict> {
    let calm = |reason, phase, text: String| Some(Verdict::calm(Truth::False, reason, phase, text));
    match report.phase {
        AgentPhase::Pending => {
            let pod = facts.observation.pod.as_ref();
            let exit = pod.and_then(|pod| Some((pod.last_exit.as_deref()?, pod.restarts)));
            let text = "The agent connects to source and target";
            let text = match exit {
                Some((exit, restarts)) if restarts > 0 => {
                    format!("{text}; it was restarted after {exit}.")
                }
                _ => format!("{text}."),
            };
            calm("Connecting", Phase::Pending, text)
        }
        AgentPhase::Stopped if !report.ready => calm(
            "Stopped",
            Phase::Idle,
            "The agent has ended: with snapshot.mode Only, nothing is followed after the copy."
                .to_owned(),
        ),
        AgentPhase::Streaming if report.lag.seconds.is_none() => calm(
            "CatchingUp",
            Phase::Streaming,
            "The agent follows the log, but it is not known yet how far the replica is behind."
                .to_owned(),
        ),
        AgentPhase::Streaming if !report.ready && !is_only_late(report) => calm(
            "AgentNotReady",
            Phase::Streaming,
            "The agent follows the log and yet calls itself not ready: nothing has moved in it \
             for a while. If this lasts, see its log."
                .to_owned(),
        ),
        _ => None,
    }
}

/// Whether an agent may call itself not ready only because of the lag, which the resource allows.
fn is_only_late(report: &AgentStatus) -> bool {
    let lag = report.lag.seconds;
    lag.is_some_and(|seconds| seconds >= AGENT_LAG_SECONDS_MAX)
}

/// The copy is not complete. A replica that was ready stays so while some table is copied (again):
/// the rows of the others flow.
fn snapshotting(report: &AgentStatus, phase: Phase, previous: &[Condition]) -> Option<Verdict> {
    if report.phase != AgentPhase::Snapshotting {
        return None;
    }
    let some_stream = report
        .tables
        .values()
        .any(|table| table.phase == "Streaming");
    if holds(previous, "Ready") && some_stream && report.ready {
        let text = "The replica follows the source; some tables are being copied meanwhile.";
        return Some(Verdict::calm(Truth::True, "Streaming", phase, text));
    }
    let text =
        "Present rows are being copied; the replica is not complete yet (see status.snapshot).";
    Some(Verdict::calm(Truth::False, "Snapshotting", phase, text))
}

fn flowing(report: &AgentStatus, phase: Phase) -> Verdict {
    let (reason, text) = if report.phase == AgentPhase::Stopped {
        (
            "Complete",
            "Present rows are copied; nothing is followed with snapshot.mode Only.",
        )
    } else {
        (
            "Streaming",
            "The replica follows the source; a rate of 0 means that there is nothing to send.",
        )
    };
    Verdict::calm(Truth::True, reason, phase, text)
}
