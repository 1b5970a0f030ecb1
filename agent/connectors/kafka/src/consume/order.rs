//! The order of transactions over all partitions: whose turn it is, and what is missing of it.
//!
//! The capture numbers transactions in the order in which it writes them, and each record says its number.
//! A *turn* puts everything in one line: rows of transaction n have turn 2n; what is in no transaction
//! (rows of a snapshot, control events) and was written between n-1 and n has turn 2n-1. The *clock* shows
//! 2n from when the end of n is read until n is passed on whole, and then 2n+1, unless the next end is
//! there already. What has a turn up to the clock passes, the rest is held.
//!
//! That a transaction is whole is told by counting: its end says how many records each topic has of it.
//! Counts need no question to the brokers, and they don't depend on when a partition shows what was
//! committed, which for one Kafka transaction is a moment earlier in one partition than in another. Where
//! compaction or retention took records, counting never ends; then it is whole once every partition is
//! known to hold nothing more of it (see `transactions`).

use std::collections::{BTreeSet, VecDeque};

use crate::{
    bounds::{Bound, End},
    header::{Header, Kind},
};

/// The place of something in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

impl Turn {
    /// Of what need not wait.
    pub(super) const NOW: Self = Self(0);

    /// Of a row of a transaction.
    pub(super) fn inside(number: u64) -> Self {
        Self(number * 2)
    }

    /// Of what was written before a transaction and behind the one before it.
    pub(super) fn before(number: u64) -> Self {
        Self((number * 2).saturating_sub(1))
    }

    /// Of a record.
    pub(super) fn of(said: &Header<'_>) -> Self {
        match said.kind {
            Kind::Append | Kind::Upsert => Self::before(said.number),
            _ => Self::inside(said.number),
        }
    }

    fn is_inside(self) -> bool {
        self.0.is_multiple_of(2) && self.0 > 0
    }
}

/// A partition that waits: turn, topic, number.
type Waiting = (Turn, usize, usize);

/// The end of a transaction that is still to be passed on.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) offset: i64,
    pub(super) number: u64,
    /// What it says; of the first one, less what was passed on.
    pub(super) end: End,
}

/// Which transaction is passed on.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The last transaction that was passed on whole; not known while nothing of any was read.
    done: Option<u64>,
    /// Where the end of that one lies.
    place: i64,
    ends: VecDeque<Front>,
    /// Rows were passed on of a transaction that is not whole.
    inside: bool,
    waiting: BTreeSet<Waiting>,
}

impl Order {
    /// Goes on behind the end that lies at `place`. `first` is what the topic holds from there on.
    pub(super) fn new(place: i64, first: Option<(i64, &Bound)>) -> Self {
        let done = first.map(|(offset, bound)| {
            let is_place = offset == place && bound.end.is_some();
            bound.number.saturating_sub(u64::from(!is_place))
        });
        Self {
            done,
            place,
            ..Self::default()
        }
    }

    /// Takes a record of the topic of bounds.
    pub(super) fn take(&mut self, offset: i64, bound: Bound) {
        let done = *self.done.get_or_insert(bound.number.saturating_sub(1));
        let newest = self.ends.back().map_or(done, |end| end.number);
        if let Some(end) = bound.end
            && bound.number > newest
        {
            self.ends.push_back(Front {
                offset,
                number: bound.number,
                end,
            });
        }
    }

    /// Whether something may be passed on.
    pub(super) fn allows(&self, turn: Turn) -> bool {
        match (self.ends.front(), self.done) {
            (Some(front), _) => turn <= Turn::inside(front.number),
            (None, Some(done)) => turn <= Turn::before(done + 1),
            // Whatever the topic held is older than its retention.
            (None, None) => !turn.is_inside(),
        }
    }

    /// Notes that a partition waits for its turn.
    pub(super) fn wait(&mut self, turn: Turn, topic: usize, number: usize) {
        self.waiting.insert((turn, topic, number));
    }

    /// Whether it is the turn of a partition that waits.
    pub(super) fn is_due(&self) -> bool {
        self.waiting
            .first()
            .is_some_and(|&(turn, ..)| self.allows(turn))
    }

    /// The next partition whose turn it is.
    pub(super) fn next_due(&mut self) -> Option<(usize, usize)> {
        if !self.is_due() {
            return None;
        }
        let (_, topic, number) = self.waiting.pop_first()?;
        Some((topic, number))
    }

    /// Counts a record that is passed on; answers whether its topic lacks none of the transaction now.
    pub(super) fn count(&mut self, said: &Header<'_>, topic: &str) -> bool {
        let turn = Turn::of(said);
        if !turn.is_inside() || self.done.is_some_and(|done| said.number <= done) {
            return false;
        }
        self.inside = true;
        let Some(front) = self.ends.front_mut() else {
            return false;
        };
        // A transaction whose capture was broken off for good has the number of the next one.
        let is_its = front.number == said.number
            && said.transaction.is_some_and(|(id, _)| id == front.end.id);
        if !is_its || said.kind == Kind::Tombstone {
            return false;
        }
        let Some(rest) = front.end.records.get_mut(topic) else {
            return false;
        };
        *rest = rest.saturating_sub(1);
        *rest == 0
    }

    /// The transaction that is being passed on, or that comes next.
    pub(super) fn front(&self) -> Option<&Front> {
        self.ends.front()
    }

    /// The newest transaction whose end was read.
    pub(super) fn newest(&self) -> Option<u64> {
        self.ends.back().map(|end| end.number)
    }

    /// How many transactions wait.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Notes that the first transaction is passed on whole.
    pub(super) fn complete(&mut self) {
        if let Some(front) = self.ends.pop_front() {
            self.done = Some(front.number);
            self.place = front.offset;
            self.inside = false;
        }
    }

    /// Whether a transaction is passed on in part.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    /// Where the end lies of the last transaction that was passed on whole.
    pub(super) fn place(&self) -> i64 {
        self.place
    }
}

impl Front {
    /// Topics of which records are missing.
    pub(super) fn missing(&self) -> impl Iterator<Item = &str> {
        let missing = self.end.records.iter().filter(|(_, rest)| **rest > 0);
        missing.map(|(topic, _)| topic.as_str())
    }
}

#[cfg(test)]
mod tests;
