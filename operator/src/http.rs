//! The HTTP server of `--listen`: `/healthz`, `/readyz`, `/metrics`, the page at `/` and its data
//! at `/v1/pipelines`.
//!
//! Everything is answered from memory. A connection serves one request, has little time, and only
//! so many are open at once.

use std::{convert::Infallible, fmt::Debug, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::jiff::Timestamp;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::{
    metrics::Metrics,
    page::{self, Board, Operator},
};

const CONNECTIONS_MAX: usize = 64;
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is asked of the operator at the moment of a request.
pub(crate) struct Probes {
    /// Whether it is alive; if not, it should be started again.
    pub(crate) is_alive: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether it has started: it knows the cluster, whether it leads or stands by.
    pub(crate) is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether it holds the Lease.
    pub(crate) is_leader: Box<dyn Fn() -> bool + Send + Sync>,
    /// Agents that answered when they were asked last, and all that were asked.
    pub(crate) agents: Box<dyn Fn() -> (usize, usize) + Send + Sync>,
}

impl Debug for Probes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Probes").finish_non_exhaustive()
    }
}

/// Everything that is served.
#[derive(Debug)]
pub(crate) struct Site {
    /// What tells this operator from others.
    pub(crate) identity: String,
    /// What the page shows.
    pub(crate) board: Arc<Board>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// How the operator is.
    pub(crate) probes: Probes,
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, site: Arc<Site>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed; if it were, nobody could be served any more.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    connection(stream, site).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "a connection to the HTTP server failed");
                // Out of file descriptors, most likely: give some time to get them back.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &site);
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    let connection = server
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an HTTP connection ended early"),
        Err(_) => debug!("an HTTP connection took too long"),
    }
}

fn respond(method: &Method, path: &str, site: &Site) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
        set(&mut response, ALLOW, "GET, HEAD");
        return response;
    }
    let probes = &site.probes;
    match path {
        "/healthz" => probe((probes.is_alive)()),
        "/readyz" => probe((probes.is_ready)()),
        "/metrics" => {
            let (is_leader, agents) = ((probes.is_leader)(), (probes.agents)());
            let text = site.board.metrics(&site.metrics, is_leader, agents);
            response(StatusCode::OK, METRICS, text)
        }
        "/v1/pipelines" => {
            let operator = Operator {
                identity: site.identity.clone(),
                leads: (probes.is_leader)(),
                version: env!("CARGO_PKG_VERSION"),
            };
            let document = site.board.document(&operator, Timestamp::now());
            response(StatusCode::OK, JSON, document)
        }
        path => {
            let known = "not found; there is / /healthz /readyz /metrics /v1/pipelines\n";
            page::file(path).map_or_else(
                || response(StatusCode::NOT_FOUND, TEXT, known),
                |file| response(StatusCode::OK, file.kind, file.text),
            )
        }
    }
}

fn probe(holds: bool) -> Response<Full<Bytes>> {
    if holds {
        response(StatusCode::OK, TEXT, "ok\n")
    } else {
        response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not now\n")
    }
}

fn response(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, kind);
    set(&mut response, CACHE_CONTROL, "no-store");
    set(
        &mut response,
        CONTENT_SECURITY_POLICY,
        page::CONTENT_SECURITY_POLICY,
    );
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, REFERRER_POLICY, "no-referrer");
    response
}

fn set(response: &mut Response<Full<Bytes>>, name: HeaderName, value: &'static str) {
    let headers = response.headers_mut();
    headers.insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests;
