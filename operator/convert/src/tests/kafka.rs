//! Kafka: who reads and who writes which topics, and what is refused.

use sluice_agent_api::{
    config::{OnPositionLost, SnapshotMode, TlsMode},
    kafka::{KafkaFormat, KafkaSourceConfig, KafkaTopics},
};

use super::*;

fn captured() -> Value {
    let registry = json!({"url": "https://registry", "secretRef": {"name": "registry"}});
    let kafka = json!({
        "bootstrapServers": "kafka:9092",
        "partitions": 3,
        "format": {"avro": {"schemaRegistry": registry}},
        "security": {"protocol": "SASL_SSL", "sasl": {"secretRef": {"name": "user"}}},
        "config": {"linger.ms": "5"},
    });
    changed(source(), &[("/spec/kafka", kafka)])
}

fn foreign() -> Value {
    let topics = json!({"bootstrapServers": "kafka:9092", "topics": ["dbz.*"], "envelope": "Flat"});
    changed(
        source(),
        &[
            ("/spec/kafkaTopics", topics),
            ("/spec/mysql", Value::Null),
            ("/spec/tables", Value::Null),
        ],
    )
}

fn capture(source: Value) -> AgentConfig {
    let source: ReplicationSource = serde_json::from_value(source).unwrap();
    capture_config(&source)
        .unwrap()
        .expect("spec.kafka is there")
}

fn reads(config: &AgentConfig) -> &KafkaSourceConfig {
    match &config.source.system {
        SourceSystem::Kafka(kafka) => kafka,
        SourceSystem::Mysql(_) => panic!("reads the database"),
    }
}

#[test]
fn a_source_with_kafka_gets_an_agent_of_its_own() {
    let config = capture(captured());
    assert_eq!(config.pipeline, "prod/shop:capture");
    assert!(config.is_capture());
    assert_eq!(config.target_subject(), "ReplicationSource/shop");
    assert!(matches!(config.source.system, SourceSystem::Mysql(_)));
    assert_eq!(config.snapshot.mode, SnapshotMode::Initial);
    let SinkSystem::Kafka(kafka) = &config.sink.system else {
        panic!("not Kafka")
    };
    assert_eq!((kafka.partitions, kafka.replication_factor), (3, 3));
    assert_eq!(kafka.topics.table("shop", "orders"), "shop.shop.orders");
    assert_eq!(kafka.topics.control(), "shop.sluice.control");
    let cluster = &kafka.cluster;
    assert_eq!(cluster.tls.mode, TlsMode::VerifyFull);
    assert_eq!(cluster.properties["linger.ms"], "5");
    let sasl = cluster.sasl.as_ref().unwrap();
    assert_eq!(sasl.mechanism.as_str(), "SCRAM-SHA-512");
    assert_eq!(sasl.password.to_string(), "user/password");
    let KafkaFormat::Avro { registry } = &kafka.format else {
        panic!("not Avro")
    };
    let login = registry.login.as_ref().unwrap();
    assert_eq!(login.username.to_string(), "registry/username");
    assert_eq!(registry.tls.mode, TlsMode::VerifyFull);

    let direct: ReplicationSource = serde_json::from_value(source()).unwrap();
    assert_eq!(capture_config(&direct).unwrap(), None);
}

#[test]
fn its_sinks_read_the_topics_that_it_writes() {
    let options = json!({"mode": "WhenNeeded"});
    let captured = changed(
        captured(),
        &[
            ("/spec/snapshot", options),
            ("/spec/onPositionLost", json!("Resnapshot")),
        ],
    );
    let config = convert(captured.clone(), sink()).unwrap();
    assert_eq!(config.pipeline, "prod/shop-pg");
    assert!(!config.is_capture());
    assert_eq!(config.snapshot.mode, SnapshotMode::Never);
    assert_eq!(config.on_position_lost, OnPositionLost::Fail);
    let SinkSystem::Kafka(written) = capture(captured).sink.system else {
        panic!("not Kafka")
    };
    let read = reads(&config);
    assert_eq!(read.topics, KafkaTopics::Own(written.topics));
    assert_eq!(read.cluster, written.cluster);
    assert_eq!(read.group_id, "sluice.prod.shop-pg");
}

