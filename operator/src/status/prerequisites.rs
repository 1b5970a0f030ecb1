//! The condition `PrerequisitesMet`: what the check Job found.

use sluice_agent_api::status::{Check, CheckOutcome, CheckReport};

use crate::{
    model::CheckState,
    status::condition::{Conditions, State, Truth},
};

const KIND: &str = "PrerequisitesMet";

/// What is said of each failed check, at most so many of them.
const SHOWN_MAX: usize = 8;

/// Adds the condition. While a check runs again, what the last one found goes on being true.
pub(crate) fn add(check: &CheckState, conditions: &mut Conditions<'_>) {
    if matches!(check, CheckState::Waiting | CheckState::Running(_))
        && let Some(previous) = conditions.previous(KIND)
        && previous.status != "Unknown"
    {
        return conditions.keep(previous);
    }
    conditions.add(KIND, state(check));
}

fn state(check: &CheckState) -> State {
    match check {
        CheckState::Disabled => State::new(
            Truth::Unknown,
            "PreflightDisabled",
            "Nothing is checked: the operator runs with --preflight=false.",
        ),
        CheckState::Waiting => State::new(
            Truth::Unknown,
            "CheckWaiting",
            "The check has not started yet.",
        ),
        CheckState::Running(None) => State::new(
            Truth::Unknown,
            "CheckRunning",
            "The prerequisites are being checked.",
        ),
        CheckState::Running(Some(trouble)) => State::new(
            Truth::Unknown,
            "CheckNotStarted",
            format!("The check's pod does not start: {}.", trouble.message),
        ),
        CheckState::Passed(report) => passed(report),
        CheckState::Failed { checks, .. } => {
            State::new(Truth::False, "CheckFailed", failed(checks))
        }
        CheckState::Broken { message, .. } => State::new(
            Truth::Unknown,
            "CheckBroken",
            format!("The check ended without a report and is made again: {message}."),
        ),
    }
}

fn passed(report: &CheckReport) -> State {
    let warnings: Vec<&Check> = having(&report.checks, CheckOutcome::Warning);
    if warnings.is_empty() {
        return State::new(Truth::True, "ChecksPassed", "Every check passed.");
    }
    let text = format!("Every check passed, with drawbacks: {}", listed(&warnings));
    State::new(Truth::True, "ChecksPassed", text)
}

/// What failed, and how to mend it: `2 checks failed: …`.
pub(crate) fn failed(checks: &[Check]) -> String {
    let failed = having(checks, CheckOutcome::Failed);
    let count = match failed.len() {
        1 => "1 check failed".to_owned(),
        count => format!("{count} checks failed"),
    };
    format!("{count}: {}", listed(&failed))
}

fn having(checks: &[Check], outcome: CheckOutcome) -> Vec<&Check> {
    let checks = checks.iter();
    checks.filter(|check| check.outcome == outcome).collect()
}

fn listed(checks: &[&Check]) -> String {
    let shown = checks.iter().take(SHOWN_MAX).map(|check| sentence(check));
    let mut parts: Vec<String> = shown.collect();
    if checks.len() > SHOWN_MAX {
        parts.push(format!("And {} more.", checks.len() - SHOWN_MAX));
    }
    parts.join(" ")
}

fn sentence(check: &Check) -> String {
    let Check {
        subject,
        name,
        message,
        ..
    } = check;
    let message = message.trim_end_matches('.');
    match &check.remedy {
        Some(remedy) => format!("{subject} {name}: {message}. Remedy: {remedy}"),
        None => format!("{subject} {name}: {message}."),
    }
}
