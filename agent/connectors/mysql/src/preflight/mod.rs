//! The prerequisites of capture, each with the exact statement that mends it.
//!
//! [`check`] looks at everything and reports everything, for `sluice check`; `ensure` looks at
//! the server alone and fails with the first thing that stands in the way, for every start.

mod tables;

use std::sync::Arc;

use sluice_agent_api::{
    SecretStore,
    config::MysqlConfig,
    status::{Check, CheckOutcome},
};
use sluice_core::{Error, Reason, Result, TableSelection};

use crate::{
    connect::{Connection, Connector, Version, server_code},
    server::{LogStatus, ServerFacts},
    watermark_table,
};

/// What was found about one prerequisite.
struct Finding {
    name: &'static str,
    reason: Reason,
    outcome: CheckOutcome,
    message: String,
    remedy: Option<String>,
}

impl Finding {
    fn passed(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(name, CheckOutcome::Passed, message, None)
    }

    fn warning(name: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, CheckOutcome::Warning, message, Some(remedy.into()))
    }

    fn failed(name: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, CheckOutcome::Failed, message, Some(remedy.into()))
    }

    fn new(
        name: &'static str,
        outcome: CheckOutcome,
        message: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        let reason = Reason::PrerequisiteMissing;
        Self {
            name,
            reason,
            outcome,
            message: message.into(),
            remedy,
        }
    }

    fn because(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    fn of_error(name: &'static str, error: &Error) -> Self {
        let finding = Self::new(
            name,
            CheckOutcome::Failed,
            error.report(),
            error.hint().map(Into::into),
        );
        finding.because(error.reason())
    }

    fn into_check(self, subject: &str) -> Check {
        Check {
            subject: subject.to_owned(),
            name: self.name.to_owned(),
            outcome: self.outcome,
            message: self.message,
            remedy: self.remedy,
        }
    }

    fn into_error(self, address: &str) -> Error {
        let error = Error::new(self.reason, format!("MySQL at {address}: {}", self.message));
        match self.remedy {
            Some(remedy) => error.with_hint(remedy),
            None => error,
        }
    }
}

/// Makes every check; `subject` names the resource concerned.
pub async fn check(
    subject: &str,
    config: &MysqlConfig,
    selection: &TableSelection,
    secrets: Arc<dyn SecretStore>,
) -> Vec<Check> {
    let connector = Connector::new(config.connection.clone(), secrets);
    let mut findings = Vec::new();
    match connector.connect().await {
        Ok(mut connection) => {
            findings.push(Finding::passed(
                "Reachable",
                format!("{} answers", connector.place()),
            ));
            findings.push(Finding::passed("Credentials", "the user may log in"));
            let examined = examine(&mut connection, config, selection, &mut findings).await;
            if let Err(error) = examined {
                findings.push(Finding::of_error("Connection", &error));
            }
        }
        Err(error) => findings.extend(connect_findings(&error, &connector.place())),
    }
    findings
        .into_iter()
        .map(|finding| finding.into_check(subject))
        .collect()
}

/// Checks the server and answers with what it says of itself, or fails with the first finding that
/// stands in the way.
pub(crate) async fn ensure(connection: &mut Connection, server_id: u32) -> Result<ServerFacts> {
    let facts = ServerFacts::load(connection).await?;
    let mut findings = Vec::new();
    examine_server(connection, &facts, server_id, &mut findings).await?;
    let failed = findings
        .into_iter()
        .find(|finding| finding.outcome == CheckOutcome::Failed);
    failed.map_or(Ok(facts), |finding| {
        Err(finding.into_error(connection.address()))
    })
}

/// What a failed connection says about the checks that it stands for.
fn connect_findings(error: &Error, address: &str) -> Vec<Finding> {
    let (passed, failed): (&[&str], &str) = match error.reason() {
        Reason::AccessDenied | Reason::MissingPrivilege => (&["Reachable"], "Credentials"),
        Reason::TlsFailed => (&["Reachable"], "Tls"),
        _ => (&[], "Reachable"),
    };
    let mut findings: Vec<_> = passed
        .iter()
        .map(|name| Finding::passed(name, format!("{address} answers")))
        .collect();
    findings.push(Finding::of_error(failed, error));
    findings.push(Finding::new(
        "ServerSettings",
        CheckOutcome::Skipped,
        "not checked: there is no connection",
        None,
    ));
    findings
}

