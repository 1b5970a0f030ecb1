//! Decoded values and the server's as texts that can be compared.

use std::fmt::Write as _;

use mysql_async::prelude::Queryable;
use sluice_core::{
    ColumnType, Row, TableSchema, Value,
    value::{MICROS_PER_DAY, civil_from_days},
};

use super::log::Server;

/// What stands for a column that the log does not hold.
pub(crate) const UNCHANGED: &str = "(unchanged)";

/// A decoded row as texts.
pub(crate) fn decoded(row: &Row, schema: &TableSchema) -> Vec<Option<String>> {
    assert_eq!(row.len(), schema.columns.len());
    let columns = row.values().zip(&schema.columns);
    columns
        .map(|(value, column)| shown(value, &column.ty))
        .collect()
}

/// The rows of a table as the server says them, in the order of its first column.
pub(crate) async fn stored(server: &mut Server, schema: &TableSchema) -> Vec<Vec<Option<String>>> {
    let columns = schema.columns.iter();
    let list: Vec<_> = columns
        .map(|column| expression(&column.name, &column.ty))
        .collect();
    let query = format!(
        "SELECT {} FROM {} ORDER BY {}",
        list.join(", "),
        quoted(&schema.id.name),
        quoted(&schema.columns[0].name)
    );
    let rows: Vec<mysql_async::Row> = server.conn.exec(query, ()).await.unwrap();
    let text = |row: mysql_async::Row| row.unwrap().into_iter().map(server_text).collect();
    rows.into_iter().map(text).collect()
}

pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn server_text(value: mysql_async::Value) -> Option<String> {
    match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8(bytes).unwrap()),
        mysql_async::Value::Float(number) => Some(format!("{:08x}", number.to_bits())),
        mysql_async::Value::Double(number) => Some(format!("{:016x}", number.to_bits())),
        other => panic!("{other:?}"),
    }
}

/// The SQL that says a column's value the way that [`shown`] does.
fn expression(name: &str, ty: &ColumnType) -> String {
    let name = quoted(name);
    match ty {
        ColumnType::Float | ColumnType::Double => name,
        ColumnType::Bit { length } => format!("LPAD(BIN({name}), {length}, '0')"),
        ColumnType::Binary { .. }
        | ColumnType::Varbinary { .. }
        | ColumnType::Blob
        | ColumnType::Geometry
        | ColumnType::Vector => format!("HEX({name})"),
        ColumnType::Char { .. }
        | ColumnType::Varchar { .. }
        | ColumnType::Text
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. } => format!("CONVERT({name} USING utf8mb4)"),
        _ => format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)"),
    }
}

fn shown(value: Value<'_>, ty: &ColumnType) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Unchanged => UNCHANGED.to_owned(),
        Value::Int(year) if *ty == ColumnType::Year => format!("{year:04}"),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => format!("{:08x}", number.to_bits()),
        Value::Double(number) => format!("{:016x}", number.to_bits()),
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Impossible(text)
        | Value::Enum(text)
        | Value::Set(text)
        | Value::Json(text) => text.to_owned(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Bits(bits) => {
            let all = bits.bytes.iter().fold(String::new(), |mut all, byte| {
                write!(all, "{byte:08b}").unwrap();
                all
            });
            let (text, padding) = all.split_at(bits.length as usize);
            assert!(padding.bytes().all(|bit| bit == b'0'));
            text.to_owned()
        }
        Value::Date(days) => {
            let (year, month, day) = civil_from_days(days);
            format!("{year:04}-{month:02}-{day:02}")
        }
        Value::DateTime(micros) | Value::Timestamp(micros) => {
            let days = micros.div_euclid(MICROS_PER_DAY);
            let (year, month, day) = civil_from_days(days as i32);
            let time = span(micros.rem_euclid(MICROS_PER_DAY), precision(ty));
            format!("{year:04}-{month:02}-{day:02} {time}")
        }
        Value::Time(micros) => span(micros, precision(ty)),
        Value::Geometry(geometry) => hex(&geometry.srid.to_le_bytes()) + &hex(geometry.wkb),
        other => panic!("{other:?}"),
    })
}

fn precision(ty: &ColumnType) -> usize {
    match ty {
        ColumnType::DateTime { precision }
        | ColumnType::Timestamp { precision }
        | ColumnType::Time { precision } => usize::from(*precision),
        _ => panic!("{ty:?}"),
    }
}

fn span(micros: i64, precision: usize) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, micros) = (micros.abs() / 1_000_000, micros.abs() % 1_000_000);
    let fraction = format!(".{micros:06}");
    let end = if precision == 0 { 0 } else { precision + 1 };
    assert!(fraction[end.max(1)..].bytes().all(|digit| digit == b'0'));
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!(
        "{sign}{hours:02}:{minutes:02}:{seconds:02}{}",
        &fraction[..end]
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02X}").unwrap();
        text
    })
}
