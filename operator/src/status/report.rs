//! The conditions that an agent's own report decides: `SnapshotComplete`, `Streaming`,
//! `LagWithinThreshold` and `PositionAtRisk`. Without a report, nothing is known of most of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sluice_agent_api::{AgentStatus, status::Phase};

use crate::{
    model::Upstream,
    status::{
        condition::{Conditions, State, Truth, find},
        figures::known_lag,
        upstream,
        verdict::{Verdict, reason_of, stall_reason},
    },
};

/// A log that is purged sooner than this is a risk.
const RETENTION_SECONDS_MIN: u64 = 3_600;
/// And so is one that is kept for fewer times the present lag than this.
const RETENTION_PER_LAG_MIN: f64 = 10.0;
/// A lag counts as small again only below this part of the threshold: no flapping around it.
const RECOVERED_PART: f64 = 0.9;

/// Adds the four conditions.
pub(crate) fn add(
    report: Option<&AgentStatus>,
    verdict: &Verdict,
    lag_threshold_seconds: f64,
    upstream: Option<&Upstream>,
    conditions: &mut Conditions<'_>,
) {
    // Whoever is not connected knows nothing of tables; what was copied stays so meanwhile.
    let connected = report.filter(|report| report.phase != Phase::Pending);
    match (connected, conditions.previous("SnapshotComplete")) {
        (Some(report), _) => conditions.add("SnapshotComplete", snapshot(report)),
        (None, Some(previous)) if previous.status != "Unknown" => conditions.keep(previous),
        (None, _) => conditions.add("SnapshotComplete", unknown(verdict)),
    }
    let Some(report) = report else {
        let stopped = State::new(Truth::False, &verdict.reason, "No rows are being followed.");
        let silent = verdict.reason == "AgentUnreachable";
        let streaming = if silent || verdict.truth == Truth::Unknown {
            unknown(verdict)
        } else {
            stopped
        };
        conditions.add("Streaming", streaming);
        conditions.add("LagWithinThreshold", unknown(verdict));
        return conditions.add("PositionAtRisk", unknown(verdict));
    };
    let follows = upstream::streaming(streaming(report), upstream);
    conditions.add("Streaming", follows);
    let lags = lags(report, lag_threshold_seconds, conditions);
    conditions.add("LagWithinThreshold", lag(lags, lag_threshold_seconds));
    conditions.add("PositionAtRisk", risk(report));
}

/// Whether the lag is above the threshold, or has been and is hardly below; none while unknown.
pub(crate) fn is_late(report: &AgentStatus, threshold: f64, was_late: bool) -> Option<bool> {
    let bar = if was_late {
        threshold * RECOVERED_PART
    } else {
        threshold
    };
    let seconds = known_lag(report)?.seconds?;
    Some(seconds > bar)
}

/// Whether the conditions of before say that the replica was late.
pub(crate) fn was_late(conditions: &[Condition]) -> bool {
    find(conditions, "LagWithinThreshold").is_some_and(|condition| condition.status == "False")
}

fn lags(report: &AgentStatus, threshold: f64, conditions: &Conditions<'_>) -> Option<bool> {
    let previous = conditions.previous("LagWithinThreshold");
    let was_late = previous.is_some_and(|condition| condition.status == "False");
    is_late(report, threshold, was_late)
}

fn unknown(verdict: &Verdict) -> State {
    let text = "Not known: no agent reports at the moment.";
    State::new(Truth::Unknown, &verdict.reason, text)
}

fn snapshot(report: &AgentStatus) -> State {
    let (done, total) = (report.snapshot.tables_done, report.snapshot.tables_total);
    match report.phase {
        Phase::Snapshotting => State::new(
            Truth::False,
            "Snapshotting",
            format!("Copied so far: {done} of {total} tables."),
        ),
        _ if done == total => State::new(
            Truth::True,
            "SnapshotComplete",
            format!("All {total} tables are copied, or need no copy."),
        ),
        _ => State::new(
            Truth::False,
            "SnapshotIncomplete",
            format!("Copied so far: {done} of {total} tables."),
        ),
    }
}

fn streaming(report: &AgentStatus) -> State {
    if let Some(stall) = &report.stalled {
        let reason = stall_reason(stall.on);
        return State::new(Truth::False, reason, "The stream stands still.");
    }
    if let Some(error) = &report.last_error {
        let reason = reason_of(error);
        return State::new(
            Truth::False,
            &reason,
            "The stream waits for the error to go.",
        );
    }
    match report.phase {
        Phase::Snapshotting | Phase::Streaming => State::new(
            Truth::True,
            "Streaming",
            "The source's log is being followed.",
        ),
        Phase::Pending => State::new(
            Truth::False,
            "Connecting",
            "The agent has not reached both databases yet.",
        ),
        Phase::Stopped => State::new(Truth::False, "Stopped", "The pipeline has ended."),
        Phase::Failed => State::new(Truth::False, "AgentFailed", "The pipeline has stopped."),
    }
}

fn lag(late: Option<bool>, threshold: f64) -> State {
    let state = |truth, reason, how| {
        State::new(
            truth,
            reason,
            format!("The replica is {how} {threshold} s behind (spec.lagThresholdSeconds)."),
        )
    };
    match late {
        Some(true) => state(Truth::False, "LagTooHigh", "more than"),
        Some(false) => state(Truth::True, "LagWithinThreshold", "at most"),
        None => State::new(
            Truth::Unknown,
            "LagUnknown",
            "Not known at the moment: the agent does not hear from the source.",
        ),
    }
}

fn risk(report: &AgentStatus) -> State {
    let Some(retention) = report.retention_seconds else {
        return State::new(
            Truth::Unknown,
            "RetentionUnknown",
            "The source does not say how long it keeps its log.",
        );
    };
    let lag = report.lag.seconds.unwrap_or(0.0);
    let short = retention < RETENTION_SECONDS_MIN;
    if short || (retention as f64) < RETENTION_PER_LAG_MIN * lag {
        return State::new(
            Truth::True,
            "LogExpiresSoon",
            "The source may purge log that the replica still needs, within the hour or soon at this \
             lag. Keep it longer: SET PERSIST binlog_expire_logs_seconds = 604800 on MySQL; and see \
             what holds the replica up.",
        );
    }
    State::new(
        Truth::False,
        "LogKept",
        "The source keeps its log for long enough.",
    )
}
