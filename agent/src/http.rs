//! The HTTP server of `--listen`: `/healthz`, `/readyz`, `/metrics` and `/v1/status`.
//!
//! Everything is answered from the progress in memory; no request can reach a database or stop a
//! pipeline. A connection serves one request, has little time, and only so many are open at once.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::{
    metrics,
    run::{Watched, statuses},
};

/// A loop that has not turned for this long, although it waits for neither end, does not come back by
/// itself: `/healthz` fails, so that Kubernetes restarts the agent.
const STUCK_AFTER: Duration = Duration::from_secs(120);
const CONNECTIONS_MAX: usize = 32;
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, pipelines: Arc<[Watched]>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed; if it were, nobody could be served any more.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let pipelines = Arc::clone(&pipelines);
                tokio::spawn(async move {
                    connection(stream, pipelines).await;
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

async fn connection(stream: TcpStream, pipelines: Arc<[Watched]>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &pipelines);
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    let connection = server
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an HTTP connection ended early"),
        Err(_) => debug!("an HTTP connection took too long"),
    }
}

fn respond(method: &Method, path: &str, pipelines: &[Watched]) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET\n".to_owned(),
        );
    }
    match path {
        "/healthz" => healthz(pipelines),
        "/readyz" => readyz(pipelines),
        "/metrics" => response(
            StatusCode::OK,
            METRICS,
            metrics::render(&statuses(pipelines)),
        ),
        "/v1/status" => {
            let status = json!({"pipelines": statuses(pipelines)});
            response(StatusCode::OK, JSON, format!("{status}\n"))
        }
        _ => {
            let known = "not found; there is /healthz /readyz /metrics /v1/status\n";
            response(StatusCode::NOT_FOUND, TEXT, known.to_owned())
        }
    }
}

fn healthz(pipelines: &[Watched]) -> Response<Full<Bytes>> {
    let stuck = pipelines
        .iter()
        .filter(|watched| watched.progress.is_stuck(STUCK_AFTER));
    let names: Vec<String> = stuck.map(|watched| watched.config.agent_name()).collect();
    if names.is_empty() {
        return response(StatusCode::OK, TEXT, "ok\n".to_owned());
    }
    let text = format!("stuck: {}\n", names.join(", "));
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
}

fn readyz(pipelines: &[Watched]) -> Response<Full<Bytes>> {
    let statuses = statuses(pipelines);
    let waiting: Vec<String> = statuses
        .iter()
        .filter(|status| !status.ready)
        .map(|status| {
            let error = status.last_error.as_ref();
            let reason = error.map_or_else(String::new, |error| format!(" ({})", error.reason));
            format!(
                "not ready: {} is {:?}{reason}\n",
                status.pipeline, status.phase
            )
        })
        .collect();
    if waiting.is_empty() {
        return response(StatusCode::OK, TEXT, "ok\n".to_owned());
    }
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, waiting.concat())
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
