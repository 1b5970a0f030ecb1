//! From configuration to connectors: the one place that knows every system.

use std::sync::Arc;

use sluice_agent_api::{
    AgentConfig, SecretStore,
    config::{ConnectionConfig, SinkSystem, SourceConfig, SourceSystem},
    kafka::KafkaCluster,
    status::{Check, StalledOn},
};
use sluice_core::{Result, Sink, Source, TableId, TableSelection};
use sluice_mysql::MysqlSource;
use sluice_postgres::{PostgresSink, dead_letters::DeadLetters};

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(not(feature = "kafka"))]
#[path = "connectors/no_kafka.rs"]
mod kafka;

/// The source of a pipeline, not connected yet.
pub(crate) fn source(config: &AgentConfig, secrets: &Arc<dyn SecretStore>) -> Box<dyn Source> {
    let source = &config.source;
    match &source.system {
        SourceSystem::Mysql(mysql) => Box::new(MysqlSource::new(
            mysql.clone(),
            selection(source),
            source.heartbeat_seconds,
            Arc::clone(secrets),
        )),
        SourceSystem::Kafka(topics) => kafka::source(topics, selection(source), config, secrets),
    }
}

/// The sink of a pipeline, not connected yet.
pub(crate) fn sink(config: &AgentConfig, secrets: &Arc<dyn SecretStore>) -> Box<dyn Sink> {
    let (pipeline, sink) = (config.pipeline.clone(), &config.sink);
    match &sink.system {
        SinkSystem::Postgres(postgres) => {
            let postgres = postgres.clone();
            let letters = kafka::dead_letters(config, secrets);
            let secrets = Arc::clone(secrets);
            Box::new(
                PostgresSink::new(pipeline, sink, postgres, secrets)
                    .with_replicas(config.replicas)
                    .with_dead_letters(letters),
            )
        }
        SinkSystem::Kafka(topics) => kafka::sink(pipeline, topics, secrets),
    }
}

/// The system and the address of an end, for messages.
pub(crate) fn place(config: &AgentConfig, on: StalledOn) -> String {
    let address =
        |connection: &ConnectionConfig| format!("{}:{}", connection.host, connection.port);
    let brokers = |cluster: &KafkaCluster| format!("Kafka at {}", cluster.bootstrap_servers);
    match on {
        StalledOn::Source => match &config.source.system {
            SourceSystem::Mysql(mysql) => format!("MySQL at {}", address(&mysql.connection)),
            SourceSystem::Kafka(topics) => brokers(&topics.cluster),
        },
        StalledOn::Target => match &config.sink.system {
            SinkSystem::Postgres(postgres) => {
                format!("PostgreSQL at {}", address(&postgres.connection))
            }
            SinkSystem::Kafka(topics) => brokers(&topics.cluster),
        },
    }
}

/// How to find out why an end gives no answer.
pub(crate) fn stall_hint(config: &AgentConfig, on: StalledOn) -> String {
    let brokers = "see whether the brokers (and the schema registry) run and what the network between \
                   drops; the agent goes on by itself when they answer";
    match on {
        StalledOn::Source => match &config.source.system {
            SourceSystem::Mysql(_) => {
                "see whether the server runs and what the network between drops; the agent \
                goes on by itself when it answers"
                    .to_owned()
            }
            SourceSystem::Kafka(_) => brokers.to_owned(),
        },
        StalledOn::Target => match &config.sink.system {
            SinkSystem::Postgres(_) => format!(
                "see whether the server runs and what the network between drops; what blocks the agent there \
                 shows: SELECT b.pid, b.usename, b.application_name, b.state, b.xact_start FROM pg_stat_activity AS a \
                 CROSS JOIN unnest(pg_blocking_pids(a.pid)) AS p JOIN pg_stat_activity AS b ON b.pid = p \
                 WHERE a.application_name = left('sluice/{}', 63)",
                config.agent_name().replace('\'', "''")
            ),
            SinkSystem::Kafka(_) => brokers.to_owned(),
        },
    }
}

/// Checks a source's prerequisites.
pub(crate) async fn check_source(
    source: &SourceConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Vec<Check> {
    let subject = source.subject();
    match &source.system {
        SourceSystem::Mysql(mysql) => {
            let selection = selection(source);
            sluice_mysql::preflight::check(&subject, mysql, &selection, Arc::clone(secrets)).await
        }
        SourceSystem::Kafka(topics) => kafka::check_source(&subject, topics, secrets).await,
    }
}

/// Checks a target's prerequisites.
pub(crate) async fn check_sink(config: &AgentConfig, secrets: &Arc<dyn SecretStore>) -> Vec<Check> {
    let subject = config.target_subject();
    let tables = known_targets(config);
    match &config.sink.system {
        SinkSystem::Postgres(postgres) => {
            sluice_postgres::preflight::check(&subject, postgres, &tables, secrets.as_ref()).await
        }
        SinkSystem::Kafka(topics) => kafka::check_sink(&subject, topics, secrets).await,
    }
}

/// What a target refused; none where it keeps nothing of the kind.
pub(crate) async fn dead_letters(
    config: &AgentConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Result<Option<DeadLetters>> {
    match &config.sink.system {
        SinkSystem::Postgres(postgres) => {
            let open = DeadLetters::open(&config.pipeline, &config.sink, postgres, secrets);
            open.await.map(Some)
        }
        SinkSystem::Kafka(_) => Ok(None),
    }
}

/// The target's tables that are named without patterns.
fn known_targets(config: &AgentConfig) -> Vec<TableId> {
    let routed = config.tables.iter();
    let routed = routed.map(|route| route.target.as_ref().unwrap_or(&route.source));
    // Without routes every captured table arrives under its own name.
    let captured = config
        .source
        .include
        .iter()
        .filter(|_| config.tables.is_empty());
    routed
        .chain(captured)
        .filter(|name| !name.contains(['*', '?']))
        .filter_map(|name| name.parse().ok())
        .collect()
}

fn selection(source: &SourceConfig) -> TableSelection {
    TableSelection::new(source.include.clone(), source.exclude.clone())
}
