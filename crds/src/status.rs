//! How pipelines are doing, as `kubectl describe` shows it. Written by the operator alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the capture of a source is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationSourceStatus {
    /// The `metadata.generation` that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The kind of source: `mysql`, `postgres` or `kafkaTopics`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What the capture does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// `Ready`, `PrerequisitesMet`, `SnapshotComplete`, `Streaming`, `LagWithinThreshold` and
    /// `PositionAtRisk`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Where the capture stands in the source's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// How far behind the capture is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// The topics that the source's own agent writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaProgress>,
    /// How far the copy of present rows is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotProgress>,
    /// How fast rows flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The error that the pipeline waits for or stopped at; none once it flows again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// How a replica is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSinkStatus {
    /// The `metadata.generation` that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the replica is, such as `postgres pg.shop.svc/shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the pipeline does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// `Ready`, `PrerequisitesMet`, `SnapshotComplete`, `Streaming`, `LagWithinThreshold` and
    /// `PositionAtRisk`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The place in the source's log that the target holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// How far behind the replica is. Of one that is fed by Kafka: the lag of its source's capture and its
    /// own behind the topics, together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// The topics that the replica is fed by, or that it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaProgress>,
    /// How far the copy of present rows is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotProgress>,
    /// How fast rows flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The error that the pipeline waits for or stopped at; none once it flows again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// How many tables there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<TableCounts>,
    /// Records kept aside because the target refused them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<i64>,
    /// Rows that both sides had changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<i64>,
    /// The last comparison of source and replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Agents that run, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Agents that answer and have nothing in their way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Selects the agents' pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// What a pipeline does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Starting, or connecting.
    #[default]
    Pending,
    /// A source that no sink names.
    Idle,
    /// Copying present rows, while streaming.
    Snapshotting,
    /// Following the log.
    Streaming,
    /// Stopped on request.
    Paused,
    /// Waiting for a person.
    Failed,
}

/// How far behind something is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Age of the newest change that has not arrived, in seconds; zero when nothing is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Bytes of log that have not arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Records of Kafka topics that have not arrived, where a replica is fed by Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,
}

/// Topics that are written or read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaProgress {
    /// How many topics there are.
    pub topics: i32,
    /// How many partitions they have together.
    pub partitions: i32,
    /// Records that the consumer group has not applied; none where the topics are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_lag_records: Option<i64>,
}

/// How far the copy of present rows is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotProgress {
    /// Tables to copy.
    pub tables_total: i32,
    /// Tables copied.
    pub tables_done: i32,
    /// Rows copied.
    pub rows_copied: i64,
    /// Progress in percent; 100 only when every table is done.
    pub percent: i32,
}

/// How fast rows flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// Rows per second.
    pub rows_per_second: i64,
}

/// An error for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// Its name, in CamelCase.
    pub reason: String,
    /// What happened, and where.
    pub message: String,
    /// What to do, preferably the exact statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// How many tables there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableCounts {
    /// All tables of the replica.
    pub total: i32,
    /// Tables that follow the source.
    pub streaming: i32,
    /// Tables that wait for a person.
    pub failed: i32,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Rows compared.
    pub rows_compared: i64,
    /// Rows that differ.
    pub rows_different: i64,
}
