//! Several agents of one pipeline.

use serde::{Deserialize, Serialize};

/// How the partitions of topics are shared among the agents of one pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replicas {
    /// How many agents there are.
    pub count: u32,
    /// Counts the layouts of the pipeline: where two meet, the higher one stays. Without it, an agent
    /// that starts with another `count` makes a new layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Which of them this one is, from zero. Known to the process only.
    #[serde(skip)]
    pub index: u32,
}

impl Replicas {
    /// Whether there are others.
    pub fn is_shared(&self) -> bool {
        self.count > 1
    }

    /// Whether this agent does what only one may do: what changes tables as a whole.
    pub fn is_leader(&self) -> bool {
        self.index == 0
    }

    /// Whether a partition is this agent's. The same in every version: partitions must not change
    /// hands unless the layout does.
    pub fn has(&self, topic: &str, partition: i32) -> bool {
        // FNV-1a, so that the first partitions of all topics are not one agent's.
        let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let place = hash.wrapping_add(u64::from(partition.unsigned_abs()));
        place % u64::from(self.count.max(1)) == u64::from(self.index)
    }

    /// The name of one of the agents of a pipeline. No resource can have such a name.
    pub fn name(&self, pipeline: &str) -> String {
        if self.is_shared() {
            format!("{pipeline}:{}", self.index)
        } else {
            pipeline.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(index: u32, count: u32) -> Replicas {
        Replicas {
            count,
            generation: None,
            index,
        }
    }

    #[test]
    fn each_partition_is_that_of_exactly_one_agent() {
        for count in 1..=9 {
            for topic in ["shop.orders", "shop.counters", ""] {
                for partition in 0..30 {
                    let owners =
                        (0..count).filter(|&index| replica(index, count).has(topic, partition));
                    assert_eq!(owners.count(), 1, "{topic}/{partition} of {count}");
                }
            }
        }
    }

    #[test]
    fn the_partitions_of_a_topic_are_shared_evenly() {
        for index in 0..4 {
            let own = (0..8).filter(|&partition| replica(index, 4).has("shop.orders", partition));
            assert_eq!(own.count(), 2);
        }
    }

    #[test]
    fn the_partitions_of_an_agent_never_change() {
        let owner = |topic| (0..4).find(|&index| replica(index, 4).has(topic, 0));
        assert_eq!(
            ["a", "b", "shop.orders", "shop.items"].map(owner),
            [Some(0), Some(1), Some(0), Some(3)]
        );
    }

    #[test]
    fn only_agents_that_share_are_numbered() {
        assert_eq!(replica(0, 1).name("shop/pg"), "shop/pg");
        assert_eq!(replica(2, 3).name("shop/pg"), "shop/pg:2");
    }
}
