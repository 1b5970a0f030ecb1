//! What a pipeline tells the outside, as [`AgentStatus`].

use std::time::SystemTime;

use sluice_agent_api::{
    AgentConfig, AgentStatus,
    config::SourceSystem,
    status::{Lag, LastError, Phase, SnapshotProgress, Stall, StallCounts, StalledOn, TableStatus},
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
}
