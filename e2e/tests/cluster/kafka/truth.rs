//! What source and sink say when one of them can't go on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster, ThrowAway,
    cluster::condition,
    kafka::{Format, KafkaServers},
    servers::Kind,
};

use super::fed::{Fed, PATIENCE, SINK};

const CHANGE: &str = "UPDATE counters SET x = x + 1";
/// How soon both must tell that the brokers are gone.
const TRUTH_AT_MOST: Duration = Duration::from_secs(15);

fn message(object: &impl serde::Serialize) -> String {
    condition(object, "Ready").map_or_else(String::new, |ready| ready.message)
}

#[tokio::test]
async fn a_sink_is_not_ready_while_its_capture_is_silent() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let kafka = KafkaServers::for_pods()?;
    let fed = Fed::prepare(&cluster, &kafka, "kafka-silent", Format::Json).await?;
    fed.start().await?;
    let pod = fed.capture_pod();
    fed.namespace.signal(&pod, "SIGSTOP").await?;
    let since = Instant::now();
    fed.mysql.exec(CHANGE).await?;
    fed.wait_source("False", Some("AgentUnreachable"), PATIENCE)
        .await?;
    let sink = fed
        .wait_sink(SINK, "False", Some("SourceNotReady"), PATIENCE)
        .await?;
    let took = since.elapsed();
    let said = message(&sink);
    println!("SourceNotReady after {took:.1?}: {said}");
    ensure!(took <= crate::orders::TRUTH_AT_MOST, "it took {took:?}");
    for words in [fed.source.as_str(), "AgentUnreachable"] {
        ensure!(said.contains(words), "no {words} in: {said}");
    }
    let lag = sink.status.and_then(|status| status.lag);
    let seconds = lag.as_ref().and_then(|lag| lag.seconds);
    ensure!(seconds.is_none(), "a lag of {seconds:?} s is claimed");
    fed.namespace.signal(&pod, "SIGCONT").await?;
    fed.flows().await?;

    // Paused by its spec, it is not captured either.
    paused(&fed, true).await?;
    let sink = fed
        .wait_sink(SINK, "False", Some("SourceNotReady"), PATIENCE)
        .await?;
    let said = message(&sink);
    ensure!(said.contains("Paused"), "{said}");
    fed.namespace.wait_gone::<Pod>(&pod, PATIENCE).await?;
    fed.mysql.exec(CHANGE).await?;
    paused(&fed, false).await?;
    fed.flows().await
}

async fn paused(fed: &Fed, paused: bool) -> Result<()> {
    let patch = json!({"spec": {"paused": paused}}).to_string();
    let source = format!("rsrc/{}", fed.source);
    let arguments = ["patch", &source, "--type=merge", "-p", &patch];
    fed.namespace.kubectl(&arguments).await?;
    Ok(())
}

#[tokio::test]
async fn brokers_that_are_gone_are_told_by_source_and_sink() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let own = ThrowAway::for_pods(&cluster.host, &[Kind::Kafka]).await?;
    let kafka = own.kafka()?;
    let fed = Fed::prepare(&cluster, &kafka, "kafka-gone", Format::Json).await?;
    fed.start().await?;
    own.kill(Kind::Kafka).await?;
    let since = Instant::now();
    fed.mysql.exec(CHANGE).await?;
    let source = fed.wait_source("False", None, PATIENCE).await?;
    let told_by_source = since.elapsed();
    let sink = fed.wait_sink(SINK, "False", None, PATIENCE).await?;
    let told_by_sink = since.elapsed();
    for (who, took, said) in [
        ("the source", told_by_source, message(&source)),
        ("the sink", told_by_sink, message(&sink)),
    ] {
        println!("{who} after {took:.1?}: {said}");
        ensure!(took <= TRUTH_AT_MOST, "{who} took {took:?}");
        ensure!(
            said.contains(&kafka.bootstrap),
            "{who} names no broker: {said}"
        );
    }
    own.start(Kind::Kafka).await?;
    fed.flows().await?;
    let sink: ReplicaSink = fed.namespace.get(SINK).await?;
    let error = sink.status.context("no status")?.last_error;
    ensure!(error.is_none(), "{error:?}");
    Ok(())
}
