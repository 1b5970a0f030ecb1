//! The schema `sluice` of the target: position and fence, links of tables, dead letters.
//!
//! [`ensure`] makes it, once, under an advisory lock, so that two agents may start at once.
//! [`take_over`] makes this agent the only writer: it counts the epoch up, and where an older
//! agent's open transaction holds the row, it ends that agent's session.

use std::{str::FromStr, sync::Arc, time::Duration};

use sluice_core::{Error, LogPosition, Position, Reason, Requests, Result, SnapshotState};
use tokio_postgres::{Row, error::SqlState};
use tracing::{info, warn};

use crate::{
    connect::{Session, truncated},
    error::is,
    sql::literal,
};

/// Written into the schema's comment; another value makes [`ensure`] run again.
const VERSION: &str = "Sluice: positions, table links and dead letters (catalog version 5)";
/// "sluice", as a number of PostgreSQL's advisory locks.
const ADVISORY_LOCK: i64 = 0x73_6c_75_69_63_65;
/// How long an older agent may finish what it has open.
pub(crate) const TAKE_OVER_WAIT: Duration = Duration::from_secs(3);

/// Who writes, and what the target holds.
pub(crate) struct Ownership {
    /// This agent's number.
    pub(crate) epoch: i64,
    /// The layout of replicas that it is part of.
    pub(crate) generation: i64,
    /// The position that the target holds.
    pub(crate) position: Option<Position>,
}

/// Creates or upgrades the schema `sluice`.
pub(crate) async fn ensure(session: &Session) -> Result<()> {
    let client = &session.client;
    let found: Option<String> = client
        .query_one(
            "SELECT obj_description(to_regnamespace('sluice')::oid, 'pg_namespace')",
            &[],
        )
        .await
        .map_err(|error| session.error(error))?
        .get(0);
    if found.as_deref() == Some(VERSION) {
        return Ok(());
    }
    // CREATE SCHEMA asks for its privilege even where the schema exists, hence the question first.
    let script = format!(
        "BEGIN;
         SELECT pg_advisory_xact_lock({ADVISORY_LOCK});
         DO $$ BEGIN
             IF to_regnamespace('sluice') IS NULL THEN CREATE SCHEMA sluice; END IF;
         END $$;
         {}
         {}
         COMMENT ON SCHEMA sluice IS {};
         COMMIT;",
        include_str!("catalog.sql"),
        include_str!("replicated.sql"),
        literal(VERSION),
    );
    let outcome = client.batch_execute(&script).await;
    if let Err(error) = outcome {
        // The script's own transaction; nothing of it stays.
        client
            .batch_execute("ROLLBACK")
            .await
            .map_err(|error| session.error(error))?;
        return Err(privilege_hint(session, error));
    }
    info!(target = %session.address, "schema sluice is in place");
    Ok(())
}

/// Fails unless the schema `sluice` is there and of this version; for those who only use it.
pub(crate) async fn expect(session: &Session) -> Result<()> {
    let sql = "SELECT obj_description(to_regnamespace('sluice')::oid, 'pg_namespace')";
    let found = session.client.query_one(sql, &[]).await;
    let found: Option<String> = found.map_err(|error| session.error(error))?.get(0);
    if found.as_deref() == Some(VERSION) {
        return Ok(());
    }
    let message = match found {
        None => "the target has no schema sluice",
        Some(_) => "the target's schema sluice is of another version",
    };
    Err(Error::new(Reason::Unavailable, message)
        .with_hint("run the pipeline once with this version of Sluice, which makes it"))
}

fn privilege_hint(session: &Session, error: tokio_postgres::Error) -> Error {
    let denied = is(&error, &SqlState::INSUFFICIENT_PRIVILEGE);
    let classified = session.error(error);
    if !denied {
        return classified;
    }
    classified.with_hint(format!(
        "GRANT CREATE ON DATABASE {} TO {}",
        session.database, session.user
    ))
}

/// What this agent remembers of its own hold on a sink while it opens it again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// The epoch that it had.
    pub(crate) epoch: i64,
    /// The layout of replicas that it was part of.
    pub(crate) generation: i64,
    /// The server's process of its last attempt, whose outcome it may not know.
    pub(crate) backend_pid: i32,
}

/// Fails when another agent has taken over since: taking the sink back would put out the newer one.
async fn check_claim(session: &Session, sink: &str, claim: Claim) -> Result<()> {
    let sql = "SELECT epoch, backend_pid FROM sluice.positions WHERE sink = $1";
    let row = session.client.query_opt(sql, &[&sink]).await;
    let row = row.map_err(|error| session.error(error))?;
    let is_ours = row.is_none_or(|row| {
        row.get::<_, i64>(0) <= claim.epoch || row.get::<_, i32>(1) == claim.backend_pid
    });
    if is_ours { Ok(()) } else { Err(fenced(sink)) }
}

