//! The status of a ReplicationSource. In direct mode it has no agent of its own: it is as its
//! sinks are. Captured into Kafka, it is as its agent is.
//!
//! A sink that is paused on its own does not count, as long as another one is not.

mod capture;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use sluice_crds::{
    ReplicaSinkStatus, ReplicationSourceStatus,
    status::{Lag, LastError, Phase, Rate, SnapshotProgress},
};

use crate::{
    model::{CheckState, SourceFacts},
    status::{
        condition::{Conditions, State, Truth, find, holds, rfc3339},
        prerequisites,
        verdict::sentence,
    },
};

/// Sinks that are named in a message.
const SINKS_SHOWN_MAX: usize = 3;

/// A sink's name and what is known of it.
type Sink<'a> = (&'a str, &'a ReplicaSinkStatus);

/// The status of a ReplicationSource.
pub(crate) fn source_status(
    facts: &SourceFacts,
    previous: Option<&ReplicationSourceStatus>,
    now: Timestamp,
) -> ReplicationSourceStatus {
    let empty = ReplicationSourceStatus::default();
    let previous = previous.unwrap_or(&empty);
    if let Some(observation) = &facts.capture {
        return capture::status(facts, observation, previous, now);
    }
    let sinks = active(facts);
    let ready = ready(facts, &sinks, &previous.conditions);
    let last_error = last_error(facts, &sinks, &ready, previous.last_error.as_ref(), now);
    let furthest = furthest_behind(&sinks);
    let mut conditions = Conditions::new(&previous.conditions, facts.generation, now);
    conditions.add("Ready", ready);
    prerequisites::add(&facts.check, &mut conditions);
    let nobody = if facts.sinks.is_empty() {
        State::new(
            Truth::Unknown,
            "NoSinks",
            "Not known: no ReplicaSink names it.",
        )
    } else {
        let text = "Nothing is known yet of the ReplicaSinks that name it.";
        State::new(Truth::Unknown, "SinksUnknown", text)
    };
    for kind in ["SnapshotComplete", "Streaming", "LagWithinThreshold"] {
        conditions.add(kind, all(kind, &sinks).unwrap_or_else(|| nobody.clone()));
    }
    let risk = any("PositionAtRisk", &sinks).unwrap_or(nobody);
    conditions.add("PositionAtRisk", risk);
    ReplicationSourceStatus {
        observed_generation: facts.generation,
        kind: facts
            .kind
            .map(str::to_owned)
            .or_else(|| previous.kind.clone()),
        phase: Some(phase(facts, &sinks)),
        conditions: conditions.into_list(),
        position: furthest
            .and_then(|(_, sink)| sink.position.clone())
            .or_else(|| {
                previous
                    .position
                    .clone()
                    .filter(|_| !facts.sinks.is_empty())
            }),
        lag: lag(&sinks),
        kafka: None,
        snapshot: snapshot(&sinks),
        rate: rate(&sinks),
        last_error,
    }
}

/// The sinks that count, by name: those that were not paused one by one, or else all of them.
fn active(facts: &SourceFacts) -> Vec<Sink<'_>> {
    let known = |sink: &&Sink<'_>| sink.1.phase != Some(Phase::Paused);
    let all: Vec<Sink<'_>> = facts
        .sinks
        .iter()
        .filter_map(|(name, status)| Some((name.as_str(), status.as_deref()?)))
        .collect();
    let active: Vec<Sink<'_>> = all.iter().filter(known).copied().collect();
    if active.is_empty() { all } else { active }
}

