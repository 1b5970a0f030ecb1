//! Every type, its edge values, by COPY, by parameter arrays and by update: one text each time.

use std::sync::Arc;

use sluice_agent_api::config::{
    EnumAs, PostgresConfig, SetAs, SinkConfig, Tinyint1, Unrepresentable,
};
use sluice_core::{
    Class, Column, ColumnType, Reason, Row, Sink, Value,
    event::ChunkMode,
    value::{Bits, Geometry},
};

use crate::support::*;

const INT: fn(u8, bool) -> ColumnType = |bits, unsigned| ColumnType::Int { bits, unsigned };

/// A column, the type that it gets, and values with the text that the server prints for them.
struct Case {
    column: Column,
    type_sql: &'static str,
    values: Vec<(Value<'static>, &'static str)>,
}

fn case(
    ty: ColumnType,
    type_sql: &'static str,
    values: impl Into<Vec<(Value<'static>, &'static str)>>,
) -> Case {
    Case {
        column: column("v", ty),
        type_sql,
        values: values.into(),
    }
}

/// Writes the values in every way and compares what the server prints.
async fn check(database: &Database, target: &mut Target, name: &str, case: &Case) {
    let key = || column("id", BIGINT);
    let numbered = |number: usize, value: Value<'_>| Row::pack([Value::Int(number as i64), value]);
    let rows = || {
        case.values
            .iter()
            .enumerate()
            .map(|(at, (value, _))| numbered(at, *value))
    };
    let make = |way: &str, keyed| {
        table(
            &format!("{name}_{way}"),
            vec![key(), case.column.clone()],
            keyed,
        )
    };
    let (copied, inserted, updated) = (
        make("copy", true),
        make("insert", true),
        make("update", true),
    );
    let keyless = make("keyless", false);
    for schema in [&copied, &inserted, &updated, &keyless] {
        target.prepare(schema).await;
    }
    let nulls: Vec<Row> = (0..case.values.len())
        .map(|at| numbered(at, Value::Null))
        .collect();
    let mut events = vec![chunk(&copied, ChunkMode::Append, rows().collect())];
    events.extend(rows().map(|row| insert(&inserted, row)));
    events.push(chunk(&updated, ChunkMode::Append, nulls.clone()));
    events.extend(rows().map(|row| insert(&keyless, row)));
    let outcome = target.apply(events).await;
    assert_eq!(outcome.dead_letters, 0, "{name}");
    assert!(outcome.stopped.is_empty(), "{name}: {:?}", outcome.stopped);
    let mut events: Vec<_> = nulls
        .into_iter()
        .zip(rows())
        .map(|(before, after)| update(&updated, before, after))
        .collect();
    // Found again by the value, and written again.
    events.extend(rows().map(|row| delete(&keyless, row)));
    events.extend(rows().map(|row| insert(&keyless, row)));
    let outcome = target.apply(events).await;
    assert_eq!(outcome.dead_letters, 0, "{name}");
    let wanted: Vec<_> = case.values.iter().map(|(_, text)| *text).collect();
    for way in ["copy", "insert", "update", "keyless"] {
        let place = format!("shop.\"{name}_{way}\"");
        let type_sql = format!(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = '{place}'::regclass AND attname = 'v'"
        );
        assert_eq!(
            database.value(&type_sql).await,
            case.type_sql,
            "{name} by {way}"
        );
        let found = database
            .lines(&format!("SELECT v FROM {place} ORDER BY id"))
            .await;
        assert_eq!(found, wanted, "{name} by {way}");
    }
}

#[tokio::test]
async fn numbers_arrive_exactly() {
    let int = |text: &'static str| (Value::Int(text.parse().unwrap()), text);
    let uint = |text: &'static str| (Value::UInt(text.parse().unwrap()), text);
    let decimal = |text: &'static str| (Value::Decimal(text), text);
    let cases = [
        case(
            INT(8, false),
            "smallint",
            [int("-128"), int("127"), int("0")],
        ),
        case(INT(8, true), "smallint", [uint("255"), (Value::Null, "-")]),
        case(INT(16, false), "smallint", [int("-32768"), int("32767")]),
        case(INT(16, true), "integer", [uint("65535")]),
        case(INT(24, false), "integer", [int("-8388608"), int("8388607")]),
        case(INT(24, true), "integer", [uint("16777215")]),
        case(
            INT(32, false),
            "integer",
            [int("-2147483648"), int("2147483647")],
        ),
        case(INT(32, true), "bigint", [uint("4294967295")]),
        case(
            BIGINT,
            "bigint",
            [int("-9223372036854775808"), int("9223372036854775807")],
        ),
        case(
            INT(64, true),
            "numeric(20,0)",
            [
                uint("18446744073709551615"),
                uint("0"),
                uint("10000"),
                uint("100000000"),
            ],
        ),
        case(
            ColumnType::Decimal {
                precision: 65,
                scale: 30,
            },
            "numeric(65,30)",
            [
                decimal("99999999999999999999999999999999999.999999999999999999999999999999"),
                decimal("-99999999999999999999999999999999999.999999999999999999999999999999"),
                decimal("0.000000000000000000000000000001"),
                decimal("0.000000000000000000000000000000"),
                decimal("-12345.678900000000000000000000000000"),
            ],
        ),
        case(
            ColumnType::Decimal {
                precision: 10,
                scale: 0,
            },
            "numeric(10,0)",
            [decimal("9999999999"), decimal("-1"), decimal("10000")],
        ),
        case(
            ColumnType::Float,
            "real",
            [
                (Value::Float(f32::MAX), "3.4028235e+38"),
                (Value::Float(-0.1), "-0.1"),
            ],
        ),
        case(
            ColumnType::Double,
            "double precision",
            [
                (Value::Double(f64::MIN), "-1.7976931348623157e+308"),
                (Value::Double(0.1), "0.1"),
                (Value::Double(5e-324), "5e-324"),
            ],
        ),
        case(
            ColumnType::Year,
            "smallint",
            [int("0"), int("1901"), int("2155")],
        ),
    ];
    all("numbers", cases.into()).await;
}

