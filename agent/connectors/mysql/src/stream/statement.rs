//! What statements in the log mean for the stream.

use std::borrow::Cow;

use sluice_core::{Error, Reason, Result, SchemaChange, TableId};

use crate::{
    binlog::event::Query,
    ddl::{Statement, TableStatement, Xa, classify},
    schema::{is_selected, is_system_database},
    stream::interpret::Interpreter,
};

impl Interpreter {
    /// Interprets a statement.
    pub(super) fn statement(&mut self, query: Query<'_>) -> Result<()> {
        if query.text == b"BEGIN" {
            self.mark_begun();
            return Ok(());
        }
        let database = self.fold(&String::from_utf8_lossy(query.database));
        let text = self.decode_text(query);
        match classify(&text, &database, query.sql_mode) {
            Statement::Begin | Statement::Xa(Xa::Start) => {
                self.mark_begun();
                return Ok(());
            }
            Statement::Xa(Xa::End) => return Ok(()),
            Statement::Commit => return self.end_if_open(),
            Statement::Rollback => return self.rollback(&text),
            Statement::Tables(statements) => {
                for statement in statements {
                    self.table_statement(statement);
                }
            }
            Statement::Rows { verb, targets } => self.refuse_rows(verb, &targets, &database)?,
            Statement::Xa(Xa::Finish) | Statement::Other => {}
        }
        // A statement that stands alone is a transaction of its own.
        if self.open.as_ref().is_some_and(|open| !open.has_begun) {
            return self.end();
        }
        Ok(())
    }

    /// A statement is logged in its client's character set.
    fn decode_text<'q>(&self, query: Query<'q>) -> Cow<'q, str> {
        let lossy = || String::from_utf8_lossy(query.text);
        if query.text.is_ascii() {
            return lossy();
        }
        let resolved = query
            .collation
            .and_then(|collation| self.charsets.resolve(collation).ok());
        let decoded = resolved.and_then(|(codec, _)| codec.to_text(query.text).ok());
        decoded.map_or_else(lossy, Cow::Owned)
    }

    fn mark_begun(&mut self) {
        if let Some(open) = &mut self.open {
            open.has_begun = true;
        }
    }

    fn end_if_open(&mut self) -> Result<()> {
        if self.open.is_some() {
            self.end()
        } else {
            Ok(())
        }
    }

    /// Rows are logged at commit, so that what was rolled back is not there; only a transaction
    /// that also changed a table without transactions is logged as a whole.
    fn rollback(&mut self, text: &str) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.rows > 0) {
            let message = format!("the log rolls rows back at {}", self.at());
            return Err(Error::new(Reason::DecodeFailed, message).with_hint(
                "transactions that mix tables with and without transactions can't be replicated: \
                 ALTER TABLE ... ENGINE = InnoDB, then copy every table again: sluice run \
                 --resnapshot '*'",
            ));
        }
        if text.to_ascii_uppercase().contains(" TO ") {
            Ok(())
        } else {
            self.end_if_open()
        }
    }

    /// Rows that the log does not hold are lost to us: better to stop than to skip them.
    fn refuse_rows(&self, verb: &str, targets: &[TableId], database: &str) -> Result<()> {
        let concerns = |database: &str| {
            !is_system_database(database) && !self.catalog.tables_of(database).is_empty()
        };
        let is_ours = if targets.is_empty() {
            concerns(database)
        } else {
            // Triggers change further tables, most likely in the same database.
            targets.iter().any(|table| {
                let table = self.fold_table(table);
                is_selected(&self.selection, &table) || concerns(&table.schema)
            })
        };
        if !is_ours {
            return Ok(());
        }
        let target = targets
            .first()
            .map_or_else(|| database.to_owned(), ToString::to_string);
        let message = format!(
            "the log holds the statement {verb} on {target} (default database {database:?}) instead of its rows at {}",
            self.at()
        );
        Err(Error::new(Reason::StatementInLog, message).with_hint(
            "SET PERSIST binlog_format = ROW; let every session reconnect; then copy every table \
             again: sluice run --resnapshot '*'",
        ))
    }

    fn table_statement(&mut self, statement: TableStatement) {
        match statement {
            TableStatement::Create { table, has_rows } => {
                if has_rows {
                    self.mark_begun();
                }
                if let Some(table) = self.selected(&table) {
                    self.catalog.refresh(&table);
                }
            }
            TableStatement::Drop(table) => self.drop_table(&table),
            TableStatement::DropDatabase(database) => {
                for table in self.catalog.tables_of(&self.fold(&database)) {
                    self.drop_table(&table);
                }
            }
            TableStatement::Truncate(table) => {
                if let Some(table) = self.selected(&table) {
                    self.announce(SchemaChange::Truncate(table));
                }
            }
            TableStatement::Rename { from, to } => self.rename(&from, &to),
            TableStatement::Alter {
                table,
                columns,
                moves_rows,
            } => {
                if let Some(table) = self.selected(&table) {
                    self.alter(&table, &columns, moves_rows);
                }
            }
        }
    }

    fn drop_table(&mut self, table: &TableId) {
        if let Some(table) = self.selected(table) {
            self.catalog.forget(&table);
            self.announce(SchemaChange::Drop(table));
        }
    }

    fn rename(&mut self, from: &TableId, to: &TableId) {
        match (self.selected(from), self.selected(to)) {
            (Some(from), Some(to)) => {
                if self.catalog.rename(&from, &to) {
                    self.announce(SchemaChange::RenameTable { from, to });
                }
            }
            (Some(from), None) => {
                self.catalog.forget(&from);
                self.announce(SchemaChange::Drop(from));
            }
            (None, Some(to)) => self.catalog.refresh(&to),
            (None, None) => {}
        }
    }

    fn alter(&mut self, table: &TableId, columns: &[(String, String)], moves_rows: bool) {
        if moves_rows {
            // The log does not show which rows went: the table is as good as new.
            self.catalog.forget_announced(table);
            self.announce(SchemaChange::Drop(table.clone()));
        } else if !columns.is_empty() {
            let columns = self.catalog.rename_columns(table, columns);
            if !columns.is_empty() {
                self.announce(SchemaChange::RenameColumns {
                    table: table.clone(),
                    columns,
                });
            }
        }
        self.catalog.refresh(table);
    }

    fn announce(&mut self, change: SchemaChange) {
        self.pending.push_schema(change);
        if let Some(open) = &mut self.open {
            open.has_schema_change = true;
        }
    }

    /// The table as the server stores its name, if it is selected.
    fn selected(&self, table: &TableId) -> Option<TableId> {
        let table = self.fold_table(table);
        is_selected(&self.selection, &table).then_some(table)
    }

    fn fold_table(&self, table: &TableId) -> TableId {
        if self.folds_names {
            TableId::new(self.fold(&table.schema), self.fold(&table.name))
        } else {
            table.clone()
        }
    }

    fn fold(&self, name: &str) -> String {
        if self.folds_names {
            name.to_lowercase()
        } else {
            name.to_owned()
        }
    }
}
