//! Reading tables beside the stream: chunks of tables with a key, views of tables without.
//!
//! A chunk is read in three steps. First the read waits until everything that the stream has shown
//! is visible (`freshness`). Then, inside a transaction that holds the table's metadata lock (as
//! any SELECT does), the definition is loaded and the rows are read by one statement, so that they
//! fit each other. At last the end of the log is asked for: since commits enter the log before they
//! become visible, everything that the rows show is before it.
//!
//! Rows come by the binary protocol and are packed straight from the receive buffer (`cells`);
//! `sql` writes the statements, `view` opens views.

mod cells;
mod freshness;
mod sql;
mod view;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sluice_core::{
    ChunkRequest, Error, Reason, Result, Row, RowBuilder, SnapshotReader, TableId, TableSchema,
    source::{ChunkRows, TableEstimate, TableView},
};

use crate::{
    connect::{Connection, Connector, server_code},
    schema::{key_index, need_table, quote_table, quote_text},
    server::LogStatus,
    snapshot::{
        cells::CellPlan,
        sql::{boundary_sql, chunk_sql},
    },
};

/// The server's error for a column that is not there.
const UNKNOWN_COLUMN: u16 = 1054;
/// And for an index.
const UNKNOWN_INDEX: u16 = 1176;

/// The first buffer for packed rows; later ones are as large as the builder makes them.
const ROW_BUFFER_BYTES: usize = 256 * 1024;

/// How long the server may take to the first row: a cold table, or one that it has to sort.
const PATIENCE: Duration = Duration::from_secs(900);

/// A connection that reads tables.
pub struct MysqlSnapshotReader {
    connector: Connector,
    /// Absent after a read that was broken off: whatever it left behind goes with the connection.
    connection: Option<Connection>,
    /// The key's index of the table that was read last.
    key_index: Option<(TableId, Vec<String>, String)>,
    view: Option<view::OpenView>,
}

impl MysqlSnapshotReader {
    /// Connects.
    pub(crate) async fn connect(connector: Connector) -> Result<Self> {
        let connection = Some(connect(&connector).await?);
        Ok(Self {
            connector,
            connection,
            key_index: None,
            view: None,
        })
    }

    /// Takes the connection out for a while; a call that is dropped or fails takes it with it.
    async fn take_connection(&mut self) -> Result<Connection> {
        self.view = None;
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connect(&self.connector).await,
        }
    }

    async fn key_index(
        &mut self,
        connection: &mut Connection,
        table: &TableSchema,
    ) -> Result<String> {
        let names: Vec<String> = table
            .key_columns()
            .map(|column| column.name.clone())
            .collect();
        if let Some((id, columns, index)) = &self.key_index
            && *id == table.id
            && *columns == names
        {
            return Ok(index.clone());
        }
        let index = key_index(connection, table).await?;
        self.key_index = Some((table.id.clone(), names, index.clone()));
        Ok(index)
    }
}

/// A session in which each statement sees what is committed at its start.
async fn connect(connector: &Connector) -> Result<Connection> {
    let mut connection = connector.connect().await?;
    connection.set_patience(PATIENCE);
    connection
        .query_drop(
            "SET SESSION transaction_isolation = 'READ-COMMITTED', \
             SESSION information_schema_stats_expiry = 0",
        )
        .await?;
    Ok(connection)
}

