//! Questions about topics: which there are, where their partitions end, and what a small one holds.
//!
//! librdkafka's calls block, so each runs on a thread for blocking calls. The client is a consumer:
//! unlike a producer's, its questions never create a topic.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    message::Headers,
    metadata::MetadataTopic,
    types::RDKafkaErrorCode as Code,
};
use sluice_core::{Error, Reason, Result};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::{connect::Context, error::code_of, header::NAME};

/// How long one question may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long reading a topic to its end may take.
const READ_MAX: Duration = Duration::from_secs(150);
/// How long a broker may take to answer the first time before the client is asked why.
const GREETING: Duration = Duration::from_millis(250);
/// A topic that every cluster has, or may have.
const COMMON_TOPIC: &str = "__consumer_offsets";
/// How long until a question is asked again that could not be answered yet.
const AGAIN: Duration = Duration::from_millis(50);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(200);

/// A topic that is being read to its end.
pub(crate) type Read = JoinHandle<Result<(Vec<Kept>, i64)>>;

/// A client that asks.
pub(crate) struct Lookup {
    config: ClientConfig,
    brokers: String,
    consumer: Arc<BaseConsumer<Context>>,
}

/// A record of a small topic.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// What Sluice says about it.
    pub(crate) header: Option<Vec<u8>>,
}

impl Lookup {
    /// A client of the cluster that sees the ends of open transactions, too; connects with the first
    /// question.
    pub(crate) fn new(config: ClientConfig, brokers: &str) -> Result<Self> {
        Self::with(config, brokers, "read_uncommitted")
    }

    /// A client to which partitions end where the first open transaction begins.
    pub(crate) fn committed(config: ClientConfig, brokers: &str) -> Result<Self> {
        Self::with(config, brokers, "read_committed")
    }

    /// The same as this one, but it sees the ends of open transactions.
    pub(crate) fn uncommitted(&self) -> Result<Self> {
        Self::new(self.config.clone(), &self.brokers)
    }

    fn with(mut config: ClientConfig, brokers: &str, isolation: &str) -> Result<Self> {
        config.set("enable.auto.commit", "false");
        config.set("allow.auto.create.topics", "false");
        config.set("group.id", "sluice-lookup");
        config.set("isolation.level", isolation);
        let consumer = consumer(&config, brokers)?;
        Ok(Self {
            config,
            brokers: brokers.to_owned(),
            consumer: Arc::new(consumer),
        })
    }

    /// Every topic with its number of partitions.
    pub(crate) async fn topics(&self) -> Result<BTreeMap<String, i32>> {
        let doing = "asking for the topics";
        self.ask(doing, |consumer| {
            let metadata = consumer.fetch_metadata(None, ANSWER_MAX)?;
            let topics = metadata.topics().iter();
            let counted = topics.map(|topic| (topic.name().to_owned(), topic.partitions().len()));
            Ok(counted
                .map(|(topic, count)| (topic, count as i32))
                .collect())
        })
        .await
    }

    /// How many partitions a topic has; `None` when it does not exist.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Option<i32>> {
        let doing = format!("asking for topic {topic}");
        let topic = topic.to_owned();
        self.ask(&doing, move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER_MAX)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let error = found.and_then(MetadataTopic::error).map(Code::from);
            if let Some(error) = error.filter(|error| *error != Code::UnknownTopicOrPartition) {
                return Err(KafkaError::MetadataFetch(error));
            }
            let count = found.map_or(0, |found| found.partitions().len() as i32);
            Ok((count > 0).then_some(count))
        })
        .await
    }

    /// How many brokers there are.
    pub(crate) async fn brokers(&self) -> Result<usize> {
        let doing = "asking for the brokers";
        self.ask(doing, |consumer| {
            Ok(consumer.fetch_metadata(None, ANSWER_MAX)?.brokers().len())
        })
        .await
    }

    /// The offset behind the last record of each partition, whether committed or not.
    pub(crate) async fn ends(&self, topic: &str, partitions: i32) -> Result<BTreeMap<i32, i64>> {
        let places = (0..partitions).map(|partition| (topic.to_owned(), partition));
        let ends = self.ends_of(places.collect()).await?;
        let unnamed = ends
            .into_iter()
            .map(|((_, partition), end)| (partition, end));
        Ok(unnamed.collect())
    }

    /// The ends of any partitions.
    pub(crate) async fn ends_of(
        &self,
        places: Vec<(String, i32)>,
    ) -> Result<BTreeMap<(String, i32), i64>> {
        let doing = "asking where the topics end";
        self.ask(doing, move |consumer| ends(consumer, &places))
            .await
    }

    /// Reads what is committed of a topic's only partition, from an offset to the present end. Answers
    /// with the records and the offset to go on from.
    pub(crate) async fn read(&self, topic: &str, from: i64) -> Result<(Vec<Kept>, i64)> {
        finished(self.begin_read(topic, from).await)
    }

    /// The first committed record of a topic's only partition, from an offset on.
    pub(crate) async fn first(&self, topic: &str, from: i64) -> Result<Option<Kept>> {
        let (records, _) = finished(self.begin_reading(topic, from, 1).await)?;
        Ok(records.into_iter().next())
    }

    /// Where the first record of a topic's only partition lies that is still there.
    pub(crate) async fn begin(&self, topic: &str) -> Result<i64> {
        let doing = format!("asking where topic {topic} begins");
        let topic = topic.to_owned();
        self.ask(&doing, move |consumer| {
            let (low, _) = consumer.fetch_watermarks(&topic, 0, ANSWER_MAX)?;
            Ok(low)
        })
        .await
    }

    /// As [`read`](Self::read), to be waited for in several goes.
    pub(crate) fn begin_read(&self, topic: &str, from: i64) -> Read {
        self.begin_reading(topic, from, usize::MAX)
    }

    fn begin_reading(&self, topic: &str, from: i64, records_max: usize) -> Read {
        let mut config = self.config.clone();
        config.set("isolation.level", "read_committed");
        config.set("enable.partition.eof", "true");
        config.set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "20");
        let brokers = self.brokers.clone();
        let topic = topic.to_owned();
        spawn_blocking(move || read(&config, &brokers, (&topic, from), records_max))
    }

    async fn ask<T: Send + 'static>(
        &self,
        doing: &str,
        question: impl Fn(&BaseConsumer<Context>) -> KafkaResult<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let consumer = Arc::clone(&self.consumer);
        let question = Arc::new(question);
        let deadline = Instant::now() + ANSWER_MAX;
        if !consumer.context().is_connected() {
            let greeted = Arc::clone(&consumer);
            let answer = blocking(move || Ok(greet(&greeted))).await?;
            answer.map_err(|error| consumer.context().error(doing, error))?;
        }
        loop {
            let (asked, consumer) = (Arc::clone(&question), Arc::clone(&consumer));
            let answer = blocking(move || Ok(asked(&consumer))).await?;
            match answer {
                // A topic that was just made has no leader yet, as far as every broker knows.
                Err(error) if is_passing(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN).await;
                }
                answer => {
                    return answer.map_err(|error| self.consumer.context().error(doing, error));
                }
            }
        }
    }
}

