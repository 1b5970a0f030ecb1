//! Inserts, updates and deletes, in every way in which they can meet.

use crate::support::*;
use sluice_agent_api::config::Deletes;
use sluice_core::{Row, Sink as _, Value};

#[tokio::test]
async fn inserts_updates_and_deletes_arrive() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a", "b"]);
    target.prepare(&orders).await;
    target
        .apply(vec![
            insert(&orders, row(1, &["x", "y"])),
            insert(&orders, row(2, &["x", "-"])),
            end(),
        ])
        .await;
    target
        .apply(vec![
            update(&orders, row(1, &["x", "y"]), row(1, &["X", "y"])),
            delete(&orders, row(2, &["x", "-"])),
            insert(&orders, row(3, &["é", ""])),
            end(),
        ])
        .await;
    let rows = database
        .lines("SELECT * FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(rows, ["1|X|y", "3|é|"]);
    database.drop_now().await;
}

#[tokio::test]
async fn many_rows_arrive_by_copy_and_by_arrays() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    let count = 10_000;
    let inserts = (0..count).map(|id| insert(&orders, row(id, &["old"])));
    target.apply(inserts.collect()).await;
    let updates =
        (0..count).map(|id| update(&orders, row(id, &["old"]), row(id, &[&id.to_string()])));
    target.apply(updates.collect()).await;
    let deletes = (0..count)
        .step_by(2)
        .map(|id| delete(&orders, row(id, &["-"])));
    target.apply(deletes.collect()).await;
    let sum = database
        .value("SELECT count(*), sum(a::int), bool_and(a::int = id) FROM shop.orders")
        .await;
    assert_eq!(sum, "5000|25000000|t");
    database.drop_now().await;
}

#[tokio::test]
async fn a_key_that_changes_moves_its_row() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target
        .apply(vec![
            insert(&orders, row(1, &["one"])),
            insert(&orders, row(2, &["two"])),
        ])
        .await;
    // A swap of keys through a third one.
    target
        .apply(vec![
            update(&orders, row(1, &["one"]), row(9, &["one"])),
            update(&orders, row(2, &["two"]), row(1, &["two"])),
            update(&orders, row(9, &["one"]), row(2, &["one"])),
        ])
        .await;
    let rows = database
        .lines("SELECT * FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(rows, ["1|two", "2|one"]);
    // Columns that were not logged move along.
    target
        .apply(vec![update(&orders, row(1, &["~"]), row(5, &["~"]))])
        .await;
    let rows = database
        .lines("SELECT * FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(rows, ["2|one", "5|two"]);
    database.drop_now().await;
}

#[tokio::test]
async fn columns_that_were_not_logged_keep_their_values() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a", "b"]);
    target.prepare(&orders).await;
    target
        .apply(vec![insert(&orders, row(1, &["x", "y"]))])
        .await;
    target
        .apply(vec![
            update(&orders, row(1, &["~", "~"]), row(1, &["new", "~"])),
            update(&orders, row(1, &["~", "~"]), row(1, &["~", "-"])),
        ])
        .await;
    assert_eq!(
        database.lines("SELECT * FROM shop.orders").await,
        ["1|new|-"]
    );
    database.drop_now().await;
}

#[tokio::test]
async fn an_update_of_a_missing_row_inserts_it_where_it_is_complete() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a", "b"]);
    target.prepare(&orders).await;
    let outcome = target
        .apply(vec![
            update(&orders, row(1, &["x", "y"]), row(1, &["z", "y"])),
            update(&orders, row(2, &["~", "~"]), row(2, &["z", "~"])),
            delete(&orders, row(3, &["x", "y"])),
        ])
        .await;
    assert_eq!(database.lines("SELECT * FROM shop.orders").await, ["1|z|y"]);
    assert_eq!(outcome.dead_letters, 1);
    let letter = "SELECT source_table, operation, sqlstate, key, after FROM sluice.dead_letters";
    assert_eq!(
        database.value(letter).await,
        r#"shop.orders|update|02000|{"id": 2}|{"a": "z", "id": 2}"#
    );
    database.drop_now().await;
}

#[tokio::test]
async fn an_insert_of_a_row_that_is_there_replaces_it() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    let rows = |text: &'static str| (0..1_000).map(move |id| (id, text));
    for text in ["one", "two"] {
        let inserts = rows(text).map(|(id, text)| insert(&orders, row(id, &[text])));
        target.apply(inserts.collect()).await;
    }
    let counts = database
        .value("SELECT count(*), count(*) FILTER (WHERE a = 'two') FROM shop.orders")
        .await;
    assert_eq!(counts, "1000|1000");
    database.drop_now().await;
}

