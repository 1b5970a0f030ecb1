//! What is thought of a pipeline whose agent answers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sluice_agent_api::{
    AgentStatus,
    status::{LastError, Phase as AgentPhase, StalledOn, TableStatus},
};
use sluice_crds::status::Phase;

use crate::{
    model::SinkFacts,
    status::{
        condition::{Truth, holds},
        phase,
        report::{is_late, was_late},
        verdict::Verdict,
    },
};

/// An agent calls itself not ready above some lag of its own; below this it means something else.
const AGENT_LAG_SECONDS_MAX: f64 = 30.0;
/// Tables that are named in a message.
const TABLES_SHOWN_MAX: usize = 3;

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

pub(super) fn of_report(
    report: &AgentStatus,
    facts: &SinkFacts,
    previous: &[Condition],
) -> Verdict {
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
