//! Topics between two pipelines: a sink that keeps what it is told, and a source that gives it back.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use sluice_core::{
    Batch, ChangeEvent, Error, LogPosition, Position, Reason, Result, SchemaChange, Sink,
    SnapshotReader, Source, SourceBatch, TableSchema, Watermark, WriteOutcome, source::LogEnd,
};

/// What is committed in the topics.
#[derive(Default)]
pub(crate) struct Log {
    events: Vec<ChangeEvent>,
    position: Option<Position>,
}

pub(crate) type Topics = Arc<Mutex<Log>>;

fn fault(what: &str) -> Error {
    Error::new(Reason::Unavailable, format!("simulated fault: {what}"))
}

fn lock(log: &Topics) -> MutexGuard<'_, Log> {
    log.lock().expect("no holder panicked")
}

/// The capture's end.
pub(crate) struct TopicSink {
    random: fastrand::Rng,
    log: Topics,
    open: Vec<ChangeEvent>,
}

impl TopicSink {
    pub(crate) fn new(random: fastrand::Rng, log: Topics) -> Self {
        let open = Vec::new();
        Self { random, log, open }
    }

    fn fault(&mut self, one_in: u32, what: &str) -> Result<()> {
        if self.random.u32(0..one_in) == 0 {
            return Err(fault(what));
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for TopicSink {
    async fn open(&mut self) -> Result<Option<Position>> {
        self.fault(10, "open")?;
        self.open.clear();
        Ok(lock(&self.log).position.clone())
    }

    async fn prepare(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let announced = ChangeEvent::Schema(SchemaChange::Create(Arc::clone(table)));
        lock(&self.log).events.push(announced);
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<WriteOutcome> {
        tokio::time::sleep(Duration::from_millis(self.random.u64(0..4))).await;
        self.fault(60, "write")?;
        let kept = batch.events.iter();
        let kept = kept.filter(|event| !matches!(event, ChangeEvent::TransactionEnd(_)));
        self.open.extend(kept.cloned());
        Ok(WriteOutcome::default())
    }

    async fn commit(&mut self, position: &Position) -> Result<()> {
        self.fault(60, "before the commit")?;
        let mut log = lock(&self.log);
        log.events.append(&mut self.open);
        log.position = Some(position.clone());
        drop(log);
        self.fault(60, "after the commit")
    }

    async fn durable(&mut self) -> Result<Option<Position>> {
        Ok(lock(&self.log).position.clone())
    }
}

/// The apply's end.
pub(crate) struct TopicSource {
    random: fastrand::Rng,
    log: Topics,
    cursor: usize,
}

impl TopicSource {
    pub(crate) fn new(random: fastrand::Rng, log: Topics) -> Self {
        let cursor = 0;
        Self {
            random,
            log,
            cursor,
        }
    }
}

fn place(offset: usize) -> LogPosition {
    LogPosition::Offsets([(("topic".to_owned(), 0), offset as i64)].into())
}

fn mark(offset: usize) -> Watermark {
    Watermark {
        server: "topics".into(),
        offset: offset as u128,
    }
}

#[async_trait]
impl Source for TopicSource {
    async fn open(&mut self, resume: Option<&LogPosition>) -> Result<LogPosition> {
        if self.random.u32(0..10) == 0 {
            return Err(fault("open"));
        }
        self.cursor = match resume {
            Some(LogPosition::Offsets(offsets)) => {
                offsets.values().next().map_or(0, |offset| *offset as usize)
            }
            Some(_) => panic!("a position of another kind"),
            None => 0,
        };
        Ok(place(self.cursor))
    }

    fn can_snapshot(&self) -> bool {
        false
    }

    async fn tables(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        Ok(Vec::new())
    }

    async fn next(&mut self) -> Result<SourceBatch> {
        tokio::time::sleep(Duration::from_millis(self.random.u64(0..5))).await;
        if self.random.u32(0..60) == 0 {
            return Err(fault("stream"));
        }
        let log = lock(&self.log);
        let until = (self.cursor + self.random.usize(1..40)).min(log.events.len());
        let events = log.events[self.cursor..until].to_vec();
        self.cursor = until;
        Ok(SourceBatch {
            events,
            position: Some(place(until)),
            watermark: Some(mark(until)),
            commit_time_micros: None,
        })
    }

    async fn confirm(&mut self, _position: &LogPosition) -> Result<()> {
        Ok(())
    }

    async fn snapshot_reader(&mut self) -> Result<Box<dyn SnapshotReader>> {
        panic!("there is nothing to read beside the stream")
    }

    async fn log_end(&mut self) -> Result<LogEnd> {
        Ok(LogEnd {
            watermark: mark(lock(&self.log).events.len()),
            log_files: Vec::new(),
            partitions: Vec::new(),
            retention_seconds: None,
        })
    }
}
