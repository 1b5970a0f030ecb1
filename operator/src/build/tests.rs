use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use sluice_agent_api::SecretKey;
use sluice_crds::{ReplicaSink, ReplicationSource, agent::AgentTemplate};

use crate::{
    build::{self, Extras},
    model::{ObjectKey, PodTemplate, Role, Secrets, ValidatedAgent, ValidatedSource},
    upgrade::Upgrade,
};

const NO_EXTRAS: Extras = Extras {
    network_policy: false,
    pod_monitor: false,
};

fn source() -> ReplicationSource {
    object(
        "{apiVersion: sluice.dev/v1alpha1, kind: ReplicationSource,
          metadata: {name: shop, namespace: team, uid: uid-of-source, generation: 1},
          spec: {mysql: {host: mysql.shop.svc, credentials: {secretRef: {name: shop-mysql}},
                         tls: {caSecretRef: {name: shop-ca}}},
                 tables: {include: ['shop.*']}}}",
    )
}

fn sink() -> ReplicaSink {
    object(
        "{apiVersion: sluice.dev/v1alpha1, kind: ReplicaSink,
          metadata: {name: shop-pg, namespace: team, uid: uid-of-sink, generation: 1},
          spec: {sourceRef: {name: shop},
                 postgres: {host: pg.shop.svc, database: shop, credentials: {secretRef: {name: shop-pg}}}}}",
    )
}

fn object<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml::from_str(yaml).unwrap()
}

fn pod() -> PodTemplate {
    PodTemplate {
        image: "registry/sluice:1".to_owned(),
        pinned: false,
        image_pull_secrets: Vec::new(),
        resources: object("{requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 512Mi}}"),
        template: AgentTemplate::default(),
        restarted_at: None,
    }
}

fn secrets(keys: &[(&str, &str)]) -> Secrets {
    let mut secrets = Secrets {
        hash: "0123".to_owned(),
        ..Secrets::default()
    };
    for (name, key) in keys {
        secrets.insert(&SecretKey {
            name: (*name).to_owned(),
            key: (*key).to_owned(),
        });
    }
    secrets
}

fn validated_sink() -> ValidatedAgent {
    let sink = sink();
    ValidatedAgent {
        role: Role::Replica,
        key: ObjectKey::of(&sink),
        uid: "uid-of-sink".to_owned(),
        replicas: 1,
        config: sluice_convert::agent_config(&source(), &sink).unwrap(),
        pod: pod(),
        upgrade: None,
        paused: false,
        secrets: secrets(&[
            ("shop-mysql", "username"),
            ("shop-mysql", "password"),
            ("shop-ca", "ca.crt"),
            ("shop-pg", "username"),
            ("shop-pg", "password"),
        ]),
    }
}

fn captured_source() -> ReplicationSource {
    let mut source = source();
    source.spec.kafka = object(
        "{bootstrapServers: 'kafka:9092', partitions: 8,
          format: {avro: {schemaRegistry: {url: 'http://registry:8081'}}},
          security: {protocol: SASL_SSL, sasl: {secretRef: {name: kafka-user}}}}",
    );
    source
}

/// The agent that captures a source into Kafka.
fn validated_capture() -> ValidatedAgent {
    let source = captured_source();
    ValidatedAgent {
        role: Role::Capture,
        key: ObjectKey::of(&source),
        uid: "uid-of-source".to_owned(),
        replicas: 1,
        config: sluice_convert::capture_config(&source).unwrap().unwrap(),
        secrets: secrets(&[
            ("shop-mysql", "username"),
            ("shop-mysql", "password"),
            ("kafka-user", "username"),
            ("kafka-user", "password"),
        ]),
        ..validated_sink()
    }
}

/// The agents that apply from there.
fn validated_apply() -> ValidatedAgent {
    let mut sink = sink();
    sink.spec.replicas = 4;
    ValidatedAgent {
        replicas: sink.spec.replicas,
        config: sluice_convert::agent_config(&captured_source(), &sink).unwrap(),
        secrets: secrets(&[
            ("kafka-user", "username"),
            ("kafka-user", "password"),
            ("shop-pg", "username"),
            ("shop-pg", "password"),
        ]),
        ..validated_sink()
    }
}

fn validated_source() -> ValidatedSource {
    ValidatedSource {
        key: ObjectKey::of(&source()),
        uid: "uid-of-source".to_owned(),
        config: sluice_convert::source_config(&source()).unwrap(),
        pod: pod(),
        secrets: secrets(&[("shop-mysql", "username"), ("shop-mysql", "password")]),
    }
}

