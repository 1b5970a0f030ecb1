//! One batch: its changes cut into segments at schema changes and chunks, each applied in turn.
//!
//! Tables that can't go on are taken out. When that happens to a table of which an earlier write has
//! applied a part of the same source transaction, the whole transaction has to be applied again
//! without it: the write fails, and the table is stopped before the repetition touches it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sluice_agent_api::config::OnBadRecord;
use sluice_core::{
    Batch, ChangeEvent, Class, Error, Letter, Reason, Result, SchemaChange, SnapshotChunk,
    SnapshotState, TableId, TableSchema, Unreadable, WriteOutcome,
};

use crate::{
    apply::{Failure, Savepoint, SharedPlan, Tally, Target, chunk, segment::Segment},
    connect::Session,
    dead_letter::{self, DeadLetter, later},
    evolve::{Evolution, stops_table},
    link::Link,
    plan::incompatible,
    settings::Settings,
    tables::Tables,
};

const SAVEPOINT: &str = "SAVEPOINT sluice_schema";
const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT sluice_schema; RELEASE SAVEPOINT sluice_schema";
const RELEASE: &str = "RELEASE SAVEPOINT sluice_schema";

/// Applies one batch inside the open transaction.
pub(crate) struct Writer<'w> {
    target: Target<'w>,
    tables: &'w mut Tables,
    memory: Memory<'w>,
    outcome: WriteOutcome,
    tally: Tally,
}

/// What outlives a batch.
pub(crate) struct Memory<'w> {
    /// Tables that take no more changes.
    pub(crate) stopped: &'w mut HashSet<TableId>,
    /// Tables with rows of a source transaction that no write has ended yet.
    pub(crate) unfinished: &'w mut HashSet<TableId>,
    /// Where a failed attempt goes back to.
    pub(crate) savepoint: &'w mut Savepoint,
    /// Tables that stop at their next change.
    pub(crate) condemned: &'w mut HashMap<TableId, Error>,
    /// Letters that go elsewhere, too, ahead of the commit; none where they don't.
    pub(crate) letters: Option<&'w mut Vec<Letter>>,
}

impl<'w> Writer<'w> {
    pub(crate) fn new(
        session: &'w Session,
        settings: &'w Settings,
        states: &'w SnapshotState,
        tables: &'w mut Tables,
        memory: Memory<'w>,
    ) -> Self {
        Self {
            target: Target {
                session,
                settings,
                states,
            },
            tables,
            memory,
            outcome: WriteOutcome::default(),
            tally: Tally::default(),
        }
    }

    /// Applies the batch.
    pub(crate) async fn write(mut self, batch: &'w Batch) -> Result<WriteOutcome> {
        let mut segment = Segment::default();
        let mut touched = HashSet::new();
        for event in &batch.events {
            match event {
                ChangeEvent::Row(change) => {
                    if segment.push_again(change) {
                        continue;
                    }
                    if self.is_stopped(&change.table.id).await? {
                        continue;
                    }
                    let mut plan = self.tables.known(&change.table);
                    if plan.is_none() {
                        self.flush(&mut segment, &mut touched).await?;
                        plan = self.plan_for(&change.table).await?;
                    }
                    if let Some(plan) = plan {
                        segment.push(change, &plan);
                    }
                }
                ChangeEvent::Chunk(chunk) => {
                    self.flush(&mut segment, &mut touched).await?;
                    self.chunk(chunk).await?;
                }
                ChangeEvent::Schema(change) => {
                    self.flush(&mut segment, &mut touched).await?;
                    self.schema_change(change).await?;
                }
                ChangeEvent::Unreadable(unreadable) => {
                    self.flush(&mut segment, &mut touched).await?;
                    self.unreadable(unreadable).await?;
                }
                ChangeEvent::TransactionEnd(_) => {}
            }
        }
        self.flush(&mut segment, &mut touched).await?;
        Ok(self.finish(batch, touched))
    }

    fn finish(mut self, batch: &Batch, touched: HashSet<TableId>) -> WriteOutcome {
        // Only rows can leave a source transaction half applied.
        match batch.events.last() {
            Some(ChangeEvent::Row(_) | ChangeEvent::Unreadable(_)) => {
                self.memory.unfinished.extend(touched);
            }
            _ => self.memory.unfinished.clear(),
        }
        let nulled = std::mem::take(&mut self.tally.nulled).into_iter();
        self.outcome.nulled = nulled
            .map(|((table, column), count)| (table, column, count))
            .collect();
        self.outcome
    }

