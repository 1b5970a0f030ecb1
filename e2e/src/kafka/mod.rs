//! Kafka, the schema registry and Kafka Connect of `e2e/servers`, and what tests ask of them.
//!
//! [`KafkaServers`] says where they are: the shared ones by the environment, or a test's own through
//! [`crate::ThrowAway`]. `topics` (feature `kafka`) makes topics and reads them as a `read_committed`
//! consumer does, [`console`] is the consumer that comes with Kafka, [`registry`] lists subjects,
//! [`connect`] runs connectors in the worker and [`debezium`] writes their configurations. [`transport`]
//! makes Sluice's own agents, and [`through`] leads the tests' other pipelines through Kafka.
//! Whatever is not there is an error that names the command that starts it; nothing here skips.

pub mod connect;
pub mod console;
pub mod debezium;
pub mod http;
pub mod registry;
pub mod through;
#[cfg(feature = "kafka")]
pub mod topics;
pub mod transport;

use std::{env, path::PathBuf};

use anyhow::{Context, Result, bail};

pub use through::Through;
pub use transport::Transport;

/// Where the servers of one state folder are.
#[derive(Debug, Clone)]
pub struct KafkaServers {
    /// The broker, `host:port`.
    pub bootstrap: String,
    /// The registry's Confluent API.
    pub registry_url: String,
    /// The registry's own API, which Apicurio's converters use.
    pub apicurio_url: String,
    /// The worker's REST API; none of a test's own servers.
    pub connect_url: Option<String>,
    /// The folder of Kafka's jars.
    pub libs: PathBuf,
    /// The program that runs them.
    pub java: PathBuf,
}

impl KafkaServers {
    /// The shared servers, which no test may stop or configure.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// The servers of `e2e/cluster databases kafka registry`, by an address that pods reach too.
    pub fn for_pods() -> Result<Self> {
        Self::for_pods_or(|_| None)
    }

    /// The same, but for what others say first: a test's own servers.
    pub(crate) fn for_pods_or(own: impl Fn(&str) -> Option<String>) -> Result<Self> {
        if env::var_os("SLUICE_CLUSTER_KAFKA_BOOTSTRAP_PODS").is_none() {
            let command = "eval \"$(e2e/cluster databases kafka registry)\"";
            bail!("SLUICE_CLUSTER_KAFKA_… unset; run: {command}");
        }
        Self::from_variables(|name| {
            // Kafka names one address to each listener's clients.
            let name = match name {
                "SLUICE_KAFKA_BOOTSTRAP" => "SLUICE_KAFKA_BOOTSTRAP_PODS",
                name => name,
            };
            let shared = name.replacen("SLUICE_", "SLUICE_CLUSTER_", 1);
            own(name).or_else(|| env::var(shared).ok())
        })
    }

    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let needed = |name: &str| {
            variable(name).with_context(|| {
                format!("{name} unset; run: eval \"$(e2e/servers up kafka registry connect)\"")
            })
        };
        Ok(Self {
            bootstrap: needed("SLUICE_KAFKA_BOOTSTRAP")?,
            registry_url: needed("SLUICE_REGISTRY_URL")?,
            apicurio_url: needed("SLUICE_APICURIO_URL")?,
            connect_url: variable("SLUICE_CONNECT_URL"),
            libs: needed("SLUICE_KAFKA_LIBS")?.into(),
            java: needed("SLUICE_JAVA")?.into(),
        })
    }
}

/// How records are encoded, as the converters of Kafka Connect name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Avro with schemas in the registry.
    Avro,
    /// JSON; each record carries its schema.
    JsonWithSchemas,
    /// JSON alone.
    Json,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Avro, Self::JsonWithSchemas, Self::Json];

    /// `spec.kafka.format` of this format.
    pub fn spec(self, servers: &KafkaServers) -> serde_json::Value {
        match self {
            Self::Avro => {
                serde_json::json!({"avro": {"schemaRegistry": {"url": servers.registry_url}}})
            }
            Self::JsonWithSchemas => serde_json::json!({"json": {"schemas": true}}),
            Self::Json => serde_json::json!({"json": {"schemas": false}}),
        }
    }
}
