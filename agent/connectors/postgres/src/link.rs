//! How a table of the source is tied to a table of the target: the source's definition as it was
//! last applied, and where each column goes.
//!
//! Kept in `sluice.tables`, changed in the transaction that changes the target's table. What the
//! user adds to the target on his own is in no link and is left alone.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sluice_core::{Error, Reason, Result, TableId, TableSchema};

use crate::{connect::Session, sql::literal};

/// A table's link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// The source's definition that was applied last.
    pub(crate) schema: TableSchema,
    /// The target's table.
    pub(crate) target: TableId,
    /// The target's column for each of the source's; `None` where it is not written.
    pub(crate) columns: Vec<Option<String>>,
    /// Whether the table stopped: it begins again only when a person has it copied again, and then
    /// takes the new shape whatever the policies say.
    #[serde(default)]
    pub(crate) held: bool,
}

impl Link {
    /// A link of a table whose columns all go where they are called.
    pub(crate) fn direct(schema: &TableSchema) -> Self {
        Self {
            schema: schema.clone(),
            target: schema.id.clone(),
            columns: schema
                .columns
                .iter()
                .map(|column| Some(column.name.clone()))
                .collect(),
            held: false,
        }
    }

    /// Where a column of the source goes.
    pub(crate) fn target_column(&self, name: &str) -> Option<&str> {
        let index = self.schema.column_index(name)?;
        self.columns.get(index)?.as_deref()
    }

    /// The statement that stores the link.
    pub(crate) fn store_statement(&self, sink: &str) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|error| {
            Error::new(Reason::Internal, "a table's link can't be written").with_source(error)
        })?;
        Ok(format!(
            "INSERT INTO sluice.tables AS t (sink, source_table, target_table, link)
             VALUES ({}, {}, {}, {})
             ON CONFLICT (sink, source_table) DO UPDATE
             SET target_table = EXCLUDED.target_table, link = EXCLUDED.link, updated_at = now()",
            literal(sink),
            literal(&self.schema.id.to_string()),
            literal(&self.target.to_string()),
            literal(&json),
        ))
    }
}

/// The statement that forgets a table's link.
pub(crate) fn forget_statement(sink: &str, table: &TableId) -> String {
    format!(
        "DELETE FROM sluice.tables WHERE sink = {} AND source_table = {}",
        literal(sink),
        literal(&table.to_string())
    )
}

/// Reads the link of one table.
pub(crate) async fn load_one(
    session: &Session,
    sink: &str,
    table: &TableId,
) -> Result<Option<Link>> {
    let sql = "SELECT link::text FROM sluice.tables WHERE sink = $1 AND source_table = $2";
    let found = session
        .client
        .query_opt(sql, &[&sink, &table.to_string()])
        .await
        .map_err(|error| session.error(error))?;
    let json: Option<String> = found.map(|row| row.get(0));
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}

/// Reads every link of a pipeline. One that a newer version wrote and that can't be read is left
/// out: its table is then checked as a new one is.
pub(crate) async fn load(session: &Session, sink: &str) -> Result<HashMap<TableId, Link>> {
    let rows = session
        .client
        .query(
            "SELECT link::text FROM sluice.tables WHERE sink = $1",
            &[&sink],
        )
        .await
        .map_err(|error| session.error(error))?;
    let links = rows.iter().filter_map(|row| {
        let json: String = row.get(0);
        serde_json::from_str::<Link>(&json).ok()
    });
    Ok(links.map(|link| (link.schema.id.clone(), link)).collect())
}

/// Reads the link of one table.
pub(crate) async fn read(session: &Session, sink: &str, table: &TableId) -> Result<Option<Link>> {
    let sql = "SELECT link::text FROM sluice.tables WHERE sink = $1 AND source_table = $2";
    let row = session
        .client
        .query_opt(sql, &[&sink, &table.to_string()])
        .await;
    let row = row.map_err(|error| session.error(error))?;
    Ok(row.and_then(|row| serde_json::from_str(row.get(0)).ok()))
}
