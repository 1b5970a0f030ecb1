//! What the two loops tell the outside: plain facts, read by the HTTP server and the terminal.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sluice_core::{
    Error, LogPosition, Position, TableId, TableState, Watermark, position::SnapshotState,
    source::LogEnd,
};

use tokio::time::Instant;

use crate::stall::{StallReport, StalledOn, Waiter, Waits};

/// The window over which the rate is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// How many samples of the log's end are kept while they are not reached.
const LOG_ENDS_MAX: usize = 64;
/// Within this lag a pipeline that follows the log counts as up to date.
const READY_LAG_SECONDS_MAX: f64 = 60.0;
/// What the source said of its log's end is true of the present for this long.
const LOG_END_AGE_MAX: Duration = Duration::from_secs(3);
/// A loop that has not turned for this long is not working.
const READY_SILENCE_MAX: Duration = Duration::from_secs(12);

/// What a pipeline does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Connecting.
    #[default]
    Pending,
    /// Copying present rows, while streaming.
    Snapshotting,
    /// Following the log.
    Streaming,
    /// Ended as asked.
    Stopped,
    /// Waiting for a person.
    Failed,
}

/// An error as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReport {
    /// Its name.
    pub reason: String,
    /// What happened, with causes.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// When.
    pub at: SystemTime,
}

impl ErrorReport {
    fn new(error: &Error) -> Self {
        Self {
            reason: error.reason().to_string(),
            message: error.report(),
            hint: error.hint().map(str::to_owned),
            at: SystemTime::now(),
        }
    }
}

/// Facts about one pipeline at one moment.
#[derive(Debug, Clone, Default)]
pub struct ProgressReport {
    /// The pipeline's name.
    pub name: String,
    /// What it does.
    pub phase: Phase,
    /// Whether rows flow or there is provably nothing to send.
    pub ready: bool,
    /// The committed position.
    pub position: Option<String>,
    /// Age of the oldest change that may be missing; zero when none is.
    pub lag_seconds: Option<f64>,
    /// Bytes of log not applied; records, of topics.
    pub lag_bytes: Option<u64>,
    /// Tables to copy, done ones included.
    pub tables_total: u32,
    /// Tables copied.
    pub tables_done: u32,
    /// Rows copied.
    pub rows_copied: u64,
    /// About how many rows there are to copy.
    pub rows_estimated: u64,
    /// Rows applied per second.
    pub rows_per_second: f64,
    /// Rows applied since the start.
    pub rows_total: u64,
    /// Every table's state.
    pub tables: SnapshotState,
    /// Kafka topics that are read or written.
    pub topics: BTreeMap<String, TopicReport>,
    /// Records kept aside since the start.
    pub dead_letters: u64,
    /// Values written as NULL, by `schema.table.column`.
    pub nulled_values: BTreeMap<String, u64>,
    /// What the pipeline waits for or stopped at.
    pub last_error: Option<ErrorReport>,
    /// Until the log's oldest unread part may be purged.
    pub retention_seconds: Option<u64>,
    /// The end that gives no answer.
    pub stall: Option<StallReport>,
    /// How often an end began to give no answer since the start, by end.
    pub stalls: StallCounts,
    /// The newest request to copy tables again that was taken on.
    pub request: Option<String>,
    /// How many such requests were taken on since the start.
    pub requests_total: u64,
}

/// Facts about one Kafka topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicReport {
    /// How many of its partitions are read or written here.
    pub partitions: u32,
    /// Records in them that are not applied; none where they are written.
    pub lag_records: Option<u64>,
}

/// How often each end stalled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StallCounts {
    /// The source.
    pub source: u64,
    /// The target.
    pub target: u64,
}

/// A pipeline's progress, shared between its loops and whoever watches it.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    report: ProgressReport,
    /// Row counts by time, for the rate.
    rates: VecDeque<(Instant, u64)>,
    /// Ends of the log that are not reached yet, with the time when they were the end.
    log_ends: VecDeque<(SystemTime, Watermark)>,
    /// The newest end of the log, and when it was asked for.
    log_end: Option<(Instant, LogEnd)>,
    /// Offsets that the target holds, of topics.
    offsets: BTreeMap<(String, i32), i64>,
    /// Topics that are written.
    written: Arc<BTreeMap<String, u32>>,
    /// Everything before this time is applied.
    caught_up_at: Option<SystemTime>,
    /// When the last table was copied.
    copied_at: Option<SystemTime>,
    applied: Option<Watermark>,
    applied_commit_time: Option<SystemTime>,
    estimates: BTreeMap<TableId, u64>,
    /// Tables that the stream is to announce.
    expected: BTreeSet<TableId>,
    /// Rows that the copy of each table has written, since the table was fresh.
    copied: BTreeMap<TableId, u64>,
    intake_beat: Instant,
    apply_beat: Instant,
    waits: Waits,
    /// Whether the pipeline ended because nothing is left to do.
    complete: bool,
    sync: Sync,
}

