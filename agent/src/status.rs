//! What a pipeline tells the outside, as [`AgentStatus`].

use std::{collections::BTreeMap, time::SystemTime};

use sluice_agent_api::{
    AgentConfig, AgentStatus,
    config::SourceSystem,
    status::{
        Lag, LastError, Phase, SnapshotProgress, Stall, StallCounts, StalledOn, TableStatus,
        TopicStatus,
    },
};
use sluice_core::{TableState, value::civil_from_days};
use sluice_pipeline::{
    ProgressReport,
    progress::{ErrorReport, Phase as PipelinePhase},
    stall::{self, StallReport},
};

use crate::connectors;

/// The status of a pipeline.
pub(crate) fn agent_status(
    config: &AgentConfig,
    report: &ProgressReport,
    started_at: SystemTime,
) -> AgentStatus {
    let tables = report.tables.iter();
    AgentStatus {
        pipeline: config.agent_name(),
        source: config.source.name.clone(),
        sink: config.sink.name.clone(),
        phase: phase(report.phase),
        ready: report.ready,
        position: report.position.clone(),
        lag: lag(config, report),
        snapshot: SnapshotProgress {
            tables_total: report.tables_total,
            tables_done: report.tables_done,
            rows_copied: report.rows_copied,
            rows_estimated: report.rows_estimated,
            percent: percent(report),
        },
        rows_per_second: report.rows_per_second,
        rows_total: report.rows_total,
        tables: tables
            .map(|(table, state)| (table.to_string(), table_status(state)))
            .collect(),
        topics: topics(report),
        dead_letters: report.dead_letters,
        nulled_values: report.nulled_values.clone(),
        last_error: report.last_error.as_ref().map(last_error),
        retention_seconds: report.retention_seconds,
        stalled: report.stall.as_ref().map(|found| stall(config, found)),
        resnapshot_id: report.request.clone(),
        stalls: StallCounts {
            source: report.stalls.source,
            target: report.stalls.target,
        },
        resnapshots_total: report.requests_total,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: rfc3339(started_at),
    }
}

/// Makes the status of a pipeline that reads topics also that of the one which writes them: the topics
/// say nothing of what did not come into them.
pub(crate) fn add_capture(status: &mut AgentStatus, capture: &AgentStatus) {
    // One that has done what it was to do leaves nothing out.
    let is_done = capture.phase == Phase::Stopped && capture.ready;
    let before = if is_done {
        Some(0.0)
    } else {
        capture.lag.seconds
    };
    status.lag.seconds = status
        .lag
        .seconds
        .zip(before)
        .map(|(own, before)| own + before);
    status.lag.bytes = capture.lag.bytes;
    if capture.ready {
        return;
    }
    status.ready = false;
    let stall = capture.stalled.as_ref();
    let why = capture.last_error.clone().or_else(|| {
        stall.map(|stall| LastError {
            message: stall.message.clone(),
            hint: stall.hint.clone(),
            ..LastError::default()
        })
    });
    if let Some(why) = why.filter(|_| status.last_error.is_none()) {
        status.last_error = Some(LastError {
            reason: "SourceNotReady".to_owned(),
            message: format!(
                "{}, which writes the topics, is held up: {}",
                capture.pipeline, why.message
            ),
            ..why
        });
    }
}

fn topics(report: &ProgressReport) -> BTreeMap<String, TopicStatus> {
    let topics = report.topics.iter().map(|(name, topic)| {
        let status = TopicStatus {
            partitions: topic.partitions,
            lag_records: topic.lag_records,
        };
        (name.clone(), status)
    });
    topics.collect()
}

/// A log is measured in bytes, topics in records.
fn lag(config: &AgentConfig, report: &ProgressReport) -> Lag {
    let (bytes, records) = match config.source.system {
        SourceSystem::Mysql(_) => (report.lag_bytes, None),
        SourceSystem::Kafka(_) => (None, report.lag_bytes),
    };
    Lag {
        seconds: report.lag_seconds,
        bytes,
        records,
    }
}

fn phase(phase: PipelinePhase) -> Phase {
    match phase {
        PipelinePhase::Pending => Phase::Pending,
        PipelinePhase::Snapshotting => Phase::Snapshotting,
        PipelinePhase::Streaming => Phase::Streaming,
        PipelinePhase::Stopped => Phase::Stopped,
        PipelinePhase::Failed => Phase::Failed,
    }
}

