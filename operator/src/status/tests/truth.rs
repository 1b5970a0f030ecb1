//! What holds in every situation.

use std::sync::Arc;

use sluice_agent_api::status::Phase as AgentPhase;
use sluice_crds::status::Phase;

use super::situation::*;
use crate::{
    model::{AgentAnswer, Problem},
    status::{
        condition::{find, holds},
        *,
    },
};

fn ready(status: &ReplicaSinkStatus) -> (&str, &str) {
    let ready = find(&status.conditions, "Ready").unwrap();
    (&ready.status, &ready.reason)
}

#[test]
fn a_pod_that_merely_runs_is_not_ready() {
    let status = first(&running());
    assert_eq!(ready(&status), ("False", "AgentNotStarted"));
}

#[test]
fn figures_of_a_silent_agent_are_not_shown_and_its_position_is() {
    let mut facts = running();
    facts.observation.agent = AgentAnswer::Silent {
        since: at(3_601),
        error: "no answer within 2 s".to_owned(),
        last: Some(Arc::new(report())),
    };
    let status = after_streaming(&facts);
    assert_eq!(ready(&status), ("False", "AgentUnreachable"));
    assert_eq!((status.lag, status.rate, status.tables), (None, None, None));
    assert!(status.position.is_some());
    assert!(status.snapshot.is_some());
}

#[test]
fn a_time_of_transition_stays_while_the_status_is_the_same() {
    let before = first(&streaming());
    let mut lagging = report();
    lagging.lag.seconds = Some(100.0);
    lagging.ready = false;
    let lagging = sink_status(&saying(lagging), Some(&before), at(3_700));
    let mut stalled = report();
    stalled.last_error = Some(sluice_agent_api::status::LastError {
        reason: "Unreachable".to_owned(),
        message: "gone".to_owned(),
        ..Default::default()
    });
    let stalled = sink_status(&saying(stalled), Some(&lagging), at(3_800));
    assert_eq!(ready(&lagging), ("False", "LagTooHigh"));
    assert_eq!(ready(&stalled), ("False", "Unreachable"));
    let since = |status| find(status, "Ready").unwrap().last_transition_time.0;
    assert_eq!(since(&before.conditions), at(3_600));
    assert_eq!(since(&lagging.conditions), at(3_700));
    assert_eq!(since(&stalled.conditions), at(3_700));
}

#[test]
fn a_lag_around_the_threshold_does_not_flap() {
    let late = |seconds: f64, previous: &ReplicaSinkStatus| {
        let mut report = report();
        report.lag.seconds = Some(seconds);
        sink_status(&saying(report), Some(previous), at(3_700))
    };
    let fine = late(59.0, &first(&streaming()));
    assert_eq!(ready(&fine), ("True", "Streaming"));
    let above = late(61.0, &fine);
    assert_eq!(ready(&above), ("False", "LagTooHigh"));
    assert_eq!(ready(&late(58.0, &above)), ("False", "LagTooHigh"));
    assert_eq!(ready(&late(50.0, &above)), ("True", "Streaming"));
}

#[test]
fn the_resource_decides_how_much_lag_is_too_much() {
    let mut report = report();
    report.lag.seconds = Some(100.0);
    report.ready = false;
    let mut facts = saying(report);
    facts.lag_threshold_seconds = 300.0;
    assert_eq!(ready(&first(&facts)), ("True", "Streaming"));
}

#[test]
fn a_crash_loop_does_not_end_when_the_next_attempt_begins() {
    let crash = "CrashLoopBackOff, restarted 3 times: exit code 1: no";
    let looping = first(&troubled("AgentCrashLooping", crash));
    let mut facts = saying(sluice_agent_api::AgentStatus::default());
    let pod = facts.observation.pod.as_mut().unwrap();
    pod.running_since = Some(at(3_602));
    pod.restarts = 4;
    pod.last_exit = Some("exit code 1: no".to_owned());
    let trying = sink_status(&facts, Some(&looping), at(3_605));
    assert_eq!(ready(&trying), ("False", "AgentCrashLooping"));
    let running = sink_status(&facts, Some(&trying), at(3_640));
    assert_eq!(ready(&running), ("False", "Connecting"));
    facts.observation.agent = AgentAnswer::Answered(Arc::new(report()));
    let recovered = sink_status(&facts, Some(&trying), at(3_606));
    assert_eq!(ready(&recovered), ("True", "Streaming"));
}

#[test]
fn a_server_that_does_not_answer_a_question_does_not_make_a_stream_unready() {
    let mut facts = streaming();
    facts.problem = Some(Problem {
        reason: "ReadFailed",
        message: "the API server timed out".to_owned(),
    });
    assert_eq!(ready(&first(&facts)), ("True", "Streaming"));
    facts.observation.agent = AgentAnswer::NotAsked;
    assert_eq!(ready(&first(&facts)), ("False", "ReadFailed"));
}

#[test]
fn the_time_of_an_error_stays_while_the_error_is_the_same() {
    let facts = troubled("AgentImagePull", "ErrImagePull: image x: no");
    let before = first(&facts);
    let after = sink_status(&facts, Some(&before), at(3_900));
    assert_eq!(after.last_error, before.last_error);
}

#[test]
fn the_error_of_an_agent_goes_with_the_error() {
    let mut failing = report();
    failing.ready = false;
    failing.phase = AgentPhase::Failed;
    let failed = first(&saying(failing));
    assert_eq!(failed.phase, Some(Phase::Failed));
    assert!(failed.last_error.is_some());
    let again = sink_status(&streaming(), Some(&failed), at(3_700));
    assert_eq!(again.last_error, None);
    assert!(holds(&again.conditions, "Streaming"));
}

#[test]
fn a_reason_is_always_a_name() {
    let mut failing = report();
    failing.last_error = Some(sluice_agent_api::status::LastError {
        reason: "not a name: <b>".to_owned(),
        message: "m".to_owned(),
        ..Default::default()
    });
    assert_eq!(ready(&first(&saying(failing))), ("False", "AgentError"));
}

#[test]
fn a_stream_of_unknown_lag_is_not_ready() {
    let mut unknown = report();
    unknown.lag.seconds = None;
    assert_eq!(ready(&first(&saying(unknown))), ("False", "CatchingUp"));
    let mut stuck = report();
    stuck.ready = false;
    assert_eq!(ready(&first(&saying(stuck))), ("False", "AgentNotReady"));
}
