//! An open sink: one producer, its open transaction, and what the topics are known to hold.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Instant,
};

use sluice_avro::Codec;
use sluice_core::{Error, Position, Reason, Result, TableId, TableSchema};
use tracing::{debug, info};

use crate::{
    bounds::Bounds,
    control::{Control, What},
    lookup::Lookup,
    producer::{Outgoing, Producer},
    resume::Written,
    schemas::{Fingerprint, Shapes},
    settings::Settings,
    state::{self, Known, Place, State},
    table::{Table, Tables},
    topics::{Declared, Purpose, Topics, topic_of},
};

/// An open sink.
pub(crate) struct Session {
    pub(crate) settings: Arc<Settings>,
    pub(crate) producer: Producer,
    pub(crate) lookup: Lookup,
    pub(crate) topics: Topics,
    pub(crate) codec: Codec,
    /// Shapes that the topic holds, or will with the open transaction.
    pub(crate) shapes: Shapes,
    pub(crate) tables: Tables,
    /// What is committed.
    pub(crate) state: State,
    /// What the open transaction makes of it.
    pub(crate) known: Known,
    /// What to leave out of what the source brings anew.
    pub(crate) skip: Written,
    /// What came since the committed position.
    pub(crate) passed: Written,
    /// Tables with copied rows since the committed position.
    pub(crate) copied: HashSet<TableId>,
    /// Writes where the source's transactions begin and end, if that is wanted.
    pub(crate) bounds: Option<Bounds>,
    /// When the open transaction began.
    pub(crate) began: Option<Instant>,
    pub(crate) stopped: HashSet<TableId>,
    /// Tables whose coming copy follows from what readers were told: they are new or have changed.
    pub(crate) refilled: HashSet<TableId>,
    /// Tables that are to be copied again because somebody wants it: readers hear of their shape with
    /// the first rows, and not before, lest they stop at it.
    pub(crate) renewing: HashSet<TableId>,
    /// Tables with rows of a source transaction that has not ended.
    pub(crate) unfinished: HashSet<TableId>,
}

