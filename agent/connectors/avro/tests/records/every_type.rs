//! Every type comes back as it was, in every format and envelope.

use std::sync::Arc;

use proptest::{prelude::*, test_runner::TestRunner};
use sluice_avro::{Codec, Envelope, Lost, Operation, Record, RecordReader, RecordWriter};
use sluice_core::{
    ColumnType, Row, TableSchema, Value,
    value::{Bits, Geometry, Interval},
};

use crate::support::{codecs, column, meta, table};

fn labels(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn types() -> Vec<ColumnType> {
    use ColumnType as T;
    let mut types = vec![
        T::Bool,
        T::Float,
        T::Double,
        T::Text,
        T::Blob,
        T::Date,
        T::Interval,
        T::Year,
        T::Json,
        T::Uuid,
        T::Geometry,
        T::Vector,
        T::Decimal {
            precision: 10,
            scale: 2,
        },
        T::Decimal {
            precision: 65,
            scale: 30,
        },
        T::Decimal {
            precision: 5,
            scale: 0,
        },
        T::Decimal {
            precision: 0,
            scale: 0,
        },
        T::Bit { length: 1 },
        T::Bit { length: 9 },
        T::Bit { length: 64 },
        T::Bit { length: 100 },
        T::Char { length: 3 },
        T::Varchar { length: 255 },
        T::Binary { length: 4 },
        T::Varbinary { length: 255 },
        T::DateTime { precision: 0 },
        T::DateTime { precision: 3 },
        T::DateTime { precision: 6 },
        T::Timestamp { precision: 0 },
        T::Timestamp { precision: 6 },
        T::Time { precision: 0 },
        T::Time { precision: 6 },
        T::Enum {
            labels: labels(&["a", "b,c", "\\"]),
        },
        T::Set {
            labels: labels(&["x", "y"]),
        },
        T::Array(Box::new(T::Int {
            bits: 32,
            unsigned: false,
        })),
        T::Array(Box::new(T::Array(Box::new(T::Text)))),
        T::Array(Box::new(T::Decimal {
            precision: 10,
            scale: 2,
        })),
    ];
    for bits in [8, 16, 24, 32, 64] {
        for unsigned in [false, true] {
            types.push(T::Int { bits, unsigned });
        }
    }
    types
}

/// A value without its row: what a strategy can make.
#[derive(Debug, Clone)]
enum Made {
    Plain(Plain),
    Array(Vec<Self>),
}

type Plain = Row;

fn plain(value: Value<'_>) -> Made {
    Made::Plain(Row::pack([value]))
}

fn packed(made: &Made) -> Row {
    match made {
        Made::Plain(row) => row.clone(),
        Made::Array(items) => {
            let rows: Vec<_> = items.iter().map(packed).collect();
            let inner = Row::pack(rows.iter().map(|row| row.get(0)));
            Row::pack([Value::Array(inner.view())])
        }
    }
}

fn of_type(ty: &ColumnType) -> BoxedStrategy<Made> {
    use ColumnType as T;
    let whole = |precision: u8| 10_i64.pow(u32::from(6 - precision));
    match ty.clone() {
        T::Bool => any::<bool>().prop_map(|v| plain(Value::Bool(v))).boxed(),
        T::Int {
            bits,
            unsigned: true,
        } => {
            let max = u64::MAX >> (64 - bits);
            prop_oneof![0..=max, Just(max)]
                .prop_map(|v| plain(Value::UInt(v)))
                .boxed()
        }
        T::Int {
            bits,
            unsigned: false,
        } => {
            let max = i64::MAX >> (64 - bits);
            prop_oneof![-max - 1..=max, Just(max), Just(-max - 1)]
                .prop_map(|v| plain(Value::Int(v)))
                .boxed()
        }
        T::Year => (1901_i64..2156).prop_map(|v| plain(Value::Int(v))).boxed(),
        T::Float => any::<f32>()
            .prop_filter("no number", |v| !v.is_nan())
            .prop_map(|v| plain(Value::Float(v)))
            .boxed(),
        T::Double => any::<f64>()
            .prop_filter("no number", |v| !v.is_nan())
            .prop_map(|v| plain(Value::Double(v)))
            .boxed(),
        T::Decimal { precision: 0, .. } => "-?(0|[1-9][0-9]{0,50})(\\.[0-9]{1,30})?"
            .prop_filter("no such zero", |text| {
                !text.starts_with("-0") || text.contains(|c: char| c > '0')
            })
            .prop_map(|text| plain(Value::Decimal(&text)))
            .boxed(),
        T::Decimal { precision, scale } => {
            let whole = format!("[1-9][0-9]{{0,{}}}", precision - scale - 1);
            let fraction = if scale == 0 {
                String::new()
            } else {
                format!("\\.[0-9]{{{scale}}}")
            };
            proptest::string::string_regex(&format!("-?{whole}{fraction}"))
                .unwrap()
                .prop_map(|text| plain(Value::Decimal(&text)))
                .boxed()
        }
        T::Bit { length } => proptest::collection::vec(any::<u8>(), length.div_ceil(8) as usize)
            .prop_map(move |mut bytes| {
                let padding = (8 - length % 8) % 8;
                *bytes.last_mut().unwrap() &= 0xff << padding;
                plain(Value::Bits(Bits {
                    length,
                    bytes: &bytes,
                }))
            })
            .boxed(),
        T::Char { .. } | T::Varchar { .. } | T::Text => any::<String>()
            .prop_map(|text| plain(Value::Text(&text)))
            .boxed(),
        T::Json => any::<String>()
            .prop_map(|text| plain(Value::Json(&serde_json::json!({ "a": text }).to_string())))
            .boxed(),
        T::Binary { .. } | T::Varbinary { .. } | T::Blob => any::<Vec<u8>>()
            .prop_map(|bytes| plain(Value::Bytes(&bytes)))
            .boxed(),
        T::Date => (-719_528_i32..2_932_897)
            .prop_map(|v| plain(Value::Date(v)))
            .boxed(),
        T::DateTime { precision } => (-62_167_219_200_000_000_i64..253_402_300_799_999_999)
            .prop_map(move |v| plain(Value::DateTime(v / whole(precision) * whole(precision))))
            .boxed(),
        T::Timestamp { precision } => (0_i64..253_402_300_799_999_999)
            .prop_map(move |v| plain(Value::Timestamp(v / whole(precision) * whole(precision))))
            .boxed(),
        T::Time { precision } => (-3_020_399_000_000_i64..=3_020_399_000_000)
            .prop_map(move |v| plain(Value::Time(v / whole(precision) * whole(precision))))
            .boxed(),
        T::Interval => any::<(i32, i32, i64)>()
            .prop_map(|(months, days, micros)| {
                plain(Value::Interval(Interval {
                    months,
                    days,
                    micros,
                }))
            })
            .boxed(),
        T::Enum { mut labels } => {
            labels.push(String::new());
            proptest::sample::select(labels)
                .prop_map(|label| plain(Value::Enum(&label)))
                .boxed()
        }
        T::Set { .. } => proptest::sample::select(vec!["", "x", "y", "x,y"])
            .prop_map(|v| plain(Value::Set(v)))
            .boxed(),
        T::Uuid => any::<[u8; 16]>()
            .prop_map(|v| plain(Value::Uuid(v)))
            .boxed(),
        T::Geometry => (any::<u32>(), any::<Vec<u8>>())
            .prop_map(|(srid, wkb)| plain(Value::Geometry(Geometry { srid, wkb: &wkb })))
            .boxed(),
        T::Vector => {
            proptest::collection::vec(any::<f32>().prop_filter("no number", |v| !v.is_nan()), 0..5)
                .prop_map(|floats| {
                    let bytes: Vec<_> = floats.iter().flat_map(|v| v.to_le_bytes()).collect();
                    plain(Value::Bytes(&bytes))
                })
                .boxed()
        }
        T::Array(items) => {
            let item = prop_oneof![4 => of_type(&items), 1 => Just(plain(Value::Null))];
            proptest::collection::vec(item, 0..4)
                .prop_map(Made::Array)
                .boxed()
        }
    }
}

/// What the source may say of a column instead of a value.
fn in_column(ty: &ColumnType, nullable: bool) -> BoxedStrategy<Made> {
    let mut choices = vec![(8, of_type(ty)), (1, Just(plain(Value::Unchanged)).boxed())];
    if nullable {
        choices.push((2, Just(plain(Value::Null)).boxed()));
    }
    if ty.may_be_impossible() {
        choices.push((1, Just(plain(Value::Impossible("0000-00-00"))).boxed()));
    }
    if matches!(ty, ColumnType::Decimal { .. }) {
        choices.push((1, Just(plain(Value::Decimal("NaN"))).boxed()));
    }
    proptest::strategy::Union::new_weighted(choices).boxed()
}

fn big_table() -> Arc<TableSchema> {
    let mut columns = vec![column(
        "id",
        ColumnType::Int {
            bits: 64,
            unsigned: false,
        },
        false,
    )];
    for (number, ty) in types().into_iter().enumerate() {
        columns.push(column(&format!("must {number}"), ty.clone(), false));
        columns.push(column(&format!("may_{number}"), ty, true));
    }
    table(columns, vec![0])
}

fn rows(table: &TableSchema) -> impl Strategy<Value = Row> + use<> {
    let columns: Vec<_> = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| match index {
            0 => of_type(&column.ty),
            _ => in_column(&column.ty, column.nullable),
        })
        .collect();
    columns.prop_map(|values| {
        let rows: Vec<_> = values.iter().map(packed).collect();
        Row::pack(rows.iter().map(|row| row.get(0)))
    })
}

