//! From one definition of a table to the next: which statements the target needs, by policy.
//!
//! The difference is taken between the source's definition that was applied last and the new one,
//! so that what users add to the target stays. Everything is decided here, from what is known
//! beforehand; a policy that refuses ends the whole alteration before any of it is made.

use sluice_agent_api::config::{SchemaPolicies, SchemaPolicy};
use sluice_core::{Column, Error, Reason, Result, TableId, TableSchema};

use crate::{
    conversion::{Conversion, conversion},
    ddl::{check_names, column_type, enum_name},
    link::Link,
    plan::{describe, incompatible},
    schema::{TargetColumn, TargetTable},
    sql::{identifier, list, qualified},
    types::{TypeOptions, encoder, fill, instead_of_null, is_nullable, wanted},
};

/// What an alteration depends on.
pub(crate) struct Context<'a> {
    pub(crate) target: &'a TargetTable,
    pub(crate) types: &'a TypeOptions,
    pub(crate) policies: SchemaPolicies,
    /// Whether a person has agreed to what waits: policies that pause or fail apply instead.
    pub(crate) approved: bool,
    /// Whether the table is emptied before, since it is copied again anyway: then every type can
    /// become every other.
    pub(crate) emptied: bool,
}

/// The statements and the link after them.
#[derive(Debug)]
pub(crate) struct Alteration {
    pub(crate) statements: Vec<String>,
    pub(crate) link: Link,
}

/// Works out the way from `link` to `new`.
pub(crate) fn alteration(
    context: &Context<'_>,
    link: &Link,
    new: &TableSchema,
) -> Result<Alteration> {
    check_names(new, &context.target.id)?;
    let mut draft = Draft {
        context,
        table: context.target.sql(),
        id: new.id.clone(),
        statements: Vec::new(),
    };
    let key_changes = key_names(&link.schema) != key_names(new);
    let mut key_applies = false;
    if key_changes {
        let policies = context.policies;
        key_applies = draft.gate(policies.alter_column, "the primary key changes")?;
        if key_applies {
            draft.drop_primary_key();
        }
    }
    for (index, old) in link.schema.columns.iter().enumerate() {
        if new.column_index(&old.name).is_none()
            && let Some(name) = &link.columns[index]
        {
            draft.drop_column(name)?;
        }
    }
    let mut columns = Vec::with_capacity(new.columns.len());
    for (ordinal, column) in new.columns.iter().enumerate() {
        let in_key = new.key.contains(&ordinal);
        let place = match link.schema.column_index(&column.name) {
            None => draft.add_column(new, column, in_key)?,
            Some(index) => {
                let name = link.columns[index].clone();
                if let Some(name) = &name {
                    let old = &link.schema.columns[index];
                    draft.alter_column(new, name, (old, column), in_key)?;
                }
                name
            }
        };
        columns.push(place);
    }
    if key_applies {
        draft.add_primary_key(new, &columns);
    }
    Ok(Alteration {
        statements: draft.statements,
        link: Link {
            schema: new.clone(),
            target: link.target.clone(),
            columns,
            held: false,
        },
    })
}

/// The names of a key's columns in key order.
fn key_names(schema: &TableSchema) -> Vec<&str> {
    schema.key_columns().map(|c| c.name.as_str()).collect()
}

/// The statements that let a table that is there take the rows of a source's table.
pub(crate) fn adoption(context: &Context<'_>, schema: &TableSchema) -> Result<Alteration> {
    check_names(schema, &context.target.id)?;
    let mut draft = Draft {
        context,
        table: context.target.sql(),
        id: schema.id.clone(),
        statements: Vec::new(),
    };
    let mut columns = Vec::with_capacity(schema.columns.len());
    for (ordinal, column) in schema.columns.iter().enumerate() {
        let in_key = schema.key.contains(&ordinal);
        let place = match context.target.column(&column.name) {
            Some(found) => {
                draft.check_null(column, found, in_key)?;
                Some(column.name.clone())
            }
            None => draft.add_column(schema, column, in_key)?,
        };
        columns.push(place);
    }
    let mut link = Link::direct(schema);
    link.columns = columns;
    Ok(Alteration {
        statements: draft.statements,
        link,
    })
}

struct Draft<'a> {
    context: &'a Context<'a>,
    table: String,
    id: TableId,
    statements: Vec<String>,
}

