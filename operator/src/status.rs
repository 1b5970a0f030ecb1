//! What is known becomes status: facts in, the two kinds' status out.
//!
//! Everything here is pure: no client, no clock; `now` is an argument, and so is the status that
//! was made before, which says since when things are as they are. `Ready` is True only when rows
//! flow or there is provably nothing to send. Figures that nobody answers for at the moment are
//! left out rather than repeated; the position and what is copied stay true and are kept.
//! Messages hold no figure that drifts, so that a steady pipeline is not written again and again.

mod condition;
mod figures;
mod patch;
mod prerequisites;
mod report;
mod source;
mod upstream;
mod verdict;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use sluice_agent_api::AgentStatus;
use sluice_crds::{
    ReplicaSinkSpec, ReplicaSinkStatus,
    status::{LastError, Phase},
};

use crate::model::{AgentAnswer, Observation, SinkFacts};

pub(crate) use patch::{Patch, Weighed, Weight, patch_due};
pub(crate) use source::source_status;

use condition::Conditions;
use verdict::Verdict;

/// How long an agent may be silent before nothing is known about it any more. With questions every
/// six seconds, and every three once one was not answered within two, this keeps a silent agent's
/// `Ready` honest within 15 s.
const SILENCE_MAX: SignedDuration = SignedDuration::from_secs(6);

/// The status of a ReplicaSink.
pub(crate) fn sink_status(
    facts: &SinkFacts,
    previous: Option<&ReplicaSinkStatus>,
    now: Timestamp,
) -> ReplicaSinkStatus {
    let empty = ReplicaSinkStatus::default();
    let previous = previous.unwrap_or(&empty);
    let report = current_report(&facts.observation, now);
    let report = report.map(|report| upstream::complete(report, facts.upstream.as_ref()));
    let report = report.as_deref();
    let dead_letters = dead_letters(report, previous.dead_letters);
    let kept = dead_letters.is_some_and(|count| count > 0);
    let verdict =
        verdict::of_sink(facts, report, &previous.conditions, now).with_dead_letters(kept);
    let conditions = sink_conditions(facts, report, &verdict, previous, now);
    let stateful_set = facts.observation.stateful_set.as_ref();
    ReplicaSinkStatus {
        observed_generation: facts.generation,
        target: facts.target.clone().or_else(|| previous.target.clone()),
        phase: Some(verdict.phase),
        conditions,
        position: report
            .and_then(|report| report.position.clone())
            .or_else(|| previous.position.clone()),
        lag: report.and_then(figures::lag),
        kafka: report.and_then(figures::kafka),
        snapshot: report
            .and_then(figures::snapshot)
            .or_else(|| previous.snapshot.clone()),
        rate: report.and_then(figures::rate),
        last_error: last_error(&verdict, previous.last_error.as_ref(), now),
        tables: report.and_then(figures::tables),
        dead_letters,
        conflicts: previous.conflicts,
        verification: previous.verification.clone(),
        replicas: Some(stateful_set.map_or(0, |set| set.replicas_present)),
        ready_replicas: Some(facts.observation.ready_replicas),
        selector: Some(selector(&facts.key.name)),
    }
}

/// Whether a replica is Ready.
pub(crate) fn is_ready(status: &ReplicaSinkStatus) -> bool {
    condition::holds(&status.conditions, "Ready")
}

/// Where a replica is, such as `postgres pg.shop.svc/shop`; none when the spec names no target.
pub(crate) fn target(spec: &ReplicaSinkSpec) -> Option<String> {
    if let Some(postgres) = &spec.postgres {
        return Some(format!("postgres {}/{}", postgres.host, postgres.database));
    }
    if let Some(mysql) = &spec.mysql {
        return Some(format!("mysql {}", mysql.host));
    }
    if let Some(clickhouse) = &spec.clickhouse {
        return Some(format!(
            "clickhouse {}/{}",
            clickhouse.host, clickhouse.database
        ));
    }
    if let Some(parquet) = &spec.parquet {
        let bucket = parquet.s3.as_ref().map(|s3| format!("s3://{}", s3.bucket));
        return bucket
            .or_else(|| parquet.path.clone())
            .map(|place| format!("parquet {place}"));
    }
    if let Some(opensearch) = &spec.opensearch {
        return Some(format!("opensearch {}", opensearch.url));
    }
    let kafka = spec.kafka.as_ref()?;
    Some(format!("kafka {}", kafka.bootstrap_servers))
}

/// What the agent says, as long as it can be taken for the present: it answered lately, and the
/// process that answered still runs.
fn current_report(observation: &Observation, now: Timestamp) -> Option<&AgentStatus> {
    let pod = observation.pod.as_ref()?;
    if !pod.running || pod.terminating {
        return None;
    }
    match &observation.agent {
        AgentAnswer::Answered(report) => Some(report),
        AgentAnswer::Silent {
            since,
            last: Some(report),
            ..
        } if now.duration_since(*since) < SILENCE_MAX => Some(report),
        AgentAnswer::Silent { .. } | AgentAnswer::NotAsked => None,
    }
}

fn sink_conditions(
    facts: &SinkFacts,
    report: Option<&AgentStatus>,
    verdict: &Verdict,
    previous: &ReplicaSinkStatus,
    now: Timestamp,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let mut conditions = Conditions::new(&previous.conditions, facts.generation, now);
    conditions.add("Ready", verdict.state());
    prerequisites::add(&facts.observation.check, &mut conditions);
    report::add(
        report,
        verdict,
        facts.lag_threshold_seconds,
        facts.upstream.as_ref(),
        &mut conditions,
    );
    conditions.into_list()
}

/// The error that a person should read; the time stays while the error is the same.
fn last_error(
    verdict: &Verdict,
    previous: Option<&LastError>,
    now: Timestamp,
) -> Option<LastError> {
    let trouble = verdict.trouble.as_ref()?;
    let same =
        previous.filter(|error| error.reason == verdict.reason && error.message == trouble.message);
    let at = same
        .and_then(|error| error.at.clone())
        .or_else(|| trouble.at.clone())
        .unwrap_or_else(|| condition::rfc3339(now));
    Some(LastError {
        reason: verdict.reason.clone(),
        message: trouble.message.clone(),
        hint: trouble.hint.clone(),
        at: Some(at),
    })
}

/// An agent counts from its own start; what was counted before is still in the target.
fn dead_letters(report: Option<&AgentStatus>, previous: Option<i64>) -> Option<i64> {
    report
        .map(|report| figures::whole(report.dead_letters))
        .max(previous)
}

fn selector(name: &str) -> String {
    use crate::model::{AGENT, COMPONENT_LABEL, SINK_LABEL};
    format!("{COMPONENT_LABEL}={AGENT},{SINK_LABEL}={name}")
}

/// The phase that an agent's own phase stands for.
fn phase(report: &AgentStatus) -> Phase {
    use sluice_agent_api::status::Phase as Agent;
    match report.phase {
        Agent::Pending => Phase::Pending,
        Agent::Snapshotting => Phase::Snapshotting,
        Agent::Streaming => Phase::Streaming,
        Agent::Stopped => Phase::Idle,
        Agent::Failed => Phase::Failed,
    }
}

#[cfg(test)]
pub(crate) mod tests;
