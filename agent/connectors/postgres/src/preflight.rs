//! Whether the target can take a replica, asked before anything is changed.
//!
//! One connection, a handful of questions, nothing written. Each answer is a [`Check`] with the
//! exact statement that mends it; what can't be asked because something before it failed is
//! `Skipped`.

use sluice_agent_api::{
    SecretStore,
    config::PostgresConfig,
    status::{Check, CheckOutcome},
};
use sluice_core::{Error, Reason, TableId};
use tokio_postgres::Row;

use crate::{
    connect::{Session, connect},
    sql::{identifier, qualified},
};

/// The oldest server that is known to work.
const VERSION_MIN: i32 = 120_000;
/// What needs a session, in the order in which it is asked.
const LATER: [&str; 6] = [
    "TargetVersion",
    "TargetWritable",
    "TargetEncoding",
    "TargetCatalog",
    "TargetPrivileges",
    "TargetReplicaRole",
];

/// Checks every prerequisite of a target. `subject` names the resource, such as
/// `ReplicaSink/shop-pg`; `tables` are the target's tables that rows will go to, as far as they are
/// known.
pub async fn check(
    subject: &str,
    postgres: &PostgresConfig,
    tables: &[TableId],
    secrets: &dyn SecretStore,
) -> Vec<Check> {
    let mut report = Report {
        subject,
        checks: Vec::new(),
    };
    let session = match connect(&postgres.connection, secrets, "sluice check").await {
        Ok(session) => session,
        Err(error) => {
            report.failed_connection(&error);
            return report.checks;
        }
    };
    report.passed(
        "TargetReachable",
        format!("connected to {} as {}", session.address, session.user),
    );
    if let Err(error) = ask(&session, tables, &mut report).await {
        let error = session.error(error);
        report.failed("TargetAnswers", error.report(), error.hint());
    }
    report.checks
}

async fn ask(
    session: &Session,
    places: &[TableId],
    report: &mut Report<'_>,
) -> Result<(), tokio_postgres::Error> {
    let facts = session
        .client
        .query_one(
            "SELECT current_setting('server_version'), pg_is_in_recovery(),
                    current_setting('transaction_read_only')::bool,
                    current_setting('server_encoding'),
                    to_regnamespace('sluice') IS NOT NULL,
                    has_database_privilege(current_database(), 'CREATE'),
                    has_database_privilege(current_database(), 'TEMPORARY'),
                    CASE WHEN to_regnamespace('sluice') IS NULL THEN true
                         ELSE has_schema_privilege(to_regnamespace('sluice'), 'CREATE, USAGE') END",
            &[],
        )
        .await?;
    version(session, &facts, report);
    writable(&facts, report);
    encoding(session, &facts, report);
    catalog(session, &facts, report);
    tables(session, &facts, places, report).await?;
    replica_role(session, report);
    Ok(())
}

fn version(session: &Session, facts: &Row, report: &mut Report<'_>) {
    let text: String = facts.get(0);
    if session.version >= VERSION_MIN {
        report.passed("TargetVersion", format!("PostgreSQL {text}"));
    } else {
        let message = format!("PostgreSQL {text} is older than 12");
        report.failed("TargetVersion", message, Some("upgrade the server"));
    }
}

fn writable(facts: &Row, report: &mut Report<'_>) {
    let (in_recovery, read_only): (bool, bool) = (facts.get(1), facts.get(2));
    let name = "TargetWritable";
    if in_recovery {
        let remedy = "connect to the primary";
        report.failed(name, "the server is a standby".into(), Some(remedy));
    } else if read_only {
        let remedy = "ALTER ROLE CURRENT_USER SET default_transaction_read_only = off";
        report.failed(name, "transactions are read-only".into(), Some(remedy));
    } else {
        report.passed(name, "the server takes writes".into());
    }
}

fn encoding(session: &Session, facts: &Row, report: &mut Report<'_>) {
    let encoding: String = facts.get(3);
    if encoding == "UTF8" {
        report.passed("TargetEncoding", "the database is UTF8".into());
        return;
    }
    let message = format!("the database is {encoding} and can't hold every text");
    let remedy = format!(
        "CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0 under another name, and use that",
        session.database
    );
    report.failed("TargetEncoding", message, Some(&remedy));
}

fn catalog(session: &Session, facts: &Row, report: &mut Report<'_>) {
    let (exists, may_create): (bool, bool) = (facts.get(4), facts.get(5));
    let allowed: bool = facts.get(7);
    let (database, user) = (&session.database, &session.user);
    let name = "TargetCatalog";
    if exists && allowed {
        report.passed(name, "the schema sluice is there".into());
    } else if exists {
        let remedy = format!(
            "GRANT USAGE, CREATE ON SCHEMA sluice TO {user}; \
             GRANT ALL ON ALL TABLES IN SCHEMA sluice TO {user}"
        );
        let message = "the schema sluice belongs to somebody else".into();
        report.failed(name, message, Some(&remedy));
    } else if may_create {
        report.passed(name, "the schema sluice can be created".into());
    } else {
        let remedy = format!("GRANT CREATE ON DATABASE {database} TO {user}");
        let message = format!("{user} may not create the schema sluice");
        report.failed(name, message, Some(&remedy));
    }
}