    async fn is_stopped(&mut self, table: &TableId) -> Result<bool> {
        if self.memory.stopped.contains(table) {
            return Ok(true);
        }
        let held = self.tables.links.get(table).is_some_and(|link| link.held);
        let error = match self.memory.condemned.remove(table) {
            Some(error) => error,
            None if held => incompatible(
                table,
                "it stopped before and has not been copied again",
                "mend what stopped it",
            ),
            None => return Ok(false),
        };
        self.hold(table.clone(), error).await?;
        Ok(true)
    }

    /// Applies the changes gathered so far.
    async fn flush(
        &mut self,
        segment: &mut Segment<'w>,
        touched: &mut HashSet<TableId>,
    ) -> Result<()> {
        if segment.is_empty() {
            return Ok(());
        }
        touched.extend(segment.tables().cloned());
        let substitutes;
        let mut segment: Segment<'_> = std::mem::take(segment);
        if !self.tables.waiting.is_empty() {
            let waiting = &self.tables.waiting;
            substitutes = later::take_along(self.target, waiting, segment.events()).await?;
            segment.substitute(&substitutes);
        }
        let savepoint = &mut *self.memory.savepoint;
        let outcome = segment.apply(self.target, self.tables, savepoint).await?;
        self.keep(outcome.tally).await?;
        for (table, error) in outcome.stopped {
            self.stop(table, error).await?;
        }
        Ok(())
    }

    /// Takes over what an attempt counted, and stores its letters.
    async fn keep(&mut self, mut tally: Tally) -> Result<()> {
        let session = self.target.session;
        let sink = &self.target.settings.pipeline;
        let letters = std::mem::take(&mut tally.letters);
        dead_letter::store(&session.client, sink, &mut self.tables.waiting, &letters)
            .await
            .map_err(|error| session.error(error))?;
        self.outcome.dead_letters += letters.len() as u64;
        if let Some(outside) = &mut self.memory.letters {
            outside.extend(letters.iter().filter_map(DeadLetter::outside));
        }
        self.tally.add(tally);
        Ok(())
    }

    /// Keeps a record that can't be decoded, or stops its table.
    async fn unreadable(&mut self, unreadable: &Unreadable) -> Result<()> {
        let table = unreadable.table.as_ref();
        if let Some(table) = table
            && self.is_stopped(table).await?
        {
            return Ok(());
        }
        if self.target.settings.on_bad_record == OnBadRecord::Stop {
            let error = dead_letter::unreadable::stops(unreadable);
            return match table {
                Some(table) => self.stop(table.clone(), error).await,
                None => Err(error),
            };
        }
        let session = self.target.session;
        let sink = &self.target.settings.pipeline;
        let alone = self.memory.letters.is_none();
        dead_letter::unreadable::store(&session.client, sink, unreadable, alone)
            .await
            .map_err(|error| session.error(error))?;
        self.outcome.dead_letters += 1;
        if let Some(outside) = &mut self.memory.letters {
            outside.push(dead_letter::unreadable::outside(unreadable));
        }
        Ok(())
    }

    /// Stops a table; fails when a part of a source transaction would stay behind.
    async fn stop(&mut self, table: TableId, error: Error) -> Result<()> {
        if self.memory.unfinished.contains(&table) {
            let message =
                format!("table {table} stops: its transaction is applied again without it");
            self.memory.condemned.insert(table, error);
            return Err(Error::new(Reason::Unavailable, message));
        }
        self.hold(table, error).await
    }

    /// Takes a table out, and remembers it in the target.
    async fn hold(&mut self, table: TableId, error: Error) -> Result<()> {
        self.memory.stopped.insert(table.clone());
        let mut evolution = Evolution {
            session: self.target.session,
            settings: self.target.settings,
            tables: self.tables,
        };
        evolution.hold(&table).await?;
        self.outcome.stopped.push((table, error));
        Ok(())
    }

