//! Everything that applying rows of one shape to one target table needs to know, worked out once.
//!
//! A plan is made from the shape of the rows, the table's link and what the target's table is.
//! Whatever stands in the way is found here, before a row is touched, as an error of class
//! `StopTable` that names the column and the statement that mends it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sluice_agent_api::config::Deletes;
use sluice_core::{Column, Error, Reason, Result, TableId, TableSchema};
use tokio_postgres::{Client, Statement};

use crate::{
    encode::Encoder,
    link::Link,
    schema::{TargetColumn, TargetTable},
    sql::{identifier, list},
    types::{TypeOptions, encoder, wanted},
};

/// The column that marks rows as deleted under `deletes: Soft`.
pub(crate) const DELETED_AT: &str = "_sluice_deleted_at";
/// Prepared statements per plan; beyond, unusual combinations of columns are prepared anew.
const STATEMENTS_MAX: usize = 100;

/// How rows of one shape go to one table.
pub(crate) struct Plan {
    /// The shape of the rows.
    pub(crate) source: Arc<TableSchema>,
    /// The table.
    pub(crate) target: Arc<TargetTable>,
    /// The columns that are written.
    pub(crate) columns: Vec<PlanColumn>,
    /// Where the values of `columns` stand in a row.
    pub(crate) ordinals: Vec<usize>,
    /// The key's columns, by their place in `columns`, in key order.
    pub(crate) key: Vec<usize>,
    /// Other unique indexes that rows may stumble over.
    pub(crate) unique: Unique,
    /// The columns of each of them that is over written columns alone.
    pub(crate) unique_sets: Vec<Vec<usize>>,
    /// Whether the source's order must be kept, for triggers and foreign keys that fire.
    pub(crate) guarded: bool,
    /// Whether rows may be copied into the table itself. Not where a trigger may end a COPY before it
    /// has begun to read (the driver then loses count of the answers), nor under row-level security.
    pub(crate) may_copy: bool,
    /// Whether the target's rows hold more than the source's.
    pub(crate) has_extra_columns: bool,
    /// What a delete does.
    pub(crate) deletes: Deletes,
    statements: Mutex<HashMap<StatementKey, Statement>>,
}

/// A column that is written.
#[derive(Debug, Clone)]
pub(crate) struct PlanColumn {
    /// Its place in the source's row.
    pub(crate) source: usize,
    /// The source's name, for status.
    pub(crate) source_name: String,
    /// The target's name, quoted.
    pub(crate) name: String,
    /// How values are written.
    pub(crate) encoder: Encoder,
    /// Whether the target takes NULL.
    pub(crate) nullable: bool,
    /// The type of a parameter array's elements.
    pub(crate) element_sql: String,
    /// Its number.
    pub(crate) element_oid: u32,
    /// The column's number in the target.
    pub(crate) number: i16,
    /// What turns an element into the column's value.
    cast: Option<String>,
}

impl PlanColumn {
    /// What turns a parameter into the column's value: `::type`, or nothing.
    pub(crate) fn cast_sql(&self) -> String {
        let cast = self.cast.as_ref();
        cast.map(|cast| format!("::{cast}")).unwrap_or_default()
    }
}

/// Unique indexes beside the key's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Unique {
    /// None.
    None,
    /// Over these columns, by their place in the plan, each marked.
    Over(Vec<bool>),
    /// Over expressions, or over columns that are not written.
    Unknown,
}

/// Names a prepared statement of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum StatementKey {
    /// COPY of every column.
    Copy,
    /// Adds nothing, but fails where the COPY would.
    CopyCheck,
    /// INSERT … ON CONFLICT DO UPDATE from arrays.
    Upsert,
    /// INSERT … ON CONFLICT DO NOTHING from arrays.
    AddMissing,
    /// UPDATE of some columns from arrays.
    Update(Box<[usize]>),
    /// DELETE by keys from arrays.
    Delete,
    /// Marks rows as deleted.
    Mark,
    /// Anything else, by its text.
    Other(String),
}

/// What a plan depends on beside shape, link and target.
pub(crate) struct PlanOptions<'a> {
    /// The user's choices of types.
    pub(crate) types: &'a TypeOptions,
    /// What a delete does.
    pub(crate) deletes: Deletes,
    /// Whether triggers and foreign keys are out of the way.
    pub(crate) replica_role: bool,
}

