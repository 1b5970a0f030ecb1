//! Whether records lie between two offsets.
//!
//! Between two records there may be marks of transactions, which no client shows; so that a reader
//! stands before an offset does not mean that a record is to come. A consumer of its own looks.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
};
use sluice_core::Result;

use crate::{
    connect::Context,
    lookup::{consumer, ends},
};

const POLL: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(10);

/// A range of a partition: partition, from, to.
pub(crate) type Range = (i32, i64, i64);

/// Looks for records.
#[derive(Clone)]
pub(crate) struct Probe(Arc<BaseConsumer<Context>>);

impl Probe {
    pub(crate) fn new(mut config: ClientConfig, brokers: &str) -> Result<Self> {
        config.set("group.id", "sluice-probe");
        config.set("enable.partition.eof", "true");
        config.set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "10");
        config.set("queued.min.messages", "1");
        config.set("queued.max.messages.kbytes", "1024");
        Ok(Self(Arc::new(consumer(&config, brokers)?)))
    }

    /// The ranges of topics that hold no record. Blocks.
    pub(crate) fn empty(
        &self,
        ranges: BTreeMap<String, Vec<Range>>,
    ) -> Result<Vec<(String, i32, i64)>> {
        let mut empty = Vec::new();
        for (topic, ranges) in ranges {
            let found = self.look(&topic, ranges);
            let found = found.map_err(|error| {
                let doing = format!("looking for records of topic {topic}");
                self.0.context().error(&doing, error)
            })?;
            let named = found.into_iter();
            empty.extend(named.map(|(partition, to)| (topic.clone(), partition, to)));
        }
        Ok(empty)
    }

    fn look(&self, topic: &str, mut ranges: Vec<Range>) -> KafkaResult<Vec<(i32, i64)>> {
        // Before an open transaction a partition seems to end, too: until a range is closed, its records
        // are not shown.
        let asked: Vec<_> = ranges
            .iter()
            .map(|range| (topic.to_owned(), range.0))
            .collect();
        let ends = ends(&self.0, &asked)?;
        ranges.retain(|&(partition, _, to)| {
            let end = ends.get(&(topic.to_owned(), partition));
            end.is_some_and(|end| *end >= to)
        });
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let mut places = TopicPartitionList::with_capacity(ranges.len());
        for &(partition, from, _) in &ranges {
            places.add_partition_offset(topic, partition, Offset::Offset(from))?;
        }
        self.0.assign(&places)?;
        let answered = self.answers(ranges);
        self.0.unassign()?;
        answered
    }

    fn answers(&self, ranges: Vec<Range>) -> KafkaResult<Vec<(i32, i64)>> {
        let mut open: BTreeMap<i32, i64> = ranges
            .into_iter()
            .map(|(number, _, to)| (number, to))
            .collect();
        let mut empty = Vec::new();
        let deadline = Instant::now() + LOOK_MAX;
        while !open.is_empty() && Instant::now() < deadline {
            match self.0.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    let number = message.partition();
                    if let Some(to) = open.remove(&number)
                        && message.offset() >= to
                    {
                        empty.push((number, to));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    empty.extend(open.remove(&number).map(|to| (number, to)));
                }
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(empty)
    }
}
