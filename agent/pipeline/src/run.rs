//! Opens both ends, runs the two loops between them, and starts over after errors that may mend.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sluice_core::{
    Class, Error, LogPosition, Position, Reason, Requests, Result, Sink, SnapshotState, Source,
    TableId, TableSchema, TableState, position::Frontier, selection::matches,
};
use tokio::{sync::watch, time::timeout};
use tracing::{info, warn};

use crate::{
    apply::{Applied, Apply, BatchLimits},
    config::{PipelineConfig, SnapshotMode},
    intake::{Intake, StoppedTables},
    progress::Progress,
    queue::queue,
    retry::Backoff,
    snapshot::{Coordinator, CopyLimits, fits_key},
    stall::{TargetWatch, for_source},
};

/// How long a pipeline that was asked to stop may take to reach a transaction boundary.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// How long it may take to open one end.
const OPEN_MAX: Duration = Duration::from_secs(180);
/// How many bytes the chunks that are read ahead may take together.
const CHUNKS_BYTES_MAX: usize = 16 << 20;

/// Why a run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It was asked to stop.
    Stopped,
    /// Everything that it was to wait for is applied.
    Synced,
    /// Every table is copied, and no more was wanted.
    SnapshotDone,
}

/// Runs a pipeline until it is asked to stop, is finished, or meets an error that waits for a person.
///
/// Errors that may mend themselves are retried for ever; they show in `progress`.
pub async fn run(
    source: Box<dyn Source>,
    mut sink: Box<dyn Sink>,
    mut config: PipelineConfig,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) -> Result<Finish> {
    let mut backoff = Backoff::new();
    let mut source = Some(source);
    loop {
        let before = progress.report().rows_total;
        progress.connecting();
        let session = Session {
            source: &mut source,
            sink: sink.as_mut(),
            config: &mut config,
            progress: &progress,
            stop: stop.clone(),
        };
        let ended = tokio::select! {
            ended = session.run() => ended,
            // The loops stop by themselves at a boundary; this bounds how long that may take.
            () = stop_deadline(stop.clone()) => Ok(Finish::Stopped),
        };
        let error = match ended {
            Ok(finish) => {
                progress.ended(None);
                if finish == Finish::SnapshotDone {
                    progress.completed();
                }
                info!(pipeline = config.name, ?finish, "pipeline ended");
                return Ok(finish);
            }
            Err(error) if error.class() == Class::Retry => error,
            Err(error) => {
                progress.ended(Some(&error));
                return Err(error);
            }
        };
        if progress.report().rows_total > before {
            backoff.reset();
        }
        let pause = backoff.pause();
        warn!(
            pipeline = config.name,
            reason = %error.reason(),
            error = error.report(),
            hint = error.hint(),
            pause_ms = pause.as_millis() as u64,
            "waiting and trying again"
        );
        progress.retrying(&error);
        if timeout(pause, stop.wait_for(|stop| *stop))
            .await
            .is_ok_and(|stop| stop.is_ok())
        {
            progress.ended(None);
            return Ok(Finish::Stopped);
        }
    }
}

/// Ends a while after a stop was asked for.
async fn stop_deadline(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could ask.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(DRAIN_MAX).await;
}

/// One attempt: from opening both ends to an end or an error.
struct Session<'a> {
    /// Empty while the first loop's task holds it.
    source: &'a mut Option<Box<dyn Source>>,
    sink: &'a mut dyn Sink,
    config: &'a mut PipelineConfig,
    progress: &'a Arc<Progress>,
    stop: watch::Receiver<bool>,
}

