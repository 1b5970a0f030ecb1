//! A pool of snapshot readers, each doing one job at a time beside the stream.

use sluice_core::{Error, Reason, Result, SnapshotReader, Source};
use tokio::task::JoinSet;

use crate::snapshot::coordinator::{Coordinator, CopyLimits, Job, JobKind, JobOutcome, JobResult};

type Done = (Box<dyn SnapshotReader>, Result<JobResult>);

/// Readers at work and at rest. Dropping the pool ends their jobs.
pub(crate) struct Readers {
    limits: CopyLimits,
    idle: Vec<Box<dyn SnapshotReader>>,
    busy: JoinSet<Done>,
}

impl Readers {
    pub(crate) fn new(limits: CopyLimits) -> Self {
        Self {
            limits,
            idle: Vec::new(),
            busy: JoinSet::new(),
        }
    }

    /// Gives every free reader a job, as long as there is one.
    pub(crate) async fn start_jobs(
        &mut self,
        source: &mut dyn Source,
        coordinator: &mut Coordinator,
    ) -> Result<()> {
        while self.busy.len() < self.limits.parallelism {
            let Some(job) = coordinator.next_job() else {
                break;
            };
            let mut reader = match self.idle.pop() {
                Some(reader) => reader,
                None => source.snapshot_reader().await?,
            };
            let limits = self.limits;
            self.busy.spawn(async move {
                let result = perform(reader.as_mut(), job, limits).await;
                (reader, result)
            });
        }
        if coordinator.is_complete() && self.busy.is_empty() {
            self.idle.clear();
        }
        Ok(())
    }

    /// The next finished job; `None` when none is under way. Cancel-safe.
    pub(crate) async fn finished(&mut self) -> Option<Result<JobResult>> {
        match self.busy.join_next().await? {
            Ok((reader, result)) => {
                self.idle.push(reader);
                Some(result)
            }
            Err(error) => Some(Err(Error::new(
                Reason::Internal,
                "a snapshot reader ended unexpectedly",
            )
            .with_source(error))),
        }
    }
}

async fn perform(
    reader: &mut dyn SnapshotReader,
    job: Job,
    limits: CopyLimits,
) -> Result<JobResult> {
    let outcome = match &job.kind {
        JobKind::Boundary { after, rows } => {
            let mut estimate = None;
            let rows = if let Some(rows) = *rows {
                rows
            } else {
                estimate = reader
                    .estimate(&job.schema.id)
                    .await
                    .map(Some)
                    .or_else(if_missing)?;
                let row_bytes = estimate.map_or(1, |size| size.row_bytes.max(1));
                limits
                    .chunk_rows
                    .min((limits.chunk_bytes_max as u64 / row_bytes).max(1))
            };
            match reader.boundary(&job.schema, after.as_ref(), rows).await {
                Ok(until) => JobOutcome::Boundary {
                    until,
                    rows,
                    estimate,
                },
                Err(error) if error.reason() == Reason::TableMissing => JobOutcome::TableMissing,
                Err(error) => return Err(error),
            }
        }
        JobKind::Read { id, request } => match reader.read_chunk(&job.schema, request).await {
            Ok(rows) => JobOutcome::Read { id: *id, rows },
            Err(error) if error.reason() == Reason::TableMissing => JobOutcome::TableMissing,
            Err(error) => return Err(error),
        },
    };
    Ok(job.answer(outcome))
}

/// A table without an estimate is no fault: what follows finds out that it is missing.
fn if_missing<T>(error: Error) -> Result<Option<T>> {
    if error.reason() == Reason::TableMissing {
        Ok(None)
    } else {
        Err(error)
    }
}
