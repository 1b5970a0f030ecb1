//! The CEL rules refuse what they are to refuse, and nothing else.

use kube::core::cel;
use schemars::JsonSchema;
use serde_json::{Value, json};
use sluice_crds::{ReplicaSinkSpec, ReplicationSourceSpec};

/// Sets the value at a JSON pointer, or removes it with null, making objects on the way.
fn changed(base: &Value, edits: &[(&str, Value)]) -> Value {
    let mut changed = base.clone();
    for (pointer, value) in edits {
        let (mut at, mut names) = (&mut changed, pointer[1..].split('/').peekable());
        while let Some(name) = names.next() {
            if names.peek().is_none() && value.is_null() {
                at.as_object_mut().unwrap().remove(name);
                break;
            }
            at = match name.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[name],
            };
            if names.peek().is_none() {
                *at = value.clone();
            }
        }
    }
    changed
}

/// The rules' messages about a spec, with defaults applied as a server would.
fn complaints<T>(spec: &Value, old: Option<&Value>) -> String
where
    T: JsonSchema + serde::Serialize + serde::de::DeserializeOwned,
{
    let full = |value: &Value| -> Value {
        let typed: T = serde_json::from_value(value.clone()).unwrap();
        serde_json::to_value(typed).unwrap()
    };
    match cel::validate_cel_schema::<T>(&full(spec), old.map(full).as_ref()) {
        Ok(()) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

fn source() -> Value {
    json!({
        "mysql": {"host": "db", "credentials": {"secretRef": {"name": "s"}}},
        "tables": {"include": ["shop.*"]},
    })
}

fn sink() -> Value {
    json!({
        "sourceRef": {"name": "shop"},
        "postgres": {"host": "pg", "database": "shop", "credentials": {"secretRef": {"name": "s"}}},
        "tables": [{"source": "shop.orders"}],
    })
}

fn kafka() -> Value {
    json!({"bootstrapServers": "kafka:9092"})
}

#[test]
fn complete_objects_pass() {
    assert_eq!(
        complaints::<ReplicationSourceSpec>(&source(), Some(&source())),
        ""
    );
    assert_eq!(complaints::<ReplicaSinkSpec>(&sink(), Some(&sink())), "");
    let through_kafka = changed(&source(), &[("/kafka", kafka())]);
    assert_eq!(
        complaints::<ReplicationSourceSpec>(&through_kafka, None),
        ""
    );
}

#[test]
fn a_source_that_contradicts_itself_is_refused() {
    let postgres =
        json!({"host": "pg", "database": "a", "credentials": {"secretRef": {"name": "s"}}});
    let topics = json!({"bootstrapServers": "kafka:9092", "topics": ["a"]});
    let table: [(&[(&str, Value)], &str); 11] = [
        (&[("/mysql", Value::Null)], "exactly one of mysql"),
        (&[("/postgres", postgres)], "exactly one of mysql"),
        (&[("/tables", Value::Null)], "tables is needed"),
        (
            &[("/tables/exclude", json!(["shop.*"]))],
            "both included and excluded",
        ),
        (
            &[
                ("/mysql", Value::Null),
                ("/kafkaTopics", topics),
                ("/kafka", kafka()),
            ],
            "in Kafka already",
        ),
        (
            &[(
                "/mysql/tls",
                json!({"mode": "Disable", "clientSecretRef": {"name": "c"}}),
            )],
            "no effect",
        ),
        (
            &[("/kafka", kafka()), ("/kafka/topic", json!("all"))],
            "must contain {table}",
        ),
        (
            &[
                ("/kafka", kafka()),
                (
                    "/kafka/format",
                    json!({"avro": {"schemaRegistry": {"url": "http://r"}}, "json": {}}),
                ),
            ],
            "exactly one of avro and json",
        ),
        (
            &[
                ("/kafka", kafka()),
                ("/kafka/security", json!({"protocol": "SASL_SSL"})),
            ],
            "sasl is needed",
        ),
        (
            &[("/kafka", kafka()), ("/kafka/security", json!({"tls": {}}))],
            "tls has no effect",
        ),
        (
            &[
                ("/kafka", kafka()),
                ("/kafka/config", json!({"sasl.password": "x"})),
            ],
            "Sluice sets itself",
        ),
    ];
    for (changes, expected) in table {
        let found = complaints::<ReplicationSourceSpec>(&changed(&source(), changes), None);
        assert!(
            found.contains(expected),
            "{changes:?}: expected {expected:?}, found {found:?}"
        );
    }
}

#[test]
fn a_sink_that_contradicts_itself_is_refused() {
    let mysql = json!({"host": "db", "credentials": {"secretRef": {"name": "s"}}});
    let table: [(&str, Value, &str); 11] = [
        ("/postgres", Value::Null, "exactly one of postgres"),
        ("/mysql", mysql, "exactly one of postgres"),
        (
            "/tables/0",
            json!({"source": "shop.*", "target": "a.b"}),
            "several tables",
        ),
        (
            "/tables/0/columns",
            json!({"include": ["a"], "exclude": ["b"]}),
            "only one of include",
        ),
        (
            "/tables/0/columns",
            json!({"include": ["a"], "mask": {"b": "Sha256"}}),
            "mask names a column that include",
        ),
        (
            "/tables/0/columns",
            json!({"exclude": ["a"], "mask": {"a": "Sha256"}}),
            "mask names a column that exclude",
        ),
        (
            "/tables/0/columns",
            json!({"include": ["a"], "rename": {"b": "c"}}),
            "rename names a column that include",
        ),
        (
            "/tables/0/columns",
            json!({"exclude": ["a"], "rename": {"a": "c"}}),
            "rename names a column that exclude",
        ),
        (
            "/conflicts",
            json!({"resolution": "LatestWins"}),
            "column is needed",
        ),
        ("/conflicts", json!({"column": "ts"}), "column is needed"),
        ("/apply/maxDelay", json!("61s"), "one minute"),
    ];
    for (pointer, value, expected) in table {
        let found = complaints::<ReplicaSinkSpec>(&changed(&sink(), &[(pointer, value)]), None);
        assert!(
            found.contains(expected),
            "{pointer}: expected {expected:?}, found {found:?}"
        );
    }
}

#[test]
fn identity_cannot_be_changed() {
    let postgres =
        json!({"host": "pg", "database": "a", "credentials": {"secretRef": {"name": "s"}}});
    let other_kind = changed(
        &source(),
        &[("/mysql", Value::Null), ("/postgres", postgres)],
    );
    let found = complaints::<ReplicationSourceSpec>(&other_kind, Some(&source()));
    assert!(
        found.contains("the kind of source can't be changed"),
        "{found}"
    );
    let found = complaints::<ReplicationSourceSpec>(
        &changed(&source(), &[("/kafka", kafka())]),
        Some(&source()),
    );
    assert!(found.contains("kafka can't be added or removed"), "{found}");

    let other_source = changed(&sink(), &[("/sourceRef/name", json!("b"))]);
    let other_database = changed(&sink(), &[("/postgres/database", json!("b"))]);
    for sink_after in [other_source, other_database] {
        let found = complaints::<ReplicaSinkSpec>(&sink_after, Some(&sink()));
        assert!(found.contains("can't be changed"), "{found}");
    }
}

#[test]
fn a_server_may_move() {
    let moved = changed(
        &source(),
        &[("/mysql/host", json!("db2")), ("/mysql/port", json!(3307))],
    );
    assert_eq!(
        complaints::<ReplicationSourceSpec>(&moved, Some(&source())),
        ""
    );
}
