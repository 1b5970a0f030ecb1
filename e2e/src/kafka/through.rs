//! The tests' own pipelines led through Kafka: with `SLUICE_THROUGH=avro|json|json-schemas` every
//! [`PipelineFile`](crate::PipelineFile) has a `spec.kafka`, and "caught up" means through both agents.

use std::env;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Format, KafkaServers};

/// What says that pipelines go through Kafka, and in which format.
pub const VARIABLE: &str = "SLUICE_THROUGH";
/// Enough that rows of one table come in several orders.
const PARTITIONS: u32 = 3;

/// The way of one pipeline through Kafka.
#[derive(Debug, Clone)]
pub struct Through {
    /// The broker.
    pub bootstrap: String,
    /// What the names of the source's topics begin with: its own name.
    pub source: String,
    format: Value,
}

impl Through {
    /// The way that the environment asks for; none where pipelines go directly.
    ///
    /// # Panics
    /// When it names no format, or the servers are not there.
    pub fn from_env(source: &str) -> Option<Self> {
        let name = env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
        let format = match name.as_str() {
            "avro" => Some(Format::Avro),
            "json" => Some(Format::Json),
            "json-schemas" => Some(Format::JsonWithSchemas),
            _ => None,
        };
        assert!(
            format.is_some(),
            "{VARIABLE}={name} is none of avro, json, json-schemas"
        );
        let servers = KafkaServers::from_env().expect("Kafka's servers");
        Some(Self {
            format: format?.spec(&servers),
            bootstrap: servers.bootstrap,
            source: source.to_owned(),
        })
    }

    /// `spec.kafka` of the source.
    pub fn spec(&self) -> Value {
        json!({
            "bootstrapServers": self.bootstrap,
            "replicationFactor": 1,
            "partitions": PARTITIONS,
            "format": self.format,
        })
    }

    /// The pipeline that captures.
    pub fn capture(&self) -> String {
        format!("{}:capture", self.source)
    }

    /// Behind the last committed record of every partition that the sinks read.
    #[cfg(feature = "kafka")]
    pub(crate) async fn ends(&self) -> Result<sluice_core::LogPosition> {
        let (bootstrap, prefix) = (self.bootstrap.clone(), format!("{}.", self.source));
        let own = ["positions", "schemas"].map(|name| format!("{prefix}sluice.{name}"));
        let read = move || super::topics::ends(&bootstrap, &prefix, &own);
        let ends = tokio::task::spawn_blocking(read).await??;
        anyhow::ensure!(!ends.is_empty(), "{} has no topics", self.source);
        Ok(sluice_core::LogPosition::Offsets(ends))
    }

    #[cfg(not(feature = "kafka"))]
    #[expect(clippy::unused_async, reason = "the other build waits")]
    pub(crate) async fn ends(&self) -> Result<sluice_core::LogPosition> {
        anyhow::bail!("{VARIABLE} needs a build with the feature kafka")
    }
}

/// Whether a position is at or behind each of these places; one that was never moved holds nothing.
pub(crate) fn has_read(position: &str, ends: &sluice_core::LogPosition) -> bool {
    use sluice_core::LogPosition::Offsets;
    match (position.parse(), ends) {
        (Ok(Offsets(position)), Offsets(ends)) => ends
            .iter()
            .all(|(place, end)| position.get(place).copied().unwrap_or(0) >= *end),
        _ => false,
    }
}
