//! Facts about a pipeline that is well, and how a status is shown for comparing.

use std::{fmt::Write as _, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sluice_agent_api::{
    AgentStatus,
    status::{Check, CheckOutcome, CheckReport, Lag, Phase, SnapshotProgress, TableStatus},
};
use sluice_crds::{ReplicaSinkStatus, status::LastError};

use crate::{
    model::{
        AgentAnswer, CheckState, ObjectKey, Observation, PodState, PodTrouble, Problem, SinkFacts,
        StatefulSetState, phase_name,
    },
    status::*,
};

/// 2026-01-01T12:00:00Z, and so many seconds.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_268_800 + second).unwrap()
}

/// A sink of which nothing is known.
pub(crate) fn fresh() -> SinkFacts {
    SinkFacts {
        key: ObjectKey {
            namespace: "prod".to_owned(),
            name: "shop-pg".to_owned(),
        },
        generation: Some(1),
        target: Some("postgres pg.shop.svc/shop".to_owned()),
        paused: None,
        lag_threshold_seconds: 60.0,
        problem: None,
        observation: Observation::default(),
        upstream: None,
    }
}

/// A sink whose check passed and whose agent's pod runs since the hour, without an answer.
pub(crate) fn running() -> SinkFacts {
    let mut facts = fresh();
    facts.observation = Observation {
        check: CheckState::Passed(CheckReport::default()),
        stateful_set: Some(StatefulSetState {
            replicas: 1,
            replicas_present: 1,
            created_at: Some(at(0)),
            problem: None,
        }),
        pod: Some(PodState {
            name: "shop-pg-agent-0".to_owned(),
            uid: "u1".to_owned(),
            node: Some("node-1".to_owned()),
            address: Some("10.0.0.7".to_owned()),
            created_at: Some(at(0)),
            terminating: false,
            running: true,
            running_since: Some(at(0)),
            restarts: 0,
            last_exit: None,
            trouble: None,
        }),
        agent: AgentAnswer::NotAsked,
        ready_replicas: 0,
    };
    facts
}

/// A sink whose agent says this.
pub(crate) fn saying(report: AgentStatus) -> SinkFacts {
    let mut facts = running();
    facts.observation.agent = AgentAnswer::Answered(Arc::new(report));
    facts
}

/// A sink whose agent streams.
pub(crate) fn streaming() -> SinkFacts {
    saying(report())
}

/// A sink whose pod does not run.
pub(crate) fn troubled(reason: &'static str, message: &str) -> SinkFacts {
    let mut facts = running();
    if let Some(pod) = &mut facts.observation.pod {
        pod.running = false;
        pod.running_since = None;
        pod.trouble = Some(PodTrouble {
            reason,
            message: message.to_owned(),
        });
    }
    facts
}

/// A sink whose resource has a problem, and no agent.
pub(crate) fn refused(reason: &'static str, message: &str) -> SinkFacts {
    let mut facts = fresh();
    facts.problem = Some(Problem {
        reason,
        message: message.to_owned(),
    });
    facts
}

/// What an agent says that streams two tables.
pub(crate) fn report() -> AgentStatus {
    AgentStatus {
        pipeline: "prod/shop-pg".to_owned(),
        source: "shop".to_owned(),
        sink: "shop-pg".to_owned(),
        phase: Phase::Streaming,
        ready: true,
        position: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77".to_owned()),
        lag: Lag {
            seconds: Some(0.234),
            bytes: Some(1804),
            records: None,
        },
        snapshot: SnapshotProgress {
            tables_total: 2,
            tables_done: 2,
            rows_copied: 1_200_345,
            rows_estimated: 1_200_345,
            percent: 100,
        },
        rows_per_second: 1834.0,
        tables: ["shop.items", "shop.orders"]
            .map(|name| (name.to_owned(), table("Streaming")))
            .into(),
        retention_seconds: Some(2_592_000),
        ..AgentStatus::default()
    }
}

/// A table in this phase.
pub(crate) fn table(phase: &str) -> TableStatus {
    TableStatus {
        phase: phase.to_owned(),
        rows_copied: None,
        error: None,
    }
}

/// A check that came out like this.
pub(crate) fn check(name: &str, outcome: CheckOutcome, message: &str, remedy: &str) -> Check {
    Check {
        subject: "ReplicationSource/shop".to_owned(),
        name: name.to_owned(),
        outcome,
        message: message.to_owned(),
        remedy: Some(remedy.to_owned()),
    }
}

/// The status of a sink that had none before.
pub(crate) fn first(facts: &SinkFacts) -> ReplicaSinkStatus {
    sink_status(facts, None, at(3_600))
}

/// The status that `facts` bring at 13:00:10 to a sink that streamed at 13:00:00.
pub(crate) fn after_streaming(facts: &SinkFacts) -> ReplicaSinkStatus {
    let before = sink_status(&streaming(), None, at(3_600));
    sink_status(facts, Some(&before), at(3_610))
}

/// A status as text.
pub(crate) fn shown(status: &ReplicaSinkStatus) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            writeln!(text, "{name}: {value}").unwrap();
        }
    };
    line(
        "phase",
        status.phase.map(|phase| phase_name(phase).to_owned()),
    );
    line("target", status.target.clone());
    line("position", status.position.clone());
    line("lag", status.lag.as_ref().map(json));
    line("kafka", status.kafka.as_ref().map(json));
    line("snapshot", status.snapshot.as_ref().map(json));
    line("rate", status.rate.as_ref().map(json));
    line("tables", status.tables.as_ref().map(json));
    line("deadLetters", status.dead_letters.as_ref().map(json));
    line("replicas", status.replicas.as_ref().map(json));
    line("lastError", status.last_error.as_ref().map(error));
    text + &conditions(&status.conditions)
}

/// Conditions as text.
pub(crate) fn conditions(conditions: &[Condition]) -> String {
    let mut text = String::new();
    for condition in conditions {
        let Condition {
            type_,
            status,
            reason,
            message,
            last_transition_time,
            ..
        } = condition;
        let since = last_transition_time.0.strftime("%H:%M:%S");
        writeln!(text, "{type_}={status} {reason} since {since}\n  {message}").unwrap();
    }
    text
}

/// An error as text.
pub(crate) fn error(error: &LastError) -> String {
    let LastError {
        reason,
        message,
        hint,
        at,
    } = error;
    let hint = hint.as_deref().unwrap_or("-");
    let at = at.as_deref().unwrap_or("-");
    format!("{reason} at {at}\n  message: {message}\n  hint: {hint}")
}

/// A value as JSON.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}
