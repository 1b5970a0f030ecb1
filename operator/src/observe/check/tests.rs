use serde_json::{Value, json};
use sluice_agent_api::status::Check;

use super::*;

fn job(conditions: &Value) -> Job {
    serde_json::from_value(json!({
        "metadata": {"name": "shop-pg-check-1"}, "status": {"conditions": conditions},
    }))
    .unwrap()
}

fn pod(state: &Value) -> [Arc<Pod>; 1] {
    let pod = json!({
        "metadata": {"name": "shop-pg-check-1-x"},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "check", "image": "sluice:1", "imageID": "", "ready": false,
            "restartCount": 0, "state": state,
        }]},
    });
    [Arc::new(serde_json::from_value(pod).unwrap())]
}

fn ended(code: i32, report: Option<&CheckReport>) -> [Arc<Pod>; 1] {
    let message = report.map(|report| serde_json::to_string(report).unwrap());
    pod(&json!({"terminated": {
        "exitCode": code, "message": message, "finishedAt": "2026-01-01T00:00:00Z",
    }}))
}

fn check(name: &str, outcome: CheckOutcome) -> Check {
    Check {
        subject: "ReplicationSource/shop".to_owned(),
        name: name.to_owned(),
        outcome,
        message: "as it is".to_owned(),
        remedy: None,
    }
}

#[test]
fn a_report_is_read_before_the_job_is_counted_as_done() {
    let report = CheckReport {
        checks: vec![check("A", CheckOutcome::Passed)],
    };
    assert_eq!(
        check_state(&job(&json!([])), &ended(0, Some(&report))),
        CheckState::Passed(report)
    );
}

#[test]
fn what_failed_comes_first() {
    let report = CheckReport {
        checks: vec![
            check("A", CheckOutcome::Passed),
            check("B", CheckOutcome::Warning),
            check("C", CheckOutcome::Failed),
        ],
    };
    let state = check_state(&job(&json!([])), &ended(1, Some(&report)));
    let CheckState::Failed { checks, at } = state else {
        panic!("{state:?}");
    };
    assert_eq!(checks[0].name, "C");
    assert_eq!(checks[2].name, "A");
    assert!(at.is_some());
}

#[test]
fn a_job_that_failed_without_a_report_says_what_kubernetes_says() {
    let late = json!([{"type": "Failed", "status": "True", "reason": "DeadlineExceeded",
        "message": "Job was active longer than specified deadline"}]);
    assert_eq!(
        check_state(&job(&late), &[]),
        CheckState::Broken {
            message: "DeadlineExceeded: Job was active longer than specified deadline".to_owned(),
            at: None,
        }
    );
    let failed = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
        "message": "Job has reached the specified backoff limit"}]);
    let state = check_state(&job(&failed), &ended(101, None));
    assert!(
        matches!(&state, CheckState::Broken { message, at: Some(_) }
            if message == "BackoffLimitExceeded: exit code 101"),
        "{state:?}"
    );
}

#[test]
fn a_check_that_can_not_start_says_why() {
    let state = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
    let state = check_state(&job(&json!([])), &pod(&state));
    assert!(
        matches!(&state, CheckState::Running(Some(trouble)) if trouble.reason == "AgentImagePull"),
        "{state:?}"
    );
    let starting = json!({"waiting": {"reason": "ContainerCreating"}});
    assert_eq!(
        check_state(&job(&json!([])), &pod(&starting)),
        CheckState::Running(None)
    );
    assert_eq!(
        check_state(&job(&json!([])), &[]),
        CheckState::Running(None)
    );
    // Ended a moment ago, and its Job has not been counted yet.
    assert_eq!(
        check_state(&job(&json!([])), &ended(101, None)),
        CheckState::Running(None)
    );
}

#[test]
fn a_job_that_is_complete_and_whose_pod_is_gone_has_passed() {
    let complete = json!([{"type": "Complete", "status": "True"}]);
    assert_eq!(
        check_state(&job(&complete), &[]),
        CheckState::Passed(CheckReport::default())
    );
}
