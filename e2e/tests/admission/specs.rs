//! Sound objects, and ways to spoil them.

use serde_json::{Value, json};

/// A source that an API server accepts. Paused, so that an operator that runs by chance starts nothing.
pub(crate) fn source() -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ReplicationSource",
        "metadata": {"name": "shop"},
        "spec": {
            "mysql": {"host": "db", "credentials": {"secretRef": {"name": "shop-mysql"}}},
            "tables": {"include": ["shop.*"]},
            "paused": true,
        },
    })
}

/// A sink that an API server accepts.
pub(crate) fn sink() -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ReplicaSink",
        "metadata": {"name": "shop-pg"},
        "spec": {
            "sourceRef": {"name": "shop"},
            "postgres": {
                "host": "pg",
                "database": "shop",
                "credentials": {"secretRef": {"name": "shop-pg"}},
            },
            "tables": [{"source": "shop.orders"}],
            "paused": true,
        },
    })
}

/// A PostgreSQL source.
pub(crate) fn postgres_source() -> Value {
    json!({"host": "pg", "database": "shop", "credentials": {"secretRef": {"name": "s"}}})
}

/// Kafka as the transport.
pub(crate) fn kafka() -> Value {
    json!({"bootstrapServers": "kafka:9092"})
}

/// A value that stays null.
const EXPLICIT_NULL: &str = "<null>";

/// The object with values set at JSON pointers; null removes a field.
pub(crate) fn changed<'a, Pointer: AsRef<str> + 'a>(
    base: Value,
    changes: impl IntoIterator<Item = (&'a Pointer, &'a Value)>,
) -> Value {
    let mut object = base;
    for (pointer, value) in changes {
        let (parent, name) = pointer
            .as_ref()
            .rsplit_once('/')
            .expect("a pointer has a slash");
        let parent = object
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect("the pointer leads into an object");
        if value.is_null() {
            parent.remove(name);
        } else {
            parent.insert(name.to_owned(), value.clone());
        }
    }
    let explicit = format!("\"{EXPLICIT_NULL}\"");
    let text = object.to_string().replace(&explicit, "null");
    serde_json::from_str(&text).expect("it is JSON still")
}
