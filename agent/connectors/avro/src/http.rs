//! One HTTP request on a connection of its own: a registry is asked a few times a day.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sluice_agent_api::SecretStore;
use sluice_core::{Error, Reason, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{registry::RegistryConfig, tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const BODY_BYTES_MAX: usize = 16 << 20;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Where a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    is_https: bool,
    host: String,
    port: u16,
    path: String,
}

impl Address {
    /// Takes `http(s)://host[:port][/path]` apart.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority[bracket..].rfind(':') {
            Some(at) => {
                let (host, port) = authority.split_at(bracket + at);
                (host, port[1..].parse().ok()?)
            }
            None => (authority, if is_https { 443 } else { 80 }),
        };
        if host.is_empty() || host.contains('@') {
            return None;
        }
        Some(Self {
            is_https,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path: path.trim_end_matches('/').to_owned(),
        })
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Sends a request and waits for the answer, whatever its status. An error says that there was none.
pub(crate) async fn send(
    config: &RegistryConfig,
    secrets: &dyn SecretStore,
    address: &Address,
    path: &str,
    body: Option<String>,
) -> Result<Answer> {
    let failed =
        |reason, what: &str| Error::new(reason, format!("schema registry {}: {what}", config.url));
    let request = request(config, secrets, address, path, body)?;
    let target = (address.host.as_str(), address.port);
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(target))
        .await
        .map_err(|_| failed(Reason::Unreachable, "no connection in time"))?
        .map_err(|error| failed(Reason::Unreachable, "can't connect").with_source(error))?;
    let answer = async {
        if !address.is_https {
            return exchange(stream, request).await;
        }
        let client = tls::client_config(&config.tls, secrets)?;
        let name = ServerName::try_from(address.host.clone())
            .map_err(|error| failed(Reason::InvalidConfig, "not a host").with_source(error))?;
        let stream = TlsConnector::from(Arc::new(client))
            .connect(name, stream)
            .await
            .map_err(|error| failed(Reason::TlsFailed, "TLS failed").with_source(error))?;
        exchange(stream, request).await
    };
    match timeout(REQUEST_TIMEOUT, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(failed(Reason::Unreachable, "no answer in time")),
    }
}

fn request(
    config: &RegistryConfig,
    secrets: &dyn SecretStore,
    address: &Address,
    path: &str,
    body: Option<String>,
) -> Result<Request<Full<Bytes>>> {
    let host = if address.host.contains(':') {
        format!("[{}]:{}", address.host, address.port)
    } else {
        format!("{}:{}", address.host, address.port)
    };
    let mut request = Request::builder()
        .method(if body.is_some() { "POST" } else { "GET" })
        .uri(format!("{}{path}", address.path))
        .header(HOST, host)
        .header(ACCEPT, format!("{MEDIA_TYPE}, application/json"));
    if body.is_some() {
        request = request.header(CONTENT_TYPE, MEDIA_TYPE);
    }
    if let (Some(username), Some(password)) = (&config.username, &config.password) {
        let mut login = tls::read(username, secrets)?.trim_ascii_end().to_vec();
        login.push(b':');
        login.extend_from_slice(tls::read(password, secrets)?.trim_ascii_end());
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, login);
        request = request.header(AUTHORIZATION, format!("Basic {encoded}"));
    }
    request
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|error| {
            Error::new(
                Reason::InvalidConfig,
                format!("schema registry {}: the address can't be asked", config.url),
            )
            .with_source(error)
        })
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(
            Reason::Unreachable,
            "the connection to the schema registry broke",
        )
        .with_source(error)
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.into()))?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(error.into()))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(broken)?
            .to_bytes();
        Ok(Answer { status, body })
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end before the answer was looked at.
        _ = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let address = Address::parse("https://registry.svc/apis/ccompat/v7/").unwrap();
        assert_eq!(
            (address.port, address.path.as_str()),
            (443, "/apis/ccompat/v7")
        );
        let address = Address::parse("http://[::1]:8081").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 8081));
        assert_eq!(Address::parse("http://user@host"), None);
        assert_eq!(Address::parse("registry:8081"), None);
    }
}
