//! How far a reader is in each topic, and what waits behind a control event.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use rdkafka::message::OwnedMessage;
use sluice_avro::RecordReader;
use sluice_core::{Place, TableSchema};

/// A topic that is read.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) reader: RecordReader,
    /// The number of the last control event that was passed on.
    pub(crate) control: u64,
    /// Shapes that were passed on, of a topic that another capture writes.
    pub(crate) seen: Vec<Arc<TableSchema>>,
    /// Whether records of the topic were applied before this session.
    pub(crate) is_known: bool,
    /// Whether a record of the topic was read in this session.
    pub(crate) is_read: bool,
    /// How many could not be decoded before the first that could.
    pub(crate) unreadable: usize,
}

/// A partition that is read.
pub(crate) struct Partition {
    /// Names it in what its records become.
    pub(crate) place: &'static Place,
    /// Another agent of the pipeline reads it.
    pub(crate) is_elsewhere: bool,
    /// The offset behind the last record that was passed on.
    pub(crate) next: i64,
    /// Up to here no record lies behind `next`.
    pub(crate) empty_until: i64,
    /// Where the partition ended when it was asked last.
    pub(crate) end: i64,
    /// Where it ended then with all that was in it, committed or not, if that was asked.
    pub(crate) high: Option<i64>,
    /// When the change of the last record was committed at the source.
    pub(crate) newest_micros: i64,
    /// Records that wait for a control event or for their transaction, in order.
    pub(crate) held: VecDeque<OwnedMessage>,
    /// About how many bytes these take.
    pub(crate) held_bytes: usize,
    pub(crate) is_paused: bool,
}

impl Partition {
    /// A partition that is read from an offset on.
    pub(crate) fn new(place: &'static Place, next: i64, is_elsewhere: bool) -> Self {
        Self {
            place,
            is_elsewhere,
            next,
            empty_until: 0,
            end: 0,
            high: None,
            newest_micros: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            is_paused: false,
        }
    }

    /// Every record before this offset was passed on.
    pub(crate) fn passed(&self) -> i64 {
        self.next.max(self.empty_until)
    }
}

/// The topics that are read.
#[derive(Default)]
pub(crate) struct ReadTopics {
    topics: Vec<Topic>,
    by_name: HashMap<Arc<str>, usize>,
    last: usize,
}

impl ReadTopics {
    /// The place of a topic.
    pub(crate) fn find(&mut self, name: &str) -> Option<usize> {
        let is_last = |topic: &Topic| &*topic.name == name;
        if !self.topics.get(self.last).is_some_and(is_last) {
            self.last = *self.by_name.get(name)?;
        }
        Some(self.last)
    }

    /// How many topics there are.
    pub(crate) fn count(&self) -> usize {
        self.topics.len()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub(crate) fn insert(&mut self, topic: Topic) {
        self.by_name
            .insert(Arc::clone(&topic.name), self.topics.len());
        self.topics.push(topic);
    }

    pub(crate) fn get(&self, index: usize) -> &Topic {
        &self.topics[index]
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> &mut Topic {
        &mut self.topics[index]
    }

    /// The partitions that this agent reads: topic, number, partition.
    pub(crate) fn own_partitions(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Partition)> {
        self.topics.iter().flat_map(|topic| {
            let numbered = (0..).zip(&topic.partitions);
            let own = numbered.filter(|(_, partition)| !partition.is_elsewhere);
            own.map(|(number, partition)| (&topic.name, number, partition))
        })
    }

    /// Whether every record before these offsets of a topic was passed on, as far as this agent reads
    /// it. A topic that is not read holds nobody up.
    pub(crate) fn has_passed(&self, name: &str, offsets: &BTreeMap<i32, i64>) -> bool {
        self.behind(name, offsets).next().is_none()
    }

    /// Everything that the source committed before this moment was passed on, as far as the ends of
    /// the partitions are known.
    pub(crate) fn complete_until_micros(&self) -> Option<i64> {
        let partitions = || self.own_partitions().map(|(_, _, partition)| partition);
        let behind = partitions().filter(|partition| partition.passed() < partition.end);
        let until = match behind.map(|partition| partition.newest_micros).min() {
            Some(oldest) => Some(oldest),
            None => partitions().map(|partition| partition.newest_micros).max(),
        };
        until.filter(|micros| *micros > 0)
    }

    /// Notes where a partition ends.
    pub(crate) fn set_end(&mut self, name: &str, number: i32, end: i64) {
        let Some(index) = self.find(name) else {
            return;
        };
        if let Some(partition) = self.topics[index].partitions.get_mut(number as usize) {
            partition.end = end;
        }
    }

    /// Notes where a partition ends with all that is in it.
    pub(crate) fn set_high(&mut self, name: &str, number: i32, high: i64) {
        let Some(index) = self.find(name) else {
            return;
        };
        if let Some(partition) = self.topics[index].partitions.get_mut(number as usize) {
            partition.high = Some(high);
        }
    }

    /// The partitions of a topic that are behind these offsets: partition, from, to.
    pub(crate) fn behind<'a>(
        &'a self,
        name: &str,
        offsets: &'a BTreeMap<i32, i64>,
    ) -> impl Iterator<Item = (i32, i64, i64)> + 'a {
        let found = self.by_name.get(name).map(|&index| &self.topics[index]);
        found.into_iter().flat_map(move |topic| {
            offsets.iter().filter_map(move |(&number, &to)| {
                let partition = topic.partitions.get(usize::try_from(number).ok()?)?;
                let passed = partition.passed();
                (passed < to && !partition.is_elsewhere).then_some((number, passed, to))
            })
        })
    }

    /// Notes that no record lies before an offset.
    pub(crate) fn set_empty_until(&mut self, name: &str, number: i32, offset: i64) {
        let Some(index) = self.find(name) else {
            return;
        };
        let partitions = &mut self.topics[index].partitions;
        if let Some(partition) = partitions.get_mut(number as usize) {
            partition.empty_until = partition.empty_until.max(offset);
        }
    }
}
