//! How each column is read on both sides.

use anyhow::{Context, Result, bail};
use mysql_async::{Conn, prelude::Queryable};
use tokio_postgres::Client;

use crate::{
    compare::{Pair, canonical::Kind},
    mysql, postgres,
    postgres::rows_of,
};

/// Longer values are compared by digest.
const DIGEST_BYTES: usize = 64 << 10;

/// One column on both sides.
pub(super) struct ColumnPlan {
    /// The name in MySQL.
    pub(super) name: String,
    pub(super) kind: Kind,
    mysql: Expression,
    postgres: Expression,
}

/// How one side reads a column, and how it sorts by it.
struct Expression {
    value: String,
    order: String,
}

/// One table on both sides.
pub(super) struct TablePlan {
    pub(super) columns: Vec<ColumnPlan>,
    /// Indexes into the columns; empty for a table without a key.
    pub(super) key: Vec<usize>,
    pub(super) mysql_query: String,
    pub(super) postgres_query: String,
}

impl TablePlan {
    pub(super) async fn new(
        conn: &mut Conn,
        client: &Client,
        database: &str,
        pair: &Pair,
    ) -> Result<Self> {
        let targets = target_columns(client, pair).await?;
        let sources = source_columns(conn, database, &pair.mysql_table).await?;
        let mut columns = Vec::new();
        let mut key_places = Vec::new();
        for source in &sources {
            if pair.ignored.contains(&source.name) {
                continue;
            }
            let renamed = pair.renamed.iter().find(|(from, _)| *from == source.name);
            let name = renamed.map_or(&source.name, |(_, to)| to);
            let target = targets.iter().find(|target| target.name == *name);
            let target = target
                .with_context(|| format!("{}.{} has no column {name}", pair.schema, pair.table))?;
            if let Some(place) = source.key_place {
                key_places.push((place, columns.len()));
            }
            columns.push(plan_column(source, target));
        }
        if columns.is_empty() {
            bail!("{database}.{} has no columns to compare", pair.mysql_table);
        }
        key_places.sort_unstable();
        let key: Vec<usize> = key_places.into_iter().map(|(_, index)| index).collect();
        let mysql_table = format!(
            "{}.{}",
            mysql::quote(database),
            mysql::quote(&pair.mysql_table)
        );
        let target = format!(
            "{}.{}",
            postgres::quote(&pair.schema),
            postgres::quote(&pair.table)
        );
        let condition = pair.condition.as_deref().unwrap_or("TRUE");
        let mysql_side =
            |column: &'_ ColumnPlan| (column.mysql.value.clone(), column.mysql.order.clone());
        let postgres_side =
            |column: &'_ ColumnPlan| (column.postgres.value.clone(), column.postgres.order.clone());
        let (from, target) = (
            format!("{mysql_table} t WHERE {condition}"),
            format!("{target} t"),
        );
        Ok(Self {
            mysql_query: query(&columns, &key, &from, mysql_side),
            postgres_query: query(&columns, &key, &target, postgres_side),
            columns,
            key,
        })
    }
}

fn query(
    columns: &[ColumnPlan],
    key: &[usize],
    from: &str,
    side: impl Fn(&ColumnPlan) -> (String, String),
) -> String {
    let values: Vec<String> = columns.iter().map(|column| side(column).0).collect();
    let orders: Vec<String> = key.iter().map(|index| side(&columns[*index]).1).collect();
    let (values, orders) = (values.join(", "), orders.join(", "));
    let order_by = if key.is_empty() { "" } else { " ORDER BY " };
    format!("SELECT {values} FROM {from}{order_by}{orders}")
}

struct SourceColumn {
    name: String,
    data_type: String,
    column_type: String,
    key_place: Option<u32>,
}

async fn source_columns(conn: &mut Conn, database: &str, table: &str) -> Result<Vec<SourceColumn>> {
    let sql = "SELECT c.column_name, LOWER(c.data_type), LOWER(c.column_type), s.seq_in_index \
         FROM information_schema.columns c LEFT JOIN information_schema.statistics s \
         ON s.table_schema = c.table_schema AND s.table_name = c.table_name \
         AND s.column_name = c.column_name AND s.index_name = 'PRIMARY' \
         WHERE c.table_schema = ? AND c.table_name = ? ORDER BY c.ordinal_position";
    let rows: Vec<(String, String, String, Option<u32>)> =
        conn.exec(sql, (database, table)).await?;
    let columns = rows
        .into_iter()
        .map(|(name, data_type, column_type, key_place)| SourceColumn {
            name,
            data_type,
            column_type,
            key_place,
        });
    Ok(columns.collect())
}

struct TargetColumn {
    name: String,
    type_name: String,
}

