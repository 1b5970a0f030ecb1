//! The codec of a configuration.

use std::sync::Arc;

use sluice_agent_api::{
    SecretStore,
    kafka::{KafkaEnvelope, KafkaFormat},
};
use sluice_avro::{Codec, Envelope, Format, Registry, RegistryConfig};
use sluice_core::Result;

/// Makes the codec that reads or writes records of a source.
pub(crate) fn codec(
    format: &KafkaFormat,
    envelope: KafkaEnvelope,
    source: &str,
    secrets: &Arc<dyn SecretStore>,
) -> Result<Codec> {
    let format = match format {
        KafkaFormat::Avro { registry } => {
            let login = registry.login.as_ref();
            let config = RegistryConfig {
                url: registry.url.clone(),
                username: login.map(|login| login.username.clone()),
                password: login.map(|login| login.password.clone()),
                tls: registry.tls.clone(),
            };
            Format::Avro(Arc::new(Registry::new(config, Arc::clone(secrets))?))
        }
        KafkaFormat::Json { schemas } => Format::Json { schemas: *schemas },
    };
    let envelope = match envelope {
        KafkaEnvelope::Debezium => Envelope::Debezium,
        KafkaEnvelope::Flat => Envelope::Flat,
    };
    Ok(Codec::new(format, envelope, source))
}