/// From when on an end of the log counts for being in sync.
#[derive(Debug, Clone, Copy)]
enum Sync {
    /// Whenever it was asked for.
    Any,
    /// None, until somebody says so.
    Held,
    /// Since somebody said so.
    Since(SystemTime),
}

impl Progress {
    /// Progress of a pipeline that has not started.
    pub fn new(name: impl Into<String>) -> Self {
        let report = ProgressReport {
            name: name.into(),
            ..ProgressReport::default()
        };
        Self {
            state: Mutex::new(State {
                report,
                rates: VecDeque::new(),
                log_ends: VecDeque::new(),
                log_end: None,
                offsets: BTreeMap::new(),
                written: Arc::default(),
                caught_up_at: None,
                copied_at: None,
                applied: None,
                applied_commit_time: None,
                estimates: BTreeMap::new(),
                copied: BTreeMap::new(),
                expected: BTreeSet::new(),
                intake_beat: Instant::now(),
                apply_beat: Instant::now(),
                waits: Waits::default(),
                complete: false,
                sync: Sync::Any,
            }),
        }
    }

    /// The facts now.
    pub fn report(&self) -> ProgressReport {
        let mut state = self.lock();
        state.refresh();
        state.report.clone()
    }

    /// Whether a loop has not turned for longer than `silence_max` and does not wait for anything: a
    /// fault of this process, which a restart mends. A loop that waits for an answer of the source or
    /// of the target, or for the other loop, is not stuck, however long that takes: a restart would
    /// only wait again. Neither is a pipeline that connects or waits for a person.
    pub fn is_stuck(&self, silence_max: Duration) -> bool {
        let state = self.lock();
        let running = matches!(state.report.phase, Phase::Snapshotting | Phase::Streaming);
        let hangs =
            |beat: Instant, waiter| beat.elapsed() > silence_max && !state.waits.is_waiting(waiter);
        running
            && (hangs(state.intake_beat, Waiter::Intake) || hangs(state.apply_beat, Waiter::Apply))
    }

    /// Whether every table is copied.
    pub(crate) fn is_copied(&self) -> bool {
        self.lock().is_copied()
    }

    /// Whether every table is copied and a log end seen since then is applied.
    pub(crate) fn is_synced(&self) -> bool {
        let state = self.lock();
        let Some(copied_at) = state.copied_at else {
            return false;
        };
        let since = match state.sync {
            Sync::Any => copied_at,
            Sync::Held => return false,
            Sync::Since(time) => time.max(copied_at),
        };
        state.is_copied() && state.caught_up_at.is_some_and(|time| time >= since)
    }

    /// Until [`count_sync`](Self::count_sync), the pipeline does not count as in sync: somebody
    /// who writes what it reads is not done.
    pub fn hold_sync(&self) {
        self.lock().sync = Sync::Held;
    }

    /// From now on, the pipeline is in sync once it has reached an end of the log asked for from now on.
    pub fn count_sync(&self) {
        self.lock().sync = Sync::Since(SystemTime::now());
    }

    pub(crate) fn connecting(&self) {
        let mut state = self.lock();
        // A pipeline that waits for a person does so until it flows again.
        if state.report.phase != Phase::Failed {
            state.report.phase = Phase::Pending;
        }
        // How far the target was is still true, how far the source is must be asked again: the lag
        // is counted on from there.
        state.applied = None;
        state.log_end = None;
        state.log_ends.clear();
        state.copied_at = None;
        state.waits.clear();
    }

    pub(crate) fn streaming(&self, position: &Position) {
        let mut state = self.lock();
        state.report.phase = Phase::Streaming;
        state.intake_beat = Instant::now();
        state.apply_beat = Instant::now();
        state.set_position(position);
        state.report.request = position.requests.newest().map(str::to_owned);
    }

    pub(crate) fn retrying(&self, error: &Error) {
        let mut state = self.lock();
        state.report.phase = Phase::Pending;
        state.report.last_error = Some(ErrorReport::new(error));
    }

    /// Everything is done that was to be done.
    pub(crate) fn completed(&self) {
        let mut state = self.lock();
        state.complete = true;
        state.report.last_error = None;
    }

    pub(crate) fn ended(&self, error: Option<&Error>) {
        let mut state = self.lock();
        state.waits.clear();
        state.report.phase = if error.is_some() {
            Phase::Failed
        } else {
            Phase::Stopped
        };
        if let Some(error) = error {
            state.report.last_error = Some(ErrorReport::new(error));
        }
    }

