//! What tables look like, from `information_schema`.
//!
//! The log describes rows by itself; this is where the rest comes from: defaults, generated
//! columns, truth values, and the key of a table that has a unique index but no primary key. Types
//! are read to be equal to those that a table map gives, so that the two can be compared.

use std::{collections::BTreeMap, sync::Arc};

use sluice_core::{
    Column, ColumnType, Error, Reason, Result, TableId, TableSchema, TableSelection,
    schema::ColumnDefault,
};

use crate::{connect::Connection, wire::query::TextRow};

/// Databases that hold no one's data: the server's own, and what Sluice keeps about itself.
const SYSTEM_DATABASES: [&str; 5] = [
    "mysql",
    "sys",
    "information_schema",
    "performance_schema",
    "sluice",
];

/// Whether a database is never captured.
pub(crate) fn is_system_database(name: &str) -> bool {
    SYSTEM_DATABASES
        .iter()
        .any(|system| name.eq_ignore_ascii_case(system))
}

/// Whether a table is captured.
pub(crate) fn is_selected(selection: &TableSelection, table: &TableId) -> bool {
    !is_system_database(&table.schema) && selection.contains(table)
}

/// A string as an SQL literal.
pub(crate) fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as SQL quotes it.
pub(crate) fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table's full name as SQL quotes it.
pub(crate) fn quote_table(table: &TableId) -> String {
    format!("{}.{}", quote_name(&table.schema), quote_name(&table.name))
}

/// The names of the selected tables, in order.
pub(crate) async fn list_tables(
    connection: &mut Connection,
    selection: &TableSelection,
) -> Result<Vec<TableId>> {
    let sql = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
        WHERE TABLE_TYPE = 'BASE TABLE' ORDER BY 1, 2";
    let mut tables = Vec::new();
    connection
        .query_each(sql, |row| {
            let table = TableId::new(row.text(0), row.text(1));
            if is_selected(selection, &table) {
                tables.push(table);
            }
        })
        .await?;
    Ok(tables)
}

/// The selected tables, in order.
pub(crate) async fn load_tables(
    connection: &mut Connection,
    selection: &TableSelection,
) -> Result<Vec<Arc<TableSchema>>> {
    let listed = list_tables(connection, selection).await?;
    let mut databases: Vec<String> = listed
        .iter()
        .map(|table| quote_text(&table.schema))
        .collect();
    databases.dedup();
    if databases.is_empty() {
        return Ok(Vec::new());
    }
    let condition = format!("TABLE_SCHEMA IN ({})", databases.join(", "));
    let mut loaded = load(connection, &condition).await?;
    // What is not listed is a view or not selected.
    loaded.retain(|id, _| listed.binary_search(id).is_ok());
    finish(connection, loaded).await
}

/// One table, if it is there.
pub(crate) async fn load_table(
    connection: &mut Connection,
    table: &TableId,
) -> Result<Option<Arc<TableSchema>>> {
    let condition = format!(
        "TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        quote_text(&table.schema),
        quote_text(&table.name)
    );
    let loaded = load(connection, &condition).await?;
    Ok(finish(connection, loaded).await?.pop())
}

/// One table that has to be there.
pub(crate) async fn need_table(
    connection: &mut Connection,
    table: &TableId,
) -> Result<Arc<TableSchema>> {
    load_table(connection, table).await?.ok_or_else(|| {
        Error::new(
            Reason::TableMissing,
            format!("table {table} is not on the source"),
        )
        .with_hint(format!(
            "create it, stop selecting it, or: GRANT SELECT ON {} TO the configured user",
            quote_table(table)
        ))
        .with_table(table.clone())
    })
}

type Loaded = BTreeMap<TableId, TableSchema>;

