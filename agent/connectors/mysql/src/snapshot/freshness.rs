//! Making sure that a read sees everything that the stream has shown.
//!
//! The stream shows a transaction as soon as it is in the log, which is a moment before it is
//! visible to others.

use sluice_core::{Error, LogPosition, Reason, Result};

use crate::{connect::Connection, schema::quote_text, watermark_table};

/// How long a transaction may take from the log to being visible.
const WAIT_SECONDS: u32 = 30;

/// Waits until everything up to the position is visible.
pub(super) async fn wait_for(connection: &mut Connection, seen: &LogPosition) -> Result<()> {
    match seen {
        LogPosition::Gtid(set) if set.is_empty() => Ok(()),
        LogPosition::Gtid(set) => {
            let set = quote_text(&set.to_string());
            let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET({set}, {WAIT_SECONDS})");
            if connection.query_text(&sql).await?.as_deref() == Some("0") {
                return Ok(());
            }
            let message = format!(
                "MySQL at {} did not reach the stream's position within {WAIT_SECONDS} s",
                connection.address()
            );
            Err(Error::new(Reason::Unavailable, message)
                .with_hint("let the source's host name one server at a time"))
        }
        LogPosition::File { .. } => watermark_table::write(connection).await,
        LogPosition::Lsn(_) | LogPosition::Offsets(_) => Err(Error::new(
            Reason::Internal,
            format!("the position {seen} is not one of MySQL"),
        )),
    }
}
