//! Figures as a person reads them: rounded, so that what does not matter does not change.

use sluice_agent_api::AgentStatus;
use sluice_crds::status::{Lag, Rate, SnapshotProgress, TableCounts};

/// The lag, to a tenth of a second below ten seconds and to the second above.
pub(crate) fn lag(report: &AgentStatus) -> Lag {
    Lag {
        seconds: report.lag.seconds.map(rounded_seconds),
        bytes: report.lag.bytes.map(whole),
    }
}

/// The rate, to two significant digits.
pub(crate) fn rate(report: &AgentStatus) -> Rate {
    Rate {
        rows_per_second: two_digits(report.rows_per_second),
    }
}

/// How far the copy of present rows is.
pub(crate) fn snapshot(report: &AgentStatus) -> SnapshotProgress {
    let snapshot = &report.snapshot;
    SnapshotProgress {
        tables_total: count(snapshot.tables_total as usize),
        tables_done: count(snapshot.tables_done as usize),
        rows_copied: whole(snapshot.rows_copied),
        percent: i32::from(snapshot.percent),
    }
}

/// How many tables there are, and how many of them wait for a person.
pub(crate) fn tables(report: &AgentStatus) -> TableCounts {
    let are = |phases: &[&str]| {
        let tables = report.tables.values();
        count(
            tables
                .filter(|table| phases.contains(&table.phase.as_str()))
                .count(),
        )
    };
    TableCounts {
        total: count(report.tables.len()),
        streaming: are(&["Streaming"]),
        failed: are(&["Failed", "Paused"]),
    }
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
