//! Values that the target can't hold, and targets that can't hold the source's values.

use std::sync::Arc;

use sluice_agent_api::config::Unrepresentable;
use sluice_core::{Class, ColumnType, Reason, Row, Sink, Value, event::ChunkMode, value::Bits};

use crate::support::*;

const INT: fn(u8, bool) -> ColumnType = |bits, unsigned| ColumnType::Int { bits, unsigned };

#[tokio::test]
async fn existing_columns_take_what_they_can_hold() {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TYPE shop.size AS ENUM ('s', 'm');
             CREATE DOMAIN shop.code AS varchar(8);
             CREATE TABLE shop.wide (id bigint PRIMARY KEY, a bigint, b numeric, c text, d boolean,
                 e shop.size, f json, g uuid, h uuid, i time, j double precision, k shop.code,
                 l text[], m varbit, n bpchar(4), o boolean, p text, q numeric(5,1));",
        )
        .await;
    let bit = ColumnType::Bit { length: 3 };
    let labels = || vec!["s".to_owned(), "m".into()];
    let columns = vec![
        column("id", INT(32, false)),
        column("a", INT(8, false)),
        column("b", INT(64, true)),
        column("c", INT(64, false)),
        column("d", INT(8, false)),
        column("e", ColumnType::Enum { labels: labels() }),
        column("f", ColumnType::Json),
        column("g", ColumnType::Char { length: 36 }),
        column("h", ColumnType::Binary { length: 16 }),
        column("i", ColumnType::Time { precision: 0 }),
        column("j", ColumnType::Float),
        column("k", ColumnType::Varchar { length: 8 }),
        column("l", ColumnType::Set { labels: labels() }),
        column("m", bit.clone()),
        column("n", ColumnType::Char { length: 4 }),
        column("o", ColumnType::Bit { length: 1 }),
        column("p", ColumnType::DateTime { precision: 0 }),
        column(
            "q",
            ColumnType::Decimal {
                precision: 9,
                scale: 3,
            },
        ),
    ];
    let wide = table("wide", columns, true);
    let mut target = database.sink().await;
    target.prepare(&wide).await;
    let values = |id| {
        Row::pack([
            Value::Int(id),
            Value::Int(-1),
            Value::UInt(u64::MAX),
            Value::Int(i64::MIN),
            Value::Int(1),
            Value::Enum("m"),
            Value::Json("{\"a\":  1}"),
            Value::Text("00112233-4455-6677-8899-aabbccddeeff"),
            Value::Bytes(&[7; 16]),
            Value::Time(3_600_000_000),
            Value::Float(0.5),
            Value::Text("code"),
            Value::Set("s,m"),
            Value::Bits(Bits {
                length: 3,
                bytes: &[0b1010_0000],
            }),
            Value::Text("ab"),
            Value::Bits(Bits {
                length: 1,
                bytes: &[128],
            }),
            Value::Impossible("0000-00-00 00:00:00"),
            Value::Decimal("1234.500"),
        ])
    };
    let outcome = target
        .apply(vec![
            chunk(&wide, ChunkMode::Append, vec![values(1)]),
            insert(&wide, values(2)),
        ])
        .await;
    assert!(outcome.nulled.is_empty(), "{:?}", outcome.nulled);
    let found = database.lines("SELECT * FROM shop.wide ORDER BY id").await;
    let rest = "-1|18446744073709551615|-9223372036854775808|t|m|{\"a\":  1}|\
                00112233-4455-6677-8899-aabbccddeeff|07070707-0707-0707-0707-070707070707|\
                01:00:00|0.5|code|{s,m}|101|ab  |t|0000-00-00 00:00:00|1234.5";
    assert_eq!(found, [format!("1|{rest}"), format!("2|{rest}")]);
    drop(target);
    database.drop_now().await;
}

