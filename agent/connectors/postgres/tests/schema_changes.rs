//! Each schema change under each policy.

use std::sync::Arc;

use sluice_agent_api::config::{EnumAs, SchemaPolicy};
use sluice_core::{
    ChangeEvent, Column, ColumnType, Reason, Row, SchemaChange, Sink, TableId, Value,
    event::ChunkMode, schema::ColumnDefault,
};

use crate::support::*;

const VARCHAR: fn(u32) -> ColumnType = |length| ColumnType::Varchar { length };
const INT: fn(u8) -> ColumnType = |bits| ColumnType::Int {
    bits,
    unsigned: false,
};

fn with_default(mut column: Column, default: &str) -> Column {
    column.default = Some(ColumnDefault::Literal(default.into()));
    column
}

#[tokio::test]
async fn added_columns_are_filled_as_the_source_fills_them() {
    let (database, mut target, orders) = start(SchemaPolicy::Apply).await;
    let wide = changed(&orders, |schema| {
        let date = ColumnType::DateTime { precision: 0 };
        schema
            .columns
            .insert(1, with_default(not_null(column("n", INT(32))), "5"));
        schema
            .columns
            .push(with_default(column("t", VARCHAR(9)), "it's"));
        schema.columns.push(not_null(column("implied", INT(32))));
        schema.columns.push(with_default(
            not_null(column("d", date.clone())),
            "0000-00-00 00:00:00",
        ));
        schema
            .columns
            .push(with_default(column("e", date), "2024-02-29 12:00:00"));
        schema.columns.push(column("empty", ColumnType::Text));
    });
    let new = Row::pack([
        Value::Int(3),
        Value::Int(7),
        Value::Text("m"),
        Value::Text("n"),
        Value::Null,
        Value::Int(1),
        Value::DateTime(0),
        Value::Null,
        Value::Text("z"),
    ]);
    let outcome = target
        .apply(vec![
            update(&orders, row(1, &["x", "y"]), row(1, &["X", "y"])),
            alter(&wide),
            insert(&wide, new),
            end(),
        ])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    let found = database
        .lines("SELECT id, n, a, t, implied, d, e, empty FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(
        found,
        [
            "1|5|X|it's|0|-|2024-02-29 12:00:00|-",
            "2|5|p|it's|0|-|2024-02-29 12:00:00|-",
            "3|7|m|-|1|1970-01-01 00:00:00|-|z",
        ]
    );
    let defaults = "SELECT count(*) FROM pg_attrdef WHERE adrelid = 'shop.orders'::regclass";
    assert_eq!(database.value(defaults).await, "0");
    database.drop_now().await;
}

#[tokio::test]
async fn dropped_renamed_and_swapped_columns_follow() {
    let (database, mut target, orders) = start(SchemaPolicy::Apply).await;
    let rename = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(old, new)| ((*old).into(), (*new).into()));
        ChangeEvent::Schema(SchemaChange::RenameColumns {
            table: TableId::new("shop", "orders"),
            columns: pairs.collect(),
        })
    };
    let swapped = changed(&orders, |schema| {
        schema.columns[1].name = "b".into();
        schema.columns[2].name = "a".into();
    });
    let renamed = changed(&swapped, |schema| schema.columns[1].name = "c".into());
    let dropped = changed(&renamed, |schema| {
        schema.columns.remove(2);
    });
    let outcome = target
        .apply(vec![
            rename(&[("a", "b"), ("b", "a")]),
            insert(&swapped, row(3, &["was a", "was b"])),
            rename(&[("b", "c")]),
            insert(&renamed, row(4, &["c", "a"])),
            alter(&dropped),
            insert(&dropped, row(5, &["only c"])),
        ])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    assert_eq!(types_of(&database).await, ["id|bigint|t", "c|text|f"]);
    let found = database
        .lines("SELECT id, c FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(found, ["1|x", "2|p", "3|was a", "4|c", "5|only c"]);
    database.drop_now().await;
}

