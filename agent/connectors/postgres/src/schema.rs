//! What a table of the target looks like, read from `pg_catalog` in three questions.
//!
//! The answer is compared as a whole: an equal one means that plans made from it still hold.

use sluice_core::TableId;
use tokio_postgres::Client;

use crate::{ddl::NAME_BYTES_MAX, numeric::Room, sql::qualified};

/// A table of the target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TargetTable {
    pub(crate) oid: u32,
    pub(crate) id: TableId,
    /// `r` for a table, `p` for a partitioned one.
    pub(crate) kind: char,
    pub(crate) columns: Vec<TargetColumn>,
    pub(crate) unique_indexes: Vec<UniqueIndex>,
    /// Whether triggers or foreign keys fire for an ordinary session.
    pub(crate) has_triggers: bool,
    /// Whether row-level security applies to this user.
    pub(crate) row_security: bool,
}

/// A column of the target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TargetColumn {
    pub(crate) name: String,
    pub(crate) number: i16,
    /// The type's internal name (`int4`, `_text`); a domain's base type.
    pub(crate) type_name: String,
    pub(crate) type_oid: u32,
    pub(crate) type_schema: String,
    pub(crate) typmod: i32,
    /// The type as `format_type` spells it.
    pub(crate) type_sql: String,
    /// `e` for an enum, `b` for a base type.
    pub(crate) type_kind: char,
    pub(crate) not_null: bool,
    pub(crate) has_default: bool,
    /// Computed by the target.
    pub(crate) generated: bool,
}

/// A unique or exclusion constraint's index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UniqueIndex {
    pub(crate) name: String,
    pub(crate) primary: bool,
    /// Column numbers; zero for an expression.
    pub(crate) columns: Vec<i16>,
    /// Whether it covers every row, is checked at once and has no expression.
    pub(crate) plain: bool,
}

impl TargetTable {
    /// The quoted name.
    pub(crate) fn sql(&self) -> String {
        qualified(&self.id.schema, &self.id.name)
    }

    pub(crate) fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The unique index on exactly these columns that can decide conflicts.
    pub(crate) fn key_index(&self, numbers: &[i16]) -> Option<&UniqueIndex> {
        self.unique_indexes.iter().find(|index| {
            index.plain
                && index.columns.len() == numbers.len()
                && numbers.iter().all(|number| index.columns.contains(number))
        })
    }
}

impl TargetColumn {
    /// The type with its schema and without its modifier, good as an array's element.
    pub(crate) fn element_sql(&self) -> String {
        qualified(&self.type_schema, &self.type_name)
    }

    pub(crate) fn is_enum(&self) -> bool {
        self.type_kind == 'e'
    }

    /// The length of a `bit(n)`.
    pub(crate) fn bit_length(&self) -> Option<u32> {
        u32::try_from(self.typmod).ok()
    }

    /// The smallest step of a `timestamp(n)` in microseconds.
    pub(crate) fn timestamp_unit(&self) -> i64 {
        match u32::try_from(self.typmod) {
            Ok(precision) if precision < 6 => 10_i64.pow(6 - precision),
            _ => 1,
        }
    }

    /// The digits that a `numeric(p,s)` holds; `None` without a limit.
    pub(crate) fn numeric_room(&self) -> Option<Room> {
        let packed = u32::try_from(self.typmod).ok()?.checked_sub(4)?;
        let (precision, scale) = (packed >> 16, packed & 0x7ff);
        Some(Room {
            whole: precision.saturating_sub(scale) as u16,
            fraction: scale as u16,
        })
    }
}

const TABLE: &str = "
    SELECT c.oid, c.relkind::text,
           EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgenabled IN ('O', 'A')),
           row_security_active(c.oid)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";

const COLUMNS: &str = "
    SELECT a.attname::text, a.attnum, b.typname::text, b.oid, bn.nspname::text,
           CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
           format_type(b.oid, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END),
           b.typtype::text, a.attnotnull OR t.typnotnull,
           a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, a.attgenerated <> ''
    FROM pg_attribute AS a
    JOIN pg_type AS t ON t.oid = a.atttypid
    JOIN pg_type AS b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    JOIN pg_namespace AS bn ON bn.oid = b.typnamespace
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

const INDEXES: &str = "
    SELECT i.relname::text, x.indisprimary, (x.indkey::int2[])[0:x.indnkeyatts - 1],
           x.indisunique AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL
    FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
    WHERE x.indrelid = $1 AND (x.indisunique OR x.indisexclusion) AND x.indisvalid
    ORDER BY x.indisprimary DESC, i.relname";

/// Reads a table; `None` when there is none of this name.
pub(crate) async fn read(
    client: &Client,
    id: &TableId,
) -> Result<Option<TargetTable>, tokio_postgres::Error> {
    // There can't be such a table, and the server refuses to look for it.
    if id.schema.len().max(id.name.len()) > NAME_BYTES_MAX {
        return Ok(None);
    }
    let found = client.query_opt(TABLE, &[&&*id.schema, &&*id.name]).await?;
    let Some(found) = found else { return Ok(None) };
    let oid: u32 = found.get(0);
    let (columns, indexes) = futures_util::future::try_join(
        client.query(COLUMNS, &[&oid]),
        client.query(INDEXES, &[&oid]),
    )
    .await?;
    let letter = |text: String| text.chars().next().unwrap_or(' ');
    let columns = columns.iter().map(|row| TargetColumn {
        name: row.get(0),
        number: row.get(1),
        type_name: row.get(2),
        type_oid: row.get(3),
        type_schema: row.get(4),
        typmod: row.get(5),
        type_sql: row.get(6),
        type_kind: letter(row.get(7)),
        not_null: row.get(8),
        has_default: row.get(9),
        generated: row.get(10),
    });
    let unique_indexes = indexes.iter().map(|row| UniqueIndex {
        name: row.get(0),
        primary: row.get(1),
        columns: row.get(2),
        plain: row.get(3),
    });
    Ok(Some(TargetTable {
        oid,
        id: id.clone(),
        kind: letter(found.get(1)),
        columns: columns.collect(),
        unique_indexes: unique_indexes.collect(),
        has_triggers: found.get(2),
        row_security: found.get(3),
    }))
}

/// Whether the session may truncate the table and no other table refers to it.
pub(crate) async fn may_truncate(client: &Client, oid: u32) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT has_table_privilege($1::oid, 'TRUNCATE') AND NOT EXISTS (
                 SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = $1)",
            &[&oid],
        )
        .await?;
    Ok(row.get(0))
}
