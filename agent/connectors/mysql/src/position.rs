//! Whether the log still holds everything after a position.

use sluice_core::{Error, GtidSet, LogPosition, Reason, Result};

use crate::{
    connect::Connection,
    schema::quote_text,
    server::{ServerFacts, gtid_set, log_files},
};

const REMEDY: &str = "set onPositionLost: Resnapshot to copy the tables again, \
    and raise binlog_expire_logs_seconds on the source";

/// Fails with [`Reason::PositionLost`] when the stream can't go on from the position.
pub(crate) async fn check_position(
    connection: &mut Connection,
    facts: &ServerFacts,
    position: &LogPosition,
) -> Result<()> {
    match position {
        LogPosition::Gtid(set) if facts.has_gtids() => {
            let executed = executed_up_to(connection, set).await?;
            let purged = gtid_set(connection, "gtid_purged").await?;
            check_gtids(connection.address(), set, &executed, &purged)
        }
        // A server that never had a transaction has the same empty position in both modes.
        LogPosition::Gtid(_) => Err(lost(
            connection.address(),
            "the position is a GTID set, but gtid_mode is not ON any more",
        )),
        LogPosition::File { file, offset } => {
            let files = log_files(connection).await?;
            check_file(connection.address(), (file, *offset), &files)
        }
        LogPosition::Lsn(_) | LogPosition::Offsets(_) => Err(Error::new(
            Reason::InvalidConfig,
            format!("the position {position} is not one of MySQL"),
        )
        .with_hint("this replica was filled from another kind of source: use another target")),
    }
}

/// What the server has executed. A transaction is in the log, and so in the stream, a moment before
/// the server counts it as executed; what is still missing after a while it never had.
async fn executed_up_to(connection: &mut Connection, position: &GtidSet) -> Result<GtidSet> {
    const WAIT_SECONDS: u32 = 5;
    let executed = gtid_set(connection, "gtid_executed").await?;
    if executed.contains_set(position) {
        return Ok(executed);
    }
    let set = quote_text(&position.to_string());
    connection
        .query_drop(&format!(
            "SELECT WAIT_FOR_EXECUTED_GTID_SET({set}, {WAIT_SECONDS})"
        ))
        .await?;
    gtid_set(connection, "gtid_executed").await
}

fn check_gtids(
    address: &str,
    position: &GtidSet,
    executed: &GtidSet,
    purged: &GtidSet,
) -> Result<()> {
    let missing = purged.subtract(position);
    if !missing.is_empty() {
        let count = missing.transaction_count();
        return Err(lost(
            address,
            &format!(
                "the log was purged of {count} transactions that are not applied yet: {missing}"
            ),
        ));
    }
    let errant = position.subtract(executed);
    if !errant.is_empty() {
        let count = errant.transaction_count();
        return Err(lost(
            address,
            &format!("the replica holds {count} transactions that the server never had: {errant}"),
        ));
    }
    Ok(())
}

fn check_file(address: &str, (file, offset): (&str, u64), files: &[(String, u64)]) -> Result<()> {
    let Some((_, size)) = files.iter().find(|(name, _)| name == file) else {
        let oldest = files.first().map_or("none", |(name, _)| name);
        return Err(lost(
            address,
            &format!("the log file {file} is gone, the oldest is {oldest}"),
        ));
    };
    if offset > *size {
        return Err(lost(
            address,
            &format!("the log file {file} has {size} bytes, the position is at {offset}"),
        ));
    }
    Ok(())
}

fn lost(address: &str, what: &str) -> Error {
    Error::new(Reason::PositionLost, format!("MySQL at {address}: {what}")).with_hint(REMEDY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(numbers: &str) -> GtidSet {
        format!("{A}:{numbers}").parse().unwrap()
    }

    #[test]
    fn positions_are_compared_by_inclusion() {
        let none = GtidSet::new();
        check_gtids("db:1", &set("1-5"), &set("1-9"), &set("1-3")).unwrap();
        check_gtids("db:1", &none, &set("1-9"), &none).unwrap();
        let purged = check_gtids("db:1", &set("1-5"), &set("1-9"), &set("1-7")).unwrap_err();
        assert_eq!(purged.reason(), Reason::PositionLost);
        assert!(purged.message().contains(&format!("{A}:6-7")), "{purged}");
        let errant = check_gtids("db:1", &set("1-11"), &set("1-9"), &none).unwrap_err();
        assert!(errant.message().contains(&format!("{A}:10-11")), "{errant}");
    }

    #[test]
    fn files_must_be_there_and_long_enough() {
        let files = [("b.000002".to_owned(), 100), ("b.000003".to_owned(), 50)];
        check_file("db:1", ("b.000002", 100), &files).unwrap();
        assert!(check_file("db:1", ("b.000001", 4), &files).is_err());
        assert!(check_file("db:1", ("b.000003", 51), &files).is_err());
    }
}
