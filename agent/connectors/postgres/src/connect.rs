//! One connection to the target, set up for applying rows.
//!
//! Secrets are read at every connect. The driver's task owns the socket; [`Session`] owns the task
//! and ends it when dropped, so that a session that is given up never lingers half-way.

use std::{str, time::Duration};

use sluice_agent_api::{
    SecretStore,
    config::{ConnectionConfig, TlsMode},
};
use sluice_core::{Error, Reason, Result};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, config::SslMode, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use crate::{
    error::{classify, is},
    tls,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Apply statements join a few thousand keys with a table that may be huge: only the key's index
/// will do, whatever the statistics say, so the other plans are switched off.
const SETTINGS: &str = "\
SET client_min_messages = warning;
SET search_path = pg_catalog;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET standard_conforming_strings = on;
SET synchronous_commit = off;
SET default_transaction_isolation = 'read committed';
SET lock_timeout = '30s';
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = '10min';
SET jit = off;
SET plan_cache_mode = force_generic_plan;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_seqscan = off;
SET enable_material = off;
SET max_parallel_workers_per_gather = 0;";

/// A connection to the target.
pub(crate) struct Session {
    /// The connection.
    pub(crate) client: Client,
    /// `host:port`, for messages.
    pub(crate) address: String,
    /// The server's process, by which a successor can end it.
    pub(crate) backend_pid: i32,
    /// `server_version_num`.
    pub(crate) version: i32,
    /// The user, quoted.
    pub(crate) user: String,
    /// The database, quoted.
    pub(crate) database: String,
    /// Whether triggers and foreign keys are out of the way (`session_replication_role`).
    pub(crate) replica_role: bool,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Turns an error of this session into one of the pipeline's.
    pub(crate) fn error(&self, error: tokio_postgres::Error) -> Error {
        classify(&self.address, error)
    }
}

/// Connects and sets the session up.
pub(crate) async fn connect(
    config: &ConnectionConfig,
    secrets: &dyn SecretStore,
    application_name: &str,
) -> Result<Session> {
    let address = format!("{}:{}", config.host, config.port);
    let (client, driver) = dial(config, secrets, application_name, &address).await?;
    let mut session = Session {
        client,
        address,
        backend_pid: 0,
        version: 0,
        user: String::new(),
        database: String::new(),
        replica_role: false,
        driver,
    };
    set_up(&mut session)
        .await
        .map_err(|error| session.error(error))?;
    Ok(session)
}

async fn dial(
    config: &ConnectionConfig,
    secrets: &dyn SecretStore,
    application_name: &str,
    address: &str,
) -> Result<(Client, JoinHandle<()>)> {
    let mut options = options(config, secrets)?;
    options.application_name(truncated(application_name));
    if config.tls.mode == TlsMode::Disable {
        options.ssl_mode(SslMode::Disable);
        let (client, connection) = options
            .connect(NoTls)
            .await
            .map_err(|error| classify(address, error))?;
        return Ok((client, tokio::spawn(drive(connection))));
    }
    options.ssl_mode(SslMode::Require);
    let connector = MakeRustlsConnect::new(tls::client_config(&config.tls, secrets)?);
    let (client, connection) = options
        .connect(connector)
        .await
        .map_err(|error| classify(address, error))?;
    Ok((client, tokio::spawn(drive(connection))))
}

async fn drive<F>(connection: F)
where
    F: Future<Output = Result<(), tokio_postgres::Error>>,
{
    // Whoever waits for an answer gets the error, too; this is for idle connections.
    if let Err(error) = connection.await {
        debug!(%error, "connection to postgres ended");
    }
}

fn options(config: &ConnectionConfig, secrets: &dyn SecretStore) -> Result<Config> {
    let text = |key: &sluice_agent_api::SecretKey| {
        let bytes = tls::read(key, secrets)?;
        let text = str::from_utf8(&bytes)
            .map_err(|_| Error::new(Reason::AccessDenied, format!("secret {key} is not UTF-8")))?;
        // Editors and `echo` leave a line end behind.
        Ok::<_, Error>(text.trim_end_matches(['\n', '\r']).to_owned())
    };
    let user = text(&config.username)?;
    let mut options = Config::new();
    options
        .host(&config.host)
        .port(config.port)
        .password(text(&config.password)?)
        .dbname(config.database.as_deref().unwrap_or(&user))
        .user(&user)
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .tcp_user_timeout(UNACKNOWLEDGED_MAX);
    Ok(options)
}

/// The server cuts names at 63 bytes; a successor compares the whole.
pub(crate) fn truncated(name: &str) -> &str {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or(name)
}

async fn set_up(session: &mut Session) -> Result<(), tokio_postgres::Error> {
    let client = &session.client;
    client.batch_execute(SETTINGS).await?;
    let row = client
        .query_one(
            "SELECT pg_backend_pid(), current_setting('server_version_num')::int,
                    quote_ident(current_user), quote_ident(current_database())",
            &[],
        )
        .await?;
    session.backend_pid = row.get(0);
    session.version = row.get(1);
    session.user = row.get(2);
    session.database = row.get(3);
    session.replica_role = match session
        .client
        .batch_execute("SET session_replication_role = replica")
        .await
    {
        Ok(()) => true,
        Err(error) if is(&error, &SqlState::INSUFFICIENT_PRIVILEGE) => false,
        Err(error) => return Err(error),
    };
    Ok(())
}
