//! Decides what passes while tables are copied, and what is read next.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use sluice_core::{
    ChangeEvent, ChunkRequest, LogPosition, Row, RowChange, SchemaChange, SnapshotChunk,
    SnapshotState, TableId, TableSchema, TableState, Watermark,
    event::ChunkMode,
    position::Frontier,
    source::{ChunkRows, TableEstimate},
};

use crate::{
    intake::StoppedTables,
    route::Router,
    snapshot::{
        chunk::{Chunk, ChunkState, Plan, TableCopy, fits_key},
        passing::{Passed, lay_unordered, moves_incomplete_row, pass_ordered},
        refill,
    },
};

mod streamed;

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

/// Something to be asked of the source by a snapshot reader.
#[derive(Debug)]
pub struct Job {
    table: TableId,
    generation: u64,
    /// The table's shape, for its key.
    pub schema: Arc<TableSchema>,
    /// What to ask.
    pub kind: JobKind,
}

/// What to ask of a snapshot reader.
#[derive(Debug)]
pub enum JobKind {
    /// Where the next chunk ends.
    Boundary {
        /// The key after which it begins.
        after: Option<Row>,
        /// Rows per chunk; to be estimated from the table's size when unknown.
        rows: Option<u64>,
    },
    /// A chunk's rows.
    Read {
        /// The chunk.
        id: u64,
        /// What to read.
        request: ChunkRequest,
    },
}

/// A job's answer.
#[derive(Debug)]
pub struct JobResult {
    table: TableId,
    generation: u64,
    outcome: JobOutcome,
}

impl JobResult {
    /// The table and about how many rows it has, where the job asked for it.
    pub fn estimate(&self) -> Option<(&TableId, u64)> {
        match &self.outcome {
            JobOutcome::Boundary {
                estimate: Some(estimate),
                ..
            } => Some((&self.table, estimate.rows)),
            _ => None,
        }
    }
}

/// What a job brought.
#[derive(Debug)]
pub enum JobOutcome {
    /// The end of the next chunk (`None`: the table's end), and rows per chunk as used.
    Boundary {
        /// The chunk's last key.
        until: Option<Row>,
        /// Rows per chunk.
        rows: u64,
        /// The table's size, when it was asked for.
        estimate: Option<TableEstimate>,
    },
    /// A chunk's rows.
    Read {
        /// The chunk.
        id: u64,
        /// The rows.
        rows: ChunkRows,
    },
    /// The table does not exist any more.
    TableMissing,
}

impl Job {
    /// The answer to this job.
    pub fn answer(&self, outcome: JobOutcome) -> JobResult {
        JobResult {
            table: self.table.clone(),
            generation: self.generation,
            outcome,
        }
    }
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

    /// A table without a key that is to be copied next: the caller opens a view of it while the
    /// stream stands still.
    pub fn view(&self) -> Option<TableId> {
        let waits = |copy: &TableCopy| !copy.schema.has_key() && copy.view_at.is_none();
        let any_open = self.copies.values().any(|copy| copy.view_at.is_some());
        let mut waiting = self.copies.iter().filter(|(_, copy)| waits(copy));
        if any_open {
            None
        } else {
            waiting.next().map(|(table, _)| table.clone())
        }
    }

    /// A view of the table is open at this place.
    pub fn open_view(&mut self, table: &TableId, schema: Arc<TableSchema>, at: Watermark) {
        if let Some(copy) = self.copies.get_mut(table) {
            copy.schema = schema;
            copy.view_at = Some(at);
        }
    }

    /// The table whose view is open, and its place.
    pub fn opened_view(&self) -> Option<(&TableId, &Watermark)> {
        self.copies
            .iter()
            .find_map(|(table, copy)| Some((table, copy.view_at.as_ref()?)))
    }

    /// Wraps rows of the open view; the first piece says what becomes of older rows.
    pub fn view_rows(&mut self, table: &TableId, rows: Vec<Row>) -> Vec<ChangeEvent> {
        let Some(copy) = self.copies.get_mut(table) else {
            return Vec::new();
        };
        let first = copy.rows_copied == 0;
        copy.rows_copied += rows.len() as u64;
        let mode = if first && copy.replace {
            ChunkMode::ReplaceAll
        } else {
            ChunkMode::Append
        };
        let schema = Arc::clone(&copy.schema);
        let mut events = self.announce(&schema);
        events.push(ChangeEvent::Chunk(SnapshotChunk {
            table: schema,
            rows,
            origins: Vec::new(),
            mode,
        }));
        events
    }

