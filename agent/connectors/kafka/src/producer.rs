//! The transactional producer: records go into librdkafka's queue and are not waited for one by one;
//! what was not delivered shows at the next flush.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::{KafkaError, KafkaResult},
    message::{Header as RecordHeader, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
    util::Timeout,
};
use sluice_core::{Error, Reason, Result};

use crate::{connect::Context, header, lookup::blocking, room::Room, settings::Settings};

/// How long a call of the transaction may take before the session is given up.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How often a full queue and a flush are looked at: librdkafka's safe interface has no signal for
/// either that is as quick.
const LOOK: Duration = Duration::from_micros(300);

/// A producer that writes for one pipeline.
#[derive(Clone)]
pub(crate) struct Producer {
    client: ThreadedProducer<Context>,
    room: Arc<Room>,
    flush_max: Duration,
}

/// A record, with the bytes of its headers.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) header: Option<&'a str>,
    pub(crate) lost: Option<&'a str>,
}

impl Outgoing<'_> {
    fn size_bytes(&self) -> usize {
        let texts = [self.header, self.lost].into_iter().flatten();
        let parts = [self.key, self.value].into_iter().flatten();
        parts.chain(texts.map(str::as_bytes)).map(<[u8]>::len).sum()
    }
}

impl Producer {
    /// Makes a producer and takes over from any older one of the same transactional id.
    pub(crate) async fn open(mut config: ClientConfig, settings: &Settings) -> Result<Self> {
        let properties = &settings.kafka.cluster.properties;
        let defaults = [
            ("linger.ms", "5"),
            ("batch.size", "1000000"),
            ("compression.type", "lz4"),
            // Large values must get as far as the topic's own limit; `Room` bounds the queue.
            ("message.max.bytes", "1000000000"),
            ("queue.buffering.max.kbytes", "1000000"),
            ("queue.buffering.max.messages", "50000"),
            ("transaction.timeout.ms", "60000"),
            // Brokers refuse a write while the marks of the transaction before are on their way
            // (KIP-890: NOT_ENOUGH_REPLICAS to clients that don't know of it). That takes
            // milliseconds; later attempts wait twice as long each.
            ("retry.backoff.ms", "5"),
        ];
        for (name, value) in defaults {
            if !properties.contains_key(name) {
                config.set(name, value);
            }
        }
        config.set("transactional.id", settings.transactional_id());
        config.set("enable.idempotence", "true");
        config.set("delivery.report.only.error", "true");
        let brokers = settings.brokers().to_owned();
        let flush_max = settings.transaction_timeout();
        blocking(move || {
            let context = Context::new(&brokers);
            let producer = ThreadedProducer::from_config_and_context(&config, context)
                .map_err(|error| Context::new(&brokers).error("making a producer", error))?;
            let taken_over = producer.init_transactions(CALL_MAX);
            taken_over.map_err(|error| {
                producer
                    .context()
                    .error("taking over the transactional id", error)
            })?;
            Ok(Self {
                client: producer,
                room: Arc::default(),
                flush_max,
            })
        })
        .await
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) -> Result<()> {
        let begun = self.client.begin_transaction();
        begun.map_err(|error| self.error("beginning a transaction", error))
    }

    /// Puts a record into the queue; waits while it is full.
    pub(crate) async fn send(&self, outgoing: &Outgoing<'_>) -> Result<()> {
        let mut waiting: Option<Instant> = None;
        while !self.try_send(outgoing)? {
            if waiting.get_or_insert_with(Instant::now).elapsed() > self.flush_max {
                let late = KafkaError::Global(Code::OperationTimedOut);
                return Err(self.error("waiting for room to write", late));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Puts a record into the queue; `false` when it is full.
    fn try_send(&self, outgoing: &Outgoing<'_>) -> Result<bool> {
        let size_bytes = outgoing.size_bytes();
        let in_flight = || self.client.in_flight_count().max(0) as usize;
        if !self.room.has(size_bytes, in_flight) {
            return Ok(false);
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(outgoing.topic).partition(outgoing.partition);
        record.key = outgoing.key;
        record.payload = outgoing.value;
        if let Some(text) = outgoing.header {
            let count = 1 + usize::from(outgoing.lost.is_some());
            let mut headers = OwnedHeaders::new_with_capacity(count).insert(RecordHeader {
                key: header::NAME,
                value: Some(text),
            });
            if let Some(lost) = outgoing.lost {
                headers = headers.insert(RecordHeader {
                    key: header::LOST,
                    value: Some(lost),
                });
            }
            record.headers = Some(headers);
        }
        match self.client.send(record) {
            Ok(()) => {
                self.room.count(size_bytes);
                Ok(true)
            }
            Err((KafkaError::MessageProduction(Code::QueueFull), _)) => Ok(false),
            Err((error, _)) => {
                let doing = format!("writing to topic {}", outgoing.topic);
                Err(self.error(&doing, error))
            }
        }
    }

    /// Waits until everything is delivered.
    pub(crate) async fn flush(&self) -> Result<()> {
        let this = self.clone();
        blocking(move || this.flush_blocking()).await
    }

    fn flush_blocking(&self) -> Result<()> {
        let deadline = Instant::now() + self.flush_max;
        while self.client.in_flight_count() > 0 {
            if let Some(error) = self.undelivered("writing") {
                return Err(error);
            }
            if Instant::now() > deadline {
                let late = KafkaError::Global(Code::OperationTimedOut);
                return Err(self.error("waiting for records to be taken", late));
            }
            thread::sleep(LOOK);
        }
        match self.undelivered("writing") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The error of a record that was not delivered. Those that a fenced producer had in its queue
    /// are given back without the cause.
    fn undelivered(&self, doing: &str) -> Option<Error> {
        let error = self.client.context().undelivered(doing)?;
        Some(if self.is_fenced() {
            replaced(doing)
        } else {
            error
        })
    }

    fn is_fenced(&self) -> bool {
        matches!(
            self.client.client().fatal_error(),
            Some((
                Code::ProducerFenced | Code::Fenced | Code::InvalidProducerEpoch,
                _
            ))
        )
    }

    /// Commits the transaction.
    pub(crate) async fn commit(&self) -> Result<()> {
        let this = self.clone();
        blocking(move || {
            this.flush_blocking()?;
            this.commit_blocking()
                .map_err(|error| this.error("committing", error))
        })
        .await
    }

    fn commit_blocking(&self) -> KafkaResult<()> {
        let deadline = Instant::now() + CALL_MAX;
        loop {
            let committed = self.client.commit_transaction(Timeout::After(CALL_MAX));
            match &committed {
                // The outcome is open until the same call has answered.
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && Instant::now() < deadline => {}
                _ => return committed,
            }
        }
    }

    fn error(&self, doing: &str, error: KafkaError) -> Error {
        let error = self.client.context().error(doing, error);
        if self.is_fenced() {
            replaced(doing)
        } else {
            error
        }
    }
}

/// The brokers gave the producer's place away: to a newer agent, or to nobody, because they were away
/// themselves for longer than a transaction may be open. Opening the sink again tells the two apart.
fn replaced(doing: &str) -> Error {
    let message = format!(
        "{doing}: the brokers have ended this producer; its transaction was open for too long, or a \
         newer agent writes"
    );
    Error::new(Reason::Unavailable, message)
}

/// Another agent writes for the pipeline.
pub(crate) fn fenced(doing: &str) -> Error {
    let message = format!("{doing}: a newer agent writes for this pipeline");
    Error::new(Reason::Fenced, message)
        .with_hint("run one agent per pipeline; names of pipelines are unique per cluster")
}
