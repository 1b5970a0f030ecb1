//! From configuration to connectors: the one place that knows every system.

use std::sync::Arc;

use sluice_agent_api::{
    AgentConfig, SecretStore,
    config::{SinkSystem, SourceConfig, SourceSystem},
    status::Check,
};
use sluice_core::{Sink, Source, TableId, TableSelection};
use sluice_mysql::MysqlSource;
use sluice_postgres::PostgresSink;

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
    }
}

/// The sink of a pipeline, not connected yet.
pub(crate) fn sink(config: &AgentConfig, secrets: &Arc<dyn SecretStore>) -> Box<dyn Sink> {
    let (pipeline, sink) = (config.pipeline.clone(), &config.sink);
    match &sink.system {
        SinkSystem::Postgres(postgres) => {
            let postgres = postgres.clone();
            Box::new(PostgresSink::new(
                pipeline,
                sink,
                postgres,
                Arc::clone(secrets),
            ))
        }
    }
}

/// Checks a source's prerequisites.
pub(crate) async fn check_source(
    source: &SourceConfig,
    secrets: &Arc<dyn SecretStore>,
) -> Vec<Check> {
    let subject = format!("ReplicationSource/{}", source.name);
    match &source.system {
        SourceSystem::Mysql(mysql) => {
            let selection = selection(source);
            sluice_mysql::preflight::check(&subject, mysql, &selection, Arc::clone(secrets)).await
        }
    }
}

/// Checks a target's prerequisites.
pub(crate) async fn check_sink(config: &AgentConfig, secrets: &Arc<dyn SecretStore>) -> Vec<Check> {
    let subject = format!("ReplicaSink/{}", config.sink.name);
    let tables = known_targets(config);
    match &config.sink.system {
        SinkSystem::Postgres(postgres) => {
            sluice_postgres::preflight::check(&subject, postgres, &tables, secrets.as_ref()).await
        }
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
