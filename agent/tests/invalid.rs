//! Files and command lines that make no sense: exit code 2, and a message that leads to the place.
#![allow(clippy::too_many_lines, reason = "a table is read in one piece")]

use crate::{EXAMPLE, sluice, stderr, stdout};

/// Replaces the first occurrence, which must be there.
fn with(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "the example has no {from:?}");
    EXAMPLE.replacen(from, to, 1)
}

/// The example's source and sink alone, without the parts between.
fn without_document(index: usize) -> String {
    let mut documents: Vec<&str> = EXAMPLE.split("\n---\n").collect();
    documents.remove(index);
    documents.join("\n---\n")
}

#[test]
fn every_mistake_is_exit_code_2_with_line_object_and_field() {
    let mysql_kafka = "  kafka: {bootstrapServers: 'k:9092', partitions: 0}\n  mysql:\n    host";
    let cases: Vec<(&str, String, &str)> = vec![
        (
            "broken YAML",
            with("  postgres:\n", "  postgres: [\n"),
            "is not valid YAML",
        ),
        (
            "key twice",
            with("    port: 3306", "    host: again"),
            "is not valid YAML",
        ),
        (
            "no kind",
            with("kind: ReplicaSink\n", ""),
            "document 4: kind: is missing",
        ),
        (
            "unknown kind",
            with("kind: ReplicaSink", "kind: Deployment"),
            "document 4, Deployment shop-postgres: kind: unknown kind",
        ),
        (
            "wrong version",
            with(
                "sluice.dev/v1alpha1\nkind: ReplicaSink",
                "sluice.dev/v1\nkind: ReplicaSink",
            ),
            "apiVersion: must be one of sluice.dev/v1alpha1",
        ),
        (
            "no name",
            with("  name: shop\nspec", "  labels: {}\nspec"),
            "document 3, ReplicationSource: metadata.name: is missing",
        ),
        (
            "bad name",
            with("  name: shop\nspec", "  name: My Shop\nspec"),
            "metadata.name: must be lower-case",
        ),
        (
            "typo",
            with("    port: 3306", "    prot: 3306"),
            "stdin:36: document 3, ReplicationSource shop: spec.mysql.prot: unknown field; did you mean port?",
        ),
        (
            "password",
            with("    port: 3306", "    password: hunter2"),
            "spec.mysql.password: unknown field: user and password go into a Secret",
        ),
        (
            "type",
            with("    port: 3306", "    port: '3306'"),
            "spec.mysql.port: must be a whole number, not text",
        ),
        (
            "range",
            with("    port: 3306", "    port: 0"),
            "spec.mysql.port: must be from 1 to 65535",
        ),
        (
            "word",
            with("dropTable: Ignore", "dropTable: ignore"),
            "spec.schemaChanges.dropTable: must be one of Apply, Ignore, Pause, Fail",
        ),
        (
            "host",
            with("host: 127.0.0.1", "host: mysql://db"),
            "spec.mysql.host: must be a host name or address alone",
        ),
        (
            "pattern",
            with("[\"shop.*\"]", "[\"shop\"]"),
            "spec.tables.include[0]: must be schema.table",
        ),
        (
            "empty include",
            with("[\"shop.*\"]", "[]"),
            "spec.tables.include: must have at least 1 entry",
        ),
        (
            "both",
            with("[\"shop.audit_*\"]", "[\"shop.*\"]"),
            "spec.tables: a pattern can't be both included and excluded",
        ),
        (
            "no kind of source",
            with("  mysql:\n    host", "  agent:\n    image"),
            "spec.agent.port: unknown field",
        ),
        (
            "kafka",
            with("  mysql:\n    host", mysql_kafka),
            "spec.kafka.partitions: must be from 1 to 10000",
        ),
        (
            "source",
            with("sourceRef: {name: shop}", "sourceRef: {name: store}"),
            "spec.sourceRef.name: no ReplicationSource store in the files",
        ),
        (
            "no Secret",
            without_document(0),
            "document 2, ReplicationSource shop: spec.mysql.credentials.secretRef.name: no Secret shop-mysql in the files",
        ),
        (
            "no key",
            with("  password: change-me\n", ""),
            "Secret shop-mysql has no key password",
        ),
        (
            "number as text",
            with("password: change-me", "password: 123456"),
            "stringData.password: must be text, not a number; put it in quotes",
        ),
        (
            "base64",
            with(
                "stringData:\n  username: sluice\n  password: change-me\n",
                "data: {username: c2x1aWNl, password: '***'}\n",
            ),
            "data.password: is not valid base64",
        ),
        (
            "twice",
            format!(
                "{EXAMPLE}\n---\n{}",
                EXAMPLE.split("\n---\n").last().unwrap()
            ),
            "document 5, ReplicaSink shop-postgres: metadata.name: is there twice",
        ),
        (
            "two targets",
            with(
                "  postgres:\n",
                "  mysql: {host: a, credentials: {secretRef: {name: b}}}\n  postgres:\n",
            ),
            "spec: exactly one of postgres, mysql",
        ),
        (
            "delay",
            with("maxDelay: 100ms", "maxDelay: 2m"),
            "spec.apply.maxDelay: must be one minute at most",
        ),
        (
            "verify",
            with(
                "  apply:\n",
                "  verify: {schedule: '0 3 * * *'}\n  apply:\n",
            ),
            "spec.verify: not supported by this version",
        ),
        (
            "replicas",
            with("  apply:\n", "  replicas: 3\n  apply:\n"),
            "spec.replicas: more than one needs spec.kafka",
        ),
        (
            "filter",
            with(
                "  apply:\n",
                "  tables: [{source: shop.orders, where: 'a <'}]\n  apply:\n",
            ),
            "spec.tables[0].where: ",
        ),
        (
            "table",
            with("  apply:\n", "  tables: [{source: crm.orders}]\n  apply:\n"),
            "spec.tables[0].source: crm.orders is not among the tables",
        ),
        (
            "mask",
            with(
                "  apply:\n",
                "  tables: [{source: shop.orders, columns: {exclude: [a], mask: {a: Redact}}}]\n  apply:\n",
            ),
            "spec.tables[0].columns: mask names a column that exclude",
        ),
        (
            "null mask",
            with(
                "  apply:\n",
                "  tables: [{source: shop.orders, columns: {mask: {a: Null}}}]\n  apply:\n",
            ),
            "spec.tables[0].columns.mask.a: has no value",
        ),
        ("nothing", String::new(), "no ReplicaSink in the files"),
    ];
    for (name, yaml, expected) in cases {
        let output = sluice(&["run", "-f", "-"], &yaml);
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {errors}");
        assert!(
            errors.contains(expected),
            "{name}: expected {expected:?}, found {errors:?}"
        );
        assert!(
            !errors.contains("hunter2") && !errors.contains("123456"),
            "{name}: shows a secret"
        );
    }
}

#[test]
fn all_mistakes_are_named_at_once_in_the_order_of_the_file() {
    let yaml =
        with("    port: 3306", "    prot: 3306").replacen("dropTable: Ignore", "dropTable: No", 1);
    let output = sluice(&["check", "-f", "-"], &yaml);
    let errors = stderr(&output);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(
        (output.status.code(), lines.len()),
        (Some(2), 2),
        "{errors}"
    );
    assert!(
        lines[0].contains("spec.mysql.prot") && lines[1].contains("spec.schemaChanges.dropTable")
    );
}

#[test]
fn a_missing_file_and_a_wrong_command_line_are_exit_code_2() {
    for arguments in [
        &["run", "-f", "/nowhere/at/all.yaml"][..],
        &["run"],
        &["check", "-f", "-", "-o", "xml"],
        &["run", "-f", "-", "--log-level", "sluice=loud"],
        &["walk"],
    ] {
        let output = sluice(arguments, EXAMPLE);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).is_empty());
    }
}

#[test]
fn the_version_is_told() {
    let output = sluice(&["version"], "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        format!("sluice {}\n", env!("CARGO_PKG_VERSION"))
    );
}
