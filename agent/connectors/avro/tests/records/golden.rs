//! What we write, next to what Debezium writes: the shapes are those of Debezium's documentation of
//! its MySQL connector ("Data change events", "Data type mappings") and of Confluent's `AvroData`.

use serde_json::{Value as Json, json};
use sluice_avro::{Codec, Envelope, Format, Meta, Operation, Record};
use sluice_core::{Column, ColumnType as T, Row, Value, schema::ColumnDefault, value::Bits};

use crate::support::{client, column, meta, registry, table};

const INT: T = T::Int {
    bits: 32,
    unsigned: false,
};

async fn json_record(
    columns: Vec<Column>,
    row: &Row,
    op: Operation,
    meta: Meta<'_>,
) -> (Json, Json) {
    let codec = Codec::new(
        Format::Json { schemas: true },
        Envelope::Debezium,
        "mysql-server-1",
    );
    let table = table(columns, vec![0]);
    let mut writer = codec
        .writer("mysql-server-1.shop.orders", &table)
        .await
        .unwrap();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    writer.key(row, &mut key);
    let after = (op != Operation::Delete).then_some(row);
    let before = (op == Operation::Delete).then_some(row);
    writer.value(
        &Record {
            op,
            before,
            after,
            meta,
        },
        &mut value,
    );
    (
        serde_json::from_slice(&key).unwrap(),
        serde_json::from_slice(&value).unwrap(),
    )
}

#[tokio::test]
async fn an_envelope_has_debeziums_fields_and_schemas() {
    let row = Row::pack([Value::Int(1004), Value::Text("Anne")]);
    let columns = vec![column("id", INT, false), column("name", T::Text, true)];
    let (key, value) = json_record(columns, &row, Operation::Create, meta()).await;
    assert_eq!(key["payload"], json!({"id": 1004}));
    assert_eq!(key["schema"]["name"], "mysql-server-1.shop.orders.Key");
    assert_eq!(
        value["payload"],
        json!({
            "before": null,
            "after": {"id": 1004, "name": "Anne"},
            "source": {
                "version": env!("CARGO_PKG_VERSION"), "connector": "mysql", "name": "mysql-server-1",
                "ts_ms": 1_700_000_000_123_i64, "snapshot": "false", "db": "shop", "sequence": null,
                "ts_us": 1_700_000_000_123_456_i64, "ts_ns": 1_700_000_000_123_456_000_i64,
                "table": "orders", "server_id": 0, "gtid": "3e11fa47:7", "file": "binlog.000001",
                "pos": 154, "row": 0, "thread": null, "query": null
            },
            "transaction": {"id": "3e11fa47:7", "total_order": 3, "data_collection_order": 2},
            "op": "c",
            "ts_ms": 1_700_000_000_200_i64, "ts_us": 1_700_000_000_200_001_i64,
            "ts_ns": 1_700_000_000_200_001_000_i64
        })
    );
    let schema = &value["schema"];
    assert_eq!(schema["name"], "mysql-server-1.shop.orders.Envelope");
    assert_eq!(schema["version"], 2);
    let fields: Vec<_> = schema["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "before",
            "after",
            "source",
            "transaction",
            "op",
            "ts_ms",
            "ts_us",
            "ts_ns"
        ]
    );
    let after = &schema["fields"][1];
    assert_eq!(after["name"], "mysql-server-1.shop.orders.Value");
    assert_eq!(after["optional"], true);
    let source = &schema["fields"][2];
    assert_eq!(source["name"], "io.debezium.connector.mysql.Source");
    assert_eq!(source["fields"][4]["name"], "io.debezium.data.Enum");
    assert_eq!(schema["fields"][3]["name"], "event.block");
}

#[tokio::test]
async fn deletes_and_snapshot_reads_say_so() {
    let row = Row::pack([Value::Int(1)]);
    let columns = || vec![column("id", INT, false)];
    let (_, value) = json_record(columns(), &row, Operation::Delete, Meta::default()).await;
    assert_eq!(value["payload"]["op"], "d");
    assert_eq!(value["payload"]["before"], json!({"id": 1}));
    assert_eq!(value["payload"]["after"], Json::Null);
    assert_eq!(value["payload"]["transaction"], Json::Null);
    let snapshot = Meta {
        snapshot: true,
        ..Meta::default()
    };
    let (_, value) = json_record(columns(), &row, Operation::Read, snapshot).await;
    assert_eq!(value["payload"]["op"], "r");
    assert_eq!(value["payload"]["source"]["snapshot"], "true");
}

