//! What is converted, and what is refused, with which words.
#![allow(
    clippy::unwrap_in_result,
    clippy::too_many_lines,
    reason = "these are tests"
)]

use serde_json::{Value, json};
use sluice_agent_api::config::{Mask, SinkSystem, SourceSystem, TlsMode};
use sluice_crds::{ReplicaSink, ReplicationSource};

use super::*;

fn source() -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "ReplicationSource",
        "metadata": {"name": "shop", "namespace": "prod"},
        "spec": {
            "mysql": {"host": "db", "credentials": {"secretRef": {"name": "my"}}},
            "tables": {"include": ["shop.*"]},
        },
    })
}

fn sink() -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "ReplicaSink",
        "metadata": {"name": "shop-pg", "namespace": "prod"},
        "spec": {
            "sourceRef": {"name": "shop"},
            "postgres": {"host": "pg", "database": "shop", "credentials": {"secretRef": {"name": "pg"}}},
            "tables": [{"source": "shop.orders"}],
        },
    })
}

/// Sets what a JSON pointer names; null removes it.
fn changed(mut object: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap();
        if value.is_null() {
            parent.as_object_mut().unwrap().remove(name);
        } else if let Ok(index) = name.parse::<usize>() {
            parent[index] = value.clone();
        } else {
            parent[name] = value.clone();
        }
    }
    object
}

fn convert(source: Value, sink: Value) -> Result<AgentConfig, ConvertError> {
    let source: ReplicationSource = serde_json::from_value(source).unwrap();
    let sink: ReplicaSink = serde_json::from_value(sink).unwrap();
    agent_config(&source, &sink)
}

fn refusal(source: Value, sink: Value) -> String {
    convert(source, sink).expect_err("is refused").to_string()
}

#[test]
fn a_pair_becomes_a_configuration() {
    let config = convert(source(), sink()).unwrap();
    assert_eq!(config.pipeline, "prod/shop-pg");
    assert_eq!(
        (config.source.name.as_str(), config.source.heartbeat_seconds),
        ("shop", 10)
    );
    assert_eq!(
        (config.snapshot.chunk_rows, config.snapshot.parallelism),
        (50_000, 4)
    );
    assert_eq!(
        (config.batch.rows_max, config.batch.delay_ms_max),
        (20_000, 100)
    );
    let SourceSystem::Mysql(mysql) = &config.source.system else {
        panic!("not MySQL")
    };
    assert_eq!(
        (mysql.connection.port, mysql.connection.tls.mode),
        (3306, TlsMode::Disable)
    );
    assert_eq!(mysql.connection.username.to_string(), "my/username");
    let SinkSystem::Postgres(postgres) = &config.sink.system else {
        panic!("not PostgreSQL")
    };
    assert_eq!(postgres.connection.database.as_deref(), Some("shop"));
    assert_eq!(postgres.connection.password.to_string(), "pg/password");
}

#[test]
fn everything_about_a_table_arrives() {
    let columns = json!({"exclude": ["card"], "rename": {"ts": "at"}, "mask": {"email": "Sha256", "phone": "SetNull"}});
    let route = json!({"source": "shop.orders", "target": "sales.o", "columns": columns, "where": "id > 1"});
    let config = convert(source(), changed(sink(), &[("/spec/tables/0", route)])).unwrap();
    let route = &config.tables[0];
    assert_eq!(route.target.as_deref(), Some("sales.o"));
    assert_eq!(route.exclude_columns, ["card"]);
    assert_eq!(route.rename_columns["ts"], "at");
    assert_eq!(
        (route.mask_columns["email"], route.mask_columns["phone"]),
        (Mask::Sha256, Mask::Null)
    );
    assert_eq!(route.row_filter.as_deref(), Some("id > 1"));
}

#[test]
fn a_pipeline_without_namespace_is_named_after_its_sink() {
    let without = |object| changed(object, &[("/metadata/namespace", Value::Null)]);
    assert_eq!(
        convert(without(source()), without(sink()))
            .unwrap()
            .pipeline,
        "shop-pg"
    );
}

#[test]
fn server_ids_are_stable_and_differ_between_sinks() {
    let id = |sink: Value| match convert(source(), sink).unwrap().source.system {
        SourceSystem::Mysql(mysql) => mysql.server_id,
        SourceSystem::Kafka(_) => panic!("not MySQL"),
    };
    let first = id(sink());
    assert_eq!(first, id(sink()));
    assert!((0x4000_0000..0x8000_0000).contains(&first));
    assert_ne!(
        first,
        id(changed(sink(), &[("/metadata/name", json!("other"))]))
    );
    assert_ne!(
        first,
        id(changed(sink(), &[("/spec/postgres/host", json!("other"))]))
    );
}