/// How much of the present rows is copied: 100 only when every table is done, since the number of
/// rows is an estimate.
fn percent(report: &ProgressReport) -> u8 {
    if report.tables_total == report.tables_done {
        return if report.position.is_some() { 100 } else { 0 };
    }
    let done = report.rows_copied.saturating_mul(100) / report.rows_estimated.max(1);
    done.min(99) as u8
}

fn table_status(state: &TableState) -> TableStatus {
    match state {
        TableState::Snapshotting { rows_copied, .. } => TableStatus {
            phase: "Snapshotting".to_owned(),
            rows_copied: Some(*rows_copied),
            error: None,
        },
        TableState::Streaming => TableStatus {
            phase: "Streaming".to_owned(),
            rows_copied: None,
            error: None,
        },
        TableState::Stopped {
            reason,
            message,
            hint,
        } => TableStatus {
            phase: if state.is_paused() {
                "Paused"
            } else {
                "Failed"
            }
            .to_owned(),
            rows_copied: None,
            error: Some(LastError {
                reason: reason.clone(),
                message: message.clone(),
                hint: hint.clone(),
                at: String::new(),
            }),
        },
    }
}

fn stall(config: &AgentConfig, report: &StallReport) -> Stall {
    let on = match report.on {
        stall::StalledOn::Source => StalledOn::Source,
        stall::StalledOn::Target => StalledOn::Target,
    };
    let (place, since, what) = (
        connectors::place(config, on),
        rfc3339(report.since),
        &report.what,
    );
    let hint = report.hint.clone();
    Stall {
        on,
        seconds: report.duration.as_secs(),
        message: match &report.cause {
            Some(cause) => format!("{place} has been waiting since {since}, {what}: {cause}"),
            None => format!("{place} has given no answer since {since}: {what}"),
        },
        hint: Some(hint.unwrap_or_else(|| connectors::stall_hint(config, on))),
    }
}

fn last_error(error: &ErrorReport) -> LastError {
    LastError {
        reason: error.reason.clone(),
        message: error.message.clone(),
        hint: error.hint.clone(),
        at: rfc3339(error.at),
    }
}

/// A time as `2026-01-31T23:59:59Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    let (year, month, day) = civil_from_days((seconds / 86_400) as i32);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_251_199);
        assert_eq!(rfc3339(time), "2024-02-29T23:59:59Z");
    }

    #[test]
    fn a_snapshot_is_at_100_percent_only_when_every_table_is_done() {
        let mut report = ProgressReport {
            tables_total: 2,
            tables_done: 1,
            rows_copied: 300,
            rows_estimated: 200,
            ..ProgressReport::default()
        };
        assert_eq!(percent(&report), 99);
        report.tables_done = 2;
        assert_eq!(
            percent(&report),
            0,
            "nothing is known before the first position"
        );
        report.position = Some("x".into());
        assert_eq!(percent(&report), 100);
    }

    #[test]
    fn a_pipeline_is_as_late_as_the_one_that_feeds_it() {
        let said = |lag: Option<f64>, ready| AgentStatus {
            pipeline: "shop:capture".into(),
            phase: Phase::Streaming,
            ready,
            lag: Lag {
                seconds: lag,
                bytes: None,
                records: None,
            },
            ..AgentStatus::default()
        };
        let seen = |capture: &AgentStatus| {
            let mut status = said(Some(0.5), true);
            add_capture(&mut status, capture);
            status
        };
        let well = seen(&said(Some(2.0), true));
        assert_eq!((well.lag.seconds, well.ready), (Some(2.5), true));
        assert_eq!(well.last_error, None);

        let mut down = said(None, false);
        down.last_error = Some(LastError {
            reason: "Unreachable".into(),
            message: "no answer".into(),
            hint: Some("start it".into()),
            at: "2026-01-01T00:00:00Z".into(),
        });
        let late = seen(&down);
        assert_eq!((late.lag.seconds, late.ready), (None, false));
        let error = late.last_error.unwrap();
        assert_eq!(error.reason, "SourceNotReady");
        assert!(error.message.contains("shop:capture") && error.message.contains("no answer"));
        assert_eq!(error.hint.as_deref(), Some("start it"));

        let mut done = said(None, true);
        done.phase = Phase::Stopped;
        assert_eq!(seen(&done).lag.seconds, Some(0.5));
    }
}
