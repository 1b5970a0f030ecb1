//! How an agent is doing: the body of `/v1/status`, and what the resource's status is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How one pipeline is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// The pipeline's name.
    pub pipeline: String,
    /// The source's name.
    pub source: String,
    /// The sink's name.
    pub sink: String,
    /// What the pipeline does.
    pub phase: Phase,
    /// Whether rows flow or there is provably nothing to send.
    pub ready: bool,
    /// The position that the target holds, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// How far the target is behind.
    pub lag: Lag,
    /// How far the copy of present rows is.
    pub snapshot: SnapshotProgress,
    /// Rows applied per second, over the last ten seconds.
    pub rows_per_second: f64,
    /// Rows applied since the agent started.
    pub rows_total: u64,
    /// Tables by name.
    #[serde(default)]
    pub tables: BTreeMap<String, TableStatus>,
    /// Kafka topics that the agent reads or writes, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<String, TopicStatus>,
    /// Records kept aside since the replica was made.
    pub dead_letters: u64,
    /// Values written as NULL because the target can't hold them, by `schema.table.column`.
    #[serde(default)]
    pub nulled_values: BTreeMap<String, u64>,
    /// The error that the pipeline waits for or stopped at; none once it flows again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// How long until the log's oldest unread part may be purged, where the source can say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u64>,
    /// Why nothing moves although no error has come back; `ready` is false then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<Stall>,
    /// The id of the last [`ResnapshotRequest`](crate::config::ResnapshotRequest) that the agent
    /// has taken on: its tables are being copied, or are copied already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resnapshot_id: Option<String>,
    /// How often each end has stalled since the agent started.
    #[serde(default, skip_serializing_if = "StallCounts::is_zero")]
    pub stalls: StallCounts,
    /// Requests to copy tables again that were taken on since the agent started.
    #[serde(default)]
    pub resnapshots_total: u64,
    /// The agent's version.
    #[serde(default)]
    pub agent_version: String,
    /// When the agent's process started, RFC 3339.
    #[serde(default)]
    pub started_at: String,
}

/// An end of the pipeline that gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stall {
    /// Which end.
    pub on: StalledOn,
    /// For how long, in seconds.
    pub seconds: u64,
    /// What is waited for, and where.
    pub message: String,
    /// What to do, preferably the exact statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How often each end has stalled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StallCounts {
    /// The source.
    #[serde(default)]
    pub source: u64,
    /// The target.
    #[serde(default)]
    pub target: u64,
}

impl StallCounts {
    /// Whether neither has.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// An end of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StalledOn {
    /// Nothing has come from the source although it was due.
    Source,
    /// The target has not answered.
    Target,
}

/// What a pipeline does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Connecting.
    #[default]
    Pending,
    /// Copying present rows, while streaming.
    Snapshotting,
    /// Following the log.
    Streaming,
    /// Done (`snapshot.mode: Only`) or asked to stop.
    Stopped,
    /// Waiting for a person.
    Failed,
}

/// How far the target is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Age of the newest change that is not applied; zero when nothing is missing. None while unknown.
    pub seconds: Option<f64>,
    /// Bytes of log that are not applied. None while unknown, and of topics.
    pub bytes: Option<u64>,
    /// Records of topics that are not applied. None while unknown, and of a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
}

/// How far the copy of present rows is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotProgress {
    /// Tables to copy, done ones included.
    pub tables_total: u32,
    /// Tables copied.
    pub tables_done: u32,
    /// Rows copied.
    pub rows_copied: u64,
    /// About how many rows there are.
    pub rows_estimated: u64,
    /// Progress in percent; 100 only when every table is done.
    pub percent: u8,
}

/// How one table is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    /// `Snapshotting`, `Streaming`, `Paused` or `Failed`.
    pub phase: String,
    /// Rows copied by the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_copied: Option<u64>,
    /// Why the table waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<LastError>,
}

/// How one Kafka topic is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// How many of its partitions this agent reads, or writes.
    pub partitions: u32,
    /// Records in these that are not applied: the lag of the consumer group. None where the agent
    /// writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_records: Option<u64>,
}

/// An error for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// Its name, in CamelCase.
    pub reason: String,
    /// What happened, and where.
    pub message: String,
    /// What to do, preferably the exact statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When, RFC 3339; empty where the context says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
}

/// The outcome of `sluice check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// Every check that was made.
    pub checks: Vec<Check>,
}

impl CheckReport {
    /// Whether nothing stands in the way.
    pub fn passed(&self) -> bool {
        self.checks
            .iter()
            .all(|check| check.outcome != CheckOutcome::Failed)
    }
}

/// One prerequisite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The resource concerned, such as `ReplicationSource/shop`.
    pub subject: String,
    /// What is checked, in CamelCase.
    pub name: String,
    /// How it is.
    pub outcome: CheckOutcome,
    /// What was found.
    pub message: String,
    /// What to do about it, preferably the exact statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckOutcome {
    /// As it should be.
    Passed,
    /// The pipeline runs, with a drawback.
    Warning,
    /// The pipeline can't run.
    Failed,
    /// Not checked because an earlier check failed.
    Skipped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_an_older_agent_is_understood() {
        let mut status = serde_json::to_value(AgentStatus::default()).unwrap();
        let fields = status.as_object_mut().unwrap();
        for field in ["agentVersion", "startedAt"] {
            assert!(fields.remove(field).is_some(), "{field} is always sent");
        }
        assert_eq!(
            serde_json::from_value::<AgentStatus>(status).unwrap(),
            AgentStatus::default()
        );
    }
}
