//! Passwords that change while rows flow, in the right order and in the wrong one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use mysql_async::prelude::Queryable;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster,
    cluster::{Replica, condition},
    mysql, postgres,
    servers::Endpoint,
};
use tokio::time::Instant;

use super::{PATIENCE, report, world::World};

/// How soon the status must say that the password is wrong.
const TOLD_MAX: Duration = Duration::from_secs(15);

/// One end's login, which the test owns.
enum Login {
    Mysql(Endpoint, String),
    Postgres(Endpoint, String),
}

impl Login {
    fn secret(&self) -> &'static str {
        match self {
            Self::Mysql(..) => "mysql",
            Self::Postgres(..) => "postgres",
        }
    }

    fn user(&self) -> &str {
        let (Self::Mysql(_, user) | Self::Postgres(_, user)) = self;
        user
    }

    async fn run(&self, sql: &str) -> Result<()> {
        match self {
            Self::Mysql(endpoint, _) => {
                let mut conn = mysql::connect(endpoint, None).await?;
                conn.query_drop(sql).await?;
                Ok(conn.disconnect().await?)
            }
            Self::Postgres(endpoint, _) => {
                let client = postgres::connect(endpoint, "postgres").await?;
                Ok(client.batch_execute(sql).await?)
            }
        }
    }

    /// Gives the user another password. MySQL lets the old one in until it is told not to;
    /// PostgreSQL only those who are in already.
    async fn add_password(&self, password: &str) -> Result<()> {
        let user = self.user();
        let sql = match self {
            Self::Mysql(..) => {
                format!(
                    "ALTER USER '{user}'@'%' IDENTIFIED BY '{password}' RETAIN CURRENT PASSWORD"
                )
            }
            Self::Postgres(..) => format!("ALTER ROLE \"{user}\" PASSWORD '{password}'"),
        };
        self.run(&sql).await
    }

    /// Revokes the old password, and ends everybody who came in with it.
    async fn revoke_old(&self) -> Result<()> {
        let user = self.user();
        if let Self::Mysql(..) = self {
            let sql = format!("ALTER USER '{user}'@'%' DISCARD OLD PASSWORD");
            self.run(&sql).await?;
        }
        self.end_sessions().await
    }

    async fn end_sessions(&self) -> Result<()> {
        let Self::Mysql(endpoint, user) = self else {
            let user = self.user();
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename";
            return self.run(&format!("{sql} = '{user}'")).await;
        };
        let mut conn = mysql::connect(endpoint, None).await?;
        let sql = "SELECT id FROM information_schema.processlist WHERE user";
        let sessions: Vec<u64> = conn.query(format!("{sql} = '{user}'")).await?;
        for session in sessions {
            // It may have ended by itself.
            conn.query_drop(format!("KILL {session}")).await.ok();
        }
        Ok(conn.disconnect().await?)
    }

    async fn forget(&self, database: &str) -> Result<()> {
        let user = self.user();
        if let Self::Mysql(..) = self {
            return self.run(&format!("DROP USER '{user}'@'%'")).await;
        }
        let drop = format!("DROP DATABASE IF EXISTS \"{database}\" WITH (FORCE)");
        self.run(&drop).await?;
        self.run(&format!(
            "REVOKE SET ON PARAMETER session_replication_role FROM \"{user}\"; \
             DROP ROLE \"{user}\""
        ))
        .await
    }
}

/// Starts a replica whose source has a user of its own.
async fn with_mysql_user(cluster: &Cluster) -> Result<(World, Login)> {
    let mut world = World::prepare(cluster, "rotm", 2_000).await?;
    let mysql = &world.replica.mysql;
    let user = mysql.name.clone();
    mysql
        .exec(format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY 'first'; \
             GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'"
        ))
        .await?;
    let login = Login::Mysql(mysql.endpoint.clone(), user);
    world.replica.file = world
        .replica
        .file
        .clone()
        .mysql_login(login.user(), "first");
    Ok((world, login))
}

