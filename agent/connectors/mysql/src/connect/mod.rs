//! Connections: from a [`ConnectionConfig`] to a session that is ready to be used.
//!
//! Credentials and certificates are read at every connect, so that a rotated password takes effect
//! by itself. Each failure is translated once, in `explain`, into an error that names `host:port`
//! and says what to do.

mod explain;

use std::{io, sync::Arc, time::Duration};

use sluice_agent_api::{
    SecretKey, SecretStore,
    config::{ConnectionConfig, TlsConfig, TlsMode},
};
use sluice_core::{Error, Reason, Result};
use tokio::{net::TcpStream, time::timeout};

pub(crate) use crate::connect::explain::server_code;
use crate::{
    connect::explain::Place,
    wire::{
        WireError,
        binary::Parameter,
        handshake::{Login, log_in},
        packet::Wire,
        query::{self, ResultColumn, TextRow},
        tls::{TlsClient, TlsOptions},
    },
};

/// How long connecting and logging in may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Where a connection goes and where its secrets are.
#[derive(Clone)]
pub struct Connector {
    config: ConnectionConfig,
    secrets: Arc<dyn SecretStore>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Connector({})", self.place())
    }
}

impl Connector {
    /// Remembers how to connect.
    pub fn new(config: ConnectionConfig, secrets: Arc<dyn SecretStore>) -> Self {
        Self { config, secrets }
    }

    /// `host:port`, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }

    /// Connects, logs in and sets the session up.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let user = self.secret_text(&self.config.username)?;
        let place = Place {
            address: self.place().into(),
            user: user.as_str().into(),
        };
        let password = self.secret(&self.config.password)?;
        let tls = self.tls(&self.config.tls).await?;
        let login = Login {
            user: &user,
            password: trim_line_end(&password),
            tls,
        };
        let attempt = async {
            let socket = TcpStream::connect((self.config.host.as_str(), self.config.port)).await?;
            keep_alive(&socket)?;
            log_in(Wire::new(Box::new(socket)), login).await
        };
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "no answer within 15 seconds");
        let done = timeout(CONNECT_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|_| Err(WireError::Io(silent())));
        let (wire, version_text) = done.map_err(|error| place.explain(error))?;
        let version = Version::parse(&version_text);
        let mut connection = Connection {
            wire,
            place,
            version,
            version_text,
            server_uuid: "".into(),
            prepared: None,
        };
        connection.set_up().await?;
        Ok(connection)
    }

    fn secret(&self, key: &SecretKey) -> Result<Vec<u8>> {
        self.secrets.read(key).map_err(|error| {
            Error::new(
                Reason::AccessDenied,
                format!("key {key} can't be read from its Secret"),
            )
            .with_hint(format!(
                "create Secret {} with the key {}",
                key.name, key.key
            ))
            .with_source(error)
        })
    }

    fn secret_text(&self, key: &SecretKey) -> Result<String> {
        let bytes = self.secret(key)?;
        match std::str::from_utf8(trim_line_end(&bytes)) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::new(
                Reason::AccessDenied,
                format!("key {key} is not UTF-8"),
            )),
        }
    }

    async fn tls(&self, config: &TlsConfig) -> Result<Option<TlsClient>> {
        if config.mode == TlsMode::Disable {
            return Ok(None);
        }
        let authorities = config.ca.as_ref().map(|key| self.secret(key)).transpose()?;
        let client = match &config.client {
            None => None,
            Some(client) => Some((self.secret(&client.certificate)?, self.secret(&client.key)?)),
        };
        let options = TlsOptions {
            host: self.config.host.clone(),
            verify_authority: matches!(config.mode, TlsMode::VerifyCa | TlsMode::VerifyFull),
            verify_host: config.mode == TlsMode::VerifyFull,
            authorities,
            client,
        };
        // Loading the system's certificates reads files.
        let client = tokio::task::spawn_blocking(move || TlsClient::new(&options)).await;
        let place = Place {
            address: self.place().into(),
            user: "".into(),
        };
        match client {
            Ok(client) => client.map(Some).map_err(|error| place.explain(error)),
            Err(error) => Err(Error::new(Reason::Internal, "TLS set-up").with_source(error)),
        }
    }
}

/// Files made by hand often end with a line end that belongs to no password.
fn trim_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// A peer that vanished without a word is noticed within about a minute.
fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let options = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(20))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket2::SockRef::from(socket).set_tcp_keepalive(&options)
}

/// A server's version: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u16, pub(crate) u16, pub(crate) u16);