#[tokio::test]
async fn each_type_has_debeziums_schema_and_value() {
    let labels = || vec!["a".to_owned(), "b,c".to_owned()];
    let bits = Value::Bits(Bits {
        length: 9,
        bytes: &[0b1000_0000, 0b1000_0000],
    });
    let unsigned = |bits| T::Int {
        bits,
        unsigned: true,
    };
    // Type, value, Connect's type, logical name, value in JSON.
    let cases: Vec<(T, Value<'_>, &str, Option<&str>, Json)> = vec![
        (
            T::Int {
                bits: 8,
                unsigned: false,
            },
            Value::Int(-1),
            "int16",
            None,
            json!(-1),
        ),
        (unsigned(8), Value::UInt(255), "int16", None, json!(255)),
        (
            unsigned(16),
            Value::UInt(65_535),
            "int32",
            None,
            json!(65_535),
        ),
        (
            T::Int {
                bits: 24,
                unsigned: false,
            },
            Value::Int(-5),
            "int32",
            None,
            json!(-5),
        ),
        (
            unsigned(32),
            Value::UInt(4_294_967_295),
            "int64",
            None,
            json!(4_294_967_295_u64),
        ),
        (
            unsigned(64),
            Value::UInt(u64::MAX),
            "bytes",
            Some("org.apache.kafka.connect.data.Decimal"),
            json!("AP//////////"),
        ),
        (T::Float, Value::Float(1.5), "float", None, json!(1.5)),
        (
            T::Double,
            Value::Double(f64::INFINITY),
            "double",
            None,
            json!("Infinity"),
        ),
        (
            T::Decimal {
                precision: 5,
                scale: 2,
            },
            Value::Decimal("123.45"),
            "bytes",
            Some("org.apache.kafka.connect.data.Decimal"),
            json!("MDk="),
        ),
        (
            T::Bit { length: 1 },
            Value::Bits(Bits {
                length: 1,
                bytes: &[0x80],
            }),
            "boolean",
            None,
            json!(true),
        ),
        (
            T::Bit { length: 9 },
            bits,
            "bytes",
            Some("io.debezium.data.Bits"),
            json!("AQE="),
        ),
        (
            T::Varchar { length: 9 },
            Value::Text("a\"\n\u{1}"),
            "string",
            None,
            json!("a\"\n\u{1}"),
        ),
        (
            T::Blob,
            Value::Bytes(&[0, 255]),
            "bytes",
            None,
            json!("AP8="),
        ),
        (
            T::Date,
            Value::Date(-1),
            "int32",
            Some("io.debezium.time.Date"),
            json!(-1),
        ),
        (
            T::DateTime { precision: 0 },
            Value::DateTime(1_529_507_596_000_000),
            "int64",
            Some("io.debezium.time.Timestamp"),
            json!(1_529_507_596_000_i64),
        ),
        (
            T::DateTime { precision: 6 },
            Value::DateTime(1_529_507_596_945_104),
            "int64",
            Some("io.debezium.time.MicroTimestamp"),
            json!(1_529_507_596_945_104_i64),
        ),
        (
            T::Timestamp { precision: 0 },
            Value::Timestamp(1_529_501_823_000_000),
            "string",
            Some("io.debezium.time.ZonedTimestamp"),
            json!("2018-06-20T13:37:03Z"),
        ),
        (
            T::Timestamp { precision: 3 },
            Value::Timestamp(100_000),
            "string",
            Some("io.debezium.time.ZonedTimestamp"),
            json!("1970-01-01T00:00:00.100Z"),
        ),
        (
            T::Time { precision: 0 },
            Value::Time(-3_020_399_000_000),
            "int64",
            Some("io.debezium.time.MicroTime"),
            json!(-3_020_399_000_000_i64),
        ),
        (
            T::Year,
            Value::Int(2024),
            "int32",
            Some("io.debezium.time.Year"),
            json!(2024),
        ),
        (
            T::Enum { labels: labels() },
            Value::Enum("b,c"),
            "string",
            Some("io.debezium.data.Enum"),
            json!("b,c"),
        ),
        (
            T::Set { labels: labels() },
            Value::Set("a"),
            "string",
            Some("io.debezium.data.EnumSet"),
            json!("a"),
        ),
        (
            T::Json,
            Value::Json("{\"a\": 1}"),
            "string",
            Some("io.debezium.data.Json"),
            json!("{\"a\": 1}"),
        ),
        (
            T::Vector,
            Value::Bytes(&[0, 0, 192, 63]),
            "array",
            Some("io.debezium.data.FloatVector"),
            json!([1.5]),
        ),
    ];
    for (ty, value, kind, name, written) in cases {
        let row = Row::pack([Value::Int(1), value]);
        let columns = vec![column("id", INT, false), column("x", ty.clone(), false)];
        let (_, json) = json_record(columns, &row, Operation::Create, meta()).await;
        let field = &json["schema"]["fields"][1]["fields"][1];
        assert_eq!(field["type"], kind, "{ty:?}");
        assert_eq!(field["name"].as_str(), name, "{ty:?}");
        assert_eq!(json["payload"]["after"]["x"], written, "{ty:?}");
        match ty {
            T::Enum { .. } => assert_eq!(field["parameters"]["allowed"], "a,b\\,c"),
            T::Decimal { .. } => {
                assert_eq!(field["parameters"]["scale"], "2");
                assert_eq!(field["parameters"]["connect.decimal.precision"], "5");
                assert_eq!(
                    field["parameters"]["__debezium.source.column.type"],
                    "DECIMAL"
                );
                assert_eq!(field["parameters"]["__debezium.source.column.length"], "5");
            }
            T::Bit { length: 9 } => assert_eq!(field["parameters"]["length"], "9"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_can_not_be_said_is_what_debezium_writes_and_is_noted() {
    let columns = vec![
        column("id", INT, false),
        column("may", T::Date, true),
        column("must", T::Timestamp { precision: 0 }, false),
        column("text", T::Text, true),
        column("number", INT, true),
    ];
    let row = Row::pack([
        Value::Int(1),
        Value::Impossible("0000-00-00"),
        Value::Impossible("0000-00-00 00:00:00"),
        Value::Unchanged,
        Value::Unchanged,
    ]);
    let codec = Codec::new(Format::Json { schemas: false }, Envelope::Debezium, "s");
    let mut writer = codec.writer("t", &table(columns, vec![0])).await.unwrap();
    let mut value = Vec::new();
    let record = Record {
        op: Operation::Create,
        before: None,
        after: Some(&row),
        meta: meta(),
    };
    let lost = writer.value(&record, &mut value);
    let json: Json = serde_json::from_slice(&value).unwrap();
    assert_eq!(
        json["after"],
        json!({"id": 1, "may": null, "must": "1970-01-01T00:00:00Z", "text": "__debezium_unavailable_value", "number": null})
    );
    let lost: Json = serde_json::from_str(lost.as_str().unwrap()).unwrap();
    assert_eq!(
        lost,
        json!({
            "after.may": {"impossible": "0000-00-00"},
            "after.must": {"impossible": "0000-00-00 00:00:00"},
            "after.text": {"unchanged": true},
            "after.number": {"unchanged": true},
        })
    );
}

#[tokio::test]
async fn the_avro_schema_is_as_connect_makes_it() {
    let (url, state) = registry().await;
    let codec = Codec::new(Format::Avro(client(&url)), Envelope::Flat, "shop");
    let mut small = column(
        "small",
        T::Int {
            bits: 16,
            unsigned: false,
        },
        false,
    );
    small.default = Some(ColumnDefault::Literal("5".to_owned()));
    let columns = vec![
        column("id", INT, false),
        small,
        column(
            "total",
            T::Decimal {
                precision: 5,
                scale: 2,
            },
            true,
        ),
    ];
    codec
        .writer("a.b-c.d", &table(columns, vec![0]))
        .await
        .unwrap();
    let schemas = state.lock().unwrap().schemas.clone();
    let parsed = |index: usize| -> Json {
        serde_json::from_str(schemas[index]["schema"].as_str().unwrap()).unwrap()
    };
    let id = json!({"type": "int", "connect.parameters": {"__debezium.source.column.type": "INT"}});
    assert_eq!(
        parsed(0),
        json!({
            "type": "record", "name": "Key", "namespace": "a.b_c.d",
            "fields": [{"name": "id", "type": id}],
            "connect.name": "a.b_c.d.Key"
        })
    );
    assert_eq!(
        parsed(1),
        json!({
            "type": "record", "name": "Value", "namespace": "a.b_c.d",
            "fields": [
                {"name": "id", "type": id},
                {"name": "small", "default": 5, "type": {
                    "type": "int", "connect.type": "int16", "connect.default": 5,
                    "connect.parameters": {"__debezium.source.column.type": "SMALLINT"}
                }},
                {"name": "total", "default": null, "type": ["null", {
                    "type": "bytes", "scale": 2, "precision": 5, "logicalType": "decimal",
                    "connect.version": 1, "connect.name": "org.apache.kafka.connect.data.Decimal",
                    "connect.parameters": {
                        "scale": "2", "connect.decimal.precision": "5",
                        "__debezium.source.column.type": "DECIMAL",
                        "__debezium.source.column.length": "5",
                        "__debezium.source.column.scale": "2"
                    }
                }]}
            ],
            "connect.name": "a.b_c.d.Value"
        })
    );
}
