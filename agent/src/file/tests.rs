//! Whole files: what they become, and that the examples are sound.
#![allow(clippy::unwrap_in_result, reason = "these are tests")]

use std::{env, fs, path::PathBuf};

use sluice_agent_api::SecretKey;

use super::*;

/// Writes documents to a file of this test's own and loads it.
fn loaded(test: &str, yaml: &str) -> Result<Loaded, Vec<Mistake>> {
    let path = env::temp_dir().join(format!("sluice-{}-{test}.yaml", std::process::id()));
    fs::write(&path, yaml).unwrap();
    let loaded = load(&[&path]);
    fs::remove_file(&path).unwrap();
    loaded
}

fn example() -> String {
    let path = "../deploy/examples/mysql-to-postgres.yaml";
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_example_loads_and_becomes_a_pipeline() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let loaded = load(&[&path]).unwrap_or_else(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
            panic!("{}", lines.join("\n"))
        });
        assert!(
            !loaded.pipelines.is_empty(),
            "{}: no pipeline",
            path.display()
        );
        assert!(
            loaded.warnings.is_empty(),
            "{}: {:?}",
            path.display(),
            loaded.warnings
        );
        count += 1;
    }
    assert!(count > 0, "no examples");
}

#[test]
fn secrets_are_decoded_and_plain_text_wins() {
    let yaml = example().replace(
        "stringData:\n  username: sluice\n  password: change-me\n",
        "data: {username: c2x1aWNl, password: b2xk}\nstringData: {password: new}\n",
    );
    let loaded = loaded("decoded", &yaml).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let read = |key: &str| {
        let key = SecretKey {
            name: "shop-mysql".into(),
            key: key.into(),
        };
        loaded.pipelines[0].secrets.read(&key).unwrap()
    };
    assert_eq!(read("username"), b"sluice");
    assert_eq!(read("password"), b"new");
}

#[test]
fn namespaces_keep_objects_apart() {
    let yaml = example().replace("metadata:\n", "metadata:\n  namespace: prod\n");
    let both = format!("{}\n---\n{yaml}", example());
    let loaded = loaded("namespaces", &both).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let names: Vec<&str> = loaded
        .pipelines
        .iter()
        .map(|pipeline| pipeline.config.pipeline.as_str())
        .collect();
    assert_eq!(names, ["shop-postgres", "prod/shop-postgres"]);
}

#[test]
fn a_source_without_sink_is_a_warning_and_paused_is_seen() {
    let documents: Vec<String> = example().split("\n---\n").map(str::to_owned).collect();
    let source = documents[2].replace("name: shop\n", "name: lonely\n");
    let yaml = format!("{}\n---\n{source}", example());
    let found = loaded("lonely", &yaml).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert_eq!((found.pipelines.len(), found.lone_sources.len()), (1, 1));
    assert!(found.warnings[0].contains("ReplicationSource lonely"));
    assert!(!found.pipelines[0].paused);

    let paused = example().replace(
        "sourceRef: {name: shop}\n",
        "sourceRef: {name: shop}\n  paused: true\n",
    );
    let found = loaded("paused", &paused).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert!(found.pipelines[0].paused);
}

#[test]
fn a_whole_object_of_a_cluster_is_accepted() {
    let extra = "metadata:\n  uid: x\n  resourceVersion: '1'\n  creationTimestamp: '2026-01-01T00:00:00Z'\n  labels: {a: b}\n";
    let yaml = example().replace("metadata:\n", extra).replace(
        "kind: ReplicaSink\n",
        "kind: ReplicaSink\nstatus: {phase: Streaming, lag: {seconds: 0.5, bytes: 10}}\n",
    );
    assert!(loaded("whole", &yaml).is_ok());
}
