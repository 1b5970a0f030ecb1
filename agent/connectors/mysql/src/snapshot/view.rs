//! A view of a whole table at exactly one place of the log.
//!
//! Opening a read view and asking for the end of the log are two statements, and a commit is in
//! the log a moment before it is visible. The place is exact when nothing entered the log between
//! asking before and asking after, and when no transaction was on its way from the log to being
//! visible (`gtid_owned` names those). On a busy server that may never be so; then the table is
//! locked against writes for the moment that it takes to open the view.

use std::sync::Arc;

use sluice_core::{Error, Result, Row, RowBuilder, TableId, TableSchema, source::TableView};

use crate::{
    connect::{Connection, Connector, server_code},
    schema::{need_table, quote_table},
    server::{LogStatus, ServerFacts},
    snapshot::{cells::CellPlan, sql::column_list},
};

/// How often a quiet moment is waited for before the table is locked.
const QUIET_ATTEMPTS: usize = 20;

/// How often the view is opened anew because the table's definition changed meanwhile.
const DEFINITION_ATTEMPTS: usize = 5;

const DEFINITION_CHANGED: u16 = 1412;

/// How long the lock may take to get, with writers waiting behind it.
const LOCK_WAIT_SECONDS: u32 = 5;

/// A view that is being read.
pub(super) struct OpenView {
    plan: CellPlan,
    builder: RowBuilder,
    is_at_end: bool,
}

/// Opens the view and starts to read it.
pub(super) async fn open(
    connection: &mut Connection,
    connector: &Connector,
    table: &TableId,
) -> Result<(TableView, OpenView)> {
    let has_gtids = ServerFacts::load(connection).await?.has_gtids();
    for attempt in 1.. {
        let quiet = if has_gtids {
            open_quietly(connection).await?
        } else {
            None
        };
        let place = match quiet {
            Some(place) => place,
            None => open_locked(connection, connector, table).await?,
        };
        match start(connection, table).await {
            Ok((schema, view)) => {
                let at = place.watermark(connection.server_uuid());
                return Ok((TableView { table: schema, at }, view));
            }
            Err(error)
                if server_code(&error) == Some(DEFINITION_CHANGED)
                    && attempt < DEFINITION_ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop ends by returning")
}

/// Waits for a moment in which nothing is committed; `None` when there is none.
async fn open_quietly(connection: &mut Connection) -> Result<Option<LogStatus>> {
    for _ in 0..QUIET_ATTEMPTS {
        let before = LogStatus::need(connection).await?;
        let owned = connection.query_text("SELECT @@GLOBAL.gtid_owned").await?;
        if owned.is_some_and(|owned| !owned.is_empty()) {
            continue;
        }
        begin_view(connection).await?;
        let after = LogStatus::need(connection).await?;
        if before == after {
            return Ok(Some(after));
        }
    }
    Ok(None)
}

async fn open_locked(
    connection: &mut Connection,
    connector: &Connector,
    table: &TableId,
) -> Result<LogStatus> {
    let mut locker = connector.connect().await?;
    let name = quote_table(table);
    locker
        .query_drop(&format!(
            "SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}"
        ))
        .await?;
    locker.query_drop(&format!("LOCK TABLES {name} READ")).await.map_err(|error| {
        let message = format!("table {table} can't be locked to find its place in the log");
        let hint = match server_code(&error) {
            Some(1205) => "end the long transaction that writes to it, or give the table a primary key".to_owned(),
            _ => format!(
                "GRANT LOCK TABLES ON *.* TO the configured user, or: ALTER TABLE {name} ADD PRIMARY KEY (...)"
            ),
        };
        let reason = error.reason();
        Error::new(reason, message).with_hint(hint).with_table(table.clone()).with_source(error)
    })?;
    begin_view(connection).await?;
    let place = LogStatus::need(connection).await?;
    locker.query_drop("UNLOCK TABLES").await?;
    Ok(place)
}

async fn begin_view(connection: &mut Connection) -> Result<()> {
    connection.query_drop("COMMIT").await?;
    connection
        .query_drop("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await?;
    connection
        .query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        .await
}

async fn start(
    connection: &mut Connection,
    table: &TableId,
) -> Result<(Arc<TableSchema>, OpenView)> {
    let touch = format!("SELECT 1 FROM {} LIMIT 0", quote_table(table));
    connection.query_drop(&touch).await?;
    let schema = need_table(connection, table).await?;
    let sql = format!(
        "SELECT {} FROM {}",
        column_list(&schema),
        quote_table(table)
    );
    let columns = connection.open_rows(&sql, &[]).await?;
    let plan = CellPlan::new(schema.columns.iter(), &columns, table)?;
    let view = OpenView {
        plan,
        builder: RowBuilder::new(),
        is_at_end: false,
    };
    Ok((schema, view))
}

impl OpenView {
    /// The next rows, about so many bytes; none at the end.
    pub(super) async fn read(
        &mut self,
        connection: &mut Connection,
        size_bytes_max: usize,
    ) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut size_bytes = 0;
        while !self.is_at_end && size_bytes < size_bytes_max.max(1) {
            if let Some(row) = connection.next_row().await? {
                let row = self.plan.pack(row, &mut self.builder)?;
                size_bytes += row.size_bytes();
                rows.push(row);
            } else {
                self.is_at_end = true;
                connection.query_drop("COMMIT").await?;
            }
        }
        Ok(rows)
    }
}
