//! Keeps the target's tables in the shape of the source's.
//!
//! Every function works inside the caller's transaction and answers with an error of class
//! `StopTable` where the table alone can't go on; the caller rolls back to where it began and puts
//! the table's link back.

use sluice_agent_api::config::{Deletes, SchemaPolicy};
use sluice_core::{Class, Error, Reason, Result, SchemaChange, TableId, TableSchema};
use tracing::info;

use crate::{
    alter::{Alteration, Context, adoption, alteration, gate},
    connect::Session,
    ddl,
    error::{Trouble, classify_apply},
    link::{Link, forget_statement},
    plan::{DELETED_AT, incompatible},
    schema::{self, TargetTable},
    settings::Settings,
    sql::{identifier, qualified},
    tables::Tables,
};

/// What a person has agreed to.
#[derive(Clone, Copy)]
struct Approval {
    given: bool,
    emptied: bool,
}

/// Changes the target's tables.
pub(crate) struct Evolution<'a> {
    pub(crate) session: &'a Session,
    pub(crate) settings: &'a Settings,
    pub(crate) tables: &'a mut Tables,
}

impl Evolution<'_> {
    /// Makes a change of the source in the target, by policy.
    pub(crate) async fn apply(&mut self, change: &SchemaChange) -> Result<()> {
        match change {
            SchemaChange::Create(schema) | SchemaChange::Alter(schema) => {
                self.reach(schema, false).await
            }
            SchemaChange::Refill(schema) => self.refill(schema).await,
            SchemaChange::Renew(schema) => self.reach(schema, true).await,
            SchemaChange::RenameColumns { table, columns } => {
                self.rename_columns(table, columns).await
            }
            SchemaChange::RenameTable { from, to } => self.rename_table(from, to).await,
            SchemaChange::Truncate(table) => self.truncate(table).await,
            SchemaChange::Drop(table) => self.drop_table(table).await,
        }
    }

    /// Takes note of a change that the leader of the pipeline's agents has made: it was committed before
    /// this agent hears of it, and the leader may be further by now, as far as no rows lie between.
    pub(crate) async fn follow(&mut self, change: &SchemaChange) -> Result<()> {
        let id = change.table();
        self.tables.reload(self.session, self.settings, id).await?;
        if let SchemaChange::RenameTable { to, .. } = change {
            self.tables.reload(self.session, self.settings, to).await?;
        }
        Ok(())
    }

    /// Brings a table into a shape: creates it, adopts it, or alters it. With a person's approval,
    /// which stands for a copy from scratch, rows that are in the way are given up.
    pub(crate) async fn reach(&mut self, new: &TableSchema, approved: bool) -> Result<()> {
        let approved = Approval {
            given: approved,
            emptied: false,
        };
        if !approved.given || !self.tables.links.contains_key(&new.id) {
            return self.try_reach(new, approved).await;
        }
        self.reach_or_empty(new, approved).await
    }

    /// Brings a table whose rows are copied again right behind into a shape, by policy.
    async fn refill(&mut self, new: &TableSchema) -> Result<()> {
        let approval = Approval {
            given: false,
            emptied: false,
        };
        self.reach_or_empty(new, approval).await
    }

    /// Gives up the rows where they, and not a policy, are in the way.
    async fn reach_or_empty(&mut self, new: &TableSchema, approval: Approval) -> Result<()> {
        self.simple("SAVEPOINT sluice_reach").await?;
        match self.try_reach(new, approval).await {
            Err(error)
                if error.reason() == Reason::TargetIncompatible
                    || approval.given && stops_table(&error) =>
            {
                self.simple("ROLLBACK TO SAVEPOINT sluice_reach").await?;
                let emptied = Approval {
                    emptied: true,
                    ..approval
                };
                self.try_reach(new, emptied).await
            }
            outcome => outcome,
        }
    }

    async fn try_reach(&mut self, new: &TableSchema, approval: Approval) -> Result<()> {
        let link = self.tables.links.get(&new.id).cloned();
        let place = link.as_ref().map_or(&new.id, |link| &link.target);
        ddl::check_names(new, place)?;
        let Some(found) = self.read(place).await? else {
            return self.create(new, place, approval.given).await;
        };
        let context = Context {
            target: &found,
            types: &self.tables.types,
            policies: self.settings.schema_changes,
            approved: approval.given,
            emptied: approval.emptied,
        };
        let mut alteration = match &link {
            None => adoption(&context, new)?,
            Some(link) => alteration(&context, link, new)?,
        };
        if approval.emptied {
            let empty = format!("DELETE FROM {}", found.sql());
            alteration.statements.insert(0, empty);
        }
        if self.settings.deletes == Deletes::Soft && found.column(DELETED_AT).is_none() {
            alteration.statements.push(format!(
                "ALTER TABLE {} ADD COLUMN {DELETED_AT} timestamp with time zone",
                found.sql()
            ));
        }
        self.finish(&new.id, alteration).await
    }

    async fn create(&mut self, new: &TableSchema, place: &TableId, approved: bool) -> Result<()> {
        let policy = self.settings.schema_changes.create_table;
        let statements = ddl::create_table(
            new,
            place,
            &self.tables.types,
            self.settings.deletes == Deletes::Soft,
        )?;
        let text = statements.join("; ");
        if policy == SchemaPolicy::Ignore {
            let message = format!("the target {place} is missing and createTable is Ignore");
            return Err(incompatible(&new.id, message, text));
        }
        gate(&new.id, policy, approved, &text)?;
        let mut all = vec![ddl::create_schema(&place.schema)];
        all.extend(statements);
        let mut link = Link::direct(new);
        link.target = place.clone();
        let alteration = Alteration {
            statements: all,
            link,
        };
        self.finish(&new.id, alteration).await
    }

    /// Runs an alteration and remembers its link.
    async fn finish(&mut self, id: &TableId, alteration: Alteration) -> Result<()> {
        let Alteration { statements, link } = alteration;
        if !statements.is_empty() {
            info!(table = %id, statements = %statements.join("; "), "schema change");
        }
        self.run(id, &statements).await?;
        self.remember(link).await
    }

    async fn remember(&mut self, link: Link) -> Result<()> {
        let id = link.schema.id.clone();
        if self.tables.links.get(&id) != Some(&link) {
            let store = link.store_statement(&self.settings.pipeline)?;
            self.run(&id, &[store]).await?;
        }
        self.tables.forget_plan(&id);
        self.tables.links.insert(id, link);
        Ok(())
    }

    async fn rename_columns(&mut self, id: &TableId, pairs: &[(String, String)]) -> Result<()> {
        let Some(mut link) = self.tables.links.get(id).cloned() else {
            return Ok(());
        };
        let policy = self.settings.schema_changes.rename_column;
        let table = qualified(&link.target.schema, &link.target.name);
        // A column that keeps an older name in the target keeps it.
        let follows = |(old, _): &&(String, String)| link.target_column(old) == Some(old);
        let renames: Vec<_> = pairs.iter().filter(follows).cloned().collect();
        let statements = ddl::rename_columns(&table, &renames);
        let apply = gate(id, policy, false, &statements.join("; "))?;
        for column in link.schema.columns.iter_mut().zip(&mut link.columns) {
            let (column, place) = column;
            let Some((_, new)) = pairs.iter().find(|(old, _)| *old == column.name) else {
                continue;
            };
            if apply && place.as_ref() == Some(&column.name) {
                *place = Some(new.clone());
            }
            column.name.clone_from(new);
        }
        ddl::check_names(&link.schema, &link.target)?;
        if apply {
            self.run(id, &statements).await?;
        }
        self.remember(link).await
    }

    async fn rename_table(&mut self, from: &TableId, to: &TableId) -> Result<()> {
        let Some(mut link) = self.tables.links.get(from).cloned() else {
            return Ok(());
        };
        let mut statements = Vec::new();
        if link.target == *from {
            let table = qualified(&from.schema, &from.name);
            if from.schema != to.schema {
                statements.push(ddl::create_schema(&to.schema));
                let schema = identifier(&to.schema);
                statements.push(format!("ALTER TABLE {table} SET SCHEMA {schema}"));
            }
            let moved = qualified(&to.schema, &from.name);
            if from.name != to.name {
                let name = identifier(&to.name);
                statements.push(format!("ALTER TABLE {moved} RENAME TO {name}"));
            }
            let policy = self.settings.schema_changes.rename_column;
            if gate(from, policy, false, &statements.join("; "))? {
                self.make_way(to).await?;
                link.target = to.clone();
            } else {
                statements.clear();
            }
        }
        link.schema.id = to.clone();
        ddl::check_names(&link.schema, &link.target)?;
        info!(table = %from, %to, statements = %statements.join("; "), "table renamed");
        self.run(from, &statements).await?;
        self.forget(from).await?;
        self.remember(link).await
    }

    /// Drops an empty table that stands where another is to be moved. It was made for a table that
    /// the source's catalog showed when the pipeline started and whose rename, this one, is in the
    /// log.
    async fn make_way(&mut self, id: &TableId) -> Result<()> {
        let is_own = self
            .tables
            .links
            .get(id)
            .is_some_and(|link| link.target == *id);
        let Some(found) = self.target_of(id).await?.filter(|_| is_own) else {
            return Ok(());
        };
        let sql = format!("SELECT EXISTS (SELECT FROM {})", found.sql());
        let row = self.session.client.query_one(&sql, &[]).await;
        let has_rows: bool = row.map_err(|error| self.session.error(error))?.get(0);
        if has_rows {
            return Ok(());
        }
        self.run(id, &drop_statements(&found)).await?;
        self.forget(id).await
    }

    async fn truncate(&mut self, id: &TableId) -> Result<()> {
        let Some(found) = self.target_of(id).await? else {
            return Ok(());
        };
        let table = found.sql();
        let policy = self.settings.schema_changes.truncate;
        if !gate(id, policy, false, &format!("TRUNCATE {table}"))? {
            return Ok(());
        }
        let may = schema::may_truncate(&self.session.client, found.oid).await;
        let may = may.map_err(|error| self.session.error(error))?;
        let statement = match self.settings.deletes {
            Deletes::Soft => {
                format!("UPDATE {table} SET {DELETED_AT} = now() WHERE {DELETED_AT} IS NULL")
            }
            _ if may => format!("TRUNCATE {table}"),
            _ => format!("DELETE FROM {table}"),
        };
        self.run(id, &[statement]).await
    }

    async fn drop_table(&mut self, id: &TableId) -> Result<()> {
        if let Some(found) = self.target_of(id).await? {
            let statements = drop_statements(&found);
            let policy = self.settings.schema_changes.drop_table;
            if gate(id, policy, false, &statements.join("; "))? {
                self.run(id, &statements).await?;
            }
        }
        self.forget(id).await
    }

    async fn forget(&mut self, id: &TableId) -> Result<()> {
        self.tables.forget_plan(id);
        if self.tables.links.remove(id).is_some() {
            let statement = forget_statement(&self.settings.pipeline, id);
            self.run(id, &[statement]).await?;
        }
        Ok(())
    }

    async fn target_of(&self, id: &TableId) -> Result<Option<TargetTable>> {
        match self.tables.links.get(id) {
            Some(link) => self.read(&link.target).await,
            None => Ok(None),
        }
    }

    /// Remembers that a table stopped, so that it begins again only with a person's approval.
    pub(crate) async fn hold(&mut self, id: &TableId) -> Result<()> {
        let Some(link) = self.tables.links.get_mut(id) else {
            return Ok(());
        };
        link.held = true;
        let store = link.store_statement(&self.settings.pipeline)?;
        self.simple(&store).await
    }

    async fn simple(&self, statements: &str) -> Result<()> {
        let done = self.session.client.batch_execute(statements).await;
        done.map_err(|error| self.session.error(error))
    }

    async fn read(&self, place: &TableId) -> Result<Option<TargetTable>> {
        let found = schema::read(&self.session.client, place).await;
        found.map_err(|error| self.session.error(error))
    }

    async fn run(&self, id: &TableId, statements: &[String]) -> Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        let script = statements.join(";\n");
        let Err(error) = self.session.client.batch_execute(&script).await else {
            return Ok(());
        };
        Err(match classify_apply(&self.session.address, id, error) {
            // The server quotes values in these; the statement says enough.
            Trouble::Content(refusal) => incompatible(
                id,
                format!(
                    "the target's rows stand against a schema change: {} (SQLSTATE {})",
                    refusal.object, refusal.sqlstate
                ),
                format!("mend the rows for: {}", statements.join("; ")),
            ),
            Trouble::Session(error) if error.reason() == Reason::MissingPrivilege => {
                self.privilege(error, id)
            }
            Trouble::Table(error) | Trouble::Session(error) => error,
        })
    }

    /// Says what to grant.
    fn privilege(&self, error: Error, id: &TableId) -> Error {
        let place = self.tables.links.get(id).map_or(id, |link| &link.target);
        let user = self.session.user.clone();
        let schema = identifier(&place.schema);
        let table = qualified(&place.schema, &place.name);
        let hint = format!(
            "GRANT CREATE ON DATABASE {} TO {user}; GRANT USAGE, CREATE ON SCHEMA {schema} TO \
             {user}; ALTER TABLE {table} OWNER TO {user}",
            self.session.database
        );
        error.with_table(id.clone()).with_hint(hint)
    }
}

/// Drops a table and the enums that belong to it.
fn drop_statements(found: &TargetTable) -> Vec<String> {
    let own = found.columns.iter().filter(|column| {
        column.is_enum() && column.type_name == ddl::enum_name(&found.id, &column.name)
    });
    let types = own.map(|column| format!("DROP TYPE {}", column.element_sql()));
    let table = format!("DROP TABLE {}", found.sql());
    std::iter::once(table).chain(types).collect()
}

/// Whether an error stops one table only.
pub(crate) fn stops_table(error: &Error) -> bool {
    error.class() == Class::StopTable
}
