//! Rows that the target refuses, tables that can't go on, and what happens to the others.

use sluice_agent_api::config::OnBadRecord;
use sluice_core::{Class, Reason, Sink, event::ChunkMode};

use crate::support::*;

async fn with_check(database: &Database) {
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id bigint PRIMARY KEY, a text CHECK (a <> 'bad'), b text);",
        )
        .await;
}

#[tokio::test]
async fn refused_rows_are_kept_aside_and_the_rest_goes_on() {
    let database = Database::new().await;
    with_check(&database).await;
    let mut target = database.sink().await;
    let (orders, others) = (texts("orders", &["a", "b"]), texts("others", &["a"]));
    target.prepare(&orders).await;
    target.prepare(&others).await;
    let text = |id: i64| if id % 700 == 5 { "bad" } else { "good" };
    let rows = (0..2_000).map(|id| row(id, &[text(id), "x"])).collect();
    let outcome = target
        .apply(vec![chunk(&orders, ChunkMode::Append, rows)])
        .await;
    assert_eq!(outcome.dead_letters, 3);
    let inserts = (2_000..4_000).map(|id| insert(&orders, row(id, &[text(id), "x"])));
    let mut events: Vec<_> = inserts.collect();
    events.push(insert(&others, row(1, &["fine"])));
    events.push(update(
        &orders,
        row(1, &["good", "x"]),
        row(1, &["bad", "y"]),
    ));
    events.push(update(
        &orders,
        row(2, &["good", "x"]),
        row(2, &["good", "y"]),
    ));
    events.push(delete(&orders, row(3, &["good", "x"])));
    let outcome = target.apply(events).await;
    assert_eq!(outcome.dead_letters, 4);
    assert!(outcome.stopped.is_empty());
    let counts = "SELECT count(*), count(*) FILTER (WHERE b = 'y') FROM shop.orders";
    assert_eq!(database.value(counts).await, "3993|1");
    assert_eq!(
        database.lines("SELECT * FROM shop.others").await,
        ["1|fine"]
    );
    let letters = database
        .lines(
            "SELECT operation, position, sqlstate, key->>'id', before, after->>'b'
             FROM sluice.dead_letters ORDER BY id",
        )
        .await;
    assert_eq!(letters.len(), 7);
    assert_eq!(letters[0], "read|snapshot|23514|5|-|x");
    assert_eq!(letters[3], "insert|binlog.000001:7|23514|2105|-|x");
    assert_eq!(
        letters[6],
        r#"update|binlog.000001:7|23514|1|{"a": "good", "b": "x", "id": 1}|y"#
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_refused_change_of_a_unique_value_leaves_the_older_row() {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.seats (id bigint PRIMARY KEY, seat text UNIQUE CHECK (seat <> 'bad'));",
        )
        .await;
    let mut target = database.sink().await;
    let seats = texts("seats", &["seat"]);
    target.prepare(&seats).await;
    let outcome = target
        .apply(vec![
            insert(&seats, row(1, &["A"])),
            insert(&seats, row(2, &["B"])),
            update(&seats, row(1, &["A"]), row(1, &["C"])),
            update(&seats, row(2, &["B"]), row(2, &["bad"])),
            insert(&seats, row(3, &["A"])),
        ])
        .await;
    assert_eq!(outcome.dead_letters, 1);
    let found = database.lines("SELECT * FROM shop.seats ORDER BY id").await;
    assert_eq!(found, ["1|C", "2|B", "3|A"]);
    database.drop_now().await;
}

#[tokio::test]
async fn by_policy_a_refused_row_stops_its_table_alone() {
    let database = Database::new().await;
    with_check(&database).await;
    let mut target = database
        .sink_with(|config, _| config.on_bad_record = OnBadRecord::Stop)
        .await;
    let (orders, others) = (texts("orders", &["a", "b"]), texts("others", &["a"]));
    target.prepare(&orders).await;
    target.prepare(&others).await;
    target
        .apply(vec![insert(&orders, row(1, &["x", "y"])), end()])
        .await;
    let outcome = target
        .apply(vec![
            insert(&orders, row(2, &["x", "y"])),
            insert(&others, row(1, &["x"])),
            insert(&orders, row(3, &["bad", "secret"])),
            end(),
        ])
        .await;
    let (table, error) = &outcome.stopped[0];
    assert_eq!(*table, orders.id);
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::RowRefused, Class::StopTable)
    );
    let report = format!("{} {:?}", error.report(), error.hint());
    assert!(report.contains("orders_a_check") && report.contains("--resnapshot shop.orders"));
    assert!(!report.contains("secret"), "{report}");
    // The table keeps its last consistent state, now and later.
    let outcome = target
        .apply(vec![
            insert(&orders, row(4, &["x", "y"])),
            insert(&others, row(2, &["x"])),
        ])
        .await;
    assert!(outcome.stopped.is_empty());
    assert_eq!(database.lines("SELECT id FROM shop.orders").await, ["1"]);
    assert_eq!(
        database.value("SELECT count(*) FROM shop.others").await,
        "2"
    );
    // Another agent says so again, instead of going on.
    let mut next = database.sink().await;
    let outcome = next.apply(vec![insert(&orders, row(5, &["x", "y"]))]).await;
    assert_eq!(outcome.stopped.len(), 1);
    // It comes back by a copy.
    next.prepare(&orders).await;
    let mode = ChunkMode::ReplaceAll;
    let outcome = next
        .apply(vec![chunk(&orders, mode, vec![row(9, &["x", "y"])])])
        .await;
    assert!(outcome.stopped.is_empty());
    assert_eq!(database.lines("SELECT id FROM shop.orders").await, ["9"]);
    database.drop_now().await;
}

