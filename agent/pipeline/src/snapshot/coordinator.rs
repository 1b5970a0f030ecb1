//! Decides what passes while tables are copied, and what is read next.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use sluice_core::{
    ChangeEvent, ChunkRequest, LogPosition, Row, RowChange, SchemaChange, SnapshotChunk,
    SnapshotState, TableId, TableSchema, TableState, Watermark, event::ChunkMode,
    position::Frontier,
};

use crate::{
    intake::StoppedTables,
    route::Router,
    snapshot::{
        chunk::{Chunk, ChunkState, Plan, TableCopy, fits_key},
        passing::{Passed, lay_unordered, moves_incomplete_row, pass_ordered},
    },
};

mod job;
mod shapes;
mod streamed;
mod view;

pub use job::{Job, JobKind, JobOutcome, JobResult};

/// How many chunks are planned ahead of those being read.
const PLANNED_AHEAD_MAX: usize = 2;

/// How much is copied at once.
#[derive(Debug, Clone, Copy)]
pub struct CopyLimits {
    /// Rows per chunk.
    pub chunk_rows: u64,
    /// Bytes per chunk, beyond a single row.
    pub chunk_bytes_max: usize,
    /// Chunks read or waiting at once.
    pub parallelism: usize,
    /// Whether tables that appear are copied, or only followed.
    pub copy_new_tables: bool,
}

/// A chunk to be handed on at the stream's present position.
#[derive(Debug)]
pub struct ReadyChunk {
    /// The chunk, behind a schema change if its shape is new.
    pub events: Vec<ChangeEvent>,
}

/// Follows every captured table from fresh to streaming.
#[derive(Debug)]
pub struct Coordinator {
    limits: CopyLimits,
    router: Router,
    tables: Arc<SnapshotState>,
    copies: BTreeMap<TableId, TableCopy>,
    /// The shape of each table that the sink was told last.
    announced: HashMap<TableId, Arc<TableSchema>>,
    /// The shape of each table in the target, as routed.
    applied: HashMap<TableId, Arc<TableSchema>>,
    /// Columns that were added when their default was not known.
    unsure: HashMap<TableId, Vec<String>>,
    /// Stopped tables that the stream begins anew.
    revived: Vec<TableId>,
    position: LogPosition,
    watermark: Option<Watermark>,
    /// Source of ids for chunks and generations.
    last_id: u64,
}

impl Coordinator {
    /// Follows the tables that the router selects from the states that the target holds. `schemas`
    /// are the shapes of the tables that are being copied, `applied` those that the target has.
    pub fn new(
        limits: CopyLimits,
        router: Router,
        position: LogPosition,
        tables: Arc<SnapshotState>,
        schemas: &[Arc<TableSchema>],
        applied: Vec<Arc<TableSchema>>,
    ) -> Self {
        let applied = applied
            .into_iter()
            .filter_map(|schema| Some((router.source(&schema.id)?, schema)))
            .collect();
        let mut coordinator = Self {
            limits,
            router,
            tables,
            copies: BTreeMap::new(),
            announced: HashMap::new(),
            applied,
            unsure: HashMap::new(),
            revived: Vec::new(),
            position,
            watermark: None,
            last_id: 0,
        };
        for schema in schemas {
            if let Some(state) = coordinator.tables.get(&schema.id).cloned() {
                coordinator.start_copy(schema, &state);
            }
        }
        coordinator
    }

    /// The states of all tables at the stream's position.
    pub fn tables(&self) -> &Arc<SnapshotState> {
        &self.tables
    }

    /// Where the stream stands.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }

    /// The stream's place by the server's own count, once known.
    pub fn watermark(&self) -> Option<&Watermark> {
        self.watermark.as_ref()
    }

    /// Whether every table is copied.
    pub fn is_complete(&self) -> bool {
        self.copies.is_empty()
    }

    /// Takes over the states of tables that the sink stopped.
    pub(crate) fn stop_tables(&mut self, stopped: &StoppedTables) {
        stopped.lay_over(&mut self.tables);
        let tables = &self.tables;
        self.copies
            .retain(|table, _| !matches!(tables.get(table), Some(TableState::Stopped { .. })));
    }

    /// The stream stands between two transactions, here.
    pub fn pass(&mut self, position: LogPosition, watermark: Option<Watermark>) {
        self.position = position;
        if watermark.is_some() {
            self.watermark = watermark;
        }
        for copy in self.copies.values_mut() {
            if copy.plan == Plan::Postponed {
                copy.plan = Plan::Open;
            }
        }
    }