/// Makes this session the only writer of `sink`. An agent that had it before has a claim, and only
/// takes it over from itself.
pub(crate) async fn take_over(
    session: &Session,
    sink: &str,
    claim: Option<Claim>,
) -> Result<Ownership> {
    let client = &session.client;
    let condition = match claim {
        // Before anything else: nobody who is fenced off may end the newer agent's session.
        Some(claim) => {
            check_claim(session, sink, claim).await?;
            format!(
                "p.epoch <= {} OR p.backend_pid = {}",
                claim.epoch, claim.backend_pid
            )
        }
        None => "true".to_owned(),
    };
    let adopt = format!(
        "INSERT INTO sluice.positions AS p (sink, epoch, backend_pid) VALUES ({sink}, 1, {pid})
         ON CONFLICT (sink) DO UPDATE SET epoch = p.epoch + 1, backend_pid = {pid}, updated_at = now()
         WHERE {condition}
         RETURNING epoch, position, tables::text, requests::text",
        sink = literal(sink),
        pid = session.backend_pid,
    );
    let patience = TAKE_OVER_WAIT.as_millis();
    let mut attempt = 0;
    loop {
        client
            // Flushed at once: an epoch that a crash of the server takes back could be given twice.
            .batch_execute(&format!(
                "SET lock_timeout = {patience}; SET synchronous_commit = on"
            ))
            .await
            .map_err(|error| session.error(error))?;
        let outcome = client.query_opt(&adopt, &[]).await;
        client
            .batch_execute("SET lock_timeout = '30s'; SET synchronous_commit = off")
            .await
            .map_err(|error| session.error(error))?;
        match outcome {
            Ok(Some(row)) => {
                return Ok(Ownership {
                    epoch: row.get(0),
                    generation: 0,
                    position: stored_position(&row)?,
                });
            }
            Ok(None) => return Err(fenced(sink)),
            Err(error) if is(&error, &SqlState::LOCK_NOT_AVAILABLE) && attempt < 3 => {
                end_older_agent(session, sink).await?;
                attempt += 1;
            }
            Err(error) => return Err(session.error(error)),
        }
    }
}

/// Ends the session that holds the position's row, if it is an agent of this pipeline.
pub(crate) async fn end_older_agent(session: &Session, sink: &str) -> Result<()> {
    let application_name = format!("sluice/{sink}");
    let ended = session
        .client
        .query(
            "SELECT a.pid, pg_terminate_backend(a.pid)
             FROM sluice.positions AS p JOIN pg_stat_activity AS a ON a.pid = p.backend_pid
             WHERE p.sink = $1 AND a.application_name = $2
               AND a.datname = current_database() AND a.pid <> pg_backend_pid()",
            &[&sink, &truncated(&application_name)],
        )
        .await
        .map_err(|error| session.error(error))?;
    for row in ended {
        let pid: i32 = row.get(0);
        warn!(sink, pid, "ended the session of an older agent");
    }
    Ok(())
}

/// Ends a session of our own that was given up while a statement of it may still run.
pub(crate) async fn end_session(session: &Session, sink: &str, pid: i32) -> Result<()> {
    let application_name = format!("sluice/{sink}");
    session
        .client
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE pid = $1 AND application_name = $2 AND datname = current_database()
               AND pid <> pg_backend_pid()",
            &[&pid, &truncated(&application_name)],
        )
        .await
        .map_err(|error| session.error(error))?;
    Ok(())
}

/// The position in a row: epoch, position, tables, requests.
pub(crate) fn stored_position(row: &Row) -> Result<Option<Position>> {
    let damaged = |what: &str| {
        Error::new(
            Reason::Internal,
            format!("sluice.positions holds {what} that can't be read"),
        )
        .with_hint("restore the row, or delete it to copy every table again")
    };
    let log: Option<String> = row.get(1);
    let tables: String = row.get(2);
    let requests: String = row.get(3);
    let Some(text) = log else {
        return Ok(None);
    };
    let log = LogPosition::from_str(&text).map_err(|_| damaged("a position"))?;
    let tables: SnapshotState =
        serde_json::from_str(&tables).map_err(|_| damaged("a state of tables"))?;
    let requests: Requests =
        serde_json::from_str(&requests).map_err(|_| damaged("a list of requests"))?;
    Ok(Some(Position {
        log,
        tables: Arc::new(tables),
        requests,
    }))
}

/// The statement that must come first in every transaction: it updates nothing when a newer agent
/// has taken over.
pub(crate) fn fence_statement(sink: &str, epoch: i64) -> String {
    let sink = literal(sink);
    format!(
        "UPDATE sluice.positions SET updated_at = now() WHERE sink = {sink} AND epoch = {epoch}"
    )
}

/// The statement that moves the position; the state of tables and the requests that led to it only
/// when they have changed.
pub(crate) fn position_statement(
    sink: &str,
    epoch: i64,
    position: &Position,
    with_tables: bool,
) -> Result<String> {
    let tables = if with_tables {
        let json = serde_json::to_string(&*position.tables).map_err(|error| {
            Error::new(Reason::Internal, "the state of tables can't be written").with_source(error)
        })?;
        let requests = serde_json::to_string(&position.requests).map_err(|error| {
            Error::new(Reason::Internal, "the list of requests can't be written").with_source(error)
        })?;
        format!(
            ", tables = {}, requests = {}",
            literal(&json),
            literal(&requests)
        )
    } else {
        String::new()
    };
    Ok(format!(
        "UPDATE sluice.positions SET position = {}{tables}, updated_at = clock_timestamp() \
         WHERE sink = {} AND epoch = {epoch}",
        literal(&position.log.to_string()),
        literal(sink),
    ))
}

/// The error of an agent that is not the newest.
pub(crate) fn fenced(sink: &str) -> Error {
    Error::new(
        Reason::Fenced,
        format!("a newer agent has taken over the pipeline {sink}"),
    )
    .with_hint("stop this agent; two agents must not run the same pipeline")
}
