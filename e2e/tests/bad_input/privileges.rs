//! Users who lack a privilege: each is named with the statement that grants it, and once it is
//! granted the pipeline goes on by itself.

use anyhow::Result;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, assert_equal};

use super::{Fault, PATIENCE};

const PASSWORD: &str = "e2e password";

/// A user of a test's own in both servers, dropped at the end.
struct Users<'a> {
    name: String,
    mysql: &'a MysqlDatabase,
    postgres: &'a PgDatabase,
}

impl<'a> Users<'a> {
    async fn create(mysql: &'a MysqlDatabase, postgres: &'a PgDatabase) -> Result<Self> {
        let name = format!("e2e_{}", mysql.name.trim_start_matches("privileges"));
        mysql
            .exec(format!(
                "CREATE USER '{name}'@'%' IDENTIFIED BY '{PASSWORD}'"
            ))
            .await?;
        postgres
            .exec(format!(
                "CREATE ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}'"
            ))
            .await?;
        Ok(Self {
            name,
            mysql,
            postgres,
        })
    }

    fn file(&self) -> PipelineFile {
        PipelineFile::new(self.mysql, self.postgres)
            .mysql_login(&self.name, PASSWORD)
            .postgres_login(&self.name, PASSWORD)
    }

    async fn mysql(&self, statement: &str) -> Result<()> {
        let account = format!("'{}'@'%'", self.name);
        let statement = statement.replace("{user}", &account);
        self.mysql
            .exec(statement.replace("{db}", &self.mysql.name))
            .await
    }

    async fn postgres(&self, statement: &str) -> Result<()> {
        let statement = statement.replace("{user}", &format!("\"{}\"", self.name));
        let statement = statement.replace("{schema}", &format!("\"{}\"", self.mysql.name));
        self.postgres
            .exec(statement.replace("{db}", &self.postgres.name))
            .await
    }

    async fn drop(self) -> Result<()> {
        self.mysql("DROP USER {user}").await?;
        self.postgres("DROP OWNED BY {user} CASCADE; DROP ROLE {user}")
            .await
    }

    fn lacks(&self, what: &'static str, check: &'static str, remedy: &str) -> Fault {
        Fault {
            what,
            file: self.file(),
            check,
            reason: "MissingPrivilege",
            names: vec![self.name.clone()],
            remedy: remedy.to_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_privilege_is_named_and_its_grant_suffices() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "privileges").await?;
    let postgres = PgDatabase::create(&servers, "privileges").await?;
    mysql
        .exec("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await?;
    let users = Users::create(&mysql, &postgres).await?;
    postgres
        .exec(format!(
            "REVOKE ALL ON DATABASE {} FROM PUBLIC",
            postgres.name
        ))
        .await?;
    users
        .postgres("GRANT CONNECT, TEMPORARY ON DATABASE {db} TO {user}")
        .await?;

    let select = "GRANT SELECT ON {db}.* TO {user}";
    let steps = [
        (
            "REPLICATION CLIENT",
            "ReplicationClient",
            "GRANT REPLICATION CLIENT ON *.* TO {user}",
        ),
        (
            "REPLICATION SLAVE",
            "ReplicationSlave",
            "GRANT REPLICATION SLAVE ON *.* TO {user}",
        ),
        // INSERT lets the table be seen but not read.
        ("SELECT", "SelectPrivilege", select),
    ];
    users.mysql("GRANT INSERT ON {db}.* TO {user}").await?;
    for (what, check, grant) in steps {
        let kind = grant.split(" ON ").next().unwrap_or(grant);
        let fault = users.lacks(what, check, kind);
        let administrator = &postgres.endpoint;
        let fault = Fault {
            file: fault
                .file
                .postgres_login(&administrator.user, &administrator.password),
            ..fault
        };
        fault.expect().await?;
        users.mysql(grant).await?;
    }
    postgres
        .exec(format!("DROP SCHEMA sluice, \"{}\" CASCADE", mysql.name))
        .await?;
    let remedy = format!(
        "GRANT CREATE ON DATABASE {} TO {}",
        postgres.name, users.name
    );
    let fault = users.lacks("CREATE on the target's database", "TargetCatalog", &remedy);
    let names = Vec::new();
    Fault { names, ..fault }.expect().await?;

    // The last one is granted while the pipeline waits for it.
    let written = users.file().write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice
        .wait_until("the refusal", PATIENCE, |status| {
            status.last_error.is_some()
        })
        .await?;
    mysql.exec("INSERT INTO t VALUES (2)").await?;
    users
        .postgres("GRANT CREATE ON DATABASE {db} TO {user}")
        .await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, &["t"]).await?;
    assert_eq!(
        sluice.status().await?.last_error,
        None,
        "nothing is wrong any more"
    );

    lose_and_regain(&users, &mut sluice).await?;
    assert_equal(&mysql, &postgres, &["t", "later"]).await?;
    sluice.terminate().await?;
    users.drop().await
}

/// Takes privileges away while the pipeline streams, and gives them back.
async fn lose_and_regain(users: &Users<'_>, sluice: &mut Sluice) -> Result<()> {
    users
        .mysql("REVOKE REPLICATION SLAVE ON *.* FROM {user}")
        .await?;
    users
        .mysql("ALTER USER {user} IDENTIFIED BY 'another password'")
        .await?;
    let sql = format!(
        "SELECT id FROM information_schema.processlist WHERE user = '{}'",
        users.name
    );
    for row in users.mysql.rows(sql).await? {
        // Some end by themselves meanwhile.
        users
            .mysql
            .exec(format!("KILL {}", row[0].as_deref().unwrap_or("0")))
            .await
            .ok();
    }
    users.mysql.exec("INSERT INTO t VALUES (3)").await?;
    let refused = |reason: &'static str| {
        move |status: &sluice_agent_api::AgentStatus| {
            status
                .last_error
                .as_ref()
                .is_some_and(|error| error.reason == reason)
        }
    };
    sluice
        .wait_until(
            "the password to be refused",
            PATIENCE,
            refused("AccessDenied"),
        )
        .await?;
    users
        .mysql(&format!("ALTER USER {{user}} IDENTIFIED BY '{PASSWORD}'"))
        .await?;
    sluice
        .wait_until(
            "the log to be refused",
            PATIENCE,
            refused("MissingPrivilege"),
        )
        .await?;
    users
        .mysql("GRANT REPLICATION SLAVE ON *.* TO {user}")
        .await?;
    sluice.wait_caught_up().await?;

    // A new table that may not be copied yet.
    users.mysql("REVOKE SELECT ON {db}.* FROM {user}").await?;
    users
        .mysql("CREATE TABLE {db}.later (id INT PRIMARY KEY); INSERT INTO {db}.later VALUES (1)")
        .await?;
    users.mysql.exec("INSERT INTO t VALUES (4)").await?;
    let error = sluice
        .wait_until(
            "the table to be refused",
            PATIENCE,
            refused("MissingPrivilege"),
        )
        .await?
        .last_error
        .and_then(|error| error.hint);
    assert!(
        error
            .as_deref()
            .is_some_and(|hint| hint.contains("GRANT SELECT")),
        "{error:?}"
    );
    users.mysql("GRANT SELECT ON {db}.* TO {user}").await?;
    sluice.wait_caught_up().await
}