fn phase(facts: &SourceFacts, sinks: &[Sink<'_>]) -> Phase {
    if let Some(problem) = &facts.problem
        && problem.reason == "InvalidSpec"
        && sinks.is_empty()
    {
        return Phase::Failed;
    }
    if facts.paused {
        return Phase::Paused;
    }
    if facts.sinks.is_empty() {
        let failed = matches!(facts.check, CheckState::Failed { .. });
        let missing = facts.problem.is_some();
        return match (failed, missing) {
            (true, _) => Phase::Failed,
            (false, true) => Phase::Pending,
            (false, false) => Phase::Idle,
        };
    }
    let phases = sinks.iter().filter_map(|(_, sink)| sink.phase);
    phases
        .max_by_key(|phase| badness(*phase))
        .unwrap_or_default()
}

/// The larger, the worse.
fn badness(phase: Phase) -> u8 {
    match phase {
        Phase::Idle => 0,
        Phase::Streaming => 1,
        Phase::Snapshotting => 2,
        Phase::Paused => 3,
        Phase::Pending => 4,
        Phase::Failed => 5,
    }
}

fn ready(facts: &SourceFacts, sinks: &[Sink<'_>], previous: &[Condition]) -> State {
    let state = |truth, reason: &str, text: &str| State::new(truth, reason, sentence(text));
    let ready = |sink: &Sink<'_>| holds(&sink.1.conditions, "Ready");
    let all_flow = !sinks.is_empty() && sinks.iter().all(ready);
    if let Some(problem) = &facts.problem
        && !(all_flow && problem.reason == "ReadFailed")
    {
        return state(Truth::False, problem.reason, &problem.message);
    }
    if facts.paused {
        let text = "Paused by spec.paused, with every ReplicaSink that names it: positions are kept \
                    as long as the source keeps its log. Set it to false to go on";
        return state(Truth::False, "Paused", text);
    }
    if facts.sinks.is_empty() {
        return without_sinks(&facts.check, previous);
    }
    if let CheckState::Failed { checks, .. } = &facts.check
        && !all_flow
    {
        let text = prerequisites::failed(checks);
        return state(Truth::False, "PrerequisitesNotMet", &text);
    }
    if sinks.len() < facts.sinks.len() && sinks.is_empty() {
        let text = "Nothing is known yet of the ReplicaSinks that name it";
        return state(Truth::Unknown, "SinksUnknown", text);
    }
    if all_flow {
        let text = match sinks.len() {
            1 => format!("ReplicaSink {} follows it", sinks[0].0),
            count => format!("{count} ReplicaSinks follow it"),
        };
        return state(Truth::True, "Streaming", &text);
    }
    let waiting: Vec<&Sink<'_>> = sinks.iter().filter(|sink| !ready(sink)).collect();
    state(Truth::False, "SinkNotReady", &named(&waiting, sinks.len()))
}

/// Nobody wants its rows: nothing is to be sent, provided that it could be.
fn without_sinks(check: &CheckState, previous: &[Condition]) -> State {
    let state = |truth, reason: &str, text: &str| State::new(truth, reason, sentence(text));
    let idle = "No ReplicaSink names it, so there is nothing to send";
    match check {
        CheckState::Passed(_) => state(
            Truth::True,
            "Idle",
            &format!("{idle}; its prerequisites are met"),
        ),
        CheckState::Disabled => state(Truth::True, "Idle", idle),
        CheckState::Failed { checks, .. } => state(
            Truth::False,
            "PrerequisitesNotMet",
            &prerequisites::failed(checks),
        ),
        CheckState::Broken { message, .. } => state(
            Truth::False,
            "PrerequisitesNotMet",
            &format!("The check ended without a report and is made again: {message}"),
        ),
        CheckState::Running(Some(trouble)) => state(
            Truth::False,
            trouble.reason,
            &format!("The check's pod does not start: {}", trouble.message),
        ),
        CheckState::Waiting | CheckState::Running(None) => {
            // What was found before goes on being true until something else is found.
            let met = find(previous, "PrerequisitesMet").map(|met| met.status.as_str());
            match (met, find(previous, "Ready")) {
                (Some("True" | "False"), Some(ready)) if is_about_check(ready) => State::new(
                    Truth::from(ready.status == "True"),
                    &ready.reason,
                    &*ready.message,
                ),
                _ => state(
                    Truth::Unknown,
                    "CheckRunning",
                    "Its prerequisites are being checked",
                ),
            }
        }
    }
}

fn is_about_check(ready: &Condition) -> bool {
    matches!(ready.reason.as_str(), "Idle" | "PrerequisitesNotMet")
}

/// `1 of 3 ReplicaSinks is not ready: shop-pg: TargetStalled: …`.
fn named(waiting: &[&Sink<'_>], total: usize) -> String {
    let mut text = match (waiting.len(), total) {
        (1, 1) => "Its ReplicaSink is not ready".to_owned(),
        (1, total) => format!("1 of {total} ReplicaSinks is not ready"),
        (count, total) => format!("{count} of {total} ReplicaSinks are not ready"),
    };
    let mut parts: Vec<String> = waiting
        .iter()
        .take(SINKS_SHOWN_MAX)
        .map(|(name, status)| about(name, status))
        .collect();
    if waiting.len() > SINKS_SHOWN_MAX {
        parts.push(format!("And {} more.", waiting.len() - SINKS_SHOWN_MAX));
    }
    text.extend([": ", &parts.join(" ")]);
    text
}

/// Why a sink is not ready.
fn about(name: &str, status: &ReplicaSinkStatus) -> String {
    match find(&status.conditions, "Ready") {
        Some(ready) => format!("{name} ({}): {}", ready.reason, sentence(&ready.message)),
        None => format!("{name}: nothing is known yet."),
    }
}

/// A condition that holds when it holds for every sink.
fn all(kind: &str, sinks: &[Sink<'_>]) -> Option<State> {
    fold(kind, sinks, ["False", "Unknown", "True"])
}

/// A condition that holds when it holds for some sink.
fn any(kind: &str, sinks: &[Sink<'_>]) -> Option<State> {
    fold(kind, sinks, ["True", "Unknown", "False"])
}

/// The condition of the first sink that has the most telling status.
fn fold(kind: &str, sinks: &[Sink<'_>], order: [&str; 3]) -> Option<State> {
    for status in order {
        for (name, sink) in sinks {
            let condition = find(&sink.conditions, kind);
            let Some(condition) = condition.filter(|condition| condition.status == status) else {
                continue;
            };
            let truth = match status {
                "True" => Truth::True,
                "False" => Truth::False,
                _ => Truth::Unknown,
            };
            let message = format!("{name}: {}", condition.message);
            return Some(State::new(truth, &condition.reason, message));
        }
    }
    None
}

/// The sink with the largest lag; one whose lag is unknown says nothing.
fn furthest_behind<'a>(sinks: &[Sink<'a>]) -> Option<Sink<'a>> {
    let known = sinks.iter().filter(|(_, sink)| sink.position.is_some());
    let lag = |sink: &Sink<'_>| seconds(sink.1).unwrap_or(-1.0);
    // The first of those that are equally far behind.
    known.copied().reduce(|worst, sink| {
        if lag(&sink) > lag(&worst) {
            sink
        } else {
            worst
        }
    })
}

fn seconds(sink: &ReplicaSinkStatus) -> Option<f64> {
    sink.lag.as_ref().and_then(|lag| lag.seconds)
}

fn lag(sinks: &[Sink<'_>]) -> Option<Lag> {
    let lags: Vec<&Lag> = sinks
        .iter()
        .filter_map(|(_, sink)| sink.lag.as_ref())
        .collect();
    // A lag that is not known may be the largest.
    if lags.is_empty() || lags.len() < sinks.len() {
        return None;
    }
    let seconds: Option<Vec<f64>> = lags.iter().map(|lag| lag.seconds).collect();
    let bytes: Option<Vec<i64>> = lags.iter().map(|lag| lag.bytes).collect();
    let records: Option<Vec<i64>> = lags.iter().map(|lag| lag.records).collect();
    Some(Lag {
        seconds: seconds.and_then(|seconds| seconds.into_iter().reduce(f64::max)),
        bytes: bytes.and_then(|bytes| bytes.into_iter().max()),
        records: records.and_then(|records| records.into_iter().max()),
    })
}

fn rate(sinks: &[Sink<'_>]) -> Option<Rate> {
    let rates = sinks.iter().filter_map(|(_, sink)| sink.rate.as_ref());
    rates
        .map(|rate| rate.rows_per_second)
        .reduce(|sum, rate| sum + rate)
        .map(|rows_per_second| Rate { rows_per_second })
}

fn snapshot(sinks: &[Sink<'_>]) -> Option<SnapshotProgress> {
    let parts = sinks.iter().filter_map(|(_, sink)| sink.snapshot.as_ref());
    parts.cloned().reduce(|sum, part| SnapshotProgress {
        tables_total: sum.tables_total + part.tables_total,
        tables_done: sum.tables_done + part.tables_done,
        rows_copied: sum.rows_copied + part.rows_copied,
        percent: sum.percent.min(part.percent),
    })
}

/// The source's own trouble, or that of its first sink that has one.
fn last_error(
    facts: &SourceFacts,
    sinks: &[Sink<'_>],
    ready: &State,
    previous: Option<&LastError>,
    now: Timestamp,
) -> Option<LastError> {
    if ready.truth != Truth::False || ready.reason == "Paused" {
        return None;
    }
    let own = facts.problem.is_some() || ready.reason != "SinkNotReady";
    if !own {
        return sinks.iter().find_map(|(_, sink)| sink.last_error.clone());
    }
    let at = previous
        .filter(|error| error.reason == ready.reason && error.message == ready.message)
        .and_then(|error| error.at.clone());
    Some(LastError {
        reason: ready.reason.clone(),
        message: ready.message.clone(),
        hint: None,
        at: Some(at.unwrap_or_else(|| rfc3339(now))),
    })
}