#[async_trait]
impl SnapshotReader for MysqlSnapshotReader {
    async fn boundary(
        &mut self,
        table: &TableSchema,
        after: Option<&Row>,
        rows: u64,
    ) -> Result<Option<Row>> {
        let mut connection = self.take_connection().await?;
        let index = self.key_index(&mut connection, table).await?;
        let statement = boundary_sql(table, &index, after, rows);
        let opened = connection.open_rows(&statement.sql, &statement.parameters);
        let columns = match opened.await {
            Ok(columns) => columns,
            // The key is another one by now, and the stream has yet to say so: until then whatever
            // is read is of no use, wherever it ends.
            Err(error) if matches!(server_code(&error), Some(UNKNOWN_COLUMN | UNKNOWN_INDEX)) => {
                self.connection = Some(connection);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // Another type under the same name: the same as above. The answer is read to its end.
        let plan = CellPlan::new(table.key_columns(), &columns, &table.id);
        let plan = unless_another(plan)?;
        let mut builder = RowBuilder::new();
        let mut key = None;
        while let Some(row) = connection.next_row().await? {
            if let Some(plan) = &plan {
                key = unless_another(plan.pack(row, &mut builder))?;
            }
        }
        self.connection = Some(connection);
        Ok(key)
    }

    async fn read_chunk(
        &mut self,
        table: &TableSchema,
        request: &ChunkRequest,
    ) -> Result<ChunkRows> {
        let mut connection = self.take_connection().await?;
        freshness::wait_for(&mut connection, &request.seen).await?;
        lock_definition(&mut connection, &request.table).await?;
        let schema = need_table(&mut connection, &request.table).await?;
        let mut chunk = Chunk {
            rows: Vec::new(),
            truncated_at: None,
        };
        if key_names(&schema).eq(key_names(table)) && schema.key_is_like(table) {
            let index = self.key_index(&mut connection, &schema).await?;
            chunk
                .read(&mut connection, &schema, &index, request)
                .await?;
        }
        // Else the key changed: the caller sees it by the definition, and the range means nothing.
        if chunk.truncated_at.is_some() {
            // The server is still sending: the rest of this connection is of no use.
            connection = connect(&self.connector).await?;
        } else {
            connection.query_drop("COMMIT").await?;
        }
        let high = LogStatus::need(&mut connection)
            .await?
            .watermark(connection.server_uuid());
        self.connection = Some(connection);
        let Chunk { rows, truncated_at } = chunk;
        Ok(ChunkRows {
            table: schema,
            rows,
            high,
            truncated_at,
        })
    }

    async fn open_view(&mut self, table: &TableId) -> Result<TableView> {
        let mut connection = self.take_connection().await?;
        let (view, opened) = view::open(&mut connection, &self.connector, table).await?;
        self.connection = Some(connection);
        self.view = Some(opened);
        Ok(view)
    }

    async fn read_view(&mut self, size_bytes_max: usize) -> Result<Vec<Row>> {
        let (Some(mut connection), Some(mut view)) = (self.connection.take(), self.view.take())
        else {
            return Err(Error::new(Reason::Internal, "no view of a table is open"));
        };
        let rows = view.read(&mut connection, size_bytes_max).await?;
        self.connection = Some(connection);
        self.view = Some(view);
        Ok(rows)
    }

    async fn estimate(&mut self, table: &TableId) -> Result<TableEstimate> {
        let mut connection = self.take_connection().await?;
        let sql = format!(
            "SELECT TABLE_ROWS, AVG_ROW_LENGTH FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            quote_text(&table.schema),
            quote_text(&table.name)
        );
        let rows = connection.query(&sql, |row| TableEstimate {
            rows: row.number(0).unwrap_or(0),
            row_bytes: row.number(1).unwrap_or(0),
        });
        let estimate = rows.await?.into_iter().next();
        self.connection = Some(connection);
        estimate.ok_or_else(|| {
            Error::new(
                Reason::TableMissing,
                format!("table {table} is not on the source"),
            )
            .with_hint("create it or stop selecting it")
            .with_table(table.clone())
        })
    }
}

/// Nothing, where what was read does not have the type that was declared.
fn unless_another<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.reason() == Reason::DecodeFailed => Ok(None),
        Err(error) => Err(error),
    }
}

/// Begins a transaction that keeps the table's definition as it is; reads and writes go on.
async fn lock_definition(connection: &mut Connection, table: &TableId) -> Result<()> {
    connection.query_drop("START TRANSACTION READ ONLY").await?;
    let touch = format!("SELECT 1 FROM {} LIMIT 0", quote_table(table));
    connection
        .query_drop(&touch)
        .await
        .map_err(|error| error.with_table(table.clone()))
}

fn key_names(table: &TableSchema) -> impl Iterator<Item = &str> {
    table.key_columns().map(|column| column.name.as_str())
}

/// Rows of a chunk as they are read.
struct Chunk {
    rows: Vec<Row>,
    truncated_at: Option<Row>,
}

impl Chunk {
    async fn read(
        &mut self,
        connection: &mut Connection,
        schema: &Arc<TableSchema>,
        index: &str,
        request: &ChunkRequest,
    ) -> Result<()> {
        let statement = chunk_sql(
            schema,
            index,
            request.after.as_ref(),
            request.until.as_ref(),
        );
        let columns = connection
            .open_rows(&statement.sql, &statement.parameters)
            .await?;
        let plan = CellPlan::new(schema.columns.iter(), &columns, &schema.id)?;
        let mut builder = RowBuilder::with_capacity(ROW_BUFFER_BYTES);
        let mut size_bytes = 0;
        while let Some(row) = connection.next_row().await? {
            if size_bytes >= request.size_bytes_max
                && let Some(last) = self.rows.last()
            {
                self.truncated_at = Some(last.project(&schema.key));
                return Ok(());
            }
            let row = plan.pack(row, &mut builder)?;
            size_bytes += row.size_bytes();
            self.rows.push(row);
        }
        Ok(())
    }
}