async fn examine(
    connection: &mut Connection,
    config: &MysqlConfig,
    selection: &TableSelection,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let facts = ServerFacts::load(connection).await?;
    findings.push(encryption(connection).await?);
    examine_server(connection, &facts, config.server_id, findings).await?;
    tables::examine_tables(connection, &facts, selection, findings).await
}

async fn encryption(connection: &mut Connection) -> Result<Finding> {
    let rows = connection.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'", |row| {
        row.text(1).into_owned()
    });
    let cipher = rows.await?.pop().unwrap_or_default();
    Ok(if cipher.is_empty() {
        Finding::warning(
            "Tls",
            "the connection is not encrypted",
            "set tls.mode to VerifyFull",
        )
    } else {
        Finding::passed("Tls", format!("the connection is encrypted ({cipher})"))
    })
}

async fn examine_server(
    connection: &mut Connection,
    facts: &ServerFacts,
    server_id: u32,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    findings.push(version(connection));
    findings.extend(log_settings(facts));
    findings.push(own_server_id(facts, server_id));
    findings.push(retention(facts));
    findings.push(privilege(connection, facts, "REPLICATION CLIENT").await?);
    findings.push(privilege(connection, facts, "REPLICATION SLAVE").await?);
    findings.extend(replica(connection, facts).await?);
    if !facts.has_gtids() {
        findings.push(watermarks(connection, facts).await?);
    }
    Ok(())
}

fn version(connection: &Connection) -> Finding {
    const NAME: &str = "Version";
    let text = connection.version_text();
    if connection.is_mariadb() {
        return Finding::failed(
            NAME,
            format!("the server is MariaDB {text}"),
            "use MySQL 8.0.1 or later",
        );
    }
    if connection.version() < Version(8, 0, 1) {
        return Finding::failed(
            NAME,
            format!("the server is MySQL {text}"),
            "upgrade to MySQL 8.0.1 or later",
        );
    }
    Finding::passed(NAME, format!("MySQL {text}"))
}

/// The settings of the log. An absent setting has been dropped by a later server that knows no
/// other way.
fn log_settings(facts: &ServerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(if facts.setting("log_bin").eq_ignore_ascii_case("ON") {
        Finding::passed("BinaryLog", "log_bin is ON")
    } else {
        let remedy = "start the server with log_bin=binlog (in my.cnf, section [mysqld])";
        Finding::failed("BinaryLog", "log_bin is OFF", remedy)
    });
    for (check, setting, wanted) in [
        ("BinlogFormat", "binlog_format", "ROW"),
        ("BinlogRowMetadata", "binlog_row_metadata", "FULL"),
    ] {
        let value = facts.setting(setting);
        findings.push(if value.is_empty() || value.eq_ignore_ascii_case(wanted) {
            Finding::passed(check, format!("{setting} is {wanted}"))
        } else {
            let remedy = format!("SET PERSIST {setting} = {wanted}");
            Finding::failed(check, format!("{setting} is {value}"), remedy)
        });
    }
    let image = facts.setting("binlog_row_image");
    findings.push(Finding::passed(
        "BinlogRowImage",
        format!("binlog_row_image is {image}"),
    ));
    findings.push(if facts.has_gtids() {
        Finding::passed("GtidMode", "gtid_mode is ON")
    } else {
        Finding::warning(
            "GtidMode",
            "gtid_mode is not ON: capture can't follow a failover",
            "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = OFF_PERMISSIVE; \
             SET PERSIST gtid_mode = ON_PERMISSIVE; SET PERSIST gtid_mode = ON",
        )
    });
    if !facts.has_gtids()
        && facts
            .setting("binlog_order_commits")
            .eq_ignore_ascii_case("OFF")
    {
        findings.push(Finding::failed(
            "BinlogOrderCommits",
            "binlog_order_commits is OFF: without GTIDs a snapshot can't tell what it sees",
            "SET PERSIST binlog_order_commits = ON",
        ));
    }
    findings
}

fn own_server_id(facts: &ServerFacts, server_id: u32) -> Finding {
    const NAME: &str = "ServerId";
    let theirs = facts.setting("server_id");
    if theirs == "0" {
        return Finding::failed(
            NAME,
            "the server's server_id is 0",
            "SET PERSIST server_id = 1",
        );
    }
    if server_id == 0 {
        return Finding::failed(
            NAME,
            "the agent's server id is 0",
            "set serverId to a number of its own",
        );
    }
    if theirs == server_id.to_string() {
        let message = format!("the agent's server id {server_id} is the server's own");
        return Finding::failed(NAME, message, "set serverId to another number");
    }
    Finding::passed(
        NAME,
        format!("the agent reads the log as replica {server_id}"),
    )
}