impl Plan {
    /// Works a plan out.
    pub(crate) fn new(
        source: &Arc<TableSchema>,
        link: &Link,
        target: Arc<TargetTable>,
        options: &PlanOptions<'_>,
    ) -> Result<Self> {
        if !matches!(target.kind, 'r' | 'p') {
            let hint = format!("drop or rename it: DROP VIEW {}", target.sql());
            return Err(incompatible(&source.id, "the target is no table", hint));
        }
        let mut columns = Vec::with_capacity(source.columns.len());
        for (ordinal, column) in source.columns.iter().enumerate() {
            let Some(name) = target_name(link, column) else {
                continue;
            };
            if let Some(planned) = plan_column(source, ordinal, name, &target, options)? {
                columns.push(planned);
            }
        }
        let key = key_of(source, &columns)?;
        check_key(source, &target, &columns, &key)?;
        check_extra(source, &target, &columns)?;
        let (unique, unique_sets) = other_unique(&target, &columns, &key);
        let written = |number: i16| columns.iter().any(|column| column.number == number);
        let has_extra_columns = target.columns.iter().any(|column| {
            !written(column.number) && !column.generated && column.name != DELETED_AT
        });
        let guarded = target.has_triggers && !options.replica_role;
        Ok(Self {
            source: Arc::clone(source),
            ordinals: columns.iter().map(|column| column.source).collect(),
            key,
            unique,
            unique_sets,
            guarded,
            may_copy: !guarded && !target.row_security,
            has_extra_columns,
            deletes: options.deletes,
            statements: Mutex::default(),
            columns,
            target,
        })
    }

    /// The source's table.
    pub(crate) fn id(&self) -> &TableId {
        &self.source.id
    }

    /// Whether rows can be told apart by a key.
    pub(crate) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether a row that the source inserts may be in the target already, since deletes did not
    /// remove it.
    pub(crate) fn inserts_may_exist(&self) -> bool {
        self.has_key() && self.deletes != Deletes::Apply
    }