async fn target_columns(client: &Client, pair: &Pair) -> Result<Vec<TargetColumn>> {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let sql = format!(
        "SELECT a.attname, t.typname FROM pg_attribute a \
         JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace n ON n.oid = r.relnamespace \
         JOIN pg_type t ON t.oid = a.atttypid \
         WHERE n.nspname = {} AND r.relname = {} AND a.attnum > 0 AND NOT a.attisdropped",
        literal(&pair.schema),
        literal(&pair.table)
    );
    let rows = rows_of(client, &sql).await?;
    let columns: Vec<TargetColumn> = rows
        .into_iter()
        .filter_map(|row| {
            let mut cells = row.into_iter().flatten();
            let (name, type_name) = (cells.next()?, cells.next()?);
            Some(TargetColumn { name, type_name })
        })
        .collect();
    if columns.is_empty() {
        bail!("PostgreSQL has no table {}.{}", pair.schema, pair.table);
    }
    Ok(columns)
}

/// The table of what equals what.
fn plan_column(source: &SourceColumn, target: &TargetColumn) -> ColumnPlan {
    // With the table's alias: a bare name in ORDER BY would mean the text in the list.
    let here = format!("t.{}", mysql::quote(&source.name));
    let there = format!("t.{}", postgres::quote(&target.name));
    let there_as_is = format!("{there}::text");
    let kind = Kind::of(&source.data_type);
    let to_bool = target.type_name == "bool";
    let (mysql_value, postgres_value) = match kind {
        Kind::Whole if to_bool => (format!("{here} <> 0"), format!("{there}::int::text")),
        // Adding zero takes ZEROFILL away.
        Kind::Whole | Kind::Decimal => (format!("{here} + 0"), there_as_is),
        Kind::Float => (
            format!("CAST({here} AS DOUBLE)"),
            format!("{there}::float8::text"),
        ),
        Kind::Bits if to_bool => (format!("BIN({here} + 0)"), format!("{there}::int::text")),
        Kind::Bits if target.type_name.starts_with("int") => (format!("{here} + 0"), there_as_is),
        Kind::Bits => {
            let digits: String = source
                .column_type
                .chars()
                .filter(char::is_ascii_digit)
                .collect();
            (format!("LPAD(BIN({here} + 0), {digits}, '0')"), there_as_is)
        }
        Kind::Text if target.type_name.starts_with('_') => {
            (here.clone(), format!("array_to_string({there}, ',')"))
        }
        Kind::Text => text_values(&here, &there),
        Kind::Bytes if target.type_name == "uuid" => (
            format!("HEX({here})"),
            format!("upper(replace({there}::text, '-', ''))"),
        ),
        Kind::Bytes => bytes_values(&here, &there),
        Kind::Moment | Kind::Json => (here.clone(), there_as_is),
        Kind::Span => (
            here.clone(),
            format!("(extract(epoch FROM {there}) * 1000000)::bigint::text"),
        ),
        Kind::Geometry => (
            format!("CONCAT(ST_SRID({here}), ':', SUBSTR(HEX({here}), 9))"),
            geometry_value(&there, &target.type_name),
        ),
        Kind::Vector => (format!("HEX({here})"), there_as_is),
    };
    // Collations differ between servers, bytes do not.
    let (mysql_order, postgres_order) = match kind {
        Kind::Text => (
            format!("CAST(CONVERT({here} USING utf8mb4) AS BINARY)"),
            format!("{there}::text COLLATE \"C\""),
        ),
        _ => (here, there),
    };
    ColumnPlan {
        name: source.name.clone(),
        kind,
        mysql: Expression {
            value: mysql_value,
            order: mysql_order,
        },
        postgres: Expression {
            value: postgres_value,
            order: postgres_order,
        },
    }
}

fn text_values(here: &str, there: &str) -> (String, String) {
    let utf8 = format!("CONVERT({here} USING utf8mb4)");
    let text = format!("{there}::text");
    (
        format!("IF(LENGTH({utf8}) > {DIGEST_BYTES}, SHA2({utf8}, 256), {utf8})"),
        format!(
            "CASE WHEN octet_length({text}) > {DIGEST_BYTES} \
             THEN encode(sha256(convert_to({text}, 'UTF8')), 'hex') ELSE {text} END"
        ),
    )
}

fn bytes_values(here: &str, there: &str) -> (String, String) {
    (
        format!("IF(LENGTH({here}) > {DIGEST_BYTES}, UPPER(SHA2({here}, 256)), HEX({here}))"),
        format!(
            "upper(encode(CASE WHEN length({there}) > {DIGEST_BYTES} \
             THEN sha256({there}) ELSE {there} END, 'hex'))"
        ),
    )
}

fn geometry_value(there: &str, type_name: &str) -> String {
    if type_name == "geometry" {
        format!("ST_SRID({there}) || ':' || upper(encode(ST_AsBinary({there}, 'NDR'), 'hex'))")
    } else {
        format!("upper(encode({there}, 'hex'))")
    }
}
