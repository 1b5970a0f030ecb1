//! A connection beside the stream, for the few questions that the log does not answer.
//!
//! It is made when needed, kept, and made again when it broke; one question at a time.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sluice_core::{Error, Reason, Result, TableId, TableSchema, Watermark};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    binlog::event::file_number,
    connect::{Connection, Connector, server_code},
    schema::{load_table, quote_table},
    server::{LogStatus, log_files},
};

/// How long a question may take; the answers are small.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a statement may take from the log to the catalog.
const COMMIT_SECONDS_MAX: u32 = 1;

/// The kept connection.
pub(crate) struct Side {
    connector: Connector,
    connection: Mutex<Option<Connection>>,
}

/// A table's definition, and a place in the log that is not before it.
#[derive(Debug)]
pub(crate) struct LoadedTable {
    /// The definition; absent when there is no such table.
    pub(crate) schema: Option<Arc<TableSchema>>,
    /// Every change that made the definition what it is is before this place.
    pub(crate) at: Watermark,
}

impl Side {
    /// Nothing is connected yet.
    pub(crate) fn new(connector: Connector) -> Self {
        Self {
            connector,
            connection: Mutex::new(None),
        }
    }

    /// Reads a table's definition.
    pub(crate) async fn load_table(&self, table: &TableId) -> Result<LoadedTable> {
        let table = table.clone();
        self.ask(move |connection| {
            let table = table.clone();
            Box::pin(async move {
                pass_committing(connection, &table).await?;
                let schema = load_table(connection, &table).await?;
                Ok(LoadedTable {
                    schema,
                    at: LogStatus::need(connection)
                        .await?
                        .watermark(connection.server_uuid()),
                })
            })
        })
        .await
    }

    /// Asks for the end of the log and for each file's number and size. Files that are `known` do
    /// not change any more, but for the last.
    pub(crate) async fn log_files(
        &self,
        known: Vec<(u64, u64)>,
    ) -> Result<(Watermark, Vec<(u64, u64)>)> {
        self.ask(move |connection| {
            let mut files = known.clone();
            Box::pin(async move {
                let status = LogStatus::need(connection).await?;
                let end = status.watermark(connection.server_uuid());
                let number = file_number(&status.file);
                match files.last_mut() {
                    Some((last, size)) if *last == number => *size = status.offset,
                    _ => {
                        let listed = log_files(connection).await?;
                        files = listed
                            .iter()
                            .map(|(file, size)| (file_number(file), *size))
                            .collect();
                    }
                }
                Ok((end, files))
            })
        })
        .await
    }

    /// Asks over the kept connection, and if that broke while it was idle, over a new one.
    pub(crate) async fn ask<T>(
        &self,
        question: impl for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send,
    ) -> Result<T> {
        let mut slot = self.connection.lock().await;
        if let Some(mut kept) = slot.take() {
            match self.within(question(&mut kept)).await {
                Err(error) if error.reason() == Reason::Unreachable => {}
                answer => {
                    *slot = Some(kept);
                    return answer;
                }
            }
        }
        let mut connection = self.connector.connect().await?;
        let answer = self.within(question(&mut connection)).await;
        if !matches!(&answer, Err(error) if error.reason() == Reason::Unreachable) {
            *slot = Some(connection);
        }
        answer
    }

    async fn within<T>(&self, answer: BoxFuture<'_, Result<T>>) -> Result<T> {
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
            let place = self.connector.place();
            let message = format!(
                "MySQL at {place} did not answer within {} s",
                PATIENCE.as_secs()
            );
            Err(Error::new(Reason::Unreachable, message).with_hint("see the server's processlist"))
        })
    }
}

/// Waits for a statement that changes the table and is in the log, but not in the catalog yet: it
/// holds the table's metadata lock for that moment. Whoever is in the way for longer is another
/// statement, still to be logged, and may itself be waiting for a view that this stream keeps open.
/// Whether the table is there does not matter.
async fn pass_committing(connection: &mut Connection, table: &TableId) -> Result<()> {
    connection
        .query_drop(&format!(
            "SET SESSION lock_wait_timeout = {COMMIT_SECONDS_MAX}"
        ))
        .await?;
    let touch = format!("SELECT 1 FROM {} LIMIT 0", quote_table(table));
    match connection.query_drop(&touch).await {
        Err(error) if server_code(&error).is_none() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
