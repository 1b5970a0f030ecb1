//! The statements that read chunks, and a key's values as their parameters.

use std::borrow::Cow;

use sluice_core::{Column, ColumnType, Row, TableSchema, Value, value::civil_from_days};

use crate::{
    schema::{quote_name, quote_table},
    wire::binary::Parameter,
};

/// A statement with its parameters.
pub(super) struct Statement<'a> {
    pub(super) sql: String,
    pub(super) parameters: Vec<Parameter<'a>>,
}

/// Finds the key of the `rows`-th row after a key.
pub(super) fn boundary_sql<'a>(
    table: &TableSchema,
    index: &str,
    after: Option<&'a Row>,
    rows: u64,
) -> Statement<'a> {
    let mut parameters = Vec::new();
    let condition = range(table, after, None, &mut parameters);
    let key = key_list(table);
    let sql = format!(
        "SELECT {key} FROM {}{condition} ORDER BY {key} LIMIT 1 OFFSET {}",
        from(table, index),
        rows.saturating_sub(1)
    );
    Statement { sql, parameters }
}

/// Reads the rows with `after < key <= until` in key order.
pub(super) fn chunk_sql<'a>(
    table: &TableSchema,
    index: &str,
    after: Option<&'a Row>,
    until: Option<&'a Row>,
) -> Statement<'a> {
    let mut parameters = Vec::new();
    let condition = range(table, after, until, &mut parameters);
    let sql = format!(
        "SELECT {} FROM {}{condition} ORDER BY {}",
        column_list(table),
        from(table, index),
        key_list(table)
    );
    Statement { sql, parameters }
}

/// Every column by name: `*` would leave invisible ones out.
pub(super) fn column_list(table: &TableSchema) -> String {
    let names: Vec<_> = table
        .columns
        .iter()
        .map(|column| quote_name(&column.name))
        .collect();
    names.join(", ")
}

fn key_list(table: &TableSchema) -> String {
    let names: Vec<_> = table
        .key_columns()
        .map(|column| quote_name(&column.name))
        .collect();
    names.join(", ")
}

fn from(table: &TableSchema, index: &str) -> String {
    if index.is_empty() {
        return quote_table(&table.id);
    }
    format!(
        "{} FORCE INDEX ({})",
        quote_table(&table.id),
        quote_name(index)
    )
}

fn range<'a>(
    table: &TableSchema,
    after: Option<&'a Row>,
    until: Option<&'a Row>,
    parameters: &mut Vec<Parameter<'a>>,
) -> String {
    let mut conditions = Vec::new();
    if let Some(after) = after {
        conditions.push(beyond(table, after, [" > ", " > "], parameters));
    }
    if let Some(until) = until {
        conditions.push(beyond(table, until, [" < ", " <= "], parameters));
    }
    if conditions.is_empty() {
        return String::new();
    }
    format!(" WHERE {}", conditions.join(" AND "))
}

/// `(a > ?) OR (a = ? AND b > ?)`: MySQL uses the index for this and not for `(a, b) > (?, ?)`.
/// The last column is compared by the second sign.
fn beyond<'a>(
    table: &TableSchema,
    key: &'a Row,
    [sign, last_sign]: [&str; 2],
    parameters: &mut Vec<Parameter<'a>>,
) -> String {
    let columns: Vec<&Column> = table.key_columns().collect();
    let mut alternatives = Vec::with_capacity(columns.len());
    for depth in 0..columns.len() {
        let mut terms = Vec::with_capacity(depth + 1);
        for (index, column) in columns.iter().enumerate().take(depth + 1) {
            let sign = match index {
                _ if index < depth => " = ",
                _ if depth + 1 == columns.len() => last_sign,
                _ => sign,
            };
            terms.push(format!("{}{sign}?", quote_name(&column.name)));
            parameters.push(parameter(&column.ty, key.get(index)));
        }
        alternatives.push(format!("({})", terms.join(" AND ")));
    }
    format!("({})", alternatives.join(" OR "))
}

/// A key's value in the form in which MySQL compares it as it orders it.
fn parameter<'a>(ty: &ColumnType, value: Value<'a>) -> Parameter<'a> {
    match value {
        Value::Int(number) => Parameter::Int(number),
        Value::UInt(number) => Parameter::UInt(number),
        Value::Bool(value) => Parameter::Int(i64::from(value)),
        Value::Float(number) => Parameter::Double(f64::from(number)),
        Value::Double(number) => Parameter::Double(number),
        Value::Decimal(text) | Value::Text(text) | Value::Impossible(text) | Value::Json(text) => {
            Parameter::Text(Cow::Borrowed(text))
        }
        Value::Bytes(bytes) => Parameter::Bytes(bytes),
        Value::Bits(bits) => {
            let number = bits
                .bytes
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            Parameter::UInt(number >> ((8 - bits.length % 8) % 8))
        }
        Value::Date(days) => Parameter::Text(Cow::Owned(date_text(days))),
        Value::DateTime(micros) | Value::Timestamp(micros) => {
            let (days, rest) = (
                micros.div_euclid(MICROS_PER_DAY),
                micros.rem_euclid(MICROS_PER_DAY),
            );
            let text = format!("{} {}", date_text(days as i32), time_text(rest));
            Parameter::Text(Cow::Owned(text))
        }
        Value::Time(micros) => Parameter::Text(Cow::Owned(time_text(micros))),
        // Enums and sets are ordered by their numbers, not by their labels.
        Value::Enum(label) => Parameter::UInt(enum_number(ty, label)),
        Value::Set(labels) => Parameter::UInt(set_number(ty, labels)),
        // No key has any of these.
        Value::Null
        | Value::Unchanged
        | Value::Interval(_)
        | Value::Uuid(_)
        | Value::Geometry(_)
        | Value::Array(_) => Parameter::Text(Cow::Borrowed("")),
    }
}

