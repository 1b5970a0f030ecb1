//! What a PostgreSQL error means: one table from SQLSTATE to [`Reason`], with the remedy.
//!
//! While rows are applied an error is one of three kinds of [`Trouble`]: the row's own content,
//! the table's, or the session's. The message of the server is passed on, its detail (which quotes
//! values) is not.

use std::error::Error as _;

use sluice_core::{Error, Reason, TableId};
use tokio_postgres::error::{DbError, SqlState};

/// Why rows could not be applied.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server refuses a row for its content; the row's own affair.
    Content(Refusal),
    /// The table can't take rows like these; the table's affair.
    Table(Error),
    /// Anything else; everybody's affair.
    Session(Error),
}

/// The server's or the encoder's reason for refusing a row.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// The SQLSTATE; `22000` when the row never got as far as the server.
    pub(crate) sqlstate: String,
    /// The reason, in words; may quote the row, so it belongs next to the row only.
    pub(crate) message: String,
    /// The constraint or column concerned, for messages that must not quote values.
    pub(crate) object: String,
}

impl Refusal {
    /// A unique index already holds the value.
    pub(crate) fn is_unique_violation(&self) -> bool {
        self.sqlstate == SqlState::UNIQUE_VIOLATION.code()
    }
}

/// Classifies an error of a connection attempt or of a session without a table in hand.
pub(crate) fn classify(address: &str, error: tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return broken(address, error);
    };
    let (reason, hint) = session_reason(db);
    let message = format!("postgres at {address}: {}", safe_message(db));
    let mut classified = Error::new(reason, message);
    if let Some(hint) = hint.or_else(|| db.hint().map(ToOwned::to_owned)) {
        classified = classified.with_hint(hint);
    }
    classified
}

/// Classifies an error of a statement that applies rows to a table.
pub(crate) fn classify_apply(
    address: &str,
    table: &TableId,
    error: tokio_postgres::Error,
) -> Trouble {
    let Some(db) = error.as_db_error() else {
        return Trouble::Session(broken(address, error));
    };
    let code = db.code().code();
    // A function or trigger of the target that raises, and an index entry that is too large, refuse
    // the row just as a constraint does.
    let content = matches!(code.get(..2), Some("22" | "23" | "P0" | "44"))
        || *db.code() == SqlState::PROGRAM_LIMIT_EXCEEDED;
    if content {
        return Trouble::Content(Refusal {
            sqlstate: code.to_owned(),
            message: full_message(db),
            object: object(db),
        });
    }
    if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE {
        // A grant may come back while everything waits; nothing is lost meanwhile.
        let place = crate::sql::qualified(&table.schema, &table.name);
        let schema = crate::sql::identifier(&table.schema);
        let hint = format!(
            "GRANT USAGE ON SCHEMA {schema} TO the sink's user; \
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {place} TO the sink's user"
        );
        let error = classify(address, error);
        return Trouble::Session(error.with_table(table.clone()).with_hint(hint));
    }
    match table_hint(db, table) {
        Some(hint) => Trouble::Table(
            Error::new(
                Reason::TargetIncompatible,
                format!("table {table}: {}", safe_message(db)),
            )
            .with_table(table.clone())
            .with_hint(hint),
        ),
        None => Trouble::Session(classify(address, error)),
    }
}

/// Whether an error only says that an earlier statement of the transaction failed.
pub(crate) fn is_secondary(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
}

/// Whether an error has this SQLSTATE.
pub(crate) fn is(error: &tokio_postgres::Error, code: &SqlState) -> bool {
    error.code() == Some(code)
}

fn broken(address: &str, error: tokio_postgres::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let reason = if text.contains("TLS") || text.contains("certificate") {
        Reason::TlsFailed
    } else if text.contains("authentication") || text.contains("password") {
        Reason::AccessDenied
    } else {
        Reason::Unreachable
    };
    let hint = match reason {
        Reason::TlsFailed if text.contains("server does not support TLS") => {
            "set ssl=on on the server, or tls.mode: Disable"
        }
        Reason::TlsFailed if text.contains("not valid for name") => {
            "connect by a name that the certificate holds, or set tls.mode: VerifyCa"
        }
        Reason::TlsFailed => "check tls.mode and the authority's certificate (tls.caSecretRef)",
        Reason::AccessDenied => "check the Secret's username and password",
        _ => "check host, port and network; the agent tries again for ever",
    };
    let message = match reason {
        Reason::TlsFailed => format!("TLS with postgres at {address} failed"),
        Reason::AccessDenied => format!("postgres at {address} refused the login"),
        _ => format!("postgres at {address} can't be reached"),
    };
    Error::new(reason, message)
        .with_hint(hint)
        .with_source(error)
}

fn session_reason(db: &DbError) -> (Reason, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match db.code().code() {
        "28P01" => (
            Reason::AccessDenied,
            hint("check the Secret's username and password; ALTER ROLE … PASSWORD '…'"),
        ),
        "28000" => (
            Reason::AccessDenied,
            hint("allow this user, database and address in pg_hba.conf, or set tls.mode"),
        ),
        "3D000" => (Reason::DatabaseMissing, hint("CREATE DATABASE …")),
        "42501" => (Reason::MissingPrivilege, None),
        "53100" => (Reason::Unavailable, hint("free disk space on the target")),
        "53200" => (
            Reason::Unavailable,
            hint("give the target more memory, or lower apply.batchRows"),
        ),
        "53300" => (
            Reason::Unavailable,
            hint("raise max_connections on the target or free connections"),
        ),
        "25006" => (
            Reason::Unavailable,
            hint("the target is read-only: connect to the primary"),
        ),
        "57P03" => (Reason::Unavailable, hint("the target is starting; wait")),
        "55P03" => (
            Reason::Unavailable,
            hint(
                "somebody holds a lock on the target: SELECT pid, query FROM pg_stat_activity WHERE wait_event_type = 'Lock' OR state = 'idle in transaction'",
            ),
        ),
        code if code.starts_with("08") => (Reason::Unreachable, None),
        // Conflicts with others, ends of the session, shortages: the next try may do.
        _ => (Reason::Unavailable, None),
    }
}

/// What to do when the table, and not the server, is in the way; `None` when it is not.
fn table_hint(db: &DbError, table: &TableId) -> Option<String> {
    let resnapshot = format!("then copy the table again: sluice run --resnapshot {table}");
    let text = match db.code().code() {
        "42P01" | "3F000" => format!("the target's table is gone; {resnapshot}"),
        "42703" => format!("a column of the target's table is gone; add it, {resnapshot}"),
        "42P10" => {
            let key = "a unique index on the key's columns is missing in the target";
            format!("{key}; add it, {resnapshot}")
        }
        code if code.starts_with("42")
            || matches!(code, "0A000" | "55000" | "2BP01" | "428C9" | "54011") =>
        {
            format!("mend the target's table, {resnapshot}")
        }
        _ => return None,
    };
    Some(text)
}

/// The message without anything that may quote a row: only the primary message of errors that are
/// not about values.
fn safe_message(db: &DbError) -> String {
    format!("{} (SQLSTATE {})", db.message(), db.code().code())
}

fn full_message(db: &DbError) -> String {
    match db.detail() {
        Some(detail) => format!("{}: {detail}", db.message()),
        None => db.message().to_owned(),
    }
}

fn object(db: &DbError) -> String {
    match (db.constraint(), db.column()) {
        (Some(constraint), _) => format!("constraint {constraint}"),
        (None, Some(column)) => format!("column {column}"),
        (None, None) => format!("SQLSTATE {}", db.code().code()),
    }
}
