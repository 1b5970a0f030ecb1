//! A shop that is written to, its replica in the cluster, and what is asked of both after a fault.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sluice_agent_api::AgentStatus;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster, Shop, WriterOptions, Writers, assert_equal,
    cluster::{Operator, Replica},
    pipeline::Ends,
    process::{holds, log_end},
    wait::wait_for,
};
use tokio::time::{Instant, sleep};

use super::{
    PATIENCE,
    pulse::{self, Pulse},
    report,
    watch::{Subject, Watch},
};

/// The port of an agent's status.
const AGENT_PORT: u16 = 8080;

/// A replicated shop under observation.
pub(crate) struct World {
    pub(crate) operator: Operator,
    pub(crate) replica: Replica,
    pub(crate) pulse: Pulse,
    pub(crate) watch: Watch,
    writers: Writers,
}

impl World {
    /// Makes a shop that is written to, with this many orders; its resources are not applied yet.
    pub(crate) async fn prepare(cluster: &Cluster, label: &str, orders: u64) -> Result<Self> {
        let operator = Operator::installed(cluster).await?;
        operator.wait_ready().await?;
        let mut replica = Replica::prepare(cluster, label).await?;
        // Many small chunks: many moments of a copy at which something can happen.
        replica.file = replica
            .file
            .source_spec(|spec| spec["snapshot"] = json!({"chunkRows": 500, "parallelism": 2}));
        let shop = Shop::create(&replica.mysql).await?;
        shop.load_rows(orders).await?;
        let pulse = Pulse::start(&replica.mysql).await?;
        let watch = Watch::start(Subject {
            sinks: replica.namespace.api(),
            postgres: replica.postgres.endpoint.clone(),
            database: replica.postgres.name.clone(),
            schema: replica.mysql.name.clone(),
            written: pulse.counter(),
        });
        let options = WriterOptions {
            count: 2,
            changes_per_second: Some(200),
            ..WriterOptions::default()
        };
        Ok(Self {
            operator,
            pulse,
            watch,
            writers: Writers::start_with(&shop, options).await?,
            replica,
        })
    }

    /// Makes such a shop and waits until its replica is ready.
    pub(crate) async fn start(cluster: &Cluster, label: &str) -> Result<Self> {
        let world = Self::prepare(cluster, label, 2_000).await?;
        let begin = Instant::now();
        world.replica.start().await?;
        report("from nothing to Ready", begin.elapsed());
        world.rows_flow().await?;
        Ok(world)
    }

    /// Waits until something arrives that is written from now on; how long it took.
    pub(crate) async fn rows_flow(&self) -> Result<Duration> {
        let begin = Instant::now();
        // The next number may be on its way already.
        let wanted = self.pulse.written() + 2;
        while self.watch.arrived() < wanted {
            if begin.elapsed() > PATIENCE {
                let seen = self.replica.namespace.describe::<ReplicaSink>("shop-pg");
                let timeline = self.watch.timeline();
                let logs = self.agent_logs().await;
                anyhow::bail!(
                    "no rows flow for {PATIENCE:?}; Ready was:\n{timeline}\n{}\n--- the agent\n{logs}",
                    seen.await
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(begin.elapsed())
    }

    /// Fails unless rows keep arriving, without any long break, for this long.
    pub(crate) async fn rows_keep_flowing(&self, at_least: Duration) -> Result<()> {
        const BREAK_MAX: Duration = Duration::from_secs(5);
        let begin = Instant::now();
        while begin.elapsed() < at_least {
            let took = self.rows_flow().await?;
            ensure!(took < BREAK_MAX, "no rows came for {took:?}");
        }
        Ok(())
    }

    /// The place in the source's log that is its end at present.
    pub(crate) async fn log_end(&self) -> Result<String> {
        let executed = "SELECT @@global.gtid_executed";
        self.replica.mysql.value(executed).await
    }

    /// Waits until the status speaks of a place in the log that nobody has told it of before, and of
    /// the present spec. A steady pipeline's position is written once a minute only, so the place
    /// should be one from before the operator's return.
    pub(crate) async fn status_holds(&self, here: &str, at_most: Duration) -> Result<()> {
        wait_for("a fresh status", at_most, || async {
            let sink = self.replica.sink().await?;
            let generation = sink.metadata.generation;
            let status = sink.status.context("no status")?;
            let position = status.position.context("no position")?;
            let subset = format!("SELECT GTID_SUBSET('{here}', '{position}')");
            let holds = self.replica.mysql.value(subset).await? == "1";
            Ok((holds && status.observed_generation == generation).then_some(()))
        })
        .await
    }

    /// Changes the sink's spec in a way that no agent needs to know of, and applies it.
    pub(crate) async fn edit(&mut self, threshold_seconds: u32) -> Result<()> {
        let file = self.replica.file.clone();
        self.replica.file = file.sink_spec(|spec: &mut Value| {
            spec["lagThresholdSeconds"] = json!(threshold_seconds);
        });
        self.replica.apply().await
    }

    /// What the agent says of itself.
    pub(crate) async fn agent_status(&self) -> Result<AgentStatus> {
        let namespace = &self.replica.namespace;
        let body = namespace.http_get(Replica::AGENT, AGENT_PORT, "/v1/status");
        let body: Value = serde_json::from_str(&body.await?)?;
        let first = body["pipelines"].get(0).context("no pipeline")?;
        Ok(serde_json::from_value(first.clone())?)
    }

    /// The agent's pod as it is now.
    pub(crate) async fn agent(&self) -> Result<Pod> {
        self.replica.namespace.get(Replica::AGENT).await
    }

    /// The end of the agent's log, for a failure's message.
    async fn agent_logs(&self) -> String {
        let tail = ["logs", Replica::AGENT, "--tail=15"];
        let logs = self.replica.namespace.kubectl(&tail).await;
        logs.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Waits until the replica is complete, and compares: nothing lost, nothing twice, and the status
    /// was true all the time.
    pub(crate) async fn end(self) -> Result<()> {
        self.replica.wait_ready().await?;
        let written = self.writers.stop().await?;
        drop(self.pulse);
        let (mysql, postgres) = (&self.replica.mysql, &self.replica.postgres);
        let ends = Ends {
            pipeline: format!("{}/shop-pg", self.replica.namespace.name),
            mysql: mysql.endpoint.clone(),
            mysql_database: mysql.name.clone(),
            postgres: postgres.endpoint.clone(),
            postgres_database: postgres.name.clone(),
            through: None,
        };
        let here = log_end(&ends).await?;
        wait_for("everything to arrive", PATIENCE, || async {
            let holds = holds(&mut None, &ends, &here).await?;
            Ok(holds.then_some(()))
        })
        .await?;
        let mut tables = Shop::TABLES.to_vec();
        tables.push(pulse::TABLE);
        assert_equal(mysql, postgres, &tables).await?;
        let status = self.replica.sink().await?.status.unwrap_or_default();
        ensure!(status.dead_letters.unwrap_or(0) == 0, "{status:#?}");
        eprintln!("faults: {written:?}; Ready was:\n{}", self.watch.timeline());
        self.watch.end()
    }
}
