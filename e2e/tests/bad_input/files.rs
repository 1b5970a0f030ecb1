//! Files that say something impossible: exit code 2, and the file's line and field.

use anyhow::{Context, Result};
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice};

/// What is replaced in a file that is right, by what, and what the message must name.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    (
        "kind: ReplicationSource",
        "kind: [ReplicationSource",
        &["YAML"],
    ),
    (
        "kind: ReplicationSource",
        "kind: ReplicationSink",
        &["kind", "ReplicaSink"],
    ),
    ("  mysql:\n", "  mysq:\n", &["spec.mysq", "mysql"]),
    ("port: 3306", "port: 330600", &["spec.mysql.port", "65535"]),
    (
        "port: 3306",
        "port: '3306'",
        &["spec.mysql.port", "whole number"],
    ),
    (
        "port: 3306",
        "port: 3306\n    password: secret",
        &["spec.mysql.password", "Secret"],
    ),
    (
        "host: 127.0.0.1\n    port: 3306",
        "port: 3306",
        &["spec.mysql.host", "missing"],
    ),
    (
        "- shop.*",
        "- shop",
        &["spec.tables.include[0]", "schema.table"],
    ),
    (
        "name: mysql\n",
        "name: other\n",
        &["secretRef", "no Secret mysql"],
    ),
    ("  password: a\n", "", &["password", "mysql"]),
    (
        "name: shop\n  postgres",
        "name: other\n  postgres",
        &["spec.sourceRef", "other"],
    ),
    (
        LAST,
        "schemaChanges: {addColumn: Allow}",
        &["spec.schemaChanges.addColumn", "Apply"],
    ),
    (
        LAST,
        "apply: {maxDelay: 1 hour}",
        &["spec.apply.maxDelay", "100ms"],
    ),
    (LAST, "replicas: 3", &["spec.replicas", "kafka"]),
    (
        LAST,
        "tables: [{source: crm.people}]",
        &["spec.tables[0].source", "crm.people"],
    ),
    (
        LAST,
        "tables: [{source: shop.t, where: 'id >'}]",
        &["spec.tables[0].where"],
    ),
    (
        LAST,
        "tables: [{source: shop.t, columns: {mask: {a: Rot13}}}]",
        &["spec.tables[0].columns.mask.a", "Sha256"],
    ),
    (
        LAST,
        "mysql: {host: a, credentials: {secretRef: {name: mysql}}}",
        &["exactly one of postgres, mysql"],
    ),
];

/// Stands for the end of the file, inside the sink's `spec`.
const LAST: &str = "";

const RIGHT: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: mysql
stringData:
  username: a
  password: a
---
apiVersion: v1
kind: Secret
metadata:
  name: postgres
stringData:
  username: a
  password: a
---
apiVersion: sluice.dev/v1alpha1
kind: ReplicationSource
metadata:
  name: shop
spec:
  mysql:
    host: 127.0.0.1
    port: 3306
    credentials:
      secretRef:
        name: mysql
  tables:
    include:
    - shop.*
---
apiVersion: sluice.dev/v1alpha1
kind: ReplicaSink
metadata:
  name: shop-pg
spec:
  sourceRef:
    name: shop
  postgres:
    host: 127.0.0.1
    port: 5432
    database: shop
    credentials:
      secretRef:
        name: postgres
";

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_is_refused_with_its_field() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "files").await?;
    let postgres = PgDatabase::create(&servers, "files").await?;
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let path = written.path().to_str().context("a path of text")?;
    let mut wrong = Vec::new();
    for (right, mistake, names) in MISTAKES {
        assert!(RIGHT.contains(right), "{right:?} is not in the file");
        let text = match *right {
            LAST => format!("{RIGHT}  {mistake}\n"),
            _ => RIGHT.replacen(right, mistake, 1),
        };
        std::fs::write(path, text)?;
        for command in ["check", "run"] {
            let output = Sluice::command(&[command, "-f", path]).await?;
            let said = String::from_utf8_lossy(&output.stderr);
            let names_all = names.iter().all(|name| said.contains(name));
            if output.status.code() != Some(2) || !names_all || !said.contains(path) {
                wrong.push(format!("{mistake:?}, {command}: {}: {said}", output.status));
            }
        }
    }
    for arguments in [
        &["run", "-f", "/not/there.yaml"][..],
        &["run"],
        &["rum"],
        &["check", "-x"],
    ] {
        let output = Sluice::command(arguments).await?;
        if output.status.code() != Some(2) || output.stderr.is_empty() {
            wrong.push(format!("{arguments:?}: {output:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
