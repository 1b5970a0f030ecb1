//! Errors: each has a [`Reason`] that names it in status and metrics, and each reason has a
//! [`Class`], decided in one table, that says what the pipeline does about it.

use std::{error::Error as StdError, fmt};

use crate::schema::TableId;

/// A result of the data path.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the pipeline does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again with backoff, for ever: the world may mend itself and nothing is lost meanwhile.
    Retry,
    /// Stop this table alone; the others go on.
    StopTable,
    /// Stop the pipeline and wait for a person.
    StopPipeline,
}

/// Why something failed, as it appears in status, events and metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The server can't be reached, or the connection broke.
    Unreachable,
    /// The server is there but can't work now (starting, read-only, disk full, lock timeout).
    Unavailable,
    /// The server refused the user or the password.
    AccessDenied,
    /// The user lacks a privilege.
    MissingPrivilege,
    /// TLS could not be agreed on, or a certificate is not trusted.
    TlsFailed,
    /// The named database does not exist.
    DatabaseMissing,
    /// A server setting that capture depends on is off.
    PrerequisiteMissing,
    /// No table matches the selection.
    NoTables,
    /// A table that is to be read does not exist (any more).
    TableMissing,
    /// The log no longer holds the position, or the server never had it.
    PositionLost,
    /// The log holds a statement instead of the rows that it changed.
    StatementInLog,
    /// An event of the log can't be decoded.
    DecodeFailed,
    /// The target's table can't take the source's rows.
    TargetIncompatible,
    /// The target refuses a row for its content, and the policy says stop.
    RowRefused,
    /// A schema change whose policy is `Fail`.
    SchemaChangeRefused,
    /// A schema change whose policy is `Pause`.
    SchemaChangePaused,
    /// A newer agent has taken over.
    Fenced,
    /// The configuration is wrong.
    InvalidConfig,
    /// A limit is exceeded that can't be raised.
    LimitExceeded,
    /// A fault of Sluice itself.
    Internal,
}

impl Reason {
    /// What is done about it. This is the one place that decides.
    pub fn class(self) -> Class {
        match self {
            // A password may be rotated and a grant restored while the agent waits.
            Self::Unreachable
            | Self::Unavailable
            | Self::AccessDenied
            | Self::MissingPrivilege
            | Self::TlsFailed
            | Self::DatabaseMissing
            | Self::PrerequisiteMissing
            | Self::NoTables => Class::Retry,
            Self::TableMissing
            | Self::TargetIncompatible
            | Self::RowRefused
            | Self::SchemaChangeRefused
            | Self::SchemaChangePaused => Class::StopTable,
            Self::PositionLost
            | Self::StatementInLog
            | Self::DecodeFailed
            | Self::Fenced
            | Self::InvalidConfig
            | Self::LimitExceeded
            | Self::Internal => Class::StopPipeline,
        }
    }

    /// The name in status, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::Unavailable => "Unavailable",
            Self::AccessDenied => "AccessDenied",
            Self::MissingPrivilege => "MissingPrivilege",
            Self::TlsFailed => "TlsFailed",
            Self::DatabaseMissing => "DatabaseMissing",
            Self::PrerequisiteMissing => "PrerequisiteMissing",
            Self::NoTables => "NoTables",
            Self::TableMissing => "TableMissing",
            Self::PositionLost => "PositionLost",
            Self::StatementInLog => "StatementInLog",
            Self::DecodeFailed => "DecodeFailed",
            Self::TargetIncompatible => "TargetIncompatible",
            Self::RowRefused => "RowRefused",
            Self::SchemaChangeRefused => "SchemaChangeRefused",
            Self::SchemaChangePaused => "SchemaChangePaused",
            Self::Fenced => "Fenced",
            Self::InvalidConfig => "InvalidConfig",
            Self::LimitExceeded => "LimitExceeded",
            Self::Internal => "Internal",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What went wrong, where, and what to do about it. Never holds a row's values or a secret.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    reason: Reason,
    message: String,
    hint: Option<String>,
    table: Option<TableId>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message: lower case, no full stop, naming the thing that failed.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            reason,
            message: message.into(),
            hint: None,
            table: None,
            source: None,
        }))
    }

    /// Adds what a person can do about it, preferably the exact statement.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the table concerned.
    #[must_use]
    pub fn with_table(mut self, table: TableId) -> Self {
        self.0.table = Some(table);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The reason.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// What the pipeline does about it.
    pub fn class(&self) -> Class {
        self.0.reason.class()
    }

    /// What happened, without the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The table concerned.
    pub fn table(&self) -> Option<&TableId> {
        self.0.table.as_ref()
    }

    /// The message with every cause, for one line of status.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let piece = error.to_string();
            if !text.contains(&piece) {
                text.push_str(": ");
                text.push_str(&piece);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.table {
            Some(table) if !self.0.message.contains(&table.to_string()) => {
                write!(formatter, "table {table}: {}", self.0.message)
            }
            _ => formatter.write_str(&self.0.message),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