#[tokio::test]
async fn texts_and_bytes_arrive_exactly() {
    let text = |text: &'static str| (Value::Text(text), text);
    let bytes = |bytes: &'static [u8], text| (Value::Bytes(bytes), text);
    let bits = |length, bytes: &'static [u8], text| (Value::Bits(Bits { length, bytes }), text);
    let labels = || ["a", "b,c", "ß"].map(Into::into).to_vec();
    let json = |text: &'static str| (Value::Json(text), text);
    let cases = [
        case(
            ColumnType::Char { length: 5 },
            "character varying(5)",
            [
                text(""),
                text("abc"),
                text("\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}"),
            ],
        ),
        case(
            ColumnType::Varchar { length: 255 },
            "character varying(255)",
            [
                text(""),
                text("  spaces  "),
                text("it's \"quoted\" \\ back"),
                text("\t\n"),
            ],
        ),
        case(
            ColumnType::Text,
            "text",
            [text("größe"), (Value::Null, "-"), text("NULL")],
        ),
        case(
            ColumnType::Binary { length: 3 },
            "bytea",
            [bytes(&[0, 255, 92], "\\x00ff5c")],
        ),
        case(
            ColumnType::Varbinary { length: 3 },
            "bytea",
            [bytes(&[], "\\x")],
        ),
        case(ColumnType::Blob, "bytea", [bytes(b"abc", "\\x616263")]),
        case(
            ColumnType::Bit { length: 1 },
            "bit(1)",
            [bits(1, &[128], "1"), bits(1, &[0], "0")],
        ),
        case(
            ColumnType::Bit { length: 64 },
            "bit(64)",
            [bits(
                64,
                &[255, 0, 0, 0, 0, 0, 0, 1],
                "1111111100000000000000000000000000000000000000000000000000000001",
            )],
        ),
        case(
            ColumnType::Bit { length: 9 },
            "bit(9)",
            [bits(9, &[1, 128], "000000011")],
        ),
        case(
            ColumnType::Enum { labels: labels() },
            "text",
            [(Value::Enum("b,c"), "b,c"), (Value::Enum(""), "")],
        ),
        case(
            ColumnType::Set {
                labels: vec!["a".into(), "b".into()],
            },
            "text",
            [(Value::Set("a,b"), "a,b"), (Value::Set(""), "")],
        ),
        case(
            ColumnType::Json,
            "jsonb",
            [
                json("{\"a\": 12345678901234567890.123456789, \"b\": [1, null, \"\u{1f600}\"]}"),
                json("null"),
                json("\"\\\\u0000\""),
            ],
        ),
        case(
            ColumnType::Uuid,
            "uuid",
            [(
                Value::Uuid([0x11; 16]),
                "11111111-1111-1111-1111-111111111111",
            )],
        ),
        case(
            ColumnType::Vector,
            "real[]",
            [
                bytes(&[0, 0, 128, 63, 0, 0, 0, 192], "{1,-2}"),
                bytes(&[], "{}"),
            ],
        ),
        case(
            ColumnType::Geometry,
            "bytea",
            [
                (
                    Value::Geometry(Geometry {
                        srid: 0,
                        wkb: &[1, 1, 0, 0, 0, 9],
                    }),
                    "\\x010100000009",
                ),
                (
                    Value::Geometry(Geometry {
                        srid: 4326,
                        wkb: &[1, 1, 0, 0, 0, 9],
                    }),
                    "\\x0101000020e610000009",
                ),
            ],
        ),
    ];
    all("texts", cases.into()).await;
}

