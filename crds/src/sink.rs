//! The custom resource that names a replica.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    agent::AgentTemplate,
    kafka::KafkaTransport,
    status::ReplicaSinkStatus,
    tables::TableRoute,
    target::{ClickhouseSink, MysqlSink, OpensearchSink, ParquetSink, PostgresSink},
};

/// A replica of a ReplicationSource that is kept in step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "ReplicaSink",
    namespaced,
    doc = "A replica of a ReplicationSource that is kept in step.",
    status = "ReplicaSinkStatus",
    derive = "PartialEq",
    shortname = "rsink",
    category = "replication",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Source",
        type_ = "string",
        json_path = ".spec.sourceRef.name",
        description = "The ReplicationSource"
    ),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".status.target",
        description = "Where the replica is"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "What the pipeline does"
    ),
    printcolumn(
        name = "Lag",
        type_ = "number",
        json_path = ".status.lag.seconds",
        description = "Age of the newest change that is not applied, in seconds"
    ),
    printcolumn(
        name = "Rate",
        type_ = "integer",
        json_path = ".status.rate.rowsPerSecond",
        description = "Rows per second"
    ),
    printcolumn(
        name = "Snapshot",
        type_ = "integer",
        json_path = ".status.snapshot.percent",
        description = "Progress of the copy of present rows, in percent"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether rows flow or there is provably nothing to send"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Position",
        type_ = "string",
        json_path = ".status.position",
        priority = "1",
        description = "The place in the source's log that the target holds"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "[has(self.postgres), has(self.mysql), has(self.clickhouse), has(self.parquet), \
         has(self.opensearch), has(self.kafka)].filter(given, given).size() == 1"
    ).message("exactly one of postgres, mysql, clickhouse, parquet, opensearch and kafka is needed"),
    validation = Rule::new(
        "has(self.postgres) == has(oldSelf.postgres) && has(self.mysql) == has(oldSelf.mysql) && \
         has(self.clickhouse) == has(oldSelf.clickhouse) && has(self.parquet) == has(oldSelf.parquet) && \
         has(self.opensearch) == has(oldSelf.opensearch)"
    ).message("the kind of target can't be changed: create another ReplicaSink"),
)]
#[kube(validation = Rule::new("self.metadata.name.size() <= 52")
    .message("metadata.name can have 52 characters at most: names of pods are made of it"))]
pub struct ReplicaSinkSpec {
    /// The ReplicationSource, in the same namespace, that this is a replica of.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("can't be changed: the replica's position belongs to its source; create another ReplicaSink"))]
    pub source_ref: SourceReference,
    /// A PostgreSQL database. Exactly one of `postgres`, `mysql`, `clickhouse`, `parquet`,
    /// `opensearch` and `kafka` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSink>,
    /// A MySQL server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MysqlSink>,
    /// A ClickHouse database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clickhouse: Option<ClickhouseSink>,
    /// Parquet files in a folder or a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetSink>,
    /// OpenSearch indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opensearch: Option<OpensearchSink>,
    /// Kafka topics, as a replica of their own. `apply.deletes: Soft` is not possible here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaTransport>,
    /// Which tables arrive, where and in which shape. Without it, every table of the source under
    /// its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["source".into()]))]
    pub tables: Option<Vec<TableRoute>>,
    /// What each kind of schema change does.
    #[serde(default)]
    pub schema_changes: SchemaChanges,
    /// How changes are applied.
    #[serde(default)]
    pub apply: Apply,
    /// What happens when a row in the target was changed by somebody else.
    #[serde(default)]
    pub conflicts: Conflicts,
    /// What happens to a record that the target refuses.
    #[serde(default)]
    pub errors: Errors,
    /// What happens to a value that the target can't hold, such as a date `0000-00-00`. Each one
    /// is counted in status and metrics.
    #[serde(default)]
    pub unrepresentable: Unrepresentable,
    /// A replica that is further behind than this many seconds is not Ready.
    #[serde(default = "default_lag_threshold_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub lag_threshold_seconds: u32,
    /// How many agents apply changes side by side. More than one needs `spec.kafka` in the source.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 256))]
    pub replicas: u32,
    /// Regular comparison of source and replica. Without it, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Whether this replica is left as it is for now. The position is kept, but the source must
    /// keep its log as well.
    #[serde(default)]
    pub paused: bool,
    /// How the agent's pods are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentTemplate>,
}