/// Starts a replica whose target has a user of its own.
async fn with_postgres_user(cluster: &Cluster) -> Result<(World, Login)> {
    let mut world = World::prepare(cluster, "rotp", 2_000).await?;
    let postgres = &world.replica.postgres;
    let user = format!("{}_user", postgres.name);
    postgres
        .exec(format!(
            "CREATE ROLE \"{user}\" LOGIN PASSWORD 'first'; \
             GRANT SET ON PARAMETER session_replication_role TO \"{user}\"; \
             ALTER DATABASE \"{}\" OWNER TO \"{user}\"",
            postgres.name
        ))
        .await?;
    let login = Login::Postgres(postgres.endpoint.clone(), user);
    world.replica.file = world
        .replica
        .file
        .clone()
        .postgres_login(login.user(), "first");
    Ok((world, login))
}

/// Rotates in the right order, then in the wrong one.
async fn rotate(world: &World, login: &Login) -> Result<()> {
    let what = login.secret();
    world.replica.start().await?;
    world.rows_flow().await?;

    login.add_password("second").await?;
    let before = world.agent().await?.metadata.uid;
    let begin = Instant::now();
    put(world, login, "second").await?;
    login.revoke_old().await?;
    let another = |pod: &Pod| pod.metadata.uid != before;
    let agent = world.replica.namespace.wait_for(
        Replica::AGENT,
        "a pod with the new password",
        PATIENCE,
        another,
    );
    agent.await?;
    world.rows_flow().await?;
    report(
        format!("{what}: rotated, old sessions ended: rows flow"),
        begin.elapsed(),
    );
    world.replica.wait_ready().await?;
    report(format!("{what}: rotated: Ready"), begin.elapsed());

    login.add_password("third").await?;
    login.revoke_old().await?;
    let begin = Instant::now();
    let told = world.replica.wait_not_ready("AccessDenied", TOLD_MAX);
    let told = told.await?;
    report(
        format!("{what}: revoked first: the status tells"),
        begin.elapsed(),
    );
    explained(&told, login)?;
    let begin = Instant::now();
    put(world, login, "third").await?;
    world.rows_flow().await?;
    report(
        format!("{what}: the Secret is mended: rows flow"),
        begin.elapsed(),
    );
    world.replica.wait_ready().await?;
    report(
        format!("{what}: the Secret is mended: Ready"),
        begin.elapsed(),
    );
    Ok(())
}

async fn put(world: &World, login: &Login, password: &str) -> Result<()> {
    let values = [("username", login.user()), ("password", password)];
    world
        .replica
        .namespace
        .secret(login.secret(), &values)
        .await
}

/// Fails unless the condition says whose password is wrong and what to do, and no password.
fn explained(sink: &ReplicaSink, login: &Login) -> Result<()> {
    let ready = condition(sink, "Ready").context("no condition Ready")?;
    let status = sink.status.as_ref().context("no status")?;
    let error = status.last_error.as_ref().context("no lastError")?;
    let (message, hint) = (&ready.message, error.hint.as_ref().context("no hint")?);
    ensure!(
        message.contains(login.user()) && message.contains("Secret") && hint.contains("Secret"),
        "it does not say what to do: {message}; hint: {hint}"
    );
    ensure!(error.reason == "AccessDenied", "{error:?}");
    let all = serde_json::to_string(status)?;
    for password in ["first", "second", "third"] {
        ensure!(
            !all.contains(&format!("'{password}'")),
            "a password is told"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_of_mysql_loses_nothing() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let (world, login) = with_mysql_user(&cluster).await?;
    let done = rotate(&world, &login).await;
    finish(world, login, done).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_of_postgresql_loses_nothing() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let (world, login) = with_postgres_user(&cluster).await?;
    let done = rotate(&world, &login).await;
    finish(world, login, done).await
}

/// Compares, and removes the user whatever came out.
async fn finish(world: World, login: Login, done: Result<()>) -> Result<()> {
    let database = world.replica.postgres.name.clone();
    let done = match done {
        Ok(()) => world.end().await,
        failed => failed,
    };
    let forgotten = login.forget(&database).await;
    done.and(forgotten)
}
