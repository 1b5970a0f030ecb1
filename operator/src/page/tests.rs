//! A board with pipelines in many situations, for tests and for looking at the page.

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sluice_agent_api::{
    AgentStatus,
    status::{LastError, Phase, Stall, StalledOn},
};
use sluice_crds::{ReplicaSinkStatus, ReplicationSourceStatus};

use super::*;
use crate::{
    events::sink_notices,
    model::{AgentAnswer, CheckState, Notice, ObjectKey, PausedBy, SinkFacts, SourceFacts},
    status::{
        sink_status, source_status,
        tests::situation::{fresh, report, running, saying, table, troubled},
    },
};

/// So many pipelines, in turn in each situation, with half an hour of lag behind them.
pub(crate) fn board(count: usize, now: Timestamp) -> Arc<Board> {
    let board = Arc::new(Board::default());
    for index in 0..count {
        let key = ObjectKey {
            namespace: ["prod", "staging", "analytics"][index % 3].to_owned(),
            name: format!(
                "{}-{index:03}",
                ["shop-pg", "orders", "billing-eu"][index % 3]
            ),
        };
        let source = format!("db-{}", index / 4);
        show(&board, index, &key, &source, now);
        board.show_source(&key.sibling(&*source), &Arc::new(a_source(&key, &[], now)));
    }
    let idle = ObjectKey {
        namespace: "prod".to_owned(),
        name: "crm".to_owned(),
    };
    board.show_source(&idle, &Arc::new(a_source(&idle, &[], now)));
    board
}

/// The pipeline streamed, and has come into its situation ten minutes ago.
fn show(board: &Board, index: usize, key: &ObjectKey, source: &str, now: Timestamp) {
    let mut before: Option<ReplicaSinkStatus> = None;
    for step in 0..360_i64 {
        let at = now - SignedDuration::from_secs((359 - step) * 5);
        let situation = if step < 240 { 0 } else { index };
        let mut facts = facts(situation, step, at);
        facts.key = key.clone();
        facts.target = Some(format!(
            "postgres pg-{}.{}.svc/shop",
            index % 5,
            key.namespace
        ));
        let status = sink_status(&facts, before.as_ref(), at);
        if step >= 240 {
            for notice in sink_notices(before.as_ref(), &status) {
                board.happened("ReplicaSink", key, &notice, at);
            }
        }
        let status = Arc::new(status);
        board.show_sink(key, source, &status, at);
        before = Some((*status).clone());
    }
}

fn facts(situation: usize, step: i64, at: Timestamp) -> SinkFacts {
    let mut report = report();
    let wave = ((step as f64) / 9.0).sin().abs();
    report.lag.seconds = Some(0.2 + wave * 1.4);
    report.rows_per_second = 900.0 + wave * 2_000.0;
    let mut facts = match situation % 12 {
        2 => lagging(report, step),
        4 => stalled(report),
        5 => copying(report, step),
        6 => silent(report, at),
        7 => troubled(
            "AgentCrashLooping",
            "CrashLoopBackOff, restarted 7 times: OOMKilled, exit code 137",
        ),
        8 => paused(),
        9 => with_failed_table(report),
        10 => failing_checks(),
        _ => saying(report),
    };
    if let Some(pod) = &mut facts.observation.pod {
        pod.running_since = pod
            .running_since
            .map(|_| at - SignedDuration::from_secs(900));
    }
    facts
}

fn lagging(mut report: AgentStatus, step: i64) -> SinkFacts {
    report.ready = false;
    report.lag.seconds = Some(((step - 238) * 5) as f64);
    report.lag.bytes = Some(3 << 30);
    saying(report)
}

fn stalled(mut report: AgentStatus) -> SinkFacts {
    report.ready = false;
    report.stalled = Some(Stall {
        on: StalledOn::Target,
        seconds: 9,
        message: "a write to pg.shop.svc/shop waits for a lock on shop.orders".to_owned(),
        hint: Some(
            "SELECT pid, query FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(4711));"
                .to_owned(),
        ),
    });
    saying(report)
}

fn copying(mut report: AgentStatus, step: i64) -> SinkFacts {
    report.phase = Phase::Snapshotting;
    report.snapshot.tables_done = 1;
    report.snapshot.percent = (step * 64 / 359) as u8;
    report.snapshot.rows_copied = step as u64 * 40_000;
    report.rows_per_second = 128_000.0;
    let tables = report.tables.values_mut();
    for one in tables {
        *one = table("Snapshotting");
    }
    saying(report)
}

fn silent(report: AgentStatus, at: Timestamp) -> SinkFacts {
    let mut facts = running();
    facts.observation.agent = AgentAnswer::Silent {
        since: at - SignedDuration::from_secs(60),
        error: "no answer within 2 s".to_owned(),
        last: Some(Arc::new(report)),
    };
    facts
}

fn paused() -> SinkFacts {
    let mut facts = running();
    facts.paused = Some(PausedBy::Sink);
    facts
}

