//! The second loop: empties the queue into the sink, in batches as large as what is waiting, and
//! commits where the source's transactions end.

use std::{sync::Arc, time::Duration};

use sluice_core::{Batch, ChangeEvent, LogPosition, Result, SchemaChange, Sink, TableId};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    config::FinishWhen,
    intake::StoppedTables,
    progress::Progress,
    queue::{Parcel, ParcelEnd},
    route::Router,
    stall::TargetWatch,
};

/// Commits closer together than this are joined, so that a busy target is not kept busy with
/// commits; small enough not to show in the latency.
const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(2);
/// How often the position moves when there is nothing to apply.
const IDLE_COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the sink is asked what is durable.
const DURABLE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the loop turns when nothing comes.
const IDLE_TURN: Duration = Duration::from_millis(250);

/// How many tables of a batch are named.
const TABLES_NAMED_MAX: usize = 3;

/// How one batch is cut.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "a limit's name ends in max")]
pub(crate) struct BatchLimits {
    pub(crate) rows_max: usize,
    pub(crate) size_bytes_max: usize,
    pub(crate) delay_max: Duration,
}

/// What the loop needs besides the sink.
pub(crate) struct Apply {
    pub(crate) parcels: mpsc::Receiver<Parcel>,
    pub(crate) limits: BatchLimits,
    /// The sink speaks of its own tables; states are kept by the source's names.
    pub(crate) router: Router,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stopped: Arc<StoppedTables>,
    pub(crate) durable: watch::Sender<Option<LogPosition>>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) finish: FinishWhen,
    /// End as soon as every table is copied.
    pub(crate) until_copied: bool,
    pub(crate) watch: TargetWatch,
}

/// Why the loop ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was asked to.
    Stopped,
    /// What it was to wait for has come.
    Finished,
    /// The first loop ended.
    Closed,
}

/// What is written but not committed, or passed but not stored.
#[derive(Default)]
struct Pending {
    rows: u64,
    /// Rows are written in the target's open transaction.
    open: bool,
    /// The newest boundary that is not stored as the position.
    end: Option<ParcelEnd>,
}

impl Apply {
    pub(crate) async fn run(mut self, sink: &mut dyn Sink) -> Result<Applied> {
        let mut pending = Pending::default();
        let mut committed_at = Instant::now();
        let mut durable_at = Instant::now();
        loop {
            self.progress.beat_apply();
            let stopping = *self.stop.borrow();
            if stopping && !pending.open {
                self.store_position(sink, &mut pending).await?;
                return Ok(Applied::Stopped);
            }
            match self.gather(committed_at).await {
                Gathered::Closed => {
                    if !pending.open {
                        self.store_position(sink, &mut pending).await?;
                    }
                    return Ok(Applied::Closed);
                }
                Gathered::Nothing => {}
                Gathered::Batch(gathering) => {
                    self.write(sink, &gathering.batch, &mut pending).await?;
                    let end = gathering.end;
                    let must_store = end.as_ref().is_some_and(|end| end.tables_changed);
                    let at_boundary = end.is_some();
                    if at_boundary {
                        pending.end = end;
                    }
                    if at_boundary && (pending.open || must_store) {
                        self.store_position(sink, &mut pending).await?;
                        committed_at = Instant::now();
                    }
                }
            }
            if let Some(end) = pending.end.as_ref().filter(|_| !pending.open) {
                self.progress
                    .applied(end.watermark.as_ref(), end.commit_time_micros);
            }
            if committed_at.elapsed() >= IDLE_COMMIT_INTERVAL && !pending.open {
                self.store_position(sink, &mut pending).await?;
                committed_at = Instant::now();
            }
            if durable_at.elapsed() >= DURABLE_INTERVAL {
                let what = || "asking what is flushed".to_owned();
                if let Some(position) = self.watch.call(what, sink.durable()).await? {
                    self.durable.send_replace(Some(position.log));
                }
                durable_at = Instant::now();
            }
            if !pending.open && self.is_finished() {
                self.store_position(sink, &mut pending).await?;
                return Ok(Applied::Finished);
            }
        }
    }

    fn is_finished(&self) -> bool {
        (self.until_copied && self.progress.is_copied())
            || (self.finish == FinishWhen::Synced && self.progress.is_synced())
    }