    pub(crate) fn beat_intake(&self) {
        self.lock().intake_beat = Instant::now();
    }

    /// Changes what is known of waiting loops.
    pub(crate) fn waits<T>(&self, change: impl FnOnce(&mut Waits) -> T) -> T {
        change(&mut self.lock().waits)
    }

    /// A request to copy tables again is taken on.
    pub(crate) fn took_request(&self) {
        self.lock().report.requests_total += 1;
    }

    pub(crate) fn beat_apply(&self) {
        self.lock().apply_beat = Instant::now();
    }

    /// Takes a table's copied rows from the state that the target holds.
    pub(crate) fn resume_copies(&self, position: &Position) {
        let mut state = self.lock();
        for (table, table_state) in position.tables.iter() {
            if let TableState::Snapshotting { rows_copied, .. } = table_state {
                state.copied.insert(table.clone(), *rows_copied);
            }
        }
    }

    /// Tables that exist but are to be announced by the stream before they are copied.
    pub(crate) fn expect(&self, tables: BTreeSet<TableId>) {
        self.lock().expected = tables;
    }

    pub(crate) fn copied(&self, table: TableId, rows: u64) {
        *self.lock().copied.entry(table).or_default() += rows;
    }

    pub(crate) fn estimate(&self, table: TableId, rows: u64) {
        self.lock().estimates.insert(table, rows);
    }

    /// Everything up to `watermark` is applied, though perhaps not stored as the position yet.
    pub(crate) fn applied(&self, watermark: Option<&Watermark>, commit_time_micros: Option<i64>) {
        let mut state = self.lock();
        if let Some(watermark) = watermark {
            state.applied = Some(watermark.clone());
        }
        if let Some(micros) = commit_time_micros {
            state.applied_commit_time =
                Some(UNIX_EPOCH + Duration::from_micros(micros.max(0) as u64));
        }
        state.pass_log_ends();
    }

    pub(crate) fn committed(&self, position: &Position, rows: u64) {
        let mut state = self.lock();
        state.report.last_error = None;
        state.report.rows_total += rows;
        let total = state.report.rows_total;
        let now = Instant::now();
        // One sample per hundred milliseconds is enough, and bounds the window's memory.
        if state
            .rates
            .back()
            .is_none_or(|(at, _)| now - *at > Duration::from_millis(100))
        {
            state.rates.push_back((now, total));
        }
        state.set_position(position);
    }

    /// These topics are written to.
    pub(crate) fn writes_topics(&self, topics: Arc<BTreeMap<String, u32>>) {
        self.lock().written = topics;
    }

    pub(crate) fn dead_letters(&self, count: u64) {
        self.lock().report.dead_letters += count;
    }

    pub(crate) fn nulled(&self, table: &TableId, column: &str, count: u64) {
        *self
            .lock()
            .report
            .nulled_values
            .entry(format!("{table}.{column}"))
            .or_default() += count;
    }