impl Draft<'_> {
    /// Whether a change is made; an error where the policy is to wait or to fail.
    fn gate(&self, policy: SchemaPolicy, change: &str) -> Result<bool> {
        gate(&self.id, policy, self.context.approved, change)
    }

    fn drop_column(&mut self, name: &str) -> Result<()> {
        let Some(found) = self.context.target.column(name) else {
            return Ok(());
        };
        let quoted = identifier(name);
        let statement = format!("ALTER TABLE {} DROP COLUMN {quoted}", self.table);
        if self.gate(self.context.policies.drop_column, &statement)? {
            self.statements.push(statement);
        } else if found.not_null && !found.has_default {
            // New rows leave the column out.
            self.alter(&quoted, "DROP NOT NULL");
        }
        Ok(())
    }

    /// Adds a column, filled as the source fills it; answers where its values go.
    fn add_column(
        &mut self,
        schema: &TableSchema,
        column: &Column,
        in_key: bool,
    ) -> Result<Option<String>> {
        let quoted = identifier(&column.name);
        let mut statements = Vec::new();
        let type_sql = column_type(
            schema,
            &self.context.target.id,
            column,
            self.context.types,
            &mut statements,
        )?;
        if let Some(found) = self.context.target.column(&column.name) {
            // Somebody made it before; rows that are there get the source's value all the same.
            let value = fill(column, &found.type_sql).unwrap_or_else(|| "NULL".into());
            if !found.generated {
                self.statements.push(format!(
                    "UPDATE {} SET {quoted} = {value} WHERE {quoted} IS DISTINCT FROM {value}",
                    self.table
                ));
            }
            return Ok(Some(column.name.clone()));
        }
        let add = format!("ALTER TABLE {} ADD COLUMN {quoted} {type_sql}", self.table);
        if !self.gate(self.context.policies.add_column, &add)? {
            return Ok(None);
        }
        self.statements.append(&mut statements);
        match fill(column, &type_sql) {
            None => self.statements.push(add),
            Some(value) => {
                let null = if is_nullable(column, in_key) {
                    ""
                } else {
                    " NOT NULL"
                };
                self.statements.push(format!("{add}{null} DEFAULT {value}"));
                // Rows carry their values; the default was for those that were there.
                self.alter(&quoted, "DROP DEFAULT");
            }
        }
        Ok(Some(column.name.clone()))
    }

    fn alter_column(
        &mut self,
        schema: &TableSchema,
        name: &str,
        (old, new): (&Column, &Column),
        in_key: bool,
    ) -> Result<()> {
        let Some(found) = self.context.target.column(name) else {
            return Ok(());
        };
        let same_type = old.ty == new.ty && old.boolean == new.boolean;
        if same_type && old.nullable == new.nullable {
            return Ok(());
        }
        let change = format!("column {name} becomes {}", describe(new));
        let policy = self.context.policies.alter_column;
        if !self.gate(policy, &change)? {
            return Ok(());
        }
        if !same_type {
            self.change_type(schema, found, old, new)?;
        }
        let quoted = identifier(name);
        if is_nullable(new, in_key) && found.not_null && !in_key {
            self.alter(&quoted, "DROP NOT NULL");
        } else if !is_nullable(new, in_key) && old.nullable && !found.not_null {
            self.forbid_null(found, new, same_type);
        }
        Ok(())
    }

    /// A source that is not strict gives rows with NULL another value, without logging them. Where
    /// the target could not hold that, or holds NULL for a value of its own, the column stays as it
    /// is.
    fn forbid_null(&mut self, found: &TargetColumn, column: &Column, same_type: bool) {
        let wanted = wanted(column, self.context.types).filter(|_| !same_type);
        let type_sql = wanted.as_deref().unwrap_or(&found.type_sql);
        let (table, quoted) = (&self.table, identifier(&found.name));
        let forbid = format!("ALTER TABLE {table} ALTER COLUMN {quoted} SET NOT NULL");
        let otherwise = match instead_of_null(column, type_sql) {
            Some(value) => {
                format!("UPDATE {table} SET {quoted} = {value} WHERE {quoted} IS NULL; {forbid}")
            }
            None => "NULL".to_owned(),
        };
        self.statements.push(format!(
            "DO $do$ BEGIN {forbid}; EXCEPTION WHEN not_null_violation THEN {otherwise}; END $do$"
        ));
    }

    fn change_type(
        &mut self,
        schema: &TableSchema,
        found: &TargetColumn,
        old: &Column,
        new: &Column,
    ) -> Result<()> {
        let types = self.context.types;
        let wanted_new = wanted(new, types);
        let expression = match conversion(&found.name, old, new) {
            Conversion::Same => None,
            Conversion::Cast(expression) => Some(expression),
            Conversion::Unknown if self.context.emptied => Some(identifier(&found.name)),
            Conversion::Unknown => {
                let message = format!(
                    "column {} changes from {} to {}: what becomes of its values is known to the \
                     source only",
                    old.name,
                    describe(old),
                    describe(new)
                );
                let hint = format!("the target is {}", found.type_sql);
                return Err(incompatible(&schema.id, message, hint));
            }
        };
        // A type that the user chose stays as long as it takes the values.
        let theirs = wanted(old, types).is_some_and(|ours| ours != found.type_sql);
        if theirs && encoder(new, found, types).is_some() {
            return Ok(());
        }
        let unchanged = wanted_new.as_deref() == Some(&found.type_sql);
        let trivial = expression
            .as_deref()
            .is_none_or(|expression| expression == identifier(&found.name));
        if unchanged && trivial {
            return Ok(());
        }
        let expression = expression.unwrap_or_else(|| identifier(&found.name));
        self.set_type(schema, found, new, &expression)
    }

    fn set_type(
        &mut self,
        schema: &TableSchema,
        found: &TargetColumn,
        new: &Column,
        expression: &str,
    ) -> Result<()> {
        let target = &self.context.target.id;
        let mut before = Vec::new();
        let type_sql = column_type(schema, target, new, self.context.types, &mut before)?;
        let own_enum = found.is_enum() && found.type_name == enum_name(target, &found.name);
        let spare = identifier("_sluice_old_enum");
        if own_enum {
            let name = qualified(&found.type_schema, &found.type_name);
            before.insert(0, format!("ALTER TYPE {name} RENAME TO {spare}"));
        }
        self.statements.append(&mut before);
        // Enums, booleans and everything else meet as text or as numbers.
        let value = match (found.type_sql.as_str(), type_sql.as_str()) {
            _ if found.is_enum() || self.context.emptied => {
                format!("({expression})::text::{type_sql}")
            }
            ("boolean", "boolean") | ("text[]", "text[]") => expression.to_owned(),
            ("boolean", _) => format!("({expression})::int::{type_sql}"),
            (_, "boolean") => format!("({expression})::numeric <> 0"),
            ("text[]", _) => format!("array_to_string({expression}, ',')::{type_sql}"),
            (_, "text[]") => format!("string_to_array({expression}, ',')"),
            _ => format!("({expression})::{type_sql}"),
        };
        self.alter(
            &identifier(&found.name),
            &format!("TYPE {type_sql} USING {value}"),
        );
        if own_enum {
            let old = format!("{}.{spare}", identifier(&found.type_schema));
            self.statements.push(format!("DROP TYPE {old}"));
        }
        Ok(())
    }

    fn drop_primary_key(&mut self) {
        let primary = self.context.target.unique_indexes.iter();
        for index in primary.filter(|index| index.primary) {
            let name = identifier(&index.name);
            self.statements
                .push(format!("ALTER TABLE {} DROP CONSTRAINT {name}", self.table));
        }
    }

    fn add_primary_key(&mut self, schema: &TableSchema, columns: &[Option<String>]) {
        let names: Option<Vec<_>> = schema
            .key
            .iter()
            .map(|&ordinal| columns[ordinal].as_deref().map(identifier))
            .collect();
        if let Some(names) = names.filter(|names| !names.is_empty()) {
            self.statements.push(format!(
                "ALTER TABLE {} ADD PRIMARY KEY ({})",
                self.table,
                list(names)
            ));
        }
    }

    fn check_null(&self, column: &Column, found: &TargetColumn, in_key: bool) -> Result<()> {
        if in_key || !column.nullable || !found.not_null || found.generated {
            return Ok(());
        }
        Err(incompatible(
            &self.id,
            format!(
                "column {} may be NULL in the source and not in the target {}",
                column.name, self.context.target.id
            ),
            format!(
                "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
                self.table,
                identifier(&found.name)
            ),
        ))
    }

    fn alter(&mut self, quoted: &str, action: &str) {
        self.statements.push(format!(
            "ALTER TABLE {} ALTER COLUMN {quoted} {action}",
            self.table
        ));
    }
}

/// Whether a policy lets a change be made; an error where it is to wait or to fail.
pub(crate) fn gate(
    table: &TableId,
    policy: SchemaPolicy,
    approved: bool,
    change: &str,
) -> Result<bool> {
    let (reason, word) = match policy {
        SchemaPolicy::Apply => return Ok(true),
        SchemaPolicy::Ignore => return Ok(false),
        _ if approved => return Ok(true),
        SchemaPolicy::Pause => (Reason::SchemaChangePaused, "waits"),
        SchemaPolicy::Fail => (Reason::SchemaChangeRefused, "is refused"),
    };
    let error = Error::new(
        reason,
        format!("table {table}: a schema change {word} by policy: {change}"),
    );
    Err(error.with_table(table.clone()).with_hint(format!(
        "to go on with it: sluice run --resnapshot {table}; to have such changes made at once set \
         schemaChanges to Apply"
    )))
}
