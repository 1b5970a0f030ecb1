//! What `sluice run` shows: a table redrawn in place on a terminal, plain lines otherwise.
//!
//! Plain lines go to standard output, one per pipeline when its phase or its error changes and every
//! ten seconds; errors and the table go to standard error.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_agent_api::{
    AgentStatus,
    status::{LastError, Phase},
};
use sluice_core::Error;
use sluice_pipeline::Finish;

use crate::{
    run::{Watched, statuses},
    screen::Screen,
};

const LINE_EVERY: Duration = Duration::from_secs(10);
/// Room for what changes all the time, so that columns stay where they are.
const WIDTHS_MIN: [usize; 7] = [0, 12, 8, 11, 9, 7, 0];
/// The table's height; terminals have 24 lines at least.
const LINES_MAX: usize = 22;
/// Table errors shown below the table; the rest is in `/v1/status`.
const TABLE_ERRORS_MAX: usize = 5;

/// Shows how pipelines are doing.
pub(crate) struct Display {
    screen: Screen,
    pipelines: Arc<[Watched]>,
    /// What was last said about each pipeline, without a terminal.
    said: Vec<Said>,
}

#[derive(Clone, Default)]
struct Said {
    at: Option<Instant>,
    phase: Phase,
    error: Option<(String, String)>,
    failed_tables: Vec<String>,
}

impl Display {
    /// Nothing is shown yet.
    pub(crate) fn new(screen: Screen, pipelines: Arc<[Watched]>) -> Self {
        let said = vec![Said::default(); pipelines.len()];
        Self {
            screen,
            pipelines,
            said,
        }
    }

    /// Shows the present state.
    pub(crate) fn update(&mut self) {
        let statuses = statuses(&self.pipelines);
        if self.screen.is_live() {
            self.screen.draw(clipped(table(&statuses)));
        } else {
            for (status, said) in statuses.iter().zip(&mut self.said) {
                say(status, said);
            }
        }
    }

    /// Shows the last state; nothing is redrawn after it.
    pub(crate) fn finish(&mut self) {
        if self.screen.is_live() {
            self.update();
            self.screen.leave();
        }
    }

    /// Prints text for people.
    pub(crate) fn print(&self, text: &str) {
        self.screen.print(text);
    }

    /// Says that a pipeline is done. Answers whether all of its tables are: those that wait for a
    /// person are named.
    pub(crate) fn ended(&mut self, name: &str, finish: Finish) -> bool {
        let what = match finish {
            Finish::Stopped => "stopped",
            Finish::Synced => "in sync with the source",
            Finish::SnapshotDone => "snapshot complete",
        };
        let found = self
            .pipelines
            .iter()
            .find(|watched| watched.config.agent_name() == name);
        let status = found.map(Watched::status).unwrap_or_default();
        let line = format!(
            "{name}: {what}, {} rows applied",
            grouped(status.rows_total)
        );
        if self.screen.is_live() {
            self.screen.print(&format!("{line}\n"));
        } else {
            print_line(&line);
        }
        if finish == Finish::Stopped {
            return true;
        }
        for (table, error) in waiting_tables(&status) {
            let text = format!("error: {name}, table {table}: {}", explained(error));
            self.screen.print(&text);
        }
        waiting_tables(&status).next().is_none()
    }

    /// Says that a pipeline has failed, and what to do.
    pub(crate) fn failed(&mut self, name: &str, error: &Error) {
        let report = LastError {
            reason: error.reason().to_string(),
            message: error.report(),
            hint: error.hint().map(str::to_owned),
            at: String::new(),
        };
        self.screen
            .print(&format!("error: {name}: {}", explained(&report)));
    }
}

/// As much of the table as every terminal has room for: what scrolls away can't be redrawn.
fn clipped(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX + 1;
        lines.truncate(LINES_MAX - 1);
        lines.push(format!("… {more} more lines"));
    }
    lines
}

/// One line per pipeline below a header, and below them what people must know.
fn table(statuses: &[AgentStatus]) -> Vec<String> {
    let header = [
        "PIPELINE", "PHASE", "SNAPSHOT", "ROWS", "ROWS/S", "LAG", "ERROR",
    ];
    let mut cells: Vec<[String; 7]> = vec![header.map(str::to_owned)];
    cells.extend(statuses.iter().map(|status| {
        let error = status.last_error.as_ref().map(|error| error.reason.clone());
        [
            status.pipeline.clone(),
            format!("{:?}", status.phase),
            format!("{} %", status.snapshot.percent),
            grouped(status.rows_total),
            grouped(status.rows_per_second.round() as u64),
            lag(status),
            error.unwrap_or_default(),
        ]
    }));
    let width = |column: usize| {
        let lengths = cells.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0).max(WIDTHS_MIN[column])
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut lines: Vec<String> = cells.iter().map(|row| aligned(row, &widths)).collect();
    for status in statuses {
        if let Some(error) = &status.last_error {
            lines.extend(paragraph(&status.pipeline, error));
        }
        let failed = waiting_tables(status);
        for (name, error) in failed.clone().take(TABLE_ERRORS_MAX) {
            lines.extend(paragraph(
                &format!("{}, table {name}", status.pipeline),
                error,
            ));
        }
        let more = failed.count().saturating_sub(TABLE_ERRORS_MAX);
        if more > 0 {
            lines.push(format!("{}: {more} more tables wait", status.pipeline));
        }
    }
    lines
}