#[tokio::test]
async fn temporals_arrive_exactly() {
    const DAY: i64 = 86_400_000_000;
    let cases = [
        case(
            ColumnType::Date,
            "date",
            [
                (Value::Date(0), "1970-01-01"),
                (Value::Date(-354_285), "1000-01-01"),
                (Value::Date(2_932_896), "9999-12-31"),
                (Value::Date(-719_528), "0001-01-01 BC"),
            ],
        ),
        case(
            ColumnType::DateTime { precision: 6 },
            "timestamp(6) without time zone",
            [
                (
                    Value::DateTime(253_402_300_799_999_999),
                    "9999-12-31 23:59:59.999999",
                ),
                (Value::DateTime(-DAY), "1969-12-31 00:00:00"),
            ],
        ),
        case(
            ColumnType::DateTime { precision: 0 },
            "timestamp(0) without time zone",
            [(Value::DateTime(1_000_000), "1970-01-01 00:00:01")],
        ),
        case(
            ColumnType::Timestamp { precision: 3 },
            "timestamp(3) with time zone",
            [(Value::Timestamp(1_001_000), "1970-01-01 00:00:01.001+00")],
        ),
        case(
            ColumnType::Time { precision: 6 },
            "interval",
            [
                (Value::Time(-3_020_399_000_000), "-838:59:59"),
                (Value::Time(3_020_399_000_000), "838:59:59"),
                (Value::Time(0), "00:00:00"),
                (Value::Time(-1), "-00:00:00.000001"),
            ],
        ),
    ];
    all("temporals", cases.into()).await;
}

async fn all(name: &str, cases: Vec<Case>) {
    all_with(name, cases, |_, _| {}).await;
}

async fn all_with(
    name: &str,
    cases: Vec<Case>,
    change: impl FnOnce(&mut SinkConfig, &mut PostgresConfig),
) {
    let database = Database::new().await;
    let mut target = database.sink_with(change).await;
    for (number, case) in cases.iter().enumerate() {
        check(&database, &mut target, &format!("{name}_{number}"), case).await;
    }
    drop(target);
    database.drop_now().await;
}

#[tokio::test]
async fn booleans_enums_and_sets_are_created_as_asked() {
    let mut truth = column("v", INT(8, false));
    truth.boolean = true;
    let truth = Case {
        column: truth,
        type_sql: "boolean",
        values: vec![
            (Value::Int(0), "f"),
            (Value::Int(1), "t"),
            (Value::Int(-7), "t"),
        ],
    };
    let labels = || vec!["small".to_owned(), "it's".into()];
    let native = case(
        ColumnType::Enum { labels: labels() },
        "shop.odd_1_copy_v",
        [(Value::Enum("it's"), "it's"), (Value::Enum(""), "")],
    );
    let set = case(
        ColumnType::Set { labels: labels() },
        "text[]",
        [
            (Value::Set("small,it's"), "{small,it's}"),
            (Value::Set(""), "{}"),
            (Value::Null, "-"),
        ],
    );
    let database = Database::new().await;
    let mut target = database
        .sink_with(|_, postgres| {
            postgres.tinyint1 = Tinyint1::Boolean;
            postgres.enums = EnumAs::Native;
            postgres.sets = SetAs::TextArray;
        })
        .await;
    check(&database, &mut target, "odd_0", &truth).await;
    check(&database, &mut target, "odd_2", &set).await;
    let enums = table(
        "odd_1_copy",
        vec![column("id", BIGINT), native.column.clone()],
        true,
    );
    target.prepare(&enums).await;
    let rows = native.values.iter().enumerate();
    let rows = rows.map(|(at, (value, _))| Row::pack([Value::Int(at as i64), *value]));
    target
        .apply(rows.map(|row| insert(&enums, row)).collect())
        .await;
    let found = database
        .lines("SELECT v, pg_typeof(v) FROM shop.odd_1_copy ORDER BY id")
        .await;
    assert_eq!(found, ["it's|shop.odd_1_copy_v", "|shop.odd_1_copy_v"]);
    drop(target);
    database.drop_now().await;
}

#[tokio::test]
async fn geometries_become_postgis_geometries_where_it_is_installed() {
    let database = Database::new().await;
    database.run("CREATE EXTENSION postgis").await;
    let mut target = database.sink().await;
    let mut wkb = vec![1, 1, 0, 0, 0];
    wkb.extend(1.5_f64.to_le_bytes());
    wkb.extend((-2.0_f64).to_le_bytes());
    let wkb: &'static [u8] = wkb.leak();
    let point = case(
        ColumnType::Geometry,
        "geometry",
        [(
            Value::Geometry(Geometry { srid: 4326, wkb }),
            "0101000020E6100000000000000000F83F00000000000000C0",
        )],
    );
    check(&database, &mut target, "points", &point).await;
    drop(target);
    database.drop_now().await;
}

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
