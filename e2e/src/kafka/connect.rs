//! Connectors in the Kafka Connect worker.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    kafka::{KafkaServers, http::request},
    mysql::run_aside,
    wait::wait_for,
};

const PATIENCE: Duration = Duration::from_secs(90);

/// A connector, deleted together with its offsets at the end.
pub struct Connector {
    url: String,
    name: String,
    deleted: bool,
}

impl Connector {
    /// Creates it and waits until it and its tasks run.
    pub async fn create(servers: &KafkaServers, name: &str, config: &Value) -> Result<Self> {
        let url = servers.connect_url.clone().context(
            "SLUICE_CONNECT_URL unset; run: eval \"$(e2e/servers up kafka registry connect)\"",
        )?;
        let connector = Self {
            url,
            name: name.to_owned(),
            deleted: false,
        };
        let path = format!("/connectors/{name}/config");
        wait_for("the worker to take the connector", PATIENCE, || async {
            let answer = request("PUT", &connector.url, &path, Some(config)).await?;
            match answer.status {
                // The worker is rebalancing.
                409 => Ok(None),
                200..300 => Ok(Some(Ok(()))),
                _ => Ok(Some(Err(answer.ok()))),
            }
        })
        .await?
        .or_else(|answer| answer.map(drop))
        .with_context(|| format!("connector {name}"))?;
        connector.wait_running().await?;
        Ok(connector)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until it and its tasks run; fails at once with the trace of what failed.
    pub async fn wait_running(&self) -> Result<()> {
        wait_for("the connector to run", PATIENCE, || async {
            let status = self.status().await?;
            let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
            let mut parts = vec![status["connector"].clone()];
            parts.extend(tasks.iter().cloned());
            let failed = parts.iter().find(|part| part["state"] == "FAILED");
            if let Some(failed) = failed {
                return Ok(Some(Err(failed["trace"].clone())));
            }
            let run = parts.iter().all(|part| part["state"] == "RUNNING");
            Ok((run && !tasks.is_empty()).then_some(Ok(())))
        })
        .await?
        .or_else(|trace: Value| {
            bail!(
                "connector {} failed: {}",
                self.name,
                trace.as_str().unwrap_or_default()
            )
        })
    }

    /// Fails when it or a task of it has failed.
    pub async fn check(&self) -> Result<()> {
        let status = self.status().await?;
        let text = status.to_string();
        anyhow::ensure!(!text.contains("\"FAILED\""), "{}: {text}", self.name);
        Ok(())
    }

    async fn status(&self) -> Result<Value> {
        let path = format!("/connectors/{}/status", self.name);
        request("GET", &self.url, &path, None).await?.ok()
    }

    /// Stops it, which ends its tasks but keeps it and its offsets.
    pub async fn stop(&self) -> Result<()> {
        stop(&self.url, &self.name).await
    }

    /// Starts it again after [`Connector::stop`].
    pub async fn resume(&self) -> Result<()> {
        let path = format!("/connectors/{}/resume", self.name);
        request("PUT", &self.url, &path, None).await?.ok()?;
        self.wait_running().await
    }

    /// Deletes it and its offsets: without that a new one of the same name goes on where it stood.
    pub async fn delete(mut self) -> Result<()> {
        self.deleted = true;
        delete(&self.url, &self.name).await
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        if !self.deleted && std::env::var_os("SLUICE_KEEP").is_none() {
            let (url, name) = (self.url.clone(), self.name.clone());
            run_aside(async move { delete(&url, &name).await });
        }
    }
}

async fn stop(url: &str, name: &str) -> Result<()> {
    let path = format!("/connectors/{name}/stop");
    request("PUT", url, &path, None).await?.ok()?;
    wait_for("the connector to stop", PATIENCE, || async {
        let path = format!("/connectors/{name}/status");
        let status = request("GET", url, &path, None).await?.ok()?;
        let tasks = status["tasks"].as_array().map_or(0, Vec::len);
        Ok((status["connector"]["state"] == "STOPPED" && tasks == 0).then_some(()))
    })
    .await
}

async fn delete(url: &str, name: &str) -> Result<()> {
    stop(url, name).await?;
    let path = format!("/connectors/{name}/offsets");
    wait_for("the offsets to be deleted", PATIENCE, || async {
        // The worker refuses while a task is still ending.
        let answer = request("DELETE", url, &path, None).await?;
        answer.ok().map(Some)
    })
    .await?;
    let path = format!("/connectors/{name}");
    request("DELETE", url, &path, None).await?.ok().map(drop)
}
