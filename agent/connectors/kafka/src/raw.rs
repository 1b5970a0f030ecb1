//! Records as they lie in their topics, by place: for those few that are to be kept as they are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    message::Headers,
    types::RDKafkaErrorCode as Code,
};
use sluice_core::{Origin, Place, RawRecord, Result};

use crate::{connect::Context, lookup::consumer};

const POLL: Duration = Duration::from_millis(100);
/// How long the next record may keep one waiting.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Records in between that are rather read than leapt over.
const LEAP_MIN: i64 = 1_000;

/// Records by where they lie; those that are gone from their topic are left out.
pub(crate) type Found = HashMap<(&'static str, i32, i64), RawRecord>;

/// How a record is found.
pub(crate) fn name(origin: &Origin) -> (&'static str, i32, i64) {
    (&origin.place.topic, origin.place.partition, origin.offset)
}

/// A record's bytes.
pub(crate) fn raw_record<M: Message>(message: &M) -> RawRecord {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    RawRecord {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect(),
        timestamp_millis: message.timestamp().to_millis(),
    }
}

/// Reads single records again.
pub(crate) struct Reader(BaseConsumer<Context>);

impl Reader {
    pub(crate) fn new(mut config: ClientConfig, brokers: &str) -> Result<Self> {
        config.set("group.id", "sluice-letters");
        config.set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true");
        // What retention has taken shows as a later record.
        config.set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "10");
        Ok(Self(consumer(&config, brokers)?))
    }

    /// Finds records. Blocks.
    pub(crate) fn find(&self, origins: &[Origin]) -> Result<Found> {
        let mut wanted = BTreeMap::<(&'static str, i32), BTreeSet<i64>>::new();
        for Origin { place, offset } in origins {
            let Place { topic, partition } = *place;
            let offsets = wanted.entry((&**topic, *partition)).or_default();
            offsets.insert(*offset);
        }
        let mut found = Found::new();
        for (place, offsets) in wanted {
            let done = self.find_in(place, &offsets, &mut found);
            let ended = self.0.unassign();
            done.and(ended).map_err(|error| {
                let doing = format!("reading records of topic {} again", place.0);
                self.0.context().error(&doing, error)
            })?;
        }
        Ok(found)
    }

    fn find_in(
        &self,
        (topic, partition): (&'static str, i32),
        offsets: &BTreeSet<i64>,
        found: &mut Found,
    ) -> KafkaResult<()> {
        let mut next = offsets.first().copied();
        let mut leap = true;
        let mut deadline = Instant::now() + SILENCE_MAX;
        while let Some(offset) = next {
            if std::mem::replace(&mut leap, false) {
                let mut place = TopicPartitionList::with_capacity(1);
                place.add_partition_offset(topic, partition, Offset::Offset(offset))?;
                self.0.assign(&place)?;
            }
            match self.0.poll(POLL) {
                Some(Ok(message)) => {
                    let here = message.offset();
                    if here == offset {
                        found.insert((topic, partition, offset), raw_record(&message));
                    }
                    if here >= offset {
                        next = offsets.range(here + 1..).next().copied();
                        leap = next.is_some_and(|next| next - here > LEAP_MIN);
                    }
                    deadline = Instant::now() + SILENCE_MAX;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) => return Err(error),
                None if Instant::now() < deadline => {}
                None => return Err(KafkaError::Global(Code::OperationTimedOut)),
            }
        }
        Ok(())
    }
}