const MICROS_PER_DAY: i64 = sluice_core::value::MICROS_PER_DAY;

fn date_text(days: i32) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

fn time_text(micros: i64) -> String {
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let seconds = micros / 1_000_000;
    format!(
        "{sign}{:02}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        micros % 1_000_000
    )
}

/// Counted from one; zero is the error value, which prints as an empty label.
fn enum_number(ty: &ColumnType, label: &str) -> u64 {
    let ColumnType::Enum { labels } = ty else {
        return 0;
    };
    labels
        .iter()
        .position(|known| known == label)
        .map_or(0, |index| index as u64 + 1)
}

fn set_number(ty: &ColumnType, joined: &str) -> u64 {
    let ColumnType::Set { labels } = ty else {
        return 0;
    };
    let bit = |label: &str| {
        labels
            .iter()
            .position(|known| known == label)
            .map_or(0, |index| 1 << index)
    };
    joined
        .split(',')
        .filter(|label| !label.is_empty())
        .map(bit)
        .sum()
}

#[cfg(test)]
mod tests {
    use sluice_core::{TableId, value::Bits};

    use super::*;

    fn table(types: &[(&str, ColumnType)]) -> TableSchema {
        let column = |(name, ty): &(&str, ColumnType)| Column {
            name: (*name).to_owned(),
            ty: ty.clone(),
            nullable: false,
            generated: false,
            boolean: false,
            default: None,
        };
        TableSchema {
            id: TableId::new("shop", "t"),
            columns: types.iter().map(column).collect(),
            key: (0..types.len()).collect(),
        }
    }

    #[test]
    fn composite_keys_are_compared_column_by_column() {
        let int = ColumnType::Int {
            bits: 32,
            unsigned: false,
        };
        let table = table(&[("a", int), ("b`", ColumnType::Text)]);
        let key = Row::pack([Value::Int(1), Value::Text("x")]);
        let statement = chunk_sql(&table, "PRIMARY", Some(&key), Some(&key));
        assert_eq!(
            statement.sql,
            "SELECT `a`, `b```  FROM `shop`.`t` FORCE INDEX (`PRIMARY`) WHERE \
             ((`a` > ?) OR (`a` = ? AND `b``` > ?)) AND ((`a` < ?) OR (`a` = ? AND `b``` <= ?)) \
             ORDER BY `a`, `b```"
                .replace("  ", " ")
        );
        assert_eq!(statement.parameters.len(), 6);
        assert_eq!(
            boundary_sql(&table, "", None, 10).sql,
            "SELECT `a`, `b``` FROM `shop`.`t` ORDER BY `a`, `b``` LIMIT 1 OFFSET 9"
        );
    }

    #[test]
    fn values_become_what_the_server_orders_by() {
        let labels = || vec!["z".to_owned(), "a".to_owned()];
        let of = |ty: ColumnType, value| parameter(&ty, value);
        let bits = Value::Bits(Bits {
            length: 9,
            bytes: &[0b1000_0000, 0b1000_0000],
        });
        assert_eq!(
            of(ColumnType::Bit { length: 9 }, bits),
            Parameter::UInt(0b1_0000_0001)
        );
        assert_eq!(
            of(ColumnType::Enum { labels: labels() }, Value::Enum("a")),
            Parameter::UInt(2)
        );
        assert_eq!(
            of(ColumnType::Enum { labels: labels() }, Value::Enum("")),
            Parameter::UInt(0)
        );
        assert_eq!(
            of(ColumnType::Set { labels: labels() }, Value::Set("z,a")),
            Parameter::UInt(3)
        );
        let text = |text: &str| Parameter::Text(Cow::Owned(text.to_owned()));
        assert_eq!(
            of(ColumnType::DateTime { precision: 6 }, Value::DateTime(-1)),
            text("1969-12-31 23:59:59.999999")
        );
        assert_eq!(
            of(
                ColumnType::Time { precision: 0 },
                Value::Time(-3_020_399_000_000)
            ),
            text("-838:59:59.000000")
        );
    }
}