/// Waits until a broker has answered once. A login or a certificate that is refused is known long before
/// that time is up, but only a client that polls hears of it.
fn greet(consumer: &BaseConsumer<Context>) -> KafkaResult<()> {
    let context = consumer.context();
    let deadline = Instant::now() + ANSWER_MAX;
    loop {
        let Err(error) = consumer.fetch_metadata(Some(COMMON_TOPIC), GREETING) else {
            context.connected();
            return Ok(());
        };
        // What it gives are events; nothing is subscribed.
        drop(consumer.poll(Duration::ZERO));
        if context.is_refused() || Instant::now() > deadline {
            return Err(error);
        }
    }
}

/// Whether an answer is of a moment in which a partition has no leader.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        code_of(error),
        Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::UnknownTopicOrPartition
            | Code::UnknownLeaderEpoch
            | Code::FencedLeaderEpoch
    )
}

/// A consumer.
pub(crate) fn consumer(config: &ClientConfig, brokers: &str) -> Result<BaseConsumer<Context>> {
    BaseConsumer::from_config_and_context(config, Context::new(brokers))
        .map_err(|error| Context::new(brokers).error("making a consumer", error))
}

/// What came of reading a topic.
pub(crate) fn finished(
    read: Result<Result<(Vec<Kept>, i64)>, JoinError>,
) -> Result<(Vec<Kept>, i64)> {
    read.unwrap_or_else(|error| {
        Err(Error::new(Reason::Internal, "reading a topic ended early").with_source(error))
    })
}

/// Runs a call that blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|error| {
            Err(Error::new(Reason::Internal, "a call to librdkafka ended early").with_source(error))
        })
}

/// Lets a consumer know who leads a topic's partitions. Assigned while it does not know, it would ask
/// for their beginning half a second later only: `rd_kafka_toppar_next_offset_handle` starts a timer.
pub(crate) fn meet(consumer: &BaseConsumer<Context>, topic: &str) -> KafkaResult<()> {
    consumer.fetch_metadata(Some(topic), ANSWER_MAX).map(|_| ())
}

/// Asks for the ends of partitions in one go.
pub(crate) fn ends(
    consumer: &BaseConsumer<Context>,
    places: &[(String, i32)],
) -> KafkaResult<BTreeMap<(String, i32), i64>> {
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut asked = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        // The time "end" stands for the offset behind the last record.
        asked.add_partition_offset(topic, *partition, Offset::End)?;
    }
    let answer = consumer.offsets_for_times(asked, ANSWER_MAX)?;
    let mut ends = BTreeMap::new();
    for element in answer.elements() {
        element.error()?;
        let end = element.offset().to_raw().unwrap_or(0).max(0);
        ends.insert((element.topic().to_owned(), element.partition()), end);
    }
    Ok(ends)
}

fn said<M: Message>(message: &M) -> Option<&[u8]> {
    let mut headers = message.headers()?.iter();
    headers.find(|header| header.key == NAME)?.value
}

fn read(
    config: &ClientConfig,
    brokers: &str,
    (topic, from): (&str, i64),
    records_max: usize,
) -> Result<(Vec<Kept>, i64)> {
    let doing = format!("reading topic {topic}");
    let consumer = consumer(config, brokers)?;
    let mut place = TopicPartitionList::new();
    let start = if from > 0 {
        Offset::Offset(from)
    } else {
        Offset::Beginning
    };
    meet(&consumer, topic)
        .and_then(|()| place.add_partition_offset(topic, 0, start))
        .and_then(|()| consumer.assign(&place))
        .map_err(|error| consumer.context().error(&doing, error))?;
    let deadline = Instant::now() + READ_MAX;
    let (mut records, mut next) = (Vec::new(), from);
    while Instant::now() < deadline {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                next = message.offset() + 1;
                records.push(Kept {
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    header: said(&message).map(<[u8]>::to_vec),
                });
                if records.len() >= records_max {
                    return Ok((records, next));
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok((records, next)),
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(consumer.context().error(&doing, error)),
        }
    }
    let late = KafkaError::Global(Code::OperationTimedOut);
    Err(consumer.context().error(&doing, late))
}