#[test]
fn topics_of_others_need_no_tables() {
    let config = convert(foreign(), sink()).unwrap();
    assert_eq!(config.source.include, ["*"]);
    assert_eq!(
        reads(&config).topics,
        KafkaTopics::Foreign(vec!["dbz.*".into()])
    );
    let source: ReplicationSource = serde_json::from_value(foreign()).unwrap();
    assert_eq!(capture_config(&source).unwrap(), None);
    assert!(matches!(
        source_config(&source).unwrap().system,
        SourceSystem::Kafka(_)
    ));
}

#[test]
fn kafka_as_a_replica_is_not_the_transport() {
    let target = json!({"bootstrapServers": "kafka:9092", "topic": "{schema}.{table}"});
    let published = changed(
        sink(),
        &[("/spec/kafka", target), ("/spec/postgres", Value::Null)],
    );
    let config = convert(source(), published.clone()).unwrap();
    let SinkSystem::Kafka(kafka) = &config.sink.system else {
        panic!("not Kafka")
    };
    assert!(!kafka.is_transport);
    assert_eq!(config.target_subject(), "ReplicaSink/shop-pg");
    assert_eq!(kafka.topics.positions(), "shop-pg.sluice.positions");

    let whole = changed(
        published.clone(),
        &[("/spec/kafka/transactions", json!(true))],
    );
    assert!(convert(source(), whole.clone()).is_ok());
    assert!(refusal(captured(), whole).contains("spec.kafka.transactions: needs transactions"));

    let same = changed(
        published.clone(),
        &[("/spec/kafka/topic", json!("{source}.{schema}.{table}"))],
    );
    assert!(
        refusal(captured(), same).contains("spec.kafka.topic: is that of the ReplicationSource")
    );
    let soft = changed(published, &[("/spec/apply", json!({"deletes": "Soft"}))]);
    assert!(refusal(source(), soft).contains("spec.apply.deletes: can't be Soft"));
}

#[test]
fn secrets_of_the_capture_are_not_those_of_the_apply() {
    let source: ReplicationSource = serde_json::from_value(captured()).unwrap();
    let names = |uses: Vec<SecretUse>| -> Vec<String> {
        let shown = uses.iter();
        shown
            .map(|used| format!("{} {}", used.path, used.key))
            .collect()
    };
    let kafka = [
        "spec.kafka.security.sasl.secretRef.name user/username",
        "spec.kafka.security.sasl.secretRef.name user/password",
        "spec.kafka.format.avro.schemaRegistry.secretRef.name registry/username",
        "spec.kafka.format.avro.schemaRegistry.secretRef.name registry/password",
    ];
    assert_eq!(names(upstream_secrets(&source)), kafka);
    assert_eq!(names(source_secrets(&source))[2..], kafka);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let table: [(&str, Value, &str); 9] = [
        (
            "topic",
            json!("all"),
            "spec.kafka.topic: must contain {table}",
        ),
        (
            "topic",
            json!("a b {table}"),
            "spec.kafka.topic: can have letters",
        ),
        (
            "format",
            json!({}),
            "spec.kafka.format: exactly one of avro",
        ),
        (
            "format",
            json!({"avro": {"schemaRegistry": {"url": "http://r", "tls": {}}}}),
            "spec.kafka.format.avro.schemaRegistry.tls: tls has no effect",
        ),
        (
            "security",
            json!({"protocol": "SASL_SSL"}),
            "spec.kafka.security: sasl is needed",
        ),
        (
            "security",
            json!({"tls": {}}),
            "spec.kafka.security: tls has no effect",
        ),
        (
            "security",
            json!({"protocol": "SSL", "tls": {"mode": "Disable"}}),
            "spec.kafka.security.tls.mode: can't be Disable",
        ),
        (
            "config",
            json!({"group.id": "x"}),
            "spec.kafka.config.group.id: holds a property",
        ),
        (
            "config",
            json!({"ssl.key.password": "x"}),
            "spec.kafka.config.ssl.key.password: holds a property",
        ),
    ];
    for (field, value, expected) in table {
        let source = changed(captured(), &[(&format!("/spec/kafka/{field}"), value)]);
        let found = refusal(source, sink());
        assert!(
            found.contains(expected),
            "{field}: expected {expected:?}, found {found:?}"
        );
    }
    let several = changed(sink(), &[("/spec/replicas", json!(2))]);
    assert!(refusal(foreign(), several).contains("spec.replicas: must be 1 with kafkaTopics"));
    let whole = changed(captured(), &[("/spec/kafka/transactions", json!(true))]);
    let several = changed(sink(), &[("/spec/replicas", json!(2))]);
    assert!(
        refusal(whole, several).contains("spec.replicas: must be 1 where the ReplicationSource")
    );
    let none = changed(foreign(), &[("/spec/kafkaTopics/topics", json!([]))]);
    assert!(refusal(none, sink()).contains("spec.kafkaTopics.topics: must name"));
}