    /// What becomes of one stream event: it is pushed, changed or not, or held, or dropped.
    pub fn filter(&mut self, event: ChangeEvent, out: &mut Vec<ChangeEvent>) {
        match event {
            ChangeEvent::Row(change) => {
                if self.copies.is_empty() && !self.is_stopped(&change.table.id) {
                    out.push(ChangeEvent::Row(change));
                } else if let Some(change) = self.filter_row(change) {
                    out.push(ChangeEvent::Row(change));
                }
            }
            ChangeEvent::Schema(change) => {
                if let Some(change) = self.filter_schema(change) {
                    out.push(ChangeEvent::Schema(change));
                }
            }
            ChangeEvent::Chunk(chunk) => self.filter_chunk(chunk, out),
            ChangeEvent::Unreadable(unreadable) => {
                let table = unreadable.table.as_ref();
                if !table.is_some_and(|table| self.is_stopped(table)) {
                    out.push(ChangeEvent::Unreadable(unreadable));
                }
            }
            event @ ChangeEvent::TransactionEnd(_) => out.push(event),
        }
    }

    /// The next thing to ask of an idle reader.
    pub fn next_job(&mut self) -> Option<Job> {
        let in_flight: usize = self.copies.values().map(TableCopy::in_flight).sum();
        let may_read = in_flight < self.limits.parallelism;
        for (table, copy) in &mut self.copies {
            if !copy.schema.has_key() {
                continue;
            }
            // Without an order, an event can't be told to belong to one of several chunks.
            let may_read = may_read && (copy.orders_everywhere() || copy.in_flight() == 0);
            let kind = if let Some(chunk) = copy
                .chunks
                .iter_mut()
                .find(|chunk| may_read && matches!(chunk.state, ChunkState::Planned))
            {
                chunk.register();
                let request = ChunkRequest {
                    table: table.clone(),
                    after: chunk.after.clone(),
                    until: chunk.until.clone(),
                    seen: self.position.clone(),
                    size_bytes_max: self.limits.chunk_bytes_max,
                };
                JobKind::Read {
                    id: chunk.id,
                    request,
                }
            } else if copy.plan == Plan::Open
                && copy.chunks.len() - copy.in_flight() < PLANNED_AHEAD_MAX
            {
                copy.plan = Plan::Asked;
                JobKind::Boundary {
                    after: copy.planned_until().cloned(),
                    rows: copy.chunk_rows,
                }
            } else {
                continue;
            };
            let schema = Arc::clone(&copy.schema);
            return Some(Job {
                table: table.clone(),
                generation: copy.generation,
                schema,
                kind,
            });
        }
        None
    }

    /// Takes a job's answer.
    pub fn finish_job(&mut self, result: JobResult) {
        let next_id = self.last_id + 1;
        let Some(copy) = self.copies.get_mut(&result.table) else {
            return;
        };
        if copy.generation != result.generation {
            return;
        }
        match result.outcome {
            JobOutcome::Boundary { .. } if copy.plan != Plan::Asked => {}
            JobOutcome::Boundary { until, rows, .. } => {
                self.last_id = next_id;
                copy.chunk_rows = Some(rows);
                if until
                    .as_ref()
                    .is_some_and(|until| !fits_key(until, &copy.schema))
                {
                    copy.postpone(next_id);
                    return;
                }
                copy.plan = if until.is_some() {
                    Plan::Open
                } else {
                    Plan::Complete
                };
                let after = copy.planned_until().cloned();
                copy.chunks.push_back(Chunk::planned(next_id, after, until));
            }
            JobOutcome::Read { id, rows } => {
                self.last_id = next_id;
                if let Some(index) = copy.chunks.iter().position(|chunk| chunk.id == id) {
                    copy.finish_read(index, rows, next_id);
                }
            }
            JobOutcome::TableMissing => self.abandon(&result.table),
        }
    }

    /// A chunk that is complete at the stream's position, if there is one.
    pub fn ready_chunk(&mut self) -> Option<ReadyChunk> {
        let watermark = self.watermark.clone()?;
        let tables: Vec<TableId> = self.copies.keys().cloned().collect();
        tables
            .into_iter()
            .find_map(|table| self.ready_chunk_of(&table, &watermark))
    }

    /// The table does not exist any more: its DROP or RENAME is still ahead in the log, and until
    /// then its rows go nowhere.
    pub fn abandon(&mut self, table: &TableId) {
        self.copies.remove(table);
        Arc::make_mut(&mut self.tables).remove(table);
    }

    fn is_stopped(&self, table: &TableId) -> bool {
        matches!(self.tables.get(table), Some(TableState::Stopped { .. }))
    }

    fn start_copy(&mut self, schema: &Arc<TableSchema>, state: &TableState) {
        let TableState::Snapshotting {
            frontier,
            rows_copied,
            replace,
        } = state
        else {
            return;
        };
        self.last_id += 1;
        let copy = TableCopy {
            generation: self.last_id,
            schema: Arc::clone(schema),
            replace: *replace,
            rows_copied: *rows_copied,
            frontier: frontier.as_ref().map(|frontier| frontier.0.clone()),
            plan: Plan::Open,
            chunks: std::collections::VecDeque::new(),
            chunk_rows: None,
            view_at: None,
        };
        if frontier.is_none() {
            self.announced.insert(schema.id.clone(), Arc::clone(schema));
            if let Ok(Some(routed)) = self.router.schema(schema) {
                self.applied.insert(schema.id.clone(), routed);
            }
        }
        self.copies.insert(schema.id.clone(), copy);
    }

