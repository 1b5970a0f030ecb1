//! Letters of tables that have changed since, and of tables without a key.

use sluice_agent_api::config::SchemaPolicy;
use sluice_core::{ChangeEvent, ColumnType, SchemaChange, TableId, schema::ColumnDefault};

use super::*;

fn renamed_columns(table: &TableId, from: &str, to: &str) -> ChangeEvent {
    ChangeEvent::Schema(SchemaChange::RenameColumns {
        table: table.clone(),
        columns: vec![(from.into(), to.into())],
    })
}

#[tokio::test]
async fn columns_that_came_went_and_were_renamed_since_are_told_by_name() {
    let (database, mut target, orders) = refusing().await;
    target
        .apply(vec![insert(&orders, row(2, &["bad", "1"]))])
        .await;
    target
        .apply(vec![renamed_columns(&orders.id, "b", "c")])
        .await;
    let mut wider = texts("orders", &["a", "c", "new"]);
    target.apply(vec![alter(&wider)]).await;
    database.allow().await;
    let mut letters = database.letters().await;
    assert_eq!(retry_all(&mut letters).await, (1, Vec::new()));
    assert_eq!(database.orders().await, ["1|x|y|-", "2|bad|1|-"]);

    // What a row holds in a column that was added with a default the source alone knows.
    database
        .run("ALTER TABLE shop.orders ADD CONSTRAINT good CHECK (a <> 'bad') NOT VALID")
        .await;
    target
        .apply(vec![insert(&wider, row(3, &["bad", "1", "n"]))])
        .await;
    wider = changed(&wider, |schema| {
        let mut more = column("more", ColumnType::Text);
        more.default = Some(ColumnDefault::Literal("x".into()));
        schema.columns.push(more);
    });
    target.apply(vec![alter(&wider)]).await;
    database.allow().await;
    let (applied, kept) = retry_all(&mut letters).await;
    assert_eq!(applied, 0);
    assert!(kept[0].contains("a part of it only"), "{kept:?}");
    // The next change of the row brings it.
    target
        .apply(vec![update(
            &wider,
            row(3, &["bad", "1", "n", "x"]),
            row(3, &["bad", "2", "n", "x"]),
        )])
        .await;
    assert_eq!(count(&letters).await, 0);
    assert_eq!(database.orders().await[2], "3|bad|2|n|x");
    database.drop_now().await;
}

#[tokio::test]
async fn a_renamed_table_keeps_its_letters() {
    let (database, mut target, orders) = refusing().await;
    target
        .apply(vec![insert(&orders, row(2, &["bad", "1"]))])
        .await;
    let to = TableId::new("shop", "sales");
    target
        .apply(vec![ChangeEvent::Schema(SchemaChange::RenameTable {
            from: orders.id.clone(),
            to: to.clone(),
        })])
        .await;
    target.streaming(&[&to]);
    target.commit().await;
    let sales = changed(&orders, |schema| schema.id = to);
    database
        .run("ALTER TABLE shop.sales DROP CONSTRAINT good")
        .await;
    let mut letters = database.letters().await;
    assert_eq!(retry_all(&mut letters).await, (1, Vec::new()));
    target
        .apply(vec![delete(&sales, row(1, &["x", "y"]))])
        .await;
    assert_eq!(
        database.lines("SELECT * FROM shop.sales").await,
        ["2|bad|1"]
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_table_that_is_dropped_leaves_letters_for_reading() {
    let (database, target, orders) = refusing().await;
    drop(target);
    let mut target = database
        .sink_with(|config, _| config.schema_changes.drop_table = SchemaPolicy::Ignore)
        .await;
    target
        .apply(vec![insert(&orders, row(2, &["bad", "1"]))])
        .await;
    target
        .apply(vec![ChangeEvent::Schema(SchemaChange::Drop(
            orders.id.clone(),
        ))])
        .await;
    let mut letters = database.letters().await;
    let listed = letters
        .list(&Filter::default(), 0, 10, false)
        .await
        .unwrap();
    assert!(!listed[0].retryable);
    let (applied, kept) = retry_all(&mut letters).await;
    assert_eq!(applied, 0);
    assert!(kept[0].contains("for reading only"), "{kept:?}");
    database.drop_now().await;
}

#[tokio::test]
async fn equal_rows_of_a_table_without_a_key_are_counted_right() {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id bigint, a text CONSTRAINT good CHECK (a <> 'bad'), b text)",
        )
        .await;
    let mut target = database.sink().await;
    let columns = vec![
        column("id", BIGINT),
        column("a", ColumnType::Text),
        column("b", ColumnType::Text),
    ];
    let orders = table("orders", columns, false);
    target.prepare(&orders).await;
    target.streaming(&[&orders.id]);
    let bad = || row(1, &["bad", "y"]);
    let events = vec![
        insert(&orders, row(1, &["x", "y"])),
        insert(&orders, bad()),
        insert(&orders, bad()),
        insert(&orders, bad()),
    ];
    target.apply(events).await;
    target.apply(vec![delete(&orders, bad())]).await;
    target
        .apply(vec![update(&orders, bad(), row(1, &["bad", "z"]))])
        .await;
    database.allow().await;
    let mut letters = database.letters().await;
    assert_eq!(retry_all(&mut letters).await, (2, Vec::new()));
    let found = database
        .lines("SELECT * FROM shop.orders ORDER BY a, b")
        .await;
    assert_eq!(found, ["1|bad|y", "1|bad|z", "1|x|y"]);
    database.drop_now().await;
}