    /// A prepared statement; prepared at its first use.
    pub(crate) async fn statement(
        &self,
        client: &Client,
        key: StatementKey,
    ) -> Result<Statement, tokio_postgres::Error> {
        let known = self.lock().get(&key).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let text = match &key {
            StatementKey::Copy => self.copy_sql(),
            StatementKey::CopyCheck => self.copy_check_sql(),
            StatementKey::Upsert => self.insert_sql(&self.on_conflict()),
            StatementKey::AddMissing => self.insert_sql(" ON CONFLICT DO NOTHING"),
            StatementKey::Update(columns) => self.update_sql(columns),
            StatementKey::Delete => self.delete_sql(),
            StatementKey::Mark => self.mark_sql(),
            StatementKey::Other(text) => text.clone(),
        };
        let statement = client.prepare(&text).await?;
        let mut statements = self.lock();
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(key, statement.clone());
        drop(statements);
        Ok(statement)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<StatementKey, Statement>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a column goes: by the link, or, for rows of a shape that the link does not know yet or no
/// longer, by its name.
fn target_name<'a>(link: &'a Link, column: &'a Column) -> Option<&'a str> {
    match link.schema.column_index(&column.name) {
        Some(index) => link.columns.get(index)?.as_deref(),
        None => Some(&column.name),
    }
}

fn plan_column(
    source: &TableSchema,
    ordinal: usize,
    name: &str,
    target: &TargetTable,
    options: &PlanOptions<'_>,
) -> Result<Option<PlanColumn>> {
    let column = &source.columns[ordinal];
    let Some(found) = target.column(name) else {
        let type_sql = wanted(column, options.types).unwrap_or_else(|| "text".into());
        return Err(incompatible(
            &source.id,
            format!("the target {} has no column {name}", target.id),
            format!(
                "ALTER TABLE {} ADD COLUMN {} {type_sql}",
                target.sql(),
                identifier(name)
            ),
        ));
    };
    if found.generated {
        return Ok(None);
    }
    let Some(encoder) = encoder(column, found, options.types) else {
        return Err(type_mismatch(source, column, found, target, options.types));
    };
    let cast = encoder.is_array().then(|| found.type_sql.clone());
    Ok(Some(PlanColumn {
        source: ordinal,
        source_name: column.name.clone(),
        name: identifier(name),
        encoder,
        nullable: !found.not_null,
        element_sql: match cast {
            Some(_) => "text".into(),
            None => found.element_sql(),
        },
        element_oid: if cast.is_some() { 25 } else { found.type_oid },
        number: found.number,
        cast,
    }))
}

fn type_mismatch(
    source: &TableSchema,
    column: &Column,
    found: &TargetColumn,
    target: &TargetTable,
    types: &TypeOptions,
) -> Error {
    let type_sql = wanted(column, types).unwrap_or_else(|| "text".into());
    let name = identifier(&found.name);
    incompatible(
        &source.id,
        format!(
            "column {} is {} in the target {} and can't take the source's {}",
            found.name,
            found.type_sql,
            target.id,
            describe(column)
        ),
        format!(
            "ALTER TABLE {} ALTER COLUMN {name} TYPE {type_sql} USING {name}::{type_sql}",
            target.sql()
        ),
    )
}

/// A source's type, for messages.
pub(crate) fn describe(column: &Column) -> String {
    let text = format!("{:?}", column.ty).to_lowercase();
    match text.split_once([' ', '{', '(']) {
        // Labels of an enum say nothing here and may be many.
        Some((name, _)) if matches!(name, "enum" | "set") => name.to_owned(),
        _ => text,
    }
}

fn key_of(source: &TableSchema, columns: &[PlanColumn]) -> Result<Vec<usize>> {
    let place = |&ordinal: &usize| {
        let found = columns.iter().position(|column| column.source == ordinal);
        found.ok_or_else(|| {
            let name = &source.columns[ordinal].name;
            incompatible(
                &source.id,
                format!("the key's column {name} is not written to the target"),
                "let the target have the column, or set schemaChanges.addColumn: Apply",
            )
        })
    };
    source.key.iter().map(place).collect()
}

fn check_key(
    source: &TableSchema,
    target: &TargetTable,
    columns: &[PlanColumn],
    key: &[usize],
) -> Result<()> {
    let numbers: Vec<_> = key.iter().map(|&at| columns[at].number).collect();
    if key.is_empty() || target.key_index(&numbers).is_some() {
        return Ok(());
    }
    let names = list(key.iter().map(|&at| columns[at].name.clone()));
    Err(incompatible(
        &source.id,
        format!(
            "the target {} has no unique index on the key ({names})",
            target.id
        ),
        format!("CREATE UNIQUE INDEX ON {} ({names})", target.sql()),
    ))
}

fn check_extra(source: &TableSchema, target: &TargetTable, columns: &[PlanColumn]) -> Result<()> {
    let stuck = target.columns.iter().find(|column| {
        let written = columns.iter().any(|mine| mine.number == column.number);
        column.not_null && !column.has_default && !column.generated && !written
    });
    let Some(stuck) = stuck else { return Ok(()) };
    let name = identifier(&stuck.name);
    Err(incompatible(
        &source.id,
        format!(
            "column {} of the target {} allows no NULL, has no default and is not in the source",
            stuck.name, target.id
        ),
        format!(
            "ALTER TABLE {} ALTER COLUMN {name} DROP NOT NULL",
            target.sql()
        ),
    ))
}

fn other_unique(
    target: &TargetTable,
    columns: &[PlanColumn],
    key: &[usize],
) -> (Unique, Vec<Vec<usize>>) {
    let key_numbers: Vec<_> = key.iter().map(|&at| columns[at].number).collect();
    let own = target.key_index(&key_numbers).filter(|_| !key.is_empty());
    let others = target
        .unique_indexes
        .iter()
        .filter(|index| own.is_none_or(|own| own.name != index.name));
    let place = |number: &i16| columns.iter().position(|column| column.number == *number);
    let places = others.map(|index| {
        let places = index.columns.iter().map(place).collect::<Option<Vec<_>>>();
        places.filter(|_| index.plain)
    });
    let places: Vec<Option<Vec<usize>>> = places.collect();
    let known: Vec<Vec<usize>> = places.iter().flatten().cloned().collect();
    let unique = if places.is_empty() {
        Unique::None
    } else if known.len() < places.len() {
        Unique::Unknown
    } else {
        let mut marked = vec![false; columns.len()];
        for &at in known.iter().flatten() {
            marked[at] = true;
        }
        Unique::Over(marked)
    };
    (unique, known)
}

/// An error that stops the table until somebody mends the target.
pub(crate) fn incompatible(
    table: &TableId,
    message: impl Into<String>,
    hint: impl AsRef<str>,
) -> Error {
    let hint = hint.as_ref();
    Error::new(
        Reason::TargetIncompatible,
        format!("table {table}: {}", message.into()),
    )
    .with_table(table.clone())
    .with_hint(format!(
        "{hint}; then copy the table again: sluice run --resnapshot {table}"
    ))
}
