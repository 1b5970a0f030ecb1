//! Every type, its edge values, by COPY, by parameter arrays and by update: one text each time.

use sluice_agent_api::config::{EnumAs, PostgresConfig, SetAs, SinkConfig, Tinyint1};
use sluice_core::{
    Column, ColumnType, Row, Value,
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
async fn texts_arrive_exactly() {
    let text = |text: &'static str| (Value::Text(text), text);
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
    ];
    all("texts", cases.into()).await;
}

#[tokio::test]
async fn bytes_bits_labels_and_documents_arrive_exactly() {
    let bytes = |bytes: &'static [u8], text| (Value::Bytes(bytes), text);
    let bits = |length, bytes: &'static [u8], text| (Value::Bits(Bits { length, bytes }), text);
    let labels = || ["a", "b,c", "ß"].map(Into::into).to_vec();
    let json = |text: &'static str| (Value::Json(text), text);
    let cases = [
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
    all("bytes", cases.into()).await;
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
