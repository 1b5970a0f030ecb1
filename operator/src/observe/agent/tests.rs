use std::net::SocketAddr;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

const PIPELINE: &str = "prod/shop-pg";

fn pod(restarts: i32) -> PodState {
    PodState {
        name: "shop-pg-agent-0".to_owned(),
        uid: "u1".to_owned(),
        node: None,
        address: Some("127.0.0.1".to_owned()),
        created_at: None,
        terminating: false,
        running: true,
        running_since: None,
        restarts,
        last_exit: None,
        trouble: None,
    }
}

fn body(pipeline: &str) -> String {
    let status = AgentStatus {
        pipeline: pipeline.to_owned(),
        ..AgentStatus::default()
    };
    json!({"pipelines": [status]}).to_string()
}

fn response(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// Answers every connection with the same bytes, or not at all.
async fn server(answer: Option<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = [0; 1024];
            if stream.read(&mut question).await.is_err() {
                continue;
            }
            match &answer {
                Some(answer) => {
                    // Whoever has read enough hangs up.
                    drop(stream.write_all(answer.as_bytes()).await);
                }
                None => open.push(stream),
            }
        }
    });
    address
}

async fn ask(answer: Option<String>) -> AgentAnswer {
    let agents = Agents::on_port(server(answer).await.port());
    agents.ask(&pod(0), PIPELINE).await
}

fn error(answer: &AgentAnswer) -> &str {
    match answer {
        AgentAnswer::Silent { error, .. } => error,
        other => panic!("not silent: {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_about_the_pipeline_is_taken() {
    let answer = ask(Some(response(&body(PIPELINE)))).await;
    assert!(
        matches!(&answer, AgentAnswer::Answered(status) if status.pipeline == PIPELINE),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_answer_about_another_pipeline_is_not_taken() {
    let answer = ask(Some(response(&body("prod/other")))).await;
    assert!(error(&answer).contains("other pipelines"), "{answer:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let long = " ".repeat(BODY_SIZE_BYTES_MAX + 1);
    let answer = ask(Some(response(&long))).await;
    assert!(error(&answer).contains("can't be read"), "{answer:?}");
}

#[tokio::test]
async fn what_is_not_an_agent_is_not_believed() {
    let answer = ask(Some(response("<html>"))).await;
    assert!(error(&answer).contains("not an agent's"), "{answer:?}");
    let answer = ask(Some(
        "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ))
    .await;
    assert!(error(&answer).contains("503"), "{answer:?}");
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_two_seconds() {
    let started = tokio::time::Instant::now();
    let answer = ask(None).await;
    assert_eq!(error(&answer), "no answer within 2 s");
    assert!(started.elapsed() < Duration::from_secs(5), "{started:?}");
}

#[tokio::test]
async fn a_pod_that_does_not_run_is_not_asked() {
    let stopped = PodState {
        running: false,
        ..pod(0)
    };
    let answer = Agents::default().ask(&stopped, PIPELINE).await;
    assert!(matches!(answer, AgentAnswer::NotAsked), "{answer:?}");
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

#[test]
fn silence_lasts_from_the_first_question_without_an_answer() {
    let agents = Agents::default();
    agents.remember(&pod(0), at(0), Ok(AgentStatus::default()));
    assert_eq!(agents.answering(), (1, 1));
    let first = agents.remember(&pod(0), at(3), Err(AskError::Time));
    let second = agents.remember(&pod(0), at(6), Err(AskError::Time));
    let (
        AgentAnswer::Silent {
            since: first,
            last: Some(_),
            ..
        },
        AgentAnswer::Silent {
            since: second,
            last: Some(_),
            ..
        },
    ) = (&first, &second)
    else {
        panic!("{first:?} {second:?}");
    };
    assert_eq!((*first, *second), (at(3), at(3)));
    assert_eq!(agents.answering(), (0, 1));
    agents.keep_only(std::iter::empty());
    assert_eq!(agents.answering(), (0, 0));
}

#[test]
fn what_an_earlier_process_said_is_forgotten() {
    let agents = Agents::default();
    agents.remember(&pod(0), at(0), Ok(AgentStatus::default()));
    let answer = agents.remember(&pod(1), at(3), Err(AskError::Time));
    assert!(
        matches!(answer, AgentAnswer::Silent { last: None, .. }),
        "{answer:?}"
    );
}

#[test]
fn an_agent_is_known_as_one_of_several() {
    assert!(is_of(PIPELINE, PIPELINE) && is_of("prod/shop-pg:3", PIPELINE));
    for other in [
        "prod/shop-pg:capture",
        "prod/shop-pg2",
        "prod/shop",
        "prod/shop-pg:",
    ] {
        assert!(!is_of(other, PIPELINE), "{other}");
    }
}
