//! Asks agents how they are doing: `GET http://POD:8080/v1/status`.
//!
//! An answer has little time and limited room, and only so many are waited for at once. What is
//! remembered of each pod is its last answer and since when there is none.

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, CONNECTION, HOST},
};
use hyper_util::rt::TokioIo;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::ResourceExt as _;
use serde::Deserialize;
use sluice_agent_api::AgentStatus;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tracing::debug;

use crate::model::{AgentAnswer, PodState};

/// The port that agents listen on.
const PORT: u16 = 8080;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
const BODY_SIZE_BYTES_MAX: usize = 4 << 20;
const QUESTIONS_MAX: usize = 32;

/// Everybody who has been asked.
#[derive(Debug)]
pub(crate) struct Agents {
    questions: Semaphore,
    port: u16,
    memories: Mutex<HashMap<String, Memory>>,
}

/// What is known of one pod.
#[derive(Debug, Default)]
struct Memory {
    /// The container's restarts when it answered: an answer of an earlier process is not kept.
    restarts: i32,
    last: Option<Arc<AgentStatus>>,
    silent_since: Option<Timestamp>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The pod's address can't be read.
    #[error("{0} is not an address")]
    Address(String),
    /// There was no answer in time.
    #[error("no answer within {} s", ANSWER_TIME_MAX.as_secs())]
    Time,
    /// Nobody listens.
    #[error("{}", .0.kind())]
    Connect(std::io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is too long or broke off.
    #[error("the answer can't be read: {0}")]
    Body(Box<dyn Error + Send + Sync>),
    /// The answer is that there is none.
    #[error("HTTP status {0}")]
    Status(StatusCode),
    /// The answer is not an agent's.
    #[error("the answer is not an agent's: {0}")]
    Json(#[from] serde_json::Error),
    /// Another agent has the address now.
    #[error("the answer is about other pipelines, not {0}")]
    Stranger(String),
}

#[derive(Deserialize)]
struct Report {
    pipelines: Vec<AgentStatus>,
}

impl Default for Agents {
    fn default() -> Self {
        Self::on_port(PORT)
    }
}

impl Agents {
    fn on_port(port: u16) -> Self {
        Self {
            questions: Semaphore::new(QUESTIONS_MAX),
            port,
            memories: Mutex::default(),
        }
    }

    /// Asks the agent in `pod` about `pipeline`.
    pub(crate) async fn ask(&self, pod: &PodState, pipeline: &str) -> AgentAnswer {
        let Some(address) = pod.address.as_deref().filter(|_| pod.running) else {
            return AgentAnswer::NotAsked;
        };
        let asked_at = Timestamp::now();
        let answer = {
            // The semaphore is never closed; the question may be asked without it just as well.
            let _permit = self.questions.acquire().await;
            match timeout(ANSWER_TIME_MAX, status(address, self.port, pipeline)).await {
                Ok(answer) => answer,
                Err(_) => Err(AskError::Time),
            }
        };
        if let Err(error) = &answer {
            debug!(%pipeline, %address, %error, "an agent did not answer");
        }
        self.remember(pod, asked_at, answer)
    }

    /// Forgets the pods that are not among these.
    pub(crate) fn keep_only(&self, pods: impl Iterator<Item = Arc<Pod>>) {
        let uids: HashSet<String> = pods.filter_map(|pod| pod.uid()).collect();
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    /// How many agents answered when they were asked last, out of all.
    pub(crate) fn answering(&self) -> (usize, usize) {
        let memories = self.lock();
        let answering = memories
            .values()
            .filter(|memory| memory.silent_since.is_none());
        (answering.count(), memories.len())
    }

    fn remember(
        &self,
        pod: &PodState,
        asked_at: Timestamp,
        answer: Result<AgentStatus, AskError>,
    ) -> AgentAnswer {
        let mut memories = self.lock();
        let memory = memories.entry(pod.uid.clone()).or_default();
        match answer {
            Ok(status) => {
                let status = Arc::new(status);
                *memory = Memory {
                    restarts: pod.restarts,
                    last: Some(Arc::clone(&status)),
                    silent_since: None,
                };
                AgentAnswer::Answered(status)
            }
            Err(error) => {
                if memory.restarts != pod.restarts {
                    *memory = Memory {
                        restarts: pod.restarts,
                        ..Memory::default()
                    };
                }
                AgentAnswer::Silent {
                    since: *memory.silent_since.get_or_insert(asked_at),
                    error: error.to_string(),
                    last: memory.last.clone(),
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        // A holder that panicked left whole entries behind.
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn status(address: &str, port: u16, pipeline: &str) -> Result<AgentStatus, AskError> {
    let ip: IpAddr = address
        .parse()
        .map_err(|_| AskError::Address(address.to_owned()))?;
    let stream = TcpStream::connect((ip, port))
        .await
        .map_err(AskError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let question = Request::get("/v1/status")
        .header(HOST, "agent")
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("these headers are well-formed");
    let answer = async {
        let response = sender.send_request(question).await?;
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), BODY_SIZE_BYTES_MAX);
        let body = body.collect().await.map_err(AskError::Body)?.to_bytes();
        let report: Report = serde_json::from_slice(&body)?;
        report
            .pipelines
            .into_iter()
            .find(|status| is_of(&status.pipeline, pipeline))
            .ok_or_else(|| AskError::Stranger(pipeline.to_owned()))
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection ends as soon as the answer has been received: it is there now, or never.
        _ = &mut connection => answer.await,
    }
}

/// Whether a name is that of a pipeline or of one of its replicas.
fn is_of(name: &str, pipeline: &str) -> bool {
    match name.strip_prefix(pipeline) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix(':')
            .is_some_and(|index| index.parse::<u32>().is_ok()),
        None => false,
    }
}

#[cfg(test)]
mod tests;