impl Version {
    fn parse(text: &str) -> Self {
        let digits = text
            .split(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .next();
        let mut parts = digits
            .unwrap_or_default()
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        Self(next(), next(), next())
    }
}

/// A session.
pub(crate) struct Connection {
    wire: Wire,
    place: Place,
    version: Version,
    version_text: String,
    server_uuid: Arc<str>,
    /// The statement that was prepared last: chunks of one table differ in parameters only.
    prepared: Option<(String, u32)>,
}

impl Connection {
    async fn set_up(&mut self) -> Result<()> {
        // A strict mode would refuse the comparison with zero dates, a global time limit would cut
        // long reads, and the server gives up on a slow reader after a minute by default.
        let mut settings = "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = '', \
            net_write_timeout = 86400, wait_timeout = 86400, lock_wait_timeout = 30, \
            sql_select_limit = DEFAULT, sql_big_selects = 1, autocommit = 1"
            .to_owned();
        if !self.is_mariadb() {
            settings.push_str(", max_execution_time = 0");
            if self.version >= Version(8, 0, 30) {
                settings.push_str(", show_gipk_in_create_table_and_information_schema = ON");
            }
        }
        self.query_drop(&settings).await?;
        if !self.is_mariadb() {
            let uuid = self.query_text("SELECT @@GLOBAL.server_uuid").await?;
            self.server_uuid = uuid.unwrap_or_default().into();
        }
        Ok(())
    }

    /// The server's name among servers.
    pub(crate) fn server_uuid(&self) -> &Arc<str> {
        &self.server_uuid
    }

    /// The server's version.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The version as the server prints it.
    pub(crate) fn version_text(&self) -> &str {
        &self.version_text
    }

    pub(crate) fn is_mariadb(&self) -> bool {
        self.version_text.contains("MariaDB")
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.place.address
    }

    /// Sets how long the server may stay silent.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.wire.set_patience(patience);
    }

    /// Runs a statement and shows each row of its result.
    pub(crate) async fn query_each(
        &mut self,
        sql: &str,
        each: impl FnMut(&TextRow<'_>),
    ) -> Result<()> {
        let done = query::query_each(&mut self.wire, sql, each).await;
        done.map_err(|error| self.place.explain(error))
    }

    /// Runs a statement and keeps what `map` makes of each row.
    pub(crate) async fn query<T>(
        &mut self,
        sql: &str,
        mut map: impl FnMut(&TextRow<'_>) -> T,
    ) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        self.query_each(sql, |row| rows.push(map(row))).await?;
        Ok(rows)
    }

    /// Runs a statement whose result does not matter.
    pub(crate) async fn query_drop(&mut self, sql: &str) -> Result<()> {
        self.query_each(sql, |_| ()).await
    }

    /// The first column of the first row; `None` for no row and for NULL.
    pub(crate) async fn query_text(&mut self, sql: &str) -> Result<Option<String>> {
        let rows = self.query(sql, |row| {
            row.some_text(0).map(std::borrow::Cow::into_owned)
        });
        Ok(rows.await?.into_iter().next().flatten())
    }

    /// Runs a prepared statement; its rows follow by [`next_row`](Self::next_row).
    pub(crate) async fn open_rows(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<ResultColumn>> {
        let opened = self.prepare_and_open(sql, parameters).await;
        opened.map_err(|error| self.place.explain(error))
    }

    async fn prepare_and_open(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<ResultColumn>, WireError> {
        let statement = match self.prepared.take() {
            Some((prepared, statement)) if prepared == sql => statement,
            other => {
                if let Some((_, statement)) = other {
                    query::close_statement(&mut self.wire, statement).await?;
                }
                query::prepare(&mut self.wire, sql).await?
            }
        };
        let columns = query::open_rows(&mut self.wire, statement, parameters).await?;
        self.prepared = Some((sql.to_owned(), statement));
        Ok(columns)
    }

    /// The next row in binary, `None` at the end.
    pub(crate) async fn next_row(&mut self) -> Result<Option<&[u8]>> {
        let row = query::next_row(&mut self.wire).await;
        row.map_err(|error| self.place.explain(error))
    }

    /// Sends a command that is not a statement, and reads its OK.
    pub(crate) async fn command(&mut self, payload: &[u8]) -> Result<()> {
        let wire = &mut self.wire;
        let exchange = async {
            wire.command(payload).await?;
            wire.read_checked().await.map(|_| ())
        };
        exchange.await.map_err(|error| self.place.explain(error))
    }

    /// Sends the command that turns the connection into a log stream, and hands its packets over.
    pub(crate) async fn into_stream(mut self, dump: &[u8]) -> Result<Stream> {
        let sent = self.wire.command(dump).await;
        sent.map_err(|error| self.place.explain(error))?;
        self.wire.release();
        Ok(Stream {
            wire: self.wire,
            place: self.place,
        })
    }
}

/// A connection that carries a log stream and nothing else.
pub(crate) struct Stream {
    pub(crate) wire: Wire,
    place: Place,
}

impl Stream {
    /// Translates what went wrong.
    pub(crate) fn explain(&self, error: WireError) -> Error {
        self.place.explain(error)
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.place.address
    }

    #[cfg(test)]
    pub(crate) fn test(wire: Wire) -> Self {
        Self {
            wire,
            place: Place {
                address: "test:1".into(),
                user: "test".into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_servers_print() {
        assert_eq!(Version::parse("8.0.36-28.1-log"), Version(8, 0, 36));
        assert_eq!(Version::parse("9.7.4-1"), Version(9, 7, 4));
        assert_eq!(Version::parse("junk"), Version(0, 0, 0));
    }

    #[test]
    fn a_line_end_is_no_part_of_a_password() {
        assert_eq!(trim_line_end(b"secret\r\n"), b"secret");
        assert_eq!(trim_line_end(b"two\nlines\n"), b"two\nlines");
    }
}