async fn load(connection: &mut Connection, condition: &str) -> Result<Loaded> {
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, \
         CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, \
         COLUMN_DEFAULT, EXTRA FROM information_schema.COLUMNS WHERE {condition} \
         ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
    );
    let mut tables = Loaded::new();
    let mut unknown = None;
    connection
        .query_each(&sql, |row| {
            let id = TableId::new(row.text(0), row.text(1));
            let entry = tables.entry(id);
            let id = entry.key().clone();
            let table = entry.or_insert(TableSchema {
                id,
                columns: Vec::new(),
                key: Vec::new(),
            });
            match read_column(row) {
                Some(column) => table.columns.push(column),
                None => {
                    unknown = Some((
                        table.id.clone(),
                        row.text(2).into_owned(),
                        row.text(4).into_owned(),
                    ));
                }
            }
        })
        .await?;
    if let Some((table, column, ty)) = unknown {
        // A type that is younger than this program: better said than guessed.
        let message = format!("column {column} of table {table} has the unknown type {ty}");
        return Err(Error::new(Reason::DecodeFailed, message)
            .with_hint("exclude the table, or upgrade Sluice")
            .with_table(table));
    }
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
         WHERE INDEX_NAME = 'PRIMARY' AND {condition} \
         ORDER BY TABLE_SCHEMA, TABLE_NAME, SEQ_IN_INDEX"
    );
    connection
        .query_each(&sql, |row| {
            if let Some(table) = tables.get_mut(&TableId::new(row.text(0), row.text(1))) {
                table.key.extend(table.column_index(&row.text(2)));
            }
        })
        .await?;
    Ok(tables)
}

/// Gives tables without a primary key the key that they have nevertheless.
async fn finish(connection: &mut Connection, loaded: Loaded) -> Result<Vec<Arc<TableSchema>>> {
    let mut tables = Vec::with_capacity(loaded.len());
    for (id, mut table) in loaded {
        if table.key.is_empty() {
            table.key = unique_key(connection, &id, &table).await?.1;
        }
        tables.push(Arc::new(table));
    }
    Ok(tables)
}

/// The first unique index over whole columns that are never NULL: its name and columns.
///
/// The order is the server's own, so that this is the index by which it logs partial row images.
async fn unique_key(
    connection: &mut Connection,
    id: &TableId,
    table: &TableSchema,
) -> Result<(String, Vec<usize>)> {
    let mut indexes: Vec<(String, Option<Vec<usize>>)> = Vec::new();
    let sql = format!("SHOW INDEX FROM {}", quote_table(id));
    let read = connection
        .query_each(&sql, |row| {
            let name = row.named("Key_name").into_owned();
            if indexes.last().is_none_or(|(last, _)| *last != name) {
                indexes.push((name, Some(Vec::new())));
            }
            let column = table
                .column_index(&row.named("Column_name"))
                .filter(|&column| !table.columns[column].nullable)
                .filter(|_| row.named("Non_unique") == "0" && row.named("Sub_part").is_empty());
            if let Some((_, columns)) = indexes.last_mut() {
                *columns = columns.take().zip(column).map(|(mut columns, column)| {
                    columns.push(column);
                    columns
                });
            }
        })
        .await;
    match read {
        // Dropped in between: the log will say so.
        Err(error) if error.reason() == Reason::TableMissing => return Ok(Default::default()),
        read => read?,
    }
    let usable = indexes
        .into_iter()
        .find_map(|(name, columns)| Some((name, columns?)));
    Ok(usable.unwrap_or_default())
}

/// The name of the index that holds a table's key.
pub(crate) async fn key_index(connection: &mut Connection, table: &TableSchema) -> Result<String> {
    let sql = format!(
        "SELECT 1 FROM information_schema.STATISTICS WHERE INDEX_NAME = 'PRIMARY' \
         AND TABLE_SCHEMA = {} AND TABLE_NAME = {} LIMIT 1",
        quote_text(&table.id.schema),
        quote_text(&table.id.name)
    );
    if connection.query_text(&sql).await?.is_some() {
        return Ok("PRIMARY".to_owned());
    }
    Ok(unique_key(connection, &table.id, table).await?.0)
}

