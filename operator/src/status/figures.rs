//! Figures as a person reads them: rounded, so that what does not matter does not change.

use sluice_agent_api::{
    AgentStatus,
    status::{Lag as AgentLag, Phase, StalledOn},
};
use sluice_crds::status::{KafkaProgress, Lag, Rate, SnapshotProgress, TableCounts};

/// The lag, to a tenth of a second below ten seconds and to the second above.
/// None while it is not known: from a source that has fallen silent, nobody knows what is missing.
pub(crate) fn lag(report: &AgentStatus) -> Option<Lag> {
    let lag = known_lag(report)?;
    Some(Lag {
        seconds: lag.seconds.map(rounded_seconds),
        bytes: lag.bytes.map(whole),
        records: lag.records.map(whole),
    })
}

/// The lag as the agent says it, unless it can't know it.
pub(crate) fn known_lag(report: &AgentStatus) -> Option<&AgentLag> {
    let stalled = report.stalled.as_ref();
    let silent = stalled.is_some_and(|stall| stall.on == StalledOn::Source);
    let lag = &report.lag;
    (!silent && (lag.seconds.is_some() || lag.bytes.is_some() || lag.records.is_some()))
        .then_some(lag)
}

/// The topics, counted; none where there is no Kafka, and while the agent does not know them.
pub(crate) fn kafka(report: &AgentStatus) -> Option<KafkaProgress> {
    let topics = &report.topics;
    let partitions = topics.values().map(|topic| topic.partitions as usize);
    let lags = topics.values().filter_map(|topic| topic.lag_records);
    (!topics.is_empty()).then(|| KafkaProgress {
        topics: count(topics.len()),
        partitions: count(partitions.sum()),
        consumer_lag_records: lags.reduce(u64::saturating_add).map(whole),
    })
}

/// The rate, to two significant digits; none while the agent connects.
pub(crate) fn rate(report: &AgentStatus) -> Option<Rate> {
    (report.phase != Phase::Pending).then(|| Rate {
        rows_per_second: two_digits(report.rows_per_second),
    })
}

/// How far the copy of present rows is; none as long as the agent does not know the tables.
pub(crate) fn snapshot(report: &AgentStatus) -> Option<SnapshotProgress> {
    let snapshot = &report.snapshot;
    let known = snapshot.tables_total > 0 || report.phase != Phase::Pending;
    known.then(|| SnapshotProgress {
        tables_total: count(snapshot.tables_total as usize),
        tables_done: count(snapshot.tables_done as usize),
        rows_copied: whole(snapshot.rows_copied),
        percent: i32::from(snapshot.percent),
    })
}

/// How many tables there are, and how many of them wait for a person; none as long as the agent
/// does not know them.
pub(crate) fn tables(report: &AgentStatus) -> Option<TableCounts> {
    let are = |phases: &[&str]| {
        let tables = report.tables.values();
        count(
            tables
                .filter(|table| phases.contains(&table.phase.as_str()))
                .count(),
        )
    };
    (!report.tables.is_empty()).then(|| TableCounts {
        total: count(report.tables.len()),
        streaming: are(&["Streaming"]),
        failed: are(&["Failed", "Paused"]),
    })
}

/// A count that fits.
pub(crate) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Seconds, to a tenth below ten and to the second above.
pub(crate) fn rounded_seconds(seconds: f64) -> f64 {
    if seconds < 10.0 {
        (seconds * 10.0).round() / 10.0
    } else {
        seconds.round()
    }
}

fn two_digits(rate: f64) -> i64 {
    let rate = rate.max(0.0);
    // Something that flows slowly is not nothing.
    if rate > 0.0 && rate < 1.0 {
        return 1;
    }
    let mut unit = 1.0;
    while rate / unit >= 100.0 {
        unit *= 10.0;
    }
    ((rate / unit).round() * unit) as i64
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_shown_to_a_tenth_of_a_second_below_ten_seconds() {
        for (seconds, shown) in [(0.04, 0.0), (0.26, 0.3), (9.96, 10.0), (12.4, 12.0)] {
            assert!((rounded_seconds(seconds) - shown).abs() < 1e-9, "{seconds}");
        }
    }

    #[test]
    fn a_rate_has_two_significant_digits_and_is_not_zero_while_rows_flow() {
        for (rate, shown) in [
            (0.0, 0),
            (0.1, 1),
            (7.4, 7),
            (99.6, 100),
            (1834.0, 1800),
            (126_500.0, 130_000),
        ] {
            assert_eq!(two_digits(rate), shown, "{rate}");
        }
    }
}
