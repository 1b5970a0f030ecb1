//! A topic of dead letters, as Kafka Connect's sinks have one (apache/kafka,
//! `connect/runtime/errors/DeadLetterQueueReporter.java`): the record's own key, value, headers and
//! time, and what became of it in headers `__connect.errors.…`, so that tools made for those read it.
//!
//! Records are read again by where they lie, since few are ever wanted. They are produced without a
//! transaction, and acknowledged by all replicas in sync before [`keep`](DeadLetters::keep) returns.
//! One that was kept twice has the same origin in its headers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::{
    config::FromClientConfigAndContext,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};
use sluice_agent_api::{SecretStore, config::Replicas, kafka::KafkaCluster};
use sluice_core::{DeadLetters, Letter, Origin, RawRecord, Result, Stage};
use tokio::sync::Mutex;

use crate::{
    connect::{Context, client_config},
    lookup::{Lookup, blocking},
    raw::{Reader, name},
    topics::{Declared, Purpose, Topics},
};

/// What begins the names of the headers that say what became of a record.
const PREFIX: &str = "__connect.errors.";
/// How long records may take to be acknowledged.
const FLUSH_MAX: Duration = Duration::from_secs(60);
/// How many records are held in memory at once.
const LETTERS_AT_ONCE: usize = 200;
/// How long a full queue is given.
const LOOK: Duration = Duration::from_millis(1);

/// Keeps records in a topic.
pub struct LetterTopic {
    topic: String,
    cluster: KafkaCluster,
    /// Stands for the connector's name.
    pipeline: String,
    /// Stands for the task's number.
    replica: u32,
    secrets: Arc<dyn SecretStore>,
    client: Mutex<Option<Arc<Client>>>,
}

struct Client {
    producer: ThreadedProducer<Context>,
    reader: Reader,
}

impl LetterTopic {
    /// The letters of a pipeline in a topic of the cluster that it reads; not connected yet.
    pub fn new(
        topic: String,
        cluster: KafkaCluster,
        pipeline: String,
        replicas: Option<Replicas>,
        secrets: Arc<dyn SecretStore>,
    ) -> Self {
        Self {
            topic,
            cluster,
            pipeline,
            replica: replicas.map_or(0, |replicas| replicas.index),
            secrets,
            client: Mutex::new(None),
        }
    }

    /// Connects, and makes the topic where it is missing.
    async fn connect(&self) -> Result<Client> {
        let brokers = &self.cluster.bootstrap_servers;
        let client_id = format!("sluice-letters-{}", self.pipeline);
        let config = client_config(&self.cluster, &*self.secrets, &client_id)?;
        let lookup = Lookup::new(config.clone(), brokers)?;
        let topics = Topics::new(&config, brokers)?;
        let declared = Declared {
            partitions: 1,
            // As the brokers' default.replication.factor says.
            replication_factor: -1,
            purpose: Purpose::Letters,
        };
        topics.ensure(&lookup, &self.topic, declared).await?;
        let reader = Reader::new(config.clone(), brokers)?;
        let mut config = config;
        config.set("enable.idempotence", "true");
        // The partition that a Java producer would choose.
        config.set("partitioner", "murmur2_random");
        config.set("message.max.bytes", "1000000000");
        let producer = ThreadedProducer::from_config_and_context(&config, Context::new(brokers))
            .map_err(|error| Context::new(brokers).error("making a producer", error))?;
        Ok(Client { producer, reader })
    }

    /// The headers of a letter: the record's own, and behind them what became of it. One that has
    /// been a letter before keeps what was said then.
    fn headers(&self, letter: &Letter, record: &RawRecord, is_gone: bool) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 10);
        for (key, value) in &record.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_deref(),
            });
        }
        let mut message = letter.message.clone();
        if is_gone {
            message.push_str(" (the record itself is gone from its topic)");
        }
        let (stage, class) = match letter.stage {
            Stage::Decode => ("VALUE_CONVERTER", "sluice.decode"),
            Stage::Apply => ("TASK_PUT", "sluice.apply"),
        };
        let place = letter.origin.place;
        let exception = format!("sluice.{}", letter.reason);
        let trace = format!("{exception}: {message}");
        let said: [(&str, &str); 10] = [
            ("topic", &place.topic),
            ("partition", &place.partition.to_string()),
            ("offset", &letter.origin.offset.to_string()),
            ("connector.name", &self.pipeline),
            ("task.id", &self.replica.to_string()),
            ("stage", stage),
            ("class.name", class),
            ("exception.class.name", &exception),
            ("exception.message", &message),
            ("exception.stacktrace", &trace),
        ];
        for (what, text) in said {
            let key = format!("{PREFIX}{what}");
            if record.headers.iter().all(|(known, _)| *known != key) {
                headers = headers.insert(Header {
                    key: &key,
                    value: Some(text),
                });
            }
        }
        headers
    }
}

#[async_trait]
impl DeadLetters for LetterTopic {
    async fn open(&self) -> Result<()> {
        let mut client = self.client.lock().await;
        // The password may have changed since.
        *client = None;
        *client = Some(Arc::new(self.connect().await?));
        Ok(())
    }

    async fn keep(&self, letters: Vec<Letter>) -> Result<()> {
        let mut slot = self.client.lock().await;
        // What fails half-way leaves nothing behind that is used again.
        let client = match slot.take() {
            Some(client) => client,
            None => Arc::new(self.connect().await?),
        };
        let mut letters = letters;
        while !letters.is_empty() {
            let rest = letters.split_off(letters.len().min(LETTERS_AT_ONCE));
            let piece = std::mem::replace(&mut letters, rest);
            let lacking = piece.iter().filter(|letter| letter.record.is_none());
            let origins: Vec<Origin> = lacking.map(|letter| letter.origin).collect();
            let reading = Arc::clone(&client);
            let found = blocking(move || reading.reader.find(&origins)).await?;
            let mut outgoing = Vec::with_capacity(piece.len());
            for mut letter in piece {
                let record = letter.record.take();
                // Two letters may come of one record.
                let record = record.or_else(|| found.get(&name(&letter.origin)).cloned());
                let is_gone = record.is_none();
                let record = record.unwrap_or_default();
                let headers = self.headers(&letter, &record, is_gone);
                outgoing.push((record, headers));
            }
            let (writing, topic) = (Arc::clone(&client), self.topic.clone());
            blocking(move || writing.produce(&topic, outgoing)).await?;
        }
        *slot = Some(client);
        Ok(())
    }
}

impl Client {
    /// Writes records and waits until they are acknowledged. Blocks.
    fn produce(&self, topic: &str, records: Vec<(RawRecord, OwnedHeaders)>) -> Result<()> {
        let doing = format!("writing dead letters to topic {topic}");
        let context = self.producer.context();
        for (record, headers) in records {
            let mut outgoing = BaseRecord::<[u8], [u8]>::to(topic).headers(headers);
            outgoing.key = record.key.as_deref();
            outgoing.payload = record.value.as_deref();
            outgoing.timestamp = record.timestamp_millis;
            loop {
                match self.producer.send(outgoing) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                        outgoing = back;
                        std::thread::sleep(LOOK);
                    }
                    Err((error, _)) => return Err(context.error(&doing, error)),
                }
            }
        }
        let flushed = self.producer.flush(FLUSH_MAX);
        flushed.map_err(|error| context.error(&doing, error))?;
        match context.undelivered(&doing) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