impl Session<'_> {
    async fn run(self) -> Result<Finish> {
        let Self {
            source,
            sink,
            config,
            progress,
            stop,
        } = self;
        let mut watch = TargetWatch {
            progress: Arc::clone(progress),
            observer: None,
        };
        let stored = watch.call(opening_target, open(sink)).await?;
        watch.observer = sink.observer();
        let applied = sink.applied_schemas().await?;
        let mut held = source.take().ok_or_else(lost_source)?;
        held.set_peers(sink.peers());
        let mut ends = Ends {
            source: held.as_mut(),
            sink: &mut *sink,
            watch: &watch,
        };
        let started = start(&mut ends, config, stored).await;
        *source = Some(held);
        let start = started?;
        let Start {
            position,
            schemas,
            expected,
            stopped,
        } = start;
        // A request to copy again holds for the first attempt that got so far.
        config.resnapshot.clear();
        info!(pipeline = config.name, position = %position.log, "streaming");
        progress.resume_copies(&position);
        progress.expect(expected);
        progress.streaming(&position);

        let limits = CopyLimits {
            chunk_rows: config.chunk_rows.max(1),
            chunk_bytes_max: (CHUNKS_BYTES_MAX / config.parallelism.max(1)).max(1 << 20),
            parallelism: config.parallelism.max(1),
            copy_new_tables: config.snapshot_mode != SnapshotMode::Never,
        };
        let (parcels, receiver) = queue(config.size_bytes_max);
        let (durable_sender, durable) = watch::channel(None);
        let until_copied = config.snapshot_mode == SnapshotMode::Only;
        let apply = Apply {
            parcels: receiver,
            limits: BatchLimits {
                rows_max: config.rows_max.max(1),
                size_bytes_max: config.size_bytes_max.max(1),
                delay_max: config.delay_max,
            },
            router: config.router.clone(),
            progress: Arc::clone(progress),
            stopped: Arc::clone(&stopped),
            durable: durable_sender,
            stop,
            finish: config.finish,
            until_copied,
            watch,
        };
        let intake = Intake {
            coordinator: Coordinator::new(
                limits,
                config.router.clone(),
                position.log,
                position.tables,
                &schemas,
                applied,
            ),
            router: config.router.clone(),
            parcels,
            progress: Arc::clone(progress),
            stopped,
            durable,
            requests: position.requests,
            limits,
            view_reader: None,
        };
        drive(intake, source, apply, sink, until_copied).await
    }
}

/// Runs both loops side by side: the first one as a task of its own, so that decoding and applying
/// use a core each.
async fn drive(
    intake: Intake,
    source: &mut Option<Box<dyn Source>>,
    apply: Apply,
    sink: &mut dyn Sink,
    until_copied: bool,
) -> Result<Finish> {
    let mut moved = source.take().ok_or_else(lost_source)?;
    let ended = intake.durable.clone();
    let mut intake = tokio::spawn(async move {
        let taken = tokio::select! {
            taken = intake.run(moved.as_mut()) => taken,
            () = closed(ended) => Ok(()),
        };
        (moved, taken)
    });
    // Dropping the second loop closes the queue and the channel back, which ends the first one.
    let applied = apply.run(sink).await;
    let (returned, taken) = match (&mut intake).await {
        Ok(pair) => pair,
        Err(error) => {
            return Err(
                Error::new(Reason::Internal, "the intake loop ended unexpectedly")
                    .with_source(error),
            );
        }
    };
    *source = Some(returned);
    let applied = applied?;
    taken?;
    finish_of(applied, until_copied)
}

/// Waits until the sender of the channel is gone.
async fn closed(mut channel: watch::Receiver<Option<LogPosition>>) {
    while channel.changed().await.is_ok() {}
}

fn lost_source() -> Error {
    Error::new(Reason::Internal, "the source was lost with the intake loop")
}

fn finish_of(applied: Applied, until_copied: bool) -> Result<Finish> {
    match applied {
        Applied::Stopped => Ok(Finish::Stopped),
        Applied::Finished if until_copied => Ok(Finish::SnapshotDone),
        Applied::Finished => Ok(Finish::Synced),
        Applied::Closed => Err(Error::new(Reason::Unavailable, "the source's stream ended")),
    }
}

/// Where a session begins.
struct Start {
    position: Position,
    /// Shapes of the tables that are being copied.
    schemas: Vec<Arc<TableSchema>>,
    /// Tables that the stream will announce.
    expected: BTreeSet<TableId>,
    stopped: Arc<StoppedTables>,
}

/// Both ends while a session starts.
struct Ends<'a> {
    source: &'a mut dyn Source,
    sink: &'a mut dyn Sink,
    watch: &'a TargetWatch,
}