fn read_column(row: &TextRow<'_>) -> Option<Column> {
    let declared = row.text(4);
    let extra = row.text(11).to_ascii_uppercase();
    let is_generated = extra.contains("STORED GENERATED") || extra.contains("VIRTUAL GENERATED");
    let default = row.some_text(10).filter(|_| !is_generated).map(|text| {
        if extra.contains("DEFAULT_GENERATED") {
            ColumnDefault::Expression(text.into_owned())
        } else {
            ColumnDefault::Literal(text.into_owned())
        }
    });
    Some(Column {
        name: row.text(2).into_owned(),
        ty: read_type(row, &declared)?,
        nullable: row.text(5) == "YES",
        generated: is_generated,
        boolean: declared.eq_ignore_ascii_case("tinyint(1)"),
        default,
    })
}

fn read_type(row: &TextRow<'_>, declared: &str) -> Option<ColumnType> {
    let kind = row.text(3).to_ascii_lowercase();
    let unsigned = declared.contains("unsigned") || declared.contains("zerofill");
    let length = row.number(6).unwrap_or(0);
    let precision = row.number(9).unwrap_or(0);
    let int = |bits| ColumnType::Int { bits, unsigned };
    Some(match kind.as_str() {
        "tinyint" => int(8),
        "smallint" => int(16),
        "mediumint" => int(24),
        "int" => int(32),
        "bigint" => int(64),
        "float" => ColumnType::Float,
        "double" => ColumnType::Double,
        "decimal" => ColumnType::Decimal {
            precision: row.number(7)?,
            scale: row.number(8).unwrap_or(0),
        },
        "bit" => ColumnType::Bit {
            length: row.number(7)?,
        },
        "char" => ColumnType::Char { length },
        "varchar" => ColumnType::Varchar { length },
        "tinytext" | "text" | "mediumtext" | "longtext" => ColumnType::Text,
        "binary" => ColumnType::Binary { length },
        "varbinary" => ColumnType::Varbinary { length },
        "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnType::Blob,
        "date" => ColumnType::Date,
        "datetime" => ColumnType::DateTime { precision },
        "timestamp" => ColumnType::Timestamp { precision },
        "time" => ColumnType::Time { precision },
        "year" => ColumnType::Year,
        "enum" => ColumnType::Enum {
            labels: read_labels(declared),
        },
        "set" => ColumnType::Set {
            labels: read_labels(declared),
        },
        "json" => ColumnType::Json,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" => ColumnType::Geometry,
        "vector" => ColumnType::Vector,
        _ => return None,
    })
}

/// Reads the labels of `enum('a','b''c')`, with the escapes that the server writes.
fn read_labels(declared: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut signs = declared.chars().peekable();
    while let Some(sign) = signs.next() {
        if sign != '\'' {
            continue;
        }
        let mut label = String::new();
        while let Some(sign) = signs.next() {
            match sign {
                '\'' if signs.peek() == Some(&'\'') => label.extend(signs.next()),
                '\'' => break,
                '\\' => label.extend(signs.next().map(|escaped| match escaped {
                    '0' => '\0',
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                })),
                other => label.push(other),
            }
        }
        labels.push(label);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_with_their_escapes() {
        assert_eq!(
            read_labels("enum('a','b''c','d,e','x\\\\y','l\\nm','')"),
            ["a", "b'c", "d,e", "x\\y", "l\nm", ""]
        );
        assert_eq!(read_labels("set('ä')"), ["ä"]);
    }

    #[test]
    fn names_and_texts_are_quoted() {
        let table = TableId::new("my`db", "a\"b");
        assert_eq!(quote_table(&table), "`my``db`.`a\"b`");
        assert_eq!(quote_text("it's \\"), "'it''s \\\\'");
    }

    #[test]
    fn system_databases_are_never_selected() {
        let everything = TableSelection::new(vec!["*".into()], vec![]);
        assert!(!is_selected(&everything, &TableId::new("mysql", "user")));
        assert!(!is_selected(
            &everything,
            &TableId::new("sluice", "watermarks")
        ));
        assert!(is_selected(&everything, &TableId::new("shop", "orders")));
    }
}