fn retention(facts: &ServerFacts) -> Finding {
    const NAME: &str = "BinlogRetention";
    const DAY: u64 = 86_400;
    match facts.retention_seconds() {
        Some(seconds) if seconds < DAY => Finding::warning(
            NAME,
            format!("the log is kept for {seconds} s: a longer pause loses the position"),
            "SET PERSIST binlog_expire_logs_seconds = 259200",
        ),
        Some(seconds) => Finding::passed(NAME, format!("the log is kept for {seconds} s")),
        None => Finding::passed(NAME, "the log is never purged by age"),
    }
}

/// Finds out by a statement that needs the privilege, so that roles count as well.
async fn privilege(
    connection: &mut Connection,
    facts: &ServerFacts,
    privilege: &'static str,
) -> Result<Finding> {
    let (name, sql) = if privilege == "REPLICATION CLIENT" {
        let sql = if facts.version >= Version(8, 2, 0) {
            "SHOW BINARY LOG STATUS"
        } else {
            "SHOW MASTER STATUS"
        };
        ("ReplicationClient", sql)
    } else {
        let sql = if facts.version >= Version(8, 0, 22) {
            "SHOW REPLICAS"
        } else {
            "SHOW SLAVE HOSTS"
        };
        ("ReplicationSlave", sql)
    };
    match connection.query_drop(sql).await {
        Ok(()) => Ok(Finding::passed(
            name,
            format!("{} has {privilege}", facts.account),
        )),
        Err(error) if server_code(&error) == Some(1227) => {
            let message = format!("{} lacks {privilege}", facts.account);
            let remedy = format!("GRANT {privilege} ON *.* TO {}", facts.account);
            Ok(Finding::failed(name, message, remedy).because(Reason::MissingPrivilege))
        }
        Err(error) => Err(error),
    }
}

/// A replica logs what it replicates only if told so.
async fn replica(connection: &mut Connection, facts: &ServerFacts) -> Result<Option<Finding>> {
    const NAME: &str = "LogReplicaUpdates";
    let sql = if facts.version >= Version(8, 0, 22) {
        "SHOW REPLICA STATUS"
    } else {
        "SHOW SLAVE STATUS"
    };
    let rows = match connection.query(sql, |_| ()).await {
        Ok(rows) => rows,
        Err(error) if server_code(&error) == Some(1227) => return Ok(None),
        Err(error) => return Err(error),
    };
    if rows.is_empty() {
        return Ok(None);
    }
    let is_off = |name| facts.setting(name).eq_ignore_ascii_case("OFF");
    Ok(Some(
        if is_off("log_replica_updates") || is_off("log_slave_updates") {
            let remedy =
                "start the server with log_replica_updates=ON (in my.cnf, section [mysqld])";
            Finding::failed(
                NAME,
                "the server is a replica that does not log what it replicates",
                remedy,
            )
        } else {
            Finding::passed(NAME, "the server is a replica that logs what it replicates")
        },
    ))
}

async fn watermarks(connection: &mut Connection, facts: &ServerFacts) -> Result<Finding> {
    const NAME: &str = "WatermarkTable";
    match watermark_table::write(connection).await {
        Ok(()) => Ok(Finding::passed(NAME, "sluice.watermarks can be written")),
        Err(error) if error.reason() == Reason::Unreachable => Err(error),
        Err(error) => {
            let message = format!(
                "without GTIDs a snapshot writes to sluice.watermarks, and that fails: {}",
                error.report()
            );
            let remedy = format!(
                "CREATE DATABASE IF NOT EXISTS sluice; GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON sluice.* TO {}",
                facts.account
            );
            Ok(Finding::failed(NAME, message, remedy).because(Reason::MissingPrivilege))
        }
    }
}

/// Whether the log leaves out the databases of selected tables.
fn filters(status: &LogStatus, databases: &[&str]) -> Option<Finding> {
    let listed = |list: &str, database: &str| list.split(',').any(|entry| entry == database);
    let missing = databases.iter().find(|database| {
        (!status.only.is_empty() && !listed(&status.only, database))
            || listed(&status.ignored, database)
    })?;
    Some(Finding::failed(
        "BinlogFilter",
        format!("the log leaves out database {missing}"),
        "remove binlog_do_db and binlog_ignore_db from the server's configuration",
    ))
}
