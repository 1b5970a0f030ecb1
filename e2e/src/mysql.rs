//! A MySQL database of a test's own.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value, prelude::Queryable};

use crate::servers::{Endpoint, Servers};

/// A database of a unique name, dropped at the end.
pub struct MysqlDatabase {
    /// Its name, also that of the schema in the target.
    pub name: String,
    /// The server.
    pub endpoint: Endpoint,
    dropped: bool,
}

impl MysqlDatabase {
    /// Creates an empty database whose name begins with the label.
    pub async fn create(servers: &Servers, label: &str) -> Result<Self> {
        Self::create_named(servers, &unique_name(label)).await
    }

    /// Creates an empty database of exactly this name; one that is there is dropped first.
    pub async fn create_named(servers: &Servers, name: &str) -> Result<Self> {
        let endpoint = servers.mysql.clone();
        let mut conn = connect(&endpoint, None).await?;
        let quoted = quote(name);
        conn.query_drop(format!(
            "DROP DATABASE IF EXISTS {quoted}; CREATE DATABASE {quoted} CHARACTER SET utf8mb4"
        ))
        .await?;
        conn.disconnect().await?;
        Ok(Self {
            name: name.to_owned(),
            endpoint,
            dropped: false,
        })
    }

    /// Runs one statement or several.
    pub async fn exec(&self, sql: impl AsRef<str>) -> Result<()> {
        let sql = sql.as_ref();
        let mut conn = self.conn().await?;
        let done = conn.query_drop(sql).await;
        done.with_context(|| format!("MySQL: {}", shorten(sql)))?;
        conn.disconnect().await?;
        Ok(())
    }

    /// The rows of a query, as text; `None` is NULL.
    pub async fn rows(&self, sql: impl AsRef<str>) -> Result<Vec<Vec<Option<String>>>> {
        let sql = sql.as_ref();
        let mut conn = self.conn().await?;
        let rows: Vec<Row> = conn
            .query(sql)
            .await
            .with_context(|| format!("MySQL: {}", shorten(sql)))?;
        conn.disconnect().await?;
        Ok(rows.into_iter().map(texts).collect())
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

    /// A new connection, with this database as the default one and UTC as time zone.
    pub async fn conn(&self) -> Result<Conn> {
        connect(&self.endpoint, Some(&self.name)).await
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

impl Drop for MysqlDatabase {
    fn drop(&mut self) {
        if !self.dropped && std::env::var_os("SLUICE_KEEP").is_none() {
            let (endpoint, name) = (self.endpoint.clone(), self.name.clone());
            run_aside(async move { drop_database(&endpoint, &name).await });
        }
    }
}

async fn drop_database(endpoint: &Endpoint, name: &str) -> Result<()> {
    let mut conn = connect(endpoint, None).await?;
    // A writer that a failed test left behind may hold a lock.
    let sql = format!(
        "SET lock_wait_timeout = 5; DROP DATABASE IF EXISTS {}",
        quote(name)
    );
    conn.query_drop(sql).await?;
    conn.disconnect().await?;
    Ok(())
}

/// Runs a last task of a value that is dropped, on a thread and runtime of its own; errors are of
/// no interest any more (the server may be gone).
pub(crate) fn run_aside(task: impl Future<Output = Result<()>> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            let limit = std::time::Duration::from_secs(10);
            runtime.block_on(async { tokio::time::timeout(limit, task).await.map(drop).ok() });
        }
    });
    thread.join().ok();
}

/// Connects as the administrator.
pub async fn connect(endpoint: &Endpoint, database: Option<&str>) -> Result<Conn> {
    let options: Opts = OptsBuilder::default()
        .ip_or_hostname(endpoint.host.clone())
        .tcp_port(endpoint.port)
        .user(Some(endpoint.user.clone()))
        .pass(Some(endpoint.password.clone()))
        .db_name(database)
        .prefer_socket(Some(false))
        .setup(vec!["SET time_zone = '+00:00'"])
        .into();
    let address = endpoint.address();
    let connected = Conn::new(options).await;
    connected.with_context(|| format!("can't connect to MySQL at {address}"))
}

/// A name that nobody else has: label, process, time and number.
pub(crate) fn unique_name(label: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let second = since.map_or(0, |since| since.as_secs() % 1_000_000);
    format!("{label}_{}_{second}_{number}", process::id())
}

/// An identifier in backticks.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub(crate) fn shorten(sql: &str) -> &str {
    sql.get(..200).unwrap_or(sql)
}

fn texts(row: Row) -> Vec<Option<String>> {
    let values = row.unwrap_raw().into_iter();
    values
        .map(|value| match value? {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            other => Some(other.as_sql(true)),
        })
        .collect()
}