#[tokio::test]
async fn swaps_of_unique_values_never_fail() {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.seats (id bigint PRIMARY KEY, seat text UNIQUE, who text);",
        )
        .await;
    let mut target = database.sink().await;
    let seats = texts("seats", &["seat", "who"]);
    target.prepare(&seats).await;
    target
        .apply(vec![
            insert(&seats, row(1, &["1A", "ann"])),
            insert(&seats, row(2, &["2B", "bob"])),
            insert(&seats, row(3, &["3C", "cy"])),
        ])
        .await;
    target
        .apply(vec![
            update(&seats, row(1, &["1A", "ann"]), row(1, &["-", "ann"])),
            update(&seats, row(2, &["2B", "bob"]), row(2, &["1A", "bob"])),
            update(&seats, row(1, &["-", "ann"]), row(1, &["2B", "ann"])),
            update(&seats, row(3, &["3C", "cy"]), row(3, &["3C", "CY"])),
        ])
        .await;
    // Partial rows are applied one by one in source order.
    target
        .apply(vec![
            update(&seats, row(3, &["~", "~"]), row(3, &["4D", "~"])),
            update(&seats, row(1, &["~", "~"]), row(1, &["3C", "~"])),
        ])
        .await;
    let rows = database.lines("SELECT * FROM shop.seats ORDER BY id").await;
    assert_eq!(rows, ["1|3C|ann", "2|1A|bob", "3|4D|CY"]);
    assert_eq!(
        database
            .value("SELECT count(*) FROM sluice.dead_letters")
            .await,
        "0"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn what_users_add_to_a_target_stays() {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id int PRIMARY KEY, a varchar(20) UNIQUE, note text,
                 twice text GENERATED ALWAYS AS (a || a) STORED);",
        )
        .await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target
        .apply(vec![
            insert(&orders, row(1, &["x"])),
            insert(&orders, row(2, &["y"])),
        ])
        .await;
    database
        .run("UPDATE shop.orders SET note = 'mine ' || id")
        .await;
    target
        .apply(vec![
            update(&orders, row(1, &["x"]), row(1, &["z"])),
            update(&orders, row(2, &["y"]), row(2, &["x"])),
            update(&orders, row(2, &["x"]), row(4, &["x"])),
        ])
        .await;
    let rows = database
        .lines("SELECT * FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(rows, ["1|z|mine 1|zz", "4|x|mine 2|xx"]);
    database.drop_now().await;
}

#[tokio::test]
async fn tables_without_a_key_match_whole_rows() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let columns = vec![
        column("n", BIGINT),
        column("t", sluice_core::ColumnType::Text),
        column("d", sluice_core::ColumnType::Date),
    ];
    let log = table("log", columns, false);
    target.prepare(&log).await;
    let entry = |n: i64, t: Value<'static>, d: Value<'static>| Row::pack([Value::Int(n), t, d]);
    let twin = || entry(1, Value::Text("twin"), Value::Null);
    let zero = || entry(2, Value::Null, Value::Impossible("0000-00-00"));
    target
        .apply(vec![
            insert(&log, twin()),
            insert(&log, twin()),
            insert(&log, zero()),
            insert(&log, entry(3, Value::Text("x"), Value::Date(0))),
        ])
        .await;
    target
        .apply(vec![
            delete(&log, twin()),
            update(&log, zero(), entry(2, Value::Text("set"), Value::Date(1))),
            delete(&log, entry(3, Value::Text("x"), Value::Date(0))),
            delete(&log, entry(9, Value::Null, Value::Null)),
        ])
        .await;
    let rows = database.lines("SELECT * FROM shop.log ORDER BY n").await;
    assert_eq!(rows, ["1|twin|-", "2|set|1970-01-02"]);
    database.drop_now().await;
}

#[tokio::test]
async fn soft_deletes_mark_rows_and_reinserts_clear_the_mark() {
    let database = Database::new().await;
    let soft = |config: &mut sluice_agent_api::config::SinkConfig, _: &mut _| {
        config.deletes = Deletes::Soft;
    };
    let mut target = database.sink_with(soft).await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target
        .apply(vec![
            insert(&orders, row(1, &["x"])),
            insert(&orders, row(2, &["y"])),
            insert(&orders, row(3, &["z"])),
        ])
        .await;
    target
        .apply(vec![
            delete(&orders, row(1, &["x"])),
            delete(&orders, row(2, &["y"])),
            update(&orders, row(3, &["z"]), row(4, &["z"])),
        ])
        .await;
    target
        .apply(vec![insert(&orders, row(1, &["again"]))])
        .await;
    let rows = database
        .lines("SELECT id, a, _sluice_deleted_at IS NULL FROM shop.orders ORDER BY id")
        .await;
    assert_eq!(rows, ["1|again|t", "2|y|f", "4|z|t"]);
    database.drop_now().await;
}

