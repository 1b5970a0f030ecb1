//! The first loop: pulls the stream, keeps the snapshot readers busy, and fills the queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_core::{
    ChangeEvent, Class, Error, LogPosition, Position, Reason, Requests, Result, SnapshotReader,
    SnapshotState, Source, SourceBatch, TableId, TableState, Watermark,
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::warn;

use crate::{
    progress::Progress,
    queue::{ParcelEnd, ParcelSender},
    route::Router,
    snapshot::{Coordinator, CopyLimits, readers::Readers},
    stall::{Waits, for_queue, for_source},
};

/// How often the end of the log is asked for.
const LOG_END_PERIOD: Duration = Duration::from_millis(500);
/// How many bytes of a table without a key travel in one piece.
const VIEW_PIECE_BYTES: usize = 4 << 20;

/// Tables that the sink stopped, from the apply loop to this one.
#[derive(Debug, Default)]
pub(crate) struct StoppedTables(Mutex<Stopped>);

#[derive(Debug, Default)]
struct Stopped {
    states: BTreeMap<TableId, TableState>,
    undropped: BTreeSet<TableId>,
}

impl StoppedTables {
    pub(crate) fn insert(&self, table: TableId, error: &Error) {
        warn!(%table, reason = %error.reason(), error = error.report(), "table stopped");
        let state = TableState::Stopped {
            reason: error.reason().to_string(),
            message: error.report(),
            hint: error.hint().map(str::to_owned),
        };
        self.lock().states.insert(table, state);
    }

    /// Keeps a table that the source dropped and whose drop waits for a person.
    pub(crate) fn keep(&self, table: TableId) {
        self.lock().undropped.insert(table);
    }

