//! What a server says of itself: version, settings, the end of its log.

use std::{collections::HashMap, sync::Arc};

use sluice_core::{
    Error, GtidSet, LogPosition, Reason, Result, Watermark, position::InvalidLogPosition,
};

use crate::{
    binlog::event::file_number,
    connect::{Connection, Version},
};

/// The settings that capture depends on.
const SETTINGS: &str = "'log_bin','binlog_format','binlog_row_metadata','binlog_row_image',\
    'binlog_expire_logs_seconds','binlog_order_commits','gtid_mode','server_id','server_uuid',\
    'log_replica_updates','log_slave_updates','lower_case_table_names','binlog_transaction_compression'";

/// What is known about a server.
#[derive(Debug, Clone)]
pub(crate) struct ServerFacts {
    /// Its version.
    pub(crate) version: Version,
    /// Its name among servers.
    pub(crate) uuid: Arc<str>,
    /// The account that we act as, quoted for SQL.
    pub(crate) account: String,
    settings: HashMap<String, String>,
}

impl ServerFacts {
    /// Asks the server.
    pub(crate) async fn load(connection: &mut Connection) -> Result<Self> {
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({SETTINGS})");
        let rows = connection.query(&sql, |row| {
            (row.text(0).to_ascii_lowercase(), row.text(1).into_owned())
        });
        let settings: HashMap<_, _> = rows.await?.into_iter().collect();
        let account = connection
            .query_text("SELECT CURRENT_USER()")
            .await?
            .unwrap_or_default();
        let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
        Ok(Self {
            version: connection.version(),
            uuid: settings
                .get("server_uuid")
                .map_or("", String::as_str)
                .into(),
            account: format!("'{}'@'{host}'", user.replace('\'', "''")),
            settings,
        })
    }

    /// A setting's value; empty when the server has no such setting.
    pub(crate) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    /// Whether every transaction has a GTID.
    pub(crate) fn has_gtids(&self) -> bool {
        self.setting("gtid_mode").eq_ignore_ascii_case("ON")
    }

    /// Whether the server folds table names to lower case.
    pub(crate) fn folds_names(&self) -> bool {
        self.setting("lower_case_table_names") == "1"
    }

    /// How long the server keeps its log; `None` for ever.
    pub(crate) fn retention_seconds(&self) -> Option<u64> {
        self.setting("binlog_expire_logs_seconds")
            .parse()
            .ok()
            .filter(|&seconds| seconds > 0)
    }
}

/// The end of the log, as the server reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogStatus {
    /// The file.
    pub(crate) file: String,
    /// The offset of the next event.
    pub(crate) offset: u64,
    /// The databases that alone are logged, and those that are not.
    pub(crate) only: String,
    pub(crate) ignored: String,
}

impl LogStatus {
    /// Asks the server; `None` when it keeps no log.
    pub(crate) async fn load(connection: &mut Connection) -> Result<Option<Self>> {
        let sql = if connection.version() >= Version(8, 2, 0) {
            "SHOW BINARY LOG STATUS"
        } else {
            "SHOW MASTER STATUS"
        };
        let rows = connection.query(sql, |row| Self {
            file: row.named("File").into_owned(),
            offset: row.named("Position").parse().unwrap_or(0),
            only: row.named("Binlog_Do_DB").into_owned(),
            ignored: row.named("Binlog_Ignore_DB").into_owned(),
        });
        Ok(rows.await?.into_iter().next())
    }

    /// Asks a server that has to keep a log.
    pub(crate) async fn need(connection: &mut Connection) -> Result<Self> {
        Self::load(connection).await?.ok_or_else(|| {
            let message = format!("MySQL at {} keeps no log", connection.address());
            Error::new(Reason::PrerequisiteMissing, message)
                .with_hint("start the server with log_bin=binlog (in my.cnf, section [mysqld])")
        })
    }

    /// The place by the server's own count.
    pub(crate) fn watermark(&self, server: &Arc<str>) -> Watermark {
        watermark(server, file_number(&self.file), self.offset)
    }
}

/// A place in a server's log: the file's number in the high half, the offset in the low one.
pub(crate) fn watermark(server: &Arc<str>, file_number: u64, offset: u64) -> Watermark {
    Watermark {
        server: Arc::clone(server),
        offset: u128::from(file_number) << 64 | u128::from(offset),
    }
}

/// The files of the log with their sizes, oldest first.
pub(crate) async fn log_files(connection: &mut Connection) -> Result<Vec<(String, u64)>> {
    connection
        .query("SHOW BINARY LOGS", |row| {
            (row.text(0).into_owned(), row.number(1).unwrap_or(0))
        })
        .await
}

/// A global GTID set: `gtid_executed` or `gtid_purged`.
pub(crate) async fn gtid_set(connection: &mut Connection, name: &str) -> Result<GtidSet> {
    let text = connection
        .query_text(&format!("SELECT @@GLOBAL.{name}"))
        .await?
        .unwrap_or_default();
    match text.parse() {
        Ok(LogPosition::Gtid(set)) => Ok(set),
        _ => Err(Error::new(
            Reason::Internal,
            format!("the server's {name} can't be read"),
        )
        .with_source(InvalidLogPosition(text))),
    }
}
