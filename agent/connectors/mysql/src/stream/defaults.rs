//! What an insert stores that its row image leaves out.
//!
//! With `binlog_row_image=MINIMAL` (or NOBLOB) the image of an insert lacks the columns that the
//! statement did not name and whose default is constant; columns with computed defaults are logged
//! (MySQL reference manual, "binlog_row_image"). The constants are known from the catalog.

use sluice_core::{
    Column, ColumnType, Row, RowOperation, TableSchema, Value,
    schema::ColumnDefault,
    value::{Bits, MICROS_PER_DAY, days_from_civil},
};

/// Fills the columns that an insert's image leaves out.
pub(crate) fn complete(operation: RowOperation, schema: &TableSchema) -> RowOperation {
    match operation {
        RowOperation::Insert { after } if after.has_unchanged() => RowOperation::Insert {
            after: after.laid_over(&defaults(schema)),
        },
        other => other,
    }
}

/// A row of constant defaults; columns without one stay unchanged.
fn defaults(schema: &TableSchema) -> Row {
    let mut owned = Vec::with_capacity(schema.columns.len());
    for column in &schema.columns {
        owned.push(constant(column).unwrap_or_else(|| Row::pack([Value::Unchanged])));
    }
    Row::pack(owned.iter().map(|cell| cell.get(0)))
}

/// A column's constant default as a row of one value.
fn constant(column: &Column) -> Option<Row> {
    let text = match &column.default {
        Some(ColumnDefault::Literal(text)) => text.as_str(),
        None if column.nullable && !column.generated => return Some(Row::pack([Value::Null])),
        None | Some(ColumnDefault::Expression(_)) => return None,
    };
    let one = |value: Value<'_>| Some(Row::pack([value]));
    match &column.ty {
        ColumnType::Int { unsigned: true, .. } => one(Value::UInt(text.parse().ok()?)),
        ColumnType::Int { .. } | ColumnType::Year => one(Value::Int(text.parse().ok()?)),
        ColumnType::Float => one(Value::Float(text.parse().ok()?)),
        ColumnType::Double => one(Value::Double(text.parse().ok()?)),
        ColumnType::Decimal { .. } => one(Value::Decimal(text)),
        ColumnType::Char { .. } | ColumnType::Varchar { .. } | ColumnType::Text => {
            one(Value::Text(text))
        }
        ColumnType::Enum { .. } => one(Value::Enum(text)),
        ColumnType::Set { .. } => one(Value::Set(text)),
        ColumnType::Binary { length } => {
            let mut bytes = binary(text)?;
            bytes.resize(*length as usize, 0);
            one(Value::Bytes(&bytes))
        }
        ColumnType::Varbinary { .. } => one(Value::Bytes(&binary(text)?)),
        ColumnType::Bit { length } => {
            let digits = text.strip_prefix("b'")?.strip_suffix('\'')?;
            let number = u64::from_str_radix(digits, 2).ok()?;
            let aligned = number.checked_shl(64 - *length)?.to_be_bytes();
            let bytes = &aligned[..length.div_ceil(8) as usize];
            one(Value::Bits(Bits {
                length: *length,
                bytes,
            }))
        }
        ColumnType::Date => Some(date(text).map_or_else(
            || Row::pack([Value::Impossible(text)]),
            |days| Row::pack([Value::Date(days)]),
        )),
        ColumnType::DateTime { .. } => Some(date_time(text).map_or_else(
            || Row::pack([Value::Impossible(text)]),
            |micros| Row::pack([Value::DateTime(micros)]),
        )),
        // The session that reads the catalog is in UTC.
        ColumnType::Timestamp { .. } => Some(date_time(text).map_or_else(
            || Row::pack([Value::Impossible(text)]),
            |micros| Row::pack([Value::Timestamp(micros)]),
        )),
        ColumnType::Time { .. } => one(Value::Time(time(text)?)),
        _ => None,
    }
}

