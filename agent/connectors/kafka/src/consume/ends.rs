//! Where the topics end, and whether records lie before.

use std::{collections::BTreeMap, sync::Arc};

use sluice_core::{Error, Reason, Result, source::PartitionEnd};
use tokio::task::spawn_blocking;

use crate::{control::What, probe::Range};

use super::Reading;

/// Offsets of topics' partitions before which no record lies.
pub(super) type Emptied = Vec<(String, i32, i64)>;

impl Reading {
    /// Asks where the partitions end, that of the control topic among them: a table whose topic is
    /// not read yet is only named there. Answers with the sum of the offsets.
    pub(crate) async fn ask_ends(&mut self) -> Result<u128> {
        let ends = self.ends().await?;
        for ((name, number), end) in &ends {
            self.topics.set_end(name, *number, *end);
        }
        let sum = ends.values().map(|end| (*end).max(0) as u128).sum();
        self.goals = ends.into_iter().collect();
        self.ask_high().await?;
        Ok(sum)
    }

    async fn ends(&self) -> Result<BTreeMap<(String, i32), i64>> {
        let partitions = self.topics.own_partitions();
        let places = partitions.map(|(topic, number, _)| (topic.to_string(), number));
        let control = self.controls.iter();
        let places = places.chain(control.map(|controls| (controls.topic.clone(), 0)));
        self.lookup.ends_of(places.collect()).await
    }

    /// The partitions of tables' topics that this agent reads, as far as it knows them.
    pub(crate) fn partition_ends(&self) -> Vec<PartitionEnd> {
        let partitions = self.topics.own_partitions();
        partitions
            .map(|(topic, number, partition)| PartitionEnd {
                topic: Arc::clone(topic),
                partition: number,
                end: partition.end,
                next: partition.next,
                empty_until: partition.empty_until,
            })
            .collect()
    }

    /// Looks whether records lie between here and where a control event or the end of the log waits.
    /// Answers whether it is further than it seemed. Never waits: a look goes on while records are
    /// taken, and also when the call that began it was dropped.
    pub(crate) async fn look(&mut self) -> Result<bool> {
        let Some(mut probing) = self.probing.take() else {
            let ranges = self.unclear();
            if !ranges.is_empty() {
                let probe = self.probe.clone();
                self.probing = Some(spawn_blocking(move || probe.empty(ranges)));
            }
            return Ok(false);
        };
        if !probing.is_finished() {
            self.probing = Some(probing);
            return Ok(false);
        }
        let empty = (&mut probing).await.map_err(|error| {
            Error::new(Reason::Internal, "a look at the topics broke off").with_source(error)
        })??;
        let further = !empty.is_empty();
        for (name, number, offset) in empty {
            match &mut self.controls {
                Some(controls) if controls.topic == name => controls.read_until(offset),
                _ => self.topics.set_empty_until(&name, number, offset),
            }
        }
        self.moved |= further;
        Ok(further)
    }

    /// Ranges before a control event or the end of the log in which no record was seen.
    fn unclear(&mut self) -> BTreeMap<String, Vec<Range>> {
        let mut ranges: BTreeMap<String, Vec<Range>> = BTreeMap::new();
        if let Some((_, control)) = self.next_control() {
            let own = self.topics.behind(&control.topic, &control.offsets);
            ranges.insert(control.topic.clone(), own.collect());
            if let What::RenameTable { topic, offsets, .. } = &control.event {
                let others = self.topics.behind(topic, offsets);
                ranges.insert(topic.clone(), others.collect());
            }
        }
        for ((name, number), end) in std::mem::take(&mut self.goals) {
            if let Some(controls) = self.controls.as_ref().filter(|one| one.topic == name) {
                if controls.read_until < end {
                    ranges.insert(name, vec![(0, controls.read_until, end)]);
                }
                continue;
            }
            let goal = BTreeMap::from([(number, end)]);
            let behind: Vec<Range> = self.topics.behind(&name, &goal).collect();
            let known = ranges.entry(name).or_default();
            let is_new = |range: &Range| known.iter().all(|known| known.0 != range.0);
            let new: Vec<Range> = behind.into_iter().filter(is_new).collect();
            known.extend(new);
        }
        ranges.retain(|_, ranges| !ranges.is_empty());
        ranges
    }
}
