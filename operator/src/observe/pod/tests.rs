use serde_json::{Value, json};

use super::*;

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "shop-pg-agent-0", "uid": "u1", "namespace": "prod"},
        "spec": {"nodeName": "node-1", "containers": []},
        "status": status,
    }))
    .unwrap()
}

fn container(state: &Value, last: &Value, restarts: i32) -> Value {
    json!({"phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [{
        "name": "agent", "image": "sluice:1", "imageID": "", "ready": false,
        "restartCount": restarts, "state": state, "lastState": last,
    }]})
}

fn told(status: &Value) -> (&'static str, String) {
    let trouble = trouble(&pod(status)).unwrap();
    (trouble.reason, trouble.message)
}

#[test]
fn an_image_that_can_not_be_pulled_is_named() {
    for kind in [
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
    ] {
        let state = json!({"waiting": {"reason": kind, "message": "no such\n  image."}});
        assert_eq!(
            told(&container(&state, &json!({}), 0)),
            (IMAGE_PULL, format!("{kind}: image sluice:1: no such image"))
        );
    }
}

#[test]
fn a_crash_loop_is_told_with_exit_code_count_and_last_words() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}});
    let last =
        json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "config: no source\n"}});
    assert_eq!(
        told(&container(&waiting, &last, 7)),
        (
            CRASH_LOOPING,
            "CrashLoopBackOff, restarted 7 times: exit code 2: config: no source".to_owned()
        )
    );
}

#[test]
fn a_process_that_was_killed_for_its_memory_is_told_so() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let last = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    assert_eq!(
        told(&container(&waiting, &last, 3)),
        (
            CRASH_LOOPING,
            "CrashLoopBackOff, restarted 3 times: OOMKilled, exit code 137".to_owned()
        )
    );
}

#[test]
fn one_crash_is_not_a_loop() {
    let state = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
    assert_eq!(
        told(&container(&state, &json!({}), 0)),
        (NOT_STARTED, "Stopped: exit code 137".to_owned())
    );
    assert_eq!(told(&container(&state, &json!({}), 4)).0, CRASH_LOOPING);
}

#[test]
fn a_container_that_can_not_be_made_says_why() {
    let state = json!({"waiting": {
        "reason": "CreateContainerConfigError", "message": "secret \"shop-pg\" not found",
    }});
    assert_eq!(
        told(&container(&state, &json!({}), 0)),
        (
            NOT_STARTED,
            "CreateContainerConfigError: secret \"shop-pg\" not found".to_owned()
        )
    );
}

#[test]
fn the_scheduler_is_quoted() {
    let status = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
    }]});
    assert_eq!(
        told(&status),
        (
            UNSCHEDULABLE,
            "Unschedulable: 0/3 nodes are available: 3 Insufficient memory".to_owned()
        )
    );
}

#[test]
fn an_evicted_pod_says_what_ran_short() {
    let status = json!({
        "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.",
    });
    assert_eq!(
        told(&status),
        (
            NOT_STARTED,
            "Evicted: The node was low on resource: memory".to_owned()
        )
    );
    assert!(!pod_state(&pod(&status)).running);
}

#[test]
fn a_pod_that_runs_or_is_about_to_has_no_trouble() {
    let creating = json!({"waiting": {"reason": "ContainerCreating"}});
    assert_eq!(trouble(&pod(&container(&creating, &json!({}), 0))), None);
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    let last = json!({"terminated": {"exitCode": 1, "message": "gone"}});
    let state = pod_state(&pod(&container(&running, &last, 1)));
    assert_eq!(state.trouble, None);
    assert!(state.running);
    assert_eq!(state.address.as_deref(), Some("10.0.0.7"));
    assert_eq!(state.node.as_deref(), Some("node-1"));
    assert_eq!(state.restarts, 1);
    assert_eq!(state.last_exit.as_deref(), Some("exit code 1: gone"));
    assert!(state.running_since.is_some());
}

#[test]
fn the_newest_pod_that_stays_is_the_one_that_counts() {
    let pod = |name: &str, second: u8, deleted: bool| -> Arc<Pod> {
        let mut metadata = json!({
            "name": name, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        });
        if deleted {
            metadata["deletionTimestamp"] = json!("2026-01-01T01:00:00Z");
        }
        Arc::new(serde_json::from_value(json!({"metadata": metadata})).unwrap())
    };
    let pods = [pod("a", 1, false), pod("b", 9, true), pod("c", 5, false)];
    assert_eq!(current(&pods).unwrap().name_any(), "c");
    assert_eq!(current(&pods[1..2]).unwrap().name_any(), "b");
    assert!(current(&[]).is_none());
}

#[test]
fn a_message_that_is_too_long_is_cut() {
    let text = shortened(&"ä".repeat(MESSAGE_LENGTH_MAX + 5));
    assert_eq!(text.chars().count(), MESSAGE_LENGTH_MAX + 1);
    assert!(text.ends_with('…'));
}
