//! What an agent is to do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::secret::SecretKey;
pub use crate::{
    kafka::{KafkaConfig, KafkaSourceConfig},
    replicas::Replicas,
};

/// Everything that one agent needs to know. Made from the custom resources in one place
/// (`operator/convert`), for the operator and for `sluice run` alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentConfig {
    /// Names the pipeline in logs, in metrics and in the target's `sluice.positions`; unique per target.
    pub pipeline: String,
    /// Where changes come from.
    pub source: SourceConfig,
    /// Where they go.
    pub sink: SinkConfig,
    /// Whether and how present rows are copied.
    pub snapshot: SnapshotConfig,
    /// What happens when the log no longer holds the position.
    pub on_position_lost: OnPositionLost,
    /// Which tables go where, in which shape; empty means every table under its own name.
    #[serde(default)]
    pub tables: Vec<TableRoute>,
    /// How batches are cut.
    pub batch: BatchConfig,
    /// The newest request to copy tables again; none was made without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resnapshot: Option<ResnapshotRequest>,
    /// Which part of the work is this agent's; all of it without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
}

impl AgentConfig {
    /// Names this agent among those of its pipeline.
    pub fn agent_name(&self) -> String {
        let replicas = self.replicas.as_ref();
        replicas.map_or_else(
            || self.pipeline.clone(),
            |replicas| replicas.name(&self.pipeline),
        )
    }

    /// Whether the agent writes its source's changes to Kafka for the agents of the sinks.
    pub fn is_capture(&self) -> bool {
        matches!(&self.sink.system, SinkSystem::Kafka(kafka) if kafka.is_transport)
    }

    /// The resource that the target belongs to, such as `ReplicaSink/shop-pg`.
    pub fn target_subject(&self) -> String {
        if self.is_capture() {
            self.source.subject()
        } else {
            format!("ReplicaSink/{}", self.sink.name)
        }
    }
}

/// A request to copy tables again, whatever their state. It stays in the configuration: an agent
/// does each id exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResnapshotRequest {
    /// Tells the request from every other one of the same pipeline.
    pub id: String,
    /// Patterns over the source's `schema.table` with `*` and `?`. `*` alone starts over: every
    /// table is copied, and the log is followed from its present end.
    pub tables: Vec<String>,
}

/// Where changes come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceConfig {
    /// Names the source in status.
    pub name: String,
    /// Which tables: patterns over `schema.table` with `*` and `?`.
    pub include: Vec<String>,
    /// Which tables not.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How often an idle stream shows that it is alive.
    pub heartbeat_seconds: u32,
    /// The system.
    pub system: SourceSystem,
}

impl SourceConfig {
    /// The resource, such as `ReplicationSource/shop`.
    pub fn subject(&self) -> String {
        format!("ReplicationSource/{}", self.name)
    }
}

/// The system that changes come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "a configuration is there once")]
pub enum SourceSystem {
    /// MySQL's binary log.
    Mysql(MysqlConfig),
    /// Kafka topics.
    Kafka(KafkaSourceConfig),
}

/// A MySQL server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MysqlConfig {
    /// How to reach it.
    pub connection: ConnectionConfig,
    /// The replica id under which the agent reads the binlog, unique among the server's replicas.
    pub server_id: u32,
}

/// How to reach a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The database to connect to, for systems that need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The key that holds the user's name.
    pub username: SecretKey,
    /// The key that holds the password.
    pub password: SecretKey,
    /// Whether and how the connection is encrypted.
    pub tls: TlsConfig,
}

/// Whether and how a connection is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// How much is checked.
    pub mode: TlsMode,
    /// The key that holds the authority's certificates (PEM); the system's without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
    /// The keys that hold the client's certificate and private key (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// The certificate chain.
    pub certificate: SecretKey,
    /// The private key.
    pub key: SecretKey,
}

/// How much of a TLS connection is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// Plain text.
    #[default]
    Disable,
    /// Encrypted; the server may be anybody.
    Require,
    /// Encrypted; the server's certificate comes from the authority.
    VerifyCa,
    /// Encrypted; the certificate is also for this host.
    VerifyFull,
}

/// Where changes go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SinkConfig {
    /// Names the sink in status.
    pub name: String,
    /// What each kind of schema change does.
    pub schema_changes: SchemaPolicies,
    /// What a delete does.
    pub deletes: Deletes,
    /// What happens to a record that the target refuses for its content.
    pub on_bad_record: OnBadRecord,
    /// The Kafka topic that such records go to, of a source that is read from Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// What happens to a value that the target can't hold.
    pub unrepresentable: Unrepresentable,
    /// The system.
    pub system: SinkSystem,
}