impl Ends<'_> {
    /// Opens the source's log.
    async fn open_log(&mut self, resume: Option<&LogPosition>) -> Result<LogPosition> {
        let what = || "connecting, and reading the definitions of tables".to_owned();
        let opened = limited("source", self.source.open(resume));
        for_source(&self.watch.progress, what, opened).await
    }
}

/// Opens the sink.
async fn open(sink: &mut dyn Sink) -> Result<Option<Position>> {
    limited("target", sink.open()).await
}

fn opening_target() -> String {
    "connecting, and taking over from an older agent".to_owned()
}

/// Opening an end takes no longer than this: an answer that was lost on the way never comes.
async fn limited<T>(end: &str, opened: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(OPEN_MAX, opened).await.unwrap_or_else(|_| {
        let message = format!(
            "the {end} could not be opened within {} s",
            OPEN_MAX.as_secs()
        );
        Err(Error::new(Reason::Unreachable, message)
            .with_hint("see what the server waits for, and what the network drops"))
    })
}

/// Patterns of the tables to be copied again, by the command line or by a request that is new.
fn patterns(config: &PipelineConfig, done: &Requests) -> Vec<String> {
    let request = config.request.iter();
    let new = request.filter(|request| !done.contains(&request.id));
    let requested = new.flat_map(|request| &request.tables);
    config.resnapshot.iter().chain(requested).cloned().collect()
}

/// Whether one of the patterns names a table.
fn is_named(patterns: &[String], table: &TableId) -> bool {
    let name = table.to_string();
    patterns.iter().any(|pattern| matches(pattern, &name))
}

/// Opens the source where the target stands, decides which tables are to be copied, and makes the
/// target ready for them.
async fn start(
    ends: &mut Ends<'_>,
    config: &mut PipelineConfig,
    stored: Option<Position>,
) -> Result<Start> {
    let mut requests = stored
        .as_ref()
        .map_or_else(Requests::default, |stored| stored.requests.clone());
    let can_snapshot = ends.source.can_snapshot();
    let agreed = patterns(config, &requests);
    if !can_snapshot {
        copy_nothing(config);
    }
    let patterns = patterns(config, &requests);
    let (log, goes_on) = resume(ends, config, &patterns, stored.as_ref()).await?;
    let lost = stored.is_some() && !goes_on;
    let what = || "reading the definitions of tables".to_owned();
    let schemas = for_source(&ends.watch.progress, what, ends.source.tables()).await?;
    let mut states = if lost { None } else { stored }.map_or_else(SnapshotState::new, |position| {
        SnapshotState::clone(&position.tables)
    });
    let follows_log = !states.is_empty();
    let mut expected = BTreeSet::new();
    for schema in &schemas {
        if !config.router.selects(&schema.id) {
            continue;
        }
        let wanted = is_named(&patterns, &schema.id);
        if !can_snapshot {
            // Of a stream that goes on, what is not known yet is announced by the stream.
            if !follows_log {
                states.insert(schema.id.clone(), TableState::Streaming);
            }
        } else if wanted || lost || is_outdated(states.get(&schema.id), schema) {
            states.insert(schema.id.clone(), TableState::fresh(true));
        } else if !states.contains_key(&schema.id) && follows_log {
            // Whether it is new or has a new name is in the log between the position and now: the
            // stream announces it when it comes to where the catalog was read.
            expected.insert(schema.id.clone());
        } else if !states.contains_key(&schema.id) {
            let state = match config.snapshot_mode {
                SnapshotMode::Never => TableState::Streaming,
                _ => TableState::fresh(false),
            };
            states.insert(schema.id.clone(), state);
        }
    }
    states.retain(|table, state| match state {
        _ if schemas.iter().any(|schema| schema.id == *table) => true,
        // There is nothing left to copy: a drop or a rename is ahead in the log.
        TableState::Snapshotting { .. } => false,
        // A person agrees to let go of it.
        TableState::Stopped { .. } => !is_named(&agreed, table),
        TableState::Streaming => true,
    });
    let stopped = StoppedTables::default();
    let copying = |schema: &&Arc<TableSchema>| {
        matches!(
            states.get(&schema.id),
            Some(TableState::Snapshotting { .. })
        )
    };
    let fresh: Vec<_> = schemas.iter().filter(copying).map(Arc::clone).collect();
    let untouched: Vec<_> = schemas
        .iter()
        .filter(|schema| match states.get(&schema.id) {
            // Tables that follow the stream are altered by its events alone: what the catalog says
            // now may lie ahead of the position.
            Some(TableState::Snapshotting { frontier, .. }) => frontier.is_none(),
            Some(TableState::Streaming) => {
                config.snapshot_mode == SnapshotMode::Never && (can_snapshot || !follows_log)
            }
            _ => false,
        })
        .map(Arc::clone)
        .collect();
    prepare(ends, config, &untouched, &stopped).await?;
    for (table, state) in stopped.snapshot() {
        states.insert(table, state);
    }
    let new_request = config.request.as_ref();
    let new_request = new_request.filter(|request| !requests.contains(&request.id));
    if let Some(request) = new_request {
        requests.insert(&request.id);
    }
    let position = Position {
        log,
        tables: Arc::new(states),
        requests,
    };
    // From here on the log is followed: stored now, so that a crash does not begin elsewhere. The
    // request is done from here on, too, since the states show what it asked for.
    let what = || "committing the position".to_owned();
    ends.watch.call(what, ends.sink.commit(&position)).await?;
    ends.watch.progress.writes_topics(ends.sink.topics());
    if let Some(request) = new_request {
        info!(
            pipeline = config.name,
            request = request.id,
            "copying tables again, as was requested"
        );
        ends.watch.progress.took_request();
    }
    Ok(Start {
        position,
        schemas: fresh,
        expected,
        stopped: Arc::new(stopped),
    })
}

