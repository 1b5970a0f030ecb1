use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sluice_crds::status::{LastError, Phase, SnapshotProgress, TableCounts};

use super::*;

fn condition(kind: &str, status: &str, reason: &str) -> Condition {
    Condition {
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        message: format!("{kind} is {status}."),
        observed_generation: None,
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: kind.to_owned(),
    }
}

fn status(phase: Phase, conditions: &[(&str, &str, &str)]) -> ReplicaSinkStatus {
    let conditions = conditions.iter();
    ReplicaSinkStatus {
        phase: Some(phase),
        conditions: conditions
            .map(|(kind, status, reason)| condition(kind, status, reason))
            .collect(),
        ..ReplicaSinkStatus::default()
    }
}

fn streaming() -> ReplicaSinkStatus {
    status(
        Phase::Streaming,
        &[
            ("Ready", "True", "Streaming"),
            ("PrerequisitesMet", "True", "ChecksPassed"),
            ("SnapshotComplete", "True", "SnapshotComplete"),
        ],
    )
}

fn told(previous: Option<&ReplicaSinkStatus>, next: &ReplicaSinkStatus) -> Vec<(bool, String)> {
    let notices = sink_notices(previous, next).into_iter();
    notices
        .map(|notice| (notice.warning, notice.reason))
        .collect()
}

fn names(list: &[(bool, &str)]) -> Vec<(bool, String)> {
    let list = list.iter();
    list.map(|(warning, name)| (*warning, (*name).to_owned()))
        .collect()
}

#[test]
fn nothing_is_told_of_what_is_the_same() {
    assert_eq!(told(Some(&streaming()), &streaming()), []);
    let mut drifted = streaming();
    drifted.position = Some("a:1-9".to_owned());
    drifted.conditions[0].message = "Other words.".to_owned();
    assert_eq!(told(Some(&streaming()), &drifted), []);
}

#[test]
fn one_trouble_is_one_event() {
    let unreachable = status(Phase::Pending, &[("Ready", "False", "AgentUnreachable")]);
    let expected = names(&[(true, "AgentUnreachable")]);
    assert_eq!(told(Some(&streaming()), &unreachable), expected);
    assert_eq!(told(Some(&unreachable), &unreachable), []);
    let failed = status(
        Phase::Failed,
        &[
            ("Ready", "False", "PrerequisitesNotMet"),
            ("PrerequisitesMet", "False", "CheckFailed"),
        ],
    );
    let checking = status(
        Phase::Pending,
        &[
            ("Ready", "Unknown", "CheckRunning"),
            ("PrerequisitesMet", "Unknown", "CheckRunning"),
        ],
    );
    let expected = names(&[(true, "PrerequisitesNotMet")]);
    assert_eq!(told(Some(&checking), &failed), expected);
}

#[test]
fn one_trouble_after_another_is_told() {
    let first = status(Phase::Streaming, &[("Ready", "False", "TargetStalled")]);
    let second = status(Phase::Streaming, &[("Ready", "False", "AccessDenied")]);
    let expected = names(&[(true, "AccessDenied")]);
    assert_eq!(told(Some(&first), &second), expected);
}

#[test]
fn a_life_without_trouble_is_told_in_normal_events() {
    let fresh = status(Phase::Pending, &[("Ready", "Unknown", "CheckRunning")]);
    let connecting = status(
        Phase::Pending,
        &[
            ("Ready", "False", "Connecting"),
            ("PrerequisitesMet", "True", "ChecksPassed"),
        ],
    );
    let copying = status(
        Phase::Snapshotting,
        &[
            ("Ready", "False", "Snapshotting"),
            ("PrerequisitesMet", "True", "ChecksPassed"),
            ("SnapshotComplete", "False", "Snapshotting"),
        ],
    );
    let mut done = streaming();
    done.snapshot = Some(SnapshotProgress::default());
    let steps = [
        (None, &fresh, vec![]),
        (
            Some(&fresh),
            &connecting,
            names(&[(false, "PrerequisitesMet")]),
        ),
        (
            Some(&connecting),
            &copying,
            names(&[(false, "Snapshotting")]),
        ),
        (
            Some(&copying),
            &done,
            names(&[(false, "Ready"), (false, "SnapshotComplete")]),
        ),
    ];
    for (previous, next, expected) in steps {
        assert_eq!(told(previous, next), expected);
    }
}

