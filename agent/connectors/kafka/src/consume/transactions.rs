//! Whole transactions over all partitions, where the capture writes their bounds.
//!
//! [`Order`] says what may pass. A record whose turn has not come is held in its partition's queue; a
//! partition that holds more than its share is paused. Rows are passed on as they come, so that the size of
//! a transaction needs no memory; until it is whole, batches have no position.
//!
//! **Nothing waits in a circle.** The capture writes rows, control events and ends in one order. A row
//! waits for rows and control events that were written before it, and for the end of its own transaction.
//! A control event waits for rows and ends before it. The end of a transaction is read from a topic of its
//! own as soon as it is visible, waits for nothing, and is visible once the Kafka transaction with its last
//! rows is. So of everything that was not passed on, what was written first can always pass, as soon as
//! the end of its transaction is visible.
//!
//! **Records that compaction or retention took** never come, and counting them never ends. Then a
//! transaction is whole once each partition of the topics that lack records holds a record of a later
//! one, or was read up to where it ended, open Kafka transactions included, when it was asked after the
//! transaction's end had been read.

use rdkafka::{Message, Offset, message::OwnedMessage};
use sluice_agent_api::kafka::OwnTopics;
use sluice_core::{Error, Reason, Result};
use tracing::warn;

use crate::{bounds::Bound, header::Header, lookup::Lookup, topic::Partition};

use super::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Reading,
    order::{Order, Turn},
    record::headers,
};

/// How many bytes are held over all partitions, about.
const HELD_BYTES_MAX: usize = 16 << 20;
/// What a partition may hold in any case, and at most.
const SHARE_BYTES: (usize, usize) = (128 << 10, 4 << 20);
/// How many ends of transactions wait before no more are read, and when they are read again.
const ENDS_MAX: usize = 10_000;
const ENDS_MIN: usize = 2_000;
/// What a held record takes beside key and value, about.
const OVERHEAD_BYTES: usize = 300;

/// The transactions of a source as they are passed on.
pub(super) struct Transactions {
    pub(super) topic: String,
    pub(super) order: Order,
    /// A client to which a partition ends behind the last record, committed or not.
    lookup: Lookup,
    /// The newest end that had been read when it was asked where the partitions end.
    asked: u64,
    is_paused: bool,
    cut: Cut,
    /// That records were missing is told once.
    has_warned: bool,
    /// How many bytes each partition may hold.
    share: usize,
}

/// Where the batch that is gathered ends.
#[derive(Debug, Clone, Copy, Default)]
struct Cut {
    /// It begins inside of a transaction.
    began_inside: bool,
    /// It ends with the transaction that is passed on.
    is_closing: bool,
}

impl Transactions {
    /// Whether the batch is to end here. Transactions that go on are cut; those that could begin are left
    /// for the next batch once it is half full, so that most batches end where the target can commit.
    pub(super) fn is_full(&self, records: usize, size_bytes: usize) -> bool {
        let reaches = |part: usize| {
            records >= BATCH_RECORDS_MAX / part || size_bytes >= BATCH_BYTES_MAX / part
        };
        if self.order.is_inside() {
            return reaches(1);
        }
        records > 0 && (self.cut.is_closing || self.cut.began_inside || reaches(2))
    }

    /// Notes that a batch was handed on.
    pub(super) fn handed_on(&mut self) {
        self.cut = Cut {
            began_inside: self.order.is_inside(),
            is_closing: false,
        };
    }
}

impl Reading {
    /// Begins with the bounds of transactions.
    pub(super) async fn begin_transactions(&mut self, own: &OwnTopics) -> Result<()> {
        let topic = own.transaction();
        if self.lookup.partitions(&topic).await?.is_none() {
            let message = format!("topic {topic} does not exist");
            return Err(Error::new(Reason::Unavailable, message)
                .with_hint("the agent of the source makes it; see whether it runs"));
        }
        let place = self.resume.get(&(topic.clone(), 0)).copied().unwrap_or(0);
        let first = self.lookup.first(&topic, place).await?;
        let mut begin = place.max(self.lookup.begin(&topic).await?);
        let mut bound = None;
        if let Some(first) = &first {
            begin = first.offset;
            bound = Some((first.offset, parse(&topic, first.header.as_deref())?));
        }
        let bound = bound.as_ref().map(|(offset, bound)| (*offset, bound));
        self.transactions = Some(Transactions {
            order: Order::new(place, bound),
            topic: topic.clone(),
            lookup: self.lookup.uncommitted()?,
            asked: 0,
            is_paused: false,
            cut: Cut::default(),
            has_warned: false,
            share: SHARE_BYTES.1,
        });
        self.assign(&[(topic, 0, Offset::Offset(begin))])
    }

    /// Shares out anew what may be held.
    pub(super) fn share_out(&mut self) {
        let partitions = self.topics.own_partitions().count().max(1);
        if let Some(transactions) = &mut self.transactions {
            let share = HELD_BYTES_MAX / partitions;
            transactions.share = share.clamp(SHARE_BYTES.0, SHARE_BYTES.1);
        }
    }