    /// The log's end as it was at some moment after it was asked for.
    pub(crate) fn log_end(&self, asked_at: Instant, end: LogEnd) {
        let mut state = self.lock();
        state.report.retention_seconds = end.retention_seconds;
        if state.log_ends.len() < LOG_ENDS_MAX {
            state.log_ends.push_back((
                SystemTime::now() - asked_at.elapsed(),
                end.watermark.clone(),
            ));
        }
        state.log_end = Some((asked_at, end));
        state.pass_log_ends();
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state stays consistent even if a holder panicked between two assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_copied(&self) -> bool {
        self.copied_at.is_some() && self.expected.is_empty()
    }

    fn silence(&self) -> Duration {
        self.intake_beat.elapsed().max(self.apply_beat.elapsed())
    }

    fn set_position(&mut self, position: &Position) {
        self.report.position = Some(position.log.to_string());
        if let LogPosition::Offsets(offsets) = &position.log {
            self.offsets.clone_from(offsets);
        }
        self.expected
            .retain(|table| !position.tables.contains_key(table));
        self.report.tables = (*position.tables).clone();
        let copying = |state: &TableState| matches!(state, TableState::Snapshotting { .. });
        let snapshotting = position.tables.values().any(copying);
        if snapshotting {
            self.copied_at = None;
        } else {
            self.copied_at.get_or_insert_with(SystemTime::now);
        }
        self.report.phase = if snapshotting {
            Phase::Snapshotting
        } else {
            Phase::Streaming
        };
    }

    fn pass_log_ends(&mut self) {
        let Some(applied) = &self.applied else { return };
        while let Some((at, end)) = self.log_ends.front() {
            match applied.has_reached(end) {
                Some(true) => self.caught_up_at = Some(*at),
                Some(false) => break,
                None => {}
            }
            self.log_ends.pop_front();
        }
    }

    fn refresh(&mut self) {
        self.refresh_rate();
        self.refresh_snapshot();
        self.refresh_lag();
        self.refresh_topics();
        self.refresh_stall();
        let flows = matches!(self.report.phase, Phase::Snapshotting | Phase::Streaming)
            && self.silence() < READY_SILENCE_MAX;
        let copying = self.report.phase == Phase::Snapshotting;
        let fresh = self
            .report
            .lag_seconds
            .is_some_and(|lag| lag < READY_LAG_SECONDS_MAX);
        let none_failed = !self
            .report
            .tables
            .values()
            .any(|state| matches!(state, TableState::Stopped { .. }) && !state.is_paused());
        let unhindered = self.report.stall.is_none() && self.report.last_error.is_none();
        self.report.ready =
            (flows && unhindered && (copying || fresh) || self.complete) && none_failed;
    }

    fn refresh_stall(&mut self) {
        let stall = self.waits.stall();
        let on = |stall: &Option<StallReport>| stall.as_ref().map(|stall| stall.on);
        if on(&stall) != on(&self.report.stall) {
            match on(&stall) {
                Some(StalledOn::Source) => self.report.stalls.source += 1,
                Some(StalledOn::Target) => self.report.stalls.target += 1,
                None => {}
            }
        }
        self.report.stall = stall;
    }

    fn refresh_rate(&mut self) {
        let now = Instant::now();
        while self.rates.len() > 1
            && self
                .rates
                .front()
                .is_some_and(|(at, _)| now - *at > RATE_WINDOW)
        {
            self.rates.pop_front();
        }
        self.report.rows_per_second = match self.rates.front() {
            Some((at, rows)) if now - *at < RATE_WINDOW => {
                let seconds = (now - *at).as_secs_f64().max(1.0);
                (self.report.rows_total - rows) as f64 / seconds
            }
            _ => 0.0,
        };
    }

    fn refresh_snapshot(&mut self) {
        let (mut total, mut done, mut copied, mut estimated) = (0, 0, 0, 0);
        for (table, state) in &self.report.tables {
            let rows = self.copied.get(table).copied().unwrap_or(0);
            let estimate = self.estimates.get(table).copied().unwrap_or(0);
            match state {
                TableState::Snapshotting { .. } => {
                    total += 1;
                    copied += rows;
                    estimated += estimate.max(rows);
                }
                TableState::Streaming => {
                    total += 1;
                    done += 1;
                    copied += rows;
                    estimated += rows;
                }
                TableState::Stopped { .. } => {}
            }
        }
        self.report.tables_total = total;
        self.report.tables_done = done;
        self.report.rows_copied = copied;
        self.report.rows_estimated = estimated;
    }

    fn refresh_topics(&mut self) {
        let written = self.written.iter().map(|(topic, &partitions)| {
            let report = TopicReport {
                partitions,
                lag_records: None,
            };
            (topic.clone(), report)
        });
        self.report.topics = written.collect();
        let ends = self.log_end.iter().flat_map(|(_, end)| &end.partitions);
        for end in ends {
            let place = (end.topic.to_string(), end.partition);
            let applied = self.offsets.get(&place).copied().unwrap_or(0);
            let topic = self.report.topics.entry(place.0).or_default();
            topic.partitions += 1;
            *topic.lag_records.get_or_insert(0) += end.records_after(applied);
        }
    }

    fn refresh_lag(&mut self) {
        self.report.lag_bytes = None;
        self.report.lag_seconds = None;
        if self.report.phase == Phase::Stopped {
            return;
        }
        if let (Some((asked_at, end)), Some(applied)) = (&self.log_end, &self.applied) {
            let is_behind = applied.has_reached(&end.watermark) != Some(true);
            let is_recent = asked_at.elapsed() < LOG_END_AGE_MAX;
            // An older end shows what is missing at least, but never that nothing is.
            if is_behind || is_recent {
                self.report.lag_bytes = Some(end.bytes_after(applied));
            }
            if is_recent && !is_behind {
                self.report.lag_seconds = Some(0.0);
                return;
            }
        }
        // Everything up to both times is applied, so the later one bounds the lag. Of a source that
        // can't be asked nothing newer is known: there may be changes since then.
        let upto = self.caught_up_at.max(self.applied_commit_time);
        let age = |time: SystemTime| SystemTime::now().duration_since(time).unwrap_or_default();
        self.report.lag_seconds = upto.map(|time| age(time).as_secs_f64());
    }
}
