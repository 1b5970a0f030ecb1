//! What must be let in: every example, and the defaults that the API server fills in.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    kubectl::{Namespace, ROOT, kubectl, kubectl_text, succeed, try_create},
    specs::{sink, source},
};

#[test]
fn every_example_is_accepted_without_a_warning() -> Result<()> {
    let namespace = Namespace::create("examples")?;
    let mut count = 0;
    for entry in fs::read_dir(ROOT.join("deploy/examples"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        for document in serde_yaml::Deserializer::from_str(&text) {
            let mut object =
                Value::deserialize(document).with_context(|| path.display().to_string())?;
            object["metadata"]["namespace"] = json!(namespace.0);
            let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
            let said = kubectl_text(&arguments, &object.to_string())?;
            ensure!(
                said.success && said.stderr.is_empty(),
                "{}, {}: {}",
                path.display(),
                object["kind"],
                said.stderr
            );
        }
        count += 1;
    }
    ensure!(count >= 2, "{count} examples");
    Ok(())
}

#[test]
fn a_server_side_apply_owns_only_what_was_given() -> Result<()> {
    let namespace = Namespace::create("ssa")?;
    let apply = |manager: &str, object: &Value| -> Result<String> {
        let manager = format!("--field-manager={manager}");
        let arguments = [
            "apply",
            "--server-side",
            &manager,
            "-n",
            &namespace.0,
            "-f",
            "-",
        ];
        succeed(&arguments, Some(object))
    };
    let mut ours = sink();
    apply("first", &ours)?;
    // Routes merge by their source: two people can each look after theirs.
    ours["spec"]["tables"] = json!([{"source": "shop.customers"}]);
    apply("second", &ours)?;
    let arguments = [
        "get",
        "-n",
        &namespace.0,
        "rsink/shop-pg",
        "-o",
        "jsonpath={.spec.tables[*].source}",
    ];
    assert_eq!(succeed(&arguments, None)?, "shop.orders shop.customers");
    Ok(())
}

#[test]
fn absent_fields_get_the_documented_defaults() -> Result<()> {
    let created = |object: Value| -> Result<Value> {
        let said = try_create(&object)?;
        ensure!(said.success, "{}", said.stderr);
        Ok(serde_json::from_str::<Value>(&said.stdout)?["spec"].take())
    };
    let source = created(source())?;
    assert_eq!(
        source,
        json!({
            "mysql": {"host": "db", "port": 3306, "credentials": {"secretRef": {"name": "shop-mysql"}}},
            "tables": {"include": ["shop.*"]},
            "snapshot": {"mode": "Initial", "chunkRows": 50_000, "parallelism": 4},
            "onPositionLost": "Fail",
            "heartbeatSeconds": 10,
            "lagThresholdSeconds": 60,
            "paused": true,
        })
    );
    let sink = created(sink())?;
    assert_eq!(
        sink,
        json!({
            "sourceRef": {"name": "shop"},
            "postgres": {
                "host": "pg", "port": 5432, "database": "shop", "credentials": {"secretRef": {"name": "shop-pg"}},
                "tinyint1": "Smallint", "enums": "Text", "sets": "Text",
            },
            "tables": [{"source": "shop.orders"}],
            "schemaChanges": {
                "createTable": "Apply", "addColumn": "Apply", "renameColumn": "Apply", "alterColumn": "Apply",
                "dropColumn": "Ignore", "truncate": "Apply", "dropTable": "Ignore",
            },
            "apply": {"deletes": "Apply", "batchRows": 20_000, "maxDelay": "100ms"},
            "conflicts": {"resolution": "SourceWins"},
            "errors": {"onBadRecord": "DeadLetter"},
            "unrepresentable": "Null",
            "lagThresholdSeconds": 60,
            "replicas": 1,
            "paused": true,
        })
    );
    Ok(())
}

#[test]
fn a_null_is_the_same_as_nothing() -> Result<()> {
    let mut object = source();
    object["spec"]["snapshot"] = Value::Null;
    object["spec"]["mysql"]["port"] = Value::Null;
    object["spec"]["mysql"]["tls"] = Value::Null;
    let said = try_create(&object)?;
    ensure!(said.success, "{}", said.stderr);
    let created: Value = serde_json::from_str(&said.stdout)?;
    assert_eq!(created["spec"]["mysql"]["port"], 3306);
    assert_eq!(created["spec"]["snapshot"]["mode"], "Initial");
    assert!(created["spec"]["mysql"].get("tls").is_none(), "{created}");
    Ok(())
}

#[test]
fn kubectl_explains_every_field() -> Result<()> {
    crate::kubectl::definitions()?;
    for (field, expected) in [
        ("replicationsource.spec.mysql.host", "Host name or address"),
        (
            "replicasink.spec.tables.columns.mask",
            "Columns whose values are hidden",
        ),
        (
            "replicasink.status.lag.seconds",
            "zero when nothing is missing",
        ),
    ] {
        let said = kubectl(&["explain", field], None)?;
        // kubectl breaks lines.
        let text = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(
            said.success && text.contains(expected),
            "{field}: {text}{}",
            said.stderr
        );
    }
    Ok(())
}
