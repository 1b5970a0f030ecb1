//! A source that is captured into Kafka, its sinks, and one agent for each, as the operator runs them.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sluice_agent_api::AgentConfig;
use sluice_crds::{ReplicaSink, ReplicationSource};

use crate::{
    AgentFolder, MysqlDatabase, PgDatabase,
    kafka::{Format, KafkaServers},
    pipeline::{Ends, resource_name},
    servers::Endpoint,
};

/// A ReplicationSource whose changes are in Kafka: captured by Sluice, or by somebody else.
#[derive(Debug, Clone)]
pub struct Transport {
    /// The source's name, also that of its topics' beginning.
    pub name: String,
    /// The `spec` of the ReplicationSource.
    pub source: Value,
    mysql: Endpoint,
    mysql_database: String,
}

impl Transport {
    /// Captures every table of a database into topics of six partitions.
    pub fn new(kafka: &KafkaServers, mysql: &MysqlDatabase, format: Format) -> Self {
        let source = json!({
            "mysql": {
                "host": mysql.endpoint.host,
                "port": mysql.endpoint.port,
                "credentials": {"secretRef": {"name": "mysql"}},
            },
            "tables": {"include": [format!("{}.*", mysql.name)]},
            "kafka": {
                "bootstrapServers": kafka.bootstrap,
                "replicationFactor": 1,
                "format": format.spec(kafka),
            },
        });
        Self::with(mysql, source)
    }

    /// Topics that Debezium writes for a database.
    pub fn foreign(
        kafka: &KafkaServers,
        mysql: &MysqlDatabase,
        topics: &str,
        format: Format,
    ) -> Self {
        let source = json!({"kafkaTopics": {
            "bootstrapServers": kafka.bootstrap,
            "topics": [topics],
            "format": format.spec(kafka),
        }});
        Self::with(mysql, source)
    }

    fn with(mysql: &MysqlDatabase, source: Value) -> Self {
        Self {
            name: resource_name(&mysql.name),
            source,
            mysql: mysql.endpoint.clone(),
            mysql_database: mysql.name.clone(),
        }
    }

    /// Changes the `spec` of the ReplicationSource.
    pub fn source_spec(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.source);
        self
    }

    /// The topic of a table, by the pattern that is the default.
    pub fn topic(&self, table: &str) -> String {
        format!("{}.{}.{table}", self.name, self.mysql_database)
    }

    /// The agent that captures.
    pub fn capture(&self) -> Result<AgentFolder> {
        let config = sluice_convert::capture_config(&self.source_object()?)?;
        let config = config.context("spec.kafka is not there")?;
        // It writes to no database: nobody may wait for one.
        self.folder(config, &self.mysql, "")
    }

    /// The agent that applies the topics to a PostgreSQL database; its sink's name is the pipeline's.
    pub fn apply(
        &self,
        postgres: &PgDatabase,
        sink: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<AgentFolder> {
        let endpoint = &postgres.endpoint;
        let mut spec = json!({
            "sourceRef": {"name": self.name},
            "postgres": {
                "host": endpoint.host,
                "port": endpoint.port,
                "database": postgres.name,
                "credentials": {"secretRef": {"name": "postgres"}},
            },
        });
        change(&mut spec);
        let sink: ReplicaSink = serde_json::from_value(resource(
            "ReplicaSink",
            &format!("{}-{sink}", self.name),
            &spec,
        ))?;
        let config = sluice_convert::agent_config(&self.source_object()?, &sink)?;
        let folder = self.folder(config, endpoint, &postgres.name)?;
        folder.secret("postgres", &endpoint.user, &endpoint.password)?;
        Ok(folder)
    }

    fn folder(
        &self,
        config: AgentConfig,
        target: &Endpoint,
        database: &str,
    ) -> Result<AgentFolder> {
        let ends = Ends {
            pipeline: config.pipeline.clone(),
            mysql: self.mysql.clone(),
            mysql_database: self.mysql_database.clone(),
            postgres: target.clone(),
            postgres_database: database.to_owned(),
            through: None,
        };
        let folder = AgentFolder::with_config(ends, config)?;
        folder.secret("mysql", &self.mysql.user, &self.mysql.password)?;
        Ok(folder)
    }

    fn source_object(&self) -> Result<ReplicationSource> {
        let object = resource("ReplicationSource", &self.name, &self.source);
        Ok(serde_json::from_value(object)?)
    }
}

fn resource(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    })
}
