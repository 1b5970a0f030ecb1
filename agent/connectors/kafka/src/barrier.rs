//! Events that concern whole tables, where several agents share the topics.
//!
//! A control event lies behind records of every partition, and each agent reads only some. The *leader*
//! passes it on once all agents have stored a position at or behind it; the *followers* hold back what
//! lies behind it until the leader has stored that it is done. How far the others are is asked of the
//! target, and only while something waits.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sluice_agent_api::config::Replicas;
use sluice_core::{Error, LogPosition, Peers, Reason, Result};
use tokio::{task::JoinHandle, time::Instant};

/// How often the others are asked.
const PERIOD: Duration = Duration::from_millis(100);

/// Places of partitions in a topic.
pub(crate) type Places = BTreeMap<i32, i64>;

/// What the agents of a pipeline wait for.
pub(crate) struct Barrier {
    /// None where one agent reads everything.
    shared: Option<Replicas>,
    peers: Option<Arc<dyn Peers>>,
    /// How far all agents together were when they were asked last.
    progress: BTreeMap<(String, i32), i64>,
    asking: Option<JoinHandle<Result<LogPosition>>>,
    asked_at: Option<Instant>,
}

impl Barrier {
    /// Nobody has been asked yet.
    pub(crate) fn new(replicas: Option<Replicas>, peers: Option<Arc<dyn Peers>>) -> Self {
        Self {
            shared: replicas.filter(Replicas::is_shared),
            peers,
            progress: BTreeMap::new(),
            asking: None,
            asked_at: None,
        }
    }

    /// Whether there are other agents.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether this agent decides what becomes of whole tables.
    pub(crate) fn is_leader(&self) -> bool {
        self.shared.is_none_or(|replicas| replicas.is_leader())
    }

    /// Whether this agent reads a partition.
    pub(crate) fn has(&self, topic: &str, partition: i32) -> bool {
        self.shared
            .is_none_or(|replicas| replicas.has(topic, partition))
    }

    /// Whether the other agents let an event pass: its place in the control topic, and the places in
    /// topics that it lies behind.
    pub(crate) fn lets_pass(&self, event: (&str, i64), behind: &[(&str, &Places)]) -> bool {
        if !self.is_shared() {
            return true;
        }
        let (control, offset) = event;
        if !self.is_leader() {
            return self.passed(control, 0) > offset;
        }
        behind.iter().all(|(topic, places)| {
            let mut others = places
                .iter()
                .filter(|(number, _)| !self.has(topic, **number));
            others.all(|(number, to)| self.passed(topic, *number) >= *to)
        })
    }

    fn passed(&self, topic: &str, partition: i32) -> i64 {
        let place = (topic.to_owned(), partition);
        self.progress.get(&place).copied().unwrap_or(0)
    }

    /// Asks the others how far they are, unless that was done just now. Answers whether they are further.
    /// Never waits: a question goes on also when the call that asked it was dropped.
    pub(crate) async fn ask(&mut self) -> Result<bool> {
        if !self.is_shared() {
            return Ok(false);
        }
        let Some(mut asking) = self.asking.take() else {
            if self.asked_at.is_none_or(|at| at.elapsed() >= PERIOD) {
                let message = "the target can't tell how far the other agents are";
                let peers = self.peers.clone();
                let peers = peers.ok_or_else(|| Error::new(Reason::InvalidConfig, message))?;
                self.asking = Some(tokio::spawn(async move { peers.progress().await }));
                self.asked_at = Some(Instant::now());
            }
            return Ok(false);
        };
        if !asking.is_finished() {
            self.asking = Some(asking);
            return Ok(false);
        }
        let answer = (&mut asking).await.map_err(|error| {
            Error::new(Reason::Internal, "a question to the target broke off").with_source(error)
        })??;
        let LogPosition::Offsets(progress) = answer else {
            return Ok(false);
        };
        let further = progress != self.progress;
        self.progress = progress;
        Ok(further)
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two agents; partition 0 of topic `a` is the leader's, partition 1 is not.
    fn barrier(index: u32, progress: &[(&str, i32, i64)]) -> Barrier {
        let replicas = Replicas {
            count: 2,
            generation: None,
            index,
        };
        let mut barrier = Barrier::new(Some(replicas), None);
        for &(topic, number, offset) in progress {
            let place = (topic.to_owned(), number);
            barrier.progress.insert(place, offset);
        }
        barrier
    }

    #[test]
    fn the_leader_waits_until_every_other_partition_has_reached_the_event() {
        let places = BTreeMap::from([(0, 100), (1, 10)]);
        let passes = |progress: &[_]| {
            let barrier = barrier(0, progress);
            assert!(barrier.has("a", 0) && !barrier.has("a", 1));
            barrier.lets_pass(("control", 7), &[("a", &places)])
        };
        assert!(!passes(&[]));
        assert!(!passes(&[("a", 1, 9), ("b", 1, 50)]));
        assert!(
            passes(&[("a", 1, 10)]),
            "its own partitions are not asked for"
        );
    }

    #[test]
    fn a_follower_waits_until_the_leader_has_stored_that_the_event_is_done() {
        let places = BTreeMap::from([(0, 100), (1, 10)]);
        let passes = |offset| {
            let barrier = barrier(1, &[("control", 0, offset)]);
            barrier.lets_pass(("control", 7), &[("a", &places)])
        };
        assert!(!passes(7));
        assert!(passes(8));
    }

    #[test]
    fn one_agent_waits_for_nobody() {
        let places = BTreeMap::from([(0, 100)]);
        let alone = Barrier::new(None, None);
        assert!(alone.lets_pass(("control", 7), &[("a", &places)]));
        assert!(alone.is_leader() && alone.has("a", 0));
    }
}
