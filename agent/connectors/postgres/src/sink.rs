//! The sink as the pipeline sees it.
//!
//! A transaction of the target begins with the first [`write`](Sink::write) after a commit: its first
//! statement is the update that fences and marks, its last one moves the position. What lies between
//! goes through [`crate::writer`]. A call that fails, or is dropped half-way, leaves a session that
//! is not used again: [`open`](Sink::open) makes a new one and ends the old one's transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sluice_agent_api::{
    SecretStore,
    config::{PostgresConfig, Replicas, SinkConfig},
};
use sluice_core::{
    Batch, DeadLetters, Error, Letter, Peers, Position, Reason, Result, Sink, SinkObserver,
    SnapshotState, TableId, TableSchema, TableState, WriteOutcome,
};
use tokio_postgres::SimpleQueryMessage;
use tracing::{debug, info};

use crate::{
    apply::Savepoint,
    catalog::{self, Claim, fence_statement, fenced, position_statement},
    connect::{Session, connect},
    dead_letter::Waiting,
    evolve::{Evolution, stops_table},
    layout,
    observe::Observer,
    peers::PeerRows,
    settings::Settings,
    tables::Tables,
    writer::{Memory, Writer},
};

/// How often at most the target is asked what it has flushed.
const DURABLE_INTERVAL: Duration = Duration::from_millis(500);

/// The place of the fence in `BEGIN; UPDATE …`.
const AFTER_BEGIN: usize = 1;

/// Writes changes to a PostgreSQL database.
pub struct PostgresSink {
    settings: Settings,
    secrets: Arc<dyn SecretStore>,
    live: Option<Live>,
    /// The server's process of a session that was given up.
    given_up: Option<i32>,
    /// What this agent held last, once it has held the sink.
    claim: Option<Claim>,
    /// Tables that stop before anything of the transaction that is applied again.
    condemned: HashMap<TableId, Error>,
    /// Who keeps letters outside of the target, too.
    letters: Option<Arc<dyn DeadLetters>>,
}

/// An open sink.
struct Live {
    session: Session,
    epoch: i64,
    tables: Tables,
    /// The states of tables that `sluice.positions` holds.
    states: Arc<SnapshotState>,
    committed: Option<Position>,
    stopped: HashSet<TableId>,
    /// Tables with rows of a source transaction that an earlier write began and none has ended.
    unfinished: HashSet<TableId>,
    in_transaction: bool,
    /// Letters of the open transaction that go elsewhere, too.
    letters: Vec<Letter>,
    savepoint: Savepoint,
    /// Whether a call is under way; stays set when one fails or is dropped.
    busy: bool,
    durability: Durability,
}

/// What is known to be flushed.
#[derive(Default)]
struct Durability {
    durable: Option<Position>,
    /// A place of the target's log and the position that is committed before it.
    sample: Option<(String, Position)>,
    asked: Option<Instant>,
}

impl PostgresSink {
    /// A sink that is not connected yet. `pipeline` names its row in `sluice.positions`.
    pub fn new(
        pipeline: String,
        sink: &SinkConfig,
        postgres: PostgresConfig,
        secrets: Arc<dyn SecretStore>,
    ) -> Self {
        Self {
            settings: Settings::new(pipeline, sink, postgres),
            secrets,
            live: None,
            given_up: None,
            claim: None,
            condemned: HashMap::new(),
            letters: None,
        }
    }

    /// The same with somebody who keeps the letters' records outside of the target.
    pub fn with_dead_letters(mut self, letters: Option<Arc<dyn DeadLetters>>) -> Self {
        self.letters = letters;
        self
    }

    /// The same as one of several agents that share the pipeline.
    pub fn with_replicas(mut self, replicas: Option<Replicas>) -> Self {
        if let Some(replicas) = replicas {
            self.settings.share(replicas);
        }
        self
    }

    /// Takes the session for a call; refused after one that did not end well.
    fn begin_call(&mut self) -> Result<&mut Live> {
        match &mut self.live {
            Some(live) if !live.busy => {
                live.busy = true;
                Ok(live)
            }
            _ => Err(Error::new(
                Reason::Unavailable,
                "the sink's session was given up and is to be opened again",
            )),
        }
    }

    async fn prepare_table(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let settings = self.settings.clone();
        let live = self.begin_call()?;
        if live.in_transaction {
            return Err(Error::new(
                Reason::Internal,
                "a table is prepared inside an open transaction",
            ));
        }
        let begin = format!("BEGIN; {}", fence_statement(&settings.row, live.epoch));
        let found = live.simple(&begin).await?;
        check_fence(&found, AFTER_BEGIN, &settings.row)?;
        let link = live.tables.links.get(&table.id).cloned();
        let outcome = live.reach(&settings, table).await;
        match outcome {
            Ok(()) => {
                live.simple("COMMIT").await?;
                live.stopped.remove(&table.id);
            }
            Err(error) => {
                live.tables.forget_plan(&table.id);
                match link {
                    Some(link) => live.tables.links.insert(table.id.clone(), link),
                    None => live.tables.links.remove(&table.id),
                };
                if !stops_table(&error) {
                    return Err(error);
                }
                live.simple("ROLLBACK").await?;
                live.busy = false;
                return Err(error);
            }
        }
        live.busy = false;
        self.condemned.remove(&table.id);
        Ok(())
    }
}

