//! Golden statuses of ReplicationSources.

use std::{collections::BTreeMap, sync::Arc};

use insta::assert_snapshot;
use sluice_agent_api::status::{CheckOutcome, CheckReport, Stall, StalledOn};
use sluice_crds::{ReplicaSinkStatus, ReplicationSourceStatus};

use super::situation::*;
use crate::{
    model::{CheckState, ObjectKey, PausedBy, Problem, SourceFacts, phase_name},
    status::source_status,
};

pub(super) fn facts(sinks: Vec<(&str, Option<ReplicaSinkStatus>)>) -> SourceFacts {
    let sinks = sinks.into_iter();
    SourceFacts {
        key: ObjectKey {
            namespace: "prod".to_owned(),
            name: "shop".to_owned(),
        },
        generation: Some(1),
        kind: Some("mysql"),
        paused: false,
        lag_threshold_seconds: 60.0,
        problem: None,
        check: CheckState::Passed(CheckReport::default()),
        sinks: sinks
            .map(|(name, status)| (name.to_owned(), status.map(Arc::new)))
            .collect::<BTreeMap<_, _>>(),
        capture: None,
    }
}

fn streaming_sink() -> ReplicaSinkStatus {
    first(&streaming())
}

fn stalled_sink() -> ReplicaSinkStatus {
    let mut report = report();
    report.ready = false;
    report.lag.seconds = Some(44.0);
    report.position = Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-60".to_owned());
    report.stalled = Some(Stall {
        on: StalledOn::Target,
        seconds: 9,
        message: "a write to pg.shop.svc/shop waits for a lock".to_owned(),
        hint: Some("SELECT * FROM pg_locks;".to_owned()),
    });
    first(&saying(report))
}

fn paused_sink() -> ReplicaSinkStatus {
    let mut facts = running();
    facts.paused = Some(PausedBy::Sink);
    facts.observation.pod = None;
    after_streaming(&facts)
}

fn text(status: &ReplicationSourceStatus) -> String {
    let mut lines = vec![
        format!("type: {:?}", status.kind),
        format!("phase: {}", status.phase.map_or("-", phase_name)),
        format!("position: {:?}", status.position),
        format!("lag: {}", json(&status.lag)),
        format!("snapshot: {}", json(&status.snapshot)),
    ];
    let kafka = status.kafka.as_ref();
    lines.extend(kafka.map(|kafka| format!("kafka: {}", json(kafka))));
    lines.extend([format!("rate: {}", json(&status.rate))]);
    lines.extend(
        status
            .last_error
            .as_ref()
            .map(|last| format!("lastError: {}", error(last))),
    );
    format!("{}\n{}", lines.join("\n"), conditions(&status.conditions))
}

pub(super) fn shown_source(facts: &SourceFacts) -> String {
    text(&source_status(facts, None, at(3_600)))
}

#[test]
fn source_without_sinks() {
    assert_snapshot!(shown_source(&facts(vec![])));
}

#[test]
fn source_without_sinks_being_checked() {
    let mut facts = facts(vec![]);
    facts.check = CheckState::Running(None);
    assert_snapshot!(shown_source(&facts));
}

#[test]
fn source_without_sinks_that_does_not_fit() {
    let mut facts = facts(vec![]);
    facts.check = CheckState::Failed {
        checks: vec![check(
            "RowMetadata",
            CheckOutcome::Failed,
            "binlog_row_metadata is MINIMAL",
            "SET PERSIST binlog_row_metadata = 'FULL';",
        )],
        at: Some(at(3_590)),
    };
    assert_snapshot!(shown_source(&facts));
}

#[test]
fn source_with_two_sinks_that_stream() {
    let sinks = ["shop-a", "shop-b"].map(|name| (name, Some(streaming_sink())));
    assert_snapshot!(shown_source(&facts(sinks.into())));
}

#[test]
fn source_with_one_sink_stalled_and_one_paused() {
    assert_snapshot!(shown_source(&facts(vec![
        ("shop-a", Some(streaming_sink())),
        ("shop-b", Some(stalled_sink())),
        ("shop-c", Some(paused_sink())),
    ])));
}

#[test]
fn source_whose_sinks_are_not_known_yet() {
    assert_snapshot!(shown_source(&facts(vec![("shop-a", None)])));
}

#[test]
fn source_paused() {
    let mut facts = facts(vec![("shop-a", Some(paused_sink()))]);
    facts.paused = true;
    assert_snapshot!(shown_source(&facts));
}

#[test]
fn source_deletion_blocked() {
    let mut facts = facts(vec![("shop-a", Some(streaming_sink()))]);
    facts.problem = Some(Problem {
        reason: "DeletionBlocked",
        message: "it is being deleted and still used by ReplicaSink shop-a: delete that first"
            .to_owned(),
    });
    assert_snapshot!(shown_source(&facts));
}

#[test]
fn source_with_a_secret_missing() {
    let mut facts = facts(vec![]);
    facts.check = CheckState::Waiting;
    facts.problem = Some(Problem {
        reason: "SecretNotFound",
        message: "there is no Secret shop-mysql (spec.mysql.credentials): create it".to_owned(),
    });
    assert_snapshot!(shown_source(&facts));
}