struct Way {
    name: String,
    envelope: Envelope,
    writer: RecordWriter,
    reader: RecordReader,
}

async fn ways(table: &Arc<TableSchema>) -> Vec<Way> {
    let mut ways = Vec::new();
    for (name, codec) in codecs().await {
        let codec: Codec = codec;
        ways.push(Way {
            envelope: if name.contains("Flat") {
                Envelope::Flat
            } else {
                Envelope::Debezium
            },
            writer: codec.writer("shop.shop.orders", table).await.unwrap(),
            reader: codec.reader("shop.shop.orders"),
            name,
        });
    }
    ways
}

fn same(name: &str, table: &TableSchema, read: Option<&Row>, written: Option<&Row>) {
    assert_eq!(read.is_some(), written.is_some(), "{name}");
    let (Some(read), Some(written)) = (read, written) else {
        return;
    };
    for (index, column) in table.columns.iter().enumerate() {
        assert_eq!(
            read.get(index),
            written.get(index),
            "{name}: column {} of type {:?}",
            column.name,
            column.ty
        );
        assert_eq!(
            read.cell(index),
            written.cell(index),
            "{name}: {}",
            column.name
        );
    }
}

async fn through(
    way: &mut Way,
    table: &Arc<TableSchema>,
    op: Operation,
    before: Option<&Row>,
    after: Option<&Row>,
) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    way.writer.key(after.or(before).unwrap(), &mut key);
    let record = Record {
        op,
        before,
        after,
        meta: meta(),
    };
    let lost: Lost = way.writer.value(&record, &mut value);
    let value = (!value.is_empty()).then_some(value.as_slice());
    let decoded = way
        .reader
        .decode(Some(&key), value, Some(table), lost.as_str())
        .await
        .unwrap_or_else(|error| panic!("{}: {}", way.name, error.report()))
        .expect("a record about a row");
    same(&way.name, table, decoded.after.as_ref(), after);
    if way.envelope == Envelope::Debezium {
        assert_eq!(decoded.op, op);
        same(&way.name, table, decoded.before.as_ref(), before);
        assert_eq!(decoded.ts_ms, 1_700_000_000_123);
        assert_eq!(decoded.transaction.as_deref(), Some("3e11fa47:7"));
    } else if let Some(before) = &decoded.before {
        assert_eq!(before.get(0), after.unwrap_or(before).get(0));
        assert_eq!(before.get(1), Value::Unchanged);
    }
    assert!(Arc::ptr_eq(&decoded.table, table) || decoded.table == *table);
}

