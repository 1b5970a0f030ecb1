//! `sluice.watermarks`, a table on the source that is written where GTIDs are off.
//!
//! A read is to see everything that the stream has shown. With GTIDs the server can be asked to
//! wait for it. Without, the log is written before the engine commits, but in the same order: once
//! a write of our own has committed, everything that was in the log before it is visible.

use sluice_core::{Reason, Result};

use crate::connect::{Connection, server_code};

const NO_TABLE: u16 = 1146;

/// Writes a row and waits for its commit. Makes the table when it is not there.
pub(crate) async fn write(connection: &mut Connection) -> Result<()> {
    let sql = "INSERT INTO sluice.watermarks (id, counter) VALUES (CONNECTION_ID(), 1) \
        ON DUPLICATE KEY UPDATE counter = counter + 1";
    match connection.query_drop(sql).await {
        Err(error) if is_missing(&error) => {}
        done => return done,
    }
    if let Err(error) = connection
        .query_drop("CREATE DATABASE IF NOT EXISTS sluice")
        .await
        && error.reason() != Reason::MissingPrivilege
    {
        return Err(error);
    }
    connection
        .query_drop(
            "CREATE TABLE IF NOT EXISTS sluice.watermarks (id BIGINT UNSIGNED PRIMARY KEY, \
             counter BIGINT UNSIGNED NOT NULL) ENGINE = InnoDB \
             COMMENT = 'written by Sluice while it copies tables; may be emptied at any time'",
        )
        .await?;
    connection.query_drop(sql).await
}

fn is_missing(error: &sluice_core::Error) -> bool {
    matches!(server_code(error), Some(NO_TABLE | 1049))
}
