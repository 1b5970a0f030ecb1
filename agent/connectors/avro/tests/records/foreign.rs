//! Records that Debezium and others wrote, in its other modes, too.

use serde_json::{Value as Json, json};
use sluice_avro::{
    Codec, Decoded,
    Envelope::{self, Debezium, Flat},
    Format, Operation,
};
use sluice_core::{ColumnType as T, Reason, Value, value::Bits};

use crate::support::{client, registry};

fn json_codec(schemas: bool, envelope: Envelope) -> Codec {
    Codec::new(Format::Json { schemas }, envelope, "shop")
}

/// A record of one column `x` beside the key, as Debezium writes it.
fn debezium(field: &Json, value: &Json) -> (Vec<u8>, Vec<u8>) {
    let id = json!({"type": "int32", "optional": false, "field": "id"});
    let mut x = field.clone();
    x["field"] = json!("x");
    let row = |name: &str| json!({"type": "struct", "optional": true, "field": name, "name": "s.db.t.Value", "fields": [id, x]});
    let source = json!({"type": "struct", "optional": false, "field": "source", "fields": [
        {"type": "int64", "optional": false, "field": "ts_ms"},
        {"type": "string", "optional": false, "field": "db"},
        {"type": "string", "optional": true, "field": "table"},
        {"type": "string", "optional": true, "field": "gtid"},
    ]});
    let key = json!({
        "schema": {"type": "struct", "optional": false, "name": "s.db.t.Key", "fields": [id]},
        "payload": {"id": 1},
    });
    let value = json!({
        "schema": {"type": "struct", "name": "s.db.t.Envelope", "fields": [
            row("before"), row("after"), source,
            {"type": "string", "optional": false, "field": "op"},
            {"type": "int64", "optional": true, "field": "ts_ms"},
        ]},
        "payload": {
            "before": null, "after": {"id": 1, "x": value},
            "source": {"ts_ms": 77, "db": "inventory", "table": "customers", "gtid": "g:1"},
            "op": "u", "ts_ms": 78,
        },
    });
    // JsonConverter writes the schema first.
    let text = |json: &Json| {
        format!(
            "{{\"schema\":{},\"payload\":{}}}",
            json["schema"], json["payload"]
        )
    };
    (text(&key).into_bytes(), text(&value).into_bytes())
}

async fn read(field: Json, value: Json) -> Decoded {
    let (key, value) = debezium(&field, &value);
    let mut reader = json_codec(true, Envelope::Debezium).reader("s.db.t");
    reader
        .decode(Some(&key), Some(&value), None, None)
        .await
        .unwrap()
        .unwrap()
}

fn named(kind: &str, name: &str) -> Json {
    json!({"type": kind, "optional": true, "name": name, "version": 1})
}

fn with(mut field: Json, parameters: Json) -> Json {
    field["parameters"] = parameters;
    field
}

#[tokio::test]
async fn a_record_of_debezium_becomes_a_row_of_its_table() {
    let decoded = read(json!({"type": "string", "optional": true}), json!("a")).await;
    assert_eq!(decoded.op, Operation::Update);
    assert_eq!(decoded.table.id.to_string(), "inventory.customers");
    assert_eq!(decoded.table.key, [0]);
    assert!(!decoded.table.columns[0].nullable && decoded.table.columns[1].nullable);
    assert_eq!(
        (decoded.ts_ms, decoded.transaction.as_deref()),
        (77, Some("g:1"))
    );
    // The key takes the place of an image that is not there.
    let before = decoded.before.unwrap();
    assert_eq!(
        (before.get(0), before.get(1)),
        (Value::Int(1), Value::Unchanged)
    );
}