/// Of topics, what is to be copied again is asked of those who write them.
fn copy_nothing(config: &mut PipelineConfig) {
    config.resnapshot.clear();
    config.request = None;
    config.snapshot_mode = SnapshotMode::Never;
    config.resnapshot_when_lost = false;
}

/// Opens the log where the target stands, or at its present end where that is not wanted or not
/// possible. Answers with the place, and whether it is the former.
async fn resume(
    ends: &mut Ends<'_>,
    config: &PipelineConfig,
    patterns: &[String],
    stored: Option<&Position>,
) -> Result<(LogPosition, bool)> {
    match stored {
        Some(_) if starts_over(patterns) => {
            info!(
                pipeline = config.name,
                "copying every table again, as was asked for"
            );
        }
        Some(position) => match ends.open_log(Some(&position.log)).await {
            Ok(log) => return Ok((log, true)),
            Err(error) if error.reason() == Reason::PositionLost && resnapshots(config) => {
                warn!(
                    pipeline = config.name,
                    error = error.report(),
                    "position lost: copying every table again"
                );
            }
            Err(error) => return Err(error),
        },
        None => {}
    }
    Ok((ends.open_log(None).await?, false))
}

/// Whether a half-made copy can't go on, since the table's key is of another type by now.
fn is_outdated(state: Option<&TableState>, table: &TableSchema) -> bool {
    let Some(TableState::Snapshotting { frontier, .. }) = state else {
        return false;
    };
    let outdated = |frontier: &Frontier| !fits_key(&frontier.0, table);
    frontier.as_ref().is_some_and(outdated)
}

/// Whether a person asked for everything to be copied again: then nothing of the log is needed any
/// more, be it lost or unreadable.
fn starts_over(patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| pattern == "*")
}

fn resnapshots(config: &PipelineConfig) -> bool {
    config.resnapshot_when_lost || config.snapshot_mode == SnapshotMode::WhenNeeded
}

/// Makes the target ready for tables; those that can't go on are stopped.
async fn prepare(
    ends: &mut Ends<'_>,
    config: &mut PipelineConfig,
    schemas: &[Arc<TableSchema>],
    stopped: &StoppedTables,
) -> Result<()> {
    for schema in schemas {
        let prepared = match config.router.schema(schema) {
            Ok(Some(routed)) => {
                let what = || format!("preparing table {}", routed.id);
                ends.watch.call(what, ends.sink.prepare(&routed)).await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match prepared {
            Ok(()) => {}
            Err(error) if error.class() == Class::StopTable => {
                stopped.insert(schema.id.clone(), &error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
