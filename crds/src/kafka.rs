//! Kafka: as the transport between a source and its sinks, as a sink, and as a source of topics
//! that another capture writes.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connection::{SecretReference, Tls};

/// Topics that changes are written to: one per table, and beside them `{source}.sluice.schemas`,
/// `{source}.sluice.control` and `{source}.sluice.positions` (of a ReplicaSink, with its own name).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTransport {
    /// Brokers to connect to first, `host:port`, separated by commas.
    #[schemars(
        length(min = 1, max = 2048),
        regex(pattern = r"^[^\s/@,]+:[0-9]+(,[^\s/@,]+:[0-9]+)*$")
    )]
    pub bootstrap_servers: String,
    /// The name of each table's topic; `{source}`, `{schema}` and `{table}` are filled in.
    #[serde(default = "default_topic")]
    #[schemars(
        length(min = 1, max = 249),
        regex(pattern = r"^([a-zA-Z0-9._-]|\{(source|schema|table)\})+$")
    )]
    #[x_kube(
        validation = Rule::new("self.contains('{table}')")
            .message("must contain {table}, so that each table has a topic of its own"),
        validation = Rule::new("self == oldSelf")
            .message("can't be changed: readers of the old topics would miss changes"),
    )]
    pub topic: String,
    /// Partitions of each topic. Rows of one key stay in one partition, in order.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: u32,
    /// Copies of each partition.
    #[serde(default = "default_replication_factor")]
    #[schemars(range(min = 1, max = 100))]
    pub replication_factor: u32,
    /// How records are encoded.
    #[serde(default)]
    pub format: KafkaFormat,
    /// What a record looks like.
    #[serde(default)]
    pub envelope: KafkaEnvelope,
    /// Whether the topic `{source}.transaction` says where each transaction begins and ends, as Debezium
    /// writes it. Sinks that read the topics then apply whole transactions in the source's order, with
    /// one agent each.
    #[serde(default)]
    pub transactions: bool,
    /// How the brokers are reached; plain text and no login without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<KafkaSecurity>,
    /// Further librdkafka properties, except those that Sluice owns (brokers, security,
    /// transactions, group) and any that holds a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = owned_properties_rule())]
    pub config: BTreeMap<String, String>,
}

/// Topics that another capture, such as Debezium, writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForeignTopics {
    /// Brokers to connect to first, `host:port`, separated by commas.
    #[schemars(
        length(min = 1, max = 2048),
        regex(pattern = r"^[^\s/@,]+:[0-9]+(,[^\s/@,]+:[0-9]+)*$")
    )]
    pub bootstrap_servers: String,
    /// Which topics to read: patterns with `*` and `?`.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 249)))]
    pub topics: Vec<String>,
    /// How records are encoded.
    #[serde(default)]
    pub format: KafkaFormat,
    /// What a record looks like.
    #[serde(default)]
    pub envelope: KafkaEnvelope,
    /// How the brokers are reached; plain text and no login without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<KafkaSecurity>,
    /// Further librdkafka properties, except those that Sluice owns (brokers, security,
    /// transactions, group) and any that holds a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = owned_properties_rule())]
    pub config: BTreeMap<String, String>,
}

/// How records are encoded: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.avro) != has(self.json)")
    .message("exactly one of avro and json is needed"))]
pub struct KafkaFormat {
    /// Avro, with schemas in a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avro: Option<AvroFormat>,
    /// JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonFormat>,
}

impl Default for KafkaFormat {
    fn default() -> Self {
        Self {
            avro: None,
            json: Some(JsonFormat { schemas: false }),
        }
    }
}

/// Avro records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvroFormat {
    /// Where schemas are kept.
    pub schema_registry: SchemaRegistry,
}

/// A schema registry with the Confluent API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRegistry {
    /// Its address, without user or password.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@]+$"))]
    pub url: String,
    /// The Secret whose keys `username` and `password` are used; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// How the registry's certificate is checked, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// JSON records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JsonFormat {
    /// Whether each record carries its schema, as Kafka Connect writes it.
    #[serde(default)]
    pub schemas: bool,
}

/// What a record looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KafkaEnvelope {
    /// `{before, after, source, op, ts_ms, transaction}`, as Debezium writes it.
    #[default]
    Debezium,
    /// The row alone; a delete is a record without value.
    Flat,
}

/// How brokers are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.protocol.startsWith('SASL') == has(self.sasl)")
        .message("sasl is needed with SASL_PLAINTEXT and SASL_SSL, and only with them"),
    validation = Rule::new("self.protocol.endsWith('SSL') || !has(self.tls)")
        .message("tls has no effect without SSL or SASL_SSL"),
)]
pub struct KafkaSecurity {
    /// Encryption and login.
    #[serde(default)]
    pub protocol: KafkaProtocol,
    /// The login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<KafkaSasl>,
    /// How the brokers' certificates are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// Encryption and login of a broker connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum KafkaProtocol {
    /// Plain text, no login.
    #[default]
    Plaintext,
    /// Encrypted, no login (or by client certificate).
    Ssl,
    /// Plain text, login.
    SaslPlaintext,
    /// Encrypted, login.
    SaslSsl,
}

/// A login with user and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSasl {
    /// How the password is proved.
    #[serde(default)]
    pub mechanism: SaslMechanism,
    /// The Secret in the same namespace whose keys `username` and `password` are used.
    pub secret_ref: SecretReference,
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// The password itself: only over an encrypted connection.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// Properties that Sluice sets itself; the CEL rule and `sluice-convert` both use the list.
pub const OWNED_PROPERTIES: [&str; 8] = [
    "bootstrap.servers",
    "security.protocol",
    "transactional.id",
    "enable.idempotence",
    "group.id",
    "enable.auto.commit",
    "isolation.level",
    "auto.offset.reset",
];

/// Beginnings of properties that Sluice sets itself or that hold secrets.
pub const OWNED_PREFIXES: [&str; 2] = ["sasl.", "ssl."];

fn owned_properties_rule() -> kube::core::Rule {
    let names = OWNED_PROPERTIES.map(|name| format!("'{name}'")).join(", ");
    let prefixes = OWNED_PREFIXES
        .map(|prefix| format!(" && !name.startsWith('{prefix}')"))
        .concat();
    kube::core::Rule::new(format!("self.all(name, !(name in [{names}]){prefixes})")).message(
        "holds a property that Sluice sets itself (brokers, security, transactions, group): use \
         bootstrapServers and security",
    )
}

fn default_topic() -> String {
    "{source}.{schema}.{table}".to_owned()
}

fn default_partitions() -> u32 {
    6
}

fn default_replication_factor() -> u32 {
    3
}
