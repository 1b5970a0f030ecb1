//! An object that the API server has and the operator can't read, as after a change of the schema.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_e2e::{Cluster, PgDatabase, PipelineFile, wait::wait_for};

use crate::orders::{Orders, PATIENCE, SINK, SOURCE};

const DEFINITION: &str = "replicasinks.sluice.dev";
/// A word that the schema allows no longer, or not yet.
const UNKNOWN: &str = "Tomorrow";

#[tokio::test]
async fn an_object_that_can_not_be_read_says_so_and_stops_nobody() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let orders = Orders::started(&cluster, "unreadable").await?;
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/apply/properties/deletes/enum";
    let definition = cluster
        .kubectl(&["get", "crd", DEFINITION, "-o", "json"])
        .await?;
    let definition: Value = serde_json::from_str(&definition)?;
    let words = definition.pointer(path).context("no enum where it was")?;
    patch_definition(&cluster, &json!([{"op": "remove", "path": path}])).await?;
    let target = PgDatabase::create(&cluster.databases()?, "odd").await?;
    let stored = store(&orders, &target).await;
    let restored = patch_definition(
        &cluster,
        &json!([{"op": "add", "path": path, "value": words}]),
    )
    .await;
    stored.and(restored)?;
    said(&orders).await?;

    // Another one starts as if nothing was, and the first goes on.
    let began = Instant::now();
    let other = Orders::started(&cluster, "readable").await?;
    println!("another pipeline was ready after {:.1?}", began.elapsed());
    other.flows().await?;
    orders.flows().await?;

    // Mended, it is a sink like any other.
    let namespace = orders.namespace();
    namespace
        .kubectl(&[
            "patch",
            "rsink",
            "odd",
            "--type=merge",
            "-p",
            r#"{"spec":{"apply":{"deletes":"Ignore"}}}"#,
        ])
        .await?;
    namespace
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "rsink/odd",
            "--timeout=90s",
        ])
        .await?;
    Ok(())
}

async fn patch_definition(cluster: &Cluster, patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    let arguments = ["patch", "crd", DEFINITION, "--type=json", "-p", &patch];
    cluster.kubectl(&arguments).await?;
    Ok(())
}

/// Stores a sink like the first one, with a word that nobody knows; the API server takes a moment to
/// use the changed schema.
async fn store(orders: &Orders, target: &PgDatabase) -> Result<()> {
    let file = PipelineFile::new(&orders.replica.mysql, target).named(SOURCE, "odd");
    let file = file.sink_spec(|spec| spec["apply"] = json!({"deletes": UNKNOWN}));
    let yaml = file.yaml()?;
    wait_for(
        "a sink that can't be read",
        Duration::from_secs(20),
        || async { orders.namespace().apply(&yaml).await.map(Some) },
    )
    .await?;
    Ok(())
}

async fn said(orders: &Orders) -> Result<()> {
    let namespace = orders.namespace();
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")]}"#;
    let ready = wait_for("a condition of the odd sink", PATIENCE, || async {
        let ready = namespace
            .kubectl(&["get", "rsink", "odd", "-o", path])
            .await?;
        Ok((!ready.is_empty()).then_some(ready))
    })
    .await?;
    println!("{ready}");
    let ready: Value = serde_json::from_str(&ready)?;
    ensure!(
        ready["status"] == "False" && ready["reason"] == "InvalidSpec",
        "{ready}"
    );
    let message = ready["message"].as_str().unwrap_or_default();
    ensure!(message.contains(UNKNOWN), "no {UNKNOWN} in: {message}");
    let listed = namespace.kubectl(&["get", "rsink", "-o", "name"]).await?;
    ensure!(listed.contains(SINK) && listed.contains("odd"), "{listed}");
    Ok(())
}