#[tokio::test]
async fn types_widen_narrow_and_change_kind() {
    let (database, mut target, orders) = start(SchemaPolicy::Apply).await;
    let retyped = |a: ColumnType, b: ColumnType| {
        changed(&orders, |schema| {
            schema.columns[1].ty = a;
            schema.columns[2].ty = b;
        })
    };
    let numbers = retyped(
        INT(32),
        ColumnType::Decimal {
            precision: 9,
            scale: 3,
        },
    );
    target
        .apply(vec![
            delete(&orders, row(1, &["x", "y"])),
            delete(&orders, row(2, &["p", "q"])),
            alter(&retyped(VARCHAR(40), VARCHAR(10))),
            alter(&retyped(ColumnType::Char { length: 3 }, ColumnType::Text)),
        ])
        .await;
    assert_eq!(
        types_of(&database).await,
        ["id|bigint|t", "a|character varying(3)|f", "b|text|f"]
    );
    // What a text means as a number only the source knows; an empty table has no such values, but
    // that is not known beforehand.
    let outcome = target.apply(vec![alter(&numbers)]).await;
    assert_eq!(outcome.stopped[0].1.reason(), Reason::TargetIncompatible);
    // A copy from scratch brings it back.
    target.prepare(&numbers).await;
    let number = |id, a, b| Row::pack([Value::Int(id), Value::Int(a), Value::Decimal(b)]);
    target
        .apply(vec![chunk(
            &numbers,
            ChunkMode::ReplaceAll,
            vec![number(1, 70_000, "1.500")],
        )])
        .await;
    let wide = retyped(
        INT(64),
        ColumnType::Decimal {
            precision: 20,
            scale: 6,
        },
    );
    let narrow = retyped(
        ColumnType::Decimal {
            precision: 6,
            scale: 1,
        },
        INT(16),
    );
    let outcome = target.apply(vec![alter(&wide), alter(&narrow)]).await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    assert_eq!(
        types_of(&database).await[1..],
        ["a|numeric(6,1)|f", "b|smallint|f"]
    );
    assert_eq!(
        database.lines("SELECT * FROM shop.orders").await,
        ["1|70000.0|2"]
    );
    // Rows that stand against it stop the table, and nothing of the change is made.
    let outcome = target.apply(vec![alter(&retyped(INT(8), INT(8)))]).await;
    assert_eq!(outcome.stopped.len(), 1);
    assert!(outcome.stopped[0].1.message().contains("22003"));
    assert_eq!(
        types_of(&database).await[1..],
        ["a|numeric(6,1)|f", "b|smallint|f"]
    );
    database.drop_now().await;
}

#[tokio::test]
async fn nullability_and_keys_follow() {
    let (database, mut target, orders) = start(SchemaPolicy::Apply).await;
    let strict = changed(&orders, |schema| schema.columns[1].nullable = false);
    target.apply(vec![alter(&strict)]).await;
    assert_eq!(types_of(&database).await[1], "a|text|t");
    let loose = changed(&strict, |schema| schema.columns[1].nullable = true);
    let keyed = changed(&loose, |schema| {
        schema.columns[1].nullable = false;
        schema.key = vec![1, 0];
    });
    let outcome = target
        .apply(vec![
            alter(&loose),
            insert(&loose, row(3, &["n", "-"])),
            alter(&keyed),
            update(&keyed, row(3, &["n", "-"]), row(3, &["n", "found"])),
            insert(&keyed, row(3, &["m", "other"])),
        ])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    let keyless = changed(&keyed, |schema| schema.key.clear());
    let outcome = target
        .apply(vec![
            alter(&keyless),
            insert(&keyless, row(3, &["m", "other"])),
        ])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    let found = database
        .lines("SELECT a, b FROM shop.orders WHERE id = 3 ORDER BY a, b")
        .await;
    assert_eq!(found, ["m|other", "m|other", "n|found"]);
    database.drop_now().await;
}