    /// Lets a table go on.
    pub(crate) fn revive(&self, table: &TableId) {
        let mut stopped = self.lock();
        stopped.states.remove(table);
        stopped.undropped.remove(table);
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<TableId, TableState> {
        self.lock().states.clone()
    }

    /// Puts the states of the tables into place.
    pub(crate) fn lay_over(&self, tables: &mut Arc<SnapshotState>) {
        let stopped = self.lock();
        for (table, state) in &stopped.states {
            let known = tables.get(table);
            if known.is_some_and(|known| known != state)
                || known.is_none() && stopped.undropped.contains(table)
            {
                Arc::make_mut(tables).insert(table.clone(), state.clone());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stopped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a parcel ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Inside a transaction: nothing may be committed here.
    InsideTransaction,
    /// At the end of a transaction.
    Transaction { commit_time_micros: Option<i64> },
    /// At the end of a transaction, with a table further than before.
    TablesChanged,
}

/// What the loop needs besides the source.
pub(crate) struct Intake {
    pub(crate) coordinator: Coordinator,
    pub(crate) router: Router,
    pub(crate) parcels: ParcelSender,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stopped: Arc<StoppedTables>,
    /// The position that is durable in the target.
    pub(crate) durable: watch::Receiver<Option<LogPosition>>,
    /// Goes along with every position.
    pub(crate) requests: Requests,
    pub(crate) limits: CopyLimits,
    /// Reads the open view of a table without a key.
    pub(crate) view_reader: Option<Box<dyn SnapshotReader>>,
}

impl Intake {
    /// Runs until the queue is closed or the source fails.
    pub(crate) async fn run(mut self, source: &mut dyn Source) -> Result<()> {
        let mut readers = Readers::new(self.limits);
        let mut log_end = interval(LOG_END_PERIOD);
        log_end.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Only between two transactions may chunks be handed on and views be opened.
        let mut at_boundary = true;
        loop {
            self.progress.beat_intake();
            self.coordinator.stop_tables(&self.stopped);
            if at_boundary && !self.hand_on(source).await? {
                return Ok(());
            }
            let started = readers.start_jobs(source, &mut self.coordinator);
            for_source(&self.progress, connecting_reader, started).await?;
            self.progress.waits(Waits::listen);
            tokio::select! {
                biased;
                Some(result) = readers.finished() => {
                    let result = result?;
                    if let Some((table, rows)) = result.estimate() {
                        self.progress.estimate(table.clone(), rows);
                    }
                    self.coordinator.finish_job(result);
                }
                _ = log_end.tick() => {
                    let asked_at = Instant::now();
                    let what = || "asking for the end of the log".to_owned();
                    let end = for_source(&self.progress, what, source.log_end()).await?;
                    self.progress.log_end(asked_at, end);
                }
                changed = self.durable.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let durable = self.durable.borrow_and_update().clone();
                    if let Some(position) = durable {
                        source.confirm(&position).await?;
                    }
                }
                batch = source.next() => {
                    self.progress.waits(Waits::heard);
                    let batch = batch?;
                    at_boundary = batch.position.is_some();
                    if !self.take_batch(batch).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Filters, routes and sends a batch; `false` when the queue is closed.
    async fn take_batch(&mut self, batch: SourceBatch) -> Result<bool> {
        let SourceBatch {
            mut events,
            position,
            watermark,
            commit_time_micros,
        } = batch;
        let view = self
            .coordinator
            .opened_view()
            .map(|(table, at)| (table.clone(), at.clone()));
        if let Some((table, at)) = view {
            let rest = split_at(&mut events, &at);
            if has_reached(watermark.as_ref(), &at)? || !rest.is_empty() {
                let before = self.filter(events);
                let sent = self.send(before, End::InsideTransaction).await?;
                if !sent || !self.copy_view(&table).await? {
                    return Ok(false);
                }
                events = rest;
            }
        }
        // Events pass by the state before the batch's end; the position moves behind them.
        let passed = self.filter(events);
        let end = match position {
            None => End::InsideTransaction,
            Some(position) => {
                self.coordinator.pass(position, watermark);
                End::Transaction { commit_time_micros }
            }
        };
        self.send(passed, end).await
    }

    fn filter(&mut self, events: Vec<ChangeEvent>) -> Vec<ChangeEvent> {
        let mut passed = Vec::with_capacity(events.len());
        for event in events {
            self.coordinator.filter(event, &mut passed);
        }
        for table in self.coordinator.take_revived() {
            self.stopped.revive(&table);
        }
        passed
    }

    /// Routes and sends events; `false` when the queue is closed.
    async fn send(&mut self, events: Vec<ChangeEvent>, end: End) -> Result<bool> {
        let mut routed = Vec::with_capacity(events.len());
        for event in events {
            let table = event.table().cloned();
            match self.router.event(event) {
                Ok(Some(event)) => routed.push(event),
                Ok(None) => {}
                Err(error) if error.class() == Class::StopTable => {
                    let Some(table) = error.table().cloned().or(table) else {
                        return Err(error);
                    };
                    self.stopped.insert(table, &error);
                    self.coordinator.stop_tables(&self.stopped);
                }
                Err(error) => return Err(error),
            }
        }
        let end = match end {
            End::InsideTransaction => None,
            End::Transaction { commit_time_micros } => Some((commit_time_micros, false)),
            End::TablesChanged => Some((None, true)),
        };
        let end = end.map(|(commit_time_micros, tables_changed)| ParcelEnd {
            position: Position {
                log: self.coordinator.position().clone(),
                tables: Arc::clone(self.coordinator.tables()),
                requests: self.requests.clone(),
            },
            watermark: self.coordinator.watermark().cloned(),
            commit_time_micros,
            tables_changed,
        });
        if routed.is_empty() && end.is_none() {
            return Ok(true);
        }
        // While there is no room the stream is not listened to, so that its silence says nothing.
        self.progress.waits(Waits::heard);
        let sent = self.parcels.send(routed, end);
        Ok(for_queue(&self.progress, sent).await)
    }

    /// Hands on what is complete at this boundary; `false` when the queue is closed.
    async fn hand_on(&mut self, source: &mut dyn Source) -> Result<bool> {
        while let Some(chunk) = self.coordinator.ready_chunk() {
            if !self.send(chunk.events, End::TablesChanged).await? {
                return Ok(false);
            }
        }
        let Some(table) = self.coordinator.view() else {
            return Ok(true);
        };
        // The stream stands still here, so the view can't be older than what has passed.
        let reader = source.snapshot_reader();
        let mut reader = for_source(&self.progress, connecting_reader, reader).await?;
        let what = || format!("opening a view of table {table}");
        let opened = for_source(&self.progress, what, reader.open_view(&table));
        let view = match opened.await {
            Ok(view) => view,
            Err(error) if error.reason() == Reason::TableMissing => {
                self.coordinator.abandon(&table);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let at = view.at.clone();
        self.coordinator.open_view(&table, view.table, view.at);
        self.view_reader = Some(reader);
        let here = self.coordinator.watermark().cloned();
        if here.is_some() && has_reached(here.as_ref(), &at)? {
            return Ok(
                self.copy_view(&table).await? && self.send(Vec::new(), End::TablesChanged).await?
            );
        }
        Ok(true)
    }

    /// Sends the open view's rows, all in one transaction of the target.
    async fn copy_view(&mut self, table: &TableId) -> Result<bool> {
        let Some(mut reader) = self.view_reader.take() else {
            return Ok(true);
        };
        loop {
            let what = || format!("reading rows of table {table}");
            let rows = reader.read_view(VIEW_PIECE_BYTES);
            let rows = for_source(&self.progress, what, rows).await?;
            self.progress.beat_intake();
            let done = rows.is_empty();
            let events = self.coordinator.view_rows(table, rows);
            if !self.send(events, End::InsideTransaction).await? {
                return Ok(false);
            }
            if done {
                self.coordinator.close_view(table);
                return Ok(true);
            }
        }
    }
}

fn connecting_reader() -> String {
    "connecting to read the present rows of tables".to_owned()
}

/// Cuts off the events of transactions that begin at or after a place of the log.
fn split_at(events: &mut Vec<ChangeEvent>, at: &Watermark) -> Vec<ChangeEvent> {
    let begins_after = |event: &ChangeEvent| match event {
        ChangeEvent::Row(change) => change.transaction.start_offset >= at.offset,
        ChangeEvent::TransactionEnd(transaction) => transaction.start_offset >= at.offset,
        ChangeEvent::Schema(_) | ChangeEvent::Chunk(_) | ChangeEvent::Unreadable(_) => false,
    };
    let Some(mut cut) = events.iter().position(begins_after) else {
        return Vec::new();
    };
    // A schema change belongs to the transaction whose end follows it.
    while cut > 0 && matches!(events[cut - 1], ChangeEvent::Schema(_)) {
        cut -= 1;
    }
    events.split_off(cut)
}

fn has_reached(here: Option<&Watermark>, there: &Watermark) -> Result<bool> {
    match here.map(|here| here.has_reached(there)) {
        None => Ok(false),
        Some(Some(reached)) => Ok(reached),
        Some(None) => Err(Error::new(
            Reason::Unavailable,
            "a table was read from another server than the one that streams",
        )
        .with_hint("let the source's host name one server at a time")),
    }
}