    async fn chunk(&mut self, chunk: &'w SnapshotChunk) -> Result<()> {
        if self.target.settings.is_follower() && chunk.rows.is_empty() {
            // The leader has made room for what follows.
            return Ok(());
        }
        if self.is_stopped(&chunk.table.id).await? {
            return Ok(());
        }
        let plan = match self.tables.known(&chunk.table) {
            Some(plan) => Some(plan),
            None => self.plan_for(&chunk.table).await?,
        };
        let Some(plan) = plan else { return Ok(()) };
        later::snapshot(self.target, &mut self.tables.waiting, chunk).await?;
        let savepoint = &mut *self.memory.savepoint;
        let applied = chunk::apply(self.target, self.tables, plan, chunk, savepoint).await?;
        match applied {
            Ok(mut tally) => {
                dead_letter::set_origins(&mut tally.letters, chunk);
                self.keep(tally).await
            }
            Err((table, error)) => self.stop(table, error).await,
        }
    }

    /// The plan for rows of a shape that is not known yet; none when the table stops at it.
    async fn plan_for(&mut self, source: &Arc<TableSchema>) -> Result<Option<SharedPlan>> {
        if !self.is_linked(source) {
            let change = SchemaChange::Alter(Arc::clone(source));
            self.schema_change(&change).await?;
            if self.is_stopped(&source.id).await? {
                return Ok(None);
            }
            if self.target.settings.is_follower() && !self.is_linked(source) {
                let message = "the pipeline's first agent could not bring the table into shape";
                let error = incompatible(&source.id, message, "see what it says of the table");
                self.stop(source.id.clone(), error).await?;
                return Ok(None);
            }
        }
        match self.tables.plan(self.target.session, source).await {
            Ok(plan) => Ok(Some(plan)),
            Err(error) if error.class() == Class::StopTable => {
                self.stop(source.id.clone(), error).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the target's table has the shape of these rows.
    fn is_linked(&self, source: &TableSchema) -> bool {
        let link = self.tables.links.get(&source.id);
        link.is_some_and(|link| link.schema.same_shape(source))
    }

    /// Makes a change of the source's definition; a table that can't follow stops where it is.
    async fn schema_change(&mut self, change: &SchemaChange) -> Result<()> {
        if let SchemaChange::Renew(schema) = change {
            self.memory.stopped.remove(&schema.id);
            self.memory.condemned.remove(&schema.id);
        } else if self.is_stopped(change.table()).await? {
            return Ok(());
        }
        let concerned = concerned(change);
        let links = concerned.map(|table| (table, self.tables.links.get(table).cloned()));
        self.target.run(SAVEPOINT).await.map_err(Failure::fatal)?;
        let mut evolution = Evolution {
            session: self.target.session,
            settings: self.target.settings,
            tables: self.tables,
        };
        let outcome = if self.target.settings.is_follower() {
            evolution.follow(change).await
        } else {
            evolution.apply(change).await
        };
        let error = match outcome {
            Ok(()) => {
                let [(_, old), _] = &links;
                let waiting = &mut self.tables.waiting;
                later::schema_change(self.target, waiting, change, old.as_ref()).await?;
                return self.target.run(RELEASE).await.map_err(Failure::fatal);
            }
            Err(error) if !stops_table(&error) => return Err(error),
            Err(error) => error,
        };
        self.target.run(ROLL_BACK).await.map_err(Failure::fatal)?;
        for (table, link) in links {
            self.put_back(table, link);
        }
        // The source committed what came before its schema change.
        self.memory.unfinished.remove(change.table());
        if let SchemaChange::RenameTable { to, .. } = change {
            let waits = Error::new(error.reason(), error.message())
                .with_table(to.clone())
                .with_hint(error.hint().unwrap_or_default());
            self.stop(to.clone(), waits).await?;
        }
        self.stop(change.table().clone(), error).await
    }

    fn put_back(&mut self, table: &TableId, link: Option<Link>) {
        self.tables.forget_plan(table);
        match link {
            Some(link) => self.tables.links.insert(table.clone(), link),
            None => self.tables.links.remove(table),
        };
    }
}

/// The tables whose links a change may touch.
fn concerned(change: &SchemaChange) -> [&TableId; 2] {
    match change {
        SchemaChange::RenameTable { from, to } => [from, to],
        other => [other.table(), other.table()],
    }
}
