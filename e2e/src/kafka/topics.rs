//! Topics and the records in them, by librdkafka.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
    producer::{FutureProducer, FutureRecord},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A record as a `read_committed` consumer gets it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; none of a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The last header of this name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(&header.1).ok()
    }

    /// The value as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        let value = self.value.as_deref().context("a tombstone")?;
        Ok(serde_json::from_slice(value)?)
    }
}

/// Creates a topic with one copy.
pub async fn create(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let created = admin(bootstrap)?.create_topics([&new], &options()).await?;
    for result in created {
        result.map_err(|(topic, code)| anyhow::anyhow!("topic {topic}: {code}"))?;
    }
    Ok(())
}

/// Writes a record without a key into the first partition, as somebody who knows no format.
pub async fn produce(bootstrap: &str, topic: &str, value: &[u8]) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let producer: FutureProducer = config.create()?;
    let record = FutureRecord::<[u8], [u8]>::to(topic)
        .partition(0)
        .payload(value);
    let sent = producer.send(record, PATIENCE).await;
    sent.map(drop).map_err(|(error, _)| error.into())
}

/// The topics whose names begin so, with their numbers of partitions.
pub fn list(bootstrap: &str, prefix: &str) -> Result<BTreeMap<String, usize>> {
    let metadata = consumer(bootstrap)?.fetch_metadata(None, PATIENCE)?;
    let topics = metadata.topics().iter();
    Ok(topics
        .filter(|topic| topic.name().starts_with(prefix))
        .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
        .collect())
}

/// Deletes the topics whose names begin so.
pub async fn delete(bootstrap: &str, prefix: &str) -> Result<()> {
    let names = list(bootstrap, prefix)?;
    let names: Vec<&str> = names.keys().map(String::as_str).collect();
    if names.is_empty() {
        return Ok(());
    }
    for result in admin(bootstrap)?.delete_topics(&names, &options()).await? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, code)) => bail!("topic {topic}: {code}"),
        }
    }
    Ok(())
}

/// How many offsets the partitions of a topic have in all: records and the marks of transactions.
pub fn offsets(bootstrap: &str, topic: &str) -> Result<i64> {
    let consumer = consumer(bootstrap)?;
    let mut sum = 0;
    for partition in 0..partitions(&consumer, topic)? {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        sum += high - low;
    }
    Ok(sum)
}

/// Behind the last committed record of every partition of the topics whose names begin so, without
/// some, for topics that are still written to have no end.
///
/// Blocking. Marks of transactions count as no record, so the high watermark alone doesn't tell.
pub fn ends(
    bootstrap: &str,
    prefix: &str,
    without: &[String],
) -> Result<BTreeMap<(String, i32), i64>> {
    let mut ends = BTreeMap::new();
    let mut look = Vec::new();
    let mut topics = list(bootstrap, prefix)?;
    topics.retain(|topic, _| !without.contains(topic));
    let mut all = client(bootstrap);
    all.set("isolation.level", "read_uncommitted");
    let clients = [all.create()?, consumer(bootstrap)?];
    for (topic, count) in topics {
        for partition in 0..count as i32 {
            let (low, high) = settled(&clients, &topic, partition)?;
            if high > low {
                look.push((topic.clone(), partition, low.max(high - 1), low));
            }
        }
    }
    // What lies at the end is often a mark: further and further back, until there is a record.
    let mut step = 2;
    while !look.is_empty() {
        let found = newest(bootstrap, &look)?;
        look.retain_mut(|(topic, partition, from, low)| {
            let is_whole = from == low;
            *from = (*from - step).max(*low);
            !is_whole && !found.contains_key(&(topic.clone(), *partition))
        });
        ends.extend(found);
        step *= 8;
    }
    Ok(ends)
}

/// Where a partition begins and ends, once every transaction is closed: a producer's commit is answered
/// before the partitions have their marks.
fn settled(clients: &[BaseConsumer; 2], topic: &str, partition: i32) -> Result<(i64, i64)> {
    let [all, committed] = clients;
    let deadline = Instant::now() + PATIENCE;
    let (low, high) = all.fetch_watermarks(topic, partition, PATIENCE)?;
    loop {
        let (_, stable) = committed.fetch_watermarks(topic, partition, PATIENCE)?;
        if stable >= high {
            return Ok((low, high));
        }
        ensure!(
            Instant::now() < deadline,
            "a transaction stays open in {topic}/{partition} for {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Behind the newest committed record from these places on, where there is one.
fn newest(
    bootstrap: &str,
    places: &[(String, i32, i64, i64)],
) -> Result<BTreeMap<(String, i32), i64>> {
    let consumer = consumer(bootstrap)?;
    let mut assignment = TopicPartitionList::new();
    for (topic, partition, from, _) in places {
        assignment.add_partition_offset(topic, *partition, Offset::Offset(*from))?;
    }
    consumer.assign(&assignment)?;
    let mut found = BTreeMap::new();
    let mut ended = 0;
    let mut deadline = Instant::now() + PATIENCE;
    while ended < places.len() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let place = (message.topic().to_owned(), message.partition());
                found.insert(place, message.offset() + 1);
                deadline = Instant::now() + PATIENCE;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        ensure!(
            Instant::now() < deadline,
            "{ended} of {} partitions ended within {PATIENCE:?}",
            places.len()
        );
    }
    Ok(found)
}

/// Every committed record of these topics up to now, in order within each partition.
///
/// Blocking; an open transaction ends what can be read.
pub fn read_committed(bootstrap: &str, topics: &[&str]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for_each_committed(bootstrap, topics, |message| records.push(record(message)))?;
    Ok(records)
}

/// How many committed records these topics have.
pub fn count_committed(bootstrap: &str, topics: &[&str]) -> Result<u64> {
    let mut count = 0;
    for_each_committed(bootstrap, topics, |_| count += 1)?;
    Ok(count)
}

fn for_each_committed(
    bootstrap: &str,
    topics: &[&str],
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> Result<()> {
    // One after the other: the news of a partition's end doesn't say of which topic.
    topics
        .iter()
        .try_for_each(|topic| read_topic(bootstrap, topic, &mut take))
}

fn read_topic(
    bootstrap: &str,
    topic: &str,
    take: &mut impl FnMut(&BorrowedMessage<'_>),
) -> Result<()> {
    let consumer = consumer(bootstrap)?;
    let mut assignment = TopicPartitionList::new();
    let mut unread: BTreeSet<i32> = (0..partitions(&consumer, topic)?).collect();
    for partition in &unread {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut deadline = Instant::now() + PATIENCE;
    while !unread.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                take(&message);
                deadline = Instant::now() + PATIENCE;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        ensure!(
            Instant::now() < deadline,
            "no record and no end of {topic} {unread:?} within {PATIENCE:?}"
        );
    }
    Ok(())
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| {
                let value = header.value.unwrap_or_default().to_vec();
                (header.key.to_owned(), value)
            })
            .collect(),
    }
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().first().context("no metadata")?;
    ensure!(
        found.error().is_none(),
        "topic {topic}: {:?}",
        found.error()
    );
    Ok(found.partitions().len() as i32)
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(client(bootstrap).create()?)
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "sluice-e2e")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true");
    config
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    Ok(config.create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE))
}
