//! Configurations of Debezium's connectors, as their documentation recommends them.

use serde_json::{Map, Value, json};

use crate::{
    MysqlDatabase, PgDatabase,
    kafka::{Format, KafkaServers},
};

/// Debezium's MySQL connector: every table of a database into topics `{prefix}.{database}.{table}`
/// of one partition each.
pub fn mysql_source(
    servers: &KafkaServers,
    mysql: &MysqlDatabase,
    prefix: &str,
    format: Format,
) -> Value {
    let mut config = object(json!({
        "connector.class": "io.debezium.connector.mysql.MySqlConnector",
        "database.hostname": mysql.endpoint.host,
        "database.port": mysql.endpoint.port.to_string(),
        "database.user": mysql.endpoint.user,
        "database.password": mysql.endpoint.password,
        "database.server.id": fastrand::u32(1_000_000..).to_string(),
        "topic.prefix": prefix,
        "database.include.list": mysql.name,
        "include.schema.changes": "false",
        "schema.history.internal.kafka.bootstrap.servers": servers.bootstrap,
        "schema.history.internal.kafka.topic": format!("{prefix}.history"),
        "schema.history.internal.store.only.captured.tables.ddl": "true",
        "schema.history.internal.store.only.captured.databases.ddl": "true",
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
    }));
    config.extend(converters(servers, format));
    Value::Object(config)
}

/// Debezium's JDBC sink: topics into tables of the schema `public` that are named like them with `_`
/// for each dot. It makes the tables itself, and deletes rows.
pub fn jdbc_sink(
    servers: &KafkaServers,
    postgres: &PgDatabase,
    topics: &[String],
    format: Format,
) -> Value {
    let endpoint = &postgres.endpoint;
    let mut config = object(json!({
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "topics": topics.join(","),
        "connection.url": format!(
            "jdbc:postgresql://{}:{}/{}?stringtype=unspecified", endpoint.host, endpoint.port, postgres.name
        ),
        "connection.username": endpoint.user,
        "connection.password": endpoint.password,
        "insert.mode": "upsert",
        "delete.enabled": "true",
        "primary.key.mode": "record_key",
        "schema.evolution": "basic",
        "batch.size": "3000",
        "consumer.override.max.poll.records": "3000",
        "consumer.override.auto.offset.reset": "earliest",
        "consumer.override.isolation.level": "read_committed",
    }));
    config.extend(converters(servers, format));
    Value::Object(config)
}

/// The table that [`jdbc_sink`] makes of a topic.
pub fn table_of(topic: &str) -> String {
    topic.replace('.', "_")
}

/// Apicurio's converter in Confluent's wire format, or Kafka's own JSON converter.
fn converters(servers: &KafkaServers, format: Format) -> Map<String, Value> {
    let mut config = Map::new();
    for part in ["key", "value"] {
        let mut set = |name: &str, value: &str| {
            config.insert(format!("{part}.converter{name}"), json!(value));
        };
        match format {
            Format::Avro => {
                set("", "io.apicurio.registry.utils.converter.AvroConverter");
                set(".apicurio.registry.url", &servers.apicurio_url);
                set(".apicurio.registry.auto-register", "true");
                set(".apicurio.registry.find-latest", "true");
                set(".apicurio.registry.headers.enabled", "false");
                set(".apicurio.registry.as-confluent", "true");
                set(".apicurio.registry.use-id", "contentId");
                set(
                    ".apicurio.registry.id-handler",
                    "io.apicurio.registry.serde.Legacy4ByteIdHandler",
                );
            }
            Format::JsonWithSchemas | Format::Json => {
                set("", "org.apache.kafka.connect.json.JsonConverter");
                let schemas = (format == Format::JsonWithSchemas).to_string();
                set(".schemas.enable", &schemas);
            }
        }
    }
    config
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