#[test]
fn secrets_are_listed_with_their_fields() {
    let tls = json!({"caSecretRef": {"name": "ca"}, "clientSecretRef": {"name": "client"}});
    let source = changed(source(), &[("/spec/mysql/tls", tls)]);
    let source: ReplicationSource = serde_json::from_value(source).unwrap();
    let uses = source_secrets(&source);
    let found: Vec<String> = uses
        .iter()
        .map(|used| format!("{} {}", used.path, used.key))
        .collect();
    assert_eq!(
        found,
        [
            "spec.mysql.credentials.secretRef.name my/username",
            "spec.mysql.credentials.secretRef.name my/password",
            "spec.mysql.tls.caSecretRef.name ca/ca.crt",
            "spec.mysql.tls.clientSecretRef.name client/tls.crt",
            "spec.mysql.tls.clientSecretRef.name client/tls.key",
        ]
    );
}

#[test]
fn sources_are_refused_with_path_and_reason() {
    let topics = json!({"bootstrapServers": "kafka:9092", "topics": ["a"]});
    let kafka = json!({"bootstrapServers": "kafka:9092"});
    let postgres =
        json!({"host": "pg", "database": "a", "credentials": {"secretRef": {"name": "s"}}});
    let table: [(&[(&str, Value)], &str); 10] = [
        (
            &[("/metadata/name", json!("x".repeat(53)))],
            "metadata.name: metadata.name can have 52",
        ),
        (
            &[("/spec/mysql", Value::Null)],
            "spec: exactly one of mysql",
        ),
        (
            &[("/spec/postgres", postgres.clone())],
            "spec: exactly one of mysql",
        ),
        (
            &[("/spec/postgres", postgres), ("/spec/mysql", Value::Null)],
            "spec.postgres: not supported",
        ),
        (
            &[
                ("/spec/kafkaTopics", topics),
                ("/spec/kafka", kafka.clone()),
            ],
            "spec.kafka: kafka is only",
        ),
        (
            &[("/spec/tables", Value::Null)],
            "spec.tables: tables is needed",
        ),
        (
            &[("/spec/tables/include", json!([]))],
            "spec.tables.include: must name at least one",
        ),
        (
            &[("/spec/tables/exclude", json!(["shop.*"]))],
            "spec.tables: a pattern can't be both",
        ),
        (
            &[("/spec/mysql/host", json!("root@db"))],
            "spec.mysql.host: must be a host name",
        ),
        (
            &[(
                "/spec/mysql/tls",
                json!({"mode": "Disable", "caSecretRef": {"name": "ca"}}),
            )],
            "spec.mysql.tls: caSecretRef and",
        ),
    ];
    for (changes, expected) in table {
        let found = refusal(changed(source(), changes), sink());
        assert!(
            found.contains(expected),
            "{changes:?}: expected {expected:?}, found {found:?}"
        );
    }
}

