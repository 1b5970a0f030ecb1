//! What the user asked for, in the form in which the sink needs it.

use std::time::Duration;

use sluice_agent_api::kafka::KafkaConfig;

/// A sink's settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Names the records of `<source>.sluice.positions` and the transactional id.
    pub(crate) pipeline: String,
    pub(crate) kafka: KafkaConfig,
    /// A transaction that is older is committed in pieces.
    pub(crate) transaction_age_max: Duration,
}

/// How long brokers let a transaction stay open; `transaction.timeout.ms` says otherwise.
const TRANSACTION_TIMEOUT_MS: u64 = 60_000;

impl Settings {
    pub(crate) fn new(pipeline: String, kafka: KafkaConfig) -> Self {
        let age = Self::timeout_of(&kafka) / 3;
        Self {
            pipeline,
            kafka,
            transaction_age_max: age,
        }
    }

    /// How long brokers let a transaction stay open.
    pub(crate) fn transaction_timeout(&self) -> Duration {
        Self::timeout_of(&self.kafka)
    }

    fn timeout_of(kafka: &KafkaConfig) -> Duration {
        let set = kafka.cluster.properties.get("transaction.timeout.ms");
        let parsed = set.and_then(|value| value.parse().ok());
        Duration::from_millis(parsed.unwrap_or(TRANSACTION_TIMEOUT_MS))
    }

    pub(crate) fn transactional_id(&self) -> String {
        format!("sluice-{}", self.pipeline)
    }

    pub(crate) fn client_id(&self) -> String {
        format!("sluice-{}", self.pipeline)
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.kafka.cluster.bootstrap_servers
    }
}