/// Names to the left, numbers to the right.
fn aligned(row: &[String; 7], widths: &[usize; 7]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let numeric = (2..=5).contains(&column);
        let padded = if numeric {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        };
        line.push_str(&padded);
        line.push_str("  ");
    }
    line.trim_end().to_owned()
}

/// Tables that wait for a person, and why.
fn waiting_tables(status: &AgentStatus) -> impl Iterator<Item = (&String, &LastError)> + Clone {
    let tables = status.tables.iter();
    tables.filter_map(|(name, table)| Some((name, table.error.as_ref()?)))
}

fn paragraph(name: &str, error: &LastError) -> Vec<String> {
    let text = format!("{name}: {}", explained(error));
    text.lines().map(str::to_owned).collect()
}

/// Message and remedy, each on lines of its own.
fn explained(error: &LastError) -> String {
    let mut text = format!("{} ({})\n", error.message, error.reason);
    if let Some(hint) = &error.hint {
        text.push_str("  what to do:");
        for line in hint.lines() {
            text.extend([" ", line, "\n   "]);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Says what is new about a pipeline, or how it is doing every now and then.
fn say(status: &AgentStatus, said: &mut Said) {
    let error = status.last_error.as_ref();
    let key = error.map(|error| (error.reason.clone(), error.message.clone()));
    let due = said.at.is_none_or(|at| at.elapsed() >= LINE_EVERY);
    if due || said.phase != status.phase {
        said.at = Some(Instant::now());
        said.phase = status.phase;
        print_line(&summary(status));
    }
    if said.error != key {
        said.error = key;
        if let Some(error) = error {
            print_line(format!("{}: {}", status.pipeline, explained(error)).trim_end());
        }
    }
    let waiting = waiting_tables(status);
    for (name, error) in waiting.clone() {
        if !said.failed_tables.contains(name) {
            print_line(
                format!("{}, table {name}: {}", status.pipeline, explained(error)).trim_end(),
            );
        }
    }
    said.failed_tables = waiting.map(|(name, _)| name.clone()).collect();
}

fn summary(status: &AgentStatus) -> String {
    let mut pieces = vec![format!("{}: {:?}", status.pipeline, status.phase)];
    if status.phase == Phase::Snapshotting {
        let (percent, done) = (status.snapshot.percent, status.snapshot.tables_done);
        let total = status.snapshot.tables_total;
        pieces.push(format!("{percent} % copied, {done} of {total} tables done"));
    }
    pieces.push(format!("{} rows", grouped(status.rows_total)));
    pieces.push(format!(
        "{} rows/s",
        grouped(status.rows_per_second.round() as u64)
    ));
    pieces.push(format!("lag {}", lag(status)));
    if status.dead_letters > 0 {
        pieces.push(format!("{} dead letters", grouped(status.dead_letters)));
    }
    pieces.join(", ")
}

fn lag(status: &AgentStatus) -> String {
    match status.lag.seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) => format!("{:.1} h", seconds / 3_600.0),
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Output that nobody reads any more is no reason to stop replicating.
fn print_line(line: &str) {
    let mut stdout = io::stdout().lock();
    if writeln!(stdout, "{line}").is_ok() {
        drop(stdout.flush());
    }
}

#[cfg(test)]
mod tests {
    use sluice_agent_api::status::Lag;

    use super::*;

    fn status() -> AgentStatus {
        AgentStatus {
            pipeline: "shop-pg".into(),
            phase: Phase::Streaming,
            rows_total: 1_234_567,
            rows_per_second: 999.6,
            lag: Lag {
                seconds: Some(0.25),
                bytes: None,
                records: None,
            },
            ..AgentStatus::default()
        }
    }

    #[test]
    fn the_table_is_aligned_and_errors_stand_below_it() {
        let mut waiting = AgentStatus {
            pipeline: "b".into(),
            ..AgentStatus::default()
        };
        waiting.last_error = Some(LastError {
            reason: "AccessDenied".into(),
            message: "db:3306 refused the password".into(),
            hint: Some("ALTER USER x;\nFLUSH PRIVILEGES;".into()),
            at: String::new(),
        });
        let lines = table(&[status(), waiting]);
        assert_eq!(
            lines,
            [
                "PIPELINE  PHASE         SNAPSHOT         ROWS     ROWS/S      LAG  ERROR",
                "shop-pg   Streaming          0 %    1,234,567      1,000    0.2 s",
                "b         Pending            0 %            0          0        -  AccessDenied",
                "b: db:3306 refused the password (AccessDenied)",
                "  what to do: ALTER USER x;",
                "    FLUSH PRIVILEGES;",
            ]
        );
    }

    #[test]
    fn plain_lines_say_the_same() {
        assert_eq!(
            summary(&status()),
            "shop-pg: Streaming, 1,234,567 rows, 1,000 rows/s, lag 0.2 s"
        );
    }
}
