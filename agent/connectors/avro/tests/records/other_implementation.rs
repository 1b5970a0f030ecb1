//! Another implementation of Avro reads what we write, and we read what it writes.

use std::collections::BTreeMap;

use apache_avro::{Schema, from_avro_datum, to_avro_datum, types::Value as Avro};
use serde_json::json;
use sluice_avro::{Codec, Envelope, Format, Operation, Record};
use sluice_core::{Column, ColumnType, Row, Value, schema::ColumnDefault, value::Geometry};

use crate::support::{client, column, meta, registry, table};

fn field<'a>(value: &'a Avro, name: &str) -> &'a Avro {
    match value {
        Avro::Record(fields) => &fields.iter().find(|(field, _)| field == name).unwrap().1,
        Avro::Union(_, inner) => field(inner, name),
        other => panic!("{other:?} has no fields"),
    }
}

fn inner(value: &Avro) -> &Avro {
    match value {
        Avro::Union(_, inner) => inner,
        other => other,
    }
}

fn columns() -> Vec<Column> {
    use ColumnType as T;
    // No default here: apache-avro takes none for a decimal, although Java's Avro does.
    let id = column(
        "id",
        T::Int {
            bits: 64,
            unsigned: true,
        },
        false,
    );
    let mut name = column("2nd name", T::Varchar { length: 20 }, false);
    name.default = Some(ColumnDefault::Literal("\"x\"".to_owned()));
    vec![
        id,
        name,
        column(
            "total",
            T::Decimal {
                precision: 10,
                scale: 2,
            },
            true,
        ),
        column("at", T::DateTime { precision: 6 }, true),
        column("place", T::Geometry, true),
        column("place2", T::Geometry, false),
        column("vector", T::Vector, true),
        column("2nd_name", T::Float, true),
    ]
}

fn row() -> Row {
    Row::pack([
        Value::UInt(u64::MAX),
        Value::Text("ä"),
        Value::Decimal("-12.50"),
        Value::DateTime(-1),
        Value::Geometry(Geometry {
            srid: 4326,
            wkb: &[1, 2],
        }),
        Value::Geometry(Geometry { srid: 0, wkb: &[] }),
        Value::Bytes(&1.5_f32.to_le_bytes()),
        Value::Null,
    ])
}