#[test]
fn sinks_are_refused_with_path_and_reason() {
    let mysql = json!({"host": "db", "credentials": {"secretRef": {"name": "s"}}});
    let columns = |columns: Value| json!({"source": "shop.orders", "columns": columns});
    let table: [(&str, Value, &str); 20] = [
        (
            "/metadata/namespace",
            json!("other"),
            "spec.sourceRef.name: names shop",
        ),
        (
            "/spec/sourceRef/name",
            json!("other"),
            "spec.sourceRef.name: names other",
        ),
        (
            "/spec/postgres",
            Value::Null,
            "spec: exactly one of postgres",
        ),
        (
            "/spec/mysql",
            mysql,
            "spec.mysql: not supported by this version",
        ),
        (
            "/spec/postgres/host",
            json!("pg/shop"),
            "spec.postgres.host: must be a host name",
        ),
        (
            "/spec/postgres/database",
            json!(""),
            "spec.postgres.database: must not be empty",
        ),
        (
            "/spec/tables/0",
            json!({"source": "shop.*", "target": "a.b"}),
            "spec.tables[0]: target needs",
        ),
        (
            "/spec/tables/0",
            columns(json!({"include": ["a"], "exclude": ["b"]})),
            "spec.tables[0].columns: only one",
        ),
        (
            "/spec/tables/0",
            columns(json!({"include": ["a"], "mask": {"b": "Redact"}})),
            "mask names a column that include",
        ),
        (
            "/spec/tables/0",
            columns(json!({"exclude": ["a"], "mask": {"a": "Redact"}})),
            "mask names a column that exclude",
        ),
        (
            "/spec/tables/0",
            columns(json!({"include": ["a"], "rename": {"b": "c"}})),
            "rename names a column that include",
        ),
        (
            "/spec/tables/0",
            columns(json!({"exclude": ["a"], "rename": {"a": "c"}})),
            "rename names a column that exclude",
        ),
        (
            "/spec/tables/0",
            columns(json!({"rename": {"a": "c", "b": "c"}})),
            "spec.tables[0].columns.rename: a and b can't both become c",
        ),
        (
            "/spec/tables",
            json!([{"source": "a.b"}, {"source": "a.b"}]),
            "spec.tables[1].source: a.b is the source of spec.tables[0] already",
        ),
        (
            "/spec/tables",
            json!([{"source": "a.b", "target": "x.y"}, {"source": "a.c", "target": "x.y"}]),
            "spec.tables[1].target: x.y is the target of",
        ),
        (
            "/spec/apply",
            json!({"maxDelay": "soon"}),
            "spec.apply.maxDelay: must be a whole number",
        ),
        (
            "/spec/apply",
            json!({"maxDelay": "2m"}),
            "spec.apply.maxDelay: must be one minute",
        ),
        (
            "/spec/conflicts",
            json!({"resolution": "TargetWins"}),
            "spec.conflicts.resolution: not supported",
        ),
        (
            "/spec/replicas",
            json!(2),
            "spec.replicas: more than one needs spec.kafka",
        ),
        (
            "/spec/verify",
            json!({"schedule": "0 3 * * *"}),
            "spec.verify: not supported",
        ),
    ];
    for (pointer, value, expected) in table {
        let found = refusal(source(), changed(sink(), &[(pointer, value)]));
        assert!(
            found.contains(expected),
            "{pointer}: expected {expected:?}, found {found:?}"
        );
    }
}

#[test]
fn all_problems_are_named_at_once() {
    let source = changed(
        source(),
        &[
            ("/spec/mysql/host", json!("a b")),
            ("/spec/tables/include", json!([])),
        ],
    );
    let sink = changed(sink(), &[("/spec/apply", json!({"maxDelay": "x"}))]);
    let error = convert(source, sink).unwrap_err();
    let found: Vec<_> = error
        .problems
        .iter()
        .map(|problem| (problem.object, problem.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (ObjectKind::Source, "spec.mysql.host"),
            (ObjectKind::Source, "spec.tables.include"),
            (ObjectKind::Sink, "spec.apply.maxDelay"),
        ]
    );
}

/// Everybody who reads a rule of the schema finds the same words here.
#[test]
fn the_schema_and_this_crate_use_the_same_words() {
    let sources = [
        include_str!("source.rs"),
        include_str!("sink.rs"),
        include_str!("kafka.rs"),
    ]
    .concat();
    let schema = serde_json::to_string(&sluice_crds::definitions()).unwrap();
    for message in [
        "exactly one of mysql, postgres and kafkaTopics is needed",
        "exactly one of postgres, mysql, clickhouse, parquet, opensearch and kafka is needed",
        "tables is needed with mysql and postgres",
        "a pattern can't be both included and excluded",
        "kafka is only for mysql and postgres: kafkaTopics are in Kafka already",
        "must contain {table}, so that each table has a topic of its own",
        "exactly one of avro and json is needed",
        "sasl is needed with SASL_PLAINTEXT and SASL_SSL, and only with them",
        "tls has no effect without SSL or SASL_SSL",
        "caSecretRef and clientSecretRef have no effect with mode Disable: choose another mode",
        "target needs a source without * and ?: several tables can't go into one",
        "only one of include and exclude can be given",
        "mask names a column that exclude leaves out",
        "mask names a column that include leaves out",
        "rename names a column that exclude leaves out",
        "rename names a column that include leaves out",
        "column is needed with LatestWins, and only with it",
        "must be one minute at most",
        "metadata.name can have 52 characters at most: names of pods are made of it",
    ] {
        assert!(schema.contains(message), "not in the schema: {message}");
        assert!(sources.contains(message), "not in this crate: {message}");
    }
}

mod kafka;