#[test]
fn both_agents_know_of_transactions() {
    let whole = changed(captured(), &[("/spec/kafka/transactions", json!(true))]);
    let SinkSystem::Kafka(written) = &capture(whole.clone()).sink.system else {
        panic!("not Kafka")
    };
    assert!(written.topics.transactions);
    assert_eq!(written.topics.transaction(), "shop.transaction");
    let config = convert(whole, sink()).unwrap();
    let KafkaTopics::Own(read) = &reads(&config).topics else {
        panic!("not its own topics")
    };
    assert_eq!(*read, written.topics);
}

#[test]
fn the_agents_of_a_later_spec_have_a_higher_generation() {
    let shared = |created: &str, generation: i64| {
        let metadata = [
            ("/metadata/creationTimestamp", json!(created)),
            ("/metadata/generation", json!(generation)),
            ("/spec/replicas", json!(4)),
        ];
        let config = convert(captured(), changed(sink(), &metadata)).unwrap();
        let replicas = config.replicas.unwrap();
        assert_eq!(replicas.count, 4);
        replicas.generation.unwrap()
    };
    let first = shared("2026-11-21T10:00:00Z", 1);
    let second = shared("2026-11-21T10:00:00Z", 2);
    let made_again = shared("2026-11-21T10:00:01Z", 1);
    assert!(first < second && second < made_again);

    let of_file = convert(captured(), sink()).unwrap().replicas.unwrap();
    assert_eq!((of_file.count, of_file.generation), (1, None));
    assert_eq!(convert(source(), sink()).unwrap().replicas, None);
}

#[test]
fn a_dead_letter_topic_needs_a_source_that_is_read_from_topics() {
    let named = |topic: &str| {
        changed(
            sink(),
            &[("/spec/errors", json!({"deadLetterTopic": topic}))],
        )
    };
    let config = convert(captured(), named("shop.refused")).unwrap();
    assert_eq!(
        config.sink.dead_letter_topic.as_deref(),
        Some("shop.refused")
    );
    assert!(convert(foreign(), named("refused.dbz.a")).is_ok());
    let capture = capture(captured());
    assert_eq!(capture.sink.dead_letter_topic, None);

    let path = "spec.errors.deadLetterTopic";
    let found = refusal(source(), named("shop.refused"));
    assert!(
        found.contains(&format!("{path}: needs spec.kafka or spec.kafkaTopics")),
        "{found}"
    );
    let found = refusal(foreign(), named("dbz.refused"));
    assert!(
        found.contains(&format!("{path}: is one of the topics dbz.*")),
        "{found}"
    );
    let found = refusal(captured(), named("shop/refused"));
    assert!(
        found.contains(&format!("{path}: must be a topic's name")),
        "{found}"
    );
    let stops = json!({"deadLetterTopic": "refused", "onBadRecord": "Stop"});
    let found = refusal(captured(), changed(sink(), &[("/spec/errors", stops)]));
    assert!(
        found.contains("spec.errors: deadLetterTopic has no effect with onBadRecord"),
        "{found}"
    );
}