impl Live {
    /// Runs plain statements.
    async fn simple(&self, statements: &str) -> Result<Vec<SimpleQueryMessage>> {
        let answer = self.session.client.simple_query(statements).await;
        answer.map_err(|error| self.session.error(error))
    }

    /// Makes a table ready. A table that follows the stream is only looked at: its changes come
    /// with the stream. One that is new, or that starts again from scratch, takes the shape at once,
    /// which is also how a person agrees to a change that a policy held back.
    async fn reach(&mut self, settings: &Settings, table: &Arc<TableSchema>) -> Result<()> {
        if settings.is_follower() {
            return self.look(settings, table).await;
        }
        let begins = match self.states.get(&table.id) {
            Some(TableState::Snapshotting { frontier, .. }) => frontier.is_none(),
            Some(TableState::Stopped { .. }) => true,
            Some(TableState::Streaming) | None => false,
        };
        let link = self.tables.links.get(&table.id);
        let follows = !begins && link.is_some_and(|link| !link.held);
        if follows && let Some(link) = link {
            let known = if link.schema.same_shape(table) {
                Arc::clone(table)
            } else {
                Arc::new(link.schema.clone())
            };
            self.tables.plan(&self.session, &known).await?;
            return Ok(());
        }
        let mut evolution = Evolution {
            session: &self.session,
            settings,
            tables: &mut self.tables,
        };
        evolution.reach(table, true).await?;
        self.tables.plan(&self.session, table).await?;
        Ok(())
    }

