//! Edits of stored objects: what makes them another pipeline is refused, anything else goes.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    kubectl::{Namespace, try_patch},
    specs::{changed, kafka, postgres_source, sink, source},
};

fn renamed(object: Value, name: &str) -> Value {
    changed(object, [(&"/metadata/name", &json!(name))])
}

#[test]
fn what_makes_an_object_another_pipeline_cannot_be_edited() -> Result<()> {
    let namespace = Namespace::create("immutable")?;
    let with = |object: Value, name: &str, changes: &[(&str, Value)]| {
        let changes = changes.iter().map(|(pointer, value)| (pointer, value));
        namespace.store(&changed(renamed(object, name), changes))
    };
    with(source(), "mysql", &[])?;
    with(source(), "through-kafka", &[("/spec/kafka", kafka())])?;
    let from_postgres = [
        ("/spec/mysql", Value::Null),
        ("/spec/postgres", postgres_source()),
    ];
    with(source(), "postgres", &from_postgres)?;
    with(sink(), "to-postgres", &[])?;
    let clickhouse =
        json!({"host": "ch", "database": "shop", "credentials": {"secretRef": {"name": "s"}}});
    let to_clickhouse = [
        ("/spec/postgres", Value::Null),
        ("/spec/clickhouse", clickhouse),
    ];
    with(sink(), "to-clickhouse", &to_clickhouse)?;
    let files = json!({"path": "/data"});
    let to_parquet = [("/spec/postgres", Value::Null), ("/spec/parquet", files)];
    with(sink(), "to-parquet", &to_parquet)?;

    let source_kind = "the kind of source can't be changed: create another ReplicationSource";
    let target_kind = "the kind of target can't be changed: create another ReplicaSink";
    let database = "can't be changed: another database is another replica";
    let table = [
        (
            "rsrc/mysql",
            json!({"mysql": null, "postgres": postgres_source()}),
            source_kind,
        ),
        (
            "rsrc/postgres",
            json!({"postgres": {"database": "b"}}),
            "can't be changed: create another ReplicationSource",
        ),
        (
            "rsrc/mysql",
            json!({"kafka": kafka()}),
            "kafka can't be added or removed",
        ),
        (
            "rsrc/through-kafka",
            json!({"kafka": null}),
            "kafka can't be added or removed",
        ),
        (
            "rsrc/through-kafka",
            json!({"kafka": {"topic": "{table}"}}),
            "can't be changed: readers of the old topics would miss changes",
        ),
        (
            "rsink/to-postgres",
            json!({"sourceRef": {"name": "b"}}),
            "the replica's position belongs to its source",
        ),
        (
            "rsink/to-postgres",
            json!({"postgres": {"database": "b"}}),
            database,
        ),
        (
            "rsink/to-postgres",
            json!({"postgres": null, "parquet": {"path": "/a"}}),
            target_kind,
        ),
        (
            "rsink/to-clickhouse",
            json!({"clickhouse": {"database": "b"}}),
            database,
        ),
        (
            "rsink/to-parquet",
            json!({"parquet": {"path": null, "s3": {"bucket": "abc"}}}),
            "can't be moved between a folder and a bucket",
        ),
    ];
    let mut wrong = Vec::new();
    for (object, spec, expected) in table {
        let said = try_patch(&namespace.0, object, &json!({"spec": spec}))?;
        println!("{object} {spec}\n  {}", said.stderr.trim());
        if said.success || !said.stderr.contains(expected) {
            wrong.push(format!(
                "{object} {spec}: expected {expected:?}, found {:?}",
                said.stderr
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn servers_move_tables_change_and_pipelines_pause() -> Result<()> {
    let namespace = Namespace::create("mutable")?;
    namespace.store(&source())?;
    namespace.store(&sink())?;
    let table = [
        ("rsrc/shop", json!({"mysql": {"host": "db2", "port": 3307}})),
        (
            "rsrc/shop",
            json!({"mysql": {"credentials": {"secretRef": {"name": "other"}}, "tls": {"mode": "Require"}}}),
        ),
        (
            "rsrc/shop",
            json!({"tables": {"include": ["shop.*", "billing.*"], "exclude": ["shop.a"]}}),
        ),
        (
            "rsrc/shop",
            json!({"paused": false, "snapshot": {"chunkRows": 1000}, "onPositionLost": "Resnapshot"}),
        ),
        (
            "rsink/shop-pg",
            json!({"postgres": {"host": "pg2"}, "tables": null}),
        ),
        (
            "rsink/shop-pg",
            json!({"schemaChanges": {"dropTable": "Apply"}, "apply": {"deletes": "Soft"}}),
        ),
        (
            "rsink/shop-pg",
            json!({"agent": {"image": "sluice:next", "logLevel": "Debug"}}),
        ),
    ];
    for (object, spec) in table {
        let said = try_patch(&namespace.0, object, &json!({"spec": spec}))?;
        ensure!(
            said.success && said.stderr.is_empty(),
            "{object} {spec}: {}",
            said.stderr
        );
    }
    Ok(())
}