/// The system that changes go to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "a configuration is there once")]
pub enum SinkSystem {
    /// PostgreSQL.
    Postgres(PostgresConfig),
    /// Kafka topics.
    Kafka(KafkaConfig),
}

/// A PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresConfig {
    /// How to reach it.
    pub connection: ConnectionConfig,
    /// How MySQL `tinyint(1)` is created: as `smallint` or as `boolean`.
    #[serde(default)]
    pub tinyint1: Tinyint1,
    /// How an enum is created.
    #[serde(default)]
    pub enums: EnumAs,
    /// How a set is created.
    #[serde(default)]
    pub sets: SetAs,
}

/// How `tinyint(1)` is created in the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tinyint1 {
    /// As a small integer: every value arrives.
    #[default]
    Smallint,
    /// As a boolean: zero is false, anything else true.
    Boolean,
}

/// How an enum is created in the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnumAs {
    /// As `text`.
    #[default]
    Text,
    /// As a native enum type.
    Native,
}

/// How a set is created in the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetAs {
    /// As `text`, labels joined by commas.
    #[default]
    Text,
    /// As `text[]`.
    TextArray,
}

/// Whether and how present rows are copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotConfig {
    /// When to copy.
    pub mode: SnapshotMode,
    /// Rows per chunk.
    pub chunk_rows: u64,
    /// Chunks read side by side.
    pub parallelism: u32,
}

/// When present rows are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotMode {
    /// Once, when the replica is new; new tables when they appear.
    #[default]
    Initial,
    /// Never: only changes from now on.
    Never,
    /// Once, and then stop.
    Only,
    /// When the replica is new or its position is lost.
    WhenNeeded,
}

/// What happens when the log no longer holds the position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnPositionLost {
    /// Stop and say so; touch nothing.
    #[default]
    Fail,
    /// Copy every table again.
    Resnapshot,
}

/// Where a table goes, and in which shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableRoute {
    /// The source's table, `schema.table`; may hold `*` and `?` when there is no target.
    pub source: String,
    /// The target's table, `schema.table`; the source's name without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only these columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_columns: Option<Vec<String>>,
    /// Not these columns.
    #[serde(default)]
    pub exclude_columns: Vec<String>,
    /// New names of columns, by their old ones.
    #[serde(default)]
    pub rename_columns: BTreeMap<String, String>,
    /// Columns whose values are hidden.
    #[serde(default)]
    pub mask_columns: BTreeMap<String, Mask>,
    /// Only rows for which this SQL condition is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<String>,
}

/// How a value is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mask {
    /// The SHA-256 of the value's text, as 64 hexadecimal digits.
    Sha256,
    /// NULL.
    Null,
    /// The text `***`.
    Redact,
}

/// How batches are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchConfig {
    /// The most rows in one batch.
    pub rows_max: usize,
    /// The most bytes in one batch, beyond a single row's own size.
    pub size_bytes_max: usize,
    /// The longest that rows wait for more rows, in milliseconds.
    pub delay_ms_max: u64,
}

/// What each kind of schema change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchemaPolicies {
    /// A new table.
    pub create_table: SchemaPolicy,
    /// A new column.
    pub add_column: SchemaPolicy,
    /// A column's new name.
    pub rename_column: SchemaPolicy,
    /// A column's new type, nullability or key.
    pub alter_column: SchemaPolicy,
    /// A column less.
    pub drop_column: SchemaPolicy,
    /// A table emptied.
    pub truncate: SchemaPolicy,
    /// A table less.
    pub drop_table: SchemaPolicy,
}

/// What a schema change does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaPolicy {
    /// It is made in the target, too.
    #[default]
    Apply,
    /// It is not; rows keep flowing as far as they fit.
    Ignore,
    /// The table waits for a person.
    Pause,
    /// The table has failed.
    Fail,
}

/// What a delete does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deletes {
    /// It deletes.
    #[default]
    Apply,
    /// It sets `_sluice_deleted_at`.
    Soft,
    /// It does nothing.
    Ignore,
}

/// What happens to a record that the target refuses for its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnBadRecord {
    /// It is kept aside, and the rest goes on.
    #[default]
    DeadLetter,
    /// The table stops.
    Stop,
}

/// What happens to a value that the target can't hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unrepresentable {
    /// NULL where the column allows it, else the row becomes a dead letter; counted.
    #[default]
    Null,
    /// The row becomes a dead letter.
    DeadLetter,
    /// The table stops.
    Fail,
}