    /// Begins to copy a table from its first row; the target may hold rows of it.
    fn restart_copy(&mut self, schema: &Arc<TableSchema>) {
        let is_wanted = self.limits.copy_new_tables || self.copies.contains_key(&schema.id);
        let state = if is_wanted {
            TableState::fresh(true)
        } else {
            TableState::Streaming
        };
        Arc::make_mut(&mut self.tables).insert(schema.id.clone(), state.clone());
        self.copies.remove(&schema.id);
        self.start_copy(schema, &state);
    }

    fn filter_row(&mut self, change: RowChange) -> Option<RowChange> {
        let table = &change.table.id;
        match self.tables.get(table) {
            None => {
                // A table that came into the selection by a way that was not seen, such as a rename.
                if self.router.selects(table) {
                    let schema = Arc::clone(&change.table);
                    self.restart_copy(&schema);
                }
                return None;
            }
            Some(TableState::Stopped { .. }) => return None,
            Some(TableState::Streaming) => return Some(change),
            Some(TableState::Snapshotting { .. }) => {}
        }
        let copy = self.copies.get_mut(table)?;
        if !copy.schema.has_key() {
            // Everything before the view is in it; the caller keeps what comes after apart.
            return None;
        }
        if !change.table.key_is_like(&copy.schema) {
            // The key changed and its schema change is yet to come: begin anew.
            let schema = Arc::clone(&change.table);
            self.restart_copy(&schema);
            return None;
        }
        if copy.orders_everywhere() {
            match pass_ordered(copy, change) {
                Passed::Change(change) => Some(change),
                Passed::Nothing => None,
                Passed::Restart(schema) => {
                    self.restart_copy(&schema);
                    None
                }
            }
        } else {
            if moves_incomplete_row(&change) {
                // Whether the target holds the rest of the row can't be told without an order.
                let schema = Arc::clone(&copy.schema);
                self.restart_copy(&schema);
                return None;
            }
            lay_unordered(copy, &change);
            Some(change)
        }
    }

    fn ready_chunk_of(&mut self, table: &TableId, watermark: &Watermark) -> Option<ReadyChunk> {
        let copy = self.copies.get_mut(table)?;
        let orders = copy.orders_everywhere();
        let chunk = copy.chunks.front_mut()?;
        let ChunkState::Read(read) = &chunk.state else {
            return None;
        };
        match watermark.has_reached(&read.high) {
            Some(true) => {}
            Some(false) => return None,
            // Another server answered than the one that streams: what it saw can't be placed.
            None => {
                chunk.poison();
                return None;
            }
        }
        let schema = Arc::clone(&read.table);
        let empties = copy.replace && !orders && copy.frontier.is_none();
        let Some(rows) = chunk.merge(&schema, orders || empties) else {
            chunk.poison();
            return None;
        };
        let mode = match (orders, copy.replace) {
            (true, false) => ChunkMode::Append,
            (true, true) => ChunkMode::ReplaceRange {
                after: chunk.after.clone(),
                until: chunk.until.clone(),
            },
            (false, _) if empties => ChunkMode::ReplaceAll,
            (false, _) => ChunkMode::Upsert,
        };
        copy.rows_copied += rows.len() as u64;
        copy.frontier = mem::take(&mut chunk.until);
        copy.chunks.pop_front();
        let state = match &copy.frontier {
            Some(frontier) => TableState::Snapshotting {
                frontier: Some(Frontier(frontier.clone())),
                rows_copied: copy.rows_copied,
                replace: copy.replace,
            },
            None => TableState::Streaming,
        };
        if state == TableState::Streaming {
            self.copies.remove(table);
        }
        Arc::make_mut(&mut self.tables).insert(table.clone(), state);
        let events = self.chunk_events(schema, rows, mode);
        Some(ReadyChunk { events })
    }

    /// A chunk, behind a schema change if its shape is new.
    fn chunk_events(
        &mut self,
        table: Arc<TableSchema>,
        rows: Vec<Row>,
        mode: ChunkMode,
    ) -> Vec<ChangeEvent> {
        let mut events = self.announce(&table);
        events.push(ChangeEvent::Chunk(SnapshotChunk {
            table,
            rows,
            origins: Vec::new(),
            mode,
        }));
        events
    }

    /// A schema change ahead of rows whose shape the sink does not know yet.
    fn announce(&mut self, schema: &Arc<TableSchema>) -> Vec<ChangeEvent> {
        let known = self.announced.insert(schema.id.clone(), Arc::clone(schema));
        match known {
            Some(known) if known.same_shape(schema) => Vec::new(),
            _ => vec![ChangeEvent::Schema(SchemaChange::Alter(Arc::clone(schema)))],
        }
    }
}
