//! Just enough HTTP for the REST APIs of the worker and the registry.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than the worker waits for its own herder before it answers.
const PATIENCE: Duration = Duration::from_secs(100);

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body; null when it is not JSON.
    pub body: Value,
}

impl Answer {
    /// The body of an answer that is no error.
    pub fn ok(self) -> Result<Value> {
        match self.status {
            200..300 => Ok(self.body),
            status => bail!("answered {status}: {}", self.body),
        }
    }
}

/// Asks for `path` below a URL such as `http://127.0.0.1:18083`.
pub async fn request(method: &str, url: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
    let asked = exchange(method, url, path, body);
    let answer = timeout(PATIENCE, asked).await;
    answer
        .unwrap_or_else(|_| bail!("no answer within {PATIENCE:?}"))
        .with_context(|| format!("{method} {url}{path}"))
}

async fn exchange(method: &str, url: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
    let rest = url.strip_prefix("http://").context("not an http URL")?;
    let (address, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let body = body.map_or_else(String::new, Value::to_string);
    // Version 1.0: the server closes the connection behind an answer in one piece.
    let request = format!(
        "{method} {base}{path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Accept: application/json, application/vnd.schemaregistry.v1+json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    // The registry cuts long answers even for version 1.0.
    let is_cut = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if is_cut {
        joined(body)?
    } else {
        body.to_owned()
    };
    Ok(Answer {
        status: status.parse().context("no status code")?,
        body: serde_json::from_str(&body).unwrap_or_default(),
    })
}

/// The pieces of a chunked body; RFC 9112, section 7.1.
fn joined(mut pieces: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = pieces.split_once("\r\n").context("no size of a chunk")?;
        let size = usize::from_str_radix(size.trim(), 16).context("not a chunk's size")?;
        if size == 0 {
            return Ok(body);
        }
        body += rest.get(..size).context("a chunk is cut off")?;
        pieces = rest.get(size..).unwrap_or_default();
        pieces = pieces.strip_prefix("\r\n").context("no end of a chunk")?;
    }
}
