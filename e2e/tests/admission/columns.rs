//! What `kubectl get` shows, and the scale subresource.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    kubectl::{Namespace, kubectl, succeed},
    specs::{sink, source},
};

/// A status as the operator writes it.
fn status() -> Value {
    json!({
        "observedGeneration": 1,
        "phase": "Streaming",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Streaming", "message": "Rows flow.",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        }],
        "position": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77",
        "lag": {"seconds": 0.2, "bytes": 1804},
        "snapshot": {"tablesTotal": 12, "tablesDone": 12, "rowsCopied": 1_200_345, "percent": 100},
        "rate": {"rowsPerSecond": 1830},
    })
}

/// The first row and those below it, split at the columns' beginnings.
fn table(namespace: &str, arguments: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut all = vec!["get", "-n", namespace];
    all.extend(arguments);
    let said = succeed(&all, None)?;
    let rows = said.lines();
    Ok(rows
        .map(|row| row.split_whitespace().map(str::to_owned).collect())
        .collect())
}

/// Writes a status and waits until it is shown: an operator that happens to run may write its own between.
fn shown(
    namespace: &str,
    object: &str,
    status: &Value,
    arguments: &[&str],
    expected: &[&str],
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let patch = json!({"status": status}).to_string();
    let write = [
        "patch",
        "-n",
        namespace,
        object,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    loop {
        succeed(&write, None)?;
        let rows = table(namespace, arguments)?;
        let mut row = rows.get(1).cloned().unwrap_or_default();
        // The age is not ours.
        row.retain(|cell| !is_age(cell));
        if row == expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{object} is shown as {rows:?}, not {expected:?}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_age(cell: &str) -> bool {
    cell.strip_suffix(['s', 'm'])
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

#[test]
fn sources_have_the_columns_that_people_look_for() -> Result<()> {
    let namespace = Namespace::create("sources")?;
    namespace.store(&source())?;
    let mut status = status();
    status["type"] = json!("mysql");
    let narrow = ["shop", "mysql", "Streaming", "0.2", "1830", "100", "True"];
    shown(&namespace.0, "rsrc/shop", &status, &["rsrc"], &narrow)?;
    let header = [
        "NAME", "TYPE", "PHASE", "LAG", "RATE", "SNAPSHOT", "READY", "AGE",
    ];
    assert_eq!(table(&namespace.0, &["replicationsources"])?[0], header);
    let wide = [&header[..], &["POSITION"]].concat();
    assert_eq!(table(&namespace.0, &["rsrc", "-o", "wide"])?[0], wide);
    let position = status["position"].as_str().unwrap_or_default();
    let wide = [&narrow[..], &[position]].concat();
    shown(
        &namespace.0,
        "rsrc/shop",
        &status,
        &["rsrc", "-o", "wide"],
        &wide,
    )
}

#[test]
fn sinks_have_the_columns_that_people_look_for() -> Result<()> {
    let namespace = Namespace::create("sinks")?;
    namespace.store(&sink())?;
    let mut status = status();
    status["target"] = json!("pg/shop");
    let narrow = [
        "shop-pg",
        "shop",
        "pg/shop",
        "Streaming",
        "0.2",
        "1830",
        "100",
        "True",
    ];
    shown(&namespace.0, "rsink/shop-pg", &status, &["rsink"], &narrow)?;
    let header = [
        "NAME", "SOURCE", "TARGET", "PHASE", "LAG", "RATE", "SNAPSHOT", "READY", "AGE",
    ];
    assert_eq!(table(&namespace.0, &["replicasinks"])?[0], header);
    let wide = [&header[..], &["POSITION"]].concat();
    assert_eq!(table(&namespace.0, &["rsink", "-o", "wide"])?[0], wide);
    Ok(())
}

#[test]
fn the_category_lists_both_kinds_and_waiting_for_ready_works() -> Result<()> {
    let namespace = Namespace::create("category")?;
    namespace.store(&source())?;
    namespace.store(&sink())?;
    let names = succeed(
        &["get", "-n", &namespace.0, "replication", "-o", "name"],
        None,
    )?;
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(
        names,
        [
            "replicasink.sluice.dev/shop-pg",
            "replicationsource.sluice.dev/shop"
        ]
    );
    let status = json!({"status": status()}).to_string();
    let arguments = [
        "patch",
        "-n",
        &namespace.0,
        "rsink/shop-pg",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    succeed(&arguments, None)?;
    let wait = [
        "wait",
        "-n",
        &namespace.0,
        "--for=condition=Ready",
        "--timeout=10s",
        "rsink/shop-pg",
    ];
    succeed(&wait, None).map(drop)
}

#[test]
fn a_status_that_a_user_sends_is_not_taken() -> Result<()> {
    let namespace = Namespace::create("status")?;
    let mut object = sink();
    object["status"] = status();
    object["status"]["position"] = json!("forged");
    namespace.store(&object)?;
    let arguments = [
        "get",
        "-n",
        &namespace.0,
        "rsink/shop-pg",
        "-o",
        "jsonpath={.status.position}",
    ];
    assert_eq!(succeed(&arguments, None)?, "");
    Ok(())
}

#[test]
fn a_sink_scales() -> Result<()> {
    let namespace = Namespace::create("scale")?;
    namespace.store(&sink())?;
    succeed(
        &["scale", "-n", &namespace.0, "rsink/shop-pg", "--replicas=3"],
        None,
    )?;
    let arguments = [
        "get",
        "-n",
        &namespace.0,
        "rsink/shop-pg",
        "-o",
        "jsonpath={.spec.replicas}",
    ];
    assert_eq!(succeed(&arguments, None)?, "3");
    let selector = "sluice.dev/sink=shop-pg";
    let status = json!({"status": {"replicas": 2, "selector": selector}}).to_string();
    let patch = [
        "patch",
        "-n",
        &namespace.0,
        "rsink/shop-pg",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    succeed(&patch, None)?;
    let arguments = [
        "get",
        "-n",
        &namespace.0,
        "rsink/shop-pg",
        "--subresource=scale",
        "-o",
        "json",
    ];
    let scale: Value = serde_json::from_str(&succeed(&arguments, None)?)?;
    assert_eq!(scale["spec"]["replicas"], 3, "{scale}");
    assert_eq!(scale["status"]["replicas"], 2, "{scale}");
    assert_eq!(scale["status"]["selector"], selector, "{scale}");
    let said = kubectl(
        &["scale", "-n", &namespace.0, "rsink/shop-pg", "--replicas=0"],
        None,
    )?;
    ensure!(
        !said.success && said.stderr.contains("greater than or equal to 1"),
        "{}",
        said.stderr
    );
    Ok(())
}