#[tokio::test]
async fn another_implementation_reads_our_schema_and_our_bytes() {
    let (url, state) = registry().await;
    let codec = Codec::new(Format::Avro(client(&url)), Envelope::Debezium, "shop");
    let mut writer = codec
        .writer("my-shop.shop.orders", &table(columns(), vec![0]))
        .await
        .unwrap();
    let row = row();
    let mut bytes = Vec::new();
    let record = Record {
        op: Operation::Update,
        before: Some(&row),
        after: Some(&row),
        meta: meta(),
    };
    assert!(writer.value(&record, &mut bytes).is_empty());

    let schemas = state.lock().unwrap().schemas.clone();
    let schema = Schema::parse_str(schemas[1]["schema"].as_str().unwrap()).unwrap();
    assert_eq!(bytes[..5], [0, 0, 0, 0, 2]);
    let mut rest = &bytes[5..];
    let value = from_avro_datum(&schema, &mut rest, None).unwrap();
    assert!(rest.is_empty());
    assert_eq!(inner(field(&value, "op")), &Avro::String("u".to_owned()));
    assert_eq!(
        inner(field(field(&value, "source"), "snapshot")),
        &Avro::String("false".to_owned())
    );
    assert_eq!(
        inner(field(field(&value, "source"), "ts_us")),
        &Avro::Long(1_700_000_000_123_456)
    );
    assert_eq!(
        inner(field(field(&value, "transaction"), "total_order")),
        &Avro::Long(3)
    );
    let after = field(&value, "after");
    assert_eq!(
        inner(field(after, "_2nd_name")),
        &Avro::String("ä".to_owned())
    );
    assert_eq!(inner(field(after, "at")), &Avro::Long(-1));
    let wkb = field(inner(field(after, "place")), "wkb");
    assert_eq!(inner(wkb), &Avro::Bytes(vec![1, 2]));
    match inner(field(after, "total")) {
        Avro::Decimal(decimal) => {
            assert_eq!(
                Vec::<u8>::try_from(decimal.clone()).unwrap(),
                (-1250_i16).to_be_bytes()
            );
        }
        other => panic!("{other:?} is no decimal"),
    }

    // And back: what it makes of the value is what we read.
    let mut again = vec![0, 0, 0, 0, 2];
    again.extend(to_avro_datum(&schema, value).unwrap());
    let decoded = codec
        .reader("t")
        .decode(None, Some(&again), None, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(decoded.after.unwrap(), row);
    assert_eq!(decoded.before.unwrap(), row);
    assert_eq!(decoded.table.columns[1].name, "2nd name");
    assert_eq!(decoded.table.columns[7].name, "2nd_name");
    let types: Vec<_> = decoded
        .table
        .columns
        .iter()
        .map(|column| column.ty.clone())
        .collect();
    let declared: Vec<_> = columns().into_iter().map(|column| column.ty).collect();
    assert_eq!(types, declared);
}

#[tokio::test]
async fn what_another_implementation_wrote_is_read() {
    let (url, state) = registry().await;
    let base = json!({"type": "record", "name": "Money", "namespace": "x", "fields": [
        {"name": "amount", "type": {"type": "fixed", "name": "Amount", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR", "USD"]}},
    ]});
    let outer = json!({"type": "record", "name": "Order", "namespace": "x", "fields": [
        {"name": "id", "type": "long"},
        {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "amount", "type": {"type": "fixed", "name": "Cents", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "price", "type": "Money"},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
        {"name": "notes", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "either", "type": ["null", "string", "long"]},
    ]});
    {
        let mut state = state.lock().unwrap();
        let id = state.add(json!({"schema": base.to_string()}));
        state.subjects.insert("money".to_owned(), vec![id]);
        state.add(json!({
            "schema": outer.to_string(),
            "references": [{"name": "x.Money", "subject": "money", "version": 1}],
        }));
    }
    let texts = [base.to_string(), outer.to_string()];
    let schemas = Schema::parse_list(&texts).unwrap();
    let amount = |cents: i32| Avro::Decimal(cents.to_be_bytes().to_vec().into());
    let value = Avro::Record(vec![
        ("id".to_owned(), Avro::Long(5)),
        ("placed".to_owned(), Avro::TimestampMicros(1_000_001)),
        ("day".to_owned(), Avro::Date(19_000)),
        ("amount".to_owned(), amount(-5)),
        (
            "price".to_owned(),
            Avro::Record(vec![
                ("amount".to_owned(), amount(1234)),
                ("currency".to_owned(), Avro::Enum(1, "USD".to_owned())),
            ]),
        ),
        (
            "tags".to_owned(),
            Avro::Map([("a".to_owned(), Avro::String("b".to_owned()))].into()),
        ),
        (
            "notes".to_owned(),
            Avro::Array(vec![
                Avro::Union(1, Box::new(Avro::String("n".to_owned()))),
                Avro::Union(0, Box::new(Avro::Null)),
            ]),
        ),
        ("either".to_owned(), Avro::Union(2, Box::new(Avro::Long(9)))),
    ]);
    let written =
        apache_avro::to_avro_datum_schemata(&schemas[1], schemas.iter().collect(), value).unwrap();
    let mut bytes = vec![0, 0, 0, 0, 2];
    bytes.extend(written);
    let codec = Codec::new(Format::Avro(client(&url)), Envelope::Flat, "shop");
    let decoded = codec
        .reader("crm.orders")
        .decode(None, Some(&bytes), None, None)
        .await;
    let decoded = decoded.unwrap().unwrap();
    let row = decoded.after.unwrap();
    assert_eq!(decoded.table.id.to_string(), "crm.orders");
    let by_name: BTreeMap<_, _> = decoded
        .table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .zip(row.values())
        .collect();
    assert_eq!(by_name["placed"], Value::Timestamp(1_000_001));
    assert_eq!(by_name["day"], Value::Date(19_000));
    assert_eq!(by_name["amount"], Value::Decimal("-0.05"));
    assert_eq!(by_name["tags"], Value::Json(r#"{"a":"b"}"#));
    assert_eq!(by_name["either"], Value::Json("9"));
    let Value::Array(notes) = by_name["notes"] else {
        panic!("notes are an array")
    };
    assert_eq!(
        notes.values().collect::<Vec<_>>(),
        [Value::Text("n"), Value::Null]
    );
    let Value::Json(price) = by_name["price"] else {
        panic!("the price is a document")
    };
    assert!(price.contains("\"currency\":\"USD\""));
}

#[tokio::test]
async fn damaged_bytes_are_refused_and_never_make_us_fall_over() {
    let (url, _) = registry().await;
    let codec = Codec::new(Format::Avro(client(&url)), Envelope::Debezium, "shop");
    let table = table(columns(), vec![0]);
    let mut writer = codec.writer("t", &table).await.unwrap();
    let row = row();
    let mut bytes = Vec::new();
    let record = Record {
        op: Operation::Create,
        before: None,
        after: Some(&row),
        meta: meta(),
    };
    writer.value(&record, &mut bytes);
    let mut reader = codec.reader("t");
    for end in 5..bytes.len() {
        let result = reader
            .decode(None, Some(&bytes[..end]), Some(&table), None)
            .await;
        assert!(result.is_err(), "{end} bytes of {}", bytes.len());
    }
    for index in 5..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[index] ^= flip;
            let _either_way = reader
                .decode(None, Some(&damaged), Some(&table), None)
                .await;
        }
    }
}