/// Zero dates, NUL in text, and numbers beyond the column.
fn misfits(nullable: bool) -> (Arc<sluice_core::TableSchema>, Vec<Row>) {
    let date = ColumnType::DateTime { precision: 0 };
    let mut columns = vec![
        column("id", BIGINT),
        column("t", ColumnType::Text),
        column("d", date),
        column("j", ColumnType::Json),
    ];
    for column in &mut columns[1..] {
        column.nullable = nullable;
    }
    let good = [Value::Text("x"), Value::DateTime(0), Value::Json("1")];
    let row = |id: i64, at: usize, bad: Value<'static>| {
        let mut values = good;
        values[at] = bad;
        Row::pack(std::iter::once(Value::Int(id)).chain(values))
    };
    let rows = vec![
        row(1, 0, Value::Text("nul\0")),
        row(2, 1, Value::Impossible("0000-00-00 00:00:00")),
        row(3, 2, Value::Json("\"\\u0000\"")),
        row(4, 0, Value::Text("fine")),
    ];
    (table("misfits", columns, true), rows)
}

#[tokio::test]
async fn what_the_target_cannot_hold_becomes_null_and_is_counted() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let (schema, rows) = misfits(true);
    target.prepare(&schema).await;
    let outcome = target
        .apply(vec![chunk(&schema, ChunkMode::Append, rows.clone())])
        .await;
    let nulled: Vec<_> = outcome
        .nulled
        .iter()
        .map(|(_, column, n)| (column.as_str(), *n))
        .collect();
    assert_eq!(nulled, [("d", 1), ("j", 1), ("t", 1)]);
    assert_eq!(outcome.dead_letters, 0);
    let query = "SELECT id, t, d, j FROM shop.misfits ORDER BY id";
    let wanted = [
        "1|-|1970-01-01 00:00:00|1",
        "2|x|-|1",
        "3|x|1970-01-01 00:00:00|-",
        "4|fine|1970-01-01 00:00:00|1",
    ];
    assert_eq!(database.lines(query).await, wanted);
    target
        .apply(
            rows.iter()
                .map(|row| delete(&schema, row.clone()))
                .collect(),
        )
        .await;
    let outcome = target
        .apply(rows.into_iter().map(|row| insert(&schema, row)).collect())
        .await;
    assert_eq!(outcome.nulled.len(), 3);
    assert_eq!(database.lines(query).await, wanted);
    drop(target);
    database.drop_now().await;
}

#[tokio::test]
async fn where_null_is_not_allowed_the_row_becomes_a_dead_letter() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let (schema, rows) = misfits(false);
    target.prepare(&schema).await;
    let outcome = target
        .apply(
            rows.iter()
                .map(|row| insert(&schema, row.clone()))
                .collect(),
        )
        .await;
    // The date's column was created nullable for this.
    assert_eq!(outcome.dead_letters, 2);
    assert_eq!(outcome.nulled.len(), 1);
    assert_eq!(
        database
            .lines("SELECT id FROM shop.misfits ORDER BY id")
            .await,
        ["2", "4"]
    );
    let letters = database
        .lines("SELECT key, after->'t', reason FROM sluice.dead_letters ORDER BY id")
        .await;
    assert_eq!(
        letters,
        [
            "{\"id\": 1}|{\"hex\": \"6e756c00\"}|column t: text with a NUL character",
            "{\"id\": 3}|\"x\"|column j: text with a NUL character",
        ]
    );
    drop(target);
    database.drop_now().await;
}