#[tokio::test]
async fn a_table_that_stops_inside_a_large_transaction_keeps_nothing_of_it() {
    let database = Database::new().await;
    with_check(&database).await;
    let mut target = database
        .sink_with(|config, _| config.on_bad_record = OnBadRecord::Stop)
        .await;
    let (orders, others) = (texts("orders", &["a", "b"]), texts("others", &["a"]));
    target.prepare(&orders).await;
    target.prepare(&others).await;
    let first = || {
        batch(vec![
            insert(&orders, row(1, &["x", "y"])),
            insert(&others, row(1, &["x"])),
        ])
    };
    let second = || batch(vec![insert(&orders, row(2, &["bad", "y"])), end()]);
    target.sink.write(&first()).await.unwrap();
    let error = target.sink.write(&second()).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    target.sink.open().await.unwrap();
    let outcome = target.sink.write(&first()).await.unwrap();
    assert_eq!(outcome.stopped.len(), 1);
    target.sink.write(&second()).await.unwrap();
    target.commit().await;
    assert_eq!(
        database.value("SELECT count(*) FROM shop.orders").await,
        "0"
    );
    assert_eq!(
        database.value("SELECT count(*) FROM shop.others").await,
        "1"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_table_that_somebody_drops_stops_alone() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let (orders, others) = (texts("orders", &["a"]), texts("others", &["a"]));
    target.prepare(&orders).await;
    target.prepare(&others).await;
    target
        .apply(vec![
            insert(&orders, row(1, &["x"])),
            insert(&others, row(1, &["x"])),
        ])
        .await;
    database.run("DROP TABLE shop.orders").await;
    let outcome = target
        .apply(vec![
            insert(&others, row(2, &["x"])),
            insert(&orders, row(2, &["x"])),
        ])
        .await;
    assert_eq!(outcome.stopped.len(), 1);
    let error = &outcome.stopped[0].1;
    assert_eq!(error.reason(), Reason::TargetIncompatible);
    assert!(
        error.message().contains("shop.orders"),
        "{}",
        error.message()
    );
    assert_eq!(
        database.value("SELECT count(*) FROM shop.others").await,
        "2"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_target_that_somebody_alters_is_looked_at_again() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let orders = texts("orders", &["a"]);
    target.prepare(&orders).await;
    let rows = |from: i64| {
        (from..from + 500)
            .map(|id| insert(&orders, row(id, &["x"])))
            .collect()
    };
    target.apply(rows(0)).await;
    // COPY and arrays of bigint no longer fit.
    database
        .run("ALTER TABLE shop.orders ALTER id TYPE int")
        .await;
    let outcome = target.apply(rows(1_000)).await;
    assert!(outcome.stopped.is_empty() && outcome.dead_letters == 0);
    database
        .run("ALTER TABLE shop.orders ADD UNIQUE (a, id)")
        .await;
    database.run("ALTER TABLE shop.orders RENAME a TO z").await;
    let outcome = target.apply(rows(2_000)).await;
    assert_eq!(outcome.stopped.len(), 1);
    let hint = outcome.stopped[0].1.hint().unwrap_or_default().to_owned();
    assert!(hint.contains("ADD COLUMN \"a\" text"), "{hint}");
    assert_eq!(
        database.value("SELECT count(*) FROM shop.orders").await,
        "1000"
    );
    database.drop_now().await;
}

#[tokio::test]
async fn a_missing_privilege_waits_and_loses_nothing() {
    let database = Database::new().await;
    let user = format!("{}_writer", database.name);
    database
        .run(&format!(
            "CREATE USER {user} PASSWORD 'secret'; CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id bigint PRIMARY KEY, a text)"
        ))
        .await;
    let secrets = std::sync::Arc::new(secrets(&user, "secret"));
    let (config, postgres) = (database.config(), database.postgres());
    let mut sink = sluice_postgres::PostgresSink::new("test".into(), &config, postgres, secrets);
    let error = sink.open().await.unwrap_err();
    assert_eq!(error.reason(), Reason::MissingPrivilege);
    let grant = format!("GRANT CREATE ON DATABASE {} TO {user}", database.name);
    assert_eq!(error.hint(), Some(grant.as_str()));
    database.run(&grant).await;
    sink.open().await.unwrap();
    database
        .run(&format!("GRANT USAGE ON SCHEMA shop TO {user}"))
        .await;
    let orders = texts("orders", &["a"]);
    sink.prepare(&orders).await.unwrap();
    let events = batch(vec![insert(&orders, row(1, &["x"]))]);
    let error = sink.write(&events).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::MissingPrivilege, Class::Retry)
    );
    assert!(
        error
            .hint()
            .unwrap_or_default()
            .contains("GRANT SELECT, INSERT")
    );
    database
        .run(&format!("GRANT ALL ON shop.orders TO {user}"))
        .await;
    sink.open().await.unwrap();
    sink.write(&events).await.unwrap();
    sink.commit(&at(1)).await.unwrap();
    assert_eq!(database.lines("SELECT * FROM shop.orders").await, ["1|x"]);
    drop(sink);
    let admin = Database::new().await;
    database.drop_now().await;
    admin.run(&format!("DROP USER {user}")).await;
    admin.drop_now().await;
}