    /// Takes what is waiting, up to the limits; waits a moment when nothing is.
    async fn gather(&mut self, committed_at: Instant) -> Gathered {
        let first = tokio::select! {
            parcel = self.parcels.recv() => match parcel {
                Some(parcel) => parcel,
                None => return Gathered::Closed,
            },
            () = sleep_until(Instant::now() + IDLE_TURN) => return Gathered::Nothing,
            // An error means that nobody can ask for a stop any more.
            _ = self.stop.changed() => return Gathered::Nothing,
        };
        let deadline = committed_at + COMMIT_INTERVAL_MIN.min(self.limits.delay_max);
        let mut batch = Batch::default();
        let mut shares = Vec::new();
        let mut end = None;
        let mut next = Some(first);
        while let Some(mut parcel) = next.take() {
            for event in std::mem::take(&mut parcel.events) {
                batch.push(event);
            }
            // Progress made by earlier parcels of the batch must not hide behind a later one's.
            end = match (parcel.end.take(), end) {
                (Some(new), Some(old)) => Some(new.behind(&old)),
                (Some(new), None) => Some(new),
                (None, _) => None,
            };
            shares.push(parcel);
            if batch.row_count >= self.limits.rows_max
                || batch.size_bytes >= self.limits.size_bytes_max
            {
                break;
            }
            next = match self.parcels.try_recv() {
                Ok(parcel) => Some(parcel),
                Err(_) => timeout_at(deadline, self.parcels.recv())
                    .await
                    .ok()
                    .flatten(),
            };
        }
        Gathered::Batch(Gathering {
            batch,
            end,
            _shares: shares,
        })
    }

    fn source_of(&self, target: &TableId) -> TableId {
        self.router.source(target).unwrap_or_else(|| target.clone())
    }

    async fn write(
        &mut self,
        sink: &mut dyn Sink,
        batch: &Batch,
        pending: &mut Pending,
    ) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let written = self.watch.call(|| described(batch), sink.write(batch));
        let outcome = written.await?;
        pending.open = true;
        pending.rows += batch.row_count as u64;
        for event in &batch.events {
            if let ChangeEvent::Chunk(chunk) = event {
                let table = self.source_of(&chunk.table.id);
                self.progress.copied(table, chunk.rows.len() as u64);
            }
        }
        if outcome.dead_letters > 0 {
            self.progress.dead_letters(outcome.dead_letters);
        }
        for (table, column, count) in &outcome.nulled {
            self.progress.nulled(&self.source_of(table), column, *count);
        }
        for (table, error) in &outcome.stopped {
            let source = self.source_of(table);
            let is_drop = |event: &ChangeEvent| matches!(event, ChangeEvent::Schema(SchemaChange::Drop(dropped)) if dropped == table);
            if batch.events.iter().any(is_drop) {
                self.stopped.keep(source.clone());
            }
            self.stopped.insert(source, error);
        }
        Ok(())
    }

    /// Commits what is written together with the newest boundary's position.
    async fn store_position(&mut self, sink: &mut dyn Sink, pending: &mut Pending) -> Result<()> {
        let Some(mut end) = pending.end.take() else {
            return Ok(());
        };
        self.stopped.lay_over(&mut end.position.tables);
        let what = || "committing".to_owned();
        self.watch.call(what, sink.commit(&end.position)).await?;
        self.progress.writes_topics(sink.topics());
        self.progress
            .committed(&end.position, std::mem::take(&mut pending.rows));
        self.progress
            .applied(end.watermark.as_ref(), end.commit_time_micros);
        pending.open = false;
        Ok(())
    }
}

/// What a batch holds, for people.
fn described(batch: &Batch) -> String {
    let mut tables: Vec<&TableId> = Vec::new();
    let (mut changes, mut copied, mut schema_changes, mut unreadable) = (0, 0, 0, 0);
    for event in &batch.events {
        match event {
            ChangeEvent::Row(_) => changes += 1,
            ChangeEvent::Chunk(chunk) => copied += chunk.rows.len(),
            ChangeEvent::Schema(_) => schema_changes += 1,
            ChangeEvent::Unreadable(_) => unreadable += 1,
            ChangeEvent::TransactionEnd(_) => continue,
        }
        if let Some(table) = event.table().filter(|table| !tables.contains(table)) {
            tables.push(table);
        }
    }
    let counted = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let pieces: Vec<String> = [
        counted(schema_changes, "schema change"),
        counted(changes, "row change"),
        counted(copied, "copied row"),
        counted(unreadable, "unreadable record"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let named: Vec<String> = tables
        .iter()
        .take(TABLES_NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    let more = match tables.len().saturating_sub(TABLES_NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more tables"),
    };
    format!(
        "writing {} of {}{more}",
        pieces.join(", "),
        named.join(", ")
    )
}

enum Gathered {
    Batch(Gathering),
    Nothing,
    Closed,
}

/// A batch with what holds its place in the queue's budget until it is written.
struct Gathering {
    batch: Batch,
    end: Option<ParcelEnd>,
    _shares: Vec<Parcel>,
}