/// Whether every table can be written, or created where it is missing.
async fn tables(
    session: &Session,
    facts: &Row,
    places: &[TableId],
    report: &mut Report<'_>,
) -> Result<(), tokio_postgres::Error> {
    let name = "TargetPrivileges";
    let may_create_schemas: bool = facts.get(5);
    let user = &session.user;
    let mut missing = Vec::new();
    for table in places {
        let place = qualified(&table.schema, &table.name);
        let schema = identifier(&table.schema);
        let row = session
            .client
            .query_one(
                // By names, since to_regclass fails in a schema that may not be used.
                "WITH n AS (SELECT oid FROM pg_namespace WHERE nspname = $1::text),
                      c AS (SELECT c.oid FROM pg_class AS c JOIN n ON n.oid = c.relnamespace
                            WHERE c.relname = $2::text)
                 SELECT EXISTS (SELECT FROM n), EXISTS (SELECT FROM c),
                        coalesce((SELECT has_schema_privilege(oid, 'USAGE') FROM n), false),
                        coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM n), false),
                        coalesce((SELECT has_table_privilege(oid, 'SELECT')
                                     AND has_table_privilege(oid, 'INSERT')
                                     AND has_table_privilege(oid, 'UPDATE')
                                     AND has_table_privilege(oid, 'DELETE') FROM c), false)",
                &[&&*table.schema, &&*table.name],
            )
            .await?;
        let (schema_exists, exists): (bool, bool) = (row.get(0), row.get(1));
        let (usage, create, write): (bool, bool, bool) = (row.get(2), row.get(3), row.get(4));
        let remedy = match (schema_exists, exists) {
            (false, _) if !may_create_schemas => {
                format!("GRANT CREATE ON DATABASE {} TO {user}", session.database)
            }
            (true, false) if !(usage && create) => {
                format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}")
            }
            (true, true) if !(usage && write) => format!(
                "GRANT USAGE ON SCHEMA {schema} TO {user}; \
                 GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {place} TO {user}"
            ),
            _ => continue,
        };
        if !missing.contains(&remedy) {
            missing.push(remedy);
        }
    }
    if !missing.is_empty() {
        let message = format!("{user} lacks privileges on the target's tables");
        report.failed(name, message, Some(&missing.join("; ")));
    } else if places.is_empty() && !may_create_schemas {
        let message = format!("{user} may not create schemas");
        let remedy = format!("GRANT CREATE ON DATABASE {} TO {user}", session.database);
        report.warning(name, message, &remedy);
    } else if facts.get::<_, bool>(6) {
        report.passed(name, format!("{user} may write the target's tables"));
    } else {
        let message = format!("{user} may not create temporary tables, which huge rows need");
        let remedy = format!("GRANT TEMPORARY ON DATABASE {} TO {user}", session.database);
        report.warning(name, message, &remedy);
    }
    Ok(())
}

fn replica_role(session: &Session, report: &mut Report<'_>) {
    let name = "TargetReplicaRole";
    if session.replica_role {
        let message = "triggers and foreign keys stay out of the way";
        return report.passed(name, message.into());
    }
    let remedy = if session.version >= 150_000 {
        format!(
            "GRANT SET ON PARAMETER session_replication_role TO {}",
            session.user
        )
    } else {
        format!("ALTER ROLE {} SUPERUSER", session.user)
    };
    let message = "session_replication_role can't be set: where the target has triggers or foreign \
                   keys, they fire and the source's order is kept, which is slower";
    report.warning(name, message.into(), &remedy);
}

struct Report<'a> {
    subject: &'a str,
    checks: Vec<Check>,
}

impl Report<'_> {
    fn passed(&mut self, name: &str, message: String) {
        self.add(name, CheckOutcome::Passed, message, None);
    }

    fn warning(&mut self, name: &str, message: String, remedy: &str) {
        self.add(name, CheckOutcome::Warning, message, Some(remedy));
    }

    fn failed(&mut self, name: &str, message: String, remedy: Option<&str>) {
        self.add(name, CheckOutcome::Failed, message, remedy);
    }

    fn add(&mut self, name: &str, outcome: CheckOutcome, message: String, remedy: Option<&str>) {
        self.checks.push(Check {
            subject: self.subject.to_owned(),
            name: name.to_owned(),
            outcome,
            message,
            remedy: remedy.map(ToOwned::to_owned),
        });
    }

    /// Names the step at which the connection failed.
    fn failed_connection(&mut self, error: &Error) {
        let name = match error.reason() {
            Reason::TlsFailed => "TargetTls",
            Reason::AccessDenied => "TargetCredentials",
            Reason::DatabaseMissing => "TargetDatabase",
            _ => "TargetReachable",
        };
        self.failed(name, error.report(), error.hint());
        for later in LATER {
            let message = "not checked: there is no connection".to_owned();
            self.add(later, CheckOutcome::Skipped, message, None);
        }
    }
}