#[tokio::test]
async fn a_table_made_under_another_policy_gets_the_mark_when_it_is_needed() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target.apply(vec![insert(&orders, row(1, &["x"]))]).await;
    let mut soft = database
        .sink_with(|config, _| config.deletes = Deletes::Soft)
        .await;
    let outcome = soft.apply(vec![delete(&orders, row(1, &["x"]))]).await;
    assert!(outcome.stopped.is_empty(), "{:?}", outcome.stopped);
    let found = database
        .lines("SELECT id, _sluice_deleted_at IS NULL FROM shop.orders")
        .await;
    assert_eq!(found, ["1|f"]);
    database.drop_now().await;
}

#[tokio::test]
async fn ignored_deletes_leave_rows_and_reinserts_replace_them() {
    let database = Database::new().await;
    let mut target = database
        .sink_with(|config, _| config.deletes = Deletes::Ignore)
        .await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    target.apply(vec![insert(&orders, row(1, &["x"]))]).await;
    target.apply(vec![delete(&orders, row(1, &["x"]))]).await;
    assert_eq!(database.lines("SELECT * FROM shop.orders").await, ["1|x"]);
    target.apply(vec![insert(&orders, row(1, &["y"]))]).await;
    assert_eq!(database.lines("SELECT * FROM shop.orders").await, ["1|y"]);
    database.drop_now().await;
}

/// A user who can't set `session_replication_role`: foreign keys and triggers fire.
#[tokio::test]
async fn without_the_replica_role_the_source_s_order_is_kept() {
    let database = Database::new().await;
    let user = format!("{}_user", database.name);
    database
        .run(&format!(
            "CREATE USER {user} PASSWORD 'secret';
             GRANT CREATE ON DATABASE {} TO {user};
             CREATE SCHEMA shop AUTHORIZATION {user};
             SET ROLE {user};
             CREATE TABLE shop.parents (id bigint PRIMARY KEY, a text);
             CREATE TABLE shop.children (id bigint PRIMARY KEY, a text,
                 parent bigint REFERENCES shop.parents);
             RESET ROLE;",
            database.name
        ))
        .await;
    let secrets = std::sync::Arc::new(secrets(&user, "secret"));
    let mut sink = sluice_postgres::PostgresSink::new(
        "test".into(),
        &database.config(),
        database.postgres(),
        secrets,
    );
    sink.open().await.unwrap();
    let mut target = Target {
        sink,
        position: at(0),
    };
    let parents = texts("parents", &["a"]);
    let columns = vec![
        column("id", BIGINT),
        column("a", sluice_core::ColumnType::Text),
        column("parent", BIGINT),
    ];
    let children = table("children", columns, true);
    target.prepare(&parents).await;
    target.prepare(&children).await;
    let child =
        |id: i64, parent: Value<'static>| Row::pack([Value::Int(id), Value::Text("c"), parent]);
    let outcome = target
        .apply(vec![
            insert(&parents, row(1, &["p"])),
            insert(&children, child(1, Value::Int(1))),
            insert(&parents, row(2, &["q"])),
            update(&children, child(1, Value::Int(1)), child(1, Value::Int(2))),
            delete(&parents, row(1, &["p"])),
            insert(&parents, row(3, &["r"])),
            update(&parents, row(3, &["r"]), row(4, &["r"])),
            insert(&children, child(2, Value::Int(4))),
            delete(&children, child(1, Value::Int(2))),
            delete(&parents, row(2, &["q"])),
        ])
        .await;
    assert_eq!(outcome.dead_letters, 0);
    assert_eq!(database.lines("SELECT * FROM shop.parents").await, ["4|r"]);
    assert_eq!(
        database.lines("SELECT * FROM shop.children").await,
        ["2|c|4"]
    );
    drop(target);
    let (name, admin) = (database.name.clone(), Database::new().await);
    database.drop_now().await;
    admin.run(&format!("DROP USER {user}")).await;
    assert!(name.starts_with("sluice_test"));
    admin.drop_now().await;
}
