//! Statements that define tables in the target: names, columns, keys.

use sluice_core::{Column, ColumnType, Result, TableId, TableSchema};

use crate::{
    plan::{DELETED_AT, incompatible},
    sql::{identifier, list, literal, qualified},
    types::{TypeOptions, create_enum, is_nullable, wanted},
};

/// PostgreSQL cuts longer names without a word.
pub(crate) const NAME_BYTES_MAX: usize = 63;
/// Names that every table has already.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// Room on each page for new versions of its rows, so that an update need not touch the index.
const FILLFACTOR: u32 = 90;

/// Refuses names that the target can't have.
pub(crate) fn check_names(schema: &TableSchema, target: &TableId) -> Result<()> {
    let place = [&*target.schema, &*target.name];
    let columns = schema.columns.iter().map(|column| column.name.as_str());
    for name in place.into_iter().chain(columns) {
        if name.len() > NAME_BYTES_MAX {
            return Err(incompatible(
                &schema.id,
                format!("the name {name} is longer than PostgreSQL's {NAME_BYTES_MAX} bytes"),
                "name another one in the sink's tables (target, or columns.rename)",
            ));
        }
        if name.contains('\0') {
            return Err(incompatible(
                &schema.id,
                "a name holds a NUL character",
                "rename it in the source",
            ));
        }
    }
    let taken = schema
        .columns
        .iter()
        .find(|column| SYSTEM_COLUMNS.contains(&column.name.as_str()));
    match taken {
        None => Ok(()),
        Some(column) => Err(incompatible(
            &schema.id,
            format!(
                "PostgreSQL keeps the column name {} for itself",
                column.name
            ),
            "name another one in the sink's tables (columns.rename)",
        )),
    }
}

/// The statements that create a schema when there is none.
pub(crate) fn create_schema(schema: &str) -> String {
    // CREATE SCHEMA IF NOT EXISTS asks for the privilege even where the schema exists.
    let (name, quoted) = (literal(&identifier(schema)), identifier(schema));
    let create = literal(&format!("CREATE SCHEMA {quoted}"));
    format!(
        "DO $do$ BEGIN IF to_regnamespace({name}) IS NULL THEN EXECUTE {create}; END IF; END $do$"
    )
}

/// The statements that create a table, without its schema.
pub(crate) fn create_table(
    schema: &TableSchema,
    target: &TableId,
    types: &TypeOptions,
    soft_deletes: bool,
) -> Result<Vec<String>> {
    check_names(schema, target)?;
    let mut statements = Vec::new();
    let mut parts = Vec::new();
    for (ordinal, column) in schema.columns.iter().enumerate() {
        let type_sql = column_type(schema, target, column, types, &mut statements)?;
        let in_key = schema.key.contains(&ordinal);
        let null = if is_nullable(column, in_key) {
            ""
        } else {
            " NOT NULL"
        };
        parts.push(format!("{} {type_sql}{null}", identifier(&column.name)));
    }
    if soft_deletes {
        parts.push(format!("{DELETED_AT} timestamp with time zone"));
    }
    if schema.has_key() {
        let names = list(schema.key_columns().map(|column| identifier(&column.name)));
        parts.push(format!("PRIMARY KEY ({names})"));
    }
    statements.push(format!(
        "CREATE TABLE {} ({}) WITH (fillfactor = {FILLFACTOR})",
        qualified(&target.schema, &target.name),
        list(parts)
    ));
    Ok(statements)
}

/// A column's type; a native enum's own type is created by a statement before.
pub(crate) fn column_type(
    schema: &TableSchema,
    target: &TableId,
    column: &Column,
    types: &TypeOptions,
    before: &mut Vec<String>,
) -> Result<String> {
    if let Some(type_sql) = wanted(column, types) {
        return Ok(type_sql);
    }
    let ColumnType::Enum { labels } = &column.ty else {
        return Ok("text".into());
    };
    let name = enum_name(target, &column.name);
    let too_long = labels.iter().find(|label| label.len() > NAME_BYTES_MAX);
    if name.len() > NAME_BYTES_MAX || too_long.is_some() {
        return Err(incompatible(
            &schema.id,
            format!(
                "column {}: a native enum's name and labels have at most {NAME_BYTES_MAX} bytes",
                column.name
            ),
            "set enums: Text in the sink",
        ));
    }
    let quoted = qualified(&target.schema, &name);
    before.push(format!("DROP TYPE IF EXISTS {quoted}"));
    before.push(create_enum(&quoted, labels));
    Ok(quoted)
}

/// The name of a native enum's type.
pub(crate) fn enum_name(target: &TableId, column: &str) -> String {
    format!("{}_{column}", target.name)
}

/// The statements that give columns new names all at once, also when they swap.
pub(crate) fn rename_columns(table: &str, renames: &[(String, String)]) -> Vec<String> {
    let rename = |from: &str, to: &str| {
        format!(
            "ALTER TABLE {table} RENAME COLUMN {} TO {}",
            identifier(from),
            identifier(to)
        )
    };
    let collide = renames
        .iter()
        .any(|(_, to)| renames.iter().any(|(from, _)| from == to));
    if !collide {
        return renames.iter().map(|(from, to)| rename(from, to)).collect();
    }
    let between = |index: usize| format!("_sluice_rename_{index}");
    let away = renames
        .iter()
        .enumerate()
        .map(|(index, (from, _))| rename(from, &between(index)));
    let home = renames
        .iter()
        .enumerate()
        .map(|(index, (_, to))| rename(&between(index), to));
    away.chain(home).collect()
}

#[cfg(test)]
mod tests {
    use sluice_agent_api::config::{EnumAs, SetAs, Tinyint1};

    use super::*;

    fn schema(name: &str, column: &str) -> TableSchema {
        TableSchema {
            id: TableId::new("shop", name),
            columns: vec![Column {
                name: column.into(),
                ty: ColumnType::Text,
                nullable: false,
                generated: false,
                boolean: false,
                default: None,
            }],
            key: vec![0],
        }
    }

    fn types() -> TypeOptions {
        TypeOptions {
            tinyint1: Tinyint1::Smallint,
            enums: EnumAs::Text,
            sets: SetAs::Text,
            postgis: None,
        }
    }

    #[test]
    fn odd_names_are_quoted_and_impossible_ones_refused() {
        let odd = schema("my table", "a\"b");
        let statements = create_table(&odd, &odd.id, &types(), false).unwrap();
        assert_eq!(
            statements,
            [
                "CREATE TABLE \"shop\".\"my table\" (\"a\"\"b\" text NOT NULL, \
                 PRIMARY KEY (\"a\"\"b\")) WITH (fillfactor = 90)"
            ]
        );
        for (table, column) in [
            ("t", "ctid"),
            ("t", &"x".repeat(64)),
            (&"t".repeat(64), "c"),
        ] {
            let schema = schema(table, column);
            assert!(create_table(&schema, &schema.id, &types(), false).is_err());
        }
    }

    #[test]
    fn columns_that_swap_names_go_through_others() {
        let swap = [("a".to_owned(), "b".to_owned()), ("b".into(), "a".into())];
        assert_eq!(rename_columns("t", &swap).len(), 4);
        assert_eq!(
            rename_columns("t", &[("a".into(), "c".into())]),
            ["ALTER TABLE t RENAME COLUMN \"a\" TO \"c\""]
        );
    }
}