impl Session {
    /// Begins a transaction unless one is open.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if self.began.is_none() {
            self.producer.begin()?;
            self.began = Some(Instant::now());
        }
        Ok(())
    }

    /// Sends a record that is no row.
    async fn keep(&self, topic: &str, key: &str, value: &[u8]) -> Result<()> {
        let outgoing = Outgoing {
            topic,
            partition: 0,
            key: Some(key.as_bytes()),
            value: Some(value),
            header: None,
            lost: None,
        };
        self.producer.send(&outgoing).await
    }

    /// Names this agent as the one that writes.
    pub(crate) async fn own(&mut self, agent: &str) -> Result<()> {
        self.begin()?;
        let topic = self.settings.kafka.topics.positions();
        let key = state::owner_key(&self.settings.pipeline);
        let record = state::owner_record(agent)?;
        self.keep(&topic, &key, &record).await?;
        self.producer.commit().await?;
        self.began = None;
        Ok(())
    }

    /// Commits the open transaction together with a place and what is known of the tables.
    pub(crate) async fn store(&mut self, place: Option<Place>, known: Known) -> Result<()> {
        self.begin()?;
        let topic = self.settings.kafka.topics.positions();
        let pipeline = &self.settings.pipeline;
        if let Some(place) = &place {
            self.keep(&topic, pipeline, &state::json(place)?).await?;
        }
        if known != self.state.known {
            let key = state::tables_key(pipeline);
            self.keep(&topic, &key, &state::json(&known)?).await?;
        }
        self.producer.commit().await?;
        self.began = None;
        self.known = known.clone();
        self.state.known = known;
        if place.is_some() {
            self.state.place = place;
        }
        Ok(())
    }

    /// Commits at a boundary.
    pub(crate) async fn commit(&mut self, position: &Position) -> Result<()> {
        if self.state.place.is_none() {
            self.drop_gone(position).await?;
        }
        let mut known = self.known.clone();
        known.tables = Arc::clone(&position.tables);
        known.requests = position.requests.clone();
        let place = Place {
            log: position.log.clone(),
            written: self.skip.clone(),
            ended: self.ended(),
        };
        self.store(Some(place), known).await?;
        self.passed = Written::default();
        self.copied.clear();
        self.unfinished.clear();
        debug!(position = %position.log, "committed");
        Ok(())
    }

    /// Takes tables back that an agent told of which never came to a position: the log that follows does
    /// not say that they are gone.
    async fn drop_gone(&mut self, position: &Position) -> Result<()> {
        let told = self.known.shapes.keys();
        let gone = told.filter(|table| !position.tables.contains_key(*table));
        for table in gone.cloned().collect::<Vec<_>>() {
            self.control(&table, What::Drop).await?;
            self.known.shapes.remove(&table);
            self.tables.remove(&table);
        }
        Ok(())
    }

    /// How many transactions have ended.
    fn ended(&self) -> u64 {
        let stored = self.state.place.as_ref().map_or(0, |place| place.ended);
        self.bounds.as_ref().map_or(stored, Bounds::ended)
    }

    /// Writes the end of the transaction that is open.
    pub(crate) async fn end_bounds(&mut self) -> Result<()> {
        let controls = self.known.controls.values().sum();
        match &mut self.bounds {
            Some(bounds) => bounds.end(&self.producer, controls).await,
            None => Ok(()),
        }
    }

    /// Commits inside a source transaction that takes too long, and goes on in a new transaction.
    pub(crate) async fn split(&mut self) -> Result<()> {
        let Some(place) = &self.state.place else {
            // Nothing is committed yet, so there is no place to come back to.
            return Ok(());
        };
        let place = Place {
            log: place.log.clone(),
            written: self.skip.clone().and(&self.passed),
            ended: self.ended(),
        };
        let committed = Arc::clone(&self.state.known.tables);
        let mut known = self.known.clone();
        known.tables = committed;
        known.requests = self.state.known.requests.clone();
        let known = known.with_replaced(self.copied.iter());
        info!("a source transaction is committed in pieces, since it takes long");
        self.store(Some(place), known).await
    }

    /// Whether the open transaction is to be committed in pieces.
    pub(crate) fn is_old(&self) -> bool {
        let age_max = self.settings.transaction_age_max;
        self.began.is_some_and(|began| began.elapsed() >= age_max)
    }

    /// Makes a table's topic and the writer for its shape; tells readers of a shape that is new.
    pub(crate) async fn ready(&mut self, schema: &Arc<TableSchema>) -> Result<()> {
        if self.tables.ready(schema).is_some() {
            return Ok(());
        }
        let settings = Arc::clone(&self.settings);
        let topic = topic_of(&settings.kafka.topics, &schema.id);
        self.check(&topic, schema)?;
        let (fingerprint, text) = Fingerprint::of(schema)?;
        let writer = self.codec.writer(&topic, schema).await?;
        let known = self.tables.get_mut(&schema.id);
        // A topic for rows with a key may not fit rows without.
        let known = known.filter(|known| known.schema.has_key() == schema.has_key());
        let known = known.map(|known| (known.partitions, known.message_bytes_max));
        let (partitions, message_bytes_max) = if let Some(known) = known {
            known
        } else {
            let declared = Declared {
                partitions: settings.kafka.partitions.cast_signed(),
                replication_factor: settings.kafka.replication_factor.cast_signed(),
                purpose: Purpose::of(schema),
            };
            let ensured = self.topics.ensure(&self.lookup, &topic, declared).await;
            let found = ensured.map_err(|error| error.with_table(schema.id.clone()))?;
            (found.partitions, found.message_bytes_max)
        };
        let control = self.known.controls.get(&topic).copied().unwrap_or(0);
        self.tables.insert(Table {
            schema: Arc::clone(schema),
            fingerprint,
            topic: topic.into(),
            partitions,
            message_bytes_max,
            control,
            writer,
        });
        if self.shapes.get(fingerprint).is_none() {
            self.begin()?;
            let topic = settings.kafka.topics.schemas();
            self.keep(&topic, &fingerprint.to_string(), &text).await?;
            self.shapes.insert(fingerprint, Arc::clone(schema));
        }
        Ok(())
    }

    /// Whether the table can be written at all.
    fn check(&self, topic: &str, schema: &TableSchema) -> Result<()> {
        use sluice_agent_api::kafka::KafkaEnvelope;
        let refused = |message: String, hint: &str| {
            Err(Error::new(Reason::TargetIncompatible, message)
                .with_table(schema.id.clone())
                .with_hint(hint))
        };
        let own = &self.settings.kafka.topics;
        if own.transactions && topic == own.transaction() {
            let message = format!("topic {topic} holds the bounds of transactions");
            return refused(
                message,
                "put {schema} into kafka.topic, or leave the table out",
            );
        }
        if let Some(other) = self.tables.other_of(topic, &schema.id) {
            let message = format!("table {other} is written to topic {topic} already");
            return refused(message, "give one of them another name by tables[].target");
        }
        if self.settings.kafka.envelope == KafkaEnvelope::Flat && !schema.has_key() {
            let message = "a table without a key can't be written with the Flat envelope";
            return refused(
                message.to_owned(),
                "add a primary key, set envelope: Debezium, or leave the table out",
            );
        }
        Ok(())
    }

    /// The shape of a table that readers were told of last.
    pub(crate) fn told(&self, table: &TableId) -> Option<&Arc<TableSchema>> {
        let shape = self.known.shapes.get(table)?;
        self.shapes.get(Fingerprint::parse(shape)?)
    }

    /// Makes a table ready for rows of this shape, and tells readers unless they know.
    pub(crate) async fn ready_for_rows(&mut self, schema: &Arc<TableSchema>) -> Result<()> {
        self.ready(schema).await?;
        let shape = |fingerprint: Fingerprint| fingerprint.to_string();
        let event = match self.told(&schema.id) {
            Some(told) if told.same_shape(schema) => return Ok(()),
            Some(_) => What::Alter {
                shape: shape(Fingerprint::of(schema)?.0),
            },
            None => What::Create {
                shape: shape(Fingerprint::of(schema)?.0),
            },
        };
        self.control(&schema.id, event).await
    }

    /// Writes a control event of a table behind everything that was written of it.
    pub(crate) async fn control(&mut self, table: &TableId, event: What) -> Result<()> {
        self.begin()?;
        let settings = Arc::clone(&self.settings);
        let topic = topic_of(&settings.kafka.topics, table);
        self.producer.flush().await?;
        let offsets = self.ends(&topic).await?;
        let number = self.known.controls.get(&topic).copied().unwrap_or(0) + 1;
        self.known.controls.insert(topic.clone(), number);
        if let Some(known) = self.tables.get_mut(table) {
            known.control = number;
        }
        if let Some(shape) = event.shape() {
            let shape = shape.to_string();
            self.known.shapes.insert(table.clone(), shape);
        }
        let control = Control {
            number,
            table: table.clone(),
            topic,
            offsets,
            transaction: self.bounds.as_ref().map_or(0, Bounds::number),
            event,
        };
        let control_topic = settings.kafka.topics.control();
        let value = state::json(&control)?;
        self.keep(&control_topic, &table.to_string(), &value).await
    }

    /// Where each partition of a table's topic ends; nowhere when there is no topic.
    pub(crate) async fn ends(&self, topic: &str) -> Result<BTreeMap<i32, i64>> {
        match self.lookup.partitions(topic).await? {
            Some(partitions) => self.lookup.ends(topic, partitions).await,
            None => Ok(BTreeMap::new()),
        }
    }
}