#[tokio::test]
async fn every_mode_of_debezium_is_understood() {
    let connect = |name: &str| format!("org.apache.kafka.connect.data.{name}");
    let time = |name: &str| format!("io.debezium.time.{name}");
    let source = |ty: &str, length: &str| json!({"__debezium.source.column.type": ty, "__debezium.source.column.length": length});
    let plain = |kind: &str| json!({"type": kind, "optional": true});
    let decimal = with(
        named("bytes", &connect("Decimal")),
        json!({"scale": "2", "connect.decimal.precision": "5"}),
    );
    let unsigned = with(
        named("bytes", &connect("Decimal")),
        json!({
            "scale": "0", "connect.decimal.precision": "20",
            "__debezium.source.column.type": "BIGINT UNSIGNED",
        }),
    );
    let double = with(
        plain("double"),
        json!({
            "__debezium.source.column.type": "DECIMAL",
            "__debezium.source.column.length": "10", "__debezium.source.column.scale": "2",
        }),
    );
    let variable = json!({"type": "struct", "optional": true, "name": "io.debezium.data.VariableScaleDecimal", "fields": [
        {"type": "int32", "optional": false, "field": "scale"},
        {"type": "bytes", "optional": false, "field": "value"},
    ]});
    let int = |bits, unsigned| T::Int { bits, unsigned };
    let cases: Vec<(Json, Json, T, Value<'_>)> = vec![
        (
            named("int32", &time("Date")),
            json!(1),
            T::Date,
            Value::Date(1),
        ),
        (
            named("int32", &connect("Date")),
            json!(1),
            T::Date,
            Value::Date(1),
        ),
        (
            named("string", &time("IsoDate")),
            json!("1970-01-02Z"),
            T::Date,
            Value::Date(1),
        ),
        (
            named("int64", &connect("Timestamp")),
            json!(5),
            T::DateTime { precision: 3 },
            Value::DateTime(5_000),
        ),
        (
            named("int64", &time("NanoTimestamp")),
            json!(-1),
            T::DateTime { precision: 6 },
            Value::DateTime(-1),
        ),
        (
            named("int32", &time("Time")),
            json!(5),
            T::Time { precision: 3 },
            Value::Time(5_000),
        ),
        (
            named("int32", &connect("Time")),
            json!(5),
            T::Time { precision: 3 },
            Value::Time(5_000),
        ),
        (
            named("int64", &time("NanoTime")),
            json!(7_000),
            T::Time { precision: 6 },
            Value::Time(7),
        ),
        (
            with(named("int64", &time("Timestamp")), source("DATETIME", "2")),
            json!(10),
            T::DateTime { precision: 2 },
            Value::DateTime(10_000),
        ),
        (
            with(
                named("string", &time("ZonedTimestamp")),
                source("TIMESTAMP", "3"),
            ),
            json!("1970-01-01T00:00:00.5Z"),
            T::Timestamp { precision: 3 },
            Value::Timestamp(500_000),
        ),
        (
            decimal.clone(),
            json!("MDk="),
            T::Decimal {
                precision: 5,
                scale: 2,
            },
            Value::Decimal("123.45"),
        ),
        (
            plain("string"),
            json!("123.45"),
            T::Text,
            Value::Text("123.45"),
        ),
        (
            double,
            json!(12.5),
            T::Decimal {
                precision: 10,
                scale: 2,
            },
            Value::Decimal("12.50"),
        ),
        (
            variable,
            json!({"scale": 3, "value": "AwQ="}),
            T::Decimal {
                precision: 0,
                scale: 0,
            },
            Value::Decimal("0.772"),
        ),
        (
            unsigned,
            json!("AP//////////"),
            int(64, true),
            Value::UInt(u64::MAX),
        ),
        (plain("int16"), json!(-3), int(16, false), Value::Int(-3)),
        (
            with(plain("int16"), source("TINYINT UNSIGNED", "3")),
            json!(3),
            int(8, true),
            Value::UInt(3),
        ),
        (
            with(plain("int64"), source("INT UNSIGNED", "10")),
            json!(3),
            int(32, true),
            Value::UInt(3),
        ),
        (plain("boolean"), json!(true), T::Bool, Value::Bool(true)),
        (
            with(
                named("bytes", "io.debezium.data.Bits"),
                json!({"length": "9"}),
            ),
            json!("AQE="),
            T::Bit { length: 9 },
            Value::Bits(Bits {
                length: 9,
                bytes: &[0x80, 0x80],
            }),
        ),
        (
            with(
                named("string", "io.debezium.data.Enum"),
                json!({"allowed": "a,b\\,c"}),
            ),
            json!("b,c"),
            T::Enum {
                labels: vec!["a".into(), "b,c".into()],
            },
            Value::Enum("b,c"),
        ),
        (
            with(plain("string"), source("VARCHAR", "20")),
            json!("v"),
            T::Varchar { length: 20 },
            Value::Text("v"),
        ),
        (
            plain("string"),
            json!("__debezium_unavailable_value"),
            T::Text,
            Value::Unchanged,
        ),
        (
            plain("bytes"),
            json!("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="),
            T::Blob,
            Value::Unchanged,
        ),
        (
            decimal,
            Json::Null,
            T::Decimal {
                precision: 5,
                scale: 2,
            },
            Value::Null,
        ),
    ];
    for (field, written, ty, value) in cases {
        let decoded = read(field.clone(), written).await;
        assert_eq!(decoded.table.columns[1].ty, ty, "{field}");
        assert_eq!(decoded.after.unwrap().get(1), value, "{field}");
    }
}