    /// Looks at a table that another agent makes; one that is not there yet is made with the stream.
    async fn look(&mut self, settings: &Settings, table: &Arc<TableSchema>) -> Result<()> {
        let tables = &mut self.tables;
        tables.reload(&self.session, settings, &table.id).await?;
        if let Some(link) = tables.links.get(&table.id).filter(|link| !link.held) {
            let known = Arc::new(link.schema.clone());
            tables.plan(&self.session, &known).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn open(&mut self) -> Result<Option<Position>> {
        if let Some(old) = self.live.take()
            && (old.in_transaction || old.busy)
        {
            self.given_up = Some(old.session.backend_pid);
        }
        if let Some(letters) = &self.letters {
            letters.open().await?;
        }
        let settings = &self.settings;
        let config = &settings.postgres.connection;
        let session = connect(config, &*self.secrets, &settings.application_name()).await?;
        catalog::ensure(&session).await?;
        if let Some(pid) = self.given_up {
            catalog::end_session(&session, &settings.row, pid).await?;
            self.given_up = None;
        }
        let claim = self.claim;
        if let Some(claim) = &mut self.claim {
            claim.backend_pid = session.backend_pid;
        }
        let ownership = match settings.replicas {
            None => catalog::take_over(&session, &settings.row, claim).await?,
            Some(replicas) => layout::take_over(&session, settings, replicas, claim).await?,
        };
        self.claim = Some(Claim {
            epoch: ownership.epoch,
            generation: ownership.generation,
            backend_pid: session.backend_pid,
        });
        let mut tables = Tables::load(&session, settings).await?;
        tables.waiting = Waiting::load(&session, &settings.pipeline).await?;
        info!(
            target = %session.address,
            epoch = ownership.epoch,
            replica_role = session.replica_role,
            "sink is open"
        );
        let position = ownership.position;
        self.live = Some(Live {
            session,
            epoch: ownership.epoch,
            tables,
            states: position
                .as_ref()
                .map_or_else(Arc::default, |p| Arc::clone(&p.tables)),
            committed: position.clone(),
            stopped: HashSet::new(),
            unfinished: HashSet::new(),
            in_transaction: false,
            letters: Vec::new(),
            savepoint: Savepoint::default(),
            busy: false,
            durability: Durability::default(),
        });
        Ok(position)
    }

    async fn prepare(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        self.prepare_table(table).await
    }

    async fn applied_schemas(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        let links = self.live.iter().flat_map(|live| live.tables.links.values());
        Ok(links.map(|link| Arc::new(link.schema.clone())).collect())
    }

    async fn write(&mut self, batch: &Batch) -> Result<WriteOutcome> {
        let settings = self.settings.clone();
        let mut condemned = std::mem::take(&mut self.condemned);
        let goes_outside = self.letters.is_some();
        let live = self.begin_call()?;
        if batch.is_empty() {
            live.busy = false;
            self.condemned = condemned;
            return Ok(WriteOutcome::default());
        }
        let mut begin = "BEGIN; ".to_owned();
        begin.push_str(&fence_statement(&settings.row, live.epoch));
        let first = !std::mem::replace(&mut live.in_transaction, true);
        let memory = Memory {
            stopped: &mut live.stopped,
            unfinished: &mut live.unfinished,
            savepoint: &mut live.savepoint,
            condemned: &mut condemned,
            letters: goes_outside.then_some(&mut live.letters),
        };
        let tables = &mut live.tables;
        let writer = Writer::new(&live.session, &settings, &live.states, tables, memory);
        let outcome = if first {
            // The answer to the first statement is not waited for before the others are sent.
            let client = &live.session.client;
            let (fence, outcome) =
                futures_util::future::join(client.simple_query(&begin), writer.write(batch)).await;
            // What went wrong first explains the rest.
            let found = fence.map_err(|error| live.session.error(error));
            let fence = found.and_then(|found| check_fence(&found, AFTER_BEGIN, &settings.row));
            fence.and(outcome)
        } else {
            writer.write(batch).await
        };
        self.condemned = condemned;
        let outcome = outcome?;
        if let Some(live) = &mut self.live {
            live.busy = false;
        }
        Ok(outcome)
    }

    async fn commit(&mut self, position: &Position) -> Result<()> {
        let row = self.settings.row.clone();
        let outside = self.letters.clone();
        let live = self.begin_call()?;
        let letters = std::mem::take(&mut live.letters);
        if let Some(outside) = outside.filter(|_| !letters.is_empty()) {
            // Ahead of the commit that goes on without them: a crash in between repeats both.
            outside.keep(letters).await?;
        }
        let same = Arc::ptr_eq(&live.states, &position.tables) || live.states == position.tables;
        let new_replica = live.committed.is_none();
        let requested = |committed: &Position| committed.requests != position.requests;
        let new_request = live.committed.as_ref().is_some_and(requested);
        let with_tables = !same || new_replica || new_request;
        let mut script = position_statement(&row, live.epoch, position, with_tables)?;
        if live.in_transaction {
            script.push_str("; COMMIT");
        }
        let sampling = live.durability.wants_sample();
        if sampling {
            script.push_str("; SELECT pg_current_wal_insert_lsn()");
        }
        let answer = live.simple(&script).await?;
        check_fence(&answer, 0, &row)?;
        if sampling && let Some(place) = first_value(&answer) {
            live.durability.sample = Some((place, position.clone()));
        }
        debug!(position = %position.log, "committed");
        live.in_transaction = false;
        live.savepoint = Savepoint::default();
        live.unfinished.clear();
        if with_tables {
            live.states = Arc::clone(&position.tables);
        }
        live.committed = Some(position.clone());
        live.busy = false;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Option<Position>> {
        let live = self.begin_call()?;
        let recently = |asked: Instant| asked.elapsed() < DURABLE_INTERVAL;
        if live.durability.asked.is_some_and(recently) || live.committed.is_none() {
            live.busy = false;
            return Ok(live.durability.durable.clone());
        }
        live.durability.asked = Some(Instant::now());
        // A position without a place of its own is before the present end of the log.
        let place = match &live.durability.sample {
            Some((place, _)) => format!("pg_current_wal_flush_lsn() >= '{place}'::pg_lsn"),
            None => "false".to_owned(),
        };
        let question = format!("SELECT {place}, pg_current_wal_insert_lsn()");
        let answer = live.simple(&question).await?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        if row.and_then(|row| row.get(0)) == Some("t")
            && let Some((_, position)) = live.durability.sample.take()
        {
            live.durability.durable = Some(position);
        }
        let end = row.and_then(|row| row.get(1));
        let behind = live.durability.durable != live.committed;
        if live.durability.sample.is_none()
            && behind
            && let (Some(end), Some(committed)) = (end, &live.committed)
        {
            live.durability.sample = Some((end.to_owned(), committed.clone()));
        }
        live.busy = false;
        Ok(live.durability.durable.clone())
    }

    fn observer(&self) -> Option<Arc<dyn SinkObserver>> {
        let live = self.live.as_ref()?;
        Some(Arc::new(Observer::new(
            &self.settings,
            Arc::clone(&self.secrets),
            live.session.backend_pid,
        )))
    }

    fn peers(&self) -> Option<Arc<dyn Peers>> {
        let is_shared = |replicas: Replicas| replicas.is_shared();
        let shared = self.settings.replicas.is_some_and(is_shared);
        let rows = || PeerRows::new(&self.settings, Arc::clone(&self.secrets));
        shared.then(|| Arc::new(rows()) as Arc<dyn Peers>)
    }
}

impl Durability {
    /// Whether the place of a commit is worth asking for.
    fn wants_sample(&self) -> bool {
        self.sample.is_none()
    }
}

/// Whether this agent is still the newest: the update of the position, by its place among the
/// statements, found its row.
fn check_fence(answer: &[SimpleQueryMessage], place: usize, pipeline: &str) -> Result<()> {
    let mut counts = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    });
    if counts.nth(place) == Some(1) {
        Ok(())
    } else {
        Err(fenced(pipeline))
    }
}

fn first_value(answer: &[SimpleQueryMessage]) -> Option<String> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
        _ => None,
    })
}
