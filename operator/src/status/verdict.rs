//! The condition `Ready` of a ReplicaSink, and everything that follows from the same thought: the
//! phase and the error that a person should read.
//!
//! The first thing that stands in the way is named, from the resource (spec, source, Secrets) over
//! the check and the pod to what the agent says itself.

mod agent;
mod pod;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use sluice_agent_api::AgentStatus;
use sluice_crds::status::Phase;

use crate::{
    model::{CheckState, PausedBy, Problem, SinkFacts},
    status::{
        condition::{State, Truth, find},
        prerequisites, upstream,
    },
};

pub(crate) use agent::{reason_of, stall_reason};

use agent::of_report;
use pod::{of_pod, of_trouble, silence};

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
    pub(super) fn calm(
        truth: Truth,
        reason: &str,
        phase: Phase,
        message: impl Into<String>,
    ) -> Self {
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
    let told = told.map(|told| upstream::weigh(told, facts.upstream.as_ref()));
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