#[tokio::test]
async fn another_schema_is_another_shape_and_the_same_one_the_same() {
    let mut reader = json_codec(true, Envelope::Debezium).reader("s.db.t");
    let mut shapes = Vec::new();
    for kind in ["int32", "int32", "int64"] {
        let (key, value) = debezium(&json!({"type": kind, "optional": true}), &json!(1));
        let decoded = reader
            .decode(Some(&key), Some(&value), None, None)
            .await
            .unwrap()
            .unwrap();
        shapes.push(decoded.table);
    }
    assert!(std::sync::Arc::ptr_eq(&shapes[0], &shapes[1]));
    assert_eq!(
        shapes[2].columns[1].ty,
        T::Int {
            bits: 64,
            unsigned: false
        }
    );
}

#[tokio::test]
async fn records_without_schemas_are_read_as_far_as_they_can_be_seen() {
    let mut reader = json_codec(false, Envelope::Debezium).reader("s.db.t");
    let record = |op: &str, after: Json| {
        json!({"op": op, "before": null, "after": after, "source": {"db": "d", "table": "t", "ts_ms": 5}})
            .to_string()
    };
    let first = record("c", json!({"id": 1, "a": null, "b": "x", "c": {"d": [1]}}));
    let decoded = reader
        .decode(Some(br#"{"id":1}"#), Some(first.as_bytes()), None, None)
        .await;
    let decoded = decoded.unwrap().unwrap();
    let names: Vec<_> = decoded
        .table
        .columns
        .iter()
        .map(|column| column.name.clone())
        .collect();
    assert_eq!(names, ["b", "c", "id"]);
    assert_eq!(decoded.table.key, [2]);
    assert_eq!(decoded.after.unwrap().get(1), Value::Json(r#"{"d":[1]}"#));
    let second = record("u", json!({"id": 1, "a": 1.5, "b": "y", "c": null}));
    let decoded = reader
        .decode(Some(br#"{"id":1}"#), Some(second.as_bytes()), None, None)
        .await;
    let decoded = decoded.unwrap().unwrap();
    let row = decoded.after.unwrap();
    assert_eq!(
        row.values().collect::<Vec<_>>(),
        [
            Value::Text("y"),
            Value::Null,
            Value::Int(1),
            Value::Double(1.5)
        ]
    );
    let gone =
        json!({"op": "d", "before": {"id": 1}, "after": null, "source": {"db": "d", "table": "t"}})
            .to_string();
    let decoded = reader
        .decode(Some(br#"{"id":1}"#), Some(gone.as_bytes()), None, None)
        .await;
    assert_eq!(decoded.unwrap().unwrap().op, Operation::Delete);
    assert!(
        reader
            .decode(Some(br#"{"id":1}"#), None, None, None)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_flat_record_without_a_value_is_a_delete() {
    let mut reader = json_codec(false, Envelope::Flat).reader("crm.customers");
    let key = br#"{"id":1}"#;
    let decoded = reader
        .decode(Some(key), Some(br#"{"id":1,"n":"a"}"#), None, None)
        .await;
    let decoded = decoded.unwrap().unwrap();
    assert_eq!(
        (decoded.op, decoded.table.id.to_string()),
        (Operation::Update, "crm.customers".to_owned())
    );
    let shape = decoded.table;
    let decoded = reader
        .decode(Some(key), None, None, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((decoded.op, &decoded.table), (Operation::Delete, &shape));
    assert_eq!(decoded.before.unwrap().get(0), Value::Int(1));

    // Another reader that was told the shape.
    let mut reader = json_codec(false, Envelope::Flat).reader("crm.customers");
    reader.assume(std::sync::Arc::clone(&shape));
    let decoded = reader
        .decode(Some(key), None, None, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(decoded.table, shape);
}

#[tokio::test]
async fn another_format_or_envelope_than_declared_is_named_with_its_remedy() {
    let (url, _) = registry().await;
    let avro = |envelope| Codec::new(Format::Avro(client(&url)), envelope, "shop");
    let (_, with_schema) = debezium(&json!({"type": "int32"}), &json!(1));
    let plain = br#"{"op":"c","before":null,"after":{"id":1},"source":{}}"#.as_slice();
    let flat = br#"{"id":1}"#.as_slice();
    let wire = [0, 0, 0, 0, 1, 2, 3].as_slice();
    let cases = [
        (
            avro(Debezium),
            with_schema.as_slice(),
            "JSON with schemas",
            "schemas",
        ),
        (avro(Debezium), plain, "JSON without schemas", "schemas"),
        (
            json_codec(true, Debezium),
            plain,
            "JSON without schemas",
            "false",
        ),
        (
            json_codec(false, Debezium),
            with_schema.as_slice(),
            "JSON with schemas",
            "true",
        ),
        (json_codec(false, Debezium), wire, "Avro", "schemaRegistry"),
        (json_codec(true, Debezium), wire, "Avro", "schemaRegistry"),
        (json_codec(true, Debezium), b"hello", "neither", "converter"),
        (json_codec(false, Debezium), flat, "flat row", "Flat"),
        (
            json_codec(false, Flat),
            plain,
            "Debezium's envelope",
            "Debezium",
        ),
        (
            json_codec(true, Flat),
            with_schema.as_slice(),
            "Debezium's envelope",
            "Debezium",
        ),
    ];
    for (codec, bytes, looks, remedy) in cases {
        let error = codec
            .reader("t")
            .decode(None, Some(bytes), None, None)
            .await
            .unwrap_err();
        // What is in no format at all is a damaged record.
        let reason = match looks {
            "neither" => Reason::DecodeFailed,
            _ => Reason::InvalidConfig,
        };
        assert_eq!(error.reason(), reason, "{error}");
        let hint = error.hint().unwrap_or_default().to_lowercase();
        assert!(error.to_string().contains(looks), "{looks}: {error}");
        assert!(hint.contains(&remedy.to_lowercase()), "{remedy}: {hint}");
    }
}

#[tokio::test]
async fn a_payload_in_front_of_its_schema_is_read() {
    let (_, value) = debezium(&json!({"type": "string", "optional": true}), &json!("a"));
    let turned: Json = serde_json::from_slice(&value).unwrap();
    let turned = format!(
        "{{\"payload\":{},\"schema\":{}}}",
        turned["payload"], turned["schema"]
    );
    let mut reader = json_codec(true, Envelope::Debezium).reader("t");
    for _ in 0..2 {
        let decoded = reader
            .decode(None, Some(turned.as_bytes()), None, None)
            .await;
        assert_eq!(
            decoded.unwrap().unwrap().after.unwrap().get(1),
            Value::Text("a")
        );
    }
}

#[tokio::test]
async fn errors_hold_no_values() {
    let mut reader = json_codec(true, Envelope::Debezium).reader("t");
    let (key, value) = debezium(
        &json!({"type": "int32", "optional": true}),
        &json!("secret"),
    );
    let error = reader
        .decode(Some(&key), Some(&value), None, None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::DecodeFailed);
    assert!(error.to_string().contains("field x") && !error.report().contains("secret"));
}
