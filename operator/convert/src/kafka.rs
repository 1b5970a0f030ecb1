//! Kafka's parts of an agent's configuration: the transport, a target, and topics of others.

use std::collections::BTreeMap;

use sluice_agent_api::{
    config::TlsConfig,
    kafka::{
        KafkaCluster, KafkaConfig, KafkaEnvelope, KafkaFormat, KafkaSourceConfig, KafkaTopics,
        OwnTopics, RegistryConfig, RegistryLogin, SaslConfig, SaslMechanism,
    },
};
use sluice_crds::kafka::{
    self as crd, ForeignTopics, KafkaSecurity, KafkaTransport, OWNED_PREFIXES, OWNED_PROPERTIES,
};

use crate::{
    problem::Checks,
    secrets::{keys_of, tls_config},
    source::check_tls,
};

/// What both kinds of Kafka have in common.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub(crate) bootstrap_servers: &'a str,
    pub(crate) format: &'a crd::KafkaFormat,
    pub(crate) envelope: crd::KafkaEnvelope,
    pub(crate) security: Option<&'a KafkaSecurity>,
    pub(crate) config: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a KafkaTransport> for Shared<'a> {
    fn from(kafka: &'a KafkaTransport) -> Self {
        Self {
            bootstrap_servers: &kafka.bootstrap_servers,
            format: &kafka.format,
            envelope: kafka.envelope,
            security: kafka.security.as_ref(),
            config: &kafka.config,
        }
    }
}

impl<'a> From<&'a ForeignTopics> for Shared<'a> {
    fn from(topics: &'a ForeignTopics) -> Self {
        Self {
            bootstrap_servers: &topics.bootstrap_servers,
            format: &topics.format,
            envelope: topics.envelope,
            security: topics.security.as_ref(),
            config: &topics.config,
        }
    }
}

/// Refuses what contradicts itself in `spec.kafka` of a source or a sink.
pub(crate) fn check_transport(kafka: &KafkaTransport, checks: &mut Checks) {
    check_shared("spec.kafka", kafka.into(), checks);
    checks.require(
        kafka.topic.contains("{table}"),
        "spec.kafka.topic",
        "must contain {table}, so that each table has a topic of its own",
    );
    checks.require(
        is_topic(&kafka.topic),
        "spec.kafka.topic",
        "can have letters, digits, ., _ and - besides {source}, {schema} and {table}",
    );
}

/// Refuses what contradicts itself in `spec.kafkaTopics`.
pub(crate) fn check_foreign(topics: &ForeignTopics, checks: &mut Checks) {
    check_shared("spec.kafkaTopics", topics.into(), checks);
    checks.require(
        !topics.topics.is_empty() && topics.topics.iter().all(|topic| !topic.is_empty()),
        "spec.kafkaTopics.topics",
        "must name at least one topic or pattern",
    );
}

/// Whether a topic's name matches a pattern with `*` and `?`.
pub(crate) fn matches(pattern: &str, topic: &str) -> bool {
    let mut characters = pattern.chars();
    let rest = |length: usize| &pattern[length..];
    match characters.next() {
        None => topic.is_empty(),
        Some('*') => {
            let mut ends = topic.char_indices().map(|(at, _)| at).chain([topic.len()]);
            ends.any(|at| matches(rest(1), &topic[at..]))
        }
        Some(first) => {
            let own = topic.chars().next();
            own.is_some_and(|own| {
                (first == '?' || own == first)
                    && matches(rest(first.len_utf8()), &topic[own.len_utf8()..])
            })
        }
    }
}

/// Whether Kafka takes the name.
pub(crate) fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(allowed)
}