#[test]
fn every_type_comes_back_in_every_format_and_envelope() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let table = big_table();
    let mut ways = runtime.block_on(ways(&table));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 150,
        ..ProptestConfig::default()
    });
    let ways = std::cell::RefCell::new(&mut ways);
    runner
        .run(&(rows(&table), rows(&table)), |(before, after)| {
            for way in ways.borrow_mut().iter_mut() {
                runtime.block_on(async {
                    through(way, &table, Operation::Create, None, Some(&after)).await;
                    through(way, &table, Operation::Update, Some(&before), Some(&after)).await;
                    through(way, &table, Operation::Delete, Some(&before), None).await;
                    through(way, &table, Operation::Read, None, Some(&after)).await;
                });
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_key_that_can_not_be_said_comes_back_with_a_flat_delete() {
    let day = column("day", ColumnType::Date, false);
    let table = table(vec![column("note", ColumnType::Text, true), day], vec![1]);
    let row = Row::pack([Value::Text("x"), Value::Impossible("2024-02-31")]);
    for (name, codec) in codecs().await {
        let mut writer = codec.writer("t", &table).await.unwrap();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        writer.key(&row, &mut key);
        let record = Record {
            op: Operation::Delete,
            before: Some(&row),
            after: None,
            meta: meta(),
        };
        let lost = writer.value(&record, &mut value);
        let value = (!value.is_empty()).then_some(&value[..]);
        let mut reader = codec.reader("t");
        let decoded = reader
            .decode(Some(&key), value, Some(&table), lost.as_str())
            .await;
        let decoded = decoded.unwrap().unwrap();
        assert_eq!(decoded.op, Operation::Delete, "{name}");
        assert_eq!(
            decoded.before.unwrap().get(1),
            Value::Impossible("2024-02-31"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_table_without_a_key_has_records_without_one() {
    let table = table(vec![column("note", ColumnType::Text, true)], vec![]);
    let row = Row::pack([Value::Text("x")]);
    for (name, codec) in codecs().await {
        let mut writer = codec.writer("t", &table).await.unwrap();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        writer.key(&row, &mut key);
        assert!(key.is_empty(), "{name}");
        let record = Record {
            op: Operation::Create,
            before: None,
            after: Some(&row),
            meta: meta(),
        };
        assert!(writer.value(&record, &mut value).is_empty());
        let decoded = codec
            .reader("t")
            .decode(None, Some(&value), None, None)
            .await;
        let decoded = decoded.unwrap().unwrap();
        assert_eq!(
            (decoded.op, decoded.table.key.len()),
            (Operation::Create, 0),
            "{name}"
        );
        assert_eq!(decoded.after.unwrap().get(0), Value::Text("x"), "{name}");
    }
}