    /// Takes a record of the topic of bounds.
    pub(super) fn take_bound<M: Message>(&mut self, message: &M) -> Result<()> {
        let Some(transactions) = &mut self.transactions else {
            return Ok(());
        };
        let bound = parse(&transactions.topic, headers(message).0)?;
        transactions.order.take(message.offset(), bound);
        let is_full = transactions.order.len() >= ENDS_MAX;
        if is_full && !std::mem::replace(&mut transactions.is_paused, true) {
            let topic = transactions.topic.clone();
            self.pause(&topic, 0, true)?;
        }
        self.advance();
        Ok(())
    }

    /// Goes on to the next transaction as far as nothing is missing of those before.
    pub(super) fn advance(&mut self) {
        let passed = self.controls.as_ref().map_or(0, |controls| controls.sum);
        let Some(transactions) = &mut self.transactions else {
            return;
        };
        while let Some(front) = transactions.order.front() {
            let lacks = front.missing().any(|topic| self.topics.has(topic));
            if lacks || passed < front.end.controls {
                return;
            }
            transactions.order.complete();
            self.moved = true;
        }
    }

    /// Reads on where few ends are left.
    pub(super) fn read_on(&mut self) -> Result<()> {
        if let Some(transactions) = &mut self.transactions
            && transactions.is_paused
            && transactions.order.len() <= ENDS_MIN
        {
            transactions.is_paused = false;
            let topic = transactions.topic.clone();
            self.pause(&topic, 0, false)?;
        }
        Ok(())
    }

    /// Goes on to the next transaction where records are missing that never come; answers whether it did.
    /// Nothing more is there to be taken.
    pub(super) fn settle(&mut self) -> bool {
        let passed = self.controls.as_ref().map_or(0, |controls| controls.sum);
        let Some(transactions) = &self.transactions else {
            return false;
        };
        let Some(front) = transactions.order.front() else {
            return false;
        };
        let was_asked = transactions.asked >= front.number;
        let holds_none = |topic: &str| {
            let mut partitions = self.topics.own_partitions().filter(|own| &**own.0 == topic);
            partitions.all(|(_, _, partition)| is_behind(partition, front.number, was_asked))
        };
        if passed < front.end.controls || !front.missing().all(holds_none) {
            return false;
        }
        if !transactions.has_warned {
            warn!(
                transaction = front.end.id,
                "records are gone from the topics: compaction or retention took them, and the replica \
                 is not as the source was between transactions until newer ones are reached"
            );
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.has_warned = true;
            transactions.order.complete();
        }
        self.moved = true;
        self.advance();
        true
    }

    /// Ends the batch with the transaction that is passed on, since what is there does not fill it.
    pub(super) fn close(&mut self) {
        if let Some(transactions) = &mut self.transactions {
            let goes_on = transactions.order.is_inside() && !self.events.is_empty();
            transactions.cut.is_closing |= goes_on;
        }
    }

    /// Asks where partitions end with all that is in them, if anything may be missing.
    pub(super) async fn ask_high(&mut self) -> Result<()> {
        let Some(transactions) = &self.transactions else {
            return Ok(());
        };
        let Some(newest) = transactions.order.newest() else {
            return Ok(());
        };
        let partitions = self.topics.own_partitions();
        let places = partitions.map(|(topic, number, _)| (topic.to_string(), number));
        let ends = transactions.lookup.ends_of(places.collect()).await?;
        for ((topic, number), end) in ends {
            self.topics.set_high(&topic, number, end);
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.asked = newest;
        }
        Ok(())
    }

    /// How many bytes a partition may hold before it is paused.
    pub(super) fn share(&self) -> usize {
        let transactions = self.transactions.as_ref();
        transactions.map_or(0, |transactions| transactions.share)
    }

    /// Whether a topic is that of the bounds.
    pub(super) fn is_bound(&self, topic: &str) -> bool {
        let transactions = self.transactions.as_ref();
        transactions.is_some_and(|transactions| transactions.topic == topic)
    }

    /// The next partition whose turn it is: topic and number.
    pub(super) fn next_due(&mut self) -> Option<(usize, usize)> {
        self.transactions.as_mut()?.order.next_due()
    }

    /// Whether it is a partition's turn that waited.
    pub(super) fn is_due(&self) -> bool {
        let transactions = self.transactions.as_ref();
        transactions.is_some_and(|transactions| transactions.order.is_due())
    }

    /// Lets a partition go on as soon as there is room.
    pub(super) fn wait_for_room(&mut self, index: usize, number: usize) {
        if let Some(transactions) = &mut self.transactions {
            transactions.order.wait(Turn::NOW, index, number);
        }
    }
}

/// Whether a partition holds nothing more of a transaction or of those before it.
fn is_behind(partition: &Partition, number: u64, was_asked: bool) -> bool {
    match partition.held.front() {
        Some(held) => {
            let said = headers(held).0.and_then(Header::parse);
            said.is_some_and(|said| said.number > number)
        }
        None => {
            was_asked
                && partition
                    .high
                    .is_some_and(|high| partition.passed() >= high)
        }
    }
}

/// How many bytes of memory a held record takes, about.
pub(super) fn size_of(message: &OwnedMessage) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    length(message.key()) + length(message.payload()) + OVERHEAD_BYTES
}

fn parse(topic: &str, header: Option<&[u8]>) -> Result<Bound> {
    header.and_then(Bound::parse).ok_or_else(|| {
        let message = format!("a record of topic {topic} is no bound of a transaction");
        Error::new(Reason::DecodeFailed, message)
            .with_hint("let nobody but the source's agent write to the topic")
    })
}