fn is_topic(pattern: &str) -> bool {
    let filled = ["{source}", "{schema}", "{table}"]
        .iter()
        .fold(pattern.to_owned(), |text, field| text.replace(field, ""));
    filled
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn check_shared(path: &str, kafka: Shared<'_>, checks: &mut Checks) {
    checks.require(
        kafka.format.avro.is_some() != kafka.format.json.is_some(),
        format!("{path}.format"),
        "exactly one of avro and json is needed",
    );
    if let Some(avro) = &kafka.format.avro {
        let registry = &avro.schema_registry;
        let path = format!("{path}.format.avro.schemaRegistry");
        check_tls(&path, registry.tls.as_ref(), checks);
        checks.require(
            registry.tls.is_none() || registry.url.starts_with("https://"),
            format!("{path}.tls"),
            "tls has no effect without https in url",
        );
    }
    if let Some(security) = kafka.security {
        check_security(&format!("{path}.security"), security, checks);
    }
    for name in kafka.config.keys() {
        let owned = OWNED_PROPERTIES.contains(&name.as_str())
            || OWNED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        checks.require(
            !owned,
            format!("{path}.config.{name}"),
            "holds a property that Sluice sets itself (brokers, security, transactions, group): use \
             bootstrapServers and security",
        );
    }
}

fn check_security(path: &str, security: &KafkaSecurity, checks: &mut Checks) {
    use crd::KafkaProtocol::{SaslPlaintext, SaslSsl};
    checks.require(
        matches!(security.protocol, SaslPlaintext | SaslSsl) == security.sasl.is_some(),
        path,
        "sasl is needed with SASL_PLAINTEXT and SASL_SSL, and only with them",
    );
    let encrypted = is_encrypted(security);
    checks.require(
        encrypted || security.tls.is_none(),
        path,
        "tls has no effect without SSL or SASL_SSL",
    );
    let disabled = security
        .tls
        .as_ref()
        .is_some_and(|tls| tls.mode == sluice_crds::connection::TlsMode::Disable);
    checks.require(
        !(encrypted && disabled),
        format!("{path}.tls.mode"),
        "can't be Disable with SSL or SASL_SSL: choose another protocol",
    );
    check_tls(path, security.tls.as_ref(), checks);
}

fn is_encrypted(security: &KafkaSecurity) -> bool {
    use crd::KafkaProtocol::{SaslSsl, Ssl};
    matches!(security.protocol, Ssl | SaslSsl)
}

/// Topics to write: `name` begins those that lie beside the tables' topics.
pub(crate) fn target(
    kafka: &KafkaTransport,
    name: &str,
    source: &str,
    is_transport: bool,
) -> KafkaConfig {
    let shared = Shared::from(kafka);
    KafkaConfig {
        cluster: cluster(shared),
        topics: own_topics(kafka, name, source),
        is_transport,
        partitions: kafka.partitions,
        replication_factor: kafka.replication_factor,
        format: format(shared.format),
        envelope: envelope(shared.envelope),
    }
}

/// Topics to read.
pub(crate) fn topics(
    kafka: Shared<'_>,
    topics: KafkaTopics,
    group_id: String,
) -> KafkaSourceConfig {
    KafkaSourceConfig {
        cluster: cluster(kafka),
        topics,
        group_id,
        format: format(kafka.format),
        envelope: envelope(kafka.envelope),
    }
}

/// The names of the topics of a captured source.
pub(crate) fn own_topics(kafka: &KafkaTransport, name: &str, source: &str) -> OwnTopics {
    OwnTopics {
        name: name.to_owned(),
        source: source.to_owned(),
        topic: kafka.topic.clone(),
        transactions: kafka.transactions,
    }
}

fn cluster(kafka: Shared<'_>) -> KafkaCluster {
    let security = kafka.security;
    let sasl = security.and_then(|security| security.sasl.as_ref());
    KafkaCluster {
        bootstrap_servers: kafka.bootstrap_servers.to_owned(),
        sasl: sasl.map(|sasl| {
            let (username, password) = keys_of(&sasl.secret_ref);
            SaslConfig {
                mechanism: match sasl.mechanism {
                    crd::SaslMechanism::Plain => SaslMechanism::Plain,
                    crd::SaslMechanism::ScramSha256 => SaslMechanism::ScramSha256,
                    crd::SaslMechanism::ScramSha512 => SaslMechanism::ScramSha512,
                },
                username,
                password,
            }
        }),
        tls: match security {
            Some(security) if is_encrypted(security) => encrypted(security.tls.as_ref()),
            _ => TlsConfig::default(),
        },
        properties: kafka.config.clone(),
    }
}

/// Encryption that is there anyhow: checked in full unless the resource says how much.
fn encrypted(tls: Option<&sluice_crds::connection::Tls>) -> TlsConfig {
    tls.map_or_else(
        || TlsConfig {
            mode: sluice_agent_api::config::TlsMode::VerifyFull,
            ..TlsConfig::default()
        },
        |tls| tls_config(Some(tls)),
    )
}

fn format(format: &crd::KafkaFormat) -> KafkaFormat {
    let Some(avro) = &format.avro else {
        let schemas = format.json.as_ref().is_some_and(|json| json.schemas);
        return KafkaFormat::Json { schemas };
    };
    let registry = &avro.schema_registry;
    KafkaFormat::Avro {
        registry: RegistryConfig {
            url: registry.url.clone(),
            login: registry.secret_ref.as_ref().map(|secret| {
                let (username, password) = keys_of(secret);
                RegistryLogin { username, password }
            }),
            tls: if registry.url.starts_with("https://") {
                encrypted(registry.tls.as_ref())
            } else {
                TlsConfig::default()
            },
        },
    }
}

fn envelope(envelope: crd::KafkaEnvelope) -> KafkaEnvelope {
    match envelope {
        crd::KafkaEnvelope::Debezium => KafkaEnvelope::Debezium,
        crd::KafkaEnvelope::Flat => KafkaEnvelope::Flat,
    }
}