#[test]
fn a_pause_is_told_and_is_no_warning() {
    let paused = status(Phase::Paused, &[("Ready", "False", "Paused")]);
    let expected = names(&[(false, "Paused")]);
    assert_eq!(told(Some(&streaming()), &paused), expected);
}

#[test]
fn the_first_dead_letter_is_told_and_no_other() {
    let with = |count: i64| {
        let mut status = streaming();
        status.dead_letters = Some(count);
        status
    };
    let expected = names(&[(true, "DeadLetters")]);
    assert_eq!(told(Some(&with(0)), &with(3)), expected);
    assert_eq!(told(Some(&with(3)), &with(9)), []);
}

#[test]
fn each_further_table_that_fails_is_told() {
    let with = |failed: i32| {
        let mut status = status(Phase::Streaming, &[("Ready", "False", "TableFailed")]);
        status.tables = Some(TableCounts {
            total: 5,
            streaming: 5 - failed,
            failed,
        });
        status.last_error = Some(LastError {
            reason: "TableFailed".to_owned(),
            ..LastError::default()
        });
        status
    };
    let expected = names(&[(true, "TableFailed")]);
    let mut before = streaming();
    before.tables = Some(TableCounts::default());
    assert_eq!(told(Some(&before), &with(1)), expected);
    assert_eq!(told(Some(&with(1)), &with(2)), expected);
    assert_eq!(told(Some(&with(2)), &with(1)), []);
}

#[test]
fn an_operator_that_starts_does_not_tell_again_that_a_replica_is_complete() {
    let mut before = status(
        Phase::Pending,
        &[
            ("Ready", "False", "AgentUnreachable"),
            ("SnapshotComplete", "Unknown", "AgentUnreachable"),
        ],
    );
    before.position = Some("a:1-7".to_owned());
    let expected = names(&[(false, "Ready"), (false, "PrerequisitesMet")]);
    assert_eq!(told(Some(&before), &streaming()), expected);
}

#[test]
fn a_source_does_not_repeat_its_sinks() {
    let with = |status: &str, reason: &str| ReplicationSourceStatus {
        conditions: vec![condition("Ready", status, reason)],
        ..ReplicationSourceStatus::default()
    };
    let streaming = with("True", "Streaming");
    assert_eq!(
        source_notices(Some(&streaming), &with("False", "SinkNotReady")),
        []
    );
    let blocked = source_notices(Some(&streaming), &with("False", "DeletionBlocked"));
    assert_eq!(blocked.len(), 1);
    assert!(blocked[0].warning && blocked[0].reason == "DeletionBlocked");
}

#[test]
fn a_note_fits_into_an_event() {
    let notice = notice(true, "X", &"ä".repeat(5_000));
    let note = event(&notice).note.unwrap();
    assert_eq!(note.chars().count(), NOTE_LENGTH_MAX);
}

#[test]
fn the_same_is_not_said_twice_in_a_row() {
    let (publisher, mut queue) = Publisher::new(Arc::default());
    let about = ObjectReference {
        uid: Some("u1".to_owned()),
        ..ObjectReference::default()
    };
    let (bad, good) = (notice(true, "Bad", "m"), notice(false, "Ready", "m"));
    for said in [&bad, &bad, &bad, &good, &bad] {
        publisher.publish(&about, std::slice::from_ref(said));
    }
    let mut reasons = Vec::new();
    while let Ok((_, notice)) = queue.0.try_recv() {
        reasons.push(notice.reason);
    }
    assert_eq!(reasons, ["Bad", "Ready", "Bad"]);
}
