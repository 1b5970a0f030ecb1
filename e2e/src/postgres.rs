//! A PostgreSQL database of a test's own.

use anyhow::{Context, Result};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::{
    mysql::{run_aside, shorten, unique_name},
    servers::{Endpoint, Servers},
};

/// A database of a unique name, dropped at the end together with whoever is connected.
pub struct PgDatabase {
    /// Its name.
    pub name: String,
    /// The server.
    pub endpoint: Endpoint,
    dropped: bool,
}

impl PgDatabase {
    /// Creates an empty database whose name begins with the label.
    pub async fn create(servers: &Servers, label: &str) -> Result<Self> {
        Self::create_named(servers, &unique_name(label)).await
    }

    /// Creates an empty database of exactly this name; one that is there is dropped first.
    pub async fn create_named(servers: &Servers, name: &str) -> Result<Self> {
        let endpoint = servers.postgres.clone();
        drop_database(&endpoint, name).await?;
        let client = connect(&endpoint, "postgres").await?;
        let create = format!("CREATE DATABASE {}", quote(name));
        client.batch_execute(&create).await?;
        Ok(Self {
            name: name.to_owned(),
            endpoint,
            dropped: false,
        })
    }

    /// Runs one statement or several.
    pub async fn exec(&self, sql: impl AsRef<str>) -> Result<()> {
        let sql = sql.as_ref();
        let client = self.client().await?;
        let done = client.batch_execute(sql).await;
        done.with_context(|| format!("PostgreSQL: {}", shorten(sql)))
    }

    /// The rows of a query, as text; `None` is NULL.
    pub async fn rows(&self, sql: impl AsRef<str>) -> Result<Vec<Vec<Option<String>>>> {
        let sql = sql.as_ref();
        rows_of(&self.client().await?, sql).await
    }

    /// The first column of the first row.
    pub async fn value(&self, sql: impl AsRef<str>) -> Result<String> {
        let rows = self.rows(sql.as_ref()).await?;
        let first = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next());
        first
            .flatten()
            .with_context(|| format!("no value: {}", shorten(sql.as_ref())))
    }

    /// A new connection, with UTC as time zone.
    pub async fn client(&self) -> Result<Client> {
        connect(&self.endpoint, &self.name).await
    }

    /// Leaves the database there when this is dropped.
    pub fn keep(&mut self) {
        self.dropped = true;
    }

    /// Drops the database now.
    pub async fn drop(mut self) -> Result<()> {
        self.dropped = true;
        drop_database(&self.endpoint, &self.name).await
    }
}

impl Drop for PgDatabase {
    fn drop(&mut self) {
        if !self.dropped && std::env::var_os("SLUICE_KEEP").is_none() {
            let (endpoint, name) = (self.endpoint.clone(), self.name.clone());
            run_aside(async move { drop_database(&endpoint, &name).await });
        }
    }
}

async fn drop_database(endpoint: &Endpoint, name: &str) -> Result<()> {
    let client = connect(endpoint, "postgres").await?;
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote(name));
    Ok(client.batch_execute(&sql).await?)
}

/// Connects as the administrator. The connection closes when the client is dropped.
pub async fn connect(endpoint: &Endpoint, database: &str) -> Result<Client> {
    let mut config = Config::new();
    config
        .host(&endpoint.host)
        .port(endpoint.port)
        .user(&endpoint.user)
        .password(&endpoint.password)
        .dbname(database)
        .application_name("sluice-e2e")
        .options("-c timezone=UTC -c client_min_messages=warning");
    let address = endpoint.address();
    let (client, connection) = config
        .connect(NoTls)
        .await
        .with_context(|| format!("can't connect to PostgreSQL at {address}"))?;
    // Its errors come back from the client's calls.
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

/// The rows of a query on an open connection, as text.
pub async fn rows_of(client: &Client, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    let messages = client.simple_query(sql).await;
    let messages = messages.with_context(|| format!("PostgreSQL: {}", shorten(sql)))?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let columns = 0..row.len();
            Some(
                columns
                    .map(|index| row.get(index).map(str::to_owned))
                    .collect(),
            )
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// An identifier in double quotes.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
