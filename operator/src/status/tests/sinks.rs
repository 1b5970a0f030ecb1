//! One golden status for each situation that a ReplicaSink may be in.

use std::sync::Arc;

use insta::assert_snapshot;
use sluice_agent_api::{
    AgentStatus,
    status::{CheckOutcome, CheckReport, LastError, Phase, Stall, StalledOn},
};

use super::situation::*;
use crate::{
    model::{AgentAnswer, CheckState, PausedBy, PodTrouble, SinkFacts},
    status::sink_status,
};

fn failed_checks() -> CheckState {
    CheckState::Failed {
        checks: vec![
            check(
                "BinlogFormat",
                CheckOutcome::Failed,
                "binlog_format is STATEMENT",
                "SET PERSIST binlog_format = 'ROW';",
            ),
            check(
                "Privileges",
                CheckOutcome::Failed,
                "user sluice lacks REPLICATION SLAVE",
                "GRANT REPLICATION SLAVE ON *.* TO 'sluice'@'%';",
            ),
            check("Keys", CheckOutcome::Warning, "shop.log has no key", "-"),
        ],
        at: Some(at(3_590)),
    }
}

fn agent_error(reason: &str, message: &str, hint: &str) -> LastError {
    LastError {
        reason: reason.to_owned(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
        at: "2026-01-01T12:59:59Z".to_owned(),
    }
}

fn silent(since: i64, last: Option<AgentStatus>) -> SinkFacts {
    let mut facts = running();
    facts.observation.agent = AgentAnswer::Silent {
        since: at(since),
        error: "connection refused".to_owned(),
        last: last.map(Arc::new),
    };
    facts
}

#[test]
fn fresh_sink() {
    assert_snapshot!(shown(&first(&fresh())));
}

#[test]
fn check_running() {
    let mut facts = fresh();
    facts.observation.check = CheckState::Running(None);
    assert_snapshot!(shown(&first(&facts)));
}

#[test]
fn check_pod_unschedulable() {
    let mut facts = fresh();
    facts.observation.check = CheckState::Running(Some(PodTrouble {
        reason: "AgentUnschedulable",
        message: "Unschedulable: 0/3 nodes are available: 3 node(s) had untolerated taint"
            .to_owned(),
    }));
    assert_snapshot!(shown(&first(&facts)));
}

#[test]
fn prerequisites_failed() {
    let mut facts = fresh();
    facts.observation.check = failed_checks();
    assert_snapshot!(shown(&first(&facts)));
}

#[test]
fn prerequisites_being_checked_again() {
    let mut facts = fresh();
    facts.observation.check = failed_checks();
    let before = first(&facts);
    facts.observation.check = CheckState::Running(None);
    let again = sink_status(&facts, Some(&before), at(3_650));
    assert_snapshot!(shown(&again));
    assert_eq!(again, before, "nothing to write while the check runs again");
}

#[test]
fn check_without_report() {
    let mut facts = fresh();
    facts.observation.check = CheckState::Broken {
        message: "DeadlineExceeded: Job was active longer than specified deadline".to_owned(),
        at: Some(at(3_590)),
    };
    assert_snapshot!(shown(&first(&facts)));
}

#[test]
fn checks_passed_with_warning() {
    let mut facts = streaming();
    facts.observation.check = CheckState::Passed(CheckReport {
        checks: vec![check(
            "PrimaryKeys",
            CheckOutcome::Warning,
            "shop.log has no primary key",
            "ALTER TABLE shop.log ADD COLUMN id bigint AUTO_INCREMENT PRIMARY KEY;",
        )],
    });
    assert_snapshot!(shown(&first(&facts)));
}

#[test]
fn preflight_disabled() {
    let mut facts = streaming();
    facts.observation.check = CheckState::Disabled;
    assert_snapshot!(shown(&first(&facts)));
}

#[test]
fn pod_refused_by_quota() {
    let mut facts = running();
    facts.observation.pod = None;
    if let Some(set) = &mut facts.observation.stateful_set {
        set.problem = Some(
            "FailedCreate: create Pod shop-pg-agent-0 in StatefulSet shop-pg-agent failed error: \
             exceeded quota: pods=10"
                .to_owned(),
        );
    }
    assert_snapshot!(shown(&first(&facts)));
}

#[test]
fn unschedulable() {
    assert_snapshot!(shown(&first(&troubled(
        "AgentUnschedulable",
        "Unschedulable: 0/3 nodes are available: 3 Insufficient memory",
    ))));
}

#[test]
fn image_pull() {
    assert_snapshot!(shown(&first(&troubled(
        "AgentImagePull",
        "ImagePullBackOff: image sluice:oops: Back-off pulling image \"sluice:oops\"",
    ))));
}

#[test]
fn crash_loop() {
    assert_snapshot!(shown(&after_streaming(&troubled(
        "AgentCrashLooping",
        "CrashLoopBackOff, restarted 7 times: exit code 2: config: no source",
    ))));
}

#[test]
fn out_of_memory() {
    assert_snapshot!(shown(&after_streaming(&troubled(
        "AgentCrashLooping",
        "CrashLoopBackOff, restarted 3 times: OOMKilled, exit code 137",
    ))));
}

#[test]
fn container_config_error() {
    assert_snapshot!(shown(&first(&troubled(
        "AgentNotStarted",
        "CreateContainerConfigError: secret \"shop-pg\" not found",
    ))));
}

#[test]
fn evicted() {
    assert_snapshot!(shown(&after_streaming(&troubled(
        "AgentNotStarted",
        "Evicted: The node was low on resource: memory",
    ))));
}

#[test]
fn pod_being_replaced() {
    let mut facts = streaming();
    if let Some(pod) = &mut facts.observation.pod {
        pod.terminating = true;
    }
    assert_snapshot!(shown(&after_streaming(&facts)));
}

#[test]
fn agent_just_started() {
    let mut facts = silent(3_598, None);
    if let Some(pod) = &mut facts.observation.pod {
        pod.running_since = Some(at(3_597));
    }
    assert_snapshot!(shown(&first(&facts)));
}

#[test]
fn agent_unreachable() {
    assert_snapshot!(shown(&after_streaming(&silent(3_601, Some(report())))));
}

#[test]
fn agent_silent_for_a_moment() {
    assert_snapshot!(shown(&after_streaming(&silent(3_606, Some(report())))));
}

#[test]
fn agent_connecting() {
    assert_snapshot!(shown(&first(&saying(AgentStatus {
        phase: Phase::Pending,
        ready: false,
        position: None,
        ..AgentStatus::default()
    }))));
}

#[test]
fn agent_restarted_after_streaming() {
    let mut facts = saying(AgentStatus {
        phase: Phase::Pending,
        ready: false,
        ..AgentStatus::default()
    });
    if let Some(pod) = &mut facts.observation.pod {
        pod.restarts = 1;
        pod.last_exit = Some("exit code 137".to_owned());
        pod.running_since = Some(at(3_605));
    }
    assert_snapshot!(shown(&after_streaming(&facts)));
}

#[test]
fn snapshotting_at_40_percent() {
    let mut report = report();
    report.phase = Phase::Snapshotting;
    report.snapshot.percent = 40;
    report.snapshot.tables_done = 1;
    report.snapshot.rows_copied = 480_000;
    report
        .tables
        .insert("shop.orders".to_owned(), table("Snapshotting"));
    assert_snapshot!(shown(&first(&saying(report))));
}

#[test]
fn new_table_is_copied_while_the_rest_streams() {
    let mut report = report();
    report.phase = Phase::Snapshotting;
    report.snapshot.percent = 97;
    report.snapshot.tables_total = 3;
    report
        .tables
        .insert("shop.new".to_owned(), table("Snapshotting"));
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn streaming_rows() {
    assert_snapshot!(shown(&first(&streaming())));
}

#[test]
fn idle_stream() {
    let mut report = report();
    report.rows_per_second = 0.0;
    report.lag.seconds = Some(0.0);
    report.lag.bytes = Some(0);
    assert_snapshot!(shown(&first(&saying(report))));
}

#[test]
fn lagging() {
    let mut report = report();
    report.ready = false;
    report.lag.seconds = Some(754.4);
    report.lag.bytes = Some(1 << 31);
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn source_stalled() {
    let mut report = report();
    report.ready = false;
    report.stalled = Some(Stall {
        on: StalledOn::Source,
        seconds: 27,
        message: "nothing has come from mysql.shop.svc:3306, not even a heartbeat".to_owned(),
        hint: Some("see whether the server is up and reachable".to_owned()),
    });
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn target_stalled() {
    let mut report = report();
    report.ready = false;
    report.stalled = Some(Stall {
        on: StalledOn::Target,
        seconds: 9,
        message: "a write to pg.shop.svc/shop waits for a lock".to_owned(),
        hint: Some("SELECT * FROM pg_stat_activity WHERE wait_event_type = 'Lock';".to_owned()),
    });
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn table_failed() {
    let mut report = report();
    report.ready = false;
    let mut failed = table("Failed");
    failed.error = Some(agent_error(
        "IncompatibleTarget",
        "column total of shop.orders is text in the target and numeric(10,2) in the source",
        "ALTER TABLE shop.orders ALTER total TYPE numeric(10,2) USING total::numeric;",
    ));
    report.tables.insert("shop.orders".to_owned(), failed);
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn five_tables_paused() {
    let mut report = report();
    for number in 1..=5 {
        let mut paused = table("Paused");
        paused.error = Some(LastError {
            reason: "SchemaChangePaused".to_owned(),
            message: format!("DROP COLUMN note of shop.t{number} waits for a person"),
            hint: None,
            at: String::new(),
        });
        report.tables.insert(format!("shop.t{number}"), paused);
    }
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn dead_letters() {
    let mut report = report();
    report.dead_letters = 3;
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn position_at_risk() {
    let mut report = report();
    report.retention_seconds = Some(1_800);
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn paused() {
    let mut facts = running();
    facts.paused = Some(PausedBy::Sink);
    facts.observation.pod = None;
    if let Some(set) = &mut facts.observation.stateful_set {
        set.replicas = 0;
        set.replicas_present = 0;
    }
    assert_snapshot!(shown(&after_streaming(&facts)));
}

#[test]
fn paused_by_the_source() {
    let mut facts = running();
    facts.paused = Some(PausedBy::Source);
    facts.observation.pod = None;
    assert_snapshot!(shown(&after_streaming(&facts)));
}

#[test]
fn source_missing() {
    assert_snapshot!(shown(&first(&refused(
        "SourceNotFound",
        "there is no ReplicationSource shop in namespace prod: create it, and the replica starts",
    ))));
}

#[test]
fn secret_missing_while_the_agent_runs() {
    let mut facts = streaming();
    facts.problem = refused(
        "SecretNotFound",
        "Secret shop-pg has no key password (spec.postgres.credentials): add it",
    )
    .problem;
    assert_snapshot!(shown(&after_streaming(&facts)));
}

#[test]
fn invalid_spec() {
    assert_snapshot!(shown(&first(&refused(
        "InvalidSpec",
        "spec.tables[0].columns.rename: names column ts twice",
    ))));
}

#[test]
fn agent_failed_with_hint() {
    let mut report = report();
    report.phase = Phase::Failed;
    report.ready = false;
    report.last_error = Some(agent_error(
        "PositionLost",
        "the source purged its log at gtid 3e11fa47-71ca-11e1-9e33-c80aa9429562:78",
        "kubectl annotate replicasink shop-pg sluice.dev/resnapshot='*'",
    ));
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn target_refuses_the_password() {
    let mut report = report();
    report.phase = Phase::Pending;
    report.ready = false;
    report.last_error = Some(agent_error(
        "AccessDenied",
        "pg.shop.svc:5432: password authentication failed for user \"sluice\"",
        "ALTER ROLE sluice PASSWORD '…'; and put the same into Secret shop-pg",
    ));
    assert_snapshot!(shown(&after_streaming(&saying(report))));
}

#[test]
fn recovered() {
    let mut failing = report();
    failing.ready = false;
    failing.last_error = Some(agent_error(
        "Unreachable",
        "pg.shop.svc is gone",
        "start it",
    ));
    let before = after_streaming(&saying(failing));
    let recovered = sink_status(&streaming(), Some(&before), at(3_700));
    assert_snapshot!(shown(&recovered));
}

#[test]
fn copy_complete_with_mode_only() {
    let mut report = report();
    report.phase = Phase::Stopped;
    assert_snapshot!(shown(&first(&saying(report))));
}
