//! Snapshot chunks in every mode.

use sluice_agent_api::config::Deletes;
use sluice_core::{Row, Value, event::ChunkMode};

use crate::support::*;

fn key(id: i64) -> Row {
    Row::pack([Value::Int(id)])
}

#[tokio::test]
async fn an_appended_chunk_that_meets_rows_replaces_them() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target
        .apply(vec![insert(&orders, row(2, &["stale"]))])
        .await;
    let rows = (1..=3).map(|id| row(id, &["new"])).collect();
    let outcome = target
        .apply(vec![chunk(&orders, ChunkMode::Append, rows)])
        .await;
    assert_eq!(outcome.dead_letters, 0);
    let found = database
        .lines("SELECT * FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(found, ["1|new", "2|new", "3|new"]);
    database.drop_now().await;
}

#[tokio::test]
async fn an_upserted_chunk_replaces_by_key() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target
        .apply(vec![
            insert(&orders, row(1, &["old"])),
            insert(&orders, row(9, &["stays"])),
        ])
        .await;
    let rows = (0..10_000)
        .filter(|id| *id != 9)
        .map(|id| row(id, &["new"]));
    target
        .apply(vec![chunk(&orders, ChunkMode::Upsert, rows.collect())])
        .await;
    let query = "SELECT a, count(*) FROM shop.orders GROUP BY a ORDER BY a";
    assert_eq!(database.lines(query).await, ["new|9999", "stays|1"]);
    database.drop_now().await;
}

#[tokio::test]
async fn a_replaced_range_holds_exactly_the_chunk() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    let old = (1..=9).map(|id| insert(&orders, row(id, &["old"])));
    target.apply(old.collect()).await;
    let mode = |after, until| ChunkMode::ReplaceRange { after, until };
    target
        .apply(vec![
            chunk(&orders, mode(None, Some(key(2))), vec![row(1, &["new"])]),
            chunk(
                &orders,
                mode(Some(key(4)), Some(key(6))),
                vec![row(5, &["new"])],
            ),
            chunk(&orders, mode(Some(key(8)), None), vec![row(20, &["new"])]),
        ])
        .await;
    let found = database
        .lines("SELECT * FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(
        found,
        [
            "1|new", "3|old", "4|old", "5|new", "7|old", "8|old", "20|new"
        ]
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_replaced_range_of_a_composite_key_is_compared_as_a_row() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let columns = vec![column("a", BIGINT), column("b", BIGINT)];
    let mut pairs = (*table("pairs", columns, true)).clone();
    pairs.columns[1].nullable = false;
    pairs.key = vec![1, 0];
    let pairs = std::sync::Arc::new(pairs);
    target.prepare(&pairs).await;
    let pair = |a, b| Row::pack([Value::Int(a), Value::Int(b)]);
    let all = (1..=3).flat_map(|a| (1..=3).map(move |b| (a, b)));
    target
        .apply(all.map(|(a, b)| insert(&pairs, pair(a, b))).collect())
        .await;
    // The key is (b, a).
    let mode = ChunkMode::ReplaceRange {
        after: Some(pair(1, 2)),
        until: Some(pair(2, 3)),
    };
    target.apply(vec![chunk(&pairs, mode, vec![])]).await;
    let found = database
        .lines("SELECT a, b FROM shop.pairs ORDER BY b, a")
        .await;
    assert_eq!(found, ["1|1", "2|1", "1|3", "2|3", "3|3"]);
    database.drop_now().await;
}

#[tokio::test]
async fn a_table_that_is_replaced_as_a_whole_begins_empty() {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id bigint PRIMARY KEY, a text);
             CREATE TABLE shop.lines (id bigint PRIMARY KEY, o bigint REFERENCES shop.orders);",
        )
        .await;
    let mut target = database.sink().await;
    let log = table("log", vec![column("n", BIGINT)], false);
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target.prepare(&log).await;
    let entry = |n| Row::pack([Value::Int(n)]);
    target
        .apply(vec![
            insert(&orders, row(1, &["old"])),
            insert(&log, entry(1)),
        ])
        .await;
    target
        .apply(vec![
            // Another table refers to it, so that it can't be truncated.
            chunk(&orders, ChunkMode::ReplaceAll, vec![row(2, &["new"])]),
            chunk(&log, ChunkMode::ReplaceAll, vec![entry(2), entry(2)]),
            chunk(&log, ChunkMode::Append, vec![entry(3)]),
        ])
        .await;
    assert_eq!(database.lines("SELECT * FROM shop.orders").await, ["2|new"]);
    assert_eq!(
        database.lines("SELECT * FROM shop.log ORDER BY n").await,
        ["2", "2", "3"]
    );
    database.drop_now().await;
}

