//! Kafka's ends.

use std::sync::Arc;

use sluice_agent_api::{
    AgentConfig, SecretStore,
    kafka::{KafkaConfig, KafkaSourceConfig},
};
use sluice_core::{Sink, Source, TableSelection};
use sluice_kafka::{KafkaSink, KafkaSource};

pub(super) use sluice_kafka::preflight::{check_sink, check_source};

/// Topics as a source, not connected yet.
pub(super) fn source(
    topics: &KafkaSourceConfig,
    selection: TableSelection,
    config: &AgentConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Box<dyn Source> {
    Box::new(
        KafkaSource::new(topics.clone(), selection, Arc::clone(secrets))
            .with_replicas(config.replicas),
    )
}

/// Topics as a sink, not connected yet.
pub(super) fn sink(
    pipeline: String,
    topics: &KafkaConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Box<dyn Sink> {
    Box::new(KafkaSink::new(
        pipeline,
        topics.clone(),
        Arc::clone(secrets),
    ))
}