#[tokio::test]
async fn by_policy_a_misfit_is_kept_aside_or_stops_its_table() {
    for (policy, letters, stopped) in [
        (Unrepresentable::DeadLetter, 3, false),
        (Unrepresentable::Fail, 0, true),
    ] {
        let database = Database::new().await;
        let mut target = database
            .sink_with(|config, _| config.unrepresentable = policy)
            .await;
        let (schema, rows) = misfits(true);
        target.prepare(&schema).await;
        let outcome = target
            .apply(vec![chunk(&schema, ChunkMode::Append, rows)])
            .await;
        assert_eq!(outcome.dead_letters, letters);
        assert_eq!(!outcome.stopped.is_empty(), stopped);
        if let Some((table, error)) = outcome.stopped.first() {
            assert_eq!(*table, schema.id);
            assert_eq!(error.reason(), Reason::RowRefused);
            assert!(error.message().contains("column t"), "{}", error.message());
            assert_eq!(
                database.value("SELECT count(*) FROM shop.misfits").await,
                "0"
            );
        }
        drop(target);
        database.drop_now().await;
    }
}

#[tokio::test]
async fn incompatible_targets_are_refused_with_the_statement_that_mends_them() {
    let database = Database::new().await;
    database
        .run(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.types (id bigint PRIMARY KEY, v bytea);
             CREATE TABLE shop.keys (id bigint, v text);
             CREATE TABLE shop.extra (id bigint PRIMARY KEY, v text, must text NOT NULL);
             CREATE TABLE shop.nulls (id bigint PRIMARY KEY, v text NOT NULL);
             CREATE VIEW shop.views AS SELECT 1::bigint AS id, ''::text AS v;",
        )
        .await;
    let mut target = database.sink().await;
    for (name, hint) in [
        (
            "types",
            "ALTER TABLE \"shop\".\"types\" ALTER COLUMN \"v\" TYPE text USING \"v\"::text",
        ),
        ("keys", "CREATE UNIQUE INDEX ON \"shop\".\"keys\" (\"id\")"),
        (
            "extra",
            "ALTER TABLE \"shop\".\"extra\" ALTER COLUMN \"must\" DROP NOT NULL",
        ),
        (
            "nulls",
            "ALTER TABLE \"shop\".\"nulls\" ALTER COLUMN \"v\" DROP NOT NULL",
        ),
        ("views", "DROP VIEW"),
    ] {
        let schema = texts(name, &["v"]);
        let error = target.sink.prepare(&schema).await.unwrap_err();
        assert_eq!(error.class(), Class::StopTable, "{name}");
        assert_eq!(error.reason(), Reason::TargetIncompatible, "{name}");
        let found = error.hint().unwrap_or_default();
        assert!(found.contains(hint), "{name}: {found}");
    }
    // The sink goes on, and a mended table is taken.
    database
        .run("ALTER TABLE shop.nulls ALTER v DROP NOT NULL")
        .await;
    target.prepare(&texts("nulls", &["v"])).await;
    drop(target);
    database.drop_now().await;
}

#[tokio::test]
async fn odd_names_and_wide_tables_work() {
    let database = Database::new().await;
    let mut target = database.sink().await;
    let names = ["a\"b", "select", "größe", "x y", "A"];
    let odd = texts("my \"table\"", &names);
    target.prepare(&odd).await;
    let values = ["1", "2", "3", "4", "5"];
    target.apply(vec![insert(&odd, row(1, &values))]).await;
    target
        .apply(vec![update(
            &odd,
            row(1, &values),
            row(1, &["9", "2", "3", "4", "6"]),
        )])
        .await;
    let found = database
        .lines("SELECT * FROM shop.\"my \"\"table\"\"\"")
        .await;
    assert_eq!(found, ["1|9|2|3|4|6"]);
    for name in ["x".repeat(64), "nul\0".to_owned()] {
        let error = target
            .sink
            .prepare(&texts(&name, &["a"]))
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::TargetIncompatible);
    }
    let names: Vec<_> = (0..1_000).map(|number| format!("c{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let wide = texts("wide", &names);
    target.prepare(&wide).await;
    let values: Vec<_> = names.clone();
    target.apply(vec![insert(&wide, row(1, &values))]).await;
    assert_eq!(database.value("SELECT c999 FROM shop.wide").await, "c999");
    drop(target);
    database.drop_now().await;
}
