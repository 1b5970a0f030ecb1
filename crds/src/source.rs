//! The custom resource that names a database to capture.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    agent::AgentTemplate,
    connection::{Credentials, Tls},
    kafka::{ForeignTopics, KafkaTransport},
    status::ReplicationSourceStatus,
    tables::Tables,
};

/// A database (or topics) whose changes are captured. Each ReplicaSink that names it keeps one
/// replica in step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "ReplicationSource",
    namespaced,
    doc = "A database (or topics) whose changes are captured. Each ReplicaSink that names it keeps one replica in step.",
    status = "ReplicationSourceStatus",
    derive = "PartialEq",
    shortname = "rsrc",
    category = "replication",
    printcolumn(
        name = "Type",
        type_ = "string",
        json_path = ".status.type",
        description = "The kind of source"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "What the capture does"
    ),
    printcolumn(
        name = "Lag",
        type_ = "number",
        json_path = ".status.lag.seconds",
        description = "Age of the newest change that is not captured, in seconds"
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
        description = "Where the capture stands in the source's log"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "[has(self.mysql), has(self.postgres), has(self.kafkaTopics)].filter(given, given).size() == 1"
    ).message("exactly one of mysql, postgres and kafkaTopics is needed"),
    validation = Rule::new(
        "has(self.mysql) == has(oldSelf.mysql) && has(self.postgres) == has(oldSelf.postgres)"
    ).message("the kind of source can't be changed: create another ReplicationSource"),
    validation = Rule::new("has(self.kafkaTopics) || has(self.tables)")
        .message("tables is needed with mysql and postgres").field_path(".tables"),
    validation = Rule::new("!(has(self.kafka) && has(self.kafkaTopics))")
        .message("kafka is only for mysql and postgres: kafkaTopics are in Kafka already")
        .field_path(".kafka"),
    validation = Rule::new("has(self.kafka) == has(oldSelf.kafka)")
        .message("kafka can't be added or removed: progress is kept elsewhere; create another ReplicationSource")
        .field_path(".kafka"),
)]
#[kube(validation = Rule::new("self.metadata.name.size() <= 52")
    .message("metadata.name can have 52 characters at most: names of pods are made of it"))]
pub struct ReplicationSourceSpec {
    /// A MySQL server. Exactly one of `mysql`, `postgres` and `kafkaTopics` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MysqlSource>,
    /// A PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSource>,
    /// Topics that another capture, such as Debezium, writes. They are read from their beginning;
    /// `snapshot` and `onPositionLost` have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_topics: Option<ForeignTopics>,
    /// Which tables are captured. Needed with `mysql` and `postgres`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Tables>,
    /// Whether and how the rows that are already there are copied.
    #[serde(default)]
    pub snapshot: Snapshot,
    /// What happens when the source's log no longer holds the place where Sluice stopped reading.
    #[serde(default)]
    pub on_position_lost: OnPositionLost,
    /// How often, in seconds, an idle stream shows that it is alive.
    #[serde(default = "default_heartbeat_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub heartbeat_seconds: u32,
    /// With `kafka`: a capture that is further behind than this many seconds is not Ready. What its
    /// sinks say of theirs counts both, the way into Kafka and the way out.
    #[serde(default = "default_lag_threshold_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub lag_threshold_seconds: u32,
    /// Whether capture is stopped. The position is kept, but the source must keep its log as well.
    /// Without `kafka`, this stops the source's sinks; with it, they go on with what is in Kafka.
    #[serde(default)]
    pub paused: bool,
    /// Kafka as the transport to the sinks: an agent of the source's own writes every change to
    /// topics, once, and the agent of each sink applies them from there. Without it, the agent of
    /// a sink reads the database itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaTransport>,
    /// How the agent's pods are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentTemplate>,
}

/// A MySQL server, 8.0.1 or newer, with `binlog_format=ROW` and `binlog_row_metadata=FULL`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MysqlSource {
    /// Host name or address. May be changed, for example after a failover; the position is then
    /// looked up by GTID.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s/@]+$"))]
    pub host: String,
    /// TCP port.
    #[serde(default = "default_mysql_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// User name and password. The user needs `SELECT`, `REPLICATION SLAVE` and `REPLICATION CLIENT`.
    pub credentials: Credentials,
    /// Encryption of the connection. Without it, plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A PostgreSQL database, 13 or newer, with `wal_level=logical`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresSource {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s/@]+$"))]
    pub host: String,
    /// TCP port.
    #[serde(default = "default_postgres_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The database.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("can't be changed: create another ReplicationSource"))]
    pub database: String,
    /// User name and password. The user needs the attribute `REPLICATION`.
    pub credentials: Credentials,
    /// Encryption of the connection. Without it, plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What becomes of the replication slot and the publication when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What becomes of things outside the cluster when their object is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are dropped.
    #[default]
    Delete,
    /// They stay. A slot that nobody reads makes the server keep its log for ever.
    Retain,
}

/// Whether and how present rows are copied. The copy takes no locks and goes on where it stopped
/// after a restart; changes are streamed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// When rows are copied.
    #[serde(default)]
    pub mode: SnapshotMode,
    /// Rows per chunk. A chunk is read with one query and held in memory.
    #[serde(default = "default_chunk_rows")]
    #[schemars(range(min = 100, max = 10_000_000))]
    pub chunk_rows: u32,
    /// Chunks that are read side by side, each over a connection of its own.
    #[serde(default = "default_parallelism")]
    #[schemars(range(min = 1, max = 64))]
    pub parallelism: u32,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::default(),
            chunk_rows: default_chunk_rows(),
            parallelism: default_parallelism(),
        }
    }
}

/// When present rows are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SnapshotMode {
    /// Once, when the replica is new; and each new table when it appears.
    #[default]
    Initial,
    /// Never: only changes from now on.
    Never,
    /// Once, and then the pipeline stops.
    Only,
    /// When the replica is new, and again when the position is lost.
    WhenNeeded,
}

/// What happens when the source's log no longer holds the position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnPositionLost {
    /// The pipeline stops and says so; the replica is left as it is.
    #[default]
    Fail,
    /// Every table is copied again.
    Resnapshot,
}

fn default_heartbeat_seconds() -> u32 {
    10
}

fn default_lag_threshold_seconds() -> u32 {
    60
}

fn default_mysql_port() -> u16 {
    3306
}

fn default_postgres_port() -> u16 {
    5432
}

fn default_chunk_rows() -> u32 {
    50_000
}

fn default_parallelism() -> u32 {
    4
}