fn with_failed_table(mut report: AgentStatus) -> SinkFacts {
    report.ready = false;
    report.dead_letters = 3;
    let mut failed = table("Failed");
    failed.error = Some(LastError {
        reason: "IncompatibleTarget".to_owned(),
        message: "column <b>total</b> of shop.orders is text in the target".to_owned(),
        hint: Some(
            "ALTER TABLE shop.orders ALTER total TYPE numeric(10,2) USING total::numeric;"
                .to_owned(),
        ),
        at: String::new(),
    });
    report.tables.insert("shop.orders".to_owned(), failed);
    saying(report)
}

fn failing_checks() -> SinkFacts {
    let mut facts = fresh();
    let check = |name: &str, message: &str, remedy: &str| {
        crate::status::tests::situation::check(
            name,
            sluice_agent_api::status::CheckOutcome::Failed,
            message,
            remedy,
        )
    };
    facts.observation.check = CheckState::Failed {
        checks: vec![
            check(
                "BinlogFormat",
                "binlog_format is STATEMENT",
                "SET PERSIST binlog_format = 'ROW';",
            ),
            check(
                "Privileges",
                "user sluice lacks REPLICATION SLAVE",
                "GRANT REPLICATION SLAVE ON *.* TO 'sluice'@'%';",
            ),
        ],
        at: None,
    };
    facts
}

fn a_source(
    key: &ObjectKey,
    sinks: &[(String, Option<Arc<ReplicaSinkStatus>>)],
    now: Timestamp,
) -> ReplicationSourceStatus {
    let facts = SourceFacts {
        key: key.clone(),
        generation: Some(1),
        kind: Some("mysql"),
        paused: false,
        lag_threshold_seconds: 60.0,
        problem: None,
        check: CheckState::Passed(sluice_agent_api::status::CheckReport::default()),
        sinks: sinks.iter().cloned().collect(),
        capture: None,
    };
    source_status(&facts, None, now)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_767_268_800).unwrap()
}

fn document(board: &Board) -> Value {
    let operator = Operator {
        identity: "sluice-operator-0".to_owned(),
        leads: true,
        version: "0.1.0",
    };
    serde_json::from_slice(&board.document(&operator, now())).unwrap()
}

#[test]
fn the_document_has_every_pipeline_with_its_lag_and_its_reason() {
    let document = document(&board(24, now()));
    let pipelines = document["pipelines"].as_array().unwrap();
    assert_eq!(pipelines.len(), 24);
    let lagging = pipelines
        .iter()
        .find(|pipeline| pipeline["name"] == "billing-eu-002")
        .unwrap();
    assert_eq!(lagging["conditions"][0]["kind"], "Ready");
    assert_eq!(lagging["conditions"][0]["reason"], "LagTooHigh");
    assert_eq!(lagging["sourceKind"], "mysql");
    assert_eq!(lagging["lags"]["values"].as_array().unwrap().len(), 180);
    let silent = pipelines
        .iter()
        .find(|pipeline| pipeline["name"] == "shop-pg-006")
        .unwrap();
    assert_eq!(silent["lag"], Value::Null);
    assert_eq!(
        silent["lags"]["values"][179],
        Value::Null,
        "a gap until now"
    );
    assert!(!document["events"].as_array().unwrap().is_empty());
}

#[test]
fn what_happened_is_kept_in_bounds_and_the_newest_comes_first() {
    let board = Board::default();
    let key = ObjectKey {
        namespace: "prod".to_owned(),
        name: "x".to_owned(),
    };
    for index in 0..500 {
        let notice = Notice {
            warning: false,
            reason: format!("R{index}"),
            message: String::new(),
        };
        board.happened("ReplicaSink", &key, &notice, now());
    }
    let document = document(&board);
    let events = document["events"].as_array().unwrap();
    assert_eq!(events.len(), 200);
    assert_eq!(events[0]["reason"], "R499");
}

#[test]
fn what_is_gone_is_not_shown() {
    let board = board(1, now());
    let key = ObjectKey {
        namespace: "prod".to_owned(),
        name: "shop-pg-000".to_owned(),
    };
    board.forget_sink(&key);
    board.forget_source(&key.sibling("db-0"));
    board.forget_source(&key.sibling("crm"));
    let document = document(&board);
    assert_eq!(document["pipelines"], serde_json::json!([]));
    assert_eq!(document["sources"], serde_json::json!([]));
}

#[test]
fn the_script_never_makes_markup_of_text() {
    let script = file("/page.js").unwrap().text;
    for way in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "DOMParser",
    ] {
        assert!(!script.contains(way), "the script uses {way}");
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_has_no_inline_code() {
    for path in ["/", "/page.js", "/page.css"] {
        let text = file(path).unwrap().text.replace("http://www.w3.org/", "");
        assert!(!text.contains("://"), "{path} names another server");
    }
    let page = file("/").unwrap().text;
    assert!(!page.contains("<style") && !page.contains("style="));
    assert!(!page.contains("<script>"));
    let handler = |word: &&str| word.starts_with("on") && word.contains('=');
    assert_eq!(page.split_whitespace().find(handler), None);
}
