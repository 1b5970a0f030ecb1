//! A ReplicationSource that is captured into Kafka: its agent is looked at as that of a replica is.

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{ReplicaSinkStatus, ReplicationSourceStatus, status::LastError};

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
        condition.message = of_topics(&condition.message);
    }
    if let Some(error) = &mut made.last_error {
        error.message = of_topics(&error.message);
        let is_same =
            |known: &&LastError| known.reason == error.reason && known.message == error.message;
        if let Some(known) = previous.last_error.as_ref().filter(is_same) {
            error.at.clone_from(&known.at);
        }
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
fn of_topics(message: &str) -> String {
    message
        .replace("The replica follows", "The topics follow")
        .replace("The replica is", "The topics are")
        .replace("the replica is", "the topics are")
}