#[tokio::test]
async fn soft_deletes_mark_what_a_chunk_does_not_hold() {
    let database = Database::new().await;
    let mut target = database
        .sink_with(|config, _| config.deletes = Deletes::Soft)
        .await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    let old = (1..=3).map(|id| insert(&orders, row(id, &["old"])));
    target.apply(old.collect()).await;
    let mode = ChunkMode::ReplaceRange {
        after: None,
        until: Some(key(2)),
    };
    target
        .apply(vec![chunk(&orders, mode, vec![row(2, &["new"])])])
        .await;
    let found = database
        .lines("SELECT id, a, _sluice_deleted_at IS NULL FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(found, ["1|old|f", "2|new|t", "3|old|t"]);
    database.drop_now().await;
}

#[tokio::test]
async fn stale_rows_that_hold_a_chunk_s_unique_values_give_way() {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.seats (id bigint PRIMARY KEY, seat text UNIQUE, who text);
             INSERT INTO shop.seats VALUES (1, 'A', 'x'), (2, 'B', 'y'), (3, 'C', 'z');",
        )
        .await;
    let mut target = database.sink().await;
    let seats = texts("seats", &["seat", "who"]);
    target.prepare(&seats).await;
    // Meanwhile 1 and 3 have swapped their seats; the chunk with 3 comes later.
    let mode = |after, until| ChunkMode::ReplaceRange { after, until };
    let first = chunk(
        &seats,
        mode(None, Some(key(2))),
        vec![row(1, &["C", "x"]), row(2, &["B", "y"])],
    );
    let outcome = target.apply(vec![first]).await;
    assert_eq!(outcome.dead_letters, 0);
    let second = chunk(&seats, mode(Some(key(2)), None), vec![row(3, &["A", "z"])]);
    target.apply(vec![second]).await;
    let found = database.lines("SELECT * FROM shop.seats ORDER BY id").await;
    assert_eq!(found, ["1|C|x", "2|B|y", "3|A|z"]);
    database.drop_now().await;
}

/// The process must stay small, so that the value is never held often; the memory is looked at by
/// the end-to-end tests, here the value has to arrive by all of the ways.
#[tokio::test]
async fn huge_values_arrive_by_chunk_by_insert_and_by_update() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let blobs = texts("blobs", &["a", "b"]);
    target.prepare(&blobs).await;
    let huge = "x".repeat(16 << 20);
    let wide = |id, a: &str| row(id, &[a, &huge]);
    target
        .apply(vec![
            chunk(
                &blobs,
                ChunkMode::Append,
                vec![row(0, &["s", "s"]), wide(1, "a")],
            ),
            insert(&blobs, wide(2, "a")),
        ])
        .await;
    target
        .apply(vec![
            update(&blobs, row(0, &["s", "s"]), wide(0, "s")),
            update(&blobs, wide(1, "a"), wide(1, "b")),
            update(&blobs, wide(3, "a"), wide(3, "c")),
        ])
        .await;
    let mode = ChunkMode::Upsert;
    target
        .apply(vec![chunk(&blobs, mode, vec![wide(2, "d")])])
        .await;
    let found = database
        .lines("SELECT id, a, length(b), b = repeat('x', 16777216) FROM shop.blobs ORDER BY id")
        .await;
    assert_eq!(
        found,
        [
            "0|s|16777216|t",
            "1|b|16777216|t",
            "2|d|16777216|t",
            "3|c|16777216|t"
        ]
    );
    database.drop_now().await;
}
