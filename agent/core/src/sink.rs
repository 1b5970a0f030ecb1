//! The contract of what takes changes.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use crate::{
    error::{Error, Result},
    event::Batch,
    position::{LogPosition, Position},
    schema::{TableId, TableSchema},
};

/// A target that rows and the position are written to, together.
///
/// **Exactly once.** What [`write`](Self::write) took becomes visible with the
/// [`commit`](Self::commit) that follows, together with its position, or not at all. **Order.**
/// Batches arrive in source order; a source transaction larger than a batch arrives in several
/// writes before one commit. **One writer.** [`open`](Self::open) makes this the only writer: an
/// older one's commit fails with [`Reason::Fenced`](crate::Reason::Fenced).
/// **Tolerance.** An update whose row the target lacks inserts it where the new image is complete, and
/// a delete of a missing row is none: a row filter and a copy in progress lead to both. Rows may be of a
/// table that was not prepared since `open`: the sink goes on from the shape that it applied last.
/// **Errors.** After an error nothing since the last commit is kept; the caller opens the sink
/// again and asks it where it stands. **Cancellation.** A dropped call counts as an error.
#[async_trait]
pub trait Sink: Send {
    /// Connects, takes over from any older writer, and says what the target already holds:
    /// `None` for a new replica. May be called again after an error.
    async fn open(&mut self) -> Result<Option<Position>>;

    /// The shape that each table has in the target, as it was applied last, in the target's names.
    /// Called after `open`. What is missing here is taken for unknown, not for new.
    async fn applied_schemas(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        Ok(Vec::new())
    }

    /// Makes a table ready to be written: creates it, or checks that the one that is there can
    /// take the rows and mends it as far as the policies allow. Idempotent, and outside of any
    /// open transaction. An error of class [`StopTable`](crate::Class::StopTable) stops the table alone.
    async fn prepare(&mut self, table: &Arc<TableSchema>) -> Result<()>;

    /// Applies events. Tables that can't go on are named in the outcome and left at their last
    /// consistent state; the caller sends no more events for them.
    async fn write(&mut self, batch: &Batch) -> Result<WriteOutcome>;

    /// Makes everything written since the last commit visible, at once, together with `position`.
    /// Without writes in between it moves the position alone.
    async fn commit(&mut self, position: &Position) -> Result<()>;

    /// The position up to which commits are durable, for [`Source::confirm`](crate::Source::confirm).
    /// May lag behind what is committed where the target flushes later.
    async fn durable(&mut self) -> Result<Option<Position>>;

    /// The topics that tables are written to, with their numbers of partitions; empty where the target
    /// is no Kafka. Cheap, for it is asked after each commit.
    fn topics(&self) -> Arc<BTreeMap<String, u32>> {
        Arc::default()
    }

    /// Somebody who can look, from beside, at what the target does about a call that takes long;
    /// none where that can't be told. Called after `open`, and good until the next `open`.
    fn observer(&self) -> Option<Arc<dyn SinkObserver>> {
        None
    }

    /// Those who apply other parts of the same source beside this one; none where it applies all of it.
    /// Called after `open`, and good until the next `open`.
    fn peers(&self) -> Option<Arc<dyn Peers>> {
        None
    }
}

/// The agents that share a pipeline, each of which applies some partitions of its topics.
#[async_trait]
pub trait Peers: Send + Sync {
    /// How far all of them together are: of each partition the furthest offset that the target holds.
    /// Uses a connection of its own.
    async fn progress(&self) -> Result<LogPosition>;
}

/// Looks at a [`Sink`]'s session from beside.
#[async_trait]
pub trait SinkObserver: Send + Sync {
    /// What the target does for the session now. Uses a connection of its own; an error says that
    /// the target can't be reached that way either.
    async fn observe(&self) -> Result<Activity>;
}

/// What a target does for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// It works, or rows are on their way.
    Working,
    /// It waits for somebody else.
    Blocked {
        /// For whom, in words.
        cause: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// It waits for the session's next command.
    Idle,
    /// The session has ended.
    Gone,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct WriteOutcome {
    /// Records that the target refused for their content and that are kept as dead letters.
    pub dead_letters: u64,
    /// Values that the target can't hold and that were written as NULL, by table and column.
    pub nulled: Vec<(TableId, String, u64)>,
    /// Tables that can't go on, and why.
    pub stopped: Vec<(TableId, Error)>,
}