#[tokio::test]
async fn tables_are_created_renamed_swapped_truncated_and_dropped() {
    let (database, mut target, orders) = start(SchemaPolicy::Apply).await;
    let id = |name: &str| TableId::new("shop", name);
    let event = ChangeEvent::Schema;
    let rename = |from: &str, to: &str| {
        event(SchemaChange::RenameTable {
            from: id(from),
            to: id(to),
        })
    };
    let ghost = changed(&orders, |schema| schema.id = id("_orders_gho"));
    let old = changed(&orders, |schema| schema.id = id("_orders_del"));
    let outcome = target
        .apply(vec![
            event(SchemaChange::Create(Arc::clone(&ghost))),
            insert(&ghost, row(1, &["x", "ghost"])),
            rename("orders", "_orders_del"),
            rename("_orders_gho", "orders"),
            insert(&orders, row(2, &["new", "-"])),
            insert(&old, row(9, &["old", "-"])),
        ])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    let found = database
        .lines("SELECT * FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(found, ["1|x|ghost", "2|new|-"]);
    assert_eq!(
        database
            .value("SELECT count(*) FROM shop._orders_del")
            .await,
        "3"
    );
    let moved = changed(&orders, |schema| {
        schema.id = TableId::new("archive", "orders");
    });
    let outcome = target
        .apply(vec![
            event(SchemaChange::Drop(id("_orders_del"))),
            event(SchemaChange::Truncate(id("orders"))),
            insert(&orders, row(5, &["after", "-"])),
            event(SchemaChange::RenameTable {
                from: id("orders"),
                to: moved.id.clone(),
            }),
            insert(&moved, row(6, &["moved", "-"])),
        ])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    assert_eq!(
        database
            .value("SELECT to_regclass('shop._orders_del')")
            .await,
        "-"
    );
    assert_eq!(
        database
            .lines("SELECT id FROM archive.orders ORDER BY id")
            .await,
        ["5", "6"]
    );
    assert_eq!(
        database
            .lines("SELECT source_table FROM sluice.tables")
            .await,
        ["archive.orders"]
    );
    database.drop_now().await;
}

#[tokio::test]
async fn rows_of_a_new_shape_are_a_schema_change_even_without_an_event() {
    let (database, mut target, orders) = start(SchemaPolicy::Apply).await;
    let wide = changed(&orders, |schema| {
        schema.columns.push(column("c", ColumnType::Text));
    });
    target
        .apply(vec![
            insert(&wide, row(3, &["x", "y", "z"])),
            // And back.
            insert(&orders, row(4, &["x", "y"])),
        ])
        .await;
    assert_eq!(types_of(&database).await.len(), 3);
    assert_eq!(
        database.value("SELECT count(*) FROM shop.orders").await,
        "4"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_table_that_follows_the_stream_is_not_altered_ahead_of_it() {
    let (database, mut target, orders) = start(SchemaPolicy::Apply).await;
    let later = changed(&orders, |schema| {
        schema.columns.pop();
    });
    target.sink.open().await.unwrap();
    target.prepare(&later).await;
    target
        .apply(vec![insert(&orders, row(3, &["x", "kept"]))])
        .await;
    assert_eq!(
        database
            .value("SELECT b FROM shop.orders WHERE id = 3")
            .await,
        "kept"
    );
    target
        .apply(vec![alter(&later), insert(&later, row(4, &["x"]))])
        .await;
    assert_eq!(types_of(&database).await.len(), 2);
    database.drop_now().await;
}

#[tokio::test]
async fn labels_of_a_native_enum_follow() {
    let database = Database::new().await;
    let mut target = database
        .sink_with(|_, postgres| postgres.enums = EnumAs::Native)
        .await;
    let sizes = |labels: &[&str]| {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let columns = vec![
            column("id", BIGINT),
            column("size", ColumnType::Enum { labels }),
        ];
        table("orders", columns, true)
    };
    let (small, large) = (sizes(&["s", "m"]), sizes(&["s", "m", "xl"]));
    target.prepare(&small).await;
    target.streaming(&[&small.id]);
    let size = |id, label| Row::pack([Value::Int(id), Value::Enum(label)]);
    let outcome = target
        .apply(vec![
            insert(&small, size(1, "m")),
            alter(&large),
            insert(&large, size(2, "xl")),
        ])
        .await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    let found = database
        .lines("SELECT id, size FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(found, ["1|m", "2|xl"]);
    let types = "SELECT typname FROM pg_type WHERE typtype = 'e'";
    assert_eq!(database.lines(types).await, ["orders_size"]);
    target
        .apply(vec![ChangeEvent::Schema(SchemaChange::Drop(
            large.id.clone(),
        ))])
        .await;
    assert!(database.lines(types).await.is_empty());
    database.drop_now().await;
}
