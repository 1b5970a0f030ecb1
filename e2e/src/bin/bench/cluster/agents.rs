//! What answers `/v1/status` in place of agents: one listener for each, all in this process.
//!
//! Their addresses are a network of its own, which a route makes local to this machine and which pods
//! reach by way of the bridge.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use sluice_agent_api::{
    AgentStatus,
    status::{Lag, Phase, SnapshotProgress, TableStatus},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinSet,
};

use super::pairs::{NAMESPACE, pair};

const NETWORK: &str = "10.245.0.0/16";
const PORT: u16 = 8080;
const TABLES: usize = 20;

/// All stand-ins; they end when this is dropped.
pub(super) struct Agents {
    answered: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Agents {
    pub(super) async fn start(count: usize) -> Result<Self> {
        route("replace").await?;
        let answered = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for index in 0..count {
            let address = (address(index), PORT);
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("listening at {address:?}"))?;
            tasks.spawn(listen(listener, index, Arc::clone(&answered)));
        }
        Ok(Self { answered, tasks })
    }

    /// How many questions were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.tasks.shutdown().await;
        route("delete").await
    }
}

/// The address of a pair's agent.
pub(super) fn address(index: usize) -> Ipv4Addr {
    let (high, low) = ((index / 250) as u8, (index % 250 + 1) as u8);
    Ipv4Addr::new(10, 245, high, low)
}

async fn route(action: &str) -> Result<()> {
    let arguments = ["route", action, "local", NETWORK, "dev", "lo"];
    let output = Command::new("ip").args(arguments).output().await?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

async fn listen(listener: TcpListener, index: usize, answered: Arc<AtomicU64>) {
    let mut count = 0;
    while let Ok((stream, _)) = listener.accept().await {
        count += 1;
        // Who asks and goes away gets no answer.
        if answer(stream, index, count).await.is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn answer(mut stream: TcpStream, index: usize, count: u64) -> Result<()> {
    let mut question = Vec::with_capacity(512);
    while !question.ends_with(b"\r\n\r\n") {
        let read = stream.read_buf(&mut question).await?;
        ensure!(read > 0 && question.len() < 8 << 10, "no question");
    }
    let pipelines = serde_json::json!({"pipelines": [status(index, count)]}).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{pipelines}",
        pipelines.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

/// The status of a busy agent: every figure is another one each time.
fn status(index: usize, count: u64) -> AgentStatus {
    let jitter = (index as u64 * 31 + count * 17) % 100;
    let done = TableStatus {
        phase: "Streaming".to_owned(),
        rows_copied: Some(10_000),
        error: None,
    };
    let tables = (0..TABLES).map(|table| (format!("shop.table_{table}"), done.clone()));
    let server = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    AgentStatus {
        pipeline: format!("{NAMESPACE}/{}", pair(index)),
        source: format!("{NAMESPACE}/{}", pair(index)),
        sink: format!("{NAMESPACE}/{}", pair(index)),
        phase: Phase::Streaming,
        ready: true,
        position: Some(format!("{server}:1-{}", 1_000_000 + count * 3_000 + jitter)),
        lag: Lag {
            seconds: Some(0.05 + jitter as f64 / 500.0),
            bytes: Some(jitter * 1_000),
            records: None,
        },
        snapshot: SnapshotProgress {
            tables_total: TABLES as u32,
            tables_done: TABLES as u32,
            rows_copied: 10_000 * TABLES as u64,
            rows_estimated: 10_000 * TABLES as u64,
            percent: 100,
        },
        rows_per_second: 950.0 + jitter as f64,
        rows_total: count * 3_000,
        tables: tables.collect::<BTreeMap<_, _>>(),
        retention_seconds: Some(86_400),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..AgentStatus::default()
    }
}
