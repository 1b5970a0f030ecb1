//! The sink as the pipeline sees it.
//!
//! Everything between two commits is one Kafka transaction: rows, control events, shapes, and last
//! the position. [`open`](Sink::open) takes the transactional id, which ends any older agent's
//! transaction and fences it. A call that fails, or is dropped half-way, leaves a session that is not used
//! again: its producer goes, and the brokers drop what it had written.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use async_trait::async_trait;
use sluice_agent_api::{
    SecretStore,
    kafka::{KafkaConfig, OwnTopics},
};
use sluice_core::{
    Batch, ChangeEvent, Class, Error, Position, Reason, Result, Sink, TableId, TableSchema,
    TableState, WriteOutcome,
};
use tracing::info;

use crate::{
    bounds::Bounds,
    connect::client_config,
    control::What,
    format::codec,
    lookup::{Lookup, blocking, finished},
    producer::{Producer, fenced},
    resume::Written,
    schemas::{Fingerprint, Shapes},
    session::Session,
    settings::Settings,
    state::{self, State},
    table::Tables,
    topics::{Declared, Topics, beside, topic_of},
    write::{Buffers, Writer},
};

/// Writes changes to Kafka topics.
pub struct KafkaSink {
    settings: Arc<Settings>,
    secrets: Arc<dyn SecretStore>,
    /// Tells this agent from others of the same pipeline.
    agent: String,
    /// Whether this agent has held the pipeline.
    held: bool,
    live: Option<Session>,
    buffers: Buffers,
    /// Tables that stop before anything of the transaction that is written again.
    condemned: HashMap<TableId, Error>,
}

impl KafkaSink {
    /// A sink that is not connected yet. `pipeline` names its position and its transactional id.
    pub fn new(pipeline: String, kafka: KafkaConfig, secrets: Arc<dyn SecretStore>) -> Self {
        let random = RandomState::new();
        let agent = format!("{:016x}", random.hash_one(std::process::id()));
        Self {
            settings: Arc::new(Settings::new(pipeline, kafka)),
            secrets,
            agent,
            held: false,
            live: None,
            buffers: Buffers::default(),
            condemned: HashMap::new(),
        }
    }

    /// Commits source transactions in pieces once they take this long; a third of
    /// `transaction.timeout.ms` unless set.
    #[must_use]
    pub fn with_transaction_age_max(mut self, age_max: std::time::Duration) -> Self {
        Arc::make_mut(&mut self.settings).transaction_age_max = age_max;
        self
    }

    /// Takes the session for a call; a call that does not end well does not give it back.
    fn begin_call(&mut self) -> Result<Session> {
        self.live.take().ok_or_else(|| {
            Error::new(
                Reason::Unavailable,
                "the sink's session was given up and is to be opened again",
            )
        })
    }

    async fn connect(&mut self) -> Result<Session> {
        let settings = Arc::clone(&self.settings);
        let cluster = &settings.kafka.cluster;
        let config = client_config(cluster, &*self.secrets, &settings.client_id())?;
        let lookup = Lookup::new(config.clone(), settings.brokers())?;
        let topics = Topics::new(&config, settings.brokers())?;
        ensure_own(&settings, &lookup, &topics).await?;
        let own = &settings.kafka.topics;
        if self.held {
            // Taking the id back from an agent that took it from here would never end.
            let (records, _) = lookup.read(&own.positions(), 0).await?;
            let state = State::read(&settings.pipeline, &records)?;
            if state.owner.as_deref() != Some(&*self.agent) {
                return Err(fenced("opening the sink again"));
            }
        }
        let producer = Producer::open(config, &settings).await?;
        let schemas = lookup.begin_read(&own.schemas(), 0);
        let (records, _) = lookup.read(&own.positions(), 0).await?;
        if let Some(other) = state::stranger(&settings.pipeline, &records) {
            return Err(taken(&other, &own.positions()));
        }
        let state = State::read(&settings.pipeline, &records)?;
        let (records, _) = finished(schemas.await)?;
        let mut shapes = Shapes::default();
        for record in &records {
            shapes.take(record.key.as_deref(), record.value.as_deref());
        }
        let codec = codec(
            &settings.kafka.format,
            settings.kafka.envelope,
            &own.source,
            &self.secrets,
        )?;
        let written = written(&lookup, own, &state).await?;
        let skip = state.place.as_ref();
        let bounds = if own.transactions {
            let ended = skip.map_or(0, |place| place.ended);
            Some(Bounds::new(&codec, own.transaction(), ended).await?)
        } else {
            None
        };
        Ok(Session {
            bounds,
            producer,
            lookup,
            topics,
            codec,
            shapes,
            tables: Tables::of_topics(written),
            known: state.known.clone(),
            skip: skip.map_or_else(Written::default, |place| place.written.clone()),
            passed: Written::default(),
            copied: HashSet::new(),
            began: None,
            stopped: HashSet::new(),
            refilled: HashSet::new(),
            renewing: HashSet::new(),
            unfinished: HashSet::new(),
            state,
            settings,
        })
    }

