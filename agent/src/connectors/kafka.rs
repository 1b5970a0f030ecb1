//! Kafka's ends.

use std::sync::Arc;

use sluice_agent_api::{
    AgentConfig, SecretStore,
    config::SourceSystem,
    kafka::{KafkaConfig, KafkaSourceConfig},
};
use sluice_core::{DeadLetters, Sink, Source, TableSelection};
use sluice_kafka::{KafkaSink, KafkaSource, LetterTopic};

pub(super) use sluice_kafka::preflight::{check_sink, check_source};

/// Topics as a source, not connected yet.
pub(super) fn source(
    topics: &KafkaSourceConfig,
    selection: TableSelection,
    config: &AgentConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Box<dyn Source> {
    let source = KafkaSource::new(topics.clone(), selection, Arc::clone(secrets))
        .with_replicas(config.replicas);
    match config.sink.dead_letter_topic {
        Some(_) => Box::new(source.with_origins()),
        None => Box::new(source),
    }
}

/// The topic of a pipeline's dead letters; none where they are in the target alone.
pub(super) fn dead_letters(
    config: &AgentConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Option<Arc<dyn DeadLetters>> {
    let topic = config.sink.dead_letter_topic.clone()?;
    let SourceSystem::Kafka(source) = &config.source.system else {
        return None;
    };
    let (cluster, pipeline) = (source.cluster.clone(), config.pipeline.clone());
    let secrets = Arc::clone(secrets);
    let letters = LetterTopic::new(topic, cluster, pipeline, config.replicas, secrets);
    Some(Arc::new(letters))
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