    /// The open view is read to its end.
    pub fn close_view(&mut self, table: &TableId) {
        self.copies.remove(table);
        Arc::make_mut(&mut self.tables).insert(table.clone(), TableState::Streaming);
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

    fn filter_schema(&mut self, change: SchemaChange) -> Option<SchemaChange> {
        if let SchemaChange::Renew(schema) = &change {
            return self.renew(schema).then_some(change);
        }
        if self.is_stopped(change.table()) {
            if let SchemaChange::Drop(table) = &change {
                Arc::make_mut(&mut self.tables).remove(table);
            }
            return None;
        }
        match &change {
            // Done with above.
            SchemaChange::Renew(_) => {}
            SchemaChange::Create(schema)
            | SchemaChange::Alter(schema)
            | SchemaChange::Refill(schema) => {
                if !self.router.selects(&schema.id) {
                    self.announced.insert(schema.id.clone(), Arc::clone(schema));
                    return None;
                }
                if self.reshape(schema) {
                    return Some(SchemaChange::Refill(Arc::clone(schema)));
                }
            }
            SchemaChange::RenameColumns { table, columns } => {
                if let Some(copy) = self.copies.get_mut(table) {
                    copy.poison();
                    copy.schema = renamed(&copy.schema, columns);
                }
                for known in [&mut self.announced, &mut self.applied] {
                    if let Some(schema) = known.get_mut(table) {
                        *schema = renamed(schema, columns);
                    }
                }
            }
            SchemaChange::RenameTable { from, to } => self.rename(from, to),
            SchemaChange::Truncate(table) => {
                if let Some(copy) = self.copies.get_mut(table) {
                    copy.poison();
                }
            }
            SchemaChange::Drop(table) => {
                self.copies.remove(table);
                self.announced.remove(table);
                self.applied.remove(table);
                self.unsure.remove(table);
                Arc::make_mut(&mut self.tables).remove(table);
            }
        }
        Some(change)
    }

    /// Takes note of a table's new shape. Answers whether its rows are copied again because only
    /// the source knows what became of them.
    fn reshape(&mut self, schema: &Arc<TableSchema>) -> bool {
        let table = &schema.id;
        let known = self.announced.insert(table.clone(), Arc::clone(schema));
        // A shape that can't be routed stops the table where it is routed next.
        let routed = self.router.schema(schema).ok().flatten();
        let old = routed
            .as_ref()
            .and_then(|new| self.applied.insert(table.clone(), Arc::clone(new)));
        if !self.tables.contains_key(table) {
            self.restart_copy(schema);
            return false;
        }
        if let (Some(old), Some(new)) = (old, routed) {
            let unsure = self.unsure.remove(table).unwrap_or_default();
            if self.limits.copy_new_tables && refill::needs_refill(&old, &new, &unsure) {
                self.restart_copy(schema);
                return true;
            }
            let mut still_unsure = refill::unsure_columns(&old, &new);
            if old.same_shape(&new) {
                still_unsure.extend(unsure);
            }
            if !still_unsure.is_empty() {
                self.unsure.insert(table.clone(), still_unsure);
            }
        }
        let is_new = known.is_none_or(|known| !known.same_shape(schema));
        let copy = self.copies.get_mut(table);
        if copy
            .as_ref()
            .is_some_and(|copy| !copy.schema.key_is_like(schema))
        {
            self.restart_copy(schema);
        } else if let Some(copy) = copy.filter(|_| is_new) {
            copy.poison();
            copy.schema = Arc::clone(schema);
        }
        false
    }

    fn rename(&mut self, from: &TableId, to: &TableId) {
        let tables = Arc::make_mut(&mut self.tables);
        let state = tables.remove(from);
        let with_new_name = |schema: &Arc<TableSchema>| {
            Arc::new(TableSchema {
                id: to.clone(),
                ..TableSchema::clone(schema)
            })
        };
        let announced = self
            .announced
            .remove(from)
            .map(|schema| with_new_name(&schema));
        let copied = self
            .copies
            .remove(from)
            .map(|copy| with_new_name(&copy.schema));
        self.copies.remove(to);
        let follows = self.router.selects(to);
        match (state, copied.or_else(|| announced.clone())) {
            _ if !follows => {}
            (Some(state), _) if !matches!(state, TableState::Snapshotting { .. }) => {
                tables.insert(to.clone(), state);
            }
            // Half a copy under the old name is of no use under the new one, and a table that was
            // not followed has none at all.
            (_, Some(schema)) => self.restart_copy(&schema),
            (_, None) => {
                tables.remove(to);
            }
        }
        if let Some(schema) = announced {
            self.announced.insert(to.clone(), schema);
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
        let mut events = self.announce(&schema);
        events.push(ChangeEvent::Chunk(SnapshotChunk {
            table: schema,
            rows,
            origins: Vec::new(),
            mode,
        }));
        Some(ReadyChunk { events })
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

fn renamed(schema: &Arc<TableSchema>, columns: &[(String, String)]) -> Arc<TableSchema> {
    let mut renamed = TableSchema::clone(schema);
    for column in &mut renamed.columns {
        if let Some((_, to)) = columns.iter().find(|(from, _)| *from == column.name) {
            column.name.clone_from(to);
        }
    }
    Arc::new(renamed)
}