/// `0x` and hexadecimal digits, as the catalog prints binary defaults; other text is its own bytes.
fn binary(text: &str) -> Option<Vec<u8>> {
    let Some(digits) = text.strip_prefix("0x") else {
        return Some(text.as_bytes().to_vec());
    };
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn date(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-');
    let year = parts.next()?.parse().ok()?;
    days_from_civil(
        year,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    )
}

fn date_time(text: &str) -> Option<i64> {
    let (day, clock) = text.split_once(' ')?;
    Some(i64::from(date(day)?) * MICROS_PER_DAY + time(clock)?)
}

/// `[-]hours:minutes:seconds[.fraction]` in microseconds.
fn time(text: &str) -> Option<i64> {
    let (negative, text) = text
        .strip_prefix('-')
        .map_or((false, text), |text| (true, text));
    let mut parts = text.splitn(3, ':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let (seconds, fraction) = parts.next()?.split_once('.').map_or_else(
        || (text.rsplit(':').next().unwrap_or_default(), ""),
        |(seconds, fraction)| (seconds, fraction),
    );
    let seconds: i64 = seconds.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction;
    Some(if negative { -micros } else { micros })
}

#[cfg(test)]
mod tests {
    use sluice_core::TableId;

    use super::*;

    fn column(ty: ColumnType, default: Option<&str>) -> Column {
        Column {
            name: "c".into(),
            ty,
            nullable: true,
            generated: false,
            boolean: false,
            default: default.map(|text| ColumnDefault::Literal(text.into())),
        }
    }

    #[test]
    fn constants_are_read_as_the_catalog_prints_them() {
        let day = i64::from(days_from_civil(2024, 2, 29).unwrap()) * MICROS_PER_DAY;
        let cases = [
            (
                ColumnType::Int {
                    bits: 32,
                    unsigned: false,
                },
                "-7",
                Value::Int(-7),
            ),
            (
                ColumnType::Int {
                    bits: 64,
                    unsigned: true,
                },
                "18446744073709551615",
                Value::UInt(u64::MAX),
            ),
            (
                ColumnType::Decimal {
                    precision: 5,
                    scale: 2,
                },
                "1.50",
                Value::Decimal("1.50"),
            ),
            (ColumnType::Text, "", Value::Text("")),
            (
                ColumnType::Binary { length: 4 },
                "0x6100",
                Value::Bytes(b"a\0\0\0"),
            ),
            (
                ColumnType::Bit { length: 9 },
                "b'100000001'",
                Value::Bits(Bits {
                    length: 9,
                    bytes: &[0x80, 0x80],
                }),
            ),
            (
                ColumnType::DateTime { precision: 3 },
                "2024-02-29 00:00:01.500",
                Value::DateTime(day + 1_500_000),
            ),
            (
                ColumnType::Date,
                "0000-00-00",
                Value::Impossible("0000-00-00"),
            ),
            (
                ColumnType::Time { precision: 0 },
                "-838:59:59",
                Value::Time(-3_020_399_000_000),
            ),
        ];
        for (ty, text, expected) in cases {
            let found = constant(&column(ty, Some(text))).unwrap();
            assert_eq!(found.get(0), expected, "{text}");
        }
    }

    #[test]
    fn only_what_an_insert_leaves_out_is_filled() {
        let int = ColumnType::Int {
            bits: 32,
            unsigned: false,
        };
        let schema = TableSchema {
            id: TableId::new("shop", "t"),
            columns: vec![
                column(int.clone(), None),
                column(int, Some("5")),
                column(ColumnType::Text, None),
            ],
            key: vec![0],
        };
        let after = Row::pack([Value::Int(1), Value::Unchanged, Value::Unchanged]);
        let RowOperation::Insert { after } = complete(RowOperation::Insert { after }, &schema)
        else {
            unreachable!("an insert stays one");
        };
        assert_eq!(
            after.values().collect::<Vec<_>>(),
            [Value::Int(1), Value::Int(5), Value::Null]
        );
    }
}
