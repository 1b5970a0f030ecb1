//! What the policies for schema changes do.

use std::sync::Arc;

use sluice_agent_api::config::SchemaPolicy;
use sluice_core::{
    ChangeEvent, Class, ColumnType, Reason, Row, SchemaChange, TableId, Value, event::ChunkMode,
};

use crate::support::*;

const VARCHAR: fn(u32) -> ColumnType = |length| ColumnType::Varchar { length };
const INT: fn(u8) -> ColumnType = |bits| ColumnType::Int {
    bits,
    unsigned: false,
};

#[tokio::test]
async fn ignored_changes_let_rows_flow_as_far_as_they_fit() {
    let (database, mut target, orders) = start(SchemaPolicy::Ignore).await;
    let before = types_of(&database).await;
    let altered = changed(&orders, |schema| {
        schema.columns[1].name = "renamed".into();
        schema.columns.push(column("added", ColumnType::Text));
    });
    let renamed = ChangeEvent::Schema(SchemaChange::RenameColumns {
        table: orders.id.clone(),
        columns: vec![("a".into(), "renamed".into())],
    });
    let dropped = changed(&altered, |schema| {
        schema.columns.remove(2);
    });
    let outcome = target
        .apply(vec![
            renamed,
            alter(&altered),
            insert(&altered, row(3, &["to a", "to b", "nowhere"])),
            alter(&dropped),
            insert(&dropped, row(4, &["still to a", "nowhere"])),
            ChangeEvent::Schema(SchemaChange::Truncate(orders.id.clone())),
        ])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    assert_eq!(types_of(&database).await, before);
    let found = database
        .lines("SELECT * FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(found, ["1|x|y", "2|p|q", "3|to a|to b", "4|still to a|-"]);
    // A type that changes keeps the target's: what fits is written, what does not is kept aside.
    let retyped = changed(&dropped, |schema| schema.columns[1].ty = INT(32));
    let number = Row::pack([Value::Int(5), Value::Int(7), Value::Null]);
    let outcome = target
        .apply(vec![alter(&retyped), insert(&retyped, number)])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    assert_eq!(
        database
            .value("SELECT a FROM shop.orders WHERE id = 5")
            .await,
        "7"
    );
    // The links outlive the agent.
    let mut next = database
        .sink_with(|config, _| config.schema_changes = policies(SchemaPolicy::Ignore))
        .await;
    let number = Row::pack([Value::Int(6), Value::Int(8), Value::Null]);
    next.apply(vec![insert(&retyped, number)]).await;
    assert_eq!(
        database
            .value("SELECT a FROM shop.orders WHERE id = 6")
            .await,
        "8"
    );
    let gone = ChangeEvent::Schema(SchemaChange::Drop(orders.id.clone()));
    next.apply(vec![gone]).await;
    assert_eq!(
        database.value("SELECT count(*) FROM shop.orders").await,
        "6"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn paused_and_refused_changes_stop_the_table_until_it_is_copied_again() {
    for (policy, reason) in [
        (SchemaPolicy::Pause, Reason::SchemaChangePaused),
        (SchemaPolicy::Fail, Reason::SchemaChangeRefused),
    ] {
        let id = TableId::new("shop", "orders");
        let base = texts("orders", &["a", "b"]);
        let added = changed(&base, |schema| {
            schema.columns.push(column("c", ColumnType::Text));
        });
        let dropped = changed(&base, |schema| {
            schema.columns.pop();
        });
        let retyped = changed(&base, |schema| schema.columns[1].ty = VARCHAR(10));
        let renamed = changed(&base, |schema| schema.columns[1].name = "z".into());
        let rename = SchemaChange::RenameColumns {
            table: id.clone(),
            columns: vec![("a".into(), "z".into())],
        };
        for (change, after) in [
            (SchemaChange::Alter(Arc::clone(&added)), Some(added)),
            (SchemaChange::Alter(Arc::clone(&dropped)), Some(dropped)),
            (SchemaChange::Alter(Arc::clone(&retyped)), Some(retyped)),
            (rename, Some(renamed)),
            (SchemaChange::Truncate(id.clone()), None),
            (SchemaChange::Drop(id.clone()), None),
        ] {
            let (database, mut target, orders) = start(policy).await;
            let before = types_of(&database).await;
            let later = after.clone().unwrap_or_else(|| Arc::clone(&orders));
            let texts: Vec<_> = later.columns[1..].iter().map(|_| "t").collect();
            let outcome = target
                .apply(vec![
                    insert(&orders, row(3, &["before", "-"])),
                    ChangeEvent::Schema(change.clone()),
                    insert(&later, row(4, &texts)),
                ])
                .await;
            let (table, error) = &outcome.stopped[0];
            assert_eq!(*table, id);
            assert_eq!(
                (error.reason(), error.class()),
                (reason, Class::StopTable),
                "{change:?}"
            );
            assert!(
                error
                    .hint()
                    .unwrap_or_default()
                    .contains("--resnapshot shop.orders")
            );
            assert_eq!(types_of(&database).await, before);
            let found = database
                .lines("SELECT id FROM shop.orders ORDER BY id")
                .await;
            assert_eq!(found, ["1", "2", "3"], "{change:?}");
            // The person agrees.
            let mut next = database
                .sink_with(|config, _| config.schema_changes = policies(policy))
                .await;
            next.prepare(&later).await;
            let rows = vec![row(4, &texts)];
            let outcome = next
                .apply(vec![chunk(&later, ChunkMode::ReplaceAll, rows)])
                .await;
            assert!(
                outcome.stopped.is_empty(),
                "{change:?}: {:?}",
                outcome.stopped
            );
            let outcome = next.apply(vec![insert(&later, row(5, &texts))]).await;
            assert!(
                outcome.stopped.is_empty(),
                "{change:?}: {:?}",
                outcome.stopped
            );
            let found = database
                .lines("SELECT id FROM shop.orders ORDER BY id")
                .await;
            assert_eq!(found, ["4", "5"], "{change:?}");
            database.drop_now().await;
        }
    }
}

#[tokio::test]
async fn new_tables_wait_by_policy() {
    for (policy, reason) in [
        (SchemaPolicy::Ignore, Reason::TargetIncompatible),
        (SchemaPolicy::Pause, Reason::SchemaChangePaused),
        (SchemaPolicy::Fail, Reason::SchemaChangeRefused),
    ] {
        let database = Database::new().await;
        let mut target = database
            .sink_with(|config, _| config.schema_changes.create_table = policy)
            .await;
        let orders = texts("orders", &["a"]);
        let create = ChangeEvent::Schema(SchemaChange::Create(Arc::clone(&orders)));
        let outcome = target
            .apply(vec![create, insert(&orders, row(1, &["x"]))])
            .await;
        assert_eq!(outcome.stopped[0].1.reason(), reason);
        assert!(outcome.stopped[0].1.report().contains("orders"));
        assert_eq!(
            database.value("SELECT to_regclass('shop.orders')").await,
            "-"
        );
        database.drop_now().await;
    }
}
