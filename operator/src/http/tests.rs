use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::handshake;

use super::*;
use crate::page::tests::board;

fn site(board: Arc<Board>, leads: bool, ready: bool) -> Arc<Site> {
    Arc::new(Site {
        identity: "sluice-operator-0".to_owned(),
        board,
        metrics: Arc::new(Metrics::default()),
        probes: Probes {
            is_alive: Box::new(|| true),
            is_ready: Box::new(move || ready),
            is_leader: Box::new(move || leads),
            agents: Box::new(|| (2, 3)),
        },
    })
}

async fn start(site: Arc<Site>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, site));
    address
}

async fn ask(address: SocketAddr, method: Method, path: &str) -> (Response<()>, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "operator")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (Response::from_parts(head, ()), text)
}

#[tokio::test]
async fn probes_say_how_the_operator_is() {
    let address = start(site(Arc::default(), true, false)).await;
    let (healthy, _) = ask(address, Method::GET, "/healthz").await;
    assert_eq!(healthy.status(), StatusCode::OK);
    let (ready, _) = ask(address, Method::GET, "/readyz").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn every_answer_forbids_whatever_the_page_does_not_need() {
    let address = start(site(board(3, Timestamp::now()), true, true)).await;
    for path in ["/", "/page.js", "/v1/pipelines", "/metrics", "/nowhere"] {
        let (response, _) = ask(address, Method::GET, path).await;
        let headers = response.headers();
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
    }
}

#[tokio::test]
async fn nothing_can_be_changed_over_http() {
    let address = start(site(Arc::default(), true, true)).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let (response, _) = ask(address, method, "/v1/pipelines").await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn pipelines_are_served_with_their_text_as_it_is() {
    let address = start(site(board(12, Timestamp::now()), true, true)).await;
    let (response, text) = ask(address, Method::GET, "/v1/pipelines").await;
    assert_eq!(response.headers()[CONTENT_TYPE], JSON);
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["pipelines"].as_array().unwrap().len(), 12);
    assert_eq!(document["operator"]["leads"], true);
    let (_, metrics) = ask(address, Method::GET, "/metrics").await;
    let line = r#"sluice_operator_pipeline_ready{namespace="prod",sink="shop-pg-000"} 1"#;
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    assert!(metrics.contains("sluice_operator_agents{answers=\"true\"} 2"));
}

#[tokio::test]
async fn an_operator_that_stands_by_says_so() {
    let address = start(site(Arc::default(), false, true)).await;
    let (_, text) = ask(address, Method::GET, "/v1/pipelines").await;
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["operator"]["leads"], false);
    assert_eq!(document["operator"]["identity"], "sluice-operator-0");
}

#[tokio::test]
async fn a_visitor_who_says_nothing_does_not_keep_others_out() {
    let address = start(site(Arc::default(), true, true)).await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX / 2 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let (response, _) = ask(address, Method::GET, "/healthz").await;
    assert_eq!(response.status(), StatusCode::OK);
}

/// For people: SLUICE_PAGE="127.0.0.1:8099 300" cargo test -p sluice-operator -- --ignored the_page
#[tokio::test]
#[ignore = "serves the page with made-up pipelines until it is stopped"]
async fn the_page_to_look_at() {
    let wanted = std::env::var("SLUICE_PAGE").unwrap_or_else(|_| "127.0.0.1:8099 24".to_owned());
    let (address, rest) = wanted.split_once(' ').unwrap();
    let count: usize = rest.trim_end_matches('-').parse().unwrap();
    let leads = !rest.ends_with('-');
    let listener = TcpListener::bind(address).await.unwrap();
    serve(listener, site(board(count, Timestamp::now()), leads, true)).await;
}
