//! Records that can't be decoded: events of their own, unless it is the configuration that is wrong.

use std::sync::Arc;

use rdkafka::Message;
use sluice_core::{ChangeEvent, Error, Origin, Reason, Result, TableId, TableSchema, Unreadable};

use crate::{raw::raw_record, topic::Topic};

use super::{Reading, record::placed};

/// As many unreadable records at the beginning of a topic are no damage, but another format.
const UNREADABLE_MAX: usize = 100;

impl Reading {
    /// Passes on a record that can't be decoded, and moves the position behind it. Fails where the
    /// record is not to blame: a registry that does not answer, another format than declared.
    pub(super) fn unreadable<M: Message>(
        &mut self,
        index: usize,
        message: &M,
        known: Option<&Arc<TableSchema>>,
        error: Error,
    ) -> Result<()> {
        let error = placed(error, message);
        if error.reason() != Reason::DecodeFailed {
            return Err(error);
        }
        let topic = self.topics.get_mut(index);
        if !topic.is_read && !topic.is_known {
            topic.unreadable += 1;
            if topic.unreadable >= UNREADABLE_MAX {
                return Err(none_readable(topic, error));
            }
        }
        let table = known
            .map(|known| known.id.clone())
            .or_else(|| only_table(topic));
        let number = message.partition() as usize;
        let partition = &mut topic.partitions[number];
        partition.next = message.offset() + 1;
        let millis = message.timestamp().to_millis().unwrap_or(0);
        partition.newest_micros = partition.newest_micros.max(millis * 1000);
        let origin = Origin {
            place: partition.place,
            offset: message.offset(),
        };
        let is_elsewhere = |table: &TableId| !self.selection.contains(table);
        if known.is_none() && table.as_ref().is_some_and(is_elsewhere) {
            return Ok(());
        }
        let event = ChangeEvent::Unreadable(Arc::new(Unreadable {
            table,
            origin,
            record: raw_record(message),
            message: error.message().to_owned(),
            hint: error.hint().map(ToOwned::to_owned),
        }));
        self.size_bytes += event.size_bytes();
        self.events.push(event);
        Ok(())
    }
}

/// The table of a topic that another capture writes, if the records so far were of one.
fn only_table(topic: &Topic) -> Option<TableId> {
    let first = topic.seen.first()?;
    let is_same = |table: &Arc<TableSchema>| table.id == first.id;
    topic.seen.iter().all(is_same).then(|| first.id.clone())
}

fn none_readable(topic: &Topic, error: Error) -> Error {
    let message = format!(
        "none of the first {UNREADABLE_MAX} records of topic {} can be decoded; the last: {}",
        topic.name,
        error.message()
    );
    Error::new(Reason::InvalidConfig, message)
        .with_hint(
            "see that format and envelope (of spec.kafka or spec.kafkaTopics) are those of the \
             topic's writer",
        )
        .with_source(error)
}