/// Names a ReplicationSource in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceReference {
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What each kind of schema change in the source does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaChanges {
    /// A new table.
    #[serde(default)]
    pub create_table: SchemaPolicy,
    /// A new column.
    #[serde(default)]
    pub add_column: SchemaPolicy,
    /// A column's new name.
    #[serde(default)]
    pub rename_column: SchemaPolicy,
    /// A column's new type or nullability, or a table's new key.
    #[serde(default)]
    pub alter_column: SchemaPolicy,
    /// A column less. With `Ignore` the target keeps the column and its old values.
    #[serde(default = "ignore")]
    pub drop_column: SchemaPolicy,
    /// A table emptied.
    #[serde(default)]
    pub truncate: SchemaPolicy,
    /// A table less. With `Ignore` the target keeps the table and its rows.
    #[serde(default = "ignore")]
    pub drop_table: SchemaPolicy,
}

impl Default for SchemaChanges {
    fn default() -> Self {
        Self {
            create_table: SchemaPolicy::Apply,
            add_column: SchemaPolicy::Apply,
            rename_column: SchemaPolicy::Apply,
            alter_column: SchemaPolicy::Apply,
            drop_column: SchemaPolicy::Ignore,
            truncate: SchemaPolicy::Apply,
            drop_table: SchemaPolicy::Ignore,
        }
    }
}

/// What a schema change does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchemaPolicy {
    /// It is made in the target, too.
    #[default]
    Apply,
    /// It is not made in the target; rows keep flowing as far as they fit.
    Ignore,
    /// The table waits for a person; the others go on.
    Pause,
    /// The table has failed; the others go on.
    Fail,
}

/// How changes are applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Apply {
    /// What a delete does.
    #[serde(default)]
    pub deletes: Deletes,
    /// The most rows in one batch. A source transaction larger than that is written in pieces and
    /// becomes visible at once.
    #[serde(default = "default_batch_rows")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_rows: u32,
    /// The longest that a change waits for others, as a number and a unit: `ms`, `s` or `m`;
    /// one minute at most.
    #[serde(default = "default_delay")]
    #[schemars(length(max = 8), regex(pattern = r"^[0-9]+(ms|s|m)$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('1m')")
        .message("must be one minute at most"))]
    pub max_delay: String,
}

impl Default for Apply {
    fn default() -> Self {
        Self {
            deletes: Deletes::default(),
            batch_rows: default_batch_rows(),
            max_delay: default_delay(),
        }
    }
}

/// What a delete does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deletes {
    /// It deletes the row.
    #[default]
    Apply,
    /// It sets the row's column `_sluice_deleted_at`, which Sluice adds.
    Soft,
    /// It does nothing.
    Ignore,
}

/// What happens when a row in the target is not what the change expects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.resolution == 'LatestWins') == has(self.column)")
    .message("column is needed with LatestWins, and only with it"))]
pub struct Conflicts {
    /// Who wins.
    #[serde(default)]
    pub resolution: Resolution,
    /// The column that says when a row was changed, for `LatestWins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub column: Option<String>,
}

/// Who wins when both sides changed a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Resolution {
    /// The source's row.
    #[default]
    SourceWins,
    /// The target's row.
    TargetWins,
    /// The row whose `column` is later.
    LatestWins,
}

/// What happens to records that can't be applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.deadLetterTopic) || self.onBadRecord == 'DeadLetter'")
    .message("deadLetterTopic has no effect with onBadRecord: Stop"))]
pub struct Errors {
    /// What happens to a record that the target refuses for its content, or that can't be decoded.
    #[serde(default)]
    pub on_bad_record: OnBadRecord,
    /// The topic that such records go to as they are, with Kafka Connect's error headers, where the
    /// source goes through Kafka (`spec.kafka` or `spec.kafkaTopics`). Made where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub dead_letter_topic: Option<String>,
}

/// What happens to a record that the target refuses for its content, or that can't be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnBadRecord {
    /// It is kept aside with the reason (table `sluice.dead_letters`, and `deadLetterTopic` if that is
    /// set), and the rest goes on.
    #[default]
    DeadLetter,
    /// The table stops; the others go on.
    Stop,
}

/// What happens to a value that the target can't hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unrepresentable {
    /// It becomes NULL where the column allows it; else the row becomes a dead letter.
    #[default]
    Null,
    /// The row becomes a dead letter.
    DeadLetter,
    /// The table stops; the others go on.
    Fail,
}

/// Regular comparison of source and replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// When, as five cron fields in UTC: minute, hour, day of month, month, day of week.
    #[schemars(length(max = 128), regex(pattern = r"^\S+( \S+){4}$"))]
    pub schedule: String,
    /// Whether rows that differ are copied again.
    #[serde(default)]
    pub repair: bool,
}

fn default_replicas() -> u32 {
    1
}

fn default_lag_threshold_seconds() -> u32 {
    60
}

fn default_batch_rows() -> u32 {
    20_000
}

fn default_delay() -> String {
    "100ms".to_owned()
}

fn ignore() -> SchemaPolicy {
    SchemaPolicy::Ignore
}