/// A full-featured sink: everything that a resource can say about its pods.
fn elaborate() -> ValidatedAgent {
    let mut sink = validated_sink();
    sink.pod = PodTemplate {
        image: "registry/mine@sha256:0123".to_owned(),
        pinned: true,
        image_pull_secrets: vec!["registry-login".to_owned()],
        template: object(
            "{image: 'registry/mine@sha256:0123', logLevel: Debug,
              nodeSelector: {disk: fast}, podLabels: {team: shop, app.kubernetes.io/name: mine},
              podAnnotations: {note: hello}, tolerations: [{key: dedicated, operator: Exists}],
              affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}}",
        ),
        restarted_at: Some("2026-11-21T12:00:00Z".to_owned()),
        ..pod()
    };
    sink.upgrade = Some(Upgrade {
        from: "registry/sluice:0".to_owned(),
        began_at: Timestamp::UNIX_EPOCH.to_string(),
        was_ready: true,
    });
    sink.config.resnapshot = Some(sluice_agent_api::config::ResnapshotRequest {
        id: "2026-11-21T12:00:00Z-00abcd".to_owned(),
        tables: vec!["shop.orders".to_owned()],
    });
    sink
}

fn yaml<T: Serialize>(objects: &T) -> String {
    let value = serde_json::to_value(objects).unwrap();
    let documents: BTreeMap<String, serde_json::Value> = serde_json::from_value(value).unwrap();
    let documents = documents.values().map(|document| {
        let yaml = serde_yaml::to_string(document).unwrap();
        format!("---\n{yaml}")
    });
    documents.collect()
}

#[test]
fn an_ordinary_agent() {
    let resources = build::agent(&validated_sink(), NO_EXTRAS).unwrap();
    insta::assert_snapshot!(yaml(&resources));
}

#[test]
fn an_agent_with_everything() {
    let extras = Extras {
        network_policy: true,
        pod_monitor: true,
    };
    let resources = build::agent(&elaborate(), extras).unwrap();
    assert_eq!(build::extras(&resources.stateful_set), extras);
    insta::assert_snapshot!(yaml(&resources));
}

#[test]
fn the_agent_of_a_source_that_is_captured_into_kafka() {
    let resources = build::agent(&validated_capture(), NO_EXTRAS).unwrap();
    insta::assert_snapshot!(yaml(&resources));
}

#[test]
fn agents_that_apply_from_kafka() {
    let resources = build::agent(&validated_apply(), NO_EXTRAS).unwrap();
    insta::assert_snapshot!(yaml(&resources));
}

#[test]
fn the_check_of_a_source_is_that_of_its_agent() {
    let check = build::agent_check(&validated_capture()).unwrap();
    assert!(
        check.name().starts_with("shop-source-check-"),
        "{}",
        check.name()
    );
    let labels = check.job.metadata.labels.unwrap();
    assert_eq!(labels["sluice.dev/source"], "shop");
}

#[test]
fn the_check_of_a_sink() {
    insta::assert_snapshot!(yaml(&build::agent_check(&validated_sink()).unwrap()));
}

#[test]
fn the_check_of_a_source() {
    insta::assert_snapshot!(yaml(&build::source_check(&validated_source()).unwrap()));
}

#[test]
fn a_paused_sink_has_an_agent_without_pods() {
    let paused = ValidatedAgent {
        paused: true,
        ..validated_sink()
    };
    let resources = build::agent(&paused, NO_EXTRAS).unwrap();
    assert_eq!(resources.stateful_set.spec.unwrap().replicas, Some(0));
}

#[test]
fn the_same_is_built_twice() {
    let hash = |sink| build::agent(&sink, NO_EXTRAS).unwrap().hash().unwrap();
    assert_eq!(hash(validated_sink()), hash(validated_sink()));
    assert_ne!(hash(validated_sink()), hash(elaborate()));
}

#[test]
fn what_decides_about_a_check_is_in_its_name() {
    let name = |change: fn(&mut ValidatedAgent)| {
        let mut sink = validated_sink();
        change(&mut sink);
        build::agent_check(&sink).unwrap().name().to_owned()
    };
    let ordinary = name(|_| {});
    assert_ne!(ordinary, name(|sink| sink.secrets.hash = "4567".to_owned()));
    assert_ne!(ordinary, name(|sink| sink.pod.image = "other".to_owned()));
    assert_ne!(ordinary, name(|sink| sink.config.batch.rows_max += 1));
    // Neither of these can make a difference to what is checked.
    assert_eq!(
        ordinary,
        name(|sink| sink.config.resnapshot = elaborate().config.resnapshot)
    );
    assert_eq!(ordinary, name(|sink| sink.paused = true));
}

#[test]
fn no_template_can_replace_the_operators_labels() {
    let resources = build::agent(&elaborate(), NO_EXTRAS).unwrap();
    let template = resources.stateful_set.spec.unwrap().template;
    let labels = template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/name"], "sluice-agent");
    assert_eq!(labels["team"], "shop");
}
