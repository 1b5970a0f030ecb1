//! Golden statuses of what goes through Kafka: a captured source, and replicas that are fed from there.

use std::sync::Arc;

use insta::assert_snapshot;
use sluice_agent_api::{
    AgentStatus,
    status::{LastError, Phase, TopicStatus},
};

use super::{
    situation::*,
    sources::{facts as source_facts, shown_source},
};
use crate::{
    model::{AgentAnswer, PausedBy, SinkFacts, SourceFacts, Upstream},
    status::{
        condition::{find, holds},
        sink_status, source_status,
    },
};

/// What the capture says when all is well; it is 1.5 s behind.
fn capture() -> AgentStatus {
    let mut report = report();
    report.pipeline = "prod/shop:capture".to_owned();
    report.lag.seconds = Some(1.5);
    report.topics = ["shop.shop.items", "shop.shop.orders"]
        .map(|name| {
            let topic = TopicStatus {
                partitions: 6,
                lag_records: None,
            };
            (name.to_owned(), topic)
        })
        .into();
    report
}

/// What the replica's agent says when it has applied all but 12 records.
fn reader() -> AgentStatus {
    let mut report = report();
    report.position = Some("kafka:shop.shop.orders/0=88,shop.sluice.control/0=2".to_owned());
    report.lag.bytes = None;
    report.lag.records = Some(12);
    report.retention_seconds = None;
    report.topics = capture().topics;
    for (topic, lag) in report.topics.values_mut().zip([12, 0]) {
        topic.lag_records = Some(lag);
    }
    report
}

/// A source whose capture is seen like this.
fn source(capture: SinkFacts) -> SourceFacts {
    let mut facts = source_facts(Vec::new());
    facts.paused = capture.paused.is_some();
    facts.capture = Some(capture.observation);
    facts
}

/// A replica that is fed by it.
fn fed_by(capture: SinkFacts, reader: AgentStatus) -> SinkFacts {
    let status = source_status(&source(capture), None, at(3_600));
    let mut facts = saying(reader);
    facts.upstream = Some(Upstream {
        name: "shop".to_owned(),
        status: Some(Arc::new(status)),
    });
    facts
}

fn silent_capture() -> SinkFacts {
    let mut facts = running();
    facts.observation.agent = AgentAnswer::Silent {
        since: at(3_580),
        error: "connection refused".to_owned(),
        last: Some(Arc::new(capture())),
    };
    facts
}

#[test]
fn captured_source() {
    assert_snapshot!(shown_source(&source(saying(capture()))));
}

#[test]
fn fed_by_a_capture_that_streams() {
    assert_snapshot!(shown(&first(&fed_by(saying(capture()), reader()))));
}

#[test]
fn fed_by_a_silent_capture() {
    let facts = fed_by(silent_capture(), reader());
    assert_snapshot!(shown(&after_streaming(&facts)));
}

#[test]
fn fed_by_a_capture_that_can_not_reach_the_brokers() {
    let mut failed = capture();
    failed.phase = Phase::Pending;
    failed.ready = false;
    failed.lag.seconds = None;
    failed.last_error = Some(LastError {
        reason: "Unreachable".to_owned(),
        message: "the brokers at kafka:9092 do not answer".to_owned(),
        hint: Some("start them".to_owned()),
        at: "2026-01-01T12:59:50Z".to_owned(),
    });
    assert_snapshot!(shown(&first(&fed_by(saying(failed), reader()))));
}

#[test]
fn fed_by_a_capture_that_copies() {
    let mut copying = capture();
    copying.phase = Phase::Snapshotting;
    copying.snapshot.tables_done = 1;
    copying.snapshot.percent = 40;
    assert_snapshot!(shown(&first(&fed_by(saying(copying), reader()))));
}

#[test]
fn fed_by_a_paused_capture() {
    let mut paused = running();
    paused.paused = Some(PausedBy::Sink);
    paused.observation.pod = None;
    assert_snapshot!(shown(&first(&fed_by(paused, reader()))));
}

#[test]
fn of_several_agents_one_has_no_pod() {
    let mut facts = running();
    let set = facts.observation.stateful_set.as_mut().unwrap();
    set.replicas = 3;
    set.replicas_present = 2;
    facts.observation.pod = None;
    facts.observation.ready_replicas = 2;
    let status = first(&facts);
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(2)));
    assert_snapshot!(shown(&status));
}

#[test]
fn a_capture_that_is_late_makes_late_what_it_feeds() {
    let mut late = capture();
    late.lag.seconds = Some(100.0);
    let mut facts = fed_by(saying(late), reader());
    let seen = first(&facts);
    let ready = find(&seen.conditions, "Ready").unwrap();
    assert_eq!((&*ready.status, &*ready.reason), ("False", "LagTooHigh"));
    assert_eq!(seen.lag.unwrap().seconds, Some(100.0));
    // For this one it is soon enough.
    facts.lag_threshold_seconds = 300.0;
    assert!(holds(&first(&facts).conditions, "Ready"));
}

#[test]
fn what_is_wrong_with_a_capture_is_wrong_since_it_began() {
    let mut late = capture();
    late.lag.seconds = Some(100.0);
    let facts = source(saying(late));
    let first = source_status(&facts, None, at(3_600));
    let next = source_status(&facts, Some(&first), at(3_700));
    assert_eq!(next, first);
    let error = next.last_error.unwrap();
    assert!(error.message.starts_with("The topics are"), "{error:?}");
}

#[test]
fn a_trouble_of_its_own_comes_first() {
    let mut stopped = reader();
    stopped.last_error = Some(LastError {
        reason: "AuthenticationFailed".to_owned(),
        message: "no".to_owned(),
        ..LastError::default()
    });
    let seen = first(&fed_by(silent_capture(), stopped));
    let ready = find(&seen.conditions, "Ready").unwrap();
    assert_eq!(ready.reason, "AuthenticationFailed");
}

#[test]
fn a_replica_whose_source_is_not_known_yet_is_not_called_ready() {
    let mut facts = saying(reader());
    facts.upstream = Some(Upstream {
        name: "shop".to_owned(),
        status: None,
    });
    let seen = sink_status(&facts, None, at(3_600));
    let ready = find(&seen.conditions, "Ready").unwrap();
    assert_eq!(
        (&*ready.status, &*ready.reason),
        ("Unknown", "SourceNotReady")
    );
    assert_eq!(seen.lag.unwrap().seconds, None);
}
