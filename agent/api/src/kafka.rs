//! What an agent is to do with Kafka: the topics that a capture agent writes and an apply agent reads.
//!
//! Of a source captured under `name`, each table has a topic named by the pattern `topic`, and
//! beside them lie `{name}.sluice.schemas`, `{name}.sluice.control` and `{name}.sluice.positions`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{config::TlsConfig, secret::SecretKey};

/// Topics that changes are written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaConfig {
    /// The brokers.
    pub cluster: KafkaCluster,
    /// The names of the topics.
    pub topics: OwnTopics,
    /// Whether the topics are a source's transport to its sinks, and not a replica of their own.
    pub is_transport: bool,
    /// Partitions of each table's topic.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication_factor: u32,
    /// How records are encoded.
    pub format: KafkaFormat,
    /// What a record looks like.
    pub envelope: KafkaEnvelope,
}

/// Topics that changes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSourceConfig {
    /// The brokers.
    pub cluster: KafkaCluster,
    /// Which topics.
    pub topics: KafkaTopics,
    /// The consumer group: all agents of one replica share it, and no others.
    pub group_id: String,
    /// How records are encoded.
    pub format: KafkaFormat,
    /// What a record looks like.
    pub envelope: KafkaEnvelope,
}

/// Which topics are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum KafkaTopics {
    /// Those of a source that Sluice captures.
    Own(OwnTopics),
    /// Those that another capture, such as Debezium, writes: patterns with `*` and `?`.
    Foreign(Vec<String>),
}

/// How the topics of a captured source are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnTopics {
    /// Begins the names of the topics beside the tables' topics, as in `{name}.sluice.schemas`.
    pub name: String,
    /// What stands for `{source}` in the pattern and for the connector's name in records.
    pub source: String,
    /// The name of each table's topic, with `{source}`, `{schema}` and `{table}`.
    pub topic: String,
    /// Whether the bounds of transactions have a topic: writers fill it, and readers apply whole
    /// transactions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transactions: bool,
}

impl OwnTopics {
    /// The topic of a table. A character that no topic's name can have becomes `_`, so that two tables
    /// may end up with one name: that is for the writer to refuse.
    pub fn table(&self, schema: &str, table: &str) -> String {
        // In one pass: a table may be called `{schema}`.
        let mut name = String::with_capacity(self.topic.len() + schema.len() + table.len());
        let mut rest = self.topic.as_str();
        while let Some(at) = rest.find('{') {
            name.push_str(&rest[..at]);
            rest = &rest[at..];
            let fields = [
                ("{source}", self.source.as_str()),
                ("{schema}", schema),
                ("{table}", table),
            ];
            let known = fields.iter().find(|(field, _)| rest.starts_with(field));
            let (length, text) = known.map_or((1, "{"), |(field, text)| (field.len(), *text));
            name.push_str(text);
            rest = &rest[length..];
        }
        name.push_str(rest);
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        name.replace(|character| !allowed(character), "_")
    }

    /// The topic of the tables' definitions.
    pub fn schemas(&self) -> String {
        format!("{}.sluice.schemas", self.name)
    }

    /// The topic of what is no row.
    pub fn control(&self) -> String {
        format!("{}.sluice.control", self.name)
    }

    /// The topic of the bounds of transactions, by Debezium's name for it (`topic.transaction`).
    pub fn transaction(&self) -> String {
        format!("{}.transaction", self.name)
    }

    /// The topic of the capture's positions.
    pub fn positions(&self) -> String {
        format!("{}.sluice.positions", self.name)
    }
}

/// Brokers, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaCluster {
    /// Brokers to connect to first, `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The login; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslConfig>,
    /// Whether and how connections are encrypted.
    pub tls: TlsConfig,
    /// Further librdkafka properties; none that Sluice sets itself and none that holds a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// A login with user and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SaslConfig {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// The key that holds the user's name.
    pub username: SecretKey,
    /// The key that holds the password.
    pub password: SecretKey,
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// The password itself.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The name in the protocol and in librdkafka's `sasl.mechanism`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How records are encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "a configuration is there once")]
pub enum KafkaFormat {
    /// Avro, with schemas in a registry.
    Avro {
        /// The registry.
        registry: RegistryConfig,
    },
    /// JSON.
    Json {
        /// Whether each record carries its schema, as Kafka Connect writes it.
        schemas: bool,
    },
}

/// A schema registry with the Confluent API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryConfig {
    /// Its address, `http://` or `https://`, without user or password.
    pub url: String,
    /// The login; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<RegistryLogin>,
    /// How the registry's certificate is checked, for `https`.
    pub tls: TlsConfig,
}

/// User and password of a schema registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryLogin {
    /// The key that holds the user's name.
    pub username: SecretKey,
    /// The key that holds the password.
    pub password: SecretKey,
}

/// What a record looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KafkaEnvelope {
    /// `{before, after, source, op, ts_ms, transaction}`, as Debezium writes it.
    #[default]
    Debezium,
    /// The row alone; a delete is a record without value.
    Flat,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_after_its_table_in_one_pass() {
        let topics = |pattern: &str| OwnTopics {
            name: "shop".into(),
            source: "shop".into(),
            topic: pattern.into(),
            transactions: false,
        };
        let name = |pattern: &str, table: &str| topics(pattern).table("db", table);
        assert_eq!(name("{source}.{schema}.{table}", "a"), "shop.db.a");
        assert_eq!(name("x-{table}", "{schema}"), "x-_schema_");
        assert_eq!(name("{table}{schema", "größe"), "gr__e_schema");
        assert_eq!(topics("{table}").control(), "shop.sluice.control");
    }
}