    async fn write_events(&mut self, session: &mut Session, batch: &Batch) -> Result<WriteOutcome> {
        let mut outcome = WriteOutcome::default();
        let mut writer = Writer::new(session, &mut self.buffers);
        for (index, event) in batch.events.iter().enumerate() {
            let table = event.table();
            if let Some(table) = table {
                if writer.is_stopped(table) {
                    continue;
                }
                if let Some(error) = self.condemned.remove(table) {
                    writer.stop(table);
                    outcome.stopped.push((table.clone(), error));
                    continue;
                }
            }
            let Err(error) = writer.event(batch, index).await else {
                if let ChangeEvent::Row(change) = event {
                    writer.began(&change.table.id);
                }
                continue;
            };
            let Some(table) = table.filter(|_| error.class() == Class::StopTable) else {
                return Err(error);
            };
            if writer.is_unfinished(table) {
                // What is written of its transaction can only go with the whole of Kafka's.
                let message = format!("table {table} stops; the transaction is written again");
                self.condemned.insert(table.clone(), error);
                return Err(Error::new(Reason::Unavailable, message));
            }
            writer.stop(table);
            outcome.stopped.push((table.clone(), error));
        }
        Ok(outcome)
    }

    async fn prepare_table(session: &mut Session, table: &Arc<TableSchema>) -> Result<()> {
        let follows = matches!(
            session.known.tables.get(&table.id),
            Some(TableState::Streaming)
        );
        let told = session.told(&table.id).cloned();
        if let Some(told) = &told {
            // Its changes come with the stream, or with the copy that begins.
            if follows {
                return session.ready(told).await;
            }
            session.renewing.insert(table.id.clone());
            return session.ready(table).await;
        }
        session.ready(table).await?;
        let shape = Fingerprint::of(table)?.0.to_string();
        session.refilled.insert(table.id.clone());
        session.control(&table.id, What::Create { shape }).await
    }
}

/// The topics of tables that were written before, with their numbers of partitions.
async fn written(lookup: &Lookup, own: &OwnTopics, state: &State) -> Result<BTreeMap<String, u32>> {
    let mut counts = lookup.topics().await?;
    let tables = state.known.shapes.keys();
    let topics = tables.filter_map(|table| {
        let topic = topic_of(own, table);
        let count = counts.remove(&topic)?;
        Some((topic, count.cast_unsigned()))
    });
    Ok(topics.collect())
}

/// Why topics can't be written to that another pipeline writes.
fn taken(other: &str, positions: &str) -> Error {
    let message = format!("the topics belong to pipeline {other}, as topic {positions} says");
    Error::new(Reason::InvalidConfig, message).with_hint(format!(
        "give the source another name; if that pipeline is no more, delete topic {positions}, and every \
         table is copied into the topics again"
    ))
}

/// The topics beside the tables'.
async fn ensure_own(settings: &Settings, lookup: &Lookup, topics: &Topics) -> Result<()> {
    let own = &settings.kafka.topics;
    for (name, purpose) in beside(own) {
        let declared = Declared {
            partitions: 1,
            replication_factor: settings.kafka.replication_factor.cast_signed(),
            purpose,
        };
        topics.ensure(lookup, &name, declared).await?;
    }
    Ok(())
}

#[async_trait]
impl Sink for KafkaSink {
    async fn open(&mut self) -> Result<Option<Position>> {
        if let Some(old) = self.live.take() {
            // Its end waits for librdkafka's threads.
            blocking(move || {
                drop(old);
                Ok(())
            })
            .await?;
        }
        let mut session = self.connect().await?;
        session.own(&self.agent).await?;
        self.held = true;
        let position = session.state.position();
        info!(
            brokers = self.settings.brokers(),
            transactional_id = self.settings.transactional_id(),
            "sink is open"
        );
        self.live = Some(session);
        Ok(position)
    }

    async fn applied_schemas(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        let Some(session) = &self.live else {
            return Ok(Vec::new());
        };
        let tables = session.known.shapes.keys();
        Ok(tables
            .filter_map(|table| session.told(table).cloned())
            .collect())
    }

    async fn prepare(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let mut session = self.begin_call()?;
        let prepared = Self::prepare_table(&mut session, table).await;
        match prepared {
            Ok(()) => {
                session.stopped.remove(&table.id);
                self.condemned.remove(&table.id);
            }
            // Nothing of it is in the open transaction: a table is refused before it is told of.
            Err(error) if error.class() == Class::StopTable => {
                self.live = Some(session);
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        if session.began.is_some() {
            let known = session.known.clone();
            session.store(None, known).await?;
        }
        self.live = Some(session);
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<WriteOutcome> {
        let mut session = self.begin_call()?;
        let outcome = self.write_events(&mut session, batch).await?;
        self.live = Some(session);
        Ok(outcome)
    }

    async fn commit(&mut self, position: &Position) -> Result<()> {
        let mut session = self.begin_call()?;
        session.commit(position).await?;
        self.live = Some(session);
        Ok(())
    }

    fn topics(&self) -> Arc<BTreeMap<String, u32>> {
        let session = self.live.as_ref();
        session.map_or_else(Arc::default, |session| session.tables.topics())
    }

    async fn durable(&mut self) -> Result<Option<Position>> {
        let session = self.begin_call()?;
        let position = session.state.position();
        self.live = Some(session);
        Ok(position)
    }
}
