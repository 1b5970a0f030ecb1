use k8s_openapi::jiff::SignedDuration;
use sluice_agent_api::status::{Lag, TopicStatus};

use super::*;
use crate::model::PodTrouble;

const PIPELINE: &str = "prod/shop-pg";

fn pod(ordinal: usize) -> PodState {
    PodState {
        name: format!("shop-pg-{ordinal}"),
        uid: format!("u{ordinal}"),
        node: None,
        address: Some("10.0.0.1".to_owned()),
        created_at: None,
        terminating: false,
        running: true,
        running_since: None,
        restarts: 0,
        last_exit: None,
        trouble: None,
    }
}

fn table(phase: &str) -> TableStatus {
    TableStatus {
        phase: phase.to_owned(),
        rows_copied: None,
        error: None,
    }
}

fn report(ordinal: usize, change: impl FnOnce(&mut AgentStatus)) -> AgentAnswer {
    let mut status = AgentStatus {
        pipeline: format!("{PIPELINE}:{ordinal}"),
        phase: Phase::Streaming,
        ready: true,
        position: Some("kafka:shop.orders/0=1".to_owned()),
        ..AgentStatus::default()
    };
    change(&mut status);
    AgentAnswer::Answered(Arc::new(status))
}

fn answered(answer: AgentAnswer) -> AgentStatus {
    match answer {
        AgentAnswer::Answered(report) => AgentStatus::clone(&report),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_of_all_agents_become_one() {
    let first = report(0, |status| {
        status.position = Some("kafka:shop.orders/0=9,shop.orders/1=2,shop.orders/10=1".to_owned());
        status.lag = Lag {
            seconds: Some(0.5),
            bytes: None,
            records: Some(10),
        };
        status.rows_per_second = 100.0;
        status.rows_total = 1_000;
        status.tables = [("shop.orders", "Streaming"), ("shop.items", "Paused")]
            .map(|(name, phase)| (name.to_owned(), table(phase)))
            .into();
    });
    let second = report(1, |status| {
        status.phase = Phase::Failed;
        status.ready = false;
        status.position = Some("kafka:shop.orders/0=1,shop.orders/1=7".to_owned());
        status.lag = Lag {
            seconds: Some(3.0),
            bytes: None,
            records: Some(5),
        };
        status.rows_per_second = 50.0;
        status.rows_total = 500;
        status.dead_letters = 2;
        status.tables = [("shop.orders", "Failed"), ("shop.items", "Streaming")]
            .map(|(name, phase)| (name.to_owned(), table(phase)))
            .into();
        status.last_error = Some(LastError {
            reason: "Unreachable".to_owned(),
            message: "no route".to_owned(),
            ..LastError::default()
        });
    });
    let (stands_for_all, answer) = together(PIPELINE, vec![(pod(0), first), (pod(1), second)], 2);
    assert_eq!(stands_for_all.unwrap().name, "shop-pg-0");
    let all = answered(answer);
    assert_eq!(all.pipeline, PIPELINE);
    assert_eq!((all.phase, all.ready), (Phase::Failed, false));
    let position = "kafka:shop.orders/0=9,shop.orders/1=7,shop.orders/10=1";
    assert_eq!(all.position.as_deref(), Some(position));
    assert_eq!(
        (all.lag.seconds, all.lag.records, all.lag.bytes),
        (Some(3.0), Some(15), None)
    );
    assert_eq!((all.rows_total, all.dead_letters), (1_500, 2));
    assert!((all.rows_per_second - 150.0).abs() < 0.001);
    assert_eq!(all.tables["shop.orders"].phase, "Failed");
    assert_eq!(all.tables["shop.items"].phase, "Paused");
    assert_eq!(all.last_error.unwrap().message, "shop-pg-1: no route");
}

#[test]
fn a_lag_that_one_agent_does_not_know_is_not_known() {
    let known = report(0, |status| status.lag.seconds = Some(0.0));
    let (_, answer) = together(
        PIPELINE,
        vec![(pod(0), known), (pod(1), report(1, |_| {}))],
        2,
    );
    assert_eq!(answered(answer).lag.seconds, None);
}

#[test]
fn partitions_of_all_agents_are_added_up() {
    let reads = |ordinal, partitions, lag_records| {
        report(ordinal, |status| {
            let topic = TopicStatus {
                partitions,
                lag_records,
            };
            status.topics = [("shop.orders".to_owned(), topic)].into();
        })
    };
    let seen = vec![
        (pod(0), reads(0, 4, Some(7))),
        (pod(1), reads(1, 2, Some(3))),
    ];
    let (_, answer) = together(PIPELINE, seen, 2);
    let all = TopicStatus {
        partitions: 6,
        lag_records: Some(10),
    };
    assert_eq!(answered(answer).topics["shop.orders"], all);
}

#[test]
fn an_agent_is_ready_that_runs_and_says_so() {
    let mut ending = pod(2);
    ending.terminating = true;
    let seen = vec![
        (pod(0), report(0, |_| {})),
        (pod(1), report(1, |status| status.ready = false)),
        (ending, report(2, |_| {})),
        (pod(3), AgentAnswer::NotAsked),
    ];
    assert_eq!(ready(&seen), 1);
}

#[test]
fn a_pod_that_does_not_run_stands_for_all() {
    let mut crashing = pod(1);
    crashing.trouble = Some(PodTrouble {
        reason: "AgentCrashLooping",
        message: "x".to_owned(),
    });
    let mut starting = pod(2);
    starting.running = false;
    let seen = vec![
        (pod(0), report(0, |_| {})),
        (starting.clone(), AgentAnswer::NotAsked),
        (crashing.clone(), AgentAnswer::NotAsked),
    ];
    let (found, answer) = together(PIPELINE, seen, 3);
    assert_eq!(found, Some(crashing));
    assert!(matches!(answer, AgentAnswer::NotAsked));
    let seen = vec![
        (pod(0), report(0, |_| {})),
        (starting.clone(), AgentAnswer::NotAsked),
    ];
    assert_eq!(together(PIPELINE, seen, 2).0, Some(starting));
}

#[test]
fn the_agent_that_has_been_silent_for_longest_is_named() {
    let now = Timestamp::now();
    let silent = |seconds| AgentAnswer::Silent {
        since: now - SignedDuration::from_secs(seconds),
        error: "connection refused".to_owned(),
        last: Some(Arc::new(AgentStatus {
            rows_total: 5,
            ..AgentStatus::default()
        })),
    };
    let seen = vec![
        (pod(0), report(0, |status| status.rows_total = 1)),
        (pod(1), silent(2)),
        (pod(2), silent(7)),
    ];
    let (found, answer) = together(PIPELINE, seen, 3);
    assert_eq!(found.unwrap().name, "shop-pg-2");
    let AgentAnswer::Silent { since, last, .. } = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(since, now - SignedDuration::from_secs(7));
    assert_eq!(last.unwrap().rows_total, 11);
}

#[test]
fn while_a_pod_is_missing_nothing_is_said_for_all() {
    let seen = vec![(pod(0), report(0, |_| {}))];
    let (found, answer) = together(PIPELINE, seen, 2);
    assert_eq!(found, None);
    assert!(matches!(answer, AgentAnswer::NotAsked));
}

#[test]
fn one_agent_speaks_for_itself() {
    let seen = vec![(pod(0), report(0, |_| {}))];
    let (found, answer) = together(PIPELINE, seen, 1);
    assert_eq!(found, Some(pod(0)));
    assert_eq!(answered(answer).pipeline, format!("{PIPELINE}:0"));
    assert_eq!(together(PIPELINE, Vec::new(), 1).0, None);
}
