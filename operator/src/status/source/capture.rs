//! A ReplicationSource that is captured into Kafka: its agent is looked at as that of a replica is.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use sluice_crds::{ReplicaSinkStatus, ReplicationSourceStatus};

use crate::{
    model::{Observation, PausedBy, SinkFacts, SourceFacts},
    status::sink_status,
};

/// The status that the agent makes.
pub(super) fn status(
    facts: &SourceFacts,
    observation: &Observation,
    previous: &ReplicationSourceStatus,
    now: Timestamp,
) -> ReplicationSourceStatus {
    let seen = SinkFacts {
        key: facts.key.clone(),
        generation: facts.generation,
        target: None,
        // Its own field: nobody else pauses it.
        paused: facts.paused.then_some(PausedBy::Sink),
        lag_threshold_seconds: facts.lag_threshold_seconds,
        problem: facts.problem.clone(),
        observation: observation.clone(),
        upstream: None,
    };
    let before = ReplicaSinkStatus {
        observed_generation: previous.observed_generation,
        phase: previous.phase,
        conditions: previous.conditions.clone(),
        position: previous.position.clone(),
        lag: previous.lag.clone(),
        snapshot: previous.snapshot.clone(),
        rate: previous.rate.clone(),
        last_error: previous.last_error.clone(),
        ..ReplicaSinkStatus::default()
    };
    let mut made = sink_status(&seen, Some(&before), now);
    for condition in &mut made.conditions {
        reword(condition, facts.lag_threshold_seconds);
    }
    ReplicationSourceStatus {
        observed_generation: made.observed_generation,
        kind: facts
            .kind
            .map(str::to_owned)
            .or_else(|| previous.kind.clone()),
        phase: made.phase,
        conditions: made.conditions,
        position: made.position,
        lag: made.lag,
        kafka: made.kafka,
        snapshot: made.snapshot,
        rate: made.rate,
        last_error: made.last_error,
    }
}

/// What is said of a replica is true of the topics here.
fn reword(condition: &mut Condition, threshold: f64) {
    if condition.type_ != "LagWithinThreshold" {
        return;
    }
    let how = match condition.reason.as_str() {
        "LagTooHigh" => "more than",
        "LagWithinThreshold" => "at most",
        _ => return,
    };
    condition.message = format!(
        "The topics are {how} {threshold} s behind the database (spec.lagThresholdSeconds)."
    );
}
