//! The console consumer that comes with Kafka: what somebody sees who looks into a topic.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{process::Command, time::timeout};

use crate::kafka::KafkaServers;

const PATIENCE: Duration = Duration::from_secs(90);

/// The values of the first committed records of a topic, as lines; tombstones are `null`.
pub async fn values(servers: &KafkaServers, topic: &str, count: usize) -> Result<Vec<String>> {
    let mut command = Command::new(&servers.java);
    command
        .args(["-Xmx256m", "-cp"])
        .arg(servers.libs.join("*"))
        .arg("org.apache.kafka.tools.consumer.ConsoleConsumer")
        .args(["--bootstrap-server", &servers.bootstrap, "--topic", topic])
        .args(["--from-beginning", "--isolation-level", "read_committed"])
        .args([
            "--max-messages",
            &count.to_string(),
            "--timeout-ms",
            "60000",
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.context("the console consumer does not end")??;
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    ensure!(
        lines.len() == count,
        "{topic} has {} records instead of {count}: {}",
        lines.len(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(lines)
}
