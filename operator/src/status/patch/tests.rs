use super::*;
use sluice_crds::status::Phase;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn status() -> ReplicaSinkStatus {
    ReplicaSinkStatus {
        phase: Some(Phase::Streaming),
        position: Some("a:1-7".to_owned()),
        lag: Some(Lag {
            seconds: Some(0.2),
            bytes: Some(10),
            records: None,
        }),
        rate: Some(Rate {
            rows_per_second: 10,
        }),
        conditions: vec![Condition {
            last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)),
            message: "m".to_owned(),
            observed_generation: Some(1),
            reason: "Streaming".to_owned(),
            status: "True".to_owned(),
            type_: "Ready".to_owned(),
        }],
        ..ReplicaSinkStatus::default()
    }
}

fn due(change: impl FnOnce(&mut ReplicaSinkStatus), now: i64) -> Patch {
    let mut next = status();
    change(&mut next);
    patch_due(Some(&status()), &next, Some(at(100)), at(now))
}

#[test]
fn what_is_the_same_is_never_written() {
    assert_eq!(due(|_| {}, 100_000), Patch::Unneeded);
}

#[test]
fn the_first_status_is_written_at_once() {
    assert_eq!(patch_due(None, &status(), None, at(0)), Patch::Now);
}

#[test]
fn a_transition_is_written_at_once() {
    assert_eq!(
        due(|next| next.phase = Some(Phase::Failed), 100),
        Patch::Now
    );
    assert_eq!(
        due(|next| next.conditions[0].reason = "Other".to_owned(), 100),
        Patch::Now
    );
    assert_eq!(
        due(|next| next.conditions[0].status = "False".to_owned(), 100),
        Patch::Now
    );
}

#[test]
fn what_matters_is_written_every_three_seconds() {
    let tables = |next: &mut ReplicaSinkStatus| next.dead_letters = Some(1);
    assert_eq!(due(tables, 101), Patch::At(at(103)));
    assert_eq!(due(tables, 103), Patch::Now);
    let lag = |next: &mut ReplicaSinkStatus| {
        next.lag = Some(Lag {
            seconds: Some(9.0),
            bytes: None,
            records: None,
        });
    };
    assert_eq!(due(lag, 103), Patch::Now);
    assert_eq!(
        due(|next| next.observed_generation = Some(2), 102),
        Patch::At(at(103))
    );
}

#[test]
fn figures_that_drift_are_written_once_a_minute() {
    let drift = |next: &mut ReplicaSinkStatus| {
        next.position = Some("a:1-9".to_owned());
        next.rate = Some(Rate {
            rows_per_second: 250,
        });
        next.lag = Some(Lag {
            seconds: Some(1.3),
            bytes: Some(999),
            records: None,
        });
    };
    assert_eq!(due(drift, 110), Patch::At(at(160)));
    assert_eq!(due(drift, 160), Patch::Now);
}

#[test]
fn a_pipeline_under_load_is_written_at_most_once_a_minute() {
    let (mut written, mut last, mut writes) = (status(), Some(at(0)), 0);
    for second in (0..600).step_by(3) {
        let mut next = status();
        next.position = Some(format!("a:1-{second}"));
        if patch_due(Some(&written), &next, last, at(second)) == Patch::Now {
            (written, last, writes) = (next, Some(at(second)), writes + 1);
        }
    }
    assert!((9..=10).contains(&writes), "{writes} writes in ten minutes");
}
